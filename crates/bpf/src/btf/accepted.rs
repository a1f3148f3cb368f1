//! Types as the kernel takes them (kernel/bpf/btf.c): compilers leave sizes of sections and places of variables to the
//! loader, and use kinds and names that kernels, or older ones, refuse. Types and the file's layout enter, a blob with the
//! same ids and string offsets leaves (as libbpf's `bpf_object__sanitize_btf` and `btf_fixup_datasec`, Linux 6.18).

use std::collections::{HashMap, HashSet};

use super::read::{Record, kind, u32_at};
use super::{Btf, TypeId};

/// A section of variables as it lies in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SectionLayout {
    /// Name.
    pub name: String,
    /// Bytes.
    pub size: u32,
    /// Variables: name, bytes from the start.
    pub variables: Vec<(String, u32)>,
}

/// Linkage of what only its file sees, of what others see, of what is defined elsewhere.
const STATIC: u32 = 0;
const GLOBAL: u32 = 1;
const EXTERN: u32 = 2;

fn info(kind: u8, vlen: u32, flag: bool) -> u32 {
    u32::from(kind) << 24 | vlen | u32::from(flag) << 31
}

impl Btf {
    /// These types, which must not build on a base, for the kernel; functions that are `hidden` become static ones. `plain`:
    /// also without kinds that came after 5.10 (floats 5.13, declaration tags 5.16, type tags 5.17, enums of 64 bits 6.0).
    pub fn accepted(&self, sections: &[SectionLayout], hidden: &[String], plain: bool) -> Vec<u8> {
        let mut writer = Writer {
            btf: self,
            sections: sections.iter().map(|s| (s.name.as_str(), s)).collect(),
            hidden: hidden.iter().map(String::as_str).collect(),
            plain,
            replaced: HashSet::new(),
            types: Vec::new(),
        };
        let ids = self.first_id.max(1)..self.len();
        for id in ids.clone() {
            if self.record(TypeId(id)).is_some_and(|r| is_extern(&r)) {
                writer.replaced.insert(id);
            }
        }
        ids.for_each(|id| writer.one(id));
        let types = writer.types;
        let strings = self.identifiers();
        let mut out = Vec::with_capacity(24 + types.len() + strings.len());
        out.extend_from_slice(&0xeb9f_u16.to_ne_bytes());
        out.extend_from_slice(&[1, 0]);
        for word in [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32] {
            out.extend_from_slice(&word.to_ne_bytes());
        }
        out.extend_from_slice(&types);
        out.extend_from_slice(&strings);
        out
    }

    /// The strings, with names that the kernel does not take for identifiers (Rust's `Option<T>`) made to such.
    fn identifiers(&self) -> Vec<u8> {
        let mut strings = self.own_strings().to_vec();
        let mut mend = |offset: u32| {
            let name = strings.get_mut(offset as usize..).unwrap_or(&mut []).iter_mut();
            for byte in name.take_while(|b| **b != 0) {
                if !byte.is_ascii_alphanumeric() && !matches!(byte, b'_' | b'.') {
                    *byte = b'_';
                }
            }
        };
        for id in self.first_id.max(1)..self.len() {
            let Some(r) = self.record(TypeId(id)) else { continue };
            let each = match r.kind {
                kind::STRUCT | kind::UNION | kind::ENUM64 => 12,
                kind::ENUM | kind::FUNC_PROTO => 8,
                kind::FWD | kind::TYPEDEF | kind::FUNC | kind::VAR => 0,
                _ => continue,
            };
            mend(r.name_off);
            if each != 0 {
                r.tail.chunks_exact(each).for_each(|element| mend(u32_at(element, 0)));
            }
        }
        strings
    }
}

fn is_extern(r: &Record<'_>) -> bool {
    match r.kind {
        kind::VAR => u32_at(r.tail, 0) == EXTERN,
        kind::FUNC => r.vlen == EXTERN,
        _ => false,
    }
}

struct Writer<'a> {
    btf: &'a Btf,
    sections: HashMap<&'a str, &'a SectionLayout>,
    hidden: HashSet<&'a str>,
    plain: bool,
    /// Types that become empty structs.
    replaced: HashSet<u32>,
    types: Vec<u8>,
}

