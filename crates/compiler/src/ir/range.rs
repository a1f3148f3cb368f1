//! Ranges of integers: what is known of a value from its type and from the operations that make it.
//!
//! A function enters; for each value an interval leaves that it never falls outside of, seen without and with sign.
//! Block parameters are known by their type alone, and conditions on the way teach nothing.

use super::eval;
use super::func::Function;
use super::op::{BinOp, Op, UnOp};
use super::types::{Inst, IntTy, Type, Value, Width};

/// Bounds of a 64-bit value, all inclusive; the bit pattern lies in both intervals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// Least, without sign.
    pub umin: u64,
    /// Greatest, without sign.
    pub umax: u64,
    /// Least, with sign.
    pub smin: i64,
    /// Greatest, with sign.
    pub smax: i64,
}

impl Range {
    /// Nothing known.
    pub const FULL: Range = Range { umin: 0, umax: u64::MAX, smin: i64::MIN, smax: i64::MAX };

    /// One value.
    pub fn exact(v: i64) -> Range {
        Range { umin: v as u64, umax: v as u64, smin: v, smax: v }
    }

    /// From `lo` to `hi` without sign.
    pub fn unsigned(lo: u64, hi: u64) -> Range {
        Range { umin: lo, umax: hi, ..Range::FULL }.narrowed()
    }

    /// From `lo` to `hi` with sign.
    pub fn signed(lo: i64, hi: i64) -> Range {
        Range { smin: lo, smax: hi, ..Range::FULL }.narrowed()
    }

    /// The values of a type.
    pub fn of_int(ty: IntTy) -> Range {
        match (ty.bits, ty.signed) {
            (64.., _) => Range::FULL,
            (0, _) => Range::exact(0),
            (n, false) => Range::unsigned(0, (1 << n) - 1),
            (n, true) => Range::signed(-(1 << (n - 1)), (1 << (n - 1)) - 1),
        }
    }

    /// The values of a type; pointers may be anything.
    pub fn of(ty: Type) -> Range {
        match ty {
            Type::Int(int) => Range::of_int(int),
            Type::Ptr(_) => Range::FULL,
        }
    }

    /// The only value, if there is one.
    pub fn constant(self) -> Option<i64> {
        (self.umin == self.umax).then_some(self.umin as i64)
    }

    /// Whether every value is one of `ty`.
    pub fn fits(self, ty: IntTy) -> bool {
        let of = Range::of_int(ty);
        if ty.signed {
            self.smin >= of.smin && self.smax <= of.smax
        } else {
            self.umin >= of.umin && self.umax <= of.umax
        }
    }

    /// What both say. Should they contradict each other, what `self` says.
    pub fn and(self, other: Range) -> Range {
        let r = Range {
            umin: self.umin.max(other.umin),
            umax: self.umax.min(other.umax),
            smin: self.smin.max(other.smin),
            smax: self.smax.min(other.smax),
        };
        if r.umin > r.umax || r.smin > r.smax { self } else { r.narrowed() }
    }

    /// Values of either.
    pub fn or(self, other: Range) -> Range {
        Range {
            umin: self.umin.min(other.umin),
            umax: self.umax.max(other.umax),
            smin: self.smin.min(other.smin),
            smax: self.smax.max(other.smax),
        }
    }

    /// Lets each interval learn from the other where it does not cross the border of the sign.
    fn narrowed(mut self) -> Range {
        if self.umax <= i64::MAX as u64 || self.umin > i64::MAX as u64 {
            self.smin = self.smin.max(self.umin as i64);
            self.smax = self.smax.min(self.umax as i64);
        }
        if self.smin >= 0 || self.smax < 0 {
            self.umin = self.umin.max(self.smin as u64);
            self.umax = self.umax.min(self.smax as u64);
        }
        self
    }

    fn is_nonnegative(self) -> bool {
        self.smin >= 0
    }
}

/// All bits up to the highest one of `x`.
fn fill(x: u64) -> u64 {
    if x == 0 { 0 } else { u64::MAX >> x.leading_zeros() }
}

fn add(a: Range, b: Range) -> Range {
    let mut r = Range::FULL;
    if let Some(hi) = a.umax.checked_add(b.umax) {
        (r.umin, r.umax) = (a.umin + b.umin, hi);
    }
    if let (Some(lo), Some(hi)) = (a.smin.checked_add(b.smin), a.smax.checked_add(b.smax)) {
        (r.smin, r.smax) = (lo, hi);
    }
    r.narrowed()
}

