//! The program of a session: a kprobe's and a kretprobe's bodies enter, one main function leaves that calls the one or
//! the other.

use super::module::ModuleCx;
use super::probe::build_body;
use super::{Result, internal};
use crate::hir::Probe;
use skep_bpf::btf::NameKind;
use skep_bpf::target::TargetExt;
use skep_compiler::ir::{Cc, FuncBuilder, FuncId, FuncKind, Op, PtrKind, Type};

/// Tells a program whether the function returns (kernel/trace/bpf_trace.c, Linux 6.10; with the context as its argument
/// where the kernel's types say so).
const IS_RETURN: &str = "bpf_session_is_return";

/// Builds both bodies and what chooses between them. `exit`: the probe at return.
pub(super) fn build<'a>(cx: &mut ModuleCx<'a>, entry: &'a Probe, exit: usize) -> Result<FuncId> {
    let Some(at_return) = cx.program.probes.get(exit) else {
        return internal(format!("probe {exit} does not exist"));
    };
    let bodies = [build_body(cx, at_return, FuncKind::Sub)?, build_body(cx, entry, FuncKind::Sub)?];
    let types = cx.target.vmlinux()?;
    let signature = types.find(NameKind::Func, IS_RETURN).and_then(|id| types.signature(id));
    let takes_context = signature.is_some_and(|(_, params)| !params.is_empty());
    let mut f = FuncBuilder::new(&entry.symbol, FuncKind::Main, &[Type::Ptr(PtrKind::Ctx)], Type::I32);
    f.set_loc(cx.loc(entry.span));
    let ctx = f.param(0);
    let args = if takes_context { vec![ctx] } else { Vec::new() };
    let returns = f.push_value(Op::Kfunc { name: IS_RETURN.to_owned(), args }, Type::U64);
    // The kernel says `bool`: of the register only the low byte counts.
    let low = f.u64(0xff);
    let returns = f.bin(skep_compiler::ir::BinOp::And, Type::U64, returns, low);
    let zero = f.u64(0);
    let blocks = [f.block(&[]), f.block(&[])];
    f.branch(Cc::Ne, returns, zero, blocks[0], blocks[1]);
    for (block, body) in blocks.into_iter().zip(bodies) {
        f.switch_to(block);
        let result = f.call(body, &[ctx], Type::I32);
        f.ret(result);
    }
    Ok(cx.add_func(f.finish()))
}
