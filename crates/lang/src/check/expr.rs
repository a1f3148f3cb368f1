//! Expressions: syntax enters, typed expressions leave. `None` means that an error is reported, or that a type is not
//! known yet and a later pass will know it.

use super::stmt::Known;
use super::{Checker, Typed};
use crate::ast::{self, BinOp, ExprKind as A, Span};
use crate::builtins::{self, Checked};
use crate::diag::Diagnostic;
use crate::hir::{Expr, ExprKind};
use crate::suggest;
use crate::ty::Ty;
use crate::types::infer::{self, Inferred};
use crate::types::name;

/// Deepest nesting of expressions; operators in a row nest as well.
const MAX_DEPTH: u32 = 300;

impl Checker<'_> {
    /// An expression that must have a value.
    pub(crate) fn value(&mut self, e: &ast::Expr) -> Option<Typed> {
        if self.depth >= MAX_DEPTH {
            self.error("too-deep", e.span, format!("nested deeper than {MAX_DEPTH} operators and calls"));
            return None;
        }
        self.depth += 1;
        let value = self.value_within(e);
        self.depth -= 1;
        value
    }

    fn value_within(&mut self, e: &ast::Expr) -> Option<Typed> {
        if let Some(value) = self.packet_path(e) {
            return value;
        }
        match &*e.kind {
            A::Int { value, .. } => Typed::int(i128::from(*value), e.span),
            A::Str(bytes) => Some(self.string_literal(bytes, e.span)),
            A::Bool(b) => Some(Typed::boolean(*b, e.span)),
            A::Ident(name) => self.identifier(name, e.span),
            A::Var(name) => self.read_var(name, e.span),
            A::Map { name, key } => self.read_map(name, e.span, key.as_deref()),
            A::Positional(n) => Some(self.positional(*n, e.span)),
            A::PositionalCount => Typed::int(self.settings.options.params.len() as i128, e.span),
            A::Unary { op, expr } => self.unary(*op, expr, e.span),
            A::Binary { op, a, b } => self.binary_expr(*op, a, b, e.span),
            A::Ternary { cond, a, b } => {
                let cond = self.condition(cond);
                let (a, b) = (self.value(a), self.value(b));
                self.ternary(cond?, a?, b?, e.span)
            }
            A::Field { expr, name, .. } => self.field(expr, name, e.span),
            A::TupleIndex { expr, index } => {
                let base = self.value(expr)?;
                self.tuple_index(base, *index as usize, e.span)
            }
            A::Index { expr, index } => self.index(expr, index, e.span),
            A::Call { name, args } => self.call(name, args, e.span),
            A::Cast { ty, expr } => self.cast(ty, expr, e.span),
            A::SizeofType(ty) => {
                let ty = self.type_expr(ty)?;
                self.sizeof(&ty, e.span)
            }
            A::SizeofExpr(inner) => {
                let ty = match self.named_type(inner) {
                    Some(ty) => ty,
                    None => self.type_of(inner)?,
                };
                self.sizeof(&ty, e.span)
            }
            A::Offsetof { ty, path } => self.offsetof(ty, path, e.span),
            A::Tuple(list) => {
                let parts = self.elements(list)?;
                Some(super::map::tuple(parts, e.span))
            }
            A::Record(fields) => self.record(fields, e.span),
            A::Block(block) => self.block_value(block, e.span),
            A::If { cond, then, other } => {
                match self.comptime(cond) {
                    Known::Not => {}
                    Known::NotYet => return None,
                    Known::Truth(truth) => {
                        let taken = if truth { then } else { other };
                        return self.block_value(taken, taken.span);
                    }
                }
                let cond = self.condition(cond);
                let a = self.block_value(then, then.span);
                let b = self.block_value(other, other.span);
                self.ternary(cond?, a?, b?, e.span)
            }
            A::Comptime(inner) => self.value(inner),
            A::Type(_) => {
                self.error("no-value", e.span, "a type is not a value");
                None
            }
        }
    }

    fn string_literal(&mut self, bytes: &[u8], span: Span) -> Typed {
        let longest = self.settings.config.max_strlen as usize - 1;
        if bytes.len() > longest {
            let message = format!("this string has {} bytes, the longest has {longest}", bytes.len());
            self.diags.push(
                Diagnostic::error("string-too-long", span, message).hint(
                    "raise `max_strlen` in a config block or with the environment variable of that name",
                ),
            );
        }
        Typed::string(bytes.to_vec(), span)
    }

    /// The type of an expression that is not evaluated.
    pub(crate) fn type_of(&mut self, e: &ast::Expr) -> Option<Ty> {
        self.unevaluated(|this| this.value(e)).map(|v| v.expr.ty)
    }

    /// Checks something that is not evaluated.
    pub(crate) fn unevaluated<T>(&mut self, check: impl FnOnce(&mut Self) -> T) -> T {
        self.unevaluated += 1;
        let result = check(self);
        self.unevaluated -= 1;
        result
    }

    /// The type that a bare name stands for where a type can stand.
    fn named_type(&self, e: &ast::Expr) -> Option<Ty> {
        let A::Ident(name) = &*e.kind else { return None };
        if self.types.constant(name).is_some() {
            // As a value it is a number of full width.
            return Some(Ty::U64);
        }
        self.types.by_name(name, crate::ty::Space::Kernel).ok()
    }

    fn sizeof(&mut self, ty: &Ty, span: Span) -> Option<Typed> {
        match self.types.size_of(ty) {
            Some(size) => Typed::int(i128::from(size), span),
            None => {
                let message = format!("`{}` has no size", name::display(ty));
                self.error("no-size", span, message);
                None
            }
        }
    }

    fn offsetof(&mut self, ty: &ast::TypeExpr, path: &[ast::Name], span: Span) -> Option<Typed> {
        let mut ty = self.type_expr(ty)?;
        let mut offset = 0u32;
        for step in path {
            let Ty::Composite(c) = &ty else {
                let message = format!("`{}` has no fields", name::display(&ty));
                self.error("no-field", step.span, message);
                return None;
            };
            let c = c.clone();
            let info = self.known_field(&c, step, crate::ty::Space::Kernel)?;
            offset = offset.saturating_add(info.access.offset);
            ty = info.ty;
        }
        Typed::int(i128::from(offset), span)
    }

    /// Values of a list, all of them checked; aggregations are read.
    pub(crate) fn elements(&mut self, list: &[ast::Expr]) -> Option<Vec<Typed>> {
        let checked: Vec<Option<Typed>> = list
            .iter()
            .map(|e| {
                let value = self.value(e)?;
                self.readable(value)
            })
            .collect();
        checked.into_iter().collect()
    }

    fn record(&mut self, fields: &[(ast::Name, ast::Expr)], span: Span) -> Option<Typed> {
        let values: Vec<ast::Expr> = fields.iter().map(|(_, e)| e.clone()).collect();
        let parts = self.elements(&values)?;
        for (i, (name, _)) in fields.iter().enumerate() {
            if fields[..i].iter().any(|(other, _)| other.text == name.text) {
                self.error("duplicate", name.span, format!("field `{}` is there twice", name.text));
                return None;
            }
        }
        let types = fields.iter().zip(&parts).map(|((n, _), p)| (n.text.clone(), p.ty().clone())).collect();
        let flex = infer::whole_flex(parts.iter().map(|p| p.flex.clone()).collect());
        let kind = ExprKind::Record(parts.into_iter().map(|p| p.expr).collect());
        Some(Typed { flex, ..Typed::new(kind, Ty::Record(types), span) })
    }

    fn block_value(&mut self, block: &ast::Block, span: Span) -> Option<Typed> {
        self.vars.enter_scope();
        self.around.push(span);
        self.within_value += 1;
        let stmts = self.stmts(&block.stmts);
        self.within_value -= 1;
        self.around.pop();
        let value = match &block.value {
            Some(value) => self.value(value),
            None => {
                self.diags.push(
                    Diagnostic::error("no-value", span, "this block has no value")
                        .hint("its last expression is its value if no `;` follows"),
                );
                None
            }
        };
        self.vars.leave_scope();
        let value = value?;
        if stmts.is_empty() {
            return Some(value);
        }
        let flex = value.flex.clone();
        Some(Typed {
            flex,
            literal: false,
            space: value.space,
            expr: super::coerce::behind(stmts, value.expr),
        })
    }

    /// `$1`: a number if it reads as one, else a string; 0 if there is none.
    fn positional(&mut self, n: u32, span: Span) -> Typed {
        let text = self.parameter(n);
        if text.is_empty() {
            self.warn("no-parameter", span, format!("parameter ${n} is not given; it is 0 here"));
            return Typed::int(0, span).unwrap_or_else(|| Typed::boolean(false, span));
        }
        let number = match text.strip_prefix('-') {
            Some(rest) => crate::resolve::perf::number(rest).map(|v| -i128::from(v)),
            None => crate::resolve::perf::number(&text).map(i128::from),
        };
        match number.and_then(|v| Typed::int(v, span)) {
            Some(value) => value,
            None => Typed::string(text.into_bytes(), span),
        }
    }

    /// The text of positional parameter `n`.
    pub(crate) fn parameter(&self, n: u32) -> String {
        (n as usize)
            .checked_sub(1)
            .and_then(|i| self.settings.options.params.get(i))
            .cloned()
            .unwrap_or_default()
    }

    /// A bare name: a builtin, else an enum constant.
    fn identifier(&mut self, name: &str, span: Span) -> Option<Typed> {
        if let Some(row) = builtins::find(name) {
            if row.min > 0 {
                let message = format!("`{name}` is a function");
                self.diags.push(
                    Diagnostic::error("not-a-value", span, message)
                        .hint(format!("it is called as `{}`", row.signatures[0])),
                );
                return None;
            }
            return self.value_of_row(row, span, &[]);
        }
        if let Some(value) = self.numbered(name, span) {
            return value;
        }
        if let Some((value, ty)) = self.types.constant(name) {
            return Some(Typed::constant(value, ty, span));
        }
        if let Some(value) = self.preamble.shipped(name) {
            return Typed::int(i128::from(value), span);
        }
        let d = Diagnostic::error("unknown-name", span, format!("unknown name `{name}`"));
        let names = builtins::all().map(|row| row.name);
        self.diags.push(match suggest::nearest(name, names) {
            Some(near) => d.hint(format!("did you mean `{near}`?")),
            None => d.hint("variables begin with `$`, maps with `@`"),
        });
        None
    }

    fn call(&mut self, name: &ast::Name, args: &[ast::Expr], span: Span) -> Option<Typed> {
        if let Some(called) = self.call_function(name, args, span) {
            return called;
        }
        let Some(row) = builtins::find(&name.text) else {
            let d =
                Diagnostic::error("unknown-function", name.span, format!("unknown function `{}`", name.text));
            let names = builtins::all().map(|row| row.name);
            self.diags.push(match suggest::nearest(&name.text, names) {
                Some(near) => d.hint(format!("did you mean `{near}`?")),
                None => d,
            });
            for a in args {
                self.value(a);
            }
            return None;
        };
        self.value_of_row(row, span, args)
    }

    fn value_of_row(
        &mut self,
        row: &'static builtins::Builtin,
        span: Span,
        args: &[ast::Expr],
    ) -> Option<Typed> {
        let errors = self.diags.list.len();
        let Some(checked) = self.call_row(row, span, args) else {
            self.needs_probe(row.name, span, errors);
            return None;
        };
        match checked {
            Checked::Value(value) => Some(value),
            Checked::Aggregation { .. } => {
                self.loose_aggregation(row.name, span);
                None
            }
            Checked::Stmt(_) => {
                self.error(
                    "no-value",
                    span,
                    format!("`{}` is done for its effect, it has no value", row.name),
                );
                None
            }
        }
    }

    fn ternary(&mut self, cond: Expr, a: Typed, b: Typed, span: Span) -> Option<Typed> {
        let (a, b) = (self.readable(a), self.readable(b));
        let (a, b) = (a?, b?);
        let Some(Inferred { ty, flex }) = infer::promote(&a.inferred(), &b.inferred()) else {
            let message = format!(
                "both sides must have one type, but are `{}` and `{}`",
                name::display(a.ty()),
                name::display(b.ty())
            );
            self.diags.push(
                Diagnostic::error("type-mismatch", span, message)
                    .label(a.span(), name::display(a.ty()))
                    .label(b.span(), name::display(b.ty())),
            );
            return None;
        };
        let (a, b) = (self.coerce(a, &ty)?, self.coerce(b, &ty)?);
        let kind = ExprKind::Ternary { cond: Box::new(cond), a: Box::new(a), b: Box::new(b) };
        Some(Typed { flex, ..Typed::new(kind, ty, span) })
    }

    fn binary_expr(&mut self, op: BinOp, a: &ast::Expr, b: &ast::Expr, span: Span) -> Option<Typed> {
        let (a, b) = (self.value(a), self.value(b));
        self.binary(op, a?, b?, span)
    }
}
