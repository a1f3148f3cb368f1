//! Large bodies in parts. The verifier follows a program path by path: it keeps at most 8,192 branches in mind
//! (BPF_COMPLEXITY_LIMIT_JMP_SEQ, kernel/bpf/verifier.c, Linux 6.18), and each instruction that it replaces moves all that
//! follow. So runs of statements of a large body become global functions, which it looks at one by one. A probe's body
//! enters; which of its statements make a part, and the functions, leave.
//!
//! What always holds: a part needs neither the context nor memory of its caller but the shared object, which holds the
//! scalar variables that several parts use, one word each; and a part tells by its result whether the program ends.

use super::func::Fx;
use super::walk::{LoopRules, Node, used, walk_stmts};
use super::{BuildError, Result};
use crate::hir::{Expr, ExprKind, Probe, Program, Stmt, StmtKind, Var};
use skep_bpf::version::KernelVersion;
use skep_compiler::ir::{FuncBuilder, FuncKind, PtrKind, Type};
use std::ops::Range;

/// First kernel whose global functions take memory (btf_prepare_func_args, kernel/bpf/btf.c).
pub(super) const SINCE: KernelVersion = KernelVersion::new(5, 13);

/// Weight of a probe's body from which on it counts as large.
const LARGE: usize = 4_000;
/// Weight of a part, at least.
const PART: usize = 600;
/// Parts of a program at most. The kernel allows 256 functions (BPF_MAX_SUBPROGS, include/linux/bpf_verifier.h).
const MOST_PARTS: usize = 120;
/// Variables that parts share at most: their words lie on the stack.
const MOST_SHARED: usize = 24;

/// Weight of all that `unroll` repeats in a program, at most.
const MOST_UNROLLED: usize = 200_000;

/// Builtins that need nothing but themselves.
const FREE: &[&str] = &[
    "pid",
    "tid",
    "pid_init",
    "tid_init",
    "uid",
    "gid",
    "cpu",
    "numaid",
    "rand",
    "cgroup",
    "jiffies",
    "nsecs",
    "nsecs_monotonic",
    "nsecs_tai",
    "elapsed",
    "curtask",
    "comm",
    "ksym",
    "bswap",
    "macaddr",
    "ntop",
];

/// How much there is to build: statements and expressions by what they cost, those in `unroll` as often as they are repeated.
fn weight(stmts: &[Stmt]) -> usize {
    let (mut count, mut copies) = (0usize, vec![1usize]);
    walk_stmts(stmts, &mut |node| {
        let now = copies.last().copied().unwrap_or(1);
        match node {
            Node::Stmt(stmt) => count = count.saturating_add(now.saturating_mul(stmt_cost(stmt))),
            Node::Expr(e) => count = count.saturating_add(now.saturating_mul(expr_cost(e))),
            Node::EnterBody(Stmt { kind: StmtKind::Unroll { count, .. }, .. }) => {
                copies.push(now.saturating_mul(*count as usize));
            }
            Node::LeaveBody(Stmt { kind: StmtKind::Unroll { .. }, .. }) => {
                copies.pop();
            }
            Node::EnterBody(_) | Node::LeaveBody(_) => {}
        }
    });
    count
}

/// What a statement counts: some eight instructions are one.
fn stmt_cost(stmt: &Stmt) -> usize {
    match &stmt.kind {
        StmtKind::Aggregate { key, .. } if !key.is_empty() => 12,
        StmtKind::AssignMap { key, .. } if !key.is_empty() => 8,
        _ => 1,
    }
}

/// What an expression counts, in the same measure.
fn expr_cost(e: &Expr) -> usize {
    match &e.kind {
        ExprKind::IncMap { key, .. } if !key.is_empty() => 12,
        _ => 1,
    }
}

/// Refuses what `unroll` repeats beyond measure, at the one that is too much.
pub(super) fn check_unrolls(program: &Program) -> Result<()> {
    let mut unrolled = 0usize;
    let probes = program.probes.iter().map(|p| &p.body);
    for body in probes.chain(program.functions.iter().map(|f| &f.body)) {
        let (mut depth, mut found) = (0usize, None);
        walk_stmts(body, &mut |node| match node {
            Node::EnterBody(stmt @ Stmt { kind: StmtKind::Unroll { .. }, .. }) => {
                if depth == 0 {
                    unrolled = unrolled.saturating_add(weight(std::slice::from_ref(stmt)));
                }
                if unrolled > MOST_UNROLLED && found.is_none() {
                    found = Some(stmt.span);
                }
                depth += 1;
            }
            Node::LeaveBody(Stmt { kind: StmtKind::Unroll { .. }, .. }) => depth -= 1,
            _ => {}
        });
        if let Some(span) = found {
            let message = format!(
                "`unroll` repeats too much up to here: a weight of {unrolled} statements and expressions, at most {MOST_UNROLLED}; \
                 use `for` or `while`"
            );
            return Err(BuildError::Limit { message, span });
        }
    }
    Ok(())
}

/// Whether a probe is large enough to be built for the verifier's sake rather than for speed.
pub(super) fn is_large(probe: &Probe) -> bool {
    weight(&probe.body) > LARGE
}

