//! Sweeps out what is not needed: blocks that cannot be reached, instructions and block parameters whose results nobody
//! uses, and all writes to slots that nobody reads.

use super::Env;
use super::unify::retain;
use crate::ir::op::Op;
use crate::ir::types::{Block, Inst, Slot, Value};
use crate::ir::{Cfg, Function, Terminator};

/// Runs the pass.
pub fn run(func: &mut Function, _: &Env) {
    prune(func);
    remove_dead_writes(func);
    let live = Liveness::new(func).run();
    remove_dead(func, &live);
}

/// Empties the blocks that cannot be reached. They keep their numbers.
pub fn prune(func: &mut Function) {
    let cfg = Cfg::new(func);
    for (i, block) in func.blocks.iter_mut().enumerate() {
        if !cfg.is_reachable(Block(i as u32)) {
            *block = Default::default();
        }
    }
}

/// Where a value is defined.
#[derive(Clone, Copy)]
enum Def {
    None,
    Inst(Inst),
    Param(Block, u32),
}

struct Liveness<'a> {
    func: &'a Function,
    defs: Vec<Def>,
    /// For each block, the blocks with an edge to it.
    cfg: Cfg,
    live: Vec<bool>,
    work: Vec<Value>,
}

impl<'a> Liveness<'a> {
    fn new(func: &'a Function) -> Liveness<'a> {
        let mut defs = vec![Def::None; func.values.len()];
        for (i, block) in func.blocks.iter().enumerate() {
            for (n, param) in block.params.iter().enumerate() {
                defs[param.index()] = Def::Param(Block(i as u32), n as u32);
            }
            for inst in &block.insts {
                if let Some(result) = func.inst(*inst).result {
                    defs[result.index()] = Def::Inst(*inst);
                }
            }
        }
        let live = vec![false; func.values.len()];
        Liveness { func, defs, cfg: Cfg::new(func), live, work: Vec::new() }
    }

    fn mark(&mut self, value: Value) {
        if !std::mem::replace(&mut self.live[value.index()], true) {
            self.work.push(value);
        }
    }

    fn run(mut self) -> Vec<bool> {
        let func = self.func;
        for block in &func.blocks {
            for inst in block.insts.iter().filter(|i| func.inst(**i).op.has_side_effect()) {
                func.inst(*inst).op.for_each_operand(|v| self.mark(v));
            }
            match &block.term {
                Some(Terminator::Return(v)) => self.mark(*v),
                Some(Terminator::Branch { cond, .. }) => {
                    self.mark(cond.a);
                    self.mark(cond.b);
                }
                _ => {}
            }
        }
        while let Some(value) = self.work.pop() {
            match self.defs[value.index()] {
                Def::Inst(inst) => func.inst(inst).op.for_each_operand(|v| self.mark(v)),
                Def::Param(block, n) => self.mark_args(block, n),
                Def::None => {}
            }
        }
        self.live
    }

    /// Marks argument `n` of all edges to `block`.
    fn mark_args(&mut self, block: Block, n: u32) {
        let func = self.func;
        for i in 0..self.cfg.preds(block).len() {
            let pred = self.cfg.preds(block)[i];
            // A block with two edges there stands twice, next to each other.
            if i > 0 && self.cfg.preds(block)[i - 1] == pred {
                continue;
            }
            let edges = func.block(pred).term.iter().flat_map(Terminator::edges);
            for arg in edges.filter(|e| e.block == block).filter_map(|e| e.args.get(n as usize)) {
                self.mark(*arg);
            }
        }
    }
}

fn remove_dead(func: &mut Function, live: &[bool]) {
    let keeps: Vec<Vec<bool>> = func
        .blocks
        .iter()
        .enumerate()
        .map(|(i, b)| b.params.iter().map(|p| i == 0 || live[p.index()]).collect())
        .collect();
    let Function { blocks, insts, .. } = func;
    for (block, keep) in blocks.iter_mut().zip(&keeps) {
        block.insts.retain(|i| {
            let data = &insts[i.index()];
            data.op.has_side_effect() || data.result.is_some_and(|v| live[v.index()])
        });
        retain(&mut block.params, keep);
        for edge in block.term.iter_mut().flat_map(|t| t.edges_mut()) {
            retain(&mut edge.args, &keeps[edge.block.index()]);
        }
    }
}

/// Removes stores, copies and zeroing into slots that nothing reads.
fn remove_dead_writes(func: &mut Function) {
    let mut slot_of: Vec<Option<Slot>> = vec![None; func.values.len()];
    let mut read = vec![false; func.slots.len()];
    let order = Cfg::new(func);
    for block in order.rpo() {
        for inst in &func.block(*block).insts {
            let data = func.inst(*inst);
            let mut reads = |v: Value| {
                if let Some(slot) = slot_of[v.index()] {
                    read[slot.index()] = true;
                }
            };
            let derived = match &data.op {
                Op::SlotAddr(slot) => Some(*slot),
                Op::PtrAdd { ptr, off } => {
                    reads(*off);
                    slot_of[ptr.index()]
                }
                Op::Store { val, .. } => {
                    reads(*val);
                    None
                }
                Op::Copy { src, .. } => {
                    reads(*src);
                    None
                }
                Op::Zero { .. } => None,
                op => {
                    op.for_each_operand(reads);
                    None
                }
            };
            if let Some(result) = data.result {
                slot_of[result.index()] = derived;
            }
        }
        if let Some(term) = &func.block(*block).term {
            term.for_each_operand(|v| {
                if let Some(slot) = slot_of[v.index()] {
                    read[slot.index()] = true;
                }
            });
        }
    }
    let dead = |v: Value| slot_of[v.index()].is_some_and(|s| !read[s.index()]);
    let Function { blocks, insts, .. } = func;
    for block in blocks {
        block.insts.retain(|i| match &insts[i.index()].op {
            Op::Store { ptr, .. } | Op::Copy { dst: ptr, .. } | Op::Zero { dst: ptr, .. } => !dead(*ptr),
            _ => true,
        });
    }
}
