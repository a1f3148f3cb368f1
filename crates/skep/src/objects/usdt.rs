//! USDT probes of object files: what a section `usdt/PATH:PROVIDER:NAME` names enters; the places to attach to leave, and the descriptions
//! of their arguments that libbpf's `usdt.bpf.h` reads from a map. Always: a place's cookie is the number of its description.

use skep_bpf::object::{Attach, AttachPoint};
use skep_bpf::target::{Feature, TargetExt};
use skep_kernel::LiveTarget;
use skep_kernel::load::Loaded;
use skep_lang::hir::{Operand, OperandPlace};
use skep_lang::resolve::operands;

use crate::error::Error;

/// The map of descriptions.
const MAP: &str = "__bpf_usdt_specs";
/// Most arguments of a probe (`BPF_USDT_MAX_ARG_CNT`).
const MOST_ARGUMENTS: usize = 12;
/// Bytes of an argument (`struct __bpf_usdt_arg_spec`).
const ARGUMENT: usize = 16;
/// Bytes of a description (`struct __bpf_usdt_spec`): arguments, a cookie of the user's, their number.
const SPEC: usize = MOST_ARGUMENTS * ARGUMENT + 16;

/// `enum __bpf_usdt_arg_type`. Programs made with a header older than libbpf 1.7 refuse the last one themselves.
mod kind {
    pub(super) const CONST: u32 = 0;
    pub(super) const REG: u32 = 1;
    pub(super) const REG_DEREF: u32 = 2;
    pub(super) const SIB: u32 = 3;
}

/// Descriptions of arguments, each once.
#[derive(Debug, Default)]
pub(super) struct Specs {
    texts: Vec<String>,
    specs: Vec<[u8; SPEC]>,
}

impl Specs {
    /// The places of the probe that `rest` of a section's name means.
    pub(super) fn places(
        &mut self,
        rest: &str,
        program: &str,
        target: &LiveTarget,
    ) -> Result<Vec<AttachPoint>, String> {
        let mut parts = rest.rsplitn(3, ':');
        let (Some(name), Some(provider), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("its section names no probe: expected `usdt/PATH:PROVIDER:NAME`".to_owned());
        };
        if !target.supports(Feature::AttachCookie) {
            return Err(
                "the places of a USDT probe are told apart by cookies, which kernels have from 5.15 on"
                    .to_owned(),
            );
        }
        let path = match path.contains('/') {
            true => path.to_owned(),
            false => skep_kernel::elf::find_binary(path).map_err(|e| e.to_string())?,
        };
        let notes = target.binary_notes(&path).map_err(|e| e.to_string())?;
        let found = notes.iter().filter(|note| note.provider == provider && note.name == name);
        let mut points: Vec<AttachPoint> = Vec::new();
        for note in found {
            let cookie = self.number(&note.args, target)?;
            let (offset, ref_ctr) = (note.offset, note.semaphore);
            let at = Attach::Uprobe { path: path.clone(), offset, ref_ctr, ret: false, pid: None };
            let probes = Some(u32::from(points.is_empty()));
            points.push(AttachPoint { at, cookie, name: program.to_owned(), probes });
        }
        match points.is_empty() {
            true => Err(format!("{path} has no USDT probe `{provider}:{name}`")),
            false => Ok(points),
        }
    }

    /// The number of the description of these arguments.
    fn number(&mut self, args: &str, target: &LiveTarget) -> Result<u64, String> {
        if let Some(known) = self.texts.iter().position(|text| text == args) {
            return Ok(known as u64);
        }
        let arch = target.arch().map_err(|e| e.to_string())?;
        let arguments = operands(args, arch);
        if arguments.len() > MOST_ARGUMENTS {
            let count = arguments.len();
            return Err(format!("the probe has {count} arguments; usdt.bpf.h knows {MOST_ARGUMENTS}"));
        }
        let mut spec = [0; SPEC];
        for (place, argument) in spec.chunks_exact_mut(ARGUMENT).zip(&arguments) {
            let argument = argument
                .as_ref()
                .map_err(|text| format!("`{text}` is no argument that a program could read"))?;
            let bytes = encode(argument);
            place.copy_from_slice(&bytes.ok_or("an argument lies where usdt.bpf.h has no words for")?);
        }
        spec[SPEC - 8..SPEC - 6].copy_from_slice(&(arguments.len() as i16).to_ne_bytes());
        self.texts.push(args.to_owned());
        self.specs.push(spec);
        Ok(self.specs.len() as u64 - 1)
    }

