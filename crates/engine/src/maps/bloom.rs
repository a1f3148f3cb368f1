//! Bloom filters: values go in, and a question whether one is there is answered with "no" or "perhaps" (kernel/bpf/bloom_filter.c).

use rustix::io::Errno;
use skep_bpf::kinds::map_flags::ZERO_SEED;
use skep_bpf::object::MapSpec;

use super::{Map, jhash, update_flag};

/// Hash functions where the map does not say how many.
const HASHES: u32 = 5;
/// Most hash functions, in the low bits of `map_extra`.
pub(super) const MOST_HASHES: u32 = 15;
/// What stands for the kernel's random seed.
const SEED: u32 = 0x736b_6570;

/// A Bloom filter.
pub(super) struct Bloom {
    spec: MapSpec,
    bits: Vec<u64>,
    mask: u32,
    seed: u32,
    hashes: u32,
}

impl Bloom {
    pub(super) fn new(spec: &MapSpec) -> Bloom {
        let hashes = match spec.details.map_extra as u32 & MOST_HASHES {
            0 => HASHES,
            number => number,
        };
        // Bits for few wrong answers: entries * hashes / ln 2, up to a power of two (bloom_map_alloc).
        let wanted = u64::from(spec.max_entries) * u64::from(hashes) * 7 / 5;
        let bits = wanted.clamp(64, 1 << 31).next_power_of_two();
        let seed = if spec.flags & ZERO_SEED != 0 { 0 } else { SEED };
        let mask = (bits - 1) as u32;
        Bloom { spec: spec.clone(), bits: vec![0; (bits / 64) as usize], mask, seed, hashes }
    }

    fn positions(&self, value: &[u8]) -> impl Iterator<Item = (usize, u64)> + use<> {
        let words: Vec<u32> =
            value.chunks_exact(4).map(|w| u32::from_ne_bytes([w[0], w[1], w[2], w[3]])).collect();
        let hashes: Vec<u32> = (0..self.hashes)
            .map(|number| match value.len() % 4 {
                0 => jhash::words(&words, self.seed.wrapping_add(number)),
                _ => jhash::bytes(value, self.seed.wrapping_add(number)),
            })
            .collect();
        let mask = self.mask;
        hashes.into_iter().map(move |hash| {
            let bit = hash & mask;
            ((bit / 64) as usize, 1u64 << (bit % 64))
        })
    }
}

impl Map for Bloom {
    fn spec(&self) -> &MapSpec {
        &self.spec
    }

    fn refuses(&self) -> Errno {
        Errno::OPNOTSUPP
    }

    fn push(&mut self, value: &[u8], flags: u64) -> Result<(), Errno> {
        if flags != update_flag::ANY {
            return Err(Errno::INVAL);
        }
        for (word, bit) in self.positions(value) {
            self.bits[word] |= bit;
        }
        Ok(())
    }

    fn peek(&self, value: &[u8]) -> Result<Vec<u8>, Errno> {
        let there = self.positions(value).all(|(word, bit)| self.bits[word] & bit != 0);
        if there { Ok(value.to_vec()) } else { Err(Errno::NOENT) }
    }
}
