//! Maps: keys, reads, writes, deletion. Every update that the kernel refuses is counted: because the map is full, or for another
//! reason (a lock that the interrupted program holds, memory).

use super::func::Fx;
use super::memory::Mem;
use super::shared::Operation;
use super::storage::{FLAG, MapInfo, PREFIX_LEN};
use super::types::{alignment, ir_type, mem_size};
use super::walk;
use super::{Result, internal};
use crate::ast::{BinOp as BinaryOp, Span};
use crate::hir::{Expr, ExprKind, MapNo};
use crate::ty::Ty;
use skep_bpf::helpers::id as helper;
use skep_bpf::kinds::ProgType;
use skep_bpf::object::{Counter, Storage};
use skep_bpf::schema::ValueType;
use skep_bpf::target::Feature;
use skep_compiler::ir::{BinOp, Cc, FuncBuilder, FuncKind, IntTy, MapId, Op, PtrKind, Type, UnOp, Value};

/// `-E2BIG`: a hash map is full.
const FULL: i64 = -7;
/// `-EEXIST`: another program has made the entry meanwhile.
const EXISTS: i64 = -17;
/// `BPF_NOEXIST`: update only where there is no entry.
pub(super) const NOEXIST: u64 = 1;

impl Fx<'_, '_> {
    /// A map's storage.
    pub(super) fn map_info(&self, map: MapNo) -> Result<MapInfo> {
        Ok(self.cx.map(map)?.clone())
    }

    /// Writes the key to a slot; its address. `more` bytes behind it (aligned to 8) are the caller's.
    pub(super) fn key(&mut self, info: &MapInfo, key: &[Expr], more: u32) -> Result<Value> {
        if key.len() != info.parts {
            return internal(format!("a key of {} parts for a map with {}", key.len(), info.parts));
        }
        let name = if more == 0 { "key" } else { "bucket" };
        let at = self.scratch(info.key_size.next_multiple_of(8) + more + 1, name);
        if let (true, [index]) = (info.array, key) {
            let index = self.value(index)?;
            self.f.store(4, at, 0, index);
            return Ok(at);
        }
        if let (true, [part]) = (info.trie, key) {
            self.prefix(info, part, at)?;
            return Ok(at);
        }
        let ValueType::Tuple(fields) = self.cx.layout(&info.key) else {
            return internal("a key that is no tuple");
        };
        let Ty::Tuple(types) = &info.key else { return internal("a key that is no tuple") };
        let whole = if more == 0 { info.key_size } else { info.key_size.next_multiple_of(8) };
        if fields.iter().map(|f| f.ty.size()).sum::<u32>() != whole {
            self.f.zero(at, 0, whole, alignment(0, whole));
        }
        for ((part, field), ty) in key.iter().zip(&fields).zip(types) {
            self.put(part, ty, at, field.offset as i32)?;
        }
        Ok(at)
    }

    /// Writes a key whose longest prefix is looked for.
    fn prefix(&mut self, info: &MapInfo, key: &Expr, at: Value) -> Result<()> {
        let bytes = info.key_size - PREFIX_LEN;
        let bits = self.f.u64(u64::from(8 * bytes));
        self.f.store(4, at, 0, bits);
        let Ty::Tuple(types) = &info.key else { return internal("a key that is no tuple") };
        let Some(ty) = types.first() else { return internal("a key without parts") };
        if !ty.is_scalar() {
            return self.put(key, ty, at, PREFIX_LEN as i32);
        }
        let number = self.value(key)?;
        let number = self.number(number);
        let size = bytes as u8;
        let number = match size {
            1 => number,
            size => self.f.push_value(Op::Un { op: UnOp::Bswap(size), a: number }, Type::U64),
        };
        // A trie's key begins at an odd word: 8 bytes are written in two.
        if size == 8 {
            let shift = self.f.u64(32);
            let high = self.f.bin(BinOp::Lshr, Type::U64, number, shift);
            self.f.store(4, at, PREFIX_LEN as i32, number);
            self.f.store(4, at, PREFIX_LEN as i32 + 4, high);
        } else {
            self.f.store(size, at, PREFIX_LEN as i32, number);
        }
        Ok(())
    }

    /// Looks an entry up; null where there is none.
    pub(super) fn lookup(&mut self, map: MapId, key: Value) -> Value {
        let map_ref = self.f.map_ref(map);
        let ty = Type::Ptr(PtrKind::MapValue { map, nullable: true });
        self.f.helper(helper::MAP_LOOKUP_ELEM, &[map_ref, key], ty)
    }

