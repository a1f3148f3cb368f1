//! The filter language, pcap-filter(7): an expression, a link type and a target enter; a test of one packet leaves, in
//! the compiler's IR. It means what libpcap makes of the same expression.

pub mod ast;
pub mod lex;
pub mod link;
pub mod parse;
pub mod words;
