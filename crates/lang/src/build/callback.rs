//! Loops whose bodies the kernel calls back (for over a map, bpf_loop), and `return` from anywhere. A body becomes a
//! function of its own; what it shares with the code around it lies in the capture object (see `walk`). The callback
//! returns 0 for the next round and 1 to stop; a `return` in it also sets a word of the capture object, which the code
//! behind the loop looks at.

use super::func::{Body, Fx, LoopExit};
use super::memory::Mem;
use super::types::ir_type;
use super::walk::{self, CAPTURED_RETURNED, CAPTURED_VALUE};
use super::{Result, internal};
use crate::hir::{Expr, MapNo, Probe, Stmt, VarId};
use crate::ty::Ty;
use skep_bpf::helpers::id as helper;
use skep_bpf::object::Attach;
use skep_bpf::target::Feature;
use skep_compiler::ir::{BinOp, Cc, FuncBuilder, FuncId, FuncKind, PtrKind, Type, Value};

/// Most rounds of one bpf_loop (BPF_MAX_LOOPS, kernel/bpf/bpf_iter.c).
const MAX_ROUNDS: i64 = 8 * 1024 * 1024;

impl<'a> Fx<'_, 'a> {
    /// A function that the kernel calls back, with parameters `params`, the last of which is the capture object.
    fn callback(
        &mut self,
        stmt: &Stmt,
        params: &[Type],
        build: &mut dyn FnMut(&mut Fx<'_, 'a>) -> Result<()>,
    ) -> Result<FuncId> {
        let (region, _) = self.body.plan.callback(stmt)?;
        let name = self.cx.func_name(self.body.stem);
        let f = FuncBuilder::new(&name, FuncKind::Callback, params, Type::I64);
        let capture = f.param(params.len() - 1);
        let body: Body<'a> = self.body.clone();
        let loc = self.f.loc();
        let mut inner = Fx::new(self.cx, f, body, None, Some(capture));
        inner.f.set_loc(loc);
        inner.enter(region)?;
        inner.loops.push(LoopExit::Callback);
        build(&mut inner)?;
        if !inner.f.is_terminated() {
            let go_on = inner.f.iconst(Type::I64, 0);
            inner.f.ret(go_on);
        }
        let func = inner.f.finish();
        Ok(self.cx.add_func(func))
    }

    fn capture_object(&self) -> Result<Value> {
        match self.capture {
            Some(capture) => Ok(capture),
            None => internal("no capture object"),
        }
    }

    /// Behind a loop that the kernel ran: returns if its body did.
    fn behind_callback(&mut self) -> Result<()> {
        let capture = self.capture_object()?;
        let returned = self.f.load(Type::U64, capture, CAPTURED_RETURNED as i32);
        let (leave, go_on) = (self.f.block(&[]), self.f.block(&[]));
        self.f.branch_nonzero(returned, leave, go_on);
        self.f.switch_to(leave);
        match (self.callback, self.body.ret) {
            (true, _) => {
                let stop = self.f.iconst(Type::I64, 1);
                self.f.ret(stop);
            }
            (false, Some(Ty::None)) => {
                let zero = self.f.iconst(Type::I64, 0);
                self.f.ret(zero);
            }
            (false, Some(ty)) => {
                let ty = ir_type(ty)?;
                let value = self.f.load(Type::U64, capture, CAPTURED_VALUE as i32);
                let value = self.f.cast(value, ty);
                self.f.ret(value);
            }
            (false, None) if self.returns_value() => {
                let value = self.f.load(Type::U64, capture, CAPTURED_VALUE as i32);
                let value = self.narrow(value, Type::I32);
                self.f.ret(value);
            }
            (false, None) => {
                let zero = self.f.iconst(Type::I32, 0);
                self.f.ret(zero);
            }
        }
        self.f.switch_to(go_on);
        Ok(())
    }

    /// Whether what the body returns is looked at.
    fn returns_value(&self) -> bool {
        let trial = |p: &Probe| p.attach.iter().any(|a| matches!(a.at, Attach::Test | Attach::Bench));
        let verdict = |p: &Probe| p.packet.is_some();
        self.body.ret.is_some() || self.body.probe.is_some_and(|p| trial(p) || verdict(p))
    }

    /// `return`. Programs return 0 whatever the script says, but for those of `test:` and `bench:` probes.
    pub(super) fn return_from(&mut self, value: Option<&Expr>) -> Result<()> {
        let value = match value {
            Some(e) if e.ty.is_scalar() => Some(self.value(e)?),
            Some(e) => {
                self.effect(e)?;
                None
            }
            None => None,
        };
        if self.part {
            let ended = self.f.iconst(Type::I64, 1);
            self.f.ret(ended);
            return Ok(());
        }
        if self.callback {
            let capture = self.capture_object()?;
            let one = self.f.u64(1);
            self.f.store(8, capture, CAPTURED_RETURNED as i32, one);
            let value = match (value, self.neutral()) {
                (None, neutral) if neutral != 0 && self.body.ret.is_none() => {
                    Some(self.f.iconst(Type::I64, neutral))
                }
                (value, _) => value,
            };
            if let (Some(value), true) = (value, self.returns_value()) {
                self.f.store(8, capture, CAPTURED_VALUE as i32, value);
            }
            let stop = self.f.iconst(Type::I64, 1);
            self.f.ret(stop);
            return Ok(());
        }
        let result = match (self.body.ret, value) {
            (Some(ty), Some(value)) => self.narrow_to(value, ty)?,
            (Some(Ty::None), None) => self.f.iconst(Type::I64, 0),
            (Some(ty), None) => {
                let ty = ir_type(ty)?;
                self.zero_of(ty)
            }
            (None, Some(value)) if self.returns_value() => {
                let number = self.number(value);
                self.narrow(number, Type::I32)
            }
            (None, _) => {
                let neutral = self.neutral();
                self.f.iconst(Type::I32, neutral)
            }
        };
        self.f.ret(result);
        Ok(())
    }

    /// `for ($kv : @map)`.
    pub(super) fn for_map(&mut self, stmt: &Stmt, var: VarId, map: MapNo, body: &[Stmt]) -> Result<()> {
        self.cx.require(Feature::ForEachMapElem, "for over a map", stmt.span)?;
        let id = self.cx.map(map)?.id;
        let entry = Type::Ptr(PtrKind::MapValue { map: id, nullable: false });
        let params = [Type::Ptr(PtrKind::Map(id)), entry, entry, Type::Ptr(PtrKind::CallbackCtx)];
        let func = self.callback(stmt, &params, &mut |fx| {
            let (key, value) = (fx.f.param(1), fx.f.param(2));
            fx.fill_entry(var, map, key, value)?;
            fx.stmts(body)
        })?;
        self.forget(&walk::assigned(body, None))?;
        let map_ref = self.f.map_ref(id);
        let func = self.f.func_addr(func);
        let capture = self.capture_object()?;
        let flags = self.f.u64(0);
        self.call(helper::FOR_EACH_MAP_ELEM, &[map_ref, func, capture, flags]);
        self.behind_callback()
    }

    /// Sets the loop variable, a tuple of key and value, from an entry.
    fn fill_entry(&mut self, var: VarId, map: MapNo, key: Value, value: Value) -> Result<()> {
        let ty = self.var(var)?.ty.clone();
        let Ty::Tuple(parts) = &ty else { return internal("the variable of a map loop is no tuple") };
        let (Some(key_ty), Some(value_ty)) = (parts.first(), parts.get(1)) else {
            return internal("the variable of a map loop is no pair");
        };
        let value_at = self.tuple_offset(&ty, 1)?;
        let (to, off) = self.var_addr(var)?;
        let size = self.cx.size_of(key_ty);
        self.copy_bytes(to, off, &Mem::own(key, 0), size);
        let value_off = off + value_at as i32;
        if let Ty::Agg(agg) = self.cx.map(map)?.value.clone() {
            if matches!(value_ty, Ty::Agg(_)) {
                return self.put_merged(map, key, &agg, to, value_off);
            }
            let merged = self.merged_number(map, key, &agg)?;
            let merged = self.narrow_to(merged, value_ty)?;
            let size = super::types::mem_size(ir_type(value_ty)?);
            self.f.store(size, to, value_off, merged);
            return Ok(());
        }
        let size = self.cx.size_of(value_ty);
        self.copy_bytes(to, value_off, &Mem::own(value, 0), size);
        Ok(())
    }

    /// `for ($i : start..end)` through bpf_loop.
    pub(super) fn range_callback(
        &mut self,
        stmt: &Stmt,
        var: VarId,
        (start, end): (&Expr, &Expr),
        body: &[Stmt],
    ) -> Result<()> {
        let (_, word) = self.body.plan.callback(stmt)?;
        let first = self.value(start)?;
        let last = self.value(end)?;
        let (first, last) = (self.number(first), self.number(last));
        self.forget(&walk::assigned(body, None))?;
        let capture = self.capture_object()?;
        self.f.store(8, capture, word as i32, first);
        let count = self.f.bin(BinOp::Sub, Type::I64, last, first);
        let none = self.f.iconst(Type::I64, 0);
        let (run, done) = (self.f.block(&[]), self.f.block(&[]));
        self.f.branch(Cc::Sgt, count, none, run, done);
        self.f.switch_to(run);
        let func = self.callback(stmt, &[Type::U64, Type::Ptr(PtrKind::CallbackCtx)], &mut |fx| {
            let (index, capture) = (fx.f.param(0), fx.f.param(1));
            let first = fx.f.load(Type::U64, capture, word as i32);
            let index = fx.f.extend(index, skep_compiler::ir::IntTy::U32);
            let index = fx.f.cast(index, Type::U64);
            let i = fx.f.bin(BinOp::Add, Type::U64, first, index);
            fx.store_var(var, i)?;
            fx.stmts(body)
        })?;
        self.bpf_loop(func, Some(count))?;
        self.f.jump(done, &[]);
        self.f.switch_to(done);
        Ok(())
    }

    /// `while` through bpf_loop: the condition is the callback's first part.
    pub(super) fn while_callback(&mut self, stmt: &Stmt, cond: &Expr, body: &[Stmt]) -> Result<()> {
        self.forget(&walk::assigned(body, Some(cond)))?;
        let func = self.callback(stmt, &[Type::U64, Type::Ptr(PtrKind::CallbackCtx)], &mut |fx| {
            let (round, stop) = (fx.f.block(&[]), fx.f.block(&[]));
            fx.condition(cond, round, stop)?;
            fx.f.switch_to(stop);
            let code = fx.f.iconst(Type::I64, 1);
            fx.f.ret(code);
            fx.f.switch_to(round);
            fx.stmts(body)
        })?;
        self.bpf_loop(func, None)
    }

    /// Makes the verifier forget what it knows about integers that a loop changes. Otherwise it follows a counter that
    /// starts from a constant through every round.
    fn forget(&mut self, vars: &[VarId]) -> Result<()> {
        for var in vars {
            // A variable that lives in the body's own frame is new in each round.
            if !self.is_here(*var) || !matches!(self.var(*var)?.ty, Ty::Int { .. }) {
                continue;
            }
            let zero = self.cx.zero_map();
            let zero = self.f.map_value_addr(zero, 0);
            let zero = self.f.load(Type::U64, zero, 0);
            let known = self.load_var(*var)?;
            let known = self.number(known);
            let unknown = self.f.bin(BinOp::Add, Type::U64, known, zero);
            self.store_var(*var, unknown)?;
        }
        Ok(())
    }

    fn bpf_loop(&mut self, func: FuncId, count: Option<Value>) -> Result<()> {
        let most = self.f.u64(MAX_ROUNDS as u64);
        let rounds = match count {
            None => most,
            Some(count) => {
                let count = self.number(count);
                let cond = skep_compiler::ir::Cond {
                    cc: Cc::Ult,
                    width: skep_compiler::ir::Width::W64,
                    a: count,
                    b: most,
                };
                self.f.push_value(skep_compiler::ir::Op::Select { cond, a: count, b: most }, Type::U64)
            }
        };
        let func = self.f.func_addr(func);
        let capture = self.capture_object()?;
        let flags = self.f.u64(0);
        self.call(helper::LOOP, &[rounds, func, capture, flags]);
        self.behind_callback()
    }
}
