//! Watching a program: each instruction with the registers before it goes to an observer. Without one it costs nothing.

use super::program::Program;

/// An instruction that is about to run.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The program.
    pub program: &'a Program,
    /// Index of the instruction.
    pub insn: u32,
    /// r0 to r10 before it.
    pub registers: &'a [u64; 11],
    /// Functions that are running, 1 in the main one.
    pub depth: u32,
}

/// An observer.
pub trait Observe {
    /// Takes a step.
    fn step(&mut self, step: &Step<'_>);
}

/// Nobody watches.
#[derive(Clone, Copy, Debug)]
pub struct Unobserved;

impl Observe for Unobserved {
    #[inline(always)]
    fn step(&mut self, _: &Step<'_>) {}
}

impl Observe for &mut dyn Observe {
    fn step(&mut self, step: &Step<'_>) {
        (**self).step(step);
    }
}

/// How often each instruction of each program ran.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Profile {
    /// Counts by instruction, by the program's name.
    pub programs: std::collections::BTreeMap<String, Vec<u64>>,
}

impl Observe for Profile {
    fn step(&mut self, step: &Step<'_>) {
        if !self.programs.contains_key(&step.program.name) {
            self.programs.insert(step.program.name.clone(), vec![0; step.program.ops.len()]);
        }
        let counts = self.programs.get_mut(&step.program.name).and_then(|c| c.get_mut(step.insn as usize));
        if let Some(count) = counts {
            *count += 1;
        }
    }
}
