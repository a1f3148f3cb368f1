//! Direct lookup of addresses: changes of routes enter, and what cells hold leaves, so that the way of an address is read in few steps. What
//! always holds: each write of a cell leaves every address with what the routes before it or those behind it say, and a block is whole before
//! anything leads to it.
//!
//! A cell has in its lower 32 bits the value of the longest route that ends within these bits, that route's length behind it, and in the upper
//! 24 bits the number of a block of [`BLOCK_CELLS`] cells for the next eight bits, 0 for none, or [`SEARCH`] where no more blocks could be had: the trie then knows. The first 16
//! bits of an address are a cell of [`Part::Root`], IPv6 behind IPv4. A route has cells in one block alone, at most 256 (at most 65,536 of the
//! root), so a change costs no more than that whatever the table holds. Blocks that hold nothing are free and used again, those first that have been
//! free for the longest time.

use super::Prefix;
use std::net::IpAddr;

/// Cells of the root: so many for each family.
pub const ROOT_CELLS: u32 = 1 << 16;
/// Cells of a block.
pub const BLOCK_CELLS: u32 = 1 << 8;
/// The block of cells whose addresses the trie knows.
pub const SEARCH: u32 = (1 << 24) - 1;
/// Fewest and most blocks that there are: powers of two.
pub const BLOCKS: std::ops::RangeInclusive<u32> = 1 << 11..=1 << 18;
/// So many free blocks wait before the first of them is used again, if others were never used.
const WAITING: u64 = 64;
/// Where a cell has a route's length, and a block's number.
const LENGTH: u32 = 32;
const BLOCK: u32 = 40;

/// A route as cells and tries have it: its value and its length.
pub fn route(value: u32, length: u8) -> u64 {
    u64::from(value) | u64::from(length) << LENGTH
}

/// Value and length of a route, as [`route`] puts them together.
pub fn parts(cell: u64) -> (u32, u8) {
    (cell as u32, (cell >> LENGTH) as u8)
}

fn block_of(cell: u64) -> u32 {
    (cell >> BLOCK) as u32
}

/// The cell with another block.
fn leading(cell: u64, block: u32) -> u64 {
    only_route(cell) | u64::from(block) << BLOCK
}

fn only_route(cell: u64) -> u64 {
    cell & ((1 << BLOCK) - 1)
}

/// An array of cells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// By the first 16 bits.
    Root,
    /// Blocks.
    Block,
}

/// The arrays, wherever they lie.
pub trait Cells {
    /// What a cell holds.
    fn get(&self, part: Part, at: u32) -> u64;
    /// Gives a cell another value, in one step.
    fn set(&mut self, part: Part, at: u32, cell: u64);
    /// How many blocks [`Part::Block`] has.
    fn blocks(&self) -> u32;
    /// Makes room for more blocks, of which all that there are keep their numbers; whether there are more now.
    fn grow(&mut self) -> bool;
}

/// The arrays in memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flat {
    root: Vec<u64>,
    block: Vec<u64>,
}

impl Flat {
    /// Of so many blocks, which hold nothing.
    pub fn new(blocks: u32) -> Flat {
        let cells = |count: u32| vec![0; count as usize];
        Flat { root: cells(2 * ROOT_CELLS), block: cells(blocks * BLOCK_CELLS) }
    }

    /// All cells that hold something.
    pub fn cells(&self) -> impl Iterator<Item = (Part, u32, u64)> {
        let of = |part, cells: &[u64]| {
            let held = (0u32..).zip(cells.to_vec()).filter(|(_, cell)| *cell != 0);
            held.map(move |(at, cell)| (part, at, cell))
        };
        of(Part::Root, &self.root).chain(of(Part::Block, &self.block))
    }
}

impl Cells for Flat {
    fn get(&self, part: Part, at: u32) -> u64 {
        let cells = if part == Part::Root { &self.root } else { &self.block };
        cells.get(at as usize).copied().unwrap_or(0)
    }

