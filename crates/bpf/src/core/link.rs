//! The CO-RE relocations of one program, all at once: the program, its own types and the target's enter; instructions for
//! that kernel leave, with a list of those that could not be made.
//!
//! An instruction whose field the target lacks becomes a call of a helper that does not exist, as libbpf does it
//! (tools/lib/bpf/relo_core.c, Linux 6.18): code that the verifier finds unreachable, because the program asked whether the
//! field exists, does no harm, and other code is refused at that instruction.

use super::{CoreError, access, apply, resolve_field};
use crate::btf::{Btf, FieldPath, Type, TypeId};
use crate::insn::{Insn, class, mode, size};
use crate::object::{CoreKind, CoreReloc, Program, RelocKind};

/// Number of the helper that a poisoned instruction calls.
pub const POISON: i32 = 0x0bad_2310;

/// A relocation that has no value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Missed {
    /// Index of the instruction.
    pub insn: u32,
    /// Why.
    pub error: CoreError,
}

/// Applies the relocations of `program`, whose types are `local`, to `insns`, its instructions, for the kernel whose types
/// are `target`.
pub fn relocate(program: &Program, insns: &mut [Insn], local: &Btf, target: &Btf) -> Vec<Missed> {
    let mut missed = Vec::new();
    for reloc in &program.relocs {
        let RelocKind::Core(core) = &reloc.kind else { continue };
        if let Err(error) = one(core, insns, reloc.insn as usize, local, target) {
            poison(insns, reloc.insn as usize);
            missed.push(Missed { insn: reloc.insn, error });
        }
    }
    missed
}

fn one(reloc: &CoreReloc, insns: &mut [Insn], at: usize, local: &Btf, target: &Btf) -> Result<(), CoreError> {
    let (value, there) = resolve_field(reloc, local, target)?;
    apply(insns, at, value)?;
    let here = local.follow(TypeId(reloc.root), &reloc.path);
    match (reloc.kind, here, there, insns.get_mut(at)) {
        (CoreKind::FieldByteOffset, Some(here), Some(there), Some(insn)) => {
            resize(insn, (local, &here), (target, &there)).ok_or_else(|| CoreError::Changed {
                root: reloc.root_name.clone(),
                member: member_name(local, reloc),
                expected: sized(local, &here),
                found: sized(target, &there),
            })
        }
        _ => Ok(()),
    }
}

/// Adapts an access to a number or pointer that has another size on the target. `None` when that is not possible: the
/// code behind the instruction would read what lies behind the field.
fn resize(insn: &mut Insn, here: (&Btf, &FieldPath), there: (&Btf, &FieldPath)) -> Option<()> {
    let (Some(old), Some(new)) = (scalar(here.0, here.1), scalar(there.0, there.1)) else { return Some(()) };
    if old.0 == new.0 {
        return Some(());
    }
    let plain_load = insn.class() == class::LDX && insn.code & 0xe0 == mode::MEM;
    let grows = new.0 > old.0;
    // On a little-endian machine the lower bytes come first: reading fewer of a larger number keeps its low part.
    if grows && cfg!(target_endian = "little") {
        return Some(());
    }
    if !plain_load || old.1 || new.1 {
        return None;
    }
    let bits = [(1, size::B), (2, size::H), (4, size::W), (8, size::DW)];
    let (_, bits) = bits.into_iter().find(|(bytes, _)| *bytes == new.0)?;
    insn.code = insn.code & !0x18 | bits;
    Some(())
}

/// Bytes and sign of a field that is a number or pointer.
fn scalar(btf: &Btf, field: &FieldPath) -> Option<(u32, bool)> {
    let signed = match btf.get_resolved(field.ty)? {
        Type::Int { signed, .. } | Type::Enum { signed, .. } => signed,
        Type::Ptr(_) => false,
        _ => return None,
    };
    Some((access(btf, field)?.byte_size, signed))
}

fn sized(btf: &Btf, field: &FieldPath) -> String {
    let bytes = btf.size_of(field.ty).unwrap_or(0);
    format!("{} ({bytes} bytes)", btf.c_name(field.ty))
}

