//! A graph to code: the decision graph and a way to read packets enter; blocks leave that go to one place for packets that
//! match and to another for all others.
//!
//! Each test becomes a block. What is always so on the way to a test is not computed again: numbers and bounds that a
//! dominating test has established are used. Arithmetic has 32 bits.

use super::ast::ArithOp;
use super::graph::{Dominators, Graph, Next};
use super::pred::{self, Cc, Meta, Preds, Test, Value as Number, ValueId};
use copies::{Copy, Head};
use reads::Reads;
use skep_bpf::kinds::ProgType;
use skep_compiler::ir::{self, BinOp, Block, FuncBuilder, IntTy, Op, Type, UnOp, Value, Width};
use skep_compiler::layers::{At, Mode, Reader, Window};

mod chain;
mod copies;
mod reads;

/// Bytes from a place on that are read with one check where that costs no more.
const NEAR: u32 = 4096;

/// Where packets go, and how they are read.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Reads the packet.
    pub reader: &'a Reader,
    /// The program's type, which says what its context holds.
    pub program: ProgType,
    /// The packet's length, 64 bits, where the reader does not know it.
    pub len: Option<Value>,
    /// For packets that match.
    pub matched: Block,
    /// For those that do not.
    pub other: Block,
}

/// How the emitted code counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Computed places wrap at 32 bits, and shifts count modulo 32, as in the kernel.
    pub(super) wraps: bool,
    /// As libpcap in everything.
    pub(super) strict: bool,
}

/// What has been computed for a node.
#[derive(Clone, Default)]
struct Known {
    numbers: Vec<(ValueId, Value)>,
    /// Bytes as they lie in memory.
    raw: Vec<(ValueId, Value)>,
    copies: Vec<Copy>,
    windows: Vec<(Option<ValueId>, Window)>,
}

struct Emit<'a> {
    graph: &'a Graph,
    reads: Reads,
    head: Option<Head>,
    preds: &'a Preds,
    place: &'a Place<'a>,
    rules: Rules,
    f: &'a mut FuncBuilder,
    dominators: Dominators,
    varies: Vec<bool>,
    /// By node.
    known: Vec<Known>,
    at: u32,
    /// Slots of variables.
    vars: Vec<ir::Slot>,
}

/// Emits the code; building begins at the builder's place, which ends there.
pub(super) fn emit(graph: &Graph, preds: &Preds, rules: Rules, f: &mut FuncBuilder, place: &Place<'_>) {
    let blocks: Vec<Block> = graph.nodes.iter().map(|_| f.block(&[])).collect();
    let to = |next: Next| match next {
        Next::Accept => place.matched,
        Next::Reject => place.other,
        Next::Node(n) => blocks[n as usize],
    };
    let sets = graph.nodes.iter().flat_map(|node| &node.test.sets).map(|(var, _)| var.0 + 1);
    let used =
        preds.values.iter().filter_map(|v| if let Number::Var(var) = v { Some(var.0 + 1) } else { None });
    let count = if preds.varies().contains(&true) { sets.chain(used).max().unwrap_or(0) } else { 0 };
    let vars: Vec<ir::Slot> = (0..count).map(|i| f.slot(8, 8, &format!("place{i}"))).collect();
    for slot in &vars {
        let (address, zero) = (f.slot_addr(*slot), f.u64(0));
        f.store(8, address, 0, zero);
    }
    f.jump(to(graph.root), &[]);
    let mut emit = Emit {
        graph,
        reads: Reads::default(),
        head: None,
        preds,
        place,
        rules,
        f,
        dominators: Dominators::new(graph),
        varies: preds.varies(),
        known: vec![Known::default(); graph.nodes.len()],
        at: 0,
        vars,
    };
    if emit.copies() {
        emit.reads = Reads::new(graph, preds);
        emit.head = emit.plan_head();
    }
    for index in (0..graph.nodes.len()).rev() {
        let node = &graph.nodes[index];
        emit.at = index as u32;
        emit.f.switch_to(blocks[index]);
        emit.head();
        emit.test(&node.test, to(node.then), to(node.other));
    }
}

