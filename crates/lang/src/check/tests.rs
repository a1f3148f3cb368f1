//! Scripts with what is expected of them, from `tests/lang/check`.
//!
//! A file is a script. Lines `//! FACT` say what must hold:
//!
//! - `error CODE LINE:COLUMN TEXT` and `warning …`: such a message, whose text or hints contain TEXT; all messages must
//!   be named, and a script without errors must check.
//! - `map NAME[KEYS] VALUE`, `var NAME TYPE`: the types that inference finds.
//! - `probe NAME`: a probe's name, in order. `note TEXT`: a note contains it.
//! - `hir TEXT`: the debug form of the checked program contains it, blanks aside.
//! - `option NAME VALUE`: `param`, `pid`, `unsafe`, `lacks` (a feature of the target).

mod aggregations;

use std::path::{Path, PathBuf};

use super::check;
use crate::ast::Span;
use crate::diag::{Diagnostic, Diagnostics, Severity, line_column};
use crate::hir::Program;
use crate::options::Options;
use crate::parse::parse;
use crate::types::name::display;

use crate::fake::{Fake, OLD};

pub(super) fn compile(text: &str, options: &Options, target: &Fake) -> (Option<Program>, Diagnostics) {
    let mut diags = Diagnostics::default();
    let script = parse(text, &mut diags);
    if diags.has_errors() {
        return (None, diags);
    }
    let program = check(&script, options, target, &mut diags);
    (program, diags)
}

fn place(text: &str, span: Span) -> String {
    let (line, column) = line_column(text, span.start);
    format!("{line}:{column}")
}

fn describe(text: &str, d: &Diagnostic) -> String {
    let severity = if d.severity == Severity::Error { "error" } else { "warning" };
    format!("{severity} {} {} {} {}", d.code, place(text, d.span), d.message, d.hints.join(" "))
}

fn facts(program: &Program) -> Vec<String> {
    let mut out = Vec::new();
    for map in &program.maps {
        let key = map.key.iter().map(display).collect::<Vec<_>>().join(", ");
        let key = if key.is_empty() { key } else { format!("[{key}]") };
        out.push(format!("map {}{key} {}", map.name, display(&map.value)));
    }
    for var in program.probes.iter().flat_map(|p| &p.vars) {
        out.push(format!("var {} {}", var.name, display(&var.ty)));
    }
    out.extend(program.probes.iter().map(|p| format!("probe {}", p.name)));
    out
}

fn run(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let expected: Vec<&str> = text
        .lines()
        .filter_map(|l| l.trim().strip_prefix("//!"))
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    if expected.is_empty() {
        return Err("no expectation".to_owned());
    }
    let mut options = Options::default();
    let mut target = Fake::new(OLD);
    for line in &expected {
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["option", "param", value] => options.params.push((*value).to_owned()),
            ["option", "pid", value] => options.pid = value.parse().ok(),
            ["option", "unsafe"] => options.unsafe_mode = true,
            ["option", "lacks", feature] => target.lacks.push((*feature).to_owned()),
            _ => {}
        }
    }
    let (program, diags) = compile(&text, &options, &target);
    let mut unnamed: Vec<String> = diags.list.iter().map(|d| describe(&text, d)).collect();
    let facts = program.as_ref().map(facts).unwrap_or_default();
    let squeeze = |s: &str| s.split_whitespace().collect::<String>();
    let hir = squeeze(&format!("{program:?}"));
    let mut wrong = Vec::new();
    for line in expected {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        let holds = match kind {
            "error" | "warning" => {
                let mut words = rest.splitn(3, ' ');
                let (code, at, text) =
                    (words.next().unwrap_or(""), words.next().unwrap_or(""), words.next().unwrap_or(""));
                let head = format!("{kind} {code} {at} ");
                let found = unnamed.iter().position(|d| d.starts_with(&head) && d.contains(text));
                found.map(|i| unnamed.remove(i)).is_some()
            }
            "map" | "var" | "probe" => facts.iter().any(|f| f == line),
            "note" => program.as_ref().is_some_and(|p| p.notes.iter().any(|n| n.contains(rest))),
            "hir" => hir.contains(&squeeze(rest)),
            "nohir" => program.is_some() && !hir.contains(&squeeze(rest)),
            "ok" => program.is_some(),
            "option" => true,
            _ => false,
        };
        if !holds {
            wrong.push(format!("does not hold: {line}"));
        }
    }
    wrong.extend(unnamed.into_iter().map(|d| format!("not expected: {d}")));
    if wrong.is_empty() {
        return Ok(());
    }
    wrong.extend(facts.into_iter().map(|f| format!("  found: {f}")));
    Err(wrong.join("\n"))
}

#[test]
fn fixtures() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/lang/check");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "bt"))
        .collect();
    files.sort();
    assert!(files.len() > 20, "{} fixtures", files.len());
    let failures: Vec<String> = files
        .iter()
        .filter_map(|path| {
            run(path).err().map(|e| format!("{}:\n{e}", path.file_name().unwrap().to_string_lossy()))
        })
        .collect();
    assert!(failures.is_empty(), "{} of {} failed\n\n{}", failures.len(), files.len(), failures.join("\n\n"));
}

/// What checks also compiles, or is refused with a message: never an internal error.
fn compiles(name: &str, text: &str, options: &Options, target: &Fake) -> Result<(), String> {
    let source = crate::compile::Source { name: name.to_owned(), text: text.to_owned() };
    match crate::compile::compile(&source, options, target, &|_| false, &mut |_, _| ()) {
        Err(crate::compile::CompileFailure::Internal(why)) => Err(format!("{name}: {why}\n{text}")),
        _ => Ok(()),
    }
}

#[test]
fn fixtures_compile() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/lang/check");
    let options =
        Options { params: vec!["7".to_owned(), "text".to_owned()], passes: true, ..Options::default() };
    let failures: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            compiles(&entry.file_name().to_string_lossy(), &text, &options, &Fake::new(OLD)).err()
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
