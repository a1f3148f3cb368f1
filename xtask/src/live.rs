//! `cargo xtask live`: the live tests on the running kernel.
//!
//! In: arguments for the harness. Out: its output, its tally. Always: the static binaries are what is tested.

use std::path::Path;
use std::process::Command;

use crate::binaries;
use crate::process;
use crate::tally::Tally;

pub(crate) fn run(arguments: &[String]) -> Result<bool, String> {
    let skep = binaries::build(binaries::SKEP)?;
    let livetest = binaries::build(binaries::LIVETEST)?;
    let (tally, success) = harness(&livetest, &skep, arguments)?;
    Ok(success && tally.failed == 0)
}

/// Runs the harness here; the tally of its closing line, and whether it was content.
pub(crate) fn harness(livetest: &Path, skep: &Path, arguments: &[String]) -> Result<(Tally, bool), String> {
    let mut command = Command::new(livetest);
    command.arg("--skep").arg(skep).arg("--fixtures").arg(crate::root().join("tests/kernel")).args(arguments);
    let done = process::run(command)?;
    let tally = done.stdout.iter().rev().find_map(|line| Tally::from_harness(line));
    Ok((tally.unwrap_or_else(|| Tally::one(done.success)), done.success))
}
