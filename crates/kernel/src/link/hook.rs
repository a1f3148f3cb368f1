//! Hooks of cgroups, network namespaces and interfaces, through BPF links (cgroups 5.7, namespaces 5.8, XDP 5.9, sockets'
//! lookup 5.9, tcx 6.6, netkit 6.7).

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;
use skep_bpf::kinds::AttachType;
use skep_bpf::object::HookOwner;

use crate::error::Error;
use crate::link::Link;
use crate::prog::Prog;
use crate::sys::link;

/// Attaches `prog` to a hook of `name`.
pub(super) fn attach(prog: &Prog, owner: HookOwner, name: &str, kind: AttachType) -> Result<Link, Error> {
    let at = format!("{} of {name}", kind.name());
    let failed = |errno| {
        match errno {
        Errno::BUSY | Errno::EXIST => Error::Unavailable {
            what: at.clone(),
            why: "another program is attached there, and only one can be (`skep links` lists them)".into(),
        },
        Errno::INVAL => Error::Unavailable {
            what: at.clone(),
            why: "this kernel has no such link, or the interface does not take it (XDP links are 5.9, tcx links 6.6)"
                .into(),
        },
        errno => Error::os(format!("attach {} to {at}", prog.name()), errno),
    }
    };
    let result = match owner {
        HookOwner::Interface => {
            let path = format!("/sys/class/net/{name}/ifindex");
            let index = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u32>().ok());
            let index = index.filter(|_| !name.contains('/'));
            let index = index.ok_or_else(|| Error::Missing(format!("network interface {name}")))?;
            link::on_target(prog.as_fd(), index, kind as u32)
        }
        HookOwner::Cgroup | HookOwner::NetNamespace => {
            let file = File::open(name).map_err(|e| Error::io(format!("open {name}"), &e))?;
            link::on_target(prog.as_fd(), file.as_fd().as_raw_fd() as u32, kind as u32)
        }
    };
    result.map(Link::one).map_err(failed)
}
