//! Writing BTF: types enter in order, the raw blob for `BPF_BTF_LOAD` leaves, in this machine's byte order. Ids are
//! given out ascending from 1 (or behind a base's); equal strings are stored once, and so are equal integers, pointers,
//! qualifiers, arrays and prototypes.

use std::collections::HashMap;

use super::read::kind;
use super::{Btf, TypeId};

/// Linkage of a function or variable (`enum btf_func_linkage`, `BTF_VAR_*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Linkage {
    /// Of this program alone: the verifier checks a function anew at each call.
    Static = 0,
    /// Visible: the verifier checks a function once, on its own.
    Global = 1,
    /// Defined elsewhere.
    Extern = 2,
}

/// A member to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberDef<'a> {
    /// Name; empty for an anonymous struct or union.
    pub name: &'a str,
    /// Type.
    pub ty: TypeId,
    /// Bits from the start of the composite.
    pub bit_offset: u32,
    /// Bits of a bit field; 0: none.
    pub bit_size: u8,
}

/// A blob in the making.
#[derive(Clone, Debug)]
pub struct BtfBuilder {
    types: Vec<u8>,
    strings: Vec<u8>,
    known: HashMap<String, u32>,
    /// Records that are stored once.
    shared: HashMap<Vec<u8>, TypeId>,
    next: u32,
    first_string: u32,
}

impl Default for BtfBuilder {
    fn default() -> Self {
        BtfBuilder::new()
    }
}

impl BtfBuilder {
    /// An empty blob.
    pub fn new() -> BtfBuilder {
        BtfBuilder {
            types: Vec::new(),
            strings: vec![0],
            known: HashMap::from([(String::new(), 0)]),
            shared: HashMap::new(),
            next: 1,
            first_string: 0,
        }
    }

    /// An empty blob on top of `base`: its ids can be used and follow the base's.
    pub fn on(base: &Btf) -> BtfBuilder {
        BtfBuilder {
            strings: Vec::new(),
            next: base.len(),
            first_string: base.string_end(),
            ..BtfBuilder::new()
        }
    }

    /// A blob that begins with the types and strings of `first`, which must not build on a base. Their ids and offsets
    /// stay what they are.
    pub fn continuing(first: &Btf) -> BtfBuilder {
        let strings = match first.own_strings() {
            [] => vec![0],
            strings => strings.to_vec(),
        };
        BtfBuilder { types: first.type_bytes().to_vec(), strings, next: first.len(), ..BtfBuilder::new() }
    }

    /// The id that the next new type gets: for types that refer to themselves.
    pub fn next_id(&self) -> TypeId {
        TypeId(self.next)
    }

    /// Offset of a string; what follows a NUL is left out.
    pub fn string(&mut self, text: &str) -> u32 {
        let text = text.split('\0').next().unwrap_or("");
        if let Some(&offset) = self.known.get(text) {
            return offset;
        }
        let offset = self.first_string + self.strings.len() as u32;
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        self.known.insert(text.to_owned(), offset);
        offset
    }

    /// Appends a record; `info` is the whole info word.
    fn push(&mut self, words: &[u32]) -> TypeId {
        for w in words {
            self.types.extend_from_slice(&w.to_ne_bytes());
        }
        let id = TypeId(self.next);
        self.next += 1;
        id
    }

    /// As `push`, but gives the id of an equal record if there is one.
    fn push_shared(&mut self, words: &[u32]) -> TypeId {
        let key: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
        if let Some(&id) = self.shared.get(&key) {
            return id;
        }
        let id = self.push(words);
        self.shared.insert(key, id);
        id
    }

    fn info(kind: u8, vlen: usize, flag: bool) -> u32 {
        u32::from(kind) << 24 | (vlen as u32 & 0xffff) | u32::from(flag) << 31
    }

    /// An integer of `size` bytes.
    pub fn int(&mut self, name: &str, size: u32, signed: bool) -> TypeId {
        self.int_encoded(name, size, u32::from(signed))
    }

    /// A `_Bool` of one byte.
    pub fn boolean(&mut self, name: &str) -> TypeId {
        self.int_encoded(name, 1, 4)
    }

    fn int_encoded(&mut self, name: &str, size: u32, encoding: u32) -> TypeId {
        let name = self.string(name);
        self.push_shared(&[name, Self::info(kind::INT, 0, false), size, encoding << 24 | (size * 8)])
    }

    /// A floating point number of `size` bytes (5.13).
    pub fn float(&mut self, name: &str, size: u32) -> TypeId {
        let name = self.string(name);
        self.push_shared(&[name, Self::info(kind::FLOAT, 0, false), size])
    }

    /// A pointer.
    pub fn ptr(&mut self, to: TypeId) -> TypeId {
        self.push_shared(&[0, Self::info(kind::PTR, 0, false), to.0])
    }

    /// `const`.
    pub fn const_(&mut self, to: TypeId) -> TypeId {
        self.push_shared(&[0, Self::info(kind::CONST, 0, false), to.0])
    }

    /// `volatile`.
    pub fn volatile(&mut self, to: TypeId) -> TypeId {
        self.push_shared(&[0, Self::info(kind::VOLATILE, 0, false), to.0])
    }

