//! The decision graph: each test once, with what comes next if it holds and if not.
//!
//! Predicates enter; a graph leaves in which no test repeats what is already known on every way to it. What always holds:
//! a node leads only to nodes with lower numbers, so there are no loops, and the order of nodes from the last on is one in
//! which every node comes before those that it leads to.

use super::pred::{self, Cc, Pred, PredId, Preds, Test, Value, ValueId};
use std::collections::HashMap;

mod facts;
mod tidy;

pub(super) use tidy::read_variables;

/// Where an edge leads.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Next {
    /// The packet does not match.
    Reject,
    /// It matches.
    Accept,
    /// The next test.
    Node(u32),
}

/// A test and where it leads.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Node {
    /// The test.
    pub test: Test,
    /// If it holds.
    pub then: Next,
    /// If not.
    pub other: Next,
}

/// A decision graph.
#[derive(Clone, Debug)]
pub struct Graph {
    /// Nodes; some may not be reachable.
    pub nodes: Vec<Node>,
    /// The first.
    pub root: Next,
}

/// Rounds of simplification; each removes what the one before has uncovered.
const ROUNDS: usize = 64;

/// More nodes than this are only simplified locally.
const LARGE: usize = 20_000;

impl Graph {
    /// The graph of a predicate, as it was written.
    pub fn new(preds: &Preds, root: PredId) -> Graph {
        let mut graph = Graph { nodes: Vec::new(), root: Next::Reject };
        graph.root = graph.lower(preds, root, Next::Accept, Next::Reject);
        graph
    }

    /// The graph that every packet passes.
    pub fn everything() -> Graph {
        Graph { nodes: Vec::new(), root: Next::Accept }
    }

    fn lower(&mut self, preds: &Preds, mut pred: PredId, mut then: Next, mut other: Next) -> Next {
        loop {
            match preds.node(pred) {
                Pred::Not(a) => {
                    std::mem::swap(&mut then, &mut other);
                    pred = *a;
                }
                Pred::And(a, b) => {
                    then = self.lower(preds, *b, then, other);
                    pred = *a;
                }
                Pred::Or(a, b) => {
                    other = self.lower(preds, *b, then, other);
                    pred = *a;
                }
                Pred::Test(test) => {
                    self.nodes.push(Node { test: test.clone(), then, other });
                    return Next::Node(self.nodes.len() as u32 - 1);
                }
            }
        }
    }

    /// Removes tests whose outcome is known or does not matter, and joins equal ones. As libpcap's optimiser does, a byte
    /// that decides nothing is not read; `keep`: all are, as libpcap does where it does not optimise.
    pub fn simplify(&mut self, preds: &Preds, keep: bool) {
        let varies = preds.varies();
        for _ in 0..ROUNDS {
            let before = self.nodes.len();
            let mut changed = self.local(preds, keep);
            if self.nodes.len() <= LARGE {
                changed |= facts::apply(self, preds, &varies);
            }
            self.compact();
            if !changed && self.nodes.len() == before {
                break;
            }
        }
        tidy::apply(self, preds, keep);
    }

    /// Folds constants, drops tests that decide nothing, joins equal nodes.
    fn local(&mut self, preds: &Preds, keep: bool) -> bool {
        let mut to: Vec<Next> = Vec::with_capacity(self.nodes.len());
        let mut seen: HashMap<Node, Next> = HashMap::new();
        let mut changed = false;
        for index in 0..self.nodes.len() {
            let follow = |next: Next| match next {
                Next::Node(n) => to[n as usize],
                end => end,
            };
            let node = &mut self.nodes[index];
            let (then, other) = (follow(node.then), follow(node.other));
            changed |= (then, other) != (node.then, node.other);
            (node.then, node.other) = (then, other);
            if let Some(holds) = known(preds, &node.test) {
                let next = if holds { node.then } else { node.other };
                (node.then, node.other) = (next, next);
            }
            let decided = node.then == node.other && node.test.sets.is_empty();
            let harmless = !keep || known(preds, &node.test).is_some();
            let place = if decided && harmless {
                changed = true;
                node.then
            } else {
                *seen.entry(node.clone()).or_insert(Next::Node(index as u32))
            };
            to.push(place);
        }
        if let Next::Node(root) = self.root {
            self.root = to[root as usize];
        }
        changed
    }

    /// Removes what cannot be reached.
    fn compact(&mut self) {
        let mut reached = vec![false; self.nodes.len()];
        let mark = |next: Next, reached: &mut Vec<bool>| {
            if let Next::Node(n) = next {
                reached[n as usize] = true;
            }
        };
        mark(self.root, &mut reached);
        for index in (0..self.nodes.len()).rev() {
            if reached[index] {
                mark(self.nodes[index].then, &mut reached);
                mark(self.nodes[index].other, &mut reached);
            }
        }
        let mut to = vec![0u32; self.nodes.len()];
        let mut kept = 0;
        for (index, reached) in reached.iter().enumerate() {
            to[index] = kept;
            kept += u32::from(*reached);
        }
        let moved = |next: Next| match next {
            Next::Node(n) => Next::Node(to[n as usize]),
            end => end,
        };
        self.root = moved(self.root);
        let mut index = 0;
        self.nodes.retain(|_| {
            index += 1;
            reached[index - 1]
        });
        for node in &mut self.nodes {
            (node.then, node.other) = (moved(node.then), moved(node.other));
        }
    }
}

