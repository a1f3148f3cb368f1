//! C's preprocessing tokens: text enters, tokens with their places leave. It never fails: a character that starts no token
//! is a token of its own, and a string without an end goes to the end of its line.

use std::rc::Rc;

/// Where a token stands: a file by its number, and the byte in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Place {
    /// Number of the file; 0 is the script.
    pub(super) file: u32,
    /// Byte in the file.
    pub(super) at: u32,
}

/// Kinds of token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Identifier or keyword.
    Word,
    /// Preprocessing number.
    Number,
    /// String, with its quotes.
    Str,
    /// Character constant, with its quotes.
    Char,
    /// Operator, punctuation, or any other character.
    Op,
    /// End of a line; only within directives and while lines are told apart.
    Line,
}

/// A token.
#[derive(Clone, Debug)]
pub(super) struct Token {
    /// What.
    pub(super) kind: Kind,
    /// The text as written.
    pub(super) text: Rc<str>,
    /// Whether a blank stands before it.
    pub(super) blank: bool,
    /// Where; of a token that a macro made, where the macro was used.
    pub(super) place: Place,
    /// Macros that it came out of, which are not expanded in it again.
    pub(super) hide: Hide,
}

/// A set of macro names.
pub(super) type Hide = Option<Rc<Vec<Rc<str>>>>;

impl Token {
    /// A token that the preprocessor made.
    pub(super) fn made(kind: Kind, text: &str, place: Place) -> Token {
        Token { kind, text: Rc::from(text), blank: false, place, hide: None }
    }

    /// Whether this is the operator or word `text`.
    pub(super) fn is(&self, text: &str) -> bool {
        matches!(self.kind, Kind::Op | Kind::Word) && *self.text == *text
    }

    /// Whether `name` is hidden in it.
    pub(super) fn hides(&self, name: &str) -> bool {
        self.hide.as_ref().is_some_and(|set| set.iter().any(|n| **n == *name))
    }
}

/// Operators of more than one character, longest first.
const OPS: &[&str] = &[
    "...", "<<=", ">>=", "->", "++", "--", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "##", "+=", "-=",
    "*=", "/=", "%=", "&=", "|=", "^=",
];

/// Bytes of blanks, comments and continued lines at the start of `text`; line ends are none.
fn layout(text: &str) -> usize {
    let mut at = 0;
    loop {
        let rest = &text[at..];
        at += if rest.starts_with("\\\n") {
            2
        } else if rest.starts_with("\\\r\n") {
            3
        } else if rest.starts_with([' ', '\t', '\r', '\x0b', '\x0c']) {
            1
        } else if rest.starts_with("//") {
            line_end(rest)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.find("*/").map_or(rest.len(), |end| end + 4)
        } else {
            return at;
        };
    }
}

/// Bytes up to the end of the line, continued lines included.
fn line_end(text: &str) -> usize {
    let mut at = 0;
    loop {
        at += text[at..].find('\n').unwrap_or(text.len() - at);
        let line = text[..at].trim_end_matches('\r');
        if at == text.len() || !line.ends_with('\\') {
            return at;
        }
        at += 1;
    }
}

/// Bytes of a quoted text at the start of `text`, which begins with `quote`.
fn quoted(text: &str, quote: u8) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while let Some(&b) = bytes.get(at) {
        match b {
            b'\\' => at += 1,
            b'\n' => return at,
            b if b == quote => return at + 1,
            _ => {}
        }
        at += 1;
    }
    let mut end = at.min(text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    end
}

fn word(text: &str) -> usize {
    text.bytes().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$')).count()
}

/// Bytes of a preprocessing number: digits, letters, dots, and signs behind an exponent's letter.
fn number(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&b) = bytes.get(at) {
        let sign = matches!(b, b'+' | b'-')
            && at > 0
            && matches!(bytes[at - 1], b'e' | b'E' | b'p' | b'P')
            && (matches!(bytes[at - 1], b'p' | b'P') || !text.starts_with("0x") && !text.starts_with("0X"));
        if !(b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.') || sign) {
            break;
        }
        at += 1;
    }
    at
}

/// Kind and bytes of the token at the start of `text`, which is not empty and no layout.
fn scan(text: &str) -> (Kind, usize) {
    let bytes = text.as_bytes();
    match bytes[0] {
        b'\n' => (Kind::Line, 1),
        b'"' => (Kind::Str, quoted(text, b'"')),
        b'\'' => (Kind::Char, quoted(text, b'\'')),
        b'0'..=b'9' => (Kind::Number, number(text)),
        b'.' if bytes.get(1).is_some_and(u8::is_ascii_digit) => (Kind::Number, number(text)),
        b if b.is_ascii_alphabetic() || b == b'_' => {
            let len = word(text);
            // Prefixes of wide texts.
            match bytes.get(len) {
                Some(b'"') if matches!(&text[..len], "L" | "u8" | "u" | "U") => {
                    (Kind::Str, len + quoted(&text[len..], b'"'))
                }
                Some(b'\'') if matches!(&text[..len], "L" | "u8" | "u" | "U") => {
                    (Kind::Char, len + quoted(&text[len..], b'\''))
                }
                _ => (Kind::Word, len),
            }
        }
        _ => match OPS.iter().find(|op| text.starts_with(**op)) {
            Some(op) => (Kind::Op, op.len()),
            None => (Kind::Op, text.chars().next().map_or(1, char::len_utf8)),
        },
    }
}

