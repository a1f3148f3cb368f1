//! The positions at which a slot is in use, from its accesses.

use std::collections::HashMap;
use std::rc::Rc;

use super::Touch;
use crate::ir::Block;
use crate::ir::cfg::Cfg;
use crate::ir::dom::{DomTree, Loops};

type Positions = Rc<Vec<(u32, u32)>>;

/// Finds ranges for one slot after another.
pub(super) struct Ranges<'a> {
    cfg: &'a Cfg,
    dom: DomTree,
    loops: Loops,
    /// By block: first position and one past the last.
    spans: Vec<(u32, u32)>,
    end: u32,
    /// By block: the last slot whose walk came by.
    seen: Vec<u32>,
    /// By header of an outermost loop: the positions of its blocks.
    whole: HashMap<Block, Positions>,
}

/// Where the use of a slot begins.
enum Root {
    /// With the first access in a block that dominates all accesses; nothing is carried there from before.
    At(Block),
    /// Somewhere in the outermost loop with this header.
    Loop(Block),
}

impl<'a> Ranges<'a> {
    pub(super) fn new(cfg: &'a Cfg, spans: Vec<(u32, u32)>, end: u32) -> Ranges<'a> {
        let dom = DomTree::new(cfg);
        let loops = Loops::new(cfg, &dom);
        let seen = vec![u32::MAX; spans.len()];
        Ranges { cfg, dom, loops, spans, end, seen, whole: HashMap::new() }
    }

    fn outermost(&self, block: Block) -> Option<Block> {
        let mut outer = self.loops.header(block)?;
        while let Some(up) = self.loops.parent(outer) {
            outer = up;
        }
        Some(outer)
    }

    fn root(&self, touches: &[Touch], size: u32) -> Option<Root> {
        let mut root = touches.first()?.block;
        for touch in touches {
            while !self.dom.dominates(root, touch.block) {
                root = self.dom.idom(root)?;
            }
        }
        Some(match self.outermost(root) {
            Some(head) if !begins_fresh(touches, root, size) => Root::Loop(head),
            _ => Root::At(root),
        })
    }

    /// The ranges of a slot of `size` bytes; `mark` tells slots apart.
    pub(super) fn of(&mut self, touches: &[Touch], size: u32, mark: u32) -> Positions {
        match self.root(touches, size) {
            None => Rc::new(vec![(0, self.end)]),
            Some(Root::At(root)) => Rc::new(self.from(root, false, touches, mark)),
            Some(Root::Loop(head)) => {
                if touches.iter().all(|t| self.outermost(t.block) == Some(head)) {
                    return self.whole(head);
                }
                Rc::new(self.from(head, true, touches, mark))
            }
        }
    }

    /// All positions of a loop.
    fn whole(&mut self, head: Block) -> Positions {
        if let Some(known) = self.whole.get(&head) {
            return known.clone();
        }
        let inside = self.dom.subtree(head).iter().filter(|b| self.outermost(**b) == Some(head));
        let ranges = Rc::new(merge(inside.map(|b| self.spans[b.index()]).collect()));
        self.whole.insert(head, Rc::clone(&ranges));
        ranges
    }

    /// Walks back from the accesses to `root`; `round`: what is at its end may be needed at its start.
    fn from(&mut self, root: Block, round: bool, touches: &[Touch], mark: u32) -> Vec<(u32, u32)> {
        // Blocks at whose start the slot is in use.
        let mut inside: Vec<Block> = Vec::new();
        let mut last: Vec<(Block, u32)> = Vec::new();
        for touch in touches {
            self.visit(touch.block, (root, round), mark, &mut inside);
            match last.last_mut() {
                Some(l) if l.0 == touch.block => l.1 = touch.pos,
                _ => last.push((touch.block, touch.pos)),
            }
        }
        let mut next = 0;
        while let Some(&block) = inside.get(next) {
            next += 1;
            let cfg = self.cfg;
            for &pred in cfg.preds(block) {
                if self.dom.dominates(root, pred) {
                    self.visit(pred, (root, round), mark, &mut inside);
                }
            }
        }
        last.sort_unstable();
        let begin = if round { None } else { Some(root) };
        let mut ranges = Vec::new();
        for block in begin.into_iter().chain(inside) {
            let (start, end) = self.spans[block.index()];
            let at = last.partition_point(|l| l.0 < block);
            let own = last.get(at).filter(|l| l.0 == block).map(|l| l.1);
            let live = |b: &Block| (*b != root || round) && self.seen[b.index()] == mark;
            let first = match Some(block) == begin {
                true => touches.iter().find(|t| t.block == block).map_or(end, |t| t.pos),
                false => start,
            };
            let stop = match self.cfg.succs(block).iter().any(live) {
                true => end,
                false => own.map_or(first, |p| p + 1),
            };
            if first < stop {
                ranges.push((first, stop));
            }
        }
        merge(ranges)
    }

    fn visit(&mut self, block: Block, (root, round): (Block, bool), mark: u32, inside: &mut Vec<Block>) {
        if (block != root || round) && self.seen[block.index()] != mark {
            self.seen[block.index()] = mark;
            inside.push(block);
        }
    }
}

/// Whether the accesses in `root`, which dominates all others, begin with writing every byte.
fn begins_fresh(touches: &[Touch], root: Block, size: u32) -> bool {
    let mut written: Vec<(u32, u32)> = Vec::new();
    for touch in touches.iter().filter(|t| t.block == root) {
        let Some(bytes) = touch.writes else { return false };
        written.push(bytes);
        written.sort_unstable();
        written = merge_sorted(written);
        if written.iter().any(|w| w.0 == 0 && w.1 >= size) {
            return true;
        }
    }
    false
}

fn merge(mut ranges: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    ranges.sort_unstable();
    merge_sorted(ranges)
}

fn merge_sorted(ranges: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    let mut out: Vec<(u32, u32)> = Vec::new();
    for range in ranges {
        match out.last_mut() {
            Some(last) if last.1 >= range.0 => last.1 = last.1.max(range.1),
            _ => out.push(range),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(writes: Option<(u32, u32)>) -> Touch {
        Touch { pos: 0, block: Block(0), writes }
    }

    #[test]
    fn fresh_only_when_all_is_written_before_a_read() {
        let part = |a, b| touch(Some((a, b)));
        assert!(begins_fresh(&[part(8, 16), part(0, 8), touch(None)], Block(0), 16));
        assert!(!begins_fresh(&[part(8, 16), touch(None), part(0, 8)], Block(0), 16));
        assert!(!begins_fresh(&[part(0, 4), part(8, 16)], Block(0), 16));
        assert!(!begins_fresh(&[part(0, 16)], Block(1), 16));
    }
}
