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
    /// TC action. Context: `struct __sk_buff`.
    SchedAct = 4,
    /// Tracepoint through perf. Context: the tracepoint's record.
    Tracepoint = 5,
    /// XDP. Context: `struct xdp_md`.
    Xdp = 6,
    /// perf event (profile, interval, software, hardware). Context: `struct bpf_perf_event_data`.
    PerfEvent = 7,
    /// cgroup ingress or egress packets.
    CgroupSkb = 8,
    /// cgroup socket creation and release. Context: `struct bpf_sock`.
    CgroupSock = 9,
    /// Lightweight tunnel, input.
    LwtIn = 10,
    /// Lightweight tunnel, output.
    LwtOut = 11,
    /// Lightweight tunnel, transmission.
    LwtXmit = 12,
    /// TCP events of a cgroup. Context: `struct bpf_sock_ops`.
    SockOps = 13,
    /// Parser and verdict of a sockmap. Context: `struct __sk_buff`.
    SkSkb = 14,
    /// Device access of a cgroup. Context: `struct bpf_cgroup_dev_ctx`.
    CgroupDevice = 15,
    /// sendmsg on sockets of a sockmap. Context: `struct sk_msg_md`.
    SkMsg = 16,
    /// Raw tracepoint. Context: array of u64 arguments.
    RawTracepoint = 17,
    /// cgroup connect, bind, sendmsg.
    CgroupSockAddr = 18,
    /// Lightweight tunnel with segment routing.
    LwtSeg6local = 19,
    /// Infrared decoder.
    LircMode2 = 20,
    /// Choice of a socket of a reuseport group. Context: `struct sk_reuseport_md`.
    SkReuseport = 21,
    /// Dissector of flows. Context: `struct __sk_buff`.
    FlowDissector = 22,
    /// sysctl reads and writes of a cgroup. Context: `struct bpf_sysctl`.
    CgroupSysctl = 23,
    /// Raw tracepoint that may write its buffer. Context: array of u64 arguments.
    RawTracepointWritable = 24,
    /// getsockopt and setsockopt of a cgroup. Context: `struct bpf_sockopt`.
    CgroupSockopt = 25,
    /// tp_btf, fentry, fexit, iterators. Context: array of u64 typed arguments (iterators: a context struct).
    Tracing = 26,
    /// Functions of a kernel struct of operations. Context: array of u64 typed arguments.
    StructOps = 27,
    /// Replacement of a function of another program.
    Ext = 28,
    /// LSM hooks.
    Lsm = 29,
    /// Socket lookup of a network namespace. Context: `struct bpf_sk_lookup`.
    SkLookup = 30,
    /// A program that user space runs (5.14).
    Syscall = 31,
    /// Netfilter hook (6.4). Context: `struct bpf_nf_ctx`.
    Netfilter = 32,
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
    /// Array of cgroups.
    CgroupArray = 8,
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
    /// Sockets by index.
    Sockmap = 15,
    /// CPUs to send packets to.
    Cpumap = 16,
    /// AF_XDP sockets by index.
    Xskmap = 17,
    /// Sockets by key.
    Sockhash = 18,
    /// Value per cgroup that the program is attached to (`bpf_get_local_storage`).
    CgroupStorage = 19,
    /// Sockets of reuseport groups by index.
    ReuseportSockarray = 20,
    /// Value per cgroup that the program is attached to, and per CPU.
    PercpuCgroupStorage = 21,
    /// First in, first out (4.20).
    Queue = 22,
    /// Last in, first out (4.20).
    Stack = 23,
    /// Value per socket (5.2).
    SkStorage = 24,
    /// Devices by key.
    DevmapHash = 25,
    /// Functions of a kernel struct of operations (5.6).
    StructOps = 26,
    /// Ring buffer (5.8).
    Ringbuf = 27,
    /// Value per inode (5.10).
    InodeStorage = 28,
    /// Value per task (5.11).
    TaskStorage = 29,
    /// Set that is asked whether it may hold a value (5.16).
    BloomFilter = 30,
    /// Ring buffer that user space writes (6.1).
    UserRingbuf = 31,
    /// Value per cgroup (6.2).
    CgrpStorage = 32,
    /// Memory that programs and user space share (6.9).
    Arena = 33,
}

/// Flags of map creation (`BPF_F_*`).
pub mod map_flags {
    /// Do not allocate all entries at creation.
    pub const NO_PREALLOC: u32 = 1;
    /// A list of least recently used entries for each CPU.
    pub const NO_COMMON_LRU: u32 = 1 << 1;
    /// Allocate on a given NUMA node.
    pub const NUMA_NODE: u32 = 1 << 2;
    /// User space may only read.
    pub const RDONLY: u32 = 1 << 3;
    /// User space may only write.
    pub const WRONLY: u32 = 1 << 4;
    /// Stack trace maps hold build ids and offsets.
    pub const STACK_BUILD_ID: u32 = 1 << 5;
    /// Hash without a random seed.
    pub const ZERO_SEED: u32 = 1 << 6;
    /// Programs may only read.
    pub const RDONLY_PROG: u32 = 1 << 7;
    /// Programs may only write.
    pub const WRONLY_PROG: u32 = 1 << 8;
    /// Cloned sockets get a copy of the storage.
    pub const CLONE: u32 = 1 << 9;
    /// User space may map the values (arrays).
    pub const MMAPABLE: u32 = 1 << 10;
    /// Perf events stay when their file is closed.
    pub const PRESERVE_ELEMS: u32 = 1 << 11;
    /// Inner maps of any size.
    pub const INNER_MAP: u32 = 1 << 12;
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
        SocketFilter Kprobe SchedCls SchedAct Tracepoint Xdp PerfEvent CgroupSkb CgroupSock LwtIn LwtOut
        LwtXmit SockOps SkSkb CgroupDevice SkMsg RawTracepoint CgroupSockAddr LwtSeg6local LircMode2
        SkReuseport FlowDissector CgroupSysctl RawTracepointWritable CgroupSockopt Tracing StructOps Ext Lsm
        SkLookup Syscall Netfilter
    }
    AttachType {
        None TraceRawTp TraceFentry TraceFexit LsmMac TraceIter TraceKprobeMulti TraceUprobeMulti
        TraceKprobeSession
    }
    MapType {
        Hash Array ProgArray PerfEventArray PercpuHash PercpuArray StackTrace CgroupArray LruHash
        LruPercpuHash LpmTrie ArrayOfMaps HashOfMaps Devmap Sockmap Cpumap Xskmap Sockhash CgroupStorage
        ReuseportSockarray PercpuCgroupStorage Queue Stack SkStorage DevmapHash StructOps Ringbuf InodeStorage
        TaskStorage BloomFilter UserRingbuf CgrpStorage Arena
    }
}
