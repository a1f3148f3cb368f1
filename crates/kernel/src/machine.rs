//! Facts about the machine and the process: version, CPUs, capabilities, lockdown, limits. Everything is read when
//! asked; what cannot change is kept.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags, openat};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities};
use skep_bpf::version::KernelVersion;

use crate::error::Error;

/// The operating system's name, release and version, as `uname -srv` prints them.
pub fn system() -> String {
    let name = rustix::system::uname();
    let parts = [name.sysname(), name.release(), name.version()];
    parts.map(|part| part.to_string_lossy().into_owned()).join(" ")
}

/// The kernel's release as `uname -r` prints it.
pub fn release() -> &'static str {
    static RELEASE: OnceLock<String> = OnceLock::new();
    RELEASE.get_or_init(|| rustix::system::uname().release().to_string_lossy().into_owned())
}

/// The kernel's version; 0.0 for a release that has none.
pub fn version() -> KernelVersion {
    KernelVersion::parse(release()).unwrap_or(KernelVersion::new(0, 0))
}

/// The page size in bytes.
pub fn page_size() -> usize {
    rustix::param::page_size()
}

/// CPU numbers of a kernel list such as `0-3,5`. Hostile or damaged text gives what can be read of it; numbers stay
/// below 65,536.
pub(crate) fn parse_cpu_list(text: &str) -> Vec<u32> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) {
            cpus.extend((first..=last).map(u32::from));
        }
    }
    cpus
}

fn cpu_list(which: &str) -> Result<Vec<u32>, Error> {
    let path = format!("/sys/devices/system/cpu/{which}");
    let text = fs::read_to_string(&path).map_err(|e| Error::io(format!("read {path}"), &e))?;
    let cpus = parse_cpu_list(&text);
    if cpus.is_empty() {
        return Err(Error::Damaged { what: path, why: format!("no CPU in {:?}", text.trim()) });
    }
    Ok(cpus)
}

/// Possible CPUs: how many values an entry of a per-CPU map has.
pub fn possible_cpus() -> Result<usize, Error> {
    static POSSIBLE: OnceLock<usize> = OnceLock::new();
    if let Some(n) = POSSIBLE.get() {
        return Ok(*n);
    }
    let cpus = cpu_list("possible")?;
    Ok(*POSSIBLE.get_or_init(|| cpus.len()))
}

/// Numbers of the CPUs that are online now.
pub fn online_cpus() -> Result<Vec<u32>, Error> {
    cpu_list("online")
}

/// The CPU that events for the whole machine are opened on: the first that is online.
pub(crate) fn first_cpu() -> i32 {
    static FIRST: OnceLock<i32> = OnceLock::new();
    let first = || online_cpus().ok()?.first().and_then(|cpu| i32::try_from(*cpu).ok());
    *FIRST.get_or_init(|| first().unwrap_or(0))
}

/// Capabilities that this work can need, with their names and what they are for.
pub(crate) const CAPABILITIES: [(&str, CapabilitySet, &str); 7] = [
    ("CAP_BPF", CapabilitySet::BPF, "create maps and load programs"),
    ("CAP_PERFMON", CapabilitySet::PERFMON, "load tracing programs and open perf events"),
    ("CAP_SYS_ADMIN", CapabilitySet::SYS_ADMIN, "read tracefs, address kernel objects by id"),
    ("CAP_NET_ADMIN", CapabilitySet::NET_ADMIN, "attach programs to network devices"),
    ("CAP_SYS_RESOURCE", CapabilitySet::SYS_RESOURCE, "raise the limit on locked memory (before 5.11)"),
    ("CAP_SYS_PTRACE", CapabilitySet::SYS_PTRACE, "read other users' process maps for symbols"),
    ("CAP_SYSLOG", CapabilitySet::SYSLOG, "read kernel addresses for symbols"),
];

/// The effective capabilities of this thread; none when the kernel does not tell.
pub(crate) fn effective() -> CapabilitySet {
    capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective)
}

