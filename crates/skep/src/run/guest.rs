//! [`Guest`]: an object on the offline machine. Always: a program is run by its number in the object, with an input that
//! fits its kind; its maps are those of the object, by their numbers there.

use super::watch::Watch;
use crate::error::Error;
use skep_bpf::btf::Btf;
use skep_bpf::object::{Attach, Object, Program, RelocKind, SlotContent};
use skep_engine::helpers::env::Env;
use skep_engine::vm::context::Input;
use skep_engine::vm::machine::{Engine, Loaded, Options, Outcome, Vm};
use skep_engine::vm::memory::MapId;
use skep_engine::vm::program::ProgId;
use skep_engine::vm::trace::Observe;

/// Where made-up variables of the kernel lie, and how far apart.
const VARIABLES: u64 = 0xffff_ffff_8000_0000;
const VARIABLE_SIZE: u64 = 0x1_0000;

/// How the machine runs programs.
#[derive(Clone, Debug, Default)]
pub struct GuestOptions {
    /// Compile programs to machine code; otherwise they are interpreted.
    pub jit: bool,
    /// Blind the constants of programs, as the kernel does it against JIT spraying.
    pub blind: bool,
    /// Start of the random numbers.
    pub seed: u64,
    /// Instructions that one run may take; `None`: the machine's own limit.
    pub budget: Option<u64>,
    /// CPUs of the machine; 0: one.
    pub cpus: u32,
}

/// An object on the machine.
pub struct Guest {
    pub(crate) vm: Vm,
    pub(super) object: Object,
    pub(super) loaded: Loaded,
    pub(crate) options: Options,
}

/// What a run came to.
#[derive(Clone, PartialEq, Debug)]
pub struct Ran {
    /// r0.
    pub result: u64,
    /// Instructions, at least.
    pub instructions: u64,
    /// The packet as the program left it.
    pub packet: Option<Vec<u8>>,
}

impl Guest {
    /// Loads `object`, which messages call `name`; `types` are those of the kernel that it is to run as on, for objects that
    /// are made for others too.
    pub fn load(
        name: &str,
        object: Object,
        types: Option<&Btf>,
        options: &GuestOptions,
    ) -> Result<Guest, Error> {
        let refused = |why: String| Error::Object { file: name.to_owned(), why: vec![why] };
        let mut env = Env { seed: options.seed, cpus: options.cpus.max(1), ..Env::default() };
        invent_variables(&object, &mut env);
        let mut vm = Vm::new(env).map_err(|e| refused(e.to_string()))?;
        let loaded = vm.load(&object, types).map_err(|e| refused(e.to_string()))?;
        let usual = Options::default();
        let run = Options { engine: engine(options), budget: options.budget.unwrap_or(usual.budget) };
        let mut guest = Guest { vm, object, loaded, options: run };
        guest.fill_slots().map_err(refused)?;
        Ok(guest)
    }

    /// Puts programs and maps into the arrays that name them.
    fn fill_slots(&mut self) -> Result<(), String> {
        let specs = self.object.maps.iter().enumerate();
        let slots: Vec<_> =
            specs.flat_map(|(map, spec)| spec.details.slots.iter().map(move |s| (map, s.clone()))).collect();
        for (map, slot) in slots {
            let number = match &slot.content {
                SlotContent::Map(inner) => self.map(*inner).map(|id| id.0),
                SlotContent::Program(name) => {
                    // One that was not chosen leaves its entry empty.
                    let program = self.object.programs.iter().position(|p| p.symbol == *name);
                    let Some(index) = program else { continue };
                    self.program(index).map(|id| id.0)
                }
            };
            let Some(number) = number else { return Err(format!("there is no {:?}", slot.content)) };
            let Some(id) = self.map(map) else { continue };
            let (index, number) = (slot.index.to_ne_bytes(), number.to_ne_bytes());
            let state = &mut self.vm.state;
            let set = state.maps.user_update(id, &mut state.memory, &index, &number, 0);
            set.map_err(|why| {
                let name = self.object.maps.get(map).map_or("", |spec| spec.name.as_str());
                format!("map {name}: {:?} cannot be its entry {}: {why}", slot.content, slot.index)
            })?;
        }
        Ok(())
    }

