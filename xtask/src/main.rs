//! The project's own tasks, run as `cargo xtask NAME`.
//!
//! In: a task's name and its arguments. Out: the task's output; exit code 0 only if it succeeded.
//! Always: nothing here ends up in the product; what a task writes lies below the target folder or the cache.

mod binaries;
mod constants;
mod dist;
mod live;
mod process;
mod suite;
mod tally;
mod vm;

use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask TASK

  test [--no-guests]   everything: format, lints, unit tests, documents, binary, live tests here and in guests
  live [ARGS]          the live tests of tests/kernel on this kernel; ARGS go to the harness (--filter, --smoke, …)
  vm [OPTIONS] [-- ARGS]
                       the live tests on guest kernels under QEMU; `cargo xtask vm --help` lists the options
  fuzz [TARGET…] [--count N] [--seed N] [--jobs N]
                       damaged and generated input for everything that reads input; --help lists the targets
  dist                 the stripped static release binary: its path and size, at most 14 MB
  layers               the test of the layer rule alone
  constants [--sysroot DIR]
                       makes the compiler's table of constants anew from the headers of linux-libc-dev";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (task, rest) = match arguments.split_first() {
        Some((task, rest)) => (task.as_str(), rest),
        None => ("", &[][..]),
    };
    let result = match task {
        "test" => suite::run(rest),
        "live" => live::run(rest),
        "vm" => vm::run(rest),
        "fuzz" => fuzz(rest),
        "dist" => dist::run(rest),
        "layers" => layers(),
        "constants" => constants::run(rest),
        "" | "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(true)
        }
        other => Err(format!("unknown task `{other}`\n{USAGE}")),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::from(2)
        }
    }
}

/// The folder that holds the workspace's Cargo.toml.
fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or(here.clone(), std::path::Path::to_path_buf)
}

/// Inputs of each target in a run of all tests.
pub(crate) const FUZZ_INPUTS: &str = "5000";

/// Runs the fuzzer, built with optimisation and all checks.
pub(crate) fn fuzz(arguments: &[String]) -> Result<bool, String> {
    let mut command = process::cargo();
    command.args(["run", "--quiet", "--profile", "fuzz", "--package", "skep-fuzz", "--"]).args(arguments);
    Ok(process::run(command)?.success)
}

fn layers() -> Result<bool, String> {
    let mut command = process::cargo();
    command.args(["test", "--package", "xtask", "--test", "layers"]);
    Ok(process::run(command)?.success)
}
