//! What loads call for user probes: a function of the C library, and the USDT probe `bench:pass` with a number.

#![allow(unsafe_code, reason = "a USDT probe is assembler")]

use std::hint::black_box;

/// The C library that this program uses, by a path that also leads there from another root; uprobes attach to its
/// `getppid`.
pub(crate) fn libc() -> Option<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let path = maps.lines().filter_map(|l| l.split_whitespace().nth(5)).find(|p| p.contains("/libc.so"))?;
    Some(format!("/proc/{}/root{path}", std::process::id()))
}

/// Calls the C library's `getppid`.
pub(crate) fn call() {
    black_box(std::os::unix::process::parent_id());
}

// x86-64 only: elsewhere there is no such probe.
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    r#"
    .pushsection .text,"ax","progbits"
    .globl bench_usdt
    .type bench_usdt,@function
bench_usdt:
990:
    nop
    .pushsection .note.stapsdt,"?","note"
    .balign 4
    .4byte 992f-991f, 994f-993f, 3
991:
    .asciz "stapsdt"
992:
    .balign 4
993:
    .8byte 990b, 0, 0
    .asciz "bench"
    .asciz "pass"
    .asciz "8@%rdi"
994:
    .balign 4
    .popsection
    ret
    .size bench_usdt, . - bench_usdt
    .popsection
    "#,
    options(att_syntax)
);

#[cfg(target_arch = "x86_64")]
unsafe extern "C" {
    safe fn bench_usdt(number: u64);
}

#[cfg(not(target_arch = "x86_64"))]
fn bench_usdt(_: u64) {}

/// Passes the USDT probe.
pub(crate) fn pass(number: u64) {
    bench_usdt(black_box(number));
}
