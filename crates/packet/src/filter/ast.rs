//! The parsed expression: what was written, with places, names not yet looked up.

use super::words::{AddrKind, Dir, Proto};
use skep_lang::ast::Span;
use std::net::Ipv6Addr;

/// Index of a node in [`Tree::exprs`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExprId(pub u32);

/// Index of a node in [`Tree::terms`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ArithId(pub u32);

/// An expression. Children come before their parents, in the order of the text.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Tree {
    /// Boolean nodes.
    pub exprs: Vec<(Expr, Span)>,
    /// Arithmetic nodes.
    pub terms: Vec<(Arith, Span)>,
}

/// Qualifiers of a name, number or address. `None` is "not said".
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Quals {
    /// Protocol.
    pub proto: Option<Proto>,
    /// Direction.
    pub dir: Option<Dir>,
    /// Kind.
    pub kind: Option<AddrKind>,
}

/// What a primitive names.
#[derive(Clone, PartialEq, Debug)]
pub enum Id {
    /// A name.
    Name(String),
    /// A number.
    Number(u32),
    /// An IPv4 address or the first part of one.
    Ipv4(String),
    /// `ADDRESS/LENGTH`
    Ipv4Prefix(String, u32),
    /// `ADDRESS mask ADDRESS`
    Ipv4Mask(String, String),
    /// An IPv6 address.
    Ipv6(Ipv6Addr),
    /// `ADDRESS/LENGTH`
    Ipv6Prefix(Ipv6Addr, u32),
    /// A link-layer address.
    Mac([u8; 6]),
}

/// A boolean node.
#[derive(Clone, PartialEq, Debug)]
pub enum Expr {
    /// Both.
    And(ExprId, ExprId),
    /// Either.
    Or(ExprId, ExprId),
    /// The opposite.
    Not(ExprId),
    /// Qualifiers and what they qualify.
    Id(Quals, Id),
    /// A protocol on its own.
    Proto(Proto),
    /// A comparison.
    Relation(Relop, ArithId, ArithId),
    /// `PROTO broadcast`
    Broadcast(Option<Proto>),
    /// `PROTO multicast`
    Multicast(Option<Proto>),
    /// `less N`
    Less(u32),
    /// `greater N`
    Greater(u32),
    /// `byte N OP M`
    Byte(u32, ByteOp, u32),
    /// `inbound`; `outbound` if true.
    Direction(bool),
    /// `ifindex N`
    Ifindex(u32),
    /// A layer that what follows lies in.
    Shift(Shift, Option<u32>),
    /// `pppoed`
    Pppoed,
    /// `llc` and a type.
    Llc(Option<String>),
}

/// Layers that move what follows them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each is the word")]
pub enum Shift {
    Vlan,
    Mpls,
    Pppoes,
    Geneve,
    Vxlan,
}

/// Comparisons.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each is the sign")]
pub enum Relop {
    Gt,
    Ge,
    Eq,
    Le,
    Lt,
    Ne,
}

/// What `byte` can test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each is the sign")]
pub enum ByteOp {
    And,
    Or,
    Lt,
    Gt,
    Eq,
}

/// An arithmetic node: 32 bits without a sign.
#[derive(Clone, PartialEq, Debug)]
pub enum Arith {
    /// A number.
    Number(u32),
    /// The packet's length.
    Len,
    /// `-a`
    Neg(ArithId),
    /// `a OP b`
    Bin(ArithOp, ArithId, ArithId),
    /// `PROTO[index : bytes]`
    Load {
        /// Relative to the beginning of this protocol's header.
        proto: Proto,
        /// Where.
        index: ArithId,
        /// 1, 2 or 4, or a mistake.
        bytes: u32,
    },
}

/// Arithmetic operators.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "each is the operation")]
pub enum ArithOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    And,
    Or,
    Xor,
    Shl,
    Shr,
}

impl Tree {
    /// A boolean node.
    pub fn expr(&self, id: ExprId) -> &(Expr, Span) {
        &self.exprs[id.0 as usize]
    }

    /// An arithmetic node.
    pub fn arith(&self, id: ArithId) -> &(Arith, Span) {
        &self.terms[id.0 as usize]
    }
}
