//! One probe on many system calls. Instances of `syscalls:` tracepoints enter; where they are many and their bodies the
//! same, one instance on the raw tracepoint leaves in their place.
//!
//! A perf event for each tracepoint takes some 0.2 ms to open and, when it is closed, a grace period of the kernel; and
//! each event passes through perf. On the raw tracepoint one program looks whether the number is one of those wanted:
//! less work for the machine, since most calls are wanted.

use super::choose::{Side, side};
use super::{ArgsFrom, Instance, Resolver, Uses, syscalls, tracing};
use crate::hir::Guard;
use skep_bpf::kinds::ProgType;
use skep_bpf::object::{Attach, AttachPoint};
use skep_bpf::target::Feature;
use std::rc::Rc;

/// From so many on.
const MANY: usize = 64;

impl Resolver<'_> {
    /// Joins a probe's instances on system calls, at entry and at exit each; what was done, for `-v`.
    pub(super) fn join_syscalls(&self, uses: Uses, list: &mut Vec<Instance>) -> Vec<String> {
        let own =
            uses.args || uses.numbered || uses.retval || uses.ctx || uses.kstack && !self.hides_stacks();
        if own {
            return Vec::new();
        }
        [Side::Enter, Side::Exit].into_iter().filter_map(|side| self.join(side, list)).collect()
    }

    fn join(&self, wanted: Side, list: &mut Vec<Instance>) -> Option<String> {
        let number = |instance: &Instance| match side(&instance.args) {
            Some((found, Some(call))) if found == wanted => syscalls::number(self.arch(), call),
            _ => None,
        };
        let mut names: Vec<(u32, String)> =
            list.iter().filter_map(|i| Some((number(i)?, i.name.clone()))).collect();
        names.sort_unstable();
        let distinct = names.windows(2).all(|pair| pair[0].0 != pair[1].0);
        if names.len() < MANY || !distinct {
            return None;
        }
        let first = list.iter().position(|i| number(i).is_some())?;
        let joined = self.joined(wanted, names, list.get(first)?);
        let note =
            format!("{}: {} probes as one raw tracepoint", joined.name, joined.attach.first()?.probes?);
        let mut kept: Vec<Instance> = Vec::with_capacity(list.len());
        for (index, instance) in std::mem::take(list).into_iter().enumerate() {
            if index == first {
                kept.push(joined.clone());
            } else if number(&instance).is_none() {
                kept.push(instance);
            }
        }
        *list = kept;
        Some(note)
    }

    fn joined(&self, side: Side, names: Vec<(u32, String)>, like: &Instance) -> Instance {
        let tracepoint = side.tracepoint();
        let name = format!("tracepoint:syscalls:{tracepoint}_*");
        let at = Attach::RawTracepoint { name: tracepoint.to_owned() };
        let mut instance =
            Instance::new(like.kind, name.clone(), ProgType::RawTracepoint, at.clone(), like.span);
        instance.attach = vec![AttachPoint { at, cookie: 0, name, probes: Some(names.len() as u32) }];
        instance.guard = Guard::Syscalls { exit: side == Side::Exit, ranges: ranges(&names) };
        instance.args = ArgsFrom::None;
        instance.syscalls = Some(Rc::new(names));
        if self.has(Feature::TpBtf) && self.has_trace_type(tracepoint) {
            tracing::make_typed(&mut instance, tracepoint);
        }
        instance
    }
}

/// Runs of numbers without gaps.
fn ranges(names: &[(u32, String)]) -> Vec<(u32, u32)> {
    let mut out: Vec<(u32, u32)> = Vec::new();
    for (nr, _) in names {
        match out.last_mut() {
            Some((_, last)) if *last + 1 == *nr => *last = *nr,
            _ => out.push((*nr, *nr)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_have_no_gaps() {
        let names: Vec<(u32, String)> = [0, 1, 2, 5, 7, 8].map(|n| (n, String::new())).to_vec();
        assert_eq!(ranges(&names), [(0, 2), (5, 5), (7, 8)]);
        assert!(ranges(&[]).is_empty());
    }
}
