//! Packets: filter expressions enter and predicates on packets in the compiler's IR leave; captures on disk are read and
//! written.

pub mod file;
pub mod filter;
pub mod print;
