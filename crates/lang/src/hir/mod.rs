//! The checked program: every name resolved, every type known, every conversion explicit, every probe expanded. The
//! checker makes it; the builder turns it into IR without asking anything again.

mod arg;
mod expr;
mod packet;
mod stmt;

pub use arg::{Arg, Operand, OperandPlace};
pub use expr::{Access, Expr, ExprKind};
pub use packet::{FilterMemory, PacketChange, PacketPart, PacketRead, PacketSource};
pub use stmt::{Stmt, StmtKind};

use crate::ast::Span;
use crate::ty::Ty;
use skep_bpf::kinds::{AttachType, MapType, ProgType};
use skep_bpf::object::{AttachPoint, BtfTarget};
use skep_bpf::schema::ValueType;

/// A checked script.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Program {
    /// Probes that share a body and are attached alike are one.
    pub probes: Vec<Probe>,
    /// The source's maps by number.
    pub maps: Vec<Map>,
    /// Functions of the script (`fn`).
    pub functions: Vec<Function>,
    /// Settings that the builder needs.
    pub config: Config,
    /// Layout of each composite that is stored or printed, by its type.
    pub layouts: Vec<(crate::ty::CompositeDef, ValueType)>,
    /// What was chosen, for `-v`.
    pub notes: Vec<String>,
    /// Imported files, which spans may lie in.
    pub files: Vec<crate::source::SourceFile>,
}

/// Settings (config block, environment, options), all checked.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Longest string in bytes, NUL included.
    pub max_strlen: u32,
    /// Entries of a hash map without a declared size.
    pub max_map_keys: u32,
    /// Ring buffer size in bytes (a power of two).
    pub ring_bytes: u32,
    /// `print_maps_on_exit`
    pub print_maps_on_exit: bool,
    /// `str_trunc_trailer`
    pub truncation_trailer: String,
    /// `missing_probes`
    pub missing_probes: skep_bpf::object::MissingProbes,
    /// `show_debug_info`, `cpp_demangle`
    pub symbols: skep_bpf::object::SymbolSpec,
    /// `license`
    pub license: String,
    /// Only this process: (pid in skep's namespace, namespace device and inode when it is not the initial one).
    pub pid: Option<PidFilter>,
    /// skep's own PID namespace (device, inode) when it is not the initial one: `pid` and `tid` are then read through
    /// bpf_get_ns_current_pid_tgid.
    pub pid_ns: Option<(u64, u64)>,
    /// The map without key, of unsigned numbers, that stands for every clock (`dummy_ts_map`, for tests).
    pub clock_map: Option<String>,
    /// Program symbols for stacks: entries of the stack trace maps.
    pub max_stacks: u32,
    /// `max_cat_bytes`
    pub cat_bytes: u64,
    /// `log_size`; 0: not said.
    pub log_bytes: u32,
    /// Reads and lookups that fail are reported (`-k`).
    pub helper_errors: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            max_strlen: 1024,
            max_map_keys: 4096,
            ring_bytes: 4 << 20,
            print_maps_on_exit: true,
            truncation_trailer: "..".to_owned(),
            missing_probes: skep_bpf::object::MissingProbes::Error,
            symbols: skep_bpf::object::SymbolSpec::default(),
            license: "GPL".to_owned(),
            pid: None,
            pid_ns: None,
            max_stacks: 16384,
            clock_map: None,
            cat_bytes: 10_240,
            log_bytes: 0,
            helper_errors: false,
        }
    }
}

/// `-p`: checked at entry of every program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PidFilter {
    /// Process id as skep sees it.
    pub pid: u32,
}

/// A probe.
#[derive(Clone, PartialEq, Debug)]
pub struct Probe {
    /// As the user sees it.
    pub name: String,
    /// C identifier, unique.
    pub symbol: String,
    /// Program type.
    pub prog_type: ProgType,
    /// Expected attach type.
    pub attach_type: AttachType,
    /// BTF type that load needs.
    pub attach_btf: Option<BtfTarget>,
    /// Where it runs.
    pub attach: Vec<AttachPoint>,
    /// Where its packets come from, if it sees packets.
    pub packet: Option<PacketSource>,
    /// Sleepable.
    pub sleepable: bool,
    /// Whether `-p` is checked in the program (not for begin, end, interval, self).
    pub check_pid: bool,
    /// What stands before predicate and body.
    pub guard: Guard,
    /// Whether it shares a program with another.
    pub session: Session,
    /// Predicate.
    pub predicate: Option<Expr>,
    /// Body.
    pub body: Vec<Stmt>,
    /// Variables by number, probe-wide; each has one type.
    pub vars: Vec<Var>,
    /// Where.
    pub span: Span,
}

/// A kprobe and a kretprobe on the same functions as one program (kprobe.session, Linux 6.10).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Session {
    /// A program of its own.
    #[default]
    Alone,
    /// At entry; the program runs the probe of this index at return.
    With(usize),
    /// At return, in the program of the other.
    Within,
}

/// Conditions that make a cheaper hook give the same events.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Guard {
    /// None.
    None,
    /// A raw (or BTF) `sys_enter` in place of `syscalls:sys_enter_X`: argument 1 is the number; go on only if it equals
    /// `nr` and the call is not a compat call (x86: neither 32-bit, by the task's TS_COMPAT status, nor x32).
    SysEnter {
        /// Number.
        nr: u32,
    },
    /// A raw (or BTF) `sys_exit`: the number is `orig_ax` of the registers (argument 0); the rest as above.
    SysExit {
        /// Number.
        nr: u32,
    },
    /// The same for many system calls, those whose numbers lie in one of these ranges (first and last; ascending).
    Syscalls {
        /// At `sys_exit`, else at `sys_enter`.
        exit: bool,
        /// Numbers.
        ranges: Vec<(u32, u32)>,
    },
}

/// A variable.
#[derive(Clone, PartialEq, Debug)]
pub struct Var {
    /// Name with `$`.
    pub name: String,
    /// Type.
    pub ty: Ty,
}

/// Number of a variable within its probe or function.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct VarId(pub u32);

/// Number of a source map.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MapNo(pub u32);

/// A source map.
#[derive(Clone, PartialEq, Debug)]
pub struct Map {
    /// Name with `@`.
    pub name: String,
    /// Parts of the key; empty: no key.
    pub key: Vec<Ty>,
    /// Value.
    pub value: Ty,
    /// Declared or default kind: Hash, LruHash, PercpuHash, LruPercpuHash, PercpuArray, Array. For maps without a key
    /// the builder chooses the storage.
    pub kind: MapType,
    /// Entries.
    pub max_entries: u32,
}

/// A function of the script.
#[derive(Clone, PartialEq, Debug)]
pub struct Function {
    /// Name.
    pub name: String,
    /// How many of the first variables are parameters. Those that are no scalars are addresses of the caller's values.
    pub params: usize,
    /// Whether the last parameter is where the result goes.
    pub out: bool,
    /// Return type.
    pub ret: Ty,
    /// Variables.
    pub vars: Vec<Var>,
    /// Body.
    pub body: Vec<Stmt>,
}
