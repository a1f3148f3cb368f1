//! The machine: memory, programs, contexts, the interpreter, and how all of it fails.

pub(crate) mod blind;
pub(crate) mod charge;
pub mod context;
pub mod fault;
pub mod held;
pub mod interp;
pub mod link;
pub mod machine;
pub mod memory;
pub mod op;
pub mod packet;
pub mod program;
pub mod state;
pub mod trace;

use rustix::io::Errno;

/// The machine cannot be built as it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// No address space.
    #[error("cannot reserve 4 GiB of address space for the machine: {0}")]
    Reserve(Errno),
    /// No memory.
    #[error(transparent)]
    OutOfMemory(#[from] memory::OutOfMemory),
    /// A map that cannot be made.
    #[error("map `{name}`: {what}")]
    Map {
        /// The map.
        name: String,
        /// What is wrong.
        what: String,
    },
}
