//! Statements that nothing reaches: a body enters, a warning for the first statement behind each jump leaves. Calls of
//! `exit` jump as well.

use crate::ast::{Block, Expr, ExprKind, Stmt, StmtKind};
use crate::diag::{Diagnostic, Diagnostics};

/// Warns of what cannot be reached in a body.
pub(super) fn body(block: &Block, diags: &mut Diagnostics) {
    ends(block, diags);
}

/// Whether a block always jumps away.
fn ends(block: &Block, diags: &mut Diagnostics) -> bool {
    let mut ended = false;
    let mut warned = false;
    for stmt in &block.stmts {
        if ended && !warned {
            warn(stmt.span, "Unreachable statement.", diags);
            warned = true;
        }
        ended |= stmt_ends(stmt, diags);
    }
    if let Some(value) = &block.value {
        if ended && !warned {
            warn(value.span, "Unreachable expression.", diags);
        }
        ended |= expr_ends(value, diags);
    }
    ended
}

fn warn(span: crate::ast::Span, message: &str, diags: &mut Diagnostics) {
    diags.push(Diagnostic::warning("unreachable", span, message));
}

fn stmt_ends(stmt: &Stmt, diags: &mut Diagnostics) -> bool {
    match &stmt.kind {
        StmtKind::Return(_) | StmtKind::Break | StmtKind::Continue => true,
        StmtKind::Expr(e) | StmtKind::Discard(e) => expr_ends(e, diags),
        StmtKind::Block(block) => ends(block, diags),
        StmtKind::If { then, other, .. } => {
            let then = ends(then, diags);
            let other = other.as_ref().is_some_and(|other| ends(other, diags));
            then && other
        }
        StmtKind::While { body, .. } | StmtKind::For { body, .. } | StmtKind::Unroll { body, .. } => {
            ends(body, diags);
            false
        }
        StmtKind::Assign { value, .. } => expr_ends(value, diags),
        StmtKind::Let { value, .. } => value.as_ref().is_some_and(|value| expr_ends(value, diags)),
    }
}

fn expr_ends(e: &Expr, diags: &mut Diagnostics) -> bool {
    match &*e.kind {
        ExprKind::Call { name, .. } => name.text == "exit",
        ExprKind::Block(block) => ends(block, diags),
        ExprKind::If { then, other, .. } => {
            let (then, other) = (ends(then, diags), ends(other, diags));
            then && other
        }
        _ => false,
    }
}
