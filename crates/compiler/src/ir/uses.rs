//! What instructions and terminators read, and what else they do: operand visitors, effects, use counts.
//!
//! An operation enters; its operands, edges and effect leave. Operands are visited in the order of the fields, an
//! operand used twice is visited twice, and the edges of a terminator are visited `then` (or `body`) first.

use super::func::Function;
use super::op::{Cond, Edge, Op, Terminator};
use super::types::{Block, Inst, Value};
use skep_bpf::helpers::{self, Effect};

/// Matches an operation (by shared or by mutable reference) and hands a reference to each operand to `$each`.
macro_rules! visit_op {
    ($op:expr, $each:ident) => {
        match $op {
            Op::Const(_)
            | Op::CoreConst { .. }
            | Op::SlotAddr(_)
            | Op::MapRef(_)
            | Op::MapValueAddr { .. }
            | Op::FuncAddr(_)
            | Op::KernelSymbol(_) => {}
            Op::Un { a: x, .. } | Op::Cast(x) | Op::Bound { v: x, .. } => $each(x),
            Op::Load { ptr, .. } | Op::Zero { dst: ptr, .. } => $each(ptr),
            Op::Bin { a: x, b: y, .. }
            | Op::Cmp(Cond { a: x, b: y, .. })
            | Op::Store { ptr: x, val: y, .. }
            | Op::Atomic { ptr: x, val: y, .. }
            | Op::PtrAdd { ptr: x, off: y }
            | Op::Copy { dst: x, src: y, .. } => {
                $each(x);
                $each(y);
            }
            Op::Select { cond: Cond { a: x, b: y, .. }, a, b } => {
                $each(x);
                $each(y);
                $each(a);
                $each(b);
            }
            Op::Helper { args, .. } | Op::Kfunc { args, .. } | Op::Call { args, .. } => {
                for arg in args {
                    $each(arg);
                }
            }
        }
    };
}

/// The same for a terminator: first the condition, then the arguments of its edges.
macro_rules! visit_term {
    ($term:expr, $each:ident) => {
        match $term {
            Terminator::Return(x) => $each(x),
            Terminator::Jump(edge) => {
                let Edge { args, .. } = edge;
                for arg in args {
                    $each(arg);
                }
            }
            Terminator::Branch { cond: Cond { a, b, .. }, then, other } => {
                $each(a);
                $each(b);
                let (Edge { args: then, .. }, Edge { args: other, .. }) = (then, other);
                for arg in then {
                    $each(arg);
                }
                for arg in other {
                    $each(arg);
                }
            }
            Terminator::MayGoto { body, exit } => {
                let (Edge { args: body, .. }, Edge { args: exit, .. }) = (body, exit);
                for arg in body {
                    $each(arg);
                }
                for arg in exit {
                    $each(arg);
                }
            }
        }
    };
}

impl Op {
    /// Calls `f` with each operand.
    pub fn for_each_operand(&self, mut f: impl FnMut(Value)) {
        let mut each = |v: &Value| f(*v);
        visit_op!(self, each)
    }

    /// Replaces each operand by what `f` makes of it.
    pub fn map_operands(&mut self, mut f: impl FnMut(Value) -> Value) {
        let mut each = |v: &mut Value| *v = f(*v);
        visit_op!(self, each)
    }

    /// Whether the result depends on the operands alone and nothing else happens. Such an instruction may be removed
    /// when its result is not used. (A [`Op::Bound`] is pure, but is never shared or moved.)
    pub fn is_pure(&self) -> bool {
        !self.reads_memory() && !self.has_side_effect() && !matches!(self, Op::Helper { .. })
    }

    /// Whether the result, or what is written, depends on memory that something else can change.
    pub fn reads_memory(&self) -> bool {
        match self {
            Op::Load { .. } | Op::Atomic { .. } | Op::Copy { .. } | Op::Kfunc { .. } | Op::Call { .. } => {
                true
            }
            Op::Helper { id, .. } => !stable_helper(*id),
            _ => false,
        }
    }

    /// Whether memory, or anything else outside of the result, may be changed: the instruction must stay even when
    /// its result is not used, and in its order among others such.
    pub fn has_side_effect(&self) -> bool {
        match self {
            Op::Store { .. } | Op::Atomic { .. } | Op::Copy { .. } | Op::Zero { .. } => true,
            Op::Kfunc { .. } | Op::Call { .. } => true,
            Op::Helper { id, .. } => !removable_helper(*id),
            _ => false,
        }
    }

    /// Whether this is a call, after which only the callee-saved registers hold what they held.
    pub fn is_call(&self) -> bool {
        matches!(self, Op::Helper { .. } | Op::Kfunc { .. } | Op::Call { .. })
    }

    /// Whether a second execution with the same operands in the same run of the program gives the same result, so
    /// that the first may stand for it: pure operations but [`Op::Bound`], and the helpers of [`stable_helper`].
    pub fn is_repeatable(&self) -> bool {
        match self {
            Op::Bound { .. } => false,
            Op::Helper { id, .. } => stable_helper(*id),
            op => op.is_pure(),
        }
    }
}

impl Terminator {
    /// Calls `f` with each operand: the condition's, then the edges' arguments.
    pub fn for_each_operand(&self, mut f: impl FnMut(Value)) {
        let mut each = |v: &Value| f(*v);
        visit_term!(self, each)
    }

