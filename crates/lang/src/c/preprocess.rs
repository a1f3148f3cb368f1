//! The preprocessor: the declarations of a preamble enter, one after the other; tokens without directives and macros leave.
//! Files, macros and the nesting of conditions and headers are bounded.

use super::constant::{Cursor, Env, TypeFacts, constant};
use super::files::{Files, Included};
use super::macros::{Macro, Macros, text_of};
use super::token::{Kind, Place, Token, tokens};
use super::value::Value;
use crate::ast::Span;
use crate::diag::{Diagnostic, Diagnostics};

/// Deepest nesting of headers.
const MAX_INCLUDES: u32 = 64;
/// Deepest nesting of conditions.
const MAX_CONDITIONS: usize = 256;
/// Most tokens that are kept.
const MAX_TOKENS: usize = 1 << 22;

/// One `#if`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Condition {
    /// Whether the branch at hand counts.
    active: bool,
    /// Whether a branch has counted already.
    taken: bool,
    /// Whether `#else` has been there.
    last: bool,
}

/// The preprocessor's state.
pub(super) struct Preprocessor<'a> {
    /// Files.
    pub(super) files: Files<'a>,
    /// Macros.
    pub(super) macros: Macros,
    /// Tokens that are left for the parser.
    pub(super) out: Vec<Token>,
    diags: Diagnostics,
    conditions: Vec<Condition>,
    /// Paths of files that want to be read once.
    once: Vec<String>,
    depth: u32,
}

