//! Signals through a descriptor.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};

use crate::error::Error;
use crate::sys::process as sys;

/// Signals that end a session, delivered through a descriptor instead of at once.
#[derive(Debug)]
pub struct Signals {
    fd: File,
    numbers: Vec<i32>,
}

impl Signals {
    /// Blocks SIGINT, SIGTERM and the signals `also` in this thread (call before other threads start; children get
    /// them unblocked) and receives them here.
    pub fn receive(also: &[i32]) -> Result<Signals, Error> {
        let numbers: Vec<i32> = [libc::SIGINT, libc::SIGTERM].iter().chain(also).copied().collect();
        let fd = sys::signal_fd(&numbers).map_err(|e| Error::os("receive signals", e))?;
        Ok(Signals { fd: File::from(fd), numbers })
    }

    /// Lets the signals act as usual again: the next SIGINT ends the process at once.
    pub fn release(&self) {
        sys::unblock(&self.numbers);
    }
}

impl Iterator for Signals {
    type Item = i32;

    /// The next signal that has come, without waiting; `None` for now when there is none.
    fn next(&mut self) -> Option<i32> {
        let mut info = [0; sys::SIGINFO_SIZE];
        self.fd.read_exact(&mut info).ok()?;
        let number = u32::from_ne_bytes(info[..4].try_into().ok()?);
        i32::try_from(number).ok()
    }
}

impl AsFd for Signals {
    /// Readable when a signal has come.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.release();
    }
}

/// The number of a signal by name, with or without `SIG` ("USR1", "SIGUSR1").
pub fn signal_number(name: &str) -> Option<i32> {
    const NAMES: &[(&str, i32)] = &[
        ("HUP", libc::SIGHUP),
        ("INT", libc::SIGINT),
        ("QUIT", libc::SIGQUIT),
        ("USR1", libc::SIGUSR1),
        ("USR2", libc::SIGUSR2),
        ("TERM", libc::SIGTERM),
        ("CONT", libc::SIGCONT),
        ("WINCH", libc::SIGWINCH),
    ];
    let plain = name.strip_prefix("SIG").unwrap_or(name);
    NAMES.iter().find(|(n, _)| *n == plain).map(|(_, number)| *number)
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_come_through_the_descriptor() {
        std::thread::spawn(|| {
            let mut signals = Signals::receive(&[libc::SIGUSR1]).unwrap();
            assert_eq!(signals.next(), None);
            // To this thread alone: the test harness's other threads have the signal's usual action.
            let tid = rustix::thread::gettid();
            let pid = rustix::process::getpid();
            sys::signal_thread(pid.as_raw_nonzero().get(), tid.as_raw_nonzero().get(), libc::SIGUSR1);
            assert_eq!(signals.next(), Some(libc::SIGUSR1));
            assert_eq!(signals.next(), None);
        })
        .join()
        .unwrap();
    }
}
