//! Calls that change what the system does; the checker lets them through only in unsafe mode.

use super::super::func::Fx;
use super::super::{Result, internal};
use super::arg;
use crate::hir::{Expr, ExprKind};
use crate::ty::Ty;
use skep_bpf::helpers::id as helper;
use skep_compiler::ir::{Cc, Cond, Op, Type, Value, Width};

pub(super) fn signal(fx: &mut Fx<'_, '_>, args: &[Expr], _: &Expr) -> Result<Value> {
    let number = fx.value(arg(args, 0)?)?;
    Ok(fx.call(helper::SEND_SIGNAL, &[number]))
}

pub(super) fn signal_thread(fx: &mut Fx<'_, '_>, args: &[Expr], _: &Expr) -> Result<Value> {
    let number = fx.value(arg(args, 0)?)?;
    Ok(fx.call(helper::SEND_SIGNAL_THREAD, &[number]))
}

pub(super) fn override_return(fx: &mut Fx<'_, '_>, args: &[Expr], _: &Expr) -> Result<Value> {
    let value = fx.value(arg(args, 0)?)?;
    let ctx = fx.ctx()?;
    Ok(fx.call(helper::OVERRIDE_RETURN, &[ctx, value]))
}

/// Whether the write worked: the value is copied to memory of the program first, which the helper reads.
pub(super) fn write_user(fx: &mut Fx<'_, '_>, args: &[Expr], _: &Expr) -> Result<Value> {
    let (to, from, length) = (arg(args, 0)?, arg(args, 1)?, arg(args, 2)?);
    let ExprKind::Int(room) = arg(args, 3)?.kind else { return internal("a write of unknown room") };
    let room = u32::try_from(room).unwrap_or(1).max(1);
    let to = fx.value(to)?;
    let length = fx.value(length)?;
    let length = fx.number(length);
    let copy = fx.scratch(room.next_multiple_of(8), "written");
    match &from.ty {
        Ty::Ptr { .. } => {
            let mem = fx.pointee(from)?;
            fx.copy_bytes(copy, 0, &mem, room);
        }
        ty => fx.put(from, ty, copy, 0)?,
    }
    let most = fx.f.u64(u64::from(room));
    let cond = Cond { cc: Cc::Ult, width: Width::W64, a: length, b: most };
    let length = fx.f.push_value(Op::Select { cond, a: length, b: most }, Type::U64);
    let length = fx.f.bound(length, u64::from(room));
    let (zero, result) = (fx.f.u64(0), fx.f.iconst(Type::I64, 0));
    fx.either((Cc::Eq, length, zero), Type::BOOL, &mut |fx| Ok(fx.f.iconst(Type::BOOL, 0)), &mut |fx| {
        let done = fx.call(helper::PROBE_WRITE_USER, &[to, copy, length]);
        Ok(fx.f.cmp(Cc::Eq, done, result))
    })
}
