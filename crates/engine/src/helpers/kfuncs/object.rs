//! Kernel objects and sections: what has no meaning without a kernel around it does nothing here.

use rustix::io::Errno;

use crate::helpers::{Answer, Call, failed};

/// Casts and references: the object itself.
pub(super) fn same(call: &mut Call<'_>) -> Answer {
    Ok(call.arg(1))
}

/// Sections that nothing can interrupt here, and references that nobody counts.
pub(super) fn nothing(_call: &mut Call<'_>) -> Answer {
    Ok(0)
}

pub(super) fn task_from_pid(call: &mut Call<'_>) -> Answer {
    if let Some(recorded) = call.state.env.answers.next_kfunc("bpf_task_from_pid") {
        return Ok(recorded);
    }
    let process = call.state.env.processes.get(call.arg32(1));
    Ok(process.map_or(0, |process| process.task_address()))
}

/// Whether a session's function returns: as it was recorded; without a recording it begins.
pub(super) fn session_is_return(call: &mut Call<'_>) -> Answer {
    Ok(call.state.env.answers.next_kfunc("bpf_session_is_return").unwrap_or(0))
}

/// What a device knows of a packet: no device, no knowledge.
pub(super) fn no_metadata(_call: &mut Call<'_>) -> Answer {
    Ok(failed(Errno::OPNOTSUPP))
}
