//! Packets: filter expressions enter and predicates on packets in the compiler's IR leave; captures on disk are read and
//! written; a router's routes become steps that change its table.

pub mod file;
pub mod filter;
pub mod print;
pub mod route;
pub mod yaml;
