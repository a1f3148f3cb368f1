//! Clocks. All are nanoseconds as u64, but jiffies.

use super::super::Result;
use super::super::func::Fx;
use crate::hir::Expr;
use skep_bpf::helpers::id as helper;
use skep_bpf::target::Feature;
use skep_compiler::ir::{BinOp, Type, Value};

pub(super) fn nsecs(fx: &mut Fx<'_, '_>, _: &[Expr], _: &Expr) -> Result<Value> {
    Ok(fx.f.helper(helper::KTIME_GET_BOOT_NS, &[], Type::U64))
}

pub(super) fn nsecs_monotonic(fx: &mut Fx<'_, '_>, _: &[Expr], _: &Expr) -> Result<Value> {
    Ok(fx.f.helper(helper::KTIME_GET_NS, &[], Type::U64))
}

pub(super) fn nsecs_tai(fx: &mut Fx<'_, '_>, _: &[Expr], e: &Expr) -> Result<Value> {
    fx.cx.require(Feature::KtimeTai, "the TAI clock", e.span)?;
    Ok(fx.f.helper(helper::KTIME_GET_TAI_NS, &[], Type::U64))
}

/// Since the session started; the loader writes the start.
pub(super) fn elapsed(fx: &mut Fx<'_, '_>, args: &[Expr], e: &Expr) -> Result<Value> {
    let now = nsecs(fx, args, e)?;
    let map = fx.cx.start_map();
    let start = fx.f.map_value_addr(map, 0);
    let start = fx.f.load(Type::U64, start, 0);
    Ok(fx.f.bin(BinOp::Sub, Type::U64, now, start))
}

pub(super) fn jiffies(fx: &mut Fx<'_, '_>, _: &[Expr], _: &Expr) -> Result<Value> {
    Ok(fx.f.helper(helper::JIFFIES64, &[], Type::U64))
}
