//! What makes a graph's tests cheaper without making them fewer: a graph enters, and is changed in its place.

use super::{Graph, Next};
use crate::filter::ast::ArithOp;
use crate::filter::pred::{Cc, Preds, Value, ValueId};
use std::collections::HashSet;

/// `keep`: what is read is read, in the order in which it was.
pub(super) fn apply(graph: &mut Graph, preds: &Preds, keep: bool) {
    ask_for_bits(graph, preds);
    drop_unread(graph, preds, keep);
    if !keep {
        group(graph);
    }
}

/// `x & mask == 0` asks whether x has none of the bits: one instruction where there are two.
fn ask_for_bits(graph: &mut Graph, preds: &Preds) {
    for node in &mut graph.nodes {
        let test = &mut node.test;
        let Value::Bin(ArithOp::And, x, mask) = preds.value(test.a) else { continue };
        if test.cc == Cc::Eq && preds.constant(test.b) == Some(0) && preds.constant(mask).is_some() {
            (test.cc, test.a, test.b) = (Cc::Set, x, mask);
            std::mem::swap(&mut node.then, &mut node.other);
        }
    }
}

/// Sets no variable that no test asks for.
fn drop_unread(graph: &mut Graph, preds: &Preds, keep: bool) {
    let read = read_variables(graph, preds);
    for node in &mut graph.nodes {
        node.test.sets.retain(|(var, value)| read.contains(&var.0) || (keep && reads_packet(preds, *value)));
    }
}

/// The variables that tests depend on, also by way of others.
pub(crate) fn read_variables(graph: &Graph, preds: &Preds) -> HashSet<u32> {
    let mut read = HashSet::new();
    let mut open: Vec<ValueId> = graph.nodes.iter().flat_map(|node| [node.test.a, node.test.b]).collect();
    let mut seen = HashSet::new();
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        open.extend(preds.operands(id));
        if let Value::Var(var) = preds.value(id)
            && read.insert(var.0)
        {
            let sets = graph.nodes.iter().flat_map(|node| &node.test.sets);
            open.extend(sets.filter(|(set, _)| *set == var).map(|(_, value)| *value));
        }
    }
    read
}

fn reads_packet(preds: &Preds, id: ValueId) -> bool {
    match preds.value(id) {
        Value::Load { .. } | Value::Chain { .. } => true,
        _ => preds.operands(id).into_iter().any(|operand| reads_packet(preds, operand)),
    }
}

/// Puts alternatives that ask for the same value behind each other, so that it is loaded once: tests in a row that lead to one place
/// if they hold, each reached only from the one before. As libpcap's optimiser does, this may ask for a byte that the packet
/// lacks later than it stands in the expression.
fn group(graph: &mut Graph) {
    let mut ways = vec![0_u32; graph.nodes.len()];
    let ends = graph.nodes.iter().flat_map(|node| [node.then, node.other]).chain([graph.root]);
    for end in ends {
        if let Next::Node(n) = end {
            ways[n as usize] += 1;
        }
    }
    let plain =
        |graph: &Graph, n: usize| graph.nodes[n].test.cc == Cc::Eq && graph.nodes[n].test.sets.is_empty();
    let mut done = vec![false; graph.nodes.len()];
    for first in (0..graph.nodes.len()).rev() {
        let mut row = vec![first];
        while let Some(&last) = row.last() {
            let Next::Node(next) = graph.nodes[last].other else { break };
            let next = next as usize;
            let goes_on = ways[next] == 1 && graph.nodes[next].then == graph.nodes[first].then;
            if done[next] || !goes_on || !plain(graph, next) || !plain(graph, first) {
                break;
            }
            row.push(next);
        }
        row.iter().for_each(|n| done[*n] = true);
        if row.len() < 3 {
            continue;
        }
        let tests: Vec<_> = row.iter().map(|n| graph.nodes[*n].test.clone()).collect();
        let place = |a: ValueId| tests.iter().position(|test| test.a == a);
        let mut sorted = tests.clone();
        sorted.sort_by_key(|test| place(test.a));
        for (n, test) in row.iter().zip(sorted) {
            graph.nodes[*n].test = test;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_of_one_value_stand_together() {
        let mut preds = Preds::default();
        let mut any = None;
        for (at, with) in [(0, 1), (2, 1), (0, 3), (2, 3)] {
            let (a, b) = (preds.load(None, at, 2), preds.number(with));
            let test = preds.test(Cc::Eq, a, b);
            any = Some(any.map_or(test, |any| preds.or(any, test)));
        }
        let mut graph = Graph::new(&preds, any.unwrap());
        let order = |graph: &Graph| -> Vec<(ValueId, ValueId)> {
            graph.nodes.iter().rev().map(|node| (node.test.a, node.test.b)).collect()
        };
        let before = order(&graph);
        apply(&mut graph, &preds, true);
        assert_eq!(order(&graph), before);
        apply(&mut graph, &preds, false);
        assert_eq!(order(&graph), [before[0], before[2], before[1], before[3]]);
    }

    #[test]
    fn no_bits_are_one_question() {
        let mut preds = Preds::default();
        let (a, zero) = (preds.load(None, 13, 1), preds.number(0));
        let masked = preds.bin_number(ArithOp::And, a, 3);
        let root = preds.test(Cc::Eq, masked, zero);
        let mut graph = Graph::new(&preds, root);
        apply(&mut graph, &preds, true);
        let node = &graph.nodes[0];
        assert_eq!(
            (node.test.cc, node.test.a, node.then, node.other),
            (Cc::Set, a, Next::Reject, Next::Accept)
        );
    }
}
