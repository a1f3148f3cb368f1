//! Decoded instructions. Raw instructions enter, [`Op`]s leave, one for each slot, so that an index means the same in both.
//!
//! Always: registers are 0 to 10, what writes a register does not write r10, jumps lead to the first slot of an instruction, fields
//! that an instruction does not use were zero (RFC 9669; `check_*` in kernel/bpf/verifier.c, Linux 6.18).

use skep_bpf::insn::{Insn, alu, atomic, class, jmp, mode, pseudo, size, source};

mod decode;

pub(crate) use decode::target;
pub use decode::{DecodeError, decode};

/// How much of the registers counts; 32-bit results are zero-extended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Width {
    /// The lower half.
    W32,
    /// All.
    W64,
}

/// Bytes of a memory access.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Size {
    /// 1 byte.
    B = 1,
    /// 2 bytes.
    H = 2,
    /// 4 bytes.
    W = 4,
    /// 8 bytes.
    Dw = 8,
}

impl Size {
    /// As a number.
    pub fn bytes(self) -> u32 {
        self as u32
    }
}

/// A second operand.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operand {
    /// A register.
    Reg(u8),
    /// An immediate, to be sign-extended to the operation's width.
    Imm(i32),
}

/// Arithmetic on two operands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the standard's names")]
pub enum Alu {
    Add,
    Sub,
    Mul,
    Div,
    Sdiv,
    Or,
    And,
    Lsh,
    Rsh,
    Mod,
    Smod,
    Xor,
    Mov,
    Arsh,
}

/// Comparisons.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the standard's names")]
pub enum Cmp {
    Eq,
    Gt,
    Ge,
    Set,
    Ne,
    Sgt,
    Sge,
    Lt,
    Le,
    Slt,
    Sle,
}

/// What a byte swap does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ByteOrder {
    /// To or from little endian.
    Little,
    /// To or from big endian.
    Big,
    /// The other way round in any case.
    Swap,
}

/// Atomic updates.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the standard's names")]
pub enum Atomic {
    Add,
    Or,
    And,
    Xor,
    Xchg,
    Cmpxchg,
}

/// An instruction. `dst`, `src` and `base` are registers, `off` counts bytes, `to` is an index.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Op {
    /// `dst = dst OP src`.
    Alu {
        /// The operation.
        op: Alu,
        /// Its width.
        width: Width,
        /// First operand and result.
        dst: u8,
        /// Second operand.
        src: Operand,
    },
    /// `dst` = the lower `bits` of `src`, sign-extended to `width`.
    Extend {
        /// 8, 16 or 32.
        bits: u8,
        /// Of the result.
        width: Width,
        /// Result.
        dst: u8,
        /// Operand.
        src: u8,
    },
    /// `dst = -dst`.
    Neg {
        /// Width.
        width: Width,
        /// Operand and result.
        dst: u8,
    },
    /// `dst` = its lower `bits` in another byte order, zero-extended.
    Swap {
        /// Which order.
        order: ByteOrder,
        /// 16, 32 or 64.
        bits: u8,
        /// Operand and result.
        dst: u8,
    },
    /// `dst = value`: a 64-bit immediate; in a linked program also the address of a map, a value or a function.
    Const {
        /// Result.
        dst: u8,
        /// The value.
        value: u64,
    },
    /// Second slot of a 64-bit immediate; never executed.
    Second,
    /// `dst = *(size *)(base + off)`.
    Load {
        /// Bytes.
        size: Size,
        /// Whether the value is sign-extended to 64 bits, else zero-extended.
        signed: bool,
        /// Result.
        dst: u8,
        /// Address.
        base: u8,
        /// Added to it.
        off: i16,
    },
    /// `*(size *)(base + off) = value`.
    Store {
        /// Bytes.
        size: Size,
        /// Address.
        base: u8,
        /// Added to it.
        off: i16,
        /// The value, its lower bytes.
        value: Operand,
    },
    /// Atomic update of `*(size *)(base + off)` with `src`.
    Atomic {
        /// The operation.
        op: Atomic,
        /// Whether `src` (in a compare-and-exchange r0, always) gets the old value, zero-extended.
        fetch: bool,
        /// [`Size::W`] or [`Size::Dw`].
        size: Size,
        /// Address.
        base: u8,
        /// Added to it.
        off: i16,
        /// Operand.
        src: u8,
    },
    /// `dst = *(size *)(base + off)`, before all that follows.
    LoadAcquire {
        /// Bytes.
        size: Size,
        /// Result.
        dst: u8,
        /// Address.
        base: u8,
        /// Added to it.
        off: i16,
    },
    /// `*(size *)(base + off) = src`, behind all that precedes.
    StoreRelease {
        /// Bytes.
        size: Size,
        /// Address.
        base: u8,
        /// Added to it.
        off: i16,
        /// The value.
        src: u8,
    },
    /// r0 = the packet's bytes at `index + imm`, in network byte order; the program ends with 0 where the packet has
    /// none. r1 to r5 are lost.
    Packet {
        /// Bytes: 1, 2 or 4.
        size: Size,
        /// Added to `imm`.
        index: Option<u8>,
        /// Offset.
        imm: i32,
    },
    /// Jump.
    Jump {
        /// Where to.
        to: u32,
    },
    /// Jump if `dst OP src`.
    Branch {
        /// The comparison.
        op: Cmp,
        /// Its width.
        width: Width,
        /// First operand.
        dst: u8,
        /// Second operand.
        src: Operand,
        /// Where to.
        to: u32,
    },
    /// Bounded loop: goes on, or jumps when the loop has gone on too often.
    MayGoto {
        /// Where to.
        to: u32,
    },
    /// Call of a helper.
    Call {
        /// Its number.
        helper: u32,
    },
    /// Call of a kernel function.
    Kfunc {
        /// Index into the program's list of kernel functions; before linking the BTF id.
        index: u32,
    },
    /// Call of a function of the program.
    CallLocal {
        /// Its first instruction.
        to: u32,
    },
    /// Call of what a register holds: the address of a function of the program, or the number of a helper.
    CallReg {
        /// The register.
        reg: u8,
    },
    /// Return from the function.
    Exit,
}
