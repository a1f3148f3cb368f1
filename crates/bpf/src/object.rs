//! [`Object`]: everything that a compiled source is, before any kernel sees it. Immutable and deterministic: the same
//! source, options and [`crate::target::Target`] answers give the same bytes.

use crate::event::EventLayout;
use crate::insn::Insn;
use crate::kinds::{AttachType, ProgType};
use crate::origin::Origin;
use crate::unwind::UnwindMaps;

mod map;

pub use map::{
    InnerMap, KconfigKind, KconfigVar, MapDetails, MapSchema, MapSpec, MapTypes, NamedSlot, SlotContent,
    Storage,
};

/// A compiled source.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Object {
    /// The programs' license, as the kernel compares it ("GPL", "Dual MIT/GPL", …).
    pub license: String,
    /// The programs.
    pub programs: Vec<Program>,
    /// The maps; relocations, events and actions name them by index.
    pub maps: Vec<MapSpec>,
    /// BTF of the program's own types, functions and line info (raw, this machine's byte order); empty without.
    pub btf: Vec<u8>,
    /// Layouts of the records in the ring buffer, by event number.
    pub events: Vec<EventLayout>,
    /// Well-known maps and what user space must know to run the object.
    pub session: SessionSpec,
    /// What the compiler chose and the user may want to know (`-v`).
    pub notes: Vec<String>,
    /// Set for an object that may run on another kernel than it was compiled for: `btf` then holds the kernel types that
    /// [`CoreReloc::root`] names, and loading relocates. `None`: made for the running kernel, whose type ids `root` are.
    pub origin: Option<Origin>,
}

/// Maps with a role, and settings for the session.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct SessionSpec {
    /// The ring buffer that events come through.
    pub events: Option<usize>,
    /// Per-CPU array of u64 counters; `counters[i]` says what entry `i` counts.
    pub counter_map: Option<usize>,
    /// Meaning of each entry of `counter_map`.
    pub counters: Vec<Counter>,
    /// Whether maps are printed at the end (config `print_maps_on_exit`).
    pub print_maps_on_exit: bool,
    /// Array map whose first u32 programs check to be silent (0: run, 1: detaching).
    pub control_map: Option<usize>,
    /// Array map whose one entry the loader sets right before the first program runs, two u64 in nanoseconds: the boot
    /// clock (CLOCK_BOOTTIME), what `elapsed` counts from; and how far CLOCK_TAI is ahead of the boot clock.
    pub start_map: Option<usize>,
    /// Longest string; what is longer was cut and prints this behind it (config `str_trunc_trailer`).
    pub truncation_trailer: String,
    /// Set where programs walk stacks by tables that the loader makes.
    pub unwind: Option<UnwindMaps>,
    /// `missing_probes`: what an attach point that is not there means.
    pub missing_probes: MissingProbes,
    /// How addresses are named.
    pub symbols: SymbolSpec,
    /// Most bytes that `cat()` shows of a file (config `max_cat_bytes`); 0: the reader's own limit.
    pub cat_bytes: u64,
    /// Bytes of the verifier's log (config `log_size`); 0: the loader's own size.
    pub log_bytes: u32,
    /// Where packets come through that programs send whole.
    pub packets: Option<PacketBuffer>,
}

/// The perf event array that packets are sent through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PacketBuffer {
    /// The map.
    pub map: usize,
    /// Bytes of buffer, all CPUs together.
    pub bytes: u32,
}

/// How addresses of the kernel and of processes are named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SymbolSpec {
    /// With source files and lines, and the functions that compilers have inlined (config `show_debug_info`).
    pub debug_info: bool,
    /// C++ and Rust names as programmers write them (config `cpp_demangle`).
    pub demangle: bool,
}

impl Default for SymbolSpec {
    fn default() -> SymbolSpec {
        SymbolSpec { debug_info: true, demangle: true }
    }
}

