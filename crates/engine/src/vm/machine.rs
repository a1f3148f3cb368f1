//! The machine as a whole: objects are loaded, inputs enter, outcomes leave.

pub mod forward;
mod places;
mod runner;
mod timers;

pub use runner::Runner;

use std::rc::Rc;

use skep_bpf::btf::Btf;
use skep_bpf::insn::Insn;
use skep_bpf::kinds::ProgType;
use skep_bpf::object::Object;

use super::VmError;
use super::context::Input;
use super::fault::{Fault, FaultKind};
use super::held;
use super::interp::{self, Entry};
use super::link::{self, LinkError};
use super::memory::{MapId, Memory};
use super::program::{ProgId, Program};
use super::state::{Run, State};
use super::trace::{Observe, Unobserved};
use crate::helpers::env::Env;
use crate::jit::{Code, CompileError, Jit};
use crate::maps::Maps;
use places::Places;

/// What runs the instructions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Engine {
    /// The interpreter.
    #[default]
    Interpreter,
    /// Machine code, compiled when a program first runs. An observer sees nothing of it.
    Jit {
        /// Constants are blinded; the number decides with what.
        blind: Option<u64>,
    },
}

/// How programs are run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// What runs them.
    pub engine: Engine,
    /// Instructions that one run may take.
    pub budget: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { engine: Engine::Interpreter, budget: 100_000_000 }
    }
}

/// What a run led to.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// r0.
    pub result: u64,
    /// What was taken from the budget: at least the number of instructions that ran (see `charge`).
    pub instructions: u64,
    /// The context as the program left it.
    pub context: Vec<u8>,
    /// The packet as the program left it, without metadata.
    pub packet: Option<Vec<u8>>,
    /// What else the program did.
    pub run: Run,
}

/// What was loaded from one object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loaded {
    /// Its programs, in their order.
    pub programs: Vec<ProgId>,
    /// Its maps, in their order.
    pub maps: Vec<MapId>,
}

/// A machine: programs, maps and the world around them.
pub struct Vm {
    programs: Vec<Program>,
    /// Machine code, with the blinding that it was made with.
    jit: Option<(Option<u64>, Jit)>,
    /// Memory, maps, the world.
    pub state: State,
    places: Places,
}

impl Vm {
    /// A machine without programs.
    pub fn new(env: Env) -> Result<Vm, VmError> {
        let mut memory = Memory::new()?;
        let places = Places::new(&mut memory)?;
        let run = places.run();
        let state = State { memory, maps: Maps::default(), env, run };
        Ok(Vm { programs: Vec::new(), jit: None, state, places })
    }

    /// Creates an object's maps and links its programs. `types` are those of the kernel that it is to run as on; without them it
    /// keeps the values that it was compiled with.
    pub fn load(&mut self, object: &Object, types: Option<&Btf>) -> Result<Loaded, LinkError> {
        let (programs, maps) = link::object(object, types, &mut self.state)?;
        let programs = programs.into_iter().map(|program| self.add(program)).collect();
        Ok(Loaded { programs, maps })
    }

    /// Links bare instructions; they refer to maps by their index in `maps`.
    pub fn load_raw(
        &mut self,
        name: &str,
        prog_type: ProgType,
        insns: &[Insn],
        maps: &[MapId],
    ) -> Result<ProgId, LinkError> {
        let program = link::raw(name, prog_type, insns, maps, &mut self.state)?;
        Ok(self.add(program))
    }

    fn add(&mut self, program: Program) -> ProgId {
        self.places.serve(&program);
        self.programs.push(program);
        ProgId(self.programs.len() as u32 - 1)
    }

    /// All programs, by number.
    pub fn programs(&self) -> &[Program] {
        &self.programs
    }

    /// Runs a program.
    pub fn run(&mut self, program: ProgId, input: &Input, options: Options) -> Result<Outcome, RunError> {
        self.observed(program, input, options, None)
    }

    /// Runs a program, and shows each of its instructions to an observer.
    pub fn observed(
        &mut self,
        program: ProgId,
        input: &Input,
        options: Options,
        observer: Option<&mut dyn Observe>,
    ) -> Result<Outcome, RunError> {
        self.prepare(program, input, options.budget)?;
        let result = self.execute(options.engine, observer)?;
        let State { memory, run, .. } = &self.state;
        let context = memory.host(run.context, input.context.len() as u32).unwrap_or(&[]).to_vec();
        let packet = run.packet.map(|packet| packet.bytes(memory).to_vec());
        Ok(Outcome { result, instructions: run.limit - run.budget, context, packet, run: run.clone() })
    }

