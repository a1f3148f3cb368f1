//! CO-RE: a field of a kernel type, compiled against one kernel's BTF, found again in another's by name. A
//! [`CoreReloc`], the BTF it was made with and the BTF of the kernel to run on enter; the value for the instruction
//! leaves, or what is missing. The rules are libbpf's (tools/lib/bpf/relo_core.c, Linux 6.18): names are compared
//! without what follows `___`, anonymous structs and unions do not count, integers may change size and sign.

use crate::btf::{Btf, FieldPath, NameKind, Type, TypeId};
use crate::insn::{Insn, class};
use crate::object::{CoreKind, CoreReloc};

pub mod embed;
pub mod link;
mod types;

/// Why a relocation has no value.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CoreError {
    /// The relocation does not fit the BTF that it claims to be made with.
    #[error("relocation of `{root}` {path:?}: {what}")]
    Invalid {
        /// The root type's name.
        root: String,
        /// The access path.
        path: Vec<u32>,
        /// What does not fit.
        what: String,
    },
    /// The target has no such type.
    #[error("this kernel has no `{0}`")]
    NoType(String),
    /// The target's type has no such member.
    #[error("`{root}` has no member `{member}` on this kernel")]
    NoMember {
        /// The root type's name.
        root: String,
        /// Members from the root to the missing one, dots between.
        member: String,
    },
    /// The member is of another kind on the target.
    #[error("`{member}` of `{root}` is `{found}` on this kernel, not `{expected}`")]
    Changed {
        /// The root type's name.
        root: String,
        /// Members from the root, dots between.
        member: String,
        /// C type in the BTF that the object was compiled against.
        expected: String,
        /// C type on the target.
        found: String,
    },
    /// Several types of the name give different values.
    #[error("this kernel has several `{0}` that differ")]
    Ambiguous(String),
    /// The value does not fit where it belongs.
    #[error("instruction {insn} cannot hold {value}")]
    Range {
        /// Instruction index.
        insn: usize,
        /// The value.
        value: u64,
    },
}

/// How a field is read as an integer: load `byte_size` bytes at `byte_offset` into a 64-bit register, shift left by
/// `left`, then right by `right` (arithmetic when `signed`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FieldAccess {
    /// Bytes from the start of the root.
    pub byte_offset: u64,
    /// Bytes to load.
    pub byte_size: u32,
    /// Whether the field has a sign; `None` for what is no integer or enum.
    pub signed: Option<bool>,
    /// Left shift, 0 to 63.
    pub left: u32,
    /// Right shift, 0 to 63.
    pub right: u32,
}

/// How to read the field `at` of `btf`. `None` when its type has no size, it is a bit field that no aligned load of up to
/// eight bytes covers, or it is none and starts within a byte.
pub fn access(btf: &Btf, at: &FieldPath) -> Option<FieldAccess> {
    let signed = match btf.get_resolved(at.ty)? {
        Type::Int { signed, .. } | Type::Enum { signed, .. } => Some(signed),
        _ => None,
    };
    let mut size = btf.size_of(at.ty)?;
    let mut start = at.byte_offset();
    let mut bits = u64::from(size) * 8;
    if at.is_bitfield() {
        bits = at.bit_size.into();
        let aligned = |size: u32| start / u64::from(size) * u64::from(size);
        let covers = |size: u32| {
            matches!(size, 1 | 2 | 4 | 8) && at.bit_offset + bits <= (aligned(size) + u64::from(size)) * 8
        };
        size = (0..4).map(|n| 1 << n).filter(|&s| s >= size).find(|&s| covers(s))?;
        start = aligned(size);
    } else if !at.bit_offset.is_multiple_of(8) {
        return None;
    }
    let first = at.bit_offset - start * 8;
    let (left, right) = if bits > 64 || size > 8 {
        (0, 0)
    } else if cfg!(target_endian = "little") {
        (64 - (first + bits), 64 - bits)
    } else {
        (u64::from(8 - size) * 8 + first, 64 - bits)
    };
    Some(FieldAccess { byte_offset: start, byte_size: size, signed, left: left as u32, right: right as u32 })
}

/// The relocation that asks `kind` of the field `at` of `btf`.
pub fn relocation(btf: &Btf, at: &FieldPath, kind: CoreKind) -> CoreReloc {
    CoreReloc { root: at.root.0, root_name: btf.c_name(at.root), path: at.path.clone(), kind }
}

