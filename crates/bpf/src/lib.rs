//! eBPF as data: instructions, BTF, ELF, kinds of programs and maps, and the two hinges of skep,
//! [`object::Object`] and [`target::Target`].
//!
//! Nothing here makes a system call or touches a file: bytes and values enter, bytes and values leave.

pub mod asm;
pub mod backend;
pub mod btf;
pub mod classic;
pub mod context;
pub mod core;
pub mod disasm;
pub mod elf;
pub mod event;
pub mod format;
pub mod helpers;
pub mod insn;
pub mod kinds;
pub mod needs;
pub mod object;
pub mod origin;
pub mod record;
pub mod schema;
pub mod target;
pub mod text;
pub mod tracepoint;
pub mod unwind;
pub mod version;
pub mod wildcard;
