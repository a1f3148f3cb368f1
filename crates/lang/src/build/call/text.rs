//! Text and bytes.

use super::super::func::Fx;
use super::super::memory::Mem;
use super::super::types::alignment;
use super::super::{BuildError, Result, internal};
use super::arg;
use crate::hir::{Expr, ExprKind};
use crate::ty::{Space, Ty};
use skep_bpf::helpers::id as helper;
use skep_bpf::target::Feature;
use skep_compiler::ir::{Cc, Cond, FuncBuilder, FuncId, FuncKind, IntTy, Op, PtrKind, Type, Value, Width};

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

/// bpf_d_path; the kernel allows it in few places and says so.
pub(super) fn path(fx: &mut Fx<'_, '_>, args: &[Expr], e: &Expr, to: Value, off: i32) -> Result<()> {
    let size = fx.cx.size_of(&e.ty);
    let path = fx.tracked_value(arg(args, 0)?)?;
    fx.f.zero(to, off, size, alignment(off, size));
    let at = fx.f.ptr_add_imm(to, i64::from(off));
    let len = fx.f.u64(u64::from(size));
    fx.call(helper::D_PATH, &[path, at, len]);
    Ok(())
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

/// Longest text that is searched for.
const MAX_NEEDLE: usize = 64;

/// Index of a constant text in a string, or -1: bpf_loop over the places where it could begin.
pub(super) fn strstr(fx: &mut Fx<'_, '_>, args: &[Expr], e: &Expr) -> Result<Value> {
    let (hay, needle) = (arg(args, 0)?, arg(args, 1)?);
    let unsupported =
        |what: &str| BuildError::Unsupported { what: what.to_owned(), since: None, span: e.span };
    let ExprKind::Str(text) = &needle.kind else {
        return Err(unsupported("searching in a string for what is no literal"));
    };
    let text = text.split(|b| *b == 0).next().unwrap_or(&[]);
    if text.len() > MAX_NEEDLE {
        return Err(unsupported("searching in a string for more than 64 bytes"));
    }
    if text.is_empty() {
        return Ok(fx.f.iconst(Type::I64, 0));
    }
    fx.cx.require(Feature::Loop, "searching in a string", e.span)?;
    let Ty::Str { size } = hay.ty else { return internal("searching in no string") };
    let room = (size + 1).next_multiple_of(8) + MAX_NEEDLE as u32 + 8;
    let string = fx.scratch(room.max(136), "searched");
    let (from, cap) = fx.str_source(hay, size)?;
    let len = fx.read_str(string, cap, &from);
    let shared = fx.scratch(16, "search");
    fx.f.store(8, shared, SEARCHED, string);
    let none = fx.f.iconst(Type::I64, -1);
    fx.f.store(8, shared, FOUND, none);
    let func = searcher(fx, text, size);
    let (func, flags) = (fx.f.func_addr(func), fx.f.u64(0));
    let last = fx.f.add_imm(len, 1 - text.len() as i64);
    let zero = fx.f.iconst(Type::I64, 0);
    let cond = Cond { cc: Cc::Sgt, width: Width::W64, a: last, b: zero };
    let rounds = fx.f.push_value(Op::Select { cond, a: last, b: zero }, Type::I64);
    fx.call(helper::LOOP, &[rounds, func, shared, flags]);
    Ok(fx.f.load(Type::I64, shared, FOUND))
}

/// Offsets of what a search's rounds share: the string's address, and the index where the text was found.
const SEARCHED: i32 = 0;
const FOUND: i32 = 8;

/// One round of a search: stops where `text` begins at the round's index of the string, which has at most `size` bytes.
fn searcher(fx: &mut Fx<'_, '_>, text: &[u8], size: u32) -> FuncId {
    let name = fx.cx.func_name(fx.body.stem);
    let params = [Type::U64, Type::Ptr(PtrKind::CallbackCtx)];
    let mut f = FuncBuilder::new(&name, FuncKind::Callback, &params, Type::I64);
    f.set_loc(fx.f.loc());
    let (index, shared) = (f.param(0), f.param(1));
    let string = f.load(Type::Ptr(PtrKind::Stack), shared, SEARCHED);
    let offset = f.bound(index, u64::from(size));
    let at = f.ptr_add(string, offset);
    let other = f.block(&[]);
    for (i, byte) in text.iter().enumerate() {
        let found = f.load(Type::Int(IntTy { bits: 8, signed: false }), at, i as i32);
        let wanted = f.u64(u64::from(*byte));
        let same = f.block(&[]);
        f.branch(Cc::Eq, found, wanted, same, other);
        f.switch_to(same);
    }
    f.store(8, shared, FOUND, index);
    let stop = f.iconst(Type::I64, 1);
    f.ret(stop);
    f.switch_to(other);
    let go_on = f.iconst(Type::I64, 0);
    f.ret(go_on);
    fx.cx.add_func(f.finish())
}
