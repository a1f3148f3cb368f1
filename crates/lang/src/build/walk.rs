//! Facts about the tree that are needed before a function is built: which variables live where, which maps several
//! programs write.
//!
//! A *region* is code that becomes one IR function: a probe's body, or the body of a loop that the kernel calls back.
//! A variable that one region uses lives in that region's frame; a variable that several use lives in the capture
//! object of the outermost one.

use super::{Result, internal};
use crate::hir::{Expr, ExprKind, MapNo, PacketChange, Program, Stmt, StmtKind, VarId};
use skep_bpf::event::Action;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

/// What the whole program does with each map.
#[derive(Debug, Default)]
pub(super) struct Facts {
    writers: HashMap<MapNo, u32>,
}

impl Facts {
    pub(super) fn of(program: &Program) -> Facts {
        let mut facts = Facts::default();
        for probe in &program.probes {
            let mut written = BTreeSet::new();
            let mut see = |node: Node<'_>| {
                if let Some(map) = writes(&node) {
                    written.insert(map.0);
                }
            };
            walk_stmts(&probe.body, &mut see);
            if let Some(predicate) = &probe.predicate {
                walk_expr(predicate, &mut see);
            }
            for map in written {
                *facts.writers.entry(MapNo(map)).or_default() += 1;
            }
        }
        for function in &program.functions {
            let mut see = |node: Node<'_>| {
                if let Some(map) = writes(&node) {
                    *facts.writers.entry(map).or_default() += 2;
                }
            };
            walk_stmts(&function.body, &mut see);
        }
        facts
    }

    /// How many programs write a map.
    pub(super) fn writers(&self, map: MapNo) -> u32 {
        self.writers.get(&map).copied().unwrap_or(0)
    }
}

fn writes(node: &Node<'_>) -> Option<MapNo> {
    match node {
        Node::Stmt(Stmt { kind: StmtKind::AssignMap { map, .. }, .. })
        | Node::Stmt(Stmt { kind: StmtKind::Aggregate { map, .. }, .. })
        | Node::Stmt(Stmt { kind: StmtKind::Delete { map, .. }, .. })
        | Node::Expr(Expr { kind: ExprKind::IncMap { map, .. } | ExprKind::Delete { map, .. }, .. }) => {
            Some(*map)
        }
        _ => None,
    }
}

/// Loops whose bodies the kernel calls back, by what the target has.
///
/// may_goto would let every loop stay in its function, but is not used: from Linux 6.15 on its budget is lost in programs
/// that the kernel gives a private stack (any of 64 bytes or more: x86's arch_bpf_timed_may_goto looks for the count on
/// the other stack, so such a loop ends after 65,535 rounds), and a may_goto loop within a callback has been seen to make
/// 6.18's verifier fail on itself (__mark_chain_precision).
#[derive(Clone, Copy, Debug)]
pub(super) struct LoopRules {
    /// bpf_loop.
    pub(super) bpf_loop: bool,
}

impl LoopRules {
    /// Whether a statement's body is a region of its own.
    pub(super) fn is_callback(self, stmt: &Stmt) -> bool {
        match &stmt.kind {
            StmtKind::ForMap { .. } => true,
            StmtKind::While { .. } => self.bpf_loop,
            StmtKind::ForRange { start, end, .. } => self.bpf_loop && small_trip(start, end).is_none(),
            _ => false,
        }
    }
}

/// The number of rounds of a range when it is constant and so small that the verifier can follow each of them.
pub(super) fn small_trip(start: &Expr, end: &Expr) -> Option<u64> {
    match (&start.kind, &end.kind) {
        (ExprKind::Int(a), ExprKind::Int(b)) => {
            let count = b.saturating_sub(*a).max(0) as u64;
            (count <= 32).then_some(count)
        }
        _ => None,
    }
}

/// Identity of a statement of the tree.
fn id(stmt: &Stmt) -> usize {
    std::ptr::from_ref(stmt) as usize
}

/// Where a variable lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// In the frame of the region with that number (0: the outermost).
    Frame(usize),
    /// In the capture object at that offset.
    Captured(u32),
    /// In the object that the parts of a large body share, at that offset.
    Shared(u32),
}

/// Numbers of regions that are parts (see `parts`).
const FIRST_PART: usize = 1 << 20;

/// The regions of one body.
#[derive(Debug, Default)]
pub(super) struct Plan {
    places: HashMap<VarId, Place>,
    /// Region of each callback statement.
    regions: HashMap<usize, usize>,
    /// Private word of each callback statement in the capture object (first value of a range).
    words: HashMap<usize, u32>,
    /// Bytes of the capture object, 0 when there are no callbacks.
    pub(super) capture_size: u32,
    /// Runs of top-level statements that are functions of their own, with their regions.
    parts: Vec<(Range<usize>, usize)>,
    /// Bytes of the object that parts share.
    pub(super) shared_size: u32,
}

