//! The predicate form: tests on numbers that are read from the packet at computed places, joined by and, or, not.
//!
//! Values are shared: equal ones have the same [`ValueId`]. All are 32 bits wide without a sign, as in classic BPF. What
//! always holds: reading a byte that the packet lacks, dividing by zero, ends the whole filter with "no"; and so does
//! nothing else. A value's operands have lower numbers.

use super::ast::ArithOp;
use std::collections::HashMap;

/// A value of [`Preds`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ValueId(pub u32);

/// A node of [`Preds`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PredId(pub u32);

/// A variable: an offset that depends on which tests have run. All begin as 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Var(pub u32);

/// What the kernel knows of a packet beside its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Meta {
    /// 1 if the kernel has taken a VLAN tag out of the frame.
    VlanPresent,
    /// That tag's 16 bits.
    VlanTag,
    /// `PACKET_HOST` and so on (include/uapi/linux/if_packet.h).
    PacketType,
    /// Number of the interface.
    Ifindex,
    /// The EtherType.
    Protocol,
}

/// How a value is computed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Value {
    /// A number.
    Const(u32),
    /// The packet's length.
    Len,
    /// A variable.
    Var(Var),
    /// Beside the packet.
    Meta(Meta),
    /// `bytes` (1, 2 or 4) from `index + add` on, in network byte order. The sum wraps.
    Load {
        /// Bytes.
        bytes: u8,
        /// Constant part of the place.
        add: u32,
        /// Computed part.
        index: Option<ValueId>,
    },
    /// Arithmetic.
    Bin(ArithOp, ValueId, ValueId),
    /// `-a`
    Neg(ValueId),
    /// `if a == is { then } else { other }`; only one of both is computed.
    Choose {
        /// Compared.
        a: ValueId,
        /// With this.
        is: u32,
        /// If equal.
        then: ValueId,
        /// If not.
        other: ValueId,
    },
    /// The last protocol that the chain of headers from an IP header on leads to before `proto` or a header that has no
    /// next; see `super::chain`.
    Chain {
        /// IPv6.
        v6: bool,
        /// Place of the IP header.
        header: u32,
        /// The protocol that is looked for.
        proto: u32,
    },
}

/// Comparisons, as classic BPF has them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cc {
    /// a == b
    Eq,
    /// a > b
    Gt,
    /// a >= b
    Ge,
    /// a & b != 0
    Set,
}

/// A test, and what happens before it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Test {
    /// Variables that are set first, one after another.
    pub sets: Vec<(Var, ValueId)>,
    /// Comparison.
    pub cc: Cc,
    /// Left.
    pub a: ValueId,
    /// Right.
    pub b: ValueId,
}

/// A node.
#[derive(Clone, PartialEq, Debug)]
pub enum Pred {
    /// A test.
    Test(Test),
    /// The opposite.
    Not(PredId),
    /// Both, the left one first.
    And(PredId, PredId),
    /// Either, the left one first.
    Or(PredId, PredId),
}

/// All nodes and values of a filter.
#[derive(Clone, Debug, Default)]
pub struct Preds {
    /// Nodes.
    pub nodes: Vec<Pred>,
    /// Values.
    pub values: Vec<Value>,
    numbers: HashMap<Value, ValueId>,
    /// What is read is read, whether it decides anything or not.
    keep: bool,
}

impl Preds {
    /// No nodes yet. `keep`: values are computed even where they decide nothing, as libpcap does without its optimiser.
    pub fn new(keep: bool) -> Preds {
        Preds { keep, ..Preds::default() }
    }

    /// Values were changed in place: equal ones are found anew from here on.
    pub(super) fn forget(&mut self) {
        self.numbers.clear();
    }

    /// A value.
    pub fn value(&self, id: ValueId) -> Value {
        self.values[id.0 as usize]
    }

    /// A node.
    pub fn node(&self, id: PredId) -> &Pred {
        &self.nodes[id.0 as usize]
    }

