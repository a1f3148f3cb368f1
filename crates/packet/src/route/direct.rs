//! Direct lookup of addresses: changes of routes enter, and what cells hold leaves, so that the way of an address is read in few steps. What
//! always holds: each write of a cell leaves every address with what the routes before it or those behind it say, and a block is whole before
//! anything leads to it.
//!
//! A cell has in its lower 32 bits the value of the longest route that ends within these bits, that route's length behind it, and in the upper
//! 24 bits the number of a block of cells for the next bits, 0 for none, or [`SEARCH`] where no more blocks could be had: the trie then knows. The first 16
//! bits of an address are a cell of [`Part::Root`], IPv6 behind IPv4. Then blocks have [`BLOCK_CELLS`] cells for eight bits; of IPv6, whose routes lie far from each
//! other, behind 32 bits [`UNIT_CELLS`] for four. A route has cells in one block alone, at most 256 (at most 65,536 of the
//! root), so a change costs no more than that whatever the table holds. Blocks that hold nothing are free and used again, those first that have been
//! free for the longest time.
//!
//! A block's number is that of its first [`UNIT_CELLS`] cells; small blocks lie in what was a large one.

mod bits;
mod books;

use super::Prefix;
use super::record::{self, Room};
use bits::{Bits, DEPTHS, LARGE, SMALL, count_blocks};
use books::{FREE, FRESH, SEARCHED, SLAB, USED, notes};
use std::net::IpAddr;

pub use bits::Blocks;

/// Cells of the root: so many for each family.
pub const ROOT_CELLS: u32 = 1 << 16;
/// Cells of a large block.
pub const BLOCK_CELLS: u32 = 1 << 8;
/// Cells of a small block, in which blocks are numbered.
pub const UNIT_CELLS: u32 = 1 << 4;
/// Units of a large block.
const UNITS: u32 = BLOCK_CELLS / UNIT_CELLS;
/// The block of cells whose addresses the trie knows.
pub const SEARCH: u32 = (1 << 24) - 1;
/// Fewest and most large blocks that there are: powers of two.
pub const BLOCKS: std::ops::RangeInclusive<u32> = 1 << 11..=1 << 18;
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
    /// The [record] of routes.
    Record,
}

/// The arrays, wherever they lie.
pub trait Cells {
    /// What a cell holds.
    fn get(&self, part: Part, at: u32) -> u64;
    /// Gives a cell another value, in one step.
    fn set(&mut self, part: Part, at: u32, cell: u64);
    /// How many large blocks [`Part::Block`] has.
    fn blocks(&self) -> u32;
    /// Makes room for more blocks, of which all that there are keep their numbers; whether there are more now.
    fn grow(&mut self) -> bool;
}

/// The arrays in memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flat {
    root: Vec<u64>,
    block: Vec<u64>,
    record: Vec<u64>,
}

impl Flat {
    /// Of so many blocks, which hold nothing, without a record.
    pub fn new(blocks: u32) -> Flat {
        let cells = |count: u32| vec![0; count as usize];
        Flat { root: cells(2 * ROOT_CELLS), block: cells(blocks * BLOCK_CELLS), record: Vec::new() }
    }

    /// The fewest blocks, with a record of no routes.
    pub fn recording(room: Room) -> Flat {
        let mut flat = Flat { record: vec![0; room.words() as usize], ..Flat::new(*BLOCKS.start()) };
        record::begin(&mut flat, room);
        flat
    }

    fn part(&self, part: Part) -> &Vec<u64> {
        match part {
            Part::Root => &self.root,
            Part::Block => &self.block,
            Part::Record => &self.record,
        }
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
        self.part(part).get(at as usize).copied().unwrap_or(0)
    }