impl Writer<'_> {
    fn words(&mut self, words: &[u32]) {
        words.iter().for_each(|w| self.types.extend_from_slice(&w.to_ne_bytes()));
    }

    fn empty_struct(&mut self, name: u32, size: u32) {
        self.words(&[name, info(kind::STRUCT, 0, false), size]);
    }

    fn one(&mut self, id: u32) {
        // A kind that is not known here cannot be repaired; an empty struct keeps the numbering.
        let Some(r) = self.btf.record(TypeId(id)) else { return self.empty_struct(0, 0) };
        if self.replaced.contains(&id) {
            return self.empty_struct(r.name_off, 0);
        }
        match r.kind {
            kind::DATASEC => self.section(&r),
            kind::DECL_TAG if self.plain => self.words(&[r.name_off, info(kind::INT, 0, false), 1, 8]),
            kind::DECL_TAG => {
                let component = if self.replaced.contains(&r.word) { u32::MAX } else { u32_at(r.tail, 0) };
                self.words(&[r.name_off, info(kind::DECL_TAG, 0, false), r.word, component]);
            }
            kind::FUNC if r.vlen == GLOBAL && self.hidden.contains(r.name()) => {
                self.words(&[r.name_off, info(kind::FUNC, STATIC, false), r.word]);
            }
            kind::FLOAT if self.plain => self.empty_struct(0, r.word),
            kind::TYPE_TAG if self.plain => self.words(&[0, info(kind::CONST, 0, false), r.word]),
            kind::ENUM64 if self.plain => self.empty_struct(r.name_off, r.word),
            _ => {
                self.words(&[r.name_off, info(r.kind, r.vlen, r.flag), r.word]);
                self.types.extend_from_slice(r.tail);
            }
        }
    }

    fn section(&mut self, r: &Record<'_>) {
        let layout = self.sections.get(r.name()).copied();
        let size = layout.map_or(r.word, |l| l.size);
        if size == 0 {
            return self.empty_struct(r.name_off, 0);
        }
        let place = |var: TypeId, offset: u32| {
            let name = self.btf.name_of(var);
            let known = layout.and_then(|l| l.variables.iter().find(|(n, _)| n == name));
            known.map_or(offset, |(_, at)| *at)
        };
        let mut vars: Vec<_> =
            r.section().map(|(var, offset, bytes)| (place(var, offset), var.0, bytes)).collect();
        vars.sort_unstable();
        self.words(&[r.name_off, info(kind::DATASEC, r.vlen, false), size]);
        vars.into_iter().for_each(|(offset, var, bytes)| self.words(&[var, offset, bytes]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::{BtfBuilder, Linkage, MemberDef, Type};

    #[test]
    fn sections_get_their_sizes_and_externs_go() {
        let mut b = BtfBuilder::new();
        let int = b.int("int", 4, true);
        let (first, second) = (b.var("first", int, Linkage::Global), b.var("second", int, Linkage::Global));
        let outside = b.var("outside", int, Linkage::Extern);
        let data = b.datasec(".data", 0, &[(first, 0, 4), (second, 0, 4)]);
        let ksyms = b.datasec(".ksyms", 0, &[(outside, 0, 4)]);
        let odd = b.struct_("Option<u8>", 4, &[MemberDef { name: "0", ty: int, bit_offset: 0, bit_size: 0 }]);
        let float = b.float("double", 8);
        let tag = b.type_tag("user", int);
        let proto = b.func_proto(int, &[]);
        let functions = ["own", "seen"].map(|name| b.func(name, proto, Linkage::Global));
        let btf = Btf::parse(b.finish(), None).unwrap();
        let linkage = |btf: &Btf| functions.map(|id| btf.record(id).unwrap().vlen);
        let variables = vec![("second".to_owned(), 4), ("first".to_owned(), 8)];
        let layout = SectionLayout { name: ".data".into(), size: 12, variables };
        let out = Btf::parse(btf.accepted(&[layout], &["own".to_owned()], true), None).unwrap();
        assert_eq!(out.len(), btf.len());
        assert_eq!(out.size_of(data), Some(12));
        assert_eq!(out.section_vars(data), [(second, 4, 4), (first, 8, 4)]);
        assert!(matches!(out.get(ksyms), Some(Type::Composite { size: 0, .. })));
        assert!(matches!(out.get(outside), Some(Type::Composite { name: "outside", size: 0, .. })));
        assert_eq!(out.name_of(odd), "Option_u8_");
        assert!(matches!(out.get(float), Some(Type::Composite { size: 8, .. })));
        assert!(matches!(out.get(tag), Some(Type::Qualifier(to)) if to == int));
        assert_eq!(linkage(&out), [STATIC, GLOBAL]);
        let twice = Btf::parse(out.accepted(&[], &[], true), None).unwrap();
        assert_eq!(twice.raw(), out.raw());
    }
}
