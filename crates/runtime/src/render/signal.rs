//! Signal numbers as text.

/// What the signals 1 to 31 mean, as strsignal(3) says it (numbers: include/uapi/asm-generic/signal.h, Linux 6.18).
const MEANINGS: [&str; 31] = [
    "Hangup",
    "Interrupt",
    "Quit",
    "Illegal instruction",
    "Trace/breakpoint trap",
    "Aborted",
    "Bus error",
    "Floating point exception",
    "Killed",
    "User defined signal 1",
    "Segmentation fault",
    "User defined signal 2",
    "Broken pipe",
    "Alarm clock",
    "Terminated",
    "Stack fault",
    "Child exited",
    "Continued",
    "Stopped (signal)",
    "Stopped",
    "Stopped (tty input)",
    "Stopped (tty output)",
    "Urgent I/O condition",
    "CPU time limit exceeded",
    "File size limit exceeded",
    "Virtual timer expired",
    "Profiling timer expired",
    "Window changed",
    "I/O possible",
    "Power failure",
    "Bad system call",
];
/// The first real-time signal that programs use: the C library keeps two for itself.
const REAL_TIME: u32 = 34;
/// The last signal.
const LAST: u32 = 64;

/// What a signal means; real-time signals by number.
pub(super) fn name(number: u32) -> Vec<u8> {
    let known = number.checked_sub(1).and_then(|n| MEANINGS.get(n as usize));
    let text = match (known, number) {
        (Some(text), _) => (*text).to_owned(),
        (None, REAL_TIME..=LAST) => format!("Real-time signal {}", number - REAL_TIME),
        (None, 0..REAL_TIME) => format!("Unknown signal {number}"),
        _ => "N/A".to_owned(),
    };
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meanings_by_number() {
        for (number, want) in [
            (0, "Unknown signal 0"),
            (2, "Interrupt"),
            (9, "Killed"),
            (31, "Bad system call"),
            (33, "Unknown signal 33"),
            (34, "Real-time signal 0"),
            (64, "Real-time signal 30"),
            (u32::MAX, "N/A"),
        ] {
            assert_eq!(name(number), want.as_bytes());
        }
    }
}