    /// `restrict`.
    pub fn restrict(&mut self, to: TypeId) -> TypeId {
        self.push_shared(&[0, Self::info(kind::RESTRICT, 0, false), to.0])
    }

    /// A type tag (5.17).
    pub fn type_tag(&mut self, tag: &str, to: TypeId) -> TypeId {
        let name = self.string(tag);
        self.push_shared(&[name, Self::info(kind::TYPE_TAG, 0, false), to.0])
    }

    /// A declaration tag on `to` or its member or parameter `component` (-1: itself) (5.16).
    pub fn decl_tag(&mut self, tag: &str, to: TypeId, component: i32) -> TypeId {
        let name = self.string(tag);
        self.push(&[name, Self::info(kind::DECL_TAG, 0, false), to.0, component as u32])
    }

    /// An array; its index type is a 32-bit integer that is added when needed.
    pub fn array(&mut self, elem: TypeId, count: u32) -> TypeId {
        let index = self.int("__ARRAY_SIZE_TYPE__", 4, false);
        self.push_shared(&[0, Self::info(kind::ARRAY, 0, false), 0, elem.0, index.0, count])
    }

    /// A typedef.
    pub fn typedef(&mut self, name: &str, to: TypeId) -> TypeId {
        let name = self.string(name);
        self.push(&[name, Self::info(kind::TYPEDEF, 0, false), to.0])
    }

    /// A forward declaration.
    pub fn fwd(&mut self, name: &str, union: bool) -> TypeId {
        let name = self.string(name);
        self.push(&[name, Self::info(kind::FWD, 0, union), 0])
    }

    /// A struct of `size` bytes.
    pub fn struct_(&mut self, name: &str, size: u32, members: &[MemberDef<'_>]) -> TypeId {
        self.composite(kind::STRUCT, name, size, members)
    }

    /// A union of `size` bytes.
    pub fn union(&mut self, name: &str, size: u32, members: &[MemberDef<'_>]) -> TypeId {
        self.composite(kind::UNION, name, size, members)
    }

    fn composite(&mut self, kind: u8, name: &str, size: u32, members: &[MemberDef<'_>]) -> TypeId {
        let flag = members.iter().any(|m| m.bit_size != 0);
        let mut words = vec![self.string(name), Self::info(kind, members.len(), flag), size];
        for m in members {
            let offset = if flag { m.bit_offset | u32::from(m.bit_size) << 24 } else { m.bit_offset };
            words.extend([self.string(m.name), m.ty.0, offset]);
        }
        self.push(&words)
    }

    /// An enum of `size` bytes: 64-bit kind (6.0) when a value needs it, `signed` as given.
    pub fn enum_(&mut self, name: &str, size: u32, signed: bool, variants: &[(&str, i64)]) -> TypeId {
        let wide = size > 4;
        let kind = if wide { kind::ENUM64 } else { kind::ENUM };
        let mut words = vec![self.string(name), Self::info(kind, variants.len(), signed), size];
        for &(name, value) in variants {
            words.extend([self.string(name), value as u32]);
            if wide {
                words.push((value >> 32) as u32);
            }
        }
        self.push(&words)
    }

    /// A prototype; a last parameter without name and type means varargs.
    pub fn func_proto(&mut self, ret: TypeId, params: &[(&str, TypeId)]) -> TypeId {
        let mut words = vec![0, Self::info(kind::FUNC_PROTO, params.len(), false), ret.0];
        for &(name, ty) in params {
            words.extend([self.string(name), ty.0]);
        }
        self.push_shared(&words)
    }

    /// A function with the prototype `proto`, whose parameters must have names (the kernel refuses others).
    pub fn func(&mut self, name: &str, proto: TypeId, linkage: Linkage) -> TypeId {
        let name = self.string(name);
        self.push(&[name, Self::info(kind::FUNC, linkage as usize, false), proto.0])
    }

    /// A variable.
    pub fn var(&mut self, name: &str, ty: TypeId, linkage: Linkage) -> TypeId {
        let name = self.string(name);
        self.push(&[name, Self::info(kind::VAR, 0, false), ty.0, linkage as u32])
    }

    /// A section of `size` bytes with variables: (id of the VAR, offset, bytes), ascending by offset.
    pub fn datasec(&mut self, name: &str, size: u32, vars: &[(TypeId, u32, u32)]) -> TypeId {
        let mut words = vec![self.string(name), Self::info(kind::DATASEC, vars.len(), false), size];
        words.extend(vars.iter().flat_map(|&(var, offset, bytes)| [var.0, offset, bytes]));
        self.push(&words)
    }

    /// The blob.
    pub fn finish(&self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut out = Vec::with_capacity(24 + self.types.len() + self.strings.len());
        out.extend_from_slice(&0xeb9f_u16.to_ne_bytes());
        out.extend_from_slice(&[1, 0]);
        for word in [24, 0, types, types, strings] {
            out.extend_from_slice(&word.to_ne_bytes());
        }
        out.extend_from_slice(&self.types);
        out.extend_from_slice(&self.strings);
        out
    }
}
