//! String literals and their escapes.

use crate::ast::Span;
use crate::diag::{Diagnostic, Diagnostics};

/// Scans the literal at the start of `rest` (which begins with `"`, at `start` of the text). Gives its bytes and its
/// length in the text, quotes included.
pub(super) fn scan(rest: &str, start: usize, diags: &mut Diagnostics) -> (Vec<u8>, usize) {
    let bytes = rest.as_bytes();
    let mut out = Vec::new();
    let mut at = 1;
    while let Some(&b) = bytes.get(at) {
        match b {
            b'"' => return (out, at + 1),
            b'\n' => break,
            b'\\' => {
                let (byte, len) = escape(&bytes[at..]);
                match byte {
                    Ok(byte) => out.push(byte),
                    Err(why) => {
                        let end = floor(rest, at + len);
                        diags.push(Diagnostic::error("bad-escape", Span::new(start + at, start + end), why));
                    }
                }
                at = floor(rest, at + len).max(at + 1);
            }
            _ => {
                out.push(b);
                at += 1;
            }
        }
    }
    let at = floor(rest, at.min(bytes.len()));
    let span = Span::new(start, start + at);
    diags.push(
        Diagnostic::error("unfinished-string", span, "this string is not closed").hint("close it with `\"`"),
    );
    (out, at)
}

fn floor(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at += 1;
    }
    at
}

/// The byte that an escape stands for, and the escape's length.
fn escape(bytes: &[u8]) -> (Result<u8, String>, usize) {
    let Some(&kind) = bytes.get(1) else {
        return (Err("nothing follows `\\`".to_owned()), 1);
    };
    let simple = |byte| (Ok(byte), 2);
    match kind {
        b'n' => simple(b'\n'),
        b't' => simple(b'\t'),
        b'r' => simple(b'\r'),
        b'"' => simple(b'"'),
        b'\\' => simple(b'\\'),
        b'0'..=b'7' => {
            let digits: Vec<u8> =
                bytes[1..].iter().copied().take(3).take_while(|b| (b'0'..=b'7').contains(b)).collect();
            let value = digits.iter().fold(0u32, |v, d| v * 8 + u32::from(d - b'0'));
            let byte = u8::try_from(value).map_err(|_| format!("`\\{value:o}` is more than one byte holds"));
            (byte, 1 + digits.len())
        }
        b'x' | b'X' => {
            let digits: Vec<u8> =
                bytes[2..].iter().copied().take(2).take_while(u8::is_ascii_hexdigit).collect();
            let text = String::from_utf8_lossy(&digits).into_owned();
            let byte =
                u8::from_str_radix(&text, 16).map_err(|_| "hexadecimal digits follow `\\x`".to_owned());
            (byte, 2 + digits.len())
        }
        _ => {
            let message = format!(
                "unknown escape `\\{}` (there are \\n \\t \\r \\\" \\\\ \\NNN \\xNN)",
                char::from(kind).escape_debug()
            );
            (Err(message), 2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        let mut diags = Diagnostics::default();
        let (bytes, len) = scan(r#""a\x41\101\t\"" rest"#, 0, &mut diags);
        assert_eq!((bytes.as_slice(), len), (&b"aAA\t\""[..], 15));
        assert!(!diags.has_errors());
        for bad in [r#""\q""#, "\"abc", "\"a\nb\"", "\"\\é\"", "\"\\", r#""\777""#] {
            let mut diags = Diagnostics::default();
            let (_, len) = scan(bad, 0, &mut diags);
            assert!(diags.has_errors() && bad.is_char_boundary(len), "{bad}");
        }
    }
}