/// What a program counts when something is lost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Counter {
    /// An event that did not fit into the ring buffer.
    LostEvent,
    /// A program that found no free scratch slot and did not run to its end.
    ScratchBusy,
    /// An update that failed because the map (by index) was full.
    MapFull(usize),
    /// A stack that could not be stored (map by index).
    StackLost(usize),
    /// An update that the kernel refused for another reason than a full map (map by index).
    MapRefused(usize),
}

/// What to do when a probe's attach point does not exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MissingProbes {
    /// Refuse to start.
    #[default]
    Error,
    /// Say so and go on.
    Warn,
    /// Go on.
    Ignore,
}

/// One program: instructions with what must be filled in at load, and where it is attached.
#[derive(Clone, PartialEq, Debug)]
pub struct Program {
    /// The probe as the user wrote it (expanded), e.g. `tracepoint:sched:sched_process_fork`.
    pub name: String,
    /// C identifier; the kernel keeps the first 15 bytes.
    pub symbol: String,
    /// Program type.
    pub prog_type: ProgType,
    /// Expected attach type.
    pub attach_type: AttachType,
    /// For tp_btf, fentry, fexit, LSM, iterators: the kernel's BTF type that load needs, by name.
    pub attach_btf: Option<BtfTarget>,
    /// Where it runs. One program may have several.
    pub attach: Vec<AttachPoint>,
    /// Load as sleepable (`BPF_F_SLEEPABLE`).
    pub sleepable: bool,
    /// Main function first, then the functions it calls.
    pub insns: Vec<Insn>,
    /// What `insns` leaves open.
    pub relocs: Vec<Reloc>,
    /// Functions: instruction index and BTF type id, ascending, the first at 0. Empty without BTF.
    pub funcs: Vec<FuncInfo>,
    /// Source lines, ascending by instruction.
    pub lines: Vec<LineInfo>,
}

/// A kernel BTF type that program load refers to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BtfTarget {
    /// tp_btf: the typedef `btf_trace_NAME`.
    RawTracepoint(String),
    /// fentry, fexit: function, and the module that has it (`None`: vmlinux).
    Function {
        /// Function name.
        name: String,
        /// Module.
        module: Option<String>,
    },
    /// Iterator: the function `bpf_iter_NAME`.
    Iter(String),
    /// fentry, fexit: a function of a loaded BPF program.
    Program {
        /// The program's id.
        id: u32,
        /// Function name.
        function: String,
    },
}

/// bpf_func_info.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FuncInfo {
    /// Index of the function's first instruction.
    pub insn: u32,
    /// BTF id of its FUNC type.
    pub type_id: u32,
}

/// bpf_line_info, with string offsets into `Object::btf`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LineInfo {
    /// Instruction index.
    pub insn: u32,
    /// Offset of the file name.
    pub file: u32,
    /// Offset of the line's text.
    pub text: u32,
    /// Line, 1-based.
    pub line: u32,
    /// Column, 1-based.
    pub column: u32,
}

/// Something to fill in at instruction `insn`.
#[derive(Clone, PartialEq, Debug)]
pub struct Reloc {
    /// Instruction index (the first slot of a 64-bit load).
    pub insn: u32,
    /// With what.
    pub kind: RelocKind,
}

/// Kinds of relocation.
#[derive(Clone, PartialEq, Debug)]
pub enum RelocKind {
    /// 64-bit load: the map's fd (`src` is already `pseudo::MAP_FD`).
    Map(usize),
    /// 64-bit load: address of the map's first value plus the second immediate, already set (`pseudo::MAP_VALUE`).
    MapValue(usize),
    /// 64-bit load: address of a kernel variable (`pseudo::BTF_ID`), by name.
    KernelSymbol(String),
    /// Call of a kernel function, by name.
    Kfunc(String),
    /// A symbol that an object file leaves to the kernel and that may be missing or has no type there: see [`Ksym`].
    Ksym(Ksym),
    /// A CO-RE relocation. `insns` holds the value for the types the object was compiled with; the ELF form records it,
    /// and loading on another kernel patches it.
    Core(CoreReloc),
}

