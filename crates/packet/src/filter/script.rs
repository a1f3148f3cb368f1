//! `filter("…")` in scripts: the text and the place that the script's probe gives it enter, code that tests the probe's
//! packet leaves. The rules are those of XDP and TC programs of this crate; for a packet
//! that a script finds in the kernel's memory, those of files.

use super::link::LinkType;
use super::{Filter, Options, Source, compile, emit};
use skep_bpf::kinds::ProgType;
use skep_bpf::target::Target;
use skep_compiler::ir::{Block, FuncBuilder};
use skep_compiler::layers::{self, Context, Reader};
use skep_lang::diag::Diagnostic;
use skep_lang::filter::{self, FilterCompiler, FilterSource, Filters};
use std::rc::Rc;
use std::sync::Arc;

/// The compiler of filter expressions, for [`skep_lang::options::Options::filters`].
pub fn compiler() -> Filters {
    Filters(Arc::new(Expressions))
}

struct Expressions;

/// A filter in a probe's program.
struct Tested {
    filter: Filter,
    program: ProgType,
}

impl FilterCompiler for Expressions {
    fn compile(
        &self,
        text: &str,
        source: FilterSource,
        target: &dyn Target,
    ) -> Result<Rc<dyn filter::Filter>, Box<Diagnostic>> {
        let kind = match source.context {
            Some(Context::Xdp) => Source::Xdp,
            Some(Context::Skb) => Source::Tc { egress: source.egress },
            None => Source::File { swapped: false },
        };
        let options = Options { link: link_type(source.link), source: kind, netmask: None, strict: false };
        let filter = compile(text, &options, target)?;
        let program = filter.program_type();
        Ok(Rc::new(Tested { filter, program }))
    }
}

impl filter::Filter for Tested {
    fn build(&self, f: &mut FuncBuilder, reader: &Reader, accept: Block, refuse: Block) {
        let place = emit::Place { reader, program: self.program, len: None, matched: accept, other: refuse };
        self.filter.emit(f, &place);
    }
}

fn link_type(link: layers::LinkType) -> LinkType {
    match link {
        layers::LinkType::Ethernet => LinkType::Ethernet,
        layers::LinkType::Raw => LinkType::Raw,
        layers::LinkType::Sll => LinkType::Sll,
        layers::LinkType::Sll2 => LinkType::Sll2,
        layers::LinkType::Null => LinkType::Null,
        layers::LinkType::Loop => LinkType::Loop,
    }
}
