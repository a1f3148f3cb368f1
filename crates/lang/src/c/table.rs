//! The types that a preamble declares, as BTF on top of the kernel's: declarations enter one by one, and each may build on
//! those before it and on the kernel's. Sizes and alignments are those of the 64-bit machines that skep knows.

use std::collections::HashMap;
use std::sync::Arc;

use super::constant::TypeFacts;
use super::layout::{Layout, Piece};
use crate::ty::Ty;
use skep_bpf::btf::{Btf, BtfBuilder, MemberDef, NameKind, Type, TypeId};

/// Most members of one struct: BTF's limit.
pub(super) const MAX_MEMBERS: usize = 0xffff;
/// Most types of a script.
const MAX_TYPES: usize = 1 << 20;

/// A type within declarations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum CType {
    /// A type that is there.
    Id(TypeId),
    /// `struct x` or `union x` without a body here: it may be declared later, as long as only pointers go there.
    Tag {
        /// A union.
        union: bool,
        /// Name.
        name: String,
    },
    /// A function.
    Function,
}

/// `void`
pub(super) const VOID: CType = CType::Id(TypeId(0));

/// What is known of an own type.
#[derive(Clone, Copy, Debug)]
struct Facts {
    size: Option<u64>,
    align: u64,
    unsigned: Option<bool>,
}

/// A member to lay out.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Name; empty for none.
    pub(super) name: String,
    /// Type.
    pub(super) ty: CType,
    /// Width of a bit field.
    pub(super) bits: Option<u64>,
    /// Asked for with an attribute.
    pub(super) align: Option<u64>,
    /// Not aligned.
    pub(super) packed: bool,
}

/// How a struct or union is laid out.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Form {
    /// A union.
    pub(super) union: bool,
    /// `packed`
    pub(super) packed: bool,
    /// `aligned(n)`
    pub(super) align: Option<u64>,
    /// `#pragma pack(n)`
    pub(super) pack: Option<u64>,
}

/// The types.
pub(super) struct Table {
    builder: BtfBuilder,
    /// The kernel's.
    pub(super) base: Option<Arc<Btf>>,
    first_own: u32,
    facts: HashMap<TypeId, Facts>,
    /// Members by name with their bit offsets, for `offsetof`.
    members: HashMap<TypeId, Vec<(String, u64, CType)>>,
    /// Complete structs, unions and enums.
    tags: HashMap<(NameKind, String), TypeId>,
    forwards: HashMap<(bool, String), TypeId>,
    typedefs: HashMap<String, CType>,
    /// Enum constants: value and enum.
    pub(super) constants: HashMap<String, (i64, TypeId)>,
}

/// The kind of name of a struct's or union's tag.
pub(super) fn tag_kind(union: bool) -> NameKind {
    if union { NameKind::Union } else { NameKind::Struct }
}

impl Table {
    /// No types yet, on top of the kernel's.
    pub(super) fn new(base: Option<Arc<Btf>>) -> Table {
        let builder = base.as_ref().map_or_else(BtfBuilder::new, |b| BtfBuilder::on(b));
        let first_own = builder.next_id().0;
        Table {
            builder,
            base,
            first_own,
            facts: HashMap::new(),
            members: HashMap::new(),
            tags: HashMap::new(),
            forwards: HashMap::new(),
            typedefs: HashMap::new(),
            constants: HashMap::new(),
        }
    }

    /// Whether there is room for another type.
    pub(super) fn has_room(&self) -> bool {
        ((self.builder.next_id().0 - self.first_own) as usize) < MAX_TYPES
    }

    fn known(&mut self, id: TypeId, size: Option<u64>, align: u64, unsigned: Option<bool>) -> CType {
        self.facts.insert(id, Facts { size, align, unsigned });
        CType::Id(id)
    }

    /// An integer.
    pub(super) fn int(&mut self, name: &str, size: u32, signed: bool) -> CType {
        let id = self.builder.int(name, size, signed);
        self.known(id, Some(u64::from(size)), u64::from(size), Some(!signed))
    }

    /// `_Bool`: a byte, which prints as a number, as the reference has it.
    pub(super) fn boolean(&mut self) -> CType {
        self.int("_Bool", 1, false)
    }

    /// A floating point type.
    pub(super) fn float(&mut self, name: &str, size: u32) -> CType {
        let id = self.builder.float(name, size);
        self.known(id, Some(u64::from(size)), u64::from(size), None)
    }

    /// A pointer; `user` if it points into a process.
    pub(super) fn pointer(&mut self, to: &CType, user: bool) -> CType {
        let mut to = match to {
            CType::Id(id) => *id,
            CType::Tag { union, name } => self.forward(*union, name),
            CType::Function => self.builder.func_proto(TypeId(0), &[]),
        };
        if user {
            to = self.builder.type_tag("user", to);
        }
        let id = self.builder.ptr(to);
        self.known(id, Some(8), 8, None)
    }

