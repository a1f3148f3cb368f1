//! LINK_CREATE, RAW_TRACEPOINT_OPEN and ITER_CREATE: a program and a place enter, a descriptor that holds the
//! attachment leaves.

use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::attr::{
    IterCreate, LinkInterface, LinkIter, LinkKprobeMulti, LinkPerf, LinkTracing, LinkUprobeMulti,
    RawTracepoint, RawTracepointCookie, attach, cmd,
};
use super::bpf::{address, call_fd, raw};

fn count(slice: &[impl Sized]) -> Result<u32, Errno> {
    u32::try_from(slice.len()).map_err(|_| Errno::TOOBIG)
}

fn same_length(cnt: u32, others: &[&[u64]]) -> Result<(), Errno> {
    let fits = others.iter().all(|o| o.is_empty() || o.len() == cnt as usize);
    if fits { Ok(()) } else { Err(Errno::INVAL) }
}

/// A program on a raw tracepoint (`name`), or a typed one (`None`: the place is in the program). A cookie other than
/// 0 needs 6.10.
pub(crate) fn raw_tracepoint(
    prog: BorrowedFd<'_>,
    name: Option<&CStr>,
    cookie: u64,
) -> Result<OwnedFd, Errno> {
    let name = name.map_or(0, |n| n.as_ptr() as u64);
    if cookie == 0 {
        let mut attr = RawTracepoint { name, prog_fd: raw(prog), pad: 0 };
        // SAFETY: `name` is null or a C string that outlives the call; the command gives a descriptor.
        return unsafe { call_fd(cmd::RAW_TRACEPOINT_OPEN, &mut attr) };
    }
    let mut attr = RawTracepointCookie { name, prog_fd: raw(prog), pad: 0, cookie };
    // SAFETY: as above.
    unsafe { call_fd(cmd::RAW_TRACEPOINT_OPEN, &mut attr) }
}

/// A typed program (fentry, fexit, tp_btf, LSM) on its own target, with a cookie (fentry 5.19, tp_btf 6.10).
pub(crate) fn tracing(prog: BorrowedFd<'_>, attach_type: u32, cookie: u64) -> Result<OwnedFd, Errno> {
    let mut attr = LinkTracing { prog_fd: raw(prog), attach_type, cookie, ..LinkTracing::default() };
    // SAFETY: the structure holds no pointer; the command gives a descriptor.
    unsafe { call_fd(cmd::LINK_CREATE, &mut attr) }
}

/// A program on a hook of `target`: a descriptor of a cgroup or namespace, or the index of an interface.
pub(crate) fn on_target(prog: BorrowedFd<'_>, target: u32, attach_type: u32) -> Result<OwnedFd, Errno> {
    let mut attr = LinkPerf { prog_fd: raw(prog), target_fd: target, attach_type, ..LinkPerf::default() };
    // SAFETY: the structure holds no pointer; the command gives a descriptor.
    unsafe { call_fd(cmd::LINK_CREATE, &mut attr) }
}

/// A program on a perf event (5.15).
pub(crate) fn perf_event(prog: BorrowedFd<'_>, event: BorrowedFd<'_>, cookie: u64) -> Result<OwnedFd, Errno> {
    let mut attr = LinkPerf {
        prog_fd: raw(prog),
        target_fd: raw(event),
        attach_type: attach::PERF_EVENT,
        cookie,
        ..LinkPerf::default()
    };
    // SAFETY: the structure holds no pointer; the command gives a descriptor.
    unsafe { call_fd(cmd::LINK_CREATE, &mut attr) }
}

/// Kinds of attachment to a network interface (`enum bpf_attach_type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Hook {
    /// XDP (5.9).
    Xdp = 37,
    /// tcx, received (6.6).
    TcxIngress = 46,
    /// tcx, sent (6.6).
    TcxEgress = 47,
}

