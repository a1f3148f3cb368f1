//! Maps as they print: a map's specification and its entries enter, a [`MapView`] leaves, merged over CPUs, in order,
//! and cut to the entries asked for. Sinks write views as text or JSON.

pub mod hist;
pub mod merge;
pub mod order;
pub mod series;

use std::collections::{BTreeMap, HashMap};

use skep_bpf::backend::{Entries, Entry};
use skep_bpf::object::{MapSchema, Storage};
use skep_bpf::schema::{Agg, ValueType};

use crate::decode::{self, u32_at, u64_at};
use crate::value::Value;
use hist::{Counts, Histogram};
use series::{Points, Series};

/// A map's contents, ready to print.
#[derive(Clone, PartialEq, Debug)]
pub struct MapView<'a> {
    /// The map's name, with `@`.
    pub name: &'a str,
    /// Which kind of values it has.
    pub class: Class,
    /// The contents.
    pub body: Body<'a>,
}

/// Kinds of maps that outputs tell apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Values.
    Map,
    /// Averages and stats.
    Stats,
    /// Histograms.
    Hist,
    /// Time series.
    Series,
}

/// Contents of a map.
#[derive(Clone, PartialEq, Debug)]
pub enum Body<'a> {
    /// Nothing was ever stored, or all of it was cleared.
    Empty,
    /// The value of a map without key.
    Scalar(Cell<'a>),
    /// Keys, part by part, and their values.
    Keyed(Vec<(Vec<Value<'a>>, Cell<'a>)>),
}

/// One value of a map.
#[derive(Clone, PartialEq, Debug)]
pub enum Cell<'a> {
    /// A plain value.
    Value(Value<'a>),
    /// A histogram.
    Hist(Histogram),
    /// A time series.
    Series(Series),
}

/// What of a map is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Selection {
    /// Only so many entries, those that come last; zero: all.
    pub top: u64,
    /// Numbers divided by this; zero: as they are.
    pub div: u64,
    /// A map without key is shown with a value of zero when it was never written (histograms: is not shown).
    pub default: bool,
}

/// The view of a map with that name, schema and entries.
pub fn view<'a>(name: &'a str, schema: &'a MapSchema, entries: &'a Entries, what: Selection) -> MapView<'a> {
    let class = match &schema.value {
        ValueType::Agg(Agg::Hist { .. } | Agg::LHist { .. }) => Class::Hist,
        ValueType::Agg(Agg::Avg { .. } | Agg::Stats { .. }) => Class::Stats,
        ValueType::Agg(Agg::TSeries { .. }) => Class::Series,
        _ => Class::Map,
    };
    let body = match (&schema.value, schema.storage) {
        (ValueType::Agg(agg), Storage::Hash) if class == Class::Hist => {
            keyed_hists(agg, schema, entries, what)
        }
        (ValueType::Agg(agg), _) if class == Class::Hist => scalar_hist(agg, entries, what),
        (ValueType::Agg(agg), Storage::Hash) if class == Class::Series => keyed_series(agg, schema, entries),
        (ValueType::Agg(agg), _) if class == Class::Series => scalar_series(agg, entries),
        (_, Storage::Hash) => keyed(schema, entries, what),
        _ => scalar(schema, entries, what),
    };
    MapView { name, class, body }
}

/// Offsets in the value of a map without key: of the value itself and of the word that says whether it was written.
fn scalar_layout(schema: &MapSchema) -> (usize, usize) {
    match schema.storage {
        Storage::PercpuScalar => {
            (0, schema.value.size().checked_next_multiple_of(8).unwrap_or(u32::MAX) as usize)
        }
        _ => (8, 0),
    }
}

/// Whether a map without key has been written on any CPU; for histograms, whether any bucket is not zero.
pub fn is_written(schema: &MapSchema, entries: &Entries) -> bool {
    let flag = match schema.value {
        ValueType::Agg(Agg::Hist { .. } | Agg::LHist { .. }) => 0,
        ValueType::Agg(Agg::TSeries { .. }) => 16, // the interval's number, which is not zero
        _ => scalar_layout(schema).1,
    };
    entries.iter().any(|e| e.per_cpu().any(|b| u64_at(b, flag).is_some_and(|word| word != 0)))
}

/// The bytes that make a map without key zero but written, for a value of `size` bytes.
pub fn zero_but_written(schema: &MapSchema, size: usize) -> Vec<u8> {
    let (_, flag) = scalar_layout(schema);
    let mut bytes = vec![0; size];
    if let Some(word) = bytes.get_mut(flag..flag.saturating_add(8)) {
        word.copy_from_slice(&1u64.to_ne_bytes());
    }
    bytes
}

fn scalar<'a>(schema: &'a MapSchema, entries: &'a Entries, what: Selection) -> Body<'a> {
    let (value, _) = scalar_layout(schema);
    match entries.get(0) {
        Some(entry) if what.default || is_written(schema, entries) => {
            Body::Scalar(Cell::Value(merge::entry(&schema.value, entry, value, what.div)))
        }
        _ => Body::Empty,
    }
}

fn scalar_hist<'a>(agg: &Agg, entries: &Entries, what: Selection) -> Body<'a> {
    let mut counts = Counts::new();
    for entry in entries.iter() {
        let bucket = u64::from(u32_at(entry.key, 0).unwrap_or(u32::MAX));
        add(&mut counts, bucket, count(entry));
    }
    if counts.values().all(|count| *count == 0) {
        return Body::Empty;
    }
    hist::histogram(agg, &counts, what.div).map_or(Body::Empty, |h| Body::Scalar(Cell::Hist(h)))
}

