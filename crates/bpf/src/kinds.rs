//! Kinds of programs, maps and attachments with their kernel numbers (include/uapi/linux/bpf.h, Linux 6.18).

/// `enum bpf_prog_type`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u32)]
pub enum ProgType {
    /// Socket filter.
    SocketFilter = 1,
    /// kprobe, uprobe, and their multi forms. Context: `struct pt_regs`.
    Kprobe = 2,
    /// TC classifier. Context: `struct __sk_buff`.
    SchedCls = 3,
    /// Tracepoint through perf. Context: the tracepoint's record.
    Tracepoint = 5,
    /// XDP. Context: `struct xdp_md`.
    Xdp = 6,
    /// perf event (profile, interval, software, hardware). Context: `struct bpf_perf_event_data`.
    PerfEvent = 7,
    /// cgroup ingress or egress packets.
    CgroupSkb = 8,
    /// Raw tracepoint. Context: array of u64 arguments.
    RawTracepoint = 17,
    /// cgroup connect, bind, sendmsg.
    CgroupSockAddr = 18,
    /// tp_btf, fentry, fexit, iterators. Context: array of u64 typed arguments (iterators: a context struct).
    Tracing = 26,
    /// LSM hooks.
    Lsm = 29,
    /// A program that user space runs (5.14).
    Syscall = 31,
}

/// `enum bpf_attach_type`, where a program's load needs it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u32)]
pub enum AttachType {
    /// No particular one (zero).
    None = 0,
    /// tp_btf.
    TraceRawTp = 23,
    /// fentry.
    TraceFentry = 24,
    /// fexit.
    TraceFexit = 25,
    /// LSM hook.
    LsmMac = 27,
    /// Iterator.
    TraceIter = 28,
    /// kprobe.multi (5.18).
    TraceKprobeMulti = 42,
    /// uprobe.multi (6.6).
    TraceUprobeMulti = 48,
    /// kprobe.multi whose program runs at entry and at return (6.10).
    TraceKprobeSession = 56,
}

/// `enum bpf_map_type`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u32)]
pub enum MapType {
    /// Hash table.
    Hash = 1,
    /// Array indexed by u32.
    Array = 2,
    /// Array of programs, for tail calls.
    ProgArray = 3,
    /// Array of perf events.
    PerfEventArray = 4,
    /// Hash table with one value per CPU.
    PercpuHash = 5,
    /// Array with one value per CPU.
    PercpuArray = 6,
    /// Stack traces by id.
    StackTrace = 7,
    /// Hash table that drops the least recently used entry when full.
    LruHash = 9,
    /// The same with one value per CPU.
    LruPercpuHash = 10,
    /// Longest-prefix match.
    LpmTrie = 11,
    /// Array of maps.
    ArrayOfMaps = 12,
    /// Hash of maps.
    HashOfMaps = 13,
    /// Devices by index.
    Devmap = 14,
    /// CPUs to send packets to.
    Cpumap = 16,
    /// Sockets by key.
    Sockhash = 18,
    /// Devices by key.
    DevmapHash = 25,
    /// Ring buffer (5.8).
    Ringbuf = 27,
    /// Value per task (5.11).
    TaskStorage = 29,
}

/// Flags of map creation (`BPF_F_*`).
pub mod map_flags {
    /// Do not allocate all entries at creation.
    pub const NO_PREALLOC: u32 = 1;
    /// Programs may only read.
    pub const RDONLY_PROG: u32 = 1 << 7;
    /// User space may map the values (arrays).
    pub const MMAPABLE: u32 = 1 << 10;
}

macro_rules! numbers {
    ($($name:ident { $($variant:ident)* })*) => {
        $(impl $name {
            /// The kind with the kernel's number `number`; `None` for one that is not known here.
            pub fn from_number(number: u32) -> Option<$name> {
                // A variant that is missing below is an error here.
                let known = |kind: $name| match kind {
                    $($name::$variant => kind as u32 == number,)*
                };
                [$($name::$variant),*].into_iter().find(|kind| known(*kind))
            }
        })*
    };
}

numbers! {
    ProgType {
        SocketFilter Kprobe SchedCls Tracepoint Xdp PerfEvent CgroupSkb RawTracepoint CgroupSockAddr Tracing
        Lsm Syscall
    }
    AttachType {
        None TraceRawTp TraceFentry TraceFexit LsmMac TraceIter TraceKprobeMulti TraceUprobeMulti
        TraceKprobeSession
    }
    MapType {
        Hash Array ProgArray PerfEventArray PercpuHash PercpuArray StackTrace LruHash LruPercpuHash LpmTrie
        ArrayOfMaps HashOfMaps Devmap Cpumap Sockhash DevmapHash Ringbuf TaskStorage
    }
}
