//! Operations and terminators.

use super::types::{Block, FuncId, IntTy, MapId, Slot, Type, Value, Width};
use skep_bpf::object::CoreReloc;

/// Two-operand arithmetic. Shift counts are taken modulo the width. Division by zero gives 0, remainder by zero the
/// dividend (as the machine does).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum BinOp {
    /// a + b
    Add,
    /// a - b
    Sub,
    /// a * b
    Mul,
    /// a / b, unsigned
    Udiv,
    /// a / b, signed (selection makes it from unsigned division below cpu v4)
    Sdiv,
    /// a % b, unsigned
    Umod,
    /// a % b, signed, sign of the dividend
    Smod,
    /// a & b
    And,
    /// a | b
    Or,
    /// a ^ b
    Xor,
    /// a << b
    Shl,
    /// a >> b, zeros shifted in
    Lshr,
    /// a >> b, sign shifted in
    Ashr,
}

impl BinOp {
    /// All of them.
    pub const ALL: [BinOp; 13] = [
        BinOp::Add,
        BinOp::Sub,
        BinOp::Mul,
        BinOp::Udiv,
        BinOp::Sdiv,
        BinOp::Umod,
        BinOp::Smod,
        BinOp::And,
        BinOp::Or,
        BinOp::Xor,
        BinOp::Shl,
        BinOp::Lshr,
        BinOp::Ashr,
    ];
}

/// One-operand arithmetic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum UnOp {
    /// -a
    Neg,
    /// Reverses the low 2, 4 or 8 bytes and zero-extends.
    Bswap(u8),
    /// Takes the low bits of `a` and extends them by the type's sign to 64 bits.
    Extend(IntTy),
}

/// Atomic operations on 4 or 8 bytes of memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AtomicOp {
    /// +=
    Add,
    /// |=
    Or,
    /// &=
    And,
    /// ^=
    Xor,
    /// Exchange; always fetches.
    Xchg,
}

/// Comparisons.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Cc {
    /// ==
    Eq,
    /// !=
    Ne,
    /// <, unsigned
    Ult,
    /// <=, unsigned
    Ule,
    /// >, unsigned
    Ugt,
    /// >=, unsigned
    Uge,
    /// <, signed
    Slt,
    /// <=, signed
    Sle,
    /// >, signed
    Sgt,
    /// >=, signed
    Sge,
    /// a & b != 0
    Set,
}

/// A condition: `a CC b`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Cond {
    /// Comparison.
    pub cc: Cc,
    /// Width.
    pub width: Width,
    /// Left.
    pub a: Value,
    /// Right.
    pub b: Value,
}

/// A byte offset of a memory access: a constant plus, for fields of kernel types, a CO-RE offset that must stay
/// visible to the ELF form. No pass folds `core` into `add`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Offset {
    /// Constant part.
    pub add: i32,
    /// Field: its byte offset on the target that is compiled for, and where it comes from.
    pub core: Option<(u32, CoreReloc)>,
}

impl Offset {
    /// A constant offset.
    pub fn at(add: i32) -> Offset {
        Offset { add, core: None }
    }

    /// The offset on the target that is compiled for.
    pub fn resolved(&self) -> i64 {
        i64::from(self.add) + self.core.as_ref().map_or(0, |c| i64::from(c.0))
    }
}

