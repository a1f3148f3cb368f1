//! The language: source text and a target enter, a checked program and then a module of IR leave, or diagnostics.

pub mod ast;
pub mod build;
pub mod builtins;
pub mod c;
pub mod check;
pub mod compile;
pub mod diag;
pub mod expand;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
pub mod filter;
pub mod fmt;
pub mod hir;
pub mod import;
pub mod lex;
pub mod library;
pub mod list;
pub mod options;
pub mod parse;
#[cfg(test)]
mod random;
pub mod resolve;
pub mod source;
mod spans;
pub mod suggest;
pub mod ty;
pub mod types;
