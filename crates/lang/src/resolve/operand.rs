//! Operands of USDT arguments: the text of a note (`8@%rdi -4@-20(%rbp)`) enters, one operand for each argument leaves.
//! The compiler wrote them in its assembler's syntax: AT&T on x86-64, with brackets on aarch64.

use super::regs;
use crate::hir::{Operand, OperandPlace};
use skep_bpf::target::Arch;

/// Most arguments of one probe (SystemTap's macros take twelve).
const MAX_ARGUMENTS: usize = 32;

/// The arguments of a probe in order. `Err`: the text of an operand that this cannot read.
pub fn parse(text: &str, arch: Arch) -> Vec<Result<Operand, String>> {
    split(text).map(|arg| operand(arg, arch).ok_or_else(|| arg.to_owned())).take(MAX_ARGUMENTS).collect()
}

/// The low `size` bytes of a value, extended to 64 bits.
pub(crate) fn extend(value: i64, size: u8, signed: bool) -> i64 {
    let unused = 64 - 8 * u32::from(size.clamp(1, 8));
    let high = value << unused;
    if signed { high >> unused } else { ((high as u64) >> unused) as i64 }
}

/// The arguments of a note; a blank within brackets belongs to its argument.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    let apart = text.split(move |c: char| {
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' => depth -= 1,
            _ => {}
        }
        c == ' ' && depth == 0
    });
    apart.filter(|arg| !arg.is_empty())
}

fn operand(arg: &str, arch: Arch) -> Option<Operand> {
    let (size, rest) = arg.split_once('@')?;
    let (signed, size) = match size.strip_prefix('-') {
        Some(size) => (true, size),
        None => (false, size),
    };
    let size: u8 = size.parse().ok().filter(|n| matches!(n, 1 | 2 | 4 | 8))?;
    let place = match arch {
        Arch::X86_64 => x86_64(rest)?,
        Arch::Aarch64 => aarch64(rest)?,
    };
    Some(Operand { size, signed, place })
}

/// A number as an assembler writes it.
fn number(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let value = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    } as i64;
    Some(if negative { value.wrapping_neg() } else { value })
}

/// `$1`, `%eax`, `8(%rbp)`, `-8(%rbp,%rcx,4)`, `(,%rax,8)`, `16(%rip)`, `4096`.
fn x86_64(text: &str) -> Option<OperandPlace> {
    if let Some(constant) = text.strip_prefix('$') {
        return number(constant).map(OperandPlace::Constant);
    }
    if let Some(name) = text.strip_prefix('%') {
        let (offset, shift) = x86_register(name)?;
        return Some(OperandPlace::Register { offset, shift });
    }
    let (displacement, address) = match text.split_once('(') {
        Some((displacement, rest)) => (displacement, rest.strip_suffix(')')?),
        None if text.is_empty() => return None,
        None => (text, ""),
    };
    let displacement = if displacement.is_empty() { 0 } else { number(displacement)? };
    let mut parts = address.split(',').map(str::trim);
    let register = |part: Option<&str>| match part {
        None | Some("") => Some(None),
        Some(name) => x86_register(name.strip_prefix('%')?).map(Some),
    };
    let base = register(parts.next())?.map(|(offset, _)| offset);
    let index = register(parts.next())?.map(|(offset, _)| offset);
    let scale = match parts.next() {
        None | Some("") => 1,
        Some(scale) => scale.parse().ok().filter(|n| matches!(n, 1 | 2 | 4 | 8))?,
    };
    if parts.next().is_some() {
        return None;
    }
    Some(OperandPlace::Memory { displacement, base, index: index.map(|offset| (offset, scale)) })
}

/// Offset in `struct pt_regs` of the register that a name is a part of, and how far its bits are shifted.
fn x86_register(name: &str) -> Option<(u32, u8)> {
    let high = ["ah", "bh", "ch", "dh"].contains(&name);
    let full = match name.as_bytes() {
        [first @ b'a'..=b'd', b'l' | b'h'] => format!("{}x", char::from(*first)),
        [b's' | b'd' | b'b', b'i' | b'p', b'l'] => name[..2].to_owned(),
        [b'r' | b'e', second, _] if second.is_ascii_alphabetic() => name[1..].to_owned(),
        [b'r', second, ..] if second.is_ascii_digit() => name.trim_end_matches(['b', 'w', 'd']).to_owned(),
        _ => name.to_owned(),
    };
    let names = regs::conventions(Arch::X86_64).names;
    let (_, offset) = names.iter().find(|(n, _)| *n == full)?;
    Some((*offset, if high { 8 } else { 0 }))
}

/// `1`, `x0`, `w3`, `[sp, 8]`, `[x0, x1]`, `[x0, w1, sxtw 2]` is not read (no compiler makes it of an argument).
fn aarch64(text: &str) -> Option<OperandPlace> {
    if let Some(value) = number(text.trim_start_matches('#')) {
        return Some(OperandPlace::Constant(value));
    }
    let Some(inside) = text.strip_prefix('[') else {
        return arm_register(text).map(|offset| OperandPlace::Register { offset, shift: 0 });
    };
    let mut parts = inside.strip_suffix(']')?.split(',').map(str::trim);
    let base = arm_register(parts.next()?)?;
    let (mut displacement, mut index) = (0, None);
    if let Some(second) = parts.next() {
        match number(second.trim_start_matches('#')) {
            Some(value) => displacement = value,
            None => index = Some((arm_register(second)?, 1)),
        }
    }
    if let (Some(shift), Some((_, scale))) = (parts.next(), &mut index) {
        let shift: u32 = shift.strip_prefix("lsl")?.trim().trim_start_matches('#').parse().ok()?;
        *scale = 1u8.checked_shl(shift).filter(|s| *s <= 8)?;
    }
    parts.next().is_none().then_some(OperandPlace::Memory { displacement, base: Some(base), index })
}

