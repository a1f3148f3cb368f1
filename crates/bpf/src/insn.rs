//! One eBPF instruction and its field values (RFC 9669; include/uapi/linux/bpf.h and bpf_common.h, Linux 6.18).
//!
//! An [`Insn`] is eight bytes; a 64-bit immediate load takes two of them. All offsets count instructions (eight
//! bytes each) from the next one, except memory offsets, which count bytes.

/// A register number, 0 to 10.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Reg(pub u8);

impl Reg {
    /// Return value of calls and of the program.
    pub const R0: Reg = Reg(0);
    /// First argument; the context at entry.
    pub const R1: Reg = Reg(1);
    /// Second argument.
    pub const R2: Reg = Reg(2);
    /// Third argument.
    pub const R3: Reg = Reg(3);
    /// Fourth argument.
    pub const R4: Reg = Reg(4);
    /// Fifth argument; the last that a call clobbers.
    pub const R5: Reg = Reg(5);
    /// First register that survives a call.
    pub const R6: Reg = Reg(6);
    /// Last general register.
    pub const R9: Reg = Reg(9);
    /// The frame pointer, read only; the stack lies in the 512 bytes below it.
    pub const FP: Reg = Reg(10);
}

/// Instruction classes: the low three bits of `code`.
pub mod class {
    /// Non-standard loads (64-bit immediate, legacy packet access).
    pub const LD: u8 = 0x00;
    /// Load from memory into a register.
    pub const LDX: u8 = 0x01;
    /// Store an immediate to memory.
    pub const ST: u8 = 0x02;
    /// Store a register to memory; atomics.
    pub const STX: u8 = 0x03;
    /// 32-bit arithmetic; the upper half of the result is zero.
    pub const ALU: u8 = 0x04;
    /// 64-bit jumps, calls, exit.
    pub const JMP: u8 = 0x05;
    /// Jumps that compare the lower 32 bits (v3).
    pub const JMP32: u8 = 0x06;
    /// 64-bit arithmetic.
    pub const ALU64: u8 = 0x07;
}

/// Memory access sizes: bits 3 and 4 of `code` in loads and stores.
pub mod size {
    /// 4 bytes.
    pub const W: u8 = 0x00;
    /// 2 bytes.
    pub const H: u8 = 0x08;
    /// 1 byte.
    pub const B: u8 = 0x10;
    /// 8 bytes.
    pub const DW: u8 = 0x18;
}

/// Addressing modes: the high three bits of `code` in loads and stores.
pub mod mode {
    /// 64-bit immediate.
    pub const IMM: u8 = 0x00;
    /// Legacy packet load, absolute.
    pub const ABS: u8 = 0x20;
    /// Legacy packet load, indirect.
    pub const IND: u8 = 0x40;
    /// Regular memory access.
    pub const MEM: u8 = 0x60;
    /// Sign-extending load (v4).
    pub const MEMSX: u8 = 0x80;
    /// Atomic operation; the operation is in `imm`.
    pub const ATOMIC: u8 = 0xc0;
}

/// Operand source: bit 3 of `code` in arithmetic and jumps.
pub mod source {
    /// The immediate.
    pub const K: u8 = 0x00;
    /// The source register.
    pub const X: u8 = 0x08;
}

/// Arithmetic operations: the high four bits of `code` in ALU and ALU64.
pub mod alu {
    /// dst += src
    pub const ADD: u8 = 0x00;
    /// dst -= src
    pub const SUB: u8 = 0x10;
    /// dst *= src
    pub const MUL: u8 = 0x20;
    /// dst = src != 0 ? dst / src : 0; signed with `off` = 1 (v4)
    pub const DIV: u8 = 0x30;
    /// dst |= src
    pub const OR: u8 = 0x40;
    /// dst &= src
    pub const AND: u8 = 0x50;
    /// dst <<= src
    pub const LSH: u8 = 0x60;
    /// dst >>= src, zeros shifted in
    pub const RSH: u8 = 0x70;
    /// dst = -dst
    pub const NEG: u8 = 0x80;
    /// dst = src != 0 ? dst % src : dst; signed with `off` = 1 (v4)
    pub const MOD: u8 = 0x90;
    /// dst ^= src
    pub const XOR: u8 = 0xa0;
    /// dst = src; sign-extending with `off` = 8, 16 or 32 (v4)
    pub const MOV: u8 = 0xb0;
    /// dst >>= src, sign shifted in
    pub const ARSH: u8 = 0xc0;
    /// Byte swap; ALU64 swaps always (v4), ALU converts to little (K) or big (X) endian.
    pub const END: u8 = 0xd0;
}

