//! Stacks as values: their id in a stack trace map. (A stack that is printed at once travels in the event instead.)

use super::super::func::Fx;
use super::super::{Result, internal};
use super::arg;
use crate::hir::Expr;
use crate::ty::Ty;
use skep_bpf::helpers::id as helper;
use skep_bpf::object::Counter;
use skep_bpf::schema::StackFormat;
use skep_compiler::ir::{BinOp, Cc, Cond, Op, Type, Value, Width};

/// `BPF_F_USER_STACK`
const USER_STACK: u64 = 1 << 8;

impl Fx<'_, '_> {
    /// The id of the current stack, or a negative errno, which is counted.
    fn stack_id(&mut self, format: StackFormat, user: bool) -> Result<Value> {
        let map = self.cx.stack_map(format.limit);
        let (ctx, map_ref) = (self.ctx()?, self.f.map_ref(map));
        let flags = self.f.u64(if user { USER_STACK } else { 0 });
        let id = self.call(helper::GET_STACKID, &[ctx, map_ref, flags]);
        let (lost, done) = (self.f.cold_block(), self.f.block(&[]));
        let zero = self.f.iconst(Type::I64, 0);
        self.f.branch(Cc::Slt, id, zero, lost, done);
        self.f.switch_to(lost);
        self.count_loss(Counter::StackLost(map.index()));
        self.f.jump(done, &[]);
        self.f.switch_to(done);
        Ok(id)
    }
}

pub(super) fn kstack(fx: &mut Fx<'_, '_>, _: &[Expr], e: &Expr) -> Result<Value> {
    let Ty::KStack(format) = e.ty else { return internal("kstack that is no stack") };
    fx.stack_id(format, false)
}

/// i64 id, u32 process, u32 zero.
pub(super) fn ustack(fx: &mut Fx<'_, '_>, _: &[Expr], e: &Expr, to: Value, off: i32) -> Result<()> {
    let Ty::UStack(format) = e.ty else { return internal("ustack that is no stack") };
    let id = fx.stack_id(format, true)?;
    fx.f.store(8, to, off, id);
    let pid = fx.initial_tgid();
    fx.f.store(8, to, off + 8, pid);
    Ok(())
}

/// Frames of the current stack.
pub(super) fn stack_len(fx: &mut Fx<'_, '_>, args: &[Expr], _: &Expr) -> Result<Value> {
    let (format, user) = match arg(args, 0)?.ty {
        Ty::KStack(format) => (format, false),
        Ty::UStack(format) => (format, true),
        _ => return internal("the length of no stack"),
    };
    let size = format.limit * 8;
    let to = fx.scratch(size.max(136), "stack");
    let (ctx, bytes) = (fx.ctx()?, fx.f.u64(u64::from(size)));
    let flags = fx.f.u64(if user { USER_STACK } else { 0 });
    let result = fx.call(helper::GET_STACK, &[ctx, to, bytes, flags]);
    let zero = fx.f.iconst(Type::I64, 0);
    let cond = Cond { cc: Cc::Sgt, width: Width::W64, a: result, b: zero };
    let len = fx.f.push_value(Op::Select { cond, a: result, b: zero }, Type::I64);
    let three = fx.f.u64(3);
    Ok(fx.f.bin(BinOp::Lshr, Type::I64, len, three))
}
