//! Which kinds of programs may call which helper, as Linux 6.18 answers when such a program is loaded (the `get_func_proto` of each kind, in
//! kernel/bpf, kernel/trace/bpf_trace.c and net/core/filter.c).

use skep_bpf::helpers::id;
use skep_bpf::kinds::ProgType::{self, *};

/// Kinds that are looked up below. Others (tracing, LSM, struct_ops, extensions, syscall programs, infrared) differ by what they
/// are attached to; they may call all that the machine has.
const KNOWN: &[ProgType] = &[
    SocketFilter,
    Kprobe,
    SchedCls,
    SchedAct,
    Tracepoint,
    Xdp,
    PerfEvent,
    CgroupSkb,
    CgroupSock,
    LwtIn,
    LwtOut,
    LwtXmit,
    SockOps,
    SkSkb,
    CgroupDevice,
    SkMsg,
    RawTracepoint,
    CgroupSockAddr,
    LwtSeg6local,
    SkReuseport,
    FlowDissector,
    CgroupSysctl,
    RawTracepointWritable,
    CgroupSockopt,
    SkLookup,
    Netfilter,
];

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
const SOME: &[(&[ProgType], &[u32])] = &[
    (
        &[
            SocketFilter,
            Kprobe,
            SchedCls,
            SchedAct,
            Tracepoint,
            Xdp,
            PerfEvent,
            CgroupSkb,
            CgroupSock,
            LwtIn,
            LwtOut,
            LwtXmit,
            SockOps,
            SkSkb,
            CgroupDevice,
            SkMsg,
            RawTracepoint,
            CgroupSockAddr,
            LwtSeg6local,
            CgroupSysctl,
            RawTracepointWritable,
            CgroupSockopt,
            SkLookup,
        ],
        &[id::PERF_EVENT_OUTPUT],
    ),
    (
        &[
            SocketFilter,
            SchedCls,
            SchedAct,
            Xdp,
            CgroupSkb,
            CgroupSock,
            LwtIn,
            LwtOut,
            LwtXmit,
            SockOps,
            SkSkb,
            SkMsg,
            CgroupSockAddr,
            LwtSeg6local,
            SkReuseport,
            FlowDissector,
            CgroupSysctl,
            SkLookup,
        ],
        &[id::KTIME_GET_COARSE_NS],
    ),
    (
        &[
            SocketFilter,
            SchedCls,
            SchedAct,
            Xdp,
            CgroupSkb,
            LwtIn,
            LwtOut,
            LwtXmit,
            SockOps,
            SkSkb,
            SkMsg,
            CgroupSockAddr,
            LwtSeg6local,
            FlowDissector,
            SkLookup,
        ],
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
    (
        &[
            SocketFilter,
            SchedCls,
            SchedAct,
            CgroupSkb,
            LwtIn,
            LwtOut,
            LwtXmit,
            SkSkb,
            LwtSeg6local,
            SkReuseport,
            FlowDissector,
        ],
        &[id::SKB_LOAD_BYTES],
    ),
    (
        &[
            SocketFilter,
            SchedCls,
            SchedAct,
            CgroupSkb,
            CgroupSock,
            SockOps,
            SkSkb,
            CgroupSockAddr,
            SkReuseport,
        ],
        &[id::GET_SOCKET_COOKIE],
    ),
    (
        &[
            SocketFilter,
            SchedCls,
            SchedAct,
            CgroupSkb,
            CgroupSock,
            SockOps,
            SkMsg,
            CgroupSockAddr,
            CgroupSockopt,
        ],
        &[id::GET_NETNS_COOKIE],
    ),
    (
        &[SchedCls, SchedAct, CgroupSkb, CgroupSock, SockOps, SkMsg, CgroupSockAddr, CgroupSockopt],
        &[id::SK_STORAGE_GET],
    ),
    (&[SchedCls, SchedAct, Xdp, LwtIn, LwtOut, LwtXmit, LwtSeg6local], &[id::CSUM_DIFF]),
    (&[SchedCls, SchedAct, LwtIn, LwtOut, LwtXmit, SkSkb, LwtSeg6local], &[id::SKB_PULL_DATA]),
    (
        &[CgroupSkb, CgroupSock, SockOps, CgroupDevice, CgroupSockAddr, CgroupSysctl, CgroupSockopt],
        &[id::GET_LOCAL_STORAGE],
    ),
    (&[SchedCls, SchedAct, Xdp, CgroupSkb, SkSkb, CgroupSockAddr, SkLookup], &[id::SK_RELEASE]),
    (
        &[SchedCls, SchedAct, CgroupSkb, SockOps, SkMsg, CgroupSockAddr, CgroupSockopt],
        &[id::SK_STORAGE_DELETE],
    ),
    (
        &[SchedCls, SchedAct, LwtIn, LwtOut, LwtXmit, LwtSeg6local],
        &[id::GET_ROUTE_REALM, id::SKB_UNDER_CGROUP, id::GET_HASH_RECALC],
    ),
    (
        &[SchedCls, SchedAct, Xdp, CgroupSkb, SkSkb, CgroupSockAddr],
        &[id::SK_LOOKUP_TCP, id::SK_LOOKUP_UDP, id::SKC_LOOKUP_TCP],
    ),
    (
        &[Kprobe, Tracepoint, PerfEvent, RawTracepoint, RawTracepointWritable],
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
    (&[SocketFilter, SchedCls, SchedAct, CgroupSkb, SkSkb], &[id::GET_SOCKET_UID]),
    (&[SocketFilter, SchedCls, SchedAct, CgroupSkb, SkReuseport], &[id::SKB_LOAD_BYTES_RELATIVE]),
    (&[SchedCls, SchedAct, CgroupSkb, SockOps, CgroupSockopt], &[id::TCP_SOCK]),
    (
        &[CgroupSock, CgroupDevice, CgroupSockAddr, CgroupSysctl, CgroupSockopt],
        &[id::GET_RETVAL, id::SET_RETVAL],
    ),
    (&[SchedCls, SchedAct, LwtXmit, SkSkb], &[id::SKB_STORE_BYTES, id::SKB_CHANGE_TAIL, id::SKB_CHANGE_HEAD]),
    (&[SchedCls, SchedAct, Xdp, LwtXmit], &[id::REDIRECT]),
    (
        &[SchedCls, SchedAct, LwtXmit],
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
    (&[SockOps, CgroupSockAddr, CgroupSockopt], &[id::SETSOCKOPT, id::GETSOCKOPT]),
    (&[SchedCls, SchedAct, SkSkb], &[id::SKB_ADJUST_ROOM]),
    (
        &[SchedCls, SchedAct, Xdp],
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
        &[SchedCls, SchedAct, CgroupSkb],
        &[
            id::SKB_CGROUP_ID,
            id::SKB_ANCESTOR_CGROUP_ID,
            id::SK_FULLSOCK,
            id::SKB_ECN_SET_CE,
            id::GET_LISTENER_SOCK,
        ],
    ),
    (&[SchedCls, SchedAct, SkLookup], &[id::SK_ASSIGN]),
    (
        &[SchedCls, SchedAct],
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
    (&[LwtIn, LwtXmit], &[id::LWT_PUSH_ENCAP]),
    (
        &[Xdp],
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
    (&[SkSkb], &[id::SK_REDIRECT_MAP, id::SK_REDIRECT_HASH]),
    (
        &[SockOps],
        &[
            id::SOCK_MAP_UPDATE,
            id::SOCK_OPS_CB_FLAGS_SET,
            id::SOCK_HASH_UPDATE,
            id::LOAD_HDR_OPT,
            id::STORE_HDR_OPT,
            id::RESERVE_HDR_OPT,
        ],
    ),
    (&[PerfEvent], &[id::PERF_PROG_READ_VALUE, id::READ_BRANCH_RECORDS]),
    (&[Kprobe], &[id::OVERRIDE_RETURN]),
    (
        &[SkMsg],
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
    (&[CgroupSockAddr], &[id::BIND]),
    (&[LwtSeg6local], &[id::LWT_SEG6_STORE_BYTES, id::LWT_SEG6_ADJUST_SRH, id::LWT_SEG6_ACTION]),
    (&[SkReuseport], &[id::SK_SELECT_REUSEPORT]),
    (
        &[CgroupSysctl],
        &[
            id::SYSCTL_GET_NAME,
            id::SYSCTL_GET_CURRENT_VALUE,
            id::SYSCTL_GET_NEW_VALUE,
            id::SYSCTL_SET_NEW_VALUE,
        ],
    ),
    (&[CgroupSkb], &[id::SK_CGROUP_ID, id::SK_ANCESTOR_CGROUP_ID]),
];

/// Numbers of helpers and of program kinds, as sizes of the table below.
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
        let (types, helpers) = SOME[row];
        let (mut mask, mut i) = (0, 0);
        while i < types.len() {
            mask |= 1 << types[i] as u64;
            i += 1;
        }
        i = 0;
        while i < helpers.len() {
            out[helpers[i] as usize] |= mask;
            i += 1;
        }
        row += 1;
    }
    out
}

const fn known() -> u64 {
    let (mut mask, mut i) = (0, 0);
    while i < KNOWN.len() {
        mask |= 1 << KNOWN[i] as u64;
        i += 1;
    }
    mask
}

/// Whether a kind of programs may call a helper.
pub(super) fn allows(prog_type: ProgType, helper: u32) -> bool {
    const LOOKED_UP: u64 = known();
    let bit = 1u64 << prog_type as u64;
    LOOKED_UP & bit == 0 || MASKS.get(helper as usize).is_some_and(|mask| mask & bit != 0)
}
