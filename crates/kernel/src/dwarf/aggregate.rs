//! Structs, classes, unions, enums and the sizes of arrays: an entry enters, a node leaves. Base classes become members
//! without a name, so that their fields are found as those of the class; a member whose place is computed at run time
//! (a virtual base class) is left out.

use gimli::*;

use super::Entry;
use super::convert::Converter;
use super::graph::{Node, NodeId, Part};
use super::units::{Handle, Place, Units, flag, number};

/// Most members and enumerators of one type.
const MAX_PARTS: usize = 16_384;
/// Most dimensions of an array.
const MAX_DIMENSIONS: usize = 16;
/// Chains of typedefs and qualifiers of members.
const MAX_CHAIN: usize = 64;
/// Larger types are taken for damaged.
const MAX_SIZE: u64 = 1 << 28;

/// A member as it was read.
struct Member {
    name: String,
    ty: Place,
    /// Bits from the start.
    offset: u64,
    bits: u8,
}

/// A struct, class or union with its members.
pub(super) fn composite<'a>(c: &mut Converter<'_, 'a>, unit: &Handle<'a>, entry: &Entry<'a>) -> Node {
    let mut members = Vec::new();
    unit.children(entry.offset().0, &mut |child| {
        if matches!(child.tag(), DW_TAG_member | DW_TAG_inheritance) {
            members.extend(member(c.units, unit, child));
        }
        members.len() < MAX_PARTS
    });
    let mut parts: Vec<Part> = members
        .into_iter()
        .filter_map(|m| {
            let ty: NodeId = c.node(m.ty, MAX_CHAIN);
            Some(Part { name: m.name, ty, offset: u32::try_from(m.offset).ok()?, bits: m.bits })
        })
        .collect();
    parts.sort_by_key(|p| p.offset);
    let size = number(entry, DW_AT_byte_size).unwrap_or(0).min(MAX_SIZE) as u32;
    let name = unit.text(entry, DW_AT_name).unwrap_or_default();
    Node::Composite { name, union: entry.tag() == DW_TAG_union_type, size, parts }
}

fn member<'a>(units: &Units<'a>, unit: &Handle<'a>, entry: &Entry<'a>) -> Option<Member> {
    // Static members are declarations within the class.
    if flag(entry, DW_AT_external) || flag(entry, DW_AT_declaration) {
        return None;
    }
    let ty = units.reference(unit, entry, DW_AT_type)?;
    let bytes = match entry.attr_value(DW_AT_data_member_location) {
        None => 0,
        Some(AttributeValue::Exprloc(expression)) => constant_offset(unit, expression)?,
        Some(value) => value.udata_value()?,
    };
    let bits = u8::try_from(number(entry, DW_AT_bit_size).unwrap_or(0)).ok()?;
    let start = bytes.checked_mul(8)?;
    let offset = match (number(entry, DW_AT_data_bit_offset), number(entry, DW_AT_bit_offset)) {
        (Some(offset), _) => start.checked_add(offset)?,
        (None, Some(from_top)) if bits != 0 => {
            // DWARF 2: bits from the most significant bit of the unit of storage to that of the field.
            let storage = number(entry, DW_AT_byte_size).or_else(|| size_of(units, ty))?;
            let from_bottom = storage.checked_mul(8)?.checked_sub(from_top)?.checked_sub(bits.into())?;
            start.checked_add(from_bottom)?
        }
        _ => start,
    };
    let name = match entry.tag() {
        DW_TAG_inheritance => String::new(),
        _ => unit.text(entry, DW_AT_name).unwrap_or_default(),
    };
    Some(Member { name, ty, offset, bits })
}

/// The offset that an expression adds, if it only adds one.
fn constant_offset(unit: &Handle<'_>, expression: Expression<super::Bytes<'_>>) -> Option<u64> {
    let mut operations = expression.operations(unit.unit.encoding());
    let offset = match operations.next().ok()?? {
        Operation::PlusConstant { value } => value,
        Operation::UnsignedConstant { value } => {
            return matches!(operations.next(), Ok(Some(Operation::Plus))).then_some(value);
        }
        _ => return None,
    };
    matches!(operations.next(), Ok(None)).then_some(offset)
}

