//! Layouts of the structures that bpf(2) and perf_event_open(2) take (include/uapi/linux/bpf.h and perf_event.h,
//! Linux 6.18). All fields are in the machine's byte order; pointers are u64; unused bytes are zero. A test holds each
//! offset against independently generated bindings.

/// Commands of bpf(2), `enum bpf_cmd`.
pub(crate) mod cmd {
    pub(crate) const MAP_CREATE: u32 = 0;
    pub(crate) const MAP_LOOKUP_ELEM: u32 = 1;
    pub(crate) const MAP_UPDATE_ELEM: u32 = 2;
    pub(crate) const MAP_DELETE_ELEM: u32 = 3;
    pub(crate) const MAP_GET_NEXT_KEY: u32 = 4;
    pub(crate) const PROG_LOAD: u32 = 5;
    pub(crate) const OBJ_PIN: u32 = 6;
    pub(crate) const OBJ_GET: u32 = 7;
    pub(crate) const PROG_TEST_RUN: u32 = 10;
    pub(crate) const PROG_GET_NEXT_ID: u32 = 11;
    pub(crate) const MAP_GET_NEXT_ID: u32 = 12;
    pub(crate) const PROG_GET_FD_BY_ID: u32 = 13;
    pub(crate) const MAP_GET_FD_BY_ID: u32 = 14;
    pub(crate) const OBJ_GET_INFO_BY_FD: u32 = 15;
    pub(crate) const RAW_TRACEPOINT_OPEN: u32 = 17;
    pub(crate) const BTF_LOAD: u32 = 18;
    pub(crate) const BTF_GET_FD_BY_ID: u32 = 19;
    pub(crate) const MAP_LOOKUP_AND_DELETE_ELEM: u32 = 21;
    pub(crate) const MAP_FREEZE: u32 = 22;
    pub(crate) const BTF_GET_NEXT_ID: u32 = 23;
    pub(crate) const MAP_LOOKUP_BATCH: u32 = 24;
    pub(crate) const MAP_UPDATE_BATCH: u32 = 26;
    pub(crate) const MAP_DELETE_BATCH: u32 = 27;
    pub(crate) const LINK_CREATE: u32 = 28;
    pub(crate) const LINK_GET_FD_BY_ID: u32 = 30;
    pub(crate) const LINK_GET_NEXT_ID: u32 = 31;
    pub(crate) const LINK_DETACH: u32 = 34;
    pub(crate) const ENABLE_STATS: u32 = 32;
    pub(crate) const ITER_CREATE: u32 = 33;
}

/// `enum bpf_attach_type` values of links that [`skep_bpf::kinds::AttachType`] has no need for.
pub(crate) mod attach {
    /// Link of a program to a perf event (5.15).
    pub(crate) const PERF_EVENT: u32 = 41;
}

/// A structure whose bytes may go to the kernel as they are.
///
/// # Safety
/// The type is `repr(C)`, made of integers and byte arrays only, and has no padding.
pub(crate) unsafe trait Attr: Copy {}

macro_rules! attrs {
    ($($(#[$doc:meta])* $name:ident { $($field:ident : $ty:ty),* $(,)? })*) => {$(
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Default, Debug)]
        pub(crate) struct $name { $(pub(crate) $field: $ty),* }
        // SAFETY: `repr(C)` with integer and byte array fields; the assertion below excludes padding.
        unsafe impl Attr for $name {}
        const _: () = assert!(size_of::<$name>() == 0 $(+ size_of::<$ty>())*);
    )*};
}

