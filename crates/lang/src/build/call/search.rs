//! Searching in strings: bpf_loop over the places where the text could begin. A short constant text is compared byte by
//! byte in that loop's rounds; any other in a second loop, run where the first byte agrees.

use super::super::func::Fx;
use super::super::{Result, internal};
use super::arg;
use crate::hir::{Expr, ExprKind};
use crate::ty::Ty;
use skep_bpf::helpers::id as helper;
use skep_bpf::target::Feature;
use skep_compiler::ir::{
    BinOp, Cc, Cond, FuncBuilder, FuncId, FuncKind, IntTy, Op, PtrKind, Type, Value, Width,
};

/// Longest constant text that is compared in a row.
const SHORT_NEEDLE: usize = 64;
const BYTE: Type = Type::Int(IntTy { bits: 8, signed: false });
const BUFFER: Type = Type::Ptr(PtrKind::Stack);

/// Offsets in what a search's rounds share: the string's address; the index where the text was found, or -1; and for a
/// text that is not compared in a row its address, its length, the index at hand, and whether all so far agree.
const SEARCHED: i32 = 0;
const FOUND: i32 = 8;
const TEXT: i32 = 16;
const LENGTH: i32 = 24;
const INDEX: i32 = 32;
const AGREE: i32 = 40;

/// Index of a text in a string, or -1.
pub(super) fn strstr(fx: &mut Fx<'_, '_>, args: &[Expr], e: &Expr) -> Result<Value> {
    let (hay, needle) = (arg(args, 0)?, arg(args, 1)?);
    let constant = match &needle.kind {
        ExprKind::Str(text) => Some(text.split(|b| *b == 0).next().unwrap_or(&[])),
        _ => None,
    };
    if constant.is_some_and(<[u8]>::is_empty) {
        return Ok(fx.f.iconst(Type::I64, 0));
    }
    fx.cx.require(Feature::Loop, "searching in a string", e.span)?;
    match constant.filter(|text| text.len() <= SHORT_NEEDLE) {
        Some(text) => constant_text(fx, hay, text),
        None => any_text(fx, hay, needle),
    }
}

/// Reads the string at `e` into a buffer with `spare` bytes behind it: the buffer, the string's length, its type's size.
fn read(fx: &mut Fx<'_, '_>, e: &Expr, spare: u32) -> Result<(Value, Value, u32)> {
    let Ty::Str { size } = e.ty else { return internal("searching in no string") };
    let room = (size + 1).next_multiple_of(8) + spare;
    let to = fx.scratch(room.max(136), "searched");
    if let ExprKind::Str(_) = &e.kind {
        let ty = Ty::Str { size };
        fx.put(e, &ty, to, 0)?;
        let ExprKind::Str(bytes) = &e.kind else { return internal("a constant that is none") };
        let len = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        let len = fx.f.u64(len as u64);
        return Ok((to, fx.f.cast(len, Type::I64), size));
    }
    let (from, cap) = fx.str_source(e, size)?;
    let len = fx.read_str(to, cap, &from);
    Ok((to, len, size))
}

fn constant_text(fx: &mut Fx<'_, '_>, hay: &Expr, text: &[u8]) -> Result<Value> {
    let (string, len, size) = read(fx, hay, SHORT_NEEDLE as u32 + 8)?;
    let shared = fx.scratch(16, "search");
    fx.f.store(8, shared, SEARCHED, string);
    let last = fx.f.add_imm(len, 1 - text.len() as i64);
    let func = row_searcher(fx, text, size);
    run(fx, func, shared, last)
}

/// Starts the rounds, as many as there are places; the result.
fn run(fx: &mut Fx<'_, '_>, func: FuncId, shared: Value, places: Value) -> Result<Value> {
    let none = fx.f.iconst(Type::I64, -1);
    fx.f.store(8, shared, FOUND, none);
    let (func, flags) = (fx.f.func_addr(func), fx.f.u64(0));
    let zero = fx.f.iconst(Type::I64, 0);
    let cond = Cond { cc: Cc::Sgt, width: Width::W64, a: places, b: zero };
    let rounds = fx.f.push_value(Op::Select { cond, a: places, b: zero }, Type::I64);
    fx.call(helper::LOOP, &[rounds, func, shared, flags]);
    Ok(fx.f.load(Type::I64, shared, FOUND))
}

/// One round of a search: stops where `text` begins at the round's index of the string, which has at most `size` bytes.
fn row_searcher(fx: &mut Fx<'_, '_>, text: &[u8], size: u32) -> FuncId {
    let mut f = callback(fx);
    let (index, shared) = (f.param(0), f.param(1));
    let string = f.load(BUFFER, shared, SEARCHED);
    let offset = f.bound(index, u64::from(size));
    let at = f.ptr_add(string, offset);
    let other = f.block(&[]);
    for (i, byte) in text.iter().enumerate() {
        let found = f.load(BYTE, at, i as i32);
        let wanted = f.u64(u64::from(*byte));
        let same = f.block(&[]);
        f.branch(Cc::Eq, found, wanted, same, other);
        f.switch_to(same);
    }
    f.store(8, shared, FOUND, index);
    finish(&mut f, 1);
    f.switch_to(other);
    finish(&mut f, 0);
    fx.cx.add_func(f.finish())
}

