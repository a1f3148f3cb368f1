//! A fast hash for short keys: prefixes, next hops, numbers. Each word is folded in by one multiplication. Keys come from root's own files and from the
//! kernel's table, which peers of a routing daemon fill, so every map begins with a seed of its own that nobody outside knows.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A hash map with this hash.
pub(crate) type Map<K, V> = std::collections::HashMap<K, V, Seed>;

/// An odd number without a pattern: the fraction of the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Where the hash of a map begins.
#[derive(Clone, Debug)]
pub(crate) struct Seed(u64);

/// A new one.
pub(super) fn seed() -> u64 {
    RandomState::new().hash_one(0u8)
}

/// The hash of what was hashed to `hash`, and a word behind it.
pub(super) fn fold(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ word) * u128::from(FACTOR);
    product as u64 ^ (product >> 64) as u64
}

impl Default for Seed {
    fn default() -> Seed {
        Seed(seed())
    }
}

impl BuildHasher for Seed {
    type Hasher = Fold;

    fn build_hasher(&self) -> Fold {
        Fold(self.0)
    }
}

/// A hash as far as it is.
#[derive(Debug)]
pub(crate) struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        fold(self.0, FACTOR)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_ne_bytes(word));
        }
    }

    fn write_u8(&mut self, n: u8) {
        self.write_u64(n.into());
    }

    fn write_u16(&mut self, n: u16) {
        self.write_u64(n.into());
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(n.into());
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = fold(self.0, n);
    }

    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }
}
