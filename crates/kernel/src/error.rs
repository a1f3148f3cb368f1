//! [`Error`]: what the kernel or the environment refused, with the operation and the errno, and
//! [`Error::explain`]: what the user can do about it.

use rustix::io::Errno;
use skep_bpf::target::TargetError;
use skep_bpf::version::KernelVersion;

use crate::machine;

/// Why an operation failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("{operation}: {}", describe(*errno))]
    Os {
        /// What was tried, as "create map @x".
        operation: String,
        /// The errno.
        errno: i32,
    },
    /// The kernel did not accept a program.
    #[error("the kernel rejected the program of {probe}: {}", describe(*errno))]
    Load {
        /// The probe.
        probe: String,
        /// The program's name in the object.
        symbol: String,
        /// The errno of the load.
        errno: i32,
        /// What the verifier wrote; empty when it was not reached.
        log: String,
    },
    /// This kernel lacks something.
    #[error("{what} needs Linux {since} or later; this is {here}")]
    TooOld {
        /// What is missing.
        what: String,
        /// The first version that has it.
        since: KernelVersion,
        /// The running kernel's release.
        here: String,
    },
    /// This kernel was built without something, or does not allow it.
    #[error("{what} is not available on this kernel: {why}")]
    Unavailable {
        /// What is missing.
        what: String,
        /// Why.
        why: String,
    },
    /// An attach point, symbol or file that does not exist.
    #[error("{0} not found")]
    Missing(String),
    /// What was read or given makes no sense.
    #[error("{what}: {why}")]
    Damaged {
        /// What was read.
        what: String,
        /// What is wrong with it.
        why: String,
    },
}

/// The text of an errno; the kernel's own ENOTSUPP (524) is unknown to the C library.
fn describe(errno: i32) -> String {
    match errno {
        524 => "Operation not supported (os error 524)".to_owned(),
        _ => std::io::Error::from_raw_os_error(errno).to_string(),
    }
}

impl Error {
    /// A failed call.
    pub(crate) fn os(operation: impl Into<String>, errno: Errno) -> Error {
        Error::Os { operation: operation.into(), errno: errno.raw_os_error() }
    }

    /// A failed operation of the standard library.
    pub(crate) fn io(operation: impl Into<String>, error: &std::io::Error) -> Error {
        Error::Os { operation: operation.into(), errno: error.raw_os_error().unwrap_or(libc::EIO) }
    }

    /// The errno, where there is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Os { errno, .. } | Error::Load { errno, .. } => Some(*errno),
            _ => None,
        }
    }

    /// Whether this says that the attach point does not exist (rather than that it was refused).
    pub fn is_missing(&self) -> bool {
        matches!(self, Error::Missing(_))
    }

    /// Whether the errno says that a permission is missing.
    pub fn is_permission(&self) -> bool {
        matches!(self.errno(), Some(libc::EPERM | libc::EACCES)) && !self.is_judged()
    }

    /// The verifier's log of a rejected program.
    pub fn verifier_log(&self) -> Option<&str> {
        match self {
            Error::Load { log, .. } if !log.is_empty() => Some(log),
            _ => None,
        }
    }

    /// Whether the verifier looked at the program and refused it for what it does, rather than for its size. Of a
    /// compiled program that is a mistake of the compiler.
    pub fn is_refusal(&self) -> bool {
        self.is_judged()
            && !matches!(self.errno(), Some(libc::E2BIG | libc::ENOSPC | libc::ENOMEM))
            && self.withheld().is_none()
    }

    /// Why the kernel keeps a helper to itself that the program calls on its author's wish.
    fn withheld(&self) -> Option<&'static str> {
        let line = self.verifier_log().and_then(last_words)?;
        let named = WITHHELD.iter().find(|(helper, _)| line.contains(helper) && line.contains("helper"));
        named.map(|(_, why)| *why)
    }

    /// Whether the verifier says what is wrong: statistics alone are of a program that was refused before it was looked at.
    fn is_judged(&self) -> bool {
        self.verifier_log().and_then(last_words).is_some()
    }

    /// What stands in the way and how to mend it, one sentence each, for the running process and kernel.
    pub fn explain(&self) -> Vec<String> {
        let mut hints = Vec::new();
        if self.is_permission() {
            hints.extend(machine::missing_permission());
        }
        if let Some(line) = self.verifier_log().and_then(last_words) {
            hints.push(format!("the verifier says: {line}"));
        }
        let known = match self.errno() {
            Some(libc::E2BIG) if matches!(self, Error::Load { .. }) => Some(
                "the program is too large or too complex for this kernel's verifier (1,000,000 steps; below 5.17, \
                 which has bpf_loop, each round of a loop counts)",
            ),
            Some(libc::E2BIG) if matches!(self, Error::Os { operation, .. } if operation.starts_with("create map")) => {
                Some(
                    "below Linux 5.11 the key of a map has at most 512 bytes: cut the strings in it, such as \
                     `str(…, 64)`, or set `max_strlen`",
                )
            }
            Some(libc::ENOSPC) if matches!(self, Error::Load { .. }) => {
                Some("the verifier's log did not fit: make room for it with `config = { log_size = BYTES }`")
            }
            Some(libc::EMFILE) => Some("too many open files; raise the limit with `ulimit -n`"),
            Some(libc::ENOMEM) => Some("the kernel has not enough memory; use smaller maps"),
            Some(libc::ENOSYS) => {
                Some("this kernel was built without it (CONFIG_BPF_SYSCALL, CONFIG_PERF_EVENTS)")
            }
            _ => None,
        };
        hints.extend(known.or_else(|| self.withheld()).map(str::to_owned));
        hints
    }
}