fn keyed<'a>(schema: &'a MapSchema, entries: &'a Entries, what: Selection) -> Body<'a> {
    let rank = order::rank(&schema.value);
    let mut rows: Vec<_> = entries
        .iter()
        .map(|entry| {
            let place = order::place(rank, &merge::entry(&schema.value, entry, 0, 1));
            (place, key_of(schema, entry.key), entry)
        })
        .collect();
    rows.sort_by(|(p, a, _), (q, b, _)| p.cmp(q).then_with(|| order::keys(a, b)));
    let value = |entry| Cell::Value(merge::entry(&schema.value, entry, 0, what.div));
    let rows = last(rows, what.top).map(|(_, key, entry)| (key, value(entry)));
    body(schema, rows.collect())
}

fn keyed_hists<'a>(agg: &Agg, schema: &'a MapSchema, entries: &'a Entries, what: Selection) -> Body<'a> {
    let at = bucket_offset(schema);
    let mut by_key: HashMap<&[u8], Counts> = HashMap::new();
    for entry in entries.iter() {
        let (key, Some(bucket)) = (entry.key.get(..at).unwrap_or(&[]), u64_at(entry.key, at)) else {
            continue;
        };
        add(by_key.entry(key).or_default(), bucket, count(entry));
    }
    let total = |counts: &Counts| counts.values().fold(0u64, |sum, n| sum.wrapping_add(*n));
    let mut rows: Vec<_> = by_key.iter().map(|(key, c)| (total(c), key_of(schema, key), c)).collect();
    rows.sort_by(|(p, a, _), (q, b, _)| p.cmp(q).then_with(|| order::keys(a, b)));
    let cell = |counts| Cell::Hist(hist::histogram(agg, counts, what.div).unwrap_or_default());
    body(schema, last(rows, what.top).map(|(_, key, counts)| (key, cell(counts))).collect())
}

/// How a time series merges what its CPUs hold.
fn merged_bucket(agg: &Agg, entry: Entry<'_>) -> Option<(u64, u64)> {
    let Agg::TSeries { fold, signed, .. } = agg else { return None };
    series::bucket(*fold, *signed, entry.per_cpu())
}

fn scalar_series<'a>(agg: &Agg, entries: &Entries) -> Body<'a> {
    let points: Points = entries.iter().filter_map(|entry| merged_bucket(agg, entry)).collect();
    let Some(last) = points.keys().next_back() else { return Body::Empty };
    series::series(agg, &points, *last).map_or(Body::Empty, |s| Body::Scalar(Cell::Series(s)))
}

/// All series end with the newest interval of the map. They are in the order of their keys' bytes, as in the reference.
fn keyed_series<'a>(agg: &Agg, schema: &'a MapSchema, entries: &'a Entries) -> Body<'a> {
    let at = bucket_offset(schema);
    let mut by_key: BTreeMap<&[u8], Points> = BTreeMap::new();
    for entry in entries.iter() {
        // A bucket that was set to zero counts as interval 0.
        let (epoch, value) = merged_bucket(agg, entry).unwrap_or((0, 0));
        by_key.entry(entry.key.get(..at).unwrap_or(&[])).or_default().insert(epoch, value);
    }
    let last = by_key.values().filter_map(|points| points.keys().next_back()).max().copied().unwrap_or(0);
    let cell = |points| Cell::Series(series::series(agg, points, last).unwrap_or_default());
    body(schema, by_key.iter().map(|(key, points)| (key_of(schema, key), cell(points))).collect())
}

/// Where the bucket number lies in the key of a histogram.
fn bucket_offset(schema: &MapSchema) -> usize {
    let end = match schema.key.as_slice() {
        [] => 0,
        parts => ValueType::tuple(parts.iter().cloned()).size(),
    };
    end.checked_next_multiple_of(8).unwrap_or(u32::MAX) as usize
}

/// Rows as a body; those of a map without key are one scalar.
fn body<'a>(schema: &MapSchema, mut rows: Vec<(Vec<Value<'a>>, Cell<'a>)>) -> Body<'a> {
    match (rows.is_empty(), schema.key.is_empty()) {
        (true, _) => Body::Empty,
        (false, true) => rows.pop().map_or(Body::Empty, |(_, cell)| Body::Scalar(cell)),
        (false, false) => Body::Keyed(rows),
    }
}

/// The last `top` rows; all for zero.
fn last<T>(rows: Vec<T>, top: u64) -> impl Iterator<Item = T> {
    let top = if top == 0 { rows.len() } else { usize::try_from(top).unwrap_or(usize::MAX) };
    let skip = rows.len().saturating_sub(top);
    rows.into_iter().skip(skip)
}

/// The parts of a key: each at its natural alignment, one after another.
fn key_of<'a>(schema: &'a MapSchema, key: &'a [u8]) -> Vec<Value<'a>> {
    let mut offset = 0u32;
    let part = |ty: &'a ValueType| {
        offset = offset.checked_next_multiple_of(ty.align().max(1)).unwrap_or(u32::MAX);
        let value = key.get(offset as usize..).map(|bytes| decode::value(ty, bytes));
        offset = offset.saturating_add(ty.size());
        value.unwrap_or(Value::Damaged("too short"))
    };
    schema.key.iter().map(part).collect()
}

fn count(entry: Entry<'_>) -> u64 {
    entry.per_cpu().fold(0, |sum: u64, b| sum.wrapping_add(u64_at(b, 0).unwrap_or(0)))
}

fn add(counts: &mut Counts, bucket: u64, n: u64) {
    let count = counts.entry(bucket).or_default();
    *count = count.wrapping_add(n);
}
