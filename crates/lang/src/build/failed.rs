//! Helpers that fail: what a helper returned enters, an event that says so is sent where it is an error. Reads and lookups
//! are only reported when the options ask for it, since scripts may well read what is not there.

use super::Result;
use super::func::Fx;
use crate::ast::Span;
use skep_bpf::event::{Action, lay_out};
use skep_bpf::helpers::{self, id as helper};
use skep_bpf::schema::ValueType;
use skep_compiler::ir::{Cc, Type, Value};

/// Reads of memory.
const READS: &[u32] = &[
    helper::PROBE_READ_USER,
    helper::PROBE_READ_KERNEL,
    helper::PROBE_READ_USER_STR,
    helper::PROBE_READ_KERNEL_STR,
];

impl Fx<'_, '_> {
    /// After a call of any helper: reports a failed read, if that is wanted.
    pub(super) fn report_read(&mut self, id: u32, result: Value) {
        if !self.cx.program.config.helper_errors || !READS.contains(&id) {
            return;
        }
        let (failed, done) = (self.f.cold_block(), self.f.block(&[]));
        let zero = self.f.iconst(Type::I64, 0);
        self.f.branch(Cc::Slt, result, zero, failed, done);
        self.f.switch_to(failed);
        // An event that cannot be sent is the lesser loss here.
        let _ = self.report(id, result, self.here);
        self.f.jump(done, &[]);
        self.f.switch_to(done);
    }

    /// In the block where a lookup for reading found nothing: reports it, if that is wanted.
    pub(super) fn report_lookup(&mut self) -> Result<()> {
        if !self.cx.program.config.helper_errors {
            return Ok(());
        }
        let nothing = self.f.iconst(Type::I64, 0);
        self.report(helper::MAP_LOOKUP_ELEM, nothing, self.here)
    }

    /// Sends what helper `id` returned.
    pub(super) fn report(&mut self, id: u32, result: Value, span: Span) -> Result<()> {
        let name = helpers::by_id(id).map_or("?", |h| h.name);
        let action = Action::HelperError { helper: name.to_owned() };
        let mut layout = lay_out(action, vec![ValueType::Int { size: 8, signed: true }], 0);
        self.cx.place(&mut layout, span);
        // The word may hold what the failed helper was to read.
        let word = self.word.take();
        let sent = match self.failure {
            Some(event) => self.send_number(&layout, event, result, span),
            None => {
                let event = self.cx.add_event(layout.clone());
                let event = self.f.u64(u64::from(event));
                self.send_number(&layout, event, result, span)
            }
        };
        self.word = word;
        sent
    }
}
