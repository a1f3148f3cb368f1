//! perf_event_open(2) and the ioctls on its descriptors.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use super::attr::{PerfEventAttr, perf_flags};
use super::bpf::last_errno;

/// `_IO('$', 0)` and `_IOW('$', 8, __u32)` (include/uapi/linux/perf_event.h).
const IOC_ENABLE: libc::Ioctl = 0x2400;
const IOC_DISABLE: libc::Ioctl = 0x2401;
const IOC_SET_BPF: libc::Ioctl = 0x4004_2408;
const FLAG_FD_CLOEXEC: libc::c_ulong = 8;

/// `PERF_TYPE_SOFTWARE` and its `PERF_COUNT_SW_DUMMY`.
const TYPE_SOFTWARE: u32 = 1;
const SOFTWARE_DUMMY: u64 = 9;
const SOFTWARE_BPF_OUTPUT: u64 = 10;
/// `PERF_SAMPLE_TIME`, `PERF_SAMPLE_RAW`.
const SAMPLE_TIME: u64 = 1 << 2;
const SAMPLE_RAW: u64 = 1 << 10;
/// `PERF_TYPE_TRACEPOINT`.
pub(crate) const TYPE_TRACEPOINT: u32 = 2;
/// `PERF_TYPE_BREAKPOINT`.
const TYPE_BREAKPOINT: u32 = 5;

/// A perf event without file names.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Event {
    /// `PERF_TYPE_*` or a PMU's number.
    pub(crate) perf_type: u32,
    /// What of that type.
    pub(crate) config: u64,
    /// Period (in events or nanoseconds), or frequency in Hz when `frequency`.
    pub(crate) sample: u64,
    /// Whether `sample` is a frequency.
    pub(crate) frequency: bool,
    /// Children of the process count too.
    pub(crate) inherit: bool,
}

fn open(attr: &mut PerfEventAttr, pid: i32, cpu: i32) -> Result<OwnedFd, Errno> {
    attr.size = size_of::<PerfEventAttr>() as u32;
    // SAFETY: `attr` is live, as long as its `size` says, and its config words are numbers or (kprobe, uprobe PMUs)
    // pointers to C strings that the callers in this module keep alive.
    let fd = unsafe {
        libc::syscall(libc::SYS_perf_event_open, std::ptr::from_mut(attr), pid, cpu, -1i32, FLAG_FD_CLOEXEC)
    };
    if fd < 0 {
        return Err(last_errno());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Opens an event for process `pid` (-1: all) on `cpu` (-1: any, only with a process).
pub(crate) fn event(event: &Event, pid: i32, cpu: i32) -> Result<OwnedFd, Errno> {
    let mut flags = 0;
    if event.frequency {
        flags |= perf_flags::FREQ;
    }
    if event.inherit {
        flags |= perf_flags::INHERIT;
    }
    let mut attr = PerfEventAttr {
        perf_type: event.perf_type,
        config: event.config,
        sample_period: event.sample,
        flags,
        ..PerfEventAttr::default()
    };
    open(&mut attr, pid, cpu)
}

/// Opens an event that counts nothing but tells, in its ring buffer, of code that processes on `cpu` map, of their
/// children, and when they become another program.
pub(crate) fn mappings(cpu: i32) -> Result<OwnedFd, Errno> {
    let tell =
        perf_flags::MMAP | perf_flags::MMAP2 | perf_flags::COMM | perf_flags::COMM_EXEC | perf_flags::TASK;
    let mut attr = PerfEventAttr {
        perf_type: TYPE_SOFTWARE,
        config: SOFTWARE_DUMMY,
        sample_type: SAMPLE_TIME,
        flags: tell | perf_flags::SAMPLE_ID_ALL,
        ..PerfEventAttr::default()
    };
    open(&mut attr, -1, cpu)
}

/// Opens an event on `cpu` whose ring buffer takes what programs send through a perf event array; each record wakes the
/// reader.
pub(crate) fn output(cpu: i32) -> Result<OwnedFd, Errno> {
    let mut attr = PerfEventAttr {
        perf_type: TYPE_SOFTWARE,
        config: SOFTWARE_BPF_OUTPUT,
        sample_period: 1,
        sample_type: SAMPLE_RAW,
        wakeup_events: 1,
        ..PerfEventAttr::default()
    };
    let event = open(&mut attr, -1, cpu)?;
    enable(event.as_fd())?;
    Ok(event)
}

/// A hardware breakpoint.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Breakpoint {
    /// Address.
    pub(crate) address: u64,
    /// Bytes.
    pub(crate) len: u32,
    /// `HW_BREAKPOINT_*`.
    pub(crate) access: u32,
    /// Children and new threads count too.
    pub(crate) inherit: bool,
}

/// Opens a breakpoint, each hit an event, for process `pid` (-1: all) on `cpu` (-1: any, only with a process).
pub(crate) fn breakpoint(wanted: &Breakpoint, pid: i32, cpu: i32) -> Result<OwnedFd, Errno> {
    let mut attr = PerfEventAttr {
        perf_type: TYPE_BREAKPOINT,
        sample_period: 1,
        flags: if wanted.inherit { perf_flags::INHERIT } else { 0 },
        bp_type: wanted.access,
        config1: wanted.address,
        config2: u64::from(wanted.len),
        ..PerfEventAttr::default()
    };
    open(&mut attr, pid, cpu)
}

/// Opens an event of the kprobe or uprobe PMU: `name` is the function or the binary, `offset` in it. `config` is the
/// PMU's word: bit of a return probe, and for uprobes the reference counter's file offset in the upper half. Without a
/// name `offset` is the address in the kernel.
pub(crate) fn probe(
    pmu: u32,
    config: u64,
    name: Option<&CStr>,
    offset: u64,
    (pid, cpu): (i32, i32),
) -> Result<OwnedFd, Errno> {
    let mut attr = PerfEventAttr {
        perf_type: pmu,
        config,
        config1: name.map_or(0, |n| n.as_ptr() as u64),
        config2: offset,
        ..PerfEventAttr::default()
    };
    open(&mut attr, pid, cpu)
}

/// Attaches a program to the event; it runs from then on.
pub(crate) fn set_bpf(event: BorrowedFd<'_>, prog: BorrowedFd<'_>) -> Result<(), Errno> {
    ioctl(event, IOC_SET_BPF, libc::c_long::from(prog.as_raw_fd()))?;
    enable(event)
}

/// Lets an event count.
pub(crate) fn enable(event: BorrowedFd<'_>) -> Result<(), Errno> {
    ioctl(event, IOC_ENABLE, 0)
}

/// Stops an event.
pub(crate) fn disable(event: BorrowedFd<'_>) -> Result<(), Errno> {
    ioctl(event, IOC_DISABLE, 0)
}

fn ioctl(fd: BorrowedFd<'_>, request: libc::Ioctl, argument: libc::c_long) -> Result<(), Errno> {
    // SAFETY: these requests take a number, no pointer.
    if unsafe { libc::ioctl(fd.as_raw_fd(), request, argument) } < 0 { Err(last_errno()) } else { Ok(()) }
}