    fn forward(&mut self, union: bool, name: &str) -> TypeId {
        let key = (union, name.to_owned());
        if let Some(id) = self.forwards.get(&key) {
            return *id;
        }
        let id = self.builder.fwd(name, union);
        self.forwards.insert(key, id);
        id
    }

    /// An array; `None`: as many as there are.
    pub(super) fn array(&mut self, of: &CType, count: Option<u64>) -> Result<CType, String> {
        let facts = self.facts_of(of);
        let (Some(size), Some(elem)) = (facts.size, self.id_of(of)) else {
            return Err(format!("an array of {} cannot be", self.describe(of)));
        };
        let count = count.unwrap_or(0);
        let bytes = size.checked_mul(count).filter(|b| u32::try_from(*b).is_ok());
        let (Some(bytes), Ok(count)) = (bytes, u32::try_from(count)) else {
            return Err("this array is too large".to_owned());
        };
        let id = self.builder.array(elem, count);
        Ok(self.known(id, Some(bytes), facts.align, None))
    }

    /// The struct or union of a tag, if it is complete; the kernel's if `kernel`.
    pub(super) fn complete(&self, union: bool, name: &str, kernel: bool) -> Option<TypeId> {
        let kind = tag_kind(union);
        let own = self.tags.get(&(kind, name.to_owned())).copied();
        own.or_else(|| self.base.as_ref().filter(|_| kernel)?.find(kind, name))
    }

    /// The id of a type where a value of it is needed.
    pub(super) fn id_of(&self, ty: &CType) -> Option<TypeId> {
        match ty {
            CType::Id(id) => Some(*id),
            CType::Tag { union, name } => self.complete(*union, name, true),
            CType::Function => None,
        }
    }

    /// Whether a type is one of the kernel's structs or unions.
    pub(super) fn is_kernels(&self, ty: &CType) -> bool {
        let kernels = |id: &TypeId| id.0 != 0 && id.0 < self.first_own;
        self.id_of(ty).filter(kernels).is_some_and(|id| {
            matches!(self.base.as_ref().and_then(|b| b.get_resolved(id)), Some(Type::Composite { .. }))
        })
    }

    /// Whether a type is a struct or union of the preamble.
    pub(super) fn is_composite(&self, ty: &CType) -> bool {
        self.id_of(ty).is_some_and(|id| self.members.contains_key(&id))
    }

    /// Size and alignment.
    pub(super) fn facts_of(&self, ty: &CType) -> TypeFacts {
        let none = TypeFacts { size: None, align: 1, unsigned: None };
        let Some(id) = self.id_of(ty) else { return none };
        if let Some(f) = self.facts.get(&id) {
            return TypeFacts { size: f.size, align: f.align, unsigned: f.unsigned };
        }
        let Some(base) = self.base.as_ref().filter(|_| id.0 != 0 && id.0 < self.first_own) else {
            return none;
        };
        TypeFacts {
            size: base.size_of(id).map(u64::from),
            align: u64::from(base.align_of(id).unwrap_or(1)),
            unsigned: match base.get_resolved(id) {
                Some(Type::Int { signed, .. } | Type::Enum { signed, .. }) => Some(!signed),
                _ => None,
            },
        }
    }

    /// A type as messages call it.
    pub(super) fn describe(&self, ty: &CType) -> String {
        match ty {
            CType::Tag { union: true, name } => format!("'union {name}'"),
            CType::Tag { name, .. } => format!("'struct {name}'"),
            CType::Function => "a function".to_owned(),
            CType::Id(TypeId(0)) => "'void'".to_owned(),
            CType::Id(_) => "this type".to_owned(),
        }
    }

    /// The typedef of a name: the script's, the kernel's, or one that every kernel has.
    pub(super) fn typedef(&mut self, name: &str) -> Option<CType> {
        if let Some(ty) = self.typedefs.get(name) {
            return Some(ty.clone());
        }
        if let Some(id) = self.base.as_ref().and_then(|b| b.find(NameKind::Typedef, name)) {
            return Some(CType::Id(id));
        }
        match crate::types::name::typedef(name)? {
            Ty::Int { bits, signed } => Some(self.int(name, u32::from(bits / 8), signed)),
            _ => None,
        }
    }

    /// Gives `ty` another name.
    pub(super) fn alias(&mut self, name: &str, ty: CType) {
        self.typedefs.insert(name.to_owned(), ty);
    }

    /// The enum of a tag.
    pub(super) fn enum_of(&self, name: &str) -> Option<TypeId> {
        let own = self.tags.get(&(NameKind::Enum, name.to_owned())).copied();
        own.or_else(|| self.base.as_ref()?.find(NameKind::Enum, name))
    }

