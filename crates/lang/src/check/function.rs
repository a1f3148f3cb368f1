//! Functions of the script, `fn name($x : type) : type { … }`: declarations and calls enter; checked functions and typed
//! calls leave. A result that is no scalar goes where a hidden last parameter says. What always holds: no function calls
//! itself, on whatever way, and one with a result returns on every way.

use super::{Checker, Typed};
use crate::ast::{self, Block, FnDecl, Span, StmtKind as A};
use crate::diag::Diagnostic;
use crate::hir::{self, ExprKind, Stmt, StmtKind, VarId};
use crate::ty::Ty;
use crate::types::name;

/// Most parameters: BPF functions take their arguments in five registers.
const MAX_PARAMS: usize = 5;

/// What a call has to know of a function.
#[derive(Clone, Debug)]
pub(super) struct Signature {
    pub(super) name: String,
    params: Vec<Ty>,
    ret: Ty,
}

/// The function whose body is being checked.
#[derive(Clone, Debug)]
pub(super) struct Within {
    name: String,
    ret: Ty,
    /// Where a result that is no scalar goes.
    out: Option<VarId>,
}

impl Checker<'_> {
    /// Reads the declarations; errors in them are reported.
    pub(super) fn declare_functions(&mut self, functions: &[FnDecl]) {
        self.functions.clear();
        for (i, f) in functions.iter().enumerate() {
            if let Some(first) = functions[..i].iter().find(|other| other.name.text == f.name.text) {
                let message = format!("there is a function `{}` already", f.name.text);
                let d = Diagnostic::error("duplicate", f.name.span, message);
                self.diags.push(d.label(first.name.span, "here"));
            } else if crate::builtins::find(&f.name.text).is_some() {
                let message = format!("`{}` is a function of the language", f.name.text);
                self.diags
                    .push(Diagnostic::error("duplicate", f.name.span, message).hint("choose another name"));
            }
            let params = f.params.iter().map(|(_, ty)| self.parameter_type(ty)).collect();
            let ret = self.parameter_type(&f.ret);
            let in_registers = f.params.len() + usize::from(!ret.is_scalar() && ret != Ty::None);
            if in_registers > MAX_PARAMS {
                let message = format!(
                    "`{}` has more parameters than the {MAX_PARAMS} that are possible (a result that is no number counts as one)",
                    f.name.text
                );
                self.error("too-many-parameters", f.name.span, message);
            }
            self.functions.push(Signature { name: f.name.text.clone(), params, ret });
        }
        self.report_recursion(functions);
    }

    /// A parameter's or result's type; strings without a size are as long as strings can be.
    fn parameter_type(&mut self, t: &ast::TypeExpr) -> Ty {
        match self.type_expr(t) {
            Some(Ty::Str { size: 0 }) => Ty::Str { size: self.settings.config.max_strlen },
            Some(ty @ (Ty::Agg(_) | Ty::Composite(_))) => {
                self.mismatch(t.span, &ty, "a type that a function can take or return");
                Ty::None
            }
            Some(ty) => ty,
            None => Ty::None,
        }
    }

    /// Reports functions that call themselves.
    fn report_recursion(&mut self, functions: &[FnDecl]) {
        let calls = |f: &FnDecl| -> Vec<usize> {
            let mut called = Vec::new();
            super::walk::block(&f.body, &mut |e| {
                if let ast::ExprKind::Call { name, .. } = &*e.kind {
                    called.extend(functions.iter().position(|other| other.name.text == name.text));
                }
            });
            called
        };
        let edges: Vec<Vec<usize>> = functions.iter().map(calls).collect();
        for (start, f) in functions.iter().enumerate() {
            let mut reached = vec![false; functions.len()];
            let mut open = edges[start].clone();
            while let Some(next) = open.pop() {
                if !std::mem::replace(&mut reached[next], true) {
                    open.extend(&edges[next]);
                }
            }
            if reached[start] {
                let message = format!("`{}` calls itself, which eBPF does not allow", f.name.text);
                let through: Vec<&str> = (0..functions.len())
                    .filter(|i| *i != start && reached[*i])
                    .map(|i| functions[i].name.text.as_str())
                    .collect();
                let d = Diagnostic::error("recursion", f.name.span, message);
                self.diags.push(match through.is_empty() {
                    true => d.hint("a `for` over a range repeats something"),
                    false => d.hint(format!("it calls: {}", through.join(", "))),
                });
            }
        }
    }

    /// The bodies of all functions; their variables' bodies are numbered from `first` on.
    pub(super) fn function_bodies(&mut self, functions: &[FnDecl], first: usize) -> Vec<hir::Function> {
        self.instance = None;
        let checked = (first..).zip(functions.iter().enumerate());
        checked
            .filter_map(|(body, (i, f))| self.function_body(f, self.functions.get(i)?.clone(), body))
            .collect()
    }

    fn function_body(&mut self, f: &FnDecl, signature: Signature, body: usize) -> Option<hir::Function> {
        self.vars.enter_body(body);
        let mut params = 0;
        for ((param, _), ty) in f.params.iter().zip(&signature.params) {
            let id = self.declare_var(param, Some(ty.clone()), "parameter")?;
            self.mark_assigned(id);
            params += 1;
        }
        let out = match signature.ret.is_scalar() || signature.ret == Ty::None {
            true => None,
            false => {
                let hidden = ast::Name { text: "$ result".to_owned(), span: f.name.span };
                params += 1;
                self.declare_var(&hidden, Some(signature.ret.clone()), "parameter")
            }
        };
        let ret = signature.ret.clone();
        self.within = Some(Within { name: signature.name.clone(), ret: ret.clone(), out });
        let stmts = self.block(&f.body);
        self.within = None;
        if ret != Ty::None && !returns(&f.body) {
            let message = format!("`{}` does not return a value on every way through it", signature.name);
            let d = Diagnostic::error("no-return", f.name.span, message);
            self.diags.push(d.hint(format!("it must return a `{}`", name::display(&ret))));
        }
        let vars = self.finish_vars();
        let ret = if out.is_some() { Ty::None } else { ret };
        Some(hir::Function { name: signature.name, params, out: out.is_some(), ret, vars, body: stmts })
    }

    /// `return` in a function; `None` outside of one.
    pub(super) fn return_from_function(
        &mut self,
        value: Option<&ast::Expr>,
        span: Span,
        out: &mut Vec<Stmt>,
    ) -> Option<()> {
        let within = self.within.clone()?;
        let done = Stmt { kind: StmtKind::Return(None), span };
        let Some(e) = value else {
            if within.ret != Ty::None {
                self.wrong_result(&within, &Ty::None, span);
            }
            out.push(done);
            return Some(());
        };
        let Some(value) = self.value(e) else { return Some(()) };
        let found = value.ty().clone();
        match self.coerce(value, &within.ret).filter(|_| within.ret != Ty::None) {
            None => self.wrong_result(&within, &found, e.span),
            Some(value) => match within.out {
                None => out.push(Stmt { kind: StmtKind::Return(Some(value)), span }),
                Some(var) => {
                    self.mark_assigned(var);
                    out.push(Stmt { kind: StmtKind::AssignVar(var, value), span });
                    out.push(done);
                }
            },
        }
        Some(())
    }

    fn wrong_result(&mut self, within: &Within, found: &Ty, span: Span) {
        let shown = |ty: &Ty| if *ty == Ty::None { "void".to_owned() } else { name::display(ty) };
        let (ret, found) = (shown(&within.ret), shown(found));
        let message = format!("Function {} is of type {ret}, cannot return {found}", within.name);
        self.error("type-mismatch", span, message);
    }

    /// A call of a function of the script; `None` if there is none of that name.
    pub(super) fn call_function(
        &mut self,
        callee: &ast::Name,
        args: &[ast::Expr],
        span: Span,
    ) -> Option<Option<Typed>> {
        let func = self.functions.iter().position(|f| f.name == callee.text)?;
        let signature = self.functions[func].clone();
        let values: Vec<Option<Typed>> = args.iter().map(|e| self.value(e)).collect();
        if args.len() != signature.params.len() {
            let types: Vec<String> = signature.params.iter().map(name::display).collect();
            let message =
                format!("`{}` takes {} arguments, {} given", signature.name, types.len(), args.len());
            let d = Diagnostic::error("argument-count", span, message);
            self.diags.push(d.hint(format!("its parameters are: {}", types.join(", "))));
            return Some(None);
        }
        let mut checked = Vec::new();
        for (value, ty) in values.into_iter().zip(&signature.params) {
            let Some(value) = value else { return Some(None) };
            let (at, found) = (value.span(), value.ty().clone());
            match self.coerce(value, ty) {
                Some(value) => checked.push(value),
                None => {
                    self.mismatch(at, &found, &format!("`{}`", name::display(ty)));
                    return Some(None);
                }
            }
        }
        Some(Some(Typed::new(ExprKind::CallFn { func, args: checked }, signature.ret, span)))
    }

    /// In a function, a builtin that needs the probe is an error of its own.
    /// Whether the body of a function of the script is being checked.
    pub(crate) fn in_function(&self) -> bool {
        self.within.is_some()
    }

    pub(super) fn needs_probe(&mut self, row: &str, span: Span, errors: usize) {
        let silent = self.settled && self.diags.list.len() == errors;
        if silent && self.within.is_some() {
            let message = format!("`{row}` depends on the probe, it is not available in a function");
            self.diags.push(Diagnostic::error("in-function", span, message).hint("pass it as an argument"));
        }
    }
}

/// Whether every way through a block returns.
fn returns(block: &Block) -> bool {
    block.stmts.iter().any(|s| match &s.kind {
        A::Return(_) => true,
        A::If { then, other, .. } => returns(then) && other.as_ref().is_some_and(returns),
        A::Block(b) => returns(b),
        _ => false,
    })
}
