//! `skep disasm` and `skep asm`: objects and instructions as text, and back.

use super::load::{MAX_FILE, read};
use crate::args::{Asm, Disasm};
use anyhow::{Context, Result, bail};
use skep::assembly::{Assembled, assemble, disassemble};
use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

/// Bytes of an instruction.
const INSN: usize = 8;

fn input(path: &Path) -> Result<Vec<u8>> {
    if path.as_os_str() != "-" {
        return read(path);
    }
    let mut bytes = Vec::new();
    std::io::stdin().take(MAX_FILE).read_to_end(&mut bytes).context("cannot read standard input")?;
    Ok(bytes)
}

fn output(path: Option<&Path>, bytes: &[u8]) -> Result<()> {
    match path {
        Some(path) => std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display())),
        None => {
            let mut out = std::io::stdout().lock();
            out.write_all(bytes)?;
            Ok(out.flush()?)
        }
    }
}

/// Runs `skep disasm`.
pub(crate) fn disasm(options: &Disasm) -> Result<ExitCode> {
    let text = disassemble(&options.file.display().to_string(), &input(&options.file)?)?;
    output(options.output.as_deref(), text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `skep asm`.
pub(crate) fn asm(options: &Asm) -> Result<ExitCode> {
    let name = options.file.display().to_string();
    let text = String::from_utf8(input(&options.file)?).ok().with_context(|| format!("{name} is no text"))?;
    match (assemble(&name, &text)?, &options.output) {
        (Assembled::Object(bytes) | Assembled::Instructions(bytes), Some(path)) => {
            output(Some(path), &bytes)?
        }
        (Assembled::Object(_), None) => bail!("{name} is an object: name the file to write with -o"),
        (Assembled::Instructions(bytes), None) => {
            let hex = |insn: &[u8]| insn.iter().map(|b| format!("{b:02x}")).collect::<String>();
            let text: String = bytes.chunks(INSN).map(|insn| format!("{}\n", hex(insn))).collect();
            output(None, text.as_bytes())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