/// Offset of the context pointer in a capture object.
pub(super) const CAPTURED_CTX: u32 = 0;
/// Offset of the word that says that the body has returned.
pub(super) const CAPTURED_RETURNED: u32 = 8;
/// Offset of the value it returned.
pub(super) const CAPTURED_VALUE: u32 = 16;
const CAPTURED_FIRST: u32 = 24;

impl Plan {
    /// Plans a body with parts (see `parts`).
    pub(super) fn in_parts(
        parts: Vec<Range<usize>>,
        predicate: Option<&Expr>,
        body: &[Stmt],
        rules: LoopRules,
    ) -> Plan {
        Plan::planned(0, parts, (predicate, body), rules)
    }

    /// Plans a body whose first `params` variables come from outside: they belong to the outermost region.
    pub(super) fn with_params(
        params: usize,
        predicate: Option<&Expr>,
        body: &[Stmt],
        rules: LoopRules,
    ) -> Plan {
        Plan::planned(params, Vec::new(), (predicate, body), rules)
    }

    fn planned(
        params: usize,
        parts: Vec<Range<usize>>,
        (predicate, body): (Option<&Expr>, &[Stmt]),
        rules: LoopRules,
    ) -> Plan {
        let starts: HashMap<usize, usize> = parts
            .iter()
            .enumerate()
            .flat_map(|(i, range)| body.get(range.clone()).unwrap_or(&[]).iter().map(move |s| (id(s), i)))
            .collect();
        let parts = parts.into_iter().enumerate().map(|(i, range)| (range, FIRST_PART + i)).collect();
        let mut plan = Plan { parts, ..Plan::default() };
        let mut users: HashMap<VarId, BTreeSet<usize>> = HashMap::new();
        let mut part_users: Vec<(VarId, usize)> = Vec::new();
        let mut stack = vec![0usize];
        let mut see = |node: Node<'_>| match node {
            Node::EnterBody(stmt) if rules.is_callback(stmt) => {
                let region = plan.regions.len() + 1;
                let region = *plan.regions.entry(id(stmt)).or_insert(region);
                stack.push(region);
                if let StmtKind::ForMap { var, .. } | StmtKind::ForRange { var, .. } = &stmt.kind {
                    users.entry(*var).or_default().insert(region);
                }
            }
            Node::LeaveBody(stmt) if rules.is_callback(stmt) => {
                stack.pop();
            }
            other => {
                let region = stack.last().copied().unwrap_or(0);
                for var in used(&other).into_iter().flatten() {
                    users.entry(var).or_default().insert(region);
                }
            }
        };
        if let Some(predicate) = predicate {
            walk_expr(predicate, &mut see);
        }
        for stmt in body {
            // A part holds no callbacks, so all of its uses are one region's.
            let part = starts.get(&id(stmt)).copied();
            let mut in_part = |node: Node<'_>| {
                let region = FIRST_PART + part.unwrap_or(0);
                for var in used(&node).into_iter().flatten() {
                    part_users.push((var, region));
                }
            };
            match part {
                Some(_) => walk_stmts(std::slice::from_ref(stmt), &mut in_part),
                None => walk_stmts(std::slice::from_ref(stmt), &mut see),
            }
        }
        for (var, region) in part_users {
            users.entry(var).or_default().insert(region);
        }
        for (_, regions) in users.iter_mut().filter(|(var, _)| (var.0 as usize) < params) {
            regions.insert(0);
        }
        plan.settle(users);
        plan
    }

    fn settle(&mut self, users: HashMap<VarId, BTreeSet<usize>>) {
        let mut next = CAPTURED_FIRST;
        let mut vars: Vec<_> = users.into_iter().collect();
        vars.sort_by_key(|(var, _)| var.0);
        for (var, regions) in vars {
            let in_parts = regions.iter().any(|r| *r >= FIRST_PART);
            let place = match (regions.len(), regions.first()) {
                (1, Some(region)) => Place::Frame(*region),
                _ if in_parts => {
                    self.shared_size += 8;
                    Place::Shared(self.shared_size - 8)
                }
                _ => {
                    next += 8;
                    Place::Captured(next - 8)
                }
            };
            self.places.insert(var, place);
        }
        let mut callbacks: Vec<_> = self.regions.iter().map(|(id, region)| (*region, *id)).collect();
        callbacks.sort_unstable();
        for (_, stmt) in callbacks {
            self.words.insert(stmt, next);
            next += 8;
        }
        if !self.regions.is_empty() {
            self.capture_size = next;
        }
    }

    /// Where a variable lives; variables that nothing mentions are in the outermost frame.
    pub(super) fn place(&self, var: VarId) -> Place {
        self.places.get(&var).copied().unwrap_or(Place::Frame(0))
    }

    /// Whether anything mentions a variable.
    pub(super) fn is_used(&self, var: VarId) -> bool {
        self.places.contains_key(&var)
    }

    /// Variables in a region's frame, in order.
    pub(super) fn frame_vars(&self, region: usize) -> Vec<VarId> {
        let mut vars: Vec<VarId> =
            self.places.iter().filter(|(_, p)| **p == Place::Frame(region)).map(|(v, _)| *v).collect();
        vars.sort_by_key(|v| v.0);
        vars
    }

    /// Captured variables with their offsets, in order.
    pub(super) fn captured(&self) -> Vec<(VarId, u32)> {
        let mut vars: Vec<(VarId, u32)> = self
            .places
            .iter()
            .filter_map(|(v, p)| match p {
                Place::Captured(at) => Some((*v, *at)),
                Place::Frame(_) | Place::Shared(_) => None,
            })
            .collect();
        vars.sort_by_key(|(v, _)| v.0);
        vars
    }

    /// The parts: runs of top-level statements with their regions.
    pub(super) fn parts(&self) -> &[(Range<usize>, usize)] {
        &self.parts
    }

    /// Region and private word of a callback statement.
    pub(super) fn callback(&self, stmt: &Stmt) -> Result<(usize, u32)> {
        match (self.regions.get(&id(stmt)), self.words.get(&id(stmt))) {
            (Some(region), Some(word)) => Ok((*region, *word)),
            _ => internal("a loop that was not planned"),
        }
    }
}

