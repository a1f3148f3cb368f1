//! Time that tracing adds to a system call, seen from the process that calls: traced and untraced calls.

use crate::load::Load;
use crate::stat::median;
use crate::tracer::Command;
use anyhow::Result;

const CALLS: u64 = 300_000;

/// Name, script, traced load, untraced load.
const CASES: &[(&str, &str, Load, Option<Load>)] = &[
    ("count()", "tracepoint:raw_syscalls:sys_enter { @ = count(); }", Load::Getppid, None),
    ("@[comm] = count()", "tracepoint:raw_syscalls:sys_enter { @[comm] = count(); }", Load::Getppid, None),
    (
        "openat printf",
        "tracepoint:syscalls:sys_enter_openat { printf(\"%-6d %-16s %s\\n\", pid, comm, str(args->filename)); }",
        Load::Open,
        Some(Load::Getppid),
    ),
    (
        "latency by map",
        "tracepoint:syscalls:sys_enter_read { @start[tid] = nsecs; } \
         tracepoint:syscalls:sys_exit_read /@start[tid]/ \
         { @ns[comm] = hist(nsecs - @start[tid]); delete(@start[tid]); }",
        Load::Read,
        Some(Load::Getppid),
    ),
];

/// Prints a line for each script and load.
pub(crate) fn measure(skep: &Command, peer: &Command, rounds: usize) -> Result<()> {
    println!(
        "\ntime added to one call, ns (median of {rounds}; {CALLS} calls a round; open counts openat and close)"
    );
    println!("  {:<22}{:<10}{:>9}{:>9}{:>9}{:>8}", "script", "calls", "bare", skep.name, peer.name, "ratio");
    for (name, script, traced, untraced) in CASES {
        let loads = [Some((*traced, "traced")), untraced.map(|l| (l, "untraced"))];
        let loads: Vec<_> = loads.into_iter().flatten().collect();
        // times[load][bare, skep, peer]
        let mut times = vec![[Vec::new(), Vec::new(), Vec::new()]; loads.len()];
        for _ in 0..rounds {
            for (i, command) in [None, Some(skep), Some(peer)].into_iter().enumerate() {
                let tracer = command.map(|c| c.start(script)).transpose()?;
                for ((load, _), times) in loads.iter().zip(&mut times) {
                    times[i].push(load.run(CALLS)?);
                }
                tracer.map(|t| t.stop()).transpose()?;
            }
        }
        for ((_, kind), times) in loads.iter().zip(times) {
            let [bare, a, b] = times.map(median);
            let (a, b) = (a - bare, b - bare);
            println!("  {name:<22}{kind:<10}{bare:>9.0}{a:>+9.0}{b:>+9.0}{:>8.2}", a / b);
        }
    }
    Ok(())
}
