//! [`Target`]: what a program will run on. The compiler asks it and nothing else, so that one source compiles for the
//! live machine, for files that describe another, or from recorded answers, to the same bytes.

use std::sync::Arc;

use crate::btf::Btf;
use crate::version::KernelVersion;

mod codec;
mod feature;
mod record;

pub use codec::RecordError;
pub use feature::Feature;
pub use record::{Recorded, Recorder};

/// A question to the target. Each has exactly one kind of [`Answer`], named behind it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Question {
    /// Version: `Version`.
    KernelVersion,
    /// CPU architecture: `Arch`.
    Arch,
    /// Possible CPUs (`/sys/devices/system/cpu/possible`): `Number`.
    PossibleCpus,
    /// Whether the kernel has a feature: `Yes`.
    Has(Feature),
    /// Types of vmlinux (empty name) or of a module: `Btf`.
    Btf(String),
    /// Names of loaded modules: `Names`.
    Modules,
    /// All tracepoints as "category:name": `Names`.
    Tracepoints,
    /// Raw format text of a tracepoint: `Text`.
    TracepointFormat {
        /// Category.
        category: String,
        /// Name.
        name: String,
    },
    /// Traceable kernel functions as "name" or "module:name": `Names`.
    KernelFunctions,
    /// Address of a kernel symbol: `Number`.
    KernelSymbol(String),
    /// A binary's or library's path, as the user may write it (found through PATH or the library path): `Text`.
    BinaryPath(String),
    /// Function symbols of a binary: `Symbols`.
    BinarySymbols(String),
    /// Number of a PID namespace (device, inode) of skep itself, when it is not the initial one: `Names` (two
    /// decimal numbers) or empty.
    PidNamespace,
    /// Numeric id of a cgroup path: `Number`.
    CgroupId(String),
    /// A user's id by name (passwd): `Number`.
    UserId(String),
    /// A text file that a script includes or imports, by path: `Text`.
    File(String),
    /// Names in a directory, those of directories with a `/` behind: `Names`.
    Directory(String),
    /// Types and functions of a binary from its DWARF, as BTF on its own (no base): structs, unions, enums, and each
    /// function with its prototype: `Btf`.
    BinaryTypes(String),
}

/// An answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A version.
    Version(KernelVersion),
    /// An architecture.
    Arch(Arch),
    /// A number.
    Number(u64),
    /// Yes or no.
    Yes(bool),
    /// Types.
    Btf(Arc<Btf>),
    /// Names, sorted.
    Names(Arc<Vec<String>>),
    /// Text.
    Text(Arc<str>),
    /// Symbols, by name.
    Symbols(Arc<Vec<Symbol>>),
}

/// A function symbol of a binary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Symbol {
    /// Name as in the symbol table.
    pub name: String,
    /// Virtual address.
    pub address: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Bytes; 0 unknown.
    pub size: u64,
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TargetError {
    /// There is no such thing on this target.
    #[error("{0} not found")]
    NotFound(String),
    /// The target cannot be asked for that (a file target without it, a recording that lacks it).
    #[error("this target cannot tell {0}")]
    Unknown(String),
    /// The environment refused: operation and errno.
    #[error("{operation}: {}", std::io::Error::from_raw_os_error(*errno))]
    Os {
        /// What was tried.
        operation: String,
        /// The errno.
        errno: i32,
    },
    /// What was read is damaged.
    #[error("{what}: {why}")]
    Damaged {
        /// What was read.
        what: String,
        /// What is wrong with it.
        why: String,
    },
}

/// CPU architectures.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Arch {
    /// x86-64.
    X86_64,
    /// 64-bit Arm.
    Aarch64,
}

/// What a program will run on. Answers are lazy: nothing is read before it is asked for.
pub trait Target {
    /// Answers `question` with the kind of answer that its documentation names.
    fn ask(&self, question: &Question) -> Result<Answer, TargetError>;
}

macro_rules! typed {
    ($($(#[$doc:meta])* $name:ident($($arg:ident : $ty:ty),*) -> $ret:ty = $question:expr, $answer:ident;)*) => {
        /// Typed questions, for every target.
        pub trait TargetExt: Target {
            $($(#[$doc])* fn $name(&self, $($arg: $ty),*) -> Result<$ret, TargetError> {
                let question = $question;
                match self.ask(&question)? {
                    Answer::$answer(value) => Ok(value),
                    _ => Err(TargetError::Unknown(format!("{question:?}"))),
                }
            })*
        }
    };
}

typed! {
    /// Kernel version.
    kernel_version() -> KernelVersion = Question::KernelVersion, Version;
    /// CPU architecture.
    arch() -> Arch = Question::Arch, Arch;
    /// Possible CPUs.
    possible_cpus() -> u64 = Question::PossibleCpus, Number;
    /// Whether the kernel has `feature`.
    has(feature: Feature) -> bool = Question::Has(feature), Yes;
    /// Types of vmlinux.
    vmlinux() -> Arc<Btf> = Question::Btf(String::new()), Btf;
    /// Types of a module (split BTF on vmlinux').
    module_btf(module: &str) -> Arc<Btf> = Question::Btf(module.to_owned()), Btf;
    /// Loaded modules.
    modules() -> Arc<Vec<String>> = Question::Modules, Names;
    /// All tracepoints as "category:name", sorted.
    tracepoints() -> Arc<Vec<String>> = Question::Tracepoints, Names;
    /// Raw format text of a tracepoint.
    tracepoint_format(category: &str, name: &str) -> Arc<str> =
        Question::TracepointFormat { category: category.to_owned(), name: name.to_owned() }, Text;
    /// Traceable kernel functions.
    kernel_functions() -> Arc<Vec<String>> = Question::KernelFunctions, Names;
    /// Address of a kernel symbol.
    kernel_symbol(name: &str) -> u64 = Question::KernelSymbol(name.to_owned()), Number;
    /// Path of a binary or library.
    binary_path(name: &str) -> Arc<str> = Question::BinaryPath(name.to_owned()), Text;
    /// Function symbols of a binary.
    binary_symbols(path: &str) -> Arc<Vec<Symbol>> = Question::BinarySymbols(path.to_owned()), Symbols;
    /// skep's PID namespace, (device, inode) in decimal; empty in the initial one.
    pid_namespace() -> Arc<Vec<String>> = Question::PidNamespace, Names;
    /// A cgroup's id.
    cgroup_id(path: &str) -> u64 = Question::CgroupId(path.to_owned()), Number;
    /// A user's id.
    user_id(name: &str) -> u64 = Question::UserId(name.to_owned()), Number;
    /// A text file that a script includes or imports.
    file(path: &str) -> Arc<str> = Question::File(path.to_owned()), Text;
    /// Names in a directory, sorted; those of directories end in `/`.
    directory(path: &str) -> Arc<Vec<String>> = Question::Directory(path.to_owned()), Names;
    /// Types and functions of a binary from its DWARF.
    binary_types(path: &str) -> Arc<Btf> = Question::BinaryTypes(path.to_owned()), Btf;
}

impl<T: Target + ?Sized> TargetExt for T {}
