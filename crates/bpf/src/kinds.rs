//! Kinds of programs, maps and attachments with their kernel numbers and names (include/uapi/linux/bpf.h, Linux 6.18, and
//! tools/lib/bpf/libbpf.c for the names, which are those that bpftool prints).

/// Enums of the kernel's numbers: number, variant, name, meaning.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident { $($number:literal $variant:ident $name:literal $what:literal;)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u32)]
        pub enum $kind {
            $(#[doc = $what] $variant = $number,)*
        }

        impl $kind {
            /// All of them, by number.
            pub const ALL: &[$kind] = &[$($kind::$variant),*];

            /// The kind with the kernel's number `number`; `None` for one that is not known here.
            pub fn from_number(number: u32) -> Option<$kind> {
                match number {
                    $($number => Some($kind::$variant),)*
                    _ => None,
                }
            }

            /// The name that libbpf and bpftool give it.
            pub fn name(self) -> &'static str {
                match self {
                    $($kind::$variant => $name,)*
                }
            }

            /// The kind of that name.
            pub fn from_name(name: &str) -> Option<$kind> {
                $kind::ALL.iter().copied().find(|kind| kind.name() == name)
            }
        }
    )*};
}

kinds! {
    /// `enum bpf_prog_type`.
    ProgType {
        1 SocketFilter "socket_filter" "Socket filter. Context: `struct __sk_buff`.";
        2 Kprobe "kprobe" "kprobe, uprobe, and their multi forms. Context: `struct pt_regs`.";
        3 SchedCls "sched_cls" "TC classifier. Context: `struct __sk_buff`.";
        4 SchedAct "sched_act" "TC action. Context: `struct __sk_buff`.";
        5 Tracepoint "tracepoint" "Tracepoint through perf. Context: the tracepoint's record.";
        6 Xdp "xdp" "XDP. Context: `struct xdp_md`.";
        7 PerfEvent "perf_event" "perf event (profile, interval, software, hardware). Context: `struct bpf_perf_event_data`.";
        8 CgroupSkb "cgroup_skb" "cgroup ingress or egress packets. Context: `struct __sk_buff`.";
        9 CgroupSock "cgroup_sock" "Creation and release of sockets, bind afterwards. Context: `struct bpf_sock`.";
        10 LwtIn "lwt_in" "Lightweight tunnel, incoming. Context: `struct __sk_buff`.";
        11 LwtOut "lwt_out" "Lightweight tunnel, outgoing. Context: `struct __sk_buff`.";
        12 LwtXmit "lwt_xmit" "Lightweight tunnel, before transmission. Context: `struct __sk_buff`.";
        13 SockOps "sock_ops" "Events of TCP connections. Context: `struct bpf_sock_ops`.";
        14 SkSkb "sk_skb" "Parser and verdict of stream sockets in a map. Context: `struct __sk_buff`.";
        15 CgroupDevice "cgroup_device" "Access to devices. Context: `struct bpf_cgroup_dev_ctx`.";
        16 SkMsg "sk_msg" "Messages of sockets in a map. Context: `struct sk_msg_md`.";
        17 RawTracepoint "raw_tracepoint" "Raw tracepoint. Context: array of u64 arguments.";
        18 CgroupSockAddr "cgroup_sock_addr" "cgroup connect, bind, sendmsg, recvmsg, names. Context: `struct bpf_sock_addr`.";
        19 LwtSeg6local "lwt_seg6local" "Segment routing. Context: `struct __sk_buff`.";
        20 LircMode2 "lirc_mode2" "Infrared decoder. Context: a u32.";
        21 SkReuseport "sk_reuseport" "Choice among sockets of one port. Context: `struct sk_reuseport_md`.";
        22 FlowDissector "flow_dissector" "Flow dissector. Context: `struct __sk_buff`.";
        23 CgroupSysctl "cgroup_sysctl" "Reads and writes of sysctls. Context: `struct bpf_sysctl`.";
        24 RawTracepointWritable "raw_tracepoint_writable" "Raw tracepoint whose first argument's target can be written (5.2).";
        25 CgroupSockopt "cgroup_sockopt" "getsockopt and setsockopt. Context: `struct bpf_sockopt`.";
        26 Tracing "tracing" "tp_btf, fentry, fexit, iterators. Context: array of u64 typed arguments (iterators: a context struct).";
        27 StructOps "struct_ops" "A function of a kernel structure of functions (5.6).";
        28 Ext "ext" "Replacement of a function of another program (5.6).";
        29 Lsm "lsm" "LSM hooks.";
        30 SkLookup "sk_lookup" "Choice of the socket for a new connection (5.9). Context: `struct bpf_sk_lookup`.";
        31 Syscall "syscall" "A program that user space runs (5.14).";
        32 Netfilter "netfilter" "A hook of netfilter (6.4). Context: `struct bpf_nf_ctx`.";
    }
    /// `enum bpf_attach_type`.
    AttachType {
        0 None "cgroup_inet_ingress" "No particular one; of cgroup packet programs: ingress.";
        1 CgroupInetEgress "cgroup_inet_egress" "cgroup packets, egress.";
        2 CgroupInetSockCreate "cgroup_inet_sock_create" "cgroup, creation of a socket.";
        3 CgroupSockOps "cgroup_sock_ops" "cgroup, events of TCP connections.";
        4 SkSkbStreamParser "sk_skb_stream_parser" "Sockets in a map, parser.";
        5 SkSkbStreamVerdict "sk_skb_stream_verdict" "Sockets in a map, verdict on streams.";
        6 CgroupDevice "cgroup_device" "cgroup, access to devices.";
        7 SkMsgVerdict "sk_msg_verdict" "Sockets in a map, verdict on messages.";
        8 CgroupInet4Bind "cgroup_inet4_bind" "cgroup, bind with IPv4.";
        9 CgroupInet6Bind "cgroup_inet6_bind" "cgroup, bind with IPv6.";
        10 CgroupInet4Connect "cgroup_inet4_connect" "cgroup, connect with IPv4.";
        11 CgroupInet6Connect "cgroup_inet6_connect" "cgroup, connect with IPv6.";
        12 CgroupInet4PostBind "cgroup_inet4_post_bind" "cgroup, behind bind with IPv4.";
        13 CgroupInet6PostBind "cgroup_inet6_post_bind" "cgroup, behind bind with IPv6.";
        14 CgroupUdp4Sendmsg "cgroup_udp4_sendmsg" "cgroup, sendmsg with UDP over IPv4.";
        15 CgroupUdp6Sendmsg "cgroup_udp6_sendmsg" "cgroup, sendmsg with UDP over IPv6.";
        16 LircMode2 "lirc_mode2" "Infrared decoder.";
        17 FlowDissector "flow_dissector" "Flow dissector of a network namespace.";
        18 CgroupSysctl "cgroup_sysctl" "cgroup, sysctls.";
        19 CgroupUdp4Recvmsg "cgroup_udp4_recvmsg" "cgroup, recvmsg with UDP over IPv4.";
        20 CgroupUdp6Recvmsg "cgroup_udp6_recvmsg" "cgroup, recvmsg with UDP over IPv6.";
        21 CgroupGetsockopt "cgroup_getsockopt" "cgroup, getsockopt.";
        22 CgroupSetsockopt "cgroup_setsockopt" "cgroup, setsockopt.";
        23 TraceRawTp "trace_raw_tp" "tp_btf.";
        24 TraceFentry "trace_fentry" "fentry.";
        25 TraceFexit "trace_fexit" "fexit.";
        26 ModifyReturn "modify_return" "fmod_ret.";
        27 LsmMac "lsm_mac" "LSM hook.";
        28 TraceIter "trace_iter" "Iterator.";
        29 CgroupInet4Getpeername "cgroup_inet4_getpeername" "cgroup, getpeername with IPv4.";
        30 CgroupInet6Getpeername "cgroup_inet6_getpeername" "cgroup, getpeername with IPv6.";
        31 CgroupInet4Getsockname "cgroup_inet4_getsockname" "cgroup, getsockname with IPv4.";
        32 CgroupInet6Getsockname "cgroup_inet6_getsockname" "cgroup, getsockname with IPv6.";
        33 XdpDevmap "xdp_devmap" "XDP behind a redirect through a device map.";
        34 CgroupInetSockRelease "cgroup_inet_sock_release" "cgroup, release of a socket.";
        35 XdpCpumap "xdp_cpumap" "XDP behind a redirect through a CPU map.";
        36 SkLookup "sk_lookup" "Choice of a socket in a network namespace.";
        37 Xdp "xdp" "XDP.";
        38 SkSkbVerdict "sk_skb_verdict" "Sockets in a map, verdict on datagrams too.";
        39 SkReuseportSelect "sk_reuseport_select" "Choice among sockets.";
        40 SkReuseportSelectOrMigrate "sk_reuseport_select_or_migrate" "The same, also for connections that move.";
        41 PerfEvent "perf_event" "Perf events through a link.";
        42 TraceKprobeMulti "trace_kprobe_multi" "kprobe.multi (5.18).";
        43 LsmCgroup "lsm_cgroup" "LSM hook of a cgroup (6.0).";
        44 StructOps "struct_ops" "Structure of functions, through a link (6.4).";
        45 Netfilter "netfilter" "netfilter (6.4).";
        46 TcxIngress "tcx_ingress" "TC, ingress, through a link (6.6).";
        47 TcxEgress "tcx_egress" "TC, egress, through a link (6.6).";
        48 TraceUprobeMulti "trace_uprobe_multi" "uprobe.multi (6.6).";
        49 CgroupUnixConnect "cgroup_unix_connect" "cgroup, connect of a UNIX socket (6.7).";
        50 CgroupUnixSendmsg "cgroup_unix_sendmsg" "cgroup, sendmsg of a UNIX socket (6.7).";
        51 CgroupUnixRecvmsg "cgroup_unix_recvmsg" "cgroup, recvmsg of a UNIX socket (6.7).";
        52 CgroupUnixGetpeername "cgroup_unix_getpeername" "cgroup, getpeername of a UNIX socket (6.7).";
        53 CgroupUnixGetsockname "cgroup_unix_getsockname" "cgroup, getsockname of a UNIX socket (6.7).";
        54 NetkitPrimary "netkit_primary" "netkit, on the outer device (6.7).";
        55 NetkitPeer "netkit_peer" "netkit, on the inner device (6.7).";
        56 TraceKprobeSession "trace_kprobe_session" "kprobe.multi whose program runs at entry and at return (6.10).";
        57 TraceUprobeSession "trace_uprobe_session" "uprobe.multi whose program runs at entry and at return (6.13).";
        58 TraceFsession "trace_fsession" "fentry and fexit in one program (7.0).";
    }
    /// `enum bpf_map_type`.
    MapType {
        1 Hash "hash" "Hash table.";
        2 Array "array" "Array indexed by u32.";
        3 ProgArray "prog_array" "Array of programs, for tail calls.";
        4 PerfEventArray "perf_event_array" "Array of perf events.";
        5 PercpuHash "percpu_hash" "Hash table with one value per CPU.";
        6 PercpuArray "percpu_array" "Array with one value per CPU.";
        7 StackTrace "stack_trace" "Stack traces by id.";
        8 CgroupArray "cgroup_array" "Array of cgroups.";
        9 LruHash "lru_hash" "Hash table that drops the least recently used entry when full.";
        10 LruPercpuHash "lru_percpu_hash" "The same with one value per CPU.";
        11 LpmTrie "lpm_trie" "Longest-prefix match.";
        12 ArrayOfMaps "array_of_maps" "Array of maps.";
        13 HashOfMaps "hash_of_maps" "Hash of maps.";
        14 Devmap "devmap" "Devices by index.";
        15 Sockmap "sockmap" "Sockets by index.";
        16 Cpumap "cpumap" "CPUs to send packets to.";
        17 Xskmap "xskmap" "AF_XDP sockets by index.";
        18 Sockhash "sockhash" "Sockets by key.";
        19 CgroupStorage "cgroup_storage" "Value per cgroup and attachment (superseded by `CgrpStorage`).";
        20 ReuseportSockarray "reuseport_sockarray" "Sockets of one port, by index.";
        21 PercpuCgroupStorage "percpu_cgroup_storage" "As `CgroupStorage`, per CPU.";
        22 Queue "queue" "Queue without keys.";
        23 Stack "stack" "Stack without keys.";
        24 SkStorage "sk_storage" "Value per socket (5.2).";
        25 DevmapHash "devmap_hash" "Devices by key.";
        26 StructOps "struct_ops" "A kernel structure of functions (5.6).";
        27 Ringbuf "ringbuf" "Ring buffer (5.8).";
        28 InodeStorage "inode_storage" "Value per inode (5.10).";
        29 TaskStorage "task_storage" "Value per task (5.11).";
        30 BloomFilter "bloom_filter" "Bloom filter (5.16).";
        31 UserRingbuf "user_ringbuf" "Ring buffer that user space writes (6.1).";
        32 CgrpStorage "cgrp_storage" "Value per cgroup (6.2).";
        33 Arena "arena" "Memory that programs and user space share (6.9).";
        34 InsnArray "insn_array" "Places in a program, for indirect jumps (6.19).";
    }
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

impl ProgType {
    /// What a program of this type returns to let the kernel go on as if there were none: a packet passes (`XDP_PASS`), or
    /// the next program or the kernel sees it (`TC_ACT_UNSPEC`); elsewhere 0.
    pub fn neutral_result(self) -> i32 {
        match self {
            ProgType::Xdp => 2,
            ProgType::SchedCls => -1,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_lead_back() {
        for kind in ProgType::ALL {
            assert_eq!(ProgType::from_number(*kind as u32), Some(*kind));
            assert_eq!(ProgType::from_name(kind.name()), Some(*kind));
        }
        for kind in AttachType::ALL {
            assert_eq!(AttachType::from_number(*kind as u32), Some(*kind));
            assert_eq!(AttachType::from_name(kind.name()), Some(*kind));
        }
        for kind in MapType::ALL {
            assert_eq!(MapType::from_number(*kind as u32), Some(*kind));
            assert_eq!(MapType::from_name(kind.name()), Some(*kind));
        }
        assert_eq!(ProgType::from_number(0), None);
        assert_eq!(MapType::from_number(99), None);
    }
}
