//! Statements of the checked program.

use super::{Expr, MapNo, PacketChange, VarId};
use crate::ast::Span;
use skep_bpf::event::Action;

/// A statement.
#[derive(Clone, PartialEq, Debug)]
pub struct Stmt {
    /// What.
    pub kind: StmtKind,
    /// Where.
    pub span: Span,
}

/// Kinds of statement.
#[derive(Clone, PartialEq, Debug)]
pub enum StmtKind {
    /// For its effect.
    Expr(Expr),
    /// `$x = e`; the types agree (strings may be shorter than the variable's).
    AssignVar(VarId, Expr),
    /// `@m[k] = e`; not for aggregations.
    AssignMap {
        /// Map.
        map: MapNo,
        /// Key parts, of the map's key types (strings may be shorter).
        key: Vec<Expr>,
        /// Value, of the map's value type.
        value: Expr,
    },
    /// `@m[k] = count()` and so on. `arg`: i64/u64 by the aggregation's sign; histograms: i64.
    Aggregate {
        /// Map; its value type is the aggregation.
        map: MapNo,
        /// Key.
        key: Vec<Expr>,
        /// What is added (`None` for count).
        arg: Option<Expr>,
        /// Weight of a histogram entry (1 without).
        weight: Option<Expr>,
    },
    /// `delete(@m[k])` as a statement (as an expression it is `ExprKind::Delete`).
    Delete {
        /// Map.
        map: MapNo,
        /// Key; empty for a map without.
        key: Vec<Expr>,
    },
    /// Sends an event: printf, print, clear, zero, time, join, system, cat, exit … For `Action::Exit` the program ends
    /// behind it.
    Emit {
        /// What the reader does; map numbers in it are `MapNo`s.
        action: Action,
        /// Arguments.
        args: Vec<Expr>,
        /// Where the macros that this stands in were used, from the inside out.
        uses: Vec<Span>,
    },
    /// `if`
    If {
        /// Condition, `bool` or an integer (true: not zero).
        cond: Expr,
        /// Then.
        then: Vec<Stmt>,
        /// Else.
        other: Vec<Stmt>,
    },
    /// `while`
    While {
        /// Condition.
        cond: Expr,
        /// Body.
        body: Vec<Stmt>,
    },
    /// `unroll`, count known.
    Unroll {
        /// Times.
        count: u32,
        /// Body.
        body: Vec<Stmt>,
    },
    /// `for ($kv : @m)`; `$kv` is a tuple of key (a tuple if the key has several parts) and value.
    ForMap {
        /// Loop variable.
        var: VarId,
        /// Map.
        map: MapNo,
        /// Body.
        body: Vec<Stmt>,
    },
    /// `for ($i : a..b)`
    ForRange {
        /// Loop variable, i64.
        var: VarId,
        /// First.
        start: Expr,
        /// Behind the last.
        end: Expr,
        /// Body.
        body: Vec<Stmt>,
    },
    /// Changes the packet; where that is not possible, the probe ends with the default verdict.
    ChangePacket(PacketChange),
    /// `return`
    Return(Option<Expr>),
    /// `break`
    Break,
    /// `continue`
    Continue,
}
