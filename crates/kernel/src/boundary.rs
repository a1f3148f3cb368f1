//! Where instructions begin: a binary and a place in it enter, whether an instruction begins there leaves. A probe in
//! the middle of an instruction would change what the process computes. x86-64 instructions are measured from one that
//! is known to begin (Intel's manual, volume 2, chapter 2 and appendix A); on aarch64 each has four bytes. Code may be
//! anything: what is no instruction cannot be measured, and the answer is that nobody knows.

use object::read::ReadRef;
use object::{Architecture, Object};

use crate::elf::{self, damaged};
use crate::error::Error;

/// Longest instruction in bytes.
const LONGEST: usize = 15;
/// Most bytes between the known beginning and the place.
const CODE_LIMIT: u64 = 64 << 20;

/// Whether an instruction begins at file offset `offset`, when one begins at `start`.
pub(crate) fn begins(path: &str, start: u64, offset: u64) -> Result<bool, Error> {
    let unknown = |why: &str| Error::Unavailable {
        what: format!("the beginning of instructions in {path}"),
        why: why.to_owned(),
    };
    let distance = offset.checked_sub(start).filter(|d| *d < CODE_LIMIT).ok_or_else(|| unknown("too far"))?;
    let cache = elf::open(path)?;
    let (inside, size) = crate::archive::range(&cache, path)?;
    let file = object::File::parse(cache.range(inside, size)).map_err(|e| damaged(path, e))?;
    match file.architecture() {
        Architecture::Aarch64 => return Ok(distance.is_multiple_of(4)),
        Architecture::X86_64 => {}
        _ => return Err(unknown("its machine code is not known")),
    }
    let length = size.saturating_add(inside).saturating_sub(start).min(distance + LONGEST as u64);
    let code = (&cache).read_bytes_at(start, length).map_err(|()| damaged(path, "it ends too early"))?;
    let (mut at, wanted) = (0, distance as usize);
    while at < wanted {
        let rest = code.get(at..).unwrap_or(&[]);
        at += instruction(rest).ok_or_else(|| unknown("what lies before is no instruction"))?;
    }
    Ok(at == wanted)
}

/// What stands in front of an opcode.
#[derive(Default)]
struct Prefixes {
    /// Operands of 16 bits (66).
    short: bool,
    /// Addresses of 32 bits (67).
    narrow: bool,
    /// Operands of 64 bits (REX.W).
    wide: bool,
}

/// What follows an opcode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Tail {
    /// A ModRM byte, with what that asks for.
    modrm: bool,
    /// Bytes of constants.
    constant: usize,
}

const fn tail(modrm: bool, constant: usize) -> Option<Tail> {
    Some(Tail { modrm, constant })
}

/// Bytes of the x86-64 instruction that `code` begins with; `None` if it is none.
fn instruction(code: &[u8]) -> Option<usize> {
    let mut prefixes = Prefixes::default();
    let mut at = 0;
    let opcode = loop {
        let byte = *code.get(at)?;
        at += 1;
        match byte {
            0x66 => prefixes.short = true,
            0x67 => prefixes.narrow = true,
            0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0xf0 | 0xf2 | 0xf3 => {}
            0x40..=0x4f => {
                prefixes.wide = byte & 8 != 0;
                let byte = *code.get(at)?;
                at += 1;
                break byte;
            }
            byte => break byte,
        }
        if at >= LONGEST {
            return None;
        }
    };
    let tail = match opcode {
        0x0f => {
            let second = *code.get(at)?;
            at += 1;
            match second {
                0x38 | 0x3a => at += 1,
                _ => {}
            }
            two_bytes(second)?
        }
        0x62 | 0xc4 | 0xc5 => {
            let (map, size) = vector_map(opcode, *code.get(at)?)?;
            let opcode = *code.get(at + size)?;
            at += size + 1;
            match map {
                1 => two_bytes(opcode)?,
                3 => Tail { modrm: true, constant: 1 },
                _ => Tail { modrm: true, constant: 0 },
            }
        }
        opcode => one_byte(opcode, code.get(at).copied(), &prefixes)?,
    };
    if tail.modrm {
        at += modrm(code.get(at..)?)?;
    }
    at += tail.constant;
    (at <= LONGEST && at <= code.len()).then_some(at)
}

