//! Types of the language: what the checker gives each expression and the builder lowers.

use skep_bpf::schema::{Agg, Clock, StackFormat, ValueType};

/// Where a pointer points, which decides how it is read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Space {
    /// Kernel memory: bpf_probe_read_kernel.
    Kernel,
    /// Kernel memory through a pointer that the verifier knows by its BTF type: plain loads.
    Btf,
    /// User memory of the current task: bpf_probe_read_user.
    User,
    /// The context: loads at constant offsets.
    Ctx,
    /// Memory of the program itself (map value, stack, scratch): plain loads.
    Bpf,
}

/// A type.
#[derive(Clone, PartialEq, Debug)]
pub enum Ty {
    /// No value.
    None,
    /// `bool`
    Bool,
    /// Integer of 8, 16, 32 or 64 bits.
    Int {
        /// Bits.
        bits: u8,
        /// Signed.
        signed: bool,
    },
    /// Pointer.
    Ptr {
        /// To what (`None`: void).
        to: Box<Ty>,
        /// Where.
        space: Space,
    },
    /// String in `size` bytes, NUL included.
    Str {
        /// Bytes.
        size: u32,
    },
    /// Bytes with a length, at most `size`.
    Buf {
        /// Bytes.
        size: u32,
    },
    /// Array.
    Array {
        /// Element.
        elem: Box<Ty>,
        /// How many.
        count: u32,
    },
    /// C struct or union, or the arguments of a probe.
    Composite(Composite),
    /// C enum.
    Enum {
        /// Tag.
        name: String,
        /// Bits.
        bits: u8,
        /// Signed.
        signed: bool,
        /// (value, name).
        names: std::sync::Arc<Vec<(i64, String)>>,
    },
    /// Tuple.
    Tuple(Vec<Ty>),
    /// Record.
    Record(Vec<(String, Ty)>),
    /// Kernel stack.
    KStack(StackFormat),
    /// User stack.
    UStack(StackFormat),
    /// Kernel symbol.
    KSym,
    /// User symbol.
    USym,
    /// IP address.
    Inet,
    /// MAC address.
    Mac,
    /// `strftime` value.
    Timestamp {
        /// Format.
        format: String,
        /// Clock.
        clock: Clock,
    },
    /// `username`
    Username,
    /// `cgroup_path`
    CgroupPath {
        /// Pattern for the names of hierarchies; empty: all.
        filter: String,
    },
    /// `strerror`
    StrError,
    /// `signal` name
    Signal,
    /// Aggregation: only as a map's value.
    Agg(Agg),
}

/// A struct or union by where it is defined.
#[derive(Clone, PartialEq, Debug)]
pub struct Composite {
    /// C name with its tag, e.g. `struct task_struct`; for printing and messages.
    pub name: String,
    /// Bytes.
    pub size: u32,
    /// Definition.
    pub def: CompositeDef,
}

/// Where a struct or union is defined.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CompositeDef {
    /// In the target's BTF: module by index into the checker's table (0: vmlinux), type id.
    Btf {
        /// Module.
        module: u32,
        /// Type.
        id: u32,
    },
    /// In the checker's own table (C declarations of the script, tracepoint records, probe arguments).
    Own(u32),
}

impl Ty {
    /// `uint64`
    pub const U64: Ty = Ty::Int { bits: 64, signed: false };
    /// `int64`
    pub const I64: Ty = Ty::Int { bits: 64, signed: true };
    /// `uint32`
    pub const U32: Ty = Ty::Int { bits: 32, signed: false };
    /// `int32`
    pub const I32: Ty = Ty::Int { bits: 32, signed: true };

    /// Whether a value of the type lives in one register; all others are addressed.
    pub fn is_scalar(&self) -> bool {
        matches!(
            self,
            Ty::Bool
                | Ty::Int { .. }
                | Ty::Ptr { .. }
                | Ty::Enum { .. }
                | Ty::KSym
                | Ty::Timestamp { .. }
                | Ty::Username
                | Ty::CgroupPath { .. }
                | Ty::StrError
                | Ty::Signal
                | Ty::KStack(_)
        )
    }

    /// The layout of a value in a map, a tuple or an event. Composites print by their fields, which only the checker
    /// knows: it is asked for theirs.
    pub fn layout(&self, composite: &dyn Fn(&Composite) -> ValueType) -> ValueType {
        match self {
            Ty::None => ValueType::None,
            Ty::Bool => ValueType::Bool,
            Ty::Int { bits, signed } => ValueType::Int { size: bits / 8, signed: *signed },
            Ty::Ptr { .. } => ValueType::Pointer,
            Ty::Str { size } => ValueType::Str { size: *size },
            Ty::Buf { size } => ValueType::Buf { size: *size },
            Ty::Array { elem, count } => {
                ValueType::Array { elem: Box::new(elem.layout(composite)), count: *count }
            }
            Ty::Composite(c) => composite(c),
            Ty::Enum { bits, signed, names, .. } => {
                ValueType::Enum { size: bits / 8, signed: *signed, names: names.to_vec() }
            }
            Ty::Tuple(types) => ValueType::tuple(types.iter().map(|t| t.layout(composite))),
            Ty::Record(fields) => record(fields, composite),
            Ty::KStack(format) => ValueType::KStack(*format),
            Ty::UStack(format) => ValueType::UStack(*format),
            Ty::KSym => ValueType::KSym,
            Ty::USym => ValueType::USym,
            Ty::Inet => ValueType::Inet,
            Ty::Mac => ValueType::Mac,
            Ty::Timestamp { format, clock } => ValueType::Timestamp { format: format.clone(), clock: *clock },
            Ty::Username => ValueType::Username,
            Ty::CgroupPath { filter } => ValueType::CgroupPath { filter: filter.clone() },
            Ty::StrError => ValueType::StrError,
            Ty::Signal => ValueType::Signal,
            Ty::Agg(agg) => ValueType::Agg(agg.clone()),
        }
    }
}

fn record(fields: &[(String, Ty)], composite: &dyn Fn(&Composite) -> ValueType) -> ValueType {
    let tuple = ValueType::tuple(fields.iter().map(|(_, t)| t.layout(composite)));
    let size = tuple.size();
    let ValueType::Tuple(mut laid_out) = tuple else { return ValueType::None };
    for (field, (name, _)) in laid_out.iter_mut().zip(fields) {
        field.name.clone_from(name);
    }
    ValueType::Record { size, fields: laid_out }
}
