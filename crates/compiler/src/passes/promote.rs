//! Promotes stack slots to SSA values: a slot of at most 8 bytes that is only loaded and stored as a whole, always with
//! the same size, becomes a value with block parameters where ways join.
//!
//! A slot that is read before it is written reads zero, where its type has a zero, and is left alone where it has none.
//! The stores, the loads and the slot's zeroing go away; its address stays behind unused.

use super::subst::Substitution;
use super::{Env, can_be_zero};
use crate::ir::op::Op;
use crate::ir::types::{Block, Inst, IntTy, Loc, PtrKind, Slot, Type, Value};
use crate::ir::{Cfg, DomTree, Function, UnOp};

/// Runs the pass.
pub fn run(func: &mut Function, _: &Env) {
    let vars = candidates(func);
    if vars.iter().all(Option::is_none) {
        return;
    }
    let cfg = Cfg::new(func);
    let dom = DomTree::new(&cfg);
    let mut promotion = Promotion::new(func, vars);
    promotion.place_params(func, &cfg, &dom);
    promotion.rename(func, &cfg, &dom);
    promotion.subst.apply(func);
}

/// A slot that can be promoted.
#[derive(Clone, Copy)]
struct Var {
    /// Bytes of every access.
    size: u32,
    /// Type of the value.
    ty: Type,
}

/// What is seen of a slot's uses.
#[derive(Clone, Default)]
struct Uses {
    escapes: bool,
    size: Option<u32>,
    loaded: Option<Type>,
    mixed: bool,
    stored: Vec<Type>,
    zeroed: Option<u32>,
}

impl Uses {
    fn sized(&mut self, size: u32) {
        self.escapes |= self.size.is_some_and(|s| s != size);
        self.size = Some(size);
    }

    fn load(&mut self, ty: Type) {
        self.sized(type_size(ty));
        self.mixed |= self.loaded.is_some_and(|l| l != ty);
        self.escapes |= self.loaded.is_some_and(|l| l != ty && !(is_number(l) && is_number(ty)));
        self.loaded = Some(ty);
    }

    fn store(&mut self, size: u32, ty: Type) {
        self.sized(size);
        if self.stored.last() != Some(&ty) {
            self.stored.push(ty);
        }
    }

    fn decide(&self, slot_size: u32) -> Option<Var> {
        let size = self.size?;
        let whole = IntTy { bits: (size * 8) as u8, signed: false };
        let ty = match self.loaded {
            Some(ty) if !self.mixed => ty,
            _ => Type::Int(whole),
        };
        let zeroing = self.zeroed.is_none_or(|len| len >= size && can_be_zero(ty));
        let good = !self.escapes
            && size <= slot_size
            && zeroing
            && self.stored.iter().all(|s| *s == ty || is_number(*s) && is_number(ty) || *s == ty.non_null());
        good.then_some(Var { size, ty })
    }
}

fn type_size(ty: Type) -> u32 {
    match ty {
        Type::Int(int) => int.bytes(),
        Type::Ptr(_) => 8,
    }
}

/// Integers and untracked addresses: their bits can be taken for one another.
fn is_number(ty: Type) -> bool {
    matches!(ty, Type::Int(_) | Type::Ptr(PtrKind::Kernel | PtrKind::User))
}

/// The slot whose address each value is, by value number.
fn slot_addresses(func: &Function) -> Vec<Option<Slot>> {
    let mut out = vec![None; func.values.len()];
    for inst in func.blocks.iter().flat_map(|b| &b.insts) {
        if let (Op::SlotAddr(slot), Some(result)) = (&func.inst(*inst).op, func.inst(*inst).result) {
            out[result.index()] = Some(*slot);
        }
    }
    out
}

/// An access to a slot as a whole.
enum Access {
    Load(Slot, Type),
    Store(Slot, Value, u32),
    Zero(Slot, u32),
}

fn access(op: &Op, slots: &[Option<Slot>]) -> Option<Access> {
    let slot = |v: &Value| slots.get(v.index()).copied().flatten();
    match op {
        Op::Load { ty, ptr, off } if off.add == 0 && off.core.is_none() => {
            Some(Access::Load(slot(ptr)?, *ty))
        }
        Op::Store { size, ptr, off, val } if off.add == 0 && off.core.is_none() => {
            Some(Access::Store(slot(ptr)?, *val, u32::from(*size)))
        }
        Op::Zero { dst, off: 0, len, .. } => Some(Access::Zero(slot(dst)?, *len)),
        _ => None,
    }
}

