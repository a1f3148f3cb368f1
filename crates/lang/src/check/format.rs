//! printf formats: the text and the types of the arguments enter, the parsed format leaves, or errors that name the
//! conversion.

use super::Checker;
use crate::ast::Span;
use crate::diag::Diagnostic;
use crate::ty::Ty;
use crate::types::name;
use skep_bpf::format::{Conv, ConvKind, Format, Piece};

/// Widest field and precision.
const MAX_WIDTH: u32 = 4096;

/// A conversion and how it is written.
struct Written {
    conv: Conv,
    text: String,
}

/// What a conversion takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Number,
    Bytes,
    Anything,
}

/// Conversion letters; those that begin with another's come first.
const LETTERS: &[(&str, ConvKind, Takes)] = &[
    ("rx", ConvKind::BufHex, Takes::Bytes),
    ("rh", ConvKind::BufHexBlank, Takes::Bytes),
    ("r", ConvKind::Buf, Takes::Bytes),
    ("gr", ConvKind::GfpFlags, Takes::Number),
    ("d", ConvKind::Signed, Takes::Number),
    ("i", ConvKind::Signed, Takes::Number),
    ("u", ConvKind::Unsigned, Takes::Number),
    ("x", ConvKind::HexLower, Takes::Number),
    ("X", ConvKind::HexUpper, Takes::Number),
    ("o", ConvKind::Octal, Takes::Number),
    ("c", ConvKind::Char, Takes::Number),
    ("p", ConvKind::Pointer, Takes::Number),
    ("s", ConvKind::String, Takes::Anything),
];

/// Length modifiers, longest first.
const LENGTHS: &[&str] = &["hh", "h", "ll", "l", "j", "z", "t"];

/// Parses a format. `Err`: a conversion that there is not, as written.
fn parse(text: &str) -> Result<(Format, Vec<Written>), String> {
    let mut format = Format::new();
    let mut written = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        literal.push_str(&rest[..at]);
        let conversion = &rest[at..];
        if let Some(after) = conversion.strip_prefix("%%") {
            literal.push('%');
            rest = after;
            continue;
        }
        let (conv, length) = conversion_at(conversion)?;
        if !literal.is_empty() {
            format.push(Piece::Text(std::mem::take(&mut literal)));
        }
        format.push(Piece::Conv(conv.clone()));
        written.push(Written { conv, text: conversion[..length].to_owned() });
        rest = &conversion[length..];
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        format.push(Piece::Text(literal));
    }
    Ok((format, written))
}

/// The conversion that `text` begins with, and how many bytes it takes.
fn conversion_at(text: &str) -> Result<(Conv, usize), String> {
    let mut conv = Conv::default();
    let mut rest = &text[1..];
    loop {
        let flag = match rest.as_bytes().first() {
            Some(b'-') => &mut conv.left,
            Some(b'+') => &mut conv.plus,
            Some(b' ') => &mut conv.space,
            Some(b'#') => &mut conv.alt,
            Some(b'0') => &mut conv.zero,
            Some(b'\'') => &mut conv.group,
            _ => break,
        };
        *flag = true;
        rest = &rest[1..];
    }
    (conv.width, rest) = digits(rest);
    if let Some(after) = rest.strip_prefix('.') {
        let (precision, after) = digits(after);
        conv.precision = Some(precision.unwrap_or(0));
        rest = after;
    }
    if let Some(length) = LENGTHS.iter().find(|l| rest.starts_with(**l)) {
        (*length).clone_into(&mut conv.length);
        rest = &rest[length.len()..];
    }
    match LETTERS.iter().find(|(letter, _, _)| rest.starts_with(letter)) {
        Some((letter, kind, _)) => {
            conv.kind = *kind;
            Ok((conv, text.len() - rest.len() + letter.len()))
        }
        None => {
            let end = text.len() - rest.len() + rest.chars().next().map_or(0, char::len_utf8);
            Err(text[..end].to_owned())
        }
    }
}

fn digits(text: &str) -> (Option<u32>, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number = if end == 0 { None } else { Some(text[..end].parse().unwrap_or(MAX_WIDTH).min(MAX_WIDTH)) };
    (number, &text[end..])
}

