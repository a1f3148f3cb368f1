//! Folds what can be computed now: constants, identities, conversions that change nothing, division and remainder by
//! powers of two; takes constant distances into the offsets of accesses; decides branches whose way is known; and makes
//! a branch on a comparison's result a branch on the comparison.
//!
//! Values are known by [`crate::ir::range`]. That knowledge is the compiler's, not the verifier's: a mask that can be shown
//! to change nothing goes away. What the verifier must see bounded is bounded by `bound`, which stays.

use super::subst::Substitution;
use super::{Env, fold_rules};
use crate::ir::op::{Cc, Cond, Op, Terminator};
use crate::ir::types::{Inst, Loc, PtrKind, Type, Value, Width};
use crate::ir::{Cfg, Function, Range, eval, range};

/// Runs the pass.
pub fn run(func: &mut Function, _: &Env) {
    let cfg = Cfg::new(func);
    let mut folder = Folder {
        ranges: func.values.iter().map(|v| Range::of(v.ty)).collect(),
        defs: vec![None; func.values.len()],
        subst: Substitution::new(func),
        out: Vec::new(),
        loc: Loc::default(),
        func,
    };
    for &block in cfg.rpo() {
        let insts = std::mem::take(&mut folder.func.block_mut(block).insts);
        folder.out = Vec::with_capacity(insts.len());
        for inst in insts {
            folder.inst(inst);
        }
        folder.loc = folder.func.block(block).loc;
        if let Some(mut term) = folder.func.block_mut(block).term.take() {
            term.map_operands(|v| folder.subst.find(v));
            if let Terminator::Branch { cond, .. } = &mut term {
                (cond.a, cond.b) = (folder.strip(cond.a), folder.strip(cond.b));
            }
            let term = folder.terminator(term);
            folder.func.block_mut(block).term = Some(term);
        }
        folder.func.block_mut(block).insts = std::mem::take(&mut folder.out);
    }
    let Folder { subst, func, .. } = folder;
    subst.apply(func);
}

/// What becomes of an operation.
pub(super) enum Folded {
    /// Nothing better was found.
    Keep,
    /// Another operation with the same result.
    Op(Op),
    /// A value that is there already, with another type perhaps.
    Value(Value),
}

/// Walks the function in reverse postorder: definitions come before uses, except through parameters.
pub(super) struct Folder<'a> {
    pub(super) func: &'a mut Function,
    pub(super) ranges: Vec<Range>,
    defs: Vec<Option<Inst>>,
    subst: Substitution,
    out: Vec<Inst>,
    loc: Loc,
}

/// How often one operation is rewritten at most.
const STEPS: usize = 8;

