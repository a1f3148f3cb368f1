//! uprobe.multi: one link over many instructions of a binary (6.6).

use std::os::fd::AsFd;

use rustix::io::Errno;
use skep_bpf::target::Feature;

use crate::error::Error;
use crate::link::{Link, c_string, lacks};
use crate::live::LiveTarget;
use crate::prog::Prog;
use crate::sys::link;

/// Where the probes go.
pub(super) struct Place<'a> {
    /// The binary.
    pub(super) path: &'a str,
    /// File offsets of the instructions.
    pub(super) offsets: &'a [u64],
    /// File offsets of the reference counters, empty or one for each.
    pub(super) ref_ctrs: &'a [u64],
    /// At return.
    pub(super) ret: bool,
    /// Only this process.
    pub(super) pid: Option<u32>,
}

/// Attaches to all offsets.
pub(super) fn attach(
    prog: &Prog,
    place: &Place<'_>,
    cookies: &[u64],
    target: &LiveTarget,
) -> Result<Link, Error> {
    let what = format!("uprobe.multi over {} places of {}", place.offsets.len(), place.path);
    if !target.supports(Feature::UprobeMulti) {
        return Err(lacks(&what, Feature::UprobeMulti, "CONFIG_UPROBES"));
    }
    let path = c_string(crate::archive::container(place.path))?;
    let request = link::UprobeMulti {
        path: &path,
        offsets: place.offsets,
        ref_ctrs: place.ref_ctrs,
        cookies,
        ret: place.ret,
        pid: place.pid.unwrap_or(0),
    };
    link::uprobe_multi(prog.as_fd(), prog.attach_type() as u32, &request).map(Link::one).map_err(|errno| {
        match errno {
            Errno::NOENT => Error::Missing(place.path.to_owned()),
            Errno::SRCH => Error::Missing(format!("process {}", place.pid.unwrap_or(0))),
            errno => Error::os(format!("attach {what}"), errno),
        }
    })
}
