//! `skep-fuzz`: feeds inputs to everything that reads input, and says what broke.
//!
//! In: targets, how many inputs, a seed. Out: one line a target; failing inputs in `target/fuzz`. Exit code 0 only if nothing
//! broke. Always: an input is determined by target, seed and number, so that every failure can be shown again; inputs are
//! taken by processes of their own, so that one that ends its process, or never ends, is found too.

mod corpus;
mod grammar;
mod mutate;
mod parent;
mod rng;
mod targets;
mod worker;

/// The backend of plain data that the runtime's tests print from.
#[path = "../../crates/runtime/tests/support/mod.rs"]
#[allow(clippy::all, clippy::unwrap_used, clippy::panic, reason = "shared with tests")]
mod backend;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask fuzz [TARGET…] [--count N] [--seed N] [--jobs N]
           N inputs (10,000) for each target, all of them without a name, in so many processes at a time (2)
       cargo xtask fuzz --show TARGET SEED NUMBER   prints an input
       cargo xtask fuzz --take TARGET FILE          takes one input from a file, as those in target/fuzz/TARGET

An input that breaks something is kept as target/fuzz/TARGET/SEED-NUMBER. Equal seeds give equal inputs as long as the
fixtures, which inputs are made from, are the same.

targets:";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["--help", ..] => {
            println!("{USAGE}");
            targets::TARGETS.iter().for_each(|(name, about, _)| println!("  {name:<12} {about}"));
            Ok(true)
        }
        ["--worker", target, seed, from, to, progress] => worker::run(target, seed, from, to, progress),
        ["--show", target, seed, number] => worker::show(target, seed, number),
        ["--take", target, file] => worker::take_file(target, file),
        _ => parent::run(&words),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("skep-fuzz: {message}");
            ExitCode::from(2)
        }
    }
}
