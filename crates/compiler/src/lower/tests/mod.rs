//! Lowering against the meaning of the IR: random modules give the same results, whatever the target.

mod large;
mod oracle;
mod random;
mod vm;

use skep_bpf::kinds::{AttachType, ProgType};
use skep_bpf::object::{Counter, Object};

use crate::compile::{CompileOptions, Cpu, Features, compile};
use crate::ir::{FuncId, FuncKind, Module, ProgramDecl};
use oracle::Oracle;
use random::{Rng, Shape};
use vm::{Memory, Vm};

pub(crate) fn features(cpu: Cpu) -> Features {
    Features { cpu, fetch_atomics: true, may_goto: cpu >= Cpu::V4, ..Features::default() }
}

pub(crate) fn main_program(module: &mut Module) {
    module.programs.push(ProgramDecl {
        main: FuncId(0),
        name: "test".into(),
        symbol: "test".into(),
        prog_type: ProgType::RawTracepoint,
        attach_type: AttachType::None,
        attach_btf: None,
        attach: Vec::new(),
        sleepable: false,
    });
}

fn module(seed: u64, shape: Shape) -> Module {
    let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut module = Module::default();
    module.funcs.push(random::function(&mut rng, "main", FuncKind::Main, 2, shape));
    for i in 1..=shape.subs {
        let slot_size = shape.slot_size.min(20);
        let inner = Shape { subs: 0, statements: 12, slots: shape.slots.min(2), slot_size, ..shape };
        module.funcs.push(random::function(&mut rng, "sub", FuncKind::Sub, i as usize % 6, inner));
    }
    main_program(&mut module);
    module
}

const CTX: u64 = 0x5000_0000;

fn context(memory: &mut Memory) {
    memory.write(CTX, 8, 12345);
    memory.write(CTX + 8, 8, 0xfedc_ba98_7654_3210);
}

fn text(object: &Object) -> String {
    object.programs.iter().map(|p| skep_bpf::disasm::program(p, object)).collect()
}

/// Checks both without and with the passes; whether the scratch area was used.
fn check(seed: u64, shape: Shape, features: &Features) -> bool {
    let mut used = false;
    for passes in [false, true] {
        match try_check(seed, shape, features, passes) {
            Ok(scratch) => used |= scratch,
            Err(e) => panic!("{e}"),
        }
    }
    used
}

fn try_check(seed: u64, shape: Shape, features: &Features, passes: bool) -> Result<bool, String> {
    let module = module(seed, shape);
    let mut oracle = Oracle::new(&module);
    context(&mut oracle.memory);
    let want = oracle.run(FuncId(0), &[CTX as i64]);
    let mut options = CompileOptions { features: features.clone(), passes, ..CompileOptions::default() };
    let object = match compile(module.clone(), &mut options) {
        Ok(object) => object,
        Err(e) => return Err(format!("seed {seed}: {e}\n{module}")),
    };
    if compile(module.clone(), &mut options).as_ref() != Ok(&object) {
        return Err(format!("seed {seed}: compiled twice, it differs"));
    }
    let want = match want {
        Ok(v) => v as u64,
        Err(_) => return Ok(false),
    };
    // With entries of the scratch area taken by others, and with none left.
    let scratch = object.maps.iter().position(|m| m.name == "scratch");
    for taken in 0..if scratch.is_some() { 5 } else { 1 } {
        let mut vm = Vm::new(&object, &object.programs[0]);
        context(&mut vm.memory);
        if let Some(map) = scratch {
            for key in 0..4u32 {
                let at = vm.memory.value(map as u64, key, object.maps[map].value_size);
                vm.memory.write(at, 8, u64::from(key < taken));
            }
        }
        let got = vm.run(CTX);
        let fail = |what: String| {
            let (cpu, code) = (features.cpu, format!("{module}{}", text(&object)));
            Err(format!("seed {seed} cpu {cpu:?} taken {taken}: {what}\n{code}"))
        };
        let subs = module.funcs.len() > 1;
        if let Some(map) = scratch {
            for key in 0..4u32 {
                let at = vm.memory.value(map as u64, key, object.maps[map].value_size);
                if vm.memory.read(at, 8) != Ok(u64::from(key < taken)) {
                    return fail(format!("entry {key} is not as it was"));
                }
            }
            let counter = object.session.counter_map.ok_or("no counter map")?;
            let index = object.session.counters.iter().position(|c| *c == Counter::ScratchBusy);
            let at = vm.memory.value(counter as u64, index.ok_or("no counter")? as u32, 8);
            let lost = vm.memory.read(at, 8)?;
            if lost > 0 {
                if taken < 3 {
                    return fail(format!("{lost} losses with entries left"));
                }
                continue;
            }
        }
        if taken > 2 && subs {
            continue;
        }
        if got != Ok(want) {
            return fail(format!("want {want:#x}, got {got:x?}"));
        }
    }
    Ok(scratch.is_some())
}

#[test]
fn straight_line_pressure() {
    for seed in 1..150 {
        let shape = Shape { statements: 6, slots: 1, slot_size: 1, subs: 0, atomics: true, real: false };
        check(seed, shape, &features(Cpu::V4));
        check(seed, shape, &features(Cpu::V3));
        check(seed, shape, &features(Cpu::V2));
    }
}

#[test]
fn random_functions() {
    for seed in 1..500 {
        let shape = Shape {
            statements: 10 + seed % 60,
            slots: 3,
            slot_size: 3,
            subs: (seed % 4) as u32,
            atomics: true,
            real: false,
        };
        check(seed, shape, &features(if seed % 2 == 0 { Cpu::V4 } else { Cpu::V3 }));
    }
}

/// Slots that do not fit: claims, releases, losses, with and without atomic exchange.
#[test]
fn scratch() {
    let mut used = 0;
    for seed in 1..200u64 {
        let (slots, slot_size) = [(6, 20), (3, 200), (40, 2), (20, 30)][seed as usize % 4];
        let subs = if seed % 3 == 0 { 2 } else { 0 };
        let shape =
            Shape { statements: 5 + seed % 40, slots, slot_size, subs, atomics: seed % 2 == 0, real: false };
        let fetch_atomics = seed % 2 == 0;
        let cpu = if fetch_atomics { Cpu::V4 } else { Cpu::V3 };
        let features = Features { fetch_atomics, ..features(cpu) };
        used += u32::from(check(seed, shape, &features));
    }
    assert!(used > 100, "only {used} functions used the scratch area");
}

#[test]
#[ignore = "looks for the smallest function that fails, when another test does"]
fn smallest_failure() {
    let mut best: Option<String> = None;
    for n in 3..40 {
        for seed in 1..2000 {
            let shape = Shape { statements: n, slots: 1, slot_size: 1, subs: 0, atomics: true, real: false };
            if let Err(e) = try_check(seed, shape, &features(Cpu::V4), false)
                && best.as_ref().is_none_or(|b| b.lines().count() > e.lines().count())
            {
                best = Some(e);
            }
        }
        if let Some(e) = &best {
            panic!("{e}");
        }
    }
}