/// The value of `reloc`, which was made with `local`, on the kernel whose types are `target`.
///
/// A missing type or member is an error, except where the question is whether there is one, or one of a whole type: the
/// value then is 0.
pub fn resolve(reloc: &CoreReloc, local: &Btf, target: &Btf) -> Result<u64, CoreError> {
    resolve_field(reloc, local, target).map(|(value, _)| value)
}

/// As [`resolve`], with the field on the target where there is one.
pub fn resolve_field(
    reloc: &CoreReloc,
    local: &Btf,
    target: &Btf,
) -> Result<(u64, Option<FieldPath>), CoreError> {
    if types::is_of_types(reloc.kind) {
        return types::resolve(reloc, local, target).map(|value| (value, None));
    }
    let root = TypeId(reloc.root);
    let invalid = |what: &str| CoreError::Invalid {
        root: reloc.root_name.clone(),
        path: reloc.path.clone(),
        what: what.to_owned(),
    };
    if local.follow(root, &reloc.path).is_none() {
        return Err(invalid("the path leads nowhere"));
    }
    let kind = name_kind(local, root).ok_or_else(|| invalid("the root has no name"))?;
    let name = essential(local.name_of(root));
    let mut value = None;
    let mut missing = CoreError::NoType(reloc.root_name.clone());
    for candidate in target.find_all(kind, name) {
        let (found, field) = match (Matcher { reloc, local, target }).find(root, candidate) {
            Ok(field) => {
                let found = value_of(target, &field, reloc.kind);
                (found.ok_or_else(|| invalid("no such value of this field"))?, field)
            }
            Err(e) => {
                missing = e;
                continue;
            }
        };
        if value.as_ref().is_some_and(|(v, _)| *v != found) {
            return Err(CoreError::Ambiguous(reloc.root_name.clone()));
        }
        value = Some((found, Some(field)));
    }
    match value {
        Some(found) => Ok(found),
        None if reloc.kind == CoreKind::FieldExists => Ok((0, None)),
        None => Err(missing),
    }
}

/// Writes a resolved value into the instruction at `at`: the offset of a memory access, the immediate of an
/// operation, or both halves of a 64-bit immediate.
pub fn apply(insns: &mut [Insn], at: usize, value: u64) -> Result<(), CoreError> {
    let range = CoreError::Range { insn: at, value };
    let Some(insn) = insns.get_mut(at) else { return Err(range) };
    match insn.class() {
        class::LDX | class::ST | class::STX => insn.off = i16::try_from(value).map_err(|_| range)?,
        class::ALU | class::ALU64 => {
            let signed = i32::try_from(value as i64);
            // A 32-bit operation takes the bits as they are.
            let bits = u32::try_from(value).ok().filter(|_| insn.class() == class::ALU);
            insn.imm = signed.ok().or(bits.map(|b| b as i32)).ok_or(range)?;
        }
        _ if insn.is_ld_imm64() => {
            insn.imm = value as u32 as i32;
            insns.get_mut(at + 1).ok_or(range)?.imm = (value >> 32) as u32 as i32;
        }
        _ => return Err(range),
    }
    Ok(())
}

/// `task_struct` of `task_struct___old`.
fn essential(name: &str) -> &str {
    match name.rfind("___") {
        Some(at) if at > 0 => &name[..at],
        _ => name,
    }
}

/// By which kind of name the type can be found again.
fn name_kind(btf: &Btf, id: TypeId) -> Option<NameKind> {
    let (name, kind) = match btf.get(id)? {
        Type::Composite { name, union, .. } => (name, if union { NameKind::Union } else { NameKind::Struct }),
        Type::Typedef { name, .. } => (name, NameKind::Typedef),
        Type::Enum { name, .. } => (name, NameKind::Enum),
        Type::Fwd { name, union } => (name, if union { NameKind::Union } else { NameKind::Struct }),
        Type::Int { name, .. } | Type::Float { name, .. } => (name, NameKind::Int),
        Type::Func { name, .. } => (name, NameKind::Func),
        _ => return None,
    };
    (!name.is_empty()).then_some(kind)
}

