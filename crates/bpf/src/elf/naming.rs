//! Names of the source as symbols of a file: C identifiers, each of them once.

use std::collections::BTreeSet;

/// Names made different from each other by a number at the end.
pub(super) fn unique(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let one = |name: String| {
        let mut free = name.clone();
        let mut n = 1;
        while !seen.insert(free.clone()) {
            n += 1;
            free = format!("{name}_{n}");
        }
        free
    };
    names.map(one).collect()
}

/// A C identifier.
pub(super) fn identifier(name: &str) -> String {
    let text: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    match text.chars().next() {
        Some(c) if !c.is_ascii_digit() => text,
        _ => format!("_{text}"),
    }
}

/// `map` of `@`, `map_bytes` of `@bytes`, `skep_events` of an internal map.
pub(super) fn map_symbol(name: &str) -> String {
    match name.strip_prefix('@') {
        Some("") => "map".to_owned(),
        Some(rest) => format!("map_{}", identifier(rest)),
        None => format!("skep_{}", identifier(name)),
    }
}
