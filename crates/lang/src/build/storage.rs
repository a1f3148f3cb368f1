//! How each map of the source is stored: its declaration enters, the map of the object leaves, and a [`MapInfo`] that says where in it
//! what lies. A map without a key is one entry of an array, histograms have an entry for each bucket.

use super::module::ModuleCx;
use super::{BuildError, Result, internal};
use crate::ast::Span;
use crate::hir;
use crate::ty::Ty;
use skep_bpf::kinds::{MapType, map_flags};
use skep_bpf::object::{MapDetails, MapSchema, MapSpec, Storage};
use skep_bpf::schema::{Agg, hist_buckets};
use skep_compiler::ir::MapId;

/// Most buckets of a linear histogram; the checker allows fewer.
const MAX_BUCKETS: i64 = 1 << 20;
/// Bytes before the value of a map without key and aggregation: whether it was written.
pub(super) const FLAG: u32 = 8;
/// Bytes of the length before a trie's key.
pub(super) const PREFIX_LEN: u32 = 4;

/// A map of the source as it is stored.
#[derive(Clone, Debug)]
pub(super) struct MapInfo {
    /// In the object.
    pub(super) id: MapId,
    /// How.
    pub(super) storage: Storage,
    /// Key parts as they are stored.
    pub(super) key: Ty,
    /// Whether `key` is a tuple of several parts.
    pub(super) parts: usize,
    /// Bytes of the key, without a histogram's bucket number.
    pub(super) key_size: u32,
    /// Value.
    pub(super) value: Ty,
    /// Bytes of a value as it is printed, on one CPU.
    pub(super) value_size: u32,
    /// One value per CPU.
    pub(super) percpu: bool,
    /// Buckets of a histogram are entries of their own.
    pub(super) buckets: bool,
    /// Keys are indexes of an array, 4 bytes.
    pub(super) array: bool,
    /// Keys are prefixes: their length in bits (u32), then the key, numbers in network order.
    pub(super) trie: bool,
}

/// Declares a map of the source.
pub(super) fn declare(cx: &mut ModuleCx<'_>, map: &hir::Map, order: u32) -> Result<MapInfo> {
    let agg = match &map.value {
        Ty::Agg(agg) => Some(agg.clone()),
        _ => None,
    };
    let buckets = buckets(&map.name, agg.as_ref())?;
    let array = matches!(map.kind, MapType::Array | MapType::PercpuArray) && !map.key.is_empty();
    let parts: Vec<Ty> = if array { vec![Ty::U32] } else { map.key.clone() };
    let key = Ty::Tuple(parts.clone());
    let trie = map.kind == MapType::LpmTrie;
    let (key_size, value) = (cx.size_of(&key) + if trie { PREFIX_LEN } else { 0 }, cx.layout(&map.value));
    let value_size = value.size();
    let (storage, map_type) = match (map.key.is_empty(), &agg) {
        (true, Some(_)) => (Storage::PercpuScalar, MapType::PercpuArray),
        (true, None) => (Storage::Scalar, MapType::Array),
        (false, Some(_)) => (Storage::Hash, percpu_kind(map.kind)),
        (false, None) => (Storage::Hash, map.kind),
    };
    let stored_key = match (storage, buckets.is_some()) {
        (Storage::Hash, true) => key_size.next_multiple_of(8) + 8,
        (Storage::Hash, false) => key_size,
        _ => 4,
    };
    let stored_value = match storage {
        Storage::Hash => value_size,
        Storage::PercpuScalar if buckets.is_some() => value_size.next_multiple_of(8),
        Storage::PercpuScalar => value_size.next_multiple_of(8) + 8,
        Storage::Scalar => FLAG + value_size.next_multiple_of(8),
    };
    let max_entries = match storage {
        Storage::Hash => map.max_entries,
        Storage::PercpuScalar => buckets.unwrap_or(1),
        Storage::Scalar => 1,
    };
    let key_layouts = parts.iter().map(|ty| cx.layout(ty)).collect();
    // What is not walked is not printed.
    let walked = storage != Storage::Hash
        || matches!(
            map_type,
            MapType::Hash | MapType::LruHash | MapType::PercpuHash | MapType::LruPercpuHash
        );
    let id = cx.add_map(MapSpec {
        name: map.name.clone(),
        map_type,
        key_size: stored_key,
        value_size: stored_value.max(1),
        max_entries,
        flags: if trie { map_flags::NO_PREALLOC } else { 0 },
        initial: Vec::new(),
        frozen: false,
        schema: walked.then_some(MapSchema { storage, key: key_layouts, value, order }),
        details: MapDetails::default(),
    });
    Ok(MapInfo {
        id,
        storage,
        parts: parts.len(),
        key,
        key_size,
        value: map.value.clone(),
        value_size,
        percpu: matches!(map_type, MapType::PercpuHash | MapType::PercpuArray | MapType::LruPercpuHash),
        buckets: buckets.is_some(),
        array,
        trie,
    })
}

/// Number of buckets, if it is a histogram.
fn buckets(name: &str, agg: Option<&Agg>) -> Result<Option<u32>> {
    match agg.and_then(bucket_count) {
        None => Ok(None),
        Some(count @ 1..=MAX_BUCKETS) => Ok(Some(count as u32)),
        Some(count) => {
            let message =
                format!("the histogram {name} has {count} buckets, at most {MAX_BUCKETS} are possible");
            Err(BuildError::Limit { message, span: Span::default() })
        }
    }
}

fn bucket_count(agg: &Agg) -> Option<i64> {
    match agg {
        Agg::Hist { bits } => Some(i64::from(hist_buckets(*bits))),
        Agg::LHist { min, max, step } => Some((max.saturating_sub(*min) / (*step).max(1)).saturating_add(2)),
        Agg::TSeries { count, .. } => Some(i64::from(*count)),
        _ => None,
    }
}

fn percpu_kind(kind: MapType) -> MapType {
    match kind {
        MapType::LruHash | MapType::LruPercpuHash => MapType::LruPercpuHash,
        MapType::PercpuArray | MapType::Array => MapType::PercpuArray,
        _ => MapType::PercpuHash,
    }
}

/// Number of buckets of a map that holds histograms.
pub(super) fn buckets_of(info: &MapInfo) -> Result<u64> {
    match &info.value {
        Ty::Agg(agg) => bucket_count(agg).map_or_else(|| internal("no histogram"), |n| Ok(n as u64)),
        _ => internal("no histogram"),
    }
}
