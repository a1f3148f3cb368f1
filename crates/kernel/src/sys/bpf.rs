//! The bpf(2) call. Typed attributes enter, a non-negative result or an errno leaves; pointers in the attributes are
//! made from slices that outlive the call, with lengths checked by the one function that makes each call.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use super::attr::{Attr, BtfInfo, BtfLoad, Id, Info, MapBatch, MapElem, ProgInfo, ProgLoad, TestRun, cmd};

/// How often a call that a signal interrupted, or a load that the verifier put off (EAGAIN), is tried again.
const RETRIES: u32 = 8;

/// bpf(2) with command `command`. EINTR is retried, and EAGAIN of program loads (kernel/bpf/verifier.c gives it when
/// a signal is pending, since 5.10).
///
/// # Safety
/// Every pointer in `attr` is zero or points to memory that the command may read or write as far as it does.
pub(super) unsafe fn call<A: Attr>(command: u32, attr: &mut A) -> Result<i32, Errno> {
    #[cfg(test)]
    if let Some(answer) = super::fake::answer(command) {
        return answer;
    }
    let mut tries = 0;
    loop {
        // SAFETY: `attr` is a live, exclusively borrowed structure of exactly the given size without padding
        // (`Attr`), and its pointers are the caller's promise.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                libc::c_long::from(command),
                std::ptr::from_mut(attr),
                size_of::<A>(),
            )
        };
        if result >= 0 {
            return Ok(result as i32);
        }
        let errno = last_errno();
        let again = errno == Errno::INTR || (errno == Errno::AGAIN && command == cmd::PROG_LOAD);
        if !again || tries == RETRIES {
            return Err(errno);
        }
        tries += 1;
    }
}

