//! Timers: when the machine's clock comes to their time, their functions run.

use super::{Options, RunError, Vm};
use crate::helpers::env::timers::Due;
use crate::vm::VmError;
use crate::vm::interp::Entry;
use crate::vm::memory::{Access, Addr, MapId, ObjectKind};
use crate::vm::state::Run;

impl Vm {
    /// Lets the clock run to `until` (nanoseconds of the monotonic clock). Timers that are due on the way fire in the order of their
    /// times, each with the clock at its time; one that starts itself again may fire again. All of them share the budget. How many fired.
    pub fn advance(&mut self, until: u64, options: Options) -> Result<u64, RunError> {
        let (mut fired, mut budget) = (0, options.budget);
        while let Some(due) = self.state.env.timers.next_due(until) {
            self.state.env.now = self.state.env.now.max(due.time);
            self.state.env.timers.running = Some(due.at);
            let result = self.fire(&due, Options { budget, ..options });
            self.state.env.timers.running = None;
            result?;
            budget = self.state.run.budget;
            fired += 1;
        }
        self.state.env.now = self.state.env.now.max(until);
        Ok(fired)
    }

    /// Calls the function of one timer with the map, the key and the value that it is in.
    fn fire(&mut self, due: &Due, options: Options) -> Result<(), RunError> {
        let program = self.programs.get(due.program.0 as usize).ok_or(RunError::NoProgram(due.program.0))?;
        let prog_type = program.prog_type;
        let Some(insn) = crate::vm::memory::code_index(due.function).filter(|at| program.is_function(*at))
        else {
            return Ok(());
        };
        let value = self.state.memory.find(due.at.get()).map(|object| object.base);
        let handle = self.state.maps.handle(due.map);
        let (Some(value), Some(handle)) = (value, handle) else { return Ok(()) };
        let Some(key) = self.key_of(due.map, value) else { return Ok(()) };
        let size = key.len() as u32;
        let kind = ObjectKind::MapKey(due.map);
        let key_at = self.state.memory.alloc(kind, size, Access::Read).map_err(VmError::from)?;
        if let Some(place) = self.state.memory.host_mut(key_at, size) {
            place.copy_from_slice(&key);
        }
        let run = Run::new(self.state.run.stack, self.state.run.context);
        self.state.run =
            Run { program: due.program, prog_type, budget: options.budget, limit: options.budget, ..run };
        let args = [handle.get(), key_at.get(), value.get(), 0, 0];
        let result = self.enter(options.engine, None, Entry { program: due.program, insn, args });
        self.state.memory.free(key_at);
        result.map(|_| ()).map_err(RunError::from)
    }

    /// The key of the value at an address.
    fn key_of(&self, map: MapId, value: Addr) -> Option<Vec<u8>> {
        let map = self.state.maps.get(map)?;
        let mut key = map.next_key(None).ok()??;
        while map.find(0, &key) != Some(value) {
            key = map.next_key(Some(&key)).ok()??;
        }
        Some(key)
    }
}
