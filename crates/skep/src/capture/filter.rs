//! A filter expression for files, compiled for each link type that is met.

use std::sync::Arc;

use skep_kernel::LiveTarget;
use skep_lang::compile::Source as Text;
use skep_lang::diag::{Diagnostic, Diagnostics};
use skep_packet::filter::link::LinkType;
use skep_packet::filter::{self, Filter, Options, Packet, Source};

use super::machine::{Machine, Tests};
use crate::Error;

/// An expression of the filter language.
#[derive(Debug)]
pub struct Expression {
    text: String,
    strict: bool,
    target: Arc<LiveTarget>,
    /// What it became, by link type and byte order of the file.
    compiled: Vec<((u16, bool), Filter)>,
    /// The same as machine code, for the only link type of a large file.
    machine: Option<Machine>,
    /// The entry that was used last.
    last: usize,
}

/// A mistake in an expression, to be shown in it.
pub(super) fn wrong(text: &str, mistake: Diagnostic) -> Error {
    let source = Text { name: "filter".to_owned(), text: text.to_owned() };
    Error::Script { diagnostics: Diagnostics { list: vec![mistake], files: Vec::new() }, source }
}

impl Expression {
    /// The expression of this text; empty: every packet. `strict`: as libpcap in everything.
    pub fn new(text: &str, strict: bool) -> Expression {
        let target = Arc::new(LiveTarget::new());
        Expression {
            text: text.trim().to_owned(),
            strict,
            target,
            compiled: Vec::new(),
            machine: None,
            last: 0,
        }
    }

    /// Whether it takes every packet.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Its text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Compiles it for packets of this link type (`LINKTYPE_`); `swapped`: of a machine of the other byte order.
    pub(super) fn prepare(&mut self, link: u16, swapped: bool) -> Result<(), Error> {
        if self.is_empty() || self.compiled.iter().any(|(key, _)| *key == (link, swapped)) {
            return Ok(());
        }
        let known = LinkType::from_number(link).ok_or_else(|| {
            Error::Capture(format!(
                "there is no filter for packets of link type {link}; without one they can be copied"
            ))
        })?;
        let options =
            Options { link: known, source: Source::File { swapped }, netmask: None, strict: self.strict };
        let filter = filter::compile(&self.text, &options, &*self.target)
            .map_err(|mistake| wrong(&self.text, *mistake))?;
        self.compiled.push(((link, swapped), filter));
        Ok(())
    }

    /// Translates it to machine code for packets of this link type; whether that could be done.
    pub(super) fn translate(&mut self, link: u16, swapped: bool) -> bool {
        let filter = self.compiled.iter().find(|(key, _)| *key == (link, swapped));
        self.machine = filter.and_then(|(_, filter)| Machine::new(filter));
        self.machine.is_some()
    }

    /// Tests by machine code, after [`Expression::translate`].
    pub(super) fn tests(&mut self) -> Option<Tests<'_>> {
        self.machine.as_mut().and_then(Machine::tests)
    }

    /// Whether a packet matches.
    #[inline]
    pub(super) fn matches(
        &mut self,
        link: u16,
        swapped: bool,
        bytes: &[u8],
        len: u32,
    ) -> Result<bool, Error> {
        let packet = Packet { bytes, length: len, ..Packet::default() };
        let key = (link, swapped);
        loop {
            if let Some((_, filter)) = self.compiled.get(self.last).filter(|(known, _)| *known == key) {
                return Ok(filter.matches(&packet));
            }
            self.prepare(link, swapped)?;
            self.last = self.compiled.iter().position(|(known, _)| *known == key).unwrap_or(0);
        }
    }
}
