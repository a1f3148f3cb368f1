//! Scalar expressions: the tree enters, a value in a register leaves, extended by its own sign.

use super::func::Fx;
use super::packet::reads_packet;
use super::place::btf_id;
use super::types::{int_type, ir_type, mem_size};
use super::{Result, internal};
use crate::ast::{BinOp as Sign, Span, UnaryOp};
use crate::hir::{Access, Arg, Expr, ExprKind};
use crate::ty::{Space, Ty};
use skep_bpf::event::Action;
use skep_compiler::ir::{BinOp, Block, Cc, IntTy, PtrKind, Type, Value};

impl Fx<'_, '_> {
    /// The value of a scalar expression, as a plain number or address.
    pub(super) fn value(&mut self, e: &Expr) -> Result<Value> {
        let value = self.tracked_value(e)?;
        Ok(self.plain(value))
    }

    /// The same, but a pointer that the verifier knows by its BTF type stays one, to be read through at once.
    pub(super) fn tracked_value(&mut self, e: &Expr) -> Result<Value> {
        let outer = (self.f.loc(), self.here);
        self.at(e.span);
        let value = self.scalar(e)?;
        self.f.set_loc(outer.0);
        self.here = outer.1;
        Ok(value)
    }

    fn scalar(&mut self, e: &Expr) -> Result<Value> {
        match &e.kind {
            ExprKind::Int(value) => Ok(self.f.iconst(ir_type(&e.ty)?, *value)),
            ExprKind::Var(var) => self.load_var(*var),
            ExprKind::Arg(arg) => self.scalar_arg(arg, e),
            ExprKind::Packet(read) => self.packet_value(read, &e.ty),
            ExprKind::Field { base, access, space } => self.field_value(base, access, *space, &e.ty),
            ExprKind::Index { base, index, size, space } => {
                let mem = self.element(base, index, *size, *space)?;
                self.read_as(&mem, &e.ty)
            }
            ExprKind::TupleField { base, index } => {
                let offset = self.tuple_offset(&base.ty, *index)?;
                let mem = self.place(base)?.plus(offset);
                self.read(&mem, ir_type(&e.ty)?)
            }
            ExprKind::MapGet { map, key } => self.map_get(*map, key, &e.ty),
            ExprKind::MapAgg { map, key, agg } => self.map_agg(*map, key, agg, e),
            ExprKind::HasKey { map, key } => self.has_key(*map, key),
            ExprKind::Delete { map, key } => self.delete(*map, key, e.span),
            ExprKind::MapLen(map) => self.map_len(*map, e.span),
            ExprKind::IncVar { var, by, pre } => self.inc_var(*var, *by, *pre),
            ExprKind::IncMap { map, key, by, pre } => {
                let result = self.inc_map(*map, key, *by, Some(*pre))?;
                self.narrow_to(result, &e.ty)
            }
            ExprKind::Binary { .. } | ExprKind::Unary { .. } | ExprKind::Convert(_) => self.arithmetic(e),
            ExprKind::Compare { .. }
            | ExprKind::Logical { .. }
            | ExprKind::Not(_)
            | ExprKind::BytesEq { .. }
            | ExprKind::FilterMemory(_) => self.truth(e),
            ExprKind::Ternary { cond, a, b } => self.ternary(cond, a, b, &e.ty),
            ExprKind::Reinterpret(of) => self.reinterpret(of, &e.ty),
            ExprKind::AddrOf(of) => self.address_of(of, &e.ty),
            ExprKind::Block { stmts, value } => {
                self.stmts(stmts)?;
                self.open();
                self.value(value)
            }
            ExprKind::Call { name, args } => self.call_value(name, args, e),
            ExprKind::CallFn { func, args } => self.call_function(*func, args, e.span),
            ExprKind::Str(_) | ExprKind::Tuple(_) | ExprKind::Record(_) => {
                internal(format!("{:?} as a scalar", e.kind))
            }
        }
    }

    fn scalar_arg(&mut self, arg: &Arg, e: &Expr) -> Result<Value> {
        match ir_type(&e.ty) {
            Ok(_) => self.arg(arg, &e.ty),
            Err(error) => Err(error),
        }
    }

