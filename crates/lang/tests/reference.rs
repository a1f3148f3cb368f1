//! The list of builtins in docs/language.md is made from their table, and from the comments of the library's files: this
//! test holds them together. After a change, `SKEP_BLESS=1 cargo test -p skep-lang --test reference` writes the list anew.

use skep_lang::builtins::{self, Builtin, Kind};
use skep_lang::library;
use std::path::Path;

const BEGIN: &str = "<!-- builtins: made from the table of builtins; do not edit by hand -->\n";
const END: &str = "<!-- end of builtins -->";

const GROUPS: [(Kind, &str); 3] =
    [(Kind::Value, "Values"), (Kind::Aggregation, "Aggregations"), (Kind::Action, "Actions")];

fn list() -> String {
    let mut text = String::new();
    for (kind, title) in GROUPS {
        text.push_str(&format!("\n### {title}\n"));
        builtins::all().filter(|row| row.kind == kind).for_each(|row| text.push_str(&entry(row)));
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

#[test]
fn the_reference_lists_the_builtins_as_they_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/language.md");
    let page = std::fs::read_to_string(&path).expect("docs/language.md");
    let (head, rest) = page.split_once(BEGIN).expect("the mark where the list begins");
    let (found, tail) = rest.split_once(END).expect("the mark where the list ends");
    let wanted = list();
    if std::env::var_os("SKEP_BLESS").is_some() {
        std::fs::write(&path, format!("{head}{BEGIN}{wanted}{END}{tail}")).expect("docs/language.md");
        return;
    }
    let different = found.lines().zip(wanted.lines()).find(|(a, b)| a != b);
    assert!(found == wanted, "docs/language.md is not up to date (SKEP_BLESS=1 mends it): {different:?}");
}
