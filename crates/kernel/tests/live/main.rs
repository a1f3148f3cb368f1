//! Small programs, assembled by hand, on the running kernel. They only observe. Without root every test is skipped by
//! name; one whose feature the kernel lacks as well.
// A test that cannot go on ends with a panic; the lint knows test functions, not their helpers.
#![allow(clippy::unwrap_used)]

mod events;
mod hooks;
mod loading;
mod maps;
mod support;
mod target;