impl<'a> Preprocessor<'a> {
    /// A preprocessor over `files`, with what a compiler defines by itself.
    pub(super) fn new(files: Files<'a>, predefined: &[(&str, &str)]) -> Preprocessor<'a> {
        let mut macros = Macros::default();
        for (name, text) in predefined {
            macros.predefine(name, text);
        }
        Preprocessor {
            files,
            macros,
            out: Vec::new(),
            diags: Diagnostics::default(),
            conditions: Vec::new(),
            once: Vec::new(),
            depth: 0,
        }
    }

    /// Reads a text of the script's at `span`.
    pub(super) fn own(&mut self, text: &str, span: Span) {
        let file = self.files.own(text, span);
        self.text(file);
    }

    /// Includes `name` as if the script began with it.
    pub(super) fn include_first(&mut self, name: &str) {
        let file = self.files.own("", Span::default());
        let place = Place { file, at: 0 };
        let included = self
            .files
            .include(name, true, false, file, Span::default())
            .or_else(|_| self.files.include(name, false, false, file, Span::default()));
        self.enter(included, &Token::made(Kind::Str, name, place));
    }

    /// What was reported; nothing is known of further mistakes then.
    pub(super) fn finish(&mut self) -> Diagnostics {
        if self.macros.exhausted {
            let message = "the macros of the preprocessor expand to too much text";
            self.diags.push(Diagnostic::error("c-macro", Span::default(), message));
        }
        std::mem::take(&mut self.diags)
    }

    /// The place of a token in the script, and what a message about it begins with.
    pub(super) fn locate(&self, token: &Token) -> (Span, String) {
        let Some(file) = self.files.get(token.place.file) else { return (Span::default(), String::new()) };
        if file.is_script() {
            let start = file.span.start as usize + token.place.at as usize;
            let end = (start + token.text.len()).min(file.span.end as usize);
            return (Span::new(start.min(end), end), String::new());
        }
        let before = file.text.get(..token.place.at as usize).unwrap_or("");
        let line = 1 + before.bytes().filter(|b| *b == b'\n').count();
        (file.span, format!("{}:{line}: ", file.name))
    }

    fn report(&mut self, token: &Token, message: &str) {
        let (span, place) = self.locate(token);
        self.diags.push(Diagnostic::error("c-preprocessor", span, format!("{place}{message}")));
    }

    /// Whether mistakes at a token are of no interest.
    fn is_system(&self, token: &Token) -> bool {
        self.files.get(token.place.file).is_some_and(super::files::FileInfo::is_system)
    }

    /// All of a file.
    fn text(&mut self, file: u32) {
        let Some(text) = self.files.get(file).map(|f| f.text.clone()) else { return };
        let tokens = tokens(&text, Place { file, at: 0 });
        // What stands between directives is expanded at once: a list of arguments may span lines.
        let mut pending: Vec<Token> = Vec::new();
        for line in tokens.split_inclusive(|t| t.kind == Kind::Line) {
            match line.first() {
                Some(first) if first.is("#") => {
                    self.flush(&mut pending);
                    let end = line.len() - usize::from(line.last().is_some_and(|t| t.kind == Kind::Line));
                    self.directive(&line[1..end], first);
                }
                _ if self.active() => pending.extend_from_slice(line),
                _ => {}
            }
        }
        self.flush(&mut pending);
    }

    fn flush(&mut self, pending: &mut Vec<Token>) {
        if !pending.is_empty() && self.out.len() < MAX_TOKENS {
            let expanded = self.macros.expand(pending);
            self.out.extend(expanded);
        }
        pending.clear();
    }

    fn active(&self) -> bool {
        self.conditions.iter().all(|c| c.active)
    }

    /// A directive: the tokens behind `#` on its line.
    fn directive(&mut self, line: &[Token], hash: &Token) {
        let Some((name, rest)) = line.split_first() else { return };
        if self.condition(name, rest) || !self.active() {
            return;
        }
        match &*name.text {
            "define" => match Macro::parse(rest) {
                Ok(m) => self.macros.define(m),
                Err(why) => self.report(rest.first().unwrap_or(name), &why),
            },
            "undef" => rest.iter().take(1).for_each(|t| self.macros.undefine(&t.text)),
            "include" | "include_next" | "import" => self.include(name, rest),
            "error" => self.report(name, &format!("#error {}", text_of(rest))),
            "warning" if !self.is_system(name) => {
                let (span, place) = self.locate(name);
                let message = format!("{place}#warning {}", text_of(rest));
                self.diags.push(Diagnostic::warning("c-preprocessor", span, message));
            }
            "pragma" if rest.first().is_some_and(|t| t.is("once")) => {
                let path = self.files.get(name.place.file).map(|f| f.name.clone()).unwrap_or_default();
                self.once.push(path);
            }
            "pragma" => self.pragma(rest, hash),
            "warning" | "line" | "ident" => {}
            // `#!` of a first line.
            "!" => {}
            other if self.is_system(name) || name.kind == Kind::Number => {
                let _ = other;
            }
            other => self.report(name, &format!("unknown directive `#{other}`")),
        }
    }

    /// `#pragma pack` is left for the parser; what else there is says nothing about types.
    fn pragma(&mut self, rest: &[Token], hash: &Token) {
        if rest.first().is_some_and(|t| t.is("pack")) {
            self.out.push(Token { kind: Kind::Line, ..hash.clone() });
            self.out.extend_from_slice(rest);
            self.out.push(Token { kind: Kind::Line, ..hash.clone() });
        }
    }

    /// Whether the directive is a condition; it is dealt with then.
    fn condition(&mut self, name: &Token, rest: &[Token]) -> bool {
        let active = self.active();
        match &*name.text {
            "if" | "ifdef" | "ifndef" => {
                if self.conditions.len() >= MAX_CONDITIONS {
                    self.report(name, &format!("conditions are nested deeper than {MAX_CONDITIONS}"));
                    return true;
                }
                let holds = active && self.holds(name, rest);
                self.conditions.push(Condition { active: holds, taken: holds, last: false });
            }
            "elif" | "elifdef" | "elifndef" | "else" => {
                let Some(top) = self.conditions.pop() else {
                    self.report(name, &format!("`#{}` without an `#if`", name.text));
                    return true;
                };
                if top.last {
                    self.report(name, &format!("`#{}` behind `#else`", name.text));
                }
                let last = name.is("else");
                let asked = self.active() && !top.taken;
                let holds = asked && (last || self.holds(name, rest));
                self.conditions.push(Condition { active: holds, taken: top.taken || holds, last });
            }
            "endif" => {
                if self.conditions.pop().is_none() {
                    self.report(name, "`#endif` without an `#if`");
                }
            }
            _ => return false,
        }
        true
    }

    fn holds(&mut self, name: &Token, rest: &[Token]) -> bool {
        let defined = |this: &Self| rest.first().is_some_and(|t| this.is_defined(&t.text));
        match &*name.text {
            "ifdef" | "elifdef" => defined(self),
            "ifndef" | "elifndef" => !defined(self),
            _ => match self.evaluate(rest) {
                Ok(value) => value.is_true(),
                Err(why) => {
                    if !self.is_system(name) {
                        self.report(rest.first().unwrap_or(name), &format!("in this condition: {why}"));
                    }
                    false
                }
            },
        }
    }

    fn is_defined(&self, name: &str) -> bool {
        matches!(name, "__has_include" | "__has_include_next") || self.macros.get(name).is_some()
    }

    /// The value of a condition.
    fn evaluate(&mut self, line: &[Token]) -> Result<Value, String> {
        let asked = self.answered(line);
        let mut cursor = Question { cursor: Cursor::new(self.macros.expand(&asked)) };
        let value = constant(&mut cursor)?;
        match cursor.cursor.peek() {
            None => Ok(value),
            Some(t) => Err(format!("`{}` is too much", t.text)),
        }
    }

    /// The line with `defined x` and the like replaced by their answers.
    fn answered(&mut self, line: &[Token]) -> Vec<Token> {
        let mut out = Vec::with_capacity(line.len());
        let mut at = 0;
        while let Some(token) = line.get(at) {
            at += 1;
            let asks_file = token.is("__has_include") || token.is("__has_include_next");
            let known = [
                "__has_attribute",
                "__has_builtin",
                "__has_feature",
                "__has_extension",
                "__has_c_attribute",
                "__has_cpp_attribute",
                "__has_warning",
            ];
            if !(token.is("defined") || asks_file || known.iter().any(|k| token.is(k))) {
                out.push(token.clone());
                continue;
            }
            let listed = line.get(at).is_some_and(|t| t.is("("));
            let start = at + usize::from(listed);
            let end = match listed {
                true => (start..line.len()).find(|i| line[*i].is(")")).unwrap_or(line.len()),
                false => (start + 1).min(line.len()),
            };
            let inner = line.get(start..end).unwrap_or(&[]);
            at = (end + usize::from(listed)).min(line.len()).max(at);
            let yes = match header(inner) {
                Some((name, quoted)) if asks_file => self.files.exists(&name, quoted, token.place.file),
                _ => token.is("defined") && inner.first().is_some_and(|t| self.is_defined(&t.text)),
            };
            out.push(Token::made(Kind::Number, if yes { "1" } else { "0" }, token.place));
        }
        out
    }

    fn include(&mut self, name: &Token, rest: &[Token]) {
        let expanded;
        let found = match header(rest) {
            Some(found) => Some(found),
            None => {
                expanded = self.macros.expand(rest);
                header(&expanded)
            }
        };
        let Some((path, quoted)) = found else {
            self.report(name, "expected `\"FILE\"` or `<FILE>` behind `#include`");
            return;
        };
        let (span, _) = match rest.first() {
            Some(first) => {
                let (a, place) = self.locate(name);
                let last = rest.last().unwrap_or(first);
                (a.to(self.locate(last).0), place)
            }
            None => self.locate(name),
        };
        let next = name.is("include_next");
        let included = self.files.include(&path, quoted, next, name.place.file, span);
        self.enter(included, rest.first().unwrap_or(name));
    }

    /// Reads an included file.
    fn enter(&mut self, included: Result<Included, String>, at: &Token) {
        let file = match included {
            Ok(Included::File(file)) => file,
            Ok(Included::Kernel) => return,
            Err(why) => {
                let (span, place) = self.locate(at);
                self.diags.push(Diagnostic::error("c-include", span, format!("{place}{why}")));
                return;
            }
        };
        let path = self.files.get(file).map(|f| f.name.clone()).unwrap_or_default();
        if self.once.contains(&path) {
            return;
        }
        if self.depth >= MAX_INCLUDES {
            return self.report(at, &format!("headers are nested deeper than {MAX_INCLUDES}"));
        }
        self.depth += 1;
        let around = self.conditions.len();
        self.text(file);
        if self.conditions.len() > around {
            self.report(at, &format!("`{path}` has an `#if` without an `#endif`"));
            self.conditions.truncate(around);
        }
        self.depth -= 1;
    }

    /// At the end of the script: every condition must be closed.
    pub(super) fn close(&mut self, last: Span) {
        if !self.conditions.is_empty() {
            self.diags.push(Diagnostic::error("c-preprocessor", last, "an `#if` has no `#endif`"));
            self.conditions.clear();
        }
    }
}

/// `"name"` or `<name>`: the name, and whether it is quoted.
fn header(tokens: &[Token]) -> Option<(String, bool)> {
    let first = tokens.first()?;
    if first.kind == Kind::Str {
        return Some((first.text.trim_matches('"').to_owned(), true));
    }
    if !first.is("<") {
        return None;
    }
    let end = tokens.iter().position(|t| t.is(">"))?;
    Some((tokens.get(1..end)?.iter().map(|t| &*t.text).collect(), false))
}

/// A condition being evaluated: names that are no macros are 0.
struct Question {
    cursor: Cursor,
}

impl Env for Question {
    fn cursor(&mut self) -> &mut Cursor {
        &mut self.cursor
    }

    fn name(&mut self, name: &str) -> Result<Value, String> {
        // An unknown function's arguments go with it.
        if name != "true" && self.cursor.at("(") {
            return Err(format!("`{name}` is no macro that takes arguments"));
        }
        Ok(Value::truth(name == "true").widened())
    }

    fn type_name(&mut self) -> Option<Result<TypeFacts, String>> {
        None
    }

    fn offset_of(&mut self) -> Option<Result<Value, String>> {
        None
    }
}
