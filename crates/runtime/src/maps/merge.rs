//! Merging: the values that an aggregation has on each CPU enter, one value leaves.
//!
//! All arithmetic is exact in 64 bits; sums wrap as the kernel's own additions do. A CPU whose bytes are too short
//! counts as one that has never written.

use skep_bpf::backend::Entry;
use skep_bpf::schema::{Agg, ValueType};

use crate::decode::{self, u64_at};
use crate::value::Value;

/// An aggregation over all CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Merged {
    /// A count, a sum, a minimum or a maximum.
    Number {
        /// The number's 64 bits.
        bits: u64,
        /// Whether they have a sign.
        signed: bool,
    },
    /// An average.
    Avg(Mean),
    /// A count, average and total.
    Stats(Mean),
}

/// A total and how many values it is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mean {
    /// The total's 64 bits.
    pub total: u64,
    /// How many values.
    pub count: u64,
    /// Whether the total has a sign.
    pub signed: bool,
}

impl Mean {
    /// The average, rounded towards zero, as 64 bits; zero of nothing.
    pub fn average(self) -> u64 {
        match (self.count, self.signed) {
            (0, _) => 0,
            (count, true) => (i128::from(self.total as i64) / i128::from(count)) as u64,
            (count, false) => self.total / count,
        }
    }
}

/// Merges the values that `agg` has on each CPU.
pub fn aggregate<'a>(agg: &Agg, cpus: impl Iterator<Item = &'a [u8]>) -> Merged {
    let word = |bytes: &[u8], at| u64_at(bytes, at).unwrap_or(0);
    match *agg {
        Agg::Count | Agg::Hist { .. } | Agg::LHist { .. } => {
            Merged::Number { bits: cpus.fold(0, |sum, b| sum.wrapping_add(word(b, 0))), signed: false }
        }
        // An entry alone says little: `maps` puts the intervals together.
        Agg::TSeries { signed, .. } => Merged::Number { bits: 0, signed },
        Agg::Sum { signed } => {
            Merged::Number { bits: cpus.fold(0, |sum, b| sum.wrapping_add(word(b, 0))), signed }
        }
        Agg::Min { signed } | Agg::Max { signed } => {
            let greatest = matches!(agg, Agg::Max { .. });
            let set = cpus.filter(|b| word(b, 8) != 0).map(|b| word(b, 0));
            let flip = if signed { 1 << 63 } else { 0 }; // orders signed numbers as unsigned ones
            let flipped = set.map(|bits| bits ^ flip);
            let found = if greatest { flipped.max() } else { flipped.min() };
            Merged::Number { bits: found.map_or(0, |bits| bits ^ flip), signed }
        }
        Agg::Avg { signed } => Merged::Avg(mean(cpus, signed)),
        Agg::Stats { signed } => Merged::Stats(mean(cpus, signed)),
    }
}

fn mean<'a>(cpus: impl Iterator<Item = &'a [u8]>, signed: bool) -> Mean {
    let zero = Mean { total: 0, count: 0, signed };
    cpus.fold(zero, |mean, bytes| Mean {
        total: mean.total.wrapping_add(u64_at(bytes, 0).unwrap_or(0)),
        count: mean.count.wrapping_add(u64_at(bytes, 8).unwrap_or(0)),
        signed,
    })
}

impl Merged {
    /// The value as it prints, numbers divided by `div` (averages, but not counts and totals, of stats); zero divides
    /// like one.
    pub fn value(self, div: u64) -> Value<'static> {
        match self {
            Merged::Number { bits, signed } => divided(bits, signed, div),
            Merged::Avg(mean) => divided(mean.average(), mean.signed, div),
            Merged::Stats(mean) => Value::Record(vec![
                ("count", divided(mean.count, mean.signed, 1)),
                ("average", divided(mean.average(), mean.signed, div)),
                ("total", divided(mean.total, mean.signed, 1)),
            ]),
        }
    }
}

/// A number divided by `div`, rounded towards zero.
fn divided(bits: u64, signed: bool, div: u64) -> Value<'static> {
    let div = div.max(1);
    match signed {
        true => Value::Int(i64::try_from(div).map_or(0, |div| (bits as i64) / div)),
        false => Value::Uint(bits / div),
    }
}

