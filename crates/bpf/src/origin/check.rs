//! Whether a machine is what an object takes it for: an [`Object`] with an [`Origin`] and a target enter; the object leaves
//! with its places in binaries moved to where they are now, or everything that does not hold, each with the mend.

use super::{Assumption, Origin, Place};
use crate::btf::{Btf, NameKind, Type, TypeId};
use crate::needs::needs;
use crate::object::{Attach, BtfTarget, Object};
use crate::target::{Note, Target, TargetError, TargetExt};
use crate::tracepoint::TracepointFormat;

/// Checks `object` against `target` and adapts it. Errors say what does not hold.
pub fn adapt(object: &Object, target: &dyn Target) -> Result<Object, Vec<String>> {
    let mut object = object.clone();
    let Some(origin) = object.origin.clone() else { return Ok(object) };
    let mut wrong = missing(&object, target);
    match target.arch() {
        Ok(arch) if arch != origin.arch => {
            wrong.push(format!("the object was compiled for {:?}; this is {arch:?}", origin.arch));
        }
        _ => {}
    }
    let mut moves = Vec::new();
    for assumption in &origin.assumptions {
        match hold(assumption, &origin, target) {
            Ok(moved) => moves.extend(moved),
            Err(what) => wrong.push(what),
        }
    }
    let points = object.programs.iter_mut().flat_map(|p| &mut p.attach);
    points.for_each(|point| relocate(&mut point.at, &moves));
    if wrong.is_empty() { Ok(object) } else { Err(wrong) }
}

/// What the object needs and the target lacks.
fn missing(object: &Object, target: &dyn Target) -> Vec<String> {
    let Ok(version) = target.kernel_version() else { return Vec::new() };
    let lacks = |need: &crate::needs::Need| match need.feature {
        Some(feature) => !target.has(feature).unwrap_or(version >= need.since),
        None => version < need.since,
    };
    let text = |need: crate::needs::Need| {
        let (what, by, since) = (need.what, need.by, need.since);
        if version < since {
            format!("{what} needs Linux {since} or later; this is {version} (used by {by})")
        } else {
            format!("{what} is not available on this kernel (used by {by})")
        }
    };
    needs(object).into_iter().filter(lacks).map(text).collect()
}

/// A place in a binary that was `then` and is `now`, with its semaphore.
struct Move {
    path: String,
    then: u64,
    now: u64,
    semaphore: u64,
}

/// Holds one assumption against the target; for a place in a binary, where it is now.
fn hold(assumption: &Assumption, origin: &Origin, target: &dyn Target) -> Result<Option<Move>, String> {
    if let Assumption::Function { path, offset, .. } | Assumption::Note { path, offset, .. } = assumption {
        let (now, semaphore) = find_again(assumption, target)?;
        return Ok(Some(Move { path: path.clone(), then: *offset, now, semaphore }));
    }
    fixed(assumption, origin, target).map(|()| None)
}

