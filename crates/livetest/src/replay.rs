//! The third way in which a case runs: the session is recorded on the kernel, and happens again on the offline machine.
//!
//! In: a case, the recording that the program under test wrote. Out: every line in which what it prints then differs.
//! Always: a case takes part unless its script is not what runs, or its output does not come from a session.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::args::Options;
use crate::expect::Output;
use crate::fixture::{Case, Via};

/// Arguments with which `skep trace` runs no session of its own, or prints it elsewhere.
const OTHER: [&str; 14] = [
    "-o",
    "--output",
    "-d",
    "--dump",
    "--emit",
    "--test",
    "--bench",
    "--mode",
    "--fmt",
    "--info",
    "-l",
    "-lv",
    "--dry-run",
    "--record",
];
/// Differences that are shown.
const SHOWN: usize = 5;

/// Whether a run of the case can be recorded.
pub(crate) fn takes_part(case: &Case) -> bool {
    let own = case.command.is_none() && case.called.is_none() && case.user.is_none();
    let whole = case.close_stdout_after.is_none() && case.via != Via::Object;
    own && whole && !case.args.iter().any(|word| OTHER.contains(&word.as_str()) || word.starts_with("-o"))
}

/// Where the recording of a run in `dir` lies.
pub(crate) fn file(dir: &Path) -> PathBuf {
    dir.join("session.rec")
}

/// Lets the recording happen again; what differs from `live`. A run that came to no session has left no recording.
pub(crate) fn differences(
    case: &Case,
    options: &Options,
    recording: &Path,
    live: &Output,
) -> Result<Vec<String>, String> {
    if std::fs::metadata(recording).map_or(true, |m| m.len() == 0) {
        return Ok(Vec::new());
    }
    let (program, leading) = options.program.split_first().ok_or("no program")?;
    let mut command = Command::new(program);
    command.args(leading).arg("run").env_remove("RUST_BACKTRACE");
    if let Some(at) = case.args.iter().position(|word| word == "-f" || word == "--format") {
        command.args(case.args.get(at..at + 2).unwrap_or(&[]));
    }
    let done = command.arg(recording).stdin(Stdio::null()).output();
    let done = done.map_err(|error| format!("{program}: {error}"))?;
    let lines =
        |bytes: &[u8]| -> Vec<String> { String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect() };
    let mut reasons = differing(&live.stdout, &lines(&done.stdout));
    let said = lines(&done.stderr);
    let own = said.iter().filter(|line| line.starts_with("difference:") || line.starts_with("error:"));
    reasons.extend(own.take(SHOWN).cloned());
    if done.status.code().is_none() || said.iter().any(|line| line.contains("panicked at")) {
        reasons.push(format!("the replay ended with {}: {}", done.status, said.join("; ")));
    }
    Ok(reasons)
}

/// The first lines that differ.
fn differing(live: &[String], replayed: &[String]) -> Vec<String> {
    let same = live.iter().zip(replayed).take_while(|(a, b)| a == b).count();
    if same == live.len() && same == replayed.len() {
        return Vec::new();
    }
    let show = |lines: &[String]| match lines.get(same) {
        Some(line) => format!("`{line}`"),
        None => format!("nothing ({} lines)", lines.len()),
    };
    vec![format!(
        "line {} of stdout is {} when it is replayed, but was {}",
        same + 1,
        show(replayed),
        show(live)
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_shown() {
        let lines = |text: &str| -> Vec<String> { text.lines().map(str::to_owned).collect() };
        assert!(differing(&lines("a\nb"), &lines("a\nb")).is_empty());
        assert!(differing(&lines("a\nb"), &lines("a\nc"))[0].contains("line 2 of stdout is `c`"));
        assert!(differing(&lines("a\nb"), &lines("a"))[0].contains("is nothing (1 lines)"));
    }

    #[test]
    fn sessions_take_part() {
        let takes = |keys: &str| {
            let text = format!("== case\nscript: BEGIN {{}}\nexpect: a\n{keys}");
            takes_part(&crate::fixture::parse("x", &text).unwrap()[0])
        };
        assert!(takes(""));
        assert!(takes("args: -f json"));
        assert!(!takes("args: -o FILE"));
        assert!(!takes("command: trace -l x"));
        assert!(!takes("via: object"));
    }
}
