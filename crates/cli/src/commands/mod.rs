//! One file per command. Each takes its options and gives an exit code, or an error that [`report`] shows.

pub(crate) mod doctor;
pub(crate) mod generate;
pub(crate) mod info;
pub(crate) mod list;
pub(crate) mod trace;

use crate::exit::Exit;
use std::io::IsTerminal;

/// Shows an error on standard error and says with which code to exit.
pub(crate) fn report(error: &anyhow::Error) -> Exit {
    let color = std::io::stderr().is_terminal();
    match error.downcast_ref::<skep::Error>() {
        Some(error) => {
            eprint!("{}", error.render(color));
            if error.is_internal() { Exit::Internal } else { Exit::Failure }
        }
        None if is_closed_pipe(error) => Exit::Ok,
        None => {
            eprintln!("error: {error:#}");
            Exit::Failure
        }
    }
}

/// Whether the reader of our output has gone.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|e| e.downcast_ref::<std::io::Error>());
    io.is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}
