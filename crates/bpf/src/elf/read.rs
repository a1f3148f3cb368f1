//! A file that skep wrote, back as an object: the code and the types are the standard sections', the rest that of `.skep`.
//! The two must agree on which programs and maps there are.

use std::collections::HashMap;

use super::tables::Extra;
use super::{ElfError, Module};
use crate::btf::Btf;
use crate::event::{Action, EventLayout};
use crate::object::{Counter, Object, Program, Reloc, RelocKind};

/// Reads an object from the bytes of a file.
pub fn read(bytes: &[u8]) -> Result<Object, ElfError> {
    let module = Module::parse(bytes)?;
    let Some((_, skep)) = module.skep.split_last() else {
        return Err(ElfError::unsupported(
            "the file was not written by skep: it has no section .skep, which says what to attach and print",
        ));
    };
    let extra = Extra::from_bytes(skep).map_err(ElfError::Skep)?;
    check(&extra)?;
    object(&module, extra)
}

fn object(module: &Module, extra: Extra) -> Result<Object, ElfError> {
    let by_symbol: HashMap<&str, usize> =
        extra.maps.iter().enumerate().map(|(index, map)| (map.symbol.as_str(), index)).collect();
    let place: Vec<Option<usize>> =
        module.maps.iter().map(|map| by_symbol.get(map.symbol.as_str()).copied()).collect();
    let code: HashMap<&str, usize> =
        module.programs.iter().enumerate().map(|(index, code)| (code.function.as_str(), index)).collect();
    let mut programs = Vec::with_capacity(extra.programs.len());
    for program in extra.programs {
        let code = code.get(program.function.as_str()).and_then(|i| module.programs.get(*i));
        let missing = || ElfError::damaged(format!("function `{}` is missing", program.function));
        let code = code.ok_or_else(missing)?;
        programs.push(Program {
            name: program.name,
            symbol: program.symbol,
            prog_type: program.prog_type,
            attach_type: program.attach_type,
            attach_btf: program.attach_btf,
            attach: program.attach,
            sleepable: program.sleepable,
            insns: code.insns.clone(),
            relocs: code.relocs.iter().map(|r| moved(r, &place)).collect::<Result<_, _>>()?,
            funcs: code.funcs.clone(),
            lines: code.lines.clone(),
        });
    }
    let btf = match extra.btf_types {
        u32::MAX => Vec::new(),
        types => {
            let all = Btf::parse(module.btf.clone(), None).map_err(|e| ElfError::damaged(e.to_string()))?;
            let own = all.prefix(types, extra.btf_strings);
            own.ok_or_else(|| ElfError::damaged(".BTF has fewer types than .skep says"))?
        }
    };
    Ok(Object {
        license: module.license.clone(),
        programs,
        maps: extra.maps.into_iter().map(|map| map.spec).collect(),
        btf,
        events: extra.events,
        session: extra.session,
        notes: extra.notes,
        origin: extra.origin,
    })
}

/// The relocation with its map by the object's index.
fn moved(reloc: &Reloc, place: &[Option<usize>]) -> Result<Reloc, ElfError> {
    let index = |map: &usize| {
        let found = place.get(*map).copied().flatten();
        found.ok_or_else(|| ElfError::damaged("a map that .skep does not have"))
    };
    let kind = match &reloc.kind {
        RelocKind::Map(map) => RelocKind::Map(index(map)?),
        RelocKind::MapValue(map) => RelocKind::MapValue(index(map)?),
        other => other.clone(),
    };
    Ok(Reloc { insn: reloc.insn, kind })
}

/// Checks that whatever names a map names one that is there.
fn check(extra: &Extra) -> Result<(), ElfError> {
    if extra.origin.is_none() {
        return Err(ElfError::damaged(".skep does not say what the object was compiled for"));
    }
    let session = &extra.session;
    let counted = session.counters.iter().filter_map(|counter| match counter {
        Counter::MapFull(map) | Counter::StackLost(map) | Counter::MapRefused(map) => Some(*map),
        _ => None,
    });
    let packets = session.packets.map(|buffer| buffer.map);
    let wells = [session.events, session.counter_map, session.control_map, session.start_map, packets];
    let printed = extra.events.iter().filter_map(map_of);
    let mut named = wells.into_iter().flatten().chain(counted).chain(printed);
    match named.find(|map| *map >= extra.maps.len()) {
        Some(map) => Err(ElfError::damaged(format!(".skep names map {map} of {}", extra.maps.len()))),
        None => Ok(()),
    }
}

fn map_of(event: &EventLayout) -> Option<usize> {
    match &event.action {
        Action::PrintMapEntry { map, .. }
        | Action::PrintMap { map, .. }
        | Action::Clear { map, .. }
        | Action::Zero { map, .. } => Some(*map),
        _ => None,
    }
}
