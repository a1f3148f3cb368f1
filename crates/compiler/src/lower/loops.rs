//! The nesting of loops in the order of the code, for the choice of places where live ranges are split.
//!
//! A loop here is the stretch from a block that is jumped back to, to the last block that jumps there.

use super::live::Live;
use super::mir::MFunc;

/// The loops, outer before inner.
pub(crate) struct Nest {
    /// Start, end, the loop around it.
    loops: Vec<(u32, u32, Option<usize>)>,
    /// By block: its innermost loop.
    inner: Vec<Option<usize>>,
    spans: Vec<(u32, u32)>,
}

impl Nest {
    /// The loops of `func`.
    pub(crate) fn new(func: &MFunc, live: &Live) -> Nest {
        let mut last = vec![None; func.blocks.len()];
        for (i, block) in func.blocks.iter().enumerate() {
            for edge in block.term.edges().filter(|e| e.to <= i) {
                last[edge.to] = Some(i);
            }
        }
        let mut nest = Nest {
            loops: Vec::new(),
            inner: Vec::new(),
            spans: live.spans.iter().map(|s| (s.start, s.end)).collect(),
        };
        let mut open: Vec<usize> = Vec::new();
        for (i, last) in last.into_iter().enumerate() {
            let start = live.spans[i].start;
            while open.last().is_some_and(|l| nest.loops[*l].1 <= start) {
                open.pop();
            }
            if let Some(last) = last {
                let end = live.spans[last].end;
                for l in &open {
                    nest.loops[*l].1 = nest.loops[*l].1.max(end);
                }
                nest.loops.push((start, end, open.last().copied()));
                open.push(nest.loops.len() - 1);
            }
            nest.inner.push(open.last().copied());
        }
        nest
    }

    /// Start of the outermost loop around `pos` that begins after `from`.
    pub(crate) fn outermost_after(&self, pos: u32, from: u32) -> Option<u32> {
        let block = self.spans.partition_point(|s| s.1 <= pos);
        let mut at = self.inner.get(block).copied().flatten();
        let mut found = None;
        while let Some(l) = at
            && self.loops[l].0 > from
        {
            found = Some(self.loops[l].0);
            at = self.loops[l].2;
        }
        found
    }
}
