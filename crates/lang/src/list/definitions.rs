//! Types: `struct NAME` with wildcards enters; names leave, or definitions.

use super::found::Finder;
use skep_bpf::btf::{Btf, NameKind};
use skep_bpf::target::TargetError;
use skep_bpf::wildcard;
use std::collections::BTreeMap;

/// Kinds of type: the word before the name, and where the names are.
const WORDS: [(&str, NameKind); 3] =
    [("struct ", NameKind::Struct), ("union ", NameKind::Union), ("enum ", NameKind::Enum)];

/// Whether a pattern asks for types.
pub(super) fn is_type(pattern: &str) -> bool {
    WORDS.iter().any(|(word, _)| pattern.starts_with(word))
}

/// Names of the types that match, or with `verbose` their definitions, each with the module that it is of: several where
/// modules have it and the kernel has not. Sorted by name, or by text.
pub(super) fn list(pattern: &str, verbose: bool, finder: &Finder<'_>) -> Result<Vec<String>, TargetError> {
    let Some((word, kind)) = WORDS.iter().find(|(word, _)| pattern.starts_with(word)) else {
        return Ok(Vec::new());
    };
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (module, btf) in finder.all_types()? {
        for text in matching(&btf, pattern, word, *kind, verbose) {
            let modules = found.entry(text).or_default();
            if !modules.contains(&module) {
                modules.push(module.clone());
            }
        }
    }
    if !verbose {
        return Ok(found.into_keys().collect());
    }
    Ok(found
        .into_iter()
        .flat_map(|(text, modules)| {
            let shown =
                if modules.iter().any(|m| m == "vmlinux") { vec!["vmlinux".to_owned()] } else { modules };
            shown.into_iter().map(move |module| format!("{module}: {text}\n"))
        })
        .collect())
}

/// The names or definitions of one blob's own types that match.
fn matching(btf: &Btf, pattern: &str, word: &str, kind: NameKind, verbose: bool) -> Vec<String> {
    let named = btf.own_types(kind).map(|(id, name)| (id, format!("{word}{name}")));
    if !verbose {
        return named.map(|(_, name)| name).filter(|name| wildcard::matches(pattern, name)).collect();
    }
    named
        .filter(|(_, name)| wildcard::matches(pattern, name))
        .filter_map(|(id, _)| btf.c_definition(id))
        .collect()
}
