//! Stacks as values: their id in a stack trace map. (A stack that is printed at once travels in the event instead.)

use super::super::func::Fx;
use super::super::{Result, internal};
use super::arg;
use crate::hir::{Expr, ExprKind, Guard};
use crate::ty::Ty;
use skep_bpf::helpers::id as helper;
use skep_bpf::object::Counter;
use skep_bpf::schema::StackFormat;
use skep_compiler::ir::{BinOp, Cc, Cond, Op, Type, Value, Width};

/// `BPF_F_USER_STACK`
const USER_STACK: u64 = 1 << 8;
/// `-EFAULT`: there is no such stack, such as a kernel stack where user mode was interrupted.
pub(in super::super) const NO_STACK: i64 = -14;

/// Frames of the program itself and of what runs it (bpf_trace_runN), which a raw tracepoint's stacks begin with.
const OWN_FRAMES: u64 = 2;

impl Fx<'_, '_> {
    /// Flags of the stack helpers: which stack, and how many frames at its top are left out. A program on a raw
    /// tracepoint that stands for another hook leaves out its own, so that its stacks begin where that hook's do.
    pub(in super::super) fn stack_flags(&mut self, user: bool) -> Value {
        let stands_in = self.body.probe.is_some_and(|p| p.guard != Guard::None) && !self.callback;
        self.f.u64(match (user, stands_in) {
            (true, _) => USER_STACK,
            (false, true) => OWN_FRAMES,
            (false, false) => 0,
        })
    }

    /// The id of the current stack; negative where there is none, and where it could not be stored, which is counted.
    fn stack_id(&mut self, format: StackFormat, user: bool) -> Result<Value> {
        let map = self.cx.stack_map(format.limit);
        let (ctx, map_ref) = (self.ctx()?, self.f.map_ref(map));
        let flags = self.stack_flags(user);
        let id = self.call(helper::GET_STACKID, &[ctx, map_ref, flags]);
        let (failed, lost, done) = (self.f.cold_block(), self.f.cold_block(), self.f.block(&[]));
        let zero = self.f.iconst(Type::I64, 0);
        self.f.branch(Cc::Slt, id, zero, failed, done);
        self.f.switch_to(failed);
        let nothing = self.f.iconst(Type::I64, NO_STACK);
        self.f.branch(Cc::Eq, id, nothing, done, lost);
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
    let pid = fx.process_id(None)?;
    fx.f.store(8, to, off + 8, pid);
    Ok(())
}

/// The same for a stack that the program walks itself.
pub(super) fn dw_ustack(fx: &mut Fx<'_, '_>, _: &[Expr], e: &Expr, to: Value, off: i32) -> Result<()> {
    let Ty::UStack(format) = e.ty else { return internal("dw_ustack that is no stack") };
    let id = fx.walked_id(format, e.span)?;
    fx.f.store(8, to, off, id);
    let pid = fx.process_id(None)?;
    fx.f.store(8, to, off + 8, pid);
    Ok(())
}

/// Frames of the current stack.
pub(super) fn stack_len(fx: &mut Fx<'_, '_>, args: &[Expr], e: &Expr) -> Result<Value> {
    let of = arg(args, 0)?;
    if let (Ty::UStack(format), ExprKind::Call { name: "dw_ustack", .. }) = (&of.ty, &of.kind) {
        let to = fx.scratch((format.limit * 8).max(136), "stack");
        let walked = fx.walk_stack(to, format.limit, e.span)?;
        return Ok(fx.f.cast(walked.frames, Type::I64));
    }
    let (format, user) = match of.ty {
        Ty::KStack(format) => (format, false),
        Ty::UStack(format) => (format, true),
        _ => return internal("the length of no stack"),
    };
    let size = format.limit * 8;
    let to = fx.scratch(size.max(136), "stack");
    let (ctx, bytes) = (fx.ctx()?, fx.f.u64(u64::from(size)));
    let flags = fx.stack_flags(user);
    let result = fx.call(helper::GET_STACK, &[ctx, to, bytes, flags]);
    let zero = fx.f.iconst(Type::I64, 0);
    let cond = Cond { cc: Cc::Sgt, width: Width::W64, a: result, b: zero };
    let len = fx.f.push_value(Op::Select { cond, a: result, b: zero }, Type::I64);
    let three = fx.f.u64(3);
    Ok(fx.f.bin(BinOp::Lshr, Type::I64, len, three))
}