    /// Puts an input into memory for the next [`Vm::execute`].
    pub fn prepare(&mut self, program: ProgId, input: &Input, budget: u64) -> Result<(), RunError> {
        let prog_type =
            self.programs.get(program.0 as usize).ok_or(RunError::NoProgram(program.0))?.prog_type;
        self.places.put(&mut self.state, input)?;
        let run = &mut self.state.run;
        (run.program, run.prog_type) = (program, prog_type);
        (run.budget, run.limit) = (budget, budget);
        Ok(())
    }

    /// A program that is to be run again and again; what it runs with at first is in memory already.
    pub fn runner(
        &mut self,
        program: ProgId,
        input: &Input,
        options: Options,
    ) -> Result<Runner<'_>, RunError> {
        self.prepare(program, input, options.budget)?;
        let Vm { programs, jit, state, places } = self;
        Ok(match options.engine {
            Engine::Interpreter => Runner::interpreted(programs, state, places),
            Engine::Jit { blind } => Runner::compiled(jit_for(jit, blind)?.ready(programs, state)?, places),
        })
    }

    /// Runs what was prepared: r0.
    pub fn execute(&mut self, engine: Engine, observer: Option<&mut dyn Observe>) -> Result<u64, Box<Fault>> {
        let run = &self.state.run;
        let entry = Entry { program: run.program, insn: 0, args: run.arguments() };
        self.enter(engine, observer, entry)
    }

    /// Runs a function: r0.
    fn enter(
        &mut self,
        engine: Engine,
        observer: Option<&mut dyn Observe>,
        entry: Entry,
    ) -> Result<u64, Box<Fault>> {
        let result = match (engine, observer) {
            (Engine::Interpreter, None) => {
                interp::run(&self.programs, &mut self.state, &mut Unobserved, entry)
            }
            (Engine::Interpreter, Some(mut observer)) => {
                interp::run(&self.programs, &mut self.state, &mut observer, entry)
            }
            (Engine::Jit { blind }, _) => {
                let Vm { jit, programs, state, .. } = self;
                let jit = match jit {
                    Some((made, jit)) if *made == blind => jit,
                    _ => match jit_for(jit, blind) {
                        Ok(jit) => jit,
                        Err(error) => return Err(no_code(programs, entry, &error)),
                    },
                };
                jit.run(programs, state, entry)
            }
        }?;
        let run = &mut self.state.run;
        match run.held.is_empty() {
            true => Ok(result),
            false => held::at_the_end(&self.programs, run).map_or(Ok(result), Err),
        }
    }

    /// A program's machine code, compiled if it is not yet.
    pub fn code(&mut self, program: ProgId, blind: Option<u64>) -> Result<Rc<Code>, RunError> {
        let source = self.programs.get(program.0 as usize).ok_or(RunError::NoProgram(program.0))?;
        Ok(jit_for(&mut self.jit, blind)?.code(program, source)?)
    }

    /// The text of a program's machine code.
    pub fn disassemble(&mut self, program: ProgId, blind: Option<u64>) -> Result<String, RunError> {
        let source = self.programs.get(program.0 as usize).ok_or(RunError::NoProgram(program.0))?;
        Ok(jit_for(&mut self.jit, blind)?.disassemble(source)?)
    }
}

#[cold]
#[inline(never)]
fn no_code(programs: &[Program], entry: Entry, error: &CompileError) -> Box<Fault> {
    let place = programs[entry.program.0 as usize].place(0);
    Box::new(Fault { kind: FaultKind::NoCode(error.to_string()), place, registers: [None; 11] })
}

/// The compiler for this kind of blinding; another one's code is forgotten.
#[inline(never)]
fn jit_for(jit: &mut Option<(Option<u64>, Jit)>, blind: Option<u64>) -> Result<&mut Jit, CompileError> {
    if jit.as_ref().is_none_or(|(before, _)| *before != blind) {
        *jit = None;
    }
    match jit {
        Some((_, jit)) => Ok(jit),
        None => Ok(&mut jit.insert((blind, Jit::new(blind)?)).1),
    }
}

/// A run that did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The program was stopped.
    #[error(transparent)]
    Fault(#[from] Box<Fault>),
    /// The input does not fit into the machine.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// It cannot be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// There is no such program.
    #[error("the machine has no program {0}")]
    NoProgram(u32),
}

impl RunError {
    /// The fault, if it is one.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            RunError::Fault(fault) => Some(fault),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
