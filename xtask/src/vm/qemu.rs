//! Booting a guest and listening to it.
//!
//! In: a kernel, an initramfs, a time limit. Out: the harness's lines and tally, or what went wrong with the console's end.
//! Always: the QEMU that this starts is dead when the function returns.
//!
//! The guest has two serial ports: the kernel's console goes to a file, the harness's output to the second port, so that no
//! kernel message can tear a line of the report.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::process;
use crate::tally::Tally;

const QEMU: &str = "qemu-system-x86_64";

/// How `src/bin/guest-init.rs` begins its last line; the harness's exit code follows.
const MARKER: &str = "guest-init: the harness ended with ";

/// What to boot.
pub(super) struct Boot<'a> {
    pub(super) vmlinuz: &'a Path,
    pub(super) initramfs: &'a Path,
    pub(super) append: &'a str,
    pub(super) logs: &'a Path,
    pub(super) limit: Duration,
    /// Whether the harness runs, which counts.
    pub(super) counted: bool,
}

/// How it went.
pub(super) struct Report {
    pub(super) tally: Tally,
    /// Why the guest counts as failed beside its own failures.
    pub(super) trouble: Option<String>,
    /// Whether the guest went away in time but without a word: its kernel died.
    pub(super) died: bool,
    pub(super) console_tail: Vec<String>,
}

/// Boots, hands on each line of the harness, and waits for the end.
pub(super) fn boot(boot: &Boot<'_>, mut each: impl FnMut(&str)) -> Result<Report, String> {
    if !process::exists(QEMU) {
        return Err(format!("{QEMU} is missing; the package is qemu-system-x86"));
    }
    let console = boot.logs.join("console.log");
    let mut child = command(boot, &console).spawn().map_err(|error| format!("{QEMU}: {error}"))?;
    let stdout = child.stdout.take().ok_or("no output from QEMU")?;
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            let text = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            if sender.send(text).is_err() {
                break;
            }
        }
    });
    let path = boot.logs.join("report.log");
    let mut log = File::create(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let deadline = Instant::now() + boot.limit;
    let mut lines = Vec::new();
    let in_time = loop {
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                each(&line);
                let _ = writeln!(log, "{line}");
                lines.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => break true,
            Err(RecvTimeoutError::Timeout) => break false,
        }
    };
    if !in_time {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| format!("{QEMU}: {error}"))?;
    let mut report = judge(&lines, in_time.then_some(()).ok_or(boot.limit), boot.counted);
    if report.trouble.is_some() {
        report.console_tail = tail(&console);
        report
            .console_tail
            .push(format!("({QEMU}: {status}; the whole console is in {})", console.display()));
    }
    Ok(report)
}

fn command(boot: &Boot<'_>, console: &Path) -> Command {
    let mut command = Command::new(QEMU);
    // Two faults of QEMU's emulation (seen in 7.2, Debian 12's) would kill guests at random, so both are kept out of reach.
    // With a host thread for each CPU, one may run code that the other is patching (a static key that perf_event_open switches
    // on) and meet a stray int3; one thread for both is not slower. And cmpxchg16b leaves garbage in the flags, which kernel
    // 6.12's allocator runs into within seconds; without the feature kernels take a lock instead.
    command.args([
        "-M",
        "q35",
        "-accel",
        "tcg,thread=single",
        "-cpu",
        "max,cx16=off",
        "-smp",
        "2",
        "-m",
        "1024",
    ]);
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    command.arg("-serial").arg(format!("file:{}", console.display())).args(["-serial", "stdio"]);
    command.arg("-kernel").arg(boot.vmlinuz).arg("-initrd").arg(boot.initramfs);
    let fixed = "console=ttyS0 lsm=landlock,bpf panic=-1 quiet";
    command.arg("-append").arg(format!("{fixed} {}", boot.append).trim_end());
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// What the guest's lines amount to; `counted`: with a closing line of the harness.
fn judge(lines: &[String], in_time: Result<(), Duration>, counted: bool) -> Report {
    let code = lines.iter().rev().find_map(|line| line.strip_prefix(MARKER));
    let closing = match counted {
        true => lines.iter().rev().find_map(|line| Tally::from_harness(line)),
        false => code.map(|code| Tally::one(code == "0")),
    };
    let died = matches!((&in_time, code), (Ok(()), None));
    let trouble = match (in_time, code, closing) {
        (Err(limit), ..) => Some(format!("it had not ended after {} s", limit.as_secs())),
        (_, None, _) => Some("it ended without a report".to_owned()),
        (_, Some(code), None) => Some(format!("the harness ended with {code}, without its closing line")),
        (_, Some("0"), Some(tally)) if tally.failed > 0 => Some("failures, but exit code 0".to_owned()),
        (_, Some(code), Some(tally)) if code != "0" && tally.failed == 0 => {
            Some(format!("no failures, but the harness ended with {code}"))
        }
        _ => None,
    };
    let mut tally = closing.unwrap_or_default();
    if trouble.is_some() {
        tally.failed += 1;
    }
    Report { tally, trouble, died, console_tail: Vec::new() }
}

/// The last lines of a file.
fn tail(path: &Path) -> Vec<String> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].iter().map(|line| line.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(lines: &[&str]) -> Report {
        judge(&lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>(), Ok(()), true)
    }

    #[test]
    fn a_report_is_believed_only_with_its_marker() {
        let closing = "5 passed, 0 failed, 1 skipped";
        let good = judged(&[closing, "guest-init: the harness ended with 0"]);
        assert_eq!(good.tally, Tally { passed: 5, failed: 0, skipped: 1 });
        assert!(good.trouble.is_none() && !good.died);
        assert!(judged(&[]).died && judged(&[closing]).died);
        for bad in [
            &[closing][..],
            &["guest-init: the harness ended with 0"],
            &[closing, "guest-init: the harness ended with 1"],
            &["4 passed, 1 failed, 1 skipped", "guest-init: the harness ended with 0"],
            &[],
        ] {
            let report = judged(bad);
            assert!(report.trouble.is_some() && report.tally.failed > 0, "{bad:?}");
        }
        let failed = judged(&["4 passed, 1 failed, 1 skipped", "guest-init: the harness ended with 1"]);
        assert!(failed.trouble.is_none());
        assert_eq!(failed.tally.failed, 1);
    }

    #[test]
    fn too_late_is_a_failure() {
        assert_eq!(judge(&[], Err(Duration::from_secs(3)), true).tally.failed, 1);
    }
}
