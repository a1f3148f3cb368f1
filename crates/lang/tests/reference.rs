//! Lists in docs/language.md are made from tables: builtins from theirs and from the comments of the library's files, layers of
//! packets from theirs. These tests hold them together. After a change, `SKEP_BLESS=1 cargo test -p skep-lang --test reference`
//! writes the lists anew.

use skep_compiler::layers::{FieldKind, rows};
use skep_lang::builtins::{Builtin, Kind, all};
use skep_lang::library;
use std::path::Path;

const GROUPS: [(Kind, &str); 3] =
    [(Kind::Value, "Values"), (Kind::Aggregation, "Aggregations"), (Kind::Action, "Actions")];

fn builtins() -> String {
    let mut text = String::new();
    for (kind, title) in GROUPS {
        text.push_str(&format!("\n### {title}\n"));
        all().filter(|row| row.kind == kind).for_each(|row| text.push_str(&entry(row)));
    }
    text.push_str("\n### Library\n\nWritten in the language itself; a script's own macro of the same form takes its place.\n");
    for found in library::entries() {
        let forms: Vec<String> = found.signatures.iter().map(|form| format!("`{form}`")).collect();
        text.push_str(&format!("\n**{}**: {}\n\n```\n{}\n```\n", forms.join(", "), found.doc, found.example));
    }
    text.push('\n');
    text
}

fn entry(row: &Builtin) -> String {
    let forms: Vec<String> = row.signatures.iter().map(|form| format!("`{form}`")).collect();
    let privilege = if row.needs_unsafe { " Needs `--unsafe`." } else { "" };
    format!("\n**{}**: {}{privilege}\n\n```\n{}\n```\n", forms.join(", "), row.doc, row.example)
}

fn layers() -> String {
    let mut text = "| layer | | fields |\n|---|---|---|\n".to_owned();
    for row in rows::LAYERS {
        let fields = row.fields.iter().map(|field| match field.kind {
            FieldKind::Flag => format!("`{}` (bool)", field.name),
            FieldKind::Mac => format!("`{}` (MAC)", field.name),
            FieldKind::Ip4 | FieldKind::Ip6 => format!("`{}` (inet)", field.name),
            FieldKind::Number | FieldKind::Bytes => format!("`{}`", field.name),
        });
        let fields: Vec<String> = fields.collect();
        text.push_str(&format!("| `{}` | {} | {} |\n", row.name, row.doc, fields.join(", ")));
    }
    text
}

/// Holds the list between two marks of the page to what it is made from.
fn holds(title: &str, wanted: &str) {
    let begin = format!("<!-- {title}: made from the table of {title}; do not edit by hand -->\n");
    let end = format!("<!-- end of {title} -->");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/language.md");
    let page = std::fs::read_to_string(&path).expect("docs/language.md");
    let (head, rest) = page.split_once(&begin).expect("the mark where the list begins");
    let (found, tail) = rest.split_once(&end).expect("the mark where the list ends");
    if std::env::var_os("SKEP_BLESS").is_some() {
        std::fs::write(&path, format!("{head}{begin}{wanted}{end}{tail}")).expect("docs/language.md");
        return;
    }
    let different = found.lines().zip(wanted.lines()).find(|(a, b)| a != b);
    assert!(found == wanted, "docs/language.md is not up to date (SKEP_BLESS=1 mends it): {different:?}");
}

/// One after the other: each may write the page.
#[test]
fn the_page_lists_builtins_and_layers_as_they_are() {
    holds("builtins", &builtins());
    holds("layers", &layers());
}