/// A symbol of section `.ksyms` that is not simply a kernel variable or function that must be there.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Ksym {
    /// Name.
    pub name: String,
    /// Where the kernel lacks it: its address is 0, and a call of it is poisoned. `false`: that is an error.
    pub weak: bool,
    /// What the instruction wants of it.
    pub kind: KsymKind,
}

/// What an instruction wants of a kernel symbol.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum KsymKind {
    /// 64-bit load: the address as the kernel lists it, a plain number (`extern const void NAME __ksym`).
    Address,
    /// 64-bit load: the variable or function by its BTF id (`pseudo::BTF_ID`).
    Typed,
    /// Call of a kernel function.
    Call,
}

/// A field of a kernel type, as CO-RE describes it (include/uapi/linux/bpf.h, struct bpf_core_relo).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CoreReloc {
    /// BTF id of the root type, in the BTF of the kernel that the object was compiled for, or, when
    /// [`Object::origin`] is set, in [`Object::btf`].
    pub root: u32,
    /// Name of the root type with its kind ("struct task_struct"), for messages and for re-resolution.
    pub root_name: String,
    /// Access path: the first index is an array index on the root (usually 0), then member or element indexes.
    pub path: Vec<u32>,
    /// What of the field is asked.
    pub kind: CoreKind,
}

/// `enum bpf_core_relo_kind`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u32)]
pub enum CoreKind {
    /// Offset in bytes.
    FieldByteOffset = 0,
    /// Size in bytes.
    FieldByteSize = 1,
    /// Whether the field exists.
    FieldExists = 2,
    /// Whether it is signed.
    FieldSigned = 3,
    /// Left shift of a bit field in a u64.
    FieldLshiftU64 = 4,
    /// Right shift of a bit field in a u64.
    FieldRshiftU64 = 5,
    /// Id of the type in the object's own BTF.
    TypeIdLocal = 6,
    /// Id of the type in the target's BTF.
    TypeIdTarget = 7,
    /// Whether the type exists.
    TypeExists = 8,
    /// Size of the type.
    TypeSize = 9,
    /// Whether the enumerator exists; the path is its index.
    EnumvalExists = 10,
    /// Value of the enumerator.
    EnumvalValue = 11,
    /// Whether the type exists and is made as the object's own (5.19).
    TypeMatches = 12,
}

impl CoreKind {
    /// The kind with the kernel's number `number`; `None` for one that is not known here.
    pub fn from_number(number: u32) -> Option<CoreKind> {
        use CoreKind::*;
        let all = [
            FieldByteOffset,
            FieldByteSize,
            FieldExists,
            FieldSigned,
            FieldLshiftU64,
            FieldRshiftU64,
            TypeIdLocal,
            TypeIdTarget,
            TypeExists,
            TypeSize,
            EnumvalExists,
            EnumvalValue,
            TypeMatches,
        ];
        all.into_iter().find(|kind| *kind as u32 == number)
    }
}

/// Where a program is attached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttachPoint {
    /// The place.
    pub at: Attach,
    /// What `bpf_get_attach_cookie` gives (0: none set).
    pub cookie: u64,
    /// The probe as the user sees it, e.g. for `probe` and messages.
    pub name: String,
    /// How many probes it counts as when it is attached; `None`: one for each place that `at` names.
    pub probes: Option<u32>,
}

