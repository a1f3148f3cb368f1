//! Detaching many links quickly. [`Link`]s enter; when [`Closing::wait`] returns no program is attached any more.
//!
//! Where the time goes (Linux 6.18): closing the BPF link of a perf event waits for a grace period of tasks-trace RCU
//! (kernel/trace/bpf_trace.c, perf_event_detach_bpf_prog), some 30 ms, which those that wait at the same time share:
//! threads do it together. Closing a tracepoint's last perf event waits as long again under event_mutex
//! (kernel/trace/trace_event_perf.c), so these go one after the other whoever closes them: the kernel itself is made
//! to do it, after the programs are off. The last reference to each event is put into a perf event array, whose
//! entries the kernel drops in a worker of its own once the array is freed.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread::JoinHandle;

use rustix::io::Errno;
use skep_bpf::kinds::MapType;

use crate::link::Link;
use crate::machine;
use crate::sys::attr::MapCreate;
use crate::sys::map::RawMap;
use crate::sys::perf;

/// Most threads that close descriptors at the same time, and their stacks in bytes: they do nothing but wait.
const CLOSERS: usize = 64;
const STACK: usize = 64 << 10;
/// `BPF_F_PRESERVE_ELEMS`: the array keeps its events when the descriptor that put them there is closed (5.10).
const PRESERVE_ELEMS: u32 = 1 << 11;

/// Links that are being closed; dropping this waits, and leaves only perf events without programs to the kernel.
#[derive(Debug, Default)]
pub struct Closing {
    threads: Vec<JoinHandle<()>>,
    events: Vec<OwnedFd>,
}

impl Closing {
    /// Waits until no program is attached any more.
    pub fn wait(&mut self) {
        for thread in self.threads.drain(..) {
            // A closing thread runs nothing that panics.
            let _ = thread.join();
        }
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.wait();
        leave_to_kernel(std::mem::take(&mut self.events));
    }
}

/// So many perf events are stopped before anything is closed, so that a timer does not fire while that goes on; more would
/// take their time.
const STOPPED: usize = 64;

/// Starts to detach links. On kernels before 5.15 a perf event holds its program until it is closed, so there the
/// events are waited for.
pub fn detach_all(all: Vec<Link>) -> Closing {
    for event in all.iter().flat_map(|link| &link.events).take(STOPPED) {
        // One that cannot be stopped fires until it is closed.
        let _ = perf::disable(event.as_fd());
    }
    let (mut links, mut events) = (Vec::new(), Vec::new());
    for link in all {
        if link.links.is_empty() {
            links.extend(link.events);
        } else {
            links.extend(link.links);
            events.extend(link.events);
        }
    }
    Closing { threads: close_in_threads(links), events }
}

/// Closes descriptors in several threads; what no thread can be had for is closed here.
fn close_in_threads(mut fds: Vec<OwnedFd>) -> Vec<JoinHandle<()>> {
    let share = fds.len().div_ceil(CLOSERS).max(1);
    let mut threads = Vec::new();
    while !fds.is_empty() {
        let part = fds.split_off(fds.len().saturating_sub(share));
        let thread = std::thread::Builder::new().stack_size(STACK);
        // The closure, and with it the descriptors, is dropped here when the thread cannot be made.
        threads.extend(thread.spawn(move || drop(part)));
    }
    threads
}

/// Hands perf events over; what the array does not take (events that children inherit) is closed here.
fn leave_to_kernel(events: Vec<OwnedFd>) {
    if events.is_empty() {
        return;
    }
    let Ok(array) = array(events.len()) else { return };
    for (index, event) in events.iter().enumerate() {
        let key = u32::try_from(index).unwrap_or(u32::MAX).to_ne_bytes();
        let mut value = event.as_fd().as_raw_fd().to_ne_bytes();
        // An event that is refused is closed when `events` is dropped.
        let _ = array.update(&key, &mut value, 0);
    }
    drop(events);
}

fn array(entries: usize) -> Result<RawMap, Errno> {
    let attr = MapCreate {
        map_type: MapType::PerfEventArray as u32,
        key_size: 4,
        value_size: 4,
        max_entries: u32::try_from(entries).map_err(|_| Errno::TOOBIG)?,
        map_flags: PRESERVE_ELEMS,
        ..MapCreate::default()
    };
    match RawMap::create(&attr, 4) {
        Err(Errno::PERM) if machine::raise_memlock() => RawMap::create(&attr, 4),
        other => other,
    }
}
