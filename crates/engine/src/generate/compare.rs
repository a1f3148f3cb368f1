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

/// Whether both came to the same end.
fn same([one, other]: &[Result<Outcome, RunError>; 2]) -> bool {
    match (one, other) {
        (Ok(one), Ok(other)) => one == other,
        (Err(RunError::Fault(one)), Err(RunError::Fault(other))) => one.agrees(other),
        (Err(one), Err(other)) => one.to_string() == other.to_string(),
        _ => false,
    }
}

/// Loads a program into both machines and runs it there. `None` where both refuse it, else whether it came to its end; an error is a
/// difference.
fn both(one: &mut Side, other: &mut Side, made: &Made, index: u64) -> Result<Option<bool>, String> {
    let differs = |what: &str, [interpreted, compiled]: [String; 2]| {
        let text = skep_bpf::disasm::listing(&made.insns, &|_| None);
        format!("{what}\n{text}\ninterpreter: {interpreted}\ncompiled:    {compiled}")
    };
    let loaded = [one.load(made, index), other.load(made, index)];
    let id = match &loaded {
        [Ok(id), Ok(same)] if id == same => *id,
        [Err(why), Err(same)] if why == same => return Ok(None),
        _ => return Err(differs("loading", loaded.map(|loaded| format!("{loaded:?}")))),
    };
    let results = [one.run(id, made), other.run(id, made)];
    if !same(&results) {
        return Err(differs("running", results.map(|result| format!("{result:?}"))));
    }
    let contents = [one.contents(), other.contents()];
    if contents[0] != contents[1] {
        return Err(differs("maps", contents.map(|contents| format!("{contents:?}"))));
    }
    Ok(Some(results[0].is_ok()))
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
            let said = |what: String| format!("program {index} of seed {seed}: {what}");
            match both(&mut one, &mut other, &made, index).map_err(said)? {
                Some(true) => ended += 1,
                Some(false) => faulted += 1,
                None => return Err(said("it was refused".to_owned())),
            }
        }
    }
    Ok((ended, faulted))
}

/// Runs a program that may be anything in both engines, without and with blinded constants, once with each packet.
pub fn anything(made: &Made, packets: &[&[u8]]) -> Result<(), String> {
    for blind in [None, Some(made.budget)] {
        let mut one = Side::new(Engine::Interpreter)?;
        let mut other = Side::new(Engine::Jit { blind })?;
        for packet in packets {
            let made = Made { packet: packet.to_vec(), ..made.clone() };
            if both(&mut one, &mut other, &made, 0)?.is_none() {
                return Ok(());
            }
        }
    }
    Ok(())
}
