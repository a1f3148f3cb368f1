//! Events that reach the output, per second, while a loop on one CPU makes them as fast as it can; and how many are lost.

use crate::load::Load;
use crate::tracer::Command;
use anyhow::Result;
use std::time::{Duration, Instant};

const CALLS: u64 = 2_000_000;
const SCRIPT: &str = "tracepoint:raw_syscalls:sys_enter /comm == \"skep-bench\"/ \
                      { printf(\"%d %s %d\\n\", pid, comm, args.id); }";
/// What is still on its way when the load has ended gets so long.
const SETTLE: Duration = Duration::from_millis(300);

/// Prints a line for each tracer and round, and the ratio of the best ones.
pub(crate) fn measure(skep: &Command, peer: &Command, rounds: usize) -> Result<()> {
    println!("\nprintf from a tight loop ({CALLS} calls)");
    println!("  {:<8}{:>12}{:>12}{:>14}{:>12}", "", "delivered", "lost", "events/s", "loop s");
    let mut best = [0f64; 2];
    for _ in 0..rounds {
        for (best, command) in best.iter_mut().zip([skep, peer]) {
            let tracer = command.start(SCRIPT)?;
            let begin = Instant::now();
            Load::Getppid.run(CALLS)?;
            let took = begin.elapsed().as_secs_f64();
            std::thread::sleep(SETTLE);
            // The load makes a handful of calls of its own, at its start and end.
            let delivered = tracer.stop()?.min(CALLS);
            let rate = delivered as f64 / took;
            *best = best.max(rate);
            let lost = CALLS - delivered;
            println!("  {:<8}{delivered:>12}{lost:>12}{rate:>14.0}{took:>12.2}", command.name);
        }
    }
    println!("  ratio of the best rounds: {:.1}", best[0] / best[1]);
    Ok(())
}
