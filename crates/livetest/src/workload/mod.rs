//! What fixtures trace: small programs built into this binary, each with an exact number of system calls or events.
//!
//! In: `[cpu=N] [wait=MS] [stay=MS] NAME ARGS…`, and from the environment a name for the process and whether to stop before the work.
//! Out: the work done, or a message. Always: between the stop and the work nothing else happens in the process.

mod calls;
mod frames;
pub(crate) mod machine;
mod processes;
mod target;
mod usdt;

use std::ffi::CString;

use rustix::process::{Signal, getpid, kill_process};
use rustix::thread::CpuSet;

/// One workload: its name, its arguments' names, its work.
struct Workload {
    name: &'static str,
    usage: &'static str,
    arguments: usize,
    work: fn(&[String]) -> Result<(), String>,
}

const fn workload(
    name: &'static str,
    usage: &'static str,
    arguments: usize,
    work: fn(&[String]) -> Result<(), String>,
) -> Workload {
    Workload { name, usage, arguments, work }
}

/// All workloads. `usage` is what `tests/kernel/README.md` says of them, in short.
const WORKLOADS: &[Workload] = &[
    workload("getppid", "N: getppid, N times", 1, calls::getppid),
    workload("each-cpu", "N: getppid, N times on every CPU in turn", 1, calls::each_cpu),
    workload("openat", "PATH N: opens a file for reading and closes it, N times", 2, calls::openat),
    workload("read", "N BYTES: reads from /dev/zero, N times", 2, calls::read),
    workload("write", "N BYTES: writes to /dev/null, N times", 2, calls::write),
    workload("tcp-loopback", "N: connects to a listener of its own, N times", 1, calls::tcp_loopback),
    workload("tcp-silent", "MILLISECONDS: connects to a listener that does not answer", 1, calls::tcp_silent),
    workload("naps", "N MS: sleeps, N times", 2, calls::naps),
    workload("spin", "MS: uses that much time of a CPU", 1, calls::spin),
    workload("faults", "N: touches N fresh pages", 1, calls::faults),
    workload("threads", "N: N threads, one after another, each calling getppid once", 1, calls::threads),
    workload("say", "TEXT: prints a line", 1, calls::say),
    workload("fork", "N: starts N children that end at once", 1, processes::fork),
    workload("exec", "PATH: becomes another program, without arguments", 1, processes::exec),
    workload("exec-args", "PATH ARG: becomes another program, with one argument", 2, processes::exec_arg),
    workload("frames", "INTERFACE FILE: sends the frames of a file", 2, frames::frames),
    workload(
        "packets",
        "INTERFACE FILE: the same for IPv4 packets, without a header of the link",
        2,
        frames::packets,
    ),
    workload(
        "gso-frames",
        "INTERFACE FILE LINEAR SEGMENT: the same, for the device to cut, LINEAR bytes of each in one piece",
        4,
        frames::gso_frames,
    ),
    workload("exit", "CODE: ends", 1, processes::exit),
    workload("uprobe-target", "N: calls livetest_target(i, \"bee <i>\") for i = 1 to N", 1, target::call),
    workload(
        "uprobe-text",
        "N TEXT: calls livetest_target(i, TEXT) for i = 1 to N",
        2,
        target::call_with_text,
    ),
    workload("usdt", "N TEXT: passes the probes of this binary N times", 2, usdt::pass),
    workload("poke", "PATH N: becomes a program that writes to address 0x400090, N times", 2, machine::poke),
    workload("exec32", "PATH N: becomes a 32-bit program, getpid N times", 2, machine::exec32),
    workload("int80", "PATH N: becomes a 64-bit program, getpid N times through int 0x80", 2, machine::int80),
    workload(
        "sigreturn",
        "PATH N: becomes a program that handles N signals from itself",
        2,
        machine::sigreturn,
    ),
];

fn find(name: &str) -> Result<&'static Workload, String> {
    WORKLOADS.iter().find(|workload| workload.name == name).ok_or_else(|| {
        let known: Vec<String> = WORKLOADS.iter().map(|w| format!("  {} {}", w.name, w.usage)).collect();
        format!("unknown workload `{name}`; there are\n{}", known.join("\n"))
    })
}

/// Whether these words name a workload with the right number of arguments.
pub(crate) fn check(words: &[String]) -> Result<(), String> {
    let name = words.first().ok_or("a load needs the name of a workload")?;
    let workload = find(name)?;
    match words.len() - 1 == workload.arguments {
        true => Ok(()),
        false => Err(format!("{name} takes {}", workload.usage)),
    }
}

/// Runs the workload that the words name.
pub(crate) fn run(words: &[String]) -> Result<(), String> {
    let mut words = words;
    let mut take = |prefix: &str| -> Result<Option<usize>, String> {
        let Some(value) = words.first().and_then(|word| word.strip_prefix(prefix)) else { return Ok(None) };
        let value = count(value)?;
        words = &words[1..];
        Ok(Some(value))
    };
    let cpu = take("cpu=")?;
    let wait = take("wait=")?;
    let stay = take("stay=")?;
    check(words)?;
    let workload = find(&words[0])?;
    if let Some(cpu) = cpu {
        pin(cpu)?;
    }
    if let Ok(pid) = std::env::var(crate::net::NET) {
        crate::net::enter(&pid)?;
    }
    if let Ok(folder) = std::env::var(crate::cgroup::CGROUP) {
        crate::cgroup::enter(&folder)?;
    }
    if let Ok(name) = std::env::var(crate::load::COMM) {
        let name = CString::new(name).map_err(|error| error.to_string())?;
        rustix::thread::set_name(&name).map_err(|error| format!("prctl: {error}"))?;
    }
    if std::env::var_os(crate::load::HOLD).is_some() {
        // The tracer of system calls sees the end of this call before the process stops, so nothing of it comes later.
        kill_process(getpid(), Signal::STOP).map_err(|error| format!("kill: {error}"))?;
    }
    let sleep = |time: usize| std::thread::sleep(std::time::Duration::from_millis(time as u64));
    wait.into_iter().for_each(sleep);
    (workload.work)(&words[1..])?;
    stay.into_iter().for_each(sleep);
    Ok(())
}

/// Keeps this thread on one CPU.
fn pin(cpu: usize) -> Result<(), String> {
    let mut set = CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set)
        .map_err(|error| format!("sched_setaffinity to {cpu}: {error}"))
}

/// A number among the arguments.
fn count(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("expected a number, found `{text}`"))
}

/// An error with the call it came from.
fn failed(what: &str) -> impl Fn(rustix::io::Errno) -> String {
    let what = what.to_owned();
    move |errno| format!("{what}: {errno}")
}
