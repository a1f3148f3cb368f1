//! Comparing and joining bytes: `memcmp` and `str_concat`.

use super::super::func::Fx;
use super::super::memory::Mem;
use super::super::string::pieces;
use super::super::types::alignment;
use super::super::{BuildError, Result};
use super::arg;
use crate::hir::{Expr, ExprKind};
use crate::ty::Ty;
use skep_bpf::helpers::id as helper;
use skep_compiler::ir::{Cc, IntTy, Op, Type, UnOp, Value};

/// Most bytes that are compared one word after the other.
const MOST: u32 = 4096;
/// Memory up to this size may lie on the stack, where the verifier wants all of it written before it is read.
const STACK: u32 = 512;

/// -1, 0 or 1: how the first `count` bytes of two values compare, the first byte counting most.
pub(super) fn memcmp(fx: &mut Fx<'_, '_>, args: &[Expr], e: &Expr) -> Result<Value> {
    let (a, b, count) = (arg(args, 0)?, arg(args, 1)?, arg(args, 2)?);
    let most = fx.cx.size_of(&a.ty).max(fx.cx.size_of(&b.ty));
    if most > MOST {
        let message = format!("memcmp compares at most {MOST} bytes, these are {most}");
        return Err(BuildError::Limit { message, span: e.span });
    }
    let known = match count.kind {
        ExprKind::Int(n) => Some(u32::try_from(n).unwrap_or(u32::MAX).min(most)),
        _ => None,
    };
    let length = match known {
        Some(_) => None,
        None => {
            let value = fx.value(count)?;
            let value = fx.number(value);
            Some(fx.f.bound(value, u64::from(most)))
        }
    };
    let (x, y) = (copy(fx, a, most, length)?, copy(fx, b, most, length)?);
    let join = fx.f.block(&[Type::I64]);
    for (at, piece) in pieces(0, known.unwrap_or(most)) {
        let ty = Type::Int(IntTy { bits: piece * 8, signed: false });
        let (v, w) = (fx.f.load(ty, x, at as i32), fx.f.load(ty, y, at as i32));
        let (same, different) = (fx.f.block(&[]), fx.f.block(&[]));
        fx.f.branch(Cc::Eq, v, w, same, different);
        fx.f.switch_to(different);
        let (v, w) = (first_byte_on_top(fx, v, piece), first_byte_on_top(fx, w, piece));
        let (less, more) = (fx.f.block(&[]), fx.f.block(&[]));
        fx.f.branch(Cc::Ult, v, w, less, more);
        for (block, result) in [(less, -1), (more, 1)] {
            fx.f.switch_to(block);
            let result = fx.f.iconst(Type::I64, result);
            fx.f.jump(join, &[result]);
        }
        fx.f.switch_to(same);
    }
    let zero = fx.f.iconst(Type::I64, 0);
    fx.f.jump(join, &[zero]);
    fx.f.switch_to(join);
    Ok(fx.f.block_param(join, 0))
}

/// A value in memory of its own of `size` bytes, zeros behind it, or behind its first `length` bytes.
fn copy(fx: &mut Fx<'_, '_>, e: &Expr, size: u32, length: Option<Value>) -> Result<Value> {
    let room = size.next_multiple_of(8) + 8;
    let to = fx.scratch(room, "compared");
    fx.f.zero(to, 0, room, 8);
    let ty = e.ty.clone();
    fx.put(e, &ty, to, 0)?;
    let Some(length) = length else { return Ok(to) };
    let cut = fx.scratch(room, "cut");
    fx.f.zero(cut, 0, room, 8);
    let length = fx.f.bound(length, u64::from(size));
    let address = fx.address(&Mem::own(to, 0));
    fx.call(helper::PROBE_READ_KERNEL, &[cut, length, address]);
    Ok(cut)
}

/// A word of `size` bytes as a number in which the byte that lies first counts most.
fn first_byte_on_top(fx: &mut Fx<'_, '_>, word: Value, size: u8) -> Value {
    let word = fx.number(word);
    match size {
        1 => word,
        size => fx.f.push_value(Op::Un { op: UnOp::Bswap(size), a: word }, Type::U64),
    }
}

/// The second string behind the first, in a field of the result's size.
pub(super) fn str_concat(fx: &mut Fx<'_, '_>, args: &[Expr], e: &Expr, to: Value, off: i32) -> Result<()> {
    let size = fx.cx.size_of(&e.ty);
    let (a, b) = (arg(args, 0)?, arg(args, 1)?);
    let (first, second) = (length(fx, a, size), length(fx, b, size));
    let room = (first + second + 2).next_multiple_of(8);
    let at = fx.scratch(room, "joined");
    if room <= STACK {
        fx.f.zero(at, 0, room, 8);
    }
    let (from, cap) = fx.str_source(a, first)?;
    let used = fx.read_str(at, cap, &from);
    let used = fx.f.cast(used, Type::U64);
    let (from, cap) = fx.str_source(b, second)?;
    let used = fx.f.bound(used, u64::from(first));
    let end = fx.f.ptr_add(at, used);
    fx.read_str(end, cap, &from);
    fx.f.zero(to, off, size, alignment(off, size));
    let to = fx.f.ptr_add_imm(to, i64::from(off));
    let cap = fx.f.u64(u64::from(size));
    fx.read_str(to, cap, &Mem::own(at, 0));
    Ok(())
}

/// Most bytes of a string, at most `size`.
fn length(fx: &Fx<'_, '_>, e: &Expr, size: u32) -> u32 {
    match &e.ty {
        Ty::Str { size: has } => (*has).min(size),
        other => fx.cx.size_of(other).min(size),
    }
}
