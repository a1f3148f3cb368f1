//! What a program takes and must give back: sockets, records that it writes, locks, references. What a function gave enters; at the
//! program's end, and at a tail call, what is left of it is the fault that the kernel's verifier would have found.

use super::fault::{Fault, FaultKind};
use super::program::{ProgId, Program};
use super::state::Run;

/// Something that a program must give back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// The function that gave it, without `bpf_`.
    pub name: &'static str,
    /// The function that takes it back, where only one can.
    pub release: Option<&'static str>,
    /// Its address, or where the program keeps it.
    pub at: u64,
    /// The program that took it.
    pub program: ProgId,
    /// The instruction that did.
    pub insn: u32,
}

impl Held {
    /// The fault that it is to keep it.
    pub(crate) fn kept(&self, tail: bool) -> FaultKind {
        FaultKind::Unreleased { name: self.name, release: self.release, at: self.at, tail }
    }
}

impl Run {
    /// Notes that a function gave something to the program.
    pub(crate) fn hold(&mut self, name: &'static str, release: Option<&'static str>, at: u64) {
        self.held.push(Held { name, release, at, program: self.program, insn: self.insn });
    }

    /// Notes that the program gave something back, by the function that takes only such things back; `false` if it holds nothing
    /// like it.
    pub(crate) fn let_go(&mut self, release: Option<&'static str>, at: u64) -> bool {
        let fits = |held: &Held| held.release.is_none() || release.is_none() || held.release == release;
        let found = self.held.iter().rposition(|held| held.at == at && fits(held));
        found.map(|found| self.held.remove(found)).is_some()
    }
}

/// The fault of a program that has ended and holds something: where it took the first of it.
#[cold]
#[inline(never)]
pub(crate) fn at_the_end(programs: &[Program], run: &mut Run) -> Option<Box<Fault>> {
    let held = std::mem::take(&mut run.held).into_iter().next()?;
    let place = programs.get(held.program.0 as usize)?.place(held.insn);
    Some(Box::new(Fault { kind: held.kept(false), place, registers: [None; 11] }))
}
