//! Functions of the kernel for programs (kfuncs).

use super::super::Result;
use super::super::func::Fx;
use super::super::types::alignment;
use super::arg;
use crate::hir::Expr;
use skep_bpf::btf::NameKind;
use skep_bpf::target::TargetExt;
use skep_compiler::ir::{IntTy, Offset, Op, PtrKind, Type, Value};

/// Bytes of `comm` (TASK_COMM_LEN).
const COMM: u32 = 16;

/// The name of the task with that id, `N/A` where there is none. The kernel's function gives a reference, which is given
/// back when the name is copied (bpf_task_from_pid, kernel/bpf/helpers.c, Linux 6.2).
pub(super) fn comm_of(fx: &mut Fx<'_, '_>, args: &[Expr], e: &Expr, to: Value, off: i32) -> Result<()> {
    let pid = fx.value(arg(args, 0)?)?;
    let pid = fx.number(pid);
    let size = fx.cx.size_of(&e.ty);
    fx.f.zero(to, off, size, alignment(off, size));
    let types = fx.cx.target.vmlinux()?;
    let task = types.find(NameKind::Struct, "task_struct").map_or(0, |id| id.0);
    let kind = PtrKind::Btf { type_id: task, nullable: true };
    let call = Op::Kfunc { name: "bpf_task_from_pid".to_owned(), args: vec![pid] };
    let found = fx.f.push_value(call, Type::Ptr(kind));
    let (none, done) = (fx.f.block(&[]), fx.f.block(&[]));
    let task = fx.f.check_null(found, none);
    let (offset, _, reloc) = fx.kernel_field("struct task_struct", "task_struct", &["comm"])?;
    let piece = alignment(off, COMM).min(8);
    let unsigned = |bytes: u8| Type::Int(IntTy { bits: bytes * 8, signed: false });
    let ty = unsigned(piece);
    for at in (0..COMM.min(size) as i32).step_by(usize::from(piece)) {
        let from = Offset { add: at, core: Some((offset, reloc.clone())) };
        let word = fx.f.load_field(ty, task, from);
        fx.f.store(piece, to, off + at, word);
    }
    fx.f.push_value(Op::Kfunc { name: "bpf_task_release".to_owned(), args: vec![task] }, Type::U64);
    fx.f.jump(done, &[]);
    fx.f.switch_to(none);
    for (at, byte) in b"N/A".iter().enumerate() {
        let byte = fx.f.iconst(unsigned(1), i64::from(*byte));
        fx.f.store(1, to, off + at as i32, byte);
    }
    fx.f.jump(done, &[]);
    fx.f.switch_to(done);
    Ok(())
}
