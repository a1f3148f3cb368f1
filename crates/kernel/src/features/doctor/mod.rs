//! What this machine can do and what stands in the way: a list of [`Check`]s, each with what was found and, where
//! something is missing, the mend or the first kernel that has it. Nothing is changed, and nothing stays behind.

use skep_bpf::target::Feature;

use crate::features::{self, Probe};
use crate::live::LiveTarget;
use crate::machine;

mod environment;
mod settings;

/// How a check came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// It is there.
    Good,
    /// It is not there, but only part of the work needs it.
    Limited,
    /// It is not there, and nothing works without it.
    Bad,
    /// It could not be found out.
    Unknown,
}

/// One check.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// What was looked at, as "kprobe".
    pub name: String,
    /// The outcome.
    pub status: Status,
    /// What was found.
    pub detail: String,
    /// How to mend it, empty where nothing is to mend or nothing helps.
    pub mend: String,
}

impl Check {
    fn new(name: &str, status: Status, detail: impl Into<String>) -> Check {
        Check { name: name.into(), status, detail: detail.into(), mend: String::new() }
    }

    fn mend(mut self, mend: impl Into<String>) -> Check {
        self.mend = mend.into();
        self
    }

    fn good(name: &str, detail: impl Into<String>) -> Check {
        Check::new(name, Status::Good, detail)
    }

    fn limited(name: &str, detail: impl Into<String>) -> Check {
        Check::new(name, Status::Limited, detail)
    }

    fn bad(name: &str, detail: impl Into<String>) -> Check {
        Check::new(name, Status::Bad, detail)
    }
}

/// All checks, in the order in which a reader wants them: the environment, the settings, the hooks.
pub fn checks(target: &LiveTarget) -> Vec<Check> {
    let mut all = environment::checks(target);
    all.extend(settings::checks());
    all.extend(HOOKS.iter().map(|hook| hook.check(target)));
    all.extend(PROGRAMS.iter().map(|(name, kind, since, option)| program(name, *kind, *since, option)));
    all
}

/// A hook or feature that scripts use.
struct Hook {
    name: &'static str,
    feature: Feature,
    uses: &'static str,
    option: &'static str,
}

const HOOKS: &[Hook] = &[
    Hook {
        name: "kprobe",
        feature: Feature::Kprobe,
        uses: "kprobe, kretprobe",
        option: "CONFIG_KPROBE_EVENTS",
    },
    Hook {
        name: "kprobe.multi",
        feature: Feature::KprobeMulti,
        uses: "kprobes with wildcards, attached at once",
        option: "CONFIG_FPROBE",
    },
    Hook {
        name: "fentry",
        feature: Feature::Fentry,
        uses: "fentry, fexit: function entry and exit with typed arguments",
        option: "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS",
    },
    Hook {
        name: "uprobe",
        feature: Feature::Uprobe,
        uses: "uprobe, uretprobe, usdt",
        option: "CONFIG_UPROBE_EVENTS",
    },
    Hook {
        name: "uprobe.multi",
        feature: Feature::UprobeMulti,
        uses: "uprobes with wildcards, attached at once",
        option: "CONFIG_UPROBES",
    },
    Hook {
        name: "typed raw tracepoint",
        feature: Feature::TpBtf,
        uses: "rawtracepoint with typed arguments",
        option: "CONFIG_DEBUG_INFO_BTF",
    },
    Hook { name: "ring buffer", feature: Feature::Ringbuf, uses: "all output", option: "CONFIG_BPF_SYSCALL" },
    Hook { name: "map iteration", feature: Feature::ForEachMapElem, uses: "for loops over maps", option: "" },
    Hook { name: "bpf_loop", feature: Feature::Loop, uses: "long loops", option: "" },
    Hook {
        name: "cookies",
        feature: Feature::AttachCookie,
        uses: "one program for many attach points",
        option: "",
    },
];

impl Hook {
    fn check(&self, target: &LiveTarget) -> Check {
        let since = self.feature.since();
        match target.probe(self.feature) {
            Probe::Yes => Check::good(self.name, self.uses),
            Probe::No if machine::version() < since => {
                Check::limited(self.name, format!("not on this kernel: {}", self.uses))
                    .mend(format!("Linux {since} is the first that has it"))
            }
            Probe::No if self.option.is_empty() => {
                Check::limited(self.name, format!("refused: {}", self.uses))
            }
            Probe::No => Check::limited(self.name, format!("not built in, or not allowed: {}", self.uses))
                .mend(format!("a kernel with {}", self.option)),
            Probe::Unknown(errno) => unknown(self.name, errno),
        }
    }
}

/// Programs of other commands: name, type number, first kernel, option that builds them in.
const PROGRAMS: &[(&str, u32, (u16, u16), &str)] = &[
    ("xdp", 6, (4, 8), "CONFIG_NET and CONFIG_BPF_SYSCALL"),
    ("tc", 3, (4, 1), "CONFIG_NET_CLS_BPF"),
    ("cgroup programs", 8, (4, 10), "CONFIG_CGROUP_BPF"),
    ("lsm", 29, (5, 7), "CONFIG_BPF_LSM and `bpf` in the boot parameter lsm="),
];

fn program(name: &str, kind: u32, since: (u16, u16), option: &str) -> Check {
    let found = if name == "lsm" { lsm() } else { features::program(kind) };
    match found {
        Probe::Yes => Check::good(name, "can be loaded"),
        Probe::No => Check::limited(name, "not built in, or not allowed")
            .mend(format!("Linux {}.{} or later with {option}", since.0, since.1)),
        Probe::Unknown(errno) => unknown(name, errno),
    }
}

/// Whether LSM programs would be asked: `bpf` must be among the active modules, and a program must load.
fn lsm() -> Probe {
    match machine::security_file("lsm") {
        Some(active) if !active.split(',').any(|m| m == "bpf") => Probe::No,
        _ => features::lsm(),
    }
}

fn unknown(name: &str, errno: i32) -> Check {
    let check = Check::new(name, Status::Unknown, std::io::Error::from_raw_os_error(errno).to_string());
    if errno == libc::EPERM { check.mend("run `skep doctor` as root") } else { check }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_says_something_and_bad_ones_have_a_mend() {
        let list = checks(&LiveTarget::new());
        assert!(list.len() > 20);
        for check in &list {
            assert!(!check.name.is_empty() && !check.detail.is_empty(), "{check:?}");
            assert!(check.status != Status::Bad || !check.mend.is_empty(), "{check:?}");
        }
        let mut names: Vec<&str> = list.iter().map(|c| c.name.as_str()).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all, "a name twice");
    }
}
