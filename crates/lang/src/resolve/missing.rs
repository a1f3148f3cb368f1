//! Attach points that are not there: what could not be resolved enters; an error, a warning or nothing leaves, as the
//! setting `missing_probes` says.

use super::{Fault, ProbeKind, Resolver};
use crate::ast::{self, Span};
use crate::diag::{Diagnostic, Diagnostics, Severity};
use crate::suggest;
use skep_bpf::object::MissingProbes;
use skep_bpf::target::TargetError;

/// The code of every message about an attach point that is not there.
pub(super) const CODE: &str = "unknown-probe";
const GO_ON: &str = "`missing_probes = \"warn\"` in a config block goes on without what is missing";

/// The message for an attach point that is not there: `name` is what follows the kind, `known` what there is.
pub(super) fn unmatched(
    kind: ProbeKind,
    name: &str,
    span: Span,
    known: Result<Vec<String>, TargetError>,
) -> Fault {
    let d = Diagnostic::error(CODE, span, format!("No matches for {} {name}.", kind.name()));
    let d = match known {
        Ok(known) if !known.is_empty() => {
            match suggest::near(name, known.iter().map(String::as_str), 3).as_slice() {
                [] => d.hint(format!("`-l '{}:*'` lists what there is", kind.name())),
                near => d.hint(format!("did you mean `{}`?", near.join("`, `"))),
            }
        }
        Ok(_) => d,
        Err(error) => d.hint(format!("and the target cannot list them: {error}")),
    };
    Box::new(d)
}

/// The attach points of a probe.
pub(super) fn span_of(probe: &ast::Probe) -> Span {
    match (probe.attach.first(), probe.attach.last()) {
        (Some(first), Some(last)) => Span { start: first.span.start, end: last.span.end },
        _ => probe.span,
    }
}

impl Resolver<'_> {
    /// Notes a warning of the probe at hand.
    pub(super) fn warn(&self, warning: Diagnostic) {
        self.warnings.borrow_mut().push(warning);
    }

    /// Reports a fault; an attach point that is not there as the setting says.
    pub(super) fn report(&self, fault: Diagnostic, diags: &mut Diagnostics) {
        let missing = fault.code == CODE;
        match self.missing {
            MissingProbes::Ignore if missing => {}
            MissingProbes::Warn if missing => {
                let message = format!("{}. Skipping.", fault.message.trim_end_matches('.'));
                diags.push(Diagnostic { severity: Severity::Warning, message, ..fault });
            }
            _ => diags.push(fault),
        }
    }

    /// Says of a probe that nothing is left of it. `told`: errors were found in it already.
    pub(super) fn nothing_left(&self, probe: &ast::Probe, told: bool, diags: &mut Diagnostics) {
        let span = span_of(probe);
        let message = "Probe has no valid attach points.";
        match self.missing {
            MissingProbes::Ignore => {}
            MissingProbes::Warn => {
                let message =
                    format!("{message} It is being removed which may cause issues with program behavior.");
                diags.push(Diagnostic::warning(CODE, span, message));
            }
            MissingProbes::Error if told => {}
            MissingProbes::Error => {
                let mut d = Diagnostic::error(CODE, span, message);
                for point in &probe.attach {
                    d = d.hint(format!("nothing matches; `-l '{}'` lists what there is", point.text));
                }
                diags.push(d.hint(GO_ON));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_offered() {
        let known = vec!["sched:sched_switch".to_owned(), "sched:sched_wakeup".to_owned()];
        let d = unmatched(ProbeKind::Tracepoint, "sched:sched_swich", Span::default(), Ok(known));
        assert_eq!(d.message, "No matches for tracepoint sched:sched_swich.");
        assert!(d.hints[0].contains("`sched:sched_switch`"), "{:?}", d.hints);
        let d = unmatched(ProbeKind::Kprobe, "x", Span::default(), Ok(Vec::new()));
        assert!(d.hints.is_empty());
    }
}
