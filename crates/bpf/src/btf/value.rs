//! Values by their types: bytes enter and a tree of names and numbers leaves, or the other way round. Bytes that are too few
//! for a type, and types that no value can have, are said to be so; depth and length are bounded.

use std::fmt;

use super::{Btf, Type, TypeId};

/// Deepest nesting of values.
const MAX_DEPTH: u32 = 32;
/// Most elements and members of one value.
const MAX_NODES: usize = 1 << 20;

/// A value, with the names that its type gives.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// An integer with a sign.
    Signed(i128),
    /// An integer without, or the bits of what has no better form.
    Unsigned(u128),
    /// `_Bool`.
    Bool(bool),
    /// A floating point number.
    Float(f64),
    /// A pointer.
    Pointer(u64),
    /// A value of an enum that has a name.
    Named(String),
    /// An array of characters, up to its NUL.
    Text(String),
    /// Bytes without a type.
    Bytes(Vec<u8>),
    /// Elements of an array.
    List(Vec<Value>),
    /// Members of a struct or union in order; anonymous ones are dissolved.
    Record(Vec<(String, Value)>),
}

/// On one line; control characters are escaped.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Signed(n) => write!(f, "{n}"),
            Value::Unsigned(n) => write!(f, "{n}"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Float(n) => write!(f, "{n}"),
            Value::Pointer(n) => write!(f, "{n:#x}"),
            Value::Named(name) => write!(f, "{}", name.escape_debug()),
            Value::Text(text) => write!(f, "\"{}\"", text.escape_debug()),
            Value::Bytes(bytes) => f.write_str(&hex(bytes)),
            Value::List(list) => {
                let each: Vec<String> = list.iter().map(Value::to_string).collect();
                write!(f, "[{}]", each.join(", "))
            }
            Value::Record(members) => {
                let each: Vec<String> =
                    members.iter().map(|(name, value)| format!("{}: {value}", name.escape_debug())).collect();
                write!(f, "{{ {} }}", each.join(", "))
            }
        }
    }
}

/// Bytes as pairs of digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// The value of type `ty` in `bytes`.
pub fn decode(btf: &Btf, ty: TypeId, bytes: &[u8]) -> Value {
    Reader { btf, left: MAX_NODES }.read(ty, bytes, MAX_DEPTH).unwrap_or_else(|| Value::Bytes(bytes.to_vec()))
}

struct Reader<'a> {
    btf: &'a Btf,
    left: usize,
}

fn unsigned(bytes: &[u8]) -> Option<u128> {
    if bytes.is_empty() || bytes.len() > 16 {
        return None;
    }
    let mut all = [0; 16];
    if cfg!(target_endian = "little") {
        all.get_mut(..bytes.len())?.copy_from_slice(bytes);
    } else {
        all.get_mut(16 - bytes.len()..)?.copy_from_slice(bytes);
    }
    Some(u128::from_ne_bytes(all))
}

fn extended(value: u128, bits: u32) -> i128 {
    let shift = 128 - bits.clamp(1, 128);
    (value << shift) as i128 >> shift
}

