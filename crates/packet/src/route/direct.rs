//! Direct lookup of IPv4 addresses: changes of routes enter, and what cells of three arrays hold leaves, so that the way of an address is read in
//! one or two steps. What always holds: a cell changes from what the routes before said to what the routes behind say, in one write, and a
//! block is whole before anything leads to it.
//!
//! [`Part::Wide`] has a cell for each block of 24 bits: a route's value, or [`DEEP`] and the number of a block of 256 cells in [`Part::Deep`], one for
//! each address, where routes are longer than 24 bits, or [`SEARCH`] where there are no more such blocks: the trie then knows. Zero, in either, means that no
//! route of 8 bits or more is there: [`Part::Short`] has what shorter ones say, by the first octet.

use super::Prefix;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// Cells of [`Part::Wide`].
pub const WIDE_CELLS: u32 = 1 << 24;
/// Cells of [`Part::Short`].
pub const SHORT_CELLS: u32 = 1 << 8;
/// Cells of a block of [`Part::Deep`].
pub const BLOCK_CELLS: u32 = 1 << 8;
/// Mark of a cell that leads to a block.
pub const DEEP: u32 = 1 << 30;
/// A cell whose addresses the trie knows.
pub const SEARCH: u32 = DEEP | (DEEP - 1);
/// So many changes within one first octet, and all its cells are made anew.
const MANY: usize = 48;
/// The shortest route that has cells of its own in [`Part::Wide`].
const SHORTEST: u8 = 8;

/// An array of cells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// By the first octet: routes shorter than 8 bits.
    Short,
    /// By the first 24 bits.
    Wide,
    /// Blocks by the last octet.
    Deep,
}

/// The arrays, wherever they lie.
pub trait Cells {
    /// What a cell holds.
    fn get(&self, part: Part, at: u32) -> u32;
    /// Gives a cell another value, in one step.
    fn set(&mut self, part: Part, at: u32, value: u32);
    /// Blocks that [`Part::Deep`] has.
    fn blocks(&self) -> u32;
}

/// The value of an address' route, as the program looks it up; `None` where the trie knows.
pub fn find(cells: &impl Cells, address: Ipv4Addr) -> Option<u32> {
    let bits = address.to_bits();
    let cell = cells.get(Part::Wide, bits >> 8);
    if cell == SEARCH {
        return None;
    }
    let block = block_of(cell);
    match block.map_or(cell, |block| cells.get(Part::Deep, block * BLOCK_CELLS + (bits & 0xff))) {
        0 => Some(cells.get(Part::Short, bits >> 24)),
        value => Some(value),
    }
}

/// The block that a cell leads to.
fn block_of(cell: u32) -> Option<u32> {
    (cell >> 30 == 1 && cell != SEARCH).then_some(cell & (DEEP - 1))
}

/// A block of addresses: its first, and how many bits they share. Ordered so that what contains another comes before it.
type Block = (u32, u8);

fn block(prefix: Prefix) -> Option<Block> {
    match prefix.address() {
        IpAddr::V4(address) => Some((address.to_bits(), prefix.length())),
        IpAddr::V6(_) => None,
    }
}

/// The block of `length` bits around an address.
fn around(bits: u32, length: u8) -> Block {
    (bits & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0), length)
}

/// The routes of IPv4 with their values, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Direct {
    routes: BTreeMap<Block, u32>,
}

impl Direct {
    /// Of a table's routes; those of IPv6 are passed over.
    pub fn new(routes: impl IntoIterator<Item = (Prefix, u32)>) -> Direct {
        Direct { routes: routes.into_iter().filter_map(|(p, value)| Some((block(p)?, value))).collect() }
    }

    /// Gives routes other values, or takes those without one away, and brings the cells up to date, which held what the routes said before.
    pub fn change(
        &mut self,
        changes: impl IntoIterator<Item = (Prefix, Option<u32>)>,
        cells: &mut impl Cells,
    ) {
        let mut changed = BTreeSet::new();
        for (prefix, value) in changes {
            let Some(block) = block(prefix) else { continue };
            let before = match value {
                Some(value) => self.routes.insert(block, value),
                None => self.routes.remove(&block),
            };
            if before != value {
                changed.insert(block);
            }
        }
        self.refresh(&changed, false, cells);
    }

    /// Brings the cells up to date where `changes` came, which the routes have already.
    pub fn again(&self, changes: impl IntoIterator<Item = Prefix>, cells: &mut impl Cells) {
        self.refresh(&changes.into_iter().filter_map(block).collect(), false, cells);
    }

    /// Makes all cells what the routes say, whatever they held.
    pub fn write_all(&self, cells: &mut impl Cells) {
        self.refresh(&BTreeSet::new(), true, cells);
    }

