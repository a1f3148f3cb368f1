//! The layer rule of ARCHITECTURE.md, held on every Cargo.toml and every source file of the workspace.
//!
//! In: the workspace's folder. Out: a failure that names each crate or line that breaks the rule, and the rule it breaks.
//! Always: a crate that the rule does not know is a failure too, so that none escapes it.

#![allow(clippy::unwrap_used, reason = "a test may stop at what it does not understand")]

mod manifest;
mod source;

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The folders of the workspace's crates.
fn crates() -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> =
        std::fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path()).collect();
    dirs.push(root().join("xtask"));
    dirs.retain(|dir| dir.join("Cargo.toml").is_file());
    dirs.sort();
    dirs
}

#[test]
fn dependencies_point_one_way() {
    let mut broken = Vec::new();
    for dir in crates() {
        let text = std::fs::read_to_string(dir.join("Cargo.toml")).unwrap();
        broken.extend(manifest::check(&text));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn only_kernel_and_cli_touch_the_machine() {
    let mut broken = Vec::new();
    for dir in crates() {
        let text = std::fs::read_to_string(dir.join("Cargo.toml")).unwrap();
        if manifest::may_touch_the_machine(&manifest::name(&text)) {
            continue;
        }
        for (path, text) in source::files(&dir.join("src")) {
            let shown = path.strip_prefix(root()).unwrap().display().to_string();
            broken.extend(
                source::check(&text).into_iter().map(|(line, what)| format!("{shown}:{line}: {what}")),
            );
        }
    }
    assert!(
        broken.is_empty(),
        "outside kernel and cli nothing touches files, environment or clock:\n{}",
        broken.join("\n")
    );
}

#[test]
fn unsafe_code_is_where_it_may_be() {
    let mut broken = Vec::new();
    for dir in crates().into_iter().filter(|dir| dir.starts_with(root().join("crates"))) {
        for (path, text) in source::files(&dir.join("src")) {
            let shown = path.strip_prefix(root().join("crates")).unwrap().display().to_string();
            if manifest::UNSAFE.iter().any(|place| shown.starts_with(place)) {
                continue;
            }
            broken.extend(source::unsafe_lines(&text).into_iter().map(|line| format!("{shown}:{line}")));
        }
    }
    assert!(broken.is_empty(), "`unsafe` outside of {:?}:\n{}", manifest::UNSAFE, broken.join("\n"));
}