impl Reader<'_> {
    fn read(&mut self, ty: TypeId, bytes: &[u8], depth: u32) -> Option<Value> {
        let depth = depth.checked_sub(1)?;
        self.left = self.left.checked_sub(1)?;
        match self.btf.get_resolved(ty)? {
            Type::Array { elem, count } => self.array(elem, count, bytes, depth),
            Type::Composite { members, .. } => {
                let mut out = Vec::new();
                for member in &members {
                    let value = self.member(member, bytes, depth)?;
                    match value {
                        Value::Record(inner) if member.name.is_empty() => out.extend(inner),
                        value if member.name.is_empty() => out.push(("_".to_owned(), value)),
                        value => out.push((member.name.to_owned(), value)),
                    }
                }
                Some(Value::Record(out))
            }
            Type::Datasec { .. } => {
                let mut out = Vec::new();
                for (var, offset, size) in self.btf.section_vars(self.btf.resolve(ty)) {
                    let part = bytes.get(offset as usize..)?.get(..size as usize)?;
                    out.push((self.btf.name_of(var).to_owned(), self.read(var, part, depth)?));
                }
                Some(Value::Record(out))
            }
            Type::Var { ty, .. } => self.read(ty, bytes, depth),
            kind => {
                let size = self.btf.size_of(ty)?;
                self.scalar(&kind, unsigned(bytes.get(..size as usize)?)?, size * 8)
            }
        }
    }

    fn scalar(&self, kind: &Type<'_>, raw: u128, bits: u32) -> Option<Value> {
        Some(match kind {
            Type::Int { boolean: true, .. } => Value::Bool(raw != 0),
            Type::Int { signed: true, .. } => Value::Signed(extended(raw, bits)),
            Type::Int { .. } => Value::Unsigned(raw),
            Type::Ptr(_) => Value::Pointer(raw as u64),
            Type::Float { size: 4, .. } => Value::Float(f32::from_bits(raw as u32).into()),
            Type::Float { size: 8, .. } => Value::Float(f64::from_bits(raw as u64)),
            Type::Enum { signed, variants, .. } => {
                let value = if *signed { extended(raw, bits) } else { raw as i128 };
                let named = variants.iter().find(|(_, v)| i128::from(*v) == value);
                named.map_or(Value::Signed(value), |(name, _)| Value::Named((*name).to_owned()))
            }
            _ => return None,
        })
    }

    fn member(&mut self, member: &super::Member<'_>, bytes: &[u8], depth: u32) -> Option<Value> {
        let start = member.bit_offset as usize / 8;
        if member.bit_size == 0 {
            return self.read(member.ty, bytes.get(start..)?, depth);
        }
        let first = member.bit_offset % 8;
        let end = start + (first as usize + member.bit_size as usize).div_ceil(8);
        let raw = unsigned(bytes.get(start..end)?)?;
        let shift = match cfg!(target_endian = "little") {
            true => first,
            false => (end - start) as u32 * 8 - first - member.bit_size,
        };
        let raw = raw >> shift & ((1u128 << member.bit_size) - 1);
        self.scalar(&self.btf.get_resolved(member.ty)?, raw, member.bit_size)
    }

    fn array(&mut self, elem: TypeId, count: u32, bytes: &[u8], depth: u32) -> Option<Value> {
        let size = self.btf.size_of(elem)? as usize;
        let bytes = bytes.get(..size.checked_mul(count as usize)?)?;
        let is_char = matches!(self.btf.get_resolved(elem)?, Type::Int { name: "char", size: 1, .. });
        if is_char && count > 0 {
            let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
            let (text, rest) = bytes.split_at(end);
            if let Ok(text) = std::str::from_utf8(text)
                && rest.iter().all(|b| *b == 0)
            {
                return Some(Value::Text(text.to_owned()));
            }
        }
        if size == 0 {
            return Some(Value::List(Vec::new()));
        }
        let each = bytes.chunks_exact(size).map(|part| self.read(elem, part, depth));
        Some(Value::List(each.collect::<Option<_>>()?))
    }
}

/// A value that does not fit its type.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{at}: {found}, expected {expected}")]
pub struct ValueError {
    /// The member, with dots; `value` for the whole.
    pub at: String,
    /// What was given.
    pub found: String,
    /// What the type asks for.
    pub expected: String,
}

impl ValueError {
    /// The message about a value that is called `what`.
    pub fn named(&self, what: &str) -> String {
        let path = self.at.strip_prefix("value").unwrap_or(&self.at);
        format!("{what}{path}: {}, expected {}", self.found, self.expected)
    }
}

/// The bytes of `value` as type `ty`. Members that are not given are zero.
pub fn encode(btf: &Btf, ty: TypeId, value: &Value) -> Result<Vec<u8>, ValueError> {
    let size = btf.size_of(ty).filter(|s| *s <= 1 << 24);
    let size =
        size.ok_or_else(|| wrong("value", value, format!("a type with a size, not {}", btf.c_name(ty))))?;
    let mut out = vec![0; size as usize];
    write(btf, ty, value, &mut out, "value", MAX_DEPTH)?;
    Ok(out)
}