/// The opcode map that a VEX or EVEX prefix names, and the bytes of the prefix behind its first.
fn vector_map(prefix: u8, first: u8) -> Option<(u8, usize)> {
    match prefix {
        0xc5 => Some((1, 1)),
        0xc4 => Some((first & 0x1f, 2)).filter(|(map, _)| (1..=3).contains(map)),
        _ => Some((first & 7, 3)).filter(|(map, _)| matches!(map, 1..=3 | 5 | 6)),
    }
}

/// Bytes of a ModRM byte with its SIB byte and displacement.
fn modrm(code: &[u8]) -> Option<usize> {
    let byte = *code.first()?;
    let (mode, rm) = (byte >> 6, byte & 7);
    if mode == 3 {
        return Some(1);
    }
    let sib = usize::from(rm == 4);
    let base = if sib == 1 { *code.get(1)? & 7 } else { rm };
    let displacement = match mode {
        0 if base == 5 => 4,
        0 => 0,
        1 => 1,
        _ => 4,
    };
    Some(1 + sib + displacement)
}

/// Opcodes of one byte; `next` is the byte behind.
fn one_byte(opcode: u8, next: Option<u8>, prefixes: &Prefixes) -> Option<Tail> {
    let word = if prefixes.short && !prefixes.wide { 2 } else { 4 };
    match opcode {
        0x00..=0x3f => match opcode & 7 {
            0..=3 => tail(true, 0),
            4 => tail(false, 1),
            5 => tail(false, word),
            _ => None,
        },
        0x63 | 0x84..=0x8f | 0xd0..=0xd3 | 0xd8..=0xdf | 0xfe | 0xff => tail(true, 0),
        0x68 | 0xa9 => tail(false, word),
        0x69 | 0x81 | 0xc7 => tail(true, word),
        0x6a | 0x70..=0x7f | 0xa8 | 0xb0..=0xb7 | 0xcd | 0xe0..=0xe7 | 0xeb => tail(false, 1),
        0x6b | 0x80 | 0x83 | 0xc0 | 0xc1 | 0xc6 => tail(true, 1),
        0xa0..=0xa3 => tail(false, if prefixes.narrow { 4 } else { 8 }),
        0xb8..=0xbf => tail(false, if prefixes.wide { 8 } else { word }),
        0xc2 | 0xca => tail(false, 2),
        0xc8 => tail(false, 3),
        0xe8 | 0xe9 => tail(false, 4),
        // Of these only TEST has a constant.
        0xf6 | 0xf7 => {
            let test = (next? >> 3) & 7 < 2;
            let size = if opcode == 0xf6 { 1 } else { word };
            tail(true, if test { size } else { 0 })
        }
        0x50..=0x5f | 0x6c..=0x6f | 0x90..=0x99 | 0x9b..=0x9f | 0xa4..=0xa7 | 0xaa..=0xaf => tail(false, 0),
        0xc3 | 0xc9 | 0xcb | 0xcc | 0xcf | 0xd7 | 0xec..=0xef | 0xf1 | 0xf4 | 0xf5 | 0xf8..=0xfd => {
            tail(false, 0)
        }
        _ => None,
    }
}

