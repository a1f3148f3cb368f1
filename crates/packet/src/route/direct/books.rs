//! The books of blocks: which are in use, which are free and for how long. They lie in the array too, in block 0 and behind the last block.

use super::bits::{LARGE, SMALL, size};
use super::{BLOCK_CELLS, Cells, Direct, Part, UNITS};

/// So many free blocks wait before the first of them is used again, if others were never used.
pub(super) const WAITING: u64 = 64;
/// Cells of block 0, which nothing leads to: the first large block that was never used, the next unit of the large block that small ones are taken from (a multiple of
/// [`UNITS`]: it is taken up), of each kind the first and the last block of those that are free again and how many these are, how many units are in use, how many cells
/// lead to [`SEARCH`].
pub(super) const FRESH: u32 = 0;
pub(super) const SLAB: u32 = 1;
pub(super) const FIRST: [u32; 2] = [2, 3];
pub(super) const LAST: [u32; 2] = [4, 5];
pub(super) const FREE: [u32; 2] = [6, 7];
pub(super) const USED: u32 = 8;
pub(super) const SEARCHED: u32 = 9;

/// How many of so many blocks have the notes of all units.
pub(super) fn notes(blocks: u32) -> u32 {
    blocks * UNITS / (2 * BLOCK_CELLS)
}

impl<C: Cells> Direct<'_, C> {
    /// Where a block's note lies: the cell, and how many bits up. Of one in use it is how many of its cells hold something, of a free one the next free one.
    pub(super) fn note_at(&self, block: u32) -> (u32, u32) {
        let blocks = self.cells.blocks();
        ((blocks - notes(blocks)) * BLOCK_CELLS + block / 2, block % 2 * 32)
    }

    pub(super) fn note(&self, block: u32) -> u32 {
        let (at, shift) = self.note_at(block);
        (self.cells.get(Part::Block, at) >> shift) as u32
    }

    pub(super) fn set_note(&mut self, block: u32, note: u32) {
        let (at, shift) = self.note_at(block);
        let other = self.cells.get(Part::Block, at) & !(u64::from(u32::MAX) << shift);
        self.cells.set(Part::Block, at, other | u64::from(note) << shift);
    }

    pub(super) fn noted(&self, at: u32) -> u32 {
        self.cells.get(Part::Block, at) as u32
    }

    pub(super) fn book(&mut self, at: u32, by: i64) {
        let count = self.cells.get(Part::Block, at).wrapping_add_signed(by);
        self.cells.set(Part::Block, at, count);
    }

    /// A block that holds nothing.
    pub(super) fn take(&mut self, kind: usize) -> Option<u32> {
        let waiting = u64::from(self.noted(FREE[kind]));
        // Those that have waited long enough, and those that have not where there is no other.
        let block = match (waiting, kind) {
            (WAITING.., _) => self.again(kind),
            (_, SMALL) => self.unit().or_else(|| (waiting > 0).then(|| self.again(kind)))?,
            _ => match (self.fresh(), waiting) {
                (Some(block), _) => block,
                (None, 1..) => self.again(kind),
                (None, _) => return if self.cells.grow() { self.take(kind) } else { None },
            },
        };
        self.set_note(block, 0);
        self.book(USED, size(kind));
        Some(block)
    }

    /// A large block that was never used.
    pub(super) fn fresh(&mut self) -> Option<u32> {
        let (fresh, blocks) = (self.noted(FRESH).max(1), self.cells.blocks());
        (fresh < blocks - notes(blocks)).then(|| {
            self.cells.set(Part::Block, FRESH, u64::from(fresh) + 1);
            fresh * UNITS
        })
    }

    /// A unit that was never a small block.
    pub(super) fn unit(&mut self) -> Option<u32> {
        let mut unit = self.noted(SLAB);
        if unit.is_multiple_of(UNITS) {
            // Small ones that wait are better than other arrays.
            let full = self.noted(FREE[LARGE]) == 0
                && self.noted(FRESH) >= self.cells.blocks() - notes(self.cells.blocks());
            if full && self.noted(FREE[SMALL]) > 0 {
                return None;
            }
            unit = self.take(LARGE)?;
            self.book(USED, -size(LARGE));
        }
        self.cells.set(Part::Block, SLAB, u64::from(unit) + 1);
        Some(unit)
    }

    /// The free block that has waited longest.
    pub(super) fn again(&mut self, kind: usize) -> u32 {
        let first = self.noted(FIRST[kind]);
        let next = self.note(first);
        self.cells.set(Part::Block, FIRST[kind], next.into());
        self.book(FREE[kind], -1);
        first
    }

    /// A block goes to the end of the free ones; it holds nothing.
    pub(super) fn release(&mut self, block: u32, kind: usize) {
        match self.noted(FREE[kind]) {
            0 => self.cells.set(Part::Block, FIRST[kind], block.into()),
            _ => {
                let last = self.noted(LAST[kind]);
                self.set_note(last, block);
            }
        }
        self.cells.set(Part::Block, LAST[kind], block.into());
        self.book(FREE[kind], 1);
        self.book(USED, -size(kind));
    }
}
