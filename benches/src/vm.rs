//! Programs in the offline machine beside rbpf's bounds-checked Cranelift back-end, in one run, alternating; times are the
//! smallest of many rounds. Every access is checked in both.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use skep_bpf::asm;
use skep_bpf::insn::Insn;
use skep_bpf::kinds::ProgType;
use skep_engine::helpers::env::Env;
use skep_engine::vm::context::Input;
use skep_engine::vm::machine::{Engine, Options, Vm};
use skep_engine::vm::trace::Profile;

/// A program: its body works on the packet from r6 to r7.
struct Case {
    name: &'static str,
    body: &'static str,
    /// Runs in one measurement.
    runs: u32,
}

/// How each machine gives the packet to a program.
const OURS: &str = "r6 = *(u32 *)(r1 +0)\nr7 = *(u32 *)(r1 +4)\n";
const PEER: &str = "r6 = r1\nr7 = r1\nr7 += r2\n";
const JIT: Engine = Engine::Jit { blind: None };
const BUDGET: u64 = 1 << 40;

const CASES: &[Case] = &[
    Case { name: "nothing", runs: 10_000, body: "r0 = 0\nexit" },
    Case {
        name: "arithmetic loop",
        runs: 100,
        body: "
        r0 = 0
        r1 = 1
        r2 = 1000
        r3 = 0x1234567
        again:
        r4 = r3
        r4 >>= 7
        r4 ^= r3
        r3 += r4
        r0 += r3
        r1 += 3
        r1 &= 0xffff
        r0 ^= r1
        r2 += -1
        if r2 != 0 goto again
        exit",
    },
    Case {
        name: "64-byte packet parser",
        runs: 10_000,
        body: "
        r0 = 0
        r3 = r6
        r3 += 14
        if r3 > r7 goto out
        r2 = *(u16 *)(r6 +12)
        if r2 != 0x0008 goto out
        r3 = r6
        r3 += 34
        if r3 > r7 goto out
        r2 = *(u8 *)(r6 +14)
        r4 = r2
        r4 >>= 4
        if r4 != 4 goto out
        r2 &= 15
        r2 <<= 2
        if r2 < 20 goto out
        r5 = *(u8 *)(r6 +23)
        if r5 != 17 goto out
        r8 = *(u32 *)(r6 +26)
        r9 = *(u32 *)(r6 +30)
        r3 = r6
        r3 += 14
        r3 += r2
        r4 = r3
        r4 += 8
        if r4 > r7 goto out
        r5 = *(u16 *)(r3 +0)
        r4 = *(u16 *)(r3 +2)
        r5 = be16 r5
        r4 = be16 r4
        r0 = r8
        r0 ^= r9
        r0 += r5
        r0 += r4
        out:
        exit",
    },
    Case {
        name: "checksum of 1500 bytes",
        runs: 1000,
        body: "
        r0 = 0
        r3 = r6
        again:
        r4 = *(u16 *)(r3 +0)
        r0 += r4
        r3 += 2
        if r3 < r7 goto again
        r4 = r0
        r4 >>= 16
        r0 &= 0xffff
        r0 += r4
        exit",
    },
];

/// A UDP packet over IPv4.
fn packet(length: usize) -> Vec<u8> {
    let mut packet: Vec<u8> = (0..length).map(|at| (at * 37) as u8).collect();
    packet[12..14].copy_from_slice(&[8, 0]);
    packet[14] = 0x45;
    packet[23] = 17;
    packet
}

/// Prints the table.
pub(crate) fn measure(rounds: usize) -> Result<()> {
    println!(
        "offline machine            insns    skep ns   rbpf ns   ratio   ns/insn   compile µs   rbpf µs   new packet ns"
    );
    for case in CASES {
        one(case, rounds.max(50))?;
    }
    Ok(())
}

fn one(case: &Case, rounds: usize) -> Result<()> {
    let mut packet = packet(if case.name.starts_with("checksum") { 1500 } else { 64 });
    let ours = asm::parse(&format!("{OURS}{}", case.body))?;
    let theirs: Vec<u8> =
        asm::parse(&format!("{PEER}{}", case.body))?.into_iter().flat_map(Insn::to_bytes).collect();
    let mut vm = Vm::new(Env::default())?;
    let program = vm.load_raw(case.name, ProgType::Xdp, &ours, &[])?;
    let mut input = Input::packet(ProgType::Xdp, &packet).context("XDP programs take packets")?;

    let mut profile = Profile::default();
    vm.observed(
        program,
        &input,
        Options { engine: Engine::Interpreter, budget: BUDGET },
        Some(&mut profile),
    )?;
    let insns: u64 = profile.programs.values().flatten().sum();

    let (mut compile, mut peer_compile) = (f64::MAX, f64::MAX);
    for _ in 0..rounds {
        let mut fresh = Vm::new(Env::default())?;
        let again = fresh.load_raw(case.name, ProgType::Xdp, &ours, &[])?;
        let warm = fresh.load_raw("warm", ProgType::Xdp, &asm::parse("r0 = 0\nexit")?, &[])?;
        // Making the compiler itself is paid once in a machine.
        fresh.code(warm, None)?;
        compile = compile.min(time(|| fresh.code(again, None).map(|_| ()))?);
        let mut peer = peer(&theirs)?;
        peer_compile = peer_compile.min(time(|| peer.cranelift_compile())?);
    }

    let mut peer = peer(&theirs)?;
    peer.cranelift_compile()?;
    let mut runner = vm.runner(program, &input, Options { engine: JIT, budget: BUDGET })?;
    let (mut best, mut peer_best, mut fresh_best) = (f64::MAX, f64::MAX, f64::MAX);
    for _ in 0..rounds {
        let (mut result, mut peer_result) = (0, 0);
        let taken = time(|| {
            for _ in 0..case.runs {
                result = runner.run()?;
            }
            anyhow::Ok(())
        })?;
        best = best.min(taken / f64::from(case.runs));
        let taken = time(|| {
            for _ in 0..case.runs {
                peer_result = peer.execute_program_cranelift(&mut packet)?;
            }
            anyhow::Ok(())
        })?;
        peer_best = peer_best.min(taken / f64::from(case.runs));
        let taken = time(|| {
            for _ in 0..case.runs {
                input.replace_packet(ProgType::Xdp, &packet);
                runner.put(&input)?;
                result = runner.run()?;
            }
            anyhow::Ok(())
        })?;
        fresh_best = fresh_best.min(taken / f64::from(case.runs));
        ensure!(result == peer_result, "{}: {result:#x} here, {peer_result:#x} there", case.name);
    }
    println!(
        "{:<25} {insns:>6} {best:>10.1} {peer_best:>9.1} {:>7.2} {:>9.3} {:>12.0} {:>9.0} {fresh_best:>15.1}",
        case.name,
        best / peer_best,
        best / insns as f64,
        compile / 1000.0,
        peer_compile / 1000.0
    );
    Ok(())
}

fn peer(program: &[u8]) -> Result<rbpf::EbpfVmRaw<'_>> {
    Ok(rbpf::EbpfVmRaw::new(Some(program))?)
}

/// Nanoseconds.
fn time<E>(what: impl FnOnce() -> Result<(), E>) -> Result<f64>
where
    anyhow::Error: From<E>,
{
    let start = Instant::now();
    what()?;
    Ok(start.elapsed().as_secs_f64() * 1e9)
}
