//! Objects as text, and back: instructions in the kernel's syntax with labels, names of maps, helpers and functions, source
//! lines and types as comments, and directives for all that an object file holds beside them. [`print()`] and [`parse`] are a
//! round trip: an object comes back equal.
//!
//! ```text
//! .license "GPL"
//! .map "counts" hash key=4 value=8 entries=128
//! .btf
//!   .bytes 9feb0100…
//! .program "count" xdp attach="none" probe="xdp"
//!   .func 7
//! ; int count(struct xdp_md *ctx)
//!     0: r0 = 2
//!     1: exit
//! .end
//! ```
//!
//! What a reader of text has no use for (layouts of events, attach points as skep's own programs have them) is in
//! `.private`, as bytes. Comments are for the reader alone.

mod names;
mod parse;
mod print;
mod words;

pub use parse::parse;
pub use print::print;

/// Whether a text has directives of an object, rather than only instructions.
pub fn is_object(text: &str) -> bool {
    let directives = [".license", ".map ", ".program ", ".btf"];
    text.lines().map(str::trim_start).any(|line| directives.iter().any(|d| line.starts_with(d)))
}

#[cfg(test)]
mod tests;
