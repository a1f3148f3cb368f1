//! The per-CPU scratch area: slots that the stack has no room for.
//!
//! A module whose functions fit enters unchanged; otherwise slots of a function move to an entry of a per-CPU array
//! map. An entry is a busy word of eight bytes and, behind it, the frame of the function that has claimed it.
//!
//! *Claim.* One CPU can be in several programs at once: an interrupt's program runs on top of a task's, and where the
//! kernel preempts, a program may run in another task while one waits. So an entry is not simply used but taken: the
//! claim looks up entries 0 to 3 in turn and takes the first whose busy word was 0, by an atomic exchange where the
//! target has it (5.12). Before that, programs on one CPU only nest, and the inner one has put everything back when the
//! outer goes on, so a load, a test and a store do. If no entry is free the program counts `ScratchBusy` and returns
//! what lets the kernel go on as without it (a callback 1, which ends its loop).
//!
//! *Place.* The claim stands at the nearest block that dominates every use and lies in no loop, directly before the
//! first use if the block has one: ways through the program that need no scratch claim none.
//!
//! *Release.* All uses lie in the blocks that the claim dominates. Every way out of them, a return or an edge to
//! another block, stores 0 to the busy word; nothing leads back in without a new claim.
//!
//! *Large frames.* A value per CPU has at most 32 KiB. What needs more lies in an array of its own that all CPUs share: each
//! CPU tries two entries, which others with the same low bits of their number try too. The exchange keeps them apart, so
//! this takes a target that has it.
//!
//! A function that is called claims an entry of its own. Slots with pointers that the verifier must follow stay on the
//! stack, as do the contexts of callbacks.

use std::collections::HashMap;

use skep_bpf::kinds::MapType;
use skep_bpf::object::{Counter, MapDetails, MapSpec, Object};

use super::chain::Chains;
use super::expand::{Append, split_block};
use super::slots::{Packing, SlotUse};
use crate::ir::cfg::Cfg;
use crate::ir::dom::{DomTree, Loops};
use crate::ir::{
    AtomicOp, BinOp, Block, Cc, Edge, Function, Inst, Loc, MapId, Offset, Op, PtrKind, Slot, Terminator,
    Type, Value, Width,
};

/// Slots over this go to the scratch area at once.
pub(crate) const LARGE: u32 = 128;
/// Bytes of a per-CPU entry at most (PCPU_MIN_UNIT_SIZE, include/linux/percpu.h, Linux 6.18: such a value must fit in a
/// unit), and of one that is not: a choice.
const PERCPU_LIMIT: u32 = 32 << 10;
const LARGE_LIMIT: u32 = 256 << 10;
/// Bytes of the busy word.
pub(crate) const HEAD: u32 = 8;
const ENTRIES: i64 = 4;
/// Entries that a CPU tries in an array that all share, and how many CPUs have entries of their own there.
const LARGE_ENTRIES: i64 = 2;
const LARGE_GROUPS: i64 = 16;
/// `enum bpf_func_id`: bpf_map_lookup_elem, bpf_get_smp_processor_id.
const MAP_LOOKUP_ELEM: u32 = 1;
const GET_SMP_PROCESSOR_ID: u32 = 8;

/// Bytes that a frame may have on a target with an atomic exchange, or without.
pub(crate) fn limit(exchange: bool) -> u32 {
    (if exchange { LARGE_LIMIT } else { PERCPU_LIMIT }) - HEAD
}

/// The areas of a module, by whether their entries are per CPU.
#[derive(Default)]
pub(crate) struct Areas {
    percpu: Option<Area>,
    large: Option<Area>,
}

impl Areas {
    /// The area for a frame of `size` bytes, made when the first function needs it.
    pub(crate) fn of(&mut self, size: u32, object: &mut Object, exchange: bool) -> Area {
        let large = size > PERCPU_LIMIT - HEAD;
        let area = if large { &mut self.large } else { &mut self.percpu };
        let area = *area.get_or_insert_with(|| Area::new(object, exchange, large));
        area.grow(object, size);
        area
    }
}

/// The maps that claims need.
#[derive(Clone, Copy)]
pub(crate) struct Area {
    map: MapId,
    counters: MapId,
    counter: u32,
    exchange: bool,
    large: bool,
}

