//! CO-RE relocations of whole types and of enumerators: does the type exist on the target, is it made alike, how large is
//! it, which id does it have; does the enumerator exist, which value does it have. The rules are libbpf's
//! (tools/lib/bpf/relo_core.c, `bpf_core_types_are_compat` and `bpf_core_types_match`, Linux 6.18).

use super::{CoreError, essential, name_kind};
use crate::btf::{Btf, Type, TypeId};
use crate::object::{CoreKind, CoreReloc};

/// Deepest nesting that is compared.
const MAX_DEPTH: u32 = 32;
/// Most comparisons of one relocation: types may name each other in circles.
const MAX_STEPS: u32 = 1 << 16;

/// Whether `kind` asks for a type or an enumerator rather than for a field.
pub(super) fn is_of_types(kind: CoreKind) -> bool {
    use CoreKind::*;
    matches!(
        kind,
        TypeIdLocal | TypeIdTarget | TypeExists | TypeSize | EnumvalExists | EnumvalValue | TypeMatches
    )
}

/// The value of such a relocation. What is missing is 0, except for an enumerator's value.
pub(super) fn resolve(reloc: &CoreReloc, local: &Btf, target: &Btf) -> Result<u64, CoreError> {
    let root = TypeId(reloc.root);
    let invalid = |what: &str| CoreError::Invalid {
        root: reloc.root_name.clone(),
        path: reloc.path.clone(),
        what: what.to_owned(),
    };
    if local.get(root).is_none() {
        return Err(invalid("there is no such type"));
    }
    if reloc.kind == CoreKind::TypeIdLocal {
        return Ok(reloc.root.into());
    }
    let wanted = match reloc.kind {
        CoreKind::EnumvalExists | CoreKind::EnumvalValue => {
            let index = reloc.path.first().copied().unwrap_or(0);
            Some(enumerator(local, root, index).ok_or_else(|| invalid("there is no such enumerator"))?)
        }
        _ => None,
    };
    let kind = name_kind(local, root).ok_or_else(|| invalid("the root has no name"))?;
    let mut value = None;
    for candidate in target.find_all(kind, essential(local.name_of(root))) {
        let found = match &wanted {
            Some(name) => value_of(target, candidate, name).map(|v| match reloc.kind {
                CoreKind::EnumvalExists => 1,
                _ => v as u64,
            }),
            None => of_type(reloc.kind, (local, root), (target, candidate)),
        };
        let Some(found) = found else { continue };
        // Which of several equal types an id names does not matter.
        let differs = value.is_some_and(|v| v != found) && reloc.kind != CoreKind::TypeIdTarget;
        if differs {
            return Err(CoreError::Ambiguous(reloc.root_name.clone()));
        }
        value = value.or(Some(found));
    }
    match (value, wanted) {
        (Some(value), _) => Ok(value),
        (None, Some(member)) if reloc.kind == CoreKind::EnumvalValue => {
            Err(CoreError::NoMember { root: reloc.root_name.clone(), member: member.to_owned() })
        }
        (None, _) => Ok(0),
    }
}

fn of_type(kind: CoreKind, local: (&Btf, TypeId), target: (&Btf, TypeId)) -> Option<u64> {
    let mut pair = Pair { local: local.0, target: target.0, steps: MAX_STEPS };
    if kind == CoreKind::TypeMatches {
        return pair.matches(local.1, target.1, false, MAX_DEPTH).then_some(1);
    }
    if !pair.compatible(local.1, target.1, MAX_DEPTH) {
        return None;
    }
    match kind {
        CoreKind::TypeSize => target.0.size_of(target.1).map(u64::from),
        CoreKind::TypeIdTarget => Some(target.1.0.into()),
        _ => Some(1),
    }
}

fn enumerator(btf: &Btf, ty: TypeId, index: u32) -> Option<&str> {
    match btf.get_resolved(ty)? {
        Type::Enum { variants, .. } => variants.get(index as usize).map(|(name, _)| *name),
        _ => None,
    }
}

fn value_of(btf: &Btf, ty: TypeId, name: &str) -> Option<i64> {
    match btf.get_resolved(ty)? {
        Type::Enum { variants, .. } => {
            variants.into_iter().find(|(n, _)| essential(n) == essential(name)).map(|(_, value)| value)
        }
        _ => None,
    }
}

/// Types of both sides.
struct Pair<'a> {
    local: &'a Btf,
    target: &'a Btf,
    steps: u32,
}

