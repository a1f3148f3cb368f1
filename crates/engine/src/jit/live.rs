//! Which registers still matter: a function's instructions enter, for each of them the registers leave whose values it or one
//! behind it reads. Compiled code keeps no others for the message of a fault.

use std::ops::Range;

use super::flow::{self, Next};
use crate::vm::op::{Alu, Atomic, Op, Operand};

/// A set of registers, one bit each.
type Set = u16;

/// r1 to r5.
const ARGUMENTS: Set = 0b11_1110;
/// r0 to r5: what a call leaves other values in.
const LOST: Set = ARGUMENTS | 1;

/// The registers that matter before each instruction of one function.
#[derive(Debug)]
pub(crate) struct Live {
    first: usize,
    before: Vec<Set>,
}

impl Live {
    /// Reads the function at `range`.
    pub(crate) fn of(ops: &[Op], range: Range<usize>) -> Live {
        let mut live = Live { first: range.start, before: vec![0; range.len() + 1] };
        // Sets only grow, so this ends.
        while live.round(ops, range.clone()) {}
        live
    }

    /// One pass over the function, from its end; whether something changed.
    fn round(&mut self, ops: &[Op], range: Range<usize>) -> bool {
        let mut changed = false;
        for at in range.rev() {
            let after = match flow::next(ops[at]) {
                Next::Through => self.at(at + 1),
                Next::Jump(target) => self.at(target),
                Next::Branch(target) => self.at(target) | self.at(at + 1),
                Next::Exit => 0,
            };
            let before = reads(ops[at]) | after & !writes(ops[at]);
            changed |= before != self.at(at);
            self.before[at - self.first] = before;
        }
        changed
    }

    /// The registers that matter before `at`, one bit each.
    pub(crate) fn at(&self, at: usize) -> Set {
        self.before[at - self.first]
    }
}

fn one(register: u8) -> Set {
    1 << register
}

fn operand(operand: Operand) -> Set {
    match operand {
        Operand::Reg(register) => one(register),
        Operand::Imm(_) => 0,
    }
}

fn reads(op: Op) -> Set {
    match op {
        Op::Alu { op: Alu::Mov, src, .. } => operand(src),
        Op::Alu { dst, src, .. } | Op::Branch { dst, src, .. } => one(dst) | operand(src),
        Op::Extend { src, .. } => one(src),
        Op::Neg { dst, .. } | Op::Swap { dst, .. } => one(dst),
        Op::Load { base, .. } | Op::LoadAcquire { base, .. } => one(base),
        Op::Store { base, value, .. } => one(base) | operand(value),
        Op::StoreRelease { base, src, .. } => one(base) | one(src),
        Op::Atomic { op: Atomic::Cmpxchg, base, src, .. } => 1 | one(base) | one(src),
        Op::Atomic { base, src, .. } => one(base) | one(src),
        Op::Packet { index, .. } => one(6) | index.map_or(0, one),
        Op::Call { .. } | Op::Kfunc { .. } | Op::CallLocal { .. } => ARGUMENTS,
        Op::CallReg { reg } => ARGUMENTS | one(reg),
        Op::Exit => 1,
        Op::Const { .. } | Op::Second | Op::Jump { .. } | Op::MayGoto { .. } => 0,
    }
}

/// The registers that an instruction gives another value.
pub(crate) fn writes(op: Op) -> Set {
    match op {
        Op::Alu { dst, .. }
        | Op::Extend { dst, .. }
        | Op::Neg { dst, .. }
        | Op::Swap { dst, .. }
        | Op::Const { dst, .. }
        | Op::Load { dst, .. }
        | Op::LoadAcquire { dst, .. } => one(dst),
        Op::Atomic { op: Atomic::Cmpxchg, .. } => 1,
        Op::Atomic { fetch: true, src, .. } => one(src),
        Op::Packet { .. }
        | Op::Call { .. }
        | Op::Kfunc { .. }
        | Op::CallLocal { .. }
        | Op::CallReg { .. } => LOST,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::op::decode;

    fn of(text: &str) -> Vec<Set> {
        let ops = decode(&skep_bpf::asm::parse(text).unwrap()).unwrap();
        let live = Live::of(&ops, 0..ops.len());
        (0..ops.len()).map(|at| live.at(at)).collect()
    }

    #[test]
    fn a_value_matters_until_it_is_read_or_replaced() {
        assert_eq!(of("r2 = r1\nr3 = 5\nr0 = r2\nr3 = r0\nexit"), [0b10, 0b100, 0b100, 1, 1]);
        assert_eq!(
            of("r6 = r1\ncall bpf_ktime_get_ns#5\nr0 = r6\nexit"),
            [0b11_1110, 0b111_1110, 0b100_0000, 1]
        );
    }

    #[test]
    fn a_loop_keeps_what_its_next_round_reads() {
        let text = "r0 = 0\nagain: r0 += r2\nr1 -= 1\nif r1 != 0 goto again\nexit";
        assert_eq!(of(text), [0b110, 0b111, 0b111, 0b111, 1]);
    }
}
