//! What the running kernel has, found without the program under test.
//!
//! In: a fixture's `needs`. Out: the first need that is not met, by name.
//! Always: the answer comes from the kernel's own files, never from skep, so that a wrong probe in skep fails a test
//! and does not skip it.

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::workload;

/// One word of a `needs` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// A feature by name; `false` means that it must be missing.
    Feature(&'static str, bool),
    /// Kernel at least this version.
    AtLeast(u32, u32),
    /// Kernel older than this version.
    Below(u32, u32),
}

/// How a feature is found.
enum Probe {
    /// A function in /proc/kallsyms.
    Symbol(&'static str),
    /// A file or folder.
    Path(&'static str),
    /// Any other question.
    Ask(fn() -> bool),
}

/// Features by name; a feature is there when all its probes say so.
const FEATURES: &[(&str, &[Probe])] = &[
    ("btf", &[Probe::Path("/sys/kernel/btf/vmlinux")]),
    ("tracepoint", &[Probe::Path("/sys/bus/event_source/devices/tracepoint")]),
    ("rawtracepoint", &[Probe::Symbol("bpf_probe_register")]),
    ("kprobe", &[Probe::Path("/sys/bus/event_source/devices/kprobe")]),
    (
        "kprobe_multi",
        &[
            Probe::Path("/sys/bus/event_source/devices/kprobe"),
            Probe::Symbol("bpf_kprobe_multi_link_attach"),
            Probe::Symbol("register_fprobe_ips"),
        ],
    ),
    ("uprobe", &[Probe::Path("/sys/bus/event_source/devices/uprobe")]),
    ("uprobe_multi", &[Probe::Symbol("bpf_uprobe_multi_link_attach")]),
    // A kernel may have the code and still forbid tracing of functions; then it refuses this file of tracefs as well.
    ("fentry", &[Probe::Symbol("register_ftrace_direct"), Probe::Ask(function_tracing_allowed)]),
    (
        "usdt",
        &[Probe::Path("/sys/bus/event_source/devices/uprobe"), Probe::Ask(|| cfg!(target_arch = "x86_64"))],
    ),
    ("breakpoint", &[Probe::Path("/sys/bus/event_source/devices/breakpoint")]),
    ("unshare", &[Probe::Path("/usr/bin/unshare")]),
    ("software", &[Probe::Path("/sys/bus/event_source/devices/software")]),
    ("loop", &[Probe::Symbol("bpf_loop")]),
    ("for_each_map", &[Probe::Symbol("bpf_for_each_map_elem")]),
    ("iter_task", &[Probe::Symbol("bpf_iter_reg_target"), Probe::Path("/sys/kernel/btf/vmlinux")]),
    ("compat32", &[Probe::Ask(workload::machine::runs_32_bit)]),
    ("loopback", &[Probe::Ask(loopback)]),
    ("two_cpus", &[Probe::Ask(|| cpus().len() >= 2)]),
    ("cc", &[Probe::Path("/usr/bin/cc")]),
    ("c++", &[Probe::Path("/usr/bin/c++")]),
    ("objcopy", &[Probe::Path("/usr/bin/objcopy")]),
    ("bash", &[Probe::Path("/bin/bash")]),
    ("shell", &[Probe::Path("/bin/sh")]),
    ("veth", &[Probe::Symbol("veth_newlink")]),
    ("vlan", &[Probe::Symbol("vlan_newlink")]),
    ("bridge", &[Probe::Symbol("br_dev_newlink")]),
    ("gre", &[Probe::Symbol("ipgre_newlink")]),
    ("geneve", &[Probe::Symbol("geneve_newlink")]),
    ("vxlan", &[Probe::Symbol("vxlan_newlink")]),
    ("xdp_frags", &[Probe::Symbol("veth_newlink"), Probe::Symbol("bpf_xdp_load_bytes")]),
    ("cgroup2_mount", &[Probe::Ask(|| crate::cgroup::mount().is_some())]),
    ("cgroup2", &[Probe::Symbol("bpf_get_current_cgroup_id")]),
];

impl Need {
    /// Parses a need: `NAME`, `!NAME`, `kernel>=X.Y`, `kernel<X.Y`.
    pub(crate) fn parse(word: &str) -> Result<Self, String> {
        if let Some(version) = word.strip_prefix("kernel>=") {
            return version_of(version).map(|(major, minor)| Need::AtLeast(major, minor));
        }
        if let Some(version) = word.strip_prefix("kernel<") {
            return version_of(version).map(|(major, minor)| Need::Below(major, minor));
        }
        let (name, wanted) = word.strip_prefix('!').map_or((word, true), |name| (name, false));
        match FEATURES.iter().find(|(known, _)| *known == name) {
            Some((known, _)) => Ok(Need::Feature(known, wanted)),
            None => {
                let names: Vec<&str> = FEATURES.iter().map(|(name, _)| *name).collect();
                Err(format!(
                    "unknown feature `{word}`; there are kernel>=X.Y, kernel<X.Y, {}",
                    names.join(", ")
                ))
            }
        }
    }
}

impl std::fmt::Display for Need {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Need::Feature(name, true) => write!(f, "{name}"),
            Need::Feature(name, false) => write!(f, "a kernel without {name}"),
            Need::AtLeast(major, minor) => write!(f, "kernel {major}.{minor} or newer"),
            Need::Below(major, minor) => write!(f, "a kernel older than {major}.{minor}"),
        }
    }
}

