//! Decoding: the bytes of a record or map entry and their type enter, a [`Value`] leaves.
//!
//! What programs send holds whatever kernel and user memory held, so nothing in it is trusted: every offset and
//! length is checked, and what does not fit becomes [`Value::Damaged`]. No input makes this module panic or
//! allocate more than a small multiple of the input's size. Numbers are in the machine's byte order.

use skep_bpf::event::{EVENT_HEADER, EventArg, EventLayout, TAIL_FAILED};
use skep_bpf::schema::{Field, ValueType};

use crate::maps::merge;
use crate::value::{Frames, Value};

/// Types nested deeper than this are not decoded.
const MAX_DEPTH: u32 = 32;

/// A type needs more bytes than there are.
const SHORT: Value<'static> = Value::Damaged("too short");

/// The number of a record's event (index into `Object::events`); `None` when the record has no header.
pub fn event_number(record: &[u8]) -> Option<usize> {
    u32_at(record, 0).and_then(|n| usize::try_from(n).ok())
}

/// The arguments of a record of the given layout, in their order. There are always as many as the layout has.
pub fn event<'a>(layout: &'a EventLayout, record: &'a [u8]) -> Vec<Value<'a>> {
    arguments(layout, record).collect()
}

/// The same, one after another.
pub fn arguments<'a>(layout: &'a EventLayout, record: &'a [u8]) -> impl Iterator<Item = Value<'a>> {
    layout.args.iter().map(move |arg| argument(layout, arg, record))
}

fn argument<'a>(layout: &'a EventLayout, arg: &'a EventArg, record: &'a [u8]) -> Value<'a> {
    if arg.offset < EVENT_HEADER {
        return Value::Damaged("in the header");
    }
    if !arg.tail {
        return record.get(arg.offset as usize..).map_or(SHORT, |bytes| value(&arg.ty, bytes));
    }
    let at = arg.offset as usize;
    let (Some(offset), Some(len)) = (u32_at(record, at), u32_at(record, at.saturating_add(4))) else {
        return SHORT;
    };
    if len == TAIL_FAILED || len == 0 {
        return tail(&arg.ty, &[]);
    }
    let start = offset as usize;
    if start < layout.head.min(record.len() as u32) as usize {
        return Value::Damaged("tail inside the head");
    }
    match start.checked_add(len as usize).and_then(|end| record.get(start..end)) {
        Some(bytes) => tail(&arg.ty, bytes),
        None => Value::Damaged("tail outside the record"),
    }
}

/// The value of a tail: content only, without padding or length.
fn tail<'a>(ty: &'a ValueType, bytes: &'a [u8]) -> Value<'a> {
    match ty {
        ValueType::Str { size } => text(bytes, *size),
        ValueType::Buf { size } => Value::Buf(bytes.get(..*size as usize).unwrap_or(bytes)),
        ValueType::KStack(format) => Value::KStack { format: *format, frames: Frames::Here(bytes) },
        ValueType::UStack(format) => Value::UStack {
            format: *format,
            pid: u32_at(bytes, 0).unwrap_or(0),
            frames: Frames::Here(bytes.get(8..).unwrap_or(&[])),
        },
        _ => value(ty, bytes),
    }
}

/// The value of type `ty` at the start of `bytes`; what lies behind it is ignored.
pub fn value<'a>(ty: &'a ValueType, bytes: &'a [u8]) -> Value<'a> {
    nested(ty, bytes, 0)
}

fn nested<'a>(ty: &'a ValueType, bytes: &'a [u8], depth: u32) -> Value<'a> {
    if depth > MAX_DEPTH {
        return Value::Damaged("nested too deep");
    }
    match ty {
        ValueType::Array { elem, count } => array(elem, *count, bytes, depth),
        ValueType::Tuple(fields) => Value::Tuple(fields.iter().map(|f| member(f, bytes, depth)).collect()),
        ValueType::Record { fields, .. } => {
            Value::Record(fields.iter().map(|f| (f.name.as_str(), member(f, bytes, depth))).collect())
        }
        ValueType::Agg(agg) => merge::aggregate(agg, std::iter::once(bytes)).value(1),
        _ => flat(ty, bytes).unwrap_or(SHORT),
    }
}

fn array<'a>(elem: &'a ValueType, count: u32, bytes: &'a [u8], depth: u32) -> Value<'a> {
    let size = elem.size() as usize;
    if count == 0 || size == 0 {
        return Value::Array(Vec::new());
    }
    match bytes.get(..size.saturating_mul(count as usize)) {
        Some(all) => Value::Array(all.chunks_exact(size).map(|b| nested(elem, b, depth + 1)).collect()),
        None => SHORT,
    }
}

fn member<'a>(field: &'a Field, bytes: &'a [u8], depth: u32) -> Value<'a> {
    let Some(at) = bytes.get(field.offset as usize..) else { return SHORT };
    match field.bits {
        None => nested(&field.ty, at, depth + 1),
        Some((first, width)) => bit_field(&field.ty, at, first, width),
    }
}

