//! Programs in machine code, for what Rust on x86-64 cannot do: 32-bit processes, `int 0x80`, bare `rt_sigreturn`.
//!
//! In: a path to write the program to, and how often it does its work. Out: the process becomes that program.
//! Always: the image is one segment, read and execute, at 4 MiB, entered at its first instruction.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::count;

const BASE: u64 = 0x40_0000;

/// Four bytes in each program that stand for how often.
const TIMES: [u8; 4] = [0x44, 0x33, 0x22, 0x11];

/// 32-bit: `esi` = times; getpid (20) until it is zero; exit(0) (1).
const GETPID_32: &[u8] = &[
    0xbe, 0x44, 0x33, 0x22, 0x11, // mov esi, times
    0xb8, 0x14, 0, 0, 0, // 5: mov eax, 20
    0xcd, 0x80, // int 0x80
    0x4e, // dec esi
    0x75, 0xf6, // jnz 5
    0xb8, 1, 0, 0, 0, // mov eax, 1
    0x31, 0xdb, // xor ebx, ebx
    0xcd, 0x80, // int 0x80
];

/// 64-bit: the same calls through the 32-bit gate; exit_group would be 231, exit(0) is 60.
const GETPID_INT80: &[u8] = &[
    0xbe, 0x44, 0x33, 0x22, 0x11, // mov esi, times
    0xb8, 0x14, 0, 0, 0, // 5: mov eax, 20
    0xcd, 0x80, // int 0x80
    0xff, 0xce, // dec esi
    0x75, 0xf5, // jnz 5
    0xb8, 0x3c, 0, 0, 0, // mov eax, 60
    0x31, 0xff, // xor edi, edi
    0x0f, 0x05, // syscall
];

/// 64-bit: rt_sigaction(SIGUSR1, …), then kill(getpid(), SIGUSR1) until `ebx` is zero. The handler returns at once, so each
/// signal is one rt_sigreturn. The action at the end is filled in by `sigreturn_program`.
const SIGRETURN: &[u8] = &[
    0xb8, 0x0d, 0, 0, 0, // mov eax, 13
    0xbf, 0x0a, 0, 0, 0, // mov edi, 10
    0x48, 0x8d, 0x35, 0x3f, 0, 0, 0, // lea rsi, [0x50]
    0x31, 0xd2, // xor edx, edx
    0x41, 0xba, 8, 0, 0, 0, // mov r10d, 8
    0x0f, 0x05, // syscall
    0xbb, 0x44, 0x33, 0x22, 0x11, // mov ebx, times
    0xb8, 0x27, 0, 0, 0, // 0x20: mov eax, 39
    0x0f, 0x05, // syscall
    0x89, 0xc7, // mov edi, eax
    0xbe, 0x0a, 0, 0, 0, // mov esi, 10
    0xb8, 0x3e, 0, 0, 0, // mov eax, 62
    0x0f, 0x05, // syscall
    0xff, 0xcb, // dec ebx
    0x75, 0xe7, // jnz 0x20
    0xb8, 0x3c, 0, 0, 0, // mov eax, 60
    0x31, 0xff, // xor edi, edi
    0x0f, 0x05, // syscall
    0xc3, // 0x42: the handler: ret
    0xb8, 0x0f, 0, 0, 0, // 0x43: the restorer: mov eax, 15
    0x0f, 0x05, // syscall
    0, 0, 0, 0, 0, 0, // to 0x50: the action
];

/// 64-bit: `ebx` = times, written to the word at the end until it is zero; exit(0).
const POKE: &[u8] = &[
    0xbb, 0x44, 0x33, 0x22, 0x11, // mov ebx, times
    0x89, 0x1d, 0x0d, 0, 0, 0, // 5: mov [0x18], ebx
    0xff, 0xcb, // dec ebx
    0x75, 0xf6, // jnz 5
    0xb8, 0x3c, 0, 0, 0, // mov eax, 60
    0x31, 0xff, // xor edi, edi
    0x0f, 0x05, // syscall
    0, 0, 0, 0, // 0x18: the word, at 0x400090
];

pub(super) fn poke(args: &[String]) -> Result<(), String> {
    let mut image = elf64(&times(POKE, count(&args[1])?));
    image[ELF64_FLAGS] = 7; // read, write and execute
    become_program(&args[0], &image)
}

pub(super) fn exec32(args: &[String]) -> Result<(), String> {
    become_program(&args[0], &elf32(&times(GETPID_32, count(&args[1])?)))
}

pub(super) fn int80(args: &[String]) -> Result<(), String> {
    become_program(&args[0], &elf64(&times(GETPID_INT80, count(&args[1])?)))
}

pub(super) fn sigreturn(args: &[String]) -> Result<(), String> {
    become_program(&args[0], &elf64(&sigreturn_program(count(&args[1])?)))
}