/// The first two numbers of a kernel release such as `6.1.0-41-cloud-amd64`.
fn version_of(release: &str) -> Result<(u32, u32), String> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => Err(format!("expected a kernel version such as 5.10, found `{release}`")),
    }
}

/// The running kernel.
pub(crate) struct Kernel {
    release: String,
    version: (u32, u32),
    features: BTreeMap<&'static str, bool>,
}

impl Kernel {
    /// Probes the running kernel for every feature.
    pub(crate) fn probe() -> Result<Self, String> {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let symbols = wanted_symbols()?;
        let features = FEATURES
            .iter()
            .map(|(name, probes)| {
                let there = probes.iter().all(|probe| match probe {
                    Probe::Symbol(symbol) => symbols.contains(*symbol),
                    Probe::Path(path) => Path::new(path).exists(),
                    Probe::Ask(question) => question(),
                });
                (*name, there)
            })
            .collect();
        Ok(Kernel { version: version_of(&release)?, release, features })
    }

    /// The first of these needs that this kernel does not meet.
    pub(crate) fn lacks<'a>(&self, needs: &'a [Need]) -> Option<&'a Need> {
        needs.iter().find(|need| match need {
            Need::Feature(name, wanted) => self.features.get(name) != Some(wanted),
            Need::AtLeast(major, minor) => self.version < (*major, *minor),
            Need::Below(major, minor) => self.version >= (*major, *minor),
        })
    }

    /// One line that says what was found.
    pub(crate) fn summary(&self) -> String {
        let names = |wanted: bool| {
            let names: Vec<&str> =
                self.features.iter().filter(|(_, there)| **there == wanted).map(|(name, _)| *name).collect();
            if names.is_empty() { "nothing".to_owned() } else { names.join(" ") }
        };
        format!("kernel {}: has {}; lacks {}", self.release, names(true), names(false))
    }
}

/// The probes' symbols that /proc/kallsyms names.
fn wanted_symbols() -> Result<HashSet<&'static str>, String> {
    let wanted: HashSet<&'static str> = FEATURES
        .iter()
        .flat_map(|(_, probes)| probes.iter())
        .filter_map(|probe| if let Probe::Symbol(symbol) = probe { Some(*symbol) } else { None })
        .collect();
    let text =
        std::fs::read_to_string("/proc/kallsyms").map_err(|error| format!("/proc/kallsyms: {error}"))?;
    Ok(text
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().nth(2))
        .filter_map(|name| wanted.get(name).copied())
        .collect())
}

/// Whether functions may be traced: tracefs, on a mount of its own that nothing else sees, opens its list of them.
fn function_tracing_allowed() -> bool {
    let open = || -> rustix::io::Result<()> {
        let context = rustix::mount::fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_create(&context)?;
        let root = rustix::mount::fsmount(
            &context,
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::MOUNT_ATTR_RDONLY,
        )?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::openat(&root, "available_filter_functions", flags, Mode::empty()).map(drop)
    };
    open().is_ok()
}

fn loopback() -> bool {
    std::net::TcpListener::bind(("127.0.0.1", 0)).is_ok()
}

/// The CPUs this process may run on.
pub(crate) fn cpus() -> Vec<usize> {
    let set = rustix::thread::sched_getaffinity(None).unwrap_or_else(|_| rustix::thread::CpuSet::new());
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs() {
        assert_eq!(Need::parse("kernel>=5.13"), Ok(Need::AtLeast(5, 13)));
        assert_eq!(Need::parse("!kprobe"), Ok(Need::Feature("kprobe", false)));
        assert!(Need::parse("kprope").unwrap_err().contains("kprope"));
        assert!(Need::parse("kernel>=new").is_err());
        assert_eq!(version_of("7.2.1+deb14-cloud-amd64"), Ok((7, 2)));
    }

    #[test]
    fn what_is_lacking() {
        let features = BTreeMap::from([("kprobe", false), ("uprobe", true)]);
        let kernel = Kernel { release: "5.10".to_owned(), version: (5, 10), features };
        let lacks = |word: &str| kernel.lacks(&[Need::parse(word).unwrap()]).is_some();
        assert!(lacks("kprobe") && lacks("!uprobe") && lacks("kernel>=5.13") && lacks("kernel<5.10"));
        assert!(!lacks("!kprobe") && !lacks("uprobe") && !lacks("kernel>=5.9") && !lacks("kernel<5.13"));
    }
}
