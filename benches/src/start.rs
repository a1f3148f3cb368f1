//! Process start to all probes attached, and peak memory: one tracepoint with arguments.

use crate::stat::median;
use crate::tracer::Command;
use anyhow::Result;

const SCRIPT: &str = "tracepoint:syscalls:sys_enter_openat \
                      { printf(\"%-6d %-16s %s\\n\", pid, comm, str(args.filename)); }";

/// Prints a line for each tracer and the ratios.
pub(crate) fn measure(skep: &Command, peer: &Command, rounds: usize) -> Result<()> {
    let mut times = [Vec::new(), Vec::new()];
    let mut peaks = [0, 0];
    for _ in 0..rounds {
        for (i, command) in [skep, peer].into_iter().enumerate() {
            let tracer = command.start(SCRIPT)?;
            times[i].push(tracer.attach_time.as_secs_f64() * 1e3);
            peaks[i] = tracer.peak_kib()?.max(peaks[i]);
            tracer.stop()?;
        }
    }
    let [a, b] = times.map(median);
    let mib = |kib: u64| kib as f64 / 1024.0;
    println!("\nstart to attached, one tracepoint with arguments (median of {rounds})");
    println!("  {:<6} {a:9.1} ms   peak {:7.1} MiB", skep.name, mib(peaks[0]));
    println!("  {:<6} {b:9.1} ms   peak {:7.1} MiB", peer.name, mib(peaks[1]));
    println!("  ratio  1/{:.1}        1/{:.1}", b / a, peaks[1] as f64 / peaks[0] as f64);
    Ok(())
}
