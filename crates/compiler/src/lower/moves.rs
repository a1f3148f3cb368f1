//! Parallel moves: a set of moves that happen at once enters, the same as a sequence leaves.
//!
//! A destination appears once. A cycle is broken through a register that holds nothing there, or through a spill slot
//! of its own if there is none; so is a move between spill slots.

use super::alloc::Place;
use super::mir::Konst;

/// What a move copies.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum From {
    Place(Place),
    Konst(Konst),
}

/// One move of a set.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Move {
    pub from: From,
    pub to: Place,
}

/// One step of the sequence.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Step {
    /// Register to register: to, from.
    Copy(u8, u8),
    /// Spill slot to register.
    Load(u8, u32),
    /// Register to spill slot.
    Store(u32, u8),
    /// Constant to register.
    Konst(u8, Konst),
    /// 64-bit immediate to spill slot.
    StoreImm(u32, i32),
}

/// Makes sequences; knows the spill slots that moves may use for themselves.
pub(crate) struct Sequencer {
    /// First spill slot behind the allocated ones.
    first_extra: u32,
    /// How many of them were needed.
    pub extra: u32,
}

impl Sequencer {
    /// For a function with so many spill slots.
    pub(crate) fn new(spill_slots: u32) -> Sequencer {
        Sequencer { first_extra: spill_slots, extra: 0 }
    }

    fn extra_slot(&mut self, n: u32) -> u32 {
        self.extra = self.extra.max(n + 1);
        self.first_extra + n
    }

    /// The sequence for `moves`; `free` tells the registers that hold nothing before or after them and are not
    /// among their destinations.
    pub(crate) fn sequence(&mut self, moves: Vec<Move>, free: impl Fn(u8) -> bool) -> Vec<Step> {
        let mut out = Vec::new();
        let (mut places, mut konsts) = (Vec::new(), Vec::new());
        for m in moves {
            match m.from {
                From::Place(from) if from == m.to => {}
                From::Place(from) => places.push((from, m.to)),
                From::Konst(k) => konsts.push((k, m.to)),
            }
        }
        let temp = |skip: &[(Place, Place)]| {
            (0..10).find(|r| free(*r) && !skip.iter().any(|m| m.0 == Place::Reg(*r) || m.1 == Place::Reg(*r)))
        };
        while !places.is_empty() {
            let ready = places.iter().position(|m| !places.iter().any(|other| other.0 == m.1));
            if let Some(i) = ready {
                let (from, to) = places.swap_remove(i);
                let temp = temp(&places).filter(|t| Place::Reg(*t) != to);
                self.step(&mut out, from, to, temp);
                continue;
            }
            // Only cycles are left: one source goes elsewhere.
            let from = places[0].0;
            let aside = match (temp(&places), from) {
                (Some(t), _) => Place::Reg(t),
                (None, Place::Reg(_)) => Place::Spill(self.extra_slot(0)),
                (None, Place::Spill(_)) => Place::Spill(self.extra_slot(2)),
            };
            self.step(&mut out, from, aside, None);
            places.iter_mut().filter(|m| m.0 == from).for_each(|m| m.0 = aside);
        }
        for (k, to) in konsts {
            self.konst(&mut out, k, to, temp(&[]));
        }
        out
    }

    fn step(&mut self, out: &mut Vec<Step>, from: Place, to: Place, temp: Option<u8>) {
        match (from, to) {
            (Place::Reg(from), Place::Reg(to)) => out.push(Step::Copy(to, from)),
            (Place::Spill(from), Place::Reg(to)) => out.push(Step::Load(to, from)),
            (Place::Reg(from), Place::Spill(to)) => out.push(Step::Store(to, from)),
            (Place::Spill(from), Place::Spill(to)) => match temp {
                Some(t) => out.extend([Step::Load(t, from), Step::Store(to, t)]),
                None => {
                    // Borrow r0 and give it back.
                    let aside = self.extra_slot(1);
                    let (load, store) = (Step::Load(0, from), Step::Store(to, 0));
                    out.extend([Step::Store(aside, 0), load, store, Step::Load(0, aside)]);
                }
            },
        }
    }

    fn konst(&mut self, out: &mut Vec<Step>, k: Konst, to: Place, temp: Option<u8>) {
        match (to, &k, temp) {
            (Place::Reg(to), ..) => out.push(Step::Konst(to, k)),
            (Place::Spill(to), Konst::Int(c), _) if i32::try_from(*c).is_ok() => {
                out.push(Step::StoreImm(to, *c as i32));
            }
            (Place::Spill(to), _, Some(t)) => out.extend([Step::Konst(t, k), Step::Store(to, t)]),
            (Place::Spill(to), ..) => {
                let aside = self.extra_slot(1);
                out.extend([
                    Step::Store(aside, 0),
                    Step::Konst(0, k),
                    Step::Store(to, 0),
                    Step::Load(0, aside),
                ]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(moves: &[(Place, Place)], free: &[u8]) -> Vec<(Place, u64)> {
        let set = moves.iter().map(|m| Move { from: From::Place(m.0), to: m.1 }).collect();
        let mut seq = Sequencer::new(4);
        let steps = seq.sequence(set, |r| free.contains(&r));
        let mut regs: Vec<u64> = (0..10).collect();
        let mut spills: Vec<u64> = (100..110).collect();
        for step in steps {
            match step {
                Step::Copy(to, from) => regs[to as usize] = regs[from as usize],
                Step::Load(to, from) => regs[to as usize] = spills[from as usize],
                Step::Store(to, from) => spills[to as usize] = regs[from as usize],
                Step::Konst(..) | Step::StoreImm(..) => {}
            }
        }
        for r in (0..10u8).filter(|r| !free.contains(r) && !moves.iter().any(|m| m.1 == Place::Reg(*r))) {
            assert_eq!(regs[r as usize], u64::from(r), "register {r} was clobbered");
        }
        let value = |p| match p {
            Place::Reg(r) => regs[r as usize],
            Place::Spill(s) => spills[s as usize],
        };
        moves.iter().map(|m| (m.0, value(m.1))).collect()
    }

    fn check(moves: &[(Place, Place)]) {
        for free in [&[][..], &[0], &[7, 8]] {
            for (from, got) in run(moves, free) {
                let want = match from {
                    Place::Reg(r) => u64::from(r),
                    Place::Spill(s) => 100 + u64::from(s),
                };
                assert_eq!(got, want, "{moves:?} free {free:?}");
            }
        }
    }

    #[test]
    fn cycles_chains_and_fans() {
        let (r, s) = (Place::Reg, Place::Spill);
        check(&[(r(1), r(2)), (r(2), r(1))]);
        check(&[(r(1), r(2)), (r(2), r(3)), (r(3), r(1)), (r(1), r(4))]);
        check(&[(s(0), s(1)), (s(1), s(0))]);
        check(&[(s(0), s(1)), (s(1), s(2)), (r(1), s(0)), (s(2), r(1))]);
        check(&[(r(1), r(2)), (r(2), r(1)), (r(3), r(4)), (r(4), r(3)), (s(0), s(1)), (s(1), s(0))]);
        check(&[(r(5), r(1)), (r(1), s(0)), (s(0), r(5))]);
    }
}
