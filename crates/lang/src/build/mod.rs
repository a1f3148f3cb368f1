//! The builder: a checked program enters, a module of IR leaves.
//!
//! Nothing is decided here that the source's meaning depends on: types, conversions and attach points come from the
//! checker. What is decided is how each construct is computed: which helper reads which memory, how a source map is
//! stored, how long an event is. What always holds for the IR that leaves: kernel and user addresses are only read
//! through helpers that cannot fault; memory that a helper reads is initialised, padding included; every event lost and
//! every update refused for want of room is counted; and a value never depends on what is left of an earlier run.
//!
//! Files: `module` (what all programs share), `func` (one function being built), `probe` (a program's frame), `walk`
//! (facts about the tree that are needed beforehand), `stmt`, `callback` (loops), `known`
//! (entries that need not be looked up twice), `packet`, `expr`, `place` and `memory`
//! (addresses and reads), `string`, `storage`, `map`, `agg`, `aggread`, `event`, and `call/` (builtins).

mod agg;
mod aggread;
mod call;
mod callback;
mod event;
mod expr;
mod failed;
mod func;
mod increment;
mod known;
mod map;
mod memory;
mod module;
mod operand;
mod packet;
mod parts;
mod place;
mod probe;
mod series;
mod session;
mod shared;
mod stmt;
mod storage;
mod string;
mod syscalls;
#[cfg(test)]
mod tests;
mod types;
mod unwind;
mod walk;

use crate::ast::Span;
use crate::hir;
use skep_bpf::target::{Target, TargetError};
use skep_bpf::version::KernelVersion;
use skep_compiler::ir;

/// Why a checked program cannot be built.
#[derive(Clone, PartialEq, Debug)]
pub enum BuildError {
    /// Something is larger than eBPF or this implementation allows.
    Limit {
        /// What was found and what the limit is.
        message: String,
        /// Where.
        span: Span,
    },
    /// The target's kernel lacks what a construct needs.
    Unsupported {
        /// What needs it, e.g. "for over a map".
        what: String,
        /// First kernel that has it, where that is known.
        since: Option<KernelVersion>,
        /// Where.
        span: Span,
    },
    /// The target could not answer.
    Target(TargetError),
    /// The program contradicts what the checker promises: a bug here, not the user's mistake.
    Internal(String),
}

impl std::fmt::Display for BuildError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BuildError::Limit { message, .. } => f.write_str(message),
            BuildError::Unsupported { what, since: Some(since), .. } => {
                write!(f, "{what} needs Linux {since} or newer")
            }
            BuildError::Unsupported { what, since: None, .. } => write!(f, "{what} is not supported here"),
            BuildError::Target(error) => write!(f, "{error}"),
            BuildError::Internal(why) => write!(f, "internal error: {why}"),
        }
    }
}

impl std::error::Error for BuildError {}

impl From<TargetError> for BuildError {
    fn from(error: TargetError) -> BuildError {
        BuildError::Target(error)
    }
}

type Result<T> = std::result::Result<T, BuildError>;

/// What the checker should not have let through.
fn internal<T>(why: impl Into<String>) -> Result<T> {
    Err(BuildError::Internal(why.into()))
}

/// Builds the IR of a checked program. `source` is the file's name as shown and its text, which spans point into.
/// `Module::object` holds maps, event layouts, session and license; programs and BTF are the compiler's.
pub fn build(program: &hir::Program, target: &dyn Target, source: (&str, &str)) -> Result<ir::Module> {
    parts::check_unrolls(program)?;
    let mut cx = module::ModuleCx::new(program, target, source)?;
    for probe in &program.probes {
        probe::build_probe(&mut cx, probe)?;
    }
    Ok(cx.finish())
}
