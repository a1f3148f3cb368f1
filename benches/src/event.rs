//! Cost in the kernel of one matched event, by `kernel.bpf_stats_enabled`: total run time of the tool's programs over
//! the number of calls that the load made and the script matched.

use crate::scripts::{CALLED, Script, TIMED, TRACEPOINTS};
use crate::stat::{RunStats, geometric_mean};
use crate::tracer::Command;
use anyhow::Result;

const CALLS: u64 = 200_000;

/// Prints a line for each script, and the geometric mean of the ratios by kind.
pub(crate) fn measure(skep: &Command, peer: &Command, rounds: usize) -> Result<()> {
    let _stats = RunStats::on()?;
    println!("\nrun time in the kernel per matched event, ns (least of {rounds}; {CALLS} calls a round)");
    println!("  {:<28}{:>9}{:>9}{:>8}   runs per matched event", "script", skep.name, peer.name, "ratio");
    kind("tracepoint", TRACEPOINTS, (skep, peer), rounds)?;
    for (name, scripts) in CALLED.iter().chain(TIMED) {
        kind(name, scripts, (skep, peer), rounds)?;
    }
    Ok(())
}

fn kind(name: &str, scripts: &[Script], (skep, peer): (&Command, &Command), rounds: usize) -> Result<()> {
    println!("  {name}:");
    let mut ratios = Vec::new();
    for script in scripts {
        let ([a, b], rates) = match one(script, [skep, peer], rounds) {
            Ok(measured) => measured,
            // What one of the two cannot attach on this kernel is no comparison.
            Err(why) => {
                println!("  {:<28} not measured: {why}", script.name);
                continue;
            }
        };
        println!("  {:<28}{a:>9.0}{b:>9.0}{:>8.2}   {:.2} and {:.2}", script.name, a / b, rates[0], rates[1]);
        ratios.push(a / b);
    }
    if !ratios.is_empty() {
        println!("  {name}: geometric mean of the ratios {:.2}", geometric_mean(&ratios));
    }
    Ok(())
}

/// Nanoseconds of a matched event and runs for each, of both commands.
fn one(script: &Script, commands: [&Command; 2], rounds: usize) -> Result<([f64; 2], [f64; 2])> {
    let mut least = [f64::INFINITY; 2];
    let mut rates = [0.0, 0.0];
    // What fires by the clock has to run for a while.
    let calls = if script.events == 0 { CALLS * 60 } else { CALLS };
    for _ in 0..rounds {
        for (i, command) in commands.into_iter().enumerate() {
            let tracer = command.start(&script.text())?;
            let before = tracer.cost()?;
            script.load.run(calls)?;
            let after = tracer.cost()?;
            tracer.stop()?;
            // Without events of its own: all that the programs did, by the run.
            let (matched, nanos) = match script.events {
                0 => (after.runs as f64, after.nanos as f64),
                events => ((calls * events) as f64, (after.nanos - before.nanos) as f64),
            };
            least[i] = least[i].min(nanos / matched);
            rates[i] = (after.runs - before.runs) as f64 / matched;
        }
    }
    Ok((least, rates))
}