/// Helpers that a kernel may withhold, and when it does.
const WITHHELD: &[(&str, &str)] = &[
    (
        "bpf_probe_write_user",
        "a kernel in lockdown lets no program write into processes (/sys/kernel/security/lockdown)",
    ),
    (
        "bpf_override_return",
        "only kernels with CONFIG_BPF_KPROBE_OVERRIDE let programs replace a function's result",
    ),
    ("bpf_d_path", "the kernel allows paths to be made in few functions, this is none of them"),
];

/// The line of a verifier log that says what is wrong: the last one that is not a statistic.
fn last_words(log: &str) -> Option<&str> {
    let noise = |line: &str| {
        line.starts_with("processed ")
            || line.starts_with("verification time ")
            || line.starts_with("stack depth ")
            || line.starts_with("insns processed ")
    };
    log.lines().rev().map(str::trim).find(|line| !line.is_empty() && !noise(line))
}

impl From<TargetError> for Error {
    fn from(error: TargetError) -> Error {
        match error {
            TargetError::NotFound(what) => Error::Missing(what),
            TargetError::Unknown(what) => {
                Error::Unavailable { what, why: "this machine cannot tell".to_owned() }
            }
            TargetError::Os { operation, errno } => Error::Os { operation, errno },
            TargetError::Damaged { what, why } => Error::Damaged { what, why },
        }
    }
}

impl From<Error> for TargetError {
    fn from(error: Error) -> TargetError {
        match error {
            Error::Missing(what) => TargetError::NotFound(what),
            Error::Os { operation, errno } => TargetError::Os { operation, errno },
            Error::Damaged { what, why } => TargetError::Damaged { what, why },
            Error::Load { probe, errno, .. } => TargetError::Os { operation: format!("load {probe}"), errno },
            Error::TooOld { .. } | Error::Unavailable { .. } => TargetError::Unknown(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifiers_last_words_are_found() {
        let log = "0: R1=ctx() R10=fp0\n0: (79) r0 = *(u64 *)(r2 +0)\nR2 !read_ok\nprocessed 1 insns (limit 1000000) \
                   max_states_per_insn 0\nstack depth 0\n";
        let error = Error::Load {
            probe: "BEGIN".into(),
            symbol: "begin_1".into(),
            errno: libc::EACCES,
            log: log.into(),
        };
        assert_eq!(error.explain(), ["the verifier says: R2 !read_ok"]);
        assert!(!error.is_permission(), "a verifier's EACCES is no missing permission");
        let Error::Load { probe, symbol, .. } = error else { unreachable!() };
        let log = "processed 0 insns (limit 1000000) max_states_per_insn 0\n".to_owned();
        let unseen = Error::Load { probe, symbol, errno: libc::EPERM, log };
        assert!(unseen.is_permission() && !unseen.is_refusal(), "the verifier has not looked at it");
    }

    #[test]
    fn errno_survives_both_ways() {
        let error = Error::os("create map @x", Errno::NOMEM);
        assert_eq!(error.errno(), Some(libc::ENOMEM));
        assert_eq!(Error::from(TargetError::from(error.clone())), error);
        assert_eq!(error.to_string(), "create map @x: Cannot allocate memory (os error 12)");
    }

    #[test]
    fn too_old_names_the_version() {
        let error = Error::TooOld {
            what: "kprobe.multi".into(),
            since: KernelVersion::new(5, 18),
            here: "5.10.0-32-cloud-amd64".into(),
        };
        assert_eq!(
            error.to_string(),
            "kprobe.multi needs Linux 5.18 or later; this is 5.10.0-32-cloud-amd64"
        );
    }
}
