//! What a program leaves open is filled in: maps by their descriptors, symbols of the kernel by ids and addresses, fields
//! by CO-RE. The program enters, instructions for this kernel leave.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use skep_bpf::btf::{Btf, NameKind};
use skep_bpf::core::link::{Missed, POISON, relocate};
use skep_bpf::insn::{Insn, pseudo};
use skep_bpf::object::{Ksym, KsymKind, Program, RelocKind};

use super::Loader;
use crate::error::Error;

/// A program with its relocations applied.
pub(super) struct Linked {
    pub(super) insns: Vec<[u8; 8]>,
    /// Module BTF descriptors that kfunc calls name; slot 0 stays empty.
    pub(super) fds: Vec<OwnedFd>,
    /// Fields that this kernel lacks; their instructions are poisoned.
    pub(super) missed: Vec<Missed>,
}

impl Loader<'_> {
    pub(super) fn link(&self, program: &Program) -> Result<Linked, Error> {
        let mut insns = program.insns.clone();
        let mut fds = Vec::new();
        let bad = |insn: u32| Error::Damaged {
            what: format!("program of {}", program.name),
            why: format!("relocation at instruction {insn} of {}", program.insns.len()),
        };
        for reloc in &program.relocs {
            let at = reloc.insn as usize;
            let insn = insns.get_mut(at).ok_or_else(|| bad(reloc.insn))?;
            match &reloc.kind {
                RelocKind::Map(map) | RelocKind::MapValue(map) => {
                    let map = self.maps.get(*map).ok_or_else(|| bad(reloc.insn))?;
                    insn.imm = map.as_fd().as_raw_fd();
                }
                RelocKind::KernelSymbol(name) => {
                    let types = self.target.vmlinux_types()?;
                    insn.imm = type_id(&types, NameKind::Var, name)?;
                }
                RelocKind::Kfunc(name) => {
                    let (id, module) = self.kfunc(name)?;
                    insn.imm = id;
                    if let Some(fd) = module {
                        fds.push(fd);
                        insn.off = i16::try_from(fds.len()).map_err(|_| bad(reloc.insn))?;
                    }
                }
                RelocKind::Ksym(symbol) => {
                    let rest = insns.get_mut(at..).unwrap_or(&mut []);
                    self.symbol(symbol, rest, &mut fds)?.ok_or_else(|| bad(reloc.insn))?;
                }
                RelocKind::Core(_) => {}
            }
        }
        let missed = match &self.types {
            Some(own) => match &self.running_on {
                Some(types) => relocate(program, &mut insns, own, types),
                None => relocate(program, &mut insns, own, &*self.target.vmlinux_types()?),
            },
            None => Vec::new(),
        };
        Ok(Linked { insns: insns.into_iter().map(|i| i.to_bytes()).collect(), fds, missed })
    }

    /// BTF id of a kernel function, and the module that has it.
    fn kfunc(&self, name: &str) -> Result<(i32, Option<OwnedFd>), Error> {
        if let Ok(id) = type_id(&*self.target.vmlinux_types()?, NameKind::Func, name) {
            return Ok((id, None));
        }
        for module in crate::btf::modules() {
            let Ok(types) = self.target.module_types(&module) else { continue };
            if let Ok(id) = type_id(&types, NameKind::Func, name) {
                return Ok((id, Some(crate::btf::module_fd(&module)?)));
            }
        }
        Err(Error::Missing(format!("kernel function {name}")))
    }

    /// Fills in a symbol that may be missing. `None` when the instruction is not one that takes it.
    fn symbol(&self, symbol: &Ksym, insns: &mut [Insn], fds: &mut Vec<OwnedFd>) -> Result<Option<()>, Error> {
        let missing = |error: &Error| matches!(error, Error::Missing(_)) && symbol.weak;
        match symbol.kind {
            KsymKind::Call => {
                let [insn, ..] = insns else { return Ok(None) };
                match self.kfunc(&symbol.name) {
                    Ok((id, module)) => {
                        insn.imm = id;
                        if let Some(fd) = module {
                            fds.push(fd);
                            let Ok(slot) = i16::try_from(fds.len()) else { return Ok(None) };
                            insn.off = slot;
                        }
                    }
                    Err(error) if missing(&error) => *insn = Insn::call_helper(POISON as u32),
                    Err(error) => return Err(error),
                }
            }
            KsymKind::Typed => {
                let [first, second, ..] = insns else { return Ok(None) };
                let types = self.target.vmlinux_types()?;
                let variable = type_id(&types, NameKind::Var, &symbol.name);
                match variable.or_else(|_| type_id(&types, NameKind::Func, &symbol.name)) {
                    Ok(id) => (first.src, first.imm, second.imm) = (pseudo::BTF_ID, id, 0),
                    Err(error) if missing(&error) => (first.src, first.imm, second.imm) = (0, 0, 0),
                    Err(error) => return Err(error),
                }
            }
            KsymKind::Address => {
                let [first, second, ..] = insns else { return Ok(None) };
                let address = match self.target.kallsyms()?.address(&symbol.name)? {
                    Some(address) => address,
                    None if symbol.weak => 0,
                    None => return Err(Error::Missing(format!("kernel symbol {}", symbol.name))),
                };
                (first.src, first.imm, second.imm) = (0, address as i32, (address >> 32) as i32);
            }
        }
        Ok(Some(()))
    }
}

fn type_id(types: &Btf, kind: NameKind, name: &str) -> Result<i32, Error> {
    let id = types.find(kind, name).ok_or_else(|| Error::Missing(format!("{name} in the kernel's types")))?;
    i32::try_from(id.0)
        .map_err(|_| Error::Damaged { what: "the kernel's types".into(), why: "id too large".into() })
}
