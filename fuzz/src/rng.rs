//! Numbers that a seed determines (SplitMix64). Equal seeds give equal numbers, on every machine.

/// A stream of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// The stream of input `index` of a run with `seed`.
    pub(crate) fn new(seed: u64, index: u64) -> Rng {
        let mut rng = Rng(seed ^ index.wrapping_mul(0xd134_2543_de82_ef95));
        rng.next();
        rng
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`; 0 for a limit of 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        if limit == 0 { 0 } else { (self.next() % limit as u64) as usize }
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of them; `None` of an empty list.
    pub(crate) fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        let at = self.below(list.len());
        list.get(at)
    }

    /// A number that programs trip over.
    pub(crate) fn number(&mut self) -> u64 {
        let edges =
            [0, 1, 2, 3, 7, 8, 63, 64, 127, 128, 255, 256, 1023, 4096, 65535, 65536, 1 << 31, 1 << 32];
        match self.below(8) {
            0 => self.next(),
            1 => u64::MAX - self.below(3) as u64,
            2 => (i64::MAX as u64).wrapping_add(self.below(3) as u64),
            3 => u64::from(u32::MAX) - self.below(3) as u64,
            _ => edges[self.below(edges.len())],
        }
    }
}
