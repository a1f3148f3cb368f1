//! Stack slots: when each is in use, and where it lies.
//!
//! A function enters; for each slot the positions at which its bytes may matter, whether it has to stay on the stack,
//! and a packing leave. A slot is in use from the first access that a path meets to the last; in a loop that reads and
//! writes it, for the whole loop, since bytes may be carried round. A slot whose address goes where it cannot be
//! followed (memory, block parameters, arithmetic) never shares its place.

use super::chain::slot_align;
use crate::ir::cfg::Cfg;
use crate::ir::dom::{DomTree, Loops};
use crate::ir::{Block, Function, Op, PtrKind, Slot, Terminator, Type, Value};

/// What is known of a slot.
#[derive(Clone, Debug, Default)]
pub(crate) struct SlotUse {
    /// Ascending half-open ranges of positions.
    ranges: Vec<(u32, u32)>,
    /// Its address goes where it is not followed.
    pub escapes: bool,
    /// It holds pointers that the verifier tracks, or its address is an argument that must be a stack pointer.
    pub pinned: bool,
}

impl SlotUse {
    /// Whether anything uses it.
    pub(crate) fn is_used(&self) -> bool {
        !self.ranges.is_empty()
    }

    fn span(&self) -> (u32, u32) {
        (self.ranges.first().map_or(0, |r| r.0), self.ranges.last().map_or(0, |r| r.1))
    }

    fn meets(&self, other: &SlotUse) -> bool {
        let (few, many) = match self.ranges.len() < other.ranges.len() {
            true => (&self.ranges, &other.ranges),
            false => (&other.ranges, &self.ranges),
        };
        few.iter().any(|r| {
            let at = many.partition_point(|m| m.1 <= r.0);
            many.get(at).is_some_and(|m| m.0 < r.1)
        })
    }
}

/// The slot that each value's address lies in.
fn derived(func: &Function, cfg: &Cfg) -> Vec<Option<Slot>> {
    let mut of: Vec<Option<Slot>> = vec![None; func.values.len()];
    for &block in cfg.rpo() {
        for inst in &func.block(block).insts {
            let data = func.inst(*inst);
            let slot = match &data.op {
                Op::SlotAddr(slot) => Some(*slot),
                Op::Cast(a) | Op::PtrAdd { ptr: a, .. } => of[a.index()],
                _ => None,
            };
            if let Some(v) = data.result {
                of[v.index()] = slot;
            }
        }
    }
    of
}

/// Whether the verifier follows pointers of this type through memory.
fn is_tracked(ty: Type) -> bool {
    matches!(ty, Type::Ptr(kind) if !matches!(kind, PtrKind::Kernel | PtrKind::User))
}

struct Scan<'a> {
    func: &'a Function,
    of: Vec<Option<Slot>>,
    uses: Vec<SlotUse>,
    /// By slot: positions and blocks of accesses, ascending.
    touches: Vec<Vec<(u32, Block)>>,
    /// Slots that are copied from one to another.
    copies: Vec<(Slot, Slot)>,
}

/// Finds out about the slots of `func`.
pub(crate) fn analyse(func: &Function) -> Vec<SlotUse> {
    let cfg = Cfg::new(func);
    let dom = DomTree::new(&cfg);
    let loops = Loops::new(&cfg, &dom);
    let count = func.slots.len();
    let mut scan = Scan {
        func,
        of: derived(func, &cfg),
        uses: vec![SlotUse::default(); count],
        touches: vec![Vec::new(); count],
        copies: Vec::new(),
    };
    let mut spans = vec![(0u32, 0u32); func.blocks.len()];
    let mut pos = 0;
    for &block in cfg.rpo() {
        let start = pos;
        for inst in &func.block(block).insts {
            scan.inst(&func.inst(*inst).op, (pos, block));
            pos += 1;
        }
        if let Some(term) = &func.block(block).term {
            scan.term(term, (pos, block));
        }
        pos += 1;
        spans[block.index()] = (start, pos);
    }
    scan.spread_pins();
    let ranges = Ranges { cfg: &cfg, dom: &dom, loops: &loops, spans: &spans, end: pos };
    let mut seen = vec![u32::MAX; func.blocks.len()];
    for (i, touches) in scan.touches.iter().enumerate() {
        scan.uses[i].ranges = match (touches.is_empty(), scan.uses[i].escapes) {
            (true, _) => Vec::new(),
            (false, true) => vec![(0, pos)],
            (false, false) => ranges.of(touches, &mut seen, i as u32),
        };
    }
    scan.uses
}

