//! A prefix as the cells see it: in which level it has them, which, and the blocks on the way there.

use super::super::Prefix;
use super::{ROOT_CELLS, UNITS};
use std::net::IpAddr;

/// Levels of an address: the root, one for each eight bits behind it up to 32, and of IPv6 one for each four.
pub(super) const DEPTHS: usize = 27;
/// The first level of small blocks, and the bits before it.
pub(super) const SMALL_DEPTH: u32 = 3;
pub(super) const SMALL_BITS: u32 = 32;
/// Kinds of blocks.
pub(super) const LARGE: usize = 0;
pub(super) const SMALL: usize = 1;

/// Blocks of each kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Blocks {
    /// For eight bits.
    pub large: u32,
    /// For four.
    pub small: u32,
}

impl Blocks {
    /// How many units they take.
    pub fn units(self) -> u32 {
        self.large.saturating_mul(UNITS).saturating_add(self.small)
    }

    /// How many large blocks have room for them.
    pub fn in_large(self) -> u32 {
        self.large.saturating_add(self.small.div_ceil(UNITS))
    }
}

/// A prefix as the cells see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bits {
    /// The address, its first bit the highest.
    pub(super) bits: u128,
    pub(super) length: u8,
    /// The family's first cell of the root.
    pub(super) root: u32,
}

impl Bits {
    pub(super) fn of(prefix: Prefix) -> Bits {
        let (bits, root) = match prefix.address() {
            IpAddr::V4(a) => (u128::from(a.to_bits()) << 96, 0),
            IpAddr::V6(a) => (a.to_bits(), ROOT_CELLS),
        };
        Bits { bits, length: prefix.length(), root }
    }

    /// The level that has the route's cells.
    pub(super) fn depth(self) -> u32 {
        match u32::from(self.length) {
            length if length > SMALL_BITS => SMALL_DEPTH - 1 + (length - SMALL_BITS).div_ceil(4),
            length => length.saturating_sub(16).div_ceil(8),
        }
    }

    /// Whether a level has small blocks.
    pub(super) fn is_small(self, depth: u32) -> bool {
        depth >= SMALL_DEPTH
    }

    pub(super) fn kind(self, depth: u32) -> usize {
        if self.is_small(depth) { SMALL } else { LARGE }
    }

    /// How many bits of an address are before a level.
    pub(super) fn start(self, depth: u32) -> u32 {
        match depth {
            0 => 0,
            depth if depth < SMALL_DEPTH => 8 + 8 * depth,
            depth => SMALL_BITS + 4 * (depth - SMALL_DEPTH),
        }
    }

    /// How many bits are before the next level.
    pub(super) fn end(self, depth: u32) -> u32 {
        match depth {
            0 => 16,
            depth => self.start(depth) + if self.is_small(depth) { 4 } else { 8 },
        }
    }

    /// The shortest route that has its cells in the same level.
    pub(super) fn shortest(self) -> u8 {
        match self.depth() {
            0 => 0,
            depth => self.start(depth) as u8 + 1,
        }
    }

    /// The cell of a level: of the root, or within a block.
    pub(super) fn index(self, depth: u32) -> u32 {
        let within = (self.bits >> (128 - self.end(depth))) as u32;
        match depth {
            0 => self.root + within,
            depth => within & ((1 << (self.end(depth) - self.start(depth))) - 1),
        }
    }

    /// How many cells the route has.
    pub(super) fn count(self) -> u32 {
        1 << (self.end(self.depth()) - u32::from(self.length))
    }
}

/// Counts the blocks of levels behind the given ones, each once.
pub(super) fn count_blocks(routes: impl Iterator<Item = (Bits, u32)>) -> Blocks {
    let mut last = [None; DEPTHS];
    let mut blocks = Blocks::default();
    for (bits, there) in routes {
        for depth in there + 1..=bits.depth() {
            let above = Some((bits.root, bits.bits >> (128 - bits.start(depth))));
            if last[depth as usize] != above {
                last[depth as usize] = above;
                match bits.is_small(depth) {
                    true => blocks.small += 1,
                    false => blocks.large += 1,
                }
            }
        }
    }
    blocks
}

/// Units of a block.
pub(super) fn size(kind: usize) -> i64 {
    if kind == LARGE { UNITS.into() } else { 1 }
}
