//! A capturing tool in a process of its own: started, known to receive, asked for its time, ended with SIGINT and asked what
//! it lost.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// KiB of room for packets in the kernel.
const ROOM: &str = "8192";
/// How long a tool must be idle to have read everything, and the longest wait for that.
const IDLE: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(10);

/// Which tool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    Tcpdump,
    Skep { processes: bool },
}

impl Form {
    /// The command that writes what comes from `interface` to `path`.
    pub(super) fn words(self, skep: &str, interface: &str, snaplen: Option<u32>, path: &Path) -> Vec<String> {
        let tool = match self {
            Form::Tcpdump => "tcpdump -n -Z root".to_owned(),
            Form::Skep { processes: false } => format!("{skep} capture"),
            Form::Skep { processes: true } => format!("{skep} capture --process"),
        };
        let snaplen = snaplen.map_or(String::new(), |bytes| format!(" -s {bytes}"));
        let line = format!("taskset 1 {tool} -i {interface} -B {ROOM}{snaplen} -w");
        line.split_whitespace().map(str::to_owned).chain([path.display().to_string()]).collect()
    }

    /// What it says when it receives.
    fn ready(self) -> &'static str {
        match self {
            Form::Tcpdump => "listening on",
            Form::Skep { .. } => "capturing on",
        }
    }

    /// What stands behind the numbers of packets that it has taken and lost.
    fn counts(self) -> (&'static str, &'static str) {
        match self {
            Form::Tcpdump => ("packets captured", "packets dropped by kernel"),
            Form::Skep { .. } => ("captured", "dropped by the kernel"),
        }
    }
}

/// What a run has shown, in nanoseconds for each packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// User and system time of the tool, for each packet that it took.
    pub(super) total: f64,
    /// The user's part.
    pub(super) user: f64,
    /// What sending cost the sender.
    pub(super) sent: f64,
    /// Part of all packets that was lost.
    pub(super) lost: f64,
}

/// Runs a tool while `send` sends.
pub(super) fn run(form: Form, words: &[String], send: impl FnOnce() -> Result<f64>) -> Result<Run> {
    let (program, rest) = words.split_first().context("an empty command")?;
    let mut command = Command::new(program);
    command.args(rest).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut tool = Tool { child: command.spawn().with_context(|| program.clone())? };
    let mut messages = BufReader::new(tool.child.stderr.take().context("no messages")?);
    let mut line = String::new();
    while !line.contains(form.ready()) {
        line.clear();
        ensure!(messages.read_line(&mut line)? > 0, "{words:?} ended at once");
    }
    std::thread::sleep(Duration::from_millis(50));
    let before = tool.time()?;
    let sent = send()?;
    let after = tool.idle()?;
    tool.interrupt()?;
    let mut said = String::new();
    messages.read_to_string(&mut said)?;
    let _ = tool.child.wait();
    let number = |what: &str| -> Result<f64> {
        let line = said.lines().find(|line| line.contains(what)).with_context(|| said.clone())?;
        Ok(line.split_whitespace().next().unwrap_or_default().parse()?)
    };
    let (taken, lost) = (number(form.counts().0)?, number(form.counts().1)?);
    let total = (after.total - before.total) as f64 / taken;
    let ticks = [after.user - before.user, after.system - before.system].map(|n| n as f64);
    let user = total * ticks[0] / (ticks[0] + ticks[1]).max(1.0);
    Ok(Run { total, user, sent, lost: lost / (taken + lost) })
}

struct Tool {
    child: Child,
}

/// Processor time.
#[derive(Clone, Copy, Debug)]
struct Time {
    /// Nanoseconds.
    total: u64,
    /// Clock ticks, by which the kernel tells both parts.
    user: u64,
    system: u64,
}

impl Tool {
    /// What all its threads have used.
    fn time(&self) -> Result<Time> {
        let pid = self.child.id();
        let mut total = 0;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            total += text.split_whitespace().next().context("no time")?.parse::<u64>()?;
        }
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let [user, system] = [11, 12].map(|i| fields.get(i).and_then(|f| f.parse().ok()));
        Ok(Time { total, user: user.context("no user time")?, system: system.context("no system time")? })
    }

    /// Waits until it has read everything.
    fn idle(&self) -> Result<Time> {
        let begin = Instant::now();
        let mut last = self.time()?;
        while begin.elapsed() < LONGEST {
            std::thread::sleep(IDLE);
            let now = self.time()?;
            if now.total - last.total < 2_000_000 {
                return Ok(now);
            }
            last = now;
        }
        bail!("the tool does not come to rest");
    }

    fn interrupt(&self) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed()).context("no process")?;
        Ok(kill_process(pid, Signal::INT)?)
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