impl Scan<'_> {
    fn inst(&mut self, op: &Op, at: (u32, Block)) {
        if matches!(op, Op::Cast(_) | Op::SlotAddr(_)) {
            return;
        }
        if let Op::PtrAdd { off, .. } = op {
            return self.escape(*off);
        }
        op.for_each_operand(|v| {
            if let Some(slot) = self.of[v.index()] {
                self.touches[slot.index()].push(at);
            }
        });
        match op {
            Op::Store { ptr, val, .. } => {
                self.escape(*val);
                if let Some(slot) = self.of[ptr.index()]
                    && is_tracked(self.func.type_of(*val))
                {
                    self.uses[slot.index()].pinned = true;
                }
            }
            Op::Load { ty, ptr, .. } => {
                if let Some(slot) = self.of[ptr.index()]
                    && is_tracked(*ty)
                {
                    self.uses[slot.index()].pinned = true;
                }
            }
            Op::Copy { dst, src, .. } => {
                if let (Some(to), Some(from)) = (self.of[dst.index()], self.of[src.index()]) {
                    self.copies.extend([(to, from), (from, to)]);
                }
            }
            Op::Atomic { val, .. } => self.escape(*val),
            Op::Bin { .. } | Op::Un { .. } | Op::Select { .. } | Op::Bound { .. } => {
                op.for_each_operand(|v| self.escape(v));
            }
            Op::Kfunc { args, .. } => self.pin(args),
            Op::Helper { args, .. } => {
                // A callback's context must be a stack pointer (bpf_loop, bpf_for_each_map_elem).
                let func = |v: &Value| matches!(self.func.type_of(*v), Type::Ptr(PtrKind::Func(_)));
                if args.iter().any(func) {
                    self.pin(args);
                }
            }
            _ => {}
        }
    }

    fn escape(&mut self, v: Value) {
        if let Some(slot) = self.of[v.index()] {
            self.uses[slot.index()].escapes = true;
        }
    }

    fn pin(&mut self, args: &[Value]) {
        for slot in args.iter().filter_map(|v| self.of[v.index()]) {
            self.uses[slot.index()].pinned = true;
        }
    }

    fn term(&mut self, term: &Terminator, at: (u32, Block)) {
        term.for_each_operand(|v| {
            if let Some(slot) = self.of[v.index()] {
                self.touches[slot.index()].push(at);
            }
        });
        if let Terminator::Return(v) = term {
            self.escape(*v);
        }
        for arg in term.edges().flat_map(|e| &e.args) {
            self.escape(*arg);
        }
    }

    /// Pointers may be copied from a pinned slot to another.
    fn spread_pins(&mut self) {
        let mut again = true;
        while again {
            again = false;
            for (a, b) in &self.copies {
                if self.uses[b.index()].pinned && !self.uses[a.index()].pinned {
                    self.uses[a.index()].pinned = true;
                    again = true;
                }
            }
        }
    }
}

struct Ranges<'a> {
    cfg: &'a Cfg,
    dom: &'a DomTree,
    loops: &'a Loops,
    /// By block: first position and one past the last.
    spans: &'a [(u32, u32)],
    end: u32,
}

