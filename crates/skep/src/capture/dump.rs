//! A filter at each stage of its compilation, as text: an expression enters, and what becomes of it leaves.

use skep_bpf::classic::text as text_of;
use skep_compiler::compile::{CompileOptions, Stage as Compiled, compile as compile_module};
use skep_kernel::LiveTarget;
use skep_packet::filter::link::LinkType;
use skep_packet::filter::program::Verdicts;
use skep_packet::filter::{Options, Source, compile, show};

use super::filter::wrong;
use crate::Error;

/// Most bytes of a packet that are taken, which a socket's filter returns (libpcap's MAXIMUM_SNAPLEN).
const WHOLE: i32 = 262_144;

/// A stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// The parsed expression.
    Tree,
    /// The tests that are made, in their order.
    Tests,
    /// The intermediate representation as it is built.
    Ir,
    /// The same after the passes.
    Opt,
    /// Classic BPF, if there is such a form: what a packet socket is given.
    Classic,
    /// eBPF instructions.
    Asm,
}

/// Compiles an expression for a socket that sees packets of this link type (`LINKTYPE_`) and gives the text of each stage
/// that is asked for to `out`. `strict`: as libpcap in everything.
pub fn stages(
    text: &str,
    link: u16,
    strict: bool,
    wants: &dyn Fn(Stage) -> bool,
    out: &mut dyn FnMut(Stage, &str),
) -> Result<(), Error> {
    let unknown = || Error::Capture(format!("there is no filter for packets of link type {link}"));
    let link = LinkType::from_number(link).ok_or_else(unknown)?;
    let target = LiveTarget::new();
    let options = Options { link, source: Source::Socket, netmask: None, strict };
    let filter = compile(text, &options, &target).map_err(|mistake| wrong(text, *mistake))?;
    if wants(Stage::Tree) {
        out(Stage::Tree, &show::tree(text, strict).map_err(|mistake| wrong(text, *mistake))?);
    }
    if wants(Stage::Tests) {
        out(Stage::Tests, &filter.to_string());
    }
    if wants(Stage::Classic) {
        let classic = filter.classic(WHOLE as u32);
        out(
            Stage::Classic,
            &classic.map_or("no classic BPF: sockets are given the eBPF program".to_owned(), |c| text_of(&c)),
        );
    }
    let module = filter.module("filter", filter.mode(false), Verdicts { matched: WHOLE, other: 0 });
    if wants(Stage::Ir) {
        out(Stage::Ir, &module.to_string());
    }
    let mut see = |stage: Compiled<'_>| match stage {
        Compiled::Lowered(module) if wants(Stage::Opt) => out(Stage::Opt, &module.to_string()),
        Compiled::Insns(object) if wants(Stage::Asm) => {
            object.programs.iter().for_each(|p| out(Stage::Asm, &skep_bpf::disasm::program(p, object)));
        }
        _ => {}
    };
    let features = skep_lang::compile::features(&target);
    let mut options =
        CompileOptions { features, passes: true, dump: Some(&mut see), ..CompileOptions::default() };
    compile_module(module, &mut options).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(())
}
