//! TC programs: by bpf_link where the kernel has tcx (6.6), else as a filter of the interface's clsact qdisc through
//! rtnetlink. A filter and a qdisc that were made here are taken away again; a qdisc that others use stays.
//!
//! Layouts: include/uapi/linux/rtnetlink.h (struct tcmsg), pkt_cls.h (`TCA_BPF_*`), pkt_sched.h (handles).

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;
use skep_bpf::target::Feature;

use crate::error::Error;
use crate::interfaces;
use crate::link::Link;
use crate::live::LiveTarget;
use crate::netlink::{self, Netlink, put, u32_at};
use crate::prog::Prog;
use crate::sys::link::{Hook, interface};

const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
const RTM_GETTFILTER: u16 = 46;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_ID: u16 = 11;
/// The program's result is the verdict (`TCA_BPF_FLAG_ACT_DIRECT`).
const DIRECT: u32 = 1;
/// `TC_H_CLSACT`, and the handle of such a qdisc.
const CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
/// `TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)` and `TC_H_MIN_EGRESS`.
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
/// `ETH_P_ALL` in network byte order, as the low half of `tcm_info`.
const ALL_PROTOCOLS: u32 = (3u16).to_be() as u32;
/// Bytes of struct tcmsg.
const MESSAGE: usize = 20;

/// Attaches `prog` to what an interface receives, or (`egress`) sends.
pub(super) fn attach(prog: &Prog, at: &str, egress: bool, target: &LiveTarget) -> Result<Link, Error> {
    let index = interfaces::index(at)?;
    if target.supports(Feature::Tcx) {
        let hook = if egress { Hook::TcxEgress } else { Hook::TcxIngress };
        match interface(prog.as_fd(), hook, index, 0) {
            Ok(link) => return Ok(Link::one(link)),
            // Built without CONFIG_NET_XGRESS.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(failed(at, egress, errno)),
        }
    }
    let filter = Filter::install(prog, index, egress).map_err(|errno| failed(at, egress, errno))?;
    Ok(Link { filters: vec![filter], ..Link::default() })
}

fn failed(at: &str, egress: bool, errno: Errno) -> Error {
    let direction = if egress { "egress" } else { "ingress" };
    match errno {
        Errno::NODEV => Error::Missing(format!("interface {at}")),
        Errno::NOENT => Error::Unavailable {
            what: format!("tc:{at}:{direction}"),
            why: "the kernel has neither tcx nor the clsact qdisc (modules sch_ingress and cls_bpf)".into(),
        },
        errno => Error::os(format!("attach to tc:{at}:{direction}"), errno),
    }
}

/// A filter of a clsact qdisc; dropping it takes it away.
#[derive(Debug)]
pub(super) struct Filter {
    interface: u32,
    parent: u32,
    handle: u32,
    /// Priority and protocol.
    info: u32,
    /// The qdisc was made for it.
    own_qdisc: bool,
}

impl Filter {
    fn install(prog: &Prog, index: u32, egress: bool) -> Result<Filter, Errno> {
        let mut netlink = Netlink::open()?;
        let own_qdisc = make_qdisc(&mut netlink, index)?;
        let parent = if egress { EGRESS } else { INGRESS };
        let body = runs(message(index, 0, parent, ALL_PROTOCOLS), prog);
        let flags = netlink::CREATE | netlink::EXCL | netlink::ECHO;
        let mut filter = Filter { interface: index, parent, handle: 0, info: 0, own_qdisc };
        let made = netlink.request(RTM_NEWTFILTER, flags, &body);
        let echo = made.as_ref().ok().and_then(|list| list.iter().find(|m| m.kind == RTM_NEWTFILTER));
        match (&made, echo) {
            (Ok(_), Some(echo)) => {
                (filter.handle, filter.info) = (u32_at(&echo.body, 8), u32_at(&echo.body, 16));
                Ok(filter)
            }
            (Ok(_), None) => Err(Errno::BADMSG),
            // Dropped, it takes away the qdisc.
            (Err(errno), _) => Err(*errno),
        }
    }

    fn remove(&self) -> Result<(), Errno> {
        let mut netlink = Netlink::open()?;
        if self.info != 0 {
            let mut body = message(self.interface, self.handle, self.parent, self.info);
            put(&mut body, TCA_KIND, b"bpf\0");
            netlink.request(RTM_DELTFILTER, 0, &body)?;
        }
        if self.own_qdisc && !is_used(&mut netlink, self.interface)? {
            let mut body = message(self.interface, CLSACT_HANDLE, CLSACT, 0);
            put(&mut body, TCA_KIND, b"clsact\0");
            netlink.request(RTM_DELQDISC, 0, &body)?;
        }
        Ok(())
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        // The interface may be gone, and the filter with it.
        let _ = self.remove();
    }
}