    /// Reads a scalar of type `ty`; through a tracked pointer, and in a context whose pointers are tracked, a pointer to a
    /// kernel type stays tracked where the checker asks for plain loads.
    fn read_as(&mut self, mem: &super::memory::Mem, ty: &Ty) -> Result<Value> {
        let tracked = match self.f.type_of(mem.base) {
            Type::Ptr(PtrKind::Btf { .. }) => mem.space == Space::Btf,
            Type::Ptr(PtrKind::Ctx) => self.has_typed_ctx(),
            _ => false,
        };
        match ty {
            Ty::Ptr { to, space } if tracked && matches!(**to, Ty::Composite(_)) => {
                let kind = PtrKind::Btf { type_id: btf_id(to), nullable: true };
                let pointer = self.read(mem, Type::Ptr(kind))?;
                if *space == Space::Btf {
                    return Ok(pointer);
                }
                let number = self.number(pointer);
                Ok(self.f.cast(number, ir_type(ty)?))
            }
            _ => self.read(mem, ir_type(ty)?),
        }
    }

    fn field_value(&mut self, base: &Expr, access: &Access, space: Space, ty: &Ty) -> Result<Value> {
        let mem = self.base(base, space)?;
        let mem = self.field(mem, access);
        match access.bits {
            Some(bits) => self.read_bits(&mem, ir_type(ty)?, bits),
            None => self.read_as(&mem, ty),
        }
    }

    /// A 64-bit value as a value of a scalar type.
    pub(super) fn narrow_to(&mut self, value: Value, ty: &Ty) -> Result<Value> {
        let reg = ir_type(ty)?;
        let from = self.f.type_of(value);
        if from == reg {
            return Ok(value);
        }
        let number = self.number(value);
        Ok(self.narrow(number, reg))
    }

    fn arithmetic(&mut self, e: &Expr) -> Result<Value> {
        match &e.kind {
            ExprKind::Binary { op, a, b } => self.binary(*op, (a, b), &e.ty, e.span),
            ExprKind::Unary { op, a } => {
                let value = self.value(a)?;
                let value = self.number(value);
                let (op, other) = match op {
                    UnaryOp::Neg => (BinOp::Sub, 0),
                    UnaryOp::BitNot => (BinOp::Xor, -1),
                    other => return internal(format!("unary {other:?}")),
                };
                let other = self.f.iconst(Type::U64, other);
                let (x, y) = if op == BinOp::Sub { (other, value) } else { (value, other) };
                let result = self.f.bin(op, Type::U64, x, y);
                self.narrow_to(result, &e.ty)
            }
            ExprKind::Convert(of) => {
                let value = self.value(of)?;
                self.narrow_to(value, &e.ty)
            }
            other => internal(format!("{other:?} as arithmetic")),
        }
    }

    fn binary(&mut self, op: Sign, (a, b): (&Expr, &Expr), ty: &Ty, span: Span) -> Result<Value> {
        let reg = ir_type(ty)?;
        let signed = int_type(reg).signed;
        let (x, y) = (self.value(a)?, self.value(b)?);
        let (x, y) = (self.number(x), self.number(y));
        let op = match (op, signed) {
            (Sign::Add, _) => BinOp::Add,
            (Sign::Sub, _) => BinOp::Sub,
            (Sign::Mul, _) => BinOp::Mul,
            (Sign::Div, true) => BinOp::Sdiv,
            (Sign::Div, false) => BinOp::Udiv,
            (Sign::Mod, true) => BinOp::Smod,
            (Sign::Mod, false) => BinOp::Umod,
            (Sign::And, _) => BinOp::And,
            (Sign::Or, _) => BinOp::Or,
            (Sign::Xor, _) => BinOp::Xor,
            (Sign::Shl, _) => BinOp::Shl,
            (Sign::Shr, true) => BinOp::Ashr,
            (Sign::Shr, false) => BinOp::Lshr,
            (other, _) => return internal(format!("binary {other:?}")),
        };
        let wide = if signed { Type::I64 } else { Type::U64 };
        let divides = matches!(op, BinOp::Sdiv | BinOp::Udiv | BinOp::Smod | BinOp::Umod);
        let result = match &b.kind {
            ExprKind::Int(n) if *n != 0 => self.f.bin(op, wide, x, y),
            _ if divides => self.divide(op, wide, x, y, span)?,
            _ => self.f.bin(op, wide, x, y),
        };
        Ok(match reg {
            Type::Int(IntTy { bits: 64, .. }) if reg == wide => result,
            reg => {
                let bits = self.number(result);
                self.narrow(bits, reg)
            }
        })
    }

    /// A division by what may be zero: then an event says so, and the result is 1, as in the reference.
    fn divide(&mut self, op: BinOp, wide: Type, x: Value, y: Value, span: Span) -> Result<Value> {
        let (fine, zero, join) = (self.f.block(&[]), self.f.cold_block(), self.f.block(&[wide]));
        self.f.branch_nonzero(y, fine, zero);
        self.f.switch_to(zero);
        let message = "Divide or modulo by 0 detected. This can lead to unexpected results. 1 is being used as the result.";
        self.emit(&Action::RuntimeError { message: message.to_owned() }, &[], span, &[])?;
        let one = self.f.iconst(wide, 1);
        self.f.jump(join, &[one]);
        self.f.switch_to(fine);
        let result = self.f.bin(op, wide, x, y);
        self.f.jump(join, &[result]);
        self.f.switch_to(join);
        Ok(self.f.block_param(join, 0))
    }

