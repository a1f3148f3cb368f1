//! Tail calls: a map and an index enter, the program to go on with leaves.

use skep_bpf::kinds::MapType;

use crate::vm::fault::FaultKind;
use crate::vm::program::ProgId;
use crate::vm::state::{State, TAIL_CALLS};

/// r0 where a tail call was not made (the kernel leaves it undefined): -ENOENT.
pub(crate) const FAILED: u64 = -2i64 as u64;

/// The program of a tail call; `None` where there is none at the index, or there have been too many: the program goes on.
pub(crate) fn tail_call(state: &mut State, map: u64, index: u64) -> Result<Option<ProgId>, FaultKind> {
    let id = state.maps.by_handle(&state.memory, map);
    let programs = id.and_then(|id| state.maps.get(id)).filter(|m| m.spec().map_type == MapType::ProgArray);
    let programs = programs.ok_or_else(|| FaultKind::Argument {
        name: "bpf_tail_call()",
        index: 2,
        what: format!("is {map:#x}, not a map of programs"),
    })?;
    if let Some(held) = state.run.held.first() {
        return Err(held.kept(true));
    }
    if state.run.tail_calls >= TAIL_CALLS {
        return Ok(None);
    }
    // The kernel looks at the lower half of the index alone.
    let found = programs.program(index as u32);
    if found.is_some() {
        state.run.tail_calls += 1;
    }
    Ok(found)
}
