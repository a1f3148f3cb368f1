//! Direct lookup against the longest match found naively, also while cells are being written.

use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The arrays in memory; `watched` are read after each write.
struct Arrays {
    cells: Flat,
    most: u32,
    watched: Vec<(IpAddr, [u32; 2])>,
    writes: usize,
    trie: Routes,
}

impl Arrays {
    fn new(blocks: u32, most: u32) -> Arrays {
        Arrays { cells: Flat::new(blocks), most, watched: Vec::new(), writes: 0, trie: Routes::new() }
    }
}

impl Arrays {
    /// As the program finds it, and whether it asks the trie.
    fn way(&self, address: IpAddr) -> (u32, bool) {
        match find(self, address) {
            Ok(value) => (value, false),
            Err(value) => {
                (Some(naive(&self.trie, address)).filter(|found| *found != 0).unwrap_or(value), true)
            }
        }
    }
}

impl Cells for Arrays {
    fn get(&self, part: Part, at: u32) -> u64 {
        self.cells.get(part, at)
    }

    fn set(&mut self, part: Part, at: u32, cell: u64) {
        self.cells.set(part, at, cell);
        self.writes += 1;
        // Each of so many writes is looked at where there are few, else some of them.
        if self.writes < 600 || self.writes.is_multiple_of(997) {
            for (address, allowed) in &self.watched {
                let now = self.way(*address).0;
                assert!(allowed.contains(&now), "{address}: {now} is neither of {allowed:?}");
            }
        }
    }

    fn blocks(&self) -> u32 {
        self.cells.blocks()
    }

    fn grow(&mut self) -> bool {
        let more = self.blocks() * 2;
        if more > self.most {
            return false;
        }
        let mut grown = Flat::new(more);
        copy(self, &mut grown);
        self.cells = grown;
        true
    }
}

/// A generator of numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let n64 = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let n64 = (n64 ^ (n64 >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((n64 ^ (n64 >> 31)) % u64::from(n)) as u32
    }

    /// An address in a few small networks, so that routes lie within each other.
    fn address(&mut self) -> IpAddr {
        let octet = [10, 10, 10, 11, 192, 0, 255][self.below(7) as usize];
        let four =
            octet << 24 | [0, 1, 255][self.below(3) as usize] << 16 | self.below(2) << 8 | self.below(256);
        if self.below(3) > 0 {
            return IpAddr::V4(Ipv4Addr::from_bits(four));
        }
        let six = u128::from(four) << 96 | u128::from(self.below(3)) << 64 | u128::from(self.below(4));
        IpAddr::V6(Ipv6Addr::from_bits(six))
    }

    fn prefix(&mut self) -> Prefix {
        let address = self.address();
        let lengths =
            [0, 1, 7, 8, 9, 12, 16, 17, 23, 24, 24, 25, 28, 31, 32, 32, 36, 48, 63, 64, 64, 72, 127, 128];
        let choices = if address.is_ipv4() { 16 } else { 24 };
        Prefix::around(address, lengths[self.below(choices) as usize])
    }
}

type Routes = BTreeMap<Prefix, u32>;

fn naive(routes: &Routes, address: IpAddr) -> u32 {
    let found = routes.iter().filter(|(p, _)| p.contains(address));
    found.max_by_key(|(p, _)| p.length()).map_or(0, |(_, value)| *value)
}

fn covering(routes: &Routes, prefix: Prefix, shortest: u8) -> Option<u64> {
    let mut lengths = (shortest..prefix.length()).rev();
    lengths.find_map(|length| Some(route(*routes.get(&Prefix::around(prefix.address(), length))?, length)))
}

/// Shorter ones first where routes go, longer ones first where they come, as the table's steps are.
fn apply(routes: &Routes, changes: &BTreeMap<Prefix, Option<u32>>, arrays: &mut Arrays) {
    let mut left = BTreeMap::new();
    let mut direct = Direct::new(arrays);
    let mut order: Vec<_> = changes.iter().collect();
    order.sort_by_key(|(prefix, _)| prefix.length());
    for (prefix, value) in order.iter().rev() {
        if let Some(value) = value
            && !direct.set(**prefix, *value)
        {
            left.insert(**prefix, Some(*value));
        }
    }
    for (prefix, _) in order.iter().filter(|(_, value)| value.is_none()) {
        if !direct.remove(**prefix, |_, prefix, shortest| covering(routes, prefix, shortest)) {
            left.insert(**prefix, None);
        }
    }
    for (prefix, value) in left {
        match value {
            Some(value) => drop(arrays.trie.insert(prefix, value)),
            None => drop(arrays.trie.remove(&prefix)),
        }
    }
}

