//! Runs all cases and says how they went.
//!
//! In: the options. Out: one line per run on standard output, a closing line, the tally.
//! Always: a case is skipped only because the kernel lacks what it names; the closing line comes last. A run that failed and
//! in which the kernel says that it skipped runs of probes is made again, and both are told: on a kernel that preempts
//! itself, a task that is preempted within a program keeps that program from all other tasks on its CPU
//! (kernel/trace/bpf_trace.c, Linux 7.2, trace_call_bpf_faultable), so a case that counts may find less.

use std::time::Instant;

use crate::args::{Options, Style};
use crate::expect;
use crate::feature::Kernel;
use crate::fixture::{self, Case};
use crate::replay;
use crate::run::{self, Way};
use crate::transcript;

/// How often a run is made in which the kernel skipped runs of probes.
const ATTEMPTS: u32 = 3;

/// How many runs went how.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Tally {
    /// Nothing failed, and there was something to do.
    pub(crate) fn good(&self) -> bool {
        self.failed == 0 && self.passed + self.skipped > 0
    }
}

/// Runs every case that the options select.
pub(crate) fn run_all(options: &Options) -> Result<Tally, String> {
    let all = fixture::read_dir(&options.fixtures)?;
    let cases: Vec<&Case> = all.iter().filter(|case| selected(case, options)).collect();
    if options.list {
        cases.iter().for_each(|case| println!("{}", case.name));
        return Ok(Tally { skipped: 1, ..Tally::default() });
    }
    if !rustix::process::geteuid().is_root() {
        return Err("must be root: the fixtures load programs into the kernel".to_owned());
    }
    let kernel = Kernel::probe()?;
    println!("{}", kernel.summary());
    if let Some(dir) = &options.emit_to {
        let passed = crate::object::emit_all(&cases, options, &kernel, dir)?;
        return Ok(Tally { passed, ..Tally::default() });
    }
    let mut tally = Tally::default();
    for case in cases {
        run_case(case, options, &kernel, &mut tally);
    }
    println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped);
    Ok(tally)
}

fn selected(case: &Case, options: &Options) -> bool {
    let named = options.filters.is_empty()
        || options.filters.iter().any(|filter| case.name.contains(filter.as_str()));
    named && (case.smoke || !options.smoke)
}

fn run_case(case: &Case, options: &Options, kernel: &Kernel, tally: &mut Tally) {
    if let Some(reason) = why_not(case, options, kernel) {
        println!("skip  {}: {reason}", case.name);
        tally.skipped += 1;
        return;
    }
    let twice = case.twice && options.style == Style::Skep;
    let mut ways = vec![Way::Passes];
    ways.extend(twice.then_some(Way::NoPasses));
    let replayed = options.replay && options.style == Style::Skep && replay::takes_part(case);
    if let Some(reason) = case.not_replayed.as_ref().filter(|_| replayed) {
        println!("skip  {} [replayed]: {reason}", case.name);
        tally.skipped += 1;
    } else {
        ways.extend(replayed.then_some(Way::Replayed));
    }
    for way in ways {
        let label = match (twice, way) {
            (true, Way::Passes) => format!("{} [passes on]", case.name),
            (_, Way::Passes) => case.name.clone(),
            (_, Way::NoPasses) => format!("{} [passes off]", case.name),
            (_, Way::Replayed) => format!("{} [replayed]", case.name),
        };
        let start = Instant::now();
        let mut tried = attempt(case, options, way);
        for again in 2..=ATTEMPTS {
            if tried.good || tried.skipped == 0 {
                break;
            }
            println!(
                "again {label}: the kernel skipped {} runs of its probes (run {again} of {ATTEMPTS})",
                tried.skipped
            );
            tried.lines.iter().for_each(|line| println!("      {line}"));
            tried = attempt(case, options, way);
        }
        let Tried { good, lines, .. } = tried;
        let took = start.elapsed().as_secs_f32();
        println!("{}  {label} ({took:.1} s)", if good { "ok  " } else { "FAIL" });
        if !good || options.verbose {
            lines.iter().for_each(|line| println!("      {line}"));
        }
        if good { tally.passed += 1 } else { tally.failed += 1 }
    }
}

/// Why a case is skipped; `None` when it must run.
fn why_not(case: &Case, options: &Options, kernel: &Kernel) -> Option<String> {
    if let Some(need) = kernel.lacks(&case.needs) {
        return Some(format!("needs {need}"));
    }
    if options.style != Style::Bpftrace {
        return None;
    }
    let need = kernel.lacks(&case.bpftrace_needs).map(|need| format!("bpftrace needs {need}"));
    case.not_bpftrace.as_ref().map(|reason| format!("not for bpftrace: {reason}")).or(need)
}

/// What one run came to.
struct Tried {
    good: bool,
    /// Its transcript.
    lines: Vec<String>,
    /// Runs of its probes that the kernel skipped, as the program says.
    skipped: u64,
}

/// One run.
fn attempt(case: &Case, options: &Options, way: Way) -> Tried {
    match run::run(case, options, way) {
        Err(message) => Tried { good: false, lines: vec![format!("reason: {message}")], skipped: 0 },
        Ok(ran) => {
            let mut reasons: Vec<String> = ran.trouble.into_iter().collect();
            reasons.extend(expect::check(case, &ran.output, &ran.vars));
            reasons.extend(ran.differences);
            Tried {
                good: reasons.is_empty(),
                lines: transcript::render(&ran.command, &ran.output, &reasons),
                skipped: skipped_runs(&ran.output.stderr),
            }
        }
    }
}

/// N of the line `WARNING: the kernel skipped N probe runs …`.
fn skipped_runs(stderr: &[String]) -> u64 {
    let counts =
        stderr.iter().filter_map(|line| line.split_once("the kernel skipped ")?.1.split_once(" probe runs"));
    counts.filter_map(|(count, _)| count.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_runs_are_read_from_the_warning() {
        let lines =
            ["Attached 2 probes", "WARNING: the kernel skipped 244 probe runs (recursion misses): a program"];
        assert_eq!(skipped_runs(&lines.map(str::to_owned)), 244);
        assert_eq!(skipped_runs(&["Lost 3 events".to_owned()]), 0);
    }
}