/// The runs of top-level statements of `probe` that become parts, in order.
pub(super) fn divide(probe: &Probe, rules: LoopRules) -> Vec<Range<usize>> {
    let total = weight(&probe.body);
    if total <= LARGE {
        return Vec::new();
    }
    let size = PART.max(total / MOST_PARTS);
    let (mut parts, mut begin, mut held) = (Vec::new(), 0, 0);
    let mut close = |begin: usize, end: usize, held: usize| {
        if held >= PART / 4 && begin < end {
            parts.push(begin..end);
        }
    };
    for (i, stmt) in probe.body.iter().enumerate() {
        if !is_movable(stmt, &probe.vars, rules) {
            close(begin, i, held);
            (begin, held) = (i + 1, 0);
            continue;
        }
        held += weight(std::slice::from_ref(stmt));
        if held >= size {
            close(begin, i + 1, held);
            (begin, held) = (i + 1, 0);
        }
    }
    close(begin, probe.body.len(), held);
    parts.truncate(MOST_PARTS);
    if shared_vars(&probe.body, &parts) > MOST_SHARED { Vec::new() } else { parts }
}

/// Whether a statement can be part of a function that has neither context nor the caller's memory.
fn is_movable(stmt: &Stmt, vars: &[Var], rules: LoopRules) -> bool {
    let mut good = true;
    walk_stmts(std::slice::from_ref(stmt), &mut |node| {
        let scalar = |var: &crate::hir::VarId| vars.get(var.0 as usize).is_some_and(|v| v.ty.is_scalar());
        good &= match node {
            Node::Stmt(s) => match &s.kind {
                StmtKind::While { .. } | StmtKind::ForMap { .. } | StmtKind::ForRange { .. } => {
                    !rules.is_callback(s)
                }
                StmtKind::AssignVar(var, _) => scalar(var),
                _ => true,
            },
            Node::Expr(e) => match &e.kind {
                ExprKind::Arg(_) | ExprKind::CallFn { .. } | ExprKind::AddrOf(_) | ExprKind::MapLen(_) => {
                    false
                }
                ExprKind::Call { name, .. } => FREE.contains(name),
                ExprKind::Var(var) | ExprKind::IncVar { var, .. } => scalar(var),
                _ => true,
            },
            Node::EnterBody(_) | Node::LeaveBody(_) => true,
        };
    });
    good
}

/// How many variables are used both in a part and outside of it.
fn shared_vars(body: &[Stmt], parts: &[Range<usize>]) -> usize {
    let mut users: std::collections::HashMap<u32, std::collections::BTreeSet<usize>> = Default::default();
    for (i, stmt) in body.iter().enumerate() {
        let region = parts.iter().position(|p| p.contains(&i)).map_or(0, |p| p + 1);
        walk_stmts(std::slice::from_ref(stmt), &mut |node| {
            for var in used(&node).into_iter().flatten() {
                users.entry(var.0).or_default().insert(region);
            }
        });
    }
    users.values().filter(|regions| regions.len() > 1).count()
}

impl<'a> Fx<'_, 'a> {
    /// Builds a body, its parts as functions of their own.
    pub(super) fn body_in_parts(&mut self, body: &'a [Stmt]) -> Result<()> {
        let parts = self.body.plan.parts().to_vec();
        let mut at = 0;
        for (range, region) in parts {
            self.stmts(body.get(at..range.start).unwrap_or(&[]))?;
            at = range.end;
            if self.f.is_terminated() {
                return Ok(());
            }
            self.part(body.get(range).unwrap_or(&[]), region)?;
        }
        self.stmts(body.get(at..).unwrap_or(&[]))
    }

    fn part(&mut self, stmts: &'a [Stmt], region: usize) -> Result<()> {
        let bytes = self.body.plan.shared_size;
        let params: &[Type] = if bytes == 0 { &[] } else { &[Type::Ptr(PtrKind::Stack)] };
        let name = self.cx.func_name(self.body.stem);
        let f = FuncBuilder::new(&name, FuncKind::Global { bytes }, params, Type::I64);
        let shared = (bytes != 0).then(|| f.param(0));
        let body = self.body.clone();
        let mut inner = Fx::new(self.cx, f, body, None, None);
        inner.part = true;
        inner.shared = shared;
        if let Some(first) = stmts.first() {
            inner.at(first.span);
        }
        inner.enter(region)?;
        inner.stmts(stmts)?;
        if !inner.f.is_terminated() {
            let go_on = inner.f.iconst(Type::I64, 0);
            inner.f.ret(go_on);
        }
        let func = inner.f.finish();
        let func = self.cx.add_func(func);
        // What the part has written is not known here.
        self.forget_reads();
        let shared: Vec<_> = self.shared.into_iter().collect();
        let ended = self.f.call(func, &shared, Type::I64);
        let (leave, go_on) = (self.f.cold_block(), self.f.block(&[]));
        self.f.branch_nonzero(ended, leave, go_on);
        self.f.switch_to(leave);
        let zero = self.f.iconst(Type::I32, 0);
        self.f.ret(zero);
        self.f.switch_to(go_on);
        Ok(())
    }
}
