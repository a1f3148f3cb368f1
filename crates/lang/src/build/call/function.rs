//! Functions of the script: each becomes one function of the module, built when it is first called. Scalars are passed
//! and returned in registers. Of all else the address is passed, and where the result goes; a function that changes such
//! a parameter works on a copy.

use super::super::func::{Body, Fx};
use super::super::memory::Mem;
use super::super::types::ir_type;
use super::super::walk::{self, Plan};
use super::super::{BuildError, Result, internal};
use crate::ast::Span;
use crate::hir::{Expr, Function, VarId};
use crate::ty::Ty;
use skep_compiler::ir::{FuncBuilder, FuncId, FuncKind, PtrKind, Type, Value};
use std::rc::Rc;

/// Type of a parameter that is memory of the caller.
const ADDRESS: Type = Type::Ptr(PtrKind::Stack);

impl<'a> Fx<'_, 'a> {
    /// Calls a function of the script whose result is a scalar, or nothing.
    pub(in super::super) fn call_function(
        &mut self,
        index: usize,
        args: &[Expr],
        span: Span,
    ) -> Result<Value> {
        let (function, func) = self.function(index, span)?;
        let values = self.arguments(function, args)?;
        let ret = return_type(function)?;
        Ok(self.f.call(func, &values, ret))
    }

    /// Calls a function whose result is no scalar; where the result lies.
    pub(in super::super) fn call_into_memory(
        &mut self,
        index: usize,
        args: &[Expr],
        ty: &Ty,
        span: Span,
    ) -> Result<Mem> {
        let (function, func) = self.function(index, span)?;
        let mut values = self.arguments(function, args)?;
        let slot = self.slot_for(ty, "result");
        let to = self.f.slot_addr(slot);
        let size = self.cx.size_of(ty).next_multiple_of(8).max(8);
        self.f.zero(to, 0, size, 8);
        values.push(to);
        self.f.call(func, &values, return_type(function)?);
        Ok(Mem::own(to, 0))
    }

    fn arguments(&mut self, function: &'a Function, args: &[Expr]) -> Result<Vec<Value>> {
        let mut values = Vec::new();
        for (arg, var) in args.iter().zip(&function.vars) {
            values.push(match var.ty.is_scalar() {
                true => {
                    let value = self.value(arg)?;
                    self.narrow_to(value, &var.ty)?
                }
                false => {
                    let slot = self.slot_for(&var.ty, "argument");
                    let to = self.f.slot_addr(slot);
                    self.put(arg, &var.ty, to, 0)?;
                    to
                }
            });
        }
        Ok(values)
    }

    fn function(&mut self, index: usize, span: Span) -> Result<(&'a Function, FuncId)> {
        let Some(function) = self.cx.program.functions.get(index) else {
            return internal(format!("function {index} does not exist"));
        };
        match self.cx.functions.get(&index) {
            Some(Some(func)) => return Ok((function, *func)),
            Some(None) => {
                let message = format!("{} calls itself, which eBPF does not allow", function.name);
                return Err(BuildError::Limit { message, span });
            }
            None => {}
        }
        self.cx.functions.insert(index, None);
        let func = self.build_function(function)?;
        self.cx.functions.insert(index, Some(func));
        Ok((function, func))
    }

    fn build_function(&mut self, function: &'a Function) -> Result<FuncId> {
        let params = function.vars.iter().take(function.params);
        let types: Result<Vec<Type>> =
            params.map(|p| if p.ty.is_scalar() { ir_type(&p.ty) } else { Ok(ADDRESS) }).collect();
        let rules = self.body.rules;
        let plan = Rc::new(Plan::with_params(function.params, None, &function.body, rules));
        let body = Body {
            probe: None,
            vars: &function.vars,
            plan: Rc::clone(&plan),
            rules,
            stem: &function.name,
            ret: Some(&function.ret),
        };
        let name = self.cx.func_name(&function.name);
        let f = FuncBuilder::new(&name, FuncKind::Sub, &types?, return_type(function)?);
        let mut inner = Fx::new(self.cx, f, body, None, None);
        let changed = walk::assigned(&function.body, None);
        let used = (0..function.params).map(|i| (i, VarId(i as u32))).filter(|(_, var)| plan.is_used(*var));
        let (mut scalars, mut copies) = (Vec::new(), Vec::new());
        for (index, var) in used {
            let value = inner.f.param(index);
            let is_result = function.out && index + 1 == function.params;
            match inner.var(var)?.ty.is_scalar() {
                true => scalars.push((var, value)),
                false if is_result || !changed.contains(&var) => {
                    inner.by_reference.insert(var, value);
                }
                false => copies.push((var, value)),
            }
        }
        inner.enter(0)?;
        for (var, value) in scalars {
            inner.store_var(var, value)?;
        }
        for (var, from) in copies {
            let size = inner.cx.size_of(&inner.var(var)?.ty);
            let (to, off) = inner.var_addr(var)?;
            inner.copy_bytes(to, off, &Mem::own(from, 0), size);
        }
        inner.stmts(&function.body)?;
        if !inner.f.is_terminated() {
            inner.return_from(None)?;
        }
        let func = inner.f.finish();
        Ok(self.cx.add_func(func))
    }
}

/// What a function gives back in its register: 0 where it has nothing to give.
fn return_type(function: &Function) -> Result<Type> {
    match function.ret {
        Ty::None => Ok(Type::I64),
        ref ty => ir_type(ty),
    }
}
