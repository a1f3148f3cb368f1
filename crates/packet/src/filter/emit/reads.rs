//! Which bytes the nodes of a graph read: what each reads itself, and what every way from it to a match reads in any case.
//!
//! Places are grouped by the value that they are counted from; `None`: from the frame's first byte.

use crate::filter::graph::{Dominators, Graph, Next};
use crate::filter::pred::{Preds, Value, ValueId};
use std::collections::HashMap;

/// Most nodes of a graph in which reads are gathered; in larger ones each is made alone.
const MOST_NODES: usize = 4000;

/// One read: bytes `from` to `end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Read {
    pub(super) node: u32,
    pub(super) from: u32,
    pub(super) end: u32,
    /// Whether the node makes it in any case.
    sure: bool,
}

/// The reads of a graph.
#[derive(Default)]
pub(super) struct Reads {
    by_index: HashMap<Option<ValueId>, Vec<Read>>,
    needs: HashMap<Option<ValueId>, Vec<u32>>,
}

impl Reads {
    pub(super) fn new(graph: &Graph, preds: &Preds) -> Reads {
        let mut reads = Reads::default();
        if graph.nodes.len() > MOST_NODES {
            return reads;
        }
        for (node, found) in graph.nodes.iter().enumerate() {
            let mut seen = Vec::new();
            let values = found.test.sets.iter().map(|(_, value)| *value).chain([found.test.a, found.test.b]);
            values.for_each(|value| reads.visit(preds, value, node as u32, true, &mut seen));
        }
        reads
    }

    fn visit(&mut self, preds: &Preds, id: ValueId, node: u32, sure: bool, seen: &mut Vec<(ValueId, bool)>) {
        if seen.contains(&(id, sure)) || seen.contains(&(id, true)) {
            return;
        }
        seen.push((id, sure));
        match preds.value(id) {
            Value::Load { bytes, add, index } => {
                if let Some(index) = index {
                    self.visit(preds, index, node, sure, seen);
                }
                let read = Read { node, from: add, end: add.saturating_add(bytes.into()), sure };
                self.by_index.entry(index).or_default().push(read);
            }
            Value::Bin(_, a, b) => [a, b].into_iter().for_each(|v| self.visit(preds, v, node, sure, seen)),
            Value::Neg(a) => self.visit(preds, a, node, sure, seen),
            Value::Choose { a, then, other, .. } => {
                self.visit(preds, a, node, sure, seen);
                [then, other].into_iter().for_each(|v| self.visit(preds, v, node, false, seen));
            }
            Value::Const(_) | Value::Len | Value::Var(_) | Value::Meta(_) | Value::Chain { .. } => {}
        }
    }

    /// Reads that are counted from `index`.
    pub(super) fn of(&self, index: Option<ValueId>) -> &[Read] {
        self.by_index.get(&index).map_or(&[], Vec::as_slice)
    }

    /// The values from which reads are counted.
    pub(super) fn indices(&self) -> impl Iterator<Item = ValueId> {
        self.by_index.keys().copied().flatten()
    }

    /// The byte behind the last that every way from `node` to a match reads, counted from `index`.
    pub(super) fn need(&mut self, graph: &Graph, index: Option<ValueId>, node: u32) -> u32 {
        let by_index = &self.by_index;
        let needs = self.needs.entry(index).or_insert_with(|| {
            let mut own = vec![0; graph.nodes.len()];
            for read in by_index.get(&index).into_iter().flatten().filter(|read| read.sure) {
                own[read.node as usize] = read.end.max(own[read.node as usize]);
            }
            for (place, node) in graph.nodes.iter().enumerate() {
                let of = |next: Next, own: &[u32]| match next {
                    Next::Accept => 0,
                    Next::Reject => u32::MAX,
                    Next::Node(n) => own[n as usize],
                };
                own[place] = own[place].max(of(node.then, &own).min(of(node.other, &own)));
            }
            own
        });
        needs.get(node as usize).copied().unwrap_or(0)
    }
}

/// The last node that dominates all of `nodes`.
pub(super) fn meet(dominators: &Dominators, nodes: impl Iterator<Item = u32>) -> Option<u32> {
    nodes.map(Some).reduce(|a, b| {
        let (mut a, mut b) = (a?, b?);
        // What dominates a node has a higher number.
        while a != b {
            if a < b {
                a = dominators.above(a)?;
            } else {
                b = dominators.above(b)?;
            }
        }
        Some(a)
    })?
}

/// Whether `above` dominates `node`, or is it.
pub(super) fn dominates(dominators: &Dominators, above: u32, mut node: u32) -> bool {
    while node < above {
        let Some(next) = dominators.above(node) else { return false };
        node = next;
    }
    node == above
}
