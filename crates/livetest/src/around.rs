//! Commands of the program under test around a run: a router that is started before it and ended after it, and the like.
//!
//! In: command lines, the network that they run in. Out: what they said, and why one did not do. Always: each is ended when its time is up.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::vars::Vars;

/// Where they run.
pub(crate) struct Around<'r> {
    /// The program, with leading words.
    pub(crate) program: &'r [String],
    /// The process that holds the network.
    pub(crate) net: u32,
    /// The run's folder.
    pub(crate) dir: &'r Path,
    /// Time for each.
    pub(crate) limit: Duration,
}

impl Around<'_> {
    /// Runs commands up to the first that fails; what they said, a line each, and which one failed, with what it said.
    pub(crate) fn run(&self, commands: &[Vec<String>], vars: &Vars) -> (Vec<String>, Option<String>) {
        let mut said = Vec::new();
        for words in commands {
            let words: Vec<String> = words.iter().map(|word| vars.fill(word)).collect();
            let mut lines = Vec::new();
            let done = self.one(&words, &mut lines);
            let trouble = match done {
                Ok(status) if status.success() => None,
                Ok(status) => Some(status.to_string()),
                Err(message) => Some(message),
            };
            if let Some(trouble) = trouble {
                let told = format!("`{}`: {trouble}: {}", words.join(" "), lines.join("\n"));
                said.extend(lines);
                return (said, Some(told));
            }
            said.extend(lines);
        }
        (said, None)
    }

    fn one(&self, words: &[String], said: &mut Vec<String>) -> Result<ExitStatus, String> {
        let path = self.dir.join("said");
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        let file = File::create(&path).map_err(failed)?;
        let me = std::env::current_exe().map_err(|error| format!("this program's own path: {error}"))?;
        let mut command = Command::new(me);
        command.args(["in-net", &self.net.to_string()]).args(self.program).args(words);
        command.stdin(Stdio::null()).stdout(file.try_clone().map_err(failed)?).stderr(file).process_group(0);
        let mut child = command.spawn().map_err(|error| format!("it could not be started: {error}"))?;
        let end = Instant::now() + self.limit;
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break Ok(status),
                Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
                Ok(None) => {
                    if let Some(pid) = Pid::from_raw(i32::try_from(child.id()).unwrap_or(0)) {
                        let _ = kill_process_group(pid, Signal::KILL);
                    }
                    let _ = child.wait();
                    break Err("time is up".to_owned());
                }
                Err(error) => break Err(error.to_string()),
            }
        };
        let text = std::fs::read(&path).map_err(failed)?;
        said.extend(String::from_utf8_lossy(&text).lines().map(str::to_owned));
        status
    }
}
