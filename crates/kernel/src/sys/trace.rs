//! ptrace(2): a child that is held where its program begins, its libraries mapped.

use rustix::io::Errno;

use super::bpf::last_errno;

fn request(what: libc::c_uint, pid: i32, address: usize, data: usize) -> Result<(), Errno> {
    // SAFETY: none of the requests made here writes to memory of this process; a process that is not traced by this
    // thread gives an error.
    match unsafe { libc::ptrace(what, pid, address, data) } {
        -1 => Err(last_errno()),
        _ => Ok(()),
    }
}

/// Traces a child without stopping it; it will stop when it becomes another program.
pub(crate) fn seize(pid: i32) -> Result<(), Errno> {
    request(libc::PTRACE_SEIZE, pid, 0, libc::PTRACE_O_TRACEEXEC as usize)
}

/// Lets a stopped child go on, with a signal or 0.
pub(crate) fn go_on(pid: i32, signal: i32) -> Result<(), Errno> {
    request(libc::PTRACE_CONT, pid, 0, signal.unsigned_abs() as usize)
}

/// Lets a stopped child go on and traces it no longer.
pub(crate) fn detach(pid: i32) -> Result<(), Errno> {
    request(libc::PTRACE_DETACH, pid, 0, 0)
}

/// Sets the program counter of a stopped child.
#[cfg(target_arch = "x86_64")]
pub(crate) fn set_program_counter(pid: i32, address: u64) -> Result<(), Errno> {
    // Offset of `rip` in `struct user` (arch/x86/include/asm/user_64.h).
    const RIP: usize = 128;
    request(libc::PTRACE_POKEUSER, pid, RIP, address as usize)
}

/// Waits until a child stops or ends: the status as waitpid(2) gives it.
pub(crate) fn wait(pid: i32) -> Result<i32, Errno> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is a live local.
        match unsafe { libc::waitpid(pid, &raw mut status, 0) } {
            -1 if last_errno() == Errno::INTR => {}
            -1 => return Err(last_errno()),
            _ => return Ok(status),
        }
    }
}

/// The signal that a status says the child stopped with, and the event (`PTRACE_EVENT_*`, 0: none); `None` if it ended.
pub(crate) fn stopped(status: i32) -> Option<(i32, i32)> {
    libc::WIFSTOPPED(status).then(|| (libc::WSTOPSIG(status), status >> 16))
}
