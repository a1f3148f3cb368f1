//! A graph as classic BPF, for packet sockets. The kernel's own translation reads a packet's linear part in place, which eBPF
//! programs of sockets cannot: they ask a helper, whose copying costs more than a short filter.
//!
//! Tests become loads and comparisons in the graph's order. What A and X hold on every way to a test is not loaded again. There is
//! no such program of what follows chains of headers, needs more memory than there is, or reads where the kernel reads
//! something else than the packet.

use super::Filter;
use super::ast::ArithOp;
use super::graph::{Graph, Next};
use super::pred::{Cc, Meta, Preds, Test, Value, ValueId};
use skep_bpf::classic::{BESIDE, Insn, MOST, WORDS, X, class, mode};
use std::collections::HashMap;

/// Places from here on are not the packet's for the kernel (`SKF_LL_OFF` and above).
const FAR: u64 = 1 << 31;

/// Where a comparison leads: to a node, or to a place within one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum To {
    Graph(Next),
    Local(usize),
}

/// An instruction; comparisons and jumps lead to places that are not known yet.
enum Item {
    Plain(Insn),
    Compare(Insn, To, To),
    Jump(To),
    Place(To),
}

/// What the registers hold.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Held {
    a: Option<ValueId>,
    x: Option<ValueId>,
}

struct Emit<'a> {
    preds: &'a Preds,
    varies: Vec<bool>,
    items: Vec<Item>,
    held: Held,
    /// What is held where a node begins, on all ways that lead to it so far.
    entry: Vec<Option<Held>>,
    locals: usize,
    /// The first word of memory that is free.
    free: u32,
}

impl Filter {
    /// The filter as classic BPF for a packet socket, which takes `keep` bytes of packets that match; `None`: there is none.
    pub fn classic(&self, keep: u32) -> Option<Vec<Insn>> {
        let (graph, preds) = (&self.graph, &self.preds);
        match graph.root {
            Next::Accept => return Some(vec![Insn::new(class::RET, keep)]),
            Next::Reject => return Some(vec![Insn::new(class::RET, 0)]),
            Next::Node(_) => {}
        }
        let read = super::graph::read_variables(graph, preds);
        let variables = super::eval::variables(graph, preds) as u32;
        let mut emit = Emit {
            preds,
            varies: preds.varies(),
            items: Vec::new(),
            held: Held::default(),
            entry: vec![None; graph.nodes.len()],
            locals: 0,
            free: variables,
        };
        if variables > WORDS || graph.nodes.len() > MOST {
            return None;
        }
        let mut read: Vec<u32> = read.into_iter().collect();
        read.sort_unstable();
        if !read.is_empty() {
            emit.plain(class::LD | mode::IMM, 0);
            read.into_iter().for_each(|word| emit.plain(class::ST, word));
        }
        emit.nodes(graph)?;
        for (end, verdict) in [(Next::Accept, keep), (Next::Reject, 0)] {
            emit.items.push(Item::Place(To::Graph(end)));
            emit.plain(class::RET, verdict);
        }
        join(&mut emit.items);
        place(&emit.items).filter(|program| program.len() <= MOST)
    }
}

