//! What values stand for: casts and constant pointer sums seen through.

use crate::ir::{Function, Inst, IntTy, Op, PtrKind, Slot, Type, UnOp, Value};

/// A function and where its values are defined.
pub(crate) struct Chains<'a> {
    pub func: &'a Function,
    defs: Vec<Option<Inst>>,
}

impl<'a> Chains<'a> {
    /// For `func` as it is now.
    pub(crate) fn new(func: &'a Function) -> Chains<'a> {
        Chains { func, defs: func.definitions() }
    }

    /// The operation that defines a value; `None` for parameters.
    pub(crate) fn def(&self, v: Value) -> Option<&'a Op> {
        self.defs[v.index()].map(|i| &self.func.inst(i).op)
    }

    /// The value behind casts that change no bit.
    pub(crate) fn root(&self, mut v: Value) -> Value {
        loop {
            match self.def(v) {
                Some(Op::Cast(a)) => v = *a,
                Some(Op::Un { op: UnOp::Extend(IntTy { bits: 64, .. }), a }) => v = *a,
                _ => return v,
            }
        }
    }

    /// The value as an integer, if it is a constant.
    pub(crate) fn int(&self, v: Value) -> Option<i64> {
        match self.def(self.root(v))? {
            Op::Const(c) => Some(*c),
            Op::Bound { v, max } => self.int(*v).map(|c| (c as u64).min(*max) as i64),
            _ => None,
        }
    }

    /// A pointer as what it is based on and the constant distance from there, which fits 32 bits.
    pub(crate) fn parts(&self, v: Value) -> (Value, i64) {
        let (mut v, mut total) = (self.root(v), 0i64);
        while let Some(Op::PtrAdd { ptr, off }) = self.def(v) {
            let Some(sum) = self.int(*off).and_then(|c| total.checked_add(c)) else { break };
            if i32::try_from(sum).is_err() {
                break;
            }
            (v, total) = (self.root(*ptr), sum);
        }
        (v, total)
    }

    /// A pointer as a slot and the constant distance from its start.
    pub(crate) fn slot(&self, v: Value) -> Option<(Slot, i64)> {
        match self.parts(v) {
            (base, total) if self.func.values.len() > base.index() => match self.def(base) {
                Some(Op::SlotAddr(slot)) => Some((*slot, total)),
                _ => None,
            },
            _ => None,
        }
    }

    /// Alignment that accesses at `ptr + off` may count on. What is not on the stack needs none
    /// (CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS on both architectures), but for packets it is kept.
    pub(crate) fn alignment(&self, ptr: Value, off: i32, given: u8) -> u32 {
        if let Some((slot, total)) = self.slot(ptr) {
            let at = total + i64::from(off);
            return slot_align(self.func, slot).min(1 << at.trailing_zeros().min(3));
        }
        match self.func.type_of(ptr) {
            Type::Ptr(PtrKind::MapValue { .. } | PtrKind::RingbufMem { .. } | PtrKind::Btf { .. }) => 8,
            _ => u32::from(given.max(1)),
        }
    }
}

/// Alignment that a slot gets: at least what it asks for, and 8 if it is that large.
pub(crate) fn slot_align(func: &Function, slot: Slot) -> u32 {
    let data = &func.slots[slot.index()];
    if data.size >= 8 { 8 } else { data.align.clamp(1, 8).next_power_of_two() }
}

/// Sizes and offsets of the accesses that make up `len` bytes.
pub(crate) fn chunks(len: u32, align: u32) -> impl Iterator<Item = (u8, i32)> {
    let mut at = 0u32;
    std::iter::from_fn(move || {
        let left = len.saturating_sub(at);
        let size = [8u32, 4, 2, 1].into_iter().find(|s| *s <= align && *s <= left)?;
        at += size;
        Some((size as u8, (at - size) as i32))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_exactly() {
        assert_eq!(chunks(13, 8).collect::<Vec<_>>(), [(8, 0), (4, 8), (1, 12)]);
        assert_eq!(chunks(3, 2).collect::<Vec<_>>(), [(2, 0), (1, 2)]);
        assert_eq!(chunks(0, 8).count(), 0);
    }
}