pub(super) fn used(node: &Node<'_>) -> [Option<VarId>; 1] {
    [match node {
        Node::Expr(Expr { kind: ExprKind::Var(var) | ExprKind::IncVar { var, .. }, .. })
        | Node::Stmt(Stmt { kind: StmtKind::AssignVar(var, _), .. })
        | Node::Stmt(Stmt { kind: StmtKind::ForRange { var, .. }, .. }) => Some(*var),
        _ => None,
    }]
}

/// Scalar or other variables that statements assign.
pub(super) fn assigned(stmts: &[Stmt], cond: Option<&Expr>) -> Vec<VarId> {
    let mut vars = BTreeSet::new();
    let mut see = |node: Node<'_>| match node {
        Node::Expr(Expr { kind: ExprKind::IncVar { var, .. }, .. })
        | Node::Stmt(Stmt { kind: StmtKind::AssignVar(var, _), .. }) => {
            vars.insert(var.0);
        }
        _ => {}
    };
    walk_stmts(stmts, &mut see);
    if let Some(cond) = cond {
        walk_expr(cond, &mut see);
    }
    vars.into_iter().map(VarId).collect()
}

/// Whether statements call `exit()` somewhere.
pub(super) fn exits(stmts: &[Stmt]) -> bool {
    let mut found = false;
    walk_stmts(stmts, &mut |node| {
        let exit = matches!(node, Node::Stmt(Stmt { kind: StmtKind::Emit { action: Action::Exit, .. }, .. }));
        found |= exit;
    });
    found
}

