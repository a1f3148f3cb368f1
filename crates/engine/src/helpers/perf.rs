//! Perf events and stacks (kernel/trace/bpf_trace.c, kernel/bpf/stackmap.c).

use rustix::io::Errno;
use skep_bpf::helpers::id;

use super::{Answer, Call, failed, refused, status};
use crate::maps::{PerfArray, StackMap};
use crate::vm::fault::FaultKind;
use skep_bpf::kinds::ProgType;

/// Bits of the flags that are the index (BPF_F_INDEX_MASK), and the value that means this CPU.
const INDEX: u64 = 0xffff_ffff;
/// Bits that are a number of packet bytes to append (BPF_F_CTXLEN_MASK).
const PACKET_BYTES: u64 = 0xf_ffff << 32;
/// Largest record.
const LARGEST: usize = u16::MAX as usize - 8;

/// Flags of stacks.
mod stack_flag {
    pub(super) const SKIP: u64 = 0xff;
    pub(super) const USER: u64 = 1 << 8;
    pub(super) const FAST_COMPARE: u64 = 1 << 9;
    pub(super) const REUSE: u64 = 1 << 10;
    pub(super) const BUILD_ID: u64 = 1 << 11;
}

fn output(call: &mut Call<'_>, helper: u32, name: &'static str) -> Answer {
    let map = call.map(helper, 2)?;
    let flags = call.arg(3);
    let mut bytes = call.sized(name, 4)?;
    let with_packet = matches!(
        call.state.run.prog_type,
        ProgType::Xdp | ProgType::SchedCls | ProgType::SchedAct | ProgType::CgroupSkb | ProgType::SkSkb
    );
    let appended = ((flags & PACKET_BYTES) >> 32) as u32;
    let known = INDEX | if with_packet { PACKET_BYTES } else { 0 };
    if flags & !known != 0 {
        return Ok(failed(Errno::INVAL));
    }
    if appended > 0 {
        let Some(packet) = call.state.run.packet.filter(|packet| appended <= packet.len()) else {
            return Ok(failed(Errno::FAULT));
        };
        bytes.extend_from_slice(&packet.bytes(&call.state.memory)[..appended as usize]);
    }
    if bytes.len() > LARGEST {
        return Ok(failed(Errno::TOOBIG));
    }
    let cpu = call.state.env.cpu;
    let index = if flags & INDEX == INDEX { cpu } else { (flags & INDEX) as u32 };
    let Some(perf) = call.state.maps.kind::<PerfArray>(map) else { return Ok(failed(Errno::INVAL)) };
    Ok(status(perf.output(cpu, index, &bytes)))
}

pub(super) fn perf_event_output(call: &mut Call<'_>) -> Answer {
    call.context("perf_event_output", 1)?;
    output(call, id::PERF_EVENT_OUTPUT, "perf_event_output")
}

pub(super) fn skb_output(call: &mut Call<'_>) -> Answer {
    output(call, id::SKB_OUTPUT, "skb_output")
}

pub(super) fn xdp_output(call: &mut Call<'_>) -> Answer {
    output(call, id::XDP_OUTPUT, "xdp_output")
}

/// Counters of perf events exist only where they were recorded.
fn recorded_only(call: &mut Call<'_>, helper: u32, name: &str) -> Answer {
    match call.recorded(helper)? {
        Some(r0) => Ok(r0),
        None => {
            Err(refused(name, "it reads a hardware or software counter; nothing was recorded for this call"))
        }
    }
}

pub(super) fn perf_event_read(call: &mut Call<'_>) -> Answer {
    call.map(id::PERF_EVENT_READ, 1)?;
    recorded_only(call, id::PERF_EVENT_READ, "bpf_perf_event_read()")
}

pub(super) fn perf_event_read_value(call: &mut Call<'_>) -> Answer {
    call.map(id::PERF_EVENT_READ_VALUE, 1)?;
    recorded_only(call, id::PERF_EVENT_READ_VALUE, "bpf_perf_event_read_value()")
}

pub(super) fn perf_prog_read_value(call: &mut Call<'_>) -> Answer {
    recorded_only(call, id::PERF_PROG_READ_VALUE, "bpf_perf_prog_read_value()")
}

