//! One file per command. Each takes its options and gives an exit code, or an error that [`report`] shows.

pub(crate) mod assembly;
pub(crate) mod bundle;
pub(crate) mod capture;
pub(crate) mod conformance;
pub(crate) mod doctor;
pub(crate) mod generate;
pub(crate) mod info;
pub(crate) mod list;
pub(crate) mod load;
pub(crate) mod maps;
mod object;
pub(crate) mod progs;
pub(crate) mod route;
pub(crate) mod run;
pub(crate) mod trace;
mod value;

use crate::exit::Exit;
use crate::out::note;
use clap::error::ErrorKind;
use skep::Style;
use std::io::IsTerminal;

/// How messages look: in the form of bpftrace for those who call us by its name.
pub(crate) fn style() -> Style {
    if crate::is_bpftrace() {
        Style::Lines
    } else {
        Style::Snippets { color: std::io::stderr().is_terminal() }
    }
}

/// Shows what is wrong with the arguments, or the help that they ask for.
pub(crate) fn usage(error: &clap::Error) -> Exit {
    // Help and version are "errors" too, for standard output. Nothing is left to do if writing fails.
    if !error.use_stderr() || !crate::is_bpftrace() {
        let _ = error.print();
        return if error.use_stderr() { Exit::Usage } else { Exit::Ok };
    }
    let refused = std::error::Error::source(error).filter(|_| error.kind() == ErrorKind::ValueValidation);
    match refused {
        Some(why) => note!("ERROR: {why}"),
        None => {
            let text = error.render().to_string().replacen("error: ", "ERROR: ", 1);
            crate::out::text(format_args!("{}", text.replacen("Usage: ", "USAGE:\n    ", 1)));
        }
    }
    Exit::Failure
}

/// Shows an error on standard error and says with which code to exit.
pub(crate) fn report(error: &anyhow::Error) -> Exit {
    match error.downcast_ref::<skep::Error>() {
        _ if is_closed_pipe(error) => Exit::Ok,
        Some(error) => {
            crate::out::text(format_args!("{}", error.render(style())));
            if error.is_internal() { Exit::Internal } else { Exit::Failure }
        }
        None => {
            let word = if crate::is_bpftrace() { "ERROR" } else { "error" };
            note!("{word}: {error:#}");
            Exit::Failure
        }
    }
}

/// Says that standard output could not be written, which its reader has no use for if it has gone.
pub(crate) fn unwritten(error: &std::io::Error) -> Exit {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        return Exit::Ok;
    }
    note!("error: cannot write to standard output: {error}");
    Exit::Failure
}

/// Whether the reader of our output has gone.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|e| e.downcast_ref::<std::io::Error>());
    io.is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}
