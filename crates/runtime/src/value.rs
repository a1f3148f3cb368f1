//! [`Value`]: one decoded value, before anything is looked up for it.
//!
//! A value borrows the bytes of its record or map entry and the names of its type; symbols, users, paths and times
//! are resolved only when it is printed. There is one variant for each printable kind of
//! [`ValueType`](skep_bpf::schema::ValueType).

use skep_bpf::schema::{Clock, StackFormat};

/// A decoded value.
#[derive(Clone, PartialEq, Debug)]
pub enum Value<'a> {
    /// Nothing; prints `null`.
    None,
    /// A truth value.
    Bool(bool),
    /// A signed integer of any width.
    Int(i64),
    /// An unsigned integer of any width.
    Uint(u64),
    /// An address.
    Pointer(u64),
    /// An enumerator: its name where it has one, and its number.
    Enum {
        /// The name.
        name: Option<&'a str>,
        /// The number, sign-extended to 64 bits when `signed`.
        bits: u64,
        /// Whether the number has a sign.
        signed: bool,
    },
    /// Text, without NUL.
    Str {
        /// The text, in no particular encoding.
        bytes: &'a [u8],
        /// Whether it filled its field, so that its end may be missing.
        cut: bool,
    },
    /// Bytes of a `buf()`.
    Buf(&'a [u8]),
    /// Elements of one type.
    Array(Vec<Value<'a>>),
    /// Elements without names.
    Tuple(Vec<Value<'a>>),
    /// Members with names.
    Record(Vec<(&'a str, Value<'a>)>),
    /// A kernel stack.
    KStack {
        /// How to print it.
        format: StackFormat,
        /// Where its addresses are.
        frames: Frames<'a>,
    },
    /// A user stack.
    UStack {
        /// How to print it.
        format: StackFormat,
        /// The process, of the initial PID namespace.
        pid: u32,
        /// Where its addresses are.
        frames: Frames<'a>,
    },
    /// A kernel address to print as symbol.
    KSym(u64),
    /// A user address to print as symbol.
    USym {
        /// The address.
        address: u64,
        /// The process, of the initial PID namespace.
        pid: u32,
    },
    /// An IP address.
    Inet {
        /// 2 (IPv4) or 10 (IPv6).
        family: u32,
        /// Network order; IPv4 in the first four bytes.
        bytes: [u8; 16],
    },
    /// A MAC address.
    Mac([u8; 6]),
    /// A moment with the format to print it in.
    Timestamp {
        /// strftime(3) format.
        format: &'a str,
        /// What `nanos` counts.
        clock: Clock,
        /// Nanoseconds of that clock.
        nanos: u64,
    },
    /// A user id to print as name.
    Username(u32),
    /// A cgroup id to print as path.
    CgroupPath {
        /// Id.
        id: u64,
        /// Pattern for the names of hierarchies; empty: all.
        filter: &'a str,
    },
    /// An errno to print as text.
    StrError(i32),
    /// A signal number to print as name.
    Signal(u32),
    /// Bytes that do not hold what their type says; why.
    Damaged(&'static str),
}

/// Where the addresses of a stack are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frames<'a> {
    /// In a stack trace map, under this id; negative: an errno, there is no stack.
    Id(i64),
    /// Here: u64 each, in the machine's byte order, innermost first.
    Here(&'a [u8]),
}

impl Value<'_> {
    /// The value as a number in 64 bits, sign-extended where it has a sign; `None` when it is none.
    pub fn bits(&self) -> Option<u64> {
        match self {
            Value::Bool(b) => Some(u64::from(*b)),
            Value::Int(i) => Some(*i as u64),
            Value::Uint(u) | Value::Pointer(u) => Some(*u),
            Value::Enum { bits, .. } => Some(*bits),
            _ => None,
        }
    }
}
