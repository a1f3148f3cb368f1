//! The checked program: every name resolved, every type known, every conversion explicit, every probe expanded. The
//! checker makes it; the builder turns it into IR without asking anything again.

use crate::ast::Span;
use crate::filter::FilterCode;
use crate::ty::{Space, Ty};
use skep_bpf::event::Action;
use skep_bpf::kinds::{AttachType, MapType, ProgType};
use skep_bpf::object::{AttachPoint, BtfTarget, CoreReloc};
use skep_bpf::schema::{Agg, ValueType};
use skep_compiler::layers::{Context, Depth, Field, LayerId, LinkType};
use std::rc::Rc;

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

/// A statement.
#[derive(Clone, PartialEq, Debug)]
pub struct Stmt {
    /// What.
    pub kind: StmtKind,
    /// Where.
    pub span: Span,
}

/// Kinds of statement.
#[derive(Clone, PartialEq, Debug)]
pub enum StmtKind {
    /// For its effect.
    Expr(Expr),
    /// `$x = e`; the types agree (strings may be shorter than the variable's).
    AssignVar(VarId, Expr),
    /// `@m[k] = e`; not for aggregations.
    AssignMap {
        /// Map.
        map: MapNo,
        /// Key parts, of the map's key types (strings may be shorter).
        key: Vec<Expr>,
        /// Value, of the map's value type.
        value: Expr,
    },
    /// `@m[k] = count()` and so on. `arg`: i64/u64 by the aggregation's sign; histograms: i64.
    Aggregate {
        /// Map; its value type is the aggregation.
        map: MapNo,
        /// Key.
        key: Vec<Expr>,
        /// What is added (`None` for count).
        arg: Option<Expr>,
        /// Weight of a histogram entry (1 without).
        weight: Option<Expr>,
    },
    /// `delete(@m[k])` as a statement (as an expression it is `ExprKind::Delete`).
    Delete {
        /// Map.
        map: MapNo,
        /// Key; empty for a map without.
        key: Vec<Expr>,
    },
    /// Sends an event: printf, print, clear, zero, time, join, system, cat, exit … For `Action::Exit` the program ends
    /// behind it.
    Emit {
        /// What the reader does; map numbers in it are `MapNo`s.
        action: Action,
        /// Arguments.
        args: Vec<Expr>,
        /// Where the macros that this stands in were used, from the inside out.
        uses: Vec<Span>,
    },
    /// `if`
    If {
        /// Condition, `bool` or an integer (true: not zero).
        cond: Expr,
        /// Then.
        then: Vec<Stmt>,
        /// Else.
        other: Vec<Stmt>,
    },
    /// `while`
    While {
        /// Condition.
        cond: Expr,
        /// Body.
        body: Vec<Stmt>,
    },
    /// `unroll`, count known.
    Unroll {
        /// Times.
        count: u32,
        /// Body.
        body: Vec<Stmt>,
    },
    /// `for ($kv : @m)`; `$kv` is a tuple of key (a tuple if the key has several parts) and value.
    ForMap {
        /// Loop variable.
        var: VarId,
        /// Map.
        map: MapNo,
        /// Body.
        body: Vec<Stmt>,
    },
    /// `for ($i : a..b)`
    ForRange {
        /// Loop variable, i64.
        var: VarId,
        /// First.
        start: Expr,
        /// Behind the last.
        end: Expr,
        /// Body.
        body: Vec<Stmt>,
    },
    /// Changes the packet; where that is not possible, the probe ends with the default verdict.
    ChangePacket(PacketChange),
    /// `return`
    Return(Option<Expr>),
    /// `break`
    Break,
    /// `continue`
    Continue,
}

/// A typed expression.
#[derive(Clone, PartialEq, Debug)]
pub struct Expr {
    /// What.
    pub kind: ExprKind,
    /// Type of the value. A composite, array, string or tuple is an address with `space`.
    pub ty: Ty,
    /// Where.
    pub span: Span,
}

