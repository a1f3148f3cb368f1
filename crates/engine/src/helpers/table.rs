//! The table: helper numbers to functions, and why there is none for the others.

use skep_bpf::helpers::id;

use super::HelperFn;
use super::{
    cgroup, clock, control, csum, dynptr, fib, maps, memory, msg, perf, print, redirect, ring, shape, skb,
    socket, storage, task, text, timer, trace, tunnel, xdp,
};

/// One more than the last helper's number.
const NUMBERS: usize = 212;

static ROWS: &[(u32, HelperFn)] = &[
    (id::MAP_LOOKUP_ELEM, maps::map_lookup_elem),
    (id::MAP_UPDATE_ELEM, maps::map_update_elem),
    (id::MAP_DELETE_ELEM, maps::map_delete_elem),
    (id::MAP_PUSH_ELEM, maps::map_push_elem),
    (id::MAP_POP_ELEM, maps::map_pop_elem),
    (id::MAP_PEEK_ELEM, maps::map_peek_elem),
    (id::MAP_LOOKUP_PERCPU_ELEM, maps::map_lookup_percpu_elem),
    (id::FOR_EACH_MAP_ELEM, control::for_each_map_elem),
    (id::LOOP, control::bpf_loop),
    (id::SPIN_LOCK, control::spin_lock),
    (id::SPIN_UNLOCK, control::spin_unlock),
    (id::KPTR_XCHG, control::kptr_xchg),
    (id::TIMER_INIT, timer::timer_init),
    (id::TIMER_SET_CALLBACK, timer::timer_set_callback),
    (id::TIMER_START, timer::timer_start),
    (id::TIMER_CANCEL, timer::timer_cancel),
    (id::KTIME_GET_NS, clock::ktime_get_ns),
    (id::KTIME_GET_BOOT_NS, clock::ktime_get_boot_ns),
    (id::KTIME_GET_COARSE_NS, clock::ktime_get_coarse_ns),
    (id::KTIME_GET_TAI_NS, clock::ktime_get_tai_ns),
    (id::JIFFIES64, clock::jiffies64),
    (id::GET_PRANDOM_U32, clock::get_prandom_u32),
    (id::GET_SMP_PROCESSOR_ID, clock::get_smp_processor_id),
    (id::GET_NUMA_NODE_ID, clock::get_numa_node_id),
    (id::GET_CURRENT_PID_TGID, task::get_current_pid_tgid),
    (id::GET_CURRENT_UID_GID, task::get_current_uid_gid),
    (id::GET_CURRENT_COMM, task::get_current_comm),
    (id::GET_CURRENT_TASK, task::get_current_task),
    (id::GET_CURRENT_TASK_BTF, task::get_current_task_btf),
    (id::GET_CURRENT_CGROUP_ID, task::get_current_cgroup_id),
    (id::GET_CURRENT_ANCESTOR_CGROUP_ID, task::get_current_ancestor_cgroup_id),
    (id::GET_NS_CURRENT_PID_TGID, task::get_ns_current_pid_tgid),
    (id::TASK_PT_REGS, task::task_pt_regs),
    (id::PROBE_READ, memory::probe_read),
    (id::PROBE_READ_KERNEL, memory::probe_read_kernel),
    (id::PROBE_READ_USER, memory::probe_read_user),
    (id::PROBE_READ_STR, memory::probe_read_str),
    (id::PROBE_READ_KERNEL_STR, memory::probe_read_kernel_str),
    (id::PROBE_READ_USER_STR, memory::probe_read_user_str),
    (id::PROBE_WRITE_USER, memory::probe_write_user),
    (id::COPY_FROM_USER, memory::copy_from_user),
    (id::COPY_FROM_USER_TASK, memory::copy_from_user_task),
    (id::D_PATH, memory::d_path),
    (id::TRACE_PRINTK, print::trace_printk),
    (id::TRACE_VPRINTK, print::trace_vprintk),
    (id::SNPRINTF, print::snprintf),
    (id::SNPRINTF_BTF, print::snprintf_btf),
    (id::SEQ_PRINTF, print::seq_printf),
    (id::SEQ_WRITE, print::seq_write),
    (id::STRTOL, text::strtol),
    (id::STRTOUL, text::strtoul),
    (id::STRNCMP, text::strncmp),
    (id::RINGBUF_OUTPUT, ring::ringbuf_output),
    (id::RINGBUF_RESERVE, ring::ringbuf_reserve),
    (id::RINGBUF_SUBMIT, ring::ringbuf_submit),
    (id::RINGBUF_DISCARD, ring::ringbuf_discard),
    (id::RINGBUF_QUERY, ring::ringbuf_query),
    (id::USER_RINGBUF_DRAIN, ring::user_ringbuf_drain),
    (id::RINGBUF_RESERVE_DYNPTR, dynptr::ringbuf_reserve_dynptr),
    (id::RINGBUF_SUBMIT_DYNPTR, dynptr::ringbuf_submit_dynptr),
    (id::RINGBUF_DISCARD_DYNPTR, dynptr::ringbuf_discard_dynptr),
    (id::DYNPTR_FROM_MEM, dynptr::dynptr_from_mem),
    (id::DYNPTR_READ, dynptr::dynptr_read),
    (id::DYNPTR_WRITE, dynptr::dynptr_write),
    (id::DYNPTR_DATA, dynptr::dynptr_data),
    (id::PERF_EVENT_OUTPUT, perf::perf_event_output),
    (id::SKB_OUTPUT, perf::skb_output),
    (id::XDP_OUTPUT, perf::xdp_output),
    (id::PERF_EVENT_READ, perf::perf_event_read),
    (id::PERF_EVENT_READ_VALUE, perf::perf_event_read_value),
    (id::PERF_PROG_READ_VALUE, perf::perf_prog_read_value),
    (id::READ_BRANCH_RECORDS, perf::read_branch_records),
    (id::GET_BRANCH_SNAPSHOT, perf::get_branch_snapshot),
    (id::GET_STACKID, perf::get_stackid),
    (id::GET_STACK, perf::get_stack),
    (id::GET_TASK_STACK, perf::get_task_stack),
    (id::GET_FUNC_IP, trace::get_func_ip),
    (id::GET_FUNC_ARG, trace::get_func_arg),
    (id::GET_FUNC_RET, trace::get_func_ret),
    (id::GET_FUNC_ARG_CNT, trace::get_func_arg_cnt),
    (id::GET_ATTACH_COOKIE, trace::get_attach_cookie),
    (id::OVERRIDE_RETURN, trace::override_return),
    (id::SEND_SIGNAL, trace::send_signal),
    (id::SEND_SIGNAL_THREAD, trace::send_signal_thread),
    (id::PER_CPU_PTR, trace::per_cpu_ptr),
    (id::THIS_CPU_PTR, trace::this_cpu_ptr),
    (id::KALLSYMS_LOOKUP_NAME, trace::kallsyms_lookup_name),
    (id::SOCK_FROM_FILE, |call| trace::recorded_object(call, id::SOCK_FROM_FILE, "bpf_sock_from_file()")),
    (id::IMA_INODE_HASH, |call| trace::recorded_object(call, id::IMA_INODE_HASH, "bpf_ima_inode_hash()")),
    (id::IMA_FILE_HASH, |call| trace::recorded_object(call, id::IMA_FILE_HASH, "bpf_ima_file_hash()")),
    (id::SKC_TO_TCP6_SOCK, |call| {
        trace::recorded_object(call, id::SKC_TO_TCP6_SOCK, "bpf_skc_to_tcp6_sock()")
    }),
    (id::SKC_TO_TCP_SOCK, |call| trace::recorded_object(call, id::SKC_TO_TCP_SOCK, "bpf_skc_to_tcp_sock()")),
    (id::SKC_TO_UDP6_SOCK, |call| {
        trace::recorded_object(call, id::SKC_TO_UDP6_SOCK, "bpf_skc_to_udp6_sock()")
    }),
    (id::SKC_TO_UNIX_SOCK, |call| {
        trace::recorded_object(call, id::SKC_TO_UNIX_SOCK, "bpf_skc_to_unix_sock()")
    }),
    (id::TASK_STORAGE_GET, storage::task_storage_get),
    (id::TASK_STORAGE_DELETE, storage::task_storage_delete),
    (id::INODE_STORAGE_GET, storage::inode_storage_get),
    (id::INODE_STORAGE_DELETE, storage::inode_storage_delete),
    (id::CGRP_STORAGE_GET, storage::cgrp_storage_get),
    (id::CGRP_STORAGE_DELETE, storage::cgrp_storage_delete),
    (id::SK_STORAGE_GET, storage::sk_storage_get),
    (id::SK_STORAGE_DELETE, storage::sk_storage_delete),
    (id::GET_LOCAL_STORAGE, storage::get_local_storage),
    (id::CSUM_DIFF, csum::csum_diff),
    (id::L3_CSUM_REPLACE, csum::l3_csum_replace),
    (id::L4_CSUM_REPLACE, csum::l4_csum_replace),
    (id::CSUM_UPDATE, csum::csum_update),
    (id::CSUM_LEVEL, csum::csum_level),
    (id::XDP_GET_BUFF_LEN, xdp::xdp_get_buff_len),
    (id::XDP_ADJUST_HEAD, xdp::xdp_adjust_head),
    (id::XDP_ADJUST_TAIL, xdp::xdp_adjust_tail),
    (id::XDP_ADJUST_META, xdp::xdp_adjust_meta),
    (id::XDP_LOAD_BYTES, xdp::xdp_load_bytes),
    (id::XDP_STORE_BYTES, xdp::xdp_store_bytes),
    (id::SKB_LOAD_BYTES, skb::skb_load_bytes),
    (id::SKB_LOAD_BYTES_RELATIVE, skb::skb_load_bytes_relative),
    (id::SKB_STORE_BYTES, skb::skb_store_bytes),
    (id::SKB_PULL_DATA, skb::skb_pull_data),
    (id::SKB_CHANGE_TYPE, skb::skb_change_type),
    (id::GET_HASH_RECALC, skb::get_hash_recalc),
    (id::SET_HASH_INVALID, skb::set_hash_invalid),
    (id::SET_HASH, skb::set_hash),
    (id::SKB_SET_TSTAMP, skb::skb_set_tstamp),
    (id::SKB_ECN_SET_CE, skb::skb_ecn_set_ce),
    (id::SKB_VLAN_PUSH, shape::skb_vlan_push),
    (id::SKB_VLAN_POP, shape::skb_vlan_pop),
    (id::SKB_CHANGE_TAIL, shape::skb_change_tail),
    (id::SKB_CHANGE_HEAD, shape::skb_change_head),
    (id::SKB_CHANGE_PROTO, shape::skb_change_proto),
    (id::SKB_ADJUST_ROOM, shape::skb_adjust_room),
    (id::REDIRECT, redirect::redirect),
    (id::REDIRECT_PEER, redirect::redirect_peer),
    (id::REDIRECT_NEIGH, redirect::redirect_neigh),
    (id::REDIRECT_MAP, redirect::redirect_map),
    (id::CLONE_REDIRECT, redirect::clone_redirect),
    (id::SK_REDIRECT_MAP, redirect::sk_redirect_map),
    (id::SK_REDIRECT_HASH, redirect::sk_redirect_hash),
    (id::MSG_REDIRECT_MAP, redirect::msg_redirect_map),
    (id::MSG_REDIRECT_HASH, redirect::msg_redirect_hash),
    (id::MSG_APPLY_BYTES, msg::msg_apply_bytes),
    (id::MSG_CORK_BYTES, msg::msg_cork_bytes),
    (id::MSG_PULL_DATA, msg::msg_pull_data),
    (id::MSG_PUSH_DATA, msg::msg_push_data),
    (id::MSG_POP_DATA, msg::msg_pop_data),
    (id::FIB_LOOKUP, fib::fib_lookup),
    (id::CHECK_MTU, fib::check_mtu),
    (id::SKB_GET_TUNNEL_KEY, tunnel::skb_get_tunnel_key),
    (id::SKB_SET_TUNNEL_KEY, tunnel::skb_set_tunnel_key),
    (id::SKB_GET_TUNNEL_OPT, tunnel::skb_get_tunnel_opt),
    (id::SKB_SET_TUNNEL_OPT, tunnel::skb_set_tunnel_opt),
    (id::SK_LOOKUP_TCP, socket::sk_lookup_tcp),
    (id::SKC_LOOKUP_TCP, socket::skc_lookup_tcp),
    (id::SK_LOOKUP_UDP, socket::sk_lookup_udp),
    (id::SK_RELEASE, socket::sk_release),
    (id::SOCK_MAP_UPDATE, socket::sock_map_update),
    (id::SOCK_HASH_UPDATE, socket::sock_hash_update),
    (id::SK_SELECT_REUSEPORT, socket::sk_select_reuseport),
    (id::SK_ASSIGN, socket::sk_assign),
    (id::SK_FULLSOCK, socket::sk_fullsock),
    (id::GET_LISTENER_SOCK, socket::get_listener_sock),
    (id::TCP_SOCK, socket::tcp_sock),
    (id::GET_SOCKET_COOKIE, socket::get_socket_cookie),
    (id::GET_SOCKET_UID, socket::get_socket_uid),
    (id::GET_NETNS_COOKIE, socket::get_netns_cookie),
    (id::SKB_CGROUP_ID, socket::skb_cgroup_id),
    (id::SKB_ANCESTOR_CGROUP_ID, socket::skb_ancestor_cgroup_id),
    (id::SK_CGROUP_ID, socket::sk_cgroup_id),
    (id::SK_ANCESTOR_CGROUP_ID, socket::sk_ancestor_cgroup_id),
    (id::BIND, socket::bind),
    (id::SETSOCKOPT, socket::setsockopt),
    (id::GETSOCKOPT, socket::getsockopt),
    (id::SOCK_OPS_CB_FLAGS_SET, socket::sock_ops_cb_flags_set),
    (id::CURRENT_TASK_UNDER_CGROUP, cgroup::current_task_under_cgroup),
    (id::SKB_UNDER_CGROUP, cgroup::skb_under_cgroup),
    (id::GET_CGROUP_CLASSID, cgroup::classid),
    (id::SKB_CGROUP_CLASSID, cgroup::classid),
    (id::GET_ROUTE_REALM, cgroup::get_route_realm),
    (id::GET_RETVAL, cgroup::get_retval),
    (id::SET_RETVAL, cgroup::set_retval),
    (id::SYSCTL_GET_NAME, cgroup::sysctl_get_name),
    (id::SYSCTL_GET_CURRENT_VALUE, cgroup::sysctl_get_current_value),
    (id::SYSCTL_GET_NEW_VALUE, cgroup::sysctl_get_new_value),
    (id::SYSCTL_SET_NEW_VALUE, cgroup::sysctl_set_new_value),
];

