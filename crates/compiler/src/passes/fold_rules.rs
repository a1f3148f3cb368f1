//! The rules of [`super::fold`], one function for each kind of operation. A rule says what an operation becomes; that the
//! new one's result lies in the result's type is checked by the folder.

use super::fold::{Folded, Folder};
use crate::ir::op::{BinOp, Cc, Cond, Op, UnOp};
use crate::ir::types::{IntTy, PtrKind, Type, Value, Width};
use crate::ir::{Range, eval};

const W32_MAX: u64 = u32::MAX as u64;

/// `a` as an operation of `width` leaves it: the value, or its low half.
fn same(f: &Folder<'_>, width: Width, a: Value) -> Folded {
    if width == Width::W64 || f.range(a).umax <= W32_MAX {
        Folded::Value(a)
    } else {
        Folded::Op(Op::Un { op: UnOp::Extend(IntTy::U32), a })
    }
}

/// Arithmetic.
pub(super) fn bin(f: &mut Folder<'_>, op: BinOp, width: Width, a: Value, b: Value) -> Folded {
    let Some(c) = f.constant(b) else {
        if eval::commutes(op) && f.constant(a).is_some() {
            return Folded::Op(Op::Bin { op, width, a: b, b: a });
        }
        return if a == b { with_itself(f, op, width, a) } else { by_range(f, op, width, a, b) };
    };
    let low = match width {
        Width::W64 => c,
        Width::W32 => i64::from(c as i32),
    };
    let folded = match op {
        BinOp::Add | BinOp::Sub | BinOp::Or | BinOp::Xor if low == 0 => same(f, width, a),
        BinOp::Sub => {
            let Some(minus) = low.checked_neg() else { return Folded::Keep };
            let b = f.make(minus, f.ty(b));
            Folded::Op(Op::Bin { op: BinOp::Add, width, a, b })
        }
        BinOp::Mul | BinOp::Udiv | BinOp::Umod => by_power(f, op, width, a, b, low),
        BinOp::Sdiv if low == 1 => same(f, width, a),
        BinOp::And if keeps_all(f.range(a), c) => same(f, width, a),
        BinOp::Shl | BinOp::Lshr | BinOp::Ashr => shift(f, op, width, a, c),
        _ => Folded::Keep,
    };
    match folded {
        Folded::Keep => match combine(f, op, width, a, low) {
            Folded::Keep => by_range(f, op, width, a, b),
            folded => folded,
        },
        folded => folded,
    }
}

/// Whether `v & mask` is `v` for each value of a range.
fn keeps_all(range: Range, mask: i64) -> bool {
    let bits = if range.umax == 0 { 0 } else { u64::MAX >> range.umax.leading_zeros() };
    bits & !(mask as u64) == 0
}

/// `a op a`. (`a - a` and `a ^ a` give zero.)
fn with_itself(f: &mut Folder<'_>, op: BinOp, width: Width, a: Value) -> Folded {
    match op {
        BinOp::And | BinOp::Or => same(f, width, a),
        BinOp::Sub | BinOp::Xor => Folded::Op(Op::Const(0)),
        _ => Folded::Keep,
    }
}

fn shift(f: &mut Folder<'_>, op: BinOp, width: Width, a: Value, count: i64) -> Folded {
    let bits = if width == Width::W64 { 64 } else { 32 };
    let modulo = count & (bits - 1);
    if modulo == 0 {
        return same(f, width, a);
    }
    if modulo != count {
        let b = f.make(modulo, Type::U64);
        return Folded::Op(Op::Bin { op, width, a, b });
    }
    Folded::Keep
}

/// Multiplication, division and remainder by a power of two.
fn by_power(f: &mut Folder<'_>, op: BinOp, width: Width, a: Value, b: Value, c: i64) -> Folded {
    let c = if width == Width::W64 { c as u64 } else { u64::from(c as u32) };
    if !c.is_power_of_two() {
        return Folded::Keep;
    }
    if c == 1 && op != BinOp::Umod {
        return same(f, width, a);
    }
    let ty = f.ty(b);
    let (op, c) = match op {
        BinOp::Mul => (BinOp::Shl, i64::from(c.trailing_zeros())),
        BinOp::Udiv => (BinOp::Lshr, i64::from(c.trailing_zeros())),
        _ => (BinOp::And, (c - 1) as i64),
    };
    let b = f.make(c, ty);
    Folded::Op(Op::Bin { op, width, a, b })
}

