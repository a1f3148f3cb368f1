//! Loads: child processes that do the system calls which a fixture traces.
//!
//! In: a fixture's `load` line. Out: a child that is stopped before its work starts, and its pid.
//! Always: a load that was started is reaped; dropping it kills it.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::cgroup::{CGROUP, Cgroup};
use crate::vars::Vars;
use crate::workload;

/// The environment variable that makes a workload stop itself before its work.
pub(crate) const HOLD: &str = "LIVETEST_HOLD";
/// The environment variable with the name that a workload's process takes.
pub(crate) const COMM: &str = "LIVETEST_COMM";

/// A `load` line: `[comm=NAME] [cgroup=PATH] [cpu=N] [wait=MS] [stay=MS] WORKLOAD ARGS…`.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    comm: Option<String>,
    /// The path of its cgroup.
    cgroup: Option<String>,
    /// Options that the workload takes before its name.
    options: Vec<String>,
    words: Vec<String>,
}

impl Load {
    /// Parses a `load` line; the workload must exist.
    pub(crate) fn parse(line: &str) -> Result<Self, String> {
        let mut load = Load { comm: None, cgroup: None, options: Vec::new(), words: Vec::new() };
        for word in crate::fixture::words(line)? {
            match word.split_once('=') {
                Some(("comm", name)) if load.words.is_empty() => load.comm = Some(name.to_owned()),
                Some(("cgroup", path)) if load.words.is_empty() => load.cgroup = Some(path.to_owned()),
                Some(("cpu" | "wait" | "stay", _)) if load.words.is_empty() => load.options.push(word),
                _ => load.words.push(word),
            }
        }
        workload::check(&load.words)?;
        Ok(load)
    }

    /// Starts the load and waits until it has stopped itself.
    pub(crate) fn start(&self, vars: &Vars, net: Option<u32>, limit: Duration) -> Result<Running, String> {
        let me = std::env::current_exe().map_err(|error| format!("this program's own path: {error}"))?;
        let mut command = Command::new(me);
        command.arg("workload").args(&self.options);
        command.args(self.words.iter().map(|word| vars.fill(word)));
        command.env(HOLD, "1").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        if let Some(pid) = net {
            command.env(crate::net::NET, pid.to_string());
        }
        let cgroup = self.cgroup.as_deref().map(Cgroup::make).transpose()?;
        if let Some(cgroup) = &cgroup {
            command.env(CGROUP, cgroup.folder());
        }
        command.env(COMM, self.comm.as_deref().unwrap_or(&self.words[0]));
        let child = command.spawn().map_err(|error| format!("load `{}`: {error}", self.words.join(" ")))?;
        let running = Running { child, name: self.words.join(" "), status: None, _cgroup: cgroup };
        running.wait_stopped(limit)?;
        Ok(running)
    }
}

/// A load that was started.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    name: String,
    status: Option<ExitStatus>,
    /// Goes away behind the process.
    _cgroup: Option<Cgroup>,
}

impl Running {
    /// The load's pid.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn rustix_pid(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(0))
    }

    fn wait_stopped(&self, limit: Duration) -> Result<(), String> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            let state = waitpid(self.rustix_pid(), WaitOptions::UNTRACED | WaitOptions::NOHANG);
            match state {
                Ok(Some((_, status))) if status.stopped() => return Ok(()),
                Ok(Some((_, status))) => {
                    return Err(format!("load `{}` ended before its work: {status:?}", self.name));
                }
                Ok(None) => std::thread::sleep(Duration::from_millis(1)),
                Err(error) => return Err(format!("load `{}`: {error}", self.name)),
            }
        }
        Err(format!("load `{}` did not become ready", self.name))
    }

    /// Lets a stopped load do its work.
    pub(crate) fn go(&self) -> Result<(), String> {
        let pid = self.rustix_pid().ok_or("no pid")?;
        kill_process(pid, Signal::CONT).map_err(|error| format!("load `{}`: {error}", self.name))
    }

    /// Whether the load has ended; an error if it ended badly.
    pub(crate) fn ended(&mut self) -> Result<bool, String> {
        if self.status.is_none() {
            self.status = self.child.try_wait().map_err(|error| format!("load `{}`: {error}", self.name))?;
        }
        match self.status {
            None => Ok(false),
            Some(status) if status.success() => Ok(true),
            Some(status) => {
                let mut said = String::new();
                if let Some(stderr) = &mut self.child.stderr {
                    let _ = std::io::Read::read_to_string(stderr, &mut said);
                }
                Err(format!("load `{}` failed: {status}: {}", self.name, said.trim()))
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.status.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_before_the_name() {
        let load = Load::parse("comm=ls cgroup=a/b cpu=1 getppid 3").unwrap();
        assert_eq!((load.comm.as_deref(), load.cgroup.as_deref()), (Some("ls"), Some("a/b")));
        assert_eq!(load.options, ["cpu=1"]);
        assert_eq!(load.words, ["getppid", "3"]);
    }
}