    fn set(&mut self, part: Part, at: u32, cell: u64) {
        let cells = if part == Part::Root { &mut self.root } else { &mut self.block };
        if let Some(place) = cells.get_mut(at as usize) {
            *place = cell;
        }
    }

    fn blocks(&self) -> u32 {
        self.block.len() as u32 / BLOCK_CELLS
    }

    fn grow(&mut self) -> bool {
        false
    }
}

/// How many blocks are in use, and how many cells had to be left to the trie.
pub fn usage(cells: &impl Cells) -> (u32, u32) {
    let word = |at| cells.get(Part::Block, at) as u32;
    (word(USED), word(SEARCHED))
}

/// The value of an address' route, as the program looks it up, 0 without one; `None` where the trie knows.
pub fn find(cells: &impl Cells, address: IpAddr) -> Option<u32> {
    let bits = Bits::of(Prefix::around(address, 128));
    let (mut cell, mut value) = (cells.get(Part::Root, bits.index(0)), 0);
    for depth in 1.. {
        value = if cell as u32 == 0 { value } else { cell as u32 };
        match block_of(cell) {
            0 => return Some(value),
            SEARCH => return None,
            block => cell = cells.get(Part::Block, block * BLOCK_CELLS + bits.index(depth)),
        }
    }
    None
}

/// How many blocks routes need at most; they enter in order.
pub fn blocks_for(routes: impl IntoIterator<Item = Prefix>) -> u32 {
    let mut last = [None; DEPTHS];
    let mut count = 0;
    for bits in routes.into_iter().map(Bits::of) {
        for depth in 1..=bits.depth() {
            let above = Some((bits.root, bits.bits >> (128 - (8 + 8 * depth))));
            if last[depth as usize] != above {
                last[depth as usize] = above;
                count += 1;
            }
        }
    }
    count
}

/// The least number of blocks that has room for so many, beside the books.
pub fn capacity(blocks: u32) -> u32 {
    let mut all = *BLOCKS.start();
    while all - notes(all) - 1 < blocks && all < *BLOCKS.end() {
        all *= 2;
    }
    all
}

/// How many of so many blocks have the notes of all.
fn notes(blocks: u32) -> u32 {
    blocks / (2 * BLOCK_CELLS)
}

/// Levels of an address: the root, and one for each eight bits behind it.
const DEPTHS: usize = 15;
/// Cells of block 0, which nothing leads to: the first block that was never used, the first and the last of those that are free again and how many
/// these are, how many are in use, how many cells lead to [`SEARCH`].
const FRESH: u32 = 0;
const FIRST: u32 = 1;
const LAST: u32 = 2;
const FREE: u32 = 3;
const USED: u32 = 4;
const SEARCHED: u32 = 5;

/// A prefix as the cells see it.
#[derive(Clone, Copy, Debug)]
struct Bits {
    /// The address, its first bit the highest.
    bits: u128,
    length: u8,
    /// The family's first cell of the root.
    root: u32,
}

impl Bits {
    fn of(prefix: Prefix) -> Bits {
        let (bits, root) = match prefix.address() {
            IpAddr::V4(a) => (u128::from(a.to_bits()) << 96, 0),
            IpAddr::V6(a) => (a.to_bits(), ROOT_CELLS),
        };
        Bits { bits, length: prefix.length(), root }
    }

    /// The level that has the route's cells.
    fn depth(self) -> u32 {
        u32::from(self.length).saturating_sub(16).div_ceil(8)
    }

    /// The shortest route that has its cells in the same level.
    fn shortest(self) -> u8 {
        match self.depth() {
            0 => 0,
            depth => (8 * depth + 9) as u8,
        }
    }

    /// The cell of a level: of the root, or within a block.
    fn index(self, depth: u32) -> u32 {
        match depth {
            0 => self.root + (self.bits >> 112) as u32,
            depth => (self.bits >> (112 - 8 * depth)) as u32 & 0xff,
        }
    }

