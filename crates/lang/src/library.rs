//! The language's standard library as far as it is written in the language: files below `std/`, compiled in. They hold
//! macros, each with a comment that says how it is called, what it does, and an example; the reference is made from
//! these. What always holds: the files parse without an error (a test holds that).

use std::sync::{Arc, OnceLock};

use crate::ast::{Macro, Script};
use crate::diag::Diagnostics;
use crate::source::{LIBRARY, SourceFile};
use crate::spans;

/// Name and text of each file. Messages that a program sends from a library macro carry the name.
const TEXTS: &[(&str, &str)] = &[
    ("stdlib/base.bt", include_str!("../std/base.bt")),
    ("stdlib/meta.bt", include_str!("../std/meta.bt")),
    ("stdlib/strings.bt", include_str!("../std/strings.bt")),
];

/// The files with their places.
pub fn files() -> &'static [SourceFile] {
    static FILES: OnceLock<Vec<SourceFile>> = OnceLock::new();
    FILES.get_or_init(|| {
        let mut start = LIBRARY;
        let place = |(name, text): &(&str, &str)| {
            let file = SourceFile { name: (*name).to_owned(), start, text: Arc::from(*text) };
            start = file.end() + 1;
            file
        };
        TEXTS.iter().map(place).collect()
    })
}

/// The library's macros, with their places.
pub(crate) fn macros() -> &'static [Macro] {
    static PARSED: OnceLock<Vec<Macro>> = OnceLock::new();
    PARSED.get_or_init(|| {
        files().iter().flat_map(|file| parsed(file, &mut Diagnostics::default()).macros).collect()
    })
}

fn parsed(file: &SourceFile, diags: &mut Diagnostics) -> Script {
    let mut script = crate::parse::parse(&file.text, diags);
    spans::shift(&mut script, file.start);
    script
}

/// Whether an import names something of the library, all of which is there without.
pub(crate) fn has(path: &str) -> bool {
    path.strip_prefix("stdlib").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What the reference says of a library macro.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Name.
    pub name: String,
    /// How it is called: one line per form.
    pub signatures: Vec<String>,
    /// What it does.
    pub doc: String,
    /// A probe that uses it.
    pub example: String,
}

/// All documented macros, in the order of the files.
pub fn entries() -> Vec<Entry> {
    TEXTS.iter().flat_map(|(_, text)| documented(text)).collect()
}

/// The entries of one file: comments of three slashes before a macro.
fn documented(text: &str) -> Vec<Entry> {
    let mut out = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    for line in text.lines() {
        if let Some(doc) = line.strip_prefix("///") {
            comment.push(doc.trim());
            continue;
        }
        if let Some(name) = line.strip_prefix("macro ").and_then(|rest| rest.split('(').next())
            && !comment.is_empty()
        {
            out.push(entry(name.trim(), &comment));
        }
        comment.clear();
    }
    out
}

/// "`form`, `form`: text", which may go on over lines, then "example: …".
fn entry(name: &str, comment: &[&str]) -> Entry {
    let (examples, lines): (Vec<&str>, Vec<&str>) = comment.iter().partition(|l| l.starts_with("example:"));
    let text = lines.join(" ");
    let (forms, doc) = text.split_once("`: ").unwrap_or((text.as_str(), ""));
    let mut doc = doc.to_owned();
    if let Some(first) = doc.get(..1).map(str::to_ascii_uppercase) {
        doc.replace_range(..1, &first);
    }
    Entry {
        name: name.to_owned(),
        signatures: forms.split('`').map(str::trim).filter(|f| f.len() > 1).map(str::to_owned).collect(),
        doc,
        example: examples.first().map_or(String::new(), |e| e["example:".len()..].trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_parse_and_hold_macros_only() {
        for file in files() {
            let mut diags = Diagnostics::default();
            let script = parsed(file, &mut diags);
            assert!(diags.list.is_empty(), "{}: {diags:?}", file.name);
            assert!(script.probes.is_empty() && script.functions.is_empty() && script.c_decls.is_empty());
            assert!(script.macros.iter().all(|m| m.name.span.start >= file.start));
        }
    }

    #[test]
    fn every_macro_is_documented() {
        let entries = entries();
        for m in macros().iter().filter(|m| !m.name.text.starts_with("__")) {
            let found = entries.iter().find(|e| e.name == m.name.text);
            let entry = found.unwrap_or_else(|| panic!("`{}` has no comment", m.name.text));
            assert!(entry.doc.ends_with('.') && entry.example.contains(&entry.name), "{entry:?}");
            assert!(entry.signatures.iter().all(|s| s.starts_with(&entry.name)), "{entry:?}");
            assert!(!entry.signatures.is_empty(), "{entry:?}");
        }
    }
}
