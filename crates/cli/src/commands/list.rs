//! `skep trace -l`: probes that match a pattern, with their arguments on request.

use crate::args::Trace;
use anyhow::Result;
use skep::LiveTarget;
use std::io::{BufWriter, Write};
use std::process::ExitCode;

/// Prints the list.
pub(crate) fn run(options: &Trace) -> Result<ExitCode> {
    let pattern = options.args.first().map_or("", String::as_str);
    let target = LiveTarget::new();
    let entries = skep::list::probes(pattern, options.verbose > 0, &target)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    for line in entries {
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
