//! Making an object independent of the kernel that it was compiled for: the kernel types that its relocations name are
//! copied into its own BTF, as far as they are needed. An object and the kernel's types enter; an object with an
//! [`Origin`] leaves, whose instructions are the same.
//!
//! A struct is copied with its name, its size and those members that some relocation passes through, each at its offset, so
//! that the values in the instructions are those that the copied types give. What a pointer leads to is not copied.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::btf::NameKind;
use crate::btf::{Btf, BtfBuilder, BtfError, Linkage, MemberDef, Type, TypeId};
use crate::object::{CoreReloc, Object, RelocKind};
use crate::origin::Origin;

/// Deepest nesting of types.
const MAX_DEPTH: u32 = 64;

/// Why an object cannot leave its kernel.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EmbedError {
    /// A relocation does not fit the kernel's types: it is a module's, or a mistake of the compiler.
    #[error(
        "a field of `{root}` is of a type that is not in the kernel's own BTF: only those can be relocated"
    )]
    Foreign {
        /// The root type's name.
        root: String,
    },
    /// A kernel variable or function has no type.
    #[error("`{0}` is not in the kernel's BTF")]
    NoType(String),
    /// The object's own types are damaged.
    #[error("the object's types: {0}")]
    Btf(#[from] BtfError),
}

/// Copies into `object` what it needs of `kernel`, the types that it was compiled for.
pub fn embed(object: &Object, kernel: &Btf, origin: Origin) -> Result<Object, EmbedError> {
    let own = match &object.btf[..] {
        [] => BtfBuilder::new(),
        bytes => BtfBuilder::continuing(&Btf::parse(bytes.to_vec(), None)?),
    };
    let mut object = object.clone();
    let mut copy = Copy { kernel, used: BTreeMap::new(), done: HashMap::new(), out: own };
    let relocs = || object.programs.iter().flat_map(|p| &p.relocs);
    for reloc in relocs() {
        if let RelocKind::Core(core) = &reloc.kind {
            copy.note(core).ok_or_else(|| EmbedError::Foreign { root: core.root_name.clone() })?;
        }
    }
    let names: BTreeSet<_> = relocs()
        .filter_map(|reloc| match &reloc.kind {
            RelocKind::KernelSymbol(name) => Some((NameKind::Var, name.clone())),
            RelocKind::Kfunc(name) => Some((NameKind::Func, name.clone())),
            _ => None,
        })
        .collect();
    for (kind, name) in &names {
        copy.external(*kind, name).ok_or_else(|| EmbedError::NoType(name.clone()))?;
    }
    for reloc in object.programs.iter_mut().flat_map(|p| &mut p.relocs) {
        if let RelocKind::Core(core) = &mut reloc.kind {
            *core = copy.moved(core);
        }
    }
    object.btf = copy.out.finish();
    let local = Btf::parse(object.btf.clone(), None)?;
    for reloc in object.programs.iter_mut().flat_map(|p| &mut p.relocs) {
        if let RelocKind::Core(core) = &mut reloc.kind {
            core.root_name = local.c_name(TypeId(core.root));
        }
    }
    object.origin = Some(origin);
    Ok(object)
}

struct Copy<'a> {
    kernel: &'a Btf,
    /// Members that paths pass through, by struct or union.
    used: BTreeMap<TypeId, BTreeSet<u32>>,
    done: HashMap<TypeId, TypeId>,
    out: BtfBuilder,
}