/// Jump operations: the high four bits of `code` in JMP and JMP32.
pub mod jmp {
    /// Always; in JMP32 the offset is `imm` (gotol, v4).
    pub const JA: u8 = 0x00;
    /// Equal.
    pub const JEQ: u8 = 0x10;
    /// Greater, unsigned.
    pub const JGT: u8 = 0x20;
    /// Greater or equal, unsigned.
    pub const JGE: u8 = 0x30;
    /// Any bit in common.
    pub const JSET: u8 = 0x40;
    /// Not equal.
    pub const JNE: u8 = 0x50;
    /// Greater, signed.
    pub const JSGT: u8 = 0x60;
    /// Greater or equal, signed.
    pub const JSGE: u8 = 0x70;
    /// Call: helper (src 0), function (src 1) or kfunc (src 2).
    pub const CALL: u8 = 0x80;
    /// Return r0.
    pub const EXIT: u8 = 0x90;
    /// Less, unsigned (v2).
    pub const JLT: u8 = 0xa0;
    /// Less or equal, unsigned (v2).
    pub const JLE: u8 = 0xb0;
    /// Less, signed (v2).
    pub const JSLT: u8 = 0xc0;
    /// Less or equal, signed (v2).
    pub const JSLE: u8 = 0xd0;
    /// May-goto (src 0): the verifier's bounded-loop instruction (6.9).
    pub const JCOND: u8 = 0xe0;
}

/// Values of `imm` in atomic instructions; `FETCH` may be or-ed to the four arithmetic ones.
pub mod atomic {
    /// Add.
    pub const ADD: i32 = 0x00;
    /// Or.
    pub const OR: i32 = 0x40;
    /// And.
    pub const AND: i32 = 0x50;
    /// Xor.
    pub const XOR: i32 = 0xa0;
    /// The old value comes back in the source register (5.12).
    pub const FETCH: i32 = 0x01;
    /// Exchange (5.12).
    pub const XCHG: i32 = 0xe0 | FETCH;
    /// Compare with r0 and exchange (5.12).
    pub const CMPXCHG: i32 = 0xf0 | FETCH;
    /// Not an update but a load with acquire order, `dst = *(size *)(src + off)` (6.15).
    pub const LOAD_ACQ: i32 = 0x100;
    /// Not an update but a store with release order, `*(size *)(dst + off) = src` (6.15).
    pub const STORE_REL: i32 = 0x110;
}

/// Values of the source register of a 64-bit immediate load and of a call.
pub mod pseudo {
    /// ld_imm64: a map's file descriptor.
    pub const MAP_FD: u8 = 1;
    /// ld_imm64: a map's file descriptor, and in the second immediate an offset into its value.
    pub const MAP_VALUE: u8 = 2;
    /// ld_imm64: the BTF id of a kernel variable.
    pub const BTF_ID: u8 = 3;
    /// ld_imm64: a function of this program, as instruction offset from the next instruction.
    pub const FUNC: u8 = 4;
    /// ld_imm64: as `MAP_FD`, by index into the file descriptors given at load (5.14).
    pub const MAP_IDX: u8 = 5;
    /// ld_imm64: as `MAP_VALUE`, by index into the file descriptors given at load (5.14).
    pub const MAP_IDX_VALUE: u8 = 6;
    /// call: a function of this program.
    pub const CALL: u8 = 1;
    /// call: a kernel function by BTF id.
    pub const KFUNC_CALL: u8 = 2;
}

/// One instruction slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Insn {
    /// Class, size or operation, mode or source.
    pub code: u8,
    /// Destination register.
    pub dst: u8,
    /// Source register, or a pseudo value.
    pub src: u8,
    /// Byte offset of a memory access or instruction offset of a jump.
    pub off: i16,
    /// Immediate.
    pub imm: i32,
}

impl Insn {
    /// The eight bytes of the instruction, in the byte order of this machine (as bpf(2) takes them).
    pub fn to_bytes(self) -> [u8; 8] {
        let regs = if cfg!(target_endian = "little") {
            (self.src << 4) | (self.dst & 0xf)
        } else {
            (self.dst << 4) | (self.src & 0xf)
        };
        let off = self.off.to_ne_bytes();
        let imm = self.imm.to_ne_bytes();
        [self.code, regs, off[0], off[1], imm[0], imm[1], imm[2], imm[3]]
    }

    /// The instruction in eight bytes of this machine's byte order.
    pub fn from_bytes(b: [u8; 8]) -> Insn {
        let (lo, hi) = (b[1] & 0xf, b[1] >> 4);
        let (dst, src) = if cfg!(target_endian = "little") { (lo, hi) } else { (hi, lo) };
        Insn {
            code: b[0],
            dst,
            src,
            off: i16::from_ne_bytes([b[2], b[3]]),
            imm: i32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
        }
    }

    /// The class bits.
    pub fn class(self) -> u8 {
        self.code & 0x07
    }

