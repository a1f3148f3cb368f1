//! Aggregations read by the program itself: the values of all CPUs, merged (bpf_map_lookup_percpu_elem, 5.19); and what
//! else has to touch every CPU's value or every bucket.

use super::func::Fx;
use super::storage::MapInfo;
use super::{BuildError, Result};
use crate::ast::Span;
use crate::hir::{Expr, MapNo};
use skep_bpf::helpers::id as helper;
use skep_bpf::schema::Agg;
use skep_bpf::target::{Feature, TargetExt};
use skep_compiler::ir::{BinOp, Cc, PtrKind, Type, Value};

/// The two words of a merged aggregation: value and whether it is set, or total and count; of a count or sum only the
/// first is used.
type Merged = (Value, Value);

impl Fx<'_, '_> {
    /// An aggregation as an integer.
    pub(super) fn map_agg(&mut self, map: MapNo, key: &[Expr], agg: &Agg, e: &Expr) -> Result<Value> {
        self.at(e.span);
        let info = self.map_info(map)?;
        let at = self.agg_key(&info, key)?;
        let merged = self.merged_number(map, at, agg)?;
        self.narrow_to(merged, &e.ty)
    }

    /// The number that an aggregation stands for: averages are divided.
    pub(super) fn merged_number(&mut self, map: MapNo, key: Value, agg: &Agg) -> Result<Value> {
        let (first, second) = self.merge(map, key, agg)?;
        Ok(match agg {
            Agg::Avg { signed } | Agg::Stats { signed } => {
                let op = if *signed { BinOp::Sdiv } else { BinOp::Udiv };
                let ty = if *signed { Type::I64 } else { Type::U64 };
                self.f.bin(op, ty, first, second)
            }
            _ => first,
        })
    }

    /// Writes the merged aggregation as it lies in a map.
    pub(super) fn put_merged(
        &mut self,
        map: MapNo,
        key: Value,
        agg: &Agg,
        to: Value,
        off: i32,
    ) -> Result<()> {
        let (first, second) = self.merge(map, key, agg)?;
        self.f.store(8, to, off, first);
        if !matches!(agg, Agg::Count | Agg::Sum { .. }) {
            self.f.store(8, to, off + 8, second);
        }
        Ok(())
    }

    fn merge(&mut self, map: MapNo, key: Value, agg: &Agg) -> Result<Merged> {
        if matches!(agg, Agg::Hist { .. } | Agg::LHist { .. } | Agg::TSeries { .. }) {
            let what = "reading a histogram or a time series as a number".to_owned();
            return Err(BuildError::Unsupported { what, since: None, span: self.here });
        }
        let info = self.map_info(map)?;
        let (first, second) = (self.scratch(8, "merged"), self.scratch(8, "merged"));
        let zero = self.f.u64(0);
        self.f.store(8, first, 0, zero);
        self.f.store(8, second, 0, zero);
        let agg = agg.clone();
        self.each_cpu(&info, key, Span::default(), &mut |fx, entry| {
            let value = fx.f.load(Type::U64, entry, 0);
            match &agg {
                Agg::Count | Agg::Sum { .. } => fx.add_word(first, value),
                Agg::Min { signed } => {
                    fx.keep_word((first, second), entry, value, if *signed { Cc::Slt } else { Cc::Ult });
                }
                Agg::Max { signed } => {
                    fx.keep_word((first, second), entry, value, if *signed { Cc::Sgt } else { Cc::Ugt });
                }
                _ => {
                    fx.add_word(first, value);
                    let count = fx.f.load(Type::U64, entry, 8);
                    fx.add_word(second, count);
                }
            }
            Ok(())
        })?;
        Ok((self.f.load(Type::U64, first, 0), self.f.load(Type::U64, second, 0)))
    }

    fn add_word(&mut self, at: Value, by: Value) {
        let old = self.f.load(Type::U64, at, 0);
        let new = self.f.bin(BinOp::Add, Type::U64, old, by);
        self.f.store(8, at, 0, new);
    }

    fn keep_word(&mut self, (value_at, set_at): Merged, entry: Value, value: Value, better: Cc) {
        let (there, compare) = (self.f.block(&[]), self.f.block(&[]));
        let (store, done) = (self.f.block(&[]), self.f.block(&[]));
        let set = self.f.load(Type::U64, entry, 8);
        self.f.branch_nonzero(set, there, done);
        self.f.switch_to(there);
        let before = self.f.load(Type::U64, set_at, 0);
        self.f.branch_nonzero(before, compare, store);
        self.f.switch_to(compare);
        let old = self.f.load(Type::U64, value_at, 0);
        self.f.branch(better, value, old, store, done);
        self.f.switch_to(store);
        self.f.store(8, value_at, 0, value);
        let one = self.f.u64(1);
        self.f.store(8, set_at, 0, one);
        self.f.jump(done, &[]);
        self.f.switch_to(done);
    }

