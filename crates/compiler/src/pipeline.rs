//! The passes in their order, each with the reason. A module enters that holds the checker's invariants; one leaves that
//! means the same, with its blocks in the order of emission and dense numbers.

use crate::ir::{CheckError, Module, check};
use crate::passes::{Env, Pass, fold, number, order, promote, sweep, thread, unbound, unify};

/// What the passes do, and who watches.
pub struct PassOptions<'a> {
    /// Optimise. Without, only what emission requires runs: unreachable blocks go away and the rest is ordered.
    pub enabled: bool,
    /// Called with the name of each stage and the module after it: first `input`, then each pass.
    pub dump: Option<Watcher<'a>>,
}

/// Sees the module after a stage, by the stage's name.
pub type Watcher<'a> = &'a mut dyn FnMut(&str, &Module);

impl Default for PassOptions<'_> {
    fn default() -> Self {
        PassOptions { enabled: true, dump: None }
    }
}

impl std::fmt::Debug for PassOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PassOptions").field("enabled", &self.enabled).finish_non_exhaustive()
    }
}

/// A pass broke an invariant of the IR: a bug of the compiler.
#[derive(Debug, thiserror::Error)]
#[error("after `{stage}`: {}", first(errors))]
pub struct PassError {
    /// The stage: `input` or a pass.
    pub stage: &'static str,
    /// What is broken.
    pub errors: Vec<CheckError>,
}

fn first(errors: &[CheckError]) -> String {
    errors.first().map(ToString::to_string).unwrap_or_default()
}

/// Passes by name, for the pipeline and for tests of single passes.
pub const PASSES: &[(&str, Pass)] = &[
    ("fold", fold::run),
    ("number", number::run),
    ("order", order::run),
    ("promote", promote::run),
    ("prune", |func, _| sweep::prune(func)),
    ("sweep", sweep::run),
    ("thread", thread::run),
    ("unbound", unbound::run),
    ("unify", unify::run),
];

/// What always runs.
const REQUIRED: &[&str] = &["prune", "order"];

/// The optimising pipeline.
const OPTIMISING: &[&str] = &[
    // The other passes need not think of blocks that nothing leads to.
    "prune", // Variables become values: all that follows works on values.
    "promote",
    // Constants and identities first, so that equal operations look equal to `number`, and known branches fall away.
    "fold",
    // One computation of each value, one helper call for each fact of the run, one test of each condition.
    "number",
    // Parameters that turned out constant or equal go before the branches on them are threaded.
    "unify", // Short-circuit logic becomes control flow; joins with one way in disappear.
    "thread",
    // What the new, longer blocks and the removed parameters made known; then once more for what folding made equal.
    "fold", "number", "unify",   // Decided branches have left empty blocks.
    "thread",  // Last of the value passes: it relies on where values are made and used.
    "unbound", // All of the above leaves what it replaced behind, unused.
    "sweep",   // Emission follows the order of numbers.
    "order",
];

/// Runs the pipeline. In builds with debug assertions the invariants are checked before and after each pass.
pub fn optimize(module: &mut Module, options: &mut PassOptions<'_>) -> Result<(), PassError> {
    let names = if options.enabled { OPTIMISING } else { REQUIRED };
    after("input", module, options)?;
    for name in names {
        let Some((name, pass)) = PASSES.iter().find(|(n, _)| n == name) else { continue };
        run_pass(module, *pass);
        after(name, module, options)?;
    }
    Ok(())
}

/// Runs one pass over all functions of a module.
pub fn run_pass(module: &mut Module, pass: Pass) {
    for index in 0..module.funcs.len() {
        let env = Env::new(module, index);
        pass(&mut module.funcs[index], &env);
    }
}

fn after(stage: &'static str, module: &Module, options: &mut PassOptions<'_>) -> Result<(), PassError> {
    if let Some(dump) = &mut options.dump {
        dump(stage, module);
    }
    if cfg!(debug_assertions) {
        check(module).map_err(|errors| PassError { stage, errors })?;
    }
    Ok(())
}
