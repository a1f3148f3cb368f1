//! Which probes of a script run: all but `test:` and `bench:` ones, or in a mode of their own only those of that kind; and
//! of these the ones that `--probe-filter` names. `begin` and `end` run always. A script enters, one with these probes
//! leaves.

use std::borrow::Cow;

use crate::ast::{Script, Span};
use crate::diag::{Diagnostic, Diagnostics};
use crate::options::{Mode, Options};
use crate::resolve::ProbeKind;
use regex::Regex;

/// The script with the probes that run; `None` if there is none, or the filter is none, which is reported.
pub(super) fn select<'s>(
    script: &'s Script,
    options: &Options,
    diags: &mut Diagnostics,
) -> Option<Cow<'s, Script>> {
    let filter = match options.probe_filter.as_deref().map(Regex::new).transpose() {
        Ok(filter) => filter,
        Err(error) => {
            let message = format!("Invalid --probe-filter regex: {error}");
            diags.push(Diagnostic::error("bad-filter", Span::default(), message));
            return None;
        }
    };
    let runs = |text: &str| match kind(text) {
        Some(ProbeKind::Begin | ProbeKind::End) => true,
        kind => belongs(kind, options.mode) && filter.as_ref().is_none_or(|f| f.is_match(text)),
    };
    let all = script.probes.iter().flat_map(|p| &p.attach);
    if all.clone().all(|a| runs(&a.text)) {
        return Some(Cow::Borrowed(script));
    }
    if options.mode == Mode::Trace
        && filter.is_none()
        && let Some(trial) = script.probes.first()
        && all.clone().all(|a| !runs(&a.text))
    {
        let word = if kind(&trial.attach[0].text) == Some(ProbeKind::Bench) { "bench" } else { "test" };
        let message = format!("No probes attached; use --{word} to run {word} probes.");
        diags.push(Diagnostic::error("no-probe", trial.span, message));
        return None;
    }
    let mut selected = script.clone();
    for probe in &mut selected.probes {
        probe.attach.retain(|a| runs(&a.text));
    }
    selected.probes.retain(|p| !p.attach.is_empty());
    Some(Cow::Owned(selected))
}

fn kind(text: &str) -> Option<ProbeKind> {
    ProbeKind::from_name(text.split(':').next().unwrap_or(text))
}

/// Whether a probe of that kind runs in a mode.
fn belongs(kind: Option<ProbeKind>, mode: Mode) -> bool {
    match mode {
        Mode::Trace => !matches!(kind, Some(ProbeKind::Test | ProbeKind::Bench)),
        Mode::Test => kind == Some(ProbeKind::Test),
        Mode::Bench => kind == Some(ProbeKind::Bench),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(mode: Mode, filter: Option<&str>) -> Option<Vec<String>> {
        let text = "begin {} test:a {} test:b {} bench:a {} i:s:1,test:c {}";
        let mut diags = Diagnostics::default();
        let script = crate::parse::parse(text, &mut diags);
        let options = Options { mode, probe_filter: filter.map(str::to_owned), ..Options::default() };
        let script = select(&script, &options, &mut diags)?;
        Some(script.probes.iter().flat_map(|p| &p.attach).map(|a| a.text.clone()).collect())
    }

    #[test]
    fn a_mode_and_a_filter_choose() {
        let of = |mode, filter| selected(mode, filter).unwrap_or_default().join(" ");
        assert_eq!(of(Mode::Trace, None), "begin i:s:1");
        assert_eq!(of(Mode::Test, None), "begin test:a test:b test:c");
        assert_eq!(of(Mode::Test, Some("^test:[ac]$")), "begin test:a test:c");
        assert_eq!(of(Mode::Bench, None), "begin bench:a");
        assert_eq!(selected(Mode::Test, Some("(")), None);
    }

    #[test]
    fn tests_alone_ask_for_their_mode() {
        let mut diags = Diagnostics::default();
        let script = crate::parse::parse("bench:x {}", &mut diags);
        assert!(select(&script, &Options::default(), &mut diags).is_none());
        assert!(diags.list[0].message.contains("--bench"));
    }
}