/// Signed division of what has no sign; remainder of what is less already.
fn by_range(f: &mut Folder<'_>, op: BinOp, width: Width, a: Value, b: Value) -> Folded {
    let most = if width == Width::W64 { i64::MAX as u64 } else { i32::MAX as u64 };
    let (ra, rb) = (f.range(a), f.range(b));
    let unsigned = match op {
        BinOp::Sdiv => BinOp::Udiv,
        BinOp::Smod => BinOp::Umod,
        BinOp::Ashr => BinOp::Lshr,
        BinOp::Umod if ra.umax < rb.umin && rb.umax <= most => return same(f, width, a),
        _ => return Folded::Keep,
    };
    if ra.umax <= most && (op == BinOp::Ashr || rb.umax <= most) {
        return Folded::Op(Op::Bin { op: unsigned, width, a, b });
    }
    Folded::Keep
}

/// `(x op c1) op c` becomes `x op c2`.
fn combine(f: &mut Folder<'_>, op: BinOp, width: Width, a: Value, c: i64) -> Folded {
    let Some(Op::Bin { op: inner, width: inner_width, a: x, b }) = f.def(a) else { return Folded::Keep };
    let (inner, inner_width, x, b) = (*inner, *inner_width, *x, *b);
    let Some(c1) = f.constant(b) else { return Folded::Keep };
    if inner != op || inner_width != width || !eval::commutes(op) {
        return Folded::Keep;
    }
    let c2 = eval::bin(op, width, c1, c);
    let c2 = if width == Width::W64 { c2 } else { i64::from(c2 as i32) };
    let b = f.make(c2, f.ty(b));
    Folded::Op(Op::Bin { op, width, a: x, b })
}

/// Negation, byte swaps, extension.
pub(super) fn un(f: &mut Folder<'_>, op: UnOp, a: Value) -> Folded {
    match (op, f.def(a)) {
        (UnOp::Neg, Some(Op::Un { op: UnOp::Neg, a: x })) => Folded::Value(*x),
        (UnOp::Bswap(n), Some(Op::Un { op: UnOp::Bswap(m), a: x })) if n == *m => match n {
            2 | 4 => {
                let ty = IntTy { bits: n * 8, signed: false };
                Folded::Op(Op::Un { op: UnOp::Extend(ty), a: *x })
            }
            _ => Folded::Value(*x),
        },
        (UnOp::Extend(ty), _) if f.range(a).fits(ty) => Folded::Value(a),
        (UnOp::Extend(ty), Some(Op::Un { op: UnOp::Extend(inner), a: x })) if inner.bits >= ty.bits => {
            Folded::Op(Op::Un { op: UnOp::Extend(ty), a: *x })
        }
        (UnOp::Extend(ty), Some(Op::Bin { op: BinOp::And, a: x, b, .. })) => {
            let (x, low) = (*x, if ty.bits >= 64 { -1 } else { (1i64 << ty.bits) - 1 });
            match f.constant(*b) {
                // A 32-bit operation cuts at 32 bits, which no narrower extension sees.
                Some(mask) if ty.bits <= 32 && mask & low == low => {
                    Folded::Op(Op::Un { op: UnOp::Extend(ty), a: x })
                }
                _ => Folded::Keep,
            }
        }
        _ => Folded::Keep,
    }
}

/// What becomes of a branch's condition.
pub(super) enum Branched {
    /// Nothing better was found.
    Keep,
    /// Another condition, and whether it holds when the first does not.
    Cond(Cond, bool),
}

/// A condition as branches and comparisons want it: the constant on the right, equality in place of an order against
/// zero or one.
fn canonical(f: &mut Folder<'_>, cond: &Cond) -> Option<Cond> {
    let Cond { cc, width, a, b } = *cond;
    if f.constant(a).is_some() && f.constant(b).is_none() {
        return Some(Cond { cc: eval::swap(cc), width, a: b, b: a });
    }
    if !f.is_int(a) {
        return None;
    }
    let zero_equality = match (cc, f.constant(b)) {
        (Cc::Ugt, Some(0)) => (Cc::Ne, b),
        (Cc::Ule, Some(0)) => (Cc::Eq, b),
        (Cc::Ult, Some(1)) => (Cc::Eq, f.make(0, f.ty(b))),
        (Cc::Uge, Some(1)) => (Cc::Ne, f.make(0, f.ty(b))),
        _ => return None,
    };
    Some(Cond { cc: zero_equality.0, width, a, b: zero_equality.1 })
}

/// A test of a comparison's result against zero or one as the comparison, and whether inverted.
fn inner_comparison(f: &Folder<'_>, cond: &Cond) -> Option<(Cond, bool)> {
    let is_bool = f.is_int(cond.a) && f.range(cond.a).umax <= 1;
    let inverted = match (cond.cc, f.constant(cond.b)) {
        (Cc::Ne, Some(0)) | (Cc::Eq, Some(1)) => false,
        (Cc::Eq, Some(0)) | (Cc::Ne, Some(1)) => true,
        _ => return None,
    };
    let mut value = cond.a;
    while let Some(Op::Cast(inner) | Op::Un { op: UnOp::Extend(_), a: inner }) = f.def(value)
        && f.is_int(*inner)
        && f.range(*inner).umax <= 1
    {
        value = *inner;
    }
    match f.def(value) {
        Some(Op::Cmp(inner)) if is_bool => Some((*inner, inverted)),
        _ => None,
    }
}

