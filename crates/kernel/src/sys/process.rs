//! Processes and signals: a child that waits for a word before it becomes its program, signals as a descriptor,
//! local time.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use super::bpf::last_errno;

/// A forked child that waits on `gate`.
pub(crate) struct Forked {
    /// Its process id.
    pub(crate) pid: i32,
    /// One byte written here lets it go on; closed without one, it ends.
    pub(crate) gate: OwnedFd,
    /// Four bytes of errno come here when exec fails; end of file when it succeeds.
    pub(crate) report: OwnedFd,
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
}

/// Forks a child that executes `path` with `args` and `environment` once the gate opens.
pub(crate) fn fork_gated(path: &CStr, args: &[CString], environment: &[CString]) -> Result<Forked, Errno> {
    use rustix::pipe::{PipeFlags, pipe_with};
    let (gate_read, gate) = pipe_with(PipeFlags::CLOEXEC)?;
    let (report, report_write) = pipe_with(PipeFlags::CLOEXEC)?;
    let (argv, envp) = (pointers(args), pointers(environment));
    // SAFETY: between fork and exec or _exit the child calls only async-signal-safe functions, on memory prepared
    // before the fork.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(last_errno()),
        0 => {
            let fds = (gate_read.as_raw_fd(), gate.as_raw_fd(), report_write.as_raw_fd());
            // SAFETY: this is the child; the arrays end in null and live in its copy of the memory.
            unsafe { child(fds, path.as_ptr(), argv.as_ptr(), envp.as_ptr()) }
        }
        pid => Ok(Forked { pid, gate, report }),
    }
}

/// The child's side of [`fork_gated`].
///
/// # Safety
/// Runs in a forked child; `argv` and `envp` are null-terminated arrays of C strings.
unsafe fn child(
    (gate, gate_write, report): (i32, i32, i32),
    path: *const libc::c_char,
    argv: *const *const libc::c_char,
    envp: *const *const libc::c_char,
) -> ! {
    // SAFETY: all calls are async-signal-safe and take live local memory or the caller's arrays.
    unsafe {
        libc::close(gate_write);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let mut word = 0u8;
        loop {
            match libc::read(gate, (&raw mut word).cast(), 1) {
                1 => break,
                -1 if *libc::__errno_location() == libc::EINTR => {}
                _ => libc::_exit(127),
            }
        }
        libc::execve(path, argv, envp);
        let errno = (*libc::__errno_location()).to_ne_bytes();
        libc::write(report, errno.as_ptr().cast(), errno.len());
        libc::_exit(127)
    }
}

/// Blocks `signals` in this thread (call before others start) and gives a descriptor that delivers them.
pub(crate) fn signal_fd(signals: &[i32]) -> Result<OwnedFd, Errno> {
    // SAFETY: `set` is initialised by sigemptyset before use; all pointers are to live locals.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        if libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(Errno::INVAL);
        }
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 { Err(last_errno()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

/// Lets `signals` act as usual again in this thread.
pub(crate) fn unblock(signals: &[i32]) {
    // SAFETY: as in `signal_fd`.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
    }
}

/// Sends a signal to one thread.
#[cfg(test)]
pub(crate) fn signal_thread(pid: i32, tid: i32, signal: i32) {
    // SAFETY: the call takes numbers only.
    unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, signal) };
}

/// Bytes of a `struct signalfd_siginfo`.
pub(crate) const SIGINFO_SIZE: usize = size_of::<libc::signalfd_siginfo>();

/// Local time's offset from UTC in seconds at `secs` (since 1970), and the zone's abbreviation, from TZ and
/// /etc/localtime.
pub(crate) fn local_offset(secs: i64) -> (i32, String) {
    // SAFETY: localtime_r writes the whole live `tm`; tm_zone points to a string of the C library's own that lives
    // on; null is checked.
    unsafe {
        let mut tm: libc::tm = std::mem::zeroed();
        let secs: libc::time_t = secs;
        if libc::localtime_r(&raw const secs, &raw mut tm).is_null() {
            return (0, "UTC".to_owned());
        }
        let zone = if tm.tm_zone.is_null() {
            String::new()
        } else {
            CStr::from_ptr(tm.tm_zone).to_string_lossy().into_owned()
        };
        (i32::try_from(tm.tm_gmtoff).unwrap_or(0), zone)
    }
}
