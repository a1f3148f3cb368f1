//! Statements, and the loops that stay in their function: ranges of a few rounds, and all where the kernel has no
//! bpf_loop; the verifier follows each of their rounds.

use super::func::{Fx, LoopExit};
use super::walk;
use super::{BuildError, Result};
use crate::ast::Span;
use crate::hir::{Expr, ExprKind, Stmt, StmtKind, VarId};
use skep_bpf::target::Feature;
use skep_compiler::ir::{Cc, Type};

/// Most rounds of a range that the verifier is asked to follow one by one, where there is no bpf_loop: more would exceed
/// its million steps with a body of a few instructions.
const MAX_INLINE_ROUNDS: i64 = 32_768;

impl Fx<'_, '_> {
    /// Builds statements in order; what stands behind a jump is left out.
    pub(super) fn stmts(&mut self, stmts: &[Stmt]) -> Result<()> {
        for stmt in stmts {
            if self.f.is_terminated() {
                break;
            }
            self.at(stmt.span);
            self.prefetch(stmt)?;
            let mark = self.mark_packet();
            self.stmt(stmt)?;
            self.join_packet(mark);
        }
        Ok(())
    }

    fn stmt(&mut self, stmt: &Stmt) -> Result<()> {
        match &stmt.kind {
            StmtKind::Expr(e) => self.effect(e),
            StmtKind::AssignVar(var, e) => self.assign_var(*var, e),
            StmtKind::AssignMap { map, key, value } => self.assign_map(*map, key, value),
            StmtKind::Aggregate { map, key, arg, weight } => {
                self.aggregate(*map, key, arg.as_ref(), weight.as_ref())
            }
            StmtKind::Delete { map, key } => self.delete(*map, key, stmt.span).map(|_| ()),
            StmtKind::Emit { action, args, uses } => self.emit(action, args, stmt.span, uses),
            StmtKind::If { cond, then, other } => self.if_else(cond, then, other),
            StmtKind::While { .. }
            | StmtKind::ForMap { .. }
            | StmtKind::ForRange { .. }
            | StmtKind::Unroll { .. } => {
                self.forget_reads();
                self.loop_stmt(stmt)
            }
            StmtKind::ChangePacket(change) => self.change_packet(change),
            StmtKind::Return(value) => self.return_from(value.as_ref()),
            StmtKind::Break => self.leave_loop(false),
            StmtKind::Continue => self.leave_loop(true),
        }
    }

    fn loop_stmt(&mut self, stmt: &Stmt) -> Result<()> {
        match &stmt.kind {
            StmtKind::While { cond, body } => match self.body.rules.is_callback(stmt) {
                true => self.while_callback(stmt, cond, body),
                false => self.while_inline(cond, body),
            },
            StmtKind::Unroll { count, body } => self.unroll(*count, body),
            StmtKind::ForMap { var, map, body } => self.for_map(stmt, *var, *map, body),
            StmtKind::ForRange { var, start, end, body } => match self.body.rules.is_callback(stmt) {
                true => self.range_callback(stmt, *var, (start, end), body),
                false => self.range_inline(*var, start, end, body),
            },
            _ => Ok(()),
        }
    }

    fn assign_var(&mut self, var: VarId, e: &Expr) -> Result<()> {
        let ty = self.var(var)?.ty.clone();
        if ty.is_scalar() {
            let value = self.value(e)?;
            let value = self.narrow_to(value, &ty)?;
            return self.store_var(var, value);
        }
        if let crate::hir::ExprKind::Var(from) = e.kind
            && from == var
        {
            return Ok(());
        }
        let mentions = mentions(e, var);
        if !mentions {
            let (to, off) = self.var_addr(var)?;
            return match &ty {
                crate::ty::Ty::Str { size } => self.assign_str(e, *size, to, off),
                _ => self.put(e, &ty, to, off),
            };
        }
        let slot = self.slot_for(&ty, "new");
        let to = self.f.slot_addr(slot);
        self.put(e, &ty, to, 0)?;
        let size = self.cx.size_of(&ty);
        let (var_at, off) = self.var_addr(var)?;
        self.copy_bytes(var_at, off, &super::memory::Mem::own(to, 0), size);
        Ok(())
    }

