//! Programs for the offline machine: made from a seed, run by the interpreter and as machine code, which must agree.

use super::Target;
use crate::rng::Rng;
use skep_engine::generate;

/// Programs of one input.
const PROGRAMS: u64 = 4;

/// Both engines.
pub(super) struct Engines;

impl Target for Engines {
    fn make(&self, rng: &mut Rng) -> Vec<u8> {
        rng.next().to_le_bytes().to_vec()
    }

    fn take(&self, input: &[u8]) -> Result<(), String> {
        let mut seed = [0; 8];
        let length = input.len().min(seed.len());
        seed[..length].copy_from_slice(&input[..length]);
        let seed = u64::from_le_bytes(seed);
        let blind = (seed % 4 == 0).then_some(seed);
        generate::engines(seed, PROGRAMS, blind).map(|_| ())
    }
}