    /// How many cells the route has.
    fn count(self) -> u32 {
        1 << (16 + 8 * self.depth() - u32::from(self.length))
    }
}

/// A cell: block 0 is the root.
type Spot = (u32, u32);

/// The cells with the books of their blocks.
#[derive(Debug)]
pub struct Direct<'c, C> {
    cells: &'c mut C,
}

impl<'c, C: Cells> Direct<'c, C> {
    /// Of cells that hold nothing, or what this has written.
    pub fn new(cells: &'c mut C) -> Self {
        Direct { cells }
    }

    /// A route leads to `value`.
    pub fn set(&mut self, prefix: Prefix, value: u32) {
        let (bits, route) = (Bits::of(prefix), route(value, prefix.length()));
        let mut spot = (0, bits.index(0));
        for depth in 1..=bits.depth() {
            let cell = self.get(spot);
            match block_of(cell) {
                SEARCH => return,
                0 => {
                    let block = self.chain(bits, depth, route);
                    if block == SEARCH {
                        self.book(SEARCHED, 1);
                    }
                    self.put(spot, cell, leading(cell, block));
                    return;
                }
                block => spot = (block, bits.index(depth)),
            }
        }
        for index in spot.1..spot.1 + bits.count() {
            let cell = self.get((spot.0, index));
            if cell as u32 == 0 || parts(cell).1 <= bits.length {
                self.put((spot.0, index), cell, leading(route, block_of(cell)));
            }
        }
    }

    /// A route goes. `covering` gives the longest route that contains it, is shorter than it, and has so many bits at least.
    pub fn remove(&mut self, prefix: Prefix, covering: impl FnOnce(Prefix, u8) -> Option<u64>) {
        let bits = Bits::of(prefix);
        let mut trail: Vec<Spot> = vec![(0, bits.index(0))];
        let mut spot = trail[0];
        for depth in 1..=bits.depth() {
            match block_of(self.get(spot)) {
                0 | SEARCH => return,
                block => spot = (block, bits.index(depth)),
            }
            trail.push(spot);
        }
        let shortest = bits.shortest();
        let below = if shortest < bits.length { covering(prefix, shortest) } else { None };
        for index in spot.1..spot.1 + bits.count() {
            let cell = self.get((spot.0, index));
            if cell as u32 != 0 && parts(cell).1 == bits.length {
                self.put((spot.0, index), cell, leading(below.unwrap_or(0), block_of(cell)));
            }
        }
        while let (Some((block, _)), Some(above)) = (trail.pop(), trail.last().copied()) {
            if self.note(block) != 0 {
                return;
            }
            let cell = self.get(above);
            self.put(above, cell, only_route(cell));
            self.release(block);
        }
    }

    fn get(&self, (block, index): Spot) -> u64 {
        match block {
            0 => self.cells.get(Part::Root, index),
            block => self.cells.get(Part::Block, block * BLOCK_CELLS + index),
        }
    }

    /// Gives a cell that holds `before` another value, and counts the block's cells that hold something.
    fn put(&mut self, (block, index): Spot, before: u64, cell: u64) {
        if before == cell {
            return;
        }
        if block == 0 {
            return self.cells.set(Part::Root, index, cell);
        }
        self.cells.set(Part::Block, block * BLOCK_CELLS + index, cell);
        let count = self.note(block);
        match (before, cell) {
            (0, _) => self.set_note(block, count + 1),
            (_, 0) => self.set_note(block, count.saturating_sub(1)),
            _ => {}
        }
    }

