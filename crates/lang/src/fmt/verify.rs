//! Whether a formatted script is still the same script. The source and what the formatter made of it enter; the first
//! difference leaves. It looks at the texts without the formatter's own division into pieces: what the parser makes of
//! both, every character that is no blank, and whether formatting once more changes anything.

use crate::diag::{Diagnostics, Style};
use crate::parse;

/// Checks that `formatted` says what `text` says: the same syntax tree but for the places, the same characters but for blanks
/// (so every comment is still there, in its place), and that formatting it again changes nothing. The error says which of
/// these does not hold, and where.
pub fn verify(text: &str, formatted: &str) -> Result<(), String> {
    let (before, after) = (marks(text), marks(formatted));
    if let Some(at) = first_difference(&before, &after) {
        return Err(format!("characters differ: {}", around(&before, &after, at)));
    }
    let (before, after) = (tree(text)?, tree(formatted)?);
    if let Some(at) = first_difference(&before, &after) {
        return Err(format!("it means something else: {}", around(&before, &after, at)));
    }
    let again = super::format(formatted).map_err(|d| d.render("formatted", formatted, Style::Lines))?;
    match first_difference(formatted, &again) {
        Some(at) => Err(format!("formatting changes it again: {}", around(formatted, &again, at))),
        None => Ok(()),
    }
}

/// The characters that are no blanks.
fn marks(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_whitespace()).collect()
}

/// The syntax tree as text, without places.
fn tree(text: &str) -> Result<String, String> {
    let mut diagnostics = Diagnostics::default();
    let mut script = parse::parse(text, &mut diagnostics);
    if diagnostics.has_errors() {
        let said = diagnostics.render("formatted", text, Style::Lines);
        return Err(format!("it does not parse: {said}"));
    }
    // Blanks behind a line of the preprocessor are blanks too.
    script.c_decls.iter_mut().for_each(|c| c.text.truncate(c.text.trim_end().len()));
    let shown = format!("{script:?}");
    let mut out = String::with_capacity(shown.len());
    let mut rest = shown.as_str();
    while let Some((before, after)) = rest.split_once("Span { start: ") {
        out.push_str(before);
        rest = after.split_once('}').map_or("", |(_, behind)| behind);
    }
    out.push_str(rest);
    Ok(out)
}

/// First byte at which two texts differ.
fn first_difference(a: &str, b: &str) -> Option<usize> {
    if a == b {
        return None;
    }
    let same = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    Some(same)
}

/// Both texts around a byte.
fn around(a: &str, b: &str, at: usize) -> String {
    let piece = |text: &str| {
        let bytes = text.as_bytes();
        let piece = &bytes[at.saturating_sub(30).min(bytes.len())..(at + 30).min(bytes.len())];
        String::from_utf8_lossy(piece).into_owned()
    };
    format!("{:?} became {:?}", piece(a), piece(b))
}