attrs! {
    /// MAP_CREATE.
    MapCreate {
        map_type: u32, key_size: u32, value_size: u32, max_entries: u32, map_flags: u32, inner_map_fd: u32,
        numa_node: u32, map_name: [u8; 16], map_ifindex: u32, btf_fd: u32, btf_key_type_id: u32,
        btf_value_type_id: u32, btf_vmlinux_value_type_id: u32, map_extra: u64,
    }
    /// MAP_*_ELEM and GET_NEXT_KEY (`value` is `next_key` there).
    MapElem { map_fd: u32, pad: u32, key: u64, value: u64, flags: u64 }
    /// MAP_FREEZE.
    MapFd { map_fd: u32 }
    /// MAP_LOOKUP_BATCH, MAP_UPDATE_BATCH, MAP_DELETE_BATCH.
    MapBatch {
        in_batch: u64, out_batch: u64, keys: u64, values: u64, count: u32, map_fd: u32, elem_flags: u64, flags: u64,
    }
    /// PROG_LOAD.
    ProgLoad {
        prog_type: u32, insn_cnt: u32, insns: u64, license: u64, log_level: u32, log_size: u32, log_buf: u64,
        kern_version: u32, prog_flags: u32, prog_name: [u8; 16], prog_ifindex: u32, expected_attach_type: u32,
        prog_btf_fd: u32, func_info_rec_size: u32, func_info: u64, func_info_cnt: u32, line_info_rec_size: u32,
        line_info: u64, line_info_cnt: u32, attach_btf_id: u32, attach_btf_obj_fd: u32, core_relo_cnt: u32,
        fd_array: u64,
    }
    /// bpf_func_info.
    FuncInfo { insn_off: u32, type_id: u32 }
    /// bpf_line_info; `line_col` is line << 10 | column.
    LineInfo { insn_off: u32, file_name_off: u32, line_off: u32, line_col: u32 }
    /// PROG_TEST_RUN.
    TestRun {
        prog_fd: u32, retval: u32, data_size_in: u32, data_size_out: u32, data_in: u64, data_out: u64, repeat: u32,
        duration: u32, ctx_size_in: u32, ctx_size_out: u32, ctx_in: u64, ctx_out: u64, flags: u32, cpu: u32,
    }
    /// *_GET_NEXT_ID and *_GET_FD_BY_ID (`id` is the start id or the id).
    Id { id: u32, next_id: u32, open_flags: u32 }
    /// OBJ_PIN.
    ObjPin { pathname: u64, bpf_fd: u32, file_flags: u32 }
    /// LINK_DETACH.
    LinkFd { link_fd: u32 }
    /// bpf_map_info.
    MapInfo {
        map_type: u32, id: u32, key_size: u32, value_size: u32, max_entries: u32, map_flags: u32, name: [u8; 16],
        ifindex: u32, btf_vmlinux_value_type_id: u32, netns_dev: u64, netns_ino: u64, btf_id: u32,
        btf_key_type_id: u32, btf_value_type_id: u32, btf_vmlinux_id: u32, map_extra: u64,
    }
    /// bpf_link_info: the part that all kinds have, then that of the kind.
    LinkInfo { link_type: u32, id: u32, prog_id: u32, pad: u32, body: [u64; 8] }
    /// OBJ_GET_INFO_BY_FD.
    Info { bpf_fd: u32, info_len: u32, info: u64 }
    /// RAW_TRACEPOINT_OPEN without cookie.
    RawTracepoint { name: u64, prog_fd: u32, pad: u32 }
    /// RAW_TRACEPOINT_OPEN with cookie (6.10).
    RawTracepointCookie { name: u64, prog_fd: u32, pad: u32, cookie: u64 }
    /// BTF_LOAD.
    BtfLoad { btf: u64, log_buf: u64, btf_size: u32, log_size: u32, log_level: u32, pad: u32 }
    /// LINK_CREATE for a perf event or a typed program; `cookie` at offset 16 (perf_event.bpf_cookie).
    LinkPerf { prog_fd: u32, target_fd: u32, attach_type: u32, flags: u32, cookie: u64 }
    /// LINK_CREATE of fentry, fexit, tp_btf with cookie (`tracing`).
    LinkTracing {
        prog_fd: u32, target_fd: u32, attach_type: u32, flags: u32, target_btf_id: u32, pad: u32, cookie: u64,
    }
    /// LINK_CREATE on a network interface.
    LinkInterface { prog_fd: u32, ifindex: u32, attach_type: u32, flags: u32 }
    /// LINK_CREATE of an iterator.
    LinkIter {
        prog_fd: u32, target_fd: u32, attach_type: u32, flags: u32, iter_info: u64, iter_info_len: u32, pad: u32,
    }
    /// LINK_CREATE of kprobe.multi.
    LinkKprobeMulti {
        prog_fd: u32, target_fd: u32, attach_type: u32, flags: u32, multi_flags: u32, cnt: u32, syms: u64, addrs: u64,
        cookies: u64,
    }
    /// LINK_CREATE of uprobe.multi.
    LinkUprobeMulti {
        prog_fd: u32, target_fd: u32, attach_type: u32, flags: u32, path: u64, offsets: u64, ref_ctr_offsets: u64,
        cookies: u64, cnt: u32, multi_flags: u32, pid: u32, pad: u32,
    }
    /// ITER_CREATE.
    IterCreate { link_fd: u32, flags: u32 }
    /// ENABLE_STATS.
    EnableStats { kind: u32 }
    /// bpf_prog_info.
    ProgInfo {
        prog_type: u32, id: u32, tag: [u8; 8], jited_prog_len: u32, xlated_prog_len: u32, jited_prog_insns: u64,
        xlated_prog_insns: u64, load_time: u64, created_by_uid: u32, nr_map_ids: u32, map_ids: u64, name: [u8; 16],
        ifindex: u32, gpl_compatible: u32, netns_dev: u64, netns_ino: u64, nr_jited_ksyms: u32,
        nr_jited_func_lens: u32, jited_ksyms: u64, jited_func_lens: u64, btf_id: u32, func_info_rec_size: u32,
        func_info: u64, nr_func_info: u32, nr_line_info: u32, line_info: u64, jited_line_info: u64,
        nr_jited_line_info: u32, line_info_rec_size: u32, jited_line_info_rec_size: u32, nr_prog_tags: u32,
        prog_tags: u64, run_time_ns: u64, run_cnt: u64, recursion_misses: u64, verified_insns: u32,
        attach_btf_obj_id: u32, attach_btf_id: u32, pad: u32,
    }
    /// bpf_btf_info.
    BtfInfo { btf: u64, btf_size: u32, id: u32, name: u64, name_len: u32, kernel_btf: u32 }
    /// perf_event_attr up to `__reserved_2` (PERF_ATTR_SIZE_VER5, 112 bytes). `sample_period` is a frequency when
    /// the `freq` bit is set in `flags`.
    PerfEventAttr {
        perf_type: u32, size: u32, config: u64, sample_period: u64, sample_type: u64, read_format: u64, flags: u64,
        wakeup_events: u32, bp_type: u32, config1: u64, config2: u64, branch_sample_type: u64,
        sample_regs_user: u64, sample_stack_user: u32, clockid: i32, sample_regs_intr: u64, aux_watermark: u32,
        sample_max_stack: u16, reserved: u16,
    }
}

