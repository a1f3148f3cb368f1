//! What running a program costs: decoded instructions enter, the price of each place leaves. Both engines take it from the
//! budget when they come to the place, so that a program is stopped at the same one.
//!
//! Only functions and loops have a price: a function's length where it begins, a loop's length where it begins again. Between two
//! such places a program only goes forward, so the sum is never less than the number of instructions that ran.

use super::op::{Op, target};

/// The price of each instruction slot.
pub(crate) fn charges(ops: &[Op], functions: &[u32]) -> Vec<u32> {
    let mut charges = vec![0u32; ops.len()];
    for (at, op) in ops.iter().enumerate() {
        let Some(to) = target(*op).filter(|_| !matches!(op, Op::CallLocal { .. })) else { continue };
        let to = to as usize;
        if to <= at && to < charges.len() {
            charges[to] = charges[to].max((at - to + 1) as u32);
        }
    }
    let ends = functions.iter().skip(1).copied().chain([ops.len() as u32]);
    for (&start, end) in functions.iter().zip(ends) {
        if let Some(charge) = charges.get_mut(start as usize) {
            *charge += end.saturating_sub(start);
        }
    }
    charges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::op::decode;

    fn of(text: &str, functions: &[u32]) -> Vec<u32> {
        charges(&decode(&skep_bpf::asm::parse(text).unwrap()).unwrap(), functions)
    }

    #[test]
    fn straight_code_costs_its_length_once() {
        assert_eq!(of("r0 = 1\nif r0 != 0 goto out\nr0 = 2\nout: exit", &[0]), [4, 0, 0, 0]);
    }

    #[test]
    fn a_loop_costs_its_length_each_time() {
        let text = "r0 = 9\nouter: r1 = 3\ninner: r1 -= 1\nif r1 != 0 goto inner\nr0 -= 1\nif r0 != 0 goto outer\nexit";
        assert_eq!(of(text, &[0]), [7, 5, 2, 0, 0, 0, 0]);
        assert_eq!(of("again: r0 += 1\ngoto again", &[0]), [2 + 2, 0], "the function itself is the loop");
    }

    #[test]
    fn each_function_costs_its_own_length() {
        assert_eq!(of("call pc+1\nexit\nr0 = 1\nexit", &[0, 2]), [2, 0, 2, 0]);
        assert_eq!(of("exit\nr0 = 1\ncall pc-2\nexit", &[0, 1]), [1, 3, 0, 0], "a call backwards is no loop");
    }
}
