//! Addresses of the network, byte order, sockets and packets.

use super::super::func::Fx;
use super::super::memory::Mem;
use super::super::{Result, internal};
use super::arg;
use crate::hir::{Expr, ExprKind};
use crate::ty::{Space, Ty};
use skep_bpf::event::{Action, lay_out};
use skep_bpf::helpers::id as helper;
use skep_bpf::schema::ValueType;
use skep_compiler::ir::{BinOp, Cc, Op, Type, UnOp, Value};

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

/// `BPF_F_CURRENT_CPU`, and where the number of bytes of packet stands in the same word (`BPF_F_CTXLEN_MASK`).
const CURRENT_CPU: u64 = 0xffff_ffff;
const LENGTH_SHIFT: u64 = 32;
/// `ENOSPC`.
const NO_ROOM: i64 = 28;

/// Sends a packet with its time and length through the buffer of packets; what the helper returned. One that finds no room
/// is counted.
pub(super) fn skboutput(fx: &mut Fx<'_, '_>, args: &[Expr], e: &Expr) -> Result<Value> {
    let (ExprKind::Str(path), ExprKind::Int(offset)) = (&arg(args, 0)?.kind, &arg(args, 3)?.kind) else {
        return internal("a file that is not known");
    };
    let action = Action::SavePacket {
        path: String::from_utf8_lossy(path).into_owned(),
        offset: u64::try_from(*offset).unwrap_or(0),
    };
    let word = || ValueType::Int { size: 8, signed: false };
    let mut layout = lay_out(action, vec![word(), word()], 0);
    fx.cx.place(&mut layout, e.span);
    let head = layout.head;
    let number = fx.cx.add_event(layout);
    let length = fx.value(arg(args, 2)?)?;
    let length = fx.number(length);
    let record = fx.scratch(head, "packet");
    let number = fx.f.u64(u64::from(number));
    let now = fx.f.helper(helper::KTIME_GET_BOOT_NS, &[], Type::U64);
    for (at, value) in [(0, number), (8, now), (16, length)] {
        fx.f.store(8, record, at, value);
    }
    let packet = fx.tracked_value(arg(args, 1)?)?;
    let buffers = fx.cx.packets();
    let buffers = fx.f.map_ref(buffers);
    let shift = fx.f.u64(LENGTH_SHIFT);
    let flags = fx.f.bin(BinOp::Shl, Type::U64, length, shift);
    let cpu = fx.f.u64(CURRENT_CPU);
    let flags = fx.f.bin(BinOp::Or, Type::U64, flags, cpu);
    let size = fx.f.u64(u64::from(head));
    let result = fx.call(helper::SKB_OUTPUT, &[packet, buffers, flags, record, size]);
    let (lost, done) = (fx.f.cold_block(), fx.f.block(&[]));
    let full = fx.f.iconst(Type::I64, -NO_ROOM);
    fx.f.branch(Cc::Eq, result, full, lost, done);
    fx.f.switch_to(lost);
    fx.lose_event();
    fx.f.jump(done, &[]);
    fx.f.switch_to(done);
    Ok(result)
}
