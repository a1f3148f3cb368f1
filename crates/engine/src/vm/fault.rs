//! Why a program was stopped. A cause enters where it is found, a [`Fault`] leaves: where in the program, what its registers
//! held, and a message in the user's terms with the mend.

use std::fmt;

use crate::vm::memory::{Object, ObjectKind, OutOfMemory};

/// A program that was stopped.
#[derive(Clone, PartialEq, Debug)]
pub struct Fault {
    /// Why.
    pub kind: FaultKind,
    /// Where.
    pub place: Place,
    /// r0 to r10 before the instruction; machine code has lost those that no instruction would have read again.
    pub registers: Registers,
}

/// The values of r0 to r10, as far as they are known.
pub type Registers = [Option<u64>; 11];

/// An instruction in its program.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Place {
    /// The program's name.
    pub program: String,
    /// The function of the program that it is in, where the object says so.
    pub function: Option<String>,
    /// Index of the instruction, as `disasm` shows it.
    pub insn: u32,
    /// Its text.
    pub text: String,
    /// The line that it was made from, where the object says so.
    pub line: Option<SourceLine>,
}

/// A line of source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceLine {
    /// File.
    pub file: String,
    /// Line, 1-based.
    pub line: u32,
    /// Column, 1-based.
    pub column: u32,
    /// Text.
    pub text: String,
}

/// A cause.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum FaultKind {
    /// An access to memory that is not allowed.
    #[error(transparent)]
    Access(AccessFault),
    /// The budget of instructions is used up.
    #[error("the program ran longer than its budget of {limit} instructions")]
    Budget {
        /// The budget.
        limit: u64,
    },
    /// Calls within calls.
    #[error("more than {limit} functions called each other")]
    Depth {
        /// How many may.
        limit: u32,
    },
    /// A helper that this kind of program does not have, or that does not exist.
    #[error("{name} cannot be called here: {why}")]
    NoHelper {
        /// `bpf_…`, or its number.
        name: String,
        /// Why not.
        why: String,
    },
    /// A helper or kernel function was given what it cannot take.
    #[error("{name}: argument {index} {what}")]
    Argument {
        /// The function.
        name: &'static str,
        /// Which argument, 1-based.
        index: u8,
        /// What is wrong with it.
        what: String,
    },
    /// An address that was called or given as a callback is no function.
    #[error("{at:#x} is no function of this program")]
    NotAFunction {
        /// The address.
        at: u64,
    },
    /// Machine code that could not be made.
    #[error("{0}")]
    NoCode(String),
    /// A program that ends, or goes on in another one, while it holds something.
    #[error("what bpf_{name}() gave ({at:#x}) is still held {}: {} was not called", end(*tail), released_by(*release))]
    Unreleased {
        /// The function that gave it, without `bpf_`.
        name: &'static str,
        /// The function that takes it back, where only one can.
        release: Option<&'static str>,
        /// The address, or the number that it is known by.
        at: u64,
        /// Whether the program would go on in another one.
        tail: bool,
    },
    /// Memory that a helper needed.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// A fault in a function that was called back, located there.
    #[error("{0}")]
    Within(Box<Fault>),
}

/// An access that is not allowed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccessFault {
    /// Address.
    pub at: u64,
    /// Bytes.
    pub len: u32,
    /// Whether it would have written.
    pub write: bool,
    /// Why not.
    pub miss: Miss,
    /// Name of the map that the object belongs to.
    pub map: Option<String>,
}

/// Why an access is not allowed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Miss {
    /// The address is in the first page: a null pointer, or one close by.
    Null,
    /// The address is none of this machine: a number, or a pointer of the kernel.
    Outside,
    /// The address is that of an instruction.
    Code,
    /// No object is there; perhaps one is near.
    Nothing(Option<Near>),
    /// It begins in the object and ends behind it.
    Beyond {
        /// The object.
        object: Object,
        /// Bytes behind its end.
        by: u64,
    },
    /// It would write what may only be read.
    ReadOnly(Object),
    /// It would write a field that may only be read.
    ReadOnlyField(Object),
    /// It would read what may only be written.
    WriteOnly(Object),
    /// The object has no contents for a program.
    Opaque(Object),
}

/// An object near an address that belongs to none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Near {
    /// The object.
    pub object: Object,
    /// Bytes between them.
    pub distance: u32,
    /// Whether the address is behind it.
    pub after: bool,
}

impl fmt::Display for AccessFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AccessFault { at, len, write, miss, map } = self;
        let shown = |object| Shown { object, map: map.as_deref() };
        let verb = if *write { "write" } else { "read" };
        let plural = if *len == 1 { "" } else { "s" };
        write!(f, "cannot {verb} {len} byte{plural} at {at:#x}: ")?;
        match miss {
            Miss::Null => write!(f, "this is a null pointer{}", plus(*at)),
            Miss::Outside => f.write_str("this is no address of the machine"),
            Miss::Code => f.write_str("this is the address of a function"),
            Miss::Nothing(None) => f.write_str("nothing is there"),
            Miss::Nothing(Some(Near { object, distance, after })) => match after {
                true => write!(f, "{distance} bytes behind the end of the {}", shown(object)),
                false => write!(f, "{distance} bytes before the {}", shown(object)),
            },
            Miss::Beyond { object, by } => {
                let offset = at.wrapping_sub(object.base.get());
                write!(f, "it starts at byte {offset} of the {} and ends {by} behind it", shown(object))
            }
            Miss::ReadOnly(object) => write!(f, "the {} can only be read", shown(object)),
            Miss::WriteOnly(object) => write!(f, "the {} can only be written", shown(object)),
            Miss::ReadOnlyField(object) => {
                let offset = at.wrapping_sub(object.base.get());
                write!(f, "byte {offset} of the {} can only be read", shown(object))
            }
            Miss::Opaque(object) => write!(f, "the {} has no bytes for a program", shown(object)),
        }
    }
}

