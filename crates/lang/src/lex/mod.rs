//! The lexer: text enters, tokens with their places leave, one at a time, from any position. It never fails: what is no
//! token is [`Tok::Unknown`], and damaged literals are reported and replaced by harmless ones.

mod number;
mod string;

use crate::ast::Span;
use crate::diag::{Diagnostic, Diagnostics};
pub use number::Number;

/// A token.
#[derive(Clone, PartialEq, Debug)]
pub enum Tok {
    /// Identifier or keyword.
    Ident(String),
    /// `$x`, with `$`.
    Var(String),
    /// `@x` or `@`, with `@`.
    Map(String),
    /// `$1`
    Positional(u32),
    /// `$#`
    PositionalCount,
    /// Integer literal.
    Int(Number),
    /// String literal, escapes resolved.
    Str(Vec<u8>),
    /// Operator or punctuation.
    Op(&'static str),
    /// A character that starts no token.
    Unknown(char),
    /// End of the text.
    End,
}

impl Tok {
    /// How messages name the token.
    pub fn describe(&self) -> String {
        match self {
            Tok::Ident(s) | Tok::Var(s) | Tok::Map(s) => format!("`{s}`"),
            Tok::Positional(n) => format!("`${n}`"),
            Tok::PositionalCount => "`$#`".to_owned(),
            Tok::Int(_) => "a number".to_owned(),
            Tok::Str(_) => "a string".to_owned(),
            Tok::Op(op) => format!("`{op}`"),
            Tok::Unknown(c) => format!("`{}`", c.escape_debug()),
            Tok::End => "the end of the program".to_owned(),
        }
    }
}

/// Operators, longest first.
const OPS: &[&str] = &[
    "<<=", ">>=", "..", "->", "++", "--", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "+=", "-=", "*=",
    "/=", "%=", "&=", "|=", "^=", "{", "}", "(", ")", "[", "]", ";", ",", ":", "?", ".", "=", "+", "-", "*",
    "/", "%", "&", "|", "^", "!", "~", "<", ">", "#",
];

/// Reads tokens from a text.
pub struct Lexer<'a> {
    text: &'a str,
}

impl<'a> Lexer<'a> {
    /// A lexer over `text`.
    pub fn new(text: &'a str) -> Lexer<'a> {
        Lexer { text }
    }

    /// The whole text.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// Position of the first character at or behind `pos` that is neither blank nor in a comment. An unfinished block
    /// comment is reported and runs to the end.
    pub fn skip_layout(&self, mut pos: usize, diags: &mut Diagnostics) -> usize {
        loop {
            let rest = &self.text[pos..];
            let trimmed = rest.trim_start_matches(|c: char| c.is_ascii_whitespace());
            pos += rest.len() - trimmed.len();
            if trimmed.starts_with("//") {
                pos += trimmed.find('\n').unwrap_or(trimmed.len());
            } else if let Some(comment) = trimmed.strip_prefix("/*") {
                match comment.find("*/") {
                    Some(end) => pos += 2 + end + 2,
                    None => {
                        diags.push(unclosed_comment(pos));
                        return self.text.len();
                    }
                }
            } else {
                return pos;
            }
        }
    }

    /// The token at or behind `pos`, and its place.
    pub fn token(&self, pos: usize, diags: &mut Diagnostics) -> (Tok, Span) {
        let start = self.skip_layout(pos, diags);
        let rest = &self.text[start..];
        let Some(first) = rest.chars().next() else {
            return (Tok::End, Span::new(start, start));
        };
        let (tok, len) = match first {
            c if is_ident_start(c) => {
                let len = ident_len(rest);
                (Tok::Ident(rest[..len].to_owned()), len)
            }
            '$' => dollar(rest),
            '@' => {
                let len = 1 + ident_len(&rest[1..]);
                (Tok::Map(rest[..len].to_owned()), len)
            }
            '0'..='9' => {
                let (number, len) = number::scan(rest, start, diags);
                (Tok::Int(number), len)
            }
            '"' => {
                let (bytes, len) = string::scan(rest, start, diags);
                (Tok::Str(bytes), len)
            }
            c => match OPS.iter().find(|op| rest.starts_with(**op)) {
                Some(op) => (Tok::Op(op), op.len()),
                None => (Tok::Unknown(c), c.len_utf8()),
            },
        };
        (tok, Span::new(start, start + len))
    }
}

fn dollar(rest: &str) -> (Tok, usize) {
    let after = &rest[1..];
    if after.starts_with('#') {
        return (Tok::PositionalCount, 2);
    }
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    if digits > 0 {
        return (Tok::Positional(after[..digits].parse().unwrap_or(u32::MAX)), 1 + digits);
    }
    match ident_len(after) {
        0 => (Tok::Unknown('$'), 1),
        n => (Tok::Var(rest[..1 + n].to_owned()), 1 + n),
    }
}

/// Whether an identifier can start with `c`.
pub fn is_ident_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

/// Bytes of the identifier at the start of `text`.
pub fn ident_len(text: &str) -> usize {
    text.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count()
}

/// Says that the comment that begins at byte `pos` has no end.
pub(crate) fn unclosed_comment(pos: usize) -> Diagnostic {
    let span = Span::new(pos, pos + 2);
    Diagnostic::error("unfinished-comment", span, "this comment is not closed").hint("close it with `*/`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<Tok> {
        let (lexer, mut diags, mut pos, mut out) = (Lexer::new(text), Diagnostics::default(), 0, Vec::new());
        loop {
            let (tok, span) = lexer.token(pos, &mut diags);
            if tok == Tok::End {
                assert!(!diags.has_errors(), "{diags:?}");
                return out;
            }
            assert!(span.end as usize > pos);
            pos = span.end as usize;
            out.push(tok);
        }
    }

    #[test]
    fn tokens() {
        let toks = all("@a[$x, $1] /* c */ += 0x10 // end\n \"a\\n\" ->$# @");
        assert_eq!(toks.len(), 12);
        assert_eq!(toks[0], Tok::Map("@a".into()));
        assert_eq!(toks[4], Tok::Positional(1));
        assert_eq!(toks[6], Tok::Op("+="));
        assert_eq!(toks[8], Tok::Str(b"a\n".to_vec()));
        assert_eq!(toks[11], Tok::Map("@".into()));
    }

    #[test]
    fn strange_characters_are_tokens() {
        assert_eq!(all("é$"), [Tok::Unknown('é'), Tok::Unknown('$')]);
    }
}
