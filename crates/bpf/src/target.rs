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
    /// Network interfaces of skep's network namespace: `Interfaces`.
    Interfaces,
    /// Address of a kernel symbol: `Number`.
    KernelSymbol(String),
    /// A binary's or library's path, as the user may write it (found through PATH or the library path): `Text`.
    BinaryPath(String),
    /// Function symbols of a binary: `Symbols`.
    BinarySymbols(String),
    /// The symbol of that name in a binary's symbol tables, a variable or function, if there is one: `Symbols`.
    BinaryVariable {
        /// The binary's path.
        path: String,
        /// Name.
        name: String,
    },
    /// Number of a PID namespace (device, inode) of skep itself, when it is not the initial one: `Names` (two
    /// decimal numbers) or empty.
    PidNamespace,
    /// Functions of loaded BPF programs that have types, as "id:name": `Names`.
    BpfPrograms,
    /// Numeric id of a cgroup path: `Number`.
    CgroupId(String),
    /// A user's id by name (passwd): `Number`.
    UserId(String),
    /// A text file that a script includes or imports, by path: `Text`.
    File(String),
    /// Names in a directory, those of directories with a `/` behind: `Names`.
    Directory(String),
    /// Types and functions of a binary from its DWARF, as BTF on its own (no base): `Btf`.
    BinaryTypes(TypeRequest),
    /// Where the code of a source line of a binary begins, from its DWARF: one symbol with the address and the offset
    /// in the file, its name that of the source file: `Symbols`.
    SourceLine {
        /// The binary's path.
        path: String,
        /// The source file: its path or how that ends, from a `/` on.
        file: String,
        /// Line, from 1.
        line: u32,
        /// Column, from 1; 0: any.
        column: u32,
    },
    /// Function symbols of a binary whose names are mangled (C++, Rust), by their demangled names: `Symbols`.
    DemangledSymbols(String),
    /// Binaries that a name stands for, in the order in which they are looked for: a path, a program in PATH, a
    /// library, or a pattern with `*` over these: `Names`.
    Binaries {
        /// As the user writes it.
        name: String,
        /// The process whose mount namespace and PATH count; `None`: skep's own.
        pid: Option<u32>,
        /// A path may name any file, not only an ELF one.
        any_file: bool,
    },
    /// Binaries that a process has mapped, its own first, or those of all processes (`None`), each by a path under
    /// which skep can open it: `Names`.
    MappedBinaries(Option<u32>),
    /// USDT probes of a binary, in the order of its notes: `Notes`.
    BinaryNotes(String),
    /// Whether an instruction of a binary begins at a place: `Yes`.
    InstructionAt {
        /// The binary.
        path: String,
        /// Offset in the file of an instruction before, or of this one.
        start: u64,
        /// Offset in the file of the place.
        offset: u64,
    },
}

/// What of a binary's DWARF is asked for.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct TypeRequest {
    /// The binary's path.
    pub path: String,
    /// Functions by the names of their symbols, each with its address; the answer has a FUNC of that name with the types
    /// and names of its parameters for each that is found.
    pub functions: Vec<(String, u64)>,
    /// Structs, unions, enums and typedefs by name, without `struct` and the like.
    pub types: Vec<String>,
    /// Names only: what pointers lead to is a forward declaration.
    pub shallow: bool,
}

impl TypeRequest {
    /// How a declaration tag on a function's parameter begins that says in which register the function finds it; the
    /// register's DWARF number follows. A function whose callers are all known may take its arguments elsewhere than the
    /// calling convention says.
    pub const REGISTER: &str = "register:";
    /// The same of a parameter that always has one value; the value follows, in decimal.
    pub const CONSTANT: &str = "constant:";
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
    /// Places of USDT probes.
    Notes(Arc<Vec<Note>>),
    /// Network interfaces, by index.
    Interfaces(Arc<Vec<Interface>>),
}

/// A network interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// Index.
    pub index: u32,
    /// Kind of hardware (`ARPHRD_*`, include/uapi/linux/if_arp.h), which says what a frame begins with.
    pub hardware: u32,
    /// Largest packet in bytes, without the link layer.
    pub mtu: u32,
}