/// Bits of `perf_event_attr.flags` (a bit field in the header, counted from the least significant bit).
pub(crate) mod perf_flags {
    pub(crate) const INHERIT: u64 = 1 << 1;
    pub(crate) const MMAP: u64 = 1 << 8;
    pub(crate) const COMM: u64 = 1 << 9;
    pub(crate) const FREQ: u64 = 1 << 10;
    pub(crate) const TASK: u64 = 1 << 13;
    pub(crate) const SAMPLE_ID_ALL: u64 = 1 << 18;
    pub(crate) const MMAP2: u64 = 1 << 23;
    pub(crate) const COMM_EXEC: u64 = 1 << 24;
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;
    use aya_obj::generated as gen_;

    macro_rules! same {
        ($ours:ty, $theirs:ty; $($a:ident = $($b:ident).+),* $(,)?) => {
            $(assert_eq!(offset_of!($ours, $a), offset_of!($theirs, $($b).+), stringify!($a));)*
        };
    }

    #[test]
    fn map_layouts() {
        same!(MapCreate, gen_::bpf_attr__bindgen_ty_1; map_type = map_type, max_entries = max_entries,
            map_flags = map_flags, inner_map_fd = inner_map_fd, numa_node = numa_node, map_name = map_name,
            map_ifindex = map_ifindex, btf_fd = btf_fd, btf_key_type_id = btf_key_type_id,
            btf_value_type_id = btf_value_type_id,
            btf_vmlinux_value_type_id = btf_vmlinux_value_type_id, map_extra = map_extra);
        same!(MapElem, gen_::bpf_attr__bindgen_ty_2; map_fd = map_fd, key = key, flags = flags);
        assert_eq!(offset_of!(MapElem, value), 16);
        same!(MapBatch, gen_::bpf_attr__bindgen_ty_3; in_batch = in_batch, out_batch = out_batch, keys = keys,
            values = values, count = count, map_fd = map_fd, elem_flags = elem_flags, flags = flags);
    }

