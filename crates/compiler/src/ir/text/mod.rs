//! The IR as text: it prints (`Display` of [`Module`], [`Function`](crate::ir::Function) and their parts) and parses
//! ([`parse()`]), for dumps and for tests.
//!
//! A module's text is complete for the code: functions, slots, blocks, instructions, types and places. Of the object
//! it has the license, the programs and the maps without what is for user space alone (schemas, events, session, attach
//! points, source lines). Printing what was parsed gives the same text again. A line reads:
//!
//! ```text
//! ; a comment, to the end of the line
//! license "GPL"
//! map m0 hash "@start" key 8 value 8 entries 4096 flags 1
//! program f0 "tracepoint:a:b" symbol "a_b" type tracepoint
//! func f0 "a_b" main(ctx) -> i32 {
//!   slot s0 "key" size 8 align 8
//! b0(v0: ctx):
//!   v1: u64 = load u64 [v0 + 16] @3:7
//!   v2: u64 = const 10
//!   branch.ult v1, v2, b1(v1), b2
//! b1(v3: u64):
//!   v4: stack = slotaddr s0
//!   store.8 [v4], v3
//!   jump b2
//! b2 cold:
//!   v5: i32 = const 0
//!   return v5
//! }
//! ```
//!
//! Operations of 32 bits have the suffix `.32`; sizes in suffixes are bytes; `@3:7` is line and column of the source.

mod lex;
mod names;
mod parse;
mod parse_op;
mod print;

pub use parse::{ParseError, parse};

#[cfg(doc)]
use crate::ir::Module;
