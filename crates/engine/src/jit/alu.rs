//! Arithmetic: one instruction enters, Cranelift values that mean the same leave. Division never traps: a zero divisor gives
//! 0, a zero modulus the dividend, and the most negative number over minus one itself (RFC 9669, 4.1).

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I16, I32, I64};
use cranelift_codegen::ir::{InstBuilder, Type, Value};

use super::translate::Translator;
use crate::vm::op::{Alu, ByteOrder, Operand, Width};

/// The type of an operation.
pub(super) fn operation_type(width: Width) -> Type {
    match width {
        Width::W32 => I32,
        Width::W64 => I64,
    }
}

impl Translator<'_> {
    /// `dst = dst OP src`
    pub(super) fn alu(&mut self, op: Alu, width: Width, dst: u8, src: Operand) {
        let ty = operation_type(width);
        let right = self.operand(ty, src);
        let value = if op == Alu::Mov {
            right
        } else {
            let left = self.get(dst);
            let left = self.narrow(ty, left);
            match op {
                Alu::Div | Alu::Sdiv | Alu::Mod | Alu::Smod => self.divide(op, ty, left, right, src),
                _ => self.binary(op, left, right),
            }
        };
        let value = self.widen(value);
        self.set(dst, value);
    }

    /// A second operand.
    pub(super) fn operand(&mut self, ty: Type, operand: Operand) -> Value {
        match operand {
            Operand::Reg(register) => {
                let value = self.get(register);
                self.narrow(ty, value)
            }
            Operand::Imm(value) => self.constant(ty, value.into()),
        }
    }

    fn binary(&mut self, op: Alu, left: Value, right: Value) -> Value {
        let ins = self.builder.ins();
        match op {
            Alu::Add => ins.iadd(left, right),
            Alu::Sub => ins.isub(left, right),
            Alu::Mul => ins.imul(left, right),
            Alu::Or => ins.bor(left, right),
            Alu::And => ins.band(left, right),
            Alu::Xor => ins.bxor(left, right),
            // Cranelift takes shift amounts modulo the width, as BPF does.
            Alu::Lsh => ins.ishl(left, right),
            Alu::Rsh => ins.ushr(left, right),
            Alu::Arsh => ins.sshr(left, right),
            Alu::Mov | Alu::Div | Alu::Sdiv | Alu::Mod | Alu::Smod => right,
        }
    }

    fn divide(&mut self, op: Alu, ty: Type, left: Value, right: Value, src: Operand) -> Value {
        let modulus = matches!(op, Alu::Mod | Alu::Smod);
        let signed = matches!(op, Alu::Sdiv | Alu::Smod);
        let constant = match src {
            Operand::Imm(value) => Some(value),
            Operand::Reg(_) => None,
        };
        match constant {
            Some(0) if modulus => return left,
            Some(0) => return right,
            Some(-1) if signed && modulus => return self.constant(ty, 0),
            Some(-1) if signed => return self.builder.ins().ineg(left),
            Some(_) => return self.quotient(op, left, right),
            None => {}
        }
        let (zero, one) = (self.constant(ty, 0), self.constant(ty, 1));
        let by_zero = self.builder.ins().icmp(IntCC::Equal, right, zero);
        // What the hardware cannot divide by is replaced by 1: 0, and with sign minus one too.
        let refused = if signed {
            let next = self.builder.ins().iadd(right, one);
            self.builder.ins().icmp(IntCC::UnsignedLessThanOrEqual, next, one)
        } else {
            by_zero
        };
        let safe = self.builder.ins().select(refused, one, right);
        let result = self.quotient(op, left, safe);
        if modulus {
            return self.builder.ins().select(by_zero, left, result);
        }
        let result = if signed {
            let minus = self.constant(ty, -1);
            let negative = self.builder.ins().icmp(IntCC::Equal, right, minus);
            let opposite = self.builder.ins().ineg(left);
            self.builder.ins().select(negative, opposite, result)
        } else {
            result
        };
        self.builder.ins().select(by_zero, zero, result)
    }

    fn quotient(&mut self, op: Alu, left: Value, right: Value) -> Value {
        let ins = self.builder.ins();
        match op {
            Alu::Sdiv => ins.sdiv(left, right),
            Alu::Mod => ins.urem(left, right),
            Alu::Smod => ins.srem(left, right),
            _ => ins.udiv(left, right),
        }
    }

    /// `movsx`: the lower bits of `src` with their sign extended, zeros above the width.
    pub(super) fn extend(&mut self, bits: u8, width: Width, dst: u8, src: u8) {
        let value = self.get(src);
        let value = self.narrow(bits_type(bits), value);
        let ty = operation_type(width);
        let value = if bits_type(bits) == ty { value } else { self.builder.ins().sextend(ty, value) };
        let value = self.widen(value);
        self.set(dst, value);
    }

    /// `dst = -dst`
    pub(super) fn negate(&mut self, width: Width, dst: u8) {
        let value = self.get(dst);
        let value = self.narrow(operation_type(width), value);
        let value = self.builder.ins().ineg(value);
        let value = self.widen(value);
        self.set(dst, value);
    }

    /// A byte swap; what is above is cut off.
    pub(super) fn swap(&mut self, order: ByteOrder, bits: u8, dst: u8) {
        let turn = match order {
            ByteOrder::Swap => true,
            ByteOrder::Big => cfg!(target_endian = "little"),
            ByteOrder::Little => cfg!(target_endian = "big"),
        };
        let value = self.get(dst);
        let part = self.narrow(bits_type(bits), value);
        let part = if turn { self.builder.ins().bswap(part) } else { part };
        let value = self.widen(part);
        self.set(dst, value);
    }

    /// The low part of a value.
    pub(super) fn narrow(&mut self, ty: Type, value: Value) -> Value {
        if ty == I64 { value } else { self.builder.ins().ireduce(ty, value) }
    }

    /// A part as 64 bits, zeros above.
    pub(super) fn widen(&mut self, part: Value) -> Value {
        if self.builder.func.dfg.value_type(part) == I64 {
            part
        } else {
            self.builder.ins().uextend(I64, part)
        }
    }

    /// A constant, cut to the type.
    pub(super) fn constant(&mut self, ty: Type, value: i64) -> Value {
        let value = match ty {
            I8 => i64::from(value as u8),
            I16 => i64::from(value as u16),
            I32 => i64::from(value as u32),
            _ => value,
        };
        self.builder.ins().iconst(ty, value)
    }
}

fn bits_type(bits: u8) -> Type {
    match bits {
        8 => I8,
        16 => I16,
        32 => I32,
        _ => I64,
    }
}