fn wrong(at: &str, value: &Value, expected: String) -> ValueError {
    let found = match value {
        Value::Record(_) => "members".to_owned(),
        Value::List(list) => format!("{} elements", list.len()),
        other => other.to_string(),
    };
    ValueError { at: at.to_owned(), found, expected }
}

fn write(
    btf: &Btf,
    ty: TypeId,
    value: &Value,
    out: &mut [u8],
    at: &str,
    depth: u32,
) -> Result<(), ValueError> {
    let refuse = || wrong(at, value, btf.c_name(ty));
    let depth = depth.checked_sub(1).ok_or_else(refuse)?;
    let kind = btf.get_resolved(ty).ok_or_else(refuse)?;
    match (&kind, value) {
        (Type::Var { ty, .. }, value) => write(btf, *ty, value, out, at, depth),
        (_, Value::Bytes(bytes)) if bytes.len() == out.len() => {
            out.copy_from_slice(bytes);
            Ok(())
        }
        (Type::Array { .. }, Value::Text(text)) if text.len() <= out.len() => {
            out.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
            Ok(())
        }
        (Type::Array { elem, count }, Value::List(list)) if list.len() == *count as usize => {
            let size = btf.size_of(*elem).unwrap_or(0).max(1) as usize;
            for (index, (part, value)) in out.chunks_exact_mut(size).zip(list).enumerate() {
                write(btf, *elem, value, part, &format!("{at}[{index}]"), depth)?;
            }
            Ok(())
        }
        (Type::Composite { .. }, Value::Record(given)) => {
            for (name, value) in given {
                let place = format!("{at}.{name}");
                let found = btf.find_member(ty, name);
                let found =
                    found.ok_or_else(|| wrong(&place, value, format!("a member of {}", btf.c_name(ty))))?;
                if found.is_bitfield() {
                    bits(btf, &found, value, out)
                        .ok_or_else(|| wrong(&place, value, btf.c_name(found.ty)))?;
                    continue;
                }
                let start = found.byte_offset() as usize;
                let end = start + btf.size_of(found.ty).unwrap_or(0) as usize;
                let part = out.get_mut(start..end).ok_or_else(refuse)?;
                write(btf, found.ty, value, part, &place, depth)?;
            }
            Ok(())
        }
        _ => {
            let number = scalar(&kind, value, out.len() as u32 * 8).ok_or_else(refuse)?;
            put(out, number);
            Ok(())
        }
    }
}

fn put(out: &mut [u8], number: u128) {
    let bytes = number.to_ne_bytes();
    let n = out.len().min(16);
    let bytes = if cfg!(target_endian = "little") { &bytes[..n] } else { &bytes[16 - n..] };
    out.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
}

/// The bits of a number of a type.
fn scalar(kind: &Type<'_>, value: &Value, bits: u32) -> Option<u128> {
    let number = match (kind, value) {
        (Type::Enum { variants, .. }, Value::Named(name) | Value::Text(name)) => {
            variants.iter().find(|(n, _)| n == name)?.1.into()
        }
        (Type::Float { size: 4, .. }, Value::Float(f)) => return Some((*f as f32).to_bits().into()),
        (Type::Float { size: 8, .. }, Value::Float(f)) => return Some(f.to_bits().into()),
        (Type::Int { .. } | Type::Enum { .. } | Type::Ptr(_), value) => match value {
            Value::Signed(n) => *n,
            Value::Unsigned(n) => i128::try_from(*n).ok()?,
            Value::Pointer(p) => (*p).into(),
            Value::Bool(b) => i128::from(*b),
            _ => return None,
        },
        _ => return None,
    };
    let signed = matches!(kind, Type::Int { signed: true, .. } | Type::Enum { signed: true, .. });
    if bits >= 128 {
        return Some(number as u128);
    }
    let (low, high) = match signed {
        true => (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1),
        false => (0, (1i128 << bits) - 1),
    };
    let boolean = matches!(kind, Type::Int { boolean: true, .. });
    let high = if boolean { 1 } else { high };
    (low..=high).contains(&number).then_some(number as u128 & ((1u128 << bits) - 1))
}

