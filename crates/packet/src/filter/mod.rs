//! The filter language, pcap-filter(7): an expression, a link type and a target enter; a test of one packet leaves, in
//! the compiler's IR. It means what libpcap makes of the same expression.
//!
//! Text becomes tokens ([`lex`]), a tree ([`parse`]), then the predicate form ([`pred`]): tests on numbers read from the
//! packet at computed places; the [`graph`] makes each test once. From there a packet is tested here (`steps`), or code is
//! emitted ([`emit`]) for a whole program ([`program`]) or a part of one, or classic BPF for a packet socket ([`classic`]).

pub mod ast;
pub mod batch;
mod build;
mod chain;
pub mod classic;
mod cooked;
pub mod emit;
mod eval;
pub mod graph;
pub mod lex;
pub mod link;
pub mod names;
pub mod parse;
pub mod pred;
pub mod program;
pub mod script;
pub mod show;
mod steps;
pub mod words;

pub use eval::Packet;

use emit::Rules;
use graph::{Graph, Next};
use link::LinkType;
use names::Names;
use pred::Preds;
use skep_bpf::target::Target;
use skep_lang::ast::Span;
use skep_lang::diag::Diagnostic;
use steps::Steps;

/// Where packets come from, which decides what beside their bytes is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// A capture file.
    File {
        /// Written on a machine of the other byte order.
        swapped: bool,
    },
    /// A packet socket of the running kernel.
    Socket,
    /// An XDP program, which sees what its interface receives, with VLAN tags in the frame.
    Xdp,
    /// A TC program.
    Tc {
        /// It sees what the interface sends.
        egress: bool,
    },
}

/// How an expression is compiled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// How packets begin.
    pub link: LinkType,
    /// Where they come from.
    pub source: Source,
    /// The network's mask, for `ip broadcast`.
    pub netmask: Option<u32>,
    /// As libpcap 1.10 in everything.
    pub strict: bool,
}

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Filter {
    preds: Preds,
    graph: Graph,
    /// The graph again, for packets that are tested here.
    steps: Steps,
    options: Options,
    /// It asks for VLAN tags.
    tags: bool,
}

/// Compiles an expression. The empty one matches everything.
pub fn compile(text: &str, options: &Options, target: &dyn Target) -> Result<Filter, Box<Diagnostic>> {
    let (tree, root) = parse::parse(text, options.strict)?;
    let Some(root) = root else {
        return Ok(Filter::new(Preds::default(), Graph::everything(), options, false));
    };
    let encapsulates = build::encapsulates(&tree);
    let (preds, start) =
        build::build(&tree, root, options, Names::new(target), options.strict || encapsulates)?;
    let mut graph = Graph::new(&preds, start);
    // Where libpcap does not optimise it notices nothing and reads everything.
    let unoptimised = encapsulates || graph::is_chain(&preds);
    graph.simplify(&preds, options.strict || unoptimised);
    if !unoptimised && rejects_everything(&graph, &preds) {
        let whole = Span::new(0, text.len());
        return Err(Diagnostic::error("filter-rejects-all", whole, "expression rejects all packets")
            .at("no packet can match this")
            .into());
    }
    Ok(Filter::new(preds, graph, options, build::asks_for_tags(&tree)))
}

/// Whether no packet can pass, however long it is.
fn rejects_everything(graph: &Graph, preds: &Preds) -> bool {
    let mut graph = graph.clone();
    graph.simplify(preds, false);
    graph.root == Next::Reject
}

impl Filter {
    fn new(preds: Preds, graph: Graph, options: &Options, tags: bool) -> Filter {
        Filter { steps: Steps::new(&graph, &preds), preds, graph, options: *options, tags }
    }

    /// Whether a packet matches.
    #[inline]
    pub fn matches(&self, packet: &Packet<'_>) -> bool {
        self.steps.matches(self, packet)
    }

    /// How numbers are counted.
    fn rules(&self) -> Rules {
        Rules { wraps: !matches!(self.options.source, Source::File { .. }), strict: self.options.strict }
    }

    /// How many tests there are.
    pub fn tests(&self) -> usize {
        self.graph.nodes.len()
    }
}
