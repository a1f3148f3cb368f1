//! Workloads that start, become or end processes.
//!
//! In: the arguments, checked in number. Out: children that are reaped, or another program in this process.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::count;

pub(super) fn fork(args: &[String]) -> Result<(), String> {
    let me = std::env::current_exe().map_err(|error| format!("this program's own path: {error}"))?;
    for _ in 0..count(&args[0])? {
        let mut child = Command::new(&me);
        child.args(["workload", "exit", "0"]).env_remove(crate::load::HOLD).stdin(Stdio::null());
        let status = child.status().map_err(|error| format!("child: {error}"))?;
        if !status.success() {
            return Err(format!("child: {status}"));
        }
    }
    Ok(())
}

pub(super) fn exec(args: &[String]) -> Result<(), String> {
    Err(format!("{}: {}", args[0], Command::new(&args[0]).exec()))
}

pub(super) fn exec_arg(args: &[String]) -> Result<(), String> {
    Err(format!("{}: {}", args[0], Command::new(&args[0]).arg(&args[1]).env_remove(crate::load::HOLD).exec()))
}

pub(super) fn exit(args: &[String]) -> Result<(), String> {
    let code = args[0].parse().map_err(|_| format!("expected an exit code, found `{}`", args[0]))?;
    std::process::exit(code)
}
