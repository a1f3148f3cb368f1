//! Listing of probes and types: a pattern and a target enter; lines leave, one for each probe or type that matches, and
//! with `verbose` one more for each argument or the whole definition. What always holds: nothing of the target is read
//! that the pattern does not ask for, lines of one kind are sorted bytewise, and no line holds a control character other
//! than the tabs and newlines of a definition.

use crate::ast::Span;
use crate::diag::{Diagnostic, Diagnostics};
use crate::parse;
use crate::resolve::{KINDS, ProbeKind};
use crate::suggest;
use skep_bpf::target::{Target, TargetError};
use std::collections::HashMap;

mod arguments;
mod definitions;
mod found;
mod functions;
mod pattern;
#[cfg(test)]
mod tests;
mod user;

use arguments::Arguments;
use found::Finder;
use pattern::Search;

/// Probes that match `pattern`: `KIND:…` with `*` for any text, a bare text that is looked for among all kinds of the
/// kernel, the name of a kind for all its probes, or `struct NAME` (`union`, `enum`) for types; several with commas
/// between, an empty one for everything.
///
/// `pid` is the process whose binaries are looked at, as well where no kind is named.
///
/// Each line is an attach point. With `verbose`, lines with the arguments follow, indented by four blanks, and types are
/// shown with their definitions. Errors name the place in `pattern`: a kind that there is none of, or one that the
/// target cannot list.
pub fn probes(
    pattern: &str,
    verbose: bool,
    pid: Option<u32>,
    target: &dyn Target,
) -> Result<Vec<String>, Diagnostics> {
    let mut list = List::new(target, verbose, pid);
    let mut start = 0;
    for part in parts(pattern) {
        list.part(part, Span::new(start, start + part.len()));
        start += part.len() + 1;
    }
    list.finish()
}

/// The probes of a script, its wildcards expanded, as [`probes`] lists them. `begin`, `end` and `self` probes are left
/// out. Errors name the place in `text`.
pub fn script(
    text: &str,
    verbose: bool,
    pid: Option<u32>,
    target: &dyn Target,
) -> Result<Vec<String>, Diagnostics> {
    let mut list = List::new(target, verbose, pid);
    let parsed = parse::parse(text, &mut list.faults);
    if list.faults.has_errors() {
        return list.finish();
    }
    for point in parsed.probes.iter().flat_map(|p| &p.attach) {
        match pattern::attach_point(&point.text) {
            Ok(search)
                if matches!(search.kind, ProbeKind::Begin | ProbeKind::End | ProbeKind::SelfSignal) => {}
            Ok(search) => list.search(&search, point.span, true),
            Err(problem) => list.unknown_kind(&problem, point.span),
        }
    }
    list.finish()
}

/// The parts of a pattern, at its commas outside of quotes.
fn parts(pattern: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    pattern.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
}

/// A listing under way.
struct List<'a> {
    finder: Finder<'a>,
    verbose: bool,
    lines: Vec<String>,
    faults: Diagnostics,
}

impl<'a> List<'a> {
    fn new(target: &'a dyn Target, verbose: bool, pid: Option<u32>) -> List<'a> {
        List { finder: Finder::new(target, pid), verbose, lines: Vec::new(), faults: Diagnostics::default() }
    }

    fn finish(self) -> Result<Vec<String>, Diagnostics> {
        if self.faults.has_errors() { Err(self.faults) } else { Ok(self.lines) }
    }

    /// One part of a pattern, without commas.
    fn part(&mut self, part: &str, span: Span) {
        let text = part.split_whitespace().collect::<Vec<_>>().join(" ");
        if definitions::is_type(&text) {
            match definitions::list(&text, self.verbose, &self.finder) {
                Ok(lines) => self.lines.extend(lines),
                Err(error) => self.cannot("list types", &error, span),
            }
            return;
        }
        match pattern::searches(&text, &|path| self.finder.is_file(path), self.finder.pid.is_some()) {
            Ok(searches) => {
                let alone = searches.len() == 1;
                searches.iter().for_each(|search| self.search(search, span, alone));
            }
            Err(problem) => self.unknown_kind(&problem, span),
        }
    }

    /// Lists what one search finds. Where it is one of many, kinds that the target cannot list are left out.
    fn search(&mut self, search: &Search, span: Span, alone: bool) {
        match self.finder.find(search) {
            Ok(names) => self.show(search.kind, &names),
            Err(_) if !alone => {}
            Err(TargetError::NotFound(what)) => {
                let message = format!("there is no {what}");
                self.faults.push(Diagnostic::error("unknown-probe", span, message));
            }
            Err(error) => self.cannot(&format!("list {} probes", search.kind.name()), &error, span),
        }
    }

    fn show(&mut self, kind: ProbeKind, names: &[String]) {
        let mut arguments = self.verbose.then(|| Arguments::new(&self.finder, kind));
        let mut of_functions = match kind {
            ProbeKind::Uprobe if self.verbose => self.finder.function_arguments(names),
            _ => HashMap::new(),
        };
        for name in names {
            self.lines.push(match name.as_str() {
                "" => kind.name().to_owned(),
                name => format!("{}:{}", kind.name(), escape(name)),
            });
            let of_function = of_functions.remove(name);
            let of_probe = of_function.or_else(|| arguments.as_mut().map(|a| a.of(name))).unwrap_or_default();
            self.lines.extend(of_probe.iter().map(|argument| format!("    {}", escape(argument))));
        }
    }

    fn unknown_kind(&mut self, kind: &str, span: Span) {
        let at = Span::new(span.start as usize, span.start as usize + kind.len());
        let d = Diagnostic::error("unknown-probe", at, format!("`{kind}` is not a kind of probe"));
        let names = KINDS.iter().map(|k| k.name);
        let near = suggest::near(kind, names.clone(), 3);
        self.faults.push(match near.as_slice() {
            [] => d.hint(format!("kinds of probe are: {}", names.collect::<Vec<_>>().join(", "))),
            near => d.hint(format!("did you mean `{}`?", near.join("`, `"))),
        });
    }

    fn cannot(&mut self, what: &str, error: &TargetError, span: Span) {
        let d = Diagnostic::error("target", span, format!("cannot {what}: {error}"));
        let denied = matches!(error, TargetError::Os { errno: 1 | 13, .. });
        self.faults.push(if denied { d.hint("this needs root") } else { d });
    }
}

/// The text with control characters as `\xNN` (their UTF-8 bytes): names in binaries are anybody's.
fn escape(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if c.is_control() {
            let mut bytes = [0; 4];
            c.encode_utf8(&mut bytes).bytes().for_each(|b| out.push_str(&format!("\\x{b:02x}")));
        } else {
            out.push(c);
        }
    }
    out
}