    fn if_else(&mut self, cond: &Expr, then: &[Stmt], other: &[Stmt]) -> Result<()> {
        // The verifier looks at what follows a branch before what it jumps to: with the rest of the body first, it finds
        // that what is jumped to comes to nothing new.
        let aside = self.cx.large && other.is_empty();
        let yes = if aside { self.f.cold_block() } else { self.f.block(&[]) };
        let done = self.f.block(&[]);
        let no = if other.is_empty() { done } else { self.f.block(&[]) };
        let mark = self.mark_packet();
        self.condition(cond, yes, no)?;
        self.f.switch_to(yes);
        self.learn(cond)?;
        self.stmts(then)?;
        self.f.jump(done, &[]);
        self.forget_packet(mark);
        if !other.is_empty() {
            self.f.switch_to(no);
            self.stmts(other)?;
            self.f.jump(done, &[]);
        }
        self.f.switch_to(done);
        self.join_packet(mark);
        Ok(())
    }

    fn unroll(&mut self, count: u32, body: &[Stmt]) -> Result<()> {
        let done = self.f.block(&[]);
        let mark = self.mark_packet();
        for _ in 0..count {
            let next = self.f.block(&[]);
            self.loops.push(LoopExit::Blocks { done, next });
            self.stmts(body)?;
            self.loops.pop();
            self.f.jump(next, &[]);
            self.f.switch_to(next);
            self.join_packet(mark);
        }
        self.f.jump(done, &[]);
        self.f.switch_to(done);
        self.join_packet(mark);
        Ok(())
    }

    fn leave_loop(&mut self, round: bool) -> Result<()> {
        match self.loops.last() {
            Some(LoopExit::Blocks { done, next }) => {
                let to = if round { *next } else { *done };
                self.f.jump(to, &[]);
                Ok(())
            }
            Some(LoopExit::Callback) => {
                let code = self.f.iconst(Type::I64, i64::from(!round));
                self.f.ret(code);
                Ok(())
            }
            None => super::internal("break or continue outside of a loop"),
        }
    }

    fn while_inline(&mut self, cond: &Expr, body: &[Stmt]) -> Result<()> {
        let (head, inner, done) = (self.f.block(&[]), self.f.block(&[]), self.f.block(&[]));
        self.f.jump(head, &[]);
        self.f.switch_to(head);
        self.condition(cond, inner, done)?;
        self.f.switch_to(inner);
        self.loops.push(LoopExit::Blocks { done, next: head });
        self.stmts(body)?;
        self.loops.pop();
        self.f.jump(head, &[]);
        self.f.switch_to(done);
        Ok(())
    }

    fn range_inline(&mut self, var: VarId, start: &Expr, end: &Expr, body: &[Stmt]) -> Result<()> {
        if let (ExprKind::Int(first), ExprKind::Int(end_value)) = (&start.kind, &end.kind)
            && end_value.saturating_sub(*first) > MAX_INLINE_ROUNDS
        {
            let what = format!("a loop of more than {MAX_INLINE_ROUNDS} rounds");
            let span = Span { start: start.span.start, end: end.span.end };
            return Err(BuildError::Unsupported { what, since: Some(Feature::Loop.since()), span });
        }
        let first = self.value(start)?;
        let end_value = self.value(end)?;
        let (at, index) = (self.scratch(8, "index"), self.number(first));
        self.f.store(8, at, 0, index);
        let (head, inner) = (self.f.block(&[]), self.f.block(&[]));
        let (next, done) = (self.f.block(&[]), self.f.block(&[]));
        self.f.jump(head, &[]);
        self.f.switch_to(head);
        let i = self.f.load(Type::I64, at, 0);
        self.f.branch(Cc::Slt, i, end_value, inner, done);
        self.f.switch_to(inner);
        self.store_var(var, i)?;
        self.loops.push(LoopExit::Blocks { done, next });
        self.stmts(body)?;
        self.loops.pop();
        self.f.jump(next, &[]);
        self.f.switch_to(next);
        let i = self.f.load(Type::I64, at, 0);
        let i = self.f.add_imm(i, 1);
        self.f.store(8, at, 0, i);
        self.f.jump(head, &[]);
        self.f.switch_to(done);
        Ok(())
    }
}

/// Whether an expression reads a variable.
fn mentions(e: &Expr, var: VarId) -> bool {
    let mut found = false;
    walk::walk_expr(e, &mut |node| {
        if let walk::Node::Expr(Expr { kind: crate::hir::ExprKind::Var(v), .. }) = node {
            found |= *v == var;
        }
    });
    found
}
