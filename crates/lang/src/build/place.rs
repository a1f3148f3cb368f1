//! Places: expressions whose value lies in memory (strings, tuples, composites, arrays) enter, addresses leave; and
//! values written to where they are wanted.

use super::func::Fx;
use super::memory::Mem;
use super::types::{alignment, ir_type, mem_size};
use super::{Result, internal};
use crate::ast::Span;
use crate::hir::{Arg, Expr, ExprKind};
use crate::ty::{CompositeDef, Space, Ty};
use skep_bpf::event::Action;
use skep_bpf::kinds::ProgType;
use skep_bpf::schema::ValueType;
use skep_compiler::ir::{BinOp, Cc, Cond, IntTy, Op, PtrKind, Type, Value, Width};

impl Fx<'_, '_> {
    /// Where the value of an expression that is no scalar lies. What has no address yet gets a slot.
    pub(super) fn place(&mut self, e: &Expr) -> Result<Mem> {
        match &e.kind {
            ExprKind::Var(var) => {
                let (base, off) = self.var_addr(*var)?;
                Ok(Mem::own(base, off))
            }
            ExprKind::Field { base, access, space } => {
                let mem = self.base(base, *space)?;
                Ok(self.field(mem, access))
            }
            ExprKind::Index { base, index, size, space } => self.element(base, index, *size, *space),
            ExprKind::TupleField { base, index } => {
                let offset = self.tuple_offset(&base.ty, *index)?;
                Ok(self.place(base)?.plus(offset))
            }
            ExprKind::Arg(arg) => self.arg_place(arg),
            ExprKind::Block { stmts, value } => {
                self.stmts(stmts)?;
                self.open();
                self.place(value)
            }
            ExprKind::Reinterpret(of) if !of.ty.is_scalar() => self.place(of),
            ExprKind::CallFn { func, args } => self.call_into_memory(*func, args, &e.ty, e.span),
            _ => {
                let slot = self.slot_for(&e.ty, "value");
                let to = self.f.slot_addr(slot);
                let ty = e.ty.clone();
                self.put(e, &ty, to, 0)?;
                Ok(Mem::own(to, 0))
            }
        }
    }

    /// What a field or element is found in: the target of a pointer, or a value in memory.
    pub(super) fn base(&mut self, base: &Expr, space: Space) -> Result<Mem> {
        if !matches!(base.ty, Ty::Ptr { .. }) {
            return self.place(base);
        }
        let pointer = self.tracked_value(base)?;
        let space = match (space, self.f.type_of(pointer)) {
            (Space::Btf, Type::Ptr(PtrKind::Btf { .. })) => Space::Btf,
            (Space::Btf, _) => Space::Kernel,
            (space, _) => space,
        };
        Ok(Mem { base: pointer, off: 0, core: None, space })
    }

    /// Offset of a tuple's or record's member.
    pub(super) fn tuple_offset(&self, ty: &Ty, index: usize) -> Result<u32> {
        match self.cx.layout(ty) {
            ValueType::Tuple(fields) | ValueType::Record { fields, .. } => match fields.get(index) {
                Some(field) => Ok(field.offset),
                None => internal(format!("no member {index} in {ty:?}")),
            },
            _ => internal(format!("{ty:?} has no members")),
        }
    }

    /// Address of `base[index]`. An index behind the end of an array of known length gives an address that cannot be
    /// read, so zero.
    pub(super) fn element(&mut self, base: &Expr, index: &Expr, size: u32, space: Space) -> Result<Mem> {
        let mem = self.base(base, space)?;
        let count = match &base.ty {
            Ty::Array { count, .. } if *count != 0 => Some(u64::from(*count)),
            Ty::Str { size } | Ty::Buf { size } => Some(u64::from(*size)),
            _ => None,
        };
        if let ExprKind::Int(index) = index.kind {
            let at = index.checked_mul(i64::from(size)).and_then(|at| i32::try_from(at).ok());
            let inside = count.is_none_or(|count| index >= 0 && (index as u64) < count);
            if let (Some(at), true) = (at, inside) {
                if mem.core.is_some() && mem.space != Space::Btf {
                    let base = self.pointer(&mem);
                    return Ok(Mem { base, off: at, core: None, space: mem.space });
                }
                return Ok(Mem { off: mem.off.wrapping_add(at), ..mem });
            }
        }
        let span = index.span;
        let index = self.value(index)?;
        let index = self.number(index);
        let scale = self.f.u64(u64::from(size));
        let bytes = self.f.bin(BinOp::Mul, Type::U64, index, scale);
        let start = self.free_address(&mem);
        let mut at = self.f.bin(BinOp::Add, Type::U64, start, bytes);
        if let (Some(count), Ty::Array { .. }) = (count, &base.ty) {
            at = self.inside(at, index, count, span)?;
        } else if let Some(count) = count {
            let count = self.f.u64(count);
            let nowhere = self.f.u64(0);
            let cond = Cond { cc: Cc::Ult, width: Width::W64, a: index, b: count };
            at = self.f.push_value(Op::Select { cond, a: at, b: nowhere }, Type::U64);
        }
        let (kind, space) = match mem.space {
            Space::User => (PtrKind::User, Space::User),
            _ => (PtrKind::Kernel, Space::Kernel),
        };
        let base = self.f.cast(at, Type::Ptr(kind));
        Ok(Mem { base, off: 0, core: None, space })
    }

