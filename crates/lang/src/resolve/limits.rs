//! How many programs and probes one script may make. Instances enter, an error leaves where they are too many.

use super::{Instance, Uses, merge};
use crate::ast::Span;
use crate::diag::Diagnostic;
use skep_bpf::object::Attach;

/// Limits of the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limits {
    /// Most programs of one probe (`max_bpf_progs`).
    pub(crate) programs: usize,
    /// Most places of one probe (`max_probes`).
    pub(crate) probes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { programs: 1024, probes: 1024 }
    }
}

/// Places of one attach point.
fn places(at: &Attach) -> usize {
    match at {
        Attach::KprobeMulti { symbols, .. } => symbols.len(),
        Attach::UprobeMulti { offsets, .. } => offsets.len(),
        _ => 1,
    }
}

impl Limits {
    /// The error for a probe with more programs or places than are allowed.
    pub(super) fn exceeded(&self, list: &[Instance], uses: Uses, span: Span) -> Option<Diagnostic> {
        let fail = |message: String, name: &str| {
            let hint =
                format!("You can increase the limit through the BPFTRACE_{name} environment variable.");
            Some(Diagnostic::error("too-many-probes", span, message).hint(hint))
        };
        if list.len() > self.programs {
            let count = merge(list.to_vec(), uses).len();
            if count > self.programs {
                let message = format!(
                    "Your program is trying to generate more than {count} BPF programs, which exceeds the current \
                     limit of {}",
                    self.programs
                );
                return fail(message, "MAX_BPF_PROGS");
            }
        }
        let probes: usize = list.iter().flat_map(|i| &i.attach).map(|p| places(&p.at)).sum();
        (probes > self.probes).then(|| {
            let message = format!(
                "Can't attach to {probes} probes because it exceeds the current limit of {} probes",
                self.probes
            );
            fail(message, "MAX_PROBES")
        })?
    }
}
