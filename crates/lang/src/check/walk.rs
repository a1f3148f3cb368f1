//! Walks over the syntax tree. A block or expression enters; every expression in it is shown, outer ones first.

use crate::ast::{Block, Expr, ExprKind, ForIter, Probe, Script, Stmt, StmtKind, TypeExpr, TypeExprKind};
use crate::resolve::Uses;

/// Shows every expression of a block.
pub(crate) fn block(b: &Block, see: &mut dyn FnMut(&Expr)) {
    for s in &b.stmts {
        stmt(s, see);
    }
    if let Some(value) = &b.value {
        expr(value, see);
    }
}

fn stmt(s: &Stmt, see: &mut dyn FnMut(&Expr)) {
    match &s.kind {
        StmtKind::Expr(e) | StmtKind::Discard(e) => expr(e, see),
        StmtKind::Assign { target, value, .. } => {
            expr(target, see);
            expr(value, see);
        }
        StmtKind::Let { ty, value, .. } => {
            ty.iter().for_each(|t| expr(&of_type(t), see));
            value.iter().for_each(|e| expr(e, see));
        }
        StmtKind::If { cond, then, other } => {
            expr(cond, see);
            block(then, see);
            other.iter().for_each(|b| block(b, see));
        }
        StmtKind::While { cond: e, body } | StmtKind::Unroll { count: e, body } => {
            expr(e, see);
            block(body, see);
        }
        StmtKind::For { iter, body, .. } => {
            match iter {
                ForIter::Map(e) => expr(e, see),
                ForIter::Range(a, b) => {
                    expr(a, see);
                    expr(b, see);
                }
            }
            block(body, see);
        }
        StmtKind::Return(value) => value.iter().for_each(|e| expr(e, see)),
        StmtKind::Block(b) => block(b, see),
        StmtKind::Break | StmtKind::Continue => {}
    }
}

/// A type as an expression, so that it is shown.
fn of_type(t: &TypeExpr) -> Expr {
    Expr { kind: Box::new(ExprKind::Type(t.clone())), span: t.span }
}

fn type_expr(t: &TypeExpr, see: &mut dyn FnMut(&Expr)) {
    match &t.kind {
        TypeExprKind::Typeof(e) => expr(e, see),
        TypeExprKind::Ptr(inner) | TypeExprKind::Array(inner, _) => type_expr(inner, see),
        TypeExprKind::Tuple(types) => types.iter().for_each(|t| type_expr(t, see)),
        TypeExprKind::Name(_) => {}
    }
}

/// Shows an expression and all within.
pub(crate) fn expr(e: &Expr, see: &mut dyn FnMut(&Expr)) {
    see(e);
    match &*e.kind {
        ExprKind::Map { key: Some(list), .. } | ExprKind::Call { args: list, .. } | ExprKind::Tuple(list) => {
            list.iter().for_each(|e| expr(e, see));
        }
        ExprKind::Unary { expr: e, .. }
        | ExprKind::Field { expr: e, .. }
        | ExprKind::TupleIndex { expr: e, .. }
        | ExprKind::SizeofExpr(e)
        | ExprKind::Comptime(e) => expr(e, see),
        ExprKind::Binary { a, b, .. } | ExprKind::Index { expr: a, index: b } => {
            expr(a, see);
            expr(b, see);
        }
        ExprKind::Ternary { cond, a, b } => {
            for e in [cond, a, b] {
                expr(e, see);
            }
        }
        ExprKind::Cast { ty, expr: e } => {
            type_expr(ty, see);
            expr(e, see);
        }
        ExprKind::SizeofType(ty) | ExprKind::Offsetof { ty, .. } | ExprKind::Type(ty) => type_expr(ty, see),
        ExprKind::Record(fields) => fields.iter().for_each(|(_, e)| expr(e, see)),
        ExprKind::Block(b) => block(b, see),
        ExprKind::If { cond, then, other } => {
            expr(cond, see);
            block(then, see);
            block(other, see);
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

/// Names of types in a script's probes, as they are written.
pub(crate) fn type_names(script: &Script) -> Vec<String> {
    fn of(t: &TypeExpr, names: &mut Vec<String>) {
        match &t.kind {
            TypeExprKind::Name(name) => names.push(name.clone()),
            TypeExprKind::Ptr(inner) | TypeExprKind::Array(inner, _) => of(inner, names),
            TypeExprKind::Tuple(types) => types.iter().for_each(|t| of(t, names)),
            TypeExprKind::Typeof(_) => {}
        }
    }
    let mut names = Vec::new();
    let mut see = |e: &Expr| match &*e.kind {
        ExprKind::Cast { ty, .. }
        | ExprKind::SizeofType(ty)
        | ExprKind::Offsetof { ty, .. }
        | ExprKind::Type(ty) => of(ty, &mut names),
        _ => {}
    };
    for probe in &script.probes {
        probe.predicate.iter().for_each(|e| expr(e, &mut see));
        block(&probe.body, &mut see);
    }
    script.map_decls.iter().flat_map(|decl| &decl.types).for_each(|t| of(t, &mut names));
    names
}

/// What a probe uses of its context.
pub(crate) fn uses(probe: &Probe) -> Uses {
    let mut uses = Uses::default();
    let mut see = |e: &Expr| match &*e.kind {
        ExprKind::Ident(name) => note(name, &mut uses),
        ExprKind::Call { name, .. } => note(&name.text, &mut uses),
        ExprKind::Field { expr, name, .. } if name.text == "args" => {
            uses.args_array |= matches!(&*expr.kind, ExprKind::Ident(n) if n == "args");
        }
        _ => {}
    };
    probe.predicate.iter().for_each(|e| expr(e, &mut see));
    block(&probe.body, &mut see);
    uses
}

fn note(name: &str, uses: &mut Uses) {
    match name {
        "args" => uses.args = true,
        "retval" => uses.retval = true,
        // The name of the probe, or its place in the binary.
        "probe" | "uaddr" => uses.probe = true,
        "kstack" => uses.kstack = true,
        "ctx" => uses.ctx = true,
        _ => uses.numbered |= name.strip_prefix("arg").is_some_and(|n| n.parse::<u32>().is_ok()),
    }
}
