//! Which kinds of programs may call which helper, as Linux 6.18 answers when such a program is loaded (the `get_func_proto` of each kind, in
//! kernel/bpf, kernel/trace/bpf_trace.c and net/core/filter.c).

use skep_bpf::helpers::id;
use skep_bpf::kinds::ProgType::{self, *};

/// A bit for each kind.
const fn of(kinds: &[ProgType]) -> u64 {
    let (mut mask, mut i) = (0, 0);
    while i < kinds.len() {
        mask |= 1 << kinds[i] as u64;
        i += 1;
    }
    mask
}

/// Filters of qdiscs.
const CLS: u64 = of(&[SchedCls, SchedAct]);
/// Programs of light-weight tunnels.
const LWT: u64 = of(&[LwtIn, LwtOut, LwtXmit, LwtSeg6local]);
/// Programs that observe the kernel.
const TRACING: u64 = of(&[Kprobe, Tracepoint, PerfEvent, RawTracepoint, RawTracepointWritable]);
/// Programs on packets and sockets.
const NETWORK: u64 = CLS
    | LWT
    | of(&[SocketFilter, Xdp, CgroupSkb, CgroupSock, SockOps, SkSkb, SkMsg, CgroupSockAddr])
    | of(&[SkReuseport, FlowDissector, CgroupSysctl, SkLookup]);
/// All kinds that are looked up below. Others (tracing, LSM, struct_ops, extensions, syscall programs, infrared) differ by what they
/// are attached to; they may call all that the machine has.
const ALL: u64 = TRACING | NETWORK | of(&[CgroupDevice, CgroupSockopt, Netfilter]);

/// Helpers of all kinds.
const EVERYWHERE: &[u32] = &[
    id::MAP_LOOKUP_ELEM,
    id::MAP_UPDATE_ELEM,
    id::MAP_DELETE_ELEM,
    id::KTIME_GET_NS,
    id::TRACE_PRINTK,
    id::GET_PRANDOM_U32,
    id::GET_SMP_PROCESSOR_ID,
    id::TAIL_CALL,
    id::GET_CURRENT_PID_TGID,
    id::GET_CURRENT_UID_GID,
    id::GET_CURRENT_COMM,
    id::GET_CGROUP_CLASSID,
    id::PERF_EVENT_READ,
    id::GET_CURRENT_TASK,
    id::CURRENT_TASK_UNDER_CGROUP,
    id::GET_NUMA_NODE_ID,
    id::PERF_EVENT_READ_VALUE,
    id::GET_CURRENT_CGROUP_ID,
    id::MAP_PUSH_ELEM,
    id::MAP_POP_ELEM,
    id::MAP_PEEK_ELEM,
    id::SPIN_LOCK,
    id::SPIN_UNLOCK,
    id::STRTOL,
    id::STRTOUL,
    id::SEND_SIGNAL,
    id::PROBE_READ_USER,
    id::PROBE_READ_KERNEL,
    id::PROBE_READ_USER_STR,
    id::PROBE_READ_KERNEL_STR,
    id::SEND_SIGNAL_THREAD,
    id::JIFFIES64,
    id::GET_NS_CURRENT_PID_TGID,
    id::GET_CURRENT_ANCESTOR_CGROUP_ID,
    id::KTIME_GET_BOOT_NS,
    id::RINGBUF_OUTPUT,
    id::RINGBUF_RESERVE,
    id::RINGBUF_SUBMIT,
    id::RINGBUF_DISCARD,
    id::RINGBUF_QUERY,
    id::GET_TASK_STACK,
    id::COPY_FROM_USER,
    id::SNPRINTF_BTF,
    id::PER_CPU_PTR,
    id::THIS_CPU_PTR,
    id::TASK_STORAGE_GET,
    id::TASK_STORAGE_DELETE,
    id::GET_CURRENT_TASK_BTF,
    id::FOR_EACH_MAP_ELEM,
    id::SNPRINTF,
    id::TIMER_INIT,
    id::TIMER_SET_CALLBACK,
    id::TIMER_START,
    id::TIMER_CANCEL,
    id::TASK_PT_REGS,
    id::GET_BRANCH_SNAPSHOT,
    id::TRACE_VPRINTK,
    id::FIND_VMA,
    id::LOOP,
    id::STRNCMP,
    id::COPY_FROM_USER_TASK,
    id::KPTR_XCHG,
    id::MAP_LOOKUP_PERCPU_ELEM,
    id::DYNPTR_FROM_MEM,
    id::RINGBUF_RESERVE_DYNPTR,
    id::RINGBUF_SUBMIT_DYNPTR,
    id::RINGBUF_DISCARD_DYNPTR,
    id::DYNPTR_READ,
    id::DYNPTR_WRITE,
    id::DYNPTR_DATA,
    id::KTIME_GET_TAI_NS,
    id::USER_RINGBUF_DRAIN,
    id::CGRP_STORAGE_GET,
    id::CGRP_STORAGE_DELETE,
];

