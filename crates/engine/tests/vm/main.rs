//! Walks `tests/vm/*.vm`: programs in assembly with an input, run by the offline machine, and what they must lead to.
//! `tests/vm/README.md` describes the files.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at what it does not understand")]

mod case;
mod run;

use std::path::{Path, PathBuf};

#[test]
fn files() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vm");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "vm"));
    paths.sort();
    assert!(paths.len() > 5, "where are the files?");
    let mut failed = Vec::new();
    let mut count = 0;
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        for case in
            case::parse(&std::fs::read_to_string(&path).unwrap()).unwrap_or_else(|e| panic!("{name}: {e}"))
        {
            count += 1;
            failed.extend(run::check(&case).into_iter().map(|what| format!("{name}: {}: {what}", case.name)));
        }
    }
    assert!(failed.is_empty(), "{} of {count} cases:\n{}", failed.len(), failed.join("\n"));
}
