//! The table behind [`super`]: one row per helper, ascending by number, grouped by the first kernel that has it.
//! A row is: number, constant, name(arguments), result, license (`gpl` or `any`), effect.

use super::{Arg, Effect, Helper, Ret};
use crate::version::KernelVersion;

macro_rules! gpl_only {
    (gpl) => {
        true
    };
    (any) => {
        false
    };
}

macro_rules! helpers {
    ($(since $major:literal $minor:literal {
        $($number:literal $constant:ident $name:ident($($arg:ident)*) $ret:ident $license:ident $effect:ident;)*
    })*) => {
        /// Numbers of the helpers (`BPF_FUNC_*`).
        pub mod id {
            $($(
                #[doc = concat!("`bpf_", stringify!($name), "`, since Linux ", $major, ".", $minor, ".")]
                pub const $constant: u32 = $number;
            )*)*
        }

        /// All rows; the one of number n is at n - 1.
        pub(super) static ROWS: &[Helper] = &[$($(
            Helper {
                id: $number,
                name: stringify!($name),
                args: &[$(Arg::$arg),*],
                ret: Ret::$ret,
                gpl_only: gpl_only!($license),
                since: KernelVersion::new($major, $minor),
                effect: Effect::$effect,
                pure_in_run: matches!(Effect::$effect, Effect::Constant | Effect::ConstantFill),
            },
        )*)*];
    };
}