    /// The address `at` of element `index` of `count`; outside of the array an event says so, and it is nowhere.
    fn inside(&mut self, at: Value, index: Value, count: u64, span: Span) -> Result<Value> {
        let (fine, outside, join) = (self.f.block(&[]), self.f.cold_block(), self.f.block(&[Type::U64]));
        let count = self.f.u64(count);
        let known = self.f.cmp(Cc::Ult, index, count);
        self.f.branch_nonzero(known, fine, outside);
        self.f.switch_to(outside);
        let message = "Array access out of bounds. This can lead to unexpected results.".to_owned();
        self.emit(&Action::RuntimeError { message }, &[], span, &[])?;
        let nowhere = self.f.u64(0);
        self.f.jump(join, &[nowhere]);
        self.f.switch_to(fine);
        self.f.jump(join, &[at]);
        self.f.switch_to(join);
        Ok(self.f.block_param(join, 0))
    }

    /// Where an argument that is no scalar lies.
    fn arg_place(&mut self, arg: &Arg) -> Result<Mem> {
        match arg {
            Arg::Ctx { offset } => {
                let base = self.ctx()?;
                Ok(Mem { base, off: *offset as i32, core: None, space: Space::Ctx })
            }
            Arg::DataLoc { offset, relative } => {
                let base = self.data_loc(*offset, *relative)?;
                Ok(Mem { base, off: 0, core: None, space: Space::Kernel })
            }
            Arg::Raw(n) => {
                let base = self.ctx()?;
                Ok(Mem { base, off: (*n * 8) as i32, core: None, space: Space::Ctx })
            }
            Arg::Spread(registers) => self.spread(registers),
            Arg::SyscallName { exit, names } => self.syscall_name(*exit, names),
            Arg::OnStack { offset } => self.behind(STACK_POINTER, *offset as i32),
            Arg::Behind { offset } => self.behind(*offset as i32, 0),
            other => internal(format!("{other:?} has no address")),
        }
    }

    /// A copy of a struct that lies in registers.
    fn spread(&mut self, registers: &[u32]) -> Result<Mem> {
        let ctx = self.ctx()?;
        let slot = self.f.slot(registers.len() as u32 * 8, 8, "argument");
        let to = self.f.slot_addr(slot);
        for (word, offset) in (0i32..).zip(registers) {
            let value = self.f.load(Type::U64, ctx, *offset as i32);
            self.f.store(8, to, word * 8, value);
        }
        Ok(Mem::own(to, 0))
    }

    /// User memory at the address in the register at `register`, and so many bytes on.
    fn behind(&mut self, register: i32, off: i32) -> Result<Mem> {
        let ctx = self.ctx()?;
        let base = self.f.load(Type::Ptr(PtrKind::User), ctx, register);
        Ok(Mem { base, off, core: None, space: Space::User })
    }

    /// Address of a `__data_loc` field's data.
    pub(super) fn data_loc(&mut self, offset: u32, relative: bool) -> Result<Value> {
        let ctx = self.ctx()?;
        let loc = self.f.load(Type::U32, ctx, offset as i32);
        let loc = self.number(loc);
        let low = self.f.u64(0xffff);
        let at = self.f.bin(BinOp::And, Type::U64, loc, low);
        let base = self.f.cast(ctx, Type::Ptr(PtrKind::Kernel));
        let data = self.f.ptr_add(base, at);
        Ok(if relative { self.f.ptr_add_imm(data, i64::from(offset) + 4) } else { data })
    }

