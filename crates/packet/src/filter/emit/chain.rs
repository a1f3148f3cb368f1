//! Code that follows headers to a protocol.

use super::Emit;
use crate::filter::chain;
use skep_compiler::ir::{self, BinOp, Block, IntTy, Type, Value};
use skep_compiler::layers::At;

/// Most that one header can move the next one.
const STEP: u32 = 256 * 8;

/// Where the code stands: the next header's protocol, and its place from the IP header on.
struct Link {
    next: Value,
    at: Value,
    /// The most that `at` can be.
    most: u32,
}

impl Emit<'_> {
    /// As the evaluation in `eval.rs`, header by header.
    pub(super) fn chain(&mut self, v6: bool, header: u32, proto: u32) -> Value {
        let done = self.f.block(&[Type::U32]);
        let mut link = if v6 {
            let next = self.load(None, header + 6, 1);
            Link { next, at: self.constant(40), most: 40 }
        } else {
            let next = self.load(None, header + 9, 1);
            let first = self.load(None, header, 1);
            let (mask, two) = (self.constant(0xf), self.constant(2));
            let words = self.bin(BinOp::And, first, mask);
            Link { next, at: self.bin(BinOp::Shl, words, two), most: 60 }
        };
        for _ in 0..chain::MOST {
            self.leave_if(link.next, proto, done);
            self.leave_if(link.next, chain::NONE, done);
            link = self.follow(v6, header, &link, done);
        }
        // The last one is not looked at: as if there was none.
        let (looked_for, none) = (self.constant(proto), self.constant(chain::NONE));
        let same = ir::Cond { cc: ir::Cc::Eq, width: ir::Width::W64, a: link.next, b: looked_for };
        let last = self.f.push_value(ir::Op::Select { cond: same, a: none, b: link.next }, Type::U32);
        self.f.jump(done, &[last]);
        self.f.switch_to(done);
        self.f.block_param(done, 0)
    }

    fn leave_if(&mut self, next: Value, is: u32, done: Block) {
        let (is, on) = (self.constant(is), self.f.block(&[]));
        self.f.branch_args(ir::Cc::Eq, next, is, (done, &[next]), (on, &[]));
        self.f.switch_to(on);
    }

    /// One header on; `done` where there is none.
    fn follow(&mut self, v6: bool, header: u32, link: &Link, done: Block) -> Link {
        let (extension, behind) = (self.f.block(&[]), self.f.block(&[Type::U32, Type::U32]));
        if v6 {
            for kind in chain::EXTENSIONS {
                let (kind, on) = (self.constant(kind), self.f.block(&[]));
                self.f.branch(ir::Cc::Eq, link.next, kind, extension, on);
                self.f.switch_to(on);
            }
        }
        let (kind, security) = (self.constant(chain::AUTHENTICATION), self.f.block(&[]));
        self.f.branch_args(ir::Cc::Eq, link.next, kind, (security, &[]), (done, &[link.next]));
        self.f.switch_to(security);
        let keeps = !self.rules.strict;
        self.step(header, link, (2, 4), keeps, behind);
        if v6 {
            self.f.switch_to(extension);
            self.step(header, link, (1, 8), true, behind);
        }
        self.f.switch_to(behind);
        let most = link.most.saturating_add(STEP);
        Link { next: self.f.block_param(behind, 0), at: self.f.block_param(behind, 1), most }
    }

    /// Reads the next protocol and the length, which counts `unit` bytes and lacks `missing` of them.
    fn step(&mut self, header: u32, link: &Link, (missing, unit): (u32, u32), keeps: bool, behind: Block) {
        let base = self.f.extend(link.at, IntTy::U64);
        let at = At { base: Some(base), add: header, max: link.most.saturating_add(header) };
        let other = self.place.other;
        let next = self.place.reader.window(self.f, at, 1, other).number(self.f, 0, 1);
        let next = self.f.extend(next, IntTy::U32);
        let length = self.place.reader.window(self.f, at.plus(1), 1, other).number(self.f, 0, 1);
        let (missing, unit) = (self.constant(missing), self.constant(unit));
        let units = self.bin(BinOp::Add, length, missing);
        let bytes = self.bin(BinOp::Mul, units, unit);
        let at = if keeps { self.bin(BinOp::Add, link.at, bytes) } else { bytes };
        self.f.jump(behind, &[next, at]);
    }
}