impl Expr {
    /// The type that holds the value whole: characters of an array of C need no NUL there, but a string that fills its type
    /// counts as cut.
    pub fn whole_string(&self) -> Option<Ty> {
        match (&self.kind, &self.ty) {
            (ExprKind::Field { .. } | ExprKind::Index { .. }, Ty::Str { size }) if *size > 0 => {
                Some(Ty::Str { size: size.saturating_add(1) })
            }
            _ => None,
        }
    }
}

/// Kinds of expression.
#[derive(Clone, PartialEq, Debug)]
pub enum ExprKind {
    /// Integer, bool, enum or pointer constant, extended to 64 bits.
    Int(i64),
    /// String constant (`ty` is `Str` of its length + 1, or larger).
    Str(Vec<u8>),
    /// Variable.
    Var(VarId),
    /// `@m[k]`: the value, or zero where there is none. Of an aggregation: see `MapAgg`.
    MapGet {
        /// Map.
        map: MapNo,
        /// Key.
        key: Vec<Expr>,
    },
    /// An aggregation read as an integer, over all CPUs (`(int64)@m`, comparisons, arithmetic).
    MapAgg {
        /// Map.
        map: MapNo,
        /// Key.
        key: Vec<Expr>,
        /// Which.
        agg: Agg,
    },
    /// `has_key(@m, k)`
    HasKey {
        /// Map.
        map: MapNo,
        /// Key.
        key: Vec<Expr>,
    },
    /// `delete(@m, k)` as bool: whether there was an entry.
    Delete {
        /// Map.
        map: MapNo,
        /// Key.
        key: Vec<Expr>,
    },
    /// `len(@m)`: number of entries.
    MapLen(MapNo),
    /// A probe argument.
    Arg(Arg),
    /// A part of the packet.
    Packet(PacketRead),
    /// A field of what `base` points to or is: `base.ty` is `Ptr` to a composite (of any space) or a composite. A scalar
    /// field is loaded; any other is an address.
    Field {
        /// Base.
        base: Box<Expr>,
        /// Where in it.
        access: Access,
        /// How to read it.
        space: Space,
    },
    /// `*p`, `p[i]`, `a[i]`: `size`-byte elements from a base that is a pointer or an array.
    Index {
        /// Base.
        base: Box<Expr>,
        /// Index; bounds of arrays whose length is known are checked by the builder when it is not constant.
        index: Box<Expr>,
        /// Bytes of an element.
        size: u32,
        /// How to read it.
        space: Space,
    },
    /// Member of a tuple or record value.
    TupleField {
        /// Base.
        base: Box<Expr>,
        /// Index.
        index: usize,
    },
    /// Operation on integers; both sides have the result's type, but shift counts.
    Binary {
        /// Operation.
        op: crate::ast::BinOp,
        /// Left.
        a: Box<Expr>,
        /// Right.
        b: Box<Expr>,
    },
    /// Comparison of integers; both sides have one type, whose sign counts. `op` is one of Eq … Ge.
    Compare {
        /// Operation.
        op: crate::ast::BinOp,
        /// Left.
        a: Box<Expr>,
        /// Right.
        b: Box<Expr>,
    },
    /// Equality of strings, buffers, arrays, tuples, addresses by their bytes.
    BytesEq {
        /// Left.
        a: Box<Expr>,
        /// Right.
        b: Box<Expr>,
        /// `!=`
        negate: bool,
        /// Compare at most so many bytes (`strncmp`); `None`: all (strings: to the NUL).
        limit: Option<u32>,
    },
    /// `&&`, `||`
    Logical {
        /// And rather than or.
        and: bool,
        /// Left.
        a: Box<Expr>,
        /// Right.
        b: Box<Expr>,
    },
    /// `-x`, `~x`
    Unary {
        /// Operation: Neg or BitNot.
        op: crate::ast::UnaryOp,
        /// Operand.
        a: Box<Expr>,
    },
    /// `!x`
    Not(Box<Expr>),
    /// `c ? a : b`; both of the result's type (strings may be shorter).
    Ternary {
        /// Condition.
        cond: Box<Expr>,
        /// If true.
        a: Box<Expr>,
        /// If false.
        b: Box<Expr>,
    },
    /// Conversion between integers, pointers, bool and enums (truncates, extends by the *source's* sign).
    Convert(Box<Expr>),
    /// The same bits as another type (arrays to integers, integers to arrays, inet …).
    Reinterpret(Box<Expr>),
    /// `++`, `--` on a variable.
    IncVar {
        /// Variable.
        var: VarId,
        /// +1 or -1 (pointers: their element's size).
        by: i64,
        /// The new value rather than the old.
        pre: bool,
    },
    /// `++`, `--` on a map entry: atomic unless the map is per CPU.
    IncMap {
        /// Map.
        map: MapNo,
        /// Key.
        key: Vec<Expr>,
        /// +1 or -1.
        by: i64,
        /// The new value rather than the old.
        pre: bool,
    },
    /// Tuple.
    Tuple(Vec<Expr>),
    /// Record, fields in order.
    Record(Vec<Expr>),
    /// Address of a variable or map value (`&$x`, `&@m[k]`).
    AddrOf(Box<Expr>),
    /// Statements, then a value.
    Block {
        /// Statements.
        stmts: Vec<Stmt>,
        /// Value.
        value: Box<Expr>,
    },
    /// A builtin variable or function, by its name in the table of builtins.
    Call {
        /// Name of the builtin.
        name: &'static str,
        /// Checked arguments.
        args: Vec<Expr>,
    },
    /// A function of the script. A result that is no scalar goes to memory of the caller.
    CallFn {
        /// Index into `Program::functions`.
        func: usize,
        /// Arguments.
        args: Vec<Expr>,
    },
}