/// How far from the packet's start any read goes; `None`: that is not known, or it follows headers.
pub(super) fn reach(graph: &Graph, preds: &Preds) -> Option<u64> {
    let mut used = vec![false; preds.values.len()];
    let mut mark: Vec<ValueId> = Vec::new();
    for node in &graph.nodes {
        mark.extend([node.test.a, node.test.b]);
        mark.extend(node.test.sets.iter().map(|(_, value)| *value));
    }
    let mut end = 0;
    while let Some(id) = mark.pop() {
        if std::mem::replace(&mut used[id.0 as usize], true) {
            continue;
        }
        match preds.value(id) {
            Number::Load { bytes, add, index } => {
                let index_most = index.map_or(0, |index| preds.most(index));
                end = end.max(u64::from(add) + index_most + u64::from(bytes));
                mark.extend(index);
            }
            Number::Bin(_, a, b) => mark.extend([a, b]),
            Number::Neg(a) => mark.push(a),
            Number::Choose { a, then, other, .. } => mark.extend([a, then, other]),
            Number::Chain { .. } | Number::Var(_) | Number::Meta(_) => return None,
            Number::Const(_) | Number::Len => {}
        }
    }
    Some(end)
}

impl Emit<'_> {
    fn test(&mut self, test: &Test, then: Block, other: Block) {
        if !test.sets.is_empty() {
            let values: Vec<Value> = test.sets.iter().map(|(_, value)| self.number(*value)).collect();
            for ((var, _), value) in test.sets.iter().zip(values) {
                let address = self.f.slot_addr(self.vars[var.0 as usize]);
                let value = self.f.extend(value, IntTy::U64);
                self.f.store(8, address, 0, value);
            }
            let varies = &self.varies;
            let known = &mut self.known[self.at as usize];
            known.numbers.retain(|(id, _)| !varies[id.0 as usize]);
            known.raw.retain(|(id, _)| !varies[id.0 as usize]);
        }
        if let (Some(a), Some(b)) = (self.preds.constant(test.a), self.preds.constant(test.b)) {
            return self.f.jump(if pred::holds(test.cc, a, b) { then } else { other }, &[]);
        }
        let (a, b) = match self.unswapped(test) {
            Some(both) => both,
            None => (self.number(test.a), self.number(test.b)),
        };
        let cc = match test.cc {
            Cc::Eq => ir::Cc::Eq,
            Cc::Gt => ir::Cc::Ugt,
            Cc::Ge => ir::Cc::Uge,
            Cc::Set => ir::Cc::Set,
        };
        self.f.branch(cc, a, b, then, other);
    }

    /// Finds what this node or one that dominates it has computed.
    fn find<T>(&self, look: impl Fn(&Known) -> Option<T>) -> Option<T> {
        let mut at = Some(self.at);
        while let Some(node) = at {
            if let Some(found) = look(&self.known[node as usize]) {
                return Some(found);
            }
            at = self.dominators.above(node);
        }
        None
    }

    /// A value that this node or one that dominates it has computed; what varies is only the same within a node.
    fn computed(&self, id: ValueId, list: fn(&Known) -> &[(ValueId, Value)]) -> Option<Value> {
        let local =
            |known: &Known| list(known).iter().find(|(found, _)| *found == id).map(|(_, value)| *value);
        match self.varies[id.0 as usize] {
            true => local(&self.known[self.at as usize]),
            false => self.find(local),
        }
    }

    fn number(&mut self, id: ValueId) -> Value {
        if let Some(value) = self.computed(id, |known| &known.numbers) {
            return value;
        }
        let value = self.compute(id);
        self.known[self.at as usize].numbers.push((id, value));
        value
    }

    /// Both sides of a test of bytes for bits or a number, in the order in which the bytes lie in memory.
    fn unswapped(&mut self, test: &Test) -> Option<(Value, Value)> {
        let (mut id, mut mask) = (test.a, None);
        if let Number::Bin(ArithOp::And, a, b) = self.preds.value(id) {
            (id, mask) = (a, Some(self.preds.constant(b)?));
        }
        let Number::Load { bytes: bytes @ (2 | 4), add, index } = self.preds.value(id) else { return None };
        let with = self.preds.constant(test.b)?;
        let fits = u64::from(with) < 1 << (8 * u32::from(bytes));
        let known = self.computed(id, |known| &known.numbers).is_some();
        if !matches!(test.cc, Cc::Eq | Cc::Set) || !fits || known {
            return None;
        }
        let swap =
            |number: u32| if bytes == 2 { (number as u16).swap_bytes().into() } else { number.swap_bytes() };
        let raw = match self.computed(id, |known| &known.raw) {
            Some(raw) => raw,
            None => {
                let (window, at) = self.window(index, add, bytes.into());
                let raw = window.raw(self.f, at, bytes.into());
                self.known[self.at as usize].raw.push((id, raw));
                raw
            }
        };
        let a = match mask {
            Some(mask) => {
                let mask = self.constant(swap(mask));
                self.bin(BinOp::And, raw, mask)
            }
            None => raw,
        };
        Some((a, self.constant(swap(with))))
    }

    fn constant(&mut self, value: u32) -> Value {
        self.f.iconst(Type::U32, i64::from(value))
    }

    fn bin(&mut self, op: BinOp, a: Value, b: Value) -> Value {
        self.f.push_value(Op::Bin { op, width: Width::W32, a, b }, Type::U32)
    }

    fn compute(&mut self, id: ValueId) -> Value {
        match self.preds.value(id) {
            Number::Const(c) => self.constant(c),
            Number::Len => {
                let len = self.place.len.unwrap_or_else(|| self.place.reader.frame_len(self.f));
                self.f.extend(len, IntTy::U32)
            }
            Number::Var(var) => {
                let address = self.f.slot_addr(self.vars[var.0 as usize]);
                let value = self.f.load(Type::U64, address, 0);
                self.f.extend(value, IntTy::U32)
            }
            Number::Meta(meta) => self.meta(meta),
            Number::Load { bytes, add, index } => self.load(index, add, bytes.into()),
            Number::Bin(op, a, b) => self.binary(op, a, b),
            Number::Neg(a) => {
                let a = self.number(a);
                let value = self.f.push_value(Op::Un { op: UnOp::Neg, a }, Type::U64);
                self.f.extend(value, IntTy::U32)
            }
            Number::Choose { a, is, then, other } => self.choose(a, is, then, other),
            Number::Chain { v6, header, proto } => self.chain(v6, header, proto),
        }
    }

    fn binary(&mut self, op: ArithOp, a: ValueId, b: ValueId) -> Value {
        let known = self.preds.constant(b);
        let (a, b) = (self.number(a), self.number(b));
        let op = match op {
            ArithOp::Add => BinOp::Add,
            ArithOp::Sub => BinOp::Sub,
            ArithOp::Mul => BinOp::Mul,
            ArithOp::Div => BinOp::Udiv,
            ArithOp::Mod => BinOp::Umod,
            ArithOp::And => BinOp::And,
            ArithOp::Or => BinOp::Or,
            ArithOp::Xor => BinOp::Xor,
            ArithOp::Shl => BinOp::Shl,
            ArithOp::Shr => BinOp::Lshr,
        };
        match (op, known) {
            (BinOp::Udiv | BinOp::Umod, None | Some(0)) => {
                let (zero, nonzero) = (self.constant(0), self.f.block(&[]));
                self.f.branch(ir::Cc::Eq, b, zero, self.place.other, nonzero);
                self.f.switch_to(nonzero);
            }
            (BinOp::Shl | BinOp::Lshr, None | Some(32..)) if !self.rules.wraps => {
                let (limit, zero) = (self.constant(31), self.constant(0));
                let shifted = self.bin(op, a, b);
                let far = ir::Cond { cc: ir::Cc::Ugt, width: Width::W64, a: b, b: limit };
                return self.f.push_value(Op::Select { cond: far, a: zero, b: shifted }, Type::U32);
            }
            _ => {}
        }
        self.bin(op, a, b)
    }

    /// Only one of both is computed; nothing of it is known behind.
    fn choose(&mut self, a: ValueId, is: u32, then: ValueId, other: ValueId) -> Value {
        let (a, is) = (self.number(a), self.constant(is));
        let (yes, no, both) = (self.f.block(&[]), self.f.block(&[]), self.f.block(&[Type::U32]));
        self.f.branch(ir::Cc::Eq, a, is, yes, no);
        let before = self.known[self.at as usize].clone();
        for (block, value) in [(yes, then), (no, other)] {
            self.f.switch_to(block);
            let value = self.number(value);
            self.f.jump(both, &[value]);
            self.known[self.at as usize] = before.clone();
        }
        self.f.switch_to(both);
        self.f.block_param(both, 0)
    }

    /// A field of the context: `struct __sk_buff` and `struct xdp_md` (include/uapi/linux/bpf.h).
    fn meta(&mut self, meta: Meta) -> Value {
        let xdp = self.place.program == ProgType::Xdp;
        let offset = match (meta, xdp) {
            (Meta::VlanPresent, false) => 20,
            (Meta::VlanTag, false) => 24,
            (Meta::PacketType, false) => 4,
            (Meta::Ifindex, false) => 40,
            (Meta::Ifindex, true) => 12,
            (Meta::Protocol, false) => {
                let wire = self.f.load(Type::U32, self.place.reader.ctx(), 16);
                return self.f.push_value(Op::Un { op: UnOp::Bswap(2), a: wire }, Type::U32);
            }
            (_, true) => return self.constant(0),
        };
        self.f.load(Type::U32, self.place.reader.ctx(), offset)
    }

    fn load(&mut self, index: Option<ValueId>, add: u32, bytes: u32) -> Value {
        let (window, at) = self.window(index, add, bytes);
        window.number(self.f, at, bytes)
    }

    /// Bytes that may be read, and where those that are asked for begin in them.
    fn window(&mut self, index: Option<ValueId>, add: u32, bytes: u32) -> (Window, u32) {
        if let Some(found) = self.copied(index, add, bytes) {
            return found;
        }
        let varies = index.is_some_and(|index| self.varies[index.0 as usize]);
        let end = u64::from(add) + u64::from(bytes);
        let direct = matches!(self.place.reader.mode(), Mode::Direct { beyond: false, .. });
        let near = direct
            && end <= u64::from(NEAR)
            && !varies
            && index.is_none_or(|index| self.is_small(index, end));
        if !near {
            let at = self.at(index, add);
            return (self.place.reader.window(self.f, at, bytes, self.place.other), 0);
        }
        let end = end as u32;
        let reaches = |(found, window): &&(Option<ValueId>, Window)| *found == index && window.len >= end;
        if let Some(window) = self.find(|known| known.windows.iter().find(reaches).map(|(_, window)| *window))
        {
            return (window, add);
        }
        let at = self.at(index, 0);
        let window = self.place.reader.window(self.f, at, end, self.place.other);
        self.known[self.at as usize].windows.push((index, window));
        (window, add)
    }

    /// Whether so many bytes behind the place cannot wrap.
    fn is_small(&self, index: ValueId, end: u64) -> bool {
        self.preds.most(index) + end <= u64::from(u32::MAX)
    }

    fn at(&mut self, index: Option<ValueId>, add: u32) -> At {
        let Some(index) = index else { return At::constant(add) };
        let most = self.preds.most(index);
        let small = self.is_small(index, u64::from(add));
        let value = self.number(index);
        if small || !self.rules.wraps {
            let base = self.f.extend(value, IntTy::U64);
            let max = (most + u64::from(add)).min(u64::from(u32::MAX)) as u32;
            return At { base: Some(base), add, max };
        }
        let add = self.constant(add);
        let sum = self.bin(BinOp::Add, value, add);
        let base = self.f.extend(sum, IntTy::U64);
        At { base: Some(base), add: 0, max: u32::MAX }
    }
}
