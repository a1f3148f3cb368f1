//! Many probes at once: from process start to attached, peak memory, and from SIGINT to the end. One line for each script
//! and tracer. Scripts that this kernel has no hooks for are left out.

use crate::stat::median;
use crate::tracer::Command;
use anyhow::Result;
use std::time::Instant;

/// Name, script, what the kernel must have for it.
const CASES: &[(&str, &str, Option<&str>)] = &[
    ("sys_enter_*, count()", "tracepoint:syscalls:sys_enter_* { @ = count(); }", None),
    ("sys_enter_*, @[probe]", "tracepoint:syscalls:sys_enter_* { @[probe] = count(); }", None),
    ("sched:*, @[probe]", "tracepoint:sched:* { @[probe] = count(); }", None),
    ("one kprobe", "kprobe:vfs_read { @ = count(); }", Some(KPROBES)),
    ("kprobe:t*", "config = { max_probes = 100000 } kprobe:t* { @ = count(); }", Some(KPROBES)),
    ("kprobe:s*", "config = { max_probes = 100000 } kprobe:s* { @ = count(); }", Some(KPROBES)),
];
const KPROBES: &str = "/sys/bus/event_source/devices/kprobe";
/// Most rounds: a peer may take half a minute to detach.
const ROUNDS: usize = 3;

/// Prints a table and the ratios.
pub(crate) fn measure(skep: &Command, peer: &Command, rounds: usize) -> Result<()> {
    let rounds = rounds.min(ROUNDS);
    println!(
        "\nmany probes: start to attached, peak memory, detached (median of {rounds}; ratios skep to peer)"
    );
    println!("  {:<24}{:<6}{:>12}{:>12}{:>14}", "script", "", "attach ms", "peak MiB", "detach ms");
    for (name, script, needs) in CASES {
        if needs.is_some_and(|path| !std::path::Path::new(path).exists()) {
            println!("  {name:<24}this kernel has no such hook");
            continue;
        }
        if name.contains('*') && name.starts_with("kprobe") {
            println!("  {name:<24}{} functions", skep.listed(name)?);
        }
        let mut of: [[Vec<f64>; 3]; 2] = Default::default();
        for _ in 0..rounds {
            for (command, figures) in [skep, peer].into_iter().zip(&mut of) {
                let tracer = command.start(script)?;
                figures[0].push(tracer.attach_time.as_secs_f64() * 1e3);
                figures[1].push(tracer.peak_kib()? as f64 / 1024.0);
                let begin = Instant::now();
                tracer.stop()?;
                figures[2].push(begin.elapsed().as_secs_f64() * 1e3);
            }
        }
        let [ours, theirs] = of.map(|figures| figures.map(median));
        for (tool, f) in [(skep.name, ours), (peer.name, theirs)] {
            println!("  {name:<24}{tool:<6}{:>12.1}{:>12.1}{:>14.1}", f[0], f[1], f[2]);
        }
        let ratio = |n: usize| format!("1/{:.1}", theirs[n] / ours[n]);
        println!("  {:<24}{:<6}{:>12}{:>12}{:>14}", "", "ratio", ratio(0), ratio(1), ratio(2));
    }
    Ok(())
}
