//! Processes, users, cgroups and clocks: a child that is traced from its first instruction, names for ids, calendar
//! time for kernel time, signals.

use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, waitpid};
use rustix::time::{ClockId, DynamicClockId, clock_gettime_dynamic};
use skep_bpf::backend::WallTime;
use skep_bpf::schema::Clock;

use crate::elf;
use crate::error::Error;
use crate::sys::process as sys;

mod cgroup;
mod entry;

pub(crate) use cgroup::mounts as cgroup_mounts;
pub use cgroup::{Cgroup, cgroup_id, cgroup_paths, find_cgroup};

/// Inode of the initial PID namespace (include/linux/proc_ns.h, PROC_PID_INIT_INO).
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

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

/// Thread ids of a process. `Missing` when there is no such process.
pub fn threads(pid: u32) -> Result<Vec<u32>, Error> {
    let entries =
        fs::read_dir(format!("/proc/{pid}/task")).map_err(|_| Error::Missing(format!("process {pid}")))?;
    Ok(entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect())
}

/// This process's id, in its own PID namespace.
pub fn own_pid() -> u32 {
    std::process::id()
}

/// Whether there is a process `pid`.
pub fn exists(pid: u32) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap_or(false)
}

/// Device and inode, in decimal, of this process's PID namespace; empty in the initial one.
pub fn pid_namespace() -> Result<Vec<String>, Error> {
    let meta = fs::metadata("/proc/self/ns/pid").map_err(|e| Error::io("read /proc/self/ns/pid", &e))?;
    if meta.ino() == INITIAL_PID_NAMESPACE {
        return Ok(Vec::new());
    }
    Ok(vec![meta.dev().to_string(), meta.ino().to_string()])
}

/// The user's name of a line of passwd(5), and the id.
fn passwd_line(line: &str) -> Option<(&str, u32)> {
    let mut fields = line.split(':');
    Some((fields.next()?, fields.nth(1)?.parse().ok()?))
}

fn passwd() -> String {
    fs::read_to_string("/etc/passwd").unwrap_or_default()
}

/// The id of a user, from the passwd file.
pub fn user_id(name: &str) -> Option<u32> {
    passwd().lines().filter_map(passwd_line).find(|(n, _)| *n == name).map(|(_, id)| id)
}

/// Ids and names of all users in the passwd file; of two names for one id the first.
pub fn users() -> std::collections::HashMap<u32, String> {
    let mut users = std::collections::HashMap::new();
    for (name, id) in passwd().lines().filter_map(passwd_line) {
        users.entry(id).or_insert_with(|| name.to_owned());
    }
    users
}

/// Nanoseconds that a clock shows now.
pub fn clock_now(clock: Clock) -> i128 {
    let id = match clock {
        Clock::Monotonic => DynamicClockId::Known(ClockId::Monotonic),
        Clock::Boot => DynamicClockId::Boottime,
        Clock::Tai => DynamicClockId::Tai,
        Clock::Realtime => DynamicClockId::Known(ClockId::Realtime),
    };
    // All four exist since 3.10.
    clock_gettime_dynamic(id)
        .map_or(0, |time| i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec))
}

/// Time since boot, without what the machine slept.
pub fn monotonic() -> Duration {
    Duration::from_nanos(u64::try_from(clock_now(Clock::Monotonic)).unwrap_or(0))
}

/// Calendar time of a moment in nanoseconds since 1970-01-01 UTC.
pub fn wall_time(ns: i128) -> WallTime {
    let secs = i64::try_from(ns.div_euclid(1_000_000_000)).unwrap_or(0);
    let nanos = u32::try_from(ns.rem_euclid(1_000_000_000)).unwrap_or(0);
    let (utc_offset, zone) = sys::local_offset(secs);
    WallTime { secs, nanos, utc_offset, zone }
}

/// Signals that end a session, delivered through a descriptor instead of at once.
#[derive(Debug)]
pub struct Signals {
    fd: File,
    numbers: Vec<i32>,
}

impl Signals {
    /// Blocks SIGINT, SIGTERM and the signals `also` in this thread (call before other threads start; children get
    /// them unblocked) and receives them here.
    pub fn receive(also: &[i32]) -> Result<Signals, Error> {
        let numbers: Vec<i32> = [libc::SIGINT, libc::SIGTERM].iter().chain(also).copied().collect();
        let fd = sys::signal_fd(&numbers).map_err(|e| Error::os("receive signals", e))?;
        Ok(Signals { fd: File::from(fd), numbers })
    }

    /// Lets the signals act as usual again: the next SIGINT ends the process at once.
    pub fn release(&self) {
        sys::unblock(&self.numbers);
    }
}

