//! Links: a loaded program and an [`AttachPoint`] enter, an owned [`Link`] leaves; the program runs there until the
//! link is dropped. One file per kind.

use std::os::fd::{AsFd, OwnedFd};

use skep_bpf::object::{Attach, AttachPoint};
use skep_bpf::target::Feature;

use crate::error::Error;
use crate::live::LiveTarget;
use crate::machine;
use crate::prog::Prog;
use crate::sys::perf;

mod breakpoint;
mod closing;
mod fentry;
mod hook;
mod iterator;
mod kprobe;
mod kprobe_multi;
mod perf_event;
mod raw_tracepoint;
pub(crate) mod tc;
mod tracepoint;
mod uprobe;
mod uprobe_multi;
mod xdp;

pub use closing::{Closing, detach_all};
pub use iterator::Iteration;

/// An attachment; dropping it detaches.
#[derive(Debug, Default)]
pub struct Link {
    /// BPF links, and descriptors that act as such.
    links: Vec<OwnedFd>,
    /// Perf events that carry a program.
    events: Vec<OwnedFd>,
    /// The address that it watches.
    watches: Option<u64>,
    /// TC filters, which the kernel would keep after skep's end: taken away when they are dropped.
    #[expect(dead_code, reason = "held for its end")]
    filters: Vec<tc::Filter>,
}

impl Link {
    /// One BPF link.
    fn one(link: OwnedFd) -> Link {
        Link { links: vec![link], ..Link::default() }
    }

    /// Whether it is a watchpoint on `address`.
    pub(crate) fn is_watching(&self, address: u64) -> bool {
        self.watches == Some(address)
    }
}

impl Link {
    /// The BPF links, which a pin can hold; `None` when something else holds the program there.
    pub(crate) fn pinnable(&self) -> Option<&[OwnedFd]> {
        (!self.links.is_empty()).then_some(&self.links)
    }
}

/// What attaching gave.
#[derive(Debug)]
pub enum Attached {
    /// A link.
    Link(Link),
    /// An iterator, to be read.
    Iteration(Iteration),
    /// A file that runs an iterator whenever it is read; it stays.
    Pinned(String),
}

/// Attaches `prog` to `point`. `Missing` when the place does not exist. `begin`, `end` and signals have no place: they
/// are run, not attached.
pub fn attach(prog: &Prog, point: &AttachPoint, target: &LiveTarget) -> Result<Attached, Error> {
    let cookie = point.cookie;
    let link = match &point.at {
        Attach::Begin | Attach::End | Attach::Test | Attach::Bench | Attach::SelfSignal(_) => {
            return Err(Error::Damaged { what: point.name.clone(), why: "has no place to attach to".into() });
        }
        Attach::CpuMap { map, .. } => {
            return Err(Error::Unavailable {
                what: point.name.clone(),
                why: format!(
                    "entries of {map} run it, and whoever fills that map puts it there: `skep load`, or a program of yours"
                ),
            });
        }
        Attach::Iter => return iterator::attach(prog, point).map(Attached::Iteration),
        Attach::PinnedIter { path } => return iterator::pin(prog, point, path).map(Attached::Pinned),
        Attach::Xdp { interface, mode, .. } => xdp::attach(prog, interface, *mode, target),
        Attach::Tc { interface, egress } => tc::attach(prog, interface, *egress, target),
        Attach::Tracepoint { category, name } => tracepoint::attach(prog, category, name, cookie, target),
        Attach::RawTracepoint { name } => raw_tracepoint::attach(prog, name, cookie),
        Attach::Fentry => fentry::attach(prog, point),
        Attach::Hook { owner, name, attach_type } => hook::attach(prog, *owner, name, *attach_type),
        Attach::Kprobe { symbol, offset, ret } => kprobe::attach(prog, symbol, *offset, *ret, cookie, target),
        Attach::KprobeMulti { symbols, cookies, ret } => {
            kprobe_multi::attach(prog, symbols, cookies, *ret, target)
        }
        Attach::Uprobe { path, offset, ref_ctr, ret, pid } => {
            let place = uprobe::Place { path, offset: *offset, ref_ctr: *ref_ctr, ret: *ret, pid: *pid };
            uprobe::attach(prog, &place, cookie, target)
        }
        Attach::UprobeMulti { path, offsets, cookies, ref_ctrs, ret, pid } => {
            let place = uprobe_multi::Place { path, offsets, ref_ctrs, ret: *ret, pid: *pid };
            uprobe_multi::attach(prog, &place, cookies, target)
        }
        Attach::Breakpoint { address, len, access, pid } => {
            let wanted =
                perf::Breakpoint { address: *address, len: *len, access: *access, ..Default::default() };
            breakpoint::attach(prog, &wanted, *pid, cookie, target)
        }
        Attach::PerfEvent { perf_type, config, sample, one_cpu, pid } => {
            let source = perf_event::Source {
                perf_type: *perf_type,
                config: *config,
                sample: *sample,
                one_cpu: *one_cpu,
                pid: *pid,
            };
            perf_event::attach(prog, &source, cookie, target)
        }
    };
    link.map(Attached::Link)
}

/// Puts `prog` on an open perf event: with a BPF link where the kernel has it (5.15), else by ioctl.
fn on_event(
    prog: &Prog,
    event: OwnedFd,
    cookie: u64,
    place: &str,
    target: &LiveTarget,
) -> Result<Link, Error> {
    let failed = |errno| Error::os(format!("attach to {place}"), errno);
    if target.supports(Feature::PerfLink) {
        let link = crate::sys::link::perf_event(prog.as_fd(), event.as_fd(), cookie).map_err(failed)?;
        perf::enable(event.as_fd()).map_err(failed)?;
        return Ok(Link { links: vec![link], events: vec![event], ..Link::default() });
    }
    if cookie != 0 {
        return Err(too_old(&format!("a cookie for {place}"), Feature::PerfLink));
    }
    perf::set_bpf(event.as_fd(), prog.as_fd()).map_err(failed)?;
    Ok(Link { events: vec![event], ..Link::default() })
}

/// The running kernel lacks `feature`, which `what` needs: too old, or built without.
fn lacks(what: &str, feature: Feature, option: &str) -> Error {
    if machine::version() < feature.since() {
        return too_old(what, feature);
    }
    Error::Unavailable { what: what.to_owned(), why: format!("it was built without {option}") }
}

fn too_old(what: &str, feature: Feature) -> Error {
    Error::TooOld { what: what.to_owned(), since: feature.since(), here: machine::release().to_owned() }
}

/// A name as a C string; one with a NUL in it does not exist.
pub(crate) fn c_string(name: &str) -> Result<std::ffi::CString, Error> {
    std::ffi::CString::new(name).map_err(|_| Error::Missing(format!("{name:?}")))
}
