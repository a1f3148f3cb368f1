//! Who runs: process, user, name, cgroup.

use rustix::io::Errno;
use skep_bpf::helpers::id;

use super::{Answer, Call, failed};
use crate::helpers::env::process::Process;

fn current<T>(call: &Call<'_>, of: impl Fn(&Process) -> T) -> Option<T> {
    call.state.env.processes.current().map(of)
}

pub(super) fn get_current_pid_tgid(call: &mut Call<'_>) -> Answer {
    if let Some(r0) = call.recorded(id::GET_CURRENT_PID_TGID)? {
        return Ok(r0);
    }
    let both = current(call, |p| u64::from(p.pid) << 32 | u64::from(p.tid));
    Ok(both.unwrap_or_else(|| failed(Errno::INVAL)))
}

pub(super) fn get_current_uid_gid(call: &mut Call<'_>) -> Answer {
    if let Some(r0) = call.recorded(id::GET_CURRENT_UID_GID)? {
        return Ok(r0);
    }
    let both = current(call, |p| u64::from(p.gid) << 32 | u64::from(p.uid));
    Ok(both.unwrap_or_else(|| failed(Errno::INVAL)))
}

pub(super) fn get_current_comm(call: &mut Call<'_>) -> Answer {
    let size = call.length("get_current_comm", 2)?;
    call.writable(1, size)?;
    if let Some(r0) = call.recorded(id::GET_CURRENT_COMM)? {
        return Ok(r0);
    }
    let comm = current(call, Process::comm_bytes).unwrap_or([0; 16]);
    // strscpy_pad: cut to what fits with a NUL, zeros behind.
    let mut bytes = vec![0; size as usize];
    let len = bytes.len().saturating_sub(1).min(comm.len());
    bytes[..len].copy_from_slice(&comm[..len]);
    call.put(1, &bytes)?;
    Ok(0)
}

pub(super) fn get_current_task(call: &mut Call<'_>) -> Answer {
    if let Some(r0) = call.recorded(id::GET_CURRENT_TASK)? {
        return Ok(r0);
    }
    Ok(current(call, Process::task_address).unwrap_or(0))
}

pub(super) fn get_current_task_btf(call: &mut Call<'_>) -> Answer {
    if let Some(r0) = call.recorded(id::GET_CURRENT_TASK_BTF)? {
        return Ok(r0);
    }
    Ok(current(call, Process::task_address).unwrap_or(0))
}

pub(super) fn get_current_cgroup_id(call: &mut Call<'_>) -> Answer {
    if let Some(r0) = call.recorded(id::GET_CURRENT_CGROUP_ID)? {
        return Ok(r0);
    }
    Ok(current(call, Process::cgroup).unwrap_or(0))
}

pub(super) fn get_current_ancestor_cgroup_id(call: &mut Call<'_>) -> Answer {
    if let Some(r0) = call.recorded(id::GET_CURRENT_ANCESTOR_CGROUP_ID)? {
        return Ok(r0);
    }
    let level = call.arg32(1) as usize;
    Ok(current(call, |p| p.cgroups.get(level).copied()).flatten().unwrap_or(0))
}

/// `struct bpf_pidns_info`: two u32.
const PIDNS_INFO: u32 = 8;

pub(super) fn get_ns_current_pid_tgid(call: &mut Call<'_>) -> Answer {
    let size = call.length("get_ns_current_pid_tgid", 4)?;
    call.writable(3, size)?;
    if let Some(r0) = call.recorded(id::GET_NS_CURRENT_PID_TGID)? {
        return Ok(r0);
    }
    let ids = current(call, |p| [p.tid, p.pid]).filter(|_| size == PIDNS_INFO);
    let Some([tid, pid]) = ids else {
        call.put(3, &vec![0; size as usize])?;
        return Ok(failed(Errno::INVAL));
    };
    // The machine has one PID namespace; the program names it by device and inode, whatever they are.
    call.put(3, &[tid.to_ne_bytes(), pid.to_ne_bytes()].concat())?;
    Ok(0)
}

/// The end of the kernel stack of a task, as its registers lie there (THREAD_SIZE, x86-64).
const STACK_TOP: u64 = 0x4000;

pub(super) fn task_pt_regs(call: &mut Call<'_>) -> Answer {
    if let Some(r0) = call.recorded(id::TASK_PT_REGS)? {
        return Ok(r0);
    }
    Ok(call.arg(1).wrapping_add(STACK_TOP))
}
