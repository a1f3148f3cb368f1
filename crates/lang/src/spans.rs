//! All places in a syntax tree. A tree and a change of spans enter; the tree with every span changed is what is left.

use crate::ast::{Block, Expr, ExprKind, Name, Script, Span, Stmt, StmtKind, TypeExpr};
use crate::diag::Diagnostic;
use crate::expand::rewrite::Rewrite;

/// Moves a whole script to where its file begins.
pub(crate) fn shift(script: &mut Script, start: u32) {
    let mut visitor = Spans(&mut |span: &mut Span| {
        span.start = span.start.saturating_add(start);
        span.end = span.end.saturating_add(start);
    });
    visitor.script(script);
}

/// Moves a message about a file to where the file begins.
pub(crate) fn shift_diagnostic(d: &mut Diagnostic, start: u32) {
    for span in std::iter::once(&mut d.span).chain(d.labels.iter_mut().map(|(span, _)| span)) {
        span.start = span.start.saturating_add(start);
        span.end = span.end.saturating_add(start);
    }
}

/// Changes the spans of a block and of all in it.
pub(crate) fn each(block: &mut Block, change: &mut dyn FnMut(&mut Span)) {
    Spans(change).block(block);
}

struct Spans<'f>(&'f mut dyn FnMut(&mut Span));

impl Spans<'_> {
    fn name(&mut self, name: &mut Name) {
        (self.0)(&mut name.span);
    }

    fn script(&mut self, script: &mut Script) {
        script.c_decls.iter_mut().for_each(|d| (self.0)(&mut d.span));
        for item in &mut script.config {
            self.name(&mut item.name);
            self.expr(&mut item.value);
        }
        script.imports.iter_mut().for_each(|i| self.name(i));
        for map in &mut script.map_decls {
            self.name(&mut map.name);
            self.name(&mut map.kind);
            map.args.iter_mut().for_each(|e| self.expr(e));
            map.types.iter_mut().for_each(|t| self.ty(t));
        }
        for m in &mut script.macros {
            self.name(&mut m.name);
            m.params.iter_mut().for_each(|p| self.name(p));
            self.block(&mut m.body);
        }
        for f in &mut script.functions {
            self.name(&mut f.name);
            for (name, ty) in &mut f.params {
                self.name(name);
                self.ty(ty);
            }
            self.ty(&mut f.ret);
            self.block(&mut f.body);
        }
        for p in &mut script.probes {
            p.attach.iter_mut().for_each(|a| self.name(a));
            p.predicate.iter_mut().for_each(|e| self.expr(e));
            self.block(&mut p.body);
            (self.0)(&mut p.span);
        }
    }
}

impl Rewrite for Spans<'_> {
    fn expr(&mut self, e: &mut Expr) {
        (self.0)(&mut e.span);
        match &mut *e.kind {
            ExprKind::Field { name, .. } | ExprKind::Call { name, .. } => self.name(name),
            ExprKind::Offsetof { path, .. } => path.iter_mut().for_each(|n| self.name(n)),
            ExprKind::Record(fields) => fields.iter_mut().for_each(|(n, _)| self.name(n)),
            _ => {}
        }
        self.inner(e);
    }

    fn stmt(&mut self, s: &mut Stmt) {
        (self.0)(&mut s.span);
        match &mut s.kind {
            StmtKind::Let { name, .. } | StmtKind::For { var: name, .. } => self.name(name),
            _ => {}
        }
    }

    fn type_expr(&mut self, t: &mut TypeExpr) {
        (self.0)(&mut t.span);
    }

    fn block(&mut self, b: &mut Block) {
        (self.0)(&mut b.span);
        self.block_parts(b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Diagnostics;

    #[test]
    fn every_span_moves() {
        let text = "let @m = hash(5); macro m($a, b) { $a + b } fn f($x : int64) : int64 { return $x; }\n\
             k:f /pid == 1/ { let $y : int8[4]; for ($i : 0..3) { @m[(1, (a = 2))] = args.x; } sizeof(struct t) }";
        let mut moved = crate::parse::parse(text, &mut Diagnostics::default());
        let plain = format!("{moved:?}");
        shift(&mut moved, 7000);
        let shown = format!("{moved:?}");
        assert_eq!(plain.matches("span: Span").count(), shown.matches("start: 7").count());
        assert!(shown.matches("start: 7").count() > 30, "{shown}");
    }
}