    /// Replaces each operand by what `f` makes of it.
    pub fn map_operands(&mut self, mut f: impl FnMut(Value) -> Value) {
        let mut each = |v: &mut Value| *v = f(*v);
        visit_term!(self, each)
    }

    /// The edges: none, one or two.
    pub fn edges(&self) -> impl DoubleEndedIterator<Item = &Edge> {
        let (first, second) = match self {
            Terminator::Return(_) => (None, None),
            Terminator::Jump(edge) => (Some(edge), None),
            Terminator::Branch { then, other, .. } => (Some(then), Some(other)),
            Terminator::MayGoto { body, exit } => (Some(body), Some(exit)),
        };
        first.into_iter().chain(second)
    }

    /// The edges, to change them.
    pub fn edges_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Edge> {
        let (first, second) = match self {
            Terminator::Return(_) => (None, None),
            Terminator::Jump(edge) => (Some(edge), None),
            Terminator::Branch { then, other, .. } => (Some(then), Some(other)),
            Terminator::MayGoto { body, exit } => (Some(body), Some(exit)),
        };
        first.into_iter().chain(second)
    }

    /// The blocks that the edges lead to, one for each edge.
    pub fn successors(&self) -> impl DoubleEndedIterator<Item = Block> {
        self.edges().map(|e| e.block)
    }
}

impl Function {
    /// How often each value is an operand of an instruction or terminator that stands in a block, by value number.
    pub fn use_counts(&self) -> Vec<u32> {
        let mut counts = vec![0u32; self.values.len()];
        let mut count = |v: Value| {
            if let Some(n) = counts.get_mut(v.index()) {
                *n = n.saturating_add(1);
            }
        };
        for block in &self.blocks {
            for inst in &block.insts {
                self.inst(*inst).op.for_each_operand(&mut count);
            }
            if let Some(term) = &block.term {
                term.for_each_operand(&mut count);
            }
        }
        counts
    }

    /// The operation that defines each value, as an instruction number, by value number; `None` for block parameters
    /// and for values that nothing in a block defines.
    pub fn definitions(&self) -> Vec<Option<Inst>> {
        let mut defs = vec![None; self.values.len()];
        for block in &self.blocks {
            for inst in &block.insts {
                if let Some(def) = self.inst(*inst).result.and_then(|v| defs.get_mut(v.index())) {
                    *def = Some(*inst);
                }
            }
        }
        defs
    }
}

/// Whether a helper gives the same result for the same arguments throughout one run of a program and does nothing
/// else. Clocks are not among them.
pub fn stable_helper(id: u32) -> bool {
    helpers::by_id(id).is_some_and(|h| h.effect == Effect::Constant)
}

/// Whether a call of the helper may be removed when its result is not used: it changes and fills nothing.
pub fn removable_helper(id: u32) -> bool {
    helpers::by_id(id).is_some_and(|h| matches!(h.effect, Effect::Constant | Effect::Reads))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Cc, Width};

    fn operands(op: &Op) -> Vec<u32> {
        let mut out = Vec::new();
        op.for_each_operand(|v| out.push(v.0));
        out
    }

    #[test]
    fn operands_come_in_field_order_and_map_reaches_all() {
        let cond = Cond { cc: Cc::Ult, width: Width::W64, a: Value(1), b: Value(2) };
        let mut op = Op::Select { cond, a: Value(3), b: Value(3) };
        assert_eq!(operands(&op), [1, 2, 3, 3]);
        op.map_operands(|v| Value(v.0 + 10));
        assert_eq!(operands(&op), [11, 12, 13, 13]);
        let op = Op::Helper { id: 1, args: vec![Value(4), Value(5)] };
        assert_eq!(operands(&op), [4, 5]);
    }

    #[test]
    fn terminators_show_condition_and_edges() {
        let cond = Cond { cc: Cc::Eq, width: Width::W64, a: Value(1), b: Value(2) };
        let then = Edge { block: Block(1), args: vec![Value(3)] };
        let other = Edge { block: Block(2), args: vec![Value(4), Value(5)] };
        let mut term = Terminator::Branch { cond, then, other };
        term.map_operands(|v| Value(v.0 * 2));
        let mut seen = Vec::new();
        term.for_each_operand(|v| seen.push(v.0));
        assert_eq!(seen, [2, 4, 6, 8, 10]);
        assert_eq!(term.successors().collect::<Vec<_>>(), [Block(1), Block(2)]);
    }

    #[test]
    fn effects() {
        let helper = |id| Op::Helper { id, args: Vec::new() };
        assert!(helper(14).is_repeatable() && !helper(14).has_side_effect());
        assert!(!helper(5).is_repeatable() && !helper(5).has_side_effect());
        assert!(!helper(1).has_side_effect() && helper(1).reads_memory());
        assert!(helper(2).has_side_effect() && helper(4).has_side_effect() && helper(9999).has_side_effect());
        assert!(Op::Const(1).is_pure() && Op::Const(1).is_repeatable());
        let bound = Op::Bound { v: Value(0), max: 7 };
        assert!(bound.is_pure() && !bound.is_repeatable());
    }
}