/// A call whose result is a new file descriptor.
///
/// # Safety
/// As [`call`], and `command` gives a file descriptor.
pub(super) unsafe fn call_fd<A: Attr>(command: u32, attr: &mut A) -> Result<OwnedFd, Errno> {
    // SAFETY: the caller's promise.
    let fd = unsafe { call(command, attr) }?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The errno of the last failed call of this thread.
pub(super) fn last_errno() -> Errno {
    let error = std::io::Error::last_os_error();
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// A descriptor as the kernel's structures hold it.
pub(super) fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

/// Address of a slice's first byte, 0 for an empty slice.
pub(super) fn address<T>(slice: &[T]) -> u64 {
    if slice.is_empty() { 0 } else { slice.as_ptr() as u64 }
}

pub(super) fn address_mut<T>(slice: &mut [T]) -> u64 {
    if slice.is_empty() { 0 } else { slice.as_mut_ptr() as u64 }
}

/// MAP_LOOKUP_ELEM, MAP_UPDATE_ELEM, MAP_DELETE_ELEM or MAP_GET_NEXT_KEY.
///
/// # Safety
/// `key` and `value` have at least the bytes that the map's definition makes the kernel read and write.
pub(super) unsafe fn map_elem(
    command: u32,
    map: BorrowedFd<'_>,
    key: &[u8],
    value: &mut [u8],
    flags: u64,
) -> Result<(), Errno> {
    let mut attr = MapElem {
        map_fd: raw(map),
        key: address(key),
        value: address_mut(value),
        flags,
        ..MapElem::default()
    };
    // SAFETY: `key` and `value` outlive the call and are long enough, by the caller's promise.
    unsafe { call(command, &mut attr) }.map(|_| ())
}

/// MAP_LOOKUP_BATCH: fills `keys` and `values` from behind the position `from` (`None`: the start), gives how many
/// entries came, and whether these were the last.
///
/// # Safety
/// `keys` and `values` hold `count` keys and values of the map; `from` and `next` are long enough for its position
/// (the longer of a key and 4 bytes).
pub(super) unsafe fn map_lookup_batch(
    map: BorrowedFd<'_>,
    from: Option<&[u8]>,
    next: &mut [u8],
    keys: &mut [u8],
    values: &mut [u8],
    count: u32,
) -> Result<(u32, bool), Errno> {
    let mut attr = MapBatch {
        in_batch: from.map_or(0, address),
        out_batch: address_mut(next),
        keys: address_mut(keys),
        values: address_mut(values),
        count,
        map_fd: raw(map),
        ..MapBatch::default()
    };
    // SAFETY: the slices outlive the call and are long enough, by the caller's promise.
    match unsafe { call(cmd::MAP_LOOKUP_BATCH, &mut attr) } {
        Ok(_) => Ok((attr.count.min(count), false)),
        Err(Errno::NOENT) => Ok((attr.count.min(count), true)),
        Err(errno) => Err(errno),
    }
}

/// MAP_UPDATE_BATCH or MAP_DELETE_BATCH (which takes no values) of `count` entries: how many were done, and why not all.
///
/// # Safety
/// `keys` and, for updates, `values` hold `count` keys and values of the map.
pub(super) unsafe fn map_change_batch(
    command: u32,
    map: BorrowedFd<'_>,
    keys: &[u8],
    values: &[u8],
    count: u32,
) -> (u32, Result<(), Errno>) {
    let mut attr = MapBatch {
        keys: address(keys),
        values: address(values),
        count,
        map_fd: raw(map),
        ..MapBatch::default()
    };
    // SAFETY: the slices outlive the call and are long enough, by the caller's promise.
    let result = unsafe { call(command, &mut attr) }.map(|_| ());
    let done = match result {
        Ok(()) => count,
        // A kernel that does not know the command, or not for this kind of map, leaves the count as it was.
        Err(_) if attr.count >= count => 0,
        Err(_) => attr.count,
    };
    (done, result)
}

/// What PROG_LOAD takes, with slices in place of pointers.
#[derive(Clone, Copy, Default)]
pub(crate) struct LoadRequest<'a> {
    /// `enum bpf_prog_type`.
    pub(crate) prog_type: u32,
    /// `enum bpf_attach_type`.
    pub(crate) attach_type: u32,
    /// Eight bytes each.
    pub(crate) insns: &'a [[u8; 8]],
    /// License, without its NUL.
    pub(crate) license: &'a std::ffi::CStr,
    /// NUL-padded.
    pub(crate) name: [u8; 16],
    /// `BPF_F_*`.
    pub(crate) flags: u32,
    /// LINUX_VERSION_CODE, which kprobe programs needed before 5.0.
    pub(crate) kern_version: u32,
    /// Program BTF with its func and line info.
    pub(crate) btf: Option<BorrowedFd<'a>>,
    /// bpf_func_info records.
    pub(crate) funcs: &'a [super::attr::FuncInfo],
    /// bpf_line_info records.
    pub(crate) lines: &'a [super::attr::LineInfo],
    /// BTF id of the attach target, 0: none.
    pub(crate) attach_btf_id: u32,
    /// BTF of the module that has the target.
    pub(crate) attach_btf: Option<BorrowedFd<'a>>,
    /// Descriptors that kfunc calls name by index.
    pub(crate) fd_array: &'a [u32],
}

/// PROG_LOAD; the verifier's log goes to `log` when it is not empty, at `log_level`.
pub(crate) fn prog_load(request: &LoadRequest<'_>, log: &mut [u8], log_level: u32) -> Result<OwnedFd, Errno> {
    let with_btf = request.btf.is_some();
    let mut attr = ProgLoad {
        prog_type: request.prog_type,
        insn_cnt: u32::try_from(request.insns.len()).map_err(|_| Errno::TOOBIG)?,
        insns: address(request.insns),
        license: request.license.as_ptr() as u64,
        log_level: if log.is_empty() { 0 } else { log_level },
        log_size: u32::try_from(log.len()).map_err(|_| Errno::TOOBIG)?,
        log_buf: address_mut(log),
        kern_version: request.kern_version,
        prog_flags: request.flags,
        prog_name: request.name,
        expected_attach_type: request.attach_type,
        prog_btf_fd: request.btf.map_or(0, raw),
        attach_btf_id: request.attach_btf_id,
        attach_btf_obj_fd: request.attach_btf.map_or(0, raw),
        fd_array: address(request.fd_array),
        ..ProgLoad::default()
    };
    if with_btf && !request.funcs.is_empty() {
        attr.func_info = address(request.funcs);
        attr.func_info_cnt = request.funcs.len() as u32;
        attr.func_info_rec_size = size_of::<super::attr::FuncInfo>() as u32;
    }
    if with_btf && !request.lines.is_empty() {
        attr.line_info = address(request.lines);
        attr.line_info_cnt = request.lines.len() as u32;
        attr.line_info_rec_size = size_of::<super::attr::LineInfo>() as u32;
    }
    // SAFETY: all pointers come from slices borrowed for this call with their true lengths; the license ends in NUL.
    unsafe { call_fd(cmd::PROG_LOAD, &mut attr) }
}

/// BTF_LOAD.
pub(crate) fn btf_load(btf: &[u8], log: &mut [u8]) -> Result<OwnedFd, Errno> {
    let mut attr = BtfLoad {
        btf: address(btf),
        btf_size: u32::try_from(btf.len()).map_err(|_| Errno::TOOBIG)?,
        log_buf: address_mut(log),
        log_size: u32::try_from(log.len()).map_err(|_| Errno::TOOBIG)?,
        log_level: u32::from(!log.is_empty()),
        ..BtfLoad::default()
    };
    // SAFETY: both pointers come from slices borrowed for this call with their true lengths.
    unsafe { call_fd(cmd::BTF_LOAD, &mut attr) }
}

/// Runs a program once with context `ctx` (of a raw tracepoint: u64 arguments) and gives its return value.
pub(crate) fn test_run(prog: BorrowedFd<'_>, ctx: &[u64]) -> Result<u32, Errno> {
    let mut attr = TestRun {
        prog_fd: raw(prog),
        ctx_in: address(ctx),
        ctx_size_in: u32::try_from(size_of_val(ctx)).map_err(|_| Errno::TOOBIG)?,
        ..TestRun::default()
    };
    // SAFETY: `ctx` outlives the call and has the given length; no output buffer is given.
    unsafe { call(cmd::PROG_TEST_RUN, &mut attr) }?;
    Ok(attr.retval)
}

/// Bytes of a frame that programs are run on: an Ethernet header, the least that the kernel takes
/// (bpf_prog_test_run_xdp, net/bpf/test_run.c, Linux 5.10).
const FRAME: usize = 14;

/// Runs an XDP program `repeat` times on a frame of zeros; what it returned last and the average time of a run in
/// nanoseconds.
pub(crate) fn test_run_frame(prog: BorrowedFd<'_>, repeat: u32) -> Result<(u32, u32), Errno> {
    let frame = [0u8; FRAME];
    let mut attr = TestRun {
        prog_fd: raw(prog),
        data_in: address(&frame),
        data_size_in: FRAME as u32,
        repeat,
        ..TestRun::default()
    };
    // SAFETY: `frame` outlives the call and has the given length; no output buffer is given.
    unsafe { call(cmd::PROG_TEST_RUN, &mut attr) }?;
    Ok((attr.retval, attr.duration))
}

/// Runs an XDP program `repeat` times on a frame that came in on the interface with this index; what it returned last and the
/// average time of a run in nanoseconds. Each run finds the frame as the run before left it.
pub(crate) fn test_run_time(
    prog: BorrowedFd<'_>,
    frame: &[u8],
    interface: u32,
    repeat: u32,
) -> Result<(u32, u32), Errno> {
    test_run_xdp(prog, frame, interface, (repeat, 0), &mut [])
}

/// Runs an XDP program once on a frame that came in on the interface with this index; what it returned. `out` begins with the frame as it is then.
pub(crate) fn test_run_changed(
    prog: BorrowedFd<'_>,
    frame: &[u8],
    interface: u32,
    out: &mut [u8],
) -> Result<u32, Errno> {
    test_run_xdp(prog, frame, interface, (1, 0), out).map(|(verdict, _)| verdict)
}

fn test_run_xdp(
    prog: BorrowedFd<'_>,
    frame: &[u8],
    interface: u32,
    (repeat, flags): (u32, u32),
    out: &mut [u8],
) -> Result<(u32, u32), Errno> {
    let length = u32::try_from(frame.len()).map_err(|_| Errno::TOOBIG)?;
    // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let context = [0, length, 0, interface, 0, 0];
    let mut attr = TestRun {
        prog_fd: raw(prog),
        data_in: address(frame),
        data_size_in: length,
        data_out: if out.is_empty() { 0 } else { address_mut(out) },
        data_size_out: u32::try_from(out.len()).map_err(|_| Errno::TOOBIG)?,
        ctx_in: address(&context),
        ctx_size_in: size_of_val(&context) as u32,
        repeat,
        flags,
        ..TestRun::default()
    };
    // SAFETY: `frame`, `context` and `out` outlive the call and have the given lengths.
    unsafe { call(cmd::PROG_TEST_RUN, &mut attr) }?;
    Ok((attr.retval, attr.duration))
}

/// Runs a program once on a packet, which it may change in place up to the length of `out`; what it returned and how many bytes
/// the packet has then.
pub(crate) fn test_run_packet(
    prog: BorrowedFd<'_>,
    packet: &[u8],
    out: &mut [u8],
) -> Result<(u32, usize), Errno> {
    let mut attr = TestRun {
        prog_fd: raw(prog),
        data_in: address(packet),
        data_size_in: u32::try_from(packet.len()).map_err(|_| Errno::TOOBIG)?,
        data_out: address_mut(out),
        data_size_out: u32::try_from(out.len()).map_err(|_| Errno::TOOBIG)?,
        ..TestRun::default()
    };
    // SAFETY: `packet` and `out` outlive the call and have the given lengths.
    unsafe { call(cmd::PROG_TEST_RUN, &mut attr) }?;
    Ok((attr.retval, attr.data_size_out as usize))
}

/// `BPF_F_TEST_XDP_LIVE_FRAMES` (5.18).
const LIVE_FRAMES: u32 = 1 << 1;

/// Runs an XDP program `repeat` times on a frame as if it came in on the interface with this index, and does with each what
/// the program says (bpf_test_run_xdp_live, net/bpf/test_run.c, Linux 5.18).
pub(crate) fn test_run_live(
    prog: BorrowedFd<'_>,
    frame: &[u8],
    interface: u32,
    repeat: u32,
) -> Result<(), Errno> {
    test_run_xdp(prog, frame, interface, (repeat, LIVE_FRAMES), &mut []).map(drop)
}

/// The kernel's record of a program.
pub(crate) fn prog_info(prog: BorrowedFd<'_>) -> Result<ProgInfo, Errno> {
    let mut info = ProgInfo::default();
    let mut attr = Info {
        bpf_fd: raw(prog),
        info_len: size_of::<ProgInfo>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    // SAFETY: `info` is live and as long as `info_len` says; its own pointers and counts are zero, so the kernel
    // follows none.
    unsafe { call(cmd::OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(info)
}

/// Id and name of a loaded BTF ("vmlinux", a module's name, or empty for a program's).
pub(crate) fn btf_info(btf: BorrowedFd<'_>) -> Result<(u32, String), Errno> {
    let mut name = [0u8; 64];
    let mut info =
        BtfInfo { name: address_mut(&mut name), name_len: name.len() as u32, ..BtfInfo::default() };
    let mut attr = Info {
        bpf_fd: raw(btf),
        info_len: size_of::<BtfInfo>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    // SAFETY: `info` is live and as long as `info_len` says; it names a buffer of 64 bytes that is live too.
    unsafe { call(cmd::OBJ_GET_INFO_BY_FD, &mut attr) }?;
    let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
    Ok((info.id, String::from_utf8_lossy(&name[..end]).into_owned()))
}

/// The id of the first loaded BTF above `after`.
pub(crate) fn btf_next_id(after: u32) -> Result<u32, Errno> {
    let mut attr = Id { id: after, ..Id::default() };
    // SAFETY: the structure holds no pointer.
    unsafe { call(cmd::BTF_GET_NEXT_ID, &mut attr) }?;
    Ok(attr.next_id)
}

/// Opens a loaded BTF.
pub(crate) fn btf_by_id(id: u32) -> Result<OwnedFd, Errno> {
    let mut attr = Id { id, ..Id::default() };
    // SAFETY: the structure holds no pointer; the command gives a descriptor.
    unsafe { call_fd(cmd::BTF_GET_FD_BY_ID, &mut attr) }
}

/// Turns on run-time statistics of all programs while the result lives (5.8).
pub(crate) fn enable_stats() -> Result<OwnedFd, Errno> {
    let mut attr = super::attr::EnableStats { kind: 0 };
    // SAFETY: the structure holds no pointer; the command gives a descriptor.
    unsafe { call_fd(cmd::ENABLE_STATS, &mut attr) }
}
