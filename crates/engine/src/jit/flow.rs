//! Control flow of one function: its decoded instructions enter; where blocks begin, and which of them are loops, leave.
//! Always: every target lies within the function (linking checked it).

use std::ops::Range;

use crate::vm::op::Op;

/// Where an instruction leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// To the one behind it.
    Through,
    /// Elsewhere, always.
    Jump(usize),
    /// Elsewhere or behind it.
    Branch(usize),
    /// Out of the function.
    Exit,
}

/// Where an instruction leads.
pub(crate) fn next(op: Op) -> Next {
    match op {
        Op::Jump { to } => Next::Jump(to as usize),
        Op::Branch { to, .. } | Op::MayGoto { to } => Next::Branch(to as usize),
        Op::Exit => Next::Exit,
        _ => Next::Through,
    }
}

/// What is known of a function's control flow.
#[derive(Debug)]
pub(crate) struct Flow {
    first: usize,
    leader: Vec<bool>,
    targeted: Vec<bool>,
    looped: Vec<bool>,
}

impl Flow {
    /// Reads the function at `range`.
    pub(crate) fn of(ops: &[Op], range: Range<usize>) -> Flow {
        let length = range.len();
        let [leader, targeted, looped] = [(); 3].map(|()| vec![false; length + 1]);
        let mut flow = Flow { first: range.start, leader, targeted, looped };
        for at in range.clone() {
            let behind = at + 1 - range.start;
            match next(ops[at]) {
                Next::Through => {}
                Next::Exit => flow.leader[behind] = true,
                Next::Jump(target) | Next::Branch(target) => {
                    flow.leader[behind] = true;
                    flow.leader[target - range.start] = true;
                    flow.targeted[target - range.start] = true;
                    flow.looped[target - range.start] |= target <= at;
                }
            }
        }
        flow
    }

    /// Whether a block begins at `at`.
    pub(crate) fn is_leader(&self, at: usize) -> bool {
        self.leader[at - self.first]
    }

    /// Whether something jumps to `at`; else its only predecessor is the instruction before it.
    pub(crate) fn is_targeted(&self, at: usize) -> bool {
        self.targeted[at - self.first]
    }

    /// Whether something at or behind `at` jumps to it.
    pub(crate) fn is_looped(&self, at: usize) -> bool {
        self.looped[at - self.first]
    }
}
