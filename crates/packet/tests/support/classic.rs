//! An interpreter of classic BPF: a program as libpcap compiles it and a packet enter, its verdict leaves.
//!
//! Loads are as in libpcap's own interpreter, but what the kernel knows beside the packet can be read too, as the kernel
//! lets a program do. Backward jumps (libpcap's protochain) are bounded.

use skep_packet::filter::Packet;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    pub code: u16,
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

/// Offset from which on loads read what the kernel knows beside the packet (`SKF_AD_OFF`).
const BESIDE: u32 = 0xffff_f000;

/// More steps than any program without an endless loop takes.
const STEPS: usize = 1 << 16;

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With a verdict.
    Verdict(bool),
    /// At a byte that the packet lacks, or a division by zero.
    Missing,
    /// Not at all.
    Never,
}

impl End {
    pub fn accepts(self) -> bool {
        self == End::Verdict(true)
    }
}

pub fn run(program: &[Insn], packet: &Packet<'_>, wraps: bool) -> End {
    let (mut a, mut x, mut memory, mut pc) = (0u32, 0u32, [0u32; 16], 0usize);
    for _ in 0..STEPS {
        let insn = program[pc];
        pc += 1;
        let k = insn.k;
        match insn.code & 7 {
            // ld, ldx
            class @ (0 | 1) => {
                let size = match insn.code & 0x18 {
                    0x00 => 4,
                    0x08 => 2,
                    _ => 1,
                };
                let value = match insn.code & 0xe0 {
                    0x00 => Some(k),
                    0x20 => beside(packet, k).or_else(|| load(packet, k.into(), size)),
                    0x40 => {
                        let at = u64::from(x) + u64::from(k);
                        load(packet, if wraps { u64::from(at as u32) } else { at }, size)
                    }
                    0x60 => Some(memory[k as usize]),
                    0x80 => Some(packet.length),
                    _ => load(packet, k.into(), 1).map(|byte| (byte & 0xf) << 2),
                };
                let Some(value) = value else { return End::Missing };
                *(if class == 0 { &mut a } else { &mut x }) = value;
            }
            2 => memory[k as usize] = a,
            3 => memory[k as usize] = x,
            4 => {
                let with = if insn.code & 8 != 0 { x } else { k };
                let result = alu(insn.code & 0xf0, a, with, wraps);
                let Some(result) = result else { return End::Missing };
                a = result;
            }
            5 => {
                let with = if insn.code & 8 != 0 { x } else { k };
                let taken = match insn.code & 0xf0 {
                    0x00 => {
                        pc = pc.wrapping_add_signed(k as i32 as isize);
                        continue;
                    }
                    0x10 => a == with,
                    0x20 => a > with,
                    0x30 => a >= with,
                    _ => a & with != 0,
                };
                pc += usize::from(if taken { insn.jt } else { insn.jf });
            }
            6 => return End::Verdict((if insn.code & 0x18 == 0x10 { a } else { k }) > 0),
            _ => {
                if insn.code & 0x80 != 0 {
                    a = x;
                } else {
                    x = a;
                }
            }
        }
    }
    End::Never
}

fn alu(op: u16, a: u32, with: u32, wraps: bool) -> Option<u32> {
    Some(match op {
        0x00 => a.wrapping_add(with),
        0x10 => a.wrapping_sub(with),
        0x20 => a.wrapping_mul(with),
        0x30 => a.checked_div(with)?,
        0x40 => a | with,
        0x50 => a & with,
        0x60 if wraps => a << (with & 31),
        0x60 => a.checked_shl(with).unwrap_or(0),
        0x70 if wraps => a >> (with & 31),
        0x70 => a.checked_shr(with).unwrap_or(0),
        0x80 => a.wrapping_neg(),
        0x90 => a.checked_rem(with)?,
        _ => a ^ with,
    })
}

fn load(packet: &Packet<'_>, at: u64, size: usize) -> Option<u32> {
    let at = usize::try_from(at).ok()?;
    let bytes = packet.bytes.get(at..at.checked_add(size)?)?;
    Some(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
}

fn beside(packet: &Packet<'_>, k: u32) -> Option<u32> {
    match k.checked_sub(BESIDE)? {
        4 => Some(packet.packet_type),
        8 => Some(packet.ifindex),
        44 => Some(packet.vlan.unwrap_or(0).into()),
        48 => Some(packet.vlan.is_some().into()),
        _ => None,
    }
}
