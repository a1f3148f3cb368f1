//! The order in which a map's entries print.
//!
//! Counts, sums, integers and averages go by value, the smallest first, so that the greatest stand last, where a
//! reader at a terminal sees them; histograms by how many values they hold. All else goes by key, and so do equal
//! values, which makes the output the same every time.

use std::cmp::Ordering;

use skep_bpf::schema::{Agg, ValueType};

use crate::value::{Frames, Value};

/// How the values of a type are ranked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rank {
    /// By the number, with its sign where it has one.
    Number,
    /// By the number's 64 bits, which puts negative ones last.
    Bits,
    /// Not at all: entries go by key.
    None,
}

/// How values of type `ty` are ranked. Minima and maxima go by their bits, whatever their sign, as in the reference.
pub fn rank(ty: &ValueType) -> Rank {
    match ty {
        ValueType::Int { .. } | ValueType::Enum { .. } => Rank::Number,
        ValueType::Agg(Agg::Min { .. } | Agg::Max { .. }) => Rank::Bits,
        ValueType::Agg(_) => Rank::Number,
        _ => Rank::None,
    }
}

/// The place of `value` by `rank`; stats are placed by their average.
pub fn place(rank: Rank, value: &Value<'_>) -> i128 {
    match (rank, value) {
        (Rank::None, _) => 0,
        (_, Value::Record(fields)) => {
            fields.iter().find(|(name, _)| *name == "average").map_or(0, |(_, average)| place(rank, average))
        }
        (Rank::Number, Value::Int(i)) => i128::from(*i),
        (Rank::Number, Value::Enum { bits, signed: true, .. }) => i128::from(*bits as i64),
        _ => value.bits().map_or(0, i128::from),
    }
}

/// Compares two keys, part by part. Integers compare as signed numbers of their width, also unsigned ones, as in the
/// reference.
pub fn keys(a: &[Value<'_>], b: &[Value<'_>]) -> Ordering {
    a.iter().zip(b).map(|(a, b)| key(a, b)).find(|o| o.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
}

fn key(a: &Value<'_>, b: &Value<'_>) -> Ordering {
    match (a, b) {
        (Value::Str { bytes: a, .. }, Value::Str { bytes: b, .. }) => a.cmp(b),
        (Value::Buf(a), Value::Buf(b)) => a.cmp(b),
        (Value::Tuple(a), Value::Tuple(b)) | (Value::Array(a), Value::Array(b)) => keys(a, b),
        (Value::Record(a), Value::Record(b)) => {
            let parts = a.iter().zip(b).map(|((_, a), (_, b))| key(a, b));
            parts.into_iter().find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
        }
        (Value::Inet { family: f, bytes: a }, Value::Inet { family: g, bytes: b }) => (f, a).cmp(&(g, b)),
        (Value::Mac(a), Value::Mac(b)) => a.cmp(b),
        _ => number(a).cmp(&number(b)),
    }
}

fn number(value: &Value<'_>) -> i64 {
    let bits = match value {
        Value::KSym(address) | Value::USym { address, .. } => *address,
        Value::KStack { frames: Frames::Id(id), .. } | Value::UStack { frames: Frames::Id(id), .. } => {
            *id as u64
        }
        Value::Timestamp { nanos, .. } => *nanos,
        Value::CgroupPath { id, .. } => *id,
        Value::Username(n) | Value::Signal(n) => u64::from(*n),
        Value::StrError(n) => *n as u64,
        _ => value.bits().unwrap_or(0),
    };
    bits as i64
}