    /// Largest number that a value can be.
    pub fn most(&self, id: ValueId) -> u64 {
        let most = match self.value(id) {
            Value::Const(c) => u64::from(c),
            Value::Load { bytes, .. } => (1 << (8 * u32::from(bytes))) - 1,
            Value::Bin(ArithOp::And, a, b) => self.most(a).min(self.most(b)),
            Value::Bin(ArithOp::Add, a, b) => self.most(a) + self.most(b),
            Value::Bin(ArithOp::Shl, a, b) => match self.constant(b) {
                Some(count) if count < 32 => self.most(a) << count,
                _ => u64::MAX,
            },
            Value::Bin(ArithOp::Mul, a, b) => self.most(a).saturating_mul(self.most(b)),
            _ => u64::MAX,
        };
        // What may exceed 32 bits wraps, so nothing is known of it.
        most.min(u64::from(u32::MAX))
    }

    /// Where the IPv4 header begins, if the value is the length of one that begins at a constant place.
    pub fn ip4_length(&self, id: ValueId) -> Option<u32> {
        let words = match self.value(id) {
            Value::Bin(ArithOp::Shl, words, by) if self.constant(by) == Some(2) => words,
            Value::Bin(ArithOp::Mul, words, by) if self.constant(by) == Some(4) => words,
            _ => return None,
        };
        let Value::Bin(ArithOp::And, first, mask) = self.value(words) else { return None };
        match self.value(first) {
            Value::Load { bytes: 1, index: None, add } if self.constant(mask) == Some(0xf) => Some(add),
            _ => None,
        }
    }

    /// The number, if the value is one.
    pub fn constant(&self, id: ValueId) -> Option<u32> {
        match self.value(id) {
            Value::Const(c) => Some(c),
            _ => None,
        }
    }

    /// The value's number, folded.
    pub fn add(&mut self, value: Value) -> ValueId {
        let value = self.fold(value);
        if let Some(id) = self.numbers.get(&value) {
            return *id;
        }
        let id = ValueId(self.values.len() as u32);
        self.values.push(value);
        self.numbers.insert(value, id);
        id
    }

    /// A number.
    pub fn number(&mut self, value: u32) -> ValueId {
        self.add(Value::Const(value))
    }

    /// Bytes at a constant place, or at a constant distance from a computed one.
    pub fn load(&mut self, index: Option<ValueId>, add: u32, bytes: u8) -> ValueId {
        self.add(Value::Load { bytes, add, index })
    }

    /// Arithmetic.
    pub fn bin(&mut self, op: ArithOp, a: ValueId, b: ValueId) -> ValueId {
        self.add(Value::Bin(op, a, b))
    }

    /// Arithmetic with a number.
    pub fn bin_number(&mut self, op: ArithOp, a: ValueId, b: u32) -> ValueId {
        let b = self.number(b);
        self.bin(op, a, b)
    }

    fn push(&mut self, pred: Pred) -> PredId {
        self.nodes.push(pred);
        PredId(self.nodes.len() as u32 - 1)
    }

    /// A test of two values.
    pub fn test(&mut self, cc: Cc, a: ValueId, b: ValueId) -> PredId {
        self.push(Pred::Test(Test { sets: Vec::new(), cc, a, b }))
    }

    /// A test that sets variables first.
    pub fn test_setting(&mut self, sets: Vec<(Var, ValueId)>, cc: Cc, a: ValueId, b: ValueId) -> PredId {
        self.push(Pred::Test(Test { sets, cc, a, b }))
    }

    /// Always, or never.
    pub fn always(&mut self, holds: bool) -> PredId {
        let (a, b) = (self.number(0), self.number(u32::from(!holds)));
        self.test(Cc::Eq, a, b)
    }

    /// Both.
    pub fn and(&mut self, a: PredId, b: PredId) -> PredId {
        self.push(Pred::And(a, b))
    }

    /// Either.
    pub fn or(&mut self, a: PredId, b: PredId) -> PredId {
        self.push(Pred::Or(a, b))
    }

    /// The opposite.
    pub fn not(&mut self, a: PredId) -> PredId {
        self.push(Pred::Not(a))
    }

