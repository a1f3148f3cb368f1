//! Kernel features: one table gives the enum, the names and the first kernels.

use crate::version::KernelVersion;

macro_rules! features {
    ($($(#[$doc:meta])* $name:ident $major:literal $minor:literal;)*) => {
        /// Kernel features that the compiler or the loader chooses by. The comment says the first kernel that has
        /// each, where that is not all there is to it.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub enum Feature {
            $($(#[$doc])* $name,)*
        }

        impl Feature {
            /// All features.
            pub const ALL: &[Feature] = &[$(Feature::$name),*];

            /// The name of the variant: stable, used in recordings.
            pub fn name(self) -> &'static str {
                match self {
                    $(Feature::$name => stringify!($name),)*
                }
            }

            /// The feature of that name.
            pub fn from_name(name: &str) -> Option<Feature> {
                Feature::ALL.iter().copied().find(|f| f.name() == name)
            }

            /// The first mainline version that has it.
            pub fn since(self) -> KernelVersion {
                match self {
                    $(Feature::$name => KernelVersion::new($major, $minor),)*
                }
            }
        }
    };
}

features! {
    /// 5.8: `BPF_MAP_TYPE_RINGBUF`.
    Ringbuf 5 8;
    /// 5.12: atomics that fetch (xchg, cmpxchg), cpu v3's.
    FetchAtomics 5 12;
    /// 5.13: bpf_for_each_map_elem.
    ForEachMapElem 5 13;
    /// 5.15: bpf_get_attach_cookie.
    AttachCookie 5 15;
    /// 5.17: bpf_loop.
    Loop 5 17;
    /// 5.18: kprobe.multi (needs fprobe).
    KprobeMulti 5 18;
    /// 6.10: kprobe.session.
    KprobeSession 6 10;
    /// 5.19: bpf_map_lookup_percpu_elem.
    LookupPercpu 5 19;
    /// 6.6: uprobe.multi.
    UprobeMulti 6 6;
    /// 6.6: cpu v4: gotol, sign-extending loads and moves, bswap, signed division.
    CpuV4 6 6;
    /// 6.9: may_goto.
    MayGoto 6 9;
    /// 5.9: XDP programs by bpf_link.
    XdpLink 5 9;
    /// 5.18: XDP programs on frames in several buffers, and the helpers that read them.
    XdpFrags 5 18;
    /// 6.6: TC programs by bpf_link (tcx).
    Tcx 6 6;
    /// 5.5: tp_btf programs.
    TpBtf 5 5;
    /// 5.5: fentry and fexit programs can be loaded.
    Fentry 5 5;
    /// kprobes are built in.
    Kprobe 4 1;
    /// perf-based uprobes.
    Uprobe 4 1;
    /// 5.15: BPF_LINK_CREATE for perf events (needed for cookies).
    PerfLink 5 15;
    /// 6.1: bpf_ktime_get_tai_ns.
    KtimeTai 6 1;
    /// 5.7: bpf_get_ns_current_pid_tgid.
    NsPidTgid 5 7;
    /// 5.11: bpf_get_current_task_btf.
    CurrentTaskBtf 5 11;
    /// 5.11: bpf_ktime_get_coarse_ns.
    KtimeCoarse 5 11;
    /// 5.17: bpf_strncmp.
    Strncmp 5 17;
    /// 6.10: per-CPU array lookups and get_smp_processor_id are inlined by the kernel's JIT.
    InlinedPercpu 6 10;
}
