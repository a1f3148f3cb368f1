//! Tests of the whole folder, and values for tests elsewhere.

use crate::kinds::{AttachType, ProgType};
use crate::object::Program;

/// A program without instructions.
pub(crate) fn empty_program() -> Program {
    Program {
        name: "begin".into(),
        symbol: "begin_1".into(),
        prog_type: ProgType::RawTracepoint,
        attach_type: AttachType::None,
        attach_btf: None,
        attach: Vec::new(),
        sleepable: false,
        insns: Vec::new(),
        relocs: Vec::new(),
        funcs: Vec::new(),
        lines: Vec::new(),
    }
}
