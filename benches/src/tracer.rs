//! A running tracer: started with a script, known to be attached, asked for its cost, stopped with SIGINT.

use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command as Process, Stdio};
use std::time::{Duration, Instant};

/// What a tracer prints once everything is attached, when the environment variable of the same name is set.
const ATTACHED: &str = "__BPFTRACE_NOTIFY_PROBES_ATTACHED";

/// How to start a tracer.
#[derive(Debug)]
pub(crate) struct Command {
    /// Its name in the tables.
    pub(crate) name: &'static str,
    words: Vec<String>,
}

/// A tracer that is attached.
#[derive(Debug)]
pub(crate) struct Tracer {
    child: Child,
    reader: Option<std::thread::JoinHandle<u64>>,
    /// From start to attached.
    pub(crate) attach_time: Duration,
}

/// What its programs did: from /proc/PID/fdinfo, with `kernel.bpf_stats_enabled` on.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Cost {
    /// Nanoseconds in all programs.
    pub(crate) nanos: u64,
    /// Runs of all programs.
    pub(crate) runs: u64,
}

impl Command {
    /// `words`: command and first arguments, separated by blanks.
    pub(crate) fn new(name: &'static str, words: &str) -> Command {
        Command { name, words: words.split_whitespace().map(str::to_owned).collect() }
    }

    /// How many probes it lists for a pattern.
    pub(crate) fn listed(&self, pattern: &str) -> Result<usize> {
        let (program, first) = self.words.split_first().context("an empty command")?;
        let output = Process::new(program).args(first).args(["-l", pattern]).output();
        let output = output.with_context(|| format!("cannot start {program}"))?;
        Ok(output.stdout.iter().filter(|byte| **byte == b'\n').count())
    }

    /// Runs it on `script`, from a file, to its end; how long that took.
    pub(crate) fn run_file(&self, script: &str) -> Result<Duration> {
        let path = crate::load::program()?.with_extension("bt");
        std::fs::write(&path, script)?;
        let (program, first) = self.words.split_first().context("an empty command")?;
        let begin = Instant::now();
        let status = Process::new(program)
            .args(first)
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .with_context(|| format!("cannot start {program}"))?;
        let took = begin.elapsed();
        if !status.success() {
            bail!("{} failed ({status}) on a script of {} lines", self.name, script.lines().count());
        }
        Ok(took)
    }

    /// Starts it with `script` and waits until it is attached. What it prints is read and counted.
    pub(crate) fn start(&self, script: &str) -> Result<Tracer> {
        let (program, first) = self.words.split_first().context("an empty command")?;
        let begin = Instant::now();
        let mut child = Process::new(program)
            .args(first)
            .args(["-e", script])
            .env(ATTACHED, "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        let stdout = child.stdout.take().context("no output")?;
        let mut lines = BufReader::new(stdout);
        let mut line = String::new();
        loop {
            line.clear();
            if lines.read_line(&mut line)? == 0 {
                let status = child.wait()?;
                bail!("{} ended before it was attached ({status}): {script}", self.name);
            }
            if line.trim_end() == ATTACHED {
                break;
            }
        }
        let attach_time = begin.elapsed();
        let reader = std::thread::spawn(move || count_lines(lines));
        Ok(Tracer { child, reader: Some(reader), attach_time })
    }
}

fn count_lines(mut lines: BufReader<ChildStdout>) -> u64 {
    let (mut count, mut line) = (0, Vec::new());
    while lines.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
        count += 1;
        line.clear();
    }
    count
}

impl Tracer {
    /// Peak resident memory so far, in KiB.
    pub(crate) fn peak_kib(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|l| l.starts_with("VmHWM:")).context("no VmHWM")?;
        Ok(line.split_whitespace().nth(1).context("no number")?.parse()?)
    }

    /// What its programs cost so far.
    pub(crate) fn cost(&self) -> Result<Cost> {
        let mut cost = Cost::default();
        let mut seen = Vec::new();
        for entry in std::fs::read_dir(format!("/proc/{}/fdinfo", self.child.id()))? {
            let Ok(text) = std::fs::read_to_string(entry?.path()) else { continue };
            let field = |name: &str| -> Option<u64> {
                text.lines().find(|l| l.starts_with(name))?.split_whitespace().nth(1)?.parse().ok()
            };
            let (Some(nanos), Some(runs)) = (field("run_time_ns:"), field("run_cnt:")) else { continue };
            let id = field("prog_id:");
            if !seen.contains(&id) {
                seen.push(id);
                cost.nanos += nanos;
                cost.runs += runs;
            }
        }
        Ok(cost)
    }

    /// Ends it with SIGINT and waits. Gives the number of lines that it printed.
    pub(crate) fn stop(mut self) -> Result<u64> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
        self.child.wait()?;
        let lines = self.reader.take().and_then(|r| r.join().ok()).unwrap_or(0);
        Ok(lines)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
