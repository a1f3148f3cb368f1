//! What tracing programs ask about the function that they are attached to, and what they do to the process that runs.

use rustix::io::Errno;
use skep_bpf::helpers::id;

use super::{Answer, Call, failed};
use crate::helpers::env::effects::Effect;
use crate::vm::fault::FaultKind;

pub(super) fn get_func_ip(call: &mut Call<'_>) -> Answer {
    call.context("get_func_ip", 1)?;
    if let Some(r0) = call.recorded(id::GET_FUNC_IP)? {
        return Ok(r0);
    }
    Ok(call.state.env.attached.function)
}

pub(super) fn get_attach_cookie(call: &mut Call<'_>) -> Answer {
    call.context("get_attach_cookie", 1)?;
    if let Some(r0) = call.recorded(id::GET_ATTACH_COOKIE)? {
        return Ok(r0);
    }
    Ok(call.state.env.attached.cookie)
}

fn put_word(call: &mut Call<'_>, number: u8, value: Option<u64>, none: Errno) -> Result<u64, FaultKind> {
    call.writable(number, 8)?;
    match value {
        Some(value) => {
            call.put(number, &value.to_ne_bytes())?;
            Ok(0)
        }
        None => Ok(failed(none)),
    }
}

pub(super) fn get_func_arg(call: &mut Call<'_>) -> Answer {
    call.context("get_func_arg", 1)?;
    call.writable(3, 8)?;
    if let Some(r0) = call.recorded(id::GET_FUNC_ARG)? {
        return Ok(r0);
    }
    let index = call.arg32(2) as usize;
    let value = call.state.env.attached.args.get(index).copied();
    put_word(call, 3, value, Errno::INVAL)
}

pub(super) fn get_func_ret(call: &mut Call<'_>) -> Answer {
    call.context("get_func_ret", 1)?;
    call.writable(2, 8)?;
    if let Some(r0) = call.recorded(id::GET_FUNC_RET)? {
        return Ok(r0);
    }
    let value = call.state.env.attached.result;
    put_word(call, 2, value, Errno::OPNOTSUPP)
}

pub(super) fn get_func_arg_cnt(call: &mut Call<'_>) -> Answer {
    call.context("get_func_arg_cnt", 1)?;
    if let Some(r0) = call.recorded(id::GET_FUNC_ARG_CNT)? {
        return Ok(r0);
    }
    Ok(call.state.env.attached.args.len() as u64)
}

pub(super) fn override_return(call: &mut Call<'_>) -> Answer {
    call.context("override_return", 1)?;
    let value = call.arg(2);
    call.state.env.effects.push(Effect::OverrideReturn(value));
    Ok(0)
}

fn signal(call: &mut Call<'_>, thread: bool) -> Answer {
    let signal = call.arg32(1);
    // bpf_send_signal_common: valid_signal() is up to 64; the kernel's own threads and init get none.
    let Some(process) = call.state.env.processes.current() else { return Ok(failed(Errno::PERM)) };
    if process.pid <= 1 {
        return Ok(failed(Errno::PERM));
    }
    if signal > 64 {
        return Ok(failed(Errno::INVAL));
    }
    let to = if thread { process.tid } else { process.pid };
    call.state.env.effects.push(Effect::Signal { to, thread, signal });
    Ok(0)
}

pub(super) fn send_signal(call: &mut Call<'_>) -> Answer {
    signal(call, false)
}

pub(super) fn send_signal_thread(call: &mut Call<'_>) -> Answer {
    signal(call, true)
}

/// `bpf_per_cpu_ptr()`: where a per-CPU variable of the kernel is on a CPU. Its address there must have been recorded as `NAME@CPU`'s: the
/// machine takes the recorded answer, else the variable's own address, which on CPU 0 of the recording reads the same.
pub(super) fn per_cpu_ptr(call: &mut Call<'_>) -> Answer {
    if let Some(r0) = call.recorded(id::PER_CPU_PTR)? {
        return Ok(r0);
    }
    Ok(if call.arg32(2) < call.state.env.cpus { call.arg(1) } else { 0 })
}

pub(super) fn this_cpu_ptr(call: &mut Call<'_>) -> Answer {
    if let Some(r0) = call.recorded(id::THIS_CPU_PTR)? {
        return Ok(r0);
    }
    Ok(call.arg(1))
}

pub(super) fn kallsyms_lookup_name(call: &mut Call<'_>) -> Answer {
    let mut name = call.sized("kallsyms_lookup_name", 1)?;
    call.writable(4, 8)?;
    if let Some(r0) = call.recorded(id::KALLSYMS_LOOKUP_NAME)? {
        return Ok(r0);
    }
    if call.arg(3) != 0 || name.pop() != Some(0) {
        return Ok(failed(Errno::INVAL));
    }
    let found = std::str::from_utf8(&name).ok().and_then(|name| call.state.env.kernel_symbol(name));
    call.put(4, &found.unwrap_or(0).to_ne_bytes())?;
    Ok(if found.is_some() { 0 } else { failed(Errno::NOENT) })
}

/// Answers about kernel objects that only a recording has: a kernel pointer in r0, or a filled buffer.
pub(super) fn recorded_object(call: &mut Call<'_>, helper: u32, name: &str) -> Answer {
    match call.recorded(helper)? {
        Some(r0) => Ok(r0),
        None => Err(super::refused(
            name,
            "it looks into an object of the kernel; nothing was recorded for this call",
        )),
    }
}
