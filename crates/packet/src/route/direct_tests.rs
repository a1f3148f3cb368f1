//! Direct lookup against the longest match found naively, also while cells are being written.

use super::*;

/// The arrays in memory; `watched` are read after each write.
struct Arrays {
    short: Vec<u32>,
    wide: Vec<u32>,
    deep: Vec<u32>,
    watched: Vec<(Ipv4Addr, [u32; 2])>,
    writes: usize,
}

impl Arrays {
    fn new(blocks: u32) -> Arrays {
        let cells = |count: u32| vec![0; count as usize];
        let (short, wide, deep) = (cells(SHORT_CELLS), cells(WIDE_CELLS), cells(blocks * BLOCK_CELLS));
        Arrays { short, wide, deep, watched: Vec::new(), writes: 0 }
    }
}

impl Cells for Arrays {
    fn get(&self, part: Part, at: u32) -> u32 {
        match part {
            Part::Short => self.short[at as usize],
            Part::Wide => self.wide[at as usize],
            Part::Deep => self.deep[at as usize],
        }
    }

    fn set(&mut self, part: Part, at: u32, value: u32) {
        match part {
            Part::Short => self.short[at as usize] = value,
            Part::Wide => self.wide[at as usize] = value,
            Part::Deep => self.deep[at as usize] = value,
        }
        self.writes += 1;
        // Each of so many writes is looked at where there are few, else some of them.
        if self.writes < 600 || self.writes.is_multiple_of(997) {
            for (address, allowed) in &self.watched {
                let now = find(self, *address).unwrap_or(allowed[1]);
                assert!(allowed.contains(&now), "{address}: {now} is neither of {allowed:?}");
            }
        }
    }

    fn blocks(&self) -> u32 {
        self.deep.len() as u32 / BLOCK_CELLS
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
    fn address(&mut self) -> u32 {
        let octet = [10, 10, 10, 11, 192, 0, 255][self.below(7) as usize];
        octet << 24 | [0, 1, 255][self.below(3) as usize] << 16 | self.below(2) << 8 | self.below(256)
    }

    fn prefix(&mut self) -> Prefix {
        let length = [0, 1, 7, 8, 9, 12, 16, 17, 23, 24, 24, 25, 28, 31, 32, 32][self.below(16) as usize];
        Prefix::around(IpAddr::V4(Ipv4Addr::from_bits(self.address())), length)
    }
}

fn naive(routes: &BTreeMap<Prefix, u32>, address: Ipv4Addr) -> u32 {
    let found = routes.iter().filter(|(p, _)| p.contains(IpAddr::V4(address)));
    found.max_by_key(|(p, _)| p.length()).map_or(0, |(_, value)| *value)
}

/// Batches of random changes; lookups must give what the longest match gives, and while a batch of one change is written what it gave before or
/// gives behind.
fn changes_of(batch: u32, blocks: u32, rounds: u32) -> u32 {
    let (mut random, mut routes, mut arrays) =
        (Random(u64::from(batch)), BTreeMap::new(), Arrays::new(blocks));
    let (mut direct, mut searched) = (Direct::default(), 0);
    for _ in 0..rounds {
        let addresses: Vec<Ipv4Addr> = (0..40).map(|_| Ipv4Addr::from_bits(random.address())).collect();
        let before: Vec<u32> = addresses.iter().map(|a| naive(&routes, *a)).collect();
        let mut changes = Vec::new();
        for _ in 0..=random.below(batch) {
            let prefix = random.prefix();
            let value = match random.below(3) {
                0 => None,
                1 => Some(1 + random.below(4000)),
                _ => Some(1 << 31 | random.below(4000)),
            };
            match value {
                Some(value) => drop(routes.insert(prefix, value)),
                None => drop(routes.remove(&prefix)),
            }
            changes.push((prefix, value));
        }
        let behind: Vec<u32> = addresses.iter().map(|a| naive(&routes, *a)).collect();
        let allowed = before.into_iter().zip(&behind).map(|(before, behind)| [before, *behind]);
        let alone = changes.len() == 1;
        arrays.watched = addresses.iter().copied().zip(allowed).filter(|_| alone).collect();
        arrays.writes = 0;
        direct.change(changes, &mut arrays);
        for (address, expected) in addresses.iter().zip(&behind) {
            match find(&arrays, *address) {
                Some(found) => assert_eq!(found, *expected, "{address}"),
                None => searched += 1,
            }
        }
    }
    searched
}

#[test]
fn single_changes_open_no_hole() {
    assert_eq!(changes_of(1, 64, 400), 0, "there are blocks for all");
}

#[test]
fn batches_end_at_the_longest_match() {
    assert_eq!(changes_of(300, 64, 25), 0);
}

#[test]
fn without_blocks_the_trie_is_asked() {
    assert!(changes_of(3, 2, 200) > 100);
}

#[test]
fn what_was_left_half_done_is_mended() {
    let (mut random, mut arrays) = (Random(5), Arrays::new(64));
    let routes: BTreeMap<Prefix, u32> = (1..300).map(|n| (random.prefix(), n)).collect();
    let direct = Direct::new(routes.clone());
    direct.write_all(&mut arrays);
    // Something else stands in places, and leads to blocks that no route asks for.
    for n in 0..200 {
        let at = random.address() >> 8;
        arrays.wide[at as usize] = if n % 2 == 0 { 77 } else { DEEP | random.below(64) };
    }
    direct.write_all(&mut arrays);
    for _ in 0..2000 {
        let address = Ipv4Addr::from_bits(random.address());
        if let Some(found) = find(&arrays, address) {
            assert_eq!(found, naive(&routes, address), "{address}");
        }
    }
}
