//! What is fed: each target makes inputs and takes them. A target that comes back has passed; a panic, or an `Err`, is a
//! failure, and so is an end of the process.

mod bytes;
mod engines;
mod format;
mod instructions;
mod ir;
mod packets;
mod records;
mod routes;
mod source;

use crate::rng::Rng;

/// Something that reads input.
pub(crate) trait Target {
    /// Makes an input.
    fn make(&self, rng: &mut Rng) -> Vec<u8>;
    /// Takes an input; an `Err` names an invariant that broke.
    fn take(&self, input: &[u8]) -> Result<(), String>;
}

type Make = fn() -> Box<dyn Target>;

/// Targets by name, with what they are.
pub(crate) const TARGETS: &[(&str, &str, Make)] = &[
    ("source", "damaged scripts, from parsing to instructions", || Box::new(source::Source::damaged())),
    ("grammar", "scripts made from a grammar, from parsing to instructions", || {
        Box::new(source::Source::made())
    }),
    ("preamble", "C declarations and directives in front of a script", || {
        Box::new(source::Source::preamble())
    }),
    ("format", "the formatter: what it prints means the same, keeps the comments and stays as it is", || {
        Box::new(format::Format::new())
    }),
    ("ir", "the text form of IR: parser, checker, passes, lowering", || Box::new(ir::Ir::new())),
    ("elf", "ELF objects", || Box::new(bytes::Elf::new())),
    ("btf", "BTF, questions about it, CO-RE between two kernels", || Box::new(bytes::Types::new())),
    ("formats", "formats of tracepoints", || Box::new(bytes::Formats::new())),
    ("recordings", "recorded answers of targets", || Box::new(bytes::Recordings::new())),
    ("engines", "programs for the offline machine: interpreter and machine code agree", || {
        Box::new(engines::Engines)
    }),
    ("instructions", "real programs with damaged instructions: both engines agree, or refuse both", || {
        Box::new(instructions::Instructions::new())
    }),
    ("captures", "capture files: read, printed in every way, written and read again", || {
        Box::new(packets::Captures)
    }),
    ("filters", "filter expressions, from parsing to instructions", || Box::new(packets::Filters::new())),
    ("messages", "the kernel's messages about its routes, as a router follows them", || {
        Box::new(routes::Messages)
    }),
    ("tables", "tests of routing tables", || Box::new(routes::Cases::new())),
    ("events", "records of the ring buffer and entries of maps", || Box::new(records::Records::new())),
];

/// The target of that name.
pub(crate) fn find(name: &str) -> Option<Box<dyn Target>> {
    TARGETS.iter().find(|(known, ..)| *known == name).map(|(_, _, make)| make())
}
