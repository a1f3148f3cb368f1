//! The offline machine against the kernel: programs that the verifier takes run in both (`BPF_PROG_TEST_RUN`) on the same packets,
//! and must return the same, leave the same packet and the same value in their map. `SKEP_PROGRAMS=N` and `SKEP_SEED=N` choose how many
//! and which.

use std::sync::Arc;

use skep_bpf::disasm;
use skep_bpf::insn::{Insn, pseudo};
use skep_bpf::kinds::{AttachType, ProgType};
use skep_bpf::object::{Object, Program, Reloc, RelocKind};
use skep_engine::generate::{Random, careful};
use skep_engine::helpers::env::Env;
use skep_engine::vm::context::Input;
use skep_engine::vm::machine::{Engine, Options, Vm};
use skep_kernel::load::{LoadOptions, Loaded};
use skep_kernel::{LiveTarget, machine};

const INPUTS: usize = 8;

fn object(prog_type: ProgType, insns: Vec<Insn>) -> Object {
    let values =
        insns.iter().enumerate().filter(|(_, insn)| insn.is_ld_imm64() && insn.src == pseudo::MAP_VALUE);
    let relocs = values.map(|(at, _)| Reloc { insn: at as u32, kind: RelocKind::MapValue(0) }).collect();
    let program = Program {
        name: "made".to_owned(),
        symbol: "made".to_owned(),
        prog_type,
        attach_type: AttachType::None,
        attach_btf: None,
        attach: Vec::new(),
        sleepable: false,
        insns,
        relocs,
        funcs: Vec::new(),
        lines: Vec::new(),
    };
    Object {
        license: "GPL".to_owned(),
        programs: vec![program],
        maps: vec![careful::map()],
        ..Object::default()
    }
}

/// Packets: most as long as programs ask, some too short.
fn packet(random: &mut Random) -> Vec<u8> {
    let length = random.pick(&[64, 64, 64, 65, 100, 1000, 63, 14]);
    let mut packet: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
    // The kernel refuses to run programs on what calls itself IP and is too short for it.
    packet[12] = if length < 63 { 0x88 } else { packet[12] };
    packet
}

/// Runs one program in both. `false` when the verifier does not take it; an error is a difference.
fn compare(random: &mut Random, target: &Arc<LiveTarget>) -> Result<bool, String> {
    let (prog_type, insns) = careful::program(random);
    let object = object(prog_type, insns);
    let Ok(kernel) = Loaded::load(&object, target.clone(), &LoadOptions::default()) else { return Ok(false) };
    for engine in ENGINES {
        let mut vm = Vm::new(Env::default()).map_err(|e| e.to_string())?;
        let loaded = vm.load(&object, None).map_err(|e| e.to_string())?;
        kernel.maps()[0].update(&[0; 4], &[0; careful::VALUE as usize]).map_err(|e| e.to_string())?;
        for packet in (0..INPUTS).map(|_| packet(random)) {
            let there = kernel.run_packet(0, &packet).map_err(|e| e.to_string())?;
            let input = Input::packet(prog_type, &packet).ok_or("no packets")?;
            let options = Options { engine: *engine, ..Options::default() };
            let here = vm.run(loaded.programs[0], &input, options).map_err(|e| e.to_string())?;
            let kept = kernel.maps()[0].lookup(&[0; 4]).map_err(|e| e.to_string())?;
            let kept = kept.get(0).map(|entry| entry.value().to_vec()).unwrap_or_default();
            let value =
                vm.state.maps.user_lookup(loaded.maps[0], &vm.state.memory, &[0; 4]).unwrap_or_default();
            let here = (here.result as u32, here.packet.unwrap_or_default());
            if here != there || value != kept {
                return Err(format!(
                    "{engine:?}, packet {packet:02x?}\nmachine: {here:02x?}\n{value:02x?}\nkernel:  {there:02x?}\n{kept:02x?}"
                ));
            }
        }
    }
    Ok(true)
}

/// Every way to run a program.
const ENGINES: &[Engine] =
    &[Engine::Interpreter, Engine::Jit { blind: None }, Engine::Jit { blind: Some(1) }];

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn the_machine_does_what_the_kernel_does() {
    if !machine::is_root() {
        eprintln!("skipped: not root, so no programs can be loaded");
        return;
    }
    let (count, seed) = (setting("SKEP_PROGRAMS", 150), setting("SKEP_SEED", 1));
    let target = Arc::new(LiveTarget::new());
    let mut taken = 0;
    for index in 0..count {
        let mut random = Random::new(seed ^ index << 20);
        match compare(&mut random.clone(), &target) {
            Ok(accepted) => taken += u64::from(accepted),
            Err(what) => {
                let (_, insns) = careful::program(&mut random);
                panic!("program {index} of seed {seed}: {what}\n{}", disasm::listing(&insns, &|_| None));
            }
        }
    }
    eprintln!("{taken} of {count} programs were compared on {INPUTS} packets each");
    assert!(taken * 10 >= count * 9, "the kernel took only {taken} of {count} programs");
}
