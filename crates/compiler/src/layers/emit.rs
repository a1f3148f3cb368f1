//! Small pieces of code that rows of the table stand for: a row and a window on its header enter; its length, its guard
//! and what follows it leave as values.

use crate::ir::{BinOp, Block, Cc, FuncBuilder, Type, Value};

use super::access::{At, Reader, Window};
use super::rows::LAYERS;
use super::table::{Guard, Layer, Length, Next, Space};

/// A place and the number that says what is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Coded {
    pub(super) at: At,
    pub(super) code: Value,
}

/// The two parameters of the current block as place and code, veiled.
pub(super) fn joined(f: &mut FuncBuilder, reader: &Reader, block: Block, max: u32) -> Coded {
    let (off, code) = (f.block_param(block, 0), f.block_param(block, 1));
    let at = At { base: Some(reader.veil(f, off)), add: 0, max };
    Coded { at, code: reader.veil(f, code) }
}

/// Goes to `found` if the value is `want`, and on otherwise.
pub(super) fn equal(f: &mut FuncBuilder, value: Value, want: i64, found: Block) {
    let (want, next) = (f.u64(want as u64), f.block(&[]));
    f.branch(Cc::Eq, value, want, found, next);
    f.switch_to(next);
}

/// Goes to `missing` always; what is built behind is never reached.
pub(super) fn never(f: &mut FuncBuilder, missing: Block) {
    f.jump(missing, &[]);
    let behind = f.block(&[]);
    f.switch_to(behind);
}

/// Goes to `missing` where a guard does not hold.
pub(super) fn guarded(f: &mut FuncBuilder, header: &Window, guard: Option<Guard>, missing: Block) {
    let Some(guard) = guard else { return };
    let bits = header.number(f, guard.at.into(), 2);
    let (mask, good) = (f.u64(guard.mask.into()), f.block(&[]));
    f.branch(Cc::Set, bits, mask, missing, good);
    f.switch_to(good);
}

/// Bytes of a layer; goes to `missing` where it says that it is shorter than it can be.
pub(super) fn length(f: &mut FuncBuilder, row: &Layer, header: &Window, missing: Block) -> Value {
    let min = f.u64(row.min.into());
    match row.length {
        Length::Fixed => min,
        Length::Counted { at, mask, shift, unit, plus } => {
            let bits = u32::from(8 - shift) - mask.leading_zeros();
            let count = header.bits(f, u32::from(at) * 8 + mask.leading_zeros(), bits);
            let unit = f.u64(unit.into());
            let mut len = f.bin(BinOp::Mul, Type::U64, count, unit);
            if plus > 0 {
                len = f.add_imm(len, plus.into());
            }
            if u16::from(plus) < row.min {
                let good = f.block(&[]);
                f.branch(Cc::Ult, len, min, missing, good);
                f.switch_to(good);
            }
            len
        }
        Length::Flagged { at, mask, unit } => {
            let mut len = min;
            for bit in (0..8).filter(|bit| mask & (0x80 >> bit) != 0) {
                let set = header.bits(f, u32::from(at) * 8 + bit, 1);
                let unit = f.u64(unit.into());
                let more = f.bin(BinOp::Mul, Type::U64, set, unit);
                len = f.bin(BinOp::Add, Type::U64, len, more);
            }
            len
        }
        Length::Summed { at, unit, plus } => {
            let (a, b) = (header.number(f, at.into(), 1), header.number(f, u32::from(at) + 1, 1));
            let sum = f.bin(BinOp::Add, Type::U64, a, b);
            let unit = f.u64(unit.into());
            let len = f.bin(BinOp::Mul, Type::U64, sum, unit);
            f.add_imm(len, plus.into())
        }
    }
}

/// The number in a header that names what follows.
pub(super) fn next_code(f: &mut FuncBuilder, row: &Layer, header: &Window) -> Value {
    match row.next {
        Next::Code { at, bytes, .. } => header.number(f, at.into(), bytes.into()),
        _ => f.u64(0),
    }
}

/// The EtherType of the network layer that a number of another space names; 0 if it names none.
pub(super) fn translated(f: &mut FuncBuilder, code: Value, from: Space) -> Value {
    let done = f.block(&[Type::U64]);
    for row in LAYERS {
        let Some(ether) = row.codes_in(Space::EtherType).next() else { continue };
        for number in row.codes_in(from) {
            let (want, ether, next) = (f.u64(number.into()), f.u64(ether.into()), f.block(&[]));
            f.branch_args(Cc::Eq, code, want, (done, &[ether]), (next, &[]));
            f.switch_to(next);
        }
    }
    let none = f.u64(0);
    f.jump(done, &[none]);
    f.switch_to(done);
    f.block_param(done, 0)
}

/// The EtherType that the first four bits stand for.
pub(super) fn by_version(f: &mut FuncBuilder, first: &Window) -> Value {
    let version = first.bits(f, 0, 4);
    translated(f, version, Space::Version)
}

/// The EtherType that a loopback header's address family stands for, in either byte order.
pub(super) fn by_family(f: &mut FuncBuilder, header: &Window) -> Value {
    let done = f.block(&[Type::U64]);
    let (own, network) = (header.raw(f, 0, 4), header.number(f, 0, 4));
    let (most, other) = (f.u64(0xffff), f.block(&[]));
    f.branch_args(Cc::Ugt, network, most, (done, &[own]), (other, &[]));
    f.switch_to(other);
    f.jump(done, &[network]);
    f.switch_to(done);
    let family = f.block_param(done, 0);
    translated(f, family, Space::Family)
}

/// Bytes from one TCP option to the next: 1 for a filler, else what the option says. Without a branch, so that the
/// verifier follows one way a round.
pub(super) fn option_step(f: &mut FuncBuilder, kind: Value, option: &Window) -> Value {
    let len = option.number(f, 1, 1);
    let (one, all) = (f.u64(1), f.u64(63));
    let sign = f.bin(BinOp::Sub, Type::I64, one, kind);
    // All ones for every kind above 1.
    let mask = f.bin(BinOp::Ashr, Type::I64, sign, all);
    let (minus_one, one) = (f.iconst(Type::I64, -1), f.iconst(Type::I64, 1));
    // 1 + ((len - 1) & mask)
    let more = f.bin(BinOp::Add, Type::I64, len, minus_one);
    let more = f.bin(BinOp::And, Type::I64, more, mask);
    let step = f.bin(BinOp::Add, Type::I64, more, one);
    f.extend(step, crate::ir::IntTy::U64)
}