/// Where a probe's packets come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PacketSource {
    /// What frames begin with.
    pub link: LinkType,
    /// The program's context.
    pub context: Context,
    /// Frames may lie in several buffers.
    pub beyond: bool,
    /// They are sent, not received.
    pub egress: bool,
}

/// What of a packet is read.
#[derive(Clone, PartialEq, Debug)]
pub struct PacketRead {
    /// What.
    pub what: PacketPart,
    /// In the frame itself, or in what its first tunnel carries.
    pub depth: Depth,
    /// Of layers that repeat, which.
    pub nth: u32,
}

impl PacketRead {
    /// Whether it says yes or no of every packet.
    pub fn is_condition(&self) -> bool {
        matches!(
            self.what,
            PacketPart::Has(_) | PacketPart::Filter(_) | PacketPart::TcpOption { bytes: 0, .. }
        )
    }
}

/// Changes of a packet.
#[derive(Clone, PartialEq, Debug)]
pub enum PacketChange {
    /// A field gets a value: u64, or for addresses `Inet` or `Mac`.
    Set {
        /// Which; of several layers, in those that are there.
        fields: Vec<(LayerId, &'static Field)>,
        /// In the frame itself, or in what its first tunnel carries.
        depth: Depth,
        /// Of layers that repeat, which.
        nth: u32,
        /// Value.
        value: Expr,
    },
    /// A VLAN tag is put in: u64.
    PushVlan(Expr),
    /// The outermost VLAN tag is taken out.
    PopVlan,
}

/// Parts of a packet.
#[derive(Clone, PartialEq, Debug)]
pub enum PacketPart {
    /// Bytes of the frame.
    Len,
    /// Index of the interface.
    Interface,
    /// Whether one of these layers is there: a bool.
    Has(Vec<LayerId>),
    /// A field of the first of these layers that is there.
    Field(Vec<(LayerId, &'static Field)>),
    /// Protocol behind the IP header and its extensions.
    Protocol,
    /// Bytes of the IP packet, its header included.
    IpLen,
    /// A TCP option: `bytes` bytes from byte `at` of its value on, as a number; no bytes: whether it is there.
    TcpOption {
        /// Kind.
        kind: u8,
        /// First byte.
        at: u32,
        /// Bytes.
        bytes: u32,
    },
    /// What is behind the transport layer: a buffer.
    Payload,
    /// Whether it matches: a bool.
    Filter(FilterCode),
}

/// Where a probe argument comes from.
#[derive(Clone, PartialEq, Debug)]
pub enum Arg {
    /// A field of the context at a constant offset (tracepoint records, perf events).
    Ctx {
        /// Bytes from the start.
        offset: u32,
    },
    /// A `__data_loc` field of a tracepoint record: a u32 at `offset` (low half: offset of the data from the start of
    /// the record, or from behind this u32 when `relative`; high half: its length). The value is the address in the
    /// record; strings are read through bpf_probe_read_kernel.
    DataLoc {
        /// Bytes from the start.
        offset: u32,
        /// `__rel_loc`.
        relative: bool,
    },
    /// Argument `n` of a raw tracepoint, tp_btf, fentry or fexit (u64 array).
    Raw(u32),
    /// The registers' address is argument `n` (raw tracepoints sys_enter and sys_exit: 0), the value is the register
    /// at `offset` in `struct pt_regs`.
    RegsOf {
        /// Which argument.
        arg: u32,
        /// Bytes into pt_regs.
        offset: u32,
    },
    /// A register of the context, which is `struct pt_regs` (kprobe, uprobe).
    Reg {
        /// Bytes into pt_regs.
        offset: u32,
    },
    /// Stack argument `n` (0-based) of the calling convention at function entry: u64 at sp + 8 * (n + 1) on x86-64, user or
    /// kernel memory by the probe's kind.
    StackArg {
        /// Which.
        n: u32,
        /// User memory.
        user: bool,
    },
    /// The name of the probe in a program of [`Guard::Syscalls`]: a string by the number of the system call.
    SyscallName {
        /// As in the guard.
        exit: bool,
        /// Number and name.
        names: Rc<Vec<(u32, String)>>,
    },
    /// An argument of a USDT probe.
    Operand(Operand),
    /// A struct in registers of the context, eight bytes each, the first first: bytes into pt_regs.
    Spread(Vec<u32>),
    /// A struct in user memory, at so many bytes from the stack pointer.
    OnStack {
        /// Bytes.
        offset: u32,
    },
    /// A struct in user memory, at the address in a register.
    Behind {
        /// Bytes into pt_regs.
        offset: u32,
    },
}

/// Where an argument of a USDT probe lies, and how wide it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operand {
    /// Bytes: 1, 2, 4 or 8.
    pub size: u8,
    /// Whether it is extended by its sign.
    pub signed: bool,
    /// Where.
    pub place: OperandPlace,
}

/// Places of operands. Registers are byte offsets in `struct pt_regs`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OperandPlace {
    /// Known.
    Constant(i64),
    /// A register.
    Register {
        /// Which.
        offset: u32,
        /// Bits that are shifted out to the right first.
        shift: u8,
    },
    /// User memory at displacement + base + index * scale.
    Memory {
        /// Bytes.
        displacement: i64,
        /// Register.
        base: Option<u32>,
        /// Register and scale (1, 2, 4 or 8).
        index: Option<(u32, u8)>,
    },
}

/// A field's place in a composite.
#[derive(Clone, PartialEq, Debug)]
pub struct Access {
    /// Bytes from the base.
    pub offset: u32,
    /// Bit field: (first bit from the least significant of the unit of `unit` bytes at `offset`, width, unit).
    pub bits: Option<(u8, u8, u8)>,
    /// How CO-RE names it; `None` for types that are not the kernel's.
    pub core: Option<CoreReloc>,
}