    #[test]
    fn program_layouts() {
        same!(ProgLoad, gen_::bpf_attr__bindgen_ty_4; prog_type = prog_type, insn_cnt = insn_cnt, insns = insns,
            license = license, log_level = log_level, log_size = log_size, log_buf = log_buf,
            kern_version = kern_version, prog_flags = prog_flags, prog_name = prog_name,
            prog_ifindex = prog_ifindex, expected_attach_type = expected_attach_type, prog_btf_fd = prog_btf_fd,
            func_info_rec_size = func_info_rec_size, func_info = func_info, func_info_cnt = func_info_cnt,
            line_info_rec_size = line_info_rec_size, line_info = line_info, line_info_cnt = line_info_cnt,
            attach_btf_id = attach_btf_id, core_relo_cnt = core_relo_cnt, fd_array = fd_array);
        assert_eq!(offset_of!(ProgLoad, attach_btf_obj_fd), offset_of!(ProgLoad, attach_btf_id) + 4);
        same!(FuncInfo, gen_::bpf_func_info; insn_off = insn_off, type_id = type_id);
        same!(LineInfo, gen_::bpf_line_info; insn_off = insn_off, file_name_off = file_name_off,
            line_off = line_off, line_col = line_col);
        same!(TestRun, gen_::bpf_attr__bindgen_ty_7; prog_fd = prog_fd, retval = retval,
            data_size_in = data_size_in, data_in = data_in, repeat = repeat, duration = duration,
            ctx_size_in = ctx_size_in, ctx_in = ctx_in, ctx_out = ctx_out, flags = flags, cpu = cpu);
    }

    #[test]
    fn info_layouts() {
        same!(Info, gen_::bpf_attr__bindgen_ty_9; bpf_fd = bpf_fd, info_len = info_len, info = info);
        same!(ProgInfo, gen_::bpf_prog_info; id = id, tag = tag, load_time = load_time, map_ids = map_ids,
            name = name, ifindex = ifindex, netns_dev = netns_dev, jited_ksyms = jited_ksyms, btf_id = btf_id,
            func_info = func_info, nr_line_info = nr_line_info, jited_line_info = jited_line_info,
            prog_tags = prog_tags, run_time_ns = run_time_ns, run_cnt = run_cnt,
            recursion_misses = recursion_misses, verified_insns = verified_insns, attach_btf_id = attach_btf_id);
        assert_eq!(size_of::<ProgInfo>(), size_of::<gen_::bpf_prog_info>());
        same!(MapInfo, gen_::bpf_map_info; id = id, name = name, ifindex = ifindex, netns_dev = netns_dev,
            btf_id = btf_id, btf_value_type_id = btf_value_type_id, map_extra = map_extra);
        same!(LinkInfo, gen_::bpf_link_info; link_type = type_, id = id, prog_id = prog_id);
        assert_eq!(offset_of!(LinkInfo, body), offset_of!(gen_::bpf_link_info, __bindgen_anon_1));
        same!(BtfInfo, gen_::bpf_btf_info; btf = btf, btf_size = btf_size, id = id, name = name,
            name_len = name_len, kernel_btf = kernel_btf);
        same!(BtfLoad, gen_::bpf_attr__bindgen_ty_12; btf = btf, log_buf = btf_log_buf, btf_size = btf_size,
            log_size = btf_log_size, log_level = btf_log_level);
    }

