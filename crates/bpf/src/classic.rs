//! Classic BPF, the filters of packet sockets before eBPF, which the kernel translates (include/uapi/linux/filter.h, bpf_common.h): an
//! instruction and its text, as tcpdump's `-d` prints it.
//!
//! It has an accumulator A, an index register X and sixteen words of memory M, all of 32 bits; jumps go forward.

use std::fmt;

/// Most instructions of a program (`BPF_MAXINSNS`).
pub const MOST: usize = 4096;
/// Words of memory (`BPF_MEMWORDS`).
pub const WORDS: u32 = 16;
/// Places from here on are what the kernel knows beside the packet (`SKF_AD_OFF`).
pub const BESIDE: u32 = 0xffff_f000;

/// Classes, the lowest three bits of [`Insn::code`].
pub mod class {
    /// A is loaded.
    pub const LD: u16 = 0;
    /// X is loaded.
    pub const LDX: u16 = 1;
    /// A is stored.
    pub const ST: u16 = 2;
    /// Arithmetic on A.
    pub const ALU: u16 = 4;
    /// Jumps.
    pub const JMP: u16 = 5;
    /// The end, with how many bytes of the packet are taken.
    pub const RET: u16 = 6;
    /// A to X, or back.
    pub const MISC: u16 = 7;
}

/// What is loaded, for [`class::LD`] and [`class::LDX`].
pub mod mode {
    /// The number k.
    pub const IMM: u16 = 0;
    /// The packet's bytes at k.
    pub const ABS: u16 = 0x20;
    /// Those at X + k.
    pub const IND: u16 = 0x40;
    /// Word k of M.
    pub const MEM: u16 = 0x60;
    /// The packet's length.
    pub const LEN: u16 = 0x80;
    /// Four times the lower half of the byte at k: the length of an IPv4 header.
    pub const MSH: u16 = 0xa0;
}

/// The other operand is X, not k.
pub const X: u16 = 8;

/// An instruction: `struct sock_filter`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(C)]
pub struct Insn {
    /// What it does.
    pub code: u16,
    /// Instructions that are skipped if the comparison holds.
    pub jt: u8,
    /// And if not.
    pub jf: u8,
    /// A number.
    pub k: u32,
}

impl Insn {
    /// An instruction that is no comparison.
    pub const fn new(code: u16, k: u32) -> Insn {
        Insn { code, jt: 0, jf: 0, k }
    }
}

/// Names of arithmetic by bits 4 to 7, and of comparisons.
const ALU: [&str; 11] = ["add", "sub", "mul", "div", "or", "and", "lsh", "rsh", "neg", "mod", "xor"];
const JMP: [&str; 5] = ["ja", "jeq", "jgt", "jge", "jset"];

impl fmt::Display for Insn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Insn { code, k, .. } = *self;
        let operand = if code & X != 0 { "x".to_owned() } else { format!("#{k:#x}") };
        let name = |names: &[&'static str]| names.get(usize::from(code >> 4 & 0xf)).copied().unwrap_or("?");
        match code & 7 {
            load @ (class::LD | class::LDX) => {
                let size = ["", "h", "b", "?"][usize::from(code >> 3 & 3)];
                let x = if load == class::LDX { "x" } else { "" };
                let from = match code & 0xe0 {
                    mode::IMM => format!("#{k:#x}"),
                    mode::ABS => format!("[{k}]"),
                    mode::IND => format!("[x + {k}]"),
                    mode::MEM => format!("M[{k}]"),
                    mode::LEN => "#pktlen".to_owned(),
                    _ => format!("4*([{k}]&0xf)"),
                };
                write!(f, "{:<8} {from}", format!("ld{x}{size}"))
            }
            class::ST => write!(f, "{:<8} M[{k}]", "st"),
            class::ALU if code & 0xf0 == 0x80 => write!(f, "neg"),
            class::ALU => write!(f, "{:<8} {operand}", name(&ALU)),
            class::JMP if code & 0xf0 == 0 => write!(f, "{:<8} {k}", "ja"),
            class::JMP => write!(f, "{:<8} {operand}", name(&JMP)),
            class::RET => write!(f, "{:<8} #{k}", "ret"),
            _ => write!(f, "{}", if code & 0x80 != 0 { "txa" } else { "tax" }),
        }
    }
}

/// A program's text: each instruction with its number, and where comparisons lead.
pub fn text(program: &[Insn]) -> String {
    let mut text = String::new();
    for (at, insn) in program.iter().enumerate() {
        let line = format!("({at:03}) {insn}");
        let jumps = insn.code & 7 == class::JMP && insn.code & 0xf0 != 0;
        let to = |skipped: u8| at + 1 + usize::from(skipped);
        text += &match jumps {
            true => format!("{line:<31} jt {}\tjf {}\n", to(insn.jt), to(insn.jf)),
            false => line + "\n",
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_have_tcpdumps_text() {
        let program = [
            Insn::new(0x28, 12),
            Insn { code: 0x15, jt: 0, jf: 3, k: 0x800 },
            Insn::new(0xb1, 14),
            Insn::new(0x50, 27),
            Insn { code: 0x45, jt: 0, jf: 0, k: 3 },
            Insn::new(0x06, 0),
        ];
        let expected = [
            "(000) ldh      [12]",
            "(001) jeq      #0x800           jt 2\tjf 5",
            "(002) ldxb     4*([14]&0xf)",
            "(003) ldb      [x + 27]",
            "(004) jset     #0x3             jt 5\tjf 5",
            "(005) ret      #0",
        ];
        assert_eq!(text(&program).lines().collect::<Vec<_>>(), expected);
    }
}
