//! A child that is traced from its first instruction.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, waitpid};

use crate::elf;
use crate::error::Error;
use crate::sys::process as sys;

mod entry;

/// A child process that has not yet become its program.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    gate: Option<OwnedFd>,
    report: Option<OwnedFd>,
    name: String,
    status: Option<i32>,
    /// Stopped where its program begins.
    held: bool,
}

/// Words of a command line, split at blanks. Quotes and backslashes keep blanks in a word, as in a shell, and are dropped
/// from it; a word without blanks in it is taken as it stands, quotes included, as the reference does it.
pub fn split_command(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut raw, mut plain) = (String::new(), String::new());
    let (mut quote, mut chars) = (None, command.chars());
    let mut end = |raw: &mut String, plain: &mut String| {
        let (raw, plain) = (std::mem::take(raw), std::mem::take(plain));
        if !raw.is_empty() {
            words.push(if raw.contains(char::is_whitespace) { plain } else { raw });
        }
    };
    while let Some(c) = chars.next() {
        if c.is_whitespace() && quote.is_none() {
            end(&mut raw, &mut plain);
            continue;
        }
        raw.push(c);
        match (c, quote) {
            (c, Some(q)) if c == q => quote = None,
            ('\\', None | Some('"')) => {
                let next = chars.next();
                raw.extend(next);
                plain.extend(next);
            }
            ('"' | '\'', None) => quote = Some(c),
            (c, _) => plain.push(c),
        }
    }
    end(&mut raw, &mut plain);
    words
}

impl Child {
    /// Forks a child for `command` (program and arguments, found through PATH) that waits for [`Child::release`].
    pub fn spawn(command: &str) -> Result<Child, Error> {
        let words = split_command(command);
        let Some(name) = words.first().cloned() else {
            return Err(Error::Damaged { what: "command".into(), why: "it is empty".into() });
        };
        let path = if name.contains('/') { Some(name.clone().into()) } else { elf::in_path(&name) };
        let path = path.ok_or_else(|| Error::Missing(format!("program {name}")))?;
        let text = |s: OsString| {
            CString::new(s.into_vec())
                .map_err(|_| Error::Damaged { what: format!("command {name}"), why: "a NUL in it".into() })
        };
        let arguments = words.into_iter().map(|w| text(w.into())).collect::<Result<Vec<_>, _>>()?;
        let environment = std::env::vars_os()
            .map(|(key, value)| {
                let mut pair = key;
                pair.push("=");
                pair.push(value);
                text(pair)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let failed = |errno| Error::os(format!("start {name}"), errno);
        let forked =
            sys::fork_gated(&text(path.into_os_string())?, &arguments, &environment).map_err(failed)?;
        let pid = Pid::from_raw(forked.pid).ok_or_else(|| failed(Errno::SRCH))?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(failed)?;
        Ok(Child {
            pid,
            pidfd,
            gate: Some(forked.gate),
            report: Some(forked.report),
            name,
            status: None,
            held: false,
        })
    }

    /// The process id, in this process's PID namespace.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Lets the child become its program; an error when it cannot.
    pub fn release(&mut self) -> Result<(), Error> {
        if self.held {
            return self.let_go();
        }
        let Some(gate) = self.gate.take() else { return Ok(()) };
        let failed = |errno| Error::os(format!("start {}", self.name), errno);
        rustix::io::write(&gate, &[1]).map_err(failed)?;
        drop(gate);
        let Some(report) = self.report.take() else { return Ok(()) };
        let mut errno = [0; 4];
        match File::from(report).read_exact(&mut errno) {
            Ok(()) => Err(Error::Os {
                operation: format!("execute {}", self.name),
                errno: i32::from_ne_bytes(errno),
            }),
            Err(_) => Ok(()),
        }
    }

    /// The exit status once the child has ended (128 + signal for one that a signal ended), without waiting.
    pub fn status(&mut self) -> Option<i32> {
        if self.status.is_none()
            && let Ok(Some((_, status))) = waitpid(Some(self.pid), WaitOptions::NOHANG)
        {
            self.status = status.exit_status().or_else(|| status.terminating_signal().map(|s| 128 + s));
        }
        self.status
    }

    /// Ends the child if it still runs, and waits for it.
    pub fn stop(&mut self) {
        if self.status().is_some() {
            return;
        }
        // A child behind its gate ends when the gate closes; one that has just ended takes no signal.
        self.gate = None;
        let _ = kill_process(self.pid, if self.held { Signal::KILL } else { Signal::TERM });
        for _ in 0..100 {
            if self.status().is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = kill_process(self.pid, Signal::KILL);
        let _ = waitpid(Some(self.pid), WaitOptions::empty());
    }
}

impl AsFd for Child {
    /// Readable when the child has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.stop();
    }
}
#[cfg(test)]
mod tests {
    use super::super::exists;
    use super::*;
    use std::fs;

    #[test]
    fn commands_are_split_like_a_shell_does() {
        assert_eq!(
            split_command("ls -l '/a b'  \"c \\\" d\" e\\ f ''"),
            ["ls", "-l", "/a b", "c \" d", "e f", "''"]
        );
        assert_eq!(split_command("echo 'A' it's"), ["echo", "'A'", "it's"]);
        assert!(split_command("  ").is_empty());
    }

    #[test]
    fn a_child_waits_for_its_gate() {
        let marker = std::env::temp_dir().join(format!("skep-child-{}", std::process::id()));
        let mut child = Child::spawn(&format!("touch {}", marker.display())).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        assert!(!marker.exists(), "ran before it was released");
        assert_eq!(child.status(), None);
        child.release().unwrap();
        let status = (0..200).find_map(|_| {
            std::thread::sleep(Duration::from_millis(5));
            child.status()
        });
        assert_eq!(status, Some(0));
        assert!(marker.exists());
        fs::remove_file(marker).unwrap();
    }

    #[test]
    fn a_child_that_cannot_execute_says_so() {
        let mut child = Child::spawn("/etc/passwd").unwrap();
        assert_eq!(child.release().unwrap_err().errno(), Some(libc::EACCES));
        assert!(Child::spawn("no-such-program-here").is_err_and(|e| e.is_missing()));
    }

    #[test]
    fn an_unreleased_child_ends_with_its_value() {
        let child = Child::spawn("sleep 60").unwrap();
        let pid = child.pid();
        drop(child);
        assert!(!exists(pid));
    }
}
