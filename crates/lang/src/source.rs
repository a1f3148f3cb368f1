//! Places in several files: a script, what it imports, and the library that the compiler brings along share one range of
//! positions, so that a [`Span`] alone says which file it lies in. The script begins at 0, imported files stand behind it
//! one after another with one position between, and the library's files begin at [`LIBRARY`]. A span enters; a file's
//! name, its text and the span within it leave. What always holds: no two files overlap.

use crate::ast::Span;
use std::borrow::Cow;
use std::sync::Arc;

/// Where the library's files begin.
pub const LIBRARY: u32 = 0xf000_0000;

/// A file beside the script.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceFile {
    /// Name, as messages show it.
    pub name: String,
    /// Position of its first byte.
    pub start: u32,
    /// Text.
    pub text: Arc<str>,
}

impl SourceFile {
    /// Position behind its last byte.
    pub fn end(&self) -> u32 {
        self.start.saturating_add(u32::try_from(self.text.len()).unwrap_or(u32::MAX))
    }
}

/// A span within its file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place<'a> {
    /// The file's name; `None`: it is the script.
    pub file: Option<&'a str>,
    /// The file's text.
    pub text: &'a str,
    /// The span in that text.
    pub span: Span,
}

/// Finds the file that `span` begins in. `files` are the imported ones, `script` is the script's text.
pub fn locate<'a>(files: &'a [SourceFile], script: &'a str, span: Span) -> Place<'a> {
    let imported = files.iter().find(|f| (f.start..=f.end()).contains(&span.start));
    let found = imported.or_else(|| match span.start >= LIBRARY {
        true => crate::library::files().iter().find(|f| (f.start..=f.end()).contains(&span.start)),
        false => None,
    });
    match found {
        None => Place { file: None, text: script, span },
        Some(file) => {
            let (start, end) = (span.start - file.start, span.end.saturating_sub(file.start));
            Place { file: Some(&file.name), text: &file.text, span: Span { start, end: end.max(start) } }
        }
    }
}

/// The script's text with that of the imported files behind it, each at its position.
pub fn whole<'a>(files: &[SourceFile], script: &'a str) -> Cow<'a, str> {
    if files.is_empty() {
        return Cow::Borrowed(script);
    }
    let mut text = script.to_owned();
    for file in files {
        text.push('\n');
        text.push_str(&file.text);
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_found_in_their_files() {
        let file = |name: &str, start, text: &str| SourceFile { name: name.into(), start, text: text.into() };
        let files = [file("a.bt", 6, "abc"), file("b.bt", 10, "de")];
        let at = |start, end| locate(&files, "BEGIN", Span { start, end });
        assert_eq!(at(1, 3), Place { file: None, text: "BEGIN", span: Span { start: 1, end: 3 } });
        assert_eq!(at(7, 9), Place { file: Some("a.bt"), text: "abc", span: Span { start: 1, end: 3 } });
        assert_eq!(at(10, 99).file, Some("b.bt"));
        assert_eq!(whole(&files, "BEGIN"), "BEGIN\nabc\nde");
        assert_eq!(&whole(&files, "BEGIN")[7..9], "bc");
    }

    #[test]
    fn the_library_has_places_too() {
        let first = &crate::library::files()[0];
        let place = locate(&[], "", Span { start: first.start, end: first.start + 2 });
        assert_eq!(place.file, Some(first.name.as_str()));
        assert!(crate::library::files().iter().all(|f| f.start >= LIBRARY));
    }
}