    /// Value of a scalar argument of the probe.
    pub(super) fn arg(&mut self, arg: &Arg, ty: &Ty) -> Result<Value> {
        let reg = ir_type(ty)?;
        match arg {
            Arg::Ctx { offset } => {
                let base = self.ctx()?;
                let mem = Mem { base, off: *offset as i32, core: None, space: Space::Ctx };
                self.read(&mem, reg)
            }
            Arg::DataLoc { offset, relative } => {
                let data = self.data_loc(*offset, *relative)?;
                Ok(self.f.cast(data, reg))
            }
            Arg::Raw(n) => {
                let ctx = self.ctx()?;
                self.raw_arg(ctx, *n, ty, reg)
            }
            Arg::RegsOf { arg, offset } => {
                let word = self.load_from_regs(*arg, *offset, Type::U64)?;
                Ok(self.narrow(word, reg))
            }
            Arg::Reg { offset } => {
                let ctx = self.ctx()?;
                let word = self.f.load(Type::U64, ctx, *offset as i32);
                Ok(self.narrow(word, reg))
            }
            Arg::Operand(operand) => {
                let word = self.operand(operand)?;
                Ok(self.narrow(word, reg))
            }
            Arg::StackArg { n, user } => {
                let ctx = self.ctx()?;
                let kind = if *user { PtrKind::User } else { PtrKind::Kernel };
                let sp = self.f.load(Type::Ptr(kind), ctx, STACK_POINTER);
                let address = self.f.ptr_add_imm(sp, 8 * (i64::from(*n) + 1));
                let word = self.probe_read(address, Type::U64, *user)?;
                Ok(self.narrow(word, reg))
            }
            other => internal(format!("{other:?} is no scalar")),
        }
    }

    fn raw_arg(&mut self, ctx: Value, n: u32, ty: &Ty, reg: Type) -> Result<Value> {
        let at = (n * 8) as i32;
        match ty {
            Ty::Ptr { to, space: Space::Btf } if self.has_btf_args() => {
                let kind = PtrKind::Btf { type_id: btf_id(to), nullable: true };
                Ok(self.f.load(Type::Ptr(kind), ctx, at))
            }
            Ty::Ptr { to, .. } if self.has_btf_args() && matches!(**to, Ty::Composite(_)) => {
                let kind = PtrKind::Btf { type_id: 0, nullable: true };
                let tracked = self.f.load(Type::Ptr(kind), ctx, at);
                let plain = self.number(tracked);
                Ok(self.f.cast(plain, reg))
            }
            _ => {
                let word = self.f.load(Type::U64, ctx, at);
                Ok(self.narrow(word, reg))
            }
        }
    }

    /// The low bits of a register as `ty`.
    pub(super) fn narrow(&mut self, word: Value, ty: Type) -> Value {
        match ty {
            Type::Int(IntTy::BOOL) => {
                let byte = self.f.extend(word, IntTy { bits: 8, signed: false });
                let zero = self.f.u64(0);
                self.f.cmp(Cc::Ne, byte, zero)
            }
            Type::Int(int) if int.bits < 64 => self.f.extend(word, int),
            ty if ty == self.f.type_of(word) => word,
            ty => self.f.cast(word, ty),
        }
    }

    /// Writes the value of `e` to `to` + `off` in the program's memory, as a value of type `ty` lies there: every byte of
    /// it, padding and what lies behind a string's NUL included. One byte behind it may be set to zero as well, so parts
    /// are written in the order of their offsets.
    pub(super) fn put(&mut self, e: &Expr, ty: &Ty, to: Value, off: i32) -> Result<()> {
        if ty.is_scalar() {
            let reg = ir_type(ty)?;
            let value = self.value(e)?;
            self.f.store(mem_size(reg), to, off, value);
            return Ok(());
        }
        match (&e.kind, ty) {
            (ExprKind::Tuple(parts) | ExprKind::Record(parts), _) => self.put_parts(parts, ty, to, off),
            (ExprKind::Ternary { cond, a, b }, _) => self.put_either(cond, a, b, ty, to, off),
            (ExprKind::Block { stmts, value }, _) => {
                self.stmts(stmts)?;
                self.open();
                self.put(value, ty, to, off)
            }
            (ExprKind::Packet(read), _) => self.put_packet(read, ty, to, off),
            (ExprKind::MapGet { map, key }, _) => self.put_map_value(*map, key, ty, to, off),
            (ExprKind::Call { name: "str" | "comm", .. }, Ty::Str { size }) => {
                self.put_str(e, *size, to, off)
            }
            (ExprKind::Call { name, args }, _) if e.ty == *ty => self.put_call(name, args, e, to, off),
            (ExprKind::Call { .. }, _) => self.put_other_size(e, ty, to, off),
            (_, Ty::Str { size }) => self.put_str(e, *size, to, off),
            // The bytes of an address (`pton`).
            (ExprKind::Str(_), Ty::Array { .. }) => self.put_str(e, self.cx.size_of(ty), to, off),
            (ExprKind::Reinterpret(of), _) if of.ty.is_scalar() => {
                let reg = ir_type(&of.ty)?;
                let (value, size) = (self.value(of)?, self.cx.size_of(ty));
                if u32::from(mem_size(reg)) <= size {
                    self.f.store(mem_size(reg), to, off, value);
                    return Ok(());
                }
                let slot = self.scratch(8, "bytes");
                self.f.store(mem_size(reg), slot, 0, value);
                self.copy_bytes(to, off, &Mem::own(slot, 0), size);
                Ok(())
            }
            _ => self.put_copy(e, ty, to, off),
        }
    }

