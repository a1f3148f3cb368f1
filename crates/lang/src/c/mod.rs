//! C in the preamble: `#define NAME value`, conditions on names, and enums. Raw declarations enter; constants and enums
//! leave. Headers are not read: the kernel's types are known without, and `#include` lines are passed over.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ast::{CDecl, Expr, ExprKind, Script, StmtKind};
use crate::check::coerce_literal;
use crate::diag::{Diagnostic, Diagnostics};
use crate::parse::parse;
use crate::ty::Ty;

/// Most constants of one enum.
const MAX_CONSTANTS: usize = 4096;
/// Names that are defined from the start.
const DEFINED: &[&str] = &["BPFTRACE_HAVE_BTF"];

/// What the preamble declares.
#[derive(Clone, Debug, Default)]
pub struct Preamble {
    /// Values of `#define` names.
    pub defines: HashMap<String, Expr>,
    /// Enums by tag; anonymous ones have none.
    pub enums: Vec<(String, Ty)>,
    /// Enum constants: value and index into `enums`.
    pub constants: HashMap<String, (i64, usize)>,
}

/// Reads the preamble of a script; what cannot be read is reported.
pub fn preamble(script: &Script, diags: &mut Diagnostics) -> Preamble {
    let mut preamble = Preamble::default();
    // Whether each condition around holds.
    let mut conditions: Vec<bool> = Vec::new();
    for decl in &script.c_decls {
        let text = decl.text.trim();
        match text.strip_prefix('#').map(str::trim_start) {
            Some(line) => preamble.directive(line, decl, &mut conditions, diags),
            None if text.is_empty() || text.starts_with("#!") => {}
            None if conditions.contains(&false) => {}
            None => preamble.declaration(text, decl, diags),
        }
    }
    preamble
}

/// An identifier at the start of `text`, and the rest.
fn word(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    text.split_at(end)
}

fn unsupported(decl: &CDecl, what: &str) -> Diagnostic {
    Diagnostic::error("unsupported", decl.span, format!("{what} are not supported yet"))
}

impl Preamble {
    fn directive(&mut self, line: &str, decl: &CDecl, conditions: &mut Vec<bool>, diags: &mut Diagnostics) {
        let (name, rest) = word(line);
        let rest = rest.trim();
        let defined = |name: &str| DEFINED.contains(&name) || self.defines.contains_key(name);
        match name {
            "ifdef" => conditions.push(defined(word(rest).0)),
            "ifndef" => conditions.push(!defined(word(rest).0)),
            "if" => conditions.push(rest != "0"),
            "else" | "elif" => {
                if let Some(last) = conditions.last_mut() {
                    *last = !*last;
                }
            }
            "endif" => {
                conditions.pop();
            }
            "define" if !conditions.contains(&false) => self.define(rest, decl, diags),
            _ => {}
        }
    }

    fn define(&mut self, text: &str, decl: &CDecl, diags: &mut Diagnostics) {
        let (name, rest) = word(text);
        if rest.starts_with('(') {
            diags.push(
                unsupported(decl, "preprocessor macros with parameters")
                    .hint("write it as `macro name(x) { … }`"),
            );
            return;
        }
        let value = rest.trim();
        // A name without a value is only asked for in conditions.
        let value = if value.is_empty() { "1" } else { value };
        let mut inner = Diagnostics::default();
        let mut wrapped = parse(&format!("BEGIN {{ $v = ({value}); }}"), &mut inner);
        let stmt = wrapped.probes.first_mut().and_then(|p| p.body.stmts.pop());
        match stmt.map(|s| s.kind) {
            Some(StmtKind::Assign { value, .. }) if !inner.has_errors() => {
                self.defines.insert(name.to_owned(), value);
            }
            _ => {
                let message = format!("`{name}` is defined as `{value}`, which is not an expression");
                diags.push(Diagnostic::error("bad-define", decl.span, message));
            }
        }
    }