pub(super) fn read_branch_records(call: &mut Call<'_>) -> Answer {
    if let Some(r0) = call.recorded(id::READ_BRANCH_RECORDS)? {
        return Ok(r0);
    }
    // A machine without such a unit answers so.
    Ok(failed(Errno::NOENT))
}

pub(super) fn get_branch_snapshot(call: &mut Call<'_>) -> Answer {
    if let Some(r0) = call.recorded(id::GET_BRANCH_SNAPSHOT)? {
        return Ok(r0);
    }
    Ok(failed(Errno::NOENT))
}

/// The stack at the moment, without those that are skipped.
fn stack(call: &Call<'_>, flags: u64) -> Result<Vec<u64>, Errno> {
    let stacks = &call.state.env.stacks;
    let found = if flags & stack_flag::USER != 0 { &stacks.user } else { &stacks.kernel };
    let skip = (flags & stack_flag::SKIP) as usize;
    let rest = found.as_deref().and_then(|stack| stack.get(skip..)).filter(|rest| !rest.is_empty());
    rest.map(<[u64]>::to_vec).ok_or(Errno::FAULT)
}

fn addresses(bytes: &[u8]) -> Vec<u64> {
    let word = |chunk: &[u8]| {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        u64::from_ne_bytes(word)
    };
    bytes.chunks_exact(8).map(word).collect()
}

pub(super) fn get_stackid(call: &mut Call<'_>) -> Answer {
    call.context("get_stackid", 1)?;
    let map = call.map(id::GET_STACKID, 2)?;
    let flags = call.arg(3);
    let known = stack_flag::SKIP | stack_flag::USER | stack_flag::FAST_COMPARE | stack_flag::REUSE;
    if flags & !known != 0 {
        return Ok(failed(Errno::INVAL));
    }
    let answer = call.state.env.answers.next(id::GET_STACKID);
    let found = stack(call, flags);
    let Some(stacks) = call.state.maps.kind::<StackMap>(map) else { return Ok(failed(Errno::INVAL)) };
    if let Some(answer) = answer {
        if let (Ok(id), false) = (u32::try_from(answer.r0), answer.bytes.is_empty()) {
            // A number that the map has not is none of its stacks; what was recorded is the answer all the same.
            let _ = stacks.set(id, &addresses(&answer.bytes));
        }
        return Ok(answer.r0);
    }
    Ok(found.and_then(|found| stacks.insert(&found, flags)).map_or_else(failed, u64::from))
}

fn get_stack_into(call: &mut Call<'_>, helper: u32, name: &'static str) -> Answer {
    let size = call.length(name, 3)?;
    call.writable(2, size)?;
    if let Some(r0) = call.recorded(helper)? {
        return Ok(r0);
    }
    let flags = call.arg(4);
    let known = stack_flag::SKIP | stack_flag::USER | stack_flag::BUILD_ID;
    let build_ids = flags & stack_flag::BUILD_ID != 0;
    if flags & !known != 0 || (build_ids && flags & stack_flag::USER == 0) || !size.is_multiple_of(8) {
        call.put(2, &vec![0; size as usize])?;
        return Ok(failed(Errno::INVAL));
    }
    if build_ids {
        return Err(refused(
            &format!("bpf_{name}()"),
            "build ids of a stack exist only where they were recorded",
        ));
    }
    let result: Result<Vec<u8>, Errno> = stack(call, flags).map(|found| {
        let most = size as usize / 8;
        found.iter().take(most).flat_map(|at| at.to_ne_bytes()).collect()
    });
    let len = result.as_ref().map_or(0, Vec::len);
    let mut bytes = result.clone().unwrap_or_default();
    bytes.resize(size as usize, 0);
    call.put(2, &bytes)?;
    Ok(result.map_or_else(failed, |_| len as u64))
}

pub(super) fn get_stack(call: &mut Call<'_>) -> Result<u64, FaultKind> {
    call.context("get_stack", 1)?;
    get_stack_into(call, id::GET_STACK, "get_stack")
}

pub(super) fn get_task_stack(call: &mut Call<'_>) -> Answer {
    get_stack_into(call, id::GET_TASK_STACK, "get_task_stack")
}
