//! Histograms: counts by bucket number enter, labelled buckets leave, without the empty ones at either end.

use std::collections::BTreeMap;

use skep_bpf::schema::{Agg, hist_buckets};

/// Linear histograms have no more buckets than this, whatever their type says.
const MAX_BUCKETS: u64 = 1 << 16;

/// A histogram as it prints.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Histogram {
    /// Where the first bucket begins; `None`: it has no lower end.
    pub lower: Option<Label>,
    /// The buckets, in order, each beginning where the one before it ends.
    pub buckets: Vec<Bucket>,
}

/// One bucket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bucket {
    /// The first value behind it; `None`: it has no upper end.
    pub end: Option<Label>,
    /// How many values fell into it.
    pub count: u64,
}

/// The border of a bucket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Label {
    /// The number.
    pub value: i128,
    /// How it prints when it is not printed in full ("4K").
    pub text: Option<String>,
}

impl Label {
    fn plain(value: i128) -> Label {
        Label { value, text: None }
    }
}

/// Counts by bucket number.
pub type Counts = BTreeMap<u64, u64>;

/// The histogram of `counts`; log2 histograms have their counts divided by `div` (zero like one). Numbers beyond the
/// type's last bucket are dropped. `None` when `agg` is no histogram.
pub fn histogram(agg: &Agg, counts: &Counts, div: u64) -> Option<Histogram> {
    let (last, div) = match agg {
        Agg::Hist { bits } if *bits <= 5 => (u64::from(hist_buckets(*bits)) - 1, div.max(1)),
        Agg::LHist { min, max, step } if *step > 0 => (linear_last(*min, *max, *step), 1),
        Agg::Hist { .. } | Agg::LHist { .. } => return Some(Histogram::default()),
        _ => return None,
    };
    let mut used = counts.range(..=last).filter(|(_, count)| **count != 0).map(|(bucket, _)| *bucket);
    let Some(first) = used.next() else { return Some(Histogram::default()) };
    let end = used.next_back().unwrap_or(first);
    let lower = if first == 0 { None } else { border(agg, first - 1) };
    let buckets = (first..=end)
        .map(|b| Bucket { end: border(agg, b), count: counts.get(&b).copied().unwrap_or(0) / div })
        .collect();
    Some(Histogram { lower, buckets })
}

/// The border above bucket `bucket` (and below the next); `None` above the last.
fn border(agg: &Agg, bucket: u64) -> Option<Label> {
    match agg {
        Agg::Hist { bits } => Some(power_border(bucket, u32::from(*bits))),
        Agg::LHist { min, max, step } => linear_border(bucket, *min, *max, *step),
        _ => None,
    }
}

/// Bucket `b` ends below `b` as long as buckets hold one number. From there on the number's mantissa is the top
/// `bits` + 1 bits; it prints with the suffix of the thousands (of 1024) in its exponent, which is not that of its
/// value when `bits` is not zero.
fn power_border(bucket: u64, bits: u32) -> Label {
    if bucket <= 2 << bits {
        return Label::plain(i128::from(bucket));
    }
    let exponent = ((bucket >> bits) - 1).min(64) as u32;
    let mantissa = i128::from((1 << bits) + (bucket & ((1 << bits) - 1)));
    let suffix = ["", "K", "M", "G", "T", "P", "E"].get(exponent as usize / 10).copied().unwrap_or("");
    let text = format!("{}{suffix}", mantissa << (exponent % 10));
    Label { value: mantissa << exponent, text: Some(text) }
}

/// Bucket 0 lies below `min`; the last, of what is at or above the end of the last whole step, has no upper end.
fn linear_border(bucket: u64, min: i64, max: i64, step: i64) -> Option<Label> {
    let value = i128::from(min) + i128::from(bucket) * i128::from(step);
    if value > i128::from(max) {
        return None;
    }
    if step % 1024 != 0 {
        return Some(Label::plain(value));
    }
    let text = match value {
        0 => "0".to_owned(),
        v if v % (1 << 20) == 0 => format!("{}M", v >> 20),
        v if v % (1 << 10) == 0 => format!("{}K", v >> 10),
        v => v.to_string(),
    };
    Some(Label { value, text: Some(text) })
}

fn linear_last(min: i64, max: i64, step: i64) -> u64 {
    let steps = (i128::from(max) - i128::from(min)).max(0) / i128::from(step.max(1));
    u64::try_from(steps + 1).unwrap_or(MAX_BUCKETS).min(MAX_BUCKETS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_bpf::schema::hist_bounds;

    fn labels(agg: &Agg, counts: &[(u64, u64)]) -> Vec<String> {
        let hist = histogram(agg, &counts.iter().copied().collect(), 0).unwrap();
        let show = |l: &Label| l.text.clone().unwrap_or_else(|| l.value.to_string());
        let ends = hist.buckets.iter().map(|b| b.end.as_ref().map_or("...".to_owned(), show));
        std::iter::once(hist.lower.as_ref().map_or("...".to_owned(), show)).chain(ends).collect()
    }

    #[test]
    fn borders_are_where_the_schema_puts_them() {
        for bits in 0..=5u8 {
            for bucket in 0..u64::from(hist_buckets(bits)) - 1 {
                let (low, _) = hist_bounds(bucket as u32 + 1, bits);
                assert_eq!(power_border(bucket, u32::from(bits)).value as u64, low as u64, "{bits} {bucket}");
            }
        }
    }

    #[test]
    fn powers_of_two_have_suffixes() {
        assert_eq!(labels(&Agg::Hist { bits: 0 }, &[(0, 1), (3, 2)]), ["...", "0", "1", "2", "4"]);
        assert_eq!(labels(&Agg::Hist { bits: 0 }, &[(11, 1), (13, 1)]), ["512", "1K", "2K", "4K"]);
        assert_eq!(labels(&Agg::Hist { bits: 2 }, &[(8, 1), (10, 1)]), ["7", "8", "10", "12"]);
    }

    #[test]
    fn linear_ends_are_open() {
        let agg = Agg::LHist { min: 100, max: 125, step: 10 };
        assert_eq!(labels(&agg, &[(1, 1), (3, 1)]), ["100", "110", "120", "..."]);
        let agg = Agg::LHist { min: 0, max: 10_240, step: 1_024 };
        assert_eq!(labels(&agg, &[(0, 1), (1, 1), (11, 1)])[..3], ["...", "0", "1K"]);
        assert_eq!(labels(&agg, &[(11, 1)]), ["10K", "..."]);
    }

    #[test]
    fn hostile_numbers_are_dropped() {
        let agg = Agg::LHist { min: i64::MIN, max: i64::MAX, step: 1 };
        assert!(histogram(&agg, &[(u64::MAX, 1), (MAX_BUCKETS, 1)].into_iter().collect(), 1).is_some());
        let empty = Some(Histogram::default());
        assert_eq!(histogram(&Agg::Hist { bits: 9 }, &[(1, 1)].into_iter().collect(), 1), empty);
        assert_eq!(histogram(&Agg::LHist { min: 0, max: 9, step: 0 }, &Counts::new(), 1), empty);
        assert_eq!(histogram(&Agg::Hist { bits: 0 }, &[(70, 1)].into_iter().collect(), 1), empty);
    }
}
