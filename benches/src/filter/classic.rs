//! Classic programs, as tcpdump's `-ddd` prints libpcap's optimised code, and how long the kernel's translation of them is.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use skep_bpf::classic::Insn;

/// A program that takes no packet.
pub(super) const NOTHING: [Insn; 1] = [Insn::new(0x06, 0)];

/// What libpcap makes of an expression for Ethernet.
pub(super) fn compile(expression: &str) -> Result<Vec<Insn>> {
    let output = Command::new("tcpdump").args(["-y", "EN10MB", "-i", "lo", "-ddd", expression]).output();
    let output = output.context("tcpdump")?;
    ensure!(output.status.success(), "tcpdump: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().skip(1).map(|line| parse(line).with_context(|| line.to_owned())).collect()
}

fn parse(line: &str) -> Option<Insn> {
    let mut words = line.split(' ');
    let mut next = || words.next()?.parse::<u32>().ok();
    Some(Insn { code: next()? as u16, jt: next()? as u8, jf: next()? as u8, k: next()? })
}

/// Insns of the kernel's translation (`bpf_convert_filter`, net/core/filter.c of 6.18, on machines that load
/// unaligned numbers at once).
pub(super) fn translated(program: &[Insn]) -> usize {
    let reads = |insn: &Insn| matches!(insn.code & 0xe7, 0x20 | 0x40 | 0xa1);
    let beside = |insn: &Insn| insn.code & 0xe7 == 0x20 && insn.k >= 0xffff_f000;
    // A and X are cleared and the context kept; where packets are read, their start and length are too.
    let prologue = if program.iter().any(|i| reads(i) && !beside(i)) { 7 } else { 3 };
    prologue + program.iter().map(one).sum::<usize>()
}

fn one(insn: &Insn) -> usize {
    let swap = usize::from(insn.code & 0x18 != 0x10);
    match insn.code & 7 {
        0 | 1 => match insn.code & 0xe0 {
            0x20 => absolute(insn.k, swap),
            // Three arguments and the sum, a call, and what follows it if a byte is missing.
            0x40 => 4 + usize::from(insn.k != 0) + 1 + 3,
            0xa0 => 1 + absolute(insn.k, 0) + 4,
            _ => 1,
        },
        4 if insn.code & 0xf8 == 0x38 || insn.code & 0xf8 == 0x98 => 5,
        5 => jump(insn),
        6 => 1 + usize::from(insn.code & 0x18 == 0),
        _ => 1,
    }
}

/// A load at a constant place: from the linear part if it lies there, else by a call.
fn absolute(k: u32, swap: usize) -> usize {
    match k {
        // What the kernel knows beside the packet: the protocol is swapped, the interface looked for.
        0xffff_f000 => 2,
        0xffff_f008 => 4,
        0xffff_f001.. => 2,
        k => (2 + usize::from(k != 0)) + 1 + swap + 1 + 4 + 1 + 3,
    }
}

fn jump(insn: &Insn) -> usize {
    let operation = insn.code & 0xf0;
    if operation == 0 {
        return 1;
    }
    let far = usize::from(insn.code & 8 == 0 && insn.k > i32::MAX as u32);
    let inverted = insn.jt == 0 && operation != 0x40;
    far + if insn.jf == 0 || inverted { 1 } else { 2 }
}
