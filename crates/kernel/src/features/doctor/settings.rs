//! Checks of kernel settings: lockdown, sysctls, limits.

use rustix::process::{Resource, getrlimit};
use skep_bpf::version::KernelVersion;

use super::{Check, Status};
use crate::machine;

/// These checks, in order.
pub(super) fn checks() -> Vec<Check> {
    let mut checks = vec![lockdown()];
    checks.extend(SYSCTLS.iter().map(Sysctl::check));
    checks.extend([memlock(), open_files()]);
    checks
}

fn lockdown() -> Check {
    match machine::lockdown().as_deref() {
        None => Check::good("lockdown", "off, or not shown to this process"),
        Some("confidentiality") => {
            Check::bad("lockdown", "confidentiality: programs may not read kernel memory")
                .mend("boot without lockdown=confidentiality")
        }
        Some(mode) => Check::good("lockdown", format!("{mode}: tracing is allowed")),
    }
}

/// A sysctl and what its values mean: (value, status, meaning), the last row for any other.
struct Sysctl {
    name: &'static str,
    path: &'static str,
    meanings: &'static [(&'static str, Status, &'static str)],
    mend: &'static str,
}

const SYSCTLS: &[Sysctl] = &[
    Sysctl {
        name: "kernel.kptr_restrict",
        path: "/proc/sys/kernel/kptr_restrict",
        meanings: &[
            ("0", Status::Good, "kernel symbols have addresses"),
            ("1", Status::Good, "kernel symbols have addresses for CAP_SYSLOG"),
            ("", Status::Limited, "kernel addresses are hidden: stacks print as numbers"),
        ],
        mend: "sysctl kernel.kptr_restrict=1",
    },
    Sysctl {
        name: "kernel.perf_event_paranoid",
        path: "/proc/sys/kernel/perf_event_paranoid",
        meanings: &[("", Status::Good, "does not matter with CAP_PERFMON")],
        mend: "",
    },
    Sysctl {
        name: "kernel.unprivileged_bpf_disabled",
        path: "/proc/sys/kernel/unprivileged_bpf_disabled",
        meanings: &[
            ("0", Status::Good, "any user may load socket filters; tracing needs privilege all the same"),
            ("", Status::Good, "privilege is needed, which is the sane setting"),
        ],
        mend: "",
    },
    Sysctl {
        name: "net.core.bpf_jit_enable",
        path: "/proc/sys/net/core/bpf_jit_enable",
        meanings: &[
            ("0", Status::Limited, "programs are interpreted, which is slow"),
            ("1", Status::Good, "programs run as machine code"),
            ("2", Status::Limited, "the JIT prints every program into the kernel's log"),
            ("", Status::Good, "programs run as machine code"),
        ],
        mend: "sysctl net.core.bpf_jit_enable=1",
    },
];

impl Sysctl {
    fn check(&self) -> Check {
        let Some(value) = machine::read_line(self.path) else {
            return Check::good(self.name, "not on this kernel");
        };
        let row = self.meanings.iter().find(|(v, ..)| *v == value || v.is_empty());
        let Some((_, status, meaning)) = row else {
            return Check::new(self.name, Status::Unknown, value);
        };
        let check = Check::new(self.name, *status, format!("{value}: {meaning}"));
        if *status == Status::Good { check } else { check.mend(self.mend) }
    }
}

fn memlock() -> Check {
    if machine::version() >= KernelVersion::new(5, 11) {
        return Check::good("locked memory", "this kernel does not count maps as locked memory");
    }
    match getrlimit(Resource::Memlock).current {
        None => Check::good("locked memory", "no limit"),
        Some(limit) => {
            Check::limited("locked memory", format!("{} KiB; skep raises it when it may", limit / 1024))
                .mend("ulimit -l unlimited")
        }
    }
}

fn open_files() -> Check {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.map_or("no limit".to_owned(), |m| m.to_string());
    Check::good("open files", format!("at most {most}; each probe takes one to three"))
}
