//! Questions about types: what a chain of typedefs stands for, sizes, members with their CO-RE access path, tags. Ids
//! enter, facts leave; every walk has a limit, so that types that contain themselves end it.

use super::read::{Record, kind, u32_at};
use super::{Btf, Type, TypeId};

/// Longest chain of typedefs, qualifiers, tags and array dimensions.
const MAX_CHAIN: usize = 64;
/// Deepest nesting of anonymous structs and unions.
const MAX_DEPTH: usize = 32;
/// Most members looked at in one search.
const MAX_MEMBERS: usize = 1 << 20;

/// Where a field lies in its root type.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct FieldPath {
    /// The type that the path starts from, as it was asked for.
    pub root: TypeId,
    /// CO-RE access path: 0 (index on the root), then member and element indexes.
    pub path: Vec<u32>,
    /// Bits from the start of the root to the field.
    pub bit_offset: u64,
    /// Bits of a bit field; 0: the field is none.
    pub bit_size: u32,
    /// The field's type, not resolved.
    pub ty: TypeId,
}

impl FieldPath {
    /// The path of `root` itself.
    pub fn root(root: TypeId) -> FieldPath {
        FieldPath { root, path: vec![0], bit_offset: 0, bit_size: 0, ty: root }
    }

    /// Bytes from the start of the root; for a bit field, of the byte that its first bit is in.
    pub fn byte_offset(&self) -> u64 {
        self.bit_offset / 8
    }

    /// Whether the field is a bit field.
    pub fn is_bitfield(&self) -> bool {
        self.bit_size != 0
    }
}

/// Tags between a pointer and what it points to.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PtrTags {
    /// `__user`: points into a user address space.
    pub user: bool,
    /// `__percpu`: an offset in each CPU's area.
    pub percpu: bool,
    /// `__rcu`: valid within an RCU read section.
    pub rcu: bool,
}

/// Whether a kind only stands for its target.
pub(super) fn is_alias(k: u8) -> bool {
    matches!(k, kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG)
}

impl Btf {
    /// The type behind typedefs, qualifiers and type tags; void for a chain without end.
    pub fn resolve(&self, id: TypeId) -> TypeId {
        let mut id = id;
        for _ in 0..MAX_CHAIN {
            match self.record(id) {
                Some(r) if is_alias(r.kind) => id = r.to(),
                _ => return id,
            }
        }
        TypeId(0)
    }

