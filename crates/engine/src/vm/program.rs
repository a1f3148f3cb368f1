//! Programs as the machine runs them: decoded, with maps and functions in place, and with what a message needs to say where it
//! is. [`super::link`] makes them.

use skep_bpf::disasm;
use skep_bpf::insn::Insn;
use skep_bpf::kinds::{AttachType, ProgType};

use super::fault::{Place, SourceLine};
use super::op::Op;
use crate::helpers::HelperFn;

/// A program's number in its machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProgId(pub u32);

/// A linked program.
#[derive(Clone, Debug)]
pub struct Program {
    /// Name, as the user knows it.
    pub name: String,
    /// Kind.
    pub prog_type: ProgType,
    /// How it is attached.
    pub attach_type: AttachType,
    /// Whether its license is compatible with the GPL.
    pub gpl: bool,
    /// Instructions before linking.
    pub insns: Vec<Insn>,
    /// The same, decoded and linked.
    pub ops: Vec<Op>,
    /// What each place takes from the budget: see `charge`.
    pub charge: Vec<u32>,
    /// First instructions of the functions, ascending; the program's own is 0.
    pub functions: Vec<u32>,
    /// Kernel functions that it calls; [`Op::Kfunc`] has the index.
    pub kfuncs: Vec<Kfunc>,
    /// What loads read outside of the machine's memory.
    pub probe: Probe,
    pub(super) notes: Notes,
}

/// A kernel function that a program calls.
#[derive(Clone, Debug)]
pub struct Kfunc {
    /// Name.
    pub name: String,
    /// What the machine has for it.
    pub function: HelperFn,
}

/// What a load of an address outside of the machine's memory does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Probe {
    /// It faults.
    Never,
    /// An address above 4 GiB reads memory of the kernel, as far as it is recorded, else zero.
    Kernel,
    /// The same, also for null pointers: the kernel checks such loads when they fault (`PROBE_MEM`).
    KernelOrNull,
}

/// What messages need.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    /// Names that instructions refer to, ascending.
    pub(super) names: Vec<(u32, String)>,
    /// Names of functions by first instruction, ascending.
    pub(super) functions: Vec<(u32, String)>,
    /// Lines by first instruction, ascending.
    pub(super) lines: Vec<(u32, SourceLine)>,
}

impl Program {
    /// The text of an instruction, as `disasm` prints it.
    pub fn text(&self, insn: u32) -> String {
        let name = |at: usize| {
            let found = self.notes.names.binary_search_by_key(&at, |(insn, _)| *insn as usize).ok()?;
            self.notes.names.get(found).map(|(_, name)| name.clone())
        };
        disasm::insn(&self.insns, insn as usize, &name).0
    }

    /// The line of source that an instruction was made from.
    pub fn line(&self, insn: u32) -> Option<&SourceLine> {
        let next = self.notes.lines.partition_point(|(start, _)| *start <= insn);
        let (start, line) = self.notes.lines.get(next.checked_sub(1)?)?;
        (*start >= self.function_of(insn)).then_some(line)
    }

    /// First instruction of the function that an instruction is in.
    pub fn function_of(&self, insn: u32) -> u32 {
        let next = self.functions.partition_point(|start| *start <= insn);
        next.checked_sub(1).and_then(|at| self.functions.get(at)).copied().unwrap_or(0)
    }

    /// Name of the function that starts at an instruction.
    pub fn function_name(&self, start: u32) -> Option<&str> {
        let found = self.notes.functions.binary_search_by_key(&start, |(insn, _)| *insn).ok()?;
        self.notes.functions.get(found).map(|(_, name)| name.as_str())
    }

    /// Whether a function starts at an instruction.
    pub fn is_function(&self, insn: u32) -> bool {
        self.functions.binary_search(&insn).is_ok()
    }

    /// Where an instruction is, for messages.
    pub fn place(&self, insn: u32) -> Place {
        Place {
            program: self.name.clone(),
            function: self.function_name(self.function_of(insn)).map(str::to_owned),
            insn,
            text: self.text(insn),
            line: self.line(insn).cloned(),
        }
    }
}