fn any_text(fx: &mut Fx<'_, '_>, hay: &Expr, needle: &Expr) -> Result<Value> {
    let (text, text_len, text_size) = read(fx, needle, 8)?;
    let (string, len, size) = read(fx, hay, 8)?;
    let shared = fx.scratch(48, "search");
    fx.f.store(8, shared, SEARCHED, string);
    fx.f.store(8, shared, TEXT, text);
    fx.f.store(8, shared, LENGTH, text_len);
    let comparer = comparer(fx, size, text_size);
    let searcher = searcher(fx, comparer, size);
    let (some, join) = (fx.f.block(&[]), fx.f.block(&[Type::I64]));
    let zero = fx.f.iconst(Type::I64, 0);
    fx.f.branch_args(Cc::Eq, text_len, zero, (join, &[zero]), (some, &[]));
    fx.f.switch_to(some);
    let places = fx.f.bin(BinOp::Sub, Type::I64, len, text_len);
    let places = fx.f.add_imm(places, 1);
    let found = run(fx, searcher, shared, places)?;
    fx.f.jump(join, &[found]);
    fx.f.switch_to(join);
    Ok(fx.f.block_param(join, 0))
}

/// One round of the outer search: where the first bytes agree, the rest is compared.
fn searcher(fx: &mut Fx<'_, '_>, comparer: FuncId, size: u32) -> FuncId {
    let mut f = callback(fx);
    let (index, shared) = (f.param(0), f.param(1));
    let (string, text) = (f.load(BUFFER, shared, SEARCHED), f.load(BUFFER, shared, TEXT));
    let offset = f.bound(index, u64::from(size));
    let at = f.ptr_add(string, offset);
    let (first, wanted) = (f.load(BYTE, at, 0), f.load(BYTE, text, 0));
    let (compare, stop, other) = (f.block(&[]), f.block(&[]), f.block(&[]));
    f.branch(Cc::Eq, first, wanted, compare, other);
    f.switch_to(compare);
    f.store(8, shared, INDEX, index);
    let one = f.u64(1);
    f.store(8, shared, AGREE, one);
    let len = f.load(Type::U64, shared, LENGTH);
    let (func, flags) = (f.func_addr(comparer), f.u64(0));
    f.helper(helper::LOOP, &[len, func, shared, flags], Type::I64);
    let agree = f.load(Type::U64, shared, AGREE);
    f.branch_nonzero(agree, stop, other);
    f.switch_to(stop);
    f.store(8, shared, FOUND, index);
    finish(&mut f, 1);
    f.switch_to(other);
    finish(&mut f, 0);
    fx.cx.add_func(f.finish())
}

/// One round of the inner one: compares the byte of the text at the round's index.
fn comparer(fx: &mut Fx<'_, '_>, size: u32, text_size: u32) -> FuncId {
    let mut f = callback(fx);
    let (index, shared) = (f.param(0), f.param(1));
    let (string, text) = (f.load(BUFFER, shared, SEARCHED), f.load(BUFFER, shared, TEXT));
    let start = f.load(Type::U64, shared, INDEX);
    let offset = f.bin(BinOp::Add, Type::U64, start, index);
    let offset = f.bound(offset, u64::from(size));
    let at = f.ptr_add(string, offset);
    let offset = f.bound(index, u64::from(text_size));
    let wanted_at = f.ptr_add(text, offset);
    let (found, wanted) = (f.load(BYTE, at, 0), f.load(BYTE, wanted_at, 0));
    let (same, other) = (f.block(&[]), f.block(&[]));
    f.branch(Cc::Eq, found, wanted, same, other);
    f.switch_to(other);
    let zero = f.u64(0);
    f.store(8, shared, AGREE, zero);
    finish(&mut f, 1);
    f.switch_to(same);
    finish(&mut f, 0);
    fx.cx.add_func(f.finish())
}

/// A function for bpf_loop: the round's index and what the rounds share.
fn callback(fx: &mut Fx<'_, '_>) -> FuncBuilder {
    let name = fx.cx.func_name(fx.body.stem);
    let params = [Type::U64, Type::Ptr(PtrKind::CallbackCtx)];
    let mut f = FuncBuilder::new(&name, FuncKind::Callback, &params, Type::I64);
    f.set_loc(fx.f.loc());
    f
}

/// Ends a round: 0 goes on, 1 stops.
fn finish(f: &mut FuncBuilder, code: i64) {
    let code = f.iconst(Type::I64, code);
    f.ret(code);
}
