//! The `skep` binary: arguments enter, the facade is called, an exit code leaves. Started under the name `bpftrace` it is
//! `skep trace`.

mod args;
mod commands;
mod exit;

use args::{Cli, Command};
use clap::Parser;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(arguments(std::env::args_os().collect())) {
        Ok(cli) => cli,
        Err(error) => return commands::usage(&error).into(),
    };
    let result = match cli.command {
        Command::Trace(options) => commands::trace::run(&options),
        Command::Doctor(options) => commands::doctor::run(&options),
        Command::Conformance(options) => commands::conformance::run(&options),
        Command::Completions { shell } => commands::generate::completions(shell),
        Command::Man { dir } => commands::generate::man(&dir),
    };
    match result {
        Ok(code) => code,
        Err(error) => commands::report(&error).into(),
    }
}

/// Whether this program was started under the name `bpftrace`.
pub(crate) fn is_bpftrace() -> bool {
    std::env::args_os().next().is_some_and(|name| names_bpftrace(&name))
}

fn names_bpftrace(program: &OsStr) -> bool {
    Path::new(program).file_name().is_some_and(|name| name == "bpftrace")
}

/// The arguments with the command that the program's name implies.
fn arguments(mut args: Vec<OsString>) -> Vec<OsString> {
    if !args.first().is_some_and(|name| names_bpftrace(name)) {
        return args;
    }
    args.insert(1, "trace".into());
    args
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn bpftrace_is_skep_trace() {
        let args = |list: &[&str]| arguments(list.iter().map(OsString::from).collect());
        assert_eq!(args(&["/usr/bin/bpftrace", "-e", "x"]), ["/usr/bin/bpftrace", "trace", "-e", "x"]);
        assert_eq!(args(&["skep", "doctor"]), ["skep", "doctor"]);
    }
}