    /// New blocks from a level on down to the route's, which has its cells then: the first of them; [`SEARCH`] where there are not enough.
    fn chain(&mut self, bits: Bits, from: u32, route: u64) -> u32 {
        let mut blocks = Vec::new();
        for _ in from..=bits.depth() {
            match self.take() {
                Some(block) => blocks.push(block),
                None => {
                    blocks.into_iter().for_each(|block| self.release(block));
                    return SEARCH;
                }
            }
        }
        let mut below = 0u32;
        for (depth, block) in (from..=DEPTHS as u32).zip(&blocks).collect::<Vec<_>>().into_iter().rev() {
            let first = bits.index(depth);
            match below {
                0 => (first..first + bits.count()).for_each(|at| self.put((*block, at), 0, route)),
                below => self.put((*block, first), 0, leading(0, below)),
            }
            below = *block;
        }
        below
    }

    /// Where a block's note lies: the cell, and how many bits up. Of one in use it is how many of its cells hold something, of a free one the next free one.
    fn note_at(&self, block: u32) -> (u32, u32) {
        let blocks = self.cells.blocks();
        ((blocks - notes(blocks)) * BLOCK_CELLS + block / 2, block % 2 * 32)
    }

    fn note(&self, block: u32) -> u32 {
        let (at, shift) = self.note_at(block);
        (self.cells.get(Part::Block, at) >> shift) as u32
    }

    fn set_note(&mut self, block: u32, note: u32) {
        let (at, shift) = self.note_at(block);
        let other = self.cells.get(Part::Block, at) & !(u64::from(u32::MAX) << shift);
        self.cells.set(Part::Block, at, other | u64::from(note) << shift);
    }

    fn book(&mut self, at: u32, by: i64) {
        let count = self.cells.get(Part::Block, at).wrapping_add_signed(by);
        self.cells.set(Part::Block, at, count);
    }

    /// A block that holds nothing.
    fn take(&mut self) -> Option<u32> {
        let fresh = (self.cells.get(Part::Block, FRESH) as u32).max(1);
        let blocks = self.cells.blocks();
        let (waiting, is_fresh) = (self.cells.get(Part::Block, FREE), fresh < blocks - notes(blocks));
        let block = match (waiting, is_fresh) {
            (0, false) => return if self.cells.grow() { self.take() } else { None },
            (waiting, true) if waiting < WAITING => {
                self.cells.set(Part::Block, FRESH, u64::from(fresh) + 1);
                fresh
            }
            _ => {
                let first = self.cells.get(Part::Block, FIRST) as u32;
                let next = self.note(first);
                self.cells.set(Part::Block, FIRST, next.into());
                self.book(FREE, -1);
                first
            }
        };
        self.set_note(block, 0);
        self.book(USED, 1);
        Some(block)
    }

    /// A block goes to the end of the free ones; it holds nothing.
    fn release(&mut self, block: u32) {
        match self.cells.get(Part::Block, FREE) {
            0 => self.cells.set(Part::Block, FIRST, block.into()),
            _ => {
                let last = self.cells.get(Part::Block, LAST) as u32;
                self.set_note(last, block);
            }
        }
        self.cells.set(Part::Block, LAST, block.into());
        self.book(FREE, 1);
        self.book(USED, -1);
    }
}

/// Copies all cells to others that hold nothing and have as many blocks at least.
pub fn copy(from: &impl Cells, to: &mut impl Cells) {
    let mut set = |part, at, cell| {
        if cell != 0 {
            to.set(part, at, cell);
        }
    };
    (0..2 * ROOT_CELLS).for_each(|at| set(Part::Root, at, from.get(Part::Root, at)));
    let fresh = from.get(Part::Block, FRESH) as u32;
    (0..fresh.max(1) * BLOCK_CELLS).for_each(|at| set(Part::Block, at, from.get(Part::Block, at)));
    let source = from.blocks() - notes(from.blocks());
    let target = to.blocks() - notes(to.blocks());
    for at in 0..=fresh / 2 {
        let pair = from.get(Part::Block, source * BLOCK_CELLS + at);
        to.set(Part::Block, target * BLOCK_CELLS + at, pair);
    }
}

#[cfg(test)]
#[path = "direct_tests.rs"]
mod tests;
