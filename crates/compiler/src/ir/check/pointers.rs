//! What pointers point to, as far as the IR says it: null checks, and constant addresses within slots and map values.

use crate::ir::func::Function;
use crate::ir::module::Module;
use crate::ir::op::{Cc, Cond, Op, Terminator};
use crate::ir::types::{Block, MapId, PtrKind, Slot, Type, Value, Width};
use crate::ir::{Cfg, Inst};

/// A constant place in memory of a known size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Region {
    pub(super) base: Base,
    /// Bytes from its start.
    pub(super) offset: i64,
    /// Bytes in all.
    pub(super) size: u64,
}

/// Which memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Base {
    Slot(Slot),
    Map(MapId),
}

/// The constant addresses among a function's values, by value number.
pub(super) fn regions(module: &Module, func: &Function, cfg: &Cfg) -> Vec<Option<Region>> {
    let mut known: Vec<Option<Region>> = vec![None; func.values.len()];
    let mut constant: Vec<Option<i64>> = vec![None; func.values.len()];
    for inst in cfg.rpo().iter().flat_map(|b| &func.block(*b).insts) {
        let data = func.inst(*inst);
        let Some(result) = data.result else { continue };
        match &data.op {
            Op::Const(v) => constant[result.index()] = Some(*v),
            Op::Cast(v) => known[result.index()] = known[v.index()],
            Op::PtrAdd { ptr, off } => {
                known[result.index()] = known[ptr.index()]
                    .zip(constant[off.index()])
                    .and_then(|(r, c)| Some(Region { offset: r.offset.checked_add(c)?, ..r }));
            }
            Op::SlotAddr(slot) => {
                known[result.index()] = func.slots.get(slot.index()).map(|s| Region {
                    base: Base::Slot(*slot),
                    offset: 0,
                    size: u64::from(s.size),
                });
            }
            Op::MapValueAddr { map, off } => {
                known[result.index()] = module.object.maps.get(map.index()).map(|spec| Region {
                    base: Base::Map(*map),
                    offset: i64::from(*off),
                    // Array values are rounded up to 8 bytes and lie one after another.
                    size: u64::from(spec.value_size).next_multiple_of(8) * u64::from(spec.max_entries.max(1)),
                });
            }
            _ => {}
        }
    }
    known
}

/// For each value, by number, the blocks where it is known not to be zero because of the branch that leads there.
pub(super) fn checked(func: &Function, cfg: &Cfg) -> Vec<Vec<Block>> {
    let mut out = vec![Vec::new(); func.values.len()];
    let defs = func.definitions();
    for &block in cfg.rpo() {
        let Some(Terminator::Branch { cond, then, other }) = &func.block(block).term else { continue };
        let Some(value) = compared_with_zero(func, &defs, cond) else { continue };
        let nonzero = if cond.cc == Cc::Eq { other.block } else { then.block };
        if cfg.preds(nonzero).len() == 1 {
            out[value.index()].push(nonzero);
        }
    }
    out
}

/// The value that is compared with zero for equality, in all its bits.
fn compared_with_zero(func: &Function, defs: &[Option<Inst>], cond: &Cond) -> Option<Value> {
    let is_zero = |v: Value| defs[v.index()].is_some_and(|i| func.inst(i).op == Op::Const(0));
    if !matches!(cond.cc, Cc::Eq | Cc::Ne) || cond.width != Width::W64 {
        return None;
    }
    match (is_zero(cond.a), is_zero(cond.b)) {
        (false, true) => Some(cond.a),
        (true, false) => Some(cond.b),
        _ => None,
    }
}

/// What may be done through a pointer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    Read,
    Write,
    Atomic,
}

/// Why memory behind a pointer of this type cannot be accessed so; `None` if it can.
pub(super) fn refusal(ty: Type, access: Access) -> Option<&'static str> {
    let Type::Ptr(kind) = ty else { return Some("an integer is no address; cast it to `kernel` or `user`") };
    if ty.is_nullable() {
        return Some("the pointer may be null; check it and use the cast one");
    }
    match (kind, access) {
        (PtrKind::Kernel, _) => Some("kernel addresses are read by the probe_read_kernel helper alone"),
        (PtrKind::User, _) => Some("user addresses are read by the probe_read_user helper alone"),
        (PtrKind::Map(_) | PtrKind::Func(_) | PtrKind::PacketEnd, _) => {
            Some("there is nothing behind it to access")
        }
        (PtrKind::Btf { .. }, Access::Write | Access::Atomic) => Some("kernel objects are read only"),
        (PtrKind::Ctx | PtrKind::Packet, Access::Atomic) => Some("the kernel allows no atomics there"),
        _ => None,
    }
}