    /// Sets an entry; a refusal is counted, but for the one that `flags` ask for.
    pub(super) fn update(&mut self, info: &MapInfo, key: Value, value: Value, flags: u64) -> Result<()> {
        let map_ref = self.f.map_ref(info.id);
        let mode = self.f.u64(flags);
        let result = self.call(helper::MAP_UPDATE_ELEM, &[map_ref, key, value, mode]);
        // Below 6.4 the verifier inlines functions of the map that return an int: the upper half is not its sign.
        let result = self.f.extend(result, IntTy::I32);
        let (failed, done) = (self.f.cold_block(), self.f.block(&[]));
        let zero = self.f.iconst(Type::I64, 0);
        self.f.branch(Cc::Slt, result, zero, failed, done);
        self.f.switch_to(failed);
        if flags == NOEXIST {
            let (exists, other) = (self.f.iconst(Type::I64, EXISTS), self.f.cold_block());
            self.f.branch(Cc::Eq, result, exists, done, other);
            self.f.switch_to(other);
        }
        let full = self.f.iconst(Type::I64, FULL);
        let (lost, refused) = (self.f.cold_block(), self.f.cold_block());
        self.f.branch(Cc::Eq, result, full, lost, refused);
        let map = info.id.index();
        for (block, counter) in [(lost, Counter::MapFull(map)), (refused, Counter::MapRefused(map))] {
            self.f.switch_to(block);
            // The counter says how many; one event a CPU says at once that there are some.
            let here = self.here;
            self.count_loss_and(counter, |f| f.report(helper::MAP_UPDATE_ELEM, result, here))?;
            self.f.jump(done, &[]);
        }
        self.f.switch_to(done);
        Ok(())
    }

    /// Address of the entry of `key`; where there is none it is made, zeroed. Ends in a block that `lost` does not reach:
    /// it is where no entry could be made. A program that makes the same entry meanwhile wins, and its entry is used.
    pub(super) fn find_or_make(
        &mut self,
        info: &MapInfo,
        key: Value,
        value_size: u32,
        lost: skep_compiler::ir::Block,
    ) -> Result<Value> {
        let ty = Type::Ptr(PtrKind::MapValue { map: info.id, nullable: false });
        let (miss, found) = (self.f.cold_block(), self.f.block(&[ty]));
        let entry = self.lookup(info.id, key);
        let entry = self.f.check_null(entry, miss);
        self.f.jump(found, &[entry]);
        self.f.switch_to(miss);
        let fresh = self.scratch(value_size, "fresh");
        self.f.zero(fresh, 0, value_size.next_multiple_of(8), 8);
        self.update(info, key, fresh, NOEXIST)?;
        let entry = self.lookup(info.id, key);
        let entry = self.f.check_null(entry, lost);
        self.f.jump(found, &[entry]);
        self.f.switch_to(found);
        Ok(self.f.block_param(found, 0))
    }

    /// `@m[k]` as a scalar; zero where there is none.
    pub(super) fn map_get(&mut self, map: MapNo, key: &[Expr], ty: &Ty) -> Result<Value> {
        let info = self.map_info(map)?;
        if let (Ty::Agg(agg), false) = (&info.value, matches!(ty, Ty::Agg(_))) {
            let agg = agg.clone();
            let at = self.agg_key(&info, key)?;
            let merged = self.merged_number(map, at, &agg)?;
            return self.narrow_to(merged, ty);
        }
        let reg = ir_type(&info.value)?;
        if info.storage == Storage::Scalar {
            let address = self.f.map_value_addr(info.id, FLAG);
            let value = self.f.load(reg, address, 0);
            return self.narrow_to(value, ty);
        }
        if let Some(value) = self.remembered(map, key) {
            return self.narrow_to(value, ty);
        }
        let at = self.key(&info, key, 0)?;
        let in_place = self.cx.program.config.helper_errors || info.array || info.trie;
        let value = if !in_place && self.shares(Operation::Get, &info) {
            let nothing = self.f.u64(0);
            let value = self.shared_operation(Operation::Get, map, &info, Some(at), nothing)?;
            self.narrow(value, reg)
        } else {
            self.get_at(&info, at)?
        };
        self.remember(map, key, value);
        self.narrow_to(value, ty)
    }

    /// The scalar at the key in memory; zero where there is none.
    pub(super) fn get_at(&mut self, info: &MapInfo, at: Value) -> Result<Value> {
        let reg = ir_type(&info.value)?;
        let entry = self.lookup(info.id, at);
        let (none, join) = (self.f.block(&[]), self.f.block(&[reg]));
        let entry = self.f.check_null(entry, none);
        let value = self.f.load(reg, entry, 0);
        self.f.jump(join, &[value]);
        self.f.switch_to(none);
        self.report_lookup()?;
        let zero = self.zero_of(reg);
        self.f.jump(join, &[zero]);
        self.f.switch_to(join);
        Ok(self.f.block_param(join, 0))
    }

