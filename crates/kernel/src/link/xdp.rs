//! XDP programs, by bpf_link (5.9): one program for each interface, in its driver or behind it.

use std::os::fd::AsFd;

use rustix::io::Errno;
use skep_bpf::object::XdpMode;
use skep_bpf::target::Feature;

use crate::error::Error;
use crate::interfaces;
use crate::link::{Link, lacks};
use crate::live::LiveTarget;
use crate::prog::Prog;
use crate::sys::link::{Hook, interface};

/// Behind the driver (`XDP_FLAGS_SKB_MODE`, include/uapi/linux/if_link.h).
const GENERIC: u32 = 1 << 1;
/// In the driver (`XDP_FLAGS_DRV_MODE`).
const NATIVE: u32 = 1 << 2;

/// Attaches `prog` to what an interface receives. Where nothing is said, the driver runs it if it can.
pub(super) fn attach(prog: &Prog, at: &str, mode: XdpMode, target: &LiveTarget) -> Result<Link, Error> {
    if !target.supports(Feature::XdpLink) {
        return Err(lacks("an XDP program on a link", Feature::XdpLink, "CONFIG_BPF_SYSCALL"));
    }
    let index = interfaces::index(at)?;
    let on = |flags| interface(prog.as_fd(), Hook::Xdp, index, flags);
    let result = match mode {
        XdpMode::Native => on(NATIVE),
        XdpMode::Generic => on(GENERIC),
        XdpMode::Any => match on(0) {
            // The driver has no XDP, or not for the interface as it is set up.
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::RANGE) => on(GENERIC),
            other => other,
        },
    };
    result.map(Link::one).map_err(|errno| explain(errno, at, mode))
}

fn explain(errno: Errno, at: &str, mode: XdpMode) -> Error {
    let what = format!("XDP on {at}");
    let unavailable = |why: &str| Error::Unavailable { what: what.clone(), why: why.to_owned() };
    match errno {
        Errno::BUSY | Errno::EXIST => unavailable(
            "an XDP program is attached there already, and an interface has one (two probes on it can be written as one)",
        ),
        Errno::NODEV => Error::Missing(format!("interface {at}")),
        Errno::OPNOTSUPP | Errno::INVAL if mode == XdpMode::Native => unavailable(
            "its driver has no XDP, or not for this MTU and these offloads; xdp_mode = \"generic\" works on any",
        ),
        errno => Error::os(format!("attach to xdp:{at}"), errno),
    }
}