    /// Whether this is the first slot of a 64-bit immediate load (which takes two).
    pub fn is_ld_imm64(self) -> bool {
        self.code == class::LD | size::DW | mode::IMM
    }

    /// `dst = dst OP src`, 64 bits.
    pub fn alu64_reg(op: u8, dst: Reg, src: Reg) -> Insn {
        Insn { code: class::ALU64 | op | source::X, dst: dst.0, src: src.0, ..Insn::default() }
    }

    /// `dst = dst OP imm`, 64 bits.
    pub fn alu64_imm(op: u8, dst: Reg, imm: i32) -> Insn {
        Insn { code: class::ALU64 | op | source::K, dst: dst.0, imm, ..Insn::default() }
    }

    /// `dst = dst OP src`, 32 bits, upper half cleared.
    pub fn alu32_reg(op: u8, dst: Reg, src: Reg) -> Insn {
        Insn { code: class::ALU | op | source::X, dst: dst.0, src: src.0, ..Insn::default() }
    }

    /// `dst = dst OP imm`, 32 bits, upper half cleared.
    pub fn alu32_imm(op: u8, dst: Reg, imm: i32) -> Insn {
        Insn { code: class::ALU | op | source::K, dst: dst.0, imm, ..Insn::default() }
    }

    /// `dst = src`.
    pub fn mov_reg(dst: Reg, src: Reg) -> Insn {
        Insn::alu64_reg(alu::MOV, dst, src)
    }

    /// `dst = imm`, sign-extended to 64 bits.
    pub fn mov_imm(dst: Reg, imm: i32) -> Insn {
        Insn::alu64_imm(alu::MOV, dst, imm)
    }

    /// Both slots of `dst = imm` with a 64-bit immediate; `src` is 0 or one of [`pseudo`].
    pub fn ld_imm64(dst: Reg, src: u8, imm: u64) -> [Insn; 2] {
        [
            Insn { code: class::LD | size::DW | mode::IMM, dst: dst.0, src, off: 0, imm: imm as u32 as i32 },
            Insn { imm: (imm >> 32) as u32 as i32, ..Insn::default() },
        ]
    }

    /// `dst = *(size *)(src + off)`, zero-extended.
    pub fn load(size: u8, dst: Reg, src: Reg, off: i16) -> Insn {
        Insn { code: class::LDX | size | mode::MEM, dst: dst.0, src: src.0, off, imm: 0 }
    }

    /// `*(size *)(dst + off) = src`.
    pub fn store_reg(size: u8, dst: Reg, off: i16, src: Reg) -> Insn {
        Insn { code: class::STX | size | mode::MEM, dst: dst.0, src: src.0, off, imm: 0 }
    }

    /// `*(size *)(dst + off) = imm`.
    pub fn store_imm(size: u8, dst: Reg, off: i16, imm: i32) -> Insn {
        Insn { code: class::ST | size | mode::MEM, dst: dst.0, src: 0, off, imm }
    }

    /// Atomic `op` (one of [`atomic`]) on `*(size *)(dst + off)` with `src`; `size` is W or DW.
    pub fn atomic(size: u8, op: i32, dst: Reg, off: i16, src: Reg) -> Insn {
        Insn { code: class::STX | size | mode::ATOMIC, dst: dst.0, src: src.0, off, imm: op }
    }

    /// Jump to `off` when `dst OP src`, 64 bits.
    pub fn jmp_reg(op: u8, dst: Reg, src: Reg, off: i16) -> Insn {
        Insn { code: class::JMP | op | source::X, dst: dst.0, src: src.0, off, imm: 0 }
    }

    /// Jump to `off` when `dst OP imm`, 64 bits.
    pub fn jmp_imm(op: u8, dst: Reg, imm: i32, off: i16) -> Insn {
        Insn { code: class::JMP | op | source::K, dst: dst.0, src: 0, off, imm }
    }

    /// Jump always.
    pub fn ja(off: i16) -> Insn {
        Insn { code: class::JMP | jmp::JA, off, ..Insn::default() }
    }

    /// Call a helper by number.
    pub fn call_helper(id: u32) -> Insn {
        Insn { code: class::JMP | jmp::CALL, imm: id as i32, ..Insn::default() }
    }

    /// Return r0.
    pub fn exit() -> Insn {
        Insn { code: class::JMP | jmp::EXIT, ..Insn::default() }
    }
}

impl std::fmt::Debug for Insn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02x} dst={} src={} off={} imm={:#x}", self.code, self.dst, self.src, self.off, self.imm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_round_trip() {
        let i = Insn::load(size::W, Reg::R3, Reg::FP, -16);
        assert_eq!(Insn::from_bytes(i.to_bytes()), i);
        assert!(Insn::ld_imm64(Reg::R1, pseudo::MAP_FD, 7)[0].is_ld_imm64());
    }
}
