//! Stacks without frame pointers: how the rules by which a frame finds its caller lie in maps. The loader compiles them
//! from a binary's call frame information and fills the maps; programs walk the stack by them (`dw_ustack`).
//!
//! Two maps. *Places* is an LPM trie over ([process, address](place_key)): which part of the other map belongs to the
//! code there. It also has one entry for each known process as a whole, with no rows. *Rows* is an array of
//! [`CHUNK_ROWS`] rows an entry: sorted by program counter, each is valid up to the next. All numbers are in the
//! machine's byte order, but for the address in a place's key, which is big-endian.

/// The maps of an object that walks stacks by tables, as indexes into [`crate::object::Object::maps`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnwindMaps {
    /// LPM trie; the loader sets how many entries it has.
    pub places: usize,
    /// Array; the same.
    pub rows: usize,
}

/// Set in the id of a stack that a program has walked itself: it lies in a hash map by that id, as u64 number of
/// frames and then the addresses. Ids of stack trace maps are below.
pub const WALKED: i64 = 1 << 62;

/// The name of the map with walked stacks of at most `limit` frames.
pub fn walked_map(limit: u32) -> String {
    format!("walked_{limit}")
}

/// In place of an address: the stack goes on, but no table says how.
pub const UNKNOWN_CALLER: u64 = u64::MAX;

/// Rows of one entry of the array.
pub const CHUNK_ROWS: u32 = 256;
/// Bytes of a row.
pub const ROW_BYTES: u32 = 16;
/// Bytes of a place's key.
pub const PLACE_KEY_BYTES: u32 = 16;
/// Bits of a place's key that name one address.
pub const PLACE_KEY_BITS: u32 = 96;
/// Bytes of a place.
pub const PLACE_BYTES: u32 = 16;

/// Offsets in a row.
pub mod row {
    /// u32: first program counter, relative to the place's bias.
    pub const PC: i32 = 0;
    /// i32: offset of the frame address rule.
    pub const CFA: i32 = 4;
    /// i16: offset of the frame pointer's rule.
    pub const FP: i32 = 8;
    /// i16: offset of the return address's rule.
    pub const RA: i32 = 10;
    /// u8: [`super::Cfa`].
    pub const CFA_RULE: i32 = 12;
    /// u8: [`super::Saved`], of the frame pointer.
    pub const FP_RULE: i32 = 13;
    /// u8: [`super::Return`].
    pub const RA_RULE: i32 = 14;
    /// u8: the number that some of [`super::Cfa`] have besides.
    pub const EXTRA: i32 = 15;
}

/// Offsets in a place.
pub mod place {
    /// u64: what a program counter is less than its address.
    pub const BIAS: i32 = 0;
    /// u32: first row.
    pub const FIRST: i32 = 8;
    /// u32: rows.
    pub const COUNT: i32 = 12;
}

/// Where a frame's address (CFA) is: the value that the stack pointer had before the call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Cfa {
    /// Not known.
    Unknown = 0,
    /// Stack pointer plus offset.
    Sp = 1,
    /// Frame pointer plus offset.
    Fp = 2,
    /// As `Sp`, and 8 more from byte `extra` of each 16 on: what linkers write for a procedure linkage table.
    Plt = 3,
    /// What lies at the frame pointer plus offset, plus `extra`.
    AtFp = 4,
    /// A signal handler's caller (x86-64): at the stack pointer plus offset lie its stack pointer and program counter,
    /// and 40 bytes below its frame pointer (`struct sigcontext`, arch/x86/include/uapi/asm/sigcontext.h).
    Signal = 5,
    /// What lies at the stack pointer plus offset, plus `extra`.
    AtSp = 6,
}

/// Where a register of the caller is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Saved {
    /// It has not changed.
    Same = 0,
    /// At the frame's address plus offset.
    AtCfa = 1,
    /// At the frame pointer plus offset.
    AtFp = 2,
}

/// Where a frame returns to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Return {
    /// Nowhere: it is the outermost.
    Nowhere = 0,
    /// What lies at the frame's address plus offset.
    AtCfa = 1,
    /// What the link register has (aarch64).
    Link = 2,
}

