//! Symbols that are defined elsewhere: sections `.ksyms` and `.kconfig` of the types say what they are (libbpf's
//! `bpf_object__collect_externs`, Linux 6.18). Symbols enter, relocations and the map of `.kconfig` leave.

use std::collections::HashMap;

use super::{NamedMap, Parts};
use crate::btf::{Btf, NameKind, Type, TypeId};
use crate::elf::file::{File, symbol_kind};
use crate::insn::{Insn, pseudo};
use crate::kinds::{MapType, map_flags};
use crate::object::{KconfigKind, KconfigVar, Ksym, KsymKind, MapSpec, RelocKind};

/// What the types say of a symbol.
#[derive(Clone, Debug)]
pub(super) struct Extern {
    weak: bool,
    kind: ExternKind,
}

#[derive(Clone, Copy, Debug)]
enum ExternKind {
    /// A kernel symbol without a type.
    Address,
    /// A kernel variable.
    Variable,
    /// A kernel function.
    Function,
    /// A value of the kernel's configuration: type, and bytes from the start of the map's value.
    Kconfig { ty: TypeId, offset: u32 },
}

/// The externs of a file by name.
pub(super) fn collect(btf: &Btf, file: &File<'_>) -> HashMap<String, Extern> {
    let weak: HashMap<&str, bool> = file
        .symbols
        .iter()
        .filter(|s| s.section == 0 && !s.name.is_empty())
        .map(|s| (s.name, s.bind == symbol_kind::WEAK))
        .collect();
    // Files of skep's assembler say by their symbols what the types do not: an object is an address, the rest has a type.
    let undefined = file.symbols.iter().filter(|s| s.section == 0 && !s.name.is_empty());
    let said = undefined.filter_map(|s| match (s.kind, s.bind == symbol_kind::WEAK) {
        (symbol_kind::OBJECT, weak) => Some((s.name.to_owned(), Extern { weak, kind: ExternKind::Address })),
        (_, true) => Some((s.name.to_owned(), Extern { weak: true, kind: ExternKind::Variable })),
        _ => None,
    });
    let mut out: HashMap<String, Extern> = said.collect();
    let mut end = 0u32;
    for (section, name) in sections(btf) {
        for (var, _, _) in btf.section_vars(section) {
            let (symbol, kind) = match (name, btf.get(var)) {
                (".ksyms", Some(Type::Func { name, .. })) => (name, ExternKind::Function),
                (".ksyms", Some(Type::Var { name, ty })) => match btf.get_resolved(ty) {
                    Some(Type::Void) | None => (name, ExternKind::Address),
                    _ => (name, ExternKind::Variable),
                },
                (".kconfig", Some(Type::Var { name, ty })) => {
                    let size = btf.size_of(ty).unwrap_or(0);
                    let offset = end.next_multiple_of(btf.align_of(ty).unwrap_or(1).clamp(1, 8));
                    end = offset.saturating_add(size).min(1 << 20);
                    (name, ExternKind::Kconfig { ty, offset })
                }
                _ => continue,
            };
            // A symbol that no instruction uses need not be there.
            let weak = weak.get(symbol).copied().unwrap_or(true);
            out.insert(symbol.to_owned(), Extern { weak, kind });
        }
    }
    out
}

fn sections(btf: &Btf) -> impl Iterator<Item = (TypeId, &str)> {
    (btf.first_id().0..btf.len()).filter_map(|id| match btf.get(TypeId(id))? {
        Type::Datasec { name } => Some((TypeId(id), name)),
        _ => None,
    })
}

/// How a value is read, by its type.
fn kconfig_kind(btf: &Btf, ty: TypeId) -> Option<KconfigKind> {
    Some(match btf.get_resolved(ty)? {
        Type::Int { boolean: true, .. } => KconfigKind::Bool,
        Type::Int { size: 1, .. } => KconfigKind::Char,
        Type::Int { size: 2 | 4 | 8, signed, .. } => KconfigKind::Int { signed },
        Type::Enum { name: "libbpf_tristate", .. } => KconfigKind::Tristate,
        Type::Array { elem, .. } => {
            matches!(btf.get_resolved(elem)?, Type::Int { size: 1, .. }).then_some(KconfigKind::Text)?
        }
        _ => return None,
    })
}

impl Parts<'_> {
    /// The map that `.kconfig` becomes, when the file has such values.
    pub(super) fn kconfig_map(&self) -> Option<NamedMap> {
        let btf = self.btf.as_ref()?;
        let mut vars: Vec<KconfigVar> = self
            .externs
            .iter()
            .filter_map(|(name, found)| match found.kind {
                ExternKind::Kconfig { ty, offset } => Some(KconfigVar {
                    name: name.clone(),
                    offset,
                    size: btf.size_of(ty)?,
                    kind: kconfig_kind(btf, ty)?,
                    weak: found.weak,
                }),
                _ => None,
            })
            .collect();
        vars.sort_by_key(|v| v.offset);
        let size = vars.iter().map(|v| v.offset.saturating_add(v.size)).max()?;
        let mut spec = MapSpec::new(".kconfig", MapType::Array, 4, size, 1);
        spec.flags = map_flags::MMAPABLE | map_flags::RDONLY_PROG;
        spec.initial = vec![0; size as usize];
        spec.frozen = true;
        spec.details.kconfig = vars;
        Some(NamedMap { symbol: ".kconfig".to_owned(), spec })
    }

    /// What a call of a symbol asks for.
    pub(super) fn called(&self, name: String) -> RelocKind {
        match self.externs.get(&name) {
            Some(found) if found.weak => RelocKind::Ksym(Ksym { name, weak: true, kind: KsymKind::Call }),
            _ => RelocKind::Kfunc(name),
        }
    }

    /// What a 64-bit load of a symbol asks for.
    pub(super) fn loaded(&self, name: String, first: &mut Insn, second: &mut Insn) -> super::code::Opened {
        let ksym = |name, weak, kind| RelocKind::Ksym(Ksym { name, weak, kind });
        let kind = match self.externs.get(&name) {
            Some(Extern { kind: ExternKind::Kconfig { offset, .. }, .. }) => match self.kconfig {
                Some(map) => {
                    (first.src, second.imm) = (pseudo::MAP_VALUE, *offset as i32);
                    RelocKind::MapValue(map)
                }
                None => ksym(name, true, KsymKind::Address),
            },
            Some(Extern { kind: ExternKind::Address, weak }) => ksym(name, *weak, KsymKind::Address),
            Some(Extern { kind: ExternKind::Function, weak }) => {
                first.src = pseudo::BTF_ID;
                ksym(name, *weak, KsymKind::Typed)
            }
            Some(Extern { weak: true, .. }) => {
                first.src = pseudo::BTF_ID;
                ksym(name, true, KsymKind::Typed)
            }
            _ => {
                first.src = pseudo::BTF_ID;
                RelocKind::KernelSymbol(name)
            }
        };
        super::code::Opened::Reloc(kind)
    }

    /// The id of the section of that name in the types.
    pub(super) fn datasec(&self, name: &str) -> Option<TypeId> {
        let btf = self.btf.as_ref()?;
        sections(btf).find(|(_, n)| *n == name).map(|(id, _)| id)
    }

    /// The variable of that name.
    pub(super) fn variable(&self, name: &str) -> Option<TypeId> {
        let btf = self.btf.as_ref()?;
        match btf.get(btf.find(NameKind::Var, name)?) {
            Some(Type::Var { ty, .. }) => Some(ty),
            _ => None,
        }
    }
}
