//! Messages in the form of bpftrace, for programs that read them. Diagnostics and the source enter; text leaves: errors
//! first, then warnings, each with its place, its source line and the place marked below.

use super::{Diagnostic, Diagnostics, Severity, line_column};
use crate::ast::Span;
use crate::source::{SourceFile, locate};

/// A tab in a source line is shown as so many spaces.
const TAB: usize = 4;

/// All messages as text.
pub(super) fn render(all: &Diagnostics, file: &str, text: &str) -> String {
    let mut out = String::new();
    for severity in [Severity::Error, Severity::Warning] {
        for d in all.list.iter().filter(|d| d.severity == severity) {
            one(&mut out, d, &all.files, (file, text));
        }
    }
    out
}

fn one(out: &mut String, d: &Diagnostic, files: &[SourceFile], script: (&str, &str)) {
    if d.code == "no-probe" && d.span == Span::default() {
        // It is about the whole script.
        out.push_str(&format!("{}\n", d.message));
        return;
    }
    let word = match d.severity {
        Severity::Error => "ERROR",
        Severity::Warning => "WARNING",
    };
    if d.code == "attach" {
        // What bpftrace finds out while it attaches, it says without a place.
        out.push_str(&format!("{word}: {}\n", d.message));
        return;
    }
    if let Some(word) = c_word(d) {
        // A C compiler's form; the preamble is a file of its own there, one line further down.
        let place = locate(files, script.1, d.span);
        let (line, column) = line_column(place.text, place.span.start);
        out.push_str(&format!("definitions.h:{}:{column}: {word}: {}\n", line + 1, d.message));
    } else {
        message(out, d.span, (word, &d.message), files, script);
    }
    for (span, label) in &d.labels {
        message(out, *span, (word, label), files, script);
    }
    for hint in &d.hints {
        out.push_str(&format!("HINT: {hint}\n"));
    }
}

/// What a C compiler calls a message about the preamble.
fn c_word(d: &Diagnostic) -> Option<&'static str> {
    match (d.code, d.severity) {
        ("c-include", _) => Some("fatal error"),
        ("c-declaration" | "c-preprocessor", Severity::Error) => Some("error"),
        ("c-declaration" | "c-preprocessor", Severity::Warning) => Some("warning"),
        _ => None,
    }
}

/// One message at one place. The end of a place is exclusive, in its column too.
fn message(
    out: &mut String,
    span: Span,
    (word, message): (&str, &str),
    files: &[SourceFile],
    (file, text): (&str, &str),
) {
    if span == Span::default() {
        return out.push_str(&format!("{word}: {message}\n"));
    }
    let place = locate(files, text, span);
    let (file, text, span) = (place.file.unwrap_or(file), place.text, place.span);
    let (line, column) = line_column(text, span.start);
    let (last, end) = line_column(text, span.end.max(span.start));
    let lines = text.lines().skip(line as usize - 1);
    if line != last {
        out.push_str(&format!("{file}:{line}-{last}: {word}: {message}\n"));
        for source in lines.take((last - line + 1) as usize) {
            out.push_str(&format!("{source}\n"));
        }
        return;
    }
    out.push_str(&format!("{file}:{line}:{column}-{end}: {word}: {message}\n"));
    let Some(source) = lines.into_iter().next() else { return };
    let (mut shown, mut marks) = (String::new(), String::new());
    for (at, c) in (1u32..).zip(source.chars()) {
        let (c, width) = if c == '\t' { (' ', TAB) } else { (c, 1) };
        shown.extend(std::iter::repeat_n(c, width));
        let mark = if at < column { ' ' } else { '~' };
        if at < end {
            marks.extend(std::iter::repeat_n(mark, width));
        }
    }
    out.push_str(&format!("{shown}\n{marks}\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_come_first_each_with_its_line() {
        let text = "begin {\n\tprint($x);\n  @a = 1; }";
        let list = vec![
            Diagnostic::warning("w", Span::new(22, 24), "never read"),
            Diagnostic::error("e", Span::new(15, 17), "no such variable").hint("assign it"),
            Diagnostic::error("e", Span::new(6, 31), "too long"),
        ];
        let expected = "\
f:2:8-10: ERROR: no such variable
    print($x);
          ~~
HINT: assign it
f:1-3: ERROR: too long
begin {
\tprint($x);
  @a = 1; }
f:3:3-5: WARNING: never read
  @a = 1; }
  ~~
";
        let all = Diagnostics { list, ..Diagnostics::default() };
        assert_eq!(render(&all, "f", text), expected);
    }

    #[test]
    fn places_off_the_text_do_not_panic() {
        for (start, end) in [(0, 0), (9, 3), (90, 99)] {
            let list = vec![Diagnostic::error("e", Span { start, end }, "m")];
            let all = Diagnostics { list, ..Diagnostics::default() };
            assert!(render(&all, "f", "é\n").contains("ERROR: m"));
        }
        let mut all = Diagnostics::default();
        all.push(Diagnostic::error("e", Span::new(1, 1), "m"));
        assert!(render(&all, "f", "").contains("f:1:1-1"));
        let mut all = Diagnostics::default();
        all.push(Diagnostic::error("e", Span::default(), "no place"));
        assert_eq!(render(&all, "f", "x"), "ERROR: no place\n");
    }
}
