//! Expressions of the checked program.

use super::{Arg, FilterMemory, MapNo, PacketRead, Stmt, VarId};
use crate::ast::Span;
use crate::ty::{Space, Ty};
use skep_bpf::object::CoreReloc;
use skep_bpf::schema::Agg;

/// A typed expression.
#[derive(Clone, PartialEq, Debug)]
pub struct Expr {
    /// What.
    pub kind: ExprKind,
    /// Type of the value. A composite, array, string or tuple is an address with `space`.
    pub ty: Ty,
    /// Where.
    pub span: Span,
}

impl Expr {
    /// The type that holds the value whole: characters of an array of C need no NUL there, but a string that fills its type
    /// counts as cut.
    pub fn whole_string(&self) -> Option<Ty> {
        match (&self.kind, &self.ty) {
            (ExprKind::Field { .. } | ExprKind::Index { .. }, Ty::Str { size }) if *size > 0 => {
                Some(Ty::Str { size: size.saturating_add(1) })
            }
            _ => None,
        }
    }
}

/// Kinds of expression.
#[derive(Clone, PartialEq, Debug)]
pub enum ExprKind {
    /// Integer, bool, enum or pointer constant, extended to 64 bits.
    Int(i64),
    /// String constant (`ty` is `Str` of its length + 1, or larger).
    Str(Vec<u8>),
    /// Variable.
    Var(VarId),
    /// `@m[k]`: the value, or zero where there is none. Of an aggregation: see `MapAgg`.
    MapGet {
        /// Map.
        map: MapNo,
        /// Key.
        key: Vec<Expr>,
    },
    /// An aggregation read as an integer, over all CPUs (`(int64)@m`, comparisons, arithmetic).
    MapAgg {
        /// Map.
        map: MapNo,
        /// Key.
        key: Vec<Expr>,
        /// Which.
        agg: Agg,
    },
    /// `has_key(@m, k)`
    HasKey {
        /// Map.
        map: MapNo,
        /// Key.
        key: Vec<Expr>,
    },
    /// `delete(@m, k)` as bool: whether there was an entry.
    Delete {
        /// Map.
        map: MapNo,
        /// Key.
        key: Vec<Expr>,
    },
    /// `len(@m)`: number of entries.
    MapLen(MapNo),
    /// A probe argument.
    Arg(Arg),
    /// A part of the packet.
    Packet(PacketRead),
    /// Whether a packet in the kernel's memory matches: a bool.
    FilterMemory(Box<FilterMemory>),
    /// A field of what `base` points to or is: `base.ty` is `Ptr` to a composite (of any space) or a composite. A scalar
    /// field is loaded; any other is an address.
    Field {
        /// Base.
        base: Box<Expr>,
        /// Where in it.
        access: Access,
        /// How to read it.
        space: Space,
    },
    /// `*p`, `p[i]`, `a[i]`: `size`-byte elements from a base that is a pointer or an array.
    Index {
        /// Base.
        base: Box<Expr>,
        /// Index; bounds of arrays whose length is known are checked by the builder when it is not constant.
        index: Box<Expr>,
        /// Bytes of an element.
        size: u32,
        /// How to read it.
        space: Space,
    },
    /// Member of a tuple or record value.
    TupleField {
        /// Base.
        base: Box<Expr>,
        /// Index.
        index: usize,
    },
    /// Operation on integers; both sides have the result's type, but shift counts.
    Binary {
        /// Operation.
        op: crate::ast::BinOp,
        /// Left.
        a: Box<Expr>,
        /// Right.
        b: Box<Expr>,
    },
    /// Comparison of integers; both sides have one type, whose sign counts. `op` is one of Eq … Ge.
    Compare {
        /// Operation.
        op: crate::ast::BinOp,
        /// Left.
        a: Box<Expr>,
        /// Right.
        b: Box<Expr>,
    },
    /// Equality of strings, buffers, arrays, tuples, addresses by their bytes.
    BytesEq {
        /// Left.
        a: Box<Expr>,
        /// Right.
        b: Box<Expr>,
        /// `!=`
        negate: bool,
        /// Compare at most so many bytes (`strncmp`); `None`: all (strings: to the NUL).
        limit: Option<u32>,
    },
    /// `&&`, `||`
    Logical {
        /// And rather than or.
        and: bool,
        /// Left.
        a: Box<Expr>,
        /// Right.
        b: Box<Expr>,
    },
    /// `-x`, `~x`
    Unary {
        /// Operation: Neg or BitNot.
        op: crate::ast::UnaryOp,
        /// Operand.
        a: Box<Expr>,
    },
    /// `!x`
    Not(Box<Expr>),
    /// `c ? a : b`; both of the result's type (strings may be shorter).
    Ternary {
        /// Condition.
        cond: Box<Expr>,
        /// If true.
        a: Box<Expr>,
        /// If false.
        b: Box<Expr>,
    },
    /// Conversion between integers, pointers, bool and enums (truncates, extends by the *source's* sign).
    Convert(Box<Expr>),
    /// The same bits as another type (arrays to integers, integers to arrays, inet …).
    Reinterpret(Box<Expr>),
    /// `++`, `--` on a variable.
    IncVar {
        /// Variable.
        var: VarId,
        /// +1 or -1 (pointers: their element's size).
        by: i64,
        /// The new value rather than the old.
        pre: bool,
    },
    /// `++`, `--` on a map entry: atomic unless the map is per CPU.
    IncMap {
        /// Map.
        map: MapNo,
        /// Key.
        key: Vec<Expr>,
        /// +1 or -1.
        by: i64,
        /// The new value rather than the old.
        pre: bool,
    },
    /// Tuple.
    Tuple(Vec<Expr>),
    /// Record, fields in order.
    Record(Vec<Expr>),
    /// Address of a variable or map value (`&$x`, `&@m[k]`).
    AddrOf(Box<Expr>),
    /// Statements, then a value.
    Block {
        /// Statements.
        stmts: Vec<Stmt>,
        /// Value.
        value: Box<Expr>,
    },
    /// A builtin variable or function, by its name in the table of builtins.
    Call {
        /// Name of the builtin.
        name: &'static str,
        /// Checked arguments.
        args: Vec<Expr>,
    },
    /// A function of the script. A result that is no scalar goes to memory of the caller.
    CallFn {
        /// Index into `Program::functions`.
        func: usize,
        /// Arguments.
        args: Vec<Expr>,
    },
}

/// A field's place in a composite.
#[derive(Clone, PartialEq, Debug)]
pub struct Access {
    /// Bytes from the base.
    pub offset: u32,
    /// Bit field: (first bit from the least significant of the unit of `unit` bytes at `offset`, width, unit).
    pub bits: Option<(u8, u8, u8)>,
    /// How CO-RE names it; `None` for types that are not the kernel's.
    pub core: Option<CoreReloc>,
}