    /// Writes `@m[k]`, no scalar, to memory; zeros where there is none.
    pub(super) fn put_map_value(
        &mut self,
        map: MapNo,
        key: &[Expr],
        ty: &Ty,
        to: Value,
        off: i32,
    ) -> Result<()> {
        let info = self.map_info(map)?;
        if let Ty::Agg(agg) = &info.value {
            let agg = agg.clone();
            let at = self.agg_key(&info, key)?;
            return self.put_merged(map, at, &agg, to, off);
        }
        let (has, wanted) = (info.value_size, self.cx.size_of(ty));
        let size = has.min(wanted);
        if has < wanted {
            self.f.zero(to, off, wanted, alignment(off, wanted));
        }
        if info.storage == Storage::Scalar {
            let from = self.f.map_value_addr(info.id, FLAG);
            self.copy_bytes(to, off, &Mem::own(from, 0), size);
            return Ok(());
        }
        let at = self.key(&info, key, 0)?;
        let entry = self.lookup(info.id, at);
        let (none, join) = (self.f.block(&[]), self.f.block(&[]));
        let entry = self.f.check_null(entry, none);
        self.copy_bytes(to, off, &Mem::own(entry, 0), size);
        self.f.jump(join, &[]);
        self.f.switch_to(none);
        self.f.zero(to, off, size, alignment(off, size));
        self.f.jump(join, &[]);
        self.f.switch_to(join);
        Ok(())
    }

    /// Address of the entry `@m[k]` where it lies; where there is none, of zeros.
    pub(super) fn entry(&mut self, map: MapNo, key: &[Expr], ty: &Ty) -> Result<Value> {
        let info = self.map_info(map)?;
        let stack = Type::Ptr(PtrKind::Stack);
        if info.storage == Storage::Scalar {
            let address = self.f.map_value_addr(info.id, FLAG);
            return Ok(self.f.cast(address, stack));
        }
        let at = self.key(&info, key, 0)?;
        let entry = self.lookup(info.id, at);
        let (none, join) = (self.f.cold_block(), self.f.block(&[stack]));
        let entry = self.f.check_null(entry, none);
        let entry = self.f.cast(entry, stack);
        self.f.jump(join, &[entry]);
        self.f.switch_to(none);
        // Not on the stack: there might be no room, and to claim some costs the entries that are there too.
        let nothing = vec![0; self.cx.size_of(ty).next_multiple_of(8) as usize];
        let nothing = self.cx.constant(nothing);
        let zeros = self.f.map_value_addr(nothing, 0);
        let zeros = self.f.cast(zeros, stack);
        self.f.jump(join, &[zeros]);
        self.f.switch_to(join);
        Ok(self.f.block_param(join, 0))
    }

    /// `@m[k] = value`.
    pub(super) fn assign_map(&mut self, map: MapNo, key: &[Expr], value: &Expr) -> Result<()> {
        self.written_map(map);
        let info = self.map_info(map)?;
        let ty = info.value.clone();
        if info.storage == Storage::Scalar {
            return self.assign_scalar(&info, &ty, value);
        }
        if let ExprKind::Binary { op: BinaryOp::Add, a, b } = &value.kind
            && info.array
            && ty.is_scalar()
            && matches!(&a.kind, ExprKind::MapGet { map: of, key: at } if *of == map && at == key)
            && walk::is_pure(b)
        {
            return self.add_to_entry(&info, key, b);
        }
        if ty.is_scalar() && !info.array && self.shares(Operation::Assign, &info) {
            let number = self.value(value)?;
            let at = self.key(&info, key, 0)?;
            return self.shared_operation(Operation::Assign, map, &info, Some(at), number).map(|_| ());
        }
        let slot = self.slot_for(&ty, "value");
        let from = self.f.slot_addr(slot);
        self.put(value, &ty, from, 0)?;
        let at = self.key(&info, key, 0)?;
        self.update(&info, at, from, 0)
    }

    fn assign_scalar(&mut self, info: &MapInfo, ty: &Ty, value: &Expr) -> Result<()> {
        if ty.is_scalar() {
            let reg = ir_type(ty)?;
            let value = self.value(value)?;
            let to = self.f.map_value_addr(info.id, FLAG);
            self.f.store(mem_size(reg), to, 0, value);
        } else {
            let slot = self.slot_for(ty, "value");
            let from = self.f.slot_addr(slot);
            self.put(value, ty, from, 0)?;
            let to = self.f.map_value_addr(info.id, FLAG);
            self.copy_bytes(to, 0, &Mem::own(from, 0), info.value_size);
        }
        self.mark_written(info);
        Ok(())
    }