    /// What is loaded.
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// Number of the program that is called so: by its name, its function, or its place in the object.
    pub fn find(&self, name: &str) -> Option<usize> {
        let programs = &self.object.programs;
        let by = |matches: &dyn Fn(&Program) -> bool| programs.iter().position(matches);
        by(&|p| p.name == name)
            .or_else(|| by(&|p| p.symbol == name))
            .or_else(|| name.parse().ok().filter(|index| *index < programs.len()))
    }

    /// Whether it has programs that run without an input: those of `begin` and `end`.
    pub fn runs_alone(&self) -> bool {
        let alone = |at: &Attach| matches!(at, Attach::Begin | Attach::End);
        self.object.programs.iter().any(|p| p.attach.iter().any(|point| alone(&point.at)))
    }

    /// Number of the first program that has no moment of its own, as `begin` and `end` have one; else 0.
    pub fn first(&self) -> usize {
        let own = |at: &Attach| matches!(at, Attach::Begin | Attach::End | Attach::SelfSignal(_));
        let programs = &self.object.programs;
        programs.iter().position(|p| !p.attach.iter().any(|point| own(&point.at))).unwrap_or(0)
    }

    /// The machine code of a program, as text.
    pub fn machine_code(&mut self, index: usize, options: &GuestOptions) -> Result<String, Error> {
        let missing = || Error::Stopped(format!("there is no program {index}"));
        let program = self.program(index).ok_or_else(missing)?;
        self.vm.disassemble(program, blinding(options)).map_err(|e| Error::Stopped(e.to_string()))
    }

    /// The machine's number of a program.
    pub(crate) fn program(&self, index: usize) -> Option<ProgId> {
        self.loaded.programs.get(index).copied()
    }

    /// The machine's number of a map.
    pub(super) fn map(&self, index: usize) -> Option<MapId> {
        self.loaded.maps.get(index).copied()
    }

    /// Runs a program once.
    pub(crate) fn run_once(
        &mut self,
        index: usize,
        input: &Input,
        observer: Option<&mut dyn Observe>,
    ) -> Result<Outcome, String> {
        let program = self.program(index).ok_or_else(|| format!("there is no program {index}"))?;
        self.vm.observed(program, input, self.options, observer).map_err(|e| e.to_string())
    }

    /// Runs a program with these bytes as its context, which it may read and write.
    pub fn run_bytes(&mut self, index: usize, context: &[u8], watch: &mut Watch) -> Result<Ran, Error> {
        let ran = self.run_once(index, &Input::bytes(context), watch.observer()).map_err(Error::Stopped)?;
        Ok(Ran { result: ran.result, instructions: ran.instructions, packet: ran.packet })
    }
}

fn engine(options: &GuestOptions) -> Engine {
    match options.jit {
        true => Engine::Jit { blind: blinding(options) },
        false => Engine::Interpreter,
    }
}

/// What constants are blinded with.
fn blinding(options: &GuestOptions) -> Option<u64> {
    options.blind.then_some(options.seed)
}

/// Gives the variables of the kernel that the object refers to addresses of their own: nothing is there, unless it was
/// recorded.
fn invent_variables(object: &Object, env: &mut Env) {
    let relocs = object.programs.iter().flat_map(|p| &p.relocs);
    let names = relocs.filter_map(|reloc| match &reloc.kind {
        RelocKind::KernelSymbol(name) => Some(name.clone()),
        _ => None,
    });
    let known: std::collections::BTreeSet<String> = names.collect();
    for (name, number) in known.into_iter().zip(0u64..) {
        env.names.variables.insert(name, VARIABLES + number * VARIABLE_SIZE);
    }
}
