//! The `skep` binary: arguments enter, the facade is called, an exit code leaves. Started under the name `bpftrace` it is
//! `skep trace`; a program that carries a script (`--aot`) is that with its script.

#![deny(clippy::print_stdout, clippy::print_stderr, reason = "they panic where nobody reads: see `out`")]

mod args;
mod commands;
mod exit;
mod out;

use args::{Cli, Command};
use clap::Parser;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;
use std::sync::OnceLock;

fn main() -> ExitCode {
    let bundle = match commands::bundle::carried() {
        Ok(bundle) => bundle,
        Err(error) => return commands::report(&error).into(),
    };
    if let Some(bundle) = &bundle {
        // It is set once, here.
        let _ = MADE_BY_BPFTRACE.set(bundle.bpftrace);
    }
    let words = bundle.as_ref().map(|bundle| bundle.words.as_slice());
    let cli = match Cli::try_parse_from(arguments(std::env::args_os().collect(), words)) {
        Ok(cli) => cli,
        Err(error) => return commands::usage(&error).into(),
    };
    let result = match cli.command {
        Command::Trace(mut options) => {
            options.carried = bundle.map(|bundle| (bundle.name, bundle.text));
            commands::trace::run(&options)
        }
        Command::Capture(options) => commands::capture::run(&options),
        Command::Route(options) => commands::route::run(&options),
        Command::Run(options) => commands::run::run(&options),
        Command::Load(options) => commands::load::run(&options),
        Command::Maps(options) => commands::maps::run(&options),
        Command::Progs(options) => commands::progs::run(&options),
        Command::Links(options) => commands::progs::links(&options),
        Command::Disasm(options) => commands::assembly::disasm(&options),
        Command::Asm(options) => commands::assembly::asm(&options),
        Command::Doctor(options) => commands::doctor::run(&options),
        Command::Conformance(options) => commands::conformance::run(&options),
        Command::Completions { shell } => commands::generate::completions(shell),
        Command::Man { dir } => commands::generate::man(&dir),
    };
    match (result, out::trouble()) {
        (Ok(code), None) => code,
        (Ok(_), Some(error)) => commands::unwritten(error).into(),
        (Err(error), _) => commands::report(&error).into(),
    }
}

/// Of a program that carries a script: whether that was made under the name `bpftrace`.
static MADE_BY_BPFTRACE: OnceLock<bool> = OnceLock::new();

/// Whether this program was started under the name `bpftrace`.
pub(crate) fn is_bpftrace() -> bool {
    let named = || std::env::args_os().next().is_some_and(|name| names_bpftrace(&name));
    MADE_BY_BPFTRACE.get().copied().unwrap_or_else(named)
}

fn names_bpftrace(program: &OsStr) -> bool {
    Path::new(program).file_name().is_some_and(|name| name == "bpftrace")
}

/// The arguments with the command that the program's name implies; those of a program that carries a script come behind
/// the words that it carries.
fn arguments(mut args: Vec<OsString>, carried: Option<&[String]>) -> Vec<OsString> {
    let implied = carried.is_some() || args.first().is_some_and(|name| names_bpftrace(name));
    if !implied {
        return args;
    }
    let words = std::iter::once("trace").chain(carried.into_iter().flatten().map(String::as_str));
    args.splice(1..1, words.map(OsString::from));
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
        let args = |list: &[&str]| arguments(list.iter().map(OsString::from).collect(), None);
        assert_eq!(args(&["/usr/bin/bpftrace", "-e", "x"]), ["/usr/bin/bpftrace", "trace", "-e", "x"]);
        assert_eq!(args(&["skep", "doctor"]), ["skep", "doctor"]);
    }

    #[test]
    fn a_script_that_is_carried_has_its_words_first() {
        let words = ["-k".to_owned()];
        let args = arguments(["./tool", "-f", "json"].map(OsString::from).to_vec(), Some(&words));
        assert_eq!(args, ["./tool", "trace", "-k", "-f", "json"]);
    }

    /// The words of all live tests.
    fn words_of_live_tests(folder: &Path, words: &mut std::collections::HashSet<String>) {
        for entry in std::fs::read_dir(folder).expect("the live tests").flatten() {
            let path = entry.path();
            if path.is_dir() {
                words_of_live_tests(&path, words);
            } else if path.extension().is_some_and(|e| e == "test") {
                let text = std::fs::read_to_string(&path).expect("a live test");
                let said = text.lines().filter(|line| !line.starts_with("about:") && !line.starts_with('#'));
                words.extend(said.flat_map(|line| line.split([' ', '"', '\'', '=', ','])).map(str::to_owned));
            }
        }
    }

    #[test]
    fn every_option_of_trace_that_help_names_has_a_live_test() {
        let mut words = std::collections::HashSet::new();
        words_of_live_tests(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/kernel"), &mut words);
        let cli = Cli::command();
        let trace = cli.find_subcommand("trace").expect("the command");
        let short = |letter: char| {
            let is_it = |w: &String| {
                w.strip_prefix('-').is_some_and(|l| l.chars().all(char::is_alphabetic) && l.contains(letter))
            };
            words.iter().any(is_it)
        };
        let missing: Vec<String> = trace
            .get_arguments()
            .filter(|option| {
                !option.is_hide_set() && (option.get_short().is_some() || option.get_long().is_some())
            })
            .filter(|option| !option.get_short().is_some_and(short))
            .filter(|option| !option.get_long().is_some_and(|long| words.contains(&format!("--{long}"))))
            .map(|option| option.get_id().to_string())
            .collect();
        assert!(trace.get_arguments().count() > 30 && missing.is_empty(), "without a live test: {missing:?}");
    }
}
