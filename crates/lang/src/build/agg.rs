//! Aggregations: `@m[k] = count()` and its siblings. Values are per CPU; each is changed in place in one entry, which is
//! made, zeroed, the first time. Additions are atomic where another program could come between load and store, so that
//! no event is lost from a sum.

use super::func::Fx;
use super::shared::Operation;
use super::storage::MapInfo;
use super::{Result, internal};
use crate::hir::{Expr, MapNo};
use crate::ty::Ty;
use skep_bpf::object::Storage;
use skep_bpf::schema::Agg;
use skep_compiler::ir::{BinOp, Cc, Cond, Op, Type, Value, Width};

/// Base-2 logarithms of 0 to 15, rounded down (0 for 0), four bits each.
const NIBBLE_LOG: u64 = 0x3333_3333_2222_1100;

impl Fx<'_, '_> {
    /// The key of a map that may hold an aggregation: index 0 where the source has none.
    pub(super) fn agg_key(&mut self, info: &MapInfo, key: &[Expr]) -> Result<Value> {
        if info.storage == Storage::Hash {
            return self.key(info, key, if info.buckets { 8 } else { 0 });
        }
        let at = self.scratch(8, "key");
        let zero = self.f.iconst(Type::U32, 0);
        self.f.store(4, at, 0, zero);
        Ok(at)
    }

    /// `@m[k] = agg(arg)`.
    pub(super) fn aggregate(
        &mut self,
        map: MapNo,
        key: &[Expr],
        arg: Option<&Expr>,
        weight: Option<&Expr>,
    ) -> Result<()> {
        self.written_map(map);
        let info = self.map_info(map)?;
        let Ty::Agg(agg) = info.value.clone() else { return internal("an aggregation on a map without") };
        let atomic = self.interruptible(map);
        let arg = match arg {
            Some(arg) => {
                let value = self.value(arg)?;
                self.number(value)
            }
            None => self.f.u64(1),
        };
        let alike = weight.is_none() && !matches!(agg, Agg::TSeries { .. });
        if alike && self.shares(Operation::Aggregate, &info) {
            let at = match info.storage {
                Storage::Hash => Some(self.agg_key(&info, key)?),
                _ => None,
            };
            return self.shared_operation(Operation::Aggregate, map, &info, at, arg).map(|_| ());
        }
        let at = self.agg_key(&info, key)?;
        if matches!(agg, Agg::TSeries { .. }) {
            return self.series(&info, at, &agg, arg, atomic);
        }
        self.aggregate_at(&info, at, &agg, arg, weight, atomic)
    }

    /// The same with the key in memory at `at`.
    pub(super) fn aggregate_at(
        &mut self,
        info: &MapInfo,
        at: Value,
        agg: &Agg,
        arg: Value,
        weight: Option<&Expr>,
        atomic: bool,
    ) -> Result<()> {
        if info.buckets {
            return self.histogram(info, at, agg, arg, weight, atomic);
        }
        let done = self.f.block(&[]);
        let entry = self.agg_entry(info, at, info.value_size, done)?;
        self.add_value(agg, entry, arg, atomic);
        if info.storage == Storage::PercpuScalar {
            let one = self.f.u64(1);
            self.f.store(8, entry, info.value_size.next_multiple_of(8) as i32, one);
        }
        self.f.jump(done, &[]);
        self.f.switch_to(done);
        Ok(())
    }

    /// The entry's address; `lost` where there can be none.
    pub(super) fn agg_entry(
        &mut self,
        info: &MapInfo,
        key: Value,
        size: u32,
        lost: skep_compiler::ir::Block,
    ) -> Result<Value> {
        if info.storage == Storage::Hash {
            return self.find_or_make(info, key, size, lost);
        }
        let entry = self.lookup(info.id, key);
        Ok(self.f.check_null(entry, lost))
    }

    /// Changes a value in memory by one more.
    fn add_value(&mut self, agg: &Agg, entry: Value, arg: Value, atomic: bool) {
        match agg {
            Agg::Count | Agg::Sum { .. } => self.add_in_place(entry, 0, arg, atomic),
            Agg::Avg { .. } | Agg::Stats { .. } => {
                self.add_in_place(entry, 0, arg, atomic);
                let one = self.f.u64(1);
                self.add_in_place(entry, 8, one, atomic);
            }
            Agg::Min { signed } => self.keep(entry, arg, if *signed { Cc::Slt } else { Cc::Ult }),
            Agg::Max { signed } => self.keep(entry, arg, if *signed { Cc::Sgt } else { Cc::Ugt }),
            Agg::Hist { .. } | Agg::LHist { .. } | Agg::TSeries { .. } => {}
        }
    }

    pub(super) fn add_in_place(&mut self, at: Value, off: i32, by: Value, atomic: bool) {
        if atomic {
            self.f.atomic_add(8, at, off, by);
            return;
        }
        let old = self.f.load(Type::U64, at, off);
        let new = self.f.bin(BinOp::Add, Type::U64, old, by);
        self.f.store(8, at, off, new);
    }

    /// Least or greatest: stores `arg` where it is `better` than the value, or the first.
    pub(super) fn keep(&mut self, entry: Value, arg: Value, better: Cc) {
        let (compare, store, done) = (self.f.block(&[]), self.f.block(&[]), self.f.block(&[]));
        let set = self.f.load(Type::U64, entry, 8);
        self.f.branch_nonzero(set, compare, store);
        self.f.switch_to(compare);
        let old = self.f.load(Type::U64, entry, 0);
        self.f.branch(better, arg, old, store, done);
        self.f.switch_to(store);
        self.f.store(8, entry, 0, arg);
        let one = self.f.u64(1);
        self.f.store(8, entry, 8, one);
        self.f.jump(done, &[]);
        self.f.switch_to(done);
    }