impl Area {
    /// Adds what is missing to the object: the scratch map, the counter map, the counter.
    fn new(object: &mut Object, exchange: bool, large: bool) -> Area {
        let array = |name: &str, max_entries, value_size| MapSpec {
            name: name.to_owned(),
            map_type: MapType::PercpuArray,
            key_size: 4,
            value_size,
            max_entries,
            flags: 0,
            initial: Vec::new(),
            frozen: false,
            schema: None,
            details: MapDetails::default(),
        };
        object.maps.push(match large {
            false => array("scratch", ENTRIES as u32, HEAD),
            true => MapSpec {
                map_type: MapType::Array,
                ..array("large", (LARGE_GROUPS * LARGE_ENTRIES) as u32, HEAD)
            },
        });
        let map = MapId(object.maps.len() as u32 - 1);
        let counters = match object.session.counter_map {
            Some(index) => index,
            None => {
                object.maps.push(array("counters", 1, 8));
                object.session.counter_map = Some(object.maps.len() - 1);
                object.maps.len() - 1
            }
        };
        let list = &mut object.session.counters;
        let known = list.iter().position(|c| *c == Counter::ScratchBusy);
        let counter = known.unwrap_or_else(|| {
            list.push(Counter::ScratchBusy);
            list.len() - 1
        });
        let count = list.len() as u32;
        if let Some(spec) = object.maps.get_mut(counters) {
            spec.max_entries = spec.max_entries.max(count);
        }
        Area { map, counters: MapId(counters as u32), counter: counter as u32, exchange, large }
    }

    /// Makes entries large enough for a frame of `size` bytes.
    fn grow(&self, object: &mut Object, size: u32) {
        if let Some(spec) = object.maps.get_mut(self.map.index()) {
            spec.value_size = spec.value_size.max(HEAD + size.next_multiple_of(8));
        }
    }
}

/// Which slots of a function move, and where they lie in its entry.
pub(crate) struct Plan<'a> {
    pub moves: &'a [bool],
    pub packing: &'a Packing,
    pub uses: &'a [SlotUse],
    /// What the function returns where no entry is free.
    pub gives_up: i64,
}

/// Moves slots of `func` to the scratch area.
pub(crate) fn apply(func: &mut Function, area: Area, plan: &Plan<'_>) {
    let escapes = plan.moves.iter().zip(plan.uses).any(|(m, u)| *m && u.escapes);
    let users = sink(func, plan.moves);
    let cfg = Cfg::new(func);
    let dom = DomTree::new(&cfg);
    let at = if escapes { Function::ENTRY } else { place(&cfg, &dom, &users) };
    let cut = first_use(func, at, &users, escapes);
    let inside: Vec<Block> = dom.subtree(at).to_vec();
    let loc = claim_loc(func, at, cut);
    let tail = split_block(func, at, cut);
    let base = func.new_value(Type::Ptr(PtrKind::MapValue { map: area.map, nullable: false }));
    func.block_mut(tail).params.push(base);
    let mut claim = Claim { a: Append { func, at, loc }, area, gives_up: plan.gives_up };
    claim.emit(tail);
    for fresh in &users.fresh {
        address(func, fresh, base, plan.packing);
    }
    release(func, &inside, at, tail, base);
}

fn claim_loc(func: &Function, at: Block, cut: usize) -> Loc {
    let block = func.block(at);
    block.insts.get(cut).map_or(block.loc, |i| func.inst(*i).loc)
}

/// A new address of a moving slot: `konst` is the distance that `inst` adds to the base.
struct Fresh {
    konst: Inst,
    distance: Value,
    inst: Inst,
    slot: Slot,
    off: i64,
}

/// Addresses of moving slots, each directly before its user.
struct Users {
    fresh: Vec<Fresh>,
    /// Blocks with users.
    blocks: Vec<Block>,
}

/// Gives each user of a moving slot's address an address of its own, directly before it.
fn sink(func: &mut Function, moves: &[bool]) -> Users {
    let mut users = Users { fresh: Vec::new(), blocks: Vec::new() };
    let cfg = Cfg::new(func);
    let mut known: HashMap<Value, (Slot, i64)> = HashMap::new();
    {
        let chains = Chains::new(func);
        for v in (0..func.values.len()).map(|v| Value(v as u32)) {
            if let Some((slot, off)) = chains.slot(v).filter(|s| moves[s.0.index()]) {
                known.insert(v, (slot, off));
            }
        }
    }
    for &block in cfg.rpo() {
        let before = users.fresh.len();
        let old = std::mem::take(&mut func.block_mut(block).insts);
        let mut new = Vec::with_capacity(old.len());
        for inst in old {
            let own = func.inst(inst).result.is_some_and(|v| known.contains_key(&v));
            if !own {
                let mut op = std::mem::replace(&mut func.insts[inst.index()].op, Op::Const(0));
                let loc = func.inst(inst).loc;
                op.map_operands(|v| fresh(func, &known, v, loc, &mut new, &mut users));
                func.insts[inst.index()].op = op;
            }
            new.push(inst);
        }
        if let Some(mut term) = func.block_mut(block).term.take() {
            let loc = func.block(block).loc;
            term.map_operands(|v| fresh(func, &known, v, loc, &mut new, &mut users));
            func.block_mut(block).term = Some(term);
        }
        func.block_mut(block).insts = new;
        if users.fresh.len() > before {
            users.blocks.push(block);
        }
    }
    users
}