impl Emit<'_> {
    fn plain(&mut self, code: u16, k: u32) {
        self.items.push(Item::Plain(Insn::new(code, k)));
    }

    fn local(&mut self) -> To {
        self.locals += 1;
        To::Local(self.locals)
    }

    fn nodes(&mut self, graph: &Graph) -> Option<()> {
        if let Next::Node(root) = graph.root {
            self.entry[root as usize] = Some(Held::default());
        }
        for index in order(graph) {
            let node = &graph.nodes[index];
            self.held = self.entry[index]?;
            self.items.push(Item::Place(To::Graph(Next::Node(index as u32))));
            self.test(&node.test, node.then, node.other)?;
            // What a variable says may have changed on one way and not on another.
            let stays = |id: Option<ValueId>| id.filter(|id| !self.varies[id.0 as usize]);
            let out = Held { a: stays(self.held.a), x: stays(self.held.x) };
            for next in [node.then, node.other] {
                let Next::Node(to) = next else { continue };
                let entry = &mut self.entry[to as usize];
                *entry = Some(match *entry {
                    None => out,
                    Some(other) => Held {
                        a: out.a.filter(|a| other.a == Some(*a)),
                        x: out.x.filter(|x| other.x == Some(*x)),
                    },
                });
            }
        }
        Some(())
    }

    fn test(&mut self, test: &Test, then: Next, other: Next) -> Option<()> {
        for (var, value) in &test.sets {
            self.accumulate(*value)?;
            self.plain(class::ST, var.0);
            let stays = |id: Option<ValueId>| id.filter(|id| !self.varies[id.0 as usize]);
            self.held = Held { a: stays(self.held.a), x: stays(self.held.x) };
        }
        let cc = match test.cc {
            Cc::Eq => 0x10,
            Cc::Gt => 0x20,
            Cc::Ge => 0x30,
            Cc::Set => 0x40,
        };
        let (source, k) = self.operands(test.a, test.b)?;
        let insn = Insn::new(class::JMP | cc | source, k);
        self.items.push(Item::Compare(insn, To::Graph(then), To::Graph(other)));
        Some(())
    }

    /// Loads `a` into A, and `b` into X if it is no number; what the instruction that takes both says of `b`.
    fn operands(&mut self, a: ValueId, b: ValueId) -> Option<(u16, u32)> {
        if let Some(number) = self.preds.constant(b) {
            self.accumulate(a)?;
            return Some((0, number));
        }
        let word = self.free;
        if word >= WORDS {
            return None;
        }
        self.accumulate(b)?;
        self.plain(class::ST, word);
        self.free += 1;
        self.accumulate(a)?;
        self.free -= 1;
        self.plain(class::LDX | mode::MEM, word);
        self.held.x = Some(b);
        Some((X, 0))
    }

    fn accumulate(&mut self, id: ValueId) -> Option<()> {
        if self.held.a == Some(id) {
            return Some(());
        }
        match self.preds.value(id) {
            Value::Const(number) => self.plain(class::LD | mode::IMM, number),
            Value::Len => self.plain(class::LD | mode::LEN, 0),
            Value::Var(var) => self.plain(class::LD | mode::MEM, var.0),
            Value::Meta(meta) => self.plain(class::LD | mode::ABS, BESIDE + beside(meta)),
            Value::Load { bytes, add, index } => self.load(bytes, add, index)?,
            Value::Bin(op, a, b) => self.arithmetic(op, a, b)?,
            Value::Neg(a) => {
                self.accumulate(a)?;
                self.plain(class::ALU | 0x80, 0);
            }
            Value::Choose { a, is, then, other } => self.choose(a, is, then, other)?,
            Value::Chain { .. } => return None,
        }
        self.held.a = Some(id);
        Some(())
    }

    fn load(&mut self, bytes: u8, add: u32, index: Option<ValueId>) -> Option<()> {
        let size = match bytes {
            1 => 0x10,
            2 => 0x08,
            _ => 0,
        };
        let most = index.map_or(0, |index| self.preds.most(index));
        if most + u64::from(add) + u64::from(bytes) > FAR {
            return None;
        }
        match index {
            None => self.plain(class::LD | mode::ABS | size, add),
            Some(index) => {
                self.index(index)?;
                self.plain(class::LD | mode::IND | size, add);
            }
        }
        Some(())
    }

    fn index(&mut self, id: ValueId) -> Option<()> {
        if self.held.x == Some(id) {
            return Some(());
        }
        match self.preds.ip4_length(id) {
            Some(header) if u64::from(header) < FAR => self.plain(class::LDX | mode::MSH | 0x10, header),
            _ => {
                self.accumulate(id)?;
                self.plain(class::MISC, 0);
            }
        }
        self.held.x = Some(id);
        Some(())
    }

    fn arithmetic(&mut self, op: ArithOp, a: ValueId, b: ValueId) -> Option<()> {
        let code = match op {
            ArithOp::Add => 0x00,
            ArithOp::Sub => 0x10,
            ArithOp::Mul => 0x20,
            ArithOp::Div => 0x30,
            ArithOp::Or => 0x40,
            ArithOp::And => 0x50,
            ArithOp::Shl => 0x60,
            ArithOp::Shr => 0x70,
            ArithOp::Mod => 0x90,
            ArithOp::Xor => 0xa0,
        };
        let number = self.preds.constant(b);
        let refused = match op {
            ArithOp::Div | ArithOp::Mod => number == Some(0),
            ArithOp::Shl | ArithOp::Shr => number.is_some_and(|count| count > 31),
            _ => false,
        };
        if refused {
            return None;
        }
        let (source, k) = self.operands(a, b)?;
        self.plain(class::ALU | code | source, k);
        Some(())
    }

    fn choose(&mut self, a: ValueId, is: u32, then: ValueId, other: ValueId) -> Option<()> {
        self.accumulate(a)?;
        let (yes, no, end) = (self.local(), self.local(), self.local());
        self.items.push(Item::Compare(Insn::new(class::JMP | 0x10, is), yes, no));
        let before = self.held;
        let mut after = None;
        for (at, value) in [(yes, then), (no, other)] {
            self.items.push(Item::Place(at));
            self.held = before;
            self.accumulate(value)?;
            if at == yes {
                self.items.push(Item::Jump(end));
            }
            let x = self.held.x;
            after = Some(after.map_or(x, |first: Option<ValueId>| x.filter(|x| first == Some(*x))));
        }
        self.items.push(Item::Place(end));
        self.held.x = after.flatten();
        Some(())
    }
}