    #[test]
    fn link_layouts() {
        type Link = gen_::bpf_attr__bindgen_ty_14;
        let body = offset_of!(Link, flags) + 4;
        assert_eq!((body, offset_of!(Link, attach_type)), (16, 8));
        assert_eq!(offset_of!(LinkPerf, cookie), body);
        assert_eq!((offset_of!(LinkIter, iter_info), offset_of!(LinkIter, iter_info_len)), (body, body + 8));
        type Kprobe = gen_::bpf_attr__bindgen_ty_14__bindgen_ty_3__bindgen_ty_3;
        type Tracing = gen_::bpf_attr__bindgen_ty_14__bindgen_ty_3__bindgen_ty_4;
        type Uprobe = gen_::bpf_attr__bindgen_ty_14__bindgen_ty_3__bindgen_ty_7;
        let at = |offset: usize| offset - body;
        assert_eq!(at(offset_of!(LinkKprobeMulti, multi_flags)), offset_of!(Kprobe, flags));
        assert_eq!(at(offset_of!(LinkKprobeMulti, cnt)), offset_of!(Kprobe, cnt));
        assert_eq!(at(offset_of!(LinkKprobeMulti, syms)), offset_of!(Kprobe, syms));
        assert_eq!(at(offset_of!(LinkKprobeMulti, cookies)), offset_of!(Kprobe, cookies));
        assert_eq!(at(offset_of!(LinkTracing, cookie)), offset_of!(Tracing, cookie));
        assert_eq!(at(offset_of!(LinkUprobeMulti, path)), offset_of!(Uprobe, path));
        assert_eq!(at(offset_of!(LinkUprobeMulti, offsets)), offset_of!(Uprobe, offsets));
        assert_eq!(at(offset_of!(LinkUprobeMulti, ref_ctr_offsets)), offset_of!(Uprobe, ref_ctr_offsets));
        assert_eq!(at(offset_of!(LinkUprobeMulti, cookies)), offset_of!(Uprobe, cookies));
        assert_eq!(at(offset_of!(LinkUprobeMulti, cnt)), offset_of!(Uprobe, cnt));
        assert_eq!(at(offset_of!(LinkUprobeMulti, multi_flags)), offset_of!(Uprobe, flags));
        assert_eq!(at(offset_of!(LinkUprobeMulti, pid)), offset_of!(Uprobe, pid));
        same!(RawTracepointCookie, gen_::bpf_attr__bindgen_ty_11; name = name, prog_fd = prog_fd, cookie = cookie);
        same!(IterCreate, gen_::bpf_attr__bindgen_ty_18; link_fd = link_fd, flags = flags);
    }

    #[test]
    fn perf_layout() {
        same!(PerfEventAttr, gen_::perf_event_attr; size = size, config = config, sample_type = sample_type,
            read_format = read_format, bp_type = bp_type, branch_sample_type = branch_sample_type,
            sample_stack_user = sample_stack_user, clockid = clockid, aux_watermark = aux_watermark,
            sample_max_stack = sample_max_stack);
        assert_eq!(size_of::<PerfEventAttr>(), 112);
    }

    #[test]
    fn command_numbers() {
        assert_eq!(cmd::PROG_TEST_RUN, gen_::bpf_cmd::BPF_PROG_TEST_RUN as u32);
        assert_eq!(cmd::MAP_LOOKUP_BATCH, gen_::bpf_cmd::BPF_MAP_LOOKUP_BATCH as u32);
        assert_eq!(cmd::MAP_UPDATE_BATCH, gen_::bpf_cmd::BPF_MAP_UPDATE_BATCH as u32);
        assert_eq!(cmd::MAP_DELETE_BATCH, gen_::bpf_cmd::BPF_MAP_DELETE_BATCH as u32);
        assert_eq!(cmd::LINK_CREATE, gen_::bpf_cmd::BPF_LINK_CREATE as u32);
        assert_eq!(cmd::ITER_CREATE, gen_::bpf_cmd::BPF_ITER_CREATE as u32);
        assert_eq!(cmd::ENABLE_STATS, gen_::bpf_cmd::BPF_ENABLE_STATS as u32);
        assert_eq!(cmd::BTF_GET_NEXT_ID, gen_::bpf_cmd::BPF_BTF_GET_NEXT_ID as u32);
        assert_eq!(cmd::OBJ_GET_INFO_BY_FD, gen_::bpf_cmd::BPF_OBJ_GET_INFO_BY_FD as u32);
        assert_eq!(cmd::MAP_FREEZE, gen_::bpf_cmd::BPF_MAP_FREEZE as u32);
        assert_eq!(cmd::BTF_GET_FD_BY_ID, gen_::bpf_cmd::BPF_BTF_GET_FD_BY_ID as u32);
        assert_eq!(cmd::RAW_TRACEPOINT_OPEN, gen_::bpf_cmd::BPF_RAW_TRACEPOINT_OPEN as u32);
        assert_eq!(cmd::BTF_LOAD, gen_::bpf_cmd::BPF_BTF_LOAD as u32);
    }
}
