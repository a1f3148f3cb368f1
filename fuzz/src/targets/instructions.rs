//! Nearly valid instructions: real programs (our compiler's, clang's, made ones) enter with some instructions damaged. Both engines
//! must refuse them with the same words, or run them to the same end.
//!
//! An input is a byte that says the kind of program, a byte that says the packets, then instructions of eight bytes.

use super::{Target, bytes};
use crate::mutate;
use crate::rng::Rng;
use skep_bpf::elf;
use skep_bpf::insn::{Insn, atomic, class, mode, pseudo, size};
use skep_bpf::kinds::ProgType;
use skep_bpf::object::{Program, RelocKind};
use skep_engine::generate::{self, Made, Random};

/// Most instructions of an input.
const MOST: usize = 512;
/// Maps that programs are given.
const MAPS: usize = 3;
/// Instructions that one run may take.
const BUDGET: u64 = 3000;

const KINDS: [ProgType; 6] = [
    ProgType::Xdp,
    ProgType::SchedCls,
    ProgType::SocketFilter,
    ProgType::Kprobe,
    ProgType::RawTracepoint,
    ProgType::Tracing,
];

/// Packets, by the second byte's bits.
const PACKETS: [&[u8]; 3] = [&[0x45; 64], &[8; 34], &[]];

/// The target.
pub(super) struct Instructions {
    seeds: Vec<Vec<u8>>,
}

impl Instructions {
    pub(super) fn new() -> Instructions {
        let compiled = bytes::objects().into_iter().flat_map(|(object, _)| object.programs);
        let foreign = bytes::CLANG.iter().filter_map(|file| elf::Module::parse(file).ok());
        let foreign = foreign.filter_map(|module| module.object(&elf::Selection::Default).ok());
        let real = compiled.chain(foreign.flat_map(|object| object.programs)).map(|program| seed(&program));
        let mut random = Random::new(1);
        let made = (0..200).map(|_| {
            let made = generate::program(&mut random);
            let kind = KINDS.iter().position(|kind| *kind == made.prog_type).unwrap_or(0);
            encode(kind as u8, &made.insns)
        });
        Instructions { seeds: real.filter(|seed| seed.len() <= 2 + MOST * 8).chain(made).collect() }
    }
}

/// A program as an input: what it takes from a map, it takes from one of those that there are.
fn seed(program: &Program) -> Vec<u8> {
    let mut insns = program.insns.clone();
    for reloc in &program.relocs {
        if let (RelocKind::Map(map), Some(insn)) = (&reloc.kind, insns.get_mut(reloc.insn as usize)) {
            (insn.src, insn.imm) = (pseudo::MAP_FD, (map % MAPS) as i32);
        }
    }
    let kind = KINDS.iter().position(|kind| *kind == program.prog_type).unwrap_or(4);
    encode(kind as u8, &insns)
}

fn encode(kind: u8, insns: &[Insn]) -> Vec<u8> {
    let bytes = insns.iter().flat_map(|insn| insn.to_bytes());
    [kind, 1].into_iter().chain(bytes).collect()
}

fn decode(bytes: &[u8]) -> Vec<Insn> {
    bytes.as_chunks::<8>().0.iter().take(MOST).map(|insn| Insn::from_bytes(*insn)).collect()
}

/// Changes one instruction; `others` are those of another program.
fn damage(insns: &mut Vec<Insn>, others: &[Insn], rng: &mut Rng) {
    let at = rng.below(insns.len());
    let other = rng.pick(others).copied().unwrap_or_default();
    let atomics = [
        atomic::ADD,
        atomic::ADD | atomic::FETCH,
        atomic::XCHG,
        atomic::CMPXCHG,
        atomic::XOR,
        atomic::LOAD_ACQ,
        atomic::STORE_REL,
    ];
    let Some(insn) = insns.get_mut(at) else { return };
    match rng.below(12) {
        0 => insn.code ^= 1 << rng.below(8),
        1 => insn.code = other.code,
        2 => insn.dst = rng.below(12) as u8,
        3 => insn.src = rng.below(12) as u8,
        4 => insn.off = insn.off.wrapping_add(rng.below(9) as i16 - 4),
        5 => insn.off = rng.number() as i16,
        6 => insn.imm = rng.number() as i32,
        7 => insn.imm ^= 1 << rng.below(8),
        8 => {
            let width = [size::W, size::DW, size::B, size::H][rng.below(4)];
            insn.code = class::STX | width | mode::ATOMIC;
            insn.imm = rng.pick(&atomics).copied().unwrap_or_default();
        }
        9 => insns.insert(at, other),
        10 => drop(insns.remove(at)),
        _ => *insn = other,
    }
}

impl Target for Instructions {
    fn make(&self, rng: &mut Rng) -> Vec<u8> {
        let mut input = rng.pick(&self.seeds).cloned().unwrap_or_default();
        if rng.one_in(8) {
            mutate::bytes(&mut input, &self.seeds, rng);
            return input;
        }
        let (mut insns, kind) = (decode(&input[2..]), input[0]);
        let others = decode(&rng.pick(&self.seeds).map(|seed| seed[2..].to_vec()).unwrap_or_default());
        for _ in 0..=rng.below(4) {
            damage(&mut insns, &others, rng);
        }
        let mut input = encode(if rng.one_in(4) { rng.next() as u8 } else { kind }, &insns);
        input[1] = rng.next() as u8;
        input
    }

    fn take(&self, input: &[u8]) -> Result<(), String> {
        let [kind, packets, insns @ ..] = input else { return Ok(()) };
        let made = Made {
            prog_type: KINDS[usize::from(*kind) % KINDS.len()],
            insns: decode(insns),
            packet: Vec::new(),
            budget: BUDGET,
        };
        let chosen = PACKETS.iter().enumerate().filter(|(at, _)| packets >> at & 1 == 1);
        generate::anything(&made, &chosen.map(|(_, packet)| *packet).collect::<Vec<_>>())
    }
}
