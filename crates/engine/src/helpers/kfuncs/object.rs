//! Kernel objects and sections: what has no meaning without a kernel around it does nothing here.

use rustix::io::Errno;

use crate::helpers::{Answer, Call, failed, refused};

/// Casts: the object itself.
pub(super) fn same(call: &mut Call<'_>) -> Answer {
    Ok(call.arg(1))
}

/// A reference to the object of argument 1.
fn another(call: &mut Call<'_>, name: &'static str, release: &'static str) -> Answer {
    let at = call.arg(1);
    Ok(call.gives(name, release, at))
}

fn given_back(call: &mut Call<'_>, release: &'static str) -> Answer {
    call.takes_back(release)?;
    Ok(0)
}

const TASK_RELEASE: &str = "task_release";
const CGROUP_RELEASE: &str = "cgroup_release";

pub(super) fn task_acquire(call: &mut Call<'_>) -> Answer {
    another(call, "task_acquire", TASK_RELEASE)
}

pub(super) fn task_release(call: &mut Call<'_>) -> Answer {
    given_back(call, TASK_RELEASE)
}

pub(super) fn cgroup_acquire(call: &mut Call<'_>) -> Answer {
    another(call, "cgroup_acquire", CGROUP_RELEASE)
}

pub(super) fn cgroup_release(call: &mut Call<'_>) -> Answer {
    given_back(call, CGROUP_RELEASE)
}

/// Begins a section, known by `at`. Nothing can interrupt one here.
fn begin(call: &mut Call<'_>, name: &'static str, end: &'static str, at: u64) -> Answer {
    call.state.run.hold(name, Some(end), at);
    Ok(0)
}

fn end(call: &mut Call<'_>, name: &'static str, end: &'static str, at: u64) -> Answer {
    match call.state.run.let_go(Some(end), at) {
        true => Ok(0),
        false => Err(refused(&format!("bpf_{end}()"), &format!("there was no bpf_{name}() before"))),
    }
}

pub(super) fn rcu_read_lock(call: &mut Call<'_>) -> Answer {
    begin(call, "rcu_read_lock", "rcu_read_unlock", 0)
}

pub(super) fn rcu_read_unlock(call: &mut Call<'_>) -> Answer {
    end(call, "rcu_read_lock", "rcu_read_unlock", 0)
}

pub(super) fn preempt_disable(call: &mut Call<'_>) -> Answer {
    begin(call, "preempt_disable", "preempt_enable", 0)
}

pub(super) fn preempt_enable(call: &mut Call<'_>) -> Answer {
    end(call, "preempt_disable", "preempt_enable", 0)
}

pub(super) fn local_irq_save(call: &mut Call<'_>) -> Answer {
    let at = call.arg(1);
    begin(call, "local_irq_save", "local_irq_restore", at)
}

pub(super) fn local_irq_restore(call: &mut Call<'_>) -> Answer {
    let at = call.arg(1);
    end(call, "local_irq_save", "local_irq_restore", at)
}

pub(super) fn task_from_pid(call: &mut Call<'_>) -> Answer {
    let at = match call.state.env.answers.next_kfunc("bpf_task_from_pid") {
        Some(recorded) => recorded,
        None => call.state.env.processes.get(call.arg32(1)).map_or(0, |process| process.task_address()),
    };
    Ok(call.gives("task_from_pid", TASK_RELEASE, at))
}

/// Whether a session's function returns: as it was recorded; without a recording it begins.
pub(super) fn session_is_return(call: &mut Call<'_>) -> Answer {
    Ok(call.state.env.answers.next_kfunc("bpf_session_is_return").unwrap_or(0))
}

/// What a device knows of a packet: no device, no knowledge.
pub(super) fn no_metadata(_call: &mut Call<'_>) -> Answer {
    Ok(failed(Errno::OPNOTSUPP))
}