/// Places where programs are attached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Attach {
    /// Run once when all else is attached (`begin`); through `BPF_PROG_TEST_RUN` (raw tracepoint program).
    Begin,
    /// Run once at the end (`end`).
    End,
    /// Run once when all else is attached, to see whether it returns 0 (`test:`); through `BPF_PROG_TEST_RUN` (raw
    /// tracepoint program).
    Test,
    /// Run again and again to measure its time (`bench:`); through `BPF_PROG_TEST_RUN` (XDP program, on a frame of 14
    /// bytes).
    Bench,
    /// Run when skep itself gets this signal (`self:signal:NAME`).
    SelfSignal(String),
    /// Tracepoint through perf.
    Tracepoint {
        /// Category.
        category: String,
        /// Name.
        name: String,
    },
    /// Raw tracepoint (program type RawTracepoint or Tracing with `TraceRawTp`).
    RawTracepoint {
        /// Name.
        name: String,
    },
    /// kprobe or kretprobe through perf.
    Kprobe {
        /// Function.
        symbol: String,
        /// Bytes into it.
        offset: u64,
        /// At return.
        ret: bool,
    },
    /// kprobe.multi over these functions; cookies by index where given.
    KprobeMulti {
        /// Functions.
        symbols: Vec<String>,
        /// Cookies (empty: none).
        cookies: Vec<u64>,
        /// At return.
        ret: bool,
    },
    /// fentry, fexit.
    Fentry,
    /// uprobe or uretprobe through perf.
    Uprobe {
        /// The binary.
        path: String,
        /// File offset of the instruction.
        offset: u64,
        /// File offset of a reference counter (USDT semaphore), 0: none.
        ref_ctr: u64,
        /// At return.
        ret: bool,
        /// Only this process.
        pid: Option<u32>,
    },
    /// uprobe.multi over these file offsets.
    UprobeMulti {
        /// The binary.
        path: String,
        /// File offsets.
        offsets: Vec<u64>,
        /// Cookies (empty: none).
        cookies: Vec<u64>,
        /// Reference counters (empty: none).
        ref_ctrs: Vec<u64>,
        /// At return.
        ret: bool,
        /// Only this process.
        pid: Option<u32>,
    },
    /// A perf event on every CPU (or one).
    PerfEvent {
        /// `PERF_TYPE_*`.
        perf_type: u32,
        /// `PERF_COUNT_*`.
        config: u64,
        /// How often.
        sample: Sample,
        /// Only on the first online CPU (`interval`).
        one_cpu: bool,
        /// Only this process.
        pid: Option<u32>,
    },
    /// A hardware breakpoint or watchpoint, on every CPU or in one process.
    Breakpoint {
        /// Address: of the process, or of the kernel.
        address: u64,
        /// Bytes that are watched: 1, 2, 4 or 8.
        len: u32,
        /// `HW_BREAKPOINT_*` (include/uapi/linux/hw_breakpoint.h): 1 reads, 2 writes, 4 execution, added up.
        access: u32,
        /// Only this process, with the threads and children that it makes.
        pid: Option<u32>,
    },
    /// A network interface, before the kernel looks at what it receives (program type XDP).
    Xdp {
        /// The interface's name, in the network namespace of the loader.
        interface: String,
        /// In the driver, or behind it.
        mode: XdpMode,
        /// The program can take frames in several buffers.
        frags: bool,
    },
    /// A network interface, behind what receives or before what sends (program type TC).
    Tc {
        /// The interface's name, in the network namespace of the loader.
        interface: String,
        /// At what it sends; else at what it receives.
        egress: bool,
    },
    /// Entries of a map of CPUs (program type XDP, attach type `XdpCpumap`): whoever fills the map puts the program there.
    CpuMap {
        /// The map's name in the object.
        map: String,
        /// The program can take frames in several buffers.
        frags: bool,
    },
    /// A cgroup, a network namespace or an interface, through a BPF link.
    Hook {
        /// Of what kind it is.
        owner: HookOwner,
        /// The interface's name, or the path of the cgroup or namespace.
        name: String,
        /// Which of its hooks.
        attach_type: AttachType,
    },
    /// Iterator; read to its end once.
    Iter,
    /// Iterator that stays behind as a file of a BPF file system; whoever reads the file runs the program.
    PinnedIter {
        /// Path of the file.
        path: String,
    },
}

/// Where an XDP program runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum XdpMode {
    /// In the driver where it can, else behind it.
    #[default]
    Any,
    /// In the driver.
    Native,
    /// Behind the driver, on any device.
    Generic,
}

/// What owns a hook.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HookOwner {
    /// A cgroup and those below it.
    Cgroup,
    /// A network namespace.
    NetNamespace,
    /// A network interface.
    Interface,
}

/// Sampling of a perf event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sample {
    /// Every so many events (nanoseconds for clocks).
    Period(u64),
    /// So many times a second.
    Frequency(u64),
}
