//! One program, many runs: inputs enter one after the other, r0 of each run leaves. Between the runs nothing is allocated and
//! nothing is looked up.

use super::places::Places;
use crate::jit::Ready;
use crate::vm::VmError;
use crate::vm::context::Input;
use crate::vm::fault::Fault;
use crate::vm::held;
use crate::vm::interp::{self, Entry};
use crate::vm::program::{ProgId, Program};
use crate::vm::state::State;
use crate::vm::trace::Unobserved;

/// A program that is run again and again: see [`super::Vm::runner`].
pub struct Runner<'vm> {
    by: By<'vm>,
    places: &'vm mut Places,
    /// What begins each run.
    program: ProgId,
    limit: u64,
    args: [u64; 5],
}

/// What runs it.
enum By<'vm> {
    Interpreter(&'vm [Program], &'vm mut State),
    Code(Ready<'vm>),
}

impl By<'_> {
    #[inline]
    fn state(&mut self) -> &mut State {
        match self {
            By::Interpreter(_, state) => state,
            By::Code(ready) => ready.state(),
        }
    }

    /// The fault of a program that has ended and holds something.
    #[cold]
    fn kept(&mut self) -> Option<Box<Fault>> {
        match self {
            By::Interpreter(programs, state) => held::at_the_end(programs, &mut state.run),
            By::Code(ready) => ready.kept(),
        }
    }
}

impl<'vm> Runner<'vm> {
    pub(super) fn interpreted(
        programs: &'vm [Program],
        state: &'vm mut State,
        places: &'vm mut Places,
    ) -> Runner<'vm> {
        Runner::new(By::Interpreter(programs, state), places)
    }

    pub(super) fn compiled(ready: Ready<'vm>, places: &'vm mut Places) -> Runner<'vm> {
        Runner::new(By::Code(ready), places)
    }

    fn new(mut by: By<'vm>, places: &'vm mut Places) -> Runner<'vm> {
        let run = &by.state().run;
        let (program, limit, args) = (run.program, run.limit, run.arguments());
        Runner { by, places, program, limit, args }
    }

    /// Runs the program with what is in memory: the input that was put there last, as runs since have left it. r0.
    #[inline]
    pub fn run(&mut self) -> Result<u64, Box<Fault>> {
        let run = &mut self.by.state().run;
        (run.program, run.budget, run.tail_calls) = (self.program, self.limit, 0);
        run.held.clear();
        let args = self.args;
        let result = match &mut self.by {
            By::Code(ready) => ready.run(args),
            By::Interpreter(programs, state) => {
                let entry = Entry { program: self.program, insn: 0, args };
                interp::run(programs, state, &mut Unobserved, entry)
            }
        }?;
        match self.by.state().run.held.is_empty() {
            true => Ok(result),
            false => self.by.kept().map_or(Ok(result), Err),
        }
    }

    /// Puts another input into memory for the next run.
    pub fn put(&mut self, input: &Input) -> Result<(), VmError> {
        let state = self.by.state();
        let prog_type = state.run.prog_type;
        self.places.put(state, input)?;
        let run = &mut state.run;
        (run.program, run.prog_type, run.limit) = (self.program, prog_type, self.limit);
        self.args = run.arguments();
        Ok(())
    }

    /// What the program sees and changes.
    pub fn state(&mut self) -> &mut State {
        self.by.state()
    }
}
