//! `skep conformance`: the plugin for bpf_conformance. A program enters on standard input, in hexadecimal; r0 leaves on standard
//! output, what is wrong on standard error.

use crate::args::Conformance;
use crate::exit::Exit;
use crate::out::{note, out};
use anyhow::Result;
use skep::conformance::Engine;
use std::io::Read;
use std::process::ExitCode;

/// Most bytes of a program's text.
const MAX: u64 = 64 << 20;

/// Runs the command.
pub(crate) fn run(options: &Conformance) -> Result<ExitCode> {
    let mut program = String::new();
    std::io::stdin().lock().take(MAX).read_to_string(&mut program)?;
    let engine = if options.jit { Engine::Jit { blind: options.blind } } else { Engine::Interpreter };
    Ok(match skep::conformance::run(&program, &options.memory, engine) {
        Ok(result) => {
            out!("{result:x}");
            Exit::Ok
        }
        Err(message) => {
            note!("error: {message}");
            Exit::Failure
        }
    }
    .into())
}
