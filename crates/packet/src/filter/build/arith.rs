//! Arithmetic and comparisons of it.

use super::{Build, Built, From, ether, word};
use crate::filter::ast::{Arith, ArithId, ArithOp, Relop};
use crate::filter::pred::{Cc, PredId, Value, ValueId};
use crate::filter::words::Proto;

/// A number that was built.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number {
    value: ValueId,
    /// What must hold for it to mean anything.
    guard: Option<PredId>,
    /// The number that its text begins with, brackets and indices included: what libpcap takes for the whole of it when
    /// it looks for divisions by zero.
    first: Option<u32>,
}

impl Build<'_> {
    /// Builds all numbers up to `last`, in the order of the text.
    fn numbers(&mut self, last: ArithId) -> Built<()> {
        while self.arithmetic.len() <= last.0 as usize {
            let (arith, span) = self.tree.arith(ArithId(self.arithmetic.len() as u32));
            self.span = *span;
            let number = self.arith(arith)?;
            self.arithmetic.push(number);
        }
        Ok(())
    }

    fn built(&self, id: ArithId) -> Number {
        self.arithmetic[id.0 as usize]
    }

    pub(super) fn relation(&mut self, op: Relop, a: ArithId, b: ArithId) -> Built<PredId> {
        self.numbers(b)?;
        let (a, b) = (self.built(a), self.built(b));
        let (cc, opposite) = match op {
            Relop::Eq => (Cc::Eq, false),
            Relop::Ne => (Cc::Eq, true),
            Relop::Gt => (Cc::Gt, false),
            Relop::Le => (Cc::Gt, true),
            Relop::Ge => (Cc::Ge, false),
            Relop::Lt => (Cc::Ge, true),
        };
        let test = self.preds.test(cc, a.value, b.value);
        let test = if opposite { self.preds.not(test) } else { test };
        self.registers = self.registers.saturating_sub(2);
        let guard = match (a.guard, b.guard) {
            (Some(a), Some(b)) => Some(self.preds.and(a, b)),
            (a, b) => a.or(b),
        };
        Ok(self.after(guard, test))
    }

    fn arith(&mut self, arith: &Arith) -> Built<Number> {
        match *arith {
            Arith::Number(number) => {
                self.take_register()?;
                Ok(Number { value: self.preds.number(number), guard: None, first: Some(number) })
            }
            Arith::Len => {
                self.take_register()?;
                Ok(Number { value: self.preds.add(Value::Len), guard: None, first: None })
            }
            Arith::Neg(a) => {
                let a = self.built(a);
                Ok(Number { value: self.preds.add(Value::Neg(a.value)), ..a })
            }
            Arith::Bin(op, a, b) => self.binary(op, self.built(a), self.built(b)),
            Arith::Load { proto, index, bytes } => self.indexed(proto, self.built(index), bytes),
        }
    }

    fn binary(&mut self, op: ArithOp, a: Number, b: Number) -> Built<Number> {
        let refused = match (op, b.first) {
            (ArithOp::Div, Some(0)) => Some("division by zero"),
            (ArithOp::Mod, Some(0)) => Some("modulus by zero"),
            (ArithOp::Shl | ArithOp::Shr, Some(32..)) => Some("shift by more than 31 bits"),
            _ => None,
        };
        if let Some(refused) = refused {
            return self.fail(refused).map_err(|d: Box<skep_lang::diag::Diagnostic>| {
                d.hint("the number that the right side begins with counts, as in libpcap, also in brackets and indices").into()
            });
        }
        self.registers -= 1;
        // As in libpcap, only what the left side needs is asked for.
        Ok(Number { value: self.preds.bin(op, a.value, b.value), guard: a.guard, first: a.first })
    }

    /// `PROTO[INDEX:BYTES]`
    fn indexed(&mut self, proto: Proto, index: Number, bytes: u32) -> Built<Number> {
        // The result takes a register before the index gives its own back.
        self.take_register()?;
        self.registers -= 1;
        let bytes = match bytes {
            1 => 1u8,
            2 => 2,
            4 => 4,
            _ => return self.fail("data size must be 1, 2, or 4"),
        };
        match proto {
            Proto::Link => {
                let value = self.load_indexed(self.layers.header, index.value, bytes);
                Ok(Number { value, ..index })
            }
            Proto::Ip
            | Proto::Arp
            | Proto::Rarp
            | Proto::Atalk
            | Proto::Decnet
            | Proto::Sca
            | Proto::Lat
            | Proto::Moprc
            | Proto::Mopdl
            | Proto::Ip6 => {
                let value = self.load_indexed(self.network(), index.value, bytes);
                let is = self.proto(proto)?;
                let guard = Some(self.after(index.guard, is));
                Ok(Number { value, guard, ..index })
            }
            Proto::Sctp
            | Proto::Tcp
            | Proto::Udp
            | Proto::Icmp
            | Proto::Igmp
            | Proto::Igrp
            | Proto::Pim
            | Proto::Vrrp
            | Proto::Carp => {
                let header = self.ipv4_header();
                let place = self.preds.bin(ArithOp::Add, index.value, header);
                let add = self.network().add;
                let value = self.preds.load(Some(place), add, bytes);
                let is = self.proto(proto)?;
                let whole = self.first_fragment();
                let is = self.preds.and(is, whole);
                let is = self.after(index.guard, is);
                let ip = self.linktype(ether::IP)?;
                let guard = Some(self.preds.and(ip, is));
                Ok(Number { value, guard, ..index })
            }
            Proto::Icmp6 => {
                let is = self.proto(Proto::Ip6)?;
                let is = self.after(index.guard, is);
                let next = self.equal(From::Network, 6, 1, 58);
                let guard = Some(self.preds.and(is, next));
                let network = self.network();
                let off = super::Off { add: network.add.wrapping_add(40), ..network };
                let value = self.load_indexed(off, index.value, bytes);
                Ok(Number { value, guard, ..index })
            }
            Proto::Radio => self.fail("radio information not present in capture"),
            _ => {
                let message = format!("unsupported index operation: `{}` has no bytes to read", word(proto));
                self.fail(message)
            }
        }
    }

    /// Bytes at a computed distance from a place.
    fn load_indexed(&mut self, off: super::Off, index: ValueId, bytes: u8) -> ValueId {
        let index = match off.var {
            None => index,
            Some(var) => {
                let var = self.preds.add(Value::Var(var));
                self.preds.bin(ArithOp::Add, index, var)
            }
        };
        self.preds.load(Some(index), off.add, bytes)
    }
}