    fn refresh(&self, changed: &BTreeSet<Block>, all: bool, cells: &mut impl Cells) {
        let mut ranges: BTreeMap<u32, Vec<Block>> = BTreeMap::new();
        let mut octets: BTreeSet<u32> = BTreeSet::new();
        for (bits, length) in changed {
            let first = bits >> 24;
            if *length < SHORTEST {
                octets.extend(first..first + (1 << (SHORTEST - length)));
            } else {
                ranges.entry(first).or_default().push(around(*bits, (*length).min(24)));
            }
        }
        if all {
            octets = (0..SHORT_CELLS).collect();
            ranges = (0..SHORT_CELLS).map(|octet| (octet, Vec::new())).collect();
        }
        for octet in octets {
            write(cells, Part::Short, octet, self.covering(octet << 24, 0, SHORTEST - 1));
        }
        let mut free = Free { routes: self, changed, all, kept: BTreeSet::new(), numbers: None };
        for (octet, mut within) in ranges {
            if all || within.len() >= MANY {
                within = vec![(octet << 24, SHORTEST)];
            }
            within.dedup();
            within.iter().for_each(|range| self.paint(*range, cells, &mut free));
        }
    }

    /// The cells of a block of addresses of 8 to 24 bits.
    fn paint(&self, range: Block, cells: &mut impl Cells, free: &mut Free<'_>) {
        let (bits, shared) = range;
        let (first, count) = (bits >> 8, 1usize << (24 - shared));
        let mut values = vec![self.covering(bits, SHORTEST, shared); count];
        let mut longer: BTreeMap<u32, Vec<(Block, u32)>> = BTreeMap::new();
        for ((start, length), value) in self.routes.range(range..=(bits | (u32::MAX >> shared), 32)) {
            match *length {
                length if length <= shared => {}
                length @ ..=24 => {
                    let from = ((start >> 8) - first) as usize;
                    values[from..from + (1 << (24 - length))].fill(*value);
                }
                length => longer.entry(start >> 8).or_default().push(((*start, length), *value)),
            }
        }
        for (cell, routes) in longer {
            let value = &mut values[(cell - first) as usize];
            let known = block_of(cells.get(Part::Wide, cell));
            let known = known.filter(|number| free.may_stay(*number, cells.blocks()));
            let Some(number) = known.or_else(|| free.take(cells)) else {
                *value = SEARCH;
                continue;
            };
            let mut addresses = [*value; BLOCK_CELLS as usize];
            for ((start, length), value) in routes {
                let from = (start & 0xff) as usize;
                addresses[from..from + (1 << (32 - length))].fill(value);
            }
            for (at, value) in (number * BLOCK_CELLS..).zip(addresses) {
                write(cells, Part::Deep, at, value);
            }
            *value = DEEP | number;
        }
        for (cell, value) in (first..).zip(values) {
            write(cells, Part::Wide, cell, value);
        }
    }

    /// The value of the longest route of `shortest` to `longest` bits that contains an address; 0 without.
    fn covering(&self, bits: u32, shortest: u8, longest: u8) -> u32 {
        let mut lengths = (shortest..=longest).rev();
        lengths.find_map(|length| self.routes.get(&around(bits, length))).copied().unwrap_or(0)
    }
}

fn write(cells: &mut impl Cells, part: Part, at: u32, value: u32) {
    if cells.get(part, at) != value {
        cells.set(part, at, value);
    }
}

/// Blocks of [`Part::Deep`] that nothing leads to. What leads to one at the beginning keeps it for the whole batch, so that a packet on its way
/// never reads what has been given away.
struct Free<'r> {
    routes: &'r Direct,
    changed: &'r BTreeSet<Block>,
    /// The cells may hold what no route explains; then these are the blocks that cells keep.
    all: bool,
    kept: BTreeSet<u32>,
    numbers: Option<Vec<u32>>,
}

impl Free<'_> {
    /// Whether a cell that leads to a block may go on to: it is there, and no other cell leads to it.
    fn may_stay(&mut self, number: u32, blocks: u32) -> bool {
        number < blocks && (!self.all || self.kept.insert(number))
    }

    fn take(&mut self, cells: &impl Cells) -> Option<u32> {
        if self.numbers.is_none() {
            let mut taken: BTreeSet<u32> = BTreeSet::new();
            let mut see = |cell: u32| taken.extend(block_of(cells.get(Part::Wide, cell)));
            if self.all {
                (0..WIDE_CELLS).for_each(&mut see);
            } else {
                let long = self.routes.routes.keys().chain(self.changed).filter(|block| block.1 > 24);
                long.for_each(|block| see(block.0 >> 8));
            }
            self.numbers = Some((0..cells.blocks()).rev().filter(|n| !taken.contains(n)).collect());
        }
        self.numbers.as_mut()?.pop()
    }
}

#[cfg(test)]
#[path = "direct_tests.rs"]
mod tests;
