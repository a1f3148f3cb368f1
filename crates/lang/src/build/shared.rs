//! What many places of a large program do alike, in functions of its own: an operation on a map with its key in memory and
//! its value as a number, and counting a lost event. The verifier looks at such a function once; at each place there is
//! only the key, the number and a call, without a branch. In small programs everything stays in place.

use super::Result;
use super::func::Fx;
use super::storage::MapInfo;
use super::types::ir_type;
use crate::hir::MapNo;
use crate::ty::Ty;
use skep_bpf::event::{Action, lay_out};
use skep_bpf::helpers::{self, id as helper};
use skep_bpf::object::Counter;
use skep_bpf::schema::ValueType;
use skep_bpf::target::TargetExt;
use skep_bpf::version::KernelVersion;
use skep_compiler::ir::{FuncBuilder, FuncKind, PtrKind, Type, Value};

/// Functions of this kind in a module, at most; a program may have 256 in all.
const MOST: usize = 96;
/// First kernel whose helpers take a map's key from a function's memory (map_key_value_types became mem_types, kernel/bpf/verifier.c).
const MEMORY_KEYS: KernelVersion = KernelVersion::new(6, 2);
/// Bytes of a key that a function copies to its stack before, at most.
const COPIED: u32 = 64;

/// What a shared function does with a map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operation {
    /// `@m[k] = agg(n)`.
    Aggregate,
    /// `@m[k] = n`.
    Assign,
    /// `@m[k]`.
    Get,
    /// What `@m[k]` was before `@m[k] += n`.
    Increment,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Operation::Aggregate => "aggregate",
            Operation::Assign => "assign",
            Operation::Get => "get",
            Operation::Increment => "increment",
        }
    }
}

impl Fx<'_, '_> {
    /// Whether there is, or may be, a shared function for `operation`.
    pub(super) fn shares(&self, operation: Operation, info: &MapInfo) -> bool {
        let own = (self.body.stem.to_owned(), operation.name(), info.id.index());
        let fits = info.key_size <= COPIED || self.takes_memory_keys();
        self.cx.large && fits && (self.cx.shared.len() < MOST || self.cx.shared.contains_key(&own))
    }

    fn takes_memory_keys(&self) -> bool {
        self.cx.target.kernel_version().is_ok_and(|version| version >= MEMORY_KEYS)
    }

    /// Calls the shared function for `operation` on the entry of `key` (none: of a map without key), which is made for it at
    /// the first call. Only where it is [shared](Fx::shares).
    pub(super) fn shared_operation(
        &mut self,
        operation: Operation,
        map: MapNo,
        info: &MapInfo,
        key: Option<Value>,
        number: Value,
    ) -> Result<Value> {
        let own = (self.body.stem.to_owned(), operation.name(), info.id.index());
        let bytes = match (key.is_some(), info.buckets) {
            (false, _) => 0,
            (true, false) => info.key_size,
            (true, true) => info.key_size.next_multiple_of(8) + 8,
        };
        if let (Some(key), true) = (key, info.buckets) {
            let zero = self.f.u64(0);
            self.f.store(8, key, info.key_size.next_multiple_of(8) as i32, zero);
        }
        let func = match self.cx.shared.get(&own) {
            Some(func) => *func,
            None => {
                let func = self.build_operation(operation, map, info, bytes)?;
                self.cx.shared.insert(own, func);
                func
            }
        };
        let event = self.failure_event(helper::MAP_UPDATE_ELEM);
        let number = self.number(number);
        let args: Vec<Value> = key.into_iter().chain([number, event]).collect();
        Ok(self.f.call(func, &args, Type::I64))
    }

    /// The number of the event that says that a helper failed here.
    fn failure_event(&mut self, id: u32) -> Value {
        if let Some(number) = self.cx.failures.get(&(id, self.here)) {
            return self.f.u64(u64::from(*number));
        }
        let name = helpers::by_id(id).map_or("?", |h| h.name);
        let action = Action::HelperError { helper: name.to_owned() };
        let mut layout = lay_out(action, vec![ValueType::Int { size: 8, signed: true }], 0);
        self.cx.place(&mut layout, self.here);
        let number = self.cx.add_event(layout);
        self.cx.failures.insert((id, self.here), number);
        self.f.u64(u64::from(number))
    }

    fn build_operation(
        &mut self,
        operation: Operation,
        map: MapNo,
        info: &MapInfo,
        bytes: u32,
    ) -> Result<skep_compiler::ir::FuncId> {
        let name = self.cx.func_name(self.body.stem);
        let memory = usize::from(bytes != 0);
        let params = [Type::Ptr(PtrKind::Stack), Type::U64, Type::U64];
        let f = FuncBuilder::new(
            &name,
            FuncKind::Global { bytes },
            params.get(1 - memory..).unwrap_or(&[]),
            Type::I64,
        );
        let (number, event) = (f.param(memory), f.param(memory + 1));
        let key = (memory != 0).then(|| f.param(0));
        let (body, loc) = (self.body.clone(), self.f.loc());
        let mut inner = Fx::new(self.cx, f, body, None, None);
        inner.f.set_loc(loc);
        inner.failure = Some(event);
        let key = match key {
            Some(key) if inner.takes_memory_keys() => key,
            Some(key) => {
                let at = inner.scratch(bytes, "key");
                inner.f.copy(at, 0, key, 0, bytes, 8);
                at
            }
            None => inner.agg_key(info, &[])?,
        };
        let result = match operation {
            Operation::Aggregate => {
                let Ty::Agg(agg) = info.value.clone() else {
                    return super::internal("an aggregation on a map without");
                };
                let atomic = inner.interruptible(map);
                inner.aggregate_at(info, key, &agg, number, None, atomic)?;
                None
            }
            Operation::Assign => {
                let slot = inner.slot_for(&info.value, "value");
                let at = inner.f.slot_addr(slot);
                let size = super::types::mem_size(ir_type(&info.value)?);
                inner.f.store(size, at, 0, number);
                inner.update(info, key, at, 0)?;
                None
            }
            Operation::Get => {
                let value = inner.get_at(info, key)?;
                Some(inner.number(value))
            }
            Operation::Increment => {
                let old = inner.increment_at(info, key, number, Some(false))?;
                Some(inner.number(old))
            }
        };
        let result = match result {
            Some(value) => inner.f.cast(value, Type::I64),
            None => inner.f.iconst(Type::I64, 0),
        };
        inner.f.ret(result);
        let func = inner.f.finish();
        Ok(self.cx.add_func(func))
    }

    /// Counts a lost event.
    pub(super) fn lose_event(&mut self) {
        let own = (String::new(), "lost", 0);
        if !self.cx.large {
            return self.count_loss(Counter::LostEvent);
        }
        let func = match self.cx.shared.get(&own) {
            Some(func) => *func,
            None => {
                let name = self.cx.func_name("lost");
                let f = FuncBuilder::new(&name, FuncKind::Global { bytes: 0 }, &[], Type::I64);
                let body = self.body.clone();
                let mut inner = Fx::new(self.cx, f, body, None, None);
                inner.count_loss(Counter::LostEvent);
                let zero = inner.f.iconst(Type::I64, 0);
                inner.f.ret(zero);
                let func = inner.f.finish();
                let func = self.cx.add_func(func);
                self.cx.shared.insert(own, func);
                func
            }
        };
        self.f.call(func, &[], Type::I64);
    }
}