fn candidates(func: &Function) -> Vec<Option<Var>> {
    let slots = slot_addresses(func);
    let mut uses = vec![Uses::default(); func.slots.len()];
    for block in &func.blocks {
        for inst in &block.insts {
            let op = &func.inst(*inst).op;
            let mut escape = |v: Value| {
                if let Some(slot) = slots[v.index()] {
                    uses[slot.index()].escapes = true;
                }
            };
            match access(op, &slots) {
                None => op.for_each_operand(escape),
                Some(Access::Store(slot, val, size)) => {
                    escape(val);
                    uses[slot.index()].store(size, func.type_of(val));
                }
                Some(Access::Load(slot, ty)) => uses[slot.index()].load(ty),
                Some(Access::Zero(slot, len)) => {
                    let zeroed = &mut uses[slot.index()].zeroed;
                    *zeroed = Some(zeroed.map_or(len, |l| l.min(len)));
                }
            }
        }
        if let Some(term) = &block.term {
            term.for_each_operand(|v| {
                if let Some(slot) = slots[v.index()] {
                    uses[slot.index()].escapes = true;
                }
            });
        }
    }
    uses.iter().zip(&func.slots).map(|(u, s)| u.decide(s.size)).collect()
}

struct Promotion {
    vars: Vec<Option<Var>>,
    slots: Vec<Option<Slot>>,
    /// Parameters to be added to each block, with their slot.
    params: Vec<Vec<(Slot, Value)>>,
    /// The value of each slot at the place that is being renamed.
    current: Vec<Option<Value>>,
    /// What to restore when a subtree ends.
    undo: Vec<(Slot, Option<Value>)>,
    /// Zeros made for the entry.
    zeros: Vec<(Type, Value, Inst)>,
    subst: Substitution,
}

impl Promotion {
    fn new(func: &Function, vars: Vec<Option<Var>>) -> Promotion {
        Promotion {
            slots: slot_addresses(func),
            params: vec![Vec::new(); func.blocks.len()],
            current: vec![None; vars.len()],
            undo: Vec::new(),
            zeros: Vec::new(),
            subst: Substitution::new(func),
            vars,
        }
    }

    /// Gives a parameter to each join that a slot's definitions reach and where it is still read.
    fn place_params(&mut self, func: &mut Function, cfg: &Cfg, dom: &DomTree) {
        let count = self.vars.len();
        let (mut defs, mut reads) = (vec![Vec::new(); count], vec![Vec::new(); count]);
        for &block in cfg.rpo() {
            for inst in &func.block(block).insts {
                let (slot, list) = match access(&func.inst(*inst).op, &self.slots) {
                    // A read behind a definition in the same block does not look further back.
                    Some(Access::Load(slot, _)) if defs[slot.index()].last() != Some(&block) => {
                        (slot, &mut reads)
                    }
                    Some(Access::Store(slot, ..) | Access::Zero(slot, _)) => (slot, &mut defs),
                    _ => continue,
                };
                let list: &mut Vec<Block> = &mut list[slot.index()];
                if list.last() != Some(&block) {
                    list.push(block);
                }
            }
        }
        let frontiers = dom.frontiers(cfg);
        let mut marks = Marks::new(cfg.block_count());
        for i in 0..count {
            let Some(var) = self.vars[i] else { continue };
            let slot = Slot(i as u32);
            if reads[i].is_empty() {
                continue;
            }
            let joins = marks.joins(&defs[i], &frontiers);
            let live = marks.live_in(cfg, &defs[i], &reads[i]);
            if live(Function::ENTRY) && !can_be_zero(var.ty) {
                self.vars[i] = None;
                continue;
            }
            for join in joins.into_iter().filter(|b| live(*b)) {
                let value = func.new_value(var.ty);
                self.params[join.index()].push((slot, value));
            }
        }
    }

    /// Walks the dominator tree with the current value of each slot at hand.
    fn rename(&mut self, func: &mut Function, cfg: &Cfg, dom: &DomTree) {
        let mut open: Vec<(usize, usize)> = Vec::new();
        for (at, &block) in dom.preorder().iter().enumerate() {
            while let Some(&(end, undo)) = open.last()
                && end <= at
            {
                for (slot, old) in self.undo.drain(undo..).rev() {
                    self.current[slot.index()] = old;
                }
                open.pop();
            }
            open.push((at + dom.subtree(block).len(), self.undo.len()));
            for (slot, value) in self.params[block.index()].clone() {
                func.block_mut(block).params.push(value);
                self.set(slot, value);
            }
            self.rename_block(func, block);
            let mut term = func.block_mut(block).term.take();
            for edge in term.iter_mut().flat_map(|t| t.edges_mut()) {
                for (slot, value) in self.params[edge.block.index()].clone() {
                    let arg = self.get(func, slot, func.type_of(value));
                    edge.args.push(arg);
                }
            }
            func.block_mut(block).term = term;
        }
        let entry = &mut func.block_mut(Function::ENTRY).insts;
        entry.splice(0..0, self.zeros.iter().map(|z| z.2));
        debug_assert!(cfg.rpo().len() == dom.preorder().len());
    }

