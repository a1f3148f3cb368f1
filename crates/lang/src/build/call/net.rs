//! Addresses of the network and byte order.

use super::super::Result;
use super::super::func::Fx;
use super::super::memory::Mem;
use super::arg;
use crate::hir::{Expr, ExprKind};
use crate::ty::{Space, Ty};
use skep_bpf::helpers::id as helper;
use skep_compiler::ir::{Op, Type, UnOp, Value};

/// `AF_INET`
const INET: u64 = 2;
/// `AF_INET6`
const INET6: u64 = 10;

/// u32 family, then 16 bytes of address.
pub(super) fn ntop(fx: &mut Fx<'_, '_>, args: &[Expr], _: &Expr, to: Value, off: i32) -> Result<()> {
    let (family, data) = (arg(args, 0)?, arg(args, 1)?);
    let size = fx.cx.size_of(&data.ty).min(16);
    let family = match family.kind {
        ExprKind::Int(0) => fx.f.u64(if size <= 8 { INET } else { INET6 }),
        _ => fx.value(family)?,
    };
    fx.f.zero(to, off, 20, 4);
    fx.f.store(4, to, off, family);
    if data.ty.is_scalar() {
        let word = fx.value(data)?;
        fx.f.store(4, to, off + 4, word);
        return Ok(());
    }
    let from = fx.place(data)?;
    fx.copy_bytes(to, off + 4, &from, size);
    Ok(())
}

pub(super) fn macaddr(fx: &mut Fx<'_, '_>, args: &[Expr], _: &Expr, to: Value, off: i32) -> Result<()> {
    let from = fx.pointee(arg(args, 0)?)?;
    fx.copy_bytes(to, off, &from, 6);
    Ok(())
}

impl Fx<'_, '_> {
    /// The memory that an argument points to, or is.
    pub(in super::super) fn pointee(&mut self, e: &Expr) -> Result<Mem> {
        if !e.ty.is_scalar() {
            return self.place(e);
        }
        let space = match &e.ty {
            Ty::Ptr { space: Space::Btf, .. } => Space::Kernel,
            Ty::Ptr { space, .. } => *space,
            _ => Space::Kernel,
        };
        let base = self.value(e)?;
        Ok(Mem { base, off: 0, core: None, space })
    }
}

pub(super) fn bswap(fx: &mut Fx<'_, '_>, args: &[Expr], e: &Expr) -> Result<Value> {
    let value = fx.value(arg(args, 0)?)?;
    let value = fx.number(value);
    let size = fx.cx.size_of(&e.ty) as u8;
    if size < 2 {
        return Ok(value);
    }
    Ok(fx.f.push_value(Op::Un { op: UnOp::Bswap(size), a: value }, Type::U64))
}

/// The verdict that sends the packet to an interface: the helper's result.
pub(super) fn redirect(fx: &mut Fx<'_, '_>, args: &[Expr], _: &Expr) -> Result<Value> {
    let index = fx.value(arg(args, 0)?)?;
    let flags = fx.f.u64(0);
    Ok(fx.f.helper(helper::REDIRECT, &[index, flags], Type::I64))
}

pub(super) fn socket_cookie(fx: &mut Fx<'_, '_>, args: &[Expr], _: &Expr) -> Result<Value> {
    let sock = fx.tracked_value(arg(args, 0)?)?;
    Ok(fx.f.helper(helper::GET_SOCKET_COOKIE, &[sock], Type::U64))
}
