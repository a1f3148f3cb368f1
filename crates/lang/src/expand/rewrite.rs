//! A walk that changes a syntax tree in place. A visitor says what it does with expressions, statements and types; the
//! walk goes through everything else.

use crate::ast::{Block, Expr, ExprKind, ForIter, Stmt, StmtKind, TypeExpr, TypeExprKind};

/// What is done with each node.
pub(crate) trait Rewrite {
    /// An expression; `self.inner(e)` goes on within it.
    fn expr(&mut self, e: &mut Expr);

    /// A statement, before its parts.
    fn stmt(&mut self, _s: &mut Stmt) {}

    /// A type, before its parts.
    fn type_expr(&mut self, _t: &mut TypeExpr) {}

    /// A block.
    fn block(&mut self, b: &mut Block) {
        self.block_parts(b);
    }

    /// All statements of a block and its value.
    fn block_parts(&mut self, b: &mut Block) {
        for s in &mut b.stmts {
            self.statement(s);
        }
        if let Some(value) = &mut b.value {
            self.expr(value);
        }
    }

    /// A statement with its parts.
    fn statement(&mut self, s: &mut Stmt) {
        self.stmt(s);
        match &mut s.kind {
            StmtKind::Expr(e) | StmtKind::Discard(e) => self.expr(e),
            StmtKind::Assign { target, value, .. } => {
                self.expr(target);
                self.expr(value);
            }
            StmtKind::Let { ty, value, .. } => {
                ty.iter_mut().for_each(|t| self.ty(t));
                value.iter_mut().for_each(|e| self.expr(e));
            }
            StmtKind::If { cond, then, other } => {
                self.expr(cond);
                self.block(then);
                other.iter_mut().for_each(|b| self.block(b));
            }
            StmtKind::While { cond: e, body } | StmtKind::Unroll { count: e, body } => {
                self.expr(e);
                self.block(body);
            }
            StmtKind::For { iter, body, .. } => {
                match iter {
                    ForIter::Map(e) => self.expr(e),
                    ForIter::Range(a, b) => {
                        self.expr(a);
                        self.expr(b);
                    }
                }
                self.block(body);
            }
            StmtKind::Return(value) => value.iter_mut().for_each(|e| self.expr(e)),
            StmtKind::Block(b) => self.block(b),
            StmtKind::Break | StmtKind::Continue => {}
        }
    }

    /// A type with its parts.
    fn ty(&mut self, t: &mut TypeExpr) {
        self.type_expr(t);
        match &mut t.kind {
            TypeExprKind::Typeof(e) => self.expr(e),
            TypeExprKind::Ptr(inner) | TypeExprKind::Array(inner, _) => self.ty(inner),
            TypeExprKind::Tuple(types) => types.iter_mut().for_each(|t| self.ty(t)),
            TypeExprKind::Name(_) => {}
        }
    }

    /// The parts of an expression.
    fn inner(&mut self, e: &mut Expr) {
        match &mut *e.kind {
            ExprKind::Map { key: Some(list), .. }
            | ExprKind::Call { args: list, .. }
            | ExprKind::Tuple(list) => list.iter_mut().for_each(|e| self.expr(e)),
            ExprKind::Unary { expr: e, .. }
            | ExprKind::Field { expr: e, .. }
            | ExprKind::TupleIndex { expr: e, .. }
            | ExprKind::SizeofExpr(e)
            | ExprKind::Comptime(e) => self.expr(e),
            ExprKind::Binary { a, b, .. } | ExprKind::Index { expr: a, index: b } => {
                self.expr(a);
                self.expr(b);
            }
            ExprKind::Ternary { cond, a, b } => {
                for e in [cond, a, b] {
                    self.expr(e);
                }
            }
            ExprKind::Cast { ty, expr: e } => {
                self.ty(ty);
                self.expr(e);
            }
            ExprKind::SizeofType(ty) | ExprKind::Offsetof { ty, .. } | ExprKind::Type(ty) => self.ty(ty),
            ExprKind::Record(fields) => fields.iter_mut().for_each(|(_, e)| self.expr(e)),
            ExprKind::Block(b) => self.block(b),
            ExprKind::If { cond, then, other } => {
                self.expr(cond);
                self.block(then);
                self.block(other);
            }
            ExprKind::Int { .. }
            | ExprKind::Str(_)
            | ExprKind::Bool(_)
            | ExprKind::Ident(_)
            | ExprKind::Var(_)
            | ExprKind::Map { key: None, .. }
            | ExprKind::Positional(_)
            | ExprKind::PositionalCount => {}
        }
    }
}