    fn declaration(&mut self, text: &str, decl: &CDecl, diags: &mut Diagnostics) {
        let (keyword, rest) = word(text);
        if keyword != "enum" {
            diags.push(unsupported(decl, "C declarations other than enums"));
            return;
        }
        let (tag, rest) = word(rest.trim_start());
        let body = rest.trim().trim_end_matches(';').trim_end();
        let Some(body) = body.strip_prefix('{').and_then(|b| b.strip_suffix('}')) else {
            diags.push(Diagnostic::error(
                "bad-enum",
                decl.span,
                "an enum is written `enum NAME { A, B = 2 };`",
            ));
            return;
        };
        match self.constants_of(&without_comments(body)) {
            Ok(names) => {
                let signed = names.iter().any(|(value, _)| *value < 0);
                let wide = names
                    .iter()
                    .any(|(value, _)| i32::try_from(*value).is_err() && u32::try_from(*value).is_err());
                let ty = Ty::Enum {
                    name: tag.to_owned(),
                    bits: if wide { 64 } else { 32 },
                    signed,
                    names: Arc::new(names.clone()),
                };
                self.enums.push((tag.to_owned(), ty));
                let index = self.enums.len() - 1;
                self.constants.extend(names.into_iter().map(|(value, name)| (name, (value, index))));
            }
            Err(message) => diags.push(Diagnostic::error("bad-enum", decl.span, message)),
        }
    }

    fn constants_of(&self, body: &str) -> Result<Vec<(i64, String)>, String> {
        let mut names: Vec<(i64, String)> = Vec::new();
        let mut next = 0i64;
        for item in body.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let (name, rest) = word(item);
            let value = match rest.trim().strip_prefix('=') {
                None if rest.trim().is_empty() => next,
                None => return Err(format!("`{item}` is not an enum constant")),
                Some(text) => self
                    .value_of(text.trim(), &names)
                    .ok_or_else(|| format!("`{}` is not a constant number", text.trim()))?,
            };
            if names.len() >= MAX_CONSTANTS {
                return Err(format!("an enum has at most {MAX_CONSTANTS} constants"));
            }
            next = value.wrapping_add(1);
            names.push((value, name.to_owned()));
        }
        Ok(names)
    }

    /// A constant: a number, a name that is known, or an operation on numbers.
    fn value_of(&self, text: &str, before: &[(i64, String)]) -> Option<i64> {
        if let Some((value, _)) = before.iter().find(|(_, name)| name == text) {
            return Some(*value);
        }
        if let Some((value, _)) = self.constants.get(text) {
            return Some(*value);
        }
        let mut inner = Diagnostics::default();
        let mut wrapped = parse(&format!("BEGIN {{ $v = ({text}); }}"), &mut inner);
        let stmt = wrapped.probes.first_mut()?.body.stmts.pop()?;
        let StmtKind::Assign { value, .. } = stmt.kind else { return None };
        coerce_literal(&value)
    }

    /// The type of an enum by its tag.
    pub fn enum_type(&self, tag: &str) -> Option<Ty> {
        self.enums.iter().find(|(name, _)| name == tag && !tag.is_empty()).map(|(_, ty)| ty.clone())
    }

    /// An enum constant by name: value and type.
    pub fn constant(&self, name: &str) -> Option<(i64, Ty)> {
        let (value, index) = self.constants.get(name)?;
        self.enums.get(*index).map(|(_, ty)| (*value, ty.clone()))
    }

    /// The value of a `#define` name.
    pub fn define_of(&self, name: &str) -> Option<&Expr> {
        let value = self.defines.get(name)?;
        // A name that stands for itself stays a name.
        (!matches!(&*value.kind, ExprKind::Ident(other) if other == name)).then_some(value)
    }
}

fn without_comments(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("/*").into_iter().chain(rest.find("//")).min() {
        out.push_str(&rest[..at]);
        let end = if rest[at..].starts_with("/*") { "*/" } else { "\n" };
        rest = rest[at + 2..].find(end).map_or("", |e| &rest[at + 2 + e + end.len()..]);
        out.push(' ');
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_left_out() {
        assert_eq!(without_comments("A, /* b, */ C // d\n, E /* f"), "A,   C  , E  ");
    }
}