fn end(tail: bool) -> &'static str {
    if tail { "at a tail call" } else { "where the program ends" }
}

fn released_by(release: Option<&'static str>) -> String {
    release.map_or("what releases it".to_owned(), |name| format!("bpf_{name}()"))
}

fn plus(at: u64) -> String {
    if at == 0 { String::new() } else { format!(" plus {at}") }
}

struct Shown<'a> {
    object: &'a Object,
    map: Option<&'a str>,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Object { kind, size, base, .. } = self.object;
        let part = match kind {
            ObjectKind::MapValue(_) => "value of map",
            ObjectKind::MapKey(_) => "key of map",
            ObjectKind::Map(_) => "map",
            _ => "record of ring buffer",
        };
        match self.map {
            Some(name) => write!(f, "{part} `{}`", name.escape_debug()),
            None => kind.fmt(f),
        }?;
        write!(f, " ({size} bytes at {:#x})", base.0)
    }
}

impl FaultKind {
    /// What to do about it.
    pub fn mend(&self) -> Option<&'static str> {
        Some(match self {
            FaultKind::Access(access) => match access.miss {
                Miss::Null => "compare the pointer with 0 before it is used",
                Miss::Outside => {
                    "memory of the kernel and of processes is read with bpf_probe_read_kernel() and _user()"
                }
                Miss::Code => "a function can be called or given to a helper, not read",
                Miss::Nothing(_) | Miss::Beyond { .. } => match access.kind() {
                    Some(ObjectKind::Packet) => "compare with data_end before the bytes are used",
                    Some(ObjectKind::Stack) => "a frame is the 512 bytes below r10",
                    _ => "check the offset against the size before the access",
                },
                Miss::ReadOnly(_) | Miss::ReadOnlyField(_) => {
                    "leave it as it is, or copy it to the stack first"
                }
                Miss::WriteOnly(_) => "keep what the program needs again elsewhere",
                Miss::Opaque(_) => "give it to a helper",
            },
            FaultKind::Budget { .. } => "see that the loop ends, or give a larger budget",
            FaultKind::Depth { .. } => "call fewer functions within functions",
            FaultKind::Unreleased { .. } => "call it on every way out, also where a check fails",
            FaultKind::NotAFunction { .. } => "load the address with `rN = subprog[…]`",
            _ => return None,
        })
    }
}

impl Miss {
    /// The object that was missed.
    pub fn object(&self) -> Option<&Object> {
        match self {
            Miss::Nothing(near) => near.as_ref().map(|near| &near.object),
            Miss::Beyond { object, .. } | Miss::ReadOnly(object) => Some(object),
            Miss::ReadOnlyField(object) | Miss::WriteOnly(object) | Miss::Opaque(object) => Some(object),
            Miss::Null | Miss::Outside | Miss::Code => None,
        }
    }
}

impl AccessFault {
    /// What kind of object was missed.
    pub fn kind(&self) -> Option<ObjectKind> {
        self.miss.object().map(|object| object.kind)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let FaultKind::Within(inner) = &self.kind {
            return inner.fmt(f);
        }
        writeln!(f, "{}", self.kind)?;
        let Place { program, function, insn, text, line } = &self.place;
        write!(f, "  in {}", program.escape_debug())?;
        if let Some(function) = function {
            write!(f, ", {}()", function.escape_debug())?;
        }
        writeln!(f, ", instruction {insn}: {text}")?;
        if let Some(SourceLine { file, line, text, .. }) = line {
            writeln!(f, "  {}:{line}: {}", file.escape_debug(), text.trim().escape_debug())?;
        }
        let known = self.registers.iter().enumerate().filter_map(|(i, value)| Some((i, (*value)?)));
        let registers: Vec<String> = known.map(|(i, value)| format!("r{i}={value:#x}")).collect();
        let registers = (!registers.is_empty()).then(|| registers.join(" "));
        let rest: Vec<String> = registers.into_iter().chain(self.kind.mend().map(str::to_owned)).collect();
        write!(f, "  {}", rest.join("\n  "))
    }
}

impl Fault {
    /// Whether both say the same, as far as both say something.
    pub fn agrees(&self, other: &Fault) -> bool {
        let same = |(a, b): (&Option<u64>, &Option<u64>)| a.is_none() || b.is_none() || a == b;
        (&self.kind, &self.place) == (&other.kind, &other.place)
            && self.registers.iter().zip(&other.registers).all(same)
    }
}

impl std::error::Error for Fault {}

impl std::error::Error for AccessFault {}