    fn rename_block(&mut self, func: &mut Function, block: Block) {
        let insts = std::mem::take(&mut func.block_mut(block).insts);
        let mut out = Vec::with_capacity(insts.len());
        for inst in insts {
            let found = access(&func.inst(inst).op, &self.slots);
            let slot = match found {
                Some(Access::Load(slot, _) | Access::Store(slot, ..) | Access::Zero(slot, _)) => slot,
                None => {
                    out.push(inst);
                    continue;
                }
            };
            let Some(var) = self.vars[slot.index()] else {
                out.push(inst);
                continue;
            };
            let loc = func.inst(inst).loc;
            match found {
                Some(Access::Load(_, ty)) => {
                    let now = self.get(func, slot, var.ty);
                    if let Some(result) = func.inst(inst).result {
                        let value = convert(func, &mut out, now, ty, var.size, loc);
                        self.subst.replace(result, value);
                    }
                }
                Some(Access::Store(_, val, _)) => {
                    let val = self.subst.find(val);
                    let value = convert(func, &mut out, val, var.ty, var.size, loc);
                    self.set(slot, value);
                }
                _ => {
                    let (zero, value) = func.new_inst(Op::Const(0), Some(var.ty), loc);
                    out.push(zero);
                    self.set(slot, value.unwrap_or(Value(0)));
                }
            }
        }
        func.block_mut(block).insts = out;
    }

    fn set(&mut self, slot: Slot, value: Value) {
        let old = self.current[slot.index()].replace(value);
        self.undo.push((slot, old));
    }

    /// The slot's value here; zero where nothing was stored.
    fn get(&mut self, func: &mut Function, slot: Slot, ty: Type) -> Value {
        if let Some(value) = self.current[slot.index()] {
            return value;
        }
        if let Some(zero) = self.zeros.iter().find(|z| z.0 == ty) {
            return zero.1;
        }
        let value = func.new_value(ty);
        let (inst, _) = func.new_inst(Op::Const(0), None, Loc::default());
        func.insts[inst.index()].result = Some(value);
        self.zeros.push((ty, value, inst));
        value
    }
}

/// `value` as its low `size` bytes read back with type `ty`.
fn convert(func: &mut Function, out: &mut Vec<Inst>, value: Value, ty: Type, size: u32, loc: Loc) -> Value {
    let own = func.type_of(value);
    if own == ty {
        return value;
    }
    let op = match ty {
        Type::Int(int) if size < 8 => Op::Un { op: UnOp::Extend(int), a: value },
        _ => Op::Cast(value),
    };
    let result = func.new_value(ty);
    let (inst, _) = func.new_inst(op, None, loc);
    func.insts[inst.index()].result = Some(result);
    out.push(inst);
    result
}

/// Marks on blocks, reused from slot to slot.
struct Marks {
    stamp: u32,
    joined: Vec<u32>,
    defined: Vec<u32>,
    live: Vec<u32>,
}

impl Marks {
    fn new(blocks: usize) -> Marks {
        Marks { stamp: 0, joined: vec![0; blocks], defined: vec![0; blocks], live: vec![0; blocks] }
    }

    /// The iterated dominance frontier of `defs`.
    fn joins(&mut self, defs: &[Block], frontiers: &[Vec<Block>]) -> Vec<Block> {
        self.stamp += 1;
        let mut joins = Vec::new();
        let mut work = defs.to_vec();
        while let Some(block) = work.pop() {
            for &join in &frontiers[block.index()] {
                if self.joined[join.index()] != self.stamp {
                    self.joined[join.index()] = self.stamp;
                    joins.push(join);
                    work.push(join);
                }
            }
        }
        joins
    }

    /// Whether a read can be reached from a block's start without a definition on the way. `reads` are the blocks
    /// that read before they define.
    fn live_in(&mut self, cfg: &Cfg, defs: &[Block], reads: &[Block]) -> impl Fn(Block) -> bool {
        for def in defs {
            self.defined[def.index()] = self.stamp;
        }
        let mut work: Vec<Block> = reads.to_vec();
        for read in reads {
            self.live[read.index()] = self.stamp;
        }
        while let Some(block) = work.pop() {
            for &pred in cfg.preds(block) {
                let known = self.live[pred.index()] == self.stamp || self.defined[pred.index()] == self.stamp;
                if !known {
                    self.live[pred.index()] = self.stamp;
                    work.push(pred);
                }
            }
        }
        let (live, stamp) = (&self.live, self.stamp);
        move |block| live[block.index()] == stamp
    }
}
