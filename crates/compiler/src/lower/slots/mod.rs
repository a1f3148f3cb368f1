//! Stack slots: when each is in use, and where it lies.
//!
//! A function enters; for each slot the positions at which its bytes may matter, whether it has to stay on the stack,
//! and a packing leave. A slot is in use from the first access that a path meets to the last; in a loop that reads and
//! writes it, for the whole loop, since bytes may be carried round, unless a round begins with writing all of it. A slot whose address goes where it cannot be
//! followed (memory, block parameters, arithmetic) never shares its place.

mod pack;
mod ranges;

use std::rc::Rc;

use super::chain::Chains;
use crate::ir::cfg::Cfg;
use crate::ir::{Block, Function, Op, PtrKind, Slot, Terminator, Type, Value};
pub(crate) use pack::{Packing, pack};
use ranges::Ranges;

/// What is known of a slot.
#[derive(Clone, Debug, Default)]
pub(crate) struct SlotUse {
    /// Ascending half-open ranges of positions.
    ranges: Rc<Vec<(u32, u32)>>,
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

/// An access to a slot.
#[derive(Clone, Copy, Debug)]
struct Touch {
    pos: u32,
    block: Block,
    /// The bytes that it writes, if it reads none.
    writes: Option<(u32, u32)>,
}

/// Helpers that write all of a buffer (argument 0) whose size is argument 1 (kernel/trace/bpf_trace.c and
/// kernel/bpf/helpers.c, Linux 6.18: zeroes on failure): probe_read, get_current_comm, probe_read_user, probe_read_kernel.
const FILLING: [u32; 4] = [4, 16, 112, 113];

struct Scan<'a> {
    func: &'a Function,
    of: Vec<Option<Slot>>,
    uses: Vec<SlotUse>,
    chains: Chains<'a>,
    /// By slot: accesses, ascending.
    touches: Vec<Vec<Touch>>,
    /// Slots that are copied from one to another.
    copies: Vec<(Slot, Slot)>,
}

/// Finds out about the slots of `func`.
pub(crate) fn analyse(func: &Function) -> Vec<SlotUse> {
    let cfg = Cfg::new(func);
    let count = func.slots.len();
    let mut scan = Scan {
        func,
        of: derived(func, &cfg),
        uses: vec![SlotUse::default(); count],
        chains: Chains::new(func),
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
    let mut ranges = Ranges::new(&cfg, spans, pos);
    for (i, touches) in scan.touches.iter().enumerate() {
        scan.uses[i].ranges = match (touches.is_empty(), scan.uses[i].escapes) {
            (true, _) => Rc::default(),
            (false, true) => Rc::new(vec![(0, pos)]),
            (false, false) => ranges.of(touches, func.slots[i].size, i as u32),
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
        let written = self.written(op);
        op.for_each_operand(|v| {
            if let Some(slot) = self.of[v.index()] {
                let writes = written.filter(|w| w.0 == v).map(|w| w.1);
                self.touches[slot.index()].push(Touch { pos: at.0, block: at.1, writes });
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

    /// The pointer that an operation writes through, and the bytes of its slot that are written.
    fn written(&self, op: &Op) -> Option<(Value, (u32, u32))> {
        let (ptr, off, len) = match op {
            Op::Store { size, ptr, off, .. } => (*ptr, off.resolved(), i64::from(*size)),
            Op::Zero { dst, off, len, .. } => (*dst, i64::from(*off), i64::from(*len)),
            Op::Copy { dst, dst_off, len, .. } => (*dst, i64::from(*dst_off), i64::from(*len)),
            Op::Helper { id, args } if FILLING.contains(id) => {
                (*args.first()?, 0, self.chains.int(*args.get(1)?)?)
            }
            _ => return None,
        };
        let mut same = 0;
        op.for_each_operand(|v| same += u32::from(self.of[v.index()] == self.of[ptr.index()]));
        if same > 1 {
            return None;
        }
        let (_, at) = self.chains.slot(ptr)?;
        let start = at.checked_add(off)?;
        let end = start.checked_add(len)?;
        Some((ptr, (u32::try_from(start).ok()?, u32::try_from(end).ok()?)))
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
                self.touches[slot.index()].push(Touch { pos: at.0, block: at.1, writes: None });
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