impl Pair<'_> {
    fn step(&mut self, depth: u32) -> Option<u32> {
        self.steps = self.steps.checked_sub(1)?;
        depth.checked_sub(1)
    }

    /// Whether the types are of the same kind, through pointers, arrays and prototypes.
    fn compatible(&mut self, a: TypeId, b: TypeId, depth: u32) -> bool {
        let Some(depth) = self.step(depth) else { return false };
        let (Some(x), Some(y)) = (self.local.get_resolved(a), self.target.get_resolved(b)) else {
            return false;
        };
        match (x, y) {
            (Type::Ptr(x), Type::Ptr(y)) => self.compatible(x, y, depth),
            (Type::Array { elem: x, .. }, Type::Array { elem: y, .. }) => self.compatible(x, y, depth),
            (Type::Composite { union: x, .. }, Type::Composite { union: y, .. }) => x == y,
            (Type::FuncProto { ret: x, params: p }, Type::FuncProto { ret: y, params: q }) => {
                p.len() == q.len()
                    && p.iter().zip(&q).all(|((_, x), (_, y))| self.compatible(*x, *y, depth))
                    && self.compatible(x, y, depth)
            }
            (x, y) => std::mem::discriminant(&x) == std::mem::discriminant(&y),
        }
    }

    /// Whether the target's type has all that the local one has, made alike; behind a pointer names are enough.
    fn matches(&mut self, a: TypeId, b: TypeId, behind_pointer: bool, depth: u32) -> bool {
        let Some(depth) = self.step(depth) else { return false };
        let (a, b) = (self.local.resolve(a), self.target.resolve(b));
        if essential(self.local.name_of(a)) != essential(self.target.name_of(b)) {
            return false;
        }
        let (Some(x), Some(y)) = (self.local.get(a), self.target.get(b)) else { return false };
        match (x, y) {
            (Type::Void, Type::Void) => true,
            (Type::Fwd { union: x, .. }, Type::Fwd { union: y, .. }) => x == y,
            (Type::Fwd { union: x, .. }, Type::Composite { union: y, .. })
            | (Type::Composite { union: x, .. }, Type::Fwd { union: y, .. }) => behind_pointer && x == y,
            (Type::Enum { size: s, variants: v, .. }, Type::Enum { size: t, variants: w, .. }) => {
                let there = |name: &str| w.iter().any(|(other, _)| essential(other) == essential(name));
                behind_pointer || s == t && v.iter().all(|(name, _)| there(name))
            }
            (Type::Composite { union: x, members: m, .. }, Type::Composite { union: y, members: n, .. }) => {
                let mut each = m.iter();
                x == y
                    && (behind_pointer
                        || each.all(|member| {
                            let named =
                                |o: &&crate::btf::Member<'_>| essential(o.name) == essential(member.name);
                            n.iter().filter(named).any(|o| self.matches(member.ty, o.ty, false, depth))
                        }))
            }
            (Type::Int { size: s, signed: x, .. }, Type::Int { size: t, signed: y, .. }) => s == t && x == y,
            (Type::Float { size: s, .. }, Type::Float { size: t, .. }) => s == t,
            (Type::Ptr(x), Type::Ptr(y)) => self.matches(x, y, true, depth),
            (Type::Array { elem: x, count: c }, Type::Array { elem: y, count: d }) => {
                c == d && self.matches(x, y, behind_pointer, depth)
            }
            (Type::FuncProto { ret: x, params: p }, Type::FuncProto { ret: y, params: q }) => {
                p.len() == q.len()
                    && p.iter().zip(&q).all(|((_, x), (_, y))| self.matches(*x, *y, behind_pointer, depth))
                    && self.matches(x, y, behind_pointer, depth)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::{BtfBuilder, MemberDef};

    /// `enum state { IDLE, BUSY = busy }; struct hive { int id; struct queen *queen; }`, the struct named `name`.
    fn types(name: &str, busy: i64, bytes: u32, extra: bool) -> Btf {
        let mut b = BtfBuilder::new();
        let int = b.int("int", bytes, true);
        let queen = b.fwd("queen", false);
        let pointer = b.ptr(queen);
        let at = |name, ty, bit_offset| MemberDef { name, ty, bit_offset, bit_size: 0 };
        let mut members = vec![at("id", int, 0), at("queen", pointer, 64)];
        if extra {
            members.push(at("more", int, 128));
        }
        b.struct_(name, 16 + 8 * u32::from(extra), &members);
        b.enum_("state", 4, true, &[("IDLE", 0), ("BUSY", busy)]);
        b.enum_("state___new", 4, true, &[("IDLE", 0), ("LATE___x", 7)]);
        Btf::parse(b.finish(), None).unwrap()
    }

    fn ask(local: &Btf, target: &Btf, name: &str, path: u32, kind: CoreKind) -> Result<u64, CoreError> {
        let id = (1..local.len()).find(|i| local.name_of(TypeId(*i)) == name).unwrap();
        resolve(&CoreReloc { root: id, root_name: name.into(), path: vec![path], kind }, local, target)
    }

    #[test]
    fn types_and_enumerators_are_found_again() {
        let local = types("hive___mine", 3, 4, false);
        let target = types("hive", -9, 4, true);
        let get = |name, path, kind| ask(&local, &target, name, path, kind);
        assert_eq!(get("hive___mine", 0, CoreKind::TypeExists), Ok(1));
        assert_eq!(get("hive___mine", 0, CoreKind::TypeMatches), Ok(1));
        assert_eq!(get("hive___mine", 0, CoreKind::TypeSize), Ok(24));
        assert!(matches!(get("hive___mine", 0, CoreKind::TypeIdTarget), Ok(id) if id != 0));
        assert_eq!(get("state", 1, CoreKind::EnumvalExists), Ok(1));
        assert_eq!(get("state", 1, CoreKind::EnumvalValue), Ok(-9i64 as u64));
        assert_eq!(get("state___new", 1, CoreKind::EnumvalExists), Ok(0));
        assert!(get("state___new", 1, CoreKind::EnumvalValue).is_err());
        assert!(get("state", 2, CoreKind::EnumvalValue).is_err());
    }

    #[test]
    fn what_is_missing_or_made_otherwise() {
        let local = types("hive", 3, 4, true);
        let get = |target: &Btf, kind| ask(&local, target, "hive", 0, kind);
        let smaller = types("hive", 3, 4, false);
        assert_eq!(get(&smaller, CoreKind::TypeMatches), Ok(0));
        assert_eq!(get(&smaller, CoreKind::TypeExists), Ok(1));
        let wider = types("hive", 3, 8, true);
        assert_eq!(get(&wider, CoreKind::TypeMatches), Ok(0));
        let none = types("other", 3, 4, true);
        for kind in [CoreKind::TypeExists, CoreKind::TypeSize, CoreKind::TypeIdTarget] {
            assert_eq!(get(&none, kind), Ok(0));
        }
        assert!(matches!(get(&none, CoreKind::TypeIdLocal), Ok(id) if id != 0));
    }
}
