//! `skep doctor`: what this kernel can do, what stands in the way, and the mend. The checks enter; a table or JSON and an
//! exit code leave: success if tracing works at all.

use crate::args::{Doctor, Format};
use crate::exit::Exit;
use anyhow::Result;
use serde_json::{Value, json};
use skep::LiveTarget;
use skep::doctor::{Check, Status, checks};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

/// Runs the command.
pub(crate) fn run(options: &Doctor) -> Result<ExitCode> {
    let checks = checks(&LiveTarget::new());
    let text = match options.format {
        Format::Text => table(&checks, styled()),
        Format::Json => format!("{}\n", document(&checks)),
    };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(if can_trace(&checks) { Exit::Ok } else { Exit::Failure }.into())
}

/// Whether to use colours: on a terminal that has them, unless the user wants none (no-color.org).
fn styled() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    std::io::stdout().is_terminal() && !set("NO_COLOR") && !dumb
}

/// Whether nothing is missing that all tracing needs.
fn can_trace(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.status != Status::Bad)
}

/// How an outcome is shown.
struct Mark {
    status: Status,
    /// In the table.
    word: &'static str,
    /// ANSI colour in the table.
    color: &'static str,
    /// In JSON.
    name: &'static str,
}

const MARKS: [Mark; 4] = [
    Mark { status: Status::Good, word: "ok", color: "32", name: "good" },
    Mark { status: Status::Limited, word: "--", color: "33", name: "limited" },
    Mark { status: Status::Bad, word: "NO", color: "1;31", name: "bad" },
    Mark { status: Status::Unknown, word: "??", color: "36", name: "unknown" },
];

fn mark(status: Status) -> &'static Mark {
    MARKS.iter().find(|mark| mark.status == status).unwrap_or(&MARKS[3])
}

/// The checks as a table, then the mends, then the verdict.
fn table(checks: &[Check], styled: bool) -> String {
    let width = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        let mark = mark(check.status);
        let word = paint(mark.word, mark.color, styled);
        text.push_str(&format!("{word}  {:width$}  {}\n", check.name, check.detail));
    }
    let mends = mends(checks);
    if !mends.is_empty() {
        text.push_str(&format!("\n{}\n", paint("What to mend", "1", styled)));
    }
    for (names, mend) in mends {
        text.push_str(&format!("  {names}: {mend}\n"));
    }
    text.push_str(&format!("\n{}\n", verdict(checks)));
    text
}

/// Mends, each once with the names of the checks that ask for it, those without which nothing works first.
fn mends(checks: &[Check]) -> Vec<(String, &str)> {
    let of =
        |bad: bool| checks.iter().filter(move |c| (c.status == Status::Bad) == bad && !c.mend.is_empty());
    let mut mends: Vec<(String, &str)> = Vec::new();
    for check in of(true).chain(of(false)) {
        match mends.iter_mut().find(|(_, mend)| *mend == check.mend) {
            Some((names, _)) => names.push_str(&format!(", {}", check.name)),
            None => mends.push((check.name.clone(), &check.mend)),
        }
    }
    mends
}

fn verdict(checks: &[Check]) -> String {
    let named = |status| {
        let names: Vec<&str> =
            checks.iter().filter(|c| c.status == status).map(|c| c.name.as_str()).collect();
        names.join(", ")
    };
    if !can_trace(checks) {
        return format!("Nothing can be traced here until this is mended: {}.", named(Status::Bad));
    }
    match named(Status::Limited).as_str() {
        "" => "Tracing works here.".to_owned(),
        names => format!("Tracing works here, but without: {names}."),
    }
}

fn paint(text: &str, color: &str, styled: bool) -> String {
    if styled { format!("\x1b[{color}m{text}\x1b[0m") } else { text.to_owned() }
}

/// The checks as one JSON object.
fn document(checks: &[Check]) -> Value {
    let checks_json: Vec<Value> = checks
        .iter()
        .map(|check| {
            json!({
                "name": check.name,
                "status": mark(check.status).name,
                "detail": check.detail,
                "mend": if check.mend.is_empty() { Value::Null } else { check.mend.as_str().into() },
            })
        })
        .collect();
    json!({ "can_trace": can_trace(checks), "checks": checks_json })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, status: Status, mend: &str) -> Check {
        Check { name: name.to_owned(), status, detail: format!("{name} found"), mend: mend.to_owned() }
    }

    #[test]
    fn a_table_with_mends_and_a_verdict() {
        let checks = [
            check("kernel", Status::Good, ""),
            check("fentry", Status::Limited, "another kernel"),
            check("kprobe.multi", Status::Limited, "another kernel"),
        ];
        assert_eq!(
            table(&checks, false),
            "ok  kernel        kernel found\n\
             --  fentry        fentry found\n\
             --  kprobe.multi  kprobe.multi found\n\
             \n\
             What to mend\n  \
             fentry, kprobe.multi: another kernel\n\
             \n\
             Tracing works here, but without: fentry, kprobe.multi.\n"
        );
        assert!(table(&checks, true).contains("\x1b[33m--\x1b[0m  fentry"));
    }

    #[test]
    fn what_is_bad_comes_first_and_fails() {
        let checks = [check("kprobe", Status::Limited, "a kernel"), check("privilege", Status::Bad, "sudo")];
        assert!(!can_trace(&checks));
        let text = table(&checks, false);
        assert!(text.contains("What to mend\n  privilege: sudo\n  kprobe: a kernel\n"), "{text}");
        assert!(text.ends_with("until this is mended: privilege.\n"), "{text}");
    }

    #[test]
    fn the_json_says_the_same() {
        let checks = [check("kernel", Status::Good, ""), check("x", Status::Unknown, "m")];
        let json = document(&checks);
        assert_eq!(json["can_trace"], true);
        assert_eq!(json["checks"][0]["mend"], Value::Null);
        assert_eq!(
            (&json["checks"][1]["status"], &json["checks"][1]["mend"]),
            (&json!("unknown"), &json!("m"))
        );
    }
}
