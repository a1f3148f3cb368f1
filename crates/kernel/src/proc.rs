//! Processes, users, cgroups and clocks: a child that is traced from its first instruction, names for ids, calendar
//! time for kernel time, signals.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use rustix::time::{ClockId, DynamicClockId, clock_gettime_dynamic};
use skep_bpf::backend::WallTime;
use skep_bpf::schema::Clock;

use crate::error::Error;
use crate::sys::process as sys;

mod cgroup;
mod child;
mod signals;

pub(crate) use cgroup::mounts as cgroup_mounts;
pub use cgroup::{Cgroup, cgroup_id, cgroup_paths, find_cgroup};
pub use child::{Child, split_command};
pub use signals::{Signals, signal_number};

/// Inode of the initial PID namespace (include/linux/proc_ns.h, PROC_PID_INIT_INO).
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

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
}