/// How a frame finds its caller, from one program counter on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Rule {
    /// The frame's address, and its offset.
    pub cfa: (Cfa, i32),
    /// The caller's frame pointer, and its offset.
    pub fp: (Saved, i16),
    /// The return address, and its offset.
    pub ra: (Return, i16),
    /// The number that some of [`Cfa`] have besides.
    pub extra: u8,
}

impl Rule {
    /// Nothing is known.
    pub const UNKNOWN: Rule =
        Rule { cfa: (Cfa::Unknown, 0), fp: (Saved::Same, 0), ra: (Return::AtCfa, 0), extra: 0 };

    /// The row of this rule from `pc` on.
    pub fn row(&self, pc: u32) -> [u8; ROW_BYTES as usize] {
        let mut bytes = [0; ROW_BYTES as usize];
        bytes[..4].copy_from_slice(&pc.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.cfa.1.to_ne_bytes());
        bytes[8..10].copy_from_slice(&self.fp.1.to_ne_bytes());
        bytes[10..12].copy_from_slice(&self.ra.1.to_ne_bytes());
        bytes[12..].copy_from_slice(&[self.cfa.0 as u8, self.fp.0 as u8, self.ra.0 as u8, self.extra]);
        bytes
    }
}

/// The key of the addresses of `pid` that have the upper `bits` bits of `address` (0: all of the process).
pub fn place_key(pid: u32, address: u64, bits: u32) -> [u8; PLACE_KEY_BYTES as usize] {
    let mut key = [0; PLACE_KEY_BYTES as usize];
    key[..4].copy_from_slice(&(32 + bits.min(64)).to_ne_bytes());
    key[4..8].copy_from_slice(&pid.to_ne_bytes());
    key[8..].copy_from_slice(&address.to_be_bytes());
    key
}

/// What lies at a place: `count` rows from `first` on, for program counters that are `bias` less than the address.
pub fn place_value(bias: u64, first: u32, count: u32) -> [u8; PLACE_BYTES as usize] {
    let mut value = [0; PLACE_BYTES as usize];
    value[..8].copy_from_slice(&bias.to_ne_bytes());
    value[8..12].copy_from_slice(&first.to_ne_bytes());
    value[12..].copy_from_slice(&count.to_ne_bytes());
    value
}

/// A range of addresses as the fewest prefixes: (first address, bits). The range ends before `end`.
pub fn prefixes(mut start: u64, end: u64) -> Vec<(u64, u32)> {
    let mut found = Vec::new();
    while start < end {
        let aligned = if start == 0 { 63 } else { start.trailing_zeros().min(63) };
        let size = aligned.min((end - start).ilog2());
        found.push((start, 64 - size));
        start += 1 << size;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_cover_a_range_once() {
        assert_eq!(prefixes(0x1000, 0x1000), []);
        assert_eq!(prefixes(0x1000, 0x4000), [(0x1000, 52), (0x2000, 51)]);
        assert_eq!(prefixes(0x5000, 0x6000), [(0x5000, 52)]);
        for (start, end) in [(0x1000u64, 0xf000u64), (0x7f00_0012_3000, 0x7f00_0155_1000), (0, u64::MAX)] {
            let mut next = start;
            for (at, bits) in prefixes(start, end) {
                assert_eq!((at, at % (1 << (64 - bits))), (next, 0));
                next += 1 << (64 - bits);
            }
            assert_eq!(next, end);
        }
    }

    #[test]
    fn rows_and_places_lie_as_programs_read_them() {
        let rule = Rule { cfa: (Cfa::Plt, 8), fp: (Saved::AtCfa, -16), ra: (Return::AtCfa, -8), extra: 11 };
        let bytes = rule.row(7);
        let half = |at: i32| i16::from_ne_bytes([bytes[at as usize], bytes[at as usize + 1]]);
        assert_eq!((half(row::FP), half(row::RA), bytes[row::EXTRA as usize]), (-16, -8, 11));
        assert_eq!(bytes[row::CFA_RULE as usize], Cfa::Plt as u8);
        assert_eq!(place_key(3, 0x1234, 64)[8..], [0, 0, 0, 0, 0, 0, 0x12, 0x34]);
        assert_eq!(place_value(1, 2, 3)[place::COUNT as usize..], 3u32.to_ne_bytes());
    }
}