    /// Puts the descriptions into the object's map. Programs that ask for no arguments have none.
    pub(super) fn write(&self, loaded: &Loaded) -> Result<(), Error> {
        let Some(map) = loaded.maps().iter().find(|map| map.name() == MAP) else { return Ok(()) };
        let most = map.max_entries() as usize;
        if self.specs.len() > most || map.value_size() < SPEC {
            let why = format!(
                "{MAP} holds {most} descriptions of {} bytes; expected room for {} of {SPEC} (BPF_USDT_MAX_SPEC_CNT)",
                map.value_size(),
                self.specs.len()
            );
            return Err(Error::Stopped(why));
        }
        for (number, spec) in (0u32..).zip(&self.specs) {
            let mut value = spec.to_vec();
            value.resize(map.value_size(), 0);
            map.update(&number.to_ne_bytes(), &value).map_err(Error::Environment)?;
        }
        Ok(())
    }
}

/// An argument as the header reads it: u64 value or offset, u32 kind (of the last one with the index register from bit 8 and
/// the scale from bit 20 on), i16 register, bool signed, u8 unused bits. `None`: it has no such form.
fn encode(operand: &Operand) -> Option<[u8; ARGUMENT]> {
    let (value, kind, register) = match operand.place {
        OperandPlace::Constant(value) => (value, kind::CONST, 0),
        OperandPlace::Register { offset, shift: 0 } => (0, kind::REG, offset),
        OperandPlace::Memory { displacement, base: Some(base), index: None } => {
            (displacement, kind::REG_DEREF, base)
        }
        OperandPlace::Memory { displacement, base: Some(base), index: Some((index, scale)) } => {
            (displacement, kind::SIB | index << 8 | scale.trailing_zeros() << 20, base)
        }
        _ => return None,
    };
    let mut bytes = [0; ARGUMENT];
    bytes[..8].copy_from_slice(&value.to_ne_bytes());
    bytes[8..12].copy_from_slice(&kind.to_ne_bytes());
    bytes[12..14].copy_from_slice(&i16::try_from(register).ok()?.to_ne_bytes());
    bytes[14] = operand.signed.into();
    bytes[15] = 64 - 8 * operand.size;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_as_the_header_reads_them() {
        let of = |place, size, signed| encode(&Operand { size, signed, place });
        let word = |value: i64, kind: u32, register: i16, signed: u8, unused: u8| {
            let head = [&value.to_ne_bytes()[..], &kind.to_ne_bytes(), &register.to_ne_bytes()].concat();
            [head, vec![signed, unused]].concat().try_into().ok()
        };
        assert_eq!(of(OperandPlace::Constant(-5), 4, true), word(-5, 0, 0, 1, 32));
        assert_eq!(of(OperandPlace::Register { offset: 80, shift: 0 }, 8, false), word(0, 1, 80, 0, 0));
        assert_eq!(of(OperandPlace::Register { offset: 80, shift: 8 }, 1, false), None);
        let memory = |base, index| OperandPlace::Memory { displacement: -20, base, index };
        assert_eq!(of(memory(Some(32), None), 2, false), word(-20, 2, 32, 0, 48));
        assert_eq!(of(memory(Some(32), Some((80, 8))), 8, true), word(-20, 3 | 80 << 8 | 3 << 20, 32, 1, 0));
        assert_eq!(of(memory(None, None), 8, true), None);
    }
}