/// A step of a walk.
pub(super) enum Node<'t> {
    /// A statement, before its parts.
    Stmt(&'t Stmt),
    /// An expression, before its parts.
    Expr(&'t Expr),
    /// Before what a loop or `unroll` repeats.
    EnterBody(&'t Stmt),
    /// Behind it.
    LeaveBody(&'t Stmt),
}

/// Walks statements in the order of the source.
pub(super) fn walk_stmts<'t>(stmts: &'t [Stmt], see: &mut dyn FnMut(Node<'t>)) {
    for stmt in stmts {
        walk_stmt(stmt, see);
    }
}

fn walk_stmt<'t>(stmt: &'t Stmt, see: &mut dyn FnMut(Node<'t>)) {
    if let StmtKind::ForRange { start, end, .. } = &stmt.kind {
        walk_expr(start, see);
        walk_expr(end, see);
        see(Node::EnterBody(stmt));
        see(Node::Stmt(stmt));
        if let StmtKind::ForRange { body, .. } = &stmt.kind {
            walk_stmts(body, see);
        }
        see(Node::LeaveBody(stmt));
        return;
    }
    see(Node::Stmt(stmt));
    match &stmt.kind {
        StmtKind::Expr(e) | StmtKind::AssignVar(_, e) => walk_expr(e, see),
        StmtKind::AssignMap { key, value, .. } => {
            walk_exprs(key, see);
            walk_expr(value, see);
        }
        StmtKind::Aggregate { key, arg, weight, .. } => {
            walk_exprs(key, see);
            arg.iter().chain(weight).for_each(|e| walk_expr(e, see));
        }
        StmtKind::Delete { key, .. } => walk_exprs(key, see),
        StmtKind::Emit { args, .. } => walk_exprs(args, see),
        StmtKind::If { cond, then, other } => {
            walk_expr(cond, see);
            walk_stmts(then, see);
            walk_stmts(other, see);
        }
        StmtKind::While { cond, body } => {
            see(Node::EnterBody(stmt));
            walk_expr(cond, see);
            walk_stmts(body, see);
            see(Node::LeaveBody(stmt));
        }
        StmtKind::Unroll { body, .. } => {
            see(Node::EnterBody(stmt));
            walk_stmts(body, see);
            see(Node::LeaveBody(stmt));
        }
        StmtKind::ForMap { body, .. } => {
            see(Node::EnterBody(stmt));
            walk_stmts(body, see);
            see(Node::LeaveBody(stmt));
        }
        StmtKind::ChangePacket(PacketChange::Set { value, .. } | PacketChange::PushVlan(value)) => {
            walk_expr(value, see);
        }
        StmtKind::ChangePacket(
            PacketChange::PopVlan | PacketChange::PushTunnel(_) | PacketChange::PopTunnel,
        ) => {}
        StmtKind::ChangePacket(PacketChange::IcmpError(parts)) => {
            parts.iter().for_each(|e| walk_expr(e, see))
        }
        StmtKind::Return(value) => value.iter().for_each(|e| walk_expr(e, see)),
        StmtKind::ForRange { .. } | StmtKind::Break | StmtKind::Continue => {}
    }
}

fn walk_exprs<'t>(exprs: &'t [Expr], see: &mut dyn FnMut(Node<'t>)) {
    for expr in exprs {
        walk_expr(expr, see);
    }
}

/// Whether evaluating an expression changes nothing.
pub(super) fn is_pure(e: &Expr) -> bool {
    let mut pure = true;
    walk_expr(e, &mut |node| {
        if let Node::Expr(Expr { kind, .. }) = node {
            pure &= !matches!(
                kind,
                ExprKind::IncMap { .. }
                    | ExprKind::IncVar { .. }
                    | ExprKind::Delete { .. }
                    | ExprKind::Block { .. }
                    | ExprKind::CallFn { .. }
            );
        }
    });
    pure
}

/// Walks an expression.
pub(super) fn walk_expr<'t>(expr: &'t Expr, see: &mut dyn FnMut(Node<'t>)) {
    see(Node::Expr(expr));
    match &expr.kind {
        ExprKind::MapGet { key, .. }
        | ExprKind::MapAgg { key, .. }
        | ExprKind::HasKey { key, .. }
        | ExprKind::Delete { key, .. }
        | ExprKind::IncMap { key, .. } => walk_exprs(key, see),
        ExprKind::Field { base, .. } | ExprKind::TupleField { base, .. } => walk_expr(base, see),
        ExprKind::Index { base, index, .. } => {
            walk_expr(base, see);
            walk_expr(index, see);
        }
        ExprKind::Binary { a, b, .. }
        | ExprKind::Compare { a, b, .. }
        | ExprKind::BytesEq { a, b, .. }
        | ExprKind::Logical { a, b, .. } => {
            walk_expr(a, see);
            walk_expr(b, see);
        }
        ExprKind::Unary { a, .. }
        | ExprKind::Not(a)
        | ExprKind::Convert(a)
        | ExprKind::Reinterpret(a)
        | ExprKind::AddrOf(a) => walk_expr(a, see),
        ExprKind::Ternary { cond, a, b } => {
            walk_expr(cond, see);
            walk_expr(a, see);
            walk_expr(b, see);
        }
        ExprKind::FilterMemory(test) => {
            [&test.start, &test.here, &test.whole].into_iter().for_each(|part| walk_expr(part, see));
        }
        ExprKind::Tuple(parts)
        | ExprKind::Record(parts)
        | ExprKind::Call { args: parts, .. }
        | ExprKind::CallFn { args: parts, .. } => walk_exprs(parts, see),
        ExprKind::Block { stmts, value } => {
            walk_stmts(stmts, see);
            walk_expr(value, see);
        }
        ExprKind::Int(_)
        | ExprKind::Str(_)
        | ExprKind::Var(_)
        | ExprKind::MapLen(_)
        | ExprKind::Arg(_)
        | ExprKind::Packet(_)
        | ExprKind::IncVar { .. } => {}
    }
}