impl Copy<'_> {
    /// Notes the members on the path of `reloc`. `None` when it does not fit the types.
    fn note(&mut self, reloc: &CoreReloc) -> Option<()> {
        let mut at = self.kernel.resolve(TypeId(reloc.root));
        self.kernel.get(at).filter(|ty| *ty != Type::Void)?;
        for &index in reloc.path.get(1..)? {
            at = match self.kernel.get(at)? {
                Type::Array { elem, .. } => self.kernel.resolve(elem),
                Type::Composite { members, .. } => {
                    self.used.entry(at).or_default().insert(index);
                    self.kernel.resolve(members.get(index as usize)?.ty)
                }
                _ => return None,
            };
        }
        Some(())
    }

    /// The relocation in terms of the copies.
    fn moved(&mut self, reloc: &CoreReloc) -> CoreReloc {
        let mut at = self.kernel.resolve(TypeId(reloc.root));
        let mut path = reloc.path.clone();
        for index in path.iter_mut().skip(1) {
            match self.kernel.get(at) {
                Some(Type::Array { elem, .. }) => at = self.kernel.resolve(elem),
                Some(Type::Composite { members, .. }) => {
                    let next = members.get(*index as usize).map_or(TypeId(0), |m| m.ty);
                    let before = self.used.get(&at).map_or(0, |used| used.range(..*index).count());
                    *index = before as u32;
                    at = self.kernel.resolve(next);
                }
                _ => break,
            }
        }
        CoreReloc { root: self.copy(TypeId(reloc.root), MAX_DEPTH).0, path, ..reloc.clone() }
    }

    /// The copy of a type; void for what has none, or nests too deeply.
    fn copy(&mut self, id: TypeId, depth: u32) -> TypeId {
        if let Some(done) = self.done.get(&id) {
            return *done;
        }
        let Some(depth) = depth.checked_sub(1) else { return TypeId(0) };
        let copied = match self.kernel.get(id) {
            Some(Type::Int { name, size: 1, boolean: true, .. }) => self.out.boolean(name),
            Some(Type::Int { name, size, signed, .. }) => self.out.int(name, size, signed),
            Some(Type::Float { name, size }) => self.out.float(name, size),
            Some(Type::Enum { name, size, signed, .. }) => self.out.enum_(name, size, signed, &[]),
            Some(Type::Typedef { name, to }) => {
                let to = self.copy(to, depth);
                self.out.typedef(name, to)
            }
            Some(Type::Qualifier(to) | Type::TypeTag { to, .. }) => self.copy(to, depth),
            Some(Type::Array { elem, count }) => {
                let elem = self.copy(elem, depth);
                self.out.array(elem, count)
            }
            Some(Type::Ptr(to)) => {
                let to = self.pointee(to);
                self.out.ptr(to)
            }
            Some(Type::Composite { .. }) => self.composite(id, depth),
            _ => TypeId(0),
        };
        self.done.insert(id, copied);
        copied
    }

    fn composite(&mut self, id: TypeId, depth: u32) -> TypeId {
        let Some(Type::Composite { name, union, size, members }) = self.kernel.get(id) else {
            return TypeId(0);
        };
        let used = self.used.get(&id).cloned().unwrap_or_default();
        let kept: Vec<_> = used.iter().filter_map(|i| members.get(*i as usize)).collect();
        let kept: Vec<_> = kept
            .into_iter()
            .map(|m| MemberDef {
                name: m.name,
                ty: self.copy(m.ty, depth),
                bit_offset: m.bit_offset,
                bit_size: m.bit_size as u8,
            })
            .collect();
        match union {
            true => self.out.union(name, size, &kept),
            false => self.out.struct_(name, size, &kept),
        }
    }

    /// What a pointer leads to: a struct or union by name, anything else as void.
    fn pointee(&mut self, to: TypeId) -> TypeId {
        match self.kernel.get_resolved(to) {
            Some(Type::Composite { name, union, .. } | Type::Fwd { name, union }) if !name.is_empty() => {
                let id = self.kernel.resolve(to);
                // Not in `done`: that is for whole types.
                let key = TypeId(id.0 | 1 << 31);
                if let Some(known) = self.done.get(&key) {
                    return *known;
                }
                let fwd = self.out.fwd(name, union);
                self.done.insert(key, fwd);
                fwd
            }
            _ => TypeId(0),
        }
    }

    /// A kernel variable or function, as something that is defined elsewhere.
    fn external(&mut self, kind: NameKind, name: &str) -> Option<TypeId> {
        let found = self.kernel.find(kind, name)?;
        match self.kernel.get(found)? {
            Type::Var { ty, .. } => {
                let ty = self.outline(ty, MAX_DEPTH);
                Some(self.out.var(name, ty, Linkage::Extern))
            }
            Type::Func { proto, .. } => {
                let proto = self.outline(proto, MAX_DEPTH);
                Some(self.out.func(name, proto, Linkage::Extern))
            }
            _ => None,
        }
    }

    /// As much of a type as a loader compares of externs: kinds along pointers and prototypes.
    fn outline(&mut self, id: TypeId, depth: u32) -> TypeId {
        let Some(depth) = depth.checked_sub(1) else { return TypeId(0) };
        match self.kernel.get_resolved(id) {
            Some(Type::Ptr(to)) => {
                let to = self.outline(to, depth);
                self.out.ptr(to)
            }
            Some(Type::Array { elem, count }) => {
                let elem = self.outline(elem, depth);
                self.out.array(elem, count)
            }
            Some(Type::FuncProto { ret, params }) => {
                let ret = self.outline(ret, depth);
                let params: Vec<_> = params.into_iter().map(|(n, ty)| (n, self.outline(ty, depth))).collect();
                self.out.func_proto(ret, &params)
            }
            Some(Type::Composite { .. }) => self.copy(self.kernel.resolve(id), depth),
            Some(Type::Fwd { name, union }) => self.out.fwd(name, union),
            Some(_) => self.copy(self.kernel.resolve(id), depth),
            None => TypeId(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{relocation, resolve};
    use crate::object::{CoreKind, Program, Reloc};
    use crate::target::Arch;
    use crate::version::KernelVersion;

    fn kernel() -> Btf {
        let mut b = BtfBuilder::new();
        let int = b.int("int", 4, true);
        let at = |name, ty, bit_offset| MemberDef { name, ty, bit_offset, bit_size: 0 };
        let info = b.struct_("info", 8, &[at("unused", int, 0), at("flags", int, 32)]);
        let anonymous = b.union("", 8, &[at("word", int, 0), at("info", info, 0)]);
        let task_ptr = b.fwd("task", false);
        let next = b.ptr(task_ptr);
        let comm = b.array(int, 4);
        let members =
            [at("pad", int, 0), at("", anonymous, 32), at("comm", comm, 128), at("next", next, 256)];
        let task = b.struct_("task", 40, &members);
        b.typedef("task_t", task);
        b.var("jiffies", int, Linkage::Global);
        Btf::parse(b.finish(), None).unwrap()
    }

    fn object(kernel: &Btf, root: TypeId, fields: &[&str]) -> Object {
        let reloc = |name: &&str| {
            let field = kernel.find_member(root, name).unwrap();
            Reloc { insn: 0, kind: RelocKind::Core(relocation(kernel, &field, CoreKind::FieldByteOffset)) }
        };
        let mut relocs: Vec<_> = fields.iter().map(reloc).collect();
        relocs.push(Reloc { insn: 0, kind: RelocKind::KernelSymbol("jiffies".into()) });
        let program = Program { relocs, ..crate::elf::tests::empty_program() };
        Object { programs: vec![program], ..Object::default() }
    }

    fn origin() -> Origin {
        Origin { arch: Arch::X86_64, kernel: KernelVersion::new(6, 1), assumptions: Vec::new() }
    }

    #[test]
    fn copies_are_small_and_give_the_same_values() {
        let kernel = kernel();
        for root in [NameKind::Struct, NameKind::Typedef] {
            let name = if root == NameKind::Struct { "task" } else { "task_t" };
            let root = kernel.find(root, name).unwrap();
            let before = object(&kernel, root, &["info", "next", "comm"]);
            let after = embed(&before, &kernel, origin()).unwrap();
            let local = Btf::parse(after.btf.clone(), None).unwrap();
            for (old, new) in before.programs[0].relocs.iter().zip(&after.programs[0].relocs) {
                if let (RelocKind::Core(old), RelocKind::Core(new)) = (&old.kind, &new.kind) {
                    let value = resolve(old, &kernel, &kernel).unwrap();
                    assert_eq!(resolve(new, &local, &local), Ok(value));
                    assert_eq!(resolve(new, &local, &kernel), Ok(value));
                    assert!(new.path.iter().all(|i| *i < 3), "{new:?}");
                }
            }
            let copy = local.find(NameKind::Struct, "task").unwrap();
            assert_eq!(local.size_of(copy), Some(40));
            assert!(local.find_member(copy, "pad").is_none());
            assert!(local.find_member(copy, "comm").is_some());
            assert!(local.find(NameKind::Var, "jiffies").is_some());
        }
    }

    #[test]
    fn what_is_not_the_kernels_is_refused() {
        let kernel = kernel();
        let mut strange = object(&kernel, kernel.find(NameKind::Struct, "task").unwrap(), &["comm"]);
        if let RelocKind::Core(core) = &mut strange.programs[0].relocs[0].kind {
            core.root = 1000;
        }
        assert!(matches!(embed(&strange, &kernel, origin()), Err(EmbedError::Foreign { .. })));
        strange.programs[0].relocs.remove(0);
        strange.programs[0].relocs[0].kind = RelocKind::Kfunc("nothing".into());
        assert_eq!(embed(&strange, &kernel, origin()), Err(EmbedError::NoType("nothing".into())));
    }
}