    /// Makes `id` the type of a tag.
    pub(super) fn tag(&mut self, kind: NameKind, name: &str, id: TypeId) {
        if !name.is_empty() {
            self.tags.insert((kind, name.to_owned()), id);
        }
    }

    /// Whether the preamble has the tag already.
    pub(super) fn has_tag(&self, kind: NameKind, name: &str) -> bool {
        !name.is_empty() && self.tags.contains_key(&(kind, name.to_owned()))
    }

    /// An enum with its constants.
    pub(super) fn enumeration(&mut self, name: &str, variants: &[(String, i64)]) -> CType {
        let signed = variants.iter().any(|(_, v)| *v < 0);
        let narrow = |v: i64| i32::try_from(v).is_ok() || !signed && u32::try_from(v).is_ok();
        let size = if variants.iter().all(|(_, v)| narrow(*v)) { 4 } else { 8 };
        let list: Vec<(&str, i64)> = variants.iter().map(|(n, v)| (n.as_str(), *v)).collect();
        let id = self.builder.enum_(name, size, signed, &list);
        for (name, value) in variants {
            self.constants.insert(name.clone(), (*value, id));
        }
        self.known(id, Some(u64::from(size)), u64::from(size), Some(!signed))
    }

    /// A struct or union with its members laid out.
    pub(super) fn composite(&mut self, name: &str, form: Form, members: &[Member]) -> Result<CType, String> {
        let mut layout = Layout::new(form);
        let mut defs: Vec<(&str, TypeId, u64, u8)> = Vec::new();
        for m in members {
            let facts = self.facts_of(&m.ty);
            let (Some(size), Some(id)) = (facts.size, self.id_of(&m.ty)) else {
                return Err(format!("field `{}` has incomplete type {}", m.name, self.describe(&m.ty)));
            };
            let piece = Piece { size, align: facts.align, bits: m.bits, asked: m.align, packed: m.packed };
            let at = layout.place(&piece, m.name.is_empty())?;
            // A bit field without a name only takes room.
            if m.bits.is_none() || !m.name.is_empty() {
                defs.push((&m.name, id, at, m.bits.and_then(|b| u8::try_from(b).ok()).unwrap_or(0)));
            }
        }
        let (size, align) = layout.finish()?;
        let limit = if defs.iter().any(|d| d.3 > 0) { 1 << 24 } else { u64::from(u32::MAX) };
        if defs.iter().any(|d| d.2 >= limit) || u32::try_from(size).is_err() {
            return Err("this struct is too large".to_owned());
        }
        let list: Vec<MemberDef<'_>> = defs
            .iter()
            .map(|&(name, ty, at, bits)| MemberDef { name, ty, bit_offset: at as u32, bit_size: bits })
            .collect();
        let id = match form.union {
            true => self.builder.union(name, size as u32, &list),
            false => self.builder.struct_(name, size as u32, &list),
        };
        let known = defs.iter().map(|d| (d.0.to_owned(), d.2, CType::Id(d.1))).collect();
        self.members.insert(id, known);
        Ok(self.known(id, Some(size), align, None))
    }

    /// Bit offset and type of a member, also of an anonymous one's.
    pub(super) fn member(&self, ty: &CType, name: &str, depth: u32) -> Option<(u64, CType)> {
        let id = self.id_of(ty)?;
        let depth = depth.checked_sub(1)?;
        if let Some(members) = self.members.get(&id) {
            return members.iter().find_map(|(n, at, ty)| match n.as_str() {
                n if n == name => Some((*at, ty.clone())),
                "" => self.member(ty, name, depth).map(|(more, ty)| (at + more, ty)),
                _ => None,
            });
        }
        let found = self.base.as_ref()?.find_member(id, name)?;
        Some((found.bit_offset, CType::Id(found.ty)))
    }

    /// The finished types, and those that have names: (kind, name, type). `None` if there are none.
    #[allow(clippy::type_complexity)]
    pub(super) fn finish(mut self) -> Option<(Arc<Btf>, HashMap<(NameKind, String), TypeId>)> {
        let typedefs = std::mem::take(&mut self.typedefs);
        let mut names = std::mem::take(&mut self.tags);
        for (name, ty) in typedefs {
            let id = match &ty {
                CType::Tag { union, name } => {
                    let key = (tag_kind(*union), name.clone());
                    let complete = names.get(&key).copied();
                    let kernels = || self.base.as_ref().and_then(|b| b.find(key.0, name));
                    complete.or_else(kernels).unwrap_or_else(|| self.forward(*union, name))
                }
                CType::Id(id) => *id,
                CType::Function => continue,
            };
            names.insert((NameKind::Typedef, name), id);
        }
        if names.is_empty() && self.constants.is_empty() {
            return None;
        }
        let btf = Btf::parse(self.builder.finish(), self.base.clone()).ok()?;
        Some((Arc::new(btf), names))
    }
}