/// A program on the network interface of that index; `flags` are the hook's own.
pub(crate) fn interface(prog: BorrowedFd<'_>, hook: Hook, index: u32, flags: u32) -> Result<OwnedFd, Errno> {
    let attach_type = hook as u32;
    let mut attr = LinkInterface { prog_fd: raw(prog), ifindex: index, attach_type, flags };
    // SAFETY: the structure holds no pointer; the command gives a descriptor.
    unsafe { call_fd(cmd::LINK_CREATE, &mut attr) }
}

/// `bpf_iter_link_info.cgroup`: from the root on each cgroup before what is in it (`BPF_CGROUP_ITER_DESCENDANTS_PRE`).
const ALL_CGROUPS: [u32; 4] = [2, 0, 0, 0];

/// An iterator over all that there is. The one over cgroups has to be told so.
pub(crate) fn iterator(prog: BorrowedFd<'_>, attach_type: u32, cgroups: bool) -> Result<OwnedFd, Errno> {
    let mut attr = LinkIter { prog_fd: raw(prog), attach_type, ..LinkIter::default() };
    if cgroups {
        attr.iter_info = address(&ALL_CGROUPS);
        attr.iter_info_len = size_of_val(&ALL_CGROUPS) as u32;
    }
    // SAFETY: the structure's pointer is null with length zero, or to a constant of the length given; the command gives
    // a descriptor.
    unsafe { call_fd(cmd::LINK_CREATE, &mut attr) }
}

/// A file whose reading runs the iterator `link` once.
pub(crate) fn iter_create(link: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let mut attr = IterCreate { link_fd: raw(link), flags: 0 };
    // SAFETY: the structure holds no pointer; the command gives a descriptor.
    unsafe { call_fd(cmd::ITER_CREATE, &mut attr) }
}

/// kprobe.multi over functions by name; `cookies` empty or one for each.
pub(crate) fn kprobe_multi(
    prog: BorrowedFd<'_>,
    attach_type: u32,
    symbols: &[&CStr],
    cookies: &[u64],
    ret: bool,
) -> Result<OwnedFd, Errno> {
    let cnt = count(symbols)?;
    same_length(cnt, &[cookies])?;
    let pointers: Vec<u64> = symbols.iter().map(|s| s.as_ptr() as u64).collect();
    let mut attr = LinkKprobeMulti {
        prog_fd: raw(prog),
        attach_type,
        multi_flags: u32::from(ret),
        cnt,
        syms: address(&pointers),
        cookies: address(cookies),
        ..LinkKprobeMulti::default()
    };
    // SAFETY: `pointers` holds `cnt` C strings, `cookies` none or `cnt` numbers; all outlive the call.
    unsafe { call_fd(cmd::LINK_CREATE, &mut attr) }
}

/// What uprobe.multi takes.
#[derive(Clone, Copy, Default)]
pub(crate) struct UprobeMulti<'a> {
    /// The binary.
    pub(crate) path: &'a CStr,
    /// File offsets of the instructions.
    pub(crate) offsets: &'a [u64],
    /// File offsets of reference counters, empty or one for each.
    pub(crate) ref_ctrs: &'a [u64],
    /// Cookies, empty or one for each.
    pub(crate) cookies: &'a [u64],
    /// At return.
    pub(crate) ret: bool,
    /// Only this process (0: all).
    pub(crate) pid: u32,
}

/// uprobe.multi.
pub(crate) fn uprobe_multi(
    prog: BorrowedFd<'_>,
    attach_type: u32,
    request: &UprobeMulti<'_>,
) -> Result<OwnedFd, Errno> {
    let cnt = count(request.offsets)?;
    same_length(cnt, &[request.ref_ctrs, request.cookies])?;
    let mut attr = LinkUprobeMulti {
        prog_fd: raw(prog),
        attach_type,
        path: request.path.as_ptr() as u64,
        offsets: address(request.offsets),
        ref_ctr_offsets: address(request.ref_ctrs),
        cookies: address(request.cookies),
        cnt,
        multi_flags: u32::from(request.ret),
        pid: request.pid,
        ..LinkUprobeMulti::default()
    };
    // SAFETY: `path` is a C string; each array is empty (null) or holds `cnt` numbers; all outlive the call.
    unsafe { call_fd(cmd::LINK_CREATE, &mut attr) }
}
