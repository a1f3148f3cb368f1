//! Text to tokens: an expression enters; its tokens with their places leave, or the first text that is none.
//!
//! What always holds: of all tokens that can begin at a place the longest is taken, of those of equal length the first in
//! the order of `at`. So `tcp-syn` is a constant and `tcp-foo` a name, `10.1` an address and `10-1` a name.

use super::words::{self, Word};
use skep_lang::ast::Span;
use skep_lang::diag::Diagnostic;
use std::net::Ipv6Addr;

/// Longest expression, in bytes.
pub const MAX_TEXT: usize = 1 << 16;

/// What a token is.
#[derive(Clone, PartialEq, Debug)]
pub enum Kind {
    /// A keyword.
    Word(Word),
    /// A number, or the name of one.
    Number(u32),
    /// A name: of a host, network, port, protocol or type.
    Name(String),
    /// Two to four numbers with dots between, as they were written.
    Ipv4(String),
    /// An IPv6 address.
    Ipv6(Ipv6Addr),
    /// A link-layer address.
    Mac([u8; 6]),
    /// An ARCnet address: `$` and its digits.
    Arcnet,
    /// An operator or a bracket: `+ - * / % : [ ] ! < > ( ) & | ^ = >= <= != << >>`; `==` is `=`.
    Sign(&'static str),
}

/// A token.
#[derive(Clone, PartialEq, Debug)]
pub struct Token {
    /// What.
    pub kind: Kind,
    /// Where.
    pub span: Span,
}

/// Signs, the longer ones first.
const SIGNS: &[(&str, &str)] = &[
    (">=", ">="),
    ("<=", "<="),
    ("!=", "!="),
    ("==", "="),
    ("<<", "<<"),
    (">>", ">>"),
    ("+", "+"),
    ("-", "-"),
    ("*", "*"),
    ("/", "/"),
    ("%", "%"),
    (":", ":"),
    ("[", "["),
    ("]", "]"),
    ("!", "!"),
    ("<", "<"),
    (">", ">"),
    ("(", "("),
    (")", ")"),
    ("&", "&"),
    ("|", "|"),
    ("^", "^"),
    ("=", "="),
];

/// Splits an expression into tokens.
pub fn lex(text: &str, strict: bool) -> Result<Vec<Token>, Box<Diagnostic>> {
    if text.len() > MAX_TEXT {
        let message = format!("the expression has {} bytes; it may have {MAX_TEXT}", text.len());
        return Err(Diagnostic::error("filter-too-long", Span::new(0, 0), message).into());
    }
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut pos = 0;
    while pos < bytes.len() {
        if matches!(bytes[pos], b' ' | b'\r' | b'\n' | b'\t') {
            pos += 1;
            continue;
        }
        let (len, kind) = at(&bytes[pos..], pos, strict)?;
        tokens.push(Token { kind, span: Span::new(pos, pos + len) });
        pos += len;
    }
    Ok(tokens)
}

/// The token that `rest` begins with, and its length.
fn at(rest: &[u8], pos: usize, strict: bool) -> Result<(usize, Kind), Box<Diagnostic>> {
    let fail = |len: usize, code, message: String| {
        Err(Diagnostic::error(code, Span::new(pos, pos + len), message).into())
    };
    let name = name_len(rest);
    let (mac, number, ipv4, ipv6, broken) =
        (mac_len(rest), number_len(rest), ipv4_len(rest), ipv6_len(rest), broken_mac_len(rest));
    let longest = [name, mac, number, ipv4, ipv6, broken].into_iter().max().unwrap_or(0);
    let text = text_of(rest, longest);
    let word = if longest > 0 && longest == name { words::keyword(&text, strict) } else { None };
    if let Some(word) = word {
        return Ok((longest, Kind::Word(word)));
    }
    if longest > 0 {
        return match longest {
            n if n == mac => Ok((n, Kind::Mac(mac_of(&text)))),
            n if n == number => match number_of(&text) {
                Ok(value) => Ok((n, Kind::Number(value))),
                Err(why) => fail(n, "number", why),
            },
            n if n == ipv4 => Ok((n, Kind::Ipv4(text))),
            n if n == ipv6 => match text.parse() {
                Ok(address) => Ok((n, Kind::Ipv6(address))),
                Err(_) => fail(n, "address", format!("bogus IPv6 address {text}")),
            },
            n if n == broken => fail(n, "address", format!("bogus ethernet address {text}")),
            n => Ok((n, words::constant(&text).map_or_else(|| Kind::Name(text), Kind::Number))),
        };
    }
    if let Some((sign, token)) = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign.as_bytes())) {
        // `&&` and `||` are words.
        match (sign, rest.get(1)) {
            (&"&", Some(b'&')) => return Ok((2, Kind::Word(Word::And))),
            (&"|", Some(b'|')) => return Ok((2, Kind::Word(Word::Or))),
            _ => return Ok((sign.len(), Kind::Sign(token))),
        }
    }
    let hex = rest.iter().skip(1).take(2).take_while(|b| b.is_ascii_hexdigit()).count();
    if rest[0] == b'$' && hex > 0 {
        return Ok((1 + hex, Kind::Arcnet));
    }
    let escaped = rest.iter().skip(1).take_while(|b| !b" !()\n\t".contains(b)).count();
    if rest[0] == b'\\' && escaped > 0 {
        return Ok((1 + escaped, Kind::Name(text_of(&rest[1..], escaped))));
    }
    // One whole character, however many bytes it has.
    let len = 1 + rest.iter().skip(1).take_while(|b| **b & 0xc0 == 0x80).count();
    let shown = text_of(rest, len).escape_default().to_string();
    fail(len, "filter-syntax", format!("syntax error: `{shown}` begins nothing in a filter expression"))
}