/// Opcodes behind 0F; of those behind 0F 38 and 0F 3A all alike.
fn two_bytes(opcode: u8) -> Option<Tail> {
    match opcode {
        0x05..=0x09 | 0x0b | 0x0e | 0x30..=0x35 | 0x37 | 0x77 | 0xa0..=0xa2 | 0xa8..=0xaa | 0xc8..=0xcf => {
            tail(false, 0)
        }
        0x80..=0x8f => tail(false, 4),
        0x0f | 0x3a | 0x70..=0x73 | 0xa4 | 0xac | 0xba | 0xc2 | 0xc4..=0xc6 => tail(true, 1),
        0x04 | 0x0a | 0x0c | 0x24..=0x27 | 0x36 | 0x39 | 0x3b..=0x3f => None,
        _ => tail(true, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        for code in [
            &[0x90][..],
            &[0x55],
            &[0x48, 0x89, 0xe5],                      // mov %rsp,%rbp
            &[0x48, 0x83, 0xec, 0x10],                // sub $16,%rsp
            &[0x48, 0x8b, 0x05, 1, 2, 3, 4],          // mov x(%rip),%rax
            &[0x48, 0x8b, 0x44, 0x24, 0x08],          // mov 8(%rsp),%rax
            &[0x8b, 0x04, 0x25, 1, 2, 3, 4],          // mov 0x4030201,%eax
            &[0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8],    // movabs $…,%rax
            &[0x66, 0xb8, 1, 2],                      // mov $0x201,%ax
            &[0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0], // nopw 0(%rax,%rax,1)
            &[0xf3, 0x0f, 0x1e, 0xfa],                // endbr64
            &[0xe8, 1, 2, 3, 4],                      // call
            &[0x0f, 0x84, 1, 2, 3, 4],                // je
            &[0x74, 1],                               // je, short
            &[0xf6, 0xc1, 1],                         // test $1,%cl
            &[0xf7, 0xd8],                            // neg %eax
            &[0xf7, 0xc1, 1, 2, 3, 4],                // test $…,%ecx
            &[0xc3],
            &[0xc7, 0x45, 0xfc, 1, 0, 0, 0],                // movl $1,-4(%rbp)
            &[0x66, 0x0f, 0x3a, 0x0f, 0xc1, 8],             // palignr $8,%xmm1,%xmm0
            &[0x66, 0x0f, 0x38, 0x00, 0xc1],                // pshufb %xmm1,%xmm0
            &[0xc5, 0xf8, 0x77],                            // vzeroupper
            &[0xc5, 0xfd, 0x6f, 0x07],                      // vmovdqa (%rdi),%ymm0
            &[0xc4, 0xe3, 0x7d, 0x39, 0xc1, 1],             // vextracti128 $1,%ymm0,%xmm1
            &[0x62, 0xf1, 0xfe, 0x48, 0x6f, 0x07],          // vmovdqu64 (%rdi),%zmm0
            &[0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0], // mov %fs:0x28,%rax
            &[0xf0, 0x48, 0x0f, 0xb1, 0x0a],                // lock cmpxchg %rcx,(%rdx)
            &[0x0f, 0x05],                                  // syscall
        ] {
            let mut longer = code.to_vec();
            longer.extend([0x90; 4]);
            assert_eq!(instruction(&longer), Some(code.len()), "{code:x?}");
            for end in 0..code.len() {
                assert!(instruction(&code[..end]).is_none_or(|n| n <= end), "{code:x?} {end}");
            }
        }
        for bad in [&[0x06][..], &[0x66; 20], &[], &[0x0f], &[0xea]] {
            assert_eq!(instruction(bad), None, "{bad:x?}");
        }
    }

    #[test]
    fn own_functions_are_measured() {
        let me = std::env::current_exe().unwrap();
        let path = me.to_str().unwrap();
        let symbols = elf::function_symbols(path).unwrap();
        let mut measured = 0;
        // The linker fills the room between functions with whole instructions, so each function ends where one does.
        for symbol in symbols.iter().filter(|s| s.size > 64).step_by(97).take(200) {
            assert!(begins(path, symbol.offset, symbol.offset).unwrap());
            match begins(path, symbol.offset, symbol.offset + symbol.size) {
                Ok(at_the_end) => {
                    assert!(at_the_end, "{}", symbol.name);
                    measured += 1;
                }
                Err(error) => panic!("{}: {error}", symbol.name),
            }
        }
        assert!(measured > 50, "{measured}");
        assert!(begins(path, 10, 5).is_err());
    }
}
