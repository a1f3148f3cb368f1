//! Selection of arithmetic, with what older instruction sets lack put together from what they have.

use skep_bpf::insn::{alu, jmp};

use super::Selector;
use crate::compile::Cpu;
use crate::ir::{BinOp, IntTy, UnOp, Value, Width};
use crate::lower::mir::{Ext, Konst, MCond, MOp, Src, VReg};

/// Machine operation, and whether the operands may be exchanged.
const OPERATIONS: [(BinOp, u8, bool); 13] = [
    (BinOp::Add, alu::ADD, true),
    (BinOp::Sub, alu::SUB, false),
    (BinOp::Mul, alu::MUL, true),
    (BinOp::Udiv, alu::DIV, false),
    (BinOp::Sdiv, alu::DIV, false),
    (BinOp::Umod, alu::MOD, false),
    (BinOp::Smod, alu::MOD, false),
    (BinOp::And, alu::AND, true),
    (BinOp::Or, alu::OR, true),
    (BinOp::Xor, alu::XOR, true),
    (BinOp::Shl, alu::LSH, false),
    (BinOp::Lshr, alu::RSH, false),
    (BinOp::Ashr, alu::ARSH, false),
];

impl Selector<'_> {
    fn alu(&mut self, op: u8, width: Width, dst: VReg, a: Src, b: Src) {
        self.emit(MOp::Alu { op, width, off: 0, dst, a, b });
    }

    pub(super) fn bin(&mut self, op: BinOp, width: Width, mut a: Value, mut b: Value, v: Value) {
        let Some(&(_, code, commutes)) = OPERATIONS.iter().find(|o| o.0 == op) else { return };
        if commutes && self.better_exchanged(a, b) {
            (a, b) = (b, a);
        }
        let constant = self.int(b).map(|c| if width == Width::W32 { i64::from(c as i32) } else { c });
        match (op, constant) {
            (BinOp::Shl | BinOp::Lshr | BinOp::Ashr, Some(c)) => {
                let mask = if width == Width::W64 { 63 } else { 31 };
                let a = self.src(a, width);
                let dst = self.home(v);
                self.alu(code, width, dst, a, Src::Imm((c & mask) as i32));
            }
            (BinOp::Udiv | BinOp::Sdiv | BinOp::Umod | BinOp::Smod, Some(0)) => self.by_zero(op, width, a, v),
            (BinOp::Sdiv | BinOp::Smod, c) => self.signed_division(op == BinOp::Smod, width, (a, b), c, v),
            (BinOp::Sub, Some(c)) if width == Width::W32 || i32::try_from(c.wrapping_neg()).is_ok() => {
                let a = self.src(a, width);
                let dst = self.home(v);
                self.alu(alu::ADD, width, dst, a, Src::Imm(c.wrapping_neg() as i32));
            }
            (BinOp::And, Some(c)) if width == Width::W64 && wide_mask(c) => self.mask(a, c as u32, v),
            _ => {
                let (a, b) = (self.src(a, width), self.src(b, width));
                let dst = self.home(v);
                self.alu(code, width, dst, a, b);
            }
        }
    }

    /// Whether `b` is the better first operand: `a` is a constant, or stays while `b` ends here.
    fn better_exchanged(&self, a: Value, b: Value) -> bool {
        match (self.int(a), self.int(b)) {
            (Some(_), None) => true,
            (None, None) => self.uses[a.index()] > 1 && self.uses[b.index()] == 1,
            _ => false,
        }
    }

    /// A mask that keeps bit 31 but none above.
    fn mask(&mut self, a: Value, mask: u32, v: Value) {
        let a = self.reg(a);
        let dst = self.home(v);
        if mask == u32::MAX {
            return self.emit(MOp::Mov { dst, src: a, ext: Ext::Zero32 });
        }
        self.alu(alu::AND, Width::W32, dst, Src::Reg(a), Src::Imm(mask as i32));
    }

    /// The verifier refuses a division by the constant zero: quotient 0, remainder the dividend.
    fn by_zero(&mut self, op: BinOp, width: Width, a: Value, v: Value) {
        if matches!(op, BinOp::Udiv | BinOp::Sdiv) {
            let dst = self.home(v);
            return self.emit(MOp::Konst { dst, value: Konst::Int(0) });
        }
        let src = self.reg(a);
        let dst = self.home(v);
        let ext = if width == Width::W32 { Ext::Zero32 } else { Ext::None };
        self.emit(MOp::Mov { dst, src, ext });
    }

    fn signed_division(&mut self, rem: bool, width: Width, (a, b): (Value, Value), c: Option<i64>, v: Value) {
        let (mut x, mut y) = (self.reg(a), self.src(b, width));
        let code = if rem { alu::MOD } else { alu::DIV };
        if self.features.cpu >= Cpu::V4 {
            return self.native_division(code, width, x, y, c, v);
        }
        if width == Width::W32 {
            x = self.extended(x, 32, true);
            y = match (y, c) {
                (Src::Reg(y), _) => Src::Reg(self.extended(y, 32, true)),
                (imm, _) => imm,
            };
        }
        let quotient = self.divide_magnitudes(code, x, y);
        let negative = match (rem, y) {
            // The remainder has the dividend's sign.
            (true, _) => x,
            (false, y) => {
                let t = self.vreg();
                self.alu(alu::XOR, Width::W64, t, Src::Reg(x), y);
                t
            }
        };
        let cond = MCond { op: jmp::JSLT, width: Width::W64, a: negative, b: Src::Imm(0) };
        let dst = self.home(v);
        if width == Width::W64 {
            return self.emit(MOp::NegIf { dst, cond, a: quotient });
        }
        let t = self.vreg();
        self.emit(MOp::NegIf { dst: t, cond, a: quotient });
        self.emit(MOp::Mov { dst, src: t, ext: Ext::Zero32 });
    }

    fn magnitude(&mut self, a: VReg) -> VReg {
        let cond = MCond { op: jmp::JSLT, width: Width::W64, a, b: Src::Imm(0) };
        let dst = self.vreg();
        self.emit(MOp::NegIf { dst, cond, a });
        dst
    }

    fn divide_magnitudes(&mut self, code: u8, x: VReg, y: Src) -> VReg {
        let a = self.magnitude(x);
        let b = match y {
            Src::Imm(imm) => match imm.checked_abs() {
                Some(imm) => Src::Imm(imm),
                None => Src::Reg(self.constant(i64::from(imm).abs())),
            },
            Src::Reg(y) => Src::Reg(self.magnitude(y)),
        };
        let dst = self.vreg();
        self.alu(code, Width::W64, dst, Src::Reg(a), b);
        dst
    }

    /// Signed division of v4. Kernels before 6.12 trap on the least number divided by -1 (it overflows), so a divisor
    /// that may be -1 is replaced by 1 and the quotient negated.
    fn native_division(&mut self, code: u8, width: Width, x: VReg, y: Src, c: Option<i64>, v: Value) {
        let divide = |dst, b| MOp::Alu { op: code, width, off: 1, dst, a: Src::Reg(x), b };
        if c.is_some_and(|c| c != -1) {
            let dst = self.home(v);
            return self.emit(divide(dst, y));
        }
        let y = match y {
            Src::Reg(y) => y,
            Src::Imm(imm) => self.constant(i64::from(imm)),
        };
        let one = self.vreg();
        let cond = MCond { op: jmp::JEQ, width, a: y, b: Src::Imm(-1) };
        self.emit(MOp::Select { dst: one, cond, then: Src::Imm(1), other: Src::Reg(y) });
        let dst = self.home(v);
        if code == alu::MOD {
            return self.emit(divide(dst, Src::Reg(one)));
        }
        let quotient = self.vreg();
        self.emit(divide(quotient, Src::Reg(one)));
        if width == Width::W64 {
            return self.emit(MOp::NegIf { dst, cond, a: quotient });
        }
        let t = self.vreg();
        self.emit(MOp::NegIf { dst: t, cond, a: quotient });
        self.emit(MOp::Mov { dst, src: t, ext: Ext::Zero32 });
    }

    pub(super) fn un(&mut self, op: UnOp, a: Value, v: Value) {
        let src = self.reg(a);
        let dst = self.home(v);
        match op {
            UnOp::Neg => self.emit(MOp::Neg { width: Width::W64, dst, a: src }),
            UnOp::Bswap(bytes) => {
                let always = self.features.cpu >= Cpu::V4;
                self.emit(MOp::Swap { dst, a: src, bits: bytes * 8, always });
            }
            UnOp::Extend(_) => self.extend_into(dst, src, op),
        }
    }

    /// `dst` = the low bits of `src`, extended.
    pub(super) fn extend_into(&mut self, dst: VReg, src: VReg, op: UnOp) {
        let UnOp::Extend(IntTy { bits, signed }) = op else { return };
        match (bits, signed) {
            (64.., _) => self.emit(MOp::Mov { dst, src, ext: Ext::None }),
            (32, false) => self.emit(MOp::Mov { dst, src, ext: Ext::Zero32 }),
            (1..32, false) => {
                let mask = (1i32 << bits) - 1;
                self.alu(alu::AND, Width::W64, dst, Src::Reg(src), Src::Imm(mask));
            }
            (8 | 16 | 32, true) if self.features.cpu >= Cpu::V4 => {
                self.emit(MOp::Mov { dst, src, ext: Ext::Sign(bits) })
            }
            _ => {
                let count = Src::Imm(64 - i32::from(bits));
                let t = self.vreg();
                self.alu(alu::LSH, Width::W64, t, Src::Reg(src), count);
                let shift = if signed { alu::ARSH } else { alu::RSH };
                self.alu(shift, Width::W64, dst, Src::Reg(t), count);
            }
        }
    }
}

/// A mask of the low half that is no sign-extended 32-bit immediate.
fn wide_mask(c: i64) -> bool {
    i32::try_from(c).is_err() && u32::try_from(c).is_ok()
}