    /// `c ? a : b` of scalars.
    fn ternary(&mut self, cond: &Expr, a: &Expr, b: &Expr, ty: &Ty) -> Result<Value> {
        if *ty == Ty::None {
            return internal("a ternary without a value");
        }
        let reg = ir_type(ty)?;
        let (then, other, join) = (self.f.block(&[]), self.f.block(&[]), self.f.block(&[reg]));
        let mark = self.mark_packet();
        self.condition(cond, then, other)?;
        for (block, e) in [(then, a), (other, b)] {
            self.f.switch_to(block);
            let value = self.value(e)?;
            let value = self.narrow_to(value, ty)?;
            self.f.jump(join, &[value]);
            self.forget_packet(mark);
        }
        self.f.switch_to(join);
        Ok(self.f.block_param(join, 0))
    }

    /// A truth value as 0 or 1.
    fn truth(&mut self, e: &Expr) -> Result<Value> {
        let reg = ir_type(&e.ty)?;
        if let ExprKind::Compare { op, a, b } = &e.kind
            && !reads_packet(e)
        {
            let (cc, x, y) = self.comparison(*op, a, b)?;
            let bit = self.f.cmp(cc, x, y);
            return Ok(if reg == Type::BOOL { bit } else { self.f.cast(bit, reg) });
        }
        let (yes, no, join) = (self.f.block(&[]), self.f.block(&[]), self.f.block(&[reg]));
        let mark = self.mark_packet();
        self.condition(e, yes, no)?;
        self.forget_packet(mark);
        for (block, bit) in [(yes, 1), (no, 0)] {
            self.f.switch_to(block);
            let bit = self.f.iconst(reg, bit);
            self.f.jump(join, &[bit]);
        }
        self.f.switch_to(join);
        Ok(self.f.block_param(join, 0))
    }

    fn comparison(&mut self, op: Sign, a: &Expr, b: &Expr) -> Result<(Cc, Value, Value)> {
        let signed = int_type(ir_type(&a.ty)?).signed;
        let (x, y) = (self.value(a)?, self.value(b)?);
        let (x, y) = (self.number(x), self.number(y));
        let cc = match (op, signed) {
            (Sign::Eq, _) => Cc::Eq,
            (Sign::Ne, _) => Cc::Ne,
            (Sign::Lt, true) => Cc::Slt,
            (Sign::Lt, false) => Cc::Ult,
            (Sign::Le, true) => Cc::Sle,
            (Sign::Le, false) => Cc::Ule,
            (Sign::Gt, true) => Cc::Sgt,
            (Sign::Gt, false) => Cc::Ugt,
            (Sign::Ge, true) => Cc::Sge,
            (Sign::Ge, false) => Cc::Uge,
            (other, _) => return internal(format!("comparison {other:?}")),
        };
        Ok((cc, x, y))
    }

    /// Ends the current block: to `yes` when `e` holds (is not zero), else to `no`. The caller goes on.
    pub(super) fn condition(&mut self, e: &Expr, yes: Block, no: Block) -> Result<()> {
        let outer = self.f.loc();
        self.at(e.span);
        match &e.kind {
            ExprKind::Logical { and, a, b } => {
                let (second, mark) = (self.f.block(&[]), self.mark_packet());
                match and {
                    true => self.condition(a, second, no)?,
                    false => {
                        self.condition(a, yes, second)?;
                        self.forget_packet(mark);
                    }
                }
                self.f.switch_to(second);
                self.condition(b, yes, no)?;
                if !and {
                    self.forget_packet(mark);
                }
            }
            ExprKind::Not(a) => {
                let mark = self.mark_packet();
                self.condition(a, no, yes)?;
                self.forget_packet(mark);
            }
            ExprKind::Convert(of) if e.ty == Ty::Bool && of.ty.is_scalar() => self.condition(of, yes, no)?,
            _ => self.unless_missing(e, no, |fx| fx.leaf_condition(e, yes, no))?,
        }
        self.f.set_loc(outer);
        Ok(())
    }

