//! What many places of a large program do alike, in functions of its own: an operation on a map with its key in memory and
//! its value as a number, and counting a lost event. The verifier looks at such a function once; at each place there is
//! only the key, the number and a call, without a branch. In small programs everything stays in place.

use super::Result;
use super::func::Fx;
use super::map::MapInfo;
use super::types::ir_type;
use crate::hir::MapNo;
use crate::ty::Ty;
use skep_bpf::event::{Action, lay_out};
use skep_bpf::helpers::{self, id as helper};
use skep_bpf::object::Counter;
use skep_bpf::schema::ValueType;
use skep_compiler::ir::{FuncBuilder, FuncKind, PtrKind, Type, Value};

/// Functions of this kind in a module, at most; a program may have 256 in all.
const MOST: usize = 96;

/// What a shared function does with a map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operation {
    /// `@m[k] = agg(n)`.
    Aggregate,
    /// `@m[k] = n`.
    Assign,
    /// `@m[k]`.
    Get,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Operation::Aggregate => "aggregate",
            Operation::Assign => "assign",
            Operation::Get => "get",
        }
    }
}

impl Fx<'_, '_> {
    /// Whether there is, or may be, a shared function for `operation`.
    pub(super) fn shares(&self, operation: Operation, info: &MapInfo) -> bool {
        let own = (self.body.stem.to_owned(), operation.name(), info.id.index());
        self.cx.large && (self.cx.shared.len() < MOST || self.cx.shared.contains_key(&own))
    }

    /// Calls the shared function for `operation` on the entry of `key`, which it is made for at the first call. `None`:
    /// the operation is to be built in place.
    pub(super) fn shared_operation(
        &mut self,
        operation: Operation,
        map: MapNo,
        info: &MapInfo,
        key: Value,
        number: Value,
    ) -> Result<Option<Value>> {
        let own = (self.body.stem.to_owned(), operation.name(), info.id.index());
        let known = self.cx.shared.get(&own).copied();
        if !self.shares(operation, info) {
            return Ok(None);
        }
        let bytes = if info.buckets { info.key_size.next_multiple_of(8) + 8 } else { info.key_size };
        if info.buckets {
            let zero = self.f.u64(0);
            self.f.store(8, key, info.key_size.next_multiple_of(8) as i32, zero);
        }
        let func = match known {
            Some(func) => func,
            None => {
                let func = self.build_operation(operation, map, info, bytes)?;
                self.cx.shared.insert(own, func);
                func
            }
        };
        let event = self.failure_event(helper::MAP_UPDATE_ELEM);
        let number = self.number(number);
        Ok(Some(self.f.call(func, &[key, number, event], Type::I64)))
    }

    /// The number of the event that says that a helper failed here.
    fn failure_event(&mut self, id: u32) -> Value {
        let name = helpers::by_id(id).map_or("?", |h| h.name);
        let action = Action::HelperError { helper: name.to_owned() };
        let mut layout = lay_out(action, vec![ValueType::Int { size: 8, signed: true }], 0);
        self.cx.place(&mut layout, self.here);
        let number = self.cx.add_event(layout);
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
        let params = [Type::Ptr(PtrKind::Stack), Type::U64, Type::U64];
        let f = FuncBuilder::new(&name, FuncKind::Global { bytes }, &params, Type::I64);
        let (key, number, event) = (f.param(0), f.param(1), f.param(2));
        let (body, loc) = (self.body.clone(), self.f.loc());
        let mut inner = Fx::new(self.cx, f, body, None, None);
        inner.f.set_loc(loc);
        inner.failure = Some(event);
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

