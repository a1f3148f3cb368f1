//! Reading that a signal ends: a pipe or terminal that says nothing would else keep a program from noticing.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};

use crate::proc::Signals;

/// A stream that ends when a signal has come, which stays to be taken from [`Signals`].
#[derive(Debug)]
pub struct UntilSignal<R> {
    source: R,
    signals: OwnedFd,
}

impl<R: Read + AsFd> UntilSignal<R> {
    /// Reads `source` until its end or until a signal comes.
    pub fn new(source: R, signals: &Signals) -> io::Result<UntilSignal<R>> {
        Ok(UntilSignal { source, signals: signals.as_fd().try_clone_to_owned()? })
    }
}

impl<R: Read + AsFd> Read for UntilSignal<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut waiting =
                [PollFd::new(&self.source, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
            match poll(&mut waiting, None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            if !waiting[1].revents().is_empty() {
                return Ok(0);
            }
            return self.source.read(buffer);
        }
    }
}