/// A filter with a program, of what an interface receives, whoever made it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeldFilter {
    /// Id of the program.
    pub program: u32,
    interface: u32,
    handle: u32,
    info: u32,
}

/// Makes `prog` a filter of what an interface receives; it stays.
pub fn hold(prog: &Prog, index: u32, name: &str) -> Result<(), Error> {
    let filter = Filter::install(prog, index, false).map_err(|errno| failed(name, false, errno))?;
    // Dropped, it would take the filter away. It holds no memory.
    std::mem::forget(filter);
    Ok(())
}

/// The filters with programs of what an interface receives; none where it has no clsact qdisc.
pub fn held(index: u32) -> Result<Vec<HeldFilter>, Error> {
    let failed = |errno| Error::os("list filters of an interface", errno);
    let mut netlink = Netlink::open().map_err(failed)?;
    let list = match netlink.request(RTM_GETTFILTER, netlink::DUMP, &message(index, 0, INGRESS, 0)) {
        Ok(list) => list,
        Err(Errno::INVAL | Errno::NOENT) => return Ok(Vec::new()),
        Err(errno) => return Err(failed(errno)),
    };
    let filter = |body: &[u8]| {
        let (_, options) =
            netlink::attributes(body.get(MESSAGE..)?).find(|(kind, _)| *kind == TCA_OPTIONS)?;
        let (_, id) = netlink::attributes(options).find(|(kind, _)| *kind == TCA_BPF_ID)?;
        Some(HeldFilter {
            program: u32_at(id, 0),
            interface: index,
            handle: u32_at(body, 8),
            info: u32_at(body, 16),
        })
    };
    Ok(list.iter().filter(|m| m.kind == RTM_NEWTFILTER).filter_map(|m| filter(&m.body)).collect())
}

impl HeldFilter {
    /// Gives it another program, in one step: each packet is seen by the old or by the new one.
    pub fn replace(&self, prog: &Prog) -> Result<(), Error> {
        let body = runs(message(self.interface, self.handle, INGRESS, self.info), prog);
        let replaced = Netlink::open().and_then(|mut netlink| netlink.request(RTM_NEWTFILTER, 0, &body));
        replaced.map(drop).map_err(|errno| Error::os("give a filter of an interface another program", errno))
    }

    /// Takes it away, and the qdisc with the last of its filters.
    pub fn release(&self) -> Result<(), Error> {
        let HeldFilter { interface, handle, info, .. } = *self;
        let filter = Filter { interface, parent: INGRESS, handle, info, own_qdisc: true };
        let removed = filter.remove();
        std::mem::forget(filter);
        removed.map_err(|errno| Error::os("take a filter off an interface", errno))
    }
}

/// The message of a filter with its program.
fn runs(mut body: Vec<u8>, prog: &Prog) -> Vec<u8> {
    put(&mut body, TCA_KIND, b"bpf\0");
    let mut options = Vec::new();
    put(&mut options, TCA_BPF_FD, &prog.as_fd().as_raw_fd().to_ne_bytes());
    put(&mut options, TCA_BPF_NAME, b"skep\0");
    put(&mut options, TCA_BPF_FLAGS, &DIRECT.to_ne_bytes());
    put(&mut body, TCA_OPTIONS, &options);
    body
}

/// Makes the clsact qdisc; whether it was not there before.
fn make_qdisc(netlink: &mut Netlink, interface: u32) -> Result<bool, Errno> {
    let mut body = message(interface, CLSACT_HANDLE, CLSACT, 0);
    put(&mut body, TCA_KIND, b"clsact\0");
    match netlink.request(RTM_NEWQDISC, netlink::CREATE | netlink::EXCL, &body) {
        Ok(_) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Whether a clsact qdisc has filters, in either direction.
fn is_used(netlink: &mut Netlink, interface: u32) -> Result<bool, Errno> {
    for parent in [INGRESS, EGRESS] {
        let list = netlink.request(RTM_GETTFILTER, netlink::DUMP, &message(interface, 0, parent, 0))?;
        if list.iter().any(|m| m.kind == RTM_NEWTFILTER) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// struct tcmsg.
fn message(interface: u32, handle: u32, parent: u32, info: u32) -> Vec<u8> {
    let mut body = Vec::with_capacity(MESSAGE);
    body.extend([0; 4]);
    for word in [interface, handle, parent, info] {
        body.extend(word.to_ne_bytes());
    }
    body
}
