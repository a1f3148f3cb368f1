//! Additions to what maps hold: `@m[k]++`, `--`, and `@m[k] += b` in arrays enter; the code that adds leaves, with the value before or
//! behind where somebody wants it. What always holds: `++` and `--` of 32 and 64 bits that CPUs share are one atomic instruction; `+=` is a
//! load, an addition and a store, as it is written.

use super::Result;
use super::func::Fx;
use super::shared::Operation;
use super::storage::{FLAG, MapInfo};
use super::types::{ir_type, mem_size};
use crate::hir::{Expr, MapNo};
use skep_bpf::object::Storage;
use skep_bpf::target::Feature;
use skep_compiler::ir::{AtomicOp, BinOp, Op, Type, Value};

impl Fx<'_, '_> {
    /// `@m[k]++` and `--`; the new value with `Some(true)`, the old with `Some(false)`, nothing useful with `None`.
    pub(super) fn inc_map(&mut self, map: MapNo, key: &[Expr], by: i64, pre: Option<bool>) -> Result<Value> {
        self.written_map(map);
        let info = self.map_info(map)?;
        let reg = ir_type(&info.value)?;
        let by = self.f.iconst(Type::I64, by);
        if info.storage == Storage::Scalar {
            self.mark_written(&info);
            let address = self.f.map_value_addr(info.id, FLAG);
            return self.add_to(&info, address, by, reg, pre);
        }
        let at = self.key(&info, key, 0)?;
        if self.shares(Operation::Increment, &info) {
            let old = self.shared_operation(Operation::Increment, map, &info, Some(at), by)?;
            let result = match pre {
                Some(true) => self.f.bin(BinOp::Add, Type::U64, old, by),
                _ => old,
            };
            return Ok(self.narrow(result, reg));
        }
        self.increment_at(&info, at, by, pre)
    }

    /// Adds `by` to the entry of the key in memory; the result as of [`inc_map`](Fx::inc_map), 0 where there is no room for it.
    pub(super) fn increment_at(
        &mut self,
        info: &MapInfo,
        at: Value,
        by: Value,
        pre: Option<bool>,
    ) -> Result<Value> {
        let reg = ir_type(&info.value)?;
        let (lost, join) = (self.f.cold_block(), self.f.block(&[reg]));
        let entry = self.find_or_make(info, at, info.value_size, lost)?;
        let value = self.add_to(info, entry, by, reg, pre)?;
        self.f.jump(join, &[value]);
        self.f.switch_to(lost);
        let zero = self.zero_of(reg);
        self.f.jump(join, &[zero]);
        self.f.switch_to(join);
        Ok(self.f.block_param(join, 0))
    }

    fn add_to(
        &mut self,
        info: &MapInfo,
        at: Value,
        by: Value,
        reg: Type,
        pre: Option<bool>,
    ) -> Result<Value> {
        let size = mem_size(reg);
        let atomic = !info.percpu && matches!(size, 4 | 8);
        let fetch = pre.is_some() && self.cx.has(Feature::FetchAtomics)?;
        let bits = if atomic && fetch {
            let op = Op::Atomic { op: AtomicOp::Add, size, ptr: at, off: 0, val: by, fetch: true };
            self.f.push_value(op, if size == 8 { Type::U64 } else { Type::U32 })
        } else {
            let old = self.f.load(reg, at, 0);
            let old = self.number(old);
            if atomic {
                self.f.atomic_add(size, at, 0, by);
            } else {
                let new = self.f.bin(BinOp::Add, Type::U64, old, by);
                self.f.store(size, at, 0, new);
            }
            old
        };
        let old = self.number(bits);
        let result = match pre {
            Some(true) => self.f.bin(BinOp::Add, Type::U64, old, by),
            _ => old,
        };
        Ok(self.narrow(result, reg))
    }

    /// `@m[k] += b` in an array: its entry need not be looked for twice.
    pub(super) fn add_to_entry(&mut self, info: &MapInfo, key: &[Expr], b: &Expr) -> Result<()> {
        let reg = ir_type(&info.value)?;
        let by = self.value(b)?;
        let by = self.number(by);
        let at = self.key(info, key, 0)?;
        let entry = self.lookup(info.id, at);
        let (none, join) = (self.f.cold_block(), self.f.block(&[]));
        let entry = self.f.check_null(entry, none);
        let old = self.f.load(reg, entry, 0);
        let old = self.number(old);
        let new = self.f.bin(BinOp::Add, Type::U64, old, by);
        self.f.store(mem_size(reg), entry, 0, new);
        self.f.jump(join, &[]);
        // Behind the array's end: the kernel refuses, and that is counted.
        self.f.switch_to(none);
        let from = self.scratch(8, "value");
        self.f.store(mem_size(reg), from, 0, by);
        self.update(info, at, from, 0)?;
        self.f.jump(join, &[]);
        self.f.switch_to(join);
        Ok(())
    }
}
