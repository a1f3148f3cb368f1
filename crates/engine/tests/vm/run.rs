//! A case enters, what was not as expected leaves, for each engine.

use crate::case::{Case, Expected, Value};
use skep_bpf::asm;
use skep_bpf::kinds::ProgType;
use skep_engine::helpers::env::Env;
use skep_engine::vm::context::{Input, field};
use skep_engine::vm::machine::{Engine, Options, Outcome, Vm};
use skep_engine::vm::memory::MapId;
use skep_engine::vm::program::ProgId;

/// Every way to run a program.
const ENGINES: &[Engine] =
    &[Engine::Interpreter, Engine::Jit { blind: None }, Engine::Jit { blind: Some(1) }];

/// Runs a case in every engine.
pub(crate) fn check(case: &Case) -> Vec<String> {
    let failed = ENGINES.iter().flat_map(|engine| {
        let wrong = with(case, *engine).unwrap_or_else(|what| vec![what]);
        wrong.into_iter().map(move |what| format!("{engine:?}: {what}"))
    });
    failed.collect()
}

struct Machine {
    vm: Vm,
    maps: Vec<MapId>,
    programs: Vec<ProgId>,
}

impl Machine {
    fn map(&self, case: &Case, name: &str) -> Result<MapId, String> {
        let at = case.maps.iter().position(|map| map.name == name);
        at.map(|at| self.maps[at]).ok_or(format!("there is no map `{name}`"))
    }
}

/// The machine of a case, or the message that refuses one of its programs.
fn load(case: &Case) -> Result<Result<Machine, String>, String> {
    let mut vm = Vm::new(Env::default()).map_err(|e| e.to_string())?;
    let mut machine =
        Machine { maps: Vec::new(), programs: Vec::new(), vm: Vm::new(Env::default()).unwrap() };
    for spec in &case.maps {
        let state = &mut vm.state;
        machine.maps.push(state.maps.create(spec, &mut state.memory, 1).map_err(|e| e.to_string())?);
    }
    let symbols = |name: &str| case.maps.iter().position(|map| map.name == name).map(|at| at as i32);
    for (name, text) in &case.programs {
        let insns = asm::parse_with(text, &symbols).map_err(|e| e.to_string())?;
        let prog_type = case.prog_type.unwrap_or(ProgType::Syscall);
        match vm.load_raw(name, prog_type, &insns, &machine.maps) {
            Ok(program) => machine.programs.push(program),
            Err(error) => return Ok(Err(error.to_string())),
        }
    }
    machine.vm = vm;
    fill(case, &mut machine)?;
    Ok(Ok(machine))
}

fn fill(case: &Case, machine: &mut Machine) -> Result<(), String> {
    for (map, key, value) in &case.entries {
        let id = machine.map(case, map)?;
        let value = match value {
            Value::Bytes(bytes) => bytes.clone(),
            Value::Program(name) => {
                let at = case.programs.iter().position(|(known, _)| known == name);
                let at = at.ok_or(format!("there is no program `{name}`"))?;
                machine.programs[at].0.to_ne_bytes().to_vec()
            }
        };
        let state = &mut machine.vm.state;
        state.maps.user_update(id, &mut state.memory, key, &value, 0).map_err(|e| format!("{map}: {e}"))?;
    }
    Ok(())
}

fn input(case: &Case) -> Result<Input, String> {
    let kind = case.prog_type;
    let mut input = match (&case.packet, &case.args) {
        (Some(packet), _) => kind.and_then(|kind| Input::packet(kind, packet)).ok_or("no packets here")?,
        (None, Some(args)) => Input::args(args),
        (None, None) => kind
            .and_then(Input::fields)
            .unwrap_or_else(|| Input { second: case.memory.len() as u64, ..Input::bytes(&case.memory) }),
    };
    for (name, value) in &case.fields {
        input.set(name, *value).map_err(|e| e.to_string())?;
    }
    Ok(input)
}

fn with(case: &Case, engine: Engine) -> Result<Vec<String>, String> {
    let mut machine = match load(case)? {
        Ok(machine) => machine,
        Err(message) => {
            let found =
                case.expected.iter().any(|e| matches!(e, Expected::Refused(part) if message.contains(part)));
            return Ok(if found { vec![] } else { vec![message] });
        }
    };
    let input = input(case)?;
    let options = Options { engine, budget: case.budget.unwrap_or(1_000_000) };
    let program = *machine.programs.first().ok_or("no `code`")?;
    let result = machine.vm.run(program, &input, options);
    let mut wrong = Vec::new();
    let faults = case.expected.iter().any(|e| matches!(e, Expected::Fault(_)));
    match &result {
        Err(error) if !faults => wrong.push(error.to_string()),
        _ if case.expected.is_empty() => wrong.push("nothing is expected".to_owned()),
        _ => {}
    }
    for expected in &case.expected {
        let unmet = match (expected, &result) {
            (Expected::Fault(part), Err(error)) => (!error.to_string().contains(part.as_str()))
                .then(|| format!("expected `{part}`, found {error}")),
            (Expected::Fault(part), Ok(outcome)) => {
                Some(format!("expected `{part}`, found r0 = {:#x}", outcome.result))
            }
            (Expected::Refused(part), _) => Some(format!("expected that it is refused: {part}")),
            (Expected::Entry(map, key, value), _) => entry(case, &machine, map, key, value.as_deref())?,
            (_, Err(_)) => None,
            (expected, Ok(outcome)) => unmet(expected, outcome, &input),
        };
        wrong.extend(unmet);
    }
    Ok(wrong)
}

fn entry(
    case: &Case,
    machine: &Machine,
    map: &str,
    key: &[u8],
    value: Option<&[u8]>,
) -> Result<Option<String>, String> {
    let id = machine.map(case, map)?;
    let state = &machine.vm.state;
    let found = state.maps.user_lookup(id, &state.memory, key).ok();
    Ok((found.as_deref() != value).then(|| format!("{map}[{key:02x?}] is {found:02x?}, not {value:02x?}")))
}

fn unmet(expected: &Expected, outcome: &Outcome, input: &Input) -> Option<String> {
    let differ = |what: &str, found: &[u8], expected: &[u8]| {
        (found != expected).then(|| format!("{what} is {found:02x?}, not {expected:02x?}"))
    };
    match expected {
        Expected::Result(value) => {
            (outcome.result != *value).then(|| format!("r0 is {:#x}, not {value:#x}", outcome.result))
        }
        Expected::Memory(bytes) => differ("memory", &outcome.context, bytes),
        Expected::Packet(bytes) => differ("packet", outcome.packet.as_deref().unwrap_or(&[]), bytes),
        Expected::Field(name, value) => {
            let found = input.layout.and_then(|layout| field(layout, &outcome.context, name));
            (found != Some(*value)).then(|| format!("{name} is {found:?}, not {value}"))
        }
        Expected::Fault(_) | Expected::Refused(_) | Expected::Entry(..) => None,
    }
}