fn fresh(
    func: &mut Function,
    known: &HashMap<Value, (Slot, i64)>,
    v: Value,
    loc: Loc,
    new: &mut Vec<Inst>,
    users: &mut Users,
) -> Value {
    let Some(&(slot, off)) = known.get(&v) else { return v };
    let distance = func.new_value(Type::I64);
    let (konst, _) = func.new_inst(Op::Const(0), None, loc);
    func.insts[konst.index()].result = Some(distance);
    let result = func.new_value(func.type_of(v));
    let (inst, _) = func.new_inst(Op::SlotAddr(slot), None, loc);
    func.insts[inst.index()].result = Some(result);
    users.fresh.push(Fresh { konst, distance, inst, slot, off });
    new.extend([konst, inst]);
    result
}

/// Replaces an address of a slot by one in the claimed entry.
fn address(func: &mut Function, fresh: &Fresh, base: Value, packing: &Packing) {
    let below = i64::from(packing.below[fresh.slot.index()]);
    let size = i64::from(packing.size.next_multiple_of(8));
    func.insts[fresh.konst.index()].op = Op::Const(i64::from(HEAD) + size - below + fresh.off);
    func.insts[fresh.inst.index()].op = Op::PtrAdd { ptr: base, off: fresh.distance };
    if let Some(result) = func.inst(fresh.inst).result {
        func.values[result.index()].ty = func.type_of(base);
    }
}

/// The nearest block that dominates all users and can not be reached from itself.
fn place(cfg: &Cfg, dom: &DomTree, users: &Users) -> Block {
    let Some(&(mut at)) = users.blocks.first() else { return Function::ENTRY };
    for block in &users.blocks {
        while !dom.dominates(at, *block) {
            match dom.idom(at) {
                Some(up) => at = up,
                None => return Function::ENTRY,
            }
        }
    }
    let loops = Loops::new(cfg, dom);
    while let Some(head) = loops.header(at) {
        match dom.idom(head) {
            Some(up) => at = up,
            None => return Function::ENTRY,
        }
    }
    if repeats(cfg, at) { Function::ENTRY } else { at }
}

/// Whether a way leads from the block to itself.
fn repeats(cfg: &Cfg, block: Block) -> bool {
    let mut seen = vec![false; cfg.block_count()];
    let mut work = cfg.succs(block).to_vec();
    while let Some(next) = work.pop() {
        if next == block {
            return true;
        }
        if !std::mem::replace(&mut seen[next.index()], true) {
            work.extend(cfg.succs(next));
        }
    }
    false
}

/// Where in the block the claim stands.
fn first_use(func: &Function, at: Block, users: &Users, escapes: bool) -> usize {
    if escapes {
        return 0;
    }
    let insts = &func.block(at).insts;
    let fresh: std::collections::HashSet<Inst> = users.fresh.iter().map(|f| f.konst).collect();
    insts.iter().position(|i| fresh.contains(i)).unwrap_or(insts.len())
}

struct Claim<'a> {
    a: Append<'a>,
    area: Area,
    gives_up: i64,
}

