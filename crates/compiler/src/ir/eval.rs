//! What operations on integers mean: constants enter, the constant that the machine would compute leaves.
//!
//! All values are 64 bits; with width 32 the low halves are used and the result is zero-extended. Shift counts are
//! taken modulo the width, division by zero gives 0, remainder by zero the dividend, and the most negative number
//! divided by -1 wraps (Documentation/bpf/standardization/instruction-set.rst, Linux 6.18).

use super::op::{BinOp, Cc, UnOp};
use super::types::{IntTy, Width};

/// `a op b`.
pub fn bin(op: BinOp, width: Width, a: i64, b: i64) -> i64 {
    match width {
        Width::W64 => bin64(op, a, b),
        Width::W32 => i64::from(bin32(op, a as i32, b as i32) as u32),
    }
}

macro_rules! arithmetic {
    ($name:ident, $signed:ty, $unsigned:ty) => {
        fn $name(op: BinOp, a: $signed, b: $signed) -> $signed {
            let (ua, ub, count) = (a as $unsigned, b as $unsigned, b as u32);
            match op {
                BinOp::Add => a.wrapping_add(b),
                BinOp::Sub => a.wrapping_sub(b),
                BinOp::Mul => a.wrapping_mul(b),
                BinOp::Udiv => ua.checked_div(ub).unwrap_or(0) as $signed,
                BinOp::Umod => ua.checked_rem(ub).unwrap_or(ua) as $signed,
                BinOp::Sdiv if b == 0 => 0,
                BinOp::Sdiv => a.wrapping_div(b),
                BinOp::Smod if b == 0 => a,
                BinOp::Smod => a.wrapping_rem(b),
                BinOp::And => a & b,
                BinOp::Or => a | b,
                BinOp::Xor => a ^ b,
                BinOp::Shl => a.wrapping_shl(count),
                BinOp::Lshr => ua.wrapping_shr(count) as $signed,
                BinOp::Ashr => a.wrapping_shr(count),
            }
        }
    };
}

arithmetic!(bin64, i64, u64);
arithmetic!(bin32, i32, u32);

/// `op a`. A byte swap of other than 2 or 4 bytes swaps 8.
pub fn un(op: UnOp, a: i64) -> i64 {
    match op {
        UnOp::Neg => a.wrapping_neg(),
        UnOp::Bswap(2) => i64::from((a as u16).swap_bytes()),
        UnOp::Bswap(4) => i64::from((a as u32).swap_bytes()),
        UnOp::Bswap(_) => a.swap_bytes(),
        UnOp::Extend(ty) => extend(ty, a),
    }
}

/// The low bits of `a`, extended by the type's sign.
pub fn extend(ty: IntTy, a: i64) -> i64 {
    let unused = 64u32.saturating_sub(u32::from(ty.bits));
    if unused == 0 {
        a
    } else if ty.signed {
        a.wrapping_shl(unused).wrapping_shr(unused)
    } else {
        ((a as u64).wrapping_shl(unused).wrapping_shr(unused)) as i64
    }
}

/// `a cc b`.
pub fn cond(cc: Cc, width: Width, a: i64, b: i64) -> bool {
    let (a, b) = match width {
        Width::W64 => (a, b),
        // Sign extension keeps both orders.
        Width::W32 => (i64::from(a as i32), i64::from(b as i32)),
    };
    let (ua, ub) = (a as u64, b as u64);
    match cc {
        Cc::Eq => a == b,
        Cc::Ne => a != b,
        Cc::Ult => ua < ub,
        Cc::Ule => ua <= ub,
        Cc::Ugt => ua > ub,
        Cc::Uge => ua >= ub,
        Cc::Slt => a < b,
        Cc::Sle => a <= b,
        Cc::Sgt => a > b,
        Cc::Sge => a >= b,
        Cc::Set => a & b != 0,
    }
}

/// The comparison that holds exactly when `cc` does not; [`Cc::Set`] has none.
pub fn negate(cc: Cc) -> Option<Cc> {
    Some(match cc {
        Cc::Eq => Cc::Ne,
        Cc::Ne => Cc::Eq,
        Cc::Ult => Cc::Uge,
        Cc::Ule => Cc::Ugt,
        Cc::Ugt => Cc::Ule,
        Cc::Uge => Cc::Ult,
        Cc::Slt => Cc::Sge,
        Cc::Sle => Cc::Sgt,
        Cc::Sgt => Cc::Sle,
        Cc::Sge => Cc::Slt,
        Cc::Set => return None,
    })
}

/// The comparison with its sides exchanged.
pub fn swap(cc: Cc) -> Cc {
    match cc {
        Cc::Ult => Cc::Ugt,
        Cc::Ule => Cc::Uge,
        Cc::Ugt => Cc::Ult,
        Cc::Uge => Cc::Ule,
        Cc::Slt => Cc::Sgt,
        Cc::Sle => Cc::Sge,
        Cc::Sgt => Cc::Slt,
        Cc::Sge => Cc::Sle,
        Cc::Eq | Cc::Ne | Cc::Set => cc,
    }
}

/// Whether `a op b` and `b op a` are the same.
pub fn commutes(op: BinOp) -> bool {
    matches!(op, BinOp::Add | BinOp::Mul | BinOp::And | BinOp::Or | BinOp::Xor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corner_cases_of_division_and_shift() {
        assert_eq!(bin(BinOp::Udiv, Width::W64, 7, 0), 0);
        assert_eq!(bin(BinOp::Umod, Width::W64, 7, 0), 7);
        assert_eq!(bin(BinOp::Sdiv, Width::W64, i64::MIN, -1), i64::MIN);
        assert_eq!(bin(BinOp::Smod, Width::W64, -7, 3), -1);
        assert_eq!(bin(BinOp::Sdiv, Width::W32, -8, 2), 0xffff_fffc);
        assert_eq!(bin(BinOp::Shl, Width::W32, 1, 33), 2);
        assert_eq!(bin(BinOp::Ashr, Width::W32, 0x8000_0000, 31), 0xffff_ffff);
        assert_eq!(bin(BinOp::Umod, Width::W32, 0x1_0000_0007, 0x1_0000_0000), 7);
    }

    #[test]
    fn extension_by_sign_and_width() {
        assert_eq!(extend(IntTy { bits: 8, signed: true }, 0x1ff), -1);
        assert_eq!(extend(IntTy { bits: 8, signed: false }, 0x1ff), 0xff);
        assert_eq!(extend(IntTy::BOOL, 3), 1);
        assert_eq!(extend(IntTy::U64, -1), -1);
        assert_eq!(un(UnOp::Bswap(2), 0x1234_5678), 0x7856);
    }

    #[test]
    fn comparisons_negate_and_swap() {
        let all =
            [Cc::Eq, Cc::Ne, Cc::Ult, Cc::Ule, Cc::Ugt, Cc::Uge, Cc::Slt, Cc::Sle, Cc::Sgt, Cc::Sge, Cc::Set];
        let values = [0, 1, -1, i64::MIN, i64::MAX, 0x8000_0000, 0xffff_ffff];
        for cc in all {
            for (a, b) in values.iter().flat_map(|a| values.iter().map(move |b| (*a, *b))) {
                for width in [Width::W32, Width::W64] {
                    assert_eq!(cond(cc, width, a, b), cond(swap(cc), width, b, a));
                    if let Some(not) = negate(cc) {
                        assert_ne!(cond(cc, width, a, b), cond(not, width, a, b));
                    }
                }
            }
        }
    }
}