/// The value of a map entry: aggregations merged over the CPUs, integers of per-CPU maps added up, all else of the
/// first CPU. `skip` bytes before the value are passed over.
pub fn entry<'a>(ty: &'a ValueType, entry: Entry<'a>, skip: usize, div: u64) -> Value<'a> {
    let behind = move |bytes: &'a [u8]| bytes.get(skip..).unwrap_or(&[]);
    match ty {
        ValueType::Agg(agg) => aggregate(agg, entry.per_cpu().map(behind)).value(div),
        ValueType::Int { size, signed } => {
            let numbers = entry.per_cpu().map(|b| decode::value(ty, behind(b)).bits());
            match numbers.reduce(|a, b| Some(a?.wrapping_add(b?))).flatten() {
                Some(sum) => divided(narrowed(sum, *size, *signed), *signed, div),
                None => decode::value(ty, behind(entry.value())),
            }
        }
        _ => decode::value(ty, behind(entry.value())),
    }
}

/// A sum wrapped to the width of its type.
fn narrowed(sum: u64, size: u8, signed: bool) -> u64 {
    let spare = 64u32.saturating_sub(8 * u32::from(size)).min(63);
    if signed { (((sum << spare) as i64) >> spare) as u64 } else { (sum << spare) >> spare }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpus(words: &[[u64; 2]]) -> Vec<Vec<u8>> {
        words.iter().map(|w| w.iter().flat_map(|w| w.to_ne_bytes()).collect()).collect()
    }

    fn merged(agg: Agg, words: &[[u64; 2]]) -> Value<'static> {
        let cpus = cpus(words);
        aggregate(&agg, cpus.iter().map(Vec::as_slice)).value(1)
    }

    #[test]
    fn sums_are_exact_in_64_bits() {
        let big = 1u64 << 60;
        assert_eq!(merged(Agg::Count, &[[big + 1, 0], [big, 0], [3, 0]]), Value::Uint(2 * big + 4));
        let minus = |n: i64| n as u64;
        assert_eq!(merged(Agg::Sum { signed: true }, &[[minus(-5), 0], [2, 0]]), Value::Int(-3));
        assert_eq!(merged(Agg::Sum { signed: false }, &[[u64::MAX, 0], [2, 0]]), Value::Uint(1));
    }

    #[test]
    fn extremes_heed_sign_and_unset_cpus() {
        let words = [[0, 0], [(-7i64) as u64, 1], [4, 1]];
        assert_eq!(merged(Agg::Min { signed: true }, &words), Value::Int(-7));
        assert_eq!(merged(Agg::Max { signed: true }, &words), Value::Int(4));
        assert_eq!(merged(Agg::Min { signed: false }, &words), Value::Uint(4));
        assert_eq!(merged(Agg::Max { signed: false }, &words), Value::Uint((-7i64) as u64));
        assert_eq!(merged(Agg::Max { signed: true }, &[[9, 0]]), Value::Int(0));
    }

    #[test]
    fn averages_round_towards_zero() {
        let words = [[(-20i64) as u64, 1], [7, 1]];
        assert_eq!(merged(Agg::Avg { signed: true }, &words), Value::Int(-6));
        let stats = merged(Agg::Stats { signed: true }, &words);
        let want = vec![("count", Value::Int(2)), ("average", Value::Int(-6)), ("total", Value::Int(-13))];
        assert_eq!(stats, Value::Record(want));
        assert_eq!(merged(Agg::Avg { signed: false }, &[[5, 0]]), Value::Uint(0));
        assert_eq!(merged(Agg::Avg { signed: true }, &[[i64::MIN as u64, u64::MAX]]), Value::Int(0));
    }

    #[test]
    fn divides_numbers_and_averages_only() {
        let cpus = cpus(&[[100, 4]]);
        let stats = aggregate(&Agg::Stats { signed: false }, cpus.iter().map(Vec::as_slice));
        let want = vec![("count", Value::Uint(4)), ("average", Value::Uint(5)), ("total", Value::Uint(100))];
        assert_eq!(stats.value(5), Value::Record(want));
        assert_eq!(stats.value(0), stats.value(1));
        assert_eq!(divided((-9i64) as u64, true, u64::MAX), Value::Int(0));
    }

    #[test]
    fn short_bytes_count_as_nothing() {
        let value = aggregate(&Agg::Max { signed: true }, [&[1u8][..], &[]].into_iter()).value(1);
        assert_eq!(value, Value::Int(0));
    }
}