/// What an instruction does. `size` is 1, 2, 4 or 8 bytes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Op {
    /// A constant (extended to 64 bits).
    Const(i64),
    /// A CO-RE value (such as a field's byte offset) as a 64-bit constant.
    CoreConst {
        /// Value on the target that is compiled for.
        value: u64,
        /// Where it comes from.
        reloc: CoreReloc,
    },
    /// Arithmetic on integers.
    Bin {
        /// Operation.
        op: BinOp,
        /// Width.
        width: Width,
        /// Left.
        a: Value,
        /// Right.
        b: Value,
    },
    /// Arithmetic on one integer.
    Un {
        /// Operation.
        op: UnOp,
        /// Operand.
        a: Value,
    },
    /// 1 when the condition holds, else 0.
    Cmp(Cond),
    /// `cond ? a : b`.
    Select {
        /// Condition.
        cond: Cond,
        /// If it holds.
        a: Value,
        /// If not.
        b: Value,
    },
    /// The value unchanged, with another type (pointer to integer, kernel address to user address …).
    Cast(Value),
    /// Unsigned minimum of `v` and `max`, computed so that the verifier knows the bound at each use: it is emitted
    /// directly before the instruction that uses it and never shared, moved or spilled.
    Bound {
        /// The value.
        v: Value,
        /// The most that it can be.
        max: u64,
    },
    /// Load from memory that the verifier tracks; extended to 64 bits by `ty`.
    Load {
        /// Type in memory. Pointer types load 8 bytes.
        ty: Type,
        /// Base.
        ptr: Value,
        /// Offset.
        off: Offset,
    },
    /// Store the low `size` bytes of `val`.
    Store {
        /// Bytes.
        size: u8,
        /// Base.
        ptr: Value,
        /// Offset.
        off: Offset,
        /// Value.
        val: Value,
    },
    /// Atomic read-modify-write of 4 or 8 bytes; with `fetch` the result is the old value.
    Atomic {
        /// Operation.
        op: AtomicOp,
        /// Bytes.
        size: u8,
        /// Base.
        ptr: Value,
        /// Offset.
        off: i32,
        /// Operand.
        val: Value,
        /// Whether there is a result.
        fetch: bool,
    },
    /// pointer + integer, in bytes; same pointer kind.
    PtrAdd {
        /// Pointer.
        ptr: Value,
        /// Integer.
        off: Value,
    },
    /// Address of a stack slot.
    SlotAddr(Slot),
    /// A map, as helpers take it.
    MapRef(MapId),
    /// Address of the first value of an array map, plus an offset.
    MapValueAddr {
        /// The map.
        map: MapId,
        /// Bytes.
        off: u32,
    },
    /// A function, as helpers take callbacks.
    FuncAddr(FuncId),
    /// Address of a kernel variable (per-CPU ones need bpf_per_cpu_ptr), by name.
    KernelSymbol(String),
    /// Copies `len` bytes between memory that the verifier tracks; the ranges do not overlap. `align` is the alignment
    /// of both, 1 to 8.
    Copy {
        /// Destination.
        dst: Value,
        /// Its offset.
        dst_off: i32,
        /// Source.
        src: Value,
        /// Its offset.
        src_off: i32,
        /// Bytes.
        len: u32,
        /// Alignment.
        align: u8,
    },
    /// Sets `len` bytes to zero.
    Zero {
        /// Destination.
        dst: Value,
        /// Its offset.
        off: i32,
        /// Bytes.
        len: u32,
        /// Alignment.
        align: u8,
    },
    /// Calls a helper; the result (if the instruction has one) is r0.
    Helper {
        /// Number, see `skep_bpf::helpers`.
        id: u32,
        /// At most five.
        args: Vec<Value>,
    },
    /// Calls a kernel function by name.
    Kfunc {
        /// Name.
        name: String,
        /// At most five.
        args: Vec<Value>,
    },
    /// Calls a function of the module.
    Call {
        /// Which.
        func: FuncId,
        /// At most five.
        args: Vec<Value>,
    },
}

/// An edge to a block, with the values of its parameters.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Edge {
    /// The block.
    pub block: Block,
    /// One for each of its parameters.
    pub args: Vec<Value>,
}

/// How a block ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Terminator {
    /// Go on there.
    Jump(Edge),
    /// One of two ways. A comparison of a nullable pointer with the constant zero makes it non-null on the other way.
    Branch {
        /// Condition.
        cond: Cond,
        /// If it holds.
        then: Edge,
        /// If not.
        other: Edge,
    },
    /// The verifier's bounded loop (may_goto, 6.9): goes on with `body` until the kernel's budget is used up.
    MayGoto {
        /// Loop body.
        body: Edge,
        /// When the budget is used up.
        exit: Edge,
    },
    /// Return from the function; a program's value is 32 bits.
    Return(Value),
}
