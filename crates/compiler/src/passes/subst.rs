//! Replacing values by values.

use crate::ir::{Function, Value};

/// Which value stands for which. Chains are followed and shortened.
pub(super) struct Substitution {
    to: Vec<Value>,
    any: bool,
}

impl Substitution {
    /// Every value of `func` stands for itself.
    pub(super) fn new(func: &Function) -> Substitution {
        Substitution { to: (0..func.values.len() as u32).map(Value).collect(), any: false }
    }

    /// From now on `by` stands for `value`, which it must not lead back to.
    pub(super) fn replace(&mut self, value: Value, by: Value) {
        self.grow(value);
        self.to[value.index()] = by;
        self.any = true;
    }

    fn grow(&mut self, value: Value) {
        for next in self.to.len()..=value.index() {
            self.to.push(Value(next as u32));
        }
    }

    /// What stands for `value`.
    pub(super) fn find(&mut self, value: Value) -> Value {
        let mut at = value;
        while let Some(&next) = self.to.get(at.index())
            && next != at
        {
            if let Some(&after) = self.to.get(next.index()) {
                self.to[at.index()] = after;
            }
            at = next;
        }
        at
    }

    /// Rewrites all operands of `func`.
    pub(super) fn apply(mut self, func: &mut Function) {
        if !self.any {
            return;
        }
        let Function { blocks, insts, .. } = func;
        for block in blocks {
            for inst in &block.insts {
                insts[inst.index()].op.map_operands(|v| self.find(v));
            }
            if let Some(term) = &mut block.term {
                term.map_operands(|v| self.find(v));
            }
        }
    }
}
