//! `skep trace -l`: probes that match a pattern, or those of a script, with their arguments on request.

use super::trace::{MAX_SCRIPT, live_target, open};
use crate::args::Trace;
use crate::out::note;
use anyhow::{Context, Result, bail};
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::process::ExitCode;

/// Prints the list.
pub(crate) fn run(options: &Trace) -> Result<ExitCode> {
    let target = live_target(options);
    let verbose = options.verbose > 0;
    let lines = match (&options.text, options.args.as_slice()) {
        (Some(text), _) => skep::list::script("stdin", text, verbose, &target)?,
        (None, []) => skep::list::probes("", verbose, &target)?,
        (None, [file]) if Path::new(file).is_file() => {
            let mut text = String::new();
            open(file)?
                .take(MAX_SCRIPT)
                .read_to_string(&mut text)
                .with_context(|| format!("cannot read {file}"))?;
            skep::list::script(file, &text, verbose, &target)?
        }
        (None, [pattern]) => {
            if pattern.contains('.') && !pattern.contains([':', '*']) {
                let word = if crate::is_bpftrace() { "WARNING" } else { "warning" };
                note!(
                    "{word}: It appears that '{pattern}' is a filename but the file does not exist. Treating '{pattern}' as a search pattern."
                );
            }
            skep::list::probes(pattern, verbose, &target)?
        }
        (None, [_, more, ..]) => {
            bail!("-l takes one pattern, and `{more}` is one more: quote patterns, or use commas")
        }
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    for line in lines {
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
