//! BPF programs that are loaded already: an id enters, its functions leave, and what a load needs to attach to one.
//! What other programs carry is not trusted: types that cannot be read are as if there were none.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use skep_bpf::btf::{Btf, NameKind, Type, TypeId};

use crate::error::Error;
use crate::sys::{bpf, objects};

/// Most programs that are looked at, functions of one, and bytes of its types.
const MAX_PROGRAMS: usize = 1 << 16;
const MAX_FUNCTIONS: u32 = 256;
const MAX_TYPES: u32 = 16 << 20;

/// Functions of all loaded programs that have types, as "id:name", sorted.
pub(crate) fn functions() -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    let mut id = 0;
    for _ in 0..MAX_PROGRAMS {
        id = match objects::prog_next_id(id) {
            Ok(next) if next > id => next,
            Ok(_) | Err(Errno::NOENT) => break,
            Err(errno) => return Err(Error::os("list BPF programs", errno)),
        };
        // One that has gone meanwhile has no functions.
        let Ok(prog) = objects::prog_by_id(id) else { continue };
        found.extend(of(&prog).into_iter().map(|(name, _)| format!("{id}:{name}")));
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The functions of a program with the ids of their types.
fn of(prog: &OwnedFd) -> Vec<(String, u32)> {
    let Ok((btf, funcs)) = objects::prog_functions(prog.as_fd(), MAX_FUNCTIONS) else { return Vec::new() };
    if btf == 0 || funcs.is_empty() {
        return Vec::new();
    }
    let bytes = bpf::btf_by_id(btf).and_then(|fd| objects::btf_data(fd.as_fd(), MAX_TYPES));
    let Some(types) = bytes.ok().and_then(|bytes| Btf::parse(bytes, None).ok()) else { return Vec::new() };
    let name = |id: u32| match types.get(TypeId(id)) {
        Some(Type::Func { .. }) => types.own_types(NameKind::Func).find(|(i, _)| i.0 == id).map(|(_, n)| n),
        _ => None,
    };
    funcs.iter().filter_map(|f| Some((name(f.type_id)?.to_owned(), f.type_id))).collect()
}

/// The descriptor of program `id` and the id of the type of its `function`.
pub(crate) fn function(id: u32, function: &str) -> Result<(OwnedFd, u32), Error> {
    let missing = || Error::Missing(format!("function {function} of BPF program {id}"));
    let prog = objects::prog_by_id(id).map_err(|errno| match errno {
        Errno::NOENT => Error::Missing(format!("BPF program {id}")),
        errno => Error::os(format!("open BPF program {id}"), errno),
    })?;
    let found = of(&prog).into_iter().find(|(name, _)| name == function).ok_or_else(missing)?;
    Ok((prog, found.1))
}