fn text_of(bytes: &[u8], len: usize) -> String {
    String::from_utf8_lossy(&bytes[..len.min(bytes.len())]).into_owned()
}

/// `[A-Za-z0-9]([-_.A-Za-z0-9]*[.A-Za-z0-9])?`
fn name_len(s: &[u8]) -> usize {
    if !s.first().is_some_and(u8::is_ascii_alphanumeric) {
        return 0;
    }
    let inner = s.iter().take_while(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b)).count();
    s[..inner].iter().rposition(|b| *b == b'.' || b.is_ascii_alphanumeric()).map_or(0, |last| last + 1)
}

/// Decimal digits, or `0x` and hexadecimal ones.
fn number_len(s: &[u8]) -> usize {
    let decimal = s.iter().take_while(|b| b.is_ascii_digit()).count();
    if s.first() == Some(&b'0') && matches!(s.get(1), Some(b'x' | b'X')) {
        let hex = s[2..].iter().take_while(|b| b.is_ascii_hexdigit()).count();
        if hex > 0 {
            return 2 + hex;
        }
    }
    decimal
}

fn number_of(text: &str) -> Result<u32, String> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    let mut value = 0u32;
    for digit in digits.chars() {
        let Some(digit) = digit.to_digit(radix) else {
            return Err(format!("number {text} contains non-octal digit"));
        };
        value = value
            .checked_mul(radix)
            .and_then(|v| v.checked_add(digit))
            .ok_or_else(|| format!("number {text} overflows 32 bits"))?;
    }
    Ok(value)
}

/// Two to four numbers with dots between.
fn ipv4_len(s: &[u8]) -> usize {
    let (mut len, mut longest) = (0, 0);
    for part in 0..4 {
        let number = number_len(&s[len..]);
        if number == 0 {
            break;
        }
        len += number;
        longest = if part > 0 { len } else { 0 };
        if s.get(len) != Some(&b'.') {
            break;
        }
        len += 1;
    }
    longest
}

/// The forms of a link-layer address: pairs of digits with `:`, `-` or `.` between, `0123.4567.89ab`, twelve digits.
fn mac_len(s: &[u8]) -> usize {
    let pairs = |separator: u8| {
        let mut len = 0;
        for part in 0..6 {
            let digits = s[len..].iter().take(2).take_while(|b| b.is_ascii_hexdigit()).count();
            if digits == 0 || part < 5 && s.get(len + digits) != Some(&separator) {
                return 0;
            }
            len += digits + usize::from(part < 5);
        }
        len
    };
    let hex =
        |from: usize, n: usize| s.len() >= from + n && s[from..from + n].iter().all(u8::is_ascii_hexdigit);
    let dot = |at: usize| s.get(at) == Some(&b'.');
    let quads = hex(0, 4) && dot(4) && hex(5, 4) && dot(9) && hex(10, 4);
    let plain = if hex(0, 12) { 12 } else { 0 };
    [pairs(b':'), pairs(b'-'), pairs(b'.'), if quads { 14 } else { 0 }, plain].into_iter().max().unwrap_or(0)
}

fn mac_of(text: &str) -> [u8; 6] {
    let mut address = [0u8; 6];
    let parts: Vec<&str> = text.split([':', '-', '.']).collect();
    if parts.len() == 6 {
        for (byte, part) in address.iter_mut().zip(&parts) {
            *byte = u8::from_str_radix(part, 16).unwrap_or(0);
        }
        return address;
    }
    let digits = parts.concat();
    for (i, byte) in address.iter_mut().enumerate() {
        *byte = digits.get(2 * i..2 * i + 2).and_then(|d| u8::from_str_radix(d, 16).ok()).unwrap_or(0);
    }
    address
}

