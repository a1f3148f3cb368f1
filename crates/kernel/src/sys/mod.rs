//! System calls that need `unsafe`: bpf(2), perf_event_open(2), ioctl, mmap, fork and exec, signals. Safe functions
//! with checked lengths leave; outside this folder only the ring buffer's view of a record is `unsafe`.
#![allow(unsafe_code)]

pub(crate) mod attr;
pub(crate) mod bpf;
pub(crate) mod ethtool;
#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod link;
pub(crate) mod map;
pub(crate) mod mmap;
pub(crate) mod objects;
pub(crate) mod packet;
pub(crate) mod perf;
pub(crate) mod process;
pub(crate) mod trace;
