//! Orders the blocks for emission and gives everything dense numbers: loops contiguous, rare blocks last, and no block,
//! instruction, value or slot left that nothing uses. Afterwards blocks follow each other in the order of their numbers.

use super::Env;
use crate::ir::func::{BlockData, InstData, SlotData, ValueData};
use crate::ir::op::Op;
use crate::ir::types::{Block, Inst, Slot, Value};
use crate::ir::{Cfg, DomTree, Function, Loops};

/// Runs the pass.
pub fn run(func: &mut Function, _: &Env) {
    let cfg = Cfg::new(func);
    let order = layout(func, &cfg);
    renumber(func, &order);
}

/// The reachable blocks in the order of emission.
fn layout(func: &Function, cfg: &Cfg) -> Vec<Block> {
    let cold = cold(func, cfg);
    let (mut order, rare): (Vec<Block>, Vec<Block>) =
        contiguous(cfg).into_iter().partition(|b| !cold[b.index()]);
    order.extend(rare);
    order
}

/// Blocks that only rare blocks lead to are rare too.
fn cold(func: &Function, cfg: &Cfg) -> Vec<bool> {
    let mut cold: Vec<bool> = func.blocks.iter().map(|b| b.cold).collect();
    if let Some(entry) = cold.first_mut() {
        *entry = false;
    }
    for &block in cfg.rpo().iter().skip(1) {
        let all = cfg.preds(block).iter().all(|p| cold[p.index()]);
        cold[block.index()] |= all;
    }
    cold
}

/// A reverse postorder in which a loop's blocks come before those behind the loop: of a block's successors the ones in
/// fewer loops are walked first, and so come last.
fn contiguous(cfg: &Cfg) -> Vec<Block> {
    let loops = Loops::new(cfg, &DomTree::new(cfg));
    let mut seen = vec![false; cfg.block_count()];
    let mut order = Vec::with_capacity(cfg.rpo().len());
    let walk = |block: Block| {
        let mut next: Vec<Block> = cfg.succs(block).to_vec();
        // Popped from the end: the last successor first among those equally deep.
        next.sort_by_key(|b| std::cmp::Reverse(loops.depth(*b)));
        next
    };
    let mut stack = Vec::new();
    if let Some(&entry) = cfg.rpo().first() {
        seen[entry.index()] = true;
        stack.push((entry, walk(entry)));
    }
    while let Some((block, next)) = stack.last_mut() {
        match next.pop() {
            Some(succ) if !std::mem::replace(&mut seen[succ.index()], true) => stack.push((succ, walk(succ))),
            Some(_) => {}
            None => {
                order.push(*block);
                stack.pop();
            }
        }
    }
    order.reverse();
    order
}

/// New numbers by first appearance.
struct Renumber<T> {
    new: Vec<u32>,
    kept: Vec<T>,
}

impl<T: Clone> Renumber<T> {
    fn new(count: usize) -> Renumber<T> {
        Renumber { new: vec![u32::MAX; count], kept: Vec::new() }
    }

    fn get(&mut self, old: usize, all: &[T]) -> u32 {
        if self.new[old] == u32::MAX {
            self.new[old] = self.kept.len() as u32;
            self.kept.push(all[old].clone());
        }
        self.new[old]
    }
}

fn renumber(func: &mut Function, order: &[Block]) {
    let mut block_number = vec![0; func.blocks.len()];
    for (new, old) in order.iter().enumerate() {
        block_number[old.index()] = new as u32;
    }
    let mut old_blocks = std::mem::take(&mut func.blocks);
    let mut old_insts: Vec<Option<InstData>> =
        std::mem::take(&mut func.insts).into_iter().map(Some).collect();
    let mut values: Renumber<ValueData> = Renumber::new(func.values.len());
    let mut slots: Renumber<SlotData> = Renumber::new(func.slots.len());
    let (old_values, old_slots) = (std::mem::take(&mut func.values), std::mem::take(&mut func.slots));
    let mut number = |v: Value| Value(values.get(v.index(), &old_values));
    for old in order {
        let mut block: BlockData = std::mem::take(&mut old_blocks[old.index()]);
        for param in &mut block.params {
            *param = number(*param);
        }
        for inst in &mut block.insts {
            let Some(mut data) = old_insts[inst.index()].take() else { continue };
            data.op.map_operands(&mut number);
            data.result = data.result.map(&mut number);
            if let Op::SlotAddr(slot) = &mut data.op {
                *slot = Slot(slots.get(slot.index(), &old_slots));
            }
            *inst = Inst(func.insts.len() as u32);
            func.insts.push(data);
        }
        if let Some(term) = &mut block.term {
            term.map_operands(&mut number);
            for edge in term.edges_mut() {
                edge.block = Block(block_number[edge.block.index()]);
            }
        }
        func.blocks.push(block);
    }
    func.values = values.kept;
    func.slots = slots.kept;
}
