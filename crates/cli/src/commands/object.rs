//! ELF objects of `skep trace`: a compiled script is written to a file, or a file is read in place of a script.

use super::trace::live_target;
use crate::args::Trace;
use crate::out::note;
use anyhow::{Context, Result, bail};
use skep::{KernelVersion, Program};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Largest file that is read.
const MAX_OBJECT: u64 = 64 << 20;

/// The kernel that `--target` names.
pub(super) fn oldest(options: &Trace) -> Result<Option<KernelVersion>> {
    let Some(text) = &options.target else { return Ok(None) };
    let version = KernelVersion::parse(text)
        .filter(|v| *v >= KernelVersion::new(5, 10))
        .with_context(|| format!("--target {text}: expected a kernel version from 5.10 on, such as 6.1"))?;
    Ok(Some(version))
}

/// Writes the compiled program to `path`. Nothing is left there when that fails.
pub(super) fn write(options: &Trace, path: &Path, program: &Program) -> Result<ExitCode> {
    let bytes = program.to_elf()?;
    if let Err(error) = std::fs::write(path, bytes) {
        if error.kind() != ErrorKind::NotFound && path.is_file() {
            let _ = std::fs::remove_file(path);
        }
        return Err(error).with_context(|| format!("cannot write {}", path.display()));
    }
    if !options.no_warnings {
        program.ties().iter().for_each(|tie| note!("warning: {tie}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// The program in the file that is given in place of a script, when that is an ELF file.
pub(super) fn open(options: &Trace) -> Result<Option<Program>> {
    let (None, Some((name, params))) = (&options.text, options.args.split_first()) else { return Ok(None) };
    let Ok(mut file) = File::open(name) else { return Ok(None) };
    let regular = file.metadata().is_ok_and(|m| m.is_file());
    let mut bytes = Vec::new();
    if !regular || file.by_ref().take(4).read_to_end(&mut bytes).is_err() || !skep::is_elf(&bytes) {
        return Ok(None);
    }
    file.take(MAX_OBJECT).read_to_end(&mut bytes).with_context(|| format!("cannot read {name}"))?;
    if !params.is_empty() {
        bail!("{name} is compiled already: its parameters are those that it was compiled with");
    }
    if options.pid.is_some() {
        bail!("{name} is compiled already: -p would have to be given when it is emitted");
    }
    let target = Arc::new(live_target(options));
    Ok(Some(Program::open(name, &bytes, target, options.allow_unsafe)?))
}