    pub(super) fn mark_written(&mut self, info: &MapInfo) {
        let one = self.f.u64(1);
        let flag = self.f.map_value_addr(info.id, 0);
        self.f.store(8, flag, 0, one);
    }

    /// `has_key(@m, k)`.
    pub(super) fn has_key(&mut self, map: MapNo, key: &[Expr]) -> Result<Value> {
        let info = self.map_info(map)?;
        if info.storage == Storage::Scalar {
            let flag = self.f.map_value_addr(info.id, 0);
            let flag = self.f.load(Type::U64, flag, 0);
            let zero = self.f.u64(0);
            return Ok(self.f.cmp(Cc::Ne, flag, zero));
        }
        let at = self.agg_key(&info, key)?;
        let entry = self.lookup(info.id, at);
        let (none, some, join) = (self.f.block(&[]), self.f.block(&[]), self.f.block(&[Type::BOOL]));
        let zero = self.f.u64(0);
        self.f.branch(Cc::Eq, entry, zero, none, some);
        for (block, bit) in [(none, 0), (some, 1)] {
            self.f.switch_to(block);
            let bit = self.f.iconst(Type::BOOL, bit);
            self.f.jump(join, &[bit]);
        }
        self.f.switch_to(join);
        Ok(self.f.block_param(join, 0))
    }

    /// `delete(@m, k)`: whether there was an entry.
    pub(super) fn delete(&mut self, map: MapNo, key: &[Expr], span: Span) -> Result<Value> {
        self.written_map(map);
        let info = self.map_info(map)?;
        match info.storage {
            Storage::Scalar => {
                let was = self.has_key(map, key)?;
                let address = self.f.map_value_addr(info.id, 0);
                let size = FLAG + info.value_size.next_multiple_of(8);
                self.f.zero(address, 0, size, 8);
                Ok(was)
            }
            Storage::PercpuScalar => {
                self.clear_percpu(&info, span)?;
                Ok(self.f.iconst(Type::BOOL, 1))
            }
            Storage::Hash => {
                let at = self.key(&info, key, if info.buckets { 8 } else { 0 })?;
                if info.buckets {
                    return self.delete_buckets(&info, at);
                }
                let map_ref = self.f.map_ref(info.id);
                let result = self.call(helper::MAP_DELETE_ELEM, &[map_ref, at]);
                let result = self.f.extend(result, IntTy::I32);
                let zero = self.f.iconst(Type::I64, 0);
                Ok(self.f.cmp(Cc::Eq, result, zero))
            }
        }
    }

    /// `len(@m)`: bpf_for_each_map_elem returns how many entries it saw.
    pub(super) fn map_len(&mut self, map: MapNo, span: Span) -> Result<Value> {
        let info = self.map_info(map)?;
        if info.storage != Storage::Hash {
            return self.has_key(map, &[]).map(|bit| self.f.cast(bit, Type::I64));
        }
        self.cx.require(Feature::ForEachMapElem, "len of a map", span)?;
        let entry = Type::Ptr(PtrKind::MapValue { map: info.id, nullable: false });
        let params = [Type::Ptr(PtrKind::Map(info.id)), entry, entry, Type::Ptr(PtrKind::CallbackCtx)];
        let name = self.cx.func_name(self.body.stem);
        let mut f = FuncBuilder::new(&name, FuncKind::Callback, &params, Type::I64);
        let zero = f.iconst(Type::I64, 0);
        f.ret(zero);
        let func = self.cx.add_func(f.finish());
        let (map_ref, func) = (self.f.map_ref(info.id), self.f.func_addr(func));
        let (nothing, flags) = (self.scratch(8, "nothing"), self.f.u64(0));
        let zero = self.f.u64(0);
        self.f.store(8, nothing, 0, zero);
        Ok(self.call(helper::FOR_EACH_MAP_ELEM, &[map_ref, func, nothing, flags]))
    }

    /// Whether another program, or the same again, can come between a load and a store on this CPU: programs of kprobes,
    /// uprobes and perf events interrupt others, and a map that several programs write may be written by one that
    /// interrupts another. The kernel does not run a program of a perf tracepoint inside of one (trace_call_bpf), nor,
    /// since 6.1, a raw one inside of itself (__bpf_trace_run).
    pub(super) fn interruptible(&self, map: MapNo) -> bool {
        let kind = self.body.probe.map(|p| p.prog_type);
        let nests = match kind {
            // Packets are handled with soft interrupts off, one after another on a CPU.
            Some(ProgType::Tracepoint | ProgType::Xdp | ProgType::SchedCls) => false,
            Some(ProgType::RawTracepoint | ProgType::Tracing) => self.cx.raw_programs_nest,
            _ => true,
        };
        nests || self.cx.facts.writers(map) > 1
    }
}
