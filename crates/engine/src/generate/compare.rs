//! Two machines side by side: made programs enter, the first difference between the interpreter and compiled code leaves.

use super::{Made, Random, maps, program};
use crate::helpers::env::Env;
use crate::vm::context::Input;
use crate::vm::machine::{Engine, Options, Outcome, RunError, Vm};
use crate::vm::memory::MapId;
use crate::vm::program::ProgId;

/// Programs that one pair of machines runs before the next pair begins: what they leave in maps meets the next ones.
const TOGETHER: u64 = 16;

/// Two machines that are to do the same.
struct Side {
    vm: Vm,
    engine: Engine,
    maps: Vec<MapId>,
}

impl Side {
    fn new(engine: Engine) -> Result<Side, String> {
        let said = |error: &dyn std::fmt::Display| error.to_string();
        let mut vm = Vm::new(Env::default()).map_err(|error| said(&error))?;
        let state = &mut vm.state;
        let maps =
            maps().iter().map(|spec| state.maps.create(spec, &mut state.memory, 1)).collect::<Result<_, _>>();
        Ok(Side { vm, engine, maps: maps.map_err(|error| said(&error))? })
    }

    /// Loads a program, and makes it the one that tail calls at `index` lead to.
    fn load(&mut self, made: &Made, index: u64) -> Result<ProgId, String> {
        let id = self.vm.load_raw("made", made.prog_type, &made.insns, &self.maps);
        let id = id.map_err(|error| error.to_string())?;
        let key = (index as u32 % 4).to_le_bytes();
        let state = &mut self.vm.state;
        let programs = self.maps[super::map::PROGRAMS as usize];
        let set = state.maps.user_update(programs, &mut state.memory, &key, &id.0.to_le_bytes(), 0);
        set.map_err(|error| error.to_string())?;
        Ok(id)
    }

    fn run(&mut self, id: ProgId, made: &Made) -> Result<Outcome, RunError> {
        let input = Input::packet(made.prog_type, &made.packet).unwrap_or_else(|| Input::bytes(&made.packet));
        self.vm.run(id, &input, Options { engine: self.engine, budget: made.budget })
    }

    /// All that maps hold.
    fn contents(&self) -> Vec<Option<Vec<u8>>> {
        let state = &self.vm.state;
        let read = |map: MapId, key: u32| state.maps.get(map)?.read(&state.memory, &key.to_le_bytes()).ok();
        (0..8).flat_map(|key| [read(self.maps[0], key), read(self.maps[1], key)]).collect()
    }
}

/// Runs `count` programs of the stream of `seed` in both engines. How many came to their end, and how many faulted; an error is a
/// difference, with the program.
pub fn engines(seed: u64, count: u64, blind: Option<u64>) -> Result<(u64, u64), String> {
    let mut random = Random::new(seed);
    let (mut ended, mut faulted) = (0, 0);
    for first in (0..count).step_by(TOGETHER as usize) {
        let mut one = Side::new(Engine::Interpreter)?;
        let mut other = Side::new(Engine::Jit { blind })?;
        for index in first..count.min(first + TOGETHER) {
            let made = program(&mut random);
            let shown = || skep_bpf::disasm::listing(&made.insns, &|_| None);
            let loaded = one.load(&made, index);
            if loaded != other.load(&made, index) {
                return Err(format!("program {index} of seed {seed}: one is loaded\n{}", shown()));
            }
            let id =
                loaded.map_err(|error| format!("program {index} of seed {seed}: {error}\n{}", shown()))?;
            let results = [one.run(id, &made), other.run(id, &made)];
            if results[0].is_ok() {
                ended += 1
            } else {
                faulted += 1
            }
            let [interpreted, compiled] = results.map(|result| format!("{result:?}"));
            if interpreted != compiled {
                let text = shown();
                return Err(format!(
                    "program {index} of seed {seed}\n{text}\ninterpreter: {interpreted}\ncompiled:    {compiled}"
                ));
            }
            let (kept, other_kept) = (one.contents(), other.contents());
            if kept != other_kept {
                let text = shown();
                return Err(format!(
                    "program {index} of seed {seed}: maps\n{text}\n{kept:?}\n{other_kept:?}"
                ));
            }
        }
    }
    Ok((ended, faulted))
}