    /// The same value, simpler. As libpcap's optimiser does, what is multiplied by zero is not computed.
    fn fold(&self, value: Value) -> Value {
        match value {
            Value::Bin(op, a, b) => self.fold_bin(op, a, b),
            Value::Neg(a) => self.constant(a).map_or(value, |a| Value::Const(a.wrapping_neg())),
            Value::Load { bytes, add, index: Some(index) } => match self.value(index) {
                Value::Const(c) => Value::Load { bytes, add: add.wrapping_add(c), index: None },
                Value::Bin(ArithOp::Add, a, b) => self.split(a, b).map_or(value, |(index, more)| {
                    let add = u64::from(add) + u64::from(more);
                    match u32::try_from(add + u64::from(bytes) + self.most(index)) {
                        Ok(_) => Value::Load { bytes, add: add as u32, index: Some(index) },
                        Err(_) => value,
                    }
                }),
                _ => value,
            },
            Value::Choose { a, is, then, other } => match self.constant(a) {
                Some(a) => self.value(if a == is { then } else { other }),
                None => value,
            },
            _ => value,
        }
    }

    /// A sum's computed part and its constant one.
    fn split(&self, a: ValueId, b: ValueId) -> Option<(ValueId, u32)> {
        self.constant(b).map(|c| (a, c)).or(self.constant(a).map(|c| (b, c)))
    }

    fn fold_bin(&self, op: ArithOp, a: ValueId, b: ValueId) -> Value {
        use ArithOp::{Add, And, Div, Mod, Mul, Or, Shl, Shr, Sub, Xor};
        let value = Value::Bin(op, a, b);
        match (self.constant(a), self.constant(b)) {
            (Some(a), Some(b)) => arith(op, a, b).map_or(value, Value::Const),
            (_, Some(0)) => match op {
                Add | Sub | Or | Xor | Shl | Shr => self.value(a),
                Mul | And if !self.keep => Value::Const(0),
                Mul | And | Div | Mod => value,
            },
            (_, Some(1)) if matches!(op, Mul | Div) => self.value(a),
            (_, Some(u32::MAX)) if op == And => self.value(a),
            (Some(0), _) => match op {
                Add | Or | Xor => self.value(b),
                Mul | Div | Mod | And | Shl | Shr if !self.keep => Value::Const(0),
                _ => value,
            },
            _ => value,
        }
    }

    /// What a value is computed from.
    pub fn operands(&self, id: ValueId) -> Vec<ValueId> {
        match self.value(id) {
            Value::Load { index, .. } => index.into_iter().collect(),
            Value::Bin(_, a, b) => vec![a, b],
            Value::Neg(a) => vec![a],
            Value::Choose { a, then, other, .. } => vec![a, then, other],
            Value::Const(_) | Value::Len | Value::Var(_) | Value::Meta(_) | Value::Chain { .. } => Vec::new(),
        }
    }

    /// Whether the value depends on a variable.
    pub fn varies(&self) -> Vec<bool> {
        let mut varies = vec![false; self.values.len()];
        for (i, value) in self.values.iter().enumerate() {
            let of = |id: &ValueId| varies[id.0 as usize];
            varies[i] = match value {
                Value::Var(_) => true,
                Value::Load { index, .. } => index.as_ref().is_some_and(of),
                Value::Bin(_, a, b) => of(a) || of(b),
                Value::Neg(a) => of(a),
                Value::Choose { a, then, other, .. } => of(a) || of(then) || of(other),
                Value::Const(_) | Value::Len | Value::Meta(_) | Value::Chain { .. } => false,
            };
        }
        varies
    }
}

/// The result of an operation, but for a division by zero.
pub fn arith(op: ArithOp, a: u32, b: u32) -> Option<u32> {
    Some(match op {
        ArithOp::Add => a.wrapping_add(b),
        ArithOp::Sub => a.wrapping_sub(b),
        ArithOp::Mul => a.wrapping_mul(b),
        ArithOp::Div => a.checked_div(b)?,
        ArithOp::Mod => a.checked_rem(b)?,
        ArithOp::And => a & b,
        ArithOp::Or => a | b,
        ArithOp::Xor => a ^ b,
        ArithOp::Shl => a.checked_shl(b).unwrap_or(0),
        ArithOp::Shr => a.checked_shr(b).unwrap_or(0),
    })
}

/// Whether a comparison of numbers holds.
pub fn holds(cc: Cc, a: u32, b: u32) -> bool {
    match cc {
        Cc::Eq => a == b,
        Cc::Gt => a > b,
        Cc::Ge => a >= b,
        Cc::Set => a & b != 0,
    }
}
