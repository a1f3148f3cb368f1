//! ELF.

mod tables;
#[cfg(test)]
pub(crate) mod tests;
mod wire;

pub use wire::WireError;
