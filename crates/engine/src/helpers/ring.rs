//! Ring buffers (kernel/bpf/ringbuf.c).

use rustix::io::Errno;
use skep_bpf::helpers::id;

use super::dynptr::{Dynptr, Kind};
use super::{Answer, Call, failed, status};
use crate::maps::{Ringbuf, UserRingbuf};
use crate::vm::fault::FaultKind;
use crate::vm::memory::{Access, ObjectKind};

/// Where no flag is known.
pub(super) const NO_FLAGS: u64 = 0;
/// `BPF_RB_NO_WAKEUP` and `BPF_RB_FORCE_WAKEUP`.
const WAKEUPS: u64 = 3;
/// What takes a record back; discarding it does as well.
pub(super) const SUBMIT: &str = "ringbuf_submit";
/// Samples of one drain (BPF_MAX_USER_RINGBUF_SAMPLES).
const MOST_SAMPLES: u32 = 128 << 10;

pub(super) fn ringbuf_output(call: &mut Call<'_>) -> Answer {
    let map = call.map(id::RINGBUF_OUTPUT, 1)?;
    let len = call.length("ringbuf_output", 3)?;
    if call.arg(4) & !WAKEUPS != 0 {
        return Ok(failed(Errno::INVAL));
    }
    let bytes = if len == 0 { &[][..] } else { call.state.memory.read(call.args[1], len)? };
    let Some(ring) = call.state.maps.kind::<Ringbuf>(map) else { return Ok(failed(Errno::INVAL)) };
    Ok(status(ring.output(bytes)))
}

pub(super) fn ringbuf_reserve(call: &mut Call<'_>) -> Answer {
    let map = call.map(id::RINGBUF_RESERVE, 1)?;
    let (len, flags) = (call.arg(2), call.arg(3));
    let state = &mut *call.state;
    let ring = state.maps.kind::<Ringbuf>(map).filter(|_| flags == NO_FLAGS);
    let at = ring.and_then(|ring| ring.reserve(&mut state.memory, len));
    Ok(at.map_or(0, |at| call.gives("ringbuf_reserve", SUBMIT, at.get())))
}

fn finish(call: &mut Call<'_>, name: &'static str, discard: bool) -> Answer {
    let at = call.arg(1);
    let object = call.state.memory.find(at).filter(|object| object.base.get() == at);
    if let Some(ObjectKind::Record(map)) = object.map(|object| object.kind) {
        let state = &mut *call.state;
        let base = object.map(|object| object.base);
        let ring = state.maps.kind::<Ringbuf>(map);
        if let (Some(ring), Some(base)) = (ring, base)
            && ring.finish(&mut state.memory, base, discard)
        {
            state.run.let_go(Some(SUBMIT), at);
            return Ok(0);
        }
    }
    let what = format!("is no record that bpf_ringbuf_reserve() gave: {at:#x}");
    Err(FaultKind::Argument { name, index: 1, what })
}

pub(super) fn ringbuf_submit(call: &mut Call<'_>) -> Answer {
    finish(call, "ringbuf_submit", false)
}

pub(super) fn ringbuf_discard(call: &mut Call<'_>) -> Answer {
    finish(call, "ringbuf_discard", true)
}

pub(super) fn ringbuf_query(call: &mut Call<'_>) -> Answer {
    let map = call.map(id::RINGBUF_QUERY, 1)?;
    let what = call.arg(2);
    Ok(call.state.maps.kind::<Ringbuf>(map).map_or(0, |ring| ring.query(what)))
}

pub(super) fn user_ringbuf_drain(call: &mut Call<'_>) -> Answer {
    let map = call.map(id::USER_RINGBUF_DRAIN, 1)?;
    let (function, context) = (call.arg(2), call.arg(3));
    if call.arg(4) & !WAKEUPS != 0 {
        return Ok(failed(Errno::INVAL));
    }
    let handle = call.state.memory.alloc(ObjectKind::Other("dynptr"), 16, Access::ReadWrite)?;
    let mut drained = 0;
    let result = loop {
        let next = call.state.maps.kind::<UserRingbuf>(map).filter(|_| drained < MOST_SAMPLES);
        let Some(sample) = next.and_then(UserRingbuf::pop) else { break Ok(u64::from(drained)) };
        match hand_over(call, &sample, handle.get(), function, context) {
            Ok(stop) => drained += 1 + if stop { MOST_SAMPLES } else { 0 },
            Err(fault) => break Err(fault),
        }
        if drained > MOST_SAMPLES {
            break Ok(u64::from(drained - MOST_SAMPLES));
        }
    };
    call.state.memory.free(handle);
    result
}

/// Calls back for one sample: whether that was enough.
fn hand_over(
    call: &mut Call<'_>,
    sample: &[u8],
    handle: u64,
    function: u64,
    context: u64,
) -> Result<bool, FaultKind> {
    let size = sample.len() as u32;
    let at = call.state.memory.alloc(ObjectKind::Other("sample"), size, Access::Read)?;
    if let Some(place) = call.state.memory.host_mut(at, size) {
        place.copy_from_slice(sample);
    }
    let saved = std::mem::replace(&mut call.args[0], handle);
    let read_only = true;
    let dynptr = Dynptr { kind: Kind::Local, data: at.get(), size, offset: 0, read_only };
    let put = call.put_dynptr(1, dynptr);
    call.args[0] = saved;
    let result = put.and_then(|()| call.call_back(function, [handle, context, 0, 0, 0]));
    call.state.memory.free(at);
    result.map(|r0| r0 != 0)
}