fn takes(kind: ConvKind) -> Takes {
    LETTERS.iter().find(|(_, k, _)| *k == kind).map_or(Takes::Anything, |(_, _, takes)| *takes)
}

fn suits(takes: Takes, ty: &Ty) -> bool {
    match takes {
        Takes::Anything => *ty != Ty::None,
        Takes::Number => matches!(ty, Ty::Int { .. } | Ty::Enum { .. } | Ty::Bool | Ty::Ptr { .. }),
        Takes::Bytes => matches!(ty, Ty::Buf { .. }),
    }
}

impl Checker<'_> {
    /// A format checked against its arguments (type and place of each).
    pub(crate) fn format(&mut self, text: &[u8], at: Span, args: &[(Ty, Span)]) -> Option<Format> {
        let text = String::from_utf8_lossy(text);
        let (format, written) = match parse(&text) {
            Ok(parsed) => parsed,
            Err(conversion) => {
                let message = format!("there is no conversion `{conversion}`");
                self.diags.push(Diagnostic::error("bad-format", at, message).hint(
                    "conversions are: %d %i %u %x %X %o %c %p %s %r %rx %rh %gr, and %% for a percent sign",
                ));
                return None;
            }
        };
        if written.len() != args.len() {
            self.count_mismatch(&written, args, at);
            return None;
        }
        let mut fine = true;
        for (w, (ty, span)) in written.iter().zip(args) {
            let takes = takes(w.conv.kind);
            if !suits(takes, ty) {
                fine = false;
                self.unsuited(w, takes, ty, *span, at);
            }
        }
        fine.then_some(format)
    }

    fn count_mismatch(&mut self, written: &[Written], args: &[(Ty, Span)], at: Span) {
        let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let message = format!(
            "the format has {}, but {} given",
            count(written.len(), "conversion"),
            match args.len() {
                1 => "1 argument is".to_owned(),
                n => format!("{n} arguments are"),
            }
        );
        let d = Diagnostic::error("bad-format", at, message);
        let d = match written.get(args.len()) {
            Some(missing) => d.hint(format!("`{}` has no argument", missing.text)),
            None => match args.get(written.len()) {
                Some((_, span)) => d.label(*span, "no conversion for this"),
                None => d,
            },
        };
        self.diags.push(d);
    }

    fn unsuited(&mut self, w: &Written, takes: Takes, ty: &Ty, span: Span, at: Span) {
        let shown = name::display(ty);
        let expected = match takes {
            Takes::Bytes => "the result of `buf()`",
            _ => "a number",
        };
        let message = format!("`{}` prints {expected}, not `{shown}`", w.text);
        let d = Diagnostic::error("bad-format", span, message).at(format!("this is `{shown}`"));
        self.diags.push(match takes {
            Takes::Number => d.label(at, "").hint("`%s` prints values of every type"),
            _ => d,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_and_flags() {
        let (format, written) = parse("a %-6d|%+08.3llx %% %rh%s").unwrap();
        assert_eq!(
            written.iter().map(|w| w.text.as_str()).collect::<Vec<_>>(),
            ["%-6d", "%+08.3llx", "%rh", "%s"]
        );
        assert_eq!(format.first(), Some(&Piece::Text("a ".to_owned())));
        assert_eq!(format.get(4), Some(&Piece::Text(" % ".to_owned())));
        let Some(Piece::Conv(conv)) = format.get(3) else { panic!("{format:?}") };
        assert!(conv.plus && conv.zero && !conv.left);
        assert_eq!((conv.width, conv.precision, conv.length.as_str()), (Some(8), Some(3), "ll"));
        assert_eq!(conv.kind, ConvKind::HexLower);
    }

    #[test]
    fn what_is_no_conversion() {
        assert_eq!(parse("%f").map(|_| ()), Err("%f".to_owned()));
        assert_eq!(parse("x %-5é").map(|_| ()), Err("%-5é".to_owned()));
        assert_eq!(parse("100%").map(|_| ()), Err("%".to_owned()));
        assert!(parse("%99999999999d").is_ok());
    }
}