/// Names of the members along the path, dots between.
fn member_name(btf: &Btf, reloc: &CoreReloc) -> String {
    let mut at = TypeId(reloc.root);
    let mut text = String::new();
    for &index in reloc.path.iter().skip(1) {
        match btf.get_resolved(at) {
            Some(Type::Composite { members, .. }) => {
                let Some(member) = members.get(index as usize) else { break };
                if !text.is_empty() && !member.name.is_empty() {
                    text.push('.');
                }
                text.push_str(member.name);
                at = member.ty;
            }
            Some(Type::Array { elem, .. }) => {
                text.push_str(&format!("[{index}]"));
                at = elem;
            }
            _ => break,
        }
    }
    text
}

fn poison(insns: &mut [Insn], at: usize) {
    let slots = if insns.get(at).is_some_and(|i| i.is_ld_imm64()) { 2 } else { 1 };
    for insn in insns.iter_mut().skip(at).take(slots) {
        *insn = Insn::call_helper(POISON as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::{BtfBuilder, MemberDef};
    use crate::core::relocation;
    use crate::insn::Reg;
    use crate::object::Reloc;

    /// `struct bee { FIRST; TYPE id; }` with a first member of `pad` bytes.
    fn types(pad: u32, bytes: u32, signed: bool) -> Btf {
        let mut b = BtfBuilder::new();
        let byte = b.int("char", 1, true);
        let first = b.array(byte, pad);
        let id = b.int("number", bytes, signed);
        let at = |name, ty, bit_offset| MemberDef { name, ty, bit_offset, bit_size: 0 };
        b.struct_("bee", pad + bytes, &[at("pad", first, 0), at("id", id, pad * 8)]);
        Btf::parse(b.finish(), None).unwrap()
    }

    fn program(local: &Btf) -> Program {
        let root = local.find(crate::btf::NameKind::Struct, "bee").unwrap();
        let at = local.find_member(root, "id").unwrap();
        let core = relocation(local, &at, CoreKind::FieldByteOffset);
        let relocs = [0, 1].map(|insn| Reloc { insn, kind: RelocKind::Core(core.clone()) });
        let insns = vec![
            Insn::load(size::DW, Reg::R1, Reg::R2, at.byte_offset() as i16),
            Insn::alu64_imm(crate::insn::alu::ADD, Reg::R2, at.byte_offset() as i32),
        ];
        Program { insns, relocs: relocs.to_vec(), ..crate::elf::tests::empty_program() }
    }

    #[test]
    fn offsets_and_sizes_follow_the_target() {
        let local = types(8, 8, false);
        let program = program(&local);
        let moved = |target: &Btf| {
            let mut insns = program.insns.clone();
            let missed = relocate(&program, &mut insns, &local, target);
            (insns, missed)
        };
        let (insns, missed) = moved(&types(24, 8, false));
        assert_eq!((insns[0].off, insns[1].imm, missed.len()), (24, 24, 0));
        let (insns, missed) = moved(&types(24, 4, false));
        assert_eq!((insns[0].code & 0x18, insns[0].off), (size::W, 24));
        assert_eq!(missed.iter().map(|m| m.insn).collect::<Vec<_>>(), [1]);
        assert_eq!(insns[1].imm, POISON);
        assert!(missed[0].error.to_string().contains("number (4 bytes)"), "{}", missed[0].error);
        let (_, missed) = moved(&types(24, 4, true));
        assert_eq!(missed.len(), 2);
    }

    #[test]
    fn what_is_missing_is_poisoned() {
        let local = types(8, 8, false);
        let program = program(&local);
        let mut insns = program.insns.clone();
        let target = Btf::parse(BtfBuilder::new().finish(), None).unwrap();
        let missed = relocate(&program, &mut insns, &local, &target);
        assert_eq!(missed[0].error, CoreError::NoType("struct bee".into()));
        assert!(insns.iter().all(|i| i.imm == POISON));
    }
}
