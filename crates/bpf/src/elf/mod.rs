//! ELF: objects as standard relocatable files, and back (the psABI of eBPF, Documentation/bpf/llvm_reloc.rst, and what
//! libbpf makes of a file's sections, Linux 6.18).
//!
//! [`write()`] makes a file that bpftool loads and LLVM's tools read; its section `.skep` has what no standard section has
//! room for, so that [`read()`] gives back the same object. [`Module::parse`] reads any BPF object file. What enters a
//! reader may be anything: nothing panics, nothing is reserved that the file could not hold.

mod ext;
mod file;
mod foreign;
mod image;
mod maps;
mod module;
mod naming;
mod private;
mod read;
pub mod section;
mod tables;
#[cfg(test)]
pub(crate) mod tests;
mod wire;
mod write;

pub use foreign::{ProgramRow, Selection};
pub use module::{Code, Module, NamedMap};
pub(crate) use private::{private, with_private};
pub use read::read;
pub use wire::WireError;
pub use write::write;

/// Whether a file that begins so is an ELF file.
pub fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF")
}

/// Why a file could not be read or written.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ElfError {
    /// It is no BPF object file: what it is instead.
    #[error("{0}")]
    NotElf(String),
    /// It contradicts itself or the standard.
    #[error("the file is damaged: {0}")]
    Damaged(String),
    /// It needs something that skep does not do.
    #[error("{0}")]
    Unsupported(String),
    /// Its section `.skep` cannot be read.
    #[error("section .skep, {0}")]
    Skep(WireError),
}

impl ElfError {
    fn damaged(what: impl Into<String>) -> ElfError {
        ElfError::Damaged(what.into())
    }

    fn unsupported(what: impl Into<String>) -> ElfError {
        ElfError::Unsupported(what.into())
    }
}