    /// A condition that is no combination of others.
    fn leaf_condition(&mut self, e: &Expr, yes: Block, no: Block) -> Result<()> {
        match &e.kind {
            ExprKind::Compare { op, a, b } => {
                let (cc, x, y) = self.comparison(*op, a, b)?;
                self.f.branch(cc, x, y, yes, no);
            }
            ExprKind::Packet(read) if read.is_condition() => self.packet_condition(read, yes, no)?,
            ExprKind::FilterMemory(test) => self.filter_memory(test, yes, no)?,
            ExprKind::BytesEq { a, b, negate, limit } => match negate {
                true => self.bytes_eq(a, b, *limit, no, yes)?,
                false => self.bytes_eq(a, b, *limit, yes, no)?,
            },
            _ if !e.ty.is_scalar() => self.not_empty(e, yes, no)?,
            _ => {
                let value = self.value(e)?;
                let value = self.number(value);
                let zero = self.f.u64(0);
                self.f.branch(Cc::Ne, value, zero, yes, no);
            }
        }
        Ok(())
    }

    /// A string or other value in memory as a condition: whether its first byte is not zero.
    fn not_empty(&mut self, e: &Expr, yes: Block, no: Block) -> Result<()> {
        let mem = self.place(e)?;
        let byte = self.read(&mem, Type::Int(IntTy { bits: 8, signed: false }))?;
        let zero = self.f.u64(0);
        self.f.branch(Cc::Ne, byte, zero, yes, no);
        Ok(())
    }

    fn inc_var(&mut self, var: crate::hir::VarId, by: i64, pre: bool) -> Result<Value> {
        let ty = ir_type(&self.var(var)?.ty)?;
        let old = self.load_var(var)?;
        let bits = self.number(old);
        let sum = self.f.add_imm(bits, by);
        let new = self.narrow(sum, ty);
        self.store_var(var, new)?;
        Ok(if pre { new } else { old })
    }

    /// The same bits as another type, read as a scalar.
    fn reinterpret(&mut self, of: &Expr, ty: &Ty) -> Result<Value> {
        let reg = ir_type(ty)?;
        if of.ty.is_scalar() {
            let value = self.value(of)?;
            return self.narrow_to(value, ty);
        }
        let has = self.cx.size_of(&of.ty);
        if has >= u32::from(mem_size(reg)) {
            let mem = self.place(of)?;
            return self.read(&mem, reg);
        }
        let wide = self.scratch(8, "bits");
        let zero = self.f.u64(0);
        self.f.store(8, wide, 0, zero);
        let from = self.place(of)?;
        self.copy_bytes(wide, 0, &from, has);
        Ok(self.f.load(reg, wide, 0))
    }

    fn address_of(&mut self, of: &Expr, ty: &Ty) -> Result<Value> {
        let mem = match &of.kind {
            ExprKind::Var(var) => {
                let (base, off) = self.var_addr(*var)?;
                super::memory::Mem::own(base, off)
            }
            ExprKind::Field { base, access, space } => {
                let mem = self.base(base, *space)?;
                self.field(mem, access)
            }
            ExprKind::Index { base, index, size, space } => self.element(base, index, *size, *space)?,
            ExprKind::MapGet { map, key } => super::memory::Mem::own(self.entry(*map, key, &of.ty)?, 0),
            _ => self.place(of)?,
        };
        if mem.space == Space::Bpf {
            return Ok(self.pointer(&mem));
        }
        let address = self.address(&mem);
        Ok(self.f.cast(address, ir_type(ty)?))
    }

    /// Runs an expression for its effect.
    pub(super) fn effect(&mut self, e: &Expr) -> Result<()> {
        match &e.kind {
            ExprKind::IncMap { map, key, by, .. } => {
                self.inc_map(*map, key, *by, None)?;
            }
            ExprKind::Block { stmts, value } => {
                self.stmts(stmts)?;
                self.open();
                self.effect(value)?;
            }
            ExprKind::Ternary { cond, a, b } => {
                let (then, other, join) = (self.f.block(&[]), self.f.block(&[]), self.f.block(&[]));
                self.condition(cond, then, other)?;
                for (block, e) in [(then, a), (other, b)] {
                    self.f.switch_to(block);
                    self.effect(e)?;
                    self.f.jump(join, &[]);
                }
                self.f.switch_to(join);
            }
            ExprKind::CallFn { func, args } if e.ty.is_scalar() || e.ty == Ty::None => {
                self.call_function(*func, args, e.span)?;
            }
            _ if e.ty == Ty::None => {
                if let ExprKind::Call { name, args } = &e.kind {
                    self.call_value(name, args, e)?;
                }
            }
            _ if e.ty.is_scalar() => {
                self.tracked_value(e)?;
            }
            _ => {
                self.place(e)?;
            }
        }
        Ok(())
    }
}
