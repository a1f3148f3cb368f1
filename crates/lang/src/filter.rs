//! The seam to the packet filter language, which another crate compiles: the text of a `filter("…")` enters, code that
//! tests a packet leaves. Without a compiler for it, scripts with `filter` are refused.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use crate::diag::Diagnostic;
use skep_bpf::target::Target;
use skep_compiler::ir::{Block, FuncBuilder};
use skep_compiler::layers::{Context, LinkType, Reader};

/// What a filter is compiled for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FilterSource {
    /// What frames begin with.
    pub link: LinkType,
    /// The program's context: XDP, or an skb of TC. `None`: the packet lies somewhere in the kernel's memory, and nothing
    /// is known beside its bytes.
    pub context: Option<Context>,
    /// It sees what the interface sends.
    pub egress: bool,
}

/// Compiles filter expressions.
pub trait FilterCompiler: Send + Sync {
    /// Compiles `text`; the diagnostic's places are counted from the text's first byte.
    fn compile(
        &self,
        text: &str,
        source: FilterSource,
        target: &dyn Target,
    ) -> Result<Rc<dyn Filter>, Box<Diagnostic>>;
}

/// A compiled filter.
pub trait Filter {
    /// Appends the test to the builder's current block: ends in `accept` or in `refuse`, and leaves the builder anywhere.
    fn build(&self, f: &mut FuncBuilder, reader: &Reader, accept: Block, refuse: Block);
}

/// The compiler that a caller hands in.
#[derive(Clone)]
pub struct Filters(pub Arc<dyn FilterCompiler>);

impl fmt::Debug for Filters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Filters")
    }
}

/// A filter in a checked program.
#[derive(Clone)]
pub struct FilterCode {
    /// Its text.
    pub text: String,
    /// Its code.
    pub code: Rc<dyn Filter>,
}

impl fmt::Debug for FilterCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "filter {:?}", self.text)
    }
}

impl PartialEq for FilterCode {
    fn eq(&self, other: &FilterCode) -> bool {
        self.text == other.text
    }
}