/// Holds an assumption about what cannot be moved.
fn fixed(assumption: &Assumption, origin: &Origin, target: &dyn Target) -> Result<(), String> {
    let failed = |e: TargetError| e.to_string();
    let same = |what: &str, then: u64, now: Result<u64, TargetError>| match now {
        Ok(now) if now == then => Ok(()),
        Ok(now) => Err(format!("{what} is {now} here and was {then} where the object was compiled{AGAIN}")),
        Err(e) => Err(e.to_string()),
    };
    match assumption {
        Assumption::Tracepoint { category, name, fields } => {
            let text = target.tracepoint_format(category, name).map_err(failed)?;
            let format = TracepointFormat::parse(&text).map_err(|e| e.to_string())?;
            let moved = fields.iter().find(|f| {
                let now = format.field(&f.name);
                now.is_none_or(|now| (now.offset, now.size) != (f.offset, f.size))
            });
            match moved {
                None => Ok(()),
                Some(field) => Err(format!(
                    "the field `{}` of tracepoint:{category}:{name} lies elsewhere than on {}{AGAIN}, or use \
                     rawtracepoint:{name}",
                    field.name, origin.kernel
                )),
            }
        }
        Assumption::Signature { target: place, params } => {
            let now = parameters(place, target).map_err(failed)?.unwrap_or_default();
            match params.iter().zip(&now).position(|(then, now)| then != now) {
                None => Ok(()),
                Some(index) => Err(format!(
                    "argument {index} of {} is `{}` here and was `{}` on {}{AGAIN}",
                    place_name(place),
                    now[index],
                    params[index],
                    origin.kernel
                )),
            }
        }
        Assumption::Symbol { name, address } => {
            same(&format!("the address of `{name}`"), *address, target.kernel_symbol(name))
        }
        Assumption::Cgroup { path, id } => {
            same(&format!("the id of cgroup {path}"), *id, target.cgroup_id(path))
        }
        Assumption::User { name, id } => same(&format!("the id of user {name}"), *id, target.user_id(name)),
        Assumption::Cpus(then) => match target.possible_cpus().map_err(failed)? {
            now if now <= *then => Ok(()),
            now => Err(format!("the object was compiled for {then} CPUs; there may be {now} here{AGAIN}")),
        },
        Assumption::Layout { name, size, fields } => {
            let types = target.vmlinux().map_err(failed)?;
            let all = types.find_all(NameKind::Struct, name);
            match all.into_iter().any(|id| types.size_of(id) == Some(*size) && has_fields(&types, id, fields))
            {
                true => Ok(()),
                false => Err(format!(
                    "struct {name}, which is kept as a whole, is laid out differently here{AGAIN}"
                )),
            }
        }
        Assumption::Function { .. } | Assumption::Note { .. } => Ok(()),
    }
}

/// The mend that most of them share.
const AGAIN: &str = ": emit the object again on this machine";

fn place_name(place: &BtfTarget) -> String {
    match place {
        BtfTarget::RawTracepoint(name) => format!("rawtracepoint:{name}"),
        BtfTarget::Function { name, module: Some(module) } => format!("{module}:{name}"),
        BtfTarget::Function { name, module: None } => name.clone(),
        BtfTarget::Iter(name) => format!("iter:{name}"),
        BtfTarget::Program { id, function } => format!("bpf:{id}:{function}"),
    }
}

/// C types of the arguments that a program attached there gets. `None` where the target's own types do not say.
pub(super) fn parameters(place: &BtfTarget, target: &dyn Target) -> Result<Option<Vec<String>>, TargetError> {
    let (kind, name, module, skip) = match place {
        // The first parameter is the data that the tracepoint was registered with.
        BtfTarget::RawTracepoint(name) => (NameKind::Typedef, format!("btf_trace_{name}"), None, 1),
        BtfTarget::Function { name, module } => (NameKind::Func, name.clone(), module.as_deref(), 0),
        BtfTarget::Iter(name) => (NameKind::Func, format!("bpf_iter_{name}"), None, 0),
        BtfTarget::Program { .. } => return Ok(None),
    };
    let types = match module {
        Some(module) => target.module_btf(module)?,
        None => target.vmlinux()?,
    };
    let params = types.find(kind, &name).and_then(|id| types.signature(id)).map(|(_, params)| params);
    Ok(params.map(|params| params.into_iter().skip(skip).map(|(_, ty)| types.c_name(ty)).collect()))
}

/// What a place in a binary is known by.
pub(super) fn binary_place(path: &str, offset: u64, ref_ctr: u64, target: &dyn Target) -> Option<Assumption> {
    let notes = target.binary_notes(path).ok();
    let note = notes.iter().flat_map(|n| n.iter()).find(|n| n.offset == offset && n.semaphore == ref_ctr);
    if let Some(note) = note {
        let named = |n: &&Note| (&n.provider, &n.name) == (&note.provider, &note.name);
        let before = notes.iter().flat_map(|n| n.iter()).filter(named).position(|n| n == note)?;
        return Some(Assumption::Note {
            path: path.to_owned(),
            provider: note.provider.clone(),
            name: note.name.clone(),
            index: u32::try_from(before).ok()?,
            offset,
            semaphore: note.semaphore,
            args: note.args.clone(),
        });
    }
    let symbols = target.binary_symbols(path).ok()?;
    let within = |s: &&crate::target::Symbol| {
        s.offset == offset || (s.offset..s.offset.saturating_add(s.size)).contains(&offset)
    };
    let symbol = symbols.iter().filter(within).max_by_key(|s| (s.offset, std::cmp::Reverse(&s.name)))?;
    let delta = offset - symbol.offset;
    Some(Assumption::Function { path: path.to_owned(), name: symbol.name.clone(), delta, offset })
}

