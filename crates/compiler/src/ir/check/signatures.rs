//! Signatures, slots, programs and calls.

use super::{Check, CheckError};
use crate::ir::module::{FuncKind, Module};
use crate::ir::op::Op;
use crate::ir::types::{IntTy, PtrKind, Type};

/// Most parameters and arguments of a call: r1 to r5.
pub(super) const MAX_ARGS: usize = 5;
/// Deepest nesting of calls, the main function included (`MAX_CALL_FRAMES`, include/linux/bpf_verifier.h, Linux 6.18).
const MAX_FRAMES: u32 = 8;

/// Programs name mains, maps are sound, calls neither recurse nor nest too deep.
pub(super) fn check_module(module: &Module, errors: &mut Vec<CheckError>) {
    let mut error = |func: Option<&str>, message: String| {
        let func = func.map(str::to_owned);
        errors.push(CheckError { func, block: None, inst: None, message });
    };
    for program in &module.programs {
        let kind = module.funcs.get(program.main.index()).map(|f| f.kind);
        if kind != Some(FuncKind::Main) {
            error(None, format!("program `{}`: {} is no main function", program.name, program.main));
        }
    }
    let calls: Vec<Vec<usize>> = (0..module.funcs.len()).map(|i| callees(module, i)).collect();
    for (func, depth) in module.funcs.iter().zip(depths(&calls)) {
        match depth {
            None => error(Some(&func.name), "the calls recurse".to_owned()),
            Some(d) if d > MAX_FRAMES => {
                error(Some(&func.name), format!("calls nest {d} deep, at most {MAX_FRAMES} can"));
            }
            Some(_) => {}
        }
    }
}

fn callees(module: &Module, func: usize) -> Vec<usize> {
    let func = &module.funcs[func];
    let insts = func.blocks.iter().flat_map(|b| &b.insts).filter_map(|i| func.insts.get(i.index()));
    let mut out: Vec<usize> = insts
        .filter_map(|inst| match inst.op {
            Op::Call { func, .. } | Op::FuncAddr(func) => Some(func.index()),
            _ => None,
        })
        .filter(|i| *i < module.funcs.len())
        .collect();
    out.sort_unstable();
    out.dedup();
    out
}

/// Frames that each function needs with what it calls; `None` for those whose calls come back to them.
fn depths(calls: &[Vec<usize>]) -> Vec<Option<u32>> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done(Option<u32>),
    }
    let mut state = vec![State::New; calls.len()];
    for root in 0..calls.len() {
        let mut stack = vec![(root, 0)];
        while let Some((func, next)) = stack.pop() {
            if next == 0 && state[func] != State::New {
                continue;
            }
            state[func] = State::Open;
            if let Some(&callee) = calls[func].get(next) {
                stack.push((func, next + 1));
                stack.push((callee, 0));
                continue;
            }
            let deepest = calls[func].iter().try_fold(0, |deepest: u32, callee| match state[*callee] {
                State::Done(Some(d)) => Some(deepest.max(d)),
                _ => None,
            });
            state[func] = State::Done(deepest.map(|d| d + 1));
        }
    }
    state.into_iter().map(|s| if let State::Done(d) = s { d } else { None }).collect()
}

impl Check<'_> {
    /// The function's own signature.
    pub(super) fn signature(&mut self) {
        let (params, ret) = (&self.func.params, self.func.ret);
        let is_int = |ty: Type| matches!(ty, Type::Int(_));
        self.require(params.len() <= MAX_ARGS, || {
            format!("{} parameters, at most five can be", params.len())
        });
        match self.func.kind {
            FuncKind::Main => {
                let good = **params == [Type::Ptr(PtrKind::Ctx)];
                self.require(good, || "a main function takes the context and nothing else".to_owned());
                self.require(is_int(ret), || format!("a main function returns an integer, not {ret}"));
            }
            FuncKind::Sub => {
                let stack = ret == Type::Ptr(PtrKind::Stack);
                self.require(!stack, || "a function cannot return the address of a slot".to_owned());
            }
            FuncKind::Global { bytes } => {
                let memory = params.first() == Some(&Type::Ptr(PtrKind::Stack));
                let ctx = params.first() == Some(&Type::Ptr(PtrKind::Ctx));
                let rest = params.get(usize::from(memory || ctx)..).unwrap_or(&[]);
                let good = memory == (bytes > 0) && rest.iter().all(|ty| is_int(*ty));
                self.require(good, || {
                    "a global function takes memory, if it says so, or the context, and integers".to_owned()
                });
                let wide = matches!(ret, Type::Int(IntTy { bits: 64, .. }));
                self.require(wide, || format!("a global function returns 64 bits, not {ret}"));
            }
            FuncKind::Callback => {
                let good = callback_params(params);
                self.require(good, || {
                    "a callback takes an index and the callback context, or map, key, value and the callback context"
                        .to_owned()
                });
                let wide = matches!(ret, Type::Int(IntTy { bits: 64, .. }));
                self.require(wide, || format!("a callback returns 64 bits, not {ret}"));
            }
        }
    }

    /// The slots' sizes and alignments.
    pub(super) fn slots(&mut self) {
        for (i, slot) in self.func.slots.iter().enumerate() {
            let good = slot.size > 0 && matches!(slot.align, 1 | 2 | 4 | 8);
            self.require(good, || format!("slot s{i}: size {} and alignment {}", slot.size, slot.align));
        }
    }
}

fn callback_params(params: &[Type]) -> bool {
    use PtrKind::{CallbackCtx, Map, MapValue, Stack};
    match params {
        [Type::Int(_), Type::Ptr(CallbackCtx)] => true,
        [
            Type::Ptr(Map(_)),
            Type::Ptr(key),
            Type::Ptr(MapValue { nullable: false, .. }),
            Type::Ptr(CallbackCtx),
        ] => {
            matches!(key, MapValue { nullable: false, .. } | CallbackCtx | Stack)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::depths;

    #[test]
    fn call_depths() {
        let calls = [vec![1, 2], vec![2], vec![], vec![4], vec![3], vec![3]];
        assert_eq!(depths(&calls), [Some(3), Some(2), Some(1), None, None, None]);
    }
}