/// One place of a USDT probe, as a note of the binary describes it (section `.note.stapsdt`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// Provider.
    pub provider: String,
    /// Name; several places may share it.
    pub name: String,
    /// Offset of the instruction in the file.
    pub offset: u64,
    /// Offset in the file of the counter that says whether the probe is on (its semaphore), 0: there is none.
    pub semaphore: u64,
    /// Operands of the arguments, as the assembler wrote them; symbols are replaced by their distance in bytes from
    /// the instruction (`4@counter(%rip)` is `4@0x2f10(%rip)`).
    pub args: String,
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

impl<T: Target + ?Sized> Target for &T {
    fn ask(&self, question: &Question) -> Result<Answer, TargetError> {
        (**self).ask(question)
    }
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
    /// Network interfaces.
    interfaces() -> Arc<Vec<Interface>> = Question::Interfaces, Interfaces;
    /// Address of a kernel symbol.
    kernel_symbol(name: &str) -> u64 = Question::KernelSymbol(name.to_owned()), Number;
    /// Path of a binary or library.
    binary_path(name: &str) -> Arc<str> = Question::BinaryPath(name.to_owned()), Text;
    /// Function symbols of a binary.
    binary_symbols(path: &str) -> Arc<Vec<Symbol>> = Question::BinarySymbols(path.to_owned()), Symbols;
    /// A variable or function of a binary by its name; none, or one.
    binary_variable(path: &str, name: &str) -> Arc<Vec<Symbol>> =
        Question::BinaryVariable { path: path.to_owned(), name: name.to_owned() }, Symbols;
    /// skep's PID namespace, (device, inode) in decimal; empty in the initial one.
    pid_namespace() -> Arc<Vec<String>> = Question::PidNamespace, Names;
    /// Functions of loaded BPF programs, as "id:name".
    bpf_programs() -> Arc<Vec<String>> = Question::BpfPrograms, Names;
    /// A cgroup's id.
    cgroup_id(path: &str) -> u64 = Question::CgroupId(path.to_owned()), Number;
    /// A user's id.
    user_id(name: &str) -> u64 = Question::UserId(name.to_owned()), Number;
    /// A text file that a script includes or imports.
    file(path: &str) -> Arc<str> = Question::File(path.to_owned()), Text;
    /// Names in a directory, sorted; those of directories end in `/`.
    directory(path: &str) -> Arc<Vec<String>> = Question::Directory(path.to_owned()), Names;
    /// Types and functions of a binary from its DWARF.
    binary_types(request: TypeRequest) -> Arc<Btf> = Question::BinaryTypes(request), Btf;
    /// Where the code of a source line begins.
    source_line(path: &str, file: &str, line: u32, column: u32) -> Arc<Vec<Symbol>> =
        Question::SourceLine { path: path.to_owned(), file: file.to_owned(), line, column }, Symbols;
    /// Function symbols by their demangled names.
    demangled_symbols(path: &str) -> Arc<Vec<Symbol>> = Question::DemangledSymbols(path.to_owned()), Symbols;
    /// Binaries that a name or pattern stands for.
    binaries(name: &str, pid: Option<u32>, any_file: bool) -> Arc<Vec<String>> =
        Question::Binaries { name: name.to_owned(), pid, any_file }, Names;
    /// Binaries that a process, or any, has mapped.
    mapped_binaries(pid: Option<u32>) -> Arc<Vec<String>> = Question::MappedBinaries(pid), Names;
    /// Whether an instruction begins at `offset`, counted from the one at `start`.
    instruction_at(path: &str, start: u64, offset: u64) -> bool =
        Question::InstructionAt { path: path.to_owned(), start, offset }, Yes;
    /// USDT probes of a binary.
    binary_notes(path: &str) -> Arc<Vec<Note>> = Question::BinaryNotes(path.to_owned()), Notes;
}

impl<T: Target + ?Sized> TargetExt for T {}