/// Whether this process runs with user id 0.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Names of the capabilities that tracing needs and this process lacks.
pub fn missing_capabilities() -> Vec<&'static str> {
    let have = effective();
    if have.contains(CapabilitySet::SYS_ADMIN) {
        return Vec::new();
    }
    let before_cap_bpf = version() < KernelVersion::new(5, 8);
    if before_cap_bpf {
        return vec!["CAP_SYS_ADMIN"];
    }
    CAPABILITIES[..2].iter().filter(|(_, cap, _)| !have.contains(*cap)).map(|(name, ..)| *name).collect()
}

/// What to say when the kernel answers EPERM or EACCES.
pub(crate) fn missing_permission() -> Vec<String> {
    let missing = missing_capabilities();
    if !missing.is_empty() {
        let names = missing.join(" and ");
        return vec![format!("this process lacks {names}; run it as root, for example with `sudo`")];
    }
    match lockdown().as_deref() {
        Some("confidentiality") => vec![
            "the kernel is locked down (confidentiality), which forbids programs that read kernel memory; Secure Boot \
             or the boot parameter `lockdown=` sets this"
                .to_owned(),
        ],
        Some("integrity") => vec![
            "the kernel is locked down (integrity); programs that modify anything are refused, tracing is allowed"
                .to_owned(),
        ],
        _ if in_user_namespace() => {
            vec!["this is a user namespace (a rootless container?); the capabilities do not count outside it".into()]
        }
        _ => vec![
            "the process has the capabilities; a security module or a container's seccomp filter may forbid it"
                .to_owned(),
        ],
    }
}

/// The text of a file of securityfs, mounted or not.
pub(crate) fn security_file(name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/sys/kernel/security/{name}")).ok().or_else(|| {
        let root = crate::tracefs::detached("securityfs").ok()?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = fs::File::from(openat(&root, name, flags, Mode::empty()).ok()?);
        std::io::read_to_string(file.take(1 << 16)).ok()
    })?;
    Some(text.trim().to_owned())
}

/// The lockdown mode (`none`, `integrity`, `confidentiality`), where the kernel shows it.
pub fn lockdown() -> Option<String> {
    let text = security_file("lockdown")?;
    let inside = text.split_once('[')?.1.split_once(']')?.0;
    Some(inside.to_owned())
}

/// Whether user ids are mapped, so that root here is not root of the machine.
pub fn in_user_namespace() -> bool {
    fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().collect::<Vec<_>>() != ["0", "0", "4294967295"])
}

/// The trimmed contents of a small file such as a sysctl.
pub(crate) fn read_line(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok().map(|s| s.trim().to_owned())
}

/// Raises the soft limit on open files to the hard one; gives the limit that holds now.
pub fn raise_nofile() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if setrlimit(Resource::Nofile, wanted).is_ok() {
            return limit.maximum.unwrap_or(u64::MAX);
        }
    }
    limit.current.unwrap_or(u64::MAX)
}

/// Before 5.11 maps and programs count as locked memory: lifts that limit as far as this process may. Gives whether
/// the limit changed.
pub(crate) fn raise_memlock() -> bool {
    if version() >= KernelVersion::new(5, 11) {
        return false;
    }
    let limit = getrlimit(Resource::Memlock);
    let unlimited = Rlimit { current: None, maximum: None };
    if limit == unlimited {
        return false;
    }
    let to_maximum = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Memlock, unlimited).is_ok()
        || (limit.current != limit.maximum && setrlimit(Resource::Memlock, to_maximum).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists() {
        assert_eq!(parse_cpu_list("0-3,5\n"), [0, 1, 2, 3, 5]);
        assert_eq!(parse_cpu_list("0"), [0]);
        assert_eq!(parse_cpu_list(""), [] as [u32; 0]);
        assert_eq!(parse_cpu_list("3-1,x,7"), [7]);
        assert!(parse_cpu_list("0-99999999").is_empty());
    }

    #[test]
    fn this_machine_has_cpus_and_a_version() {
        let online = online_cpus().unwrap();
        assert!(!online.is_empty() && possible_cpus().unwrap() >= online.len());
        assert!(version() >= KernelVersion::new(5, 10), "{}", release());
    }
}
