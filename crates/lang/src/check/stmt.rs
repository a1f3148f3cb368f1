//! Statements: blocks of the syntax tree enter, typed statements leave.

use super::{Checker, Typed};
use crate::ast::{self, BinOp, Block, ForIter, Span, StmtKind as A};
use crate::builtins::{Checked, Kind};
use crate::diag::Diagnostic;
use crate::hir::{Expr, ExprKind, Stmt, StmtKind};
use crate::ty::Ty;
use crate::types::infer::{pointing_as, pointing_to};

/// Most times that `unroll` repeats.
const MAX_UNROLL: i128 = 100;

/// What is known of a condition before the program runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Known {
    /// It is not asked: the program decides when it runs.
    Not,
    /// Not yet: types are missing.
    NotYet,
    /// Whether it holds.
    Truth(bool),
}

impl Checker<'_> {
    /// A block in a scope of its own; a value at its end is done for its effect.
    pub(crate) fn block(&mut self, block: &Block) -> Vec<Stmt> {
        self.vars.enter_scope();
        let mut out = self.stmts(&block.stmts);
        if let Some(value) = &block.value {
            self.effect(value, &mut out);
        }
        self.vars.leave_scope();
        out
    }

    /// Statements in the scope at hand.
    pub(crate) fn stmts(&mut self, list: &[ast::Stmt]) -> Vec<Stmt> {
        let mut out = Vec::new();
        for s in list {
            self.stmt(s, &mut out);
        }
        out
    }

    fn stmt(&mut self, s: &ast::Stmt, out: &mut Vec<Stmt>) {
        let kind = match &s.kind {
            A::Discard(e) => {
                let value = self.value(e).and_then(|value| self.readable(value));
                out.extend(value.map(|v| Stmt { kind: StmtKind::Expr(v.expr), span: s.span }));
                return;
            }
            A::Expr(e) => return self.effect(e, out),
            A::Assign { target, op, value } => return self.assign(target, *op, value, s.span, out),
            A::Let { name, ty, value } => return self.let_(name, ty.as_ref(), value.as_ref(), s.span, out),
            A::If { cond, then, other } => {
                match self.comptime(cond) {
                    Known::Not => {}
                    Known::NotYet => return,
                    Known::Truth(truth) => {
                        let taken = if truth { Some(then) } else { other.as_ref() };
                        return out.extend(taken.map_or(Vec::new(), |b| self.block(b)));
                    }
                }
                let cond = self.condition(cond);
                let then = self.block(then);
                let other = other.as_ref().map_or(Vec::new(), |b| self.block(b));
                cond.map(|cond| StmtKind::If { cond, then, other })
            }
            A::While { cond, body } => {
                let cond = self.condition(cond);
                let body = self.loop_body(body);
                cond.map(|cond| StmtKind::While { cond, body })
            }
            A::Unroll { count, body } => self.unroll(count, body),
            A::For { var, iter, body } => self.for_(var, iter, body),
            A::Return(value) => match self.return_from_function(value.as_ref(), s.span, out) {
                Some(()) => return,
                None => self.return_(value.as_ref()),
            },
            A::Break => self.jump(StmtKind::Break, "break", s.span),
            A::Continue => self.jump(StmtKind::Continue, "continue", s.span),
            A::Block(b) => return out.extend(self.block(b)),
        };
        out.extend(kind.map(|kind| Stmt { kind, span: s.span }));
    }

    /// A condition: `if`, `while`, `?:`, a predicate.
    pub(crate) fn condition(&mut self, e: &ast::Expr) -> Option<Expr> {
        let value = self.value(e)?;
        self.truth(value, "a condition")
    }

    /// What `comptime` makes of a condition. One that is not known when all types are is an error.
    pub(crate) fn comptime(&mut self, e: &ast::Expr) -> Known {
        let ast::ExprKind::Comptime(inner) = &*e.kind else { return Known::Not };
        let errors = self.diags.list.len();
        let value = self.value(inner);
        match value.as_ref().and_then(Typed::literal_truth) {
            Some(truth) => Known::Truth(truth),
            None => {
                if self.settled && (value.is_some() || self.diags.list.len() == errors) {
                    self.error("not-constant", inner.span, "this is not known when the program is compiled");
                }
                Known::NotYet
            }
        }
    }

    fn loop_body(&mut self, body: &Block) -> Vec<Stmt> {
        self.loops += 1;
        let body = self.block(body);
        self.loops -= 1;
        body
    }

    fn jump(&mut self, kind: StmtKind, word: &str, span: Span) -> Option<StmtKind> {
        if self.loops == 0 {
            self.error("outside-loop", span, format!("`{word}` is only allowed in a loop"));
            return None;
        }
        Some(kind)
    }

    fn return_(&mut self, value: Option<&ast::Expr>) -> Option<StmtKind> {
        let Some(value) = value else { return Some(StmtKind::Return(None)) };
        if self.instance.is_some_and(|i| i.packet.is_some()) {
            let d = Diagnostic::error(
                "no-result",
                value.span,
                "a probe on packets ends with a verdict, not with a number",
            );
            self.diags.push(d.hint("verdicts are pass(), drop(), tx() and redirect()"));
            return None;
        }
        let value = self.value(value)?;
        let value = self.integer(value, true, false, "as a probe's result")?;
        Some(StmtKind::Return(Some(value)))
    }

    fn unroll(&mut self, count: &ast::Expr, body: &Block) -> Option<StmtKind> {
        let value = self.value(count);
        let loops = std::mem::take(&mut self.loops);
        let body = self.block(body);
        self.loops = loops;
        match value?.literal_int() {
            Some(n @ 1..=MAX_UNROLL) => Some(StmtKind::Unroll { count: n as u32, body }),
            Some(n) => {
                let limit = match n < 1 {
                    true => "minimum value is 1".to_owned(),
                    false => format!("maximum value is {MAX_UNROLL}"),
                };
                self.error("bad-unroll", count.span, format!("unroll {limit}, this is {n}"));
                None
            }
            None => {
                self.error("bad-unroll", count.span, "`unroll` needs a constant count");
                None
            }
        }
    }

    fn for_(&mut self, var: &ast::Name, iter: &ForIter, body: &Block) -> Option<StmtKind> {
        match iter {
            ForIter::Map(e) => self.for_map(var, e, body),
            ForIter::Range(start, end) => self.for_range(var, start, end, body),
        }
    }

    fn for_range(
        &mut self,
        var: &ast::Name,
        start: &ast::Expr,
        end: &ast::Expr,
        body: &Block,
    ) -> Option<StmtKind> {
        let mut bound = |e: &ast::Expr| {
            let value = self.value(e)?;
            self.integer(value, true, false, "as a bound of the range")
        };
        let (start, end) = (bound(start), bound(end));
        self.vars.enter_scope();
        let id = self.declare_var(var, Some(Ty::I64), "loop variable");
        if let Some(id) = id {
            self.mark_assigned(id);
        }
        let body = self.loop_body(body);
        self.vars.leave_scope();
        Some(StmtKind::ForRange { var: id?, start: start?, end: end?, body })
    }

    fn for_map(&mut self, var: &ast::Name, e: &ast::Expr, body: &Block) -> Option<StmtKind> {
        let ast::ExprKind::Map { name, key: None } = &*e.kind else {
            self.error("bad-for", e.span, "`for` walks a map or a range such as `0..10`");
            return None;
        };
        let map = self.whole_map(name, e.span);
        self.may_be_walked(map, e.span)?;
        let keyed = self.keyed(map, true, e.span);
        let value = self.map_value(map, e.span);
        let key = self.map_key(map);
        let element = match (key, value) {
            (Some(key), Some(value)) => self.element(key.ty, value.ty, name, e.span),
            _ => None,
        };
        self.vars.enter_scope();
        let id = self.declare_var(var, None, "loop variable");
        if let (Some(id), Some(element)) = (id, element) {
            self.mark_assigned(id);
            let typed = Typed::new(ExprKind::Int(0), element, var.span);
            self.widen_var(id, &typed);
        }
        let body = self.loop_body(body);
        self.vars.leave_scope();
        keyed?;
        Some(StmtKind::ForMap { var: id?, map, body })
    }

    /// What a loop over a map gives: (key, value).
    fn element(&mut self, key: Ty, value: Ty, name: &str, span: Span) -> Option<Ty> {
        let value = match crate::types::infer::castable(&value) {
            Some(int) => int,
            None if matches!(value, Ty::Agg(_)) => {
                let message = format!(
                    "a loop cannot walk `{name}`, whose values are `{}`",
                    crate::types::name::display(&value)
                );
                self.error("bad-for", span, message);
                return None;
            }
            None => value,
        };
        Some(Ty::Tuple(vec![key, value]))
    }

    fn let_(
        &mut self,
        name: &ast::Name,
        ty: Option<&ast::TypeExpr>,
        value: Option<&ast::Expr>,
        span: Span,
        out: &mut Vec<Stmt>,
    ) {
        let declared = match ty {
            None => None,
            Some(t) => match self.type_expr(t) {
                Some(ty) => Some(ty),
                None => return,
            },
        };
        if let (Some(ty @ (Ty::Agg(_) | Ty::None)), Some(t)) = (&declared, ty) {
            let ty = ty.clone();
            return self.mismatch(t.span, &ty, "a type that a variable can have");
        }
        let value = value.map(|e| self.value(e));
        // A declaration does not say where its pointers lead: the first value does.
        let declared = declared.map(|ty| match value.as_ref().and_then(|v| v.as_ref()) {
            Some(value) => pointing_as(ty, value.ty()),
            None => pointing_to(ty, self.default_space()),
        });
        let Some(id) = self.declare_var(name, declared, "declared") else { return };
        if let Some(value) = value {
            out.extend(self.store_var(id, span, value));
        }
    }

    fn assign(
        &mut self,
        target: &ast::Expr,
        op: Option<BinOp>,
        value: &ast::Expr,
        span: Span,
        out: &mut Vec<Stmt>,
    ) {
        if let Some(change) = self.assign_packet(target, op, value, span) {
            return out.extend(change.map(|kind| Stmt { kind, span }));
        }
        match &*target.kind {
            ast::ExprKind::Var(name) => {
                let value = match op {
                    None => self.value(value),
                    Some(op) => self.compound_var(name, target.span, op, value, span),
                };
                out.extend(self.assign_var(name, target.span, value));
            }
            ast::ExprKind::Map { name, key } => {
                let key = key.as_deref();
                match op {
                    None => self.assign_map(name, target.span, key, value, span, out),
                    Some(op) => self.compound_map(name, target, key, op, value, span, out),
                }
            }
            _ => {
                let d = Diagnostic::error("bad-assignment", target.span, "this cannot be assigned to")
                    .hint("variables (`$x`) and maps (`@m`, `@m[key]`) can");
                self.diags.push(d);
            }
        }
    }

    fn compound_var(
        &mut self,
        name: &str,
        at: Span,
        op: BinOp,
        value: &ast::Expr,
        span: Span,
    ) -> Option<Typed> {
        let old = self.read_var(name, at);
        let value = self.value(value);
        self.binary(op, old?, value?, span)
    }

    fn assign_map(
        &mut self,
        name: &str,
        at: Span,
        key: Option<&[ast::Expr]>,
        value: &ast::Expr,
        span: Span,
        out: &mut Vec<Stmt>,
    ) {
        let place = self.map_place(name, at, key);
        if let Some((row, args)) = aggregation(value) {
            let checked = self.call_row(row, value.span, args);
            if let (Some(place), Some(Checked::Aggregation { agg, arg, weight })) = (place, checked) {
                out.extend(self.aggregate(place, agg, arg, weight, span));
            }
            return;
        }
        if let ast::ExprKind::Block(ast::Block { stmts, value: Some(inner), .. }) = &*value.kind
            && ends_in_aggregation(inner)
        {
            self.vars.enter_scope();
            out.extend(self.stmts(stmts));
            self.assign_map(name, at, key, inner, span, out);
            self.vars.leave_scope();
            return;
        }
        let value = self.value(value);
        if let (Some(place), Some(value)) = (place, value) {
            out.extend(self.store_map(place, value, span));
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn compound_map(
        &mut self,
        name: &str,
        target: &ast::Expr,
        key: Option<&[ast::Expr]>,
        op: BinOp,
        value: &ast::Expr,
        span: Span,
        out: &mut Vec<Stmt>,
    ) {
        let Some(mut place) = self.map_place(name, target.span, key) else {
            self.value(value);
            return;
        };
        for part in &mut place.key {
            if !super::typed::is_stable(part) {
                let (stmt, bound) = self.bind(part.clone());
                out.push(stmt);
                *part = bound;
            }
        }
        self.maps_start_at_zero(&place);
        let value = self.value(value);
        let Some(ty) = self.map_value(place.map, target.span) else { return };
        let kind = ExprKind::MapGet { map: place.map, key: place.key.clone() };
        let old = Typed { flex: ty.flex, ..Typed::new(kind, ty.ty, target.span) };
        let Some(value) = value.and_then(|v| self.binary(op, old, v, span)) else { return };
        out.extend(self.store_map(place, value, span));
    }

    /// An expression done for its effect.
    pub(crate) fn effect(&mut self, e: &ast::Expr, out: &mut Vec<Stmt>) {
        match &*e.kind {
            ast::ExprKind::Call { name, args } => {
                if let Some(row) = crate::builtins::find(&name.text) {
                    match self.call_row(row, e.span, args) {
                        Some(Checked::Stmt(mut kind)) => {
                            if let StmtKind::Emit { uses, .. } = &mut kind {
                                *uses = self.uses_around(e.span);
                            }
                            out.push(Stmt { kind, span: e.span });
                        }
                        Some(Checked::Value(value)) => self.discard(value, out),
                        Some(Checked::Aggregation { .. }) => self.loose_aggregation(row.name, e.span),
                        None => {}
                    }
                    return;
                }
            }
            ast::ExprKind::Ternary { cond, a, b } => {
                let cond = self.condition(cond);
                let mut branch = |e: &ast::Expr| {
                    let mut list = Vec::new();
                    self.effect(e, &mut list);
                    list
                };
                let (then, other) = (branch(a), branch(b));
                out.extend(cond.map(|cond| Stmt { kind: StmtKind::If { cond, then, other }, span: e.span }));
                return;
            }
            ast::ExprKind::If { cond, then, other } => {
                match self.comptime(cond) {
                    Known::Not => {}
                    Known::NotYet => return,
                    Known::Truth(truth) => return out.extend(self.block(if truth { then } else { other })),
                }
                let cond = self.condition(cond);
                let (then, other) = (self.block(then), self.block(other));
                out.extend(cond.map(|cond| Stmt { kind: StmtKind::If { cond, then, other }, span: e.span }));
                return;
            }
            ast::ExprKind::Block(b) => {
                self.around.push(e.span);
                out.extend(self.block(b));
                self.around.pop();
                return;
            }
            _ => {}
        }
        if let Some(value) = self.value(e).and_then(|value| self.used(value)) {
            self.discard(value, out);
        }
    }

    /// The uses of the macros that what stands at `span` comes from, from the inside out: a use is a block that its content
    /// does not lie in.
    fn uses_around(&self, mut span: Span) -> Vec<Span> {
        let mut uses = Vec::new();
        for around in self.around.iter().rev() {
            if around.start > span.start || around.end < span.end {
                uses.push(*around);
                span = *around;
            }
        }
        uses
    }

    /// An expression done for its effect may have no value, but not one that cannot be.
    fn used(&mut self, value: Typed) -> Option<Typed> {
        if let Ty::Agg(_) = value.ty() { self.readable(value) } else { Some(value) }
    }

    /// A value that nobody uses.
    fn discard(&mut self, value: Typed, out: &mut Vec<Stmt>) {
        let span = value.span();
        match value.expr.kind {
            ExprKind::Delete { map, key } => out.push(Stmt { kind: StmtKind::Delete { map, key }, span }),
            ExprKind::IncMap { .. } | ExprKind::IncVar { .. } | ExprKind::CallFn { .. } => {
                out.push(Stmt { kind: StmtKind::Expr(value.expr), span });
            }
            ExprKind::Call { name, .. } if super::typed::acts(name) => {
                out.push(Stmt { kind: StmtKind::Expr(value.expr), span });
            }
            _ => {
                self.warn("discarded", span, "the value of this expression is not used");
                out.push(Stmt { kind: StmtKind::Expr(value.expr), span });
            }
        }
    }

    /// An aggregation that is not assigned to a map.
    pub(crate) fn loose_aggregation(&mut self, name: &str, span: Span) {
        self.diags.push(
            Diagnostic::error(
                "loose-aggregation",
                span,
                format!("`{name}()` must be assigned directly to a map"),
            )
            .hint(format!("write `@ = {name}(…)` or `@[key] = {name}(…)`")),
        );
    }
}

/// The aggregating function that an expression calls, and its arguments.
fn aggregation(e: &ast::Expr) -> Option<(&'static crate::builtins::Builtin, &[ast::Expr])> {
    let ast::ExprKind::Call { name, args } = &*e.kind else { return None };
    let row = crate::builtins::find(&name.text).filter(|row| row.kind == Kind::Aggregation)?;
    Some((row, args))
}

fn ends_in_aggregation(e: &ast::Expr) -> bool {
    match &*e.kind {
        ast::ExprKind::Block(ast::Block { value: Some(inner), .. }) => ends_in_aggregation(inner),
        _ => aggregation(e).is_some(),
    }
}