impl Iterator for Signals {
    type Item = i32;

    /// The next signal that has come, without waiting; `None` for now when there is none.
    fn next(&mut self) -> Option<i32> {
        let mut info = [0; sys::SIGINFO_SIZE];
        self.fd.read_exact(&mut info).ok()?;
        let number = u32::from_ne_bytes(info[..4].try_into().ok()?);
        i32::try_from(number).ok()
    }
}

impl AsFd for Signals {
    /// Readable when a signal has come.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.release();
    }
}

/// The number of a signal by name, with or without `SIG` ("USR1", "SIGUSR1").
pub fn signal_number(name: &str) -> Option<i32> {
    const NAMES: &[(&str, i32)] = &[
        ("HUP", libc::SIGHUP),
        ("INT", libc::SIGINT),
        ("QUIT", libc::SIGQUIT),
        ("USR1", libc::SIGUSR1),
        ("USR2", libc::SIGUSR2),
        ("TERM", libc::SIGTERM),
        ("CONT", libc::SIGCONT),
        ("WINCH", libc::SIGWINCH),
    ];
    let plain = name.strip_prefix("SIG").unwrap_or(name);
    NAMES.iter().find(|(n, _)| *n == plain).map(|(_, number)| *number)
}

/// Runs a shell command and gives its standard output, at most `limit` bytes of it (the rest is read and dropped).
pub(crate) fn run_command(command: &str, limit: usize) -> Result<Vec<u8>, Error> {
    let failed = |e: std::io::Error| Error::io(format!("run `{command}`"), &e);
    let mut child = std::process::Command::new("/bin/sh")
        .args(["-c", command])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut output = Vec::new();
    if let Some(mut pipe) = child.stdout.take() {
        pipe.by_ref().take(limit as u64).read_to_end(&mut output).map_err(failed)?;
        std::io::copy(&mut pipe, &mut std::io::sink()).map_err(failed)?;
    }
    child.wait().map_err(failed)?;
    Ok(output)
}

/// Gives up, in this thread and those that it starts later, every capability that reading maps, events and symbols
/// does not need. What stays: CAP_BPF (map reads before 5.19), CAP_PERFMON, CAP_SYSLOG (kernel addresses),
/// CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH (other processes' maps and files, to read).
pub fn drop_capabilities() -> Result<(), Error> {
    use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
    let failed = |errno| Error::os("drop capabilities", errno);
    let keep = CapabilitySet::BPF
        | CapabilitySet::PERFMON
        | CapabilitySet::SYSLOG
        | CapabilitySet::SYS_PTRACE
        | CapabilitySet::DAC_READ_SEARCH;
    let have = capabilities(None).map_err(failed)?;
    let sets = CapabilitySets {
        effective: have.effective & keep,
        permitted: have.permitted & keep,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn passwd_lines() {
        assert_eq!(passwd_line("root:x:0:0:root:/root:/bin/bash"), Some(("root", 0)));
        assert_eq!(passwd_line("broken"), None);
        assert_eq!(user_id("root"), Some(0));
        assert_eq!(users().get(&0).map(String::as_str), Some("root"));
    }

    #[test]
    fn clocks_agree() {
        let now = wall_time(clock_now(Clock::Realtime));
        assert!(now.secs > 1_700_000_000 && now.nanos < 1_000_000_000);
        assert_eq!(wall_time(-1).secs, -1);
        assert_eq!(wall_time(-1).nanos, 999_999_999);
    }

    #[test]
    fn capabilities_for_reading_stay() {
        use rustix::thread::{CapabilitySet, capabilities};
        // In a thread of its own: capabilities are a thread's.
        std::thread::spawn(|| {
            let before = capabilities(None).unwrap().effective;
            drop_capabilities().unwrap();
            let after = capabilities(None).unwrap().effective;
            assert!(!after.contains(CapabilitySet::SYS_ADMIN));
            assert_eq!(after.contains(CapabilitySet::BPF), before.contains(CapabilitySet::BPF));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn signals_come_through_the_descriptor() {
        std::thread::spawn(|| {
            let mut signals = Signals::receive(&[libc::SIGUSR1]).unwrap();
            assert_eq!(signals.next(), None);
            // To this thread alone: the test harness's other threads have the signal's usual action.
            let tid = rustix::thread::gettid();
            let pid = rustix::process::getpid();
            sys::signal_thread(pid.as_raw_nonzero().get(), tid.as_raw_nonzero().get(), libc::SIGUSR1);
            assert_eq!(signals.next(), Some(libc::SIGUSR1));
            assert_eq!(signals.next(), None);
        })
        .join()
        .unwrap();
    }
}