/// Batches of random changes; lookups must give what the longest match gives, and while a batch of one change is written what it gave before or
/// gives behind. In the end all routes go, and no block is in use.
fn changes_of(batch: u32, most: u32, rounds: u32) -> u32 {
    let (mut random, mut routes, mut arrays) =
        (Random(u64::from(batch)), Routes::new(), Arrays::new(most.min(512), most));
    let mut searched = 0;
    for round in 0..=rounds {
        let addresses: Vec<IpAddr> = (0..40).map(|_| random.address()).collect();
        let before: Vec<u32> = addresses.iter().map(|a| naive(&routes, *a)).collect();
        let mut changes = BTreeMap::new();
        for _ in 0..=random.below(batch) {
            let value = (random.below(3) > 0).then(|| 1 + random.below(4) + (random.below(2) << 31));
            changes.insert(random.prefix(), value);
        }
        if round == rounds {
            changes = routes.keys().map(|prefix| (*prefix, None)).collect();
        }
        changes.retain(|prefix, value| routes.get(prefix).copied() != *value);
        for (prefix, value) in &changes {
            match value {
                Some(value) => routes.insert(*prefix, *value),
                None => routes.remove(prefix),
            };
        }
        let behind: Vec<u32> = addresses.iter().map(|a| naive(&routes, *a)).collect();
        let allowed = before.into_iter().zip(&behind).map(|(before, behind)| [before, *behind]);
        let alone = changes.len() == 1;
        arrays.watched = addresses.iter().copied().zip(allowed).filter(|_| alone).collect();
        arrays.writes = 0;
        apply(&routes, &changes, &mut arrays);
        for (address, expected) in addresses.iter().zip(&behind) {
            let (found, asks) = arrays.way(*address);
            assert_eq!(found, *expected, "{address}");
            searched += u32::from(asks);
        }
    }
    let (used, left) = usage(&arrays);
    assert!(left > 0 || used == 0, "{used} blocks are lost");
    assert!(arrays.trie.is_empty(), "{:?} stays", arrays.trie);
    searched
}

#[test]
fn single_changes_open_no_hole() {
    assert_eq!(changes_of(1, 8192, 3000), 0, "there are blocks for all");
}

#[test]
fn batches_end_at_the_longest_match() {
    assert_eq!(changes_of(300, 8192, 60), 0);
}

#[test]
fn without_blocks_the_trie_is_asked() {
    assert!(changes_of(400, 64, 30) > 50);
}

#[test]
fn blocks_are_counted_before_they_are_taken() {
    let mut random = Random(9);
    let prefixes: BTreeSet<Prefix> = (0..600).map(|_| random.prefix()).collect();
    let mut arrays = Arrays::new(8192, 8192);
    let few: Vec<Prefix> = prefixes.iter().copied().step_by(3).collect();
    few.iter().for_each(|prefix| assert!(Direct::new(&mut arrays).set(*prefix, 1)));
    let there = usage(&arrays).0;
    assert_eq!(there, blocks_for(few).units());
    let lacking = blocks_lacking(&arrays, prefixes.iter().copied());
    let wanted = blocks_wanted(&arrays, lacking);
    prefixes.iter().for_each(|prefix| assert!(Direct::new(&mut arrays).set(*prefix, 1)));
    assert_eq!(usage(&arrays), (there + lacking.units(), 0));
    assert_eq!(blocks_wanted(&arrays, Blocks::default()), wanted);
    let all = blocks_for(prefixes.iter().copied());
    assert_eq!((usage(&arrays).0, wanted), (all.units(), all.in_large()));
    // What is free again counts as room.
    for prefix in &prefixes {
        Direct::new(&mut arrays).remove(*prefix, |_, _, _| None);
    }
    assert_eq!((usage(&arrays).0, blocks_wanted(&arrays, all)), (0, wanted));
    assert_eq!((capacity(0), capacity(1983), capacity(1984), capacity(1 << 30)), (2048, 2048, 4096, 1 << 18));
}
