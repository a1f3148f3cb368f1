//! Constant blinding: a program that chooses its constants could otherwise choose bytes of machine code. Decoded instructions
//! enter; instructions that do the same with constants that nobody chose leave, as `bpf_jit_blind_constants` makes them
//! (kernel/bpf/core.c, Linux 6.18): an immediate becomes two, random and the exclusive or with it, put together in a register that
//! programs do not have. What is an offset or a jump's target stays.

use crate::random::Random;
use crate::vm::op::{Alu, Op, Operand, Width};

/// The register that programs do not have (BPF_REG_AX).
pub(crate) const AX: u8 = 11;

/// A blinded program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Blinded {
    /// Its instructions.
    pub(crate) ops: Vec<Op>,
    /// First instructions of its functions.
    pub(crate) functions: Vec<u32>,
    /// What the instructions cost.
    pub(crate) charges: Vec<u32>,
    /// For each instruction, the one that it was made from.
    pub(crate) origins: Vec<u32>,
}

/// Blinds all constants of a program; `seed` decides the random numbers.
pub(crate) fn blind(ops: &[Op], functions: &[u32], charges: &[u32], seed: u64) -> Blinded {
    let mut random = Random::new(seed);
    let mut blinded =
        Blinded { ops: Vec::new(), functions: Vec::new(), charges: Vec::new(), origins: Vec::new() };
    let mut starts = Vec::with_capacity(ops.len() + 1);
    for (at, &op) in ops.iter().enumerate() {
        starts.push(blinded.ops.len() as u32);
        rewrite(op, &mut random, &mut blinded.ops);
        blinded.origins.resize(blinded.ops.len(), at as u32);
        blinded.charges.resize(blinded.ops.len(), 0);
    }
    starts.push(blinded.ops.len() as u32);
    let moved = |to: u32| starts.get(to as usize).copied().unwrap_or(to);
    for op in &mut blinded.ops {
        match op {
            Op::Jump { to } | Op::Branch { to, .. } | Op::MayGoto { to } | Op::CallLocal { to } => {
                *to = moved(*to)
            }
            _ => {}
        }
    }
    blinded.functions = functions.iter().copied().map(moved).collect();
    for (at, &charge) in charges.iter().enumerate() {
        if let Some(place) = blinded.charges.get_mut(moved(at as u32) as usize).filter(|_| charge > 0) {
            *place += charge;
        }
    }
    blinded
}

/// What stands in place of one instruction.
fn rewrite(op: Op, random: &mut Random, to: &mut Vec<Op>) {
    match op {
        // Clearing a register tells nothing.
        Op::Alu { op: Alu::Mov, width, dst, src: Operand::Imm(0) } => {
            to.push(Op::Alu { op: Alu::Xor, width, dst, src: Operand::Reg(dst) });
        }
        Op::Alu { op, width, dst, src: Operand::Imm(imm) } => {
            hidden(imm, width, random, to);
            to.push(Op::Alu { op, width, dst, src: Operand::Reg(AX) });
        }
        Op::Branch { op, width, dst, src: Operand::Imm(imm), to: target } => {
            hidden(imm, width, random, to);
            to.push(Op::Branch { op, width, dst, src: Operand::Reg(AX), to: target });
        }
        Op::Store { size, base, off, value: Operand::Imm(imm) } => {
            hidden(imm, Width::W64, random, to);
            to.push(Op::Store { size, base, off, value: Operand::Reg(AX) });
        }
        Op::Const { dst, value } => {
            hidden((value >> 32) as i32, Width::W64, random, to);
            to.push(alu(Alu::Lsh, Width::W64, AX, Operand::Imm(32)));
            to.push(alu(Alu::Mov, Width::W64, dst, Operand::Reg(AX)));
            hidden(value as i32, Width::W32, random, to);
            to.push(alu(Alu::Or, Width::W64, dst, Operand::Reg(AX)));
        }
        // It stood behind the constant, which is whole now.
        Op::Second => {}
        op => to.push(op),
    }
}

/// `AX = imm`, without `imm`.
fn hidden(imm: i32, width: Width, random: &mut Random, to: &mut Vec<Op>) {
    let key = random.next() as i32;
    to.push(alu(Alu::Mov, width, AX, Operand::Imm(key ^ imm)));
    to.push(alu(Alu::Xor, width, AX, Operand::Imm(key)));
}

fn alu(op: Alu, width: Width, dst: u8, src: Operand) -> Op {
    Op::Alu { op, width, dst, src }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::op::decode;

    const TEXT: &str = "
        r0 = 0
        r1 = 0x1122334455667788 ll
        w2 = 0x13572468
        again: r0 += 0x5a5a5a5a
        *(u32 *)(r10 - 8) = 0x7e7e7e7e
        if w2 == 0x0badcafe goto out
        if r2 != 0 goto again
        call f
        out: exit
        f: r0 = 7
        exit";

    fn blinded(seed: u64) -> (Vec<Op>, Blinded) {
        let ops = decode(&skep_bpf::asm::parse(TEXT).unwrap()).unwrap();
        let functions = [0, 10];
        let charges = crate::vm::charge::charges(&ops, &functions);
        let blinded = blind(&ops, &functions, &charges, seed);
        (ops, blinded)
    }

    #[test]
    fn no_constant_is_left() {
        let (_, blinded) = blinded(1);
        let shown = format!("{:x?}", blinded.ops);
        for constant in ["11223344", "55667788", "13572468", "5a5a5a5a", "7e7e7e7e", "badcafe"] {
            assert!(!shown.contains(constant), "{constant} in {shown}");
        }
        assert_ne!(super::tests::blinded(2).1.ops, blinded.ops, "another seed, other constants");
        assert_eq!(super::tests::blinded(1).1, blinded, "the same seed, the same program");
    }

    #[test]
    fn places_follow() {
        let (ops, blinded) = blinded(3);
        assert_eq!(blinded.origins.len(), blinded.ops.len());
        for (op, &origin) in blinded.ops.iter().zip(&blinded.origins) {
            let source = ops[origin as usize];
            // What leads somewhere leads to what was made from where it led before.
            match (op, source) {
                (Op::Branch { to, .. }, Op::Branch { to: before, .. })
                | (Op::CallLocal { to }, Op::CallLocal { to: before }) => {
                    assert_eq!(blinded.origins[*to as usize], before);
                    assert!(*to == 0 || blinded.origins[*to as usize - 1] != before, "not its first part");
                }
                _ => {}
            }
        }
        assert_eq!(blinded.functions.len(), 2);
        assert_eq!(blinded.origins[blinded.functions[1] as usize], 10);
        let sum = |charges: &[u32]| charges.iter().sum::<u32>();
        assert_eq!(sum(&blinded.charges), sum(&crate::vm::charge::charges(&ops, &[0, 10])));
    }
}