fn sub(a: Range, b: Range) -> Range {
    let mut r = Range::FULL;
    if let Some(lo) = a.umin.checked_sub(b.umax) {
        (r.umin, r.umax) = (lo, a.umax - b.umin);
    }
    if let (Some(lo), Some(hi)) = (a.smin.checked_sub(b.smax), a.smax.checked_sub(b.smin)) {
        (r.smin, r.smax) = (lo, hi);
    }
    r.narrowed()
}

fn shift(op: BinOp, a: Range, b: Range) -> Range {
    let Some(count) = b.constant().map(|c| c as u32 & 63) else {
        return match op {
            BinOp::Lshr => Range::unsigned(0, a.umax),
            BinOp::Ashr => Range::signed(a.smin.min(0), a.smax.max(-1)),
            _ => Range::FULL,
        };
    };
    match op {
        BinOp::Lshr => Range::unsigned(a.umin >> count, a.umax >> count),
        BinOp::Ashr => Range::signed(a.smin >> count, a.smax >> count),
        _ if a.umax.leading_zeros() >= count => Range::unsigned(a.umin << count, a.umax << count),
        _ => Range::FULL,
    }
}

fn divide(op: BinOp, a: Range, b: Range) -> Range {
    let signed = matches!(op, BinOp::Sdiv | BinOp::Smod);
    if signed && !(a.is_nonnegative() && b.is_nonnegative()) {
        if a.smin == i64::MIN {
            return Range::FULL;
        }
        let most = a.smax.max(-a.smin);
        let low = if op == BinOp::Smod && a.is_nonnegative() { 0 } else { -most };
        return Range::signed(low, most);
    }
    match op {
        BinOp::Udiv | BinOp::Sdiv => {
            let low = if b.umin > 0 { a.umin / b.umax } else { 0 };
            Range::unsigned(low, a.umax / b.umin.max(1))
        }
        _ if b.umin > 0 => Range::unsigned(0, a.umax.min(b.umax - 1)),
        _ => Range::unsigned(0, a.umax),
    }
}

fn bin64(op: BinOp, a: Range, b: Range) -> Range {
    match op {
        BinOp::Add => add(a, b),
        BinOp::Sub => sub(a, b),
        BinOp::Mul => match a.umax.checked_mul(b.umax) {
            Some(hi) => Range::unsigned(a.umin * b.umin, hi),
            None => Range::FULL,
        },
        BinOp::Udiv | BinOp::Sdiv | BinOp::Umod | BinOp::Smod => divide(op, a, b),
        BinOp::And | BinOp::Or | BinOp::Xor => bits(op, a, b).and(signed_bits(a, b)),
        BinOp::Shl | BinOp::Lshr | BinOp::Ashr => shift(op, a, b),
    }
}

fn bits(op: BinOp, a: Range, b: Range) -> Range {
    match op {
        BinOp::And => Range::unsigned(0, a.umax.min(b.umax)),
        BinOp::Or => Range::unsigned(a.umin.max(b.umin), fill(a.umax | b.umax)),
        _ => Range::unsigned(0, fill(a.umax | b.umax)),
    }
}

/// Bit operations on values that are sign-extended from n bits give such a value.
fn signed_bits(a: Range, b: Range) -> Range {
    let magnitude = |v: i64| fill((if v < 0 { !v } else { v }) as u64);
    let most = [a.smin, a.smax, b.smin, b.smax].map(magnitude).into_iter().max().unwrap_or(u64::MAX);
    Range::signed(!(most as i64), most as i64)
}

/// Range of `a op b`.
pub fn bin(op: BinOp, width: Width, a: Range, b: Range) -> Range {
    if let (Some(a), Some(b)) = (a.constant(), b.constant()) {
        return Range::exact(eval::bin(op, width, a, b));
    }
    if width == Width::W64 {
        return bin64(op, a, b);
    }
    let half = Range::of_int(IntTy::U32);
    let signed = matches!(op, BinOp::Sdiv | BinOp::Smod | BinOp::Ashr);
    let most = if signed { i32::MAX as u64 } else { u64::from(u32::MAX) };
    let shift = matches!(op, BinOp::Shl | BinOp::Lshr | BinOp::Ashr);
    if a.umax > most || b.umax > if shift { 31 } else { most } {
        return half;
    }
    let r = bin64(op, a, b);
    if r.umax <= half.umax { r } else { half }
}

