//! Sessions: a kprobe and a kretprobe on the same functions become one program, which the kernel runs at entry and at
//! return. Checked probes enter; pairs leave marked as such. Nothing changes where the kernel has no sessions, and where
//! more than one probe could be the other half.

use crate::hir::{Probe, Program, Session};
use crate::resolve::Resolver;
use skep_bpf::kinds::{AttachType, ProgType};
use skep_bpf::object::Attach;
use skep_bpf::target::Feature;

/// Marks the pairs.
pub(super) fn join(program: &mut Program, resolver: &Resolver<'_>) {
    let halves: Vec<(usize, bool, Vec<String>)> = program
        .probes
        .iter()
        .enumerate()
        .filter_map(|(index, probe)| functions(probe).map(|(ret, symbols)| (index, ret, symbols)))
        .collect();
    let one = |ret: bool, symbols: &[String]| {
        let mut found = halves.iter().filter(|(_, r, s)| *r == ret && s == symbols);
        match (found.next(), found.next()) {
            (Some((index, _, _)), None) => Some(*index),
            _ => None,
        }
    };
    let pairs: Vec<(usize, usize, &Vec<String>)> = halves
        .iter()
        .filter(|(index, ret, symbols)| !ret && one(false, symbols) == Some(*index))
        .filter_map(|(index, _, symbols)| Some((*index, one(true, symbols)?, symbols)))
        .collect();
    if pairs.is_empty() || !resolver.has(Feature::KprobeSession) {
        return;
    }
    for (entry, exit, symbols) in pairs {
        let Some(probe) = program.probes.get_mut(entry) else { continue };
        probe.session = Session::With(exit);
        probe.attach_type = AttachType::TraceKprobeSession;
        for point in &mut probe.attach {
            point.at = Attach::KprobeMulti { symbols: symbols.clone(), cookies: Vec::new(), ret: false };
        }
        program.notes.push(format!("{}: one program at entry and return", probe.name));
        if let Some(probe) = program.probes.get_mut(exit) {
            probe.session = Session::Within;
        }
    }
}

/// Whether a probe is at return, and its functions; `None` for one that cannot be in a session.
fn functions(probe: &Probe) -> Option<(bool, Vec<String>)> {
    let [point] = probe.attach.as_slice() else { return None };
    match &point.at {
        _ if probe.prog_type != ProgType::Kprobe => None,
        Attach::KprobeMulti { symbols, ret, .. } => Some((*ret, symbols.clone())),
        Attach::Kprobe { symbol, offset: 0, ret } if !symbol.is_empty() && !symbol.contains(':') => {
            Some((*ret, vec![symbol.clone()]))
        }
        _ => None,
    }
}