impl Ranges<'_> {
    /// The nearest block that dominates all accesses and is in no loop that they are not in alone.
    fn root(&self, touches: &[(u32, Block)]) -> Option<(Block, bool)> {
        let mut root = touches.first()?.1;
        for (_, block) in touches {
            while !self.dom.dominates(root, *block) {
                root = self.dom.idom(root)?;
            }
        }
        let mut outer = self.loops.header(root);
        while let Some(up) = outer.and_then(|h| self.loops.parent(h)) {
            outer = Some(up);
        }
        Some((outer.unwrap_or(root), outer.is_some()))
    }

    fn of(&self, touches: &[(u32, Block)], seen: &mut [u32], mark: u32) -> Vec<(u32, u32)> {
        let Some((root, in_loop)) = self.root(touches) else { return vec![(0, self.end)] };
        // Blocks at whose start the slot is in use.
        let mut inside: Vec<Block> = Vec::new();
        let mut work: Vec<Block> = Vec::new();
        let mut push = |block: Block, work: &mut Vec<Block>| {
            if (block != root || in_loop) && seen[block.index()] != mark {
                seen[block.index()] = mark;
                inside.push(block);
                work.push(block);
            }
        };
        let mut last: Vec<(Block, u32)> = Vec::new();
        for (pos, block) in touches {
            push(*block, &mut work);
            match last.last_mut() {
                Some(l) if l.0 == *block => l.1 = *pos,
                _ => last.push((*block, *pos)),
            }
        }
        while let Some(block) = work.pop() {
            for &pred in self.cfg.preds(block) {
                if self.dom.dominates(root, pred) {
                    push(pred, &mut work);
                }
            }
        }
        last.sort_unstable();
        let live = |b: Block| (b != root || in_loop) && seen[b.index()] == mark;
        let mut ranges = Vec::new();
        let root_start = if in_loop { None } else { Some(root) };
        for block in root_start.into_iter().chain(inside) {
            let (start, end) = self.spans[block.index()];
            let at = last.partition_point(|l| l.0 < block);
            let own = last.get(at).filter(|l| l.0 == block).map(|l| l.1);
            let out = self.cfg.succs(block).iter().any(|s| live(*s));
            let first = if Some(block) == root_start {
                touches.iter().find(|t| t.1 == block).map_or(end, |t| t.0)
            } else {
                start
            };
            let stop = if out { end } else { own.map_or(first, |p| p + 1) };
            if first < stop {
                ranges.push((first, stop));
            }
        }
        ranges.sort_unstable();
        merge(ranges)
    }
}

fn merge(ranges: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    let mut out: Vec<(u32, u32)> = Vec::new();
    for range in ranges {
        match out.last_mut() {
            Some(last) if last.1 >= range.0 => last.1 = last.1.max(range.1),
            _ => out.push(range),
        }
    }
    out
}

/// Where slots lie: for each the distance of its start below the top (so that its address is the top less that), and
/// the bytes in all.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Packing {
    pub below: Vec<u32>,
    pub size: u32,
}

/// Packs the slots that `take` accepts; slots that are never in use together share bytes.
pub(crate) fn pack(func: &Function, uses: &[SlotUse], take: impl Fn(usize) -> bool) -> Packing {
    let mut order: Vec<usize> = (0..func.slots.len()).filter(|i| uses[*i].is_used() && take(*i)).collect();
    order.sort_by_key(|i| (uses[*i].span().0, std::cmp::Reverse(func.slots[*i].size)));
    let mut out = Packing { below: vec![0; func.slots.len()], size: 0 };
    let mut active: Vec<usize> = Vec::new();
    for i in order {
        let start = uses[i].span().0;
        active.retain(|a| uses[*a].span().1 > start);
        let mut taken: Vec<(u32, u32)> = active
            .iter()
            .filter(|a| uses[**a].meets(&uses[i]))
            .map(|a| (out.below[*a] - func.slots[*a].size, out.below[*a]))
            .collect();
        taken.sort_unstable();
        let (size, align) = (func.slots[i].size, slot_align(func, Slot(i as u32)));
        let mut at = 0u32;
        for (low, high) in taken {
            if (at + size).next_multiple_of(align) <= low {
                break;
            }
            at = at.max(high);
        }
        out.below[i] = (at + size).next_multiple_of(align);
        out.size = out.size.max(out.below[i]);
        active.push(i);
    }
    out
}