/// The nodes in an order in which each comes behind all that lead to it, and where it can be right behind one of them: the kernel
/// makes one instruction of a comparison that goes on behind itself, two of others.
fn order(graph: &Graph) -> Vec<usize> {
    let mut ways = vec![0_usize; graph.nodes.len()];
    let node = |next: Next| match next {
        Next::Node(n) => Some(n as usize),
        _ => None,
    };
    let both =
        |index: usize| [graph.nodes[index].other, graph.nodes[index].then].into_iter().filter_map(node);
    (0..graph.nodes.len()).flat_map(both).for_each(|to| ways[to] += 1);
    let mut ready: Vec<usize> = node(graph.root).into_iter().collect();
    let mut order = Vec::with_capacity(graph.nodes.len());
    while let Some(index) = ready.pop() {
        order.push(index);
        for to in both(index) {
            ways[to] -= 1;
            if ways[to] == 0 {
                ready.push(to);
            }
        }
    }
    order
}

/// Offsets from [`BESIDE`] (`SKF_AD_*`).
fn beside(meta: Meta) -> u32 {
    match meta {
        Meta::Protocol => 0,
        Meta::PacketType => 4,
        Meta::Ifindex => 8,
        Meta::VlanTag => 44,
        Meta::VlanPresent => 48,
    }
}

/// Nodes of which only the comparison is left, and which are equal, become the last of them.
fn join(items: &mut Vec<Item>) {
    let mut last: HashMap<(Insn, To, To), To> = HashMap::new();
    let mut other_name: HashMap<To, To> = HashMap::new();
    let mut kept = Vec::with_capacity(items.len());
    let mut behind: Option<(Insn, To, To)> = None;
    let falls = |item: Option<&Item>| !matches!(item, Some(Item::Compare(..) | Item::Jump(_)));
    while let Some(mut item) = items.pop() {
        let named = |to: To| other_name.get(&to).copied().unwrap_or(to);
        match &mut item {
            Item::Compare(insn, then, other) => {
                (*then, *other) = (named(*then), named(*other));
                behind = Some((*insn, *then, *other));
            }
            Item::Jump(to) => {
                *to = named(*to);
                behind = None;
            }
            Item::Plain(_) => behind = None,
            Item::Place(to) => {
                // What is fallen into stays where it is.
                if let Some(found) = behind.take().filter(|_| !falls(items.last())) {
                    match last.get(&found) {
                        None => {
                            last.insert(found, *to);
                        }
                        Some(same) => {
                            other_name.insert(*to, *same);
                            kept.pop();
                            continue;
                        }
                    }
                }
            }
        }
        kept.push(item);
    }
    kept.reverse();
    *items = kept;
}

/// Gives every jump its distance. A comparison reaches 255 instructions; one that leads farther has jumps behind it. `None`:
/// something leads to a place that there is not, or backward.
fn place(items: &[Item]) -> Option<Vec<Insn>> {
    let mut long = vec![false; items.len()];
    loop {
        let mut places = HashMap::new();
        let mut at = 0usize;
        for (index, item) in items.iter().enumerate() {
            match item {
                Item::Place(to) => {
                    places.insert(*to, at);
                }
                Item::Compare(..) if long[index] => at += 3,
                _ => at += 1,
            }
        }
        let find = |to: To| places.get(&to).copied();
        let mut program = Vec::with_capacity(at);
        let mut grown = false;
        for (index, item) in items.iter().enumerate() {
            let distance = |to: To, behind: usize| find(to)?.checked_sub(program.len() + behind);
            match item {
                Item::Place(_) => {}
                Item::Plain(insn) => program.push(*insn),
                Item::Jump(to) => {
                    let k = distance(*to, 1)? as u32;
                    program.push(Insn::new(class::JMP, k));
                }
                Item::Compare(insn, then, other) if long[index] => {
                    let (then, other) = (distance(*then, 2)? as u32, distance(*other, 3)? as u32);
                    program.push(Insn { jt: 0, jf: 1, ..*insn });
                    program.extend([then, other].map(|k| Insn::new(class::JMP, k)));
                }
                Item::Compare(insn, then, other) => {
                    let (then, other) = (distance(*then, 1)?, distance(*other, 1)?);
                    long[index] = then > 255 || other > 255;
                    grown |= long[index];
                    program.push(Insn { jt: then as u8, jf: other as u8, ..*insn });
                }
            }
        }
        if !grown {
            return Some(program);
        }
    }
}
