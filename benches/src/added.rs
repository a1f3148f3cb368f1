//! Time that tracing adds to one call, seen from the process that calls, over the scripts of each kind; and the geometric
//! mean of the ratios by kind. The least of the rounds counts: what disturbs only adds.

use crate::scripts::{CALLED, Script, TRACEPOINTS};
use crate::stat::geometric_mean;
use crate::tracer::Command;
use anyhow::Result;

const CALLS: u64 = 200_000;

/// Prints a table for each kind.
pub(crate) fn measure(skep: &Command, peer: &Command, rounds: usize) -> Result<()> {
    println!("\ntime added to one call, ns (least of {rounds}; {CALLS} calls a round)");
    println!("  {:<24}{:>9}{:>9}{:>9}{:>8}", "script", "bare", skep.name, peer.name, "ratio");
    kind("tracepoint", TRACEPOINTS, (skep, peer), rounds)?;
    for (name, scripts) in CALLED {
        kind(name, scripts, (skep, peer), rounds)?;
    }
    Ok(())
}

fn kind(name: &str, scripts: &[Script], (skep, peer): (&Command, &Command), rounds: usize) -> Result<()> {
    println!("  {name}:");
    let mut ratios = Vec::new();
    for script in scripts {
        let mut least = [f64::INFINITY; 3];
        for _ in 0..rounds {
            for (least, command) in least.iter_mut().zip([None, Some(skep), Some(peer)]) {
                let tracer = command.map(|c| c.start(&script.text())).transpose()?;
                *least = least.min(script.load.run(CALLS)?);
                tracer.map(|t| t.stop()).transpose()?;
            }
        }
        let [bare, a, b] = least;
        let (a, b) = (a - bare, b - bare);
        println!("  {:<24}{bare:>9.0}{a:>+9.0}{b:>+9.0}{:>8.2}", script.name, a / b);
        ratios.push(a / b);
    }
    println!("  {name}: geometric mean of the ratios {:.2}", geometric_mean(&ratios));
    Ok(())
}
