//! Calls that change what the system does; the checker lets them through only in unsafe mode.

use super::super::Result;
use super::super::func::Fx;
use super::arg;
use crate::hir::Expr;
use skep_bpf::helpers::id as helper;
use skep_compiler::ir::Value;

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
