//! The passes: each takes a function that holds the checker's invariants and leaves one that holds them, means the same,
//! and that the kernel's verifier follows as well as before. The order is in [`crate::pipeline`].
//!
//! What every pass keeps for the verifier: a cast to a non-null pointer stays behind the branch that checked it; a
//! [`crate::ir::Op::Bound`] stays where it is; loads stay in their order among effects and are never moved up; a field's
//! CO-RE offset is never folded into a number. Each pass costs about linear time.

pub mod fold;
pub mod number;
pub mod order;
pub mod promote;
pub mod sweep;
pub mod thread;
pub mod unbound;
pub mod unify;

mod fold_rules;
mod subst;

use crate::ir::types::PtrKind;
use crate::ir::{Function, Module, Type};
use skep_bpf::kinds::ProgType;

/// What a pass may know of the module around a function.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Env {
    /// The context's memory stays the same during a run, except where the function itself stores to it.
    pub ctx_is_constant: bool,
}

impl Env {
    /// What holds for function number `index` of `module`.
    pub fn new(module: &Module, index: usize) -> Env {
        let mut programs = module.programs.iter().filter(|p| p.main.index() == index).peekable();
        let known = programs.peek().is_some();
        let constant = programs.all(|p| match p.prog_type {
            ProgType::Kprobe | ProgType::Tracepoint | ProgType::PerfEvent => true,
            ProgType::RawTracepoint | ProgType::Tracing | ProgType::Lsm => true,
            // Helpers change packets and sockets, and with them what the context shows.
            _ => false,
        });
        Env { ctx_is_constant: known && constant }
    }
}

/// A pass over one function.
pub type Pass = fn(&mut Function, &Env);

/// A pointer type whose null value is the constant zero, or an integer: what a constant zero can stand for.
fn can_be_zero(ty: Type) -> bool {
    matches!(ty, Type::Int(_) | Type::Ptr(PtrKind::Kernel | PtrKind::User)) || ty.is_nullable()
}
