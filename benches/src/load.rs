//! Loads: this binary run again as a child that makes a known number of calls and says how long one took.

use crate::target;
use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::hint::black_box;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Set in a child: which load, and how many calls.
const LOAD: &str = "SKEP_BENCH_LOAD";

/// A load by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// `openat` of /dev/null and `close`.
    Open,
    /// `read` of no bytes.
    Read,
    /// `getppid`.
    Getppid,
    /// `getppid` of the C library.
    Target,
    /// The USDT probe `bench:pass`.
    Usdt,
}

const NAMES: &[(Load, &str)] = &[
    (Load::Open, "open"),
    (Load::Read, "read"),
    (Load::Getppid, "getppid"),
    (Load::Target, "target"),
    (Load::Usdt, "usdt"),
];

impl Load {
    /// Runs `calls` calls in a child on CPU 1; gives nanoseconds a call.
    pub(crate) fn run(self, calls: u64) -> Result<f64> {
        let name = NAMES.iter().find(|(l, _)| *l == self).map_or("", |(_, n)| n);
        let output = Command::new(program()?)
            .env(LOAD, format!("{name} {calls}"))
            .stdin(Stdio::null())
            .output()
            .context("cannot start the load")?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().with_context(|| format!("the load said {text:?}"))
    }
}

/// This program's file where every tracer finds it, also one in another root that shares the directory for temporary
/// files: a copy of it there.
pub(crate) fn program() -> Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("skep-bench-{}", std::process::id())).join("skep-bench");
    if !path.exists() {
        std::fs::create_dir_all(path.parent().context("no directory")?)?;
        std::fs::copy(std::env::current_exe()?, &path).context("cannot copy the benchmark's program")?;
    }
    Ok(path)
}

/// Removes the copy.
pub(crate) fn clean_up() {
    if let Ok(path) = program()
        && let Some(directory) = path.parent()
    {
        let _ = std::fs::remove_dir_all(directory);
    }
}

/// In a child: runs the load and gives the exit code. `None` in any other process.
pub(crate) fn run_as_child() -> Option<i32> {
    let wanted = std::env::var(LOAD).ok()?;
    let (name, calls) = wanted.split_once(' ')?;
    let (load, _) = NAMES.iter().find(|(_, n)| *n == name)?;
    let calls = calls.parse().ok()?;
    Some(if child(*load, calls).is_ok() { 0 } else { 1 })
}

fn child(load: Load, calls: u64) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(1);
    // On a machine with one CPU it stays where it is.
    let _ = sched_setaffinity(None, &cpus);
    let zero = std::fs::File::open("/dev/zero")?;
    let begin = Instant::now();
    match load {
        Load::Open => {
            for _ in 0..calls {
                black_box(std::fs::File::open("/dev/null")?);
            }
        }
        Load::Read => {
            let mut nothing = [0u8; 1];
            for _ in 0..calls {
                black_box(rustix::io::read(&zero, &mut nothing)?);
            }
        }
        Load::Getppid => {
            for _ in 0..calls {
                black_box(rustix::process::getppid());
            }
        }
        Load::Target => {
            for _ in 0..calls {
                target::call();
            }
        }
        Load::Usdt => (0..calls).for_each(target::pass),
    }
    println!("{}", begin.elapsed().as_nanos() as f64 / calls as f64);
    Ok(())
}
