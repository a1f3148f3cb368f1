//! The live-test harness: runs the fixtures of `tests/kernel` against a `skep` binary on the running kernel.
//!
//! In: the path of a skep binary, a directory of `*.test` files (see `fixture`), options.
//! Out: one line per run (`ok`, `FAIL` with its reason, `skip` with the missing feature), then `N passed, N failed,
//! N skipped`; exit code 0 only if nothing failed and something passed or was skipped.
//! Always: every run is bounded in time, and nothing is signalled but processes that this program started.
//!
//! The same binary is the load: `livetest workload NAME ARGS…` does the system calls that the fixtures trace.

mod args;
mod around;
mod cgroup;
mod expect;
mod feature;
mod fixture;
mod load;
mod net;
mod object;
mod replay;
mod report;
mod run;
mod sum;
mod transcript;
mod vars;
mod workload;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "workload") {
        return match workload::run(&arguments[1..]) {
            Ok(()) => ExitCode::SUCCESS,
            Err(message) => {
                eprintln!("livetest workload: {message}");
                ExitCode::from(2)
            }
        };
    }
    let inner = match arguments.split_first() {
        Some((first, words)) if first == "net-holder" => Some(net::hold(words)),
        Some((first, words)) if first == "in-net" => Some(net::run_in(words)),
        _ => None,
    };
    if let Some(done) = inner {
        return match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(message) => {
                eprintln!("livetest: {message}");
                ExitCode::from(2)
            }
        };
    }
    if arguments.first().is_some_and(|first| first == "--help") {
        println!("{}", args::USAGE);
        return ExitCode::SUCCESS;
    }
    match args::parse(&arguments).and_then(|options| report::run_all(&options)) {
        Ok(tally) if tally.good() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("livetest: {message}");
            ExitCode::from(2)
        }
    }
}