fn value_of(btf: &Btf, field: &FieldPath, kind: CoreKind) -> Option<u64> {
    Some(match kind {
        CoreKind::FieldExists => 1,
        // A flexible array or a function has an offset all the same.
        CoreKind::FieldByteOffset if !field.is_bitfield() => field.byte_offset(),
        CoreKind::FieldByteOffset => access(btf, field)?.byte_offset,
        CoreKind::FieldByteSize => access(btf, field)?.byte_size.into(),
        CoreKind::FieldSigned => access(btf, field)?.signed?.into(),
        CoreKind::FieldLshiftU64 => access(btf, field)?.left.into(),
        CoreKind::FieldRshiftU64 => access(btf, field)?.right.into(),
        _ => return None,
    })
}

/// Walks the local path and the target's types side by side.
struct Matcher<'a> {
    reloc: &'a CoreReloc,
    local: &'a Btf,
    target: &'a Btf,
}

impl Matcher<'_> {
    fn find(&self, root: TypeId, candidate: TypeId) -> Result<FieldPath, CoreError> {
        let mut here = FieldPath::root(root);
        let first = self.reloc.path.first().copied().unwrap_or(0);
        let mut there = match first {
            0 => FieldPath::root(candidate),
            // The path is only an index on the root, or goes on from there: both are multiples of its size.
            n => self.target.follow(candidate, &[n]).ok_or_else(|| self.no_member(""))?,
        };
        let mut member = String::new();
        // Set while the local path is within an anonymous member that the target need not have.
        let mut anonymous = false;
        for &index in self.reloc.path.iter().skip(1) {
            let (name, next) = self.step(&here, index)?;
            here = next;
            anonymous = name.as_deref() == Some("");
            match name {
                Some(name) if name.is_empty() => continue,
                Some(name) => {
                    let separator = if member.is_empty() { "" } else { "." };
                    member.push_str(&format!("{separator}{name}"));
                    there = self
                        .target
                        .member_of(&there, essential(&name))
                        .ok_or_else(|| self.no_member(&member))?;
                }
                None => {
                    member.push_str(&format!("[{index}]"));
                    there = self.target.element_of(&there, index).ok_or_else(|| self.no_member(&member))?;
                }
            }
            if !compatible(self.local, here.ty, self.target, there.ty) {
                return Err(CoreError::Changed {
                    root: self.reloc.root_name.clone(),
                    member,
                    expected: self.local.c_name(here.ty),
                    found: self.target.c_name(there.ty),
                });
            }
        }
        if anonymous { Err(self.no_member(&format!("{member}.(anonymous)"))) } else { Ok(there) }
    }

    /// One index further on the local side: the member's name, or `None` for an array's element.
    fn step(&self, here: &FieldPath, index: u32) -> Result<(Option<String>, FieldPath), CoreError> {
        let nowhere = || CoreError::Invalid {
            root: self.reloc.root_name.clone(),
            path: self.reloc.path.clone(),
            what: format!("index {index} leads nowhere"),
        };
        if let Some(next) = self.local.element_of(here, index) {
            return Ok((None, next));
        }
        let name = match self.local.get_resolved(here.ty) {
            Some(Type::Composite { members, .. }) => members.get(index as usize).map(|m| m.name.to_owned()),
            _ => None,
        };
        let next = self.local.follow(here.ty, &[0, index]).ok_or_else(nowhere)?;
        Ok((Some(name.ok_or_else(nowhere)?), FieldPath { root: here.root, ..next }))
    }

    fn no_member(&self, member: &str) -> CoreError {
        CoreError::NoMember { root: self.reloc.root_name.clone(), member: member.to_owned() }
    }
}

/// Whether a field of one type can stand for one of the other: the same kind of thing, whatever its size.
fn compatible(local: &Btf, a: TypeId, target: &Btf, b: TypeId) -> bool {
    let (mut a, mut b) = (a, b);
    for _ in 0..16 {
        return match (local.get_resolved(a), target.get_resolved(b)) {
            (Some(Type::Array { elem: x, .. }), Some(Type::Array { elem: y, .. })) => {
                (a, b) = (x, y);
                continue;
            }
            (Some(Type::Int { .. } | Type::Enum { .. }), Some(Type::Int { .. } | Type::Enum { .. })) => true,
            (Some(Type::Float { size: x, .. }), Some(Type::Float { size: y, .. })) => x == y,
            (Some(x), Some(y)) => std::mem::discriminant(&x) == std::mem::discriminant(&y),
            _ => false,
        };
    }
    false
}

#[cfg(test)]
mod tests;