    /// Runs `each` with the address of the entry of `key` on each possible CPU.
    pub(super) fn each_cpu(
        &mut self,
        info: &MapInfo,
        key: Value,
        span: Span,
        each: &mut dyn FnMut(&mut Self, Value) -> Result<()>,
    ) -> Result<()> {
        self.cx.require(Feature::LookupPercpu, "reading an aggregation in the program", span)?;
        let cpus = self.cx.target.possible_cpus()?;
        let at = self.scratch(8, "cpu");
        let zero = self.f.u64(0);
        self.f.store(8, at, 0, zero);
        let (head, round, done) = (self.f.block(&[]), self.f.block(&[]), self.f.block(&[]));
        let next = self.f.block(&[]);
        self.f.jump(head, &[]);
        self.f.switch_to(head);
        let cpu = self.f.load(Type::U64, at, 0);
        let limit = self.f.u64(cpus);
        self.f.branch(Cc::Ult, cpu, limit, round, done);
        self.f.switch_to(round);
        let map_ref = self.f.map_ref(info.id);
        let ty = Type::Ptr(PtrKind::MapValue { map: info.id, nullable: true });
        let entry = self.f.helper(helper::MAP_LOOKUP_PERCPU_ELEM, &[map_ref, key, cpu], ty);
        let entry = self.f.check_null(entry, next);
        each(self, entry)?;
        self.f.jump(next, &[]);
        self.f.switch_to(next);
        let cpu = self.f.load(Type::U64, at, 0);
        let following = self.f.add_imm(cpu, 1);
        self.f.store(8, at, 0, following);
        self.f.jump(head, &[]);
        self.f.switch_to(done);
        Ok(())
    }

    /// `delete(@m)` of an aggregation without key: zero on every CPU.
    pub(super) fn clear_percpu(&mut self, info: &MapInfo, span: Span) -> Result<()> {
        if info.buckets {
            let info = info.clone();
            return self.each_bucket(&info.clone(), &mut |fx, index| {
                let key = fx.scratch(8, "key");
                fx.f.store(4, key, 0, index);
                fx.each_cpu(&info, key, span, &mut |fx, entry| {
                    fx.f.zero(entry, 0, info.value_size.next_multiple_of(8), 8);
                    Ok(())
                })
            });
        }
        let key = self.agg_key(info, &[])?;
        let size = info.value_size.next_multiple_of(8) + 8;
        self.each_cpu(info, key, span, &mut |fx, entry| {
            fx.f.zero(entry, 0, size, 8);
            Ok(())
        })
    }

    /// Deletes every bucket of a keyed histogram's entry; `key` is followed by room for the bucket's number.
    pub(super) fn delete_buckets(&mut self, info: &MapInfo, key: Value) -> Result<Value> {
        let any = self.scratch(8, "any");
        let zero = self.f.u64(0);
        self.f.store(8, any, 0, zero);
        let info = info.clone();
        self.each_bucket(&info.clone(), &mut |fx, index| {
            fx.f.store(8, key, info.key_size.next_multiple_of(8) as i32, index);
            let map_ref = fx.f.map_ref(info.id);
            let result = fx.call(helper::MAP_DELETE_ELEM, &[map_ref, key]);
            let zero = fx.f.iconst(Type::I64, 0);
            let deleted = fx.f.cmp(Cc::Eq, result, zero);
            let deleted = fx.f.cast(deleted, Type::U64);
            fx.add_word(any, deleted);
            Ok(())
        })?;
        let count = self.f.load(Type::U64, any, 0);
        let zero = self.f.u64(0);
        Ok(self.f.cmp(Cc::Ne, count, zero))
    }

    fn each_bucket(
        &mut self,
        info: &MapInfo,
        each: &mut dyn FnMut(&mut Self, Value) -> Result<()>,
    ) -> Result<()> {
        let buckets = super::storage::buckets_of(info)?;
        let at = self.scratch(8, "bucket");
        let zero = self.f.u64(0);
        self.f.store(8, at, 0, zero);
        let (head, round, done) = (self.f.block(&[]), self.f.block(&[]), self.f.block(&[]));
        self.f.jump(head, &[]);
        self.f.switch_to(head);
        let index = self.f.load(Type::U64, at, 0);
        let limit = self.f.u64(buckets);
        self.f.branch(Cc::Ult, index, limit, round, done);
        self.f.switch_to(round);
        each(self, index)?;
        let index = self.f.load(Type::U64, at, 0);
        let following = self.f.add_imm(index, 1);
        self.f.store(8, at, 0, following);
        self.f.jump(head, &[]);
        self.f.switch_to(done);
        Ok(())
    }
}