helpers! {
    since 3 19 {
        1 MAP_LOOKUP_ELEM map_lookup_elem(Map Key) ValueOrNull any Reads;
        2 MAP_UPDATE_ELEM map_update_elem(Map Key Value Any) Int any Changes;
        3 MAP_DELETE_ELEM map_delete_elem(Map Key) Int any Changes;
    }
    since 4 1 {
        4 PROBE_READ probe_read(Out SizeOrZero Any) Int gpl Fills;
        5 KTIME_GET_NS ktime_get_ns() Int any Reads;
        6 TRACE_PRINTK trace_printk(Mem Size Rest) Int gpl Changes;
        7 GET_PRANDOM_U32 get_prandom_u32() Int any Reads;
        8 GET_SMP_PROCESSOR_ID get_smp_processor_id() Int any Constant;
        9 SKB_STORE_BYTES skb_store_bytes(Ctx Any Mem Size Any) Int any Changes;
        10 L3_CSUM_REPLACE l3_csum_replace(Ctx Any Any Any Any) Int any Changes;
        11 L4_CSUM_REPLACE l4_csum_replace(Ctx Any Any Any Any) Int any Changes;
    }
    since 4 2 {
        12 TAIL_CALL tail_call(Ctx Map Any) Void any Changes;
        13 CLONE_REDIRECT clone_redirect(Ctx Any Any) Int any Changes;
        14 GET_CURRENT_PID_TGID get_current_pid_tgid() Int any Constant;
        15 GET_CURRENT_UID_GID get_current_uid_gid() Int any Constant;
        16 GET_CURRENT_COMM get_current_comm(Out Size) Int any ConstantFill;
    }
    since 4 3 {
        17 GET_CGROUP_CLASSID get_cgroup_classid(Ctx) Int any Constant;
        18 SKB_VLAN_PUSH skb_vlan_push(Ctx Any Any) Int any Changes;
        19 SKB_VLAN_POP skb_vlan_pop(Ctx) Int any Changes;
        20 SKB_GET_TUNNEL_KEY skb_get_tunnel_key(Ctx Out Size Any) Int any Fills;
        21 SKB_SET_TUNNEL_KEY skb_set_tunnel_key(Ctx Mem Size Any) Int any Changes;
        22 PERF_EVENT_READ perf_event_read(Map Any) Int gpl Reads;
    }
    since 4 4 {
        23 REDIRECT redirect(Any Any) Int any Changes;
        24 GET_ROUTE_REALM get_route_realm(Ctx) Int any Reads;
        25 PERF_EVENT_OUTPUT perf_event_output(Ctx Map Any Mem SizeOrZero) Int gpl Changes;
    }
    since 4 5 {
        26 SKB_LOAD_BYTES skb_load_bytes(Ctx Any Out Size) Int any Fills;
    }
    since 4 6 {
        27 GET_STACKID get_stackid(Ctx Map Any) Int gpl Changes;
        28 CSUM_DIFF csum_diff(MemOrNull SizeOrZero MemOrNull SizeOrZero Any) Int any Reads;
        29 SKB_GET_TUNNEL_OPT skb_get_tunnel_opt(Ctx Out Size) Int any Fills;
        30 SKB_SET_TUNNEL_OPT skb_set_tunnel_opt(Ctx Mem Size) Int any Changes;
    }
    since 4 8 {
        31 SKB_CHANGE_PROTO skb_change_proto(Ctx Any Any) Int any Changes;
        32 SKB_CHANGE_TYPE skb_change_type(Ctx Any) Int any Changes;
        33 SKB_UNDER_CGROUP skb_under_cgroup(Ctx Map Any) Int any Reads;
        34 GET_HASH_RECALC get_hash_recalc(Ctx) Int any Changes;
        35 GET_CURRENT_TASK get_current_task() Int gpl Constant;
        36 PROBE_WRITE_USER probe_write_user(Any Mem Size) Int gpl Changes;
    }
    since 4 9 {
        37 CURRENT_TASK_UNDER_CGROUP current_task_under_cgroup(Map Any) Int any Reads;
        38 SKB_CHANGE_TAIL skb_change_tail(Ctx Any Any) Int any Changes;
        39 SKB_PULL_DATA skb_pull_data(Ctx Any) Int any Changes;
        40 CSUM_UPDATE csum_update(Ctx Any) Int any Changes;
        41 SET_HASH_INVALID set_hash_invalid(Ctx) Int any Changes;
    }
    since 4 10 {
        42 GET_NUMA_NODE_ID get_numa_node_id() Int any Constant;
        43 SKB_CHANGE_HEAD skb_change_head(Ctx Any Any) Int any Changes;
        44 XDP_ADJUST_HEAD xdp_adjust_head(Ctx Any) Int any Changes;
    }
    since 4 11 {
        45 PROBE_READ_STR probe_read_str(Out SizeOrZero Any) Int gpl Fills;
    }
    since 4 12 {
        46 GET_SOCKET_COOKIE get_socket_cookie(Ctx) Int any Constant;
        47 GET_SOCKET_UID get_socket_uid(Ctx) Int any Constant;
    }
    since 4 13 {
        48 SET_HASH set_hash(Ctx Any) Int any Changes;
        49 SETSOCKOPT setsockopt(Ctx Any Any Mem Size) Int any Changes;
        50 SKB_ADJUST_ROOM skb_adjust_room(Ctx Any Any Any) Int any Changes;
    }
    since 4 14 {
        51 REDIRECT_MAP redirect_map(Map Any Any) Int any Changes;
        52 SK_REDIRECT_MAP sk_redirect_map(Ctx Map Any Any) Int any Changes;
        53 SOCK_MAP_UPDATE sock_map_update(Ctx Map Key Any) Int any Changes;
    }
    since 4 15 {
        54 XDP_ADJUST_META xdp_adjust_meta(Ctx Any) Int any Changes;
        55 PERF_EVENT_READ_VALUE perf_event_read_value(Map Any Out Size) Int gpl Fills;
        56 PERF_PROG_READ_VALUE perf_prog_read_value(Ctx Out Size) Int gpl Fills;
        57 GETSOCKOPT getsockopt(Ctx Any Any Out Size) Int any Fills;
    }
    since 4 16 {
        58 OVERRIDE_RETURN override_return(Ctx Any) Int gpl Changes;
        59 SOCK_OPS_CB_FLAGS_SET sock_ops_cb_flags_set(Ctx Any) Int any Changes;
    }
    since 4 17 {
        60 MSG_REDIRECT_MAP msg_redirect_map(Ctx Map Any Any) Int any Changes;
        61 MSG_APPLY_BYTES msg_apply_bytes(Ctx Any) Int any Changes;
        62 MSG_CORK_BYTES msg_cork_bytes(Ctx Any) Int any Changes;
        63 MSG_PULL_DATA msg_pull_data(Ctx Any Any Any) Int any Changes;
        64 BIND bind(Ctx Mem Size) Int any Changes;
    }
    since 4 18 {
        65 XDP_ADJUST_TAIL xdp_adjust_tail(Ctx Any) Int any Changes;
        66 SKB_GET_XFRM_STATE skb_get_xfrm_state(Ctx Any Out Size Any) Int any Fills;
        67 GET_STACK get_stack(Ctx Out SizeOrZero Any) Int gpl Fills;
        68 SKB_LOAD_BYTES_RELATIVE skb_load_bytes_relative(Ctx Any Out Size Any) Int any Fills;
        69 FIB_LOOKUP fib_lookup(Ctx InOut Size Any) Int gpl Fills;
        70 SOCK_HASH_UPDATE sock_hash_update(Ctx Map Key Any) Int any Changes;
        71 MSG_REDIRECT_HASH msg_redirect_hash(Ctx Map Key Any) Int any Changes;
        72 SK_REDIRECT_HASH sk_redirect_hash(Ctx Map Key Any) Int any Changes;
        73 LWT_PUSH_ENCAP lwt_push_encap(Ctx Any Mem) Int any Changes;
        74 LWT_SEG6_STORE_BYTES lwt_seg6_store_bytes(Ctx Any Mem) Int any Changes;
        75 LWT_SEG6_ADJUST_SRH lwt_seg6_adjust_srh(Ctx Any Any) Int any Changes;
        76 LWT_SEG6_ACTION lwt_seg6_action(Ctx Any Mem) Int any Changes;
        77 RC_REPEAT rc_repeat(Ctx) Int any Changes;
        78 RC_KEYDOWN rc_keydown(Ctx Any Any Any) Int any Changes;
        79 SKB_CGROUP_ID skb_cgroup_id(Ctx) Int any Reads;
        80 GET_CURRENT_CGROUP_ID get_current_cgroup_id() Int any Constant;
    }
    since 4 19 {
        81 GET_LOCAL_STORAGE get_local_storage(Map Any) Value any Reads;
        82 SK_SELECT_REUSEPORT sk_select_reuseport(Ctx Map Key Any) Int any Changes;
        83 SKB_ANCESTOR_CGROUP_ID skb_ancestor_cgroup_id(Ctx Any) Int any Reads;
    }
    since 4 20 {
        84 SK_LOOKUP_TCP sk_lookup_tcp(Ctx Mem Size Any Any) SockOrNull any Changes;
        85 SK_LOOKUP_UDP sk_lookup_udp(Ctx Mem Size Any Any) SockOrNull any Changes;
        86 SK_RELEASE sk_release(Release) Int any Changes;
        87 MAP_PUSH_ELEM map_push_elem(Map Value Any) Int any Changes;
        88 MAP_POP_ELEM map_pop_elem(Map OutValue) Int any Changes;
        89 MAP_PEEK_ELEM map_peek_elem(Map OutValue) Int any Fills;
        90 MSG_PUSH_DATA msg_push_data(Ctx Any Any Any) Int any Changes;
    }
    since 5 0 {
        91 MSG_POP_DATA msg_pop_data(Ctx Any Any Any) Int any Changes;
        92 RC_POINTER_REL rc_pointer_rel(Ctx Any Any) Int gpl Changes;
    }
    since 5 1 {
        93 SPIN_LOCK spin_lock(SpinLock) Void any Changes;
        94 SPIN_UNLOCK spin_unlock(SpinLock) Void any Changes;
        95 SK_FULLSOCK sk_fullsock(Sock) SockOrNull any Reads;
        96 TCP_SOCK tcp_sock(Sock) SockOrNull any Reads;
        97 SKB_ECN_SET_CE skb_ecn_set_ce(Ctx) Int any Changes;
        98 GET_LISTENER_SOCK get_listener_sock(Sock) SockOrNull any Reads;
    }
    since 5 2 {
        99 SKC_LOOKUP_TCP skc_lookup_tcp(Ctx Mem Size Any Any) SockOrNull any Changes;
        100 TCP_CHECK_SYNCOOKIE tcp_check_syncookie(Sock Mem Size Mem Size) Int gpl Reads;
        101 SYSCTL_GET_NAME sysctl_get_name(Ctx InOut Size Any) Int any Fills;
        102 SYSCTL_GET_CURRENT_VALUE sysctl_get_current_value(Ctx Out Size) Int any Fills;
        103 SYSCTL_GET_NEW_VALUE sysctl_get_new_value(Ctx Out Size) Int any Fills;
        104 SYSCTL_SET_NEW_VALUE sysctl_set_new_value(Ctx Mem Size) Int any Changes;
        105 STRTOL strtol(Mem Size Any OutFixed) Int any Fills;
        106 STRTOUL strtoul(Mem Size Any OutFixed) Int any Fills;
        107 SK_STORAGE_GET sk_storage_get(Map Sock ValueOrNull Any) ValueOrNull any Changes;
        108 SK_STORAGE_DELETE sk_storage_delete(Map Sock) Int any Changes;
    }
    since 5 3 {
        109 SEND_SIGNAL send_signal(Any) Int any Changes;
        110 TCP_GEN_SYNCOOKIE tcp_gen_syncookie(Sock Mem Size Mem Size) Int any Changes;
    }
    since 5 5 {
        111 SKB_OUTPUT skb_output(BtfId Map Any Mem SizeOrZero) Int gpl Changes;
        112 PROBE_READ_USER probe_read_user(Out SizeOrZero Any) Int gpl Fills;
        113 PROBE_READ_KERNEL probe_read_kernel(Out SizeOrZero Any) Int gpl Fills;
        114 PROBE_READ_USER_STR probe_read_user_str(Out SizeOrZero Any) Int gpl Fills;
        115 PROBE_READ_KERNEL_STR probe_read_kernel_str(Out SizeOrZero Any) Int gpl Fills;
    }
    since 5 6 {
        116 TCP_SEND_ACK tcp_send_ack(BtfId Any) Int any Changes;
        117 SEND_SIGNAL_THREAD send_signal_thread(Any) Int any Changes;
        118 JIFFIES64 jiffies64() Int any Reads;
    }
    since 5 7 {
        119 READ_BRANCH_RECORDS read_branch_records(Ctx InOutOrNull SizeOrZero Any) Int gpl Fills;
        120 GET_NS_CURRENT_PID_TGID get_ns_current_pid_tgid(Any Any Out Size) Int any ConstantFill;
        121 XDP_OUTPUT xdp_output(BtfId Map Any Mem SizeOrZero) Int gpl Changes;
        122 GET_NETNS_COOKIE get_netns_cookie(CtxOrNull) Int any Constant;
        123 GET_CURRENT_ANCESTOR_CGROUP_ID get_current_ancestor_cgroup_id(Any) Int any Constant;
        124 SK_ASSIGN sk_assign(Ctx Sock Any) Int any Changes;
    }
    since 5 8 {
        125 KTIME_GET_BOOT_NS ktime_get_boot_ns() Int any Reads;
        126 SEQ_PRINTF seq_printf(BtfId Mem Size MemOrNull SizeOrZero) Int gpl Changes;
        127 SEQ_WRITE seq_write(BtfId Mem SizeOrZero) Int gpl Changes;
        128 SK_CGROUP_ID sk_cgroup_id(Sock) Int any Reads;
        129 SK_ANCESTOR_CGROUP_ID sk_ancestor_cgroup_id(Sock Any) Int any Reads;
        130 RINGBUF_OUTPUT ringbuf_output(Map Mem SizeOrZero Any) Int any Changes;
        131 RINGBUF_RESERVE ringbuf_reserve(Map AllocSize Any) MemOrNull any Changes;
        132 RINGBUF_SUBMIT ringbuf_submit(Release Any) Void any Changes;
        133 RINGBUF_DISCARD ringbuf_discard(Release Any) Void any Changes;
        134 RINGBUF_QUERY ringbuf_query(Map Any) Int any Reads;
        135 CSUM_LEVEL csum_level(Ctx Any) Int any Changes;
    }
    since 5 9 {
        136 SKC_TO_TCP6_SOCK skc_to_tcp6_sock(Sock) BtfIdOrNull any Reads;
        137 SKC_TO_TCP_SOCK skc_to_tcp_sock(Sock) BtfIdOrNull any Reads;
        138 SKC_TO_TCP_TIMEWAIT_SOCK skc_to_tcp_timewait_sock(Sock) BtfIdOrNull any Reads;
        139 SKC_TO_TCP_REQUEST_SOCK skc_to_tcp_request_sock(Sock) BtfIdOrNull any Reads;
        140 SKC_TO_UDP6_SOCK skc_to_udp6_sock(Sock) BtfIdOrNull any Reads;
        141 GET_TASK_STACK get_task_stack(BtfId Out SizeOrZero Any) Int any Fills;
    }
    since 5 10 {
        142 LOAD_HDR_OPT load_hdr_opt(Ctx Out Size Any) Int any Fills;
        143 STORE_HDR_OPT store_hdr_opt(Ctx Mem Size Any) Int any Changes;
        144 RESERVE_HDR_OPT reserve_hdr_opt(Ctx Any Any) Int any Changes;
        145 INODE_STORAGE_GET inode_storage_get(Map BtfId ValueOrNull Any) ValueOrNull any Changes;
        146 INODE_STORAGE_DELETE inode_storage_delete(Map BtfId) Int any Changes;
        147 D_PATH d_path(BtfId InOut SizeOrZero) Int any Fills;
        148 COPY_FROM_USER copy_from_user(Out SizeOrZero Any) Int any Fills;
        149 SNPRINTF_BTF snprintf_btf(InOut Size Mem Size Any) Int any Fills;
        150 SEQ_PRINTF_BTF seq_printf_btf(BtfId Mem SizeOrZero Any) Int gpl Changes;
        151 SKB_CGROUP_CLASSID skb_cgroup_classid(Ctx) Int any Reads;
        152 REDIRECT_NEIGH redirect_neigh(Any MemOrNull SizeOrZero Any) Int any Changes;
        153 PER_CPU_PTR per_cpu_ptr(PercpuBtfId Any) BtfIdOrNull any Reads;
        154 THIS_CPU_PTR this_cpu_ptr(PercpuBtfId) BtfId any Reads;
        155 REDIRECT_PEER redirect_peer(Any Any) Int any Changes;
    }
    since 5 11 {
        156 TASK_STORAGE_GET task_storage_get(Map BtfId ValueOrNull Any) ValueOrNull any Changes;
        157 TASK_STORAGE_DELETE task_storage_delete(Map BtfId) Int any Changes;
        158 GET_CURRENT_TASK_BTF get_current_task_btf() BtfId gpl Constant;
        159 BPRM_OPTS_SET bprm_opts_set(BtfId Any) Int any Changes;
        160 KTIME_GET_COARSE_NS ktime_get_coarse_ns() Int any Reads;
        161 IMA_INODE_HASH ima_inode_hash(BtfId Out Size) Int any Fills;
        162 SOCK_FROM_FILE sock_from_file(BtfId) BtfIdOrNull any Reads;
    }
    since 5 12 {
        163 CHECK_MTU check_mtu(Ctx Any OutFixed Any Any) Int gpl Fills;
    }
    since 5 13 {
        164 FOR_EACH_MAP_ELEM for_each_map_elem(Map Func StackOrNull Any) Int any Changes;
        165 SNPRINTF snprintf(InOutOrNull SizeOrZero Str MemOrNull SizeOrZero) Int gpl Fills;
    }
    since 5 14 {
        166 SYS_BPF sys_bpf(Any Mem Size) Int any Changes;
        167 BTF_FIND_BY_NAME_KIND btf_find_by_name_kind(Mem Size Any Any) Int any Reads;
        168 SYS_CLOSE sys_close(Any) Int any Changes;
    }
    since 5 15 {
        169 TIMER_INIT timer_init(Timer Map Any) Int gpl Changes;
        170 TIMER_SET_CALLBACK timer_set_callback(Timer Func) Int gpl Changes;
        171 TIMER_START timer_start(Timer Any Any) Int gpl Changes;
        172 TIMER_CANCEL timer_cancel(Timer) Int gpl Changes;
        173 GET_FUNC_IP get_func_ip(Ctx) Int gpl Constant;
        174 GET_ATTACH_COOKIE get_attach_cookie(Ctx) Int any Constant;
        175 TASK_PT_REGS task_pt_regs(BtfId) BtfId gpl Constant;
    }
    since 5 16 {
        176 GET_BRANCH_SNAPSHOT get_branch_snapshot(Out SizeOrZero) Int gpl Fills;
        177 TRACE_VPRINTK trace_vprintk(Mem Size MemOrNull SizeOrZero) Int gpl Changes;
        178 SKC_TO_UNIX_SOCK skc_to_unix_sock(Sock) BtfIdOrNull any Reads;
        179 KALLSYMS_LOOKUP_NAME kallsyms_lookup_name(InOut SizeOrZero Any OutFixed) Int any Fills;
    }
    since 5 17 {
        180 FIND_VMA find_vma(BtfId Any Func StackOrNull Any) Int any Changes;
        181 LOOP loop(Any Func StackOrNull Any) Int any Changes;
        182 STRNCMP strncmp(Mem Size Str) Int any Reads;
        183 GET_FUNC_ARG get_func_arg(Ctx Any OutFixed) Int any ConstantFill;
        184 GET_FUNC_RET get_func_ret(Ctx OutFixed) Int any ConstantFill;
        185 GET_FUNC_ARG_CNT get_func_arg_cnt(Ctx) Int any Constant;
    }
    since 5 18 {
        186 GET_RETVAL get_retval() Int any Reads;
        187 SET_RETVAL set_retval(Any) Int any Changes;
        188 XDP_GET_BUFF_LEN xdp_get_buff_len(Ctx) Int any Reads;
        189 XDP_LOAD_BYTES xdp_load_bytes(Ctx Any Out Size) Int any Fills;
        190 XDP_STORE_BYTES xdp_store_bytes(Ctx Any Mem Size) Int any Changes;
        191 COPY_FROM_USER_TASK copy_from_user_task(Out SizeOrZero Any BtfId) Int gpl Fills;
        192 SKB_SET_TSTAMP skb_set_tstamp(Ctx Any Any) Int any Changes;
        193 IMA_FILE_HASH ima_file_hash(BtfId Out Size) Int any Fills;
    }
    since 5 19 {
        194 KPTR_XCHG kptr_xchg(Kptr BtfIdOrNull) BtfIdOrNull any Changes;
        195 MAP_LOOKUP_PERCPU_ELEM map_lookup_percpu_elem(Map Key Any) ValueOrNull any Reads;
        196 SKC_TO_MPTCP_SOCK skc_to_mptcp_sock(Sock) BtfIdOrNull any Reads;
        197 DYNPTR_FROM_MEM dynptr_from_mem(Out SizeOrZero Any OutDynptr) Int any Changes;
        198 RINGBUF_RESERVE_DYNPTR ringbuf_reserve_dynptr(Map Any Any OutDynptr) Int any Changes;
        199 RINGBUF_SUBMIT_DYNPTR ringbuf_submit_dynptr(Dynptr Any) Void any Changes;
        200 RINGBUF_DISCARD_DYNPTR ringbuf_discard_dynptr(Dynptr Any) Void any Changes;
        201 DYNPTR_READ dynptr_read(Out SizeOrZero Dynptr Any Any) Int any Fills;
        202 DYNPTR_WRITE dynptr_write(Dynptr Any Mem SizeOrZero Any) Int any Changes;
        203 DYNPTR_DATA dynptr_data(Dynptr Any AllocSize) MemOrNull any Reads;
    }
    since 6 0 {
        204 TCP_RAW_GEN_SYNCOOKIE_IPV4 tcp_raw_gen_syncookie_ipv4(Fixed Mem Size) Int any Changes;
        205 TCP_RAW_GEN_SYNCOOKIE_IPV6 tcp_raw_gen_syncookie_ipv6(Fixed Mem Size) Int any Changes;
        206 TCP_RAW_CHECK_SYNCOOKIE_IPV4 tcp_raw_check_syncookie_ipv4(Fixed Fixed) Int any Changes;
        207 TCP_RAW_CHECK_SYNCOOKIE_IPV6 tcp_raw_check_syncookie_ipv6(Fixed Fixed) Int any Changes;
    }
    since 6 1 {
        208 KTIME_GET_TAI_NS ktime_get_tai_ns() Int any Reads;
        209 USER_RINGBUF_DRAIN user_ringbuf_drain(Map Func StackOrNull Any) Int any Changes;
    }
    since 6 2 {
        210 CGRP_STORAGE_GET cgrp_storage_get(Map BtfId ValueOrNull Any) ValueOrNull any Changes;
        211 CGRP_STORAGE_DELETE cgrp_storage_delete(Map BtfId) Int any Changes;
    }
}