impl Folder<'_> {
    fn inst(&mut self, inst: Inst) {
        self.loc = self.func.inst(inst).loc;
        let mut op = std::mem::replace(&mut self.func.insts[inst.index()].op, Op::Const(0));
        op.map_operands(|v| self.subst.find(v));
        if is_typeless(&op) {
            op.map_operands(|v| self.strip(v));
        }
        let result = self.func.inst(inst).result;
        for _ in 0..STEPS {
            match self.fold(&op, result) {
                Folded::Keep => break,
                Folded::Op(new) => {
                    if !self.is_sound(&new, result) {
                        break;
                    }
                    op = new;
                }
                Folded::Value(value) => {
                    let Some(result) = result else { break };
                    if self.ty(value) == self.ty(result) {
                        self.subst.replace(result, value);
                        return;
                    }
                    op = Op::Cast(value);
                    break;
                }
            }
        }
        if let Some(result) = result {
            self.define(result, inst, &op);
        }
        self.func.insts[inst.index()].op = op;
        self.out.push(inst);
    }

    /// The integer that `value` is a cast of, or the value itself.
    fn strip(&self, mut value: Value) -> Value {
        while let Some(Op::Cast(inner)) = self.def(value)
            && self.is_int(value)
            && self.is_int(*inner)
        {
            value = *inner;
        }
        value
    }

    fn define(&mut self, result: Value, inst: Inst, op: &Op) {
        let ty = self.ty(result);
        self.ranges[result.index()] = range::of_op(op, ty, |v| self.ranges[v.index()]).and(Range::of(ty));
        self.defs[result.index()] = Some(inst);
    }

    /// Whether the result's type can be shown to hold the new operation's result.
    fn is_sound(&self, op: &Op, result: Option<Value>) -> bool {
        match result.map(|v| self.ty(v)) {
            Some(Type::Int(int)) => range::of_op(op, Type::Int(int), |v| self.range(v)).fits(int),
            _ => true,
        }
    }

    pub(super) fn ty(&self, value: Value) -> Type {
        self.func.type_of(value)
    }

    pub(super) fn range(&self, value: Value) -> Range {
        self.ranges[value.index()]
    }

    pub(super) fn is_int(&self, value: Value) -> bool {
        matches!(self.ty(value), Type::Int(_))
    }

    /// The operation that defines a value, if one does.
    pub(super) fn def(&self, value: Value) -> Option<&Op> {
        self.defs[value.index()].map(|inst| &self.func.inst(inst).op)
    }

    /// The number that a value is, if it is defined as one.
    pub(super) fn constant(&self, value: Value) -> Option<i64> {
        match self.def(value) {
            Some(Op::Const(c)) => Some(*c),
            _ => None,
        }
    }

    /// A new constant before the instruction at hand: of type `ty` if it is one of its values, else of 64 bits.
    pub(super) fn make(&mut self, c: i64, ty: Type) -> Value {
        let ty = match ty {
            Type::Int(int) if Range::exact(c).fits(int) => ty,
            _ => Type::I64,
        };
        let value = self.func.new_value(ty);
        let (inst, _) = self.func.new_inst(Op::Const(c), None, self.loc);
        self.func.insts[inst.index()].result = Some(value);
        self.ranges.push(Range::exact(c));
        self.defs.push(Some(inst));
        self.out.push(inst);
        value
    }

    fn fold(&mut self, op: &Op, result: Option<Value>) -> Folded {
        if let Some(result) = result
            && self.is_int(result)
            && op.is_pure()
            && !matches!(op, Op::Const(_))
            && let Some(c) = range::of_op(op, self.ty(result), |v| self.range(v)).constant()
        {
            return Folded::Op(Op::Const(c));
        }
        match op {
            Op::Bin { op, width, a, b } => fold_rules::bin(self, *op, *width, *a, *b),
            Op::Un { op, a } => fold_rules::un(self, *op, *a),
            Op::Cmp(cond) => fold_rules::cmp(self, cond),
            Op::Select { cond, a, b } => fold_rules::select(self, cond, *a, *b),
            Op::Cast(a) => fold_rules::cast(self, *a, result),
            Op::PtrAdd { ptr, off } => fold_rules::pointer_add(self, *ptr, *off),
            Op::Load { .. } | Op::Store { .. } | Op::Atomic { .. } | Op::Copy { .. } | Op::Zero { .. } => {
                self.address(op)
            }
            _ => Folded::Keep,
        }
    }

    /// `ptr + constant` as base of an access.
    fn distance(&self, ptr: Value) -> Option<(Value, i64)> {
        if self.ty(ptr) == Type::Ptr(PtrKind::Packet) {
            return None;
        }
        match self.def(ptr) {
            Some(Op::PtrAdd { ptr, off }) => Some((*ptr, self.constant(*off)?)),
            _ => None,
        }
    }

    /// Takes constant distances into the offset of an access.
    fn address(&self, op: &Op) -> Folded {
        let mut new = op.clone();
        let moved = match &mut new {
            Op::Load { ptr, off, .. } | Op::Store { ptr, off, .. } => {
                let field = off.resolved() - i64::from(off.add);
                self.shorten(ptr, &mut off.add, field)
            }
            Op::Atomic { ptr, off, .. } | Op::Zero { dst: ptr, off, .. } => self.shorten(ptr, off, 0),
            Op::Copy { dst, dst_off, src, src_off, .. } => {
                let moved = self.shorten(dst, dst_off, 0);
                self.shorten(src, src_off, 0) || moved
            }
            _ => false,
        };
        if moved { Folded::Op(new) } else { Folded::Keep }
    }

    fn shorten(&self, ptr: &mut Value, off: &mut i32, field: i64) -> bool {
        let Some((base, distance)) = self.distance(*ptr) else { return false };
        let Some(sum) = distance.checked_add(i64::from(*off)) else { return false };
        let (Ok(sum), Some(Ok(_))) = (i32::try_from(sum), sum.checked_add(field).map(i16::try_from)) else {
            return false;
        };
        (*ptr, *off) = (base, sum);
        true
    }

    fn terminator(&mut self, term: Terminator) -> Terminator {
        let Terminator::Branch { cond, mut then, mut other } = term else { return term };
        let mut cond = cond;
        for _ in 0..STEPS {
            match fold_rules::branch(self, &cond) {
                fold_rules::Branched::Keep => break,
                fold_rules::Branched::Cond(new, inverted) => {
                    cond = new;
                    if inverted {
                        std::mem::swap(&mut then, &mut other);
                    }
                }
            }
        }
        match self.decide(&cond) {
            Some(true) => Terminator::Jump(then),
            Some(false) => Terminator::Jump(other),
            None if then == other => Terminator::Jump(then),
            None => Terminator::Branch { cond, then, other },
        }
    }

    /// Whether a condition is known to hold, or not to.
    pub(super) fn decide(&self, cond: &Cond) -> Option<bool> {
        if cond.a == cond.b && cond.cc != Cc::Set {
            return Some(matches!(cond.cc, Cc::Eq | Cc::Ule | Cc::Uge | Cc::Sle | Cc::Sge));
        }
        if !self.is_int(cond.a) || !self.is_int(cond.b) {
            return None;
        }
        let (a, b) = (self.range(cond.a), self.range(cond.b));
        if let (Some(a), Some(b)) = (a.constant(), b.constant()) {
            return Some(eval::cond(cond.cc, cond.width, a, b));
        }
        let low = |r: Range| r.umax <= i32::MAX as u64;
        if cond.width == Width::W32 && !(low(a) && low(b)) {
            return None;
        }
        decide_ranges(cond.cc, a, b)
    }
}

