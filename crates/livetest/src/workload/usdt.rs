//! USDT probes of this binary, as SystemTap's `sys/sdt.h` would put them there, with operands of every form.
//!
//! In: how often, and a text. Out: that many passes by the probes `livetest:pass` (at two places, whose arguments lie
//! differently), `livetest:forms` and, while somebody traces it, `livetest:guarded`.
//! Always: at both places of `pass` argument 0 is the number and argument 1 the text.

#![allow(
    unsafe_code,
    reason = "the probes are in a function of assembler, which keeps to the C calling convention"
)]

use std::ffi::{CString, c_char};

use super::count;

// x86-64 only: elsewhere there are no such probes. (The lint covers assembler, which no function can be given.)
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    r#"
    .macro livetest_note name, semaphore, args
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
    .8byte 990b, 0, \semaphore
    .asciz "livetest"
    .asciz "\name"
    .asciz "\args"
994:
    .balign 4
    .popsection
    .endm

    .pushsection .probes,"aw","progbits"
    .balign 2
livetest_semaphore:
    .2byte 0
    .popsection

    .pushsection .data,"aw","progbits"
    .balign 8
livetest_words:
    .8byte 0x1112131415161718
    .8byte 0x2122232425262728
    .popsection

    .pushsection .text,"ax","progbits"
    .globl livetest_usdt
    .type livetest_usdt,@function
livetest_usdt:
    pushq %rbx
    subq $32, %rsp
    movl $-9, 8(%rsp)
    movq %rdi, 16(%rsp)
    movq %rsi, %rbx
    livetest_note pass, 0, "8@%rdi 8@%rsi"
    livetest_note pass, 0, "-8@16(%rsp) 8@%rbx"
    movl $1, %ecx
    leaq livetest_words(%rip), %rdx
    movabsq $0xf1f2f3f4f5f6f7f8, %rax
    livetest_note forms, 0, "8@%rax -4@%eax 2@%ax -1@%ah 4@$4096 -4@8(%rsp) 4@livetest_words+8(%rip) 1@-1(%rdx,%rcx,2) 8@(%rdx,%rcx,8) 8f@%xmm0"
    xorl %eax, %eax
    cmpw $0, livetest_semaphore(%rip)
    je 1f
    movzwl livetest_semaphore(%rip), %eax
    livetest_note guarded, livetest_semaphore, "4@%eax"
1:
    addq $32, %rsp
    popq %rbx
    ret
    .size livetest_usdt, . - livetest_usdt
    .popsection
    "#,
    options(att_syntax)
);

#[cfg(target_arch = "x86_64")]
unsafe extern "C" {
    /// Passes the probes once; the semaphore's value.
    safe fn livetest_usdt(number: i64, text: *const c_char) -> i32;
}

#[cfg(not(target_arch = "x86_64"))]
fn livetest_usdt(_number: i64, _text: *const c_char) -> i32 {
    0
}

pub(super) fn pass(args: &[String]) -> Result<(), String> {
    let text = CString::new(args[1].as_str()).map_err(|error| error.to_string())?;
    for number in 1..=count(&args[0])? {
        livetest_usdt(number as i64, text.as_ptr());
    }
    Ok(())
}
