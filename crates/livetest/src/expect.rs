//! Whether an output is what a case wants.
//!
//! In: a case, the lines of both streams, the exit status. Out: every reason why it is not, in the order of the keys.

use std::process::ExitStatus;

use regex::Regex;

use crate::fixture::Case;
use crate::vars::Vars;

/// What a run left behind.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: Vec<String>,
    /// What the commands before and after said.
    pub(crate) before: Vec<String>,
    pub(crate) after: Vec<String>,
    /// The lines of the files that the case names, in its order; nothing of a file that is not there.
    pub(crate) written: Vec<Vec<String>>,
    pub(crate) status: Option<ExitStatus>,
}

/// Compares; an empty list means that all is as wanted.
pub(crate) fn check(case: &Case, output: &Output, vars: &Vars) -> Vec<String> {
    let mut reasons = Vec::new();
    if output.stdout.iter().chain(&output.stderr).any(|line| line.contains("panicked at")) {
        reasons.push("it panicked".to_owned());
    }
    match output.status {
        Some(status) if status.code() == Some(case.exit) => {}
        Some(status) => reasons.push(format!("expected exit code {}, got {status}", case.exit)),
        None => reasons.push("it did not end".to_owned()),
    }
    let patterns = |list: &[String]| -> Vec<Regex> {
        list.iter().filter_map(|pattern| Regex::new(&vars.fill_pattern(pattern)).ok()).collect()
    };
    reasons.extend(in_order("stdout", &patterns(&case.expect), &output.stdout));
    for pattern in patterns(&case.contains) {
        if !output.stdout.iter().any(|line| pattern.is_match(line)) {
            reasons.push(format!("no line of stdout matches `{pattern}`"));
        }
    }
    reasons.extend(rejected("stdout", &patterns(&case.reject), &output.stdout));
    reasons.extend(in_order("stderr", &patterns(&case.stderr), &output.stderr));
    reasons.extend(rejected("stderr", &patterns(&case.reject_stderr), &output.stderr));
    reasons.extend(in_order("the commands before", &patterns(&case.expect_before), &output.before));
    reasons.extend(in_order("the commands after", &patterns(&case.expect_after), &output.after));
    for ((name, wanted), lines) in case.written.iter().zip(&output.written) {
        reasons.extend(in_order(name, &patterns(wanted), lines));
    }
    let lines: Vec<String> = output.stdout.iter().chain(&output.stderr).cloned().collect();
    reasons.extend(case.require.iter().filter_map(|requirement| requirement.check(&lines, vars).err()));
    reasons
}

fn in_order(stream: &str, patterns: &[Regex], lines: &[String]) -> Option<String> {
    let mut at = 0;
    let mut before: Option<&Regex> = None;
    for pattern in patterns {
        match lines[at..].iter().position(|line| pattern.is_match(line)) {
            Some(offset) => at += offset + 1,
            None => {
                let place =
                    before.map_or(String::new(), |before| format!(" after the one that matches `{before}`"));
                return Some(format!("no line of {stream} matches `{pattern}`{place}"));
            }
        }
        before = Some(pattern);
    }
    None
}

fn rejected(stream: &str, patterns: &[Regex], lines: &[String]) -> Vec<String> {
    let found = |pattern: &Regex| {
        lines.iter().find(|line| pattern.is_match(line)).map(|line| (pattern.clone(), line))
    };
    patterns
        .iter()
        .filter_map(found)
        .map(|(pattern, line)| format!("{stream} must not match `{pattern}`, but `{line}` does"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn reasons(keys: &str, stdout: &[&str], code: i32) -> Vec<String> {
        let text = format!("== case\nscript: BEGIN {{}}\n{keys}");
        let case = crate::fixture::parse("x", &text).unwrap().remove(0);
        let stdout = stdout.iter().map(|line| (*line).to_owned()).collect();
        let status = Some(ExitStatus::from_raw(code << 8));
        check(&case, &Output { stdout, status, ..Output::default() }, &Vars::default())
    }

    #[test]
    fn order_matters_for_expect_alone() {
        assert!(reasons("expect:\n  a\n  b", &["a", "x", "b"], 0).is_empty());
        assert_eq!(reasons("expect:\n  a\n  b", &["b", "a"], 0).len(), 1);
        assert!(reasons("contains:\n  a\n  b", &["b", "a"], 0).is_empty());
    }

    #[test]
    fn everything_else_fails_too() {
        assert_eq!(reasons("reject: a", &["a"], 0).len(), 1);
        assert_eq!(reasons("contains: b", &["a"], 0).len(), 1);
        assert_eq!(reasons("expect: a", &["a"], 1).len(), 1);
        assert_eq!(reasons("expect: a", &["a", "thread 'main' panicked at x"], 0).len(), 1);
        assert_eq!(reasons("stderr: a", &["a"], 0).len(), 1);
        assert_eq!(reasons("require: 1 = 2", &["a"], 0).len(), 1);
        assert!(reasons("exit: 1\nexpect: a", &["a"], 1).is_empty());
    }
}
