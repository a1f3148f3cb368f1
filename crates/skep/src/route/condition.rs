//! Conditions of routes: a filter expression enters, nothing leaves where both of the router's programs can ask it; else what is wrong, with
//! its place underlined.

use crate::error::Error;
use skep_kernel::live::LiveTarget;
use skep_lang::compile::Source as Text;
use skep_lang::diag::Diagnostics;
use skep_packet::filter::link::LinkType;
use skep_packet::filter::{Options, Source, compile};

/// What messages call an expression.
const NAME: &str = "if";

/// Whether an expression can be a route's condition.
pub(super) fn check(text: Option<&str>) -> Result<(), Error> {
    let Some(text) = text else { return Ok(()) };
    for source in [Source::Xdp, Source::Tc { egress: false }] {
        let options = Options { link: LinkType::Ethernet, source, netmask: None, strict: false };
        if let Err(mistake) = compile(text, &options, &LiveTarget::new()) {
            let source = Text { name: NAME.to_owned(), text: text.to_owned() };
            let diagnostics = Diagnostics { list: vec![*mistake], files: Vec::new() };
            return Err(Error::Script { diagnostics, source });
        }
    }
    Ok(())
}