    fn set(&mut self, part: Part, at: u32, cell: u64) {
        let cells = match part {
            Part::Root => &mut self.root,
            Part::Block => &mut self.block,
            Part::Record => &mut self.record,
        };
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

/// How many units are in use, and how many cells had to be left to the trie.
pub fn usage(cells: &impl Cells) -> (u32, u32) {
    let word = |at| cells.get(Part::Block, at) as u32;
    (word(USED), word(SEARCHED))
}

/// The value of an address' route, as the program looks it up, 0 without one; an error with that value where the trie may have a longer route.
pub fn find(cells: &impl Cells, address: IpAddr) -> Result<u32, u32> {
    let bits = Bits::of(Prefix::around(address, 128));
    let (mut cell, mut value) = (cells.get(Part::Root, bits.index(0)), 0);
    for depth in 1.. {
        value = if cell as u32 == 0 { value } else { cell as u32 };
        match block_of(cell) {
            0 => return Ok(value),
            SEARCH => return Err(value),
            block => cell = cells.get(Part::Block, block * UNIT_CELLS + bits.index(depth)),
        }
    }
    Ok(value)
}

/// The blocks that routes need at most; they enter in order.
pub fn blocks_for(routes: impl IntoIterator<Item = Prefix>) -> Blocks {
    count_blocks(routes.into_iter().map(|prefix| (Bits::of(prefix), 0)))
}

/// The blocks that routes need at most beside those that are there; they enter in order.
pub fn blocks_lacking(cells: &impl Cells, routes: impl IntoIterator<Item = Prefix>) -> Blocks {
    let there = |bits: Bits| {
        let mut cell = cells.get(Part::Root, bits.index(0));
        let mut depth = 1;
        while depth <= bits.depth() && block_of(cell) != 0 {
            // What the trie knows needs none.
            if block_of(cell) == SEARCH {
                return bits.depth();
            }
            cell = cells.get(Part::Block, block_of(cell) * UNIT_CELLS + bits.index(depth));
            depth += 1;
        }
        depth - 1
    };
    count_blocks(routes.into_iter().map(Bits::of).map(|bits| (bits, there(bits))))
}

/// How many large blocks there have to be for those that are in use and these.
pub fn blocks_wanted(cells: &impl Cells, more: Blocks) -> u32 {
    let word = |at| cells.get(Part::Block, at) as u32;
    let held = word(FRESH).max(1) - 1 - word(FREE[LARGE]);
    let open = word(FREE[SMALL]) + word(SLAB).wrapping_neg() % UNITS;
    held.saturating_add(Blocks { small: more.small.saturating_sub(open), ..more }.in_large())
}

/// The least number of large blocks that has room for so many, beside the books.
pub fn capacity(blocks: u32) -> u32 {
    let mut all = *BLOCKS.start();
    while all - notes(all) - 1 < blocks && all < *BLOCKS.end() {
        all *= 2;
    }
    all
}

/// A cell: a block's number, and which of its cells; block 0 is the root.
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

    /// A route leads to `value`; `false`: its addresses are left to the trie, which has to have it.
    pub fn set(&mut self, prefix: Prefix, value: u32) -> bool {
        let (bits, route) = (Bits::of(prefix), route(value, prefix.length()));
        let mut spot = (0, bits.index(0));
        for depth in 1..=bits.depth() {
            let cell = self.get(spot);
            match block_of(cell) {
                SEARCH => return false,
                0 => {
                    let block = self.chain(bits, depth, route);
                    if block == SEARCH {
                        self.book(SEARCHED, 1);
                    }
                    self.put(spot, cell, leading(cell, block));
                    return block != SEARCH;
                }
                block => spot = (block, bits.index(depth)),
            }
        }
        let mut more = 0;
        for index in spot.1..spot.1 + bits.count() {
            let cell = self.get((spot.0, index));
            if cell as u32 == 0 || parts(cell).1 <= bits.length {
                more += self.write((spot.0, index), cell, leading(route, block_of(cell)));
            }
        }
        self.note_more(spot.0, more);
        true
    }

    /// A route goes; `false`: the trie may have it. `covering` gives the longest route that contains it, is shorter than it, and has so many bits at least.
    pub fn remove(&mut self, prefix: Prefix, covering: impl FnOnce(&C, Prefix, u8) -> Option<u64>) -> bool {
        let bits = Bits::of(prefix);
        let mut trail: Vec<Spot> = vec![(0, bits.index(0))];
        let mut spot = trail[0];
        for depth in 1..=bits.depth() {
            match block_of(self.get(spot)) {
                0 => return true,
                SEARCH => return false,
                block => spot = (block, bits.index(depth)),
            }
            trail.push(spot);
        }
        let shortest = bits.shortest();
        let below = if shortest < bits.length { covering(self.cells, prefix, shortest) } else { None };
        for index in spot.1..spot.1 + bits.count() {
            let cell = self.get((spot.0, index));
            if cell as u32 != 0 && parts(cell).1 == bits.length {
                self.put((spot.0, index), cell, leading(below.unwrap_or(0), block_of(cell)));
            }
        }
        while let (Some((block, _)), Some(above)) = (trail.pop(), trail.last().copied()) {
            let depth = trail.len() as u32;
            if self.note(block) != 0 {
                break;
            }
            let cell = self.get(above);
            self.put(above, cell, only_route(cell));
            self.release(block, bits.kind(depth));
        }
        true
    }

    fn get(&self, (block, index): Spot) -> u64 {
        match block {
            0 => self.cells.get(Part::Root, index),
            block => self.cells.get(Part::Block, block * UNIT_CELLS + index),
        }
    }

    /// Gives a cell that holds `before` another value; gives by how many the block's cells that hold something are more now.
    fn write(&mut self, (block, index): Spot, before: u64, cell: u64) -> i32 {
        if before == cell {
            return 0;
        }
        match block {
            0 => self.cells.set(Part::Root, index, cell),
            block => self.cells.set(Part::Block, block * UNIT_CELLS + index, cell),
        }
        i32::from(cell != 0) - i32::from(before != 0)
    }

    fn note_more(&mut self, block: u32, more: i32) {
        if block != 0 && more != 0 {
            self.set_note(block, self.note(block).saturating_add_signed(more));
        }
    }

    /// Gives a cell another value, and counts the block's cells that hold something.
    fn put(&mut self, spot: Spot, before: u64, cell: u64) {
        let more = self.write(spot, before, cell);
        self.note_more(spot.0, more);
    }

    /// New blocks from a level on down to the route's, which has its cells then: the first of them; [`SEARCH`] where there are not enough.
    fn chain(&mut self, bits: Bits, from: u32, route: u64) -> u32 {
        let mut blocks = [0; DEPTHS];
        for depth in from..=bits.depth() {
            match self.take(bits.kind(depth)) {
                Some(block) => blocks[depth as usize] = block,
                None => {
                    (from..depth).for_each(|depth| self.release(blocks[depth as usize], bits.kind(depth)));
                    return SEARCH;
                }
            }
        }
        let mut below = 0u32;
        for depth in (from..=bits.depth()).rev() {
            let (first, block) = (bits.index(depth), blocks[depth as usize]);
            match below {
                0 => (first..first + bits.count()).for_each(|at| self.put((block, at), 0, route)),
                below => self.put((block, first), 0, leading(0, below)),
            }
            below = block;
        }
        below
    }
}

/// Copies all cells, and the record, to others that hold nothing and have as many blocks and as much room at least.
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
    for at in 0..=fresh * UNITS / 2 {
        let pair = from.get(Part::Block, source * BLOCK_CELLS + at);
        to.set(Part::Block, target * BLOCK_CELLS + at, pair);
    }
    record::copy(from, to);
}

#[cfg(test)]
#[path = "direct_tests.rs"]
mod tests;
