//! Time stamps of files: units of some resolution enter, nanoseconds since 1970-01-01 UTC leave, and back.

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// How an interface counts time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Clock {
    /// Units of a second: a power of ten or of two.
    units: u64,
    /// Seconds to add.
    offset: i64,
}

impl Clock {
    /// From pcapng's options `if_tsresol` and `if_tsoffset`. `None`: finer than 64 bits can count.
    pub(super) fn new(resolution: u8, offset: i64) -> Option<Clock> {
        let exponent = u32::from(resolution & 0x7f);
        let units = match resolution & 0x80 {
            0 => 10u64.checked_pow(exponent)?,
            _ => 1u64.checked_shl(exponent)?,
        };
        Some(Clock { units, offset })
    }

    /// Nanoseconds since 1970 of a count; what lies outside of 64 bits sticks to their ends.
    pub(super) fn nanoseconds(self, count: u64) -> u64 {
        if self.offset == 0 && SECOND.is_multiple_of(self.units) {
            return count.saturating_mul(SECOND / self.units);
        }
        let ns = i128::from(count) * i128::from(SECOND) / i128::from(self.units);
        let ns = ns + i128::from(self.offset) * i128::from(SECOND);
        u64::try_from(ns.max(0)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resolution_counts_seconds() {
        for resolution in [0u8, 3, 6, 9, 12, 0x80, 0x80 | 10, 0x80 | 20, 0x80 | 33] {
            let clock = Clock::new(resolution, 5).unwrap();
            assert_eq!(clock.nanoseconds(7 * clock.units), 12 * SECOND, "{resolution:#x}");
        }
        assert_eq!(Clock::new(6, 0).unwrap().nanoseconds(1_500_000), 1_500_000_000);
        assert_eq!(Clock::new(12, 0).unwrap().nanoseconds(1_999), 1);
        assert_eq!(Clock::new(0, -1).unwrap().nanoseconds(0), 0);
        assert_eq!(Clock::new(0, 0).unwrap().nanoseconds(u64::MAX), u64::MAX);
        assert_eq!((Clock::new(20, 0), Clock::new(0xc0, 0)), (None, None));
    }
}
