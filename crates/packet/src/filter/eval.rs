//! Evaluation without a kernel: a test, a packet's bytes and what is known beside them enter; whether it holds leaves.
//! [`super::steps`] goes from test to test.
//!
//! What always holds: the same outcome as the emitted code has on the same packet.

use super::ast::ArithOp;
use super::chain;
use super::graph::Graph;
use super::pred::{self, Meta, Preds, Value, ValueId};

/// A packet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Packet<'a> {
    /// What there is of it.
    pub bytes: &'a [u8],
    /// How long it was.
    pub length: u32,
    /// The VLAN tag that the kernel took out.
    pub vlan: Option<u16>,
    /// `PACKET_HOST` and so on.
    pub packet_type: u32,
    /// Number of the interface.
    pub ifindex: u32,
    /// The EtherType.
    pub protocol: u16,
}

/// A byte that the packet lacks, or a division by zero: the filter ends with "no".
pub(super) struct Missing;

/// What evaluates values on a packet.
pub(super) struct Eval<'a> {
    pub(super) preds: &'a Preds,
    pub(super) packet: &'a Packet<'a>,
    /// As many as [`variables`] says.
    pub(super) vars: &'a mut [u32],
    /// Computed places wrap at 32 bits, as in the kernel.
    pub(super) wraps: bool,
    pub(super) strict: bool,
}

/// How many variables a filter has.
pub(super) fn variables(graph: &Graph, preds: &Preds) -> usize {
    let used = preds.values.iter().filter_map(|v| if let Value::Var(var) = v { Some(var.0) } else { None });
    let set = graph.nodes.iter().flat_map(|node| &node.test.sets).map(|(var, _)| var.0);
    used.chain(set).max().map_or(0, |last| last as usize + 1)
}

impl Eval<'_> {
    /// Sets a test's variables, and whether it holds.
    pub(super) fn test(&mut self, test: &pred::Test) -> Result<bool, Missing> {
        for (var, value) in &test.sets {
            self.vars[var.0 as usize] = self.value(*value)?;
        }
        Ok(pred::holds(test.cc, self.value(test.a)?, self.value(test.b)?))
    }

    fn value(&self, id: ValueId) -> Result<u32, Missing> {
        match self.preds.value(id) {
            Value::Const(c) => Ok(c),
            Value::Len => Ok(self.packet.length),
            Value::Var(var) => Ok(self.vars[var.0 as usize]),
            Value::Meta(Meta::VlanPresent) => Ok(u32::from(self.packet.vlan.is_some())),
            Value::Meta(Meta::VlanTag) => Ok(self.packet.vlan.unwrap_or(0).into()),
            Value::Meta(Meta::PacketType) => Ok(self.packet.packet_type),
            Value::Meta(Meta::Ifindex) => Ok(self.packet.ifindex),
            Value::Meta(Meta::Protocol) => Ok(self.packet.protocol.into()),
            Value::Load { bytes, add, index } => {
                let index = index.map_or(Ok(0), |index| self.value(index))?;
                let place = u64::from(index) + u64::from(add);
                self.load(if self.wraps { u64::from(place as u32) } else { place }, bytes)
            }
            Value::Bin(op, a, b) => {
                let (a, b) = (self.value(a)?, self.value(b)?);
                // The kernel's shifts count modulo 32.
                let b = if self.wraps && matches!(op, ArithOp::Shl | ArithOp::Shr) { b & 31 } else { b };
                pred::arith(op, a, b).ok_or(Missing)
            }
            Value::Neg(a) => Ok(self.value(a)?.wrapping_neg()),
            Value::Choose { a, is, then, other } => {
                self.value(if self.value(a)? == is { then } else { other })
            }
            Value::Chain { v6, header, proto } => self.chain(v6, header, proto),
        }
    }

    fn load(&self, place: u64, bytes: u8) -> Result<u32, Missing> {
        let start = usize::try_from(place).map_err(|_| Missing)?;
        let end = start.checked_add(bytes.into()).ok_or(Missing)?;
        let bytes = self.packet.bytes.get(start..end).ok_or(Missing)?;
        Ok(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    }

    fn chain(&self, v6: bool, header: u32, proto: u32) -> Result<u32, Missing> {
        let byte = |at: u32| self.load(u64::from(header) + u64::from(at), 1);
        let (mut next, mut at) = match v6 {
            true => (byte(6)?, 40),
            false => (byte(9)?, (byte(0)? & 0xf) << 2),
        };
        for _ in 0..chain::MOST {
            if next == proto || next == chain::NONE {
                return Ok(next);
            }
            if v6 && chain::EXTENSIONS.contains(&next) {
                next = byte(at)?;
                at += (byte(at + 1)? + 1) * 8;
            } else if next == chain::AUTHENTICATION {
                next = byte(at)?;
                let length = (byte(at + 1)? + 2) * 4;
                // libpcap forgets where the header began.
                at = if self.strict { length } else { at + length };
            } else {
                return Ok(next);
            }
        }
        Ok(if next == proto { chain::NONE } else { next })
    }
}
