//! Signal numbers as names.

/// Names of the signals 1 to 31, without SIG (arch/x86/include/uapi/asm/signal.h, Linux 6.18; the same on aarch64).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// `SIGKILL` and the like; real-time signals count from SIGRTMIN as the kernel numbers them (32); otherwise the
/// number.
pub(super) fn name(number: u32) -> Vec<u8> {
    let known = number.checked_sub(1).and_then(|n| NAMES.get(n as usize));
    let text = match (known, number) {
        (Some(name), _) => format!("SIG{name}"),
        (None, 32) => "SIGRTMIN".to_owned(),
        (None, 33..=64) => format!("SIGRTMIN+{}", number - 32),
        _ => number.to_string(),
    };
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_by_number() {
        for (number, want) in [(0, "0"), (9, "SIGKILL"), (31, "SIGSYS"), (34, "SIGRTMIN+2"), (65, "65")] {
            assert_eq!(name(number), want.as_bytes());
        }
    }
}
