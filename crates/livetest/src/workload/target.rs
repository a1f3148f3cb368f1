//! Functions for uprobes: their symbols stay in this binary, with the C calling convention.
//!
//! In: how often. Out: that many calls of `livetest_target`, each of which calls `livetest_inner`.
//! Always: the arguments are in registers and the return value is three times the number.

use std::ffi::{CString, c_char};
use std::hint::black_box;

use super::count;

/// The function that uprobes of the fixtures attach to.
///
/// Its arguments: a number, a text, -7 in 32 bits, 200 in 8 bits.
#[allow(
    unsafe_code,
    reason = "a symbol of a known name is what a uprobe attaches to; nothing else here has it"
)]
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn livetest_target(number: i64, text: *const c_char, signed: i32, small: u8) -> i64 {
    black_box(text);
    black_box(signed);
    black_box(small);
    black_box(livetest_inner as extern "C" fn(i64) -> i64)(number) + number
}

/// Called by `livetest_target`, for stacks of two frames.
#[allow(
    unsafe_code,
    reason = "a symbol of a known name is what a uprobe attaches to; nothing else here has it"
)]
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn livetest_inner(number: i64) -> i64 {
    black_box(number) * 2
}

/// A variable of a known name, which `livetest_target`'s caller reads.
#[allow(
    unsafe_code,
    reason = "a symbol of a known name is what `uaddr` of the fixtures looks up; nothing else here has it"
)]
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "C writes it so")]
pub(super) static livetest_number: u32 = 0x0bee_0bee;

type Target = extern "C" fn(i64, *const c_char, i32, u8) -> i64;

pub(super) fn call(args: &[String]) -> Result<(), String> {
    (1..=count(&args[0])?).try_for_each(|number| call_once(number, &format!("bee {number}")))
}

pub(super) fn call_with_text(args: &[String]) -> Result<(), String> {
    (1..=count(&args[0])?).try_for_each(|number| call_once(number, &args[1]))
}

fn call_once(number: usize, text: &str) -> Result<(), String> {
    let text = CString::new(text).map_err(|error| error.to_string())?;
    let target = black_box(livetest_target as Target);
    let number = number as i64;
    let result = target(number, text.as_ptr(), -7, 200);
    if *black_box(&livetest_number) == 0 {
        return Err("the variable lost its value".to_owned());
    }
    match black_box(result) == number * 3 {
        true => Ok(()),
        false => Err(format!("livetest_target({number}) returned {result}")),
    }
}