/// Writes a bit field.
fn bits(btf: &Btf, at: &super::FieldPath, value: &Value, out: &mut [u8]) -> Option<()> {
    let number = scalar(&btf.get_resolved(at.ty)?, value, at.bit_size)?;
    for bit in 0..u64::from(at.bit_size) {
        let place = at.bit_offset + bit;
        let (from, to) = match cfg!(target_endian = "little") {
            true => (bit, place % 8),
            false => (u64::from(at.bit_size) - 1 - bit, 7 - place % 8),
        };
        let byte = out.get_mut((place / 8) as usize)?;
        *byte = *byte & !(1 << to) | ((number >> from & 1) as u8) << to;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::{BtfBuilder, MemberDef};

    #[test]
    fn values_are_read_and_written() {
        let mut b = BtfBuilder::new();
        let (int, byte) = (b.int("int", 4, true), b.int("unsigned char", 1, false));
        let char_ = b.int("char", 1, true);
        let name = b.array(char_, 8);
        let pair = b.array(int, 2);
        let state = b.enum_("state", 4, false, &[("IDLE", 0), ("BUSY", 5)]);
        let at = |name, ty, bit_offset, bit_size| MemberDef { name, ty, bit_offset, bit_size };
        let inner = b.struct_("", 4, &[at("deep", int, 0, 0)]);
        let members = [
            at("name", name, 0, 0),
            at("pair", pair, 64, 0),
            at("state", state, 128, 0),
            at("low", byte, 160, 4),
            at("high", byte, 164, 4),
            at("", inner, 192, 0),
        ];
        let ty = b.struct_("bee", 28, &members);
        let btf = Btf::parse(b.finish(), None).unwrap();
        let value = Value::Record(vec![
            ("name".into(), Value::Text("maja".into())),
            ("pair".into(), Value::List(vec![Value::Signed(-1), Value::Signed(2)])),
            ("state".into(), Value::Named("BUSY".into())),
            ("low".into(), Value::Unsigned(3)),
            ("high".into(), Value::Unsigned(9)),
            ("deep".into(), Value::Signed(77)),
        ]);
        let bytes = encode(&btf, ty, &value).unwrap();
        assert_eq!(bytes[..8], *b"maja\0\0\0\0");
        assert_eq!(bytes[20], 0x93);
        assert_eq!(decode(&btf, ty, &bytes), value);
        assert_eq!(decode(&btf, ty, &bytes[..5]), Value::Bytes(b"maja\0".to_vec()));
        let refuse = |name: &str, v: Value| {
            encode(&btf, ty, &Value::Record(vec![(name.into(), v)])).unwrap_err().to_string()
        };
        assert!(refuse("low", Value::Unsigned(16)).contains("value.low"));
        assert!(refuse("deep", Value::Signed(1 << 40)).contains("expected int"));
        assert!(refuse("wings", Value::Signed(1)).contains("a member of struct bee"));
        assert!(refuse("pair", Value::List(vec![])).contains("0 elements"));
        assert!(refuse("name", Value::Text("far too long".into())).contains("char[8]"));
    }

    #[test]
    fn values_as_text() {
        let record =
            Value::Record(vec![("a".into(), Value::List(vec![Value::Bool(true), Value::Pointer(16)]))]);
        assert_eq!(record.to_string(), "{ a: [true, 0x10] }");
        assert_eq!(Value::Text("a\x1b".into()).to_string(), "\"a\\u{1b}\"");
        assert_eq!(Value::Bytes(vec![1, 0xab]).to_string(), "01 ab");
    }
}
