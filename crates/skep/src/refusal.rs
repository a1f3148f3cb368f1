//! A program that the verifier refused, in its author's terms: the verifier's words, the source line that it was at, and the
//! end of its log. A failure and the object enter, text leaves.

use skep_bpf::btf::Btf;
use skep_bpf::object::Object;
use skep_kernel::Failure;
use std::fmt;

/// Lines of the log that are shown.
const SHOWN: usize = 8;

/// Appends what is to be said of one failure.
pub(crate) fn write(f: &mut fmt::Formatter<'_>, failure: &Failure, object: &Object) -> fmt::Result {
    write!(f, "\n  {}: {}", failure.of, failure.error)?;
    for line in failure.error.explain() {
        write!(f, "\n    {line}")?;
    }
    let Some(log) = failure.error.verifier_log() else { return Ok(()) };
    if let Some((insn, source)) = source(failure, log, object) {
        write!(f, "\n    at instruction {insn}, {source}")?;
    }
    let lines: Vec<&str> = log.lines().filter(|l| !l.trim().is_empty() && !is_statistic(l)).collect();
    if lines.len() > 1 {
        write!(f, "\n    the end of its log (-v shows all):")?;
        for line in &lines[lines.len().saturating_sub(SHOWN)..] {
            write!(f, "\n      {}", line.escape_debug())?;
        }
    }
    Ok(())
}

fn is_statistic(line: &str) -> bool {
    ["processed ", "verification time", "stack depth", "insns processed"].iter().any(|s| line.starts_with(s))
}

/// The last instruction that the verifier looked at, and its source line.
fn source(failure: &Failure, log: &str, object: &Object) -> Option<(u32, String)> {
    let number = |line: &str| line.split_once(": (").and_then(|(at, _)| at.trim().parse::<u32>().ok());
    let insn = log.lines().rev().find_map(number)?;
    let program = object.programs.iter().find(|p| p.name == failure.of)?;
    let line = program.lines.iter().rev().find(|l| l.insn <= insn)?;
    let btf = Btf::parse(object.btf.clone(), None).ok()?;
    let text = btf.string(line.text).trim().to_owned();
    Some((insn, format!("{}:{}: {}", btf.string(line.file), line.line, text.escape_debug())))
}
