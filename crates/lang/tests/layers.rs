//! The list of layers in docs/language.md is made from their table: this test holds them together. After a change,
//! `SKEP_BLESS=1 cargo test -p skep-lang --test layers` writes the list anew.

use skep_compiler::layers::{FieldKind, rows};
use std::path::Path;

const BEGIN: &str = "<!-- layers: made from the table of layers; do not edit by hand -->\n";
const END: &str = "<!-- end of layers -->";

fn list() -> String {
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

#[test]
fn the_page_lists_the_layers_as_they_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/language.md");
    let page = std::fs::read_to_string(&path).expect("docs/language.md");
    let (head, rest) = page.split_once(BEGIN).expect("the mark where the list begins");
    let (found, tail) = rest.split_once(END).expect("the mark where the list ends");
    let wanted = list();
    if std::env::var_os("SKEP_BLESS").is_some() {
        std::fs::write(&path, format!("{head}{BEGIN}{wanted}{END}{tail}")).expect("docs/language.md");
        return;
    }
    assert!(found == wanted, "docs/language.md is not up to date (SKEP_BLESS=1 mends it)");
}