impl Claim<'_> {
    fn lookup(&mut self, map: MapId, key: Slot, val: Value) -> Value {
        let at = self.a.value(Op::SlotAddr(key), Type::Ptr(PtrKind::Stack));
        self.a.push(Op::Store { size: 4, ptr: at, off: Offset::default(), val });
        let map_ref = self.a.value(Op::MapRef(map), Type::Ptr(PtrKind::Map(map)));
        let ty = Type::Ptr(PtrKind::MapValue { map, nullable: true });
        self.a.value(Op::Helper { id: MAP_LOOKUP_ELEM, args: vec![map_ref, at] }, ty)
    }

    /// The first entry that this CPU tries of those that all share.
    fn own_entries(&mut self) -> Value {
        let cpu = self.a.value(Op::Helper { id: GET_SMP_PROCESSOR_ID, args: Vec::new() }, Type::U64);
        let mut of = |op, a, constant| {
            let b = self.a.constant(constant);
            self.a.value(Op::Bin { op, width: Width::W64, a, b }, Type::U64)
        };
        let group = of(BinOp::And, cpu, LARGE_GROUPS - 1);
        of(BinOp::Mul, group, LARGE_ENTRIES)
    }

    fn block(&mut self, cold: bool) -> Block {
        let block = self.a.func.new_block();
        self.a.func.block_mut(block).cold = cold;
        block
    }

    fn checked(&mut self, ptr: Value, fail: Block, cold: bool) -> Value {
        let ok = self.block(cold);
        let zero = self.a.constant(0);
        let edge = |block| Edge { block, args: Vec::new() };
        self.a.branch(Cc::Eq, ptr, zero, edge(fail), edge(ok));
        self.a.at = ok;
        let ty = self.a.func.type_of(ptr).non_null();
        self.a.value(Op::Cast(ptr), ty)
    }

    /// Appends the claim; with an entry it goes on in `tail`.
    fn emit(&mut self, tail: Block) {
        let cold = self.a.func.block(self.a.at).cold;
        let key = self.a.func.new_slot(4, 4, "scratch key");
        let fail = self.block(true);
        let first = self.area.large.then(|| self.own_entries());
        let entries = if self.area.large { LARGE_ENTRIES } else { ENTRIES };
        for i in 0..entries {
            let cold = cold || i > 0;
            let index = self.a.constant(i);
            let index = match first {
                Some(first) => {
                    self.a.value(Op::Bin { op: BinOp::Add, width: Width::W64, a: first, b: index }, Type::U64)
                }
                None => index,
            };
            let ptr = self.lookup(self.area.map, key, index);
            let ptr = self.checked(ptr, fail, cold);
            let next = if i + 1 < entries { self.block(true) } else { fail };
            self.take(ptr, tail, next, cold);
            self.a.at = next;
        }
        self.a.at = fail;
        let counter = self.a.constant(i64::from(self.area.counter));
        let busy = self.lookup(self.area.counters, key, counter);
        let out = self.block(true);
        let busy = self.checked(busy, out, true);
        let val = self.a.constant(1);
        self.a.push(Op::Atomic { op: AtomicOp::Add, size: 8, ptr: busy, off: 0, val, fetch: false });
        self.a.jump(out, Vec::new());
        self.a.at = out;
        let ret = self.a.func.ret;
        let code = self.a.value(Op::Const(self.gives_up), ret);
        self.a.end(Terminator::Return(code));
    }

    fn take(&mut self, ptr: Value, tail: Block, next: Block, cold: bool) {
        let off = Offset::default();
        let taken = Edge { block: tail, args: vec![ptr] };
        let next = Edge { block: next, args: Vec::new() };
        let (zero, one) = (self.a.constant(0), self.a.constant(1));
        if self.area.exchange {
            let op = Op::Atomic { op: AtomicOp::Xchg, size: 8, ptr, off: 0, val: one, fetch: true };
            let old = self.a.value(op, Type::U64);
            return self.a.branch(Cc::Eq, old, zero, taken, next);
        }
        let old = self.a.value(Op::Load { ty: Type::U64, ptr, off: off.clone() }, Type::U64);
        let free = self.block(cold);
        self.a.branch(Cc::Eq, old, zero, Edge { block: free, args: Vec::new() }, next);
        self.a.at = free;
        let one = self.a.constant(1);
        self.a.push(Op::Store { size: 8, ptr, off, val: one });
        self.a.jump(tail, vec![ptr]);
    }
}

/// Stores 0 to the busy word on every way out of the claim's blocks: `tail`, and those that `at` dominated.
fn release(func: &mut Function, inside: &[Block], at: Block, tail: Block, base: Value) {
    let mut member = vec![false; func.blocks.len()];
    inside.iter().for_each(|b| member[b.index()] = true);
    member[tail.index()] = true;
    for block in inside.iter().copied().filter(|b| *b != at).chain([tail]) {
        let Some(mut term) = func.block_mut(block).term.take() else { continue };
        let (loc, cold) = (func.block(block).loc, func.block(block).cold);
        if matches!(term, Terminator::Return(_)) {
            store_zero(&mut Append { func, at: block, loc }, base);
        }
        for edge in term.edges_mut() {
            let stays = member.get(edge.block.index()).copied().unwrap_or(false) && edge.block != at;
            if stays {
                continue;
            }
            let exit = func.new_block();
            func.block_mut(exit).cold = cold;
            let mut a = Append { func, at: exit, loc };
            store_zero(&mut a, base);
            let args = std::mem::take(&mut edge.args);
            a.jump(edge.block, args);
            edge.block = exit;
        }
        func.block_mut(block).term = Some(term);
    }
}

fn store_zero(a: &mut Append<'_>, base: Value) {
    let val = a.constant(0);
    a.push(Op::Store { size: 8, ptr: base, off: Offset::default(), val });
}