fn arm_register(name: &str) -> Option<u32> {
    let full = match name {
        "lr" => "r30".to_owned(),
        "fp" => "r29".to_owned(),
        name => match name.strip_prefix(['x', 'w']) {
            Some(number) => format!("r{number}"),
            None => name.to_owned(),
        },
    };
    let names = regs::conventions(Arch::Aarch64).names;
    names.iter().find(|(n, _)| *n == full).map(|(_, offset)| *offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use OperandPlace::{Constant, Memory, Register};

    fn x86(text: &str) -> Option<OperandPlace> {
        operand(&format!("8@{text}"), Arch::X86_64).map(|o| o.place)
    }

    fn arm(text: &str) -> Option<OperandPlace> {
        operand(&format!("8@{text}"), Arch::Aarch64).map(|o| o.place)
    }

    fn memory(displacement: i64, base: Option<u32>, index: Option<(u32, u8)>) -> Option<OperandPlace> {
        Some(Memory { displacement, base, index })
    }

    #[test]
    fn operands_of_x86() {
        let register = |offset, shift| Some(Register { offset, shift });
        for (text, place) in [
            ("$-5", Some(Constant(-5))),
            ("$0x10", Some(Constant(16))),
            ("$18446744073709551615", Some(Constant(-1))),
            ("%rax", register(80, 0)),
            ("%eax", register(80, 0)),
            ("%ax", register(80, 0)),
            ("%al", register(80, 0)),
            ("%ah", register(80, 8)),
            ("%sil", register(104, 0)),
            ("%bpl", register(32, 0)),
            ("%r9", register(64, 0)),
            ("%r10d", register(56, 0)),
            ("%r15b", register(0, 0)),
            ("%rip", register(128, 0)),
            ("%xmm0", None),
            ("(%rsp)", memory(0, Some(152), None)),
            ("-20(%rbp)", memory(-20, Some(32), None)),
            ("4(%rax,%rcx,8)", memory(4, Some(80), Some((88, 8)))),
            ("(%rax,%rcx)", memory(0, Some(80), Some((88, 1)))),
            ("16(,%rdx,4)", memory(16, None, Some((96, 4)))),
            ("0x40(%rip)", memory(64, Some(128), None)),
            ("4096", memory(4096, None, None)),
            ("(%rax,%rcx,3)", None),
            ("%fs:8", None),
            ("sym(%rip)", None),
            ("%", None),
            ("%r", None),
            ("(", None),
            ("", None),
        ] {
            assert_eq!(x86(text), place, "{text}");
        }
    }

    #[test]
    fn operands_of_arm() {
        let register = |offset| Some(Register { offset, shift: 0 });
        for (text, place) in [
            ("5", Some(Constant(5))),
            ("-1", Some(Constant(-1))),
            ("x0", register(0)),
            ("w3", register(24)),
            ("lr", register(240)),
            ("sp", register(248)),
            ("[sp]", memory(0, Some(248), None)),
            ("[sp, 12]", memory(12, Some(248), None)),
            ("[x29, #-8]", memory(-8, Some(232), None)),
            ("[x0, x1]", memory(0, Some(0), Some((8, 1)))),
            ("[x0, x1, lsl 3]", memory(0, Some(0), Some((8, 8)))),
            ("[x0, x1, lsl 9]", None),
            ("d0", None),
            ("[x0", None),
        ] {
            assert_eq!(arm(text), place, "{text}");
        }
    }

    #[test]
    fn values_are_extended() {
        assert_eq!(extend(0x1ff, 1, false), 0xff);
        assert_eq!(extend(0x1ff, 1, true), -1);
        assert_eq!(extend(-16, 4, false), 0xffff_fff0);
        assert_eq!(extend(-16, 8, false), -16);
    }

    #[test]
    fn arguments_are_split() {
        let sizes = |text: &str, arch| {
            let parsed = parse(text, arch).into_iter();
            parsed.map(|o| o.map(|o| (o.size, o.signed))).collect::<Vec<_>>()
        };
        assert_eq!(
            sizes("8@%rax -4@$1 1@%cl", Arch::X86_64),
            [Ok((8, false)), Ok((4, true)), Ok((1, false))]
        );
        assert_eq!(sizes("8@[sp, 4] -2@x1", Arch::Aarch64), [Ok((8, false)), Ok((2, true))]);
        assert_eq!(sizes("8f@%xmm0", Arch::X86_64), [Err("8f@%xmm0".to_owned())]);
        assert!(sizes("", Arch::X86_64).is_empty());
        assert_eq!(parse(&"8@%rax ".repeat(100), Arch::X86_64).len(), MAX_ARGUMENTS);
    }
}