/// Whether only the bits of integer operands matter, not their types.
fn is_typeless(op: &Op) -> bool {
    let arithmetic =
        matches!(op, Op::Bin { .. } | Op::Un { .. } | Op::Cmp(_) | Op::PtrAdd { .. } | Op::Bound { .. });
    arithmetic || matches!(op, Op::Store { .. } | Op::Atomic { .. } | Op::Helper { .. } | Op::Kfunc { .. })
}

fn decide_ranges(cc: Cc, a: Range, b: Range) -> Option<bool> {
    // Whether each a is (left) or none is (right) below, or not above, each b.
    let less = |holds: bool, fails: bool| if holds { Some(true) } else { fails.then_some(false) };
    match cc {
        Cc::Ult => less(a.umax < b.umin, a.umin >= b.umax),
        Cc::Uge => less(a.umin >= b.umax, a.umax < b.umin),
        Cc::Ugt => less(a.umin > b.umax, a.umax <= b.umin),
        Cc::Ule => less(a.umax <= b.umin, a.umin > b.umax),
        Cc::Slt => less(a.smax < b.smin, a.smin >= b.smax),
        Cc::Sge => less(a.smin >= b.smax, a.smax < b.smin),
        Cc::Sgt => less(a.smin > b.smax, a.smax <= b.smin),
        Cc::Sle => less(a.smax <= b.smin, a.smin > b.smax),
        Cc::Eq | Cc::Ne => {
            let apart = a.umax < b.umin || b.umax < a.umin || a.smax < b.smin || b.smax < a.smin;
            apart.then_some(cc == Cc::Ne)
        }
        Cc::Set => None,
    }
}
