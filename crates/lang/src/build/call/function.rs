//! Functions of the script: each becomes one function of the module, built when it is first called.

use super::super::func::{Body, Fx};
use super::super::types::ir_type;
use super::super::walk::Plan;
use super::super::{BuildError, Result, internal};
use crate::ast::Span;
use crate::hir::{Expr, Function, VarId};
use crate::ty::Ty;
use skep_compiler::ir::{FuncBuilder, FuncId, FuncKind, Type, Value};
use std::rc::Rc;

/// Most parameters of a BPF function.
const MAX_PARAMS: usize = 5;

impl<'a> Fx<'_, 'a> {
    /// Calls a function of the script.
    pub(in super::super) fn call_function(
        &mut self,
        index: usize,
        args: &[Expr],
        span: Span,
    ) -> Result<Value> {
        let Some(function) = self.cx.program.functions.get(index) else {
            return internal(format!("function {index} does not exist"));
        };
        let func = self.function(index, function, span)?;
        let mut values = Vec::new();
        for (arg, var) in args.iter().zip(&function.vars) {
            let value = self.value(arg)?;
            values.push(self.narrow_to(value, &var.ty)?);
        }
        let ret = ir_type(&function.ret)?;
        Ok(self.f.call(func, &values, ret))
    }

    fn function(&mut self, index: usize, function: &'a Function, span: Span) -> Result<FuncId> {
        match self.cx.functions.get(&index) {
            Some(Some(func)) => return Ok(*func),
            Some(None) => {
                let message = format!("{} calls itself, which eBPF does not allow", function.name);
                return Err(BuildError::Limit { message, span });
            }
            None => {}
        }
        let params = function.vars.get(..function.params).unwrap_or(&[]);
        if params.len() > MAX_PARAMS {
            let message =
                format!("{} has {} parameters, at most 5 are possible", function.name, params.len());
            return Err(BuildError::Limit { message, span });
        }
        if params.iter().any(|p| !p.ty.is_scalar()) || !(function.ret.is_scalar() || function.ret == Ty::None)
        {
            let what = format!("{}: passing or returning strings and composites", function.name);
            return Err(BuildError::Unsupported { what, since: None, span });
        }
        self.cx.functions.insert(index, None);
        let func = self.build_function(function)?;
        self.cx.functions.insert(index, Some(func));
        Ok(func)
    }

    fn build_function(&mut self, function: &'a Function) -> Result<FuncId> {
        let types: Result<Vec<Type>> =
            function.vars.iter().take(function.params).map(|p| ir_type(&p.ty)).collect();
        let rules = self.body.rules;
        let body = Body {
            probe: self.body.probe,
            vars: &function.vars,
            plan: Rc::new(Plan::of(None, &function.body, rules)),
            rules,
            stem: &function.name,
            ret: Some(&function.ret),
        };
        let name = self.cx.func_name(&function.name);
        let f = FuncBuilder::new(&name, FuncKind::Sub, &types?, ir_type(&function.ret)?);
        let mut inner = Fx::new(self.cx, f, body, None, None);
        inner.enter(0)?;
        for index in 0..function.params {
            let (var, value) = (VarId(index as u32), inner.f.param(index));
            if inner.body.plan.is_used(var) {
                inner.store_var(var, value)?;
            }
        }
        inner.stmts(&function.body)?;
        if !inner.f.is_terminated() {
            inner.return_from(None)?;
        }
        let func = inner.f.finish();
        Ok(self.cx.add_func(func))
    }
}
