//! Packets: filter expressions enter and predicates on packets in the compiler's IR leave.

pub mod filter;