/// A branch's condition.
pub(super) fn branch(f: &mut Folder<'_>, cond: &Cond) -> Branched {
    if let Some(new) = canonical(f, cond) {
        return Branched::Cond(new, false);
    }
    if let Some((inner, inverted)) = inner_comparison(f, cond) {
        return match eval::negate(inner.cc) {
            Some(cc) if inverted => Branched::Cond(Cond { cc, ..inner }, false),
            _ => Branched::Cond(inner, inverted),
        };
    }
    // A test of bits: `x & y` against zero.
    if let (Cc::Eq | Cc::Ne, Some(0), Some(Op::Bin { op: BinOp::And, width, a, b })) =
        (cond.cc, f.constant(cond.b), f.def(cond.a))
        && cond.width == Width::W64
    {
        return Branched::Cond(Cond { cc: Cc::Set, width: *width, a: *a, b: *b }, cond.cc == Cc::Eq);
    }
    Branched::Keep
}

/// A comparison as value.
pub(super) fn cmp(f: &mut Folder<'_>, cond: &Cond) -> Folded {
    if let Some(holds) = f.decide(cond) {
        return Folded::Op(Op::Const(holds.into()));
    }
    if let Some(new) = canonical(f, cond) {
        return Folded::Op(Op::Cmp(new));
    }
    let is_bool = f.is_int(cond.a) && f.range(cond.a).umax <= 1;
    match (cond.cc, f.constant(cond.b)) {
        (Cc::Ne, Some(0)) | (Cc::Eq, Some(1)) if is_bool => return Folded::Value(cond.a),
        _ => {}
    }
    match inner_comparison(f, cond) {
        Some((inner, true)) => match eval::negate(inner.cc) {
            Some(cc) => Folded::Op(Op::Cmp(Cond { cc, ..inner })),
            None => Folded::Keep,
        },
        _ => Folded::Keep,
    }
}

/// A choice.
pub(super) fn select(f: &mut Folder<'_>, cond: &Cond, a: Value, b: Value) -> Folded {
    if a == b {
        return Folded::Value(a);
    }
    match f.decide(cond) {
        Some(true) => return Folded::Value(a),
        Some(false) => return Folded::Value(b),
        None => {}
    }
    match (f.constant(a), f.constant(b), eval::negate(cond.cc)) {
        (Some(1), Some(0), _) if f.is_int(a) && f.is_int(b) => return Folded::Op(Op::Cmp(*cond)),
        (Some(0), Some(1), Some(cc)) if f.is_int(a) && f.is_int(b) => {
            return Folded::Op(Op::Cmp(Cond { cc, ..*cond }));
        }
        _ => {}
    }
    match branch(f, cond) {
        Branched::Cond(cond, false) => Folded::Op(Op::Select { cond, a, b }),
        Branched::Cond(cond, true) => Folded::Op(Op::Select { cond, a: b, b: a }),
        Branched::Keep => Folded::Keep,
    }
}

/// Integers of 64 bits and untracked addresses: a cast between them says nothing to the verifier.
fn is_number(ty: Type) -> bool {
    matches!(ty, Type::Int(IntTy { bits: 64, .. }) | Type::Ptr(PtrKind::Kernel | PtrKind::User))
}

/// A cast.
pub(super) fn cast(f: &Folder<'_>, a: Value, result: Option<Value>) -> Folded {
    let Some(ty) = result.map(|v| f.ty(v)) else { return Folded::Keep };
    if f.ty(a) == ty {
        return Folded::Value(a);
    }
    match f.def(a) {
        Some(Op::Cast(x)) if f.is_int(*x) && f.is_int(a) => Folded::Op(Op::Cast(*x)),
        Some(Op::Cast(x)) if is_number(f.ty(*x)) && is_number(f.ty(a)) && is_number(ty) => {
            Folded::Op(Op::Cast(*x))
        }
        _ => Folded::Keep,
    }
}

/// Pointer arithmetic.
pub(super) fn pointer_add(f: &mut Folder<'_>, ptr: Value, off: Value) -> Folded {
    let Some(c) = f.constant(off) else { return Folded::Keep };
    if c == 0 {
        return Folded::Value(ptr);
    }
    let Some(Op::PtrAdd { ptr: base, off: inner }) = f.def(ptr) else { return Folded::Keep };
    let (base, inner) = (*base, *inner);
    match f.constant(inner).and_then(|i| i.checked_add(c)) {
        Some(sum) => {
            let off = f.make(sum, Type::I64);
            Folded::Op(Op::PtrAdd { ptr: base, off })
        }
        None => Folded::Keep,
    }
}
