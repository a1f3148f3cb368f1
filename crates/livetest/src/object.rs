//! Cases whose script runs as an ELF object: it is written by the program under test, here or on another kernel, and then
//! run without the script.
//!
//! In: a case with `via: object`. Out: the object's file. Always: an object from elsewhere (`--objects`) is used where there
//! is one; a case that a folder of objects lacks is written anew.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::args::Options;
use crate::feature::Kernel;
use crate::fixture::{Case, Via};

/// The case's object in `dir`.
fn file(dir: &Path, case: &Case, passes: bool) -> PathBuf {
    let plain = if passes { "" } else { "-plain" };
    dir.join(format!("{}{plain}.o", case.name.replace(['/', ' '], "-")))
}

/// Writes the object of a case whose script is `script` to `to`.
fn emit(case: &Case, options: &Options, passes: bool, script: &str, to: &Path) -> Result<(), String> {
    let (program, leading) = options.program.split_first().ok_or("no program")?;
    let mut command = Command::new(program);
    command.args(leading).args(["trace", "--emit"]).arg(to).args(&case.emit);
    if !passes {
        command.arg("--no-passes");
    }
    command.args(["-e", script]).stdin(Stdio::null());
    let done = command.output().map_err(|error| format!("{program}: {error}"))?;
    match done.status.success() {
        true => Ok(()),
        false => Err(format!("the object was not written: {}", String::from_utf8_lossy(&done.stderr).trim())),
    }
}

/// The object that a run of `case` is given.
pub(crate) fn of(
    case: &Case,
    options: &Options,
    passes: bool,
    script: &str,
    dir: &Path,
) -> Result<PathBuf, String> {
    let given = options.objects.as_ref().map(|objects| file(objects, case, passes));
    if let Some(given) = given.filter(|path| path.is_file()) {
        return Ok(given);
    }
    let path = dir.join("script.o");
    emit(case, options, passes, script, &path)?;
    as_text(options, &path, dir)?;
    Ok(path)
}

/// Takes an object through its text form: the same bytes must come back.
fn as_text(options: &Options, object: &Path, dir: &Path) -> Result<(), String> {
    let (program, leading) = options.program.split_first().ok_or("no program")?;
    let (text, again) = (dir.join("script.s"), dir.join("again.o"));
    for (verb, from, to) in [("disasm", object, &text), ("asm", &text, &again)] {
        let mut command = Command::new(program);
        command.args(leading).arg(verb).arg(from).arg("-o").arg(to).stdin(Stdio::null());
        let done = command.output().map_err(|error| format!("{program}: {error}"))?;
        if !done.status.success() {
            return Err(format!("{verb}: {}", String::from_utf8_lossy(&done.stderr).trim()));
        }
    }
    let read = |path: &Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    match read(object)? == read(&again)? {
        true => Ok(()),
        false => Err("the object's text gives other bytes".to_owned()),
    }
}

/// What only the machine that runs a case can fill in.
const OWN: [&str; 3] = ["<SELF>", "<TMP>", "<PID"];

/// Writes the objects of all cases into `dir`, for another kernel. A case is left out whose script names a file or process
/// of its run, and one that cannot be written because this kernel lacks what the case needs.
pub(crate) fn emit_all(
    cases: &[&Case],
    options: &Options,
    kernel: &Kernel,
    dir: &Path,
) -> Result<usize, String> {
    let mut written = 0;
    for case in cases.iter().filter(|case| case.via == Via::Object) {
        let script = case.script.as_deref().unwrap_or("");
        if OWN.iter().any(|name| script.contains(name)) {
            continue;
        }
        for passes in if case.twice { &[true, false][..] } else { &[true][..] } {
            match emit(case, options, *passes, script, &file(dir, case, *passes)) {
                Ok(()) => written += 1,
                Err(_) if kernel.lacks(&case.needs).is_some() => {}
                Err(error) => return Err(format!("{}: {error}", case.name)),
            }
        }
    }
    Ok(written)
}