/// A bit field in the integer (or enum, or truth value) of type `ty` at the start of `bytes`.
fn bit_field<'a>(ty: &'a ValueType, bytes: &'a [u8], first: u8, width: u8) -> Value<'a> {
    let size = ty.size() as usize;
    let Some(word) = (1..=8).contains(&size).then(|| unsigned(bytes, size)).flatten() else { return SHORT };
    if width == 0 || u32::from(first) + u32::from(width) > 64 {
        return Value::Damaged("impossible bit field");
    }
    let spare = 64 - u32::from(width);
    let high = word << (spare - u32::from(first));
    match ty {
        ValueType::Int { signed: true, .. } => Value::Int((high as i64) >> spare),
        ValueType::Enum { signed, names, .. } => {
            let bits = if *signed { ((high as i64) >> spare) as u64 } else { high >> spare };
            enumerator(names, bits, *signed)
        }
        ValueType::Bool => Value::Bool(high >> spare != 0),
        _ => Value::Uint(high >> spare),
    }
}

/// Values without parts.
fn flat<'a>(ty: &'a ValueType, bytes: &'a [u8]) -> Option<Value<'a>> {
    Some(match ty {
        ValueType::Int { size, signed: true } => Value::Int(signed(bytes, usize::from(*size))?),
        ValueType::Int { size, signed: false } => Value::Uint(unsigned(bytes, usize::from(*size))?),
        ValueType::Bool => Value::Bool(*bytes.first()? != 0),
        ValueType::Pointer => Value::Pointer(u64_at(bytes, 0)?),
        ValueType::Enum { size, signed: true, names } => {
            enumerator(names, signed(bytes, usize::from(*size))? as u64, true)
        }
        ValueType::Enum { size, signed: false, names } => {
            enumerator(names, unsigned(bytes, usize::from(*size))?, false)
        }
        ValueType::Str { size } => text(bytes.get(..*size as usize)?, *size),
        ValueType::Buf { size } => {
            let len = u32_at(bytes, 0)?.min(*size) as usize;
            Value::Buf(bytes.get(4..4 + len)?)
        }
        ValueType::KStack(format) => {
            Value::KStack { format: *format, frames: Frames::Id(u64_at(bytes, 0)? as i64) }
        }
        ValueType::UStack(format) => Value::UStack {
            format: *format,
            frames: Frames::Id(u64_at(bytes, 0)? as i64),
            pid: u32_at(bytes, 8)?,
        },
        ValueType::KSym => Value::KSym(u64_at(bytes, 0)?),
        ValueType::USym => Value::USym { address: u64_at(bytes, 0)?, pid: u32_at(bytes, 8)? },
        ValueType::Inet => {
            Value::Inet { family: u32_at(bytes, 0)?, bytes: bytes.get(4..20)?.try_into().ok()? }
        }
        ValueType::Mac => Value::Mac(bytes.get(..6)?.try_into().ok()?),
        ValueType::Timestamp { format, clock } => {
            Value::Timestamp { format, clock: *clock, nanos: u64_at(bytes, 0)? }
        }
        ValueType::Username => Value::Username(u32_at(bytes, 0)?),
        ValueType::CgroupPath { filter } => Value::CgroupPath { id: u64_at(bytes, 0)?, filter },
        ValueType::StrError => Value::StrError(u32_at(bytes, 0)? as i32),
        ValueType::Signal => Value::Signal(u32_at(bytes, 0)?),
        ValueType::None
        | ValueType::Array { .. }
        | ValueType::Tuple(_)
        | ValueType::Record { .. }
        | ValueType::Agg(_) => Value::None,
    })
}

/// Text up to its NUL. It was cut when it fills all `size` bytes.
fn text(bytes: &[u8], size: u32) -> Value<'_> {
    let len = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    let bytes = bytes.get(..len).unwrap_or(bytes);
    Value::Str { bytes, cut: size != 0 && len >= size as usize }
}

fn enumerator(names: &[(i64, String)], bits: u64, signed: bool) -> Value<'_> {
    let name = names.iter().find(|(n, _)| *n == bits as i64).map(|(_, name)| name.as_str());
    Value::Enum { name, bits, signed }
}

/// A `size`-byte number at the start of `bytes`, zero-extended. `None` for a size above 8 or too few bytes.
fn unsigned(bytes: &[u8], size: usize) -> Option<u64> {
    let from = bytes.get(..size)?;
    let mut word = [0u8; 8];
    let place = if cfg!(target_endian = "little") { word.get_mut(..size) } else { word.get_mut(8 - size..) };
    place?.copy_from_slice(from);
    Some(u64::from_ne_bytes(word))
}

/// A `size`-byte number, sign-extended.
fn signed(bytes: &[u8], size: usize) -> Option<i64> {
    let spare = 64u32.checked_sub(8 * size as u32).filter(|s| *s < 64)?;
    Some(((unsigned(bytes, size)? << spare) as i64) >> spare)
}

/// The u32 at `offset`.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let end = offset.checked_add(4)?;
    Some(u32::from_ne_bytes(bytes.get(offset..end)?.try_into().ok()?))
}

/// The u64 at `offset`.
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    let end = offset.checked_add(8)?;
    Some(u64::from_ne_bytes(bytes.get(offset..end)?.try_into().ok()?))
}