static BY_NUMBER: [Option<HelperFn>; NUMBERS] = by_number();

const fn by_number() -> [Option<HelperFn>; NUMBERS] {
    let mut out = [None; NUMBERS];
    let mut row = 0;
    while row < ROWS.len() {
        out[ROWS[row].0 as usize] = Some(ROWS[row].1);
        row += 1;
    }
    out
}

/// The function of a helper.
#[inline]
pub(super) fn function(id: u32) -> Option<HelperFn> {
    *BY_NUMBER.get(id as usize)?
}

/// Why the machine has none of a helper that the kernel has.
pub(super) fn reason(id: u32) -> &'static str {
    match id {
        id::SYS_BPF | id::SYS_CLOSE | id::BTF_FIND_BY_NAME_KIND => "there is no kernel here to call",
        id::LWT_PUSH_ENCAP | id::LWT_SEG6_STORE_BYTES | id::LWT_SEG6_ADJUST_SRH | id::LWT_SEG6_ACTION => {
            "there are no tunnel routes here"
        }
        id::RC_REPEAT | id::RC_KEYDOWN | id::RC_POINTER_REL => "there is no infrared receiver here",
        id::TCP_CHECK_SYNCOOKIE
        | id::TCP_GEN_SYNCOOKIE
        | id::TCP_RAW_GEN_SYNCOOKIE_IPV4
        | id::TCP_RAW_GEN_SYNCOOKIE_IPV6
        | id::TCP_RAW_CHECK_SYNCOOKIE_IPV4
        | id::TCP_RAW_CHECK_SYNCOOKIE_IPV6
        | id::TCP_SEND_ACK => "there is no TCP here",
        id::LOAD_HDR_OPT | id::STORE_HDR_OPT | id::RESERVE_HDR_OPT => "there are no TCP headers here",
        id::SKB_GET_XFRM_STATE => "there is no IPsec here",
        id::FIND_VMA => "there are no processes here whose memory is mapped",
        _ => "it works on an object of the kernel; there is none here",
    }
}
