//! The running kernel: features, maps, programs, links, events, symbols. This is the only crate that makes bpf(2),
//! perf_event_open(2) and mount calls and reads /proc and /sys.
//!
//! What enters are [`skep_bpf::object::Object`]s and questions of [`skep_bpf::target::Target`]; what leaves are owned
//! values that detach, unmap and close when dropped. Nothing is read before it is asked for.

mod archive;
mod backend;
mod binaries;
mod boundary;
mod btf;
mod demangle;
pub mod device;
mod dwarf;
pub mod elf;
pub mod error;
pub mod features;
mod files;
pub mod inspect;
mod interfaces;
pub mod interrupt;
mod kconfig;
pub mod link;
pub mod live;
pub mod load;
pub mod machine;
pub mod map;
mod neighbour;
mod netlink;
pub mod packet;
mod packets;
mod perf_ring;
pub mod pin;
pub mod proc;
pub mod prog;
mod programs;
pub mod ringbuf;
pub mod routes;
pub mod symbols;
mod sys;
pub mod tracefs;
mod unwind;
mod usdt;

pub use error::Error;
pub use live::{LiveOptions, LiveTarget};
pub use load::{AttachReport, Failure, LoadOptions, Loaded};
