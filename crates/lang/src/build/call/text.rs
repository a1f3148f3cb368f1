//! Text and bytes.

use super::super::func::Fx;
use super::super::memory::Mem;
use super::super::types::alignment;
use super::super::{Result, internal};
use super::arg;
use crate::hir::{Expr, ExprKind};
use crate::ty::{Space, Ty};
use skep_bpf::helpers::id as helper;
use skep_compiler::ir::{Block, PtrKind, Type, Value};

impl Fx<'_, '_> {
    /// Where `buf` reads and how much, at most the type's size; the caller bounds it again where it is used.
    pub(in super::super) fn buf_source(&mut self, args: &[Expr], size: u32) -> Result<(Mem, Value)> {
        let from = self.pointee(arg(args, 0)?)?;
        let len = match args.get(1) {
            Some(len) => {
                let len = self.value(len)?;
                self.number(len)
            }
            None => self.f.u64(u64::from(size)),
        };
        Ok((from, len))
    }
}

/// u32 length, then the bytes; zeros behind them.
pub(super) fn buf(fx: &mut Fx<'_, '_>, args: &[Expr], e: &Expr, to: Value, off: i32) -> Result<()> {
    let Ty::Buf { size } = e.ty else { return internal("buf that is none") };
    let (from, len) = fx.buf_source(args, size)?;
    let len = fx.f.bound(len, u64::from(size));
    fx.f.zero(to, off, size + 4, alignment(off, size + 4));
    fx.f.store(4, to, off, len);
    let at = fx.f.ptr_add_imm(to, i64::from(off) + 4);
    let address = fx.address(&from);
    let id = match from.space {
        Space::User => helper::PROBE_READ_USER,
        _ => helper::PROBE_READ_KERNEL,
    };
    let len = fx.f.bound(len, u64::from(size));
    fx.call(id, &[at, len, address]);
    Ok(())
}

/// bpf_d_path, which takes a pointer that the verifier knows by its type and that is not null; empty where it is.
pub(super) fn path(fx: &mut Fx<'_, '_>, args: &[Expr], e: &Expr, to: Value, off: i32) -> Result<()> {
    let size = fx.cx.size_of(&e.ty);
    fx.f.zero(to, off, size, alignment(off, size));
    let done = fx.f.block(&[]);
    let path = typed_pointer(fx, arg(args, 0)?, done)?;
    let at = fx.f.ptr_add_imm(to, i64::from(off));
    let len = fx.f.u64(u64::from(size));
    fx.call(helper::D_PATH, &[path, at, len]);
    fx.f.jump(done, &[]);
    fx.f.switch_to(done);
    Ok(())
}

/// A pointer to a kernel object as the verifier tracks it, checked for null (then `nowhere` goes on), and so the address
/// of a struct that lies inside of such an object.
fn typed_pointer(fx: &mut Fx<'_, '_>, e: &Expr, nowhere: Block) -> Result<Value> {
    let tracked =
        |fx: &Fx<'_, '_>, v| matches!(fx.f.type_of(v), Type::Ptr(PtrKind::Btf { nullable: true, .. }));
    let ExprKind::AddrOf(of) = &e.kind else {
        let pointer = fx.tracked_value(e)?;
        return Ok(if tracked(fx, pointer) { fx.f.check_null(pointer, nowhere) } else { pointer });
    };
    let mem = fx.place(of)?;
    if !tracked(fx, mem.base) {
        return Ok(fx.address(&mem));
    }
    let base = fx.f.check_null(mem.base, nowhere);
    Ok(fx.pointer(&Mem { base, ..mem }))
}

/// Bytes before the NUL.
pub(super) fn strlen(fx: &mut Fx<'_, '_>, args: &[Expr], _: &Expr) -> Result<Value> {
    let e = arg(args, 0)?;
    if let ExprKind::Str(bytes) = &e.kind {
        let len = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        return Ok(fx.f.u64(len as u64));
    }
    let Ty::Str { size } = e.ty else { return internal("the length of no string") };
    let to = fx.scratch(size + 1, "string");
    let (from, cap) = fx.str_source(e, size)?;
    if size <= 128 {
        fx.f.zero(to, 0, (size + 1).next_multiple_of(8), 8);
    }
    let len = fx.read_str(to, cap, &from);
    Ok(fx.f.cast(len, Type::U64))
}
