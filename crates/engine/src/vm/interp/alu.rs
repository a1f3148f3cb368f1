//! Arithmetic as the standard defines it (RFC 9669, section 4): numbers enter and leave, nothing fails.

use crate::vm::op::{Alu, Atomic, ByteOrder, Cmp, Size, Width};

/// `a OP b`; 32-bit results are zero-extended.
#[inline]
pub fn apply(op: Alu, width: Width, a: u64, b: u64) -> u64 {
    match width {
        Width::W64 => wide(op, a, b),
        Width::W32 => u64::from(narrow(op, a as u32, b as u32)),
    }
}

macro_rules! arithmetic {
    ($name:ident, $unsigned:ty, $signed:ty) => {
        #[inline]
        fn $name(op: Alu, a: $unsigned, b: $unsigned) -> $unsigned {
            let (sa, sb) = (a as $signed, b as $signed);
            match op {
                Alu::Add => a.wrapping_add(b),
                Alu::Sub => a.wrapping_sub(b),
                Alu::Mul => a.wrapping_mul(b),
                Alu::Div => a.checked_div(b).unwrap_or(0),
                Alu::Sdiv => {
                    if b == 0 {
                        0
                    } else {
                        sa.wrapping_div(sb) as $unsigned
                    }
                }
                Alu::Or => a | b,
                Alu::And => a & b,
                // Shifts count modulo the width.
                Alu::Lsh => a.wrapping_shl(b as u32),
                Alu::Rsh => a.wrapping_shr(b as u32),
                Alu::Mod => a.checked_rem(b).unwrap_or(a),
                Alu::Smod => {
                    if b == 0 {
                        a
                    } else {
                        sa.wrapping_rem(sb) as $unsigned
                    }
                }
                Alu::Xor => a ^ b,
                Alu::Mov => b,
                Alu::Arsh => sa.wrapping_shr(b as u32) as $unsigned,
            }
        }
    };
}

arithmetic!(wide, u64, i64);
arithmetic!(narrow, u32, i32);

/// Whether `a OP b`.
#[inline]
pub fn compare(op: Cmp, width: Width, a: u64, b: u64) -> bool {
    // Extension keeps the order, so 32 bits compare as 64.
    let (a, b, sa, sb) = match width {
        Width::W64 => (a, b, a as i64, b as i64),
        Width::W32 => (u64::from(a as u32), u64::from(b as u32), i64::from(a as i32), i64::from(b as i32)),
    };
    match op {
        Cmp::Eq => a == b,
        Cmp::Ne => a != b,
        Cmp::Gt => a > b,
        Cmp::Ge => a >= b,
        Cmp::Lt => a < b,
        Cmp::Le => a <= b,
        Cmp::Sgt => sa > sb,
        Cmp::Sge => sa >= sb,
        Cmp::Slt => sa < sb,
        Cmp::Sle => sa <= sb,
        Cmp::Set => a & b != 0,
    }
}

/// The lower `bits`, sign-extended to `width`.
#[inline]
pub fn extend(bits: u8, width: Width, value: u64) -> u64 {
    let extended = match bits {
        8 => i64::from(value as i8),
        16 => i64::from(value as i16),
        32 => i64::from(value as i32),
        _ => value as i64,
    };
    match width {
        Width::W64 => extended as u64,
        Width::W32 => u64::from(extended as u32),
    }
}

/// The lower `bits` in another byte order, zero-extended. Programs are little endian.
#[inline]
pub fn swap(order: ByteOrder, bits: u8, value: u64) -> u64 {
    match (order, bits) {
        (ByteOrder::Little, 16) => u64::from(value as u16),
        (ByteOrder::Little, 32) => u64::from(value as u32),
        (ByteOrder::Little, _) => value,
        (_, 16) => u64::from((value as u16).swap_bytes()),
        (_, 32) => u64::from((value as u32).swap_bytes()),
        _ => value.swap_bytes(),
    }
}

/// What memory holds after an atomic update; `r0` counts for [`Atomic::Cmpxchg`].
#[inline]
pub fn atomic(op: Atomic, size: Size, old: u64, operand: u64, r0: u64) -> u64 {
    let expected = if size == Size::W { u64::from(r0 as u32) } else { r0 };
    match op {
        Atomic::Add => old.wrapping_add(operand),
        Atomic::Or => old | operand,
        Atomic::And => old & operand,
        Atomic::Xor => old ^ operand,
        Atomic::Xchg => operand,
        Atomic::Cmpxchg if old == expected => operand,
        Atomic::Cmpxchg => old,
    }
}
