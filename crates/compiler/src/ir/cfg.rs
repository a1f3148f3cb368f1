//! The control-flow graph of a function: who leads where, and a reverse postorder.
//!
//! A function enters; flat tables by block number leave. Edges to blocks that do not exist are left out, so the
//! graph of a malformed function can be made too. The graph is a snapshot: changing an edge of the function makes it
//! stale. Nothing here recurses: depth of a program's nesting costs no stack.

use super::func::Function;
use super::types::Block;

/// Predecessors, successors and reverse postorder.
#[derive(Clone, Debug)]
pub struct Cfg {
    succ_start: Vec<u32>,
    succs: Vec<Block>,
    pred_start: Vec<u32>,
    preds: Vec<Block>,
    rpo: Vec<Block>,
    rpo_index: Vec<u32>,
}

const UNREACHED: u32 = u32::MAX;

impl Cfg {
    /// The graph of `func`.
    pub fn new(func: &Function) -> Cfg {
        let count = func.blocks.len();
        let (mut succ_start, mut succs) = (Vec::with_capacity(count + 1), Vec::new());
        for block in &func.blocks {
            succ_start.push(succs.len() as u32);
            let edges = block.term.iter().flat_map(|t| t.successors());
            succs.extend(edges.filter(|b| b.index() < count));
        }
        succ_start.push(succs.len() as u32);
        let mut cfg = Cfg {
            succ_start,
            succs,
            pred_start: Vec::new(),
            preds: Vec::new(),
            rpo: Vec::new(),
            rpo_index: vec![UNREACHED; count],
        };
        cfg.order(count);
        cfg.find_preds(count);
        cfg
    }

    /// Depth-first from the entry; the last successor is walked first, so that of two branches `then` comes first.
    fn order(&mut self, count: usize) {
        let mut seen = vec![false; count];
        let mut stack: Vec<(Block, usize)> = Vec::new();
        if count > 0 {
            seen[0] = true;
            stack.push((Function::ENTRY, self.succs(Function::ENTRY).len()));
        }
        while let Some((block, left)) = stack.last_mut() {
            let block = *block;
            if *left == 0 {
                self.rpo.push(block);
                stack.pop();
                continue;
            }
            *left -= 1;
            let next = self.succs(block)[*left];
            if !seen[next.index()] {
                seen[next.index()] = true;
                stack.push((next, self.succs(next).len()));
            }
        }
        self.rpo.reverse();
        for (i, block) in self.rpo.iter().enumerate() {
            self.rpo_index[block.index()] = i as u32;
        }
    }

    /// Predecessors among reachable blocks, in reverse postorder.
    fn find_preds(&mut self, count: usize) {
        let mut start = vec![0u32; count + 1];
        for block in &self.rpo {
            for succ in self.succs(*block) {
                start[succ.index() + 1] += 1;
            }
        }
        for i in 0..count {
            start[i + 1] += start[i];
        }
        let mut next = start.clone();
        let mut preds = vec![Block(0); start[count] as usize];
        for block in &self.rpo {
            for succ in self.succs(*block) {
                let at = &mut next[succ.index()];
                preds[*at as usize] = *block;
                *at += 1;
            }
        }
        self.pred_start = start;
        self.preds = preds;
    }

    /// How many blocks the function has.
    pub fn block_count(&self) -> usize {
        self.rpo_index.len()
    }

    /// Where the edges of `block` lead, one for each edge.
    pub fn succs(&self, block: Block) -> &[Block] {
        let i = block.index();
        &self.succs[self.succ_start[i] as usize..self.succ_start[i + 1] as usize]
    }

    /// The reachable blocks that have an edge to `block`, one for each edge: a block with two edges there stands twice.
    pub fn preds(&self, block: Block) -> &[Block] {
        let i = block.index();
        &self.preds[self.pred_start[i] as usize..self.pred_start[i + 1] as usize]
    }

    /// The reachable blocks: each after the blocks that dominate it, loops entered at their header.
    pub fn rpo(&self) -> &[Block] {
        &self.rpo
    }

    /// Position in [`Cfg::rpo`]; `None` if the block cannot be reached.
    pub fn rpo_index(&self, block: Block) -> Option<usize> {
        match self.rpo_index.get(block.index()) {
            Some(&i) if i != UNREACHED => Some(i as usize),
            _ => None,
        }
    }

    /// Whether the block can be reached from the entry.
    pub fn is_reachable(&self, block: Block) -> bool {
        self.rpo_index(block).is_some()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ir::{Cc, FuncBuilder, FuncKind, Type};

    /// A function whose block `i` has edges to `graph[i]` (none: returns).
    pub(crate) fn function(graph: &[&[u32]]) -> Function {
        let mut b = FuncBuilder::new("f", FuncKind::Sub, &[Type::U64], Type::U64);
        let x = b.param(0);
        for _ in 1..graph.len() {
            b.block(&[]);
        }
        for (i, succs) in graph.iter().enumerate() {
            b.switch_to(Block(i as u32));
            match succs {
                [] => b.ret(x),
                [one] => b.jump(Block(*one), &[]),
                [one, two, ..] => b.branch(Cc::Eq, x, x, Block(*one), Block(*two)),
            }
        }
        b.finish()
    }

    #[test]
    fn diamond_with_unreachable_block() {
        let cfg = Cfg::new(&function(&[&[1, 2], &[3], &[3], &[], &[3]]));
        assert_eq!(cfg.rpo(), [Block(0), Block(1), Block(2), Block(3)]);
        assert_eq!(cfg.preds(Block(3)), [Block(1), Block(2)]);
        assert_eq!(cfg.succs(Block(0)), [Block(1), Block(2)]);
        assert!(!cfg.is_reachable(Block(4)));
    }

    #[test]
    fn double_edge_counts_twice() {
        let cfg = Cfg::new(&function(&[&[1, 1], &[]]));
        assert_eq!(cfg.preds(Block(1)), [Block(0), Block(0)]);
    }
}