/// All tokens of `text`, line ends included. `place` is the text's own.
pub(super) fn tokens(text: &str, place: Place) -> Vec<Token> {
    let mut out = Vec::new();
    let mut at = 0;
    loop {
        let skipped = layout(&text[at..]);
        at += skipped;
        if at >= text.len() {
            return out;
        }
        let (kind, len) = scan(&text[at..]);
        let spelled = &text[at..at + len];
        let spelled: Rc<str> = if spelled.contains("\\\n") {
            Rc::from(spelled.replace("\\\n", "").as_str())
        } else {
            Rc::from(spelled)
        };
        let place = Place { file: place.file, at: place.at.saturating_add(at as u32) };
        out.push(Token { kind, text: spelled, blank: skipped > 0, place, hide: None });
        at += len;
    }
}

/// Tokens as text, with a blank where there was one or where two would run together.
pub(super) fn spell(tokens: &[Token]) -> String {
    let mut out = String::new();
    for (i, t) in tokens.iter().enumerate() {
        let joins = |a: &Token| {
            let wordy = |t: &Token| matches!(t.kind, Kind::Word | Kind::Number);
            let both = || format!("{}{}", a.text, t.text);
            let ops = a.kind == Kind::Op && t.kind == Kind::Op;
            wordy(a) && wordy(t) || ops && (both().starts_with('/') || scan(&both()).1 > a.text.len())
        };
        if i > 0 && (t.blank || joins(&tokens[i - 1])) {
            out.push(' ');
        }
        out.push_str(&t.text);
    }
    out
}

/// The value of a character constant, as C has it for plain `char`: signed.
pub(super) fn char_value(text: &str) -> Option<i64> {
    let body = text.trim_start_matches(['L', 'u', 'U', '8']).strip_prefix('\'')?.strip_suffix('\'')?;
    let bytes = unescape(body);
    let (&first, rest) = bytes.split_first()?;
    // More than one character: the first is the highest.
    Some(rest.iter().take(3).fold(i64::from(first as i8), |v, b| v << 8 | i64::from(*b)))
}

/// The bytes of a text with C's escapes.
pub(super) fn unescape(body: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = body.bytes().peekable();
    while let Some(b) = bytes.next() {
        if b != b'\\' {
            out.push(b);
            continue;
        }
        let Some(escape) = bytes.next() else { break };
        let simple =
            [(b'n', b'\n'), (b't', b'\t'), (b'r', b'\r'), (b'a', 7), (b'b', 8), (b'f', 12), (b'v', 11)];
        match escape {
            b'x' => {
                let mut value = 0u8;
                while let Some(digit) = bytes.peek().and_then(|b| char::from(*b).to_digit(16)) {
                    value = value << 4 | digit as u8;
                    bytes.next();
                }
                out.push(value);
            }
            b'0'..=b'7' => {
                let mut value = escape - b'0';
                for _ in 0..2 {
                    let Some(digit) = bytes.peek().filter(|b| (b'0'..=b'7').contains(*b)) else { break };
                    value = value << 3 | (digit - b'0');
                    bytes.next();
                }
                out.push(value);
            }
            other => out.push(simple.iter().find(|(c, _)| *c == other).map_or(other, |(_, b)| *b)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        tokens(text, Place::default()).iter().map(|t| t.text.to_string()).collect()
    }

    #[test]
    fn tokens_comments_and_continued_lines() {
        assert_eq!(texts("a+++b // c \\\n d\ne"), ["a", "++", "+", "b", "\n", "e"]);
        assert_eq!(texts("x /* \n */ y \\\n z"), ["x", "y", "z"]);
        assert_eq!(
            texts("1e+5 0x1e+5 .5 'a' '\\'' \"x\\\"y\""),
            ["1e+5", "0x1e", "+", "5", ".5", "'a'", "'\\''", "\"x\\\"y\""]
        );
        assert_eq!(texts("\"open\nq"), ["\"open", "\n", "q"]);
        assert_eq!(texts("é \\"), ["é", "\\"]);
    }

    #[test]
    fn characters() {
        assert_eq!(char_value("'a'"), Some(97));
        assert_eq!(char_value("'\\n'"), Some(10));
        assert_eq!(char_value("'\\xff'"), Some(-1));
        assert_eq!(char_value("'\\101'"), Some(65));
        assert_eq!(char_value("L'\\0'"), Some(0));
        assert_eq!(char_value("''"), None);
    }

    #[test]
    fn spelling_keeps_tokens_apart() {
        assert_eq!(spell(&tokens("a  + +b(c)", Place::default())), "a + +b(c)");
    }
}