/// Helpers of some kinds: the kinds, and the helpers.
const SOME: &[(u64, &[u32])] = &[
    (ALL & !of(&[SkReuseport, FlowDissector, Netfilter]), &[id::PERF_EVENT_OUTPUT]),
    (NETWORK, &[id::KTIME_GET_COARSE_NS]),
    (
        NETWORK & !of(&[CgroupSock, SkReuseport, CgroupSysctl]),
        &[
            id::SKC_TO_TCP6_SOCK,
            id::SKC_TO_TCP_SOCK,
            id::SKC_TO_TCP_TIMEWAIT_SOCK,
            id::SKC_TO_TCP_REQUEST_SOCK,
            id::SKC_TO_UDP6_SOCK,
            id::SKC_TO_UNIX_SOCK,
            id::SKC_TO_MPTCP_SOCK,
        ],
    ),
    (LWT | CLS | of(&[SocketFilter, CgroupSkb, SkSkb, SkReuseport, FlowDissector]), &[id::SKB_LOAD_BYTES]),
    (NETWORK & !(LWT | of(&[Xdp, SkMsg, FlowDissector, CgroupSysctl, SkLookup])), &[id::GET_SOCKET_COOKIE]),
    (
        CLS | of(&[SocketFilter, CgroupSkb, CgroupSock, SockOps, SkMsg, CgroupSockAddr, CgroupSockopt]),
        &[id::GET_NETNS_COOKIE],
    ),
    (
        CLS | of(&[CgroupSkb, CgroupSock, SockOps, SkMsg, CgroupSockAddr, CgroupSockopt]),
        &[id::SK_STORAGE_GET],
    ),
    (LWT | CLS | of(&[Xdp]), &[id::CSUM_DIFF]),
    (LWT | CLS | of(&[SkSkb]), &[id::SKB_PULL_DATA]),
    (
        of(&[CgroupSkb, CgroupSock, SockOps, CgroupDevice, CgroupSockAddr, CgroupSysctl, CgroupSockopt]),
        &[id::GET_LOCAL_STORAGE],
    ),
    (CLS | of(&[Xdp, CgroupSkb, SkSkb, CgroupSockAddr, SkLookup]), &[id::SK_RELEASE]),
    (CLS | of(&[CgroupSkb, SockOps, SkMsg, CgroupSockAddr, CgroupSockopt]), &[id::SK_STORAGE_DELETE]),
    (LWT | CLS, &[id::GET_ROUTE_REALM, id::SKB_UNDER_CGROUP, id::GET_HASH_RECALC]),
    (
        CLS | of(&[Xdp, CgroupSkb, SkSkb, CgroupSockAddr]),
        &[id::SK_LOOKUP_TCP, id::SK_LOOKUP_UDP, id::SKC_LOOKUP_TCP],
    ),
    (
        TRACING,
        &[
            id::PROBE_READ,
            id::GET_STACKID,
            id::PROBE_WRITE_USER,
            id::PROBE_READ_STR,
            id::GET_STACK,
            id::GET_FUNC_IP,
            id::GET_ATTACH_COOKIE,
        ],
    ),
    (CLS | of(&[SocketFilter, CgroupSkb, SkSkb]), &[id::GET_SOCKET_UID]),
    (CLS | of(&[SocketFilter, CgroupSkb, SkReuseport]), &[id::SKB_LOAD_BYTES_RELATIVE]),
    (CLS | of(&[CgroupSkb, SockOps, CgroupSockopt]), &[id::TCP_SOCK]),
    (
        of(&[CgroupSock, CgroupDevice, CgroupSockAddr, CgroupSysctl, CgroupSockopt]),
        &[id::GET_RETVAL, id::SET_RETVAL],
    ),
    (CLS | of(&[LwtXmit, SkSkb]), &[id::SKB_STORE_BYTES, id::SKB_CHANGE_TAIL, id::SKB_CHANGE_HEAD]),
    (CLS | of(&[Xdp, LwtXmit]), &[id::REDIRECT]),
    (
        CLS | of(&[LwtXmit]),
        &[
            id::L3_CSUM_REPLACE,
            id::L4_CSUM_REPLACE,
            id::CLONE_REDIRECT,
            id::SKB_GET_TUNNEL_KEY,
            id::SKB_SET_TUNNEL_KEY,
            id::SKB_GET_TUNNEL_OPT,
            id::SKB_SET_TUNNEL_OPT,
            id::CSUM_UPDATE,
            id::SET_HASH_INVALID,
            id::CSUM_LEVEL,
        ],
    ),
    (of(&[SockOps, CgroupSockAddr, CgroupSockopt]), &[id::SETSOCKOPT, id::GETSOCKOPT]),
    (CLS | of(&[SkSkb]), &[id::SKB_ADJUST_ROOM]),
    (
        CLS | of(&[Xdp]),
        &[
            id::FIB_LOOKUP,
            id::TCP_CHECK_SYNCOOKIE,
            id::TCP_GEN_SYNCOOKIE,
            id::CHECK_MTU,
            id::TCP_RAW_GEN_SYNCOOKIE_IPV4,
            id::TCP_RAW_GEN_SYNCOOKIE_IPV6,
            id::TCP_RAW_CHECK_SYNCOOKIE_IPV4,
            id::TCP_RAW_CHECK_SYNCOOKIE_IPV6,
        ],
    ),
    (
        CLS | of(&[CgroupSkb]),
        &[
            id::SKB_CGROUP_ID,
            id::SKB_ANCESTOR_CGROUP_ID,
            id::SK_FULLSOCK,
            id::SKB_ECN_SET_CE,
            id::GET_LISTENER_SOCK,
        ],
    ),
    (CLS | of(&[SkLookup]), &[id::SK_ASSIGN]),
    (
        CLS,
        &[
            id::SKB_VLAN_PUSH,
            id::SKB_VLAN_POP,
            id::SKB_CHANGE_PROTO,
            id::SKB_CHANGE_TYPE,
            id::SET_HASH,
            id::SKB_GET_XFRM_STATE,
            id::SKB_CGROUP_CLASSID,
            id::REDIRECT_NEIGH,
            id::REDIRECT_PEER,
            id::SKB_SET_TSTAMP,
        ],
    ),
    (of(&[LwtIn, LwtXmit]), &[id::LWT_PUSH_ENCAP]),
    (
        of(&[Xdp]),
        &[
            id::XDP_ADJUST_HEAD,
            id::REDIRECT_MAP,
            id::XDP_ADJUST_META,
            id::XDP_ADJUST_TAIL,
            id::XDP_GET_BUFF_LEN,
            id::XDP_LOAD_BYTES,
            id::XDP_STORE_BYTES,
        ],
    ),
    (of(&[SkSkb]), &[id::SK_REDIRECT_MAP, id::SK_REDIRECT_HASH]),
    (
        of(&[SockOps]),
        &[
            id::SOCK_MAP_UPDATE,
            id::SOCK_OPS_CB_FLAGS_SET,
            id::SOCK_HASH_UPDATE,
            id::LOAD_HDR_OPT,
            id::STORE_HDR_OPT,
            id::RESERVE_HDR_OPT,
        ],
    ),
    (of(&[PerfEvent]), &[id::PERF_PROG_READ_VALUE, id::READ_BRANCH_RECORDS]),
    (of(&[Kprobe]), &[id::OVERRIDE_RETURN]),
    (
        of(&[SkMsg]),
        &[
            id::MSG_REDIRECT_MAP,
            id::MSG_APPLY_BYTES,
            id::MSG_CORK_BYTES,
            id::MSG_PULL_DATA,
            id::MSG_REDIRECT_HASH,
            id::MSG_PUSH_DATA,
            id::MSG_POP_DATA,
        ],
    ),
    (of(&[CgroupSockAddr]), &[id::BIND]),
    (of(&[LwtSeg6local]), &[id::LWT_SEG6_STORE_BYTES, id::LWT_SEG6_ADJUST_SRH, id::LWT_SEG6_ACTION]),
    (of(&[SkReuseport]), &[id::SK_SELECT_REUSEPORT]),
    (
        of(&[CgroupSysctl]),
        &[
            id::SYSCTL_GET_NAME,
            id::SYSCTL_GET_CURRENT_VALUE,
            id::SYSCTL_GET_NEW_VALUE,
            id::SYSCTL_SET_NEW_VALUE,
        ],
    ),
    (of(&[CgroupSkb]), &[id::SK_CGROUP_ID, id::SK_ANCESTOR_CGROUP_ID]),
];

/// Numbers of helpers, as the size of the table below.
const HELPERS: usize = 212;

/// By helper: a bit for each kind that may call it.
static MASKS: [u64; HELPERS] = masks();

const fn masks() -> [u64; HELPERS] {
    let mut out = [0; HELPERS];
    let mut i = 0;
    while i < EVERYWHERE.len() {
        out[EVERYWHERE[i] as usize] = u64::MAX;
        i += 1;
    }
    let mut row = 0;
    while row < SOME.len() {
        let (mask, helpers) = SOME[row];
        i = 0;
        while i < helpers.len() {
            out[helpers[i] as usize] |= mask;
            i += 1;
        }
        row += 1;
    }
    out
}

/// Whether a kind of programs may call a helper.
pub(super) fn allows(prog_type: ProgType, helper: u32) -> bool {
    let bit = 1u64 << prog_type as u64;
    ALL & bit == 0 || MASKS.get(helper as usize).is_some_and(|mask| mask & bit != 0)
}