    /// A builtin's result where a shorter or longer value is wanted.
    fn put_other_size(&mut self, e: &Expr, ty: &Ty, to: Value, off: i32) -> Result<()> {
        let slot = self.slot_for(&e.ty, "value");
        let from = self.f.slot_addr(slot);
        let (own, wanted) = (e.ty.clone(), self.cx.size_of(ty));
        self.put(e, &own, from, 0)?;
        let has = self.cx.size_of(&own);
        if has < wanted {
            self.f.zero(to, off, wanted, alignment(off, wanted));
        }
        self.copy_bytes(to, off, &Mem::own(from, 0), has.min(wanted));
        Ok(())
    }

    fn put_copy(&mut self, e: &Expr, ty: &Ty, to: Value, off: i32) -> Result<()> {
        let (wanted, has) = (self.cx.size_of(ty), self.cx.size_of(&e.ty));
        if matches!((ty, &e.ty), (Ty::Tuple(_) | Ty::Record(_), Ty::Tuple(_) | Ty::Record(_)))
            && self.cx.layout(ty) != self.cx.layout(&e.ty)
        {
            return self.put_members(e, ty, to, off);
        }
        let from = self.place(e)?;
        self.copy_bytes(to, off, &from, has.min(wanted));
        if has < wanted {
            let at = off + has as i32;
            self.f.zero(to, at, wanted - has, alignment(at, wanted - has));
        }
        Ok(())
    }

    /// Copies a tuple into one with wider members, member by member.
    fn put_members(&mut self, e: &Expr, ty: &Ty, to: Value, off: i32) -> Result<()> {
        let Some(types) = members(&e.ty) else { return internal("a tuple without members") };
        let parts = types.into_iter().enumerate().map(|(index, ty)| Expr {
            kind: ExprKind::TupleField { base: Box::new(e.clone()), index },
            ty,
            span: e.span,
        });
        let parts: Vec<Expr> = parts.collect();
        self.put_parts(&parts, ty, to, off)
    }

    fn put_parts(&mut self, parts: &[Expr], ty: &Ty, to: Value, off: i32) -> Result<()> {
        let layout = self.cx.layout(ty);
        let size = layout.size();
        let (ValueType::Tuple(fields) | ValueType::Record { fields, .. }) = layout else {
            return internal(format!("{ty:?} has no members"));
        };
        let Some(types) = members(ty) else { return internal(format!("{ty:?} has no members")) };
        if has_gaps(&fields, size) {
            self.f.zero(to, off, size, alignment(off, size));
        }
        for ((part, field), ty) in parts.iter().zip(&fields).zip(&types) {
            self.put(part, ty, to, off + field.offset as i32)?;
        }
        Ok(())
    }

    fn put_either(&mut self, cond: &Expr, a: &Expr, b: &Expr, ty: &Ty, to: Value, off: i32) -> Result<()> {
        let (then, other, join) = (self.f.block(&[]), self.f.block(&[]), self.f.block(&[]));
        let mark = self.mark_packet();
        self.condition(cond, then, other)?;
        for (block, e) in [(then, a), (other, b)] {
            self.f.switch_to(block);
            self.put(e, ty, to, off)?;
            self.f.jump(join, &[]);
            self.forget_packet(mark);
        }
        self.f.switch_to(join);
        Ok(())
    }

    /// Whether the program's context is `struct pt_regs` itself.
    pub(super) fn ctx_is_regs(&self) -> bool {
        self.body.probe.is_some_and(|p| matches!(p.prog_type, ProgType::Kprobe | ProgType::PerfEvent))
    }
}

/// Offset of the stack pointer in x86-64's `struct pt_regs` (arch/x86/include/asm/ptrace.h).
const STACK_POINTER: i32 = 152;

fn members(ty: &Ty) -> Option<Vec<Ty>> {
    match ty {
        Ty::Tuple(types) => Some(types.clone()),
        Ty::Record(fields) => Some(fields.iter().map(|(_, ty)| ty.clone()).collect()),
        _ => None,
    }
}

/// Whether bytes of a whole of `size` bytes belong to none of its members.
fn has_gaps(fields: &[skep_bpf::schema::Field], size: u32) -> bool {
    fields.iter().map(|f| f.ty.size()).sum::<u32>() != size
}

/// BTF id of a kernel composite, 0 where there is none.
pub(super) fn btf_id(ty: &Ty) -> u32 {
    match ty {
        Ty::Composite(c) => match c.def {
            CompositeDef::Btf { module: 0, id } => id,
            _ => 0,
        },
        _ => 0,
    }
}
