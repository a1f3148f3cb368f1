//! Time series: the entries of one key's buckets enter, the values of the last intervals leave, oldest first.
//!
//! An interval is numbered by the TAI clock divided by its length. Buckets are used round and round; of each the
//! newest interval counts, merged over the CPUs.

use std::collections::BTreeMap;

use skep_bpf::schema::{Agg, SeriesFold};

use crate::decode::u64_at;
use crate::value::Value;

/// Intervals that are printed at most, whatever a type says.
const MAX_POINTS: u64 = 1 << 20;

/// A time series as it prints.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Series {
    /// Length of an interval in nanoseconds.
    pub interval: u64,
    /// Number of the interval (its start is that many intervals behind the TAI clock's zero) and its value; `None` where
    /// nothing was stored. Each number is one more than the one before it.
    pub points: Vec<(u64, Option<Value<'static>>)>,
}

/// Values of one key by interval.
pub type Points = BTreeMap<u64, u64>;

/// One CPU's share of a bucket.
#[derive(Clone, Copy)]
struct Share {
    value: u64,
    second: u64,
    epoch: u64,
}

fn share(bytes: &[u8]) -> Option<Share> {
    let share = Share { value: u64_at(bytes, 0)?, second: u64_at(bytes, 8)?, epoch: u64_at(bytes, 16)? };
    (share.epoch != 0).then_some(share)
}

/// Merges what the CPUs have in one bucket: the newest interval's number and its value. `None` when the bucket was
/// never used.
pub fn bucket<'a>(
    fold: SeriesFold,
    signed: bool,
    cpus: impl Iterator<Item = &'a [u8]>,
) -> Option<(u64, u64)> {
    let mut newest: Option<Share> = None;
    for share in cpus.filter_map(share) {
        newest = Some(match newest {
            Some(kept) if kept.epoch > share.epoch => kept,
            Some(kept) if kept.epoch == share.epoch => joined(fold, signed, kept, share),
            _ => share,
        });
    }
    let Share { value, second, epoch } = newest?;
    let value = match (fold, signed) {
        (SeriesFold::Avg, _) if second == 0 => 0,
        (SeriesFold::Avg, true) => (i128::from(value as i64) / i128::from(second)) as u64,
        (SeriesFold::Avg, false) => value / second,
        _ => value,
    };
    Some((epoch, value))
}

/// Two CPUs' shares of the same interval as one.
fn joined(fold: SeriesFold, signed: bool, a: Share, b: Share) -> Share {
    let flip = if signed { 1 << 63 } else { 0 }; // orders signed numbers as unsigned ones
    let first = match fold {
        SeriesFold::Last => a.second >= b.second,
        SeriesFold::Min => a.value ^ flip <= b.value ^ flip,
        SeriesFold::Max => a.value ^ flip >= b.value ^ flip,
        SeriesFold::Sum | SeriesFold::Avg => {
            let (value, second) = (a.value.wrapping_add(b.value), a.second.wrapping_add(b.second));
            return Share { value, second, epoch: a.epoch };
        }
    };
    if first { a } else { b }
}

/// The series of `points` up to the interval `last`, which is the newest of the whole map, and as many intervals before
/// it as `agg` keeps; it begins with the first that holds a value. `None` when `agg` is no time series.
pub fn series(agg: &Agg, points: &Points, last: u64) -> Option<Series> {
    let Agg::TSeries { signed, interval, count, .. } = agg else { return None };
    let kept = u64::from(*count).clamp(1, MAX_POINTS);
    // Where the clock has not been running that long, as in tests with a clock of their own, nothing is in range.
    let Some(first) = last.saturating_add(1).checked_sub(kept) else {
        return Some(Series { interval: *interval, points: Vec::new() });
    };
    let begin = points.range(first..=last).next().map_or(last, |(epoch, _)| *epoch);
    let value = |bits: u64| if *signed { Value::Int(bits as i64) } else { Value::Uint(bits) };
    let points = (begin..=last).map(|epoch| (epoch, points.get(&epoch).copied().map(value))).collect();
    Some(Series { interval: *interval, points })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpus(shares: &[[u64; 3]]) -> Vec<Vec<u8>> {
        shares.iter().map(|s| s.iter().flat_map(|w| w.to_ne_bytes()).collect()).collect()
    }

    fn merged(fold: SeriesFold, signed: bool, shares: &[[u64; 3]]) -> Option<(u64, u64)> {
        bucket(fold, signed, cpus(shares).iter().map(Vec::as_slice))
    }

    #[test]
    fn the_newest_interval_counts() {
        let shares = [[5, 1, 7], [9, 1, 8], [4, 1, 8], [0, 0, 0]];
        assert_eq!(merged(SeriesFold::Sum, false, &shares), Some((8, 13)));
        assert_eq!(merged(SeriesFold::Min, false, &shares), Some((8, 4)));
        assert_eq!(merged(SeriesFold::Max, false, &shares), Some((8, 9)));
        assert_eq!(merged(SeriesFold::Avg, false, &shares), Some((8, 6)));
        assert_eq!(merged(SeriesFold::Last, false, &[[1, 50, 3], [2, 40, 3]]), Some((3, 1)));
        assert_eq!(merged(SeriesFold::Sum, false, &[[0, 0, 0]]), None);
    }

    #[test]
    fn signs_are_heeded() {
        let minus = (-6i64) as u64;
        assert_eq!(merged(SeriesFold::Min, true, &[[3, 1, 1], [minus, 1, 1]]), Some((1, minus)));
        assert_eq!(merged(SeriesFold::Max, true, &[[3, 1, 1], [minus, 1, 1]]), Some((1, 3)));
        assert_eq!(merged(SeriesFold::Avg, true, &[[minus, 2, 1]]), Some((1, (-3i64) as u64)));
        assert_eq!(merged(SeriesFold::Avg, true, &[[minus, 0, 1]]), Some((1, 0)));
    }

    #[test]
    fn a_series_has_no_gaps_and_begins_with_a_value() {
        let agg = Agg::TSeries { signed: false, interval: 10, count: 5, fold: SeriesFold::Last };
        let points: Points = [(3, 30), (96, 1), (98, 2)].into_iter().collect();
        let got = series(&agg, &points, 99).unwrap();
        let want = [(96, Some(1)), (97, None), (98, Some(2)), (99, None)];
        assert_eq!(got.points, want.map(|(e, v)| (e, v.map(Value::Uint))).to_vec());
        assert_eq!(series(&agg, &Points::new(), 0).unwrap().points, []);
        assert_eq!(series(&agg, &Points::new(), u64::MAX - 1).unwrap().points.len(), 1);
    }
}