/// Where the place of [`Assumption::Function`] or [`Assumption::Note`] is now: offsets of it and of its semaphore.
fn find_again(assumption: &Assumption, target: &dyn Target) -> Result<(u64, u64), String> {
    match assumption {
        Assumption::Function { path, name, delta, .. } => {
            let symbols = target.binary_symbols(path).map_err(|e| e.to_string())?;
            let mut all = symbols.iter().filter(|s| s.name == *name);
            let symbol = all.next().ok_or_else(|| format!("{path} has no function `{name}` here"))?;
            if all.any(|other| other.offset != symbol.offset) {
                return Err(format!("{path} has several functions `{name}` here"));
            }
            if *delta >= symbol.size.max(1) {
                return Err(format!("function `{name}` of {path} is shorter than {delta} bytes here"));
            }
            Ok((symbol.offset + delta, 0))
        }
        Assumption::Note { path, provider, name, index, args, .. } => {
            let notes = target.binary_notes(path).map_err(|e| e.to_string())?;
            let mut all = notes.iter().filter(|n| (&n.provider, &n.name) == (provider, name));
            let missing = || format!("{path} has no such place of USDT probe {provider}:{name} here");
            let note = all.nth(*index as usize).ok_or_else(missing)?;
            if note.args != *args {
                return Err(format!(
                    "the arguments of USDT probe {provider}:{name} differ in {path} here{AGAIN}"
                ));
            }
            Ok((note.offset, note.semaphore))
        }
        _ => Ok((0, 0)),
    }
}

/// Moves the places of an attach point, all at once.
fn relocate(at: &mut Attach, moves: &[Move]) {
    let find = |path: &str, offset: u64| moves.iter().find(|m| m.path == path && m.then == offset);
    match at {
        Attach::Uprobe { path, offset, ref_ctr, .. } => {
            if let Some(found) = find(path, *offset) {
                *offset = found.now;
                *ref_ctr = if *ref_ctr == 0 { 0 } else { found.semaphore };
            }
        }
        Attach::UprobeMulti { path, offsets, ref_ctrs, .. } => {
            for (index, offset) in offsets.iter_mut().enumerate() {
                let Some(found) = find(path, *offset) else { continue };
                *offset = found.now;
                if let Some(counter) = ref_ctrs.get_mut(index).filter(|c| **c != 0) {
                    *counter = found.semaphore;
                }
            }
        }
        _ => {}
    }
}

/// Whether the struct has these fields at these places.
fn has_fields(types: &Btf, id: TypeId, fields: &[Place]) -> bool {
    fields.iter().all(|field| {
        let found = types.find_member(id, &field.name);
        found.is_some_and(|f| f.byte_offset() == u64::from(field.offset))
    })
}

/// The tag of a struct of the kernel that looks so; a record of a script's own has none.
pub(super) fn name_of_layout(types: &Btf, size: u32, fields: &[Place]) -> Option<String> {
    let mut candidates = types.types(NameKind::Struct).filter(|(_, name)| !name.is_empty());
    let fits = |id: TypeId| {
        types.size_of(id) == Some(size)
            && !fields.is_empty()
            && matches!(types.get(id), Some(Type::Composite { members, .. }) if members.len() >= fields.len())
            && has_fields(types, id, fields)
    };
    candidates.find(|(id, _)| fits(*id)).map(|(_, name)| name.to_owned())
}