    fn histogram(
        &mut self,
        info: &MapInfo,
        key: Value,
        agg: &Agg,
        arg: Value,
        weight: Option<&Expr>,
        atomic: bool,
    ) -> Result<()> {
        let weight = match weight {
            Some(weight) => {
                let weight = self.value(weight)?;
                self.number(weight)
            }
            None => self.f.u64(1),
        };
        let bucket = match agg {
            Agg::Hist { bits } => self.log_bucket(arg, *bits),
            Agg::LHist { min, max, step } => self.linear_bucket(arg, *min, *max, *step),
            _ => return internal("a histogram that is none"),
        };
        match info.storage {
            Storage::Hash => self.f.store(8, key, info.key_size.next_multiple_of(8) as i32, bucket),
            _ => self.f.store(4, key, 0, bucket),
        }
        let done = self.f.block(&[]);
        let entry = self.agg_entry(info, key, 8, done)?;
        self.add_in_place(entry, 0, weight, atomic);
        self.f.jump(done, &[]);
        self.f.switch_to(done);
        Ok(())
    }

    /// Bucket of a log2 histogram, as `skep_bpf::schema::hist_bounds` numbers them. With s the position of the highest
    /// bit above the lowest `bits` (0 where there is none), it is 1 + s * 2^bits + (v >> s): for values below 2^bits
    /// that is 1 + v, and above, v >> s brings one 2^bits of its own.
    fn log_bucket(&mut self, value: Value, bits: u8) -> Value {
        let (count, join) = (self.f.block(&[]), self.f.block(&[Type::U64]));
        let zero = self.f.u64(0);
        self.f.branch_args(Cc::Slt, value, zero, (join, &[zero]), (count, &[]));
        self.f.switch_to(count);
        let shift = self.const_shift(BinOp::Lshr, value, bits);
        let shift = self.log2(shift);
        let high = self.const_shift(BinOp::Shl, shift, bits);
        let low = self.f.bin(BinOp::Lshr, Type::U64, value, shift);
        let sum = self.f.bin(BinOp::Add, Type::U64, high, low);
        let bucket = self.f.add_imm(sum, 1);
        self.f.jump(join, &[bucket]);
        self.f.switch_to(join);
        self.f.block_param(join, 0)
    }

    fn const_shift(&mut self, op: BinOp, value: Value, by: u8) -> Value {
        if by == 0 {
            return value;
        }
        let by = self.f.u64(u64::from(by));
        self.f.bin(op, Type::U64, value, by)
    }

    /// Position of the highest set bit of a value below 2^63; 0 for 0. One branch for the rare large values, then halving
    /// without branches: (2^k - 1 - v) >> 63 is 1 where v needs more than k bits. The last four bits are looked up.
    fn log2(&mut self, value: Value) -> Value {
        let zero = self.f.u64(0);
        let half = self.f.u64(32);
        let (large, join) = (self.f.block(&[]), self.f.block(&[Type::U64, Type::U64]));
        let limit = self.f.u64(u64::from(u32::MAX));
        self.f.branch_args(Cc::Ugt, value, limit, (large, &[]), (join, &[value, zero]));
        self.f.switch_to(large);
        let top = self.f.bin(BinOp::Lshr, Type::U64, value, half);
        self.f.jump(join, &[top, half]);
        self.f.switch_to(join);
        let (mut rest, mut log) = (self.f.block_param(join, 0), self.f.block_param(join, 1));
        for k in [16u8, 8, 4] {
            let most = self.f.u64((1 << k) - 1);
            let less = self.f.bin(BinOp::Sub, Type::U64, most, rest);
            let bit = self.const_shift(BinOp::Lshr, less, 63);
            let step = self.const_shift(BinOp::Shl, bit, k.trailing_zeros() as u8);
            rest = self.f.bin(BinOp::Lshr, Type::U64, rest, step);
            log = self.f.bin(BinOp::Add, Type::U64, log, step);
        }
        let table = self.f.u64(NIBBLE_LOG);
        let at = self.const_shift(BinOp::Shl, rest, 2);
        let last = self.f.bin(BinOp::Lshr, Type::U64, table, at);
        let three = self.f.u64(3);
        let last = self.f.bin(BinOp::And, Type::U64, last, three);
        self.f.bin(BinOp::Add, Type::U64, log, last)
    }

    /// Bucket of a linear histogram: 0 below `min`, the last one at or above `max`.
    fn linear_bucket(&mut self, value: Value, min: i64, max: i64, step: i64) -> Value {
        let step = step.max(1);
        let last = (max.saturating_sub(min) / step).saturating_add(1);
        let (inside, join) = (self.f.block(&[]), self.f.block(&[Type::U64]));
        let (low, zero) = (self.f.iconst(Type::I64, min), self.f.u64(0));
        self.f.branch_args(Cc::Slt, value, low, (join, &[zero]), (inside, &[]));
        self.f.switch_to(inside);
        let distance = self.f.bin(BinOp::Sub, Type::U64, value, low);
        let width = self.f.u64(step as u64);
        let bucket = self.f.bin(BinOp::Udiv, Type::U64, distance, width);
        let bucket = self.f.add_imm(bucket, 1);
        let last = self.f.u64(last as u64);
        let end = self.f.iconst(Type::I64, max);
        let cond = Cond { cc: Cc::Slt, width: Width::W64, a: value, b: end };
        let bucket = self.f.push_value(Op::Select { cond, a: bucket, b: last }, Type::U64);
        self.f.jump(join, &[bucket]);
        self.f.switch_to(join);
        self.f.block_param(join, 0)
    }
}
