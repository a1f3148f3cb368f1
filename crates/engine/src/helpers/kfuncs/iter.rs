//! Open-coded iterators over numbers (kernel/bpf/bpf_iter.c): `struct bpf_iter_num` is two ints, the current number and the end.

use rustix::io::Errno;

use crate::helpers::{Answer, Call, failed};
use crate::vm::fault::FaultKind;

/// What ends an iterator.
const DESTROY: &str = "iter_num_destroy";
/// Most numbers of one iterator (BPF_MAX_LOOPS).
const MOST: i64 = 8 << 20;

fn put(call: &mut Call<'_>, current: i32, end: i32) -> Result<(), FaultKind> {
    call.put(1, &[current.to_ne_bytes(), end.to_ne_bytes()].concat())
}

pub(super) fn num_new(call: &mut Call<'_>) -> Answer {
    let (start, end) = (call.arg(2) as i32, call.arg(3) as i32);
    put(call, 0, 0)?;
    // Also one that is empty must be destroyed.
    let at = call.arg(1);
    call.gives("iter_num_new", DESTROY, at);
    if start > end {
        return Ok(failed(Errno::INVAL));
    }
    if i64::from(end) - i64::from(start) > MOST {
        return Ok(failed(Errno::TOOBIG));
    }
    put(call, start.wrapping_sub(1), end)?;
    Ok(0)
}

pub(super) fn num_next(call: &mut Call<'_>) -> Answer {
    let bytes = call.fixed(1, 8)?;
    let number = |at: usize| i32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let (next, end) = (number(0).wrapping_add(1), number(4));
    if next >= end {
        put(call, 0, 0)?;
        return Ok(0);
    }
    put(call, next, end)?;
    Ok(call.arg(1))
}

pub(super) fn num_destroy(call: &mut Call<'_>) -> Answer {
    call.takes_back(DESTROY)?;
    put(call, 0, 0)?;
    Ok(0)
}
