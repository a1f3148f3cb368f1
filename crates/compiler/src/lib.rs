//! The compiler: a module of typed SSA enters, an [`skep_bpf::object::Object`] leaves. It knows the verifier's rules
//! and the target's instruction set, and no source language.

pub mod compile;
mod emit;
pub mod ir;
pub mod layers;
mod lower;
pub mod passes;
pub mod pipeline;
mod record;
