//! Numbers values: what a dominating instruction has computed already is not computed again, and a condition that a
//! dominating branch has decided is not tested again.
//!
//! Shared are pure operations, helpers whose result cannot change within one run (process, CPU, task; no clocks), and
//! loads of the context where it cannot change. Instructions are only ever replaced by earlier ones, nothing is moved,
//! so a load or a cast stays behind the checks before it. A `bound` is never shared.

use super::Env;
use super::subst::Substitution;
use crate::ir::op::{Cc, Cond, Op, Terminator};
use crate::ir::types::{Block, Inst, PtrKind, Type, Value, Width};
use crate::ir::{Cfg, DomTree, Function, eval};
use std::collections::HashMap;

/// Runs the pass.
pub fn run(func: &mut Function, env: &Env) {
    let cfg = Cfg::new(func);
    let dom = DomTree::new(&cfg);
    let mut pass = Numbering {
        share_ctx: env.ctx_is_constant && !stores_to_ctx(func),
        values: HashMap::new(),
        conds: HashMap::new(),
        undo: Vec::new(),
        subst: Substitution::new(func),
    };
    let mut open: Vec<(usize, usize)> = Vec::new();
    for (at, &block) in dom.preorder().iter().enumerate() {
        while let Some(&(end, undo)) = open.last()
            && end <= at
        {
            pass.leave(undo);
            open.pop();
        }
        open.push((at + dom.subtree(block).len(), pass.undo.len()));
        if let [pred] = cfg.preds(block) {
            pass.learn(func, *pred, block);
        }
        pass.block(func, block);
    }
    pass.subst.apply(func);
}

fn stores_to_ctx(func: &Function) -> bool {
    let is_ctx = |v: &Value| func.type_of(*v) == Type::Ptr(PtrKind::Ctx);
    let mut insts = func.blocks.iter().flat_map(|b| &b.insts).map(|i| &func.inst(*i).op);
    insts.any(|op| match op {
        Op::Store { ptr, .. } | Op::Atomic { ptr, .. } => is_ctx(ptr),
        Op::Copy { dst, .. } | Op::Zero { dst, .. } => is_ctx(dst),
        _ => false,
    })
}

/// An operation with its result's type.
type Key = (Op, Type);

/// A condition without its opposite: `Ne` is the opposite of `Eq`, and so on.
type CondKey = (Cc, Width, Value, Value);

enum Undo {
    Value(Key),
    Cond(CondKey, Option<bool>),
}

struct Numbering {
    share_ctx: bool,
    values: HashMap<Key, Value>,
    conds: HashMap<CondKey, bool>,
    undo: Vec<Undo>,
    subst: Substitution,
}

/// A condition's key, and what the key's value must be for the condition to hold.
fn cond_key(cond: &Cond) -> (CondKey, bool) {
    let (cc, holds) = match cond.cc {
        Cc::Ne | Cc::Uge | Cc::Ugt | Cc::Sge | Cc::Sgt => (eval::negate(cond.cc).unwrap_or(cond.cc), false),
        cc => (cc, true),
    };
    ((cc, cond.width, cond.a, cond.b), holds)
}

impl Numbering {
    fn leave(&mut self, undo: usize) {
        for entry in self.undo.drain(undo..).rev() {
            match entry {
                Undo::Value(key) => {
                    self.values.remove(&key);
                }
                Undo::Cond(key, Some(old)) => {
                    self.conds.insert(key, old);
                }
                Undo::Cond(key, None) => {
                    self.conds.remove(&key);
                }
            }
        }
    }

    /// Notes what the branch at the end of `pred` says in `block`, which only that branch leads to.
    fn learn(&mut self, func: &Function, pred: Block, block: Block) {
        let Some(Terminator::Branch { cond, then, other }) = &func.block(pred).term else { return };
        if then.block == other.block {
            return;
        }
        let (key, holds) = cond_key(cond);
        let old = self.conds.insert(key, (then.block == block) == holds);
        self.undo.push(Undo::Cond(key, old));
    }

    fn known(&self, cond: &Cond) -> Option<bool> {
        let (key, holds) = cond_key(cond);
        self.conds.get(&key).map(|v| *v == holds)
    }

    fn block(&mut self, func: &mut Function, block: Block) {
        let mut insts = std::mem::take(&mut func.block_mut(block).insts);
        insts.retain(|inst| self.inst(func, *inst));
        func.block_mut(block).insts = insts;
        let Some(mut term) = func.block_mut(block).term.take() else { return };
        term.map_operands(|v| self.subst.find(v));
        if let Terminator::Branch { cond, then, other } = term {
            term = match self.known(&cond) {
                Some(true) => Terminator::Jump(then),
                Some(false) => Terminator::Jump(other),
                None => Terminator::Branch { cond, then, other },
            };
        }
        func.block_mut(block).term = Some(term);
    }

    /// Whether the instruction stays.
    fn inst(&mut self, func: &mut Function, inst: Inst) -> bool {
        let data = &mut func.insts[inst.index()];
        data.op.map_operands(|v| self.subst.find(v));
        if let Op::Cmp(cond) = &data.op
            && let Some(holds) = self.known(cond)
        {
            data.op = Op::Const(holds.into());
        }
        let Some(result) = data.result else { return true };
        let ty = func.type_of(result);
        let op = &func.insts[inst.index()].op;
        if !self.is_shared(func, op, ty) {
            return true;
        }
        let key = (sorted(op.clone()), by_bits(op, ty));
        if let Some(&earlier) = self.values.get(&key) {
            self.subst.replace(result, earlier);
            return false;
        }
        if let (Op::Const(_), Type::Int(int)) = (op, ty)
            && int.bits < 64
        {
            // It will stand for the same number of any type.
            func.values[result.index()].ty = Type::U64;
        }
        self.values.insert(key.clone(), result);
        self.undo.push(Undo::Value(key));
        true
    }

    fn is_shared(&self, func: &Function, op: &Op, ty: Type) -> bool {
        match op {
            Op::Load { ptr, .. } => {
                let packet = matches!(ty, Type::Ptr(PtrKind::Packet | PtrKind::PacketEnd));
                self.share_ctx && !packet && func.type_of(*ptr) == Type::Ptr(PtrKind::Ctx)
            }
            op => op.is_repeatable(),
        }
    }
}

/// The type as far as it makes a difference: integers with the same bits stand for each other where the operation says
/// all about them that the type could.
fn by_bits(op: &Op, ty: Type) -> Type {
    match (op, ty) {
        (Op::Const(_) | Op::Bin { .. } | Op::Un { .. } | Op::Cmp(_), Type::Int(_)) => Type::U64,
        _ => ty,
    }
}

/// The operation with the operands of a commutative one in the order of their numbers.
fn sorted(mut op: Op) -> Op {
    match &mut op {
        Op::Bin { op, a, b, .. } if eval::commutes(*op) && *a > *b => std::mem::swap(a, b),
        Op::Cmp(cond) if matches!(cond.cc, Cc::Eq | Cc::Ne | Cc::Set) && cond.a > cond.b => {
            std::mem::swap(&mut cond.a, &mut cond.b);
        }
        _ => {}
    }
    op
}
