//! Map entries that the predicate has read: the body need not look them up again. A predicate and its expressions enter,
//! remembered values leave. What always holds: a remembered value is computed on every way to the body, its key cannot
//! change within a run, and a write to the map by this program or a loop makes it forgotten.

use super::func::Fx;
use crate::hir::{Expr, ExprKind, MapNo};
use skep_compiler::ir::Value;

/// Entries read by the predicate.
#[derive(Default)]
pub(super) struct Known {
    /// Whether reads are remembered: while a predicate is built that evaluates all of them.
    recording: bool,
    entries: Vec<(MapNo, Vec<Expr>, Value)>,
}

impl Fx<'_, '_> {
    /// Called before a predicate is built.
    pub(super) fn record_reads(&mut self, predicate: &Expr) {
        self.known.recording = always_evaluated(predicate);
    }

    /// Called when the predicate is built.
    pub(super) fn stop_recording(&mut self) {
        self.known.recording = false;
    }

    /// Remembers the value of an entry.
    pub(super) fn remember(&mut self, map: MapNo, key: &[Expr], value: Value) {
        if self.known.recording && key.iter().all(is_fixed) {
            self.known.entries.push((map, key.to_vec(), value));
        }
    }

    /// The value of an entry, if it has been read and nothing can have changed it here.
    pub(super) fn remembered(&self, map: MapNo, key: &[Expr]) -> Option<Value> {
        let same = |e: &&(MapNo, Vec<Expr>, Value)| {
            e.0 == map && e.1.len() == key.len() && e.1.iter().zip(key).all(|(a, b)| a.kind == b.kind)
        };
        self.known.entries.iter().find(same).map(|e| e.2)
    }

    /// Forgets a map's entries, before it is written.
    pub(super) fn written_map(&mut self, map: MapNo) {
        self.known.entries.retain(|e| e.0 != map);
    }

    /// Forgets everything, before a loop.
    pub(super) fn forget_reads(&mut self) {
        self.known.entries.clear();
    }
}

/// Whether an expression gives the same value throughout one run of the program.
fn is_fixed(e: &Expr) -> bool {
    match &e.kind {
        ExprKind::Int(_) | ExprKind::Str(_) | ExprKind::Arg(_) => true,
        ExprKind::Call { name, args } => {
            args.is_empty() && matches!(*name, "pid" | "tid" | "uid" | "gid" | "comm")
        }
        ExprKind::Convert(of) => is_fixed(of),
        _ => false,
    }
}

/// Whether all map reads in a condition are evaluated whenever the condition holds: none stands behind `||` or in a
/// conditional expression.
fn always_evaluated(e: &Expr) -> bool {
    match &e.kind {
        ExprKind::Logical { and: true, a, b } => always_evaluated(a) && always_evaluated(b),
        ExprKind::Compare { a, b, .. } => is_leaf(a) && is_leaf(b),
        ExprKind::Not(of) => is_leaf(of),
        _ => is_leaf(e),
    }
}

/// Whether an expression has no branches around map reads.
fn is_leaf(e: &Expr) -> bool {
    match &e.kind {
        ExprKind::MapGet { key, .. } => key.iter().all(is_fixed),
        ExprKind::Convert(of) => is_leaf(of),
        _ => is_fixed(e),
    }
}
