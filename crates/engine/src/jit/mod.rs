//! The compiler of the offline machine: linked programs enter, machine code leaves that does what the interpreter does.

mod access;
mod alu;
mod call;
mod compile;
mod flow;
mod kinds;
mod live;
mod run;
mod span;
pub(crate) mod state;
#[cfg(test)]
mod tests;
mod translate;

pub use compile::CompileError;
pub(crate) use run::Ready;
pub use run::{Code, Jit};
