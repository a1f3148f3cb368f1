//! Probes on source lines: `uprobe:BINARY@FILE:LINE[:COLUMN]`. The parts behind the `@` enter; the place of the line's
//! code leaves, by the binary's debug information.

use super::tracing::cannot;
use super::user::instance;
use super::{Fault, Instance, ProbeKind, Resolver};
use crate::ast::Span;
use crate::diag::Diagnostic;
use skep_bpf::target::{TargetError, TargetExt};

impl Resolver<'_> {
    /// The place of a line: `line` is the file, the line, and perhaps the column.
    pub(super) fn on_line(
        &self,
        kind: ProbeKind,
        binary: &str,
        line: &[String],
        span: Span,
    ) -> Result<Vec<Instance>, Fault> {
        let fail = |message: String| Box::new(Diagnostic::error("bad-probe", span, message));
        if kind != ProbeKind::Uprobe {
            return Err(fail(
                "a source line is a place for a uprobe: a uretprobe needs a function".to_owned(),
            ));
        }
        let number = |text: &str| text.parse::<u32>().ok().filter(|n| *n > 0);
        let place = match line {
            [file, line] => number(line).map(|line| (file, line, 0)),
            [file, line, column] => number(line).zip(number(column)).map(|(l, c)| (file, l, c)),
            _ => None,
        };
        let Some((file, line, column)) = place.filter(|(file, ..)| !file.is_empty()) else {
            return Err(fail(
                "a source line is written `uprobe:BINARY@FILE:LINE` or `…:LINE:COLUMN`".to_owned(),
            ));
        };
        let paths = self.binaries(kind, binary, span)?;
        let mut found = Vec::new();
        for path in &paths {
            let place = self
                .target
                .source_line(path, file, line, column)
                .map_err(|error| no_line(path, &error, span))?;
            let column = if column > 0 { format!(":{column}") } else { String::new() };
            for symbol in place.iter() {
                let name = format!("{}:{path}@{file}:{line}{column}", kind.name());
                let at = self.perf_uprobe(path, symbol.offset, false);
                found.push(instance(kind, name, at, path, span));
            }
        }
        Ok(found)
    }
}

fn no_line(path: &str, error: &TargetError, span: Span) -> Fault {
    match error {
        TargetError::NotFound(what) => {
            let d = Diagnostic::error("unknown-probe", span, format!("there is no {what}"));
            Box::new(if what.starts_with("debug information") {
                d.hint("source lines need it: build with `-g`, or give its folder with `--debuginfo`")
            } else {
                d.hint("a line counts if it has code of its own and is of that file, not of one that it includes")
            })
        }
        error => cannot(&format!("find the line in {path}"), error, span),
    }
}
