//! Options of a program, `getopt("name", default)`: names with defaults and the words behind `--` enter, values leave.
//! What always holds: an option has one default and one description, and a word that no `getopt` asks for is an error.

use std::collections::BTreeMap;

use super::{Checker, Typed};
use crate::ast::Span;
use crate::diag::Diagnostic;
use crate::ty::Ty;

/// `--name` or `--name=value`, as given.
pub(crate) type Given = (String, Option<String>);

/// Divides the words behind a program into positional parameters and named options.
pub(super) fn divide(words: &[String]) -> (Vec<String>, Vec<Given>) {
    let (mut positional, mut named) = (Vec::new(), Vec::new());
    for word in words {
        match word.strip_prefix("--").filter(|rest| !rest.is_empty()) {
            None => positional.push(word.clone()),
            Some(rest) => named.push(match rest.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (rest.to_owned(), None),
            }),
        }
    }
    (positional, named)
}

/// What is known of an option.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// The default, as it is shown.
    default: String,
    description: String,
}

/// All options that a program asks for.
pub(super) type Options = BTreeMap<String, Known>;

impl Checker<'_> {
    /// The value of an option: as given, else the default.
    pub(crate) fn option(
        &mut self,
        name: &str,
        default: Typed,
        description: String,
        span: Span,
    ) -> Option<Typed> {
        self.note_option(name, &default, description, span)?;
        let given = self.settings.named.iter().rev().find(|(n, _)| n == name);
        let Some((_, value)) = given else { return Some(fixed(default)) };
        let result = match &default {
            d if d.literal_bool().is_some() => {
                boolean(value.as_deref()).map(|b| Typed::constant(b.into(), Ty::Bool, span))
            }
            d if d.literal_str().is_some() => match value {
                Some(text) => Ok(Typed::string(text.clone().into_bytes(), span)),
                None => Err("expects a string".to_owned()),
            },
            d => integer(value.as_deref(), d.literal_int().is_some_and(|v| v < 0), span),
        };
        match result {
            Ok(value) => Some(value),
            Err(why) => {
                let shown = value.as_deref().unwrap_or("true");
                let message = format!("program command line option --{name} {why} (value: {shown})");
                self.error("bad-option", Span::default(), message);
                None
            }
        }
    }

    /// Remembers an option, which must be the same everywhere.
    fn note_option(&mut self, name: &str, default: &Typed, description: String, span: Span) -> Option<()> {
        let shown = shown(default);
        let known = self.options.entry(name.to_owned());
        let known =
            known.or_insert_with(|| Known { default: shown.clone(), description: description.clone() });
        if known.default != shown {
            let message = format!(
                "Command line option '{name}' needs to have the same default value in all places it is used. Previous \
                 default value: {}",
                known.default
            );
            self.error("bad-option", span, message);
            return None;
        }
        if known.description.is_empty() {
            known.description = description;
        } else if !description.is_empty() && known.description != description {
            let message = format!(
                "Command line option '{name}' must have the same description in all places it's used"
            );
            self.diags
                .push(Diagnostic::error("bad-option", span, message).hint("a macro around it can hold both"));
            return None;
        }
        Some(())
    }

    /// Reports what is given and asked for nowhere; `--help` lists what there is.
    pub(super) fn check_options(&mut self) {
        let unexpected: Vec<&str> = self
            .settings
            .named
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| !self.options.contains_key(*name))
            .collect();
        if unexpected.is_empty() {
            return;
        }
        let help = unexpected.contains(&"help");
        let lines = self.options.iter().map(|(name, known)| match known.description.as_str() {
            text if help && !text.is_empty() => format!("--{name}: {text}"),
            _ => format!("--{name}"),
        });
        let lines: Vec<String> = lines.collect();
        let hint = match (lines.is_empty(), help) {
            (true, _) => "no custom program options defined.".to_owned(),
            (false, true) => format!("expected program options:\n{}", lines.join("\n")),
            (false, false) => format!("expected program options: {}", lines.join(", ")),
        };
        let rest: Vec<String> =
            unexpected.iter().filter(|n| **n != "help").map(|n| format!("--{n}")).collect();
        let message = match rest.is_empty() {
            true => "the program is not run when its options are asked for".to_owned(),
            false => format!("unexpected program command line options: {}", rest.join(", ")),
        };
        self.diags.push(Diagnostic::error("unknown-option", Span::default(), message).hint(hint));
    }
}

/// A default as a value of the option's type, which does not depend on how large the number is.
fn fixed(default: Typed) -> Typed {
    let span = default.span();
    match default.literal_int() {
        Some(v) if v < 0 => Typed::constant(v as i64, Ty::I64, span),
        Some(v) => Typed::constant(v as u64 as i64, Ty::U64, span),
        None => match default.literal_bool() {
            Some(truth) => Typed::constant(truth.into(), Ty::Bool, span),
            None => default,
        },
    }
}

fn shown(default: &Typed) -> String {
    match (default.literal_str(), default.literal_bool(), default.literal_int()) {
        (Some(text), _, _) => String::from_utf8_lossy(text).into_owned(),
        (_, Some(truth), _) => truth.to_string(),
        (_, _, number) => number.unwrap_or(0).to_string(),
    }
}

fn boolean(value: Option<&str>) -> Result<bool, String> {
    match value.map(str::to_ascii_lowercase).as_deref() {
        None | Some("1" | "true" | "on" | "yes") => Ok(true),
        Some("0" | "false" | "off" | "no") => Ok(false),
        Some(_) => Err("expects a boolean (e.g. 'true')".to_owned()),
    }
}

fn integer(value: Option<&str>, signed: bool, span: Span) -> Result<Typed, String> {
    let text = value.ok_or("expects an integer")?;
    let number = match text.strip_prefix('-') {
        Some(rest) => crate::resolve::perf::number(rest).map(|v| -i128::from(v)),
        None => crate::resolve::perf::number(text).map(i128::from),
    };
    let number = number.ok_or("invalid integer")?;
    let range = if signed { i128::from(i64::MIN)..=i128::from(i64::MAX) } else { 0..=i128::from(u64::MAX) };
    match range.contains(&number) {
        true if signed => Ok(Typed::constant(number as i64, Ty::I64, span)),
        true => Ok(Typed::constant(number as u64 as i64, Ty::U64, span)),
        false => Err("value is out of range".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_divided() {
        let words: Vec<String> =
            ["a", "--x=1=2", "-5", "--flag", "--", "b"].iter().map(|w| (*w).to_owned()).collect();
        let (positional, named) = divide(&words);
        assert_eq!(positional, ["a", "-5", "--", "b"]);
        assert_eq!(named, [("x".to_owned(), Some("1=2".to_owned())), ("flag".to_owned(), None)]);
    }

    #[test]
    fn values_are_of_the_defaults_type() {
        assert_eq!(boolean(Some("Off")), Ok(false));
        assert!(boolean(Some("2")).is_err());
        let value =
            |text, signed| integer(Some(text), signed, Span::default()).map(|t| (t.expr.kind, t.expr.ty));
        use crate::hir::ExprKind::Int;
        assert_eq!(value("0xffffffffffffffff", false), Ok((Int(-1), Ty::U64)));
        assert_eq!(value("-10", true), Ok((Int(-10), Ty::I64)));
        assert!(value("-1", false).is_err() && value("False", false).is_err());
    }
}
