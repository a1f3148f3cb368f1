//! Removes bounds that the verifier does not need: of a value that it sees bounded by the operation that makes it.
//!
//! Only what the verifier itself works out counts (masks, shifts by constants, loads of few bits), and only within one
//! block without a call between the operation and the use: kernels before 5.11 forget the range of a number that is
//! spilled to the stack (kernel/bpf/verifier.c, check_stack_write). A bound of a bound becomes one.

use super::Env;
use super::subst::Substitution;
use crate::ir::op::{BinOp, Op, UnOp};
use crate::ir::types::{Block, Inst, Type, Value};
use crate::ir::{Cfg, Function};

/// How many operations are looked through.
const DEPTH: u32 = 4;

/// Runs the pass.
pub fn run(func: &mut Function, _: &Env) {
    let mut bounds = Vec::new();
    for (i, block) in func.blocks.iter().enumerate() {
        for inst in &block.insts {
            if matches!(func.inst(*inst).op, Op::Bound { .. }) {
                bounds.push((Block(i as u32), *inst));
            }
        }
    }
    if bounds.is_empty() {
        return;
    }
    let spans = Spans::new(func);
    let mut subst = Substitution::new(func);
    let cfg = Cfg::new(func);
    bounds.sort_by_key(|(block, _)| cfg.rpo_index(*block));
    for (_, inst) in bounds {
        let (Op::Bound { v, max }, Some(result)) = (&func.inst(inst).op, func.inst(inst).result) else {
            continue;
        };
        let (v, max) = (subst.find(*v), *max);
        let same_type = func.type_of(v) == func.type_of(result);
        match spans.def(func, v) {
            Some(Op::Bound { max: inner, .. }) if *inner <= max && same_type => subst.replace(result, v),
            Some(Op::Bound { v: inner, .. }) if func.type_of(*inner) == func.type_of(result) => {
                let v = *inner;
                func.insts[inst.index()].op = Op::Bound { v, max };
            }
            _ => {
                let known = most(func, &spans, v, DEPTH).is_some_and(|most| most <= max);
                if known && same_type && spans.is_close(v, result) {
                    subst.replace(result, v);
                }
            }
        }
    }
    subst.apply(func);
}

/// The greatest that the verifier takes a value to be, without sign.
fn most(func: &Function, spans: &Spans, value: Value, depth: u32) -> Option<u64> {
    let left = depth.checked_sub(1)?;
    match spans.def(func, value)? {
        Op::Const(c) => Some(*c as u64),
        Op::Load { ty: Type::Int(int), .. } if !int.signed && int.bits >= 8 && int.bits <= 32 => {
            Some((1 << int.bits) - 1)
        }
        Op::Un { op: UnOp::Extend(int), .. } if !int.signed && int.bits < 64 => Some((1 << int.bits) - 1),
        Op::Bin { op: BinOp::And, a, b, .. } => {
            let (a, b) = (most(func, spans, *a, left), most(func, spans, *b, left));
            a.into_iter().chain(b).min()
        }
        Op::Bin { op: BinOp::Lshr, a, b, .. } => {
            let Op::Const(count @ 0..64) = spans.def(func, *b)? else { return None };
            Some(most(func, spans, *a, left).unwrap_or(u64::MAX) >> count)
        }
        Op::Bin { op: BinOp::Add, a, b, .. } => {
            most(func, spans, *a, left)?.checked_add(most(func, spans, *b, left)?)
        }
        Op::Cast(a) => most(func, spans, *a, left),
        _ => None,
    }
}

/// Where values are defined and last used, as long as that is within one block.
struct Spans {
    defs: Vec<Option<Inst>>,
    /// Block, position in it, and calls before it in it, of the definition.
    made: Vec<Option<(u32, u32)>>,
    /// Block and calls before the last use, if all uses are in one block.
    used: Vec<Use>,
}

#[derive(Clone, Copy, PartialEq)]
enum Use {
    Never,
    In(u32, u32),
    Scattered,
}

impl Spans {
    fn new(func: &Function) -> Spans {
        let count = func.values.len();
        let mut spans =
            Spans { defs: func.definitions(), made: vec![None; count], used: vec![Use::Never; count] };
        for (i, block) in func.blocks.iter().enumerate() {
            let mut calls = 0;
            for inst in &block.insts {
                let data = func.inst(*inst);
                data.op.for_each_operand(|v| spans.use_at(v, i as u32, calls));
                calls += u32::from(data.op.is_call());
                if let Some(result) = data.result {
                    spans.made[result.index()] = Some((i as u32, calls));
                }
            }
            if let Some(term) = &block.term {
                term.for_each_operand(|v| spans.use_at(v, i as u32, calls));
            }
        }
        spans
    }

    fn use_at(&mut self, value: Value, block: u32, calls: u32) {
        let used = &mut self.used[value.index()];
        *used = match *used {
            Use::Never => Use::In(block, calls),
            Use::In(b, before) if b == block => Use::In(block, before.max(calls)),
            _ => Use::Scattered,
        };
    }

    fn def<'f>(&self, func: &'f Function, value: Value) -> Option<&'f Op> {
        self.defs.get(value.index())?.map(|inst| &func.inst(inst).op)
    }

    /// Whether all uses of `result` are in the block that makes `value`, with no call between.
    fn is_close(&self, value: Value, result: Value) -> bool {
        match (self.made[value.index()], self.used[result.index()]) {
            (_, Use::Never) => true,
            (Some((block, calls)), Use::In(in_block, before)) => block == in_block && calls == before,
            _ => false,
        }
    }
}
