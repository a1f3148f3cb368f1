//! What is known on every way to an edge: outcomes of tests that dominate it.

use super::{Dominators, Fact, Graph, Next};
use crate::filter::pred::{Cc, Preds, Test, ValueId};
use std::collections::HashMap;

/// Facts that hold where the walk is, with what to forget when it leaves.
#[derive(Default)]
struct Known {
    outcomes: HashMap<Fact, bool>,
    equal: HashMap<ValueId, u32>,
}

impl Known {
    fn outcome(&self, preds: &Preds, varies: &[bool], test: &Test) -> Option<bool> {
        if !test.sets.is_empty() || varies[test.a.0 as usize] || varies[test.b.0 as usize] {
            return None;
        }
        let told = self.outcomes.get(&(test.a, test.cc, test.b)).copied();
        told.or_else(|| match (test.cc, self.equal.get(&test.a), preds.constant(test.b)) {
            (Cc::Eq, Some(is), Some(with)) if *is != with => Some(false),
            _ => None,
        })
    }
}

/// What an edge has added to what is known.
type Added = (Option<Fact>, Option<ValueId>);

/// An entity to visit, or what to forget behind a visited one.
type Step = Result<u32, Added>;

/// Leads each edge past tests whose outcome is known on it. Whether anything changed.
pub(super) fn apply(graph: &mut Graph, preds: &Preds, varies: &[bool]) -> bool {
    graph.compact();
    let Next::Node(root) = graph.root else { return false };
    let dominators = Dominators::new(graph);
    let mut below: Vec<Vec<u32>> = vec![Vec::new(); graph.nodes.len() * 3];
    for index in 0..graph.nodes.len() as u32 {
        let up = dominators.parent[3 * index as usize];
        if up != u32::MAX {
            below[up as usize].push(3 * index);
        }
    }
    let mut known = Known::default();
    let mut changed = false;
    let mut work: Vec<Step> = vec![Ok(3 * root)];
    while let Some(step) = work.pop() {
        let entity = match step {
            Ok(entity) => entity,
            Err((fact, value)) => {
                fact.map(|fact| known.outcomes.remove(&fact));
                value.map(|value| known.equal.remove(&value));
                continue;
            }
        };
        let (index, edge) = ((entity / 3) as usize, entity % 3);
        if edge == 0 {
            work.extend(below[entity as usize].iter().map(|child| Ok(*child)));
            work.extend([Ok(entity + 1), Ok(entity + 2)]);
            continue;
        }
        let holds = edge == 1;
        work.push(Err(learn(&mut known, preds, varies, &graph.nodes[index].test, holds)));
        work.extend(below[entity as usize].iter().map(|child| Ok(*child)));
        let first = if holds { graph.nodes[index].then } else { graph.nodes[index].other };
        let mut next = first;
        while let Next::Node(to) = next {
            let node = &graph.nodes[to as usize];
            let Some(outcome) = known.outcome(preds, varies, &node.test) else { break };
            next = if outcome { node.then } else { node.other };
        }
        changed |= next != first;
        let node = &mut graph.nodes[index];
        if holds {
            node.then = next;
        } else {
            node.other = next;
        }
    }
    changed
}

/// Adds an outcome, and says what is to be forgotten later.
fn learn(known: &mut Known, preds: &Preds, varies: &[bool], test: &Test, holds: bool) -> Added {
    if varies[test.a.0 as usize] || varies[test.b.0 as usize] {
        return (None, None);
    }
    // An edge that contradicts what is known is never taken; what is known stays.
    let fact = (test.a, test.cc, test.b);
    let new = !known.outcomes.contains_key(&fact);
    if new {
        known.outcomes.insert(fact, holds);
    }
    let equal = match (test.cc, preds.constant(test.b)) {
        (Cc::Eq, Some(with)) if holds && !known.equal.contains_key(&test.a) => {
            known.equal.insert(test.a, with);
            Some(test.a)
        }
        _ => None,
    };
    (new.then_some(fact), equal)
}
