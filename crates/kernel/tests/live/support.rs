//! Small objects for the tests, and what the tests do to see them run.

use skep_bpf::backend::{Backend, MapAccess};
use skep_bpf::helpers::id;
use skep_bpf::insn::{Insn, Reg, alu, atomic, jmp, pseudo, size};
use skep_bpf::kinds::{AttachType, MapType, ProgType};
use skep_bpf::object::{
    Attach, AttachPoint, MapDetails, MapSpec, Object, Program, Reloc, RelocKind, SessionSpec,
};
use skep_kernel::{LiveTarget, LoadOptions, Loaded, machine};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// Whether the test can run; says so by name when not.
pub(crate) fn root(test: &str) -> bool {
    let root = machine::missing_capabilities().is_empty();
    if !root {
        eprintln!("skipped {test}: no root");
    }
    root
}

pub(crate) fn map(name: &str, map_type: MapType, key: u32, value: u32, entries: u32) -> MapSpec {
    MapSpec {
        name: name.into(),
        map_type,
        key_size: key,
        value_size: value,
        max_entries: entries,
        flags: 0,
        initial: Vec::new(),
        frozen: false,
        schema: None,
        details: MapDetails::default(),
    }
}

pub(crate) fn program(prog_type: ProgType, insns: Vec<Insn>, relocs: Vec<Reloc>, at: Attach) -> Program {
    Program {
        name: format!("test:{at:?}"),
        symbol: "skep_test".into(),
        prog_type,
        attach_type: AttachType::None,
        attach_btf: None,
        attach: vec![AttachPoint { at, cookie: 0, name: "test".into(), probes: None }],
        sleepable: false,
        insns,
        relocs,
        funcs: Vec::new(),
        lines: Vec::new(),
    }
}

pub(crate) fn object(maps: Vec<MapSpec>, programs: Vec<Program>) -> Object {
    Object { license: "GPL".into(), programs, maps, ..Object::default() }
}

pub(crate) fn load(object: &Object) -> Loaded {
    Loaded::load(object, Arc::new(LiveTarget::new()), &LoadOptions::default()).unwrap()
}

/// Adds one to entry 0 of map 0 (a per-CPU array of u64).
pub(crate) fn count() -> (Vec<Insn>, Vec<Reloc>) {
    let load = Insn::ld_imm64(Reg::R1, pseudo::MAP_FD, 0);
    let insns = vec![
        Insn::store_imm(size::W, Reg::FP, -4, 0),
        load[0],
        load[1],
        Insn::mov_reg(Reg::R2, Reg::FP),
        Insn::alu64_imm(alu::ADD, Reg::R2, -4),
        Insn::call_helper(id::MAP_LOOKUP_ELEM),
        Insn::jmp_imm(jmp::JEQ, Reg::R0, 0, 2),
        Insn::mov_imm(Reg::R1, 1),
        Insn::atomic(size::DW, atomic::ADD, Reg::R0, 0, Reg::R1),
        Insn::mov_imm(Reg::R0, 0),
        Insn::exit(),
    ];
    (insns, vec![Reloc { insn: 1, kind: RelocKind::Map(0) }])
}

pub(crate) fn counter_object(prog_type: ProgType, at: Attach) -> Object {
    let (insns, relocs) = count();
    object(vec![map("@n", MapType::PercpuArray, 4, 8, 1)], vec![program(prog_type, insns, relocs, at)])
}

pub(crate) fn total(loaded: &mut Loaded, map: usize) -> u64 {
    let entries = loaded.map_entries(map).unwrap();
    entries
        .iter()
        .flat_map(|e| e.per_cpu().collect::<Vec<_>>())
        .map(|v| u64::from_ne_bytes(v.try_into().unwrap()))
        .sum()
}

pub(crate) fn work(rounds: u32) {
    for _ in 0..rounds {
        std::fs::metadata("/proc/self/stat").unwrap();
    }
}

/// Sends the counter in r6's place: a u64 to the ring buffer (map 0), once for each call.
pub(crate) fn send(value: i32) -> (Vec<Insn>, Vec<Reloc>) {
    let ring = Insn::ld_imm64(Reg::R1, pseudo::MAP_FD, 0);
    let insns = vec![
        Insn::store_imm(size::DW, Reg::FP, -8, value),
        ring[0],
        ring[1],
        Insn::mov_reg(Reg::R2, Reg::FP),
        Insn::alu64_imm(alu::ADD, Reg::R2, -8),
        Insn::mov_imm(Reg::R3, 8),
        Insn::mov_imm(Reg::R4, 0),
        Insn::call_helper(id::RINGBUF_OUTPUT),
        Insn::mov_imm(Reg::R0, 0),
        Insn::exit(),
    ];
    (insns, vec![Reloc { insn: 1, kind: RelocKind::Map(0) }])
}

pub(crate) fn ring_object() -> Object {
    let ring = map("events", MapType::Ringbuf, 0, 0, 4096);
    let (first, first_relocs) = send(11);
    let (last, last_relocs) = send(22);
    let mut object = object(
        vec![ring],
        vec![
            program(ProgType::RawTracepoint, first, first_relocs, Attach::Begin),
            program(ProgType::RawTracepoint, last, last_relocs, Attach::End),
        ],
    );
    object.session = SessionSpec { events: Some(0), ..SessionSpec::default() };
    object
}

pub(crate) fn drain(loaded: &mut Loaded) -> Vec<u64> {
    let mut seen = Vec::new();
    let mut sink = |bytes: &[u8]| {
        seen.push(u64::from_ne_bytes(bytes.try_into().unwrap()));
        ControlFlow::Continue(())
    };
    loaded.poll_events(Some(Duration::ZERO), &mut sink).unwrap();
    seen
}
