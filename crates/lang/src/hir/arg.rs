//! Where arguments of probes come from.

use std::rc::Rc;

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
    /// The name of the probe in a program of [`super::Guard::Syscalls`]: a string by the number of the system call.
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
