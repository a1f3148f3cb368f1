//! The nesting of loops in the order of the code, for the choice of places where live ranges are split.

use super::live::Live;
use super::mir::MFunc;

/// The loops.
pub(crate) struct Nest {
    /// By block: start of the header of its innermost loop, and the header's number.
    inner: Vec<Option<(u32, usize)>>,
    /// By block: for a header, the loop around.
    outer: Vec<Option<(u32, usize)>>,
    ends: Vec<u32>,
}

impl Nest {
    /// The loops of `func`.
    pub(crate) fn new(func: &MFunc, live: &Live) -> Nest {
        let at = |head: Option<usize>| head.map(|h| (live.spans[h].start, h));
        Nest {
            inner: func.blocks.iter().map(|b| at(b.head)).collect(),
            outer: func.blocks.iter().map(|b| at(b.outer)).collect(),
            ends: live.spans.iter().map(|s| s.end).collect(),
        }
    }

    /// Start of the outermost loop around `pos` that begins after `from`.
    pub(crate) fn outermost_after(&self, pos: u32, from: u32) -> Option<u32> {
        let block = self.ends.partition_point(|end| *end <= pos);
        let mut at = self.inner.get(block).copied().flatten();
        let mut found = None;
        while let Some((start, head)) = at
            && start > from
        {
            found = Some(start);
            at = self.outer[head];
        }
        found
    }
}
