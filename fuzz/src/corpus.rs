//! What inputs start from: the project's own fixtures and examples.

use std::path::{Path, PathBuf};

use crate::mutate::words;

/// The folder that holds the workspace's Cargo.toml.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Contents of the files below the workspace's folders `dirs` whose names end in one of `ends`, sorted by path.
pub(crate) fn files(dirs: &[&str], ends: &[&str]) -> Vec<Vec<u8>> {
    let mut paths = Vec::new();
    dirs.iter().for_each(|dir| walk(&root().join(dir), ends, &mut paths));
    paths.sort();
    paths.iter().filter_map(|path| std::fs::read(path).ok()).collect()
}

fn walk(dir: &Path, ends: &[&str], out: &mut Vec<PathBuf>) {
    for path in std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            walk(&path, ends, out);
        } else if ends.iter().any(|end| path.to_string_lossy().ends_with(end)) {
            out.push(path);
        }
    }
}

/// Scripts: those of the checker's and builder's fixtures, and those within the live fixtures.
pub(crate) fn scripts() -> Vec<Vec<u8>> {
    let mut out = files(&["tests/lang", "examples", "crates/lang/std"], &[".bt"]);
    for file in files(&["tests/kernel"], &[".test"]) {
        let text = String::from_utf8_lossy(&file).into_owned();
        let mut script = None;
        for line in text.lines().chain([""]) {
            match (&mut script, line.strip_prefix("  ")) {
                (Some(text), Some(rest)) => *text = format!("{text}{rest}\n"),
                (Some(_), None) => out.extend(script.take().map(String::into_bytes)),
                (None, _) if line == "script:" => script = Some(String::new()),
                _ => {}
            }
        }
    }
    out.retain(|script| !script.is_empty());
    out
}

/// The words of all inputs, each once.
pub(crate) fn dictionary(inputs: &[Vec<u8>]) -> Vec<String> {
    let mut all: Vec<String> = inputs
        .iter()
        .filter_map(|input| std::str::from_utf8(input).ok())
        .flat_map(words)
        .filter(|word| word.len() < 40)
        .map(str::to_owned)
        .collect();
    all.sort();
    all.dedup();
    all
}
