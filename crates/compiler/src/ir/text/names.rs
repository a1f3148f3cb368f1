//! The words of the text form: one table for each enum, read by the printer and by the parser.

use crate::ir::op::{AtomicOp, BinOp, Cc};
use skep_bpf::kinds::{AttachType, MapType, ProgType};
use skep_bpf::object::CoreKind;

/// Arithmetic.
pub(super) const BIN: &[(BinOp, &str)] = &[
    (BinOp::Add, "add"),
    (BinOp::Sub, "sub"),
    (BinOp::Mul, "mul"),
    (BinOp::Udiv, "udiv"),
    (BinOp::Sdiv, "sdiv"),
    (BinOp::Umod, "umod"),
    (BinOp::Smod, "smod"),
    (BinOp::And, "and"),
    (BinOp::Or, "or"),
    (BinOp::Xor, "xor"),
    (BinOp::Shl, "shl"),
    (BinOp::Lshr, "lshr"),
    (BinOp::Ashr, "ashr"),
];

/// Comparisons.
pub(super) const CC: &[(Cc, &str)] = &[
    (Cc::Eq, "eq"),
    (Cc::Ne, "ne"),
    (Cc::Ult, "ult"),
    (Cc::Ule, "ule"),
    (Cc::Ugt, "ugt"),
    (Cc::Uge, "uge"),
    (Cc::Slt, "slt"),
    (Cc::Sle, "sle"),
    (Cc::Sgt, "sgt"),
    (Cc::Sge, "sge"),
    (Cc::Set, "set"),
];

/// Atomic operations.
pub(super) const ATOMIC: &[(AtomicOp, &str)] = &[
    (AtomicOp::Add, "add"),
    (AtomicOp::Or, "or"),
    (AtomicOp::And, "and"),
    (AtomicOp::Xor, "xor"),
    (AtomicOp::Xchg, "xchg"),
];

/// What a CO-RE relocation asks.
pub(super) const CORE: &[(CoreKind, &str)] = &[
    (CoreKind::FieldByteOffset, "offset"),
    (CoreKind::FieldByteSize, "size"),
    (CoreKind::FieldExists, "exists"),
    (CoreKind::FieldSigned, "signed"),
    (CoreKind::FieldLshiftU64, "lshift"),
    (CoreKind::FieldRshiftU64, "rshift"),
    (CoreKind::TypeIdLocal, "type_id_local"),
    (CoreKind::TypeIdTarget, "type_id"),
    (CoreKind::TypeExists, "type_exists"),
    (CoreKind::TypeSize, "type_size"),
    (CoreKind::EnumvalExists, "enumval_exists"),
    (CoreKind::EnumvalValue, "enumval"),
    (CoreKind::TypeMatches, "type_matches"),
];

/// Program types.
pub(super) const PROG: &[(ProgType, &str)] = &[
    (ProgType::SocketFilter, "socket_filter"),
    (ProgType::Kprobe, "kprobe"),
    (ProgType::SchedCls, "sched_cls"),
    (ProgType::SchedAct, "sched_act"),
    (ProgType::Tracepoint, "tracepoint"),
    (ProgType::Xdp, "xdp"),
    (ProgType::PerfEvent, "perf_event"),
    (ProgType::CgroupSkb, "cgroup_skb"),
    (ProgType::CgroupSock, "cgroup_sock"),
    (ProgType::LwtIn, "lwt_in"),
    (ProgType::LwtOut, "lwt_out"),
    (ProgType::LwtXmit, "lwt_xmit"),
    (ProgType::SockOps, "sock_ops"),
    (ProgType::SkSkb, "sk_skb"),
    (ProgType::CgroupDevice, "cgroup_device"),
    (ProgType::SkMsg, "sk_msg"),
    (ProgType::RawTracepoint, "raw_tracepoint"),
    (ProgType::CgroupSockAddr, "cgroup_sock_addr"),
    (ProgType::LwtSeg6local, "lwt_seg6local"),
    (ProgType::LircMode2, "lirc_mode2"),
    (ProgType::SkReuseport, "sk_reuseport"),
    (ProgType::FlowDissector, "flow_dissector"),
    (ProgType::CgroupSysctl, "cgroup_sysctl"),
    (ProgType::RawTracepointWritable, "raw_tracepoint_writable"),
    (ProgType::CgroupSockopt, "cgroup_sockopt"),
    (ProgType::Tracing, "tracing"),
    (ProgType::StructOps, "struct_ops"),
    (ProgType::Ext, "ext"),
    (ProgType::Lsm, "lsm"),
    (ProgType::SkLookup, "sk_lookup"),
    (ProgType::Syscall, "syscall"),
    (ProgType::Netfilter, "netfilter"),
];

/// Attach types.
pub(super) const ATTACH: &[(AttachType, &str)] = &[
    (AttachType::None, "none"),
    (AttachType::TraceRawTp, "trace_raw_tp"),
    (AttachType::TraceFentry, "trace_fentry"),
    (AttachType::TraceFexit, "trace_fexit"),
    (AttachType::LsmMac, "lsm_mac"),
    (AttachType::TraceIter, "trace_iter"),
    (AttachType::TraceKprobeMulti, "trace_kprobe_multi"),
    (AttachType::TraceKprobeSession, "trace_kprobe_session"),
    (AttachType::TraceUprobeMulti, "trace_uprobe_multi"),
];

/// Map types.
pub(super) const MAP: &[(MapType, &str)] = &[
    (MapType::Hash, "hash"),
    (MapType::Array, "array"),
    (MapType::ProgArray, "prog_array"),
    (MapType::PerfEventArray, "perf_event_array"),
    (MapType::PercpuHash, "percpu_hash"),
    (MapType::PercpuArray, "percpu_array"),
    (MapType::StackTrace, "stack_trace"),
    (MapType::CgroupArray, "cgroup_array"),
    (MapType::LruHash, "lru_hash"),
    (MapType::LruPercpuHash, "lru_percpu_hash"),
    (MapType::LpmTrie, "lpm_trie"),
    (MapType::ArrayOfMaps, "array_of_maps"),
    (MapType::HashOfMaps, "hash_of_maps"),
    (MapType::Devmap, "devmap"),
    (MapType::Sockmap, "sockmap"),
    (MapType::Cpumap, "cpumap"),
    (MapType::Xskmap, "xskmap"),
    (MapType::Sockhash, "sockhash"),
    (MapType::CgroupStorage, "cgroup_storage"),
    (MapType::ReuseportSockarray, "reuseport_sockarray"),
    (MapType::PercpuCgroupStorage, "percpu_cgroup_storage"),
    (MapType::Queue, "queue"),
    (MapType::Stack, "stack"),
    (MapType::SkStorage, "sk_storage"),
    (MapType::DevmapHash, "devmap_hash"),
    (MapType::StructOps, "struct_ops"),
    (MapType::Ringbuf, "ringbuf"),
    (MapType::InodeStorage, "inode_storage"),
    (MapType::TaskStorage, "task_storage"),
    (MapType::BloomFilter, "bloom_filter"),
    (MapType::UserRingbuf, "user_ringbuf"),
    (MapType::CgrpStorage, "cgrp_storage"),
    (MapType::Arena, "arena"),
];

/// The word for a value.
pub(super) fn word<T: PartialEq>(table: &[(T, &'static str)], value: &T) -> &'static str {
    table.iter().find(|(v, _)| v == value).map_or("?", |(_, name)| name)
}

/// The value of a word.
pub(super) fn value<T: Copy>(table: &[(T, &'static str)], word: &str) -> Option<T> {
    table.iter().find(|(_, name)| *name == word).map(|(v, _)| *v)
}
