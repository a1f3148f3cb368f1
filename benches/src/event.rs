//! Cost in the kernel of one matched event, by `kernel.bpf_stats_enabled`: total run time of the tool's programs over
//! the number of calls that the load made and the script matched.

use crate::load::Load;
use crate::stat::{RunStats, median};
use crate::tracer::Command;
use anyhow::Result;

const CALLS: u64 = 200_000;

/// Name, script, load, events that the script matches in one call of the load.
const CASES: &[(&str, &str, Load, u64)] = &[
    ("count()", "tracepoint:raw_syscalls:sys_enter { @ = count(); }", Load::Getppid, 1),
    ("@[comm] = count()", "tracepoint:raw_syscalls:sys_enter { @[comm] = count(); }", Load::Getppid, 1),
    ("hist", "tracepoint:raw_syscalls:sys_enter { @ = hist(args.id); }", Load::Getppid, 1),
    (
        "predicate, hist and lhist",
        "tracepoint:raw_syscalls:sys_enter /comm == \"skep-bench\"/ \
         { @us = hist(args.id); @l = lhist(args.id, 0, 400, 20); }",
        Load::Getppid,
        1,
    ),
    (
        "latency by map",
        "tracepoint:syscalls:sys_enter_read { @start[tid] = nsecs; } \
         tracepoint:syscalls:sys_exit_read /@start[tid]/ \
         { @ns[comm] = hist(nsecs - @start[tid]); delete(@start[tid]); }",
        Load::Read,
        2,
    ),
    (
        "openat printf",
        "tracepoint:syscalls:sys_enter_openat { printf(\"%-6d %-16s %s\\n\", pid, comm, str(args->filename)); }",
        Load::Open,
        1,
    ),
];

/// Prints a line for each script.
pub(crate) fn measure(skep: &Command, peer: &Command, rounds: usize) -> Result<()> {
    let _stats = RunStats::on()?;
    println!("\nrun time in the kernel per matched event, ns (median of {rounds}; {CALLS} calls a round)");
    println!("  {:<28}{:>9}{:>9}{:>8}   runs per matched event", "script", skep.name, peer.name, "ratio");
    for (name, script, load, events) in CASES {
        let mut nanos = [Vec::new(), Vec::new()];
        let mut rates = [0.0, 0.0];
        for _ in 0..rounds {
            for (i, command) in [skep, peer].into_iter().enumerate() {
                let tracer = command.start(script)?;
                let before = tracer.cost()?;
                load.run(CALLS)?;
                let after = tracer.cost()?;
                let matched = (CALLS * events) as f64;
                nanos[i].push((after.nanos - before.nanos) as f64 / matched);
                rates[i] = (after.runs - before.runs) as f64 / matched;
                tracer.stop()?;
            }
        }
        let [a, b] = nanos.map(median);
        println!("  {name:<28}{a:>9.0}{b:>9.0}{:>8.2}   {:.2} and {:.2}", a / b, rates[0], rates[1]);
    }
    Ok(())
}
