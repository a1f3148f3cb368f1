//! Several accesses through one pointer: what they touch enters, one look into the window leaves, after which each of them is a
//! comparison with a constant. A [`Span`] says how many bytes of its object lie behind a pointer.
//!
//! Always: a span is used only where its pointer has the same value and no call lies between, since only calls can end an object's
//! life or change its bounds. What a span does not allow asks the machine, as every access does.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{InstBuilder, Value};

use super::access::Access;
use super::flow::{self, Next};
use super::live;
use super::state::offset;
use super::translate::Translator;
use crate::vm::op::{Op, Size};

/// Instructions that are looked at for accesses through the same pointer.
const AHEAD: usize = 128;
/// Spans that are known at once.
const KNOWN: usize = 8;

/// Bytes behind a pointer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// The pointer.
    pointer: Value,
    /// Whether the bytes can be written.
    write: bool,
    /// Where they begin, from the pointer.
    low: i16,
    /// The pointer on the host.
    pub(super) host: Value,
    /// How many bytes there are but for one; negative when there are none.
    slack: Value,
    /// The window that the object is shown in.
    pub(super) window: u16,
}

/// The spans that are known at a place.
#[derive(Clone, Debug, Default)]
pub(super) struct Spans(Vec<Span>);

impl Spans {
    /// Forgets all.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    fn find(&self, pointer: Value, access: Access) -> Option<Span> {
        let fits =
            |span: &&Span| span.pointer == pointer && span.low <= access.off && (span.write || !access.write);
        self.0.iter().find(fits).copied()
    }

    fn add(&mut self, span: Span) {
        if self.0.len() == KNOWN {
            self.0.remove(0);
        }
        self.0.push(span);
    }
}

/// Base, offset, size, and whether it writes, of an access that a span can serve.
fn served(op: Op) -> Option<(u8, i16, Size, bool)> {
    match op {
        Op::Load { base, off, size, .. } => Some((base, off, size, false)),
        Op::Store { base, off, size, .. } => Some((base, off, size, true)),
        _ => None,
    }
}

impl Translator<'_> {
    /// The span for an access: one that is known, or a new one if more accesses follow that it serves.
    pub(super) fn span(&mut self, access: Access, pointer: Value) -> Option<Span> {
        served(self.function.ops[access.at])?;
        if let Some(span) = self.spans.find(pointer, access) {
            return Some(span);
        }
        let low = self.lowest_of_several(access)?;
        let window = self.window(access);
        let address = self.offset(pointer, low);
        let bounds = offset::bounds(window, 1, access.write);
        let limit = self.load_state(bounds + offset::LIMIT);
        let start = self.load_state(bounds);
        let begin = self.builder.ins().isub(address, start);
        let outside = self.builder.ins().icmp(IntCC::UnsignedGreaterThan, begin, limit);
        let (none, slack) = (self.constant(I64, -1), self.builder.ins().isub(limit, begin));
        let slack = self.builder.ins().select(outside, none, slack);
        let host = self.builder.ins().iadd(self.base, pointer);
        let span = Span { pointer, write: access.write, low, host, slack, window };
        self.spans.add(span);
        Some(span)
    }

    /// Whether the access is not within the span.
    pub(super) fn beyond(&mut self, span: Span, access: Access) -> Value {
        let last = i64::from(access.off) - i64::from(span.low) + i64::from(access.size.bytes()) - 1;
        let last = self.constant(I64, last);
        self.builder.ins().icmp(IntCC::SignedLessThan, span.slack, last)
    }

    /// The lowest offset of the accesses through the same register, reading or writing as this one does, from here to where
    /// the register changes, something is called, or other code joins; `None` if this is the only one.
    fn lowest_of_several(&self, access: Access) -> Option<i16> {
        let (mut low, mut count) = (access.off, 0);
        let end = self.function.range.end.min(access.at + AHEAD);
        for at in access.at..end {
            let op = self.function.ops[at];
            if at > access.at && self.function.flow.is_targeted(at) {
                break;
            }
            if let Some((base, off, _, write)) = served(op)
                && (base, write) == (access.base, access.write)
            {
                low = low.min(off);
                count += 1;
            }
            let calls = matches!(
                op,
                Op::Call { .. }
                    | Op::Kfunc { .. }
                    | Op::CallLocal { .. }
                    | Op::CallReg { .. }
                    | Op::Packet { .. }
            );
            let ends = matches!(flow::next(op), Next::Jump(_) | Next::Exit);
            if calls || ends || live::writes(op) >> access.base & 1 == 1 {
                break;
            }
        }
        (count > 1).then_some(low)
    }
}