/// `{B}:+({B}:+)+`, pairs of digits each with colons behind: an address that ends too early.
fn broken_mac_len(s: &[u8]) -> usize {
    let (mut len, mut parts, mut longest) = (0, 0, 0);
    loop {
        let digits = s[len..].iter().take(2).take_while(|b| b.is_ascii_hexdigit()).count();
        let colons = s[len + digits..].iter().take_while(|b| **b == b':').count();
        if digits == 0 || colons == 0 {
            return longest;
        }
        len += digits + colons;
        parts += 1;
        longest = if parts > 1 { len } else { 0 };
    }
}

/// Longest text that has the form of an IPv6 address.
fn ipv6_len(s: &[u8]) -> usize {
    /// Longer than any that is one, but for zeros.
    const MOST: usize = 96;
    let allowed = |b: &u8| b.is_ascii_hexdigit() || b":.xX".contains(b);
    let span = s.iter().take(MOST).take_while(|b| allowed(b)).count();
    if !s[..span].contains(&b':') {
        return 0;
    }
    (2..=span).rev().find(|len| is_ipv6(&s[..*len])).unwrap_or(0)
}

/// Groups of at most four digits: eight, or at most seven around one `::`; a dotted IPv4 address may stand for the last
/// two.
fn is_ipv6(s: &[u8]) -> bool {
    let text = String::from_utf8_lossy(s);
    let (groups, dotted) = match text.rfind(':') {
        Some(colon) if text[colon + 1..].contains('.') => {
            let v4 = &text[colon + 1..];
            if ipv4_len(v4.as_bytes()) != v4.len() || v4.matches('.').count() != 3 {
                return false;
            }
            // The colon before the dotted part belongs to a `::` or ends a group.
            let before = &text[..colon];
            (if before.ends_with(':') { &text[..=colon] } else { before }, true)
        }
        _ => (&*text, false),
    };
    let count = |part: &str| -> Option<usize> {
        if part.is_empty() {
            return Some(0);
        }
        let good =
            part.split(':').all(|g| (1..=4).contains(&g.len()) && g.bytes().all(|b| b.is_ascii_hexdigit()));
        good.then(|| part.split(':').count())
    };
    match groups.split_once("::") {
        Some((left, right)) => {
            let most = if dotted { 5 } else { 7 };
            matches!((count(left), count(right)), (Some(l), Some(r)) if l + r <= most)
        }
        None => count(groups) == Some(if dotted { 6 } else { 8 }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at what it does not understand")]
    use super::*;

    fn kinds(text: &str) -> Vec<Kind> {
        lex(text, false).unwrap().into_iter().map(|t| t.kind).collect()
    }

    #[test]
    fn the_longest_token_is_taken() {
        assert_eq!(kinds("tcp-syn"), [Kind::Number(2)]);
        assert_eq!(kinds("tcp-foo"), [Kind::Name("tcp-foo".into())]);
        assert_eq!(kinds("80-90"), [Kind::Name("80-90".into())]);
        assert_eq!(kinds("10.1.2.3"), [Kind::Ipv4("10.1.2.3".into())]);
        assert_eq!(kinds("1.2.3.4.5"), [Kind::Name("1.2.3.4.5".into())]);
        assert_eq!(kinds("00:11:22:aa:BB:f"), [Kind::Mac([0, 0x11, 0x22, 0xaa, 0xbb, 0xf])]);
        assert_eq!(kinds("001122334455"), [Kind::Mac([0, 0x11, 0x22, 0x33, 0x44, 0x55])]);
        assert_eq!(kinds("0011.2233.4455"), [Kind::Mac([0, 0x11, 0x22, 0x33, 0x44, 0x55])]);
        assert_eq!(kinds("fe80::1"), [Kind::Ipv6("fe80::1".parse().unwrap())]);
        assert_eq!(kinds("::ffff:1.2.3.4"), [Kind::Ipv6("::ffff:1.2.3.4".parse().unwrap())]);
        assert_eq!(kinds("2:2"), [Kind::Number(2), Kind::Sign(":"), Kind::Number(2)]);
        assert_eq!(kinds("\\ip"), [Kind::Name("ip".into())]);
        assert_eq!(kinds("0x1f 017 0"), [Kind::Number(31), Kind::Number(15), Kind::Number(0)]);
        assert_eq!(kinds("&& & ||"), [Kind::Word(Word::And), Kind::Sign("&"), Kind::Word(Word::Or)]);
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for (text, part) in [
            ("4294967296", "overflows"),
            ("089", "non-octal"),
            ("ether host 1:2:3:", "bogus ethernet"),
            ("::300.1.1.1", "bogus IPv6"),
            ("ip { tcp", "`{`"),
            ("h\u{f6}st", "\\u{f6}"),
        ] {
            let error = lex(text, false).unwrap_err();
            assert!(error.message.contains(part), "{text}: {}", error.message);
        }
        assert!(lex(&"a".repeat(MAX_TEXT + 1), false).is_err());
    }
}