/// The outcome of a test of two numbers.
fn known(preds: &Preds, test: &Test) -> Option<bool> {
    Some(pred::holds(test.cc, preds.constant(test.a)?, preds.constant(test.b)?))
}

/// The dominator tree of a graph: for each node the edge that every way to it ends with or passes last.
#[derive(Clone, Debug)]
pub struct Dominators {
    /// Parent of nodes (`3 n`) and of their edges (`3 n + 1`: holds, `3 n + 2`: not); `u32::MAX` for the root.
    parent: Vec<u32>,
}

impl Dominators {
    /// Computes the tree; all nodes must be reachable.
    pub fn new(graph: &Graph) -> Dominators {
        const NONE: u32 = u32::MAX;
        let size = graph.nodes.len() * 3;
        let (mut parent, mut depth) = (vec![NONE; size], vec![0u32; size]);
        let mut seen = vec![false; graph.nodes.len()];
        for index in (0..graph.nodes.len()).rev() {
            let node = 3 * index;
            depth[node] = match parent[node] {
                NONE => 0,
                up => depth[up as usize] + 1,
            };
            for (edge, next) in [(node + 1, graph.nodes[index].then), (node + 2, graph.nodes[index].other)] {
                parent[edge] = node as u32;
                depth[edge] = depth[node] + 1;
                let Next::Node(to) = next else { continue };
                let (to, entity) = (to as usize, 3 * to as usize);
                let root = graph.root == Next::Node(to as u32);
                parent[entity] = match (root, seen[to]) {
                    (true, _) => NONE,
                    (false, false) => edge as u32,
                    (false, true) => meet(&parent, &depth, parent[entity], edge as u32),
                };
                seen[to] = true;
            }
        }
        Dominators { parent }
    }

    /// The node that dominates `node` last.
    pub fn above(&self, node: u32) -> Option<u32> {
        let up = self.parent[3 * node as usize];
        (up != u32::MAX).then_some(up / 3)
    }
}

fn meet(parent: &[u32], depth: &[u32], mut a: u32, mut b: u32) -> u32 {
    while a != b {
        if depth[a as usize] >= depth[b as usize] {
            a = parent[a as usize];
        } else {
            b = parent[b as usize];
        }
        if a == u32::MAX || b == u32::MAX {
            return u32::MAX;
        }
    }
    a
}

/// Whether a value is what only an unoptimised program of libpcap computes: then it keeps every read.
pub fn is_chain(preds: &Preds) -> bool {
    preds.values.iter().any(|value| matches!(value, Value::Chain { .. }))
}

/// A test's comparison, for tables of what is known.
type Fact = (ValueId, Cc, ValueId);

#[cfg(test)]
mod tests {
    use super::*;

    fn load(preds: &mut Preds, at: u32) -> ValueId {
        preds.load(None, at, 1)
    }

    fn is(preds: &mut Preds, at: u32, with: u32) -> PredId {
        let (a, b) = (load(preds, at), preds.number(with));
        preds.test(Cc::Eq, a, b)
    }

    #[test]
    fn a_repeated_test_is_made_once() {
        let mut preds = Preds::default();
        let (a, b, c) = (is(&mut preds, 0, 1), is(&mut preds, 1, 2), is(&mut preds, 0, 1));
        let both = preds.and(a, b);
        let root = preds.or(both, c);
        let mut graph = Graph::new(&preds, root);
        assert_eq!(graph.nodes.len(), 3);
        graph.simplify(&preds, false);
        // If the first holds all is decided: the second is not even asked.
        assert_eq!(graph.nodes.len(), 1);
    }

    #[test]
    fn what_contradicts_rejects_everything() {
        let mut preds = Preds::default();
        let (a, b) = (is(&mut preds, 0, 1), is(&mut preds, 0, 2));
        let root = preds.and(a, b);
        let mut graph = Graph::new(&preds, root);
        graph.simplify(&preds, false);
        assert_eq!(graph.root, Next::Reject);
    }

    #[test]
    fn dominators_of_a_join_are_before_the_fork() {
        let mut preds = Preds::default();
        let tests: Vec<PredId> = (0..4).map(|at| is(&mut preds, at, 7)).collect();
        let first = preds.or(tests[0], tests[1]);
        let first = preds.and(first, tests[2]);
        let root = preds.and(first, tests[3]);
        let graph = Graph::new(&preds, root);
        let dominators = Dominators::new(&graph);
        // Nodes from the root on: 3, 2, 1, 0; node 1 is reached from both.
        assert_eq!(dominators.above(3), None);
        assert_eq!(dominators.above(2), Some(3));
        assert_eq!(dominators.above(1), Some(3));
        assert_eq!(dominators.above(0), Some(1));
    }
}
