//! Diagnostics: what a user did wrong, as values. Stages collect them and go on; rendering comes last.

use crate::ast::Span;
use crate::source::{self, SourceFile};
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

mod lines;

/// How messages look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// Source lines with the places marked and explained.
    Snippets {
        /// With ANSI styles.
        color: bool,
    },
    /// `FILE:LINE:COLUMN-COLUMN: ERROR: message`, the source line and a line that marks the place: the form of bpftrace.
    Lines,
}

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// The program is refused.
    Error,
    /// The program runs, but perhaps not as meant.
    Warning,
}

/// One message about the source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// Stable short name, e.g. `unknown-probe`.
    pub code: &'static str,
    /// How bad.
    pub severity: Severity,
    /// What was found and what was expected.
    pub message: String,
    /// Where.
    pub span: Span,
    /// Text at the place itself; empty: only underlined.
    pub label: String,
    /// Further places with their text.
    pub labels: Vec<(Span, String)>,
    /// How to mend it.
    pub hints: Vec<String>,
}

impl Diagnostic {
    /// An error.
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            code,
            severity: Severity::Error,
            message: message.into(),
            span,
            label: String::new(),
            labels: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// A warning.
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, span, message) }
    }

    /// Adds text at the place itself.
    pub fn at(mut self, label: impl Into<String>) -> Diagnostic {
        self.label = label.into();
        self
    }

    /// Adds another place.
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.labels.push((span, text.into()));
        self
    }

    /// Adds a way to mend it.
    pub fn hint(mut self, text: impl Into<String>) -> Diagnostic {
        self.hints.push(text.into());
        self
    }
}

/// Diagnostics of a whole run, in the order they were found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Diagnostics {
    /// All of them.
    pub list: Vec<Diagnostic>,
    /// Imported files, which spans may lie in.
    pub files: Vec<SourceFile>,
}

impl Diagnostics {
    /// Adds one, unless the same message stands at the same place already.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        let same = |d: &Diagnostic| d.span == diagnostic.span && d.message == diagnostic.message;
        if !self.list.iter().rev().take(32).any(same) {
            self.list.push(diagnostic);
        }
    }

    /// Whether there is an error.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|d| d.severity == Severity::Error)
    }

    /// All messages with their source lines, as text for people. `file` is the name shown.
    pub fn render(&self, file: &str, text: &str, style: Style) -> String {
        let color = match style {
            Style::Snippets { color } => color,
            Style::Lines => return lines::render(self, file, text),
        };
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for diagnostic in &self.list {
            out.push_str(&render_one(&renderer, diagnostic, &self.files, file, text));
            out.push('\n');
        }
        out
    }
}

fn render_one(renderer: &Renderer, d: &Diagnostic, files: &[SourceFile], file: &str, text: &str) -> String {
    let place = source::locate(files, text, d.span);
    let level = match d.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut primary = AnnotationKind::Primary.span(range(place.span, place.text));
    if !d.label.is_empty() {
        primary = primary.label(d.label.as_str());
    }
    let mut snippet = Snippet::source(place.text).path(place.file.unwrap_or(file)).annotation(primary);
    let mut elsewhere = Vec::new();
    for (span, label) in &d.labels {
        let other = source::locate(files, text, *span);
        let annotation = AnnotationKind::Context.span(range(other.span, other.text)).label(label.as_str());
        if other.file == place.file {
            snippet = snippet.annotation(annotation);
        } else {
            elsewhere
                .push(Snippet::source(other.text).path(other.file.unwrap_or(file)).annotation(annotation));
        }
    }
    let mut group = level.primary_title(d.message.as_str()).element(snippet);
    for snippet in elsewhere {
        group = group.element(snippet);
    }
    for hint in &d.hints {
        group = group.element(Level::HELP.message(hint.as_str()));
    }
    renderer.render(&[group])
}

/// The span as a range within `text` that starts and ends between characters.
fn range(span: Span, text: &str) -> std::ops::Range<usize> {
    let floor = |at: u32| {
        let mut at = (at as usize).min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = floor(span.start);
    start..floor(span.end).max(start)
}

/// Line and column of a byte offset, both 1-based; the column counts characters.
pub fn line_column(text: &str, offset: u32) -> (u32, u32) {
    let before = &text.as_bytes()[..(offset as usize).min(text.len())];
    let line = before.iter().filter(|b| **b == b'\n').count() as u32 + 1;
    let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
    (line, String::from_utf8_lossy(&before[start..]).chars().count() as u32 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_place_label_and_hint() {
        let text = "BEGIN { prinf(\"x\"); }";
        let mut ds = Diagnostics::default();
        ds.push(
            Diagnostic::error("unknown-function", Span::new(8, 13), "unknown function `prinf`")
                .at("not a function")
                .hint("did you mean `printf`?"),
        );
        let shown = ds.render("stdin", text, Style::Snippets { color: false });
        for part in
            ["unknown function `prinf`", "stdin:1:9", "^^^^^ not a function", "did you mean `printf`?"]
        {
            assert!(shown.contains(part), "{part} in:\n{shown}");
        }
    }

    #[test]
    fn spans_off_the_text_do_not_panic() {
        let mut ds = Diagnostics::default();
        ds.push(Diagnostic::error("x", Span { start: 3, end: 900 }, "m"));
        assert!(!ds.render("f", "é", Style::Snippets { color: false }).is_empty());
        assert_eq!(line_column("a\nbé c", 5), (2, 3));
    }
}