/// Bytes of the type at a place, typedefs and qualifiers looked through.
fn size_of(units: &Units<'_>, mut place: Place) -> Option<u64> {
    for _ in 0..MAX_CHAIN {
        let (unit, entry) = units.entry(place)?;
        if let Some(size) = number(&entry, DW_AT_byte_size) {
            return Some(size);
        }
        place = units.reference(&unit, &entry, DW_AT_type)?;
    }
    None
}

/// Whether arguments of the type at a place are passed by a pointer that the source does not show: classes that cannot
/// be copied byte by byte (Itanium C++ ABI, 3.1.1). Compilers that do not say so are guessed from a destructor that the
/// class declares.
pub(super) fn is_passed_by_reference(units: &Units<'_>, mut place: Place) -> bool {
    for _ in 0..MAX_CHAIN {
        let Some((unit, entry)) = units.entry(place) else { return false };
        match entry.tag() {
            DW_TAG_structure_type | DW_TAG_class_type | DW_TAG_union_type => {
                return match entry.attr_value(DW_AT_calling_convention) {
                    Some(AttributeValue::CallingConvention(convention)) => {
                        convention == DW_CC_pass_by_reference
                    }
                    _ => declares_destructor(&unit, &entry),
                };
            }
            DW_TAG_typedef | DW_TAG_const_type | DW_TAG_volatile_type => {
                let Some(next) = units.reference(&unit, &entry, DW_AT_type) else { return false };
                place = next;
            }
            _ => return false,
        }
    }
    false
}

fn declares_destructor<'a>(unit: &Handle<'a>, entry: &Entry<'a>) -> bool {
    let mut found = false;
    unit.children(entry.offset().0, &mut |child| {
        found = child.tag() == DW_TAG_subprogram
            && child.attr_value(DW_AT_defaulted).is_none()
            && unit.text(child, DW_AT_name).is_some_and(|name| name.starts_with('~'));
        !found
    });
    found
}

/// An enum with its values.
pub(super) fn enumeration<'a>(units: &Units<'a>, unit: &Handle<'a>, entry: &Entry<'a>) -> Node {
    let mut variants = Vec::new();
    let mut signed = false;
    unit.children(entry.offset().0, &mut |child| {
        if child.tag() == DW_TAG_enumerator
            && let Some(value) = child.attr_value(DW_AT_const_value)
        {
            let value = match value {
                AttributeValue::Udata(value) => value as i64,
                value => value.sdata_value().or_else(|| value.udata_value().map(|v| v as i64)).unwrap_or(0),
            };
            signed |= value < 0;
            variants.push((unit.text(child, DW_AT_name).unwrap_or_default(), value));
        }
        variants.len() < MAX_PARTS
    });
    let underlying = || units.reference(unit, entry, DW_AT_type).and_then(|place| size_of(units, place));
    let size = number(entry, DW_AT_byte_size).or_else(underlying).unwrap_or(4);
    let size = if matches!(size, 1 | 2 | 4 | 8) { size as u32 } else { 4 };
    Node::Enum { name: unit.text(entry, DW_AT_name).unwrap_or_default(), size, signed, variants }
}

/// Elements of each dimension of an array, the outermost first; 0 where it is not known.
pub(super) fn dimensions(unit: &Handle<'_>, entry: &Entry<'_>) -> Vec<u32> {
    let mut counts = Vec::new();
    unit.children(entry.offset().0, &mut |child| {
        if matches!(child.tag(), DW_TAG_subrange_type | DW_TAG_enumeration_type) {
            let upper = number(child, DW_AT_upper_bound).and_then(|last| last.checked_add(1));
            let count = number(child, DW_AT_count).or(upper).unwrap_or(0);
            counts.push(u32::try_from(count).unwrap_or(0));
        }
        counts.len() < MAX_DIMENSIONS
    });
    counts
}
