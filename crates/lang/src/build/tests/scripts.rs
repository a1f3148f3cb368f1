//! Scripts through parser and checker: those of `tests/lang/build` give the IR that lies beside them (SKEP_BLESS=1
//! writes it anew), and whatever `tests/lang/check` accepts gives IR that the compiler's checker accepts.

use super::super::{BuildError, build};
use crate::diag::Diagnostics;
use crate::fake::{Fake, OLD};
use crate::hir::Program;
use crate::options::Options;
use crate::parse::parse;
use skep_compiler::ir;
use std::path::{Path, PathBuf};

fn scripts(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/lang").join(folder);
    let entries = std::fs::read_dir(&folder).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "bt"));
    paths.sort();
    assert!(!paths.is_empty(), "no scripts in {}", folder.display());
    paths
}

fn checked(text: &str, target: &Fake) -> Option<Program> {
    let mut diags = Diagnostics::default();
    let script = parse(text, &mut diags);
    let options = Options { unsafe_mode: true, ..Options::default() };
    let program = crate::check::check(&script, &options, target, &mut diags)?;
    (!diags.has_errors()).then_some(program)
}

#[test]
fn what_the_checker_accepts_becomes_good_ir() {
    let mut built = 0;
    for path in scripts("check") {
        let text = std::fs::read_to_string(&path).unwrap();
        for lacks in [&[][..], &["Loop", "MayGoto", "CurrentTaskBtf", "FetchAtomics"]] {
            let mut target = Fake::new(OLD);
            target.lacks = lacks.iter().map(|f| (*f).to_owned()).collect();
            let Some(program) = checked(&text, &target) else { continue };
            match build(&program, &target, ("script", &text)) {
                Ok(module) => assert_eq!(ir::check(&module), Ok(()), "{}", path.display()),
                Err(BuildError::Unsupported { .. }) => continue,
                Err(other) => panic!("{}: {other}", path.display()),
            }
            built += 1;
        }
    }
    assert!(built > 20, "only {built} scripts were built");
}

#[test]
fn scripts_give_the_ir_beside_them() {
    let mut wrong = Vec::new();
    for path in scripts("build") {
        let text = std::fs::read_to_string(&path).unwrap();
        let target = Fake::new(OLD);
        let program = checked(&text, &target).unwrap_or_else(|| panic!("{} has errors", path.display()));
        let module =
            build(&program, &target, ("script", &text)).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!(ir::check(&module), Ok(()), "{}", path.display());
        let (found, beside) = (module.to_string(), path.with_extension("ir"));
        if std::env::var_os("SKEP_BLESS").is_some() {
            std::fs::write(&beside, &found).unwrap();
        } else if std::fs::read_to_string(&beside).ok().as_deref() != Some(found.as_str()) {
            wrong.push(beside.display().to_string());
        }
    }
    assert!(wrong.is_empty(), "not as before (SKEP_BLESS=1 accepts what is there now): {wrong:?}");
}