    /// [`Btf::get`] of [`Btf::resolve`].
    pub fn get_resolved(&self, id: TypeId) -> Option<Type<'_>> {
        self.get(self.resolve(id))
    }

    /// Record of the resolved type.
    pub(super) fn resolved_record(&self, id: TypeId) -> Option<Record<'_>> {
        self.record(self.resolve(id))
    }

    /// Bytes that a value of the type takes; `None` for void, functions, forward declarations and what overflows.
    pub fn size_of(&self, id: TypeId) -> Option<u32> {
        let mut id = id;
        let mut count: u32 = 1;
        for _ in 0..MAX_CHAIN {
            let r = self.resolved_record(id)?;
            let one = match r.kind {
                kind::ARRAY => {
                    count = count.checked_mul(u32_at(r.tail, 8))?;
                    id = TypeId(u32_at(r.tail, 0));
                    continue;
                }
                kind::VAR => {
                    id = r.to();
                    continue;
                }
                kind::PTR => 8,
                kind::INT
                | kind::FLOAT
                | kind::STRUCT
                | kind::UNION
                | kind::ENUM
                | kind::ENUM64
                | kind::DATASEC => r.word,
                _ => return None,
            };
            return one.checked_mul(count);
        }
        None
    }

    /// Alignment of a value of the type in bytes, from its members; 1 for packed structs. `None` as for `size_of`.
    pub fn align_of(&self, id: TypeId) -> Option<u32> {
        self.align_within(id, &mut MAX_MEMBERS.clone(), MAX_DEPTH)
    }

    fn align_within(&self, id: TypeId, budget: &mut usize, depth: usize) -> Option<u32> {
        let depth = depth.checked_sub(1)?;
        let r = self.resolved_record(id)?;
        match r.kind {
            kind::ARRAY => self.align_within(TypeId(u32_at(r.tail, 0)), budget, depth),
            kind::VAR => self.align_within(r.to(), budget, depth),
            kind::STRUCT | kind::UNION => {
                let mut align = 1;
                for m in r.members() {
                    *budget = budget.checked_sub(1)?;
                    let own = self.align_within(m.ty, budget, depth)?;
                    if m.bit_size == 0 && !m.bit_offset.is_multiple_of(own.saturating_mul(8)) {
                        return Some(1);
                    }
                    align = align.max(own);
                }
                Some(if r.word.is_multiple_of(align) { align } else { 1 })
            }
            _ => Some(self.size_of(id)?.clamp(1, 16).next_power_of_two()),
        }
    }

    /// The member `name` of the struct or union `id` (typedefs and qualifiers are looked through), also when it lies
    /// in an anonymous struct or union within. `None` when `id` is no such type or has no such member.
    pub fn find_member(&self, id: TypeId, name: &str) -> Option<FieldPath> {
        self.member_of(&FieldPath::root(id), name)
    }

    /// The member `name` of the field `at`, which must be a struct or union and no bit field; the path grows.
    pub fn member_of(&self, at: &FieldPath, name: &str) -> Option<FieldPath> {
        if name.is_empty() || at.is_bitfield() {
            return None;
        }
        let mut search = Search { btf: self, name, budget: MAX_MEMBERS, indexes: Vec::new() };
        let found = search.within(at.ty, 0)?;
        let mut path = at.path.clone();
        path.extend(search.indexes.iter().rev());
        Some(FieldPath {
            root: at.root,
            path,
            bit_offset: at.bit_offset.checked_add(found.0)?,
            bit_size: found.1,
            ty: found.2,
        })
    }

    /// Element `index` of the field `at`, which must be an array; the path grows. Also behind the end of the array
    /// (flexible ones have none).
    pub fn element_of(&self, at: &FieldPath, index: u32) -> Option<FieldPath> {
        let r = self.resolved_record(at.ty).filter(|r| r.kind == kind::ARRAY)?;
        let elem = TypeId(u32_at(r.tail, 0));
        let bits = u64::from(self.size_of(elem)?) * 8;
        let mut path = at.path.clone();
        path.push(index);
        let bit_offset = at.bit_offset.checked_add(bits.checked_mul(u64::from(index))?)?;
        Some(FieldPath { root: at.root, path, bit_offset, bit_size: 0, ty: elem })
    }

    /// Follows a CO-RE access path from `root`. `None` when an index leads nowhere.
    pub fn follow(&self, root: TypeId, path: &[u32]) -> Option<FieldPath> {
        let (&first, rest) = path.split_first()?;
        let mut at = FieldPath::root(root);
        if first != 0 {
            at.bit_offset = u64::from(self.size_of(root)?).checked_mul(u64::from(first))?.checked_mul(8)?;
            at.path = vec![first];
        }
        for &index in rest {
            let r = self.resolved_record(at.ty)?;
            if r.kind == kind::ARRAY {
                at = self.element_of(&at, index)?;
                continue;
            }
            let m = self.nth_member(&r, index)?;
            at.path.push(index);
            at.bit_offset = at.bit_offset.checked_add(u64::from(m.bit_offset))?;
            at.bit_size = m.bit_size;
            at.ty = m.ty;
        }
        Some(at)
    }

    fn nth_member<'a>(&self, r: &Record<'a>, index: u32) -> Option<super::Member<'a>> {
        matches!(r.kind, kind::STRUCT | kind::UNION).then_some(())?;
        r.members().nth(index as usize)
    }

    /// Tags on what the pointer `id` points to; none when it is no pointer.
    pub fn pointer_tags(&self, id: TypeId) -> PtrTags {
        let mut tags = PtrTags::default();
        let Some(mut r) = self.resolved_record(id).filter(|r| r.kind == kind::PTR) else { return tags };
        for _ in 0..MAX_CHAIN {
            let Some(next) = self.record(r.to()).filter(|n| is_alias(n.kind)) else { break };
            if next.kind == kind::TYPE_TAG {
                match next.name() {
                    "user" => tags.user = true,
                    "percpu" => tags.percpu = true,
                    "rcu" => tags.rcu = true,
                    _ => {}
                }
            }
            r = next;
        }
        tags
    }

    /// What the pointer `id` points to, typedefs of the pointer looked through; `None` when it is no pointer.
    pub fn pointee(&self, id: TypeId) -> Option<TypeId> {
        self.resolved_record(id).filter(|r| r.kind == kind::PTR).map(|r| r.to())
    }

    /// Return type and parameters (name, type) of the function, prototype, or (typedef of a) pointer to one `id`, such
    /// as the typedefs `btf_trace_NAME`. A last parameter of void type stands for varargs.
    pub fn signature(&self, id: TypeId) -> Option<(TypeId, Vec<(&str, TypeId)>)> {
        let mut r = self.resolved_record(id)?;
        for _ in 0..3 {
            match r.kind {
                kind::FUNC_PROTO => return Some((r.to(), r.params().collect())),
                kind::FUNC | kind::PTR => r = self.resolved_record(r.to())?,
                _ => return None,
            }
        }
        None
    }

    /// Declaration tags on `id`, with the parameter or member that they are on (-1: `id` itself), that follow it
    /// directly.
    pub fn tags_of(&self, id: TypeId) -> Vec<(&str, i32)> {
        let following = (1..).map_while(|n| match self.get(TypeId(id.0.checked_add(n)?))? {
            Type::DeclTag { name, to, component } if to == id => Some((name, component)),
            _ => None,
        });
        following.collect()
    }

    /// Variables of the section `id`: (id of the VAR, offset in bytes, bytes); empty for other types.
    pub fn section_vars(&self, id: TypeId) -> Vec<(TypeId, u32, u32)> {
        match self.record(id) {
            Some(r) if r.kind == kind::DATASEC => r.section().collect(),
            _ => Vec::new(),
        }
    }
}

/// One search for a member; the indexes of the hit, innermost first.
struct Search<'a> {
    btf: &'a Btf,
    name: &'a str,
    budget: usize,
    indexes: Vec<u32>,
}

impl Search<'_> {
    /// (bit offset in `id`, width of a bit field, type) of the member.
    fn within(&mut self, id: TypeId, depth: usize) -> Option<(u64, u32, TypeId)> {
        if depth > MAX_DEPTH {
            return None;
        }
        let r = self.btf.resolved_record(id)?;
        if !matches!(r.kind, kind::STRUCT | kind::UNION) {
            return None;
        }
        for (index, m) in (0u32..).zip(r.members()) {
            self.budget = self.budget.checked_sub(1)?;
            let hit = if m.name == self.name {
                Some((0, m.bit_size, m.ty))
            } else if m.name.is_empty() && m.bit_size == 0 {
                self.within(m.ty, depth + 1)
            } else {
                None
            };
            if let Some((offset, bits, ty)) = hit {
                self.indexes.push(index);
                return Some((offset + u64::from(m.bit_offset), bits, ty));
            }
        }
        None
    }
}