/// Range of an operation's result, from the ranges of its operands; of a call's result, by its type.
pub fn of_op(op: &Op, ty: Type, of: impl Fn(Value) -> Range) -> Range {
    match op {
        Op::Const(v) => Range::exact(*v),
        Op::Bin { op, width, a, b } => bin(*op, *width, of(*a), of(*b)),
        Op::Un { op: UnOp::Neg, a } => sub(Range::exact(0), of(*a)),
        Op::Un { op: UnOp::Bswap(bytes), .. } => {
            Range::of_int(IntTy { bits: bytes.saturating_mul(8).min(64), signed: false })
        }
        Op::Un { op: UnOp::Extend(ty), a } if of(*a).fits(*ty) => of(*a),
        Op::Un { op: UnOp::Extend(ty), .. } => Range::of_int(*ty),
        Op::Cmp(_) => Range::unsigned(0, 1),
        Op::Select { a, b, .. } => of(*a).or(of(*b)),
        Op::Cast(a) => of(*a),
        Op::Bound { v, max } => {
            let r = of(*v);
            Range::unsigned(r.umin.min(*max), r.umax.min(*max))
        }
        Op::Load { ty, .. } => Range::of(*ty),
        Op::Atomic { size: 4, .. } => Range::of_int(IntTy::U32),
        Op::Helper { .. } | Op::Kfunc { .. } | Op::Call { .. } => Range::of(ty),
        _ => Range::FULL,
    }
}

/// Ranges of all values of a function, by value number. `order` are its instructions such that definitions come before
/// uses, as reverse postorder gives them.
pub fn of_function(func: &Function, order: impl Iterator<Item = Inst>) -> Vec<Range> {
    let mut ranges: Vec<Range> = func.values.iter().map(|v| Range::of(v.ty)).collect();
    for inst in order {
        let data = func.inst(inst);
        if let Some(result) = data.result {
            ranges[result.index()] = of_op(&data.op, func.type_of(result), |v| ranges[v.index()]);
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_lie_in_their_range() {
        let types = [(1, false), (8, false), (8, true), (16, true), (32, false), (32, true), (64, true)];
        let types = types.map(|(bits, signed)| IntTy { bits, signed });
        let mut x = 88172645463325252u64;
        let mut random = || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            let corner = [0, 1, -1, i64::MIN, i64::MAX, 0xff, 31, 63, 0x8000_0000];
            if x & 1 == 0 { corner[(x >> 8) as usize % corner.len()] } else { (x >> (x & 63)) as i64 }
        };
        for _ in 0..2000 {
            for ta in types {
                let tb = types[(random() as usize) % types.len()];
                let (a, b) = (eval::extend(ta, random()), eval::extend(tb, random()));
                let ra = Range::of_int(ta);
                let rb = if random() & 1 == 0 { Range::exact(b) } else { Range::of_int(tb) };
                for op in BinOp::ALL {
                    for width in [Width::W32, Width::W64] {
                        let (v, r) = (eval::bin(op, width, a, b), bin(op, width, ra, rb));
                        let inside =
                            (r.umin..=r.umax).contains(&(v as u64)) && (r.smin..=r.smax).contains(&v);
                        assert!(inside, "{op:?} {width:?} {ta:?} {a} {rb:?} {b}: {v} not in {r:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn masks_and_remainders_are_known() {
        let (byte, any) = (IntTy { bits: 8, signed: false }, Range::FULL);
        assert!(bin(BinOp::And, Width::W64, any, Range::exact(0xff)).fits(byte));
        assert!(bin(BinOp::Umod, Width::W64, any, Range::exact(256)).fits(byte));
        assert!(bin(BinOp::Lshr, Width::W64, any, Range::exact(56)).fits(byte));
        assert!(!bin(BinOp::Add, Width::W64, Range::of_int(byte), Range::exact(1)).fits(byte));
        let tiny = Range::of_int(IntTy { bits: 8, signed: true });
        assert!(bin(BinOp::Xor, Width::W64, tiny, tiny).fits(IntTy { bits: 8, signed: true }));
    }
}
