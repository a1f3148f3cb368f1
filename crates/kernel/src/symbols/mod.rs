//! Addresses to names, for the kernel ([`kallsyms`]) and for processes ([`user`]). Nothing is read before the first
//! address is asked for.

pub mod kallsyms;
pub(crate) mod lines;
mod mappings;
pub mod user;