/// Whether this kernel runs 32-bit programs.
pub(crate) fn runs_32_bit() -> bool {
    let path = std::env::temp_dir().join(format!("livetest-32-bit-{}", std::process::id()));
    let runs = write_program(&path, &elf32(&times(GETPID_32, 1))).is_ok()
        && Command::new(&path).stdin(Stdio::null()).status().is_ok_and(|status| status.success());
    let _ = std::fs::remove_file(&path);
    runs
}

fn become_program(path: &str, image: &[u8]) -> Result<(), String> {
    write_program(Path::new(path), image)?;
    Err(format!("{path}: {}", Command::new(path).exec()))
}

fn write_program(path: &Path, image: &[u8]) -> Result<(), String> {
    let fail = |error: std::io::Error| format!("{}: {error}", path.display());
    std::fs::write(path, image).map_err(fail)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).map_err(fail)
}

/// The code with its placeholder replaced.
fn times(code: &[u8], times: usize) -> Vec<u8> {
    let mut code = code.to_vec();
    if let Some(at) = code.windows(TIMES.len()).position(|window| window == TIMES) {
        code[at..at + TIMES.len()].copy_from_slice(&(times as u32).to_le_bytes());
    }
    code
}

fn sigreturn_program(number: usize) -> Vec<u8> {
    const SA_RESTORER: u64 = 0x0400_0000;
    const HANDLER: u64 = 0x42;
    const RESTORER: u64 = 0x43;
    let start = BASE + ELF64_HEAD as u64;
    let mut code = times(SIGRETURN, number);
    for word in [start + HANDLER, SA_RESTORER, start + RESTORER, 0] {
        code.extend(word.to_le_bytes());
    }
    code
}

const ELF32_HEAD: usize = 52 + 32;
const ELF64_HEAD: usize = 64 + 56;
/// Offset of the segment's flags.
const ELF64_FLAGS: usize = 64 + 4;

/// `e_ident` up to its padding: magic, class, little-endian, version 1.
fn ident(class: u8) -> Vec<u8> {
    let mut head = vec![0x7f, b'E', b'L', b'F', class, 1, 1];
    head.resize(16, 0);
    head
}

fn put(head: &mut Vec<u8>, fields: &[(u64, usize)]) {
    for (value, width) in fields {
        head.extend_from_slice(&value.to_le_bytes()[..*width]);
    }
}

/// An i386 executable with one loaded segment.
fn elf32(code: &[u8]) -> Vec<u8> {
    let size = (ELF32_HEAD + code.len()) as u64;
    let entry = BASE + ELF32_HEAD as u64;
    let mut image = ident(1);
    // type, machine (EM_386), version, entry, phoff, shoff, flags, ehsize, phentsize, phnum, shentsize, shnum, shstrndx
    put(&mut image, &[(2, 2), (3, 2), (1, 4), (entry, 4), (52, 4), (0, 4), (0, 4)]);
    put(&mut image, &[(52, 2), (32, 2), (1, 2), (0, 2), (0, 2), (0, 2)]);
    // PT_LOAD, offset, vaddr, paddr, filesz, memsz, read and execute, align
    put(&mut image, &[(1, 4), (0, 4), (BASE, 4), (BASE, 4), (size, 4), (size, 4), (5, 4), (0x1000, 4)]);
    image.extend_from_slice(code);
    image
}

/// An x86-64 executable with one loaded segment.
fn elf64(code: &[u8]) -> Vec<u8> {
    let size = (ELF64_HEAD + code.len()) as u64;
    let entry = BASE + ELF64_HEAD as u64;
    let mut image = ident(2);
    // type, machine (EM_X86_64), version, entry, phoff, shoff, flags, ehsize, phentsize, phnum, shentsize, shnum, shstrndx
    put(&mut image, &[(2, 2), (62, 2), (1, 4), (entry, 8), (64, 8), (0, 8), (0, 4)]);
    put(&mut image, &[(64, 2), (56, 2), (1, 2), (0, 2), (0, 2), (0, 2)]);
    // PT_LOAD, read and execute, offset, vaddr, paddr, filesz, memsz, align
    put(&mut image, &[(1, 4), (5, 4), (0, 8), (BASE, 8), (BASE, 8), (size, 8), (size, 8), (0x1000, 8)]);
    image.extend_from_slice(code);
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_have_their_sizes() {
        assert_eq!(elf32(&[]).len(), ELF32_HEAD);
        assert_eq!(elf64(&[]).len(), ELF64_HEAD);
    }

    #[test]
    fn the_programs_run() {
        if std::env::consts::ARCH != "x86_64" {
            return;
        }
        let programs =
            [("int80", elf64(&times(GETPID_INT80, 3))), ("sigreturn", elf64(&sigreturn_program(3)))];
        assert_eq!(elf64(&[])[ELF64_FLAGS], 5);
        for (name, image) in programs {
            let path = std::env::temp_dir().join(format!("livetest-{name}-{}", std::process::id()));
            write_program(&path, &image).unwrap();
            let status = Command::new(&path).status().unwrap();
            std::fs::remove_file(&path).unwrap();
            assert!(status.success(), "{name}: {status}");
        }
    }
}
