//! A function and a USDT probe that loads call: `bench_target(n)` and `bench:pass` with the same number.

#![allow(
    unsafe_code,
    reason = "symbols of known names and assembler are what uprobes and USDT probes attach to"
)]

use std::hint::black_box;

/// What uprobes attach to. Gives the number back.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn bench_target(number: u64) -> u64 {
    black_box(number)
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
