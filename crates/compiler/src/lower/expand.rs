//! Large copies and zeroing become bounded loops of the IR; what is left is small enough to unroll.
//!
//! The loop counts bytes up to a constant, so every kernel from 5.3 on proves that it ends. It moves eight pieces a
//! round; the rest behind the loop is an operation of its own.

use super::chain::{Chains, chunks};
use crate::ir::{Block, Cc, Cond, Edge, Function, IntTy, Loc, Offset, Op, Terminator, Type, Value, Width};

/// Accesses (or pairs of them) that an operation is unrolled to at most.
const UNROLL: usize = 64;
/// Accesses in one round of a loop.
const ROUND: u32 = 8;

/// Makes loops of the large copies in `func`.
pub(crate) fn expand(func: &mut Function) {
    let mut found = Vec::new();
    {
        let chains = Chains::new(func);
        for (b, block) in func.blocks.iter().enumerate() {
            for (i, inst) in block.insts.iter().enumerate().rev() {
                let op = &func.inst(*inst).op;
                let (len, align) = match op {
                    Op::Zero { dst, off, len, align } => (*len, chains.alignment(*dst, *off, *align)),
                    Op::Copy { dst, dst_off, src, src_off, len, align } => {
                        let to = chains.alignment(*dst, *dst_off, *align);
                        (*len, to.min(chains.alignment(*src, *src_off, *align)))
                    }
                    _ => continue,
                };
                if chunks(len, align).take(UNROLL + 1).count() > UNROLL {
                    found.push((Block(b as u32), i, align));
                }
            }
        }
    }
    // The last of a block first: positions before it stay.
    for (block, i, align) in found {
        make_loop(func, block, i, align);
    }
}

/// Moves what follows position `at` of `block`, and its end, to a new block.
pub(crate) fn split_block(func: &mut Function, block: Block, at: usize) -> Block {
    let new = func.new_block();
    let data = func.block_mut(block);
    let insts = data.insts.split_off(at.min(data.insts.len()));
    let (term, loc, cold) = (data.term.take(), data.loc, data.cold);
    let data = func.block_mut(new);
    (data.insts, data.term, data.loc, data.cold) = (insts, term, loc, cold);
    new
}

/// Appends instructions to a block.
pub(crate) struct Append<'a> {
    pub func: &'a mut Function,
    pub at: Block,
    pub loc: Loc,
}

impl Append<'_> {
    pub(crate) fn value(&mut self, op: Op, ty: Type) -> Value {
        let v = self.func.new_value(ty);
        let (inst, _) = self.func.new_inst(op, None, self.loc);
        self.func.insts[inst.index()].result = Some(v);
        self.func.block_mut(self.at).insts.push(inst);
        v
    }

    pub(crate) fn push(&mut self, op: Op) {
        let (inst, _) = self.func.new_inst(op, None, self.loc);
        self.func.block_mut(self.at).insts.push(inst);
    }

    pub(crate) fn constant(&mut self, c: i64) -> Value {
        self.value(Op::Const(c), Type::U64)
    }

    pub(crate) fn end(&mut self, term: Terminator) {
        let loc = self.loc;
        let block = self.func.block_mut(self.at);
        (block.term, block.loc) = (Some(term), loc);
    }

    pub(crate) fn jump(&mut self, block: Block, args: Vec<Value>) {
        self.end(Terminator::Jump(Edge { block, args }));
    }

    pub(crate) fn branch(&mut self, cc: Cc, a: Value, b: Value, then: Edge, other: Edge) {
        self.end(Terminator::Branch { cond: Cond { cc, width: Width::W64, a, b }, then, other });
    }
}

fn make_loop(func: &mut Function, block: Block, at: usize, align: u32) {
    let inst = func.block(block).insts[at];
    let (op, loc) = (func.inst(inst).op.clone(), func.inst(inst).loc);
    let (dst, dst_off, source, len) = match &op {
        Op::Zero { dst, off, len, .. } => (*dst, *off, None, *len),
        Op::Copy { dst, dst_off, src, src_off, len, .. } => (*dst, *dst_off, Some((*src, *src_off)), *len),
        _ => return,
    };
    let round = ROUND * align;
    let done = len / round * round;
    let rest = split_block(func, block, at + 1);
    func.block_mut(block).insts.pop();
    let cold = func.block(block).cold;
    let head = func.new_block();
    func.block_mut(head).cold = cold;
    let i = func.new_value(Type::U64);
    func.block_mut(head).params.push(i);
    let mut a = Append { func, at: block, loc };
    let zero = a.constant(0);
    a.jump(head, vec![zero]);
    a.at = head;
    let ty = Type::Int(IntTy { bits: (8 * align) as u8, signed: false });
    let to_ty = a.func.type_of(dst);
    let to = a.value(Op::PtrAdd { ptr: dst, off: i }, to_ty);
    let from = source.map(|(src, off)| {
        let ty = a.func.type_of(src);
        (a.value(Op::PtrAdd { ptr: src, off: i }, ty), off)
    });
    for n in 0..ROUND {
        let n = (n * align) as i32;
        let val = match from {
            Some((ptr, off)) => a.value(Op::Load { ty, ptr, off: Offset::at(off.saturating_add(n)) }, ty),
            None => a.constant(0),
        };
        a.push(Op::Store { size: align as u8, ptr: to, off: Offset::at(dst_off.saturating_add(n)), val });
    }
    let step = a.constant(i64::from(round));
    let next = a.value(Op::Bin { op: crate::ir::BinOp::Add, width: Width::W64, a: i, b: step }, Type::U64);
    let end = a.constant(i64::from(done));
    let (again, out) = (Edge { block: head, args: vec![next] }, Edge { block: rest, args: Vec::new() });
    a.branch(Cc::Ult, next, end, again, out);
    if len > done {
        let (left, shift) = (len - done, done as i32);
        let op = match source {
            None => Op::Zero { dst, off: dst_off.saturating_add(shift), len: left, align: align as u8 },
            Some((src, src_off)) => Op::Copy {
                dst,
                dst_off: dst_off.saturating_add(shift),
                src,
                src_off: src_off.saturating_add(shift),
                len: left,
                align: align as u8,
            },
        };
        let (inst, _) = func.new_inst(op, None, loc);
        func.block_mut(rest).insts.insert(0, inst);
    }
}
