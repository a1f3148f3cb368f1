//! Random well-formed functions: many live values, calls, branches, loops, slots.

use crate::ir::{
    AtomicOp, BinOp, Block, Cc, Cond, FuncBuilder, FuncId, FuncKind, Function, IntTy, Op, PtrKind, Slot,
    Type, UnOp, Value, Width,
};

/// xorshift64*.
pub(crate) struct Rng(pub u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 33) % n
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// How functions are made.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub statements: u64,
    pub slots: u64,
    pub slot_size: u64,
    pub subs: u32,
    pub atomics: bool,
    /// Only what a kernel takes: real helpers.
    pub real: bool,
}

struct Gen<'a> {
    rng: &'a mut Rng,
    b: FuncBuilder,
    pool: Vec<Value>,
    slots: Vec<(Slot, u32)>,
    shape: Shape,
    budget: u64,
}

const CCS: [Cc; 11] =
    [Cc::Eq, Cc::Ne, Cc::Ult, Cc::Ule, Cc::Ugt, Cc::Uge, Cc::Slt, Cc::Sle, Cc::Sgt, Cc::Sge, Cc::Set];
const CONSTS: [i64; 14] = [
    0,
    1,
    -1,
    2,
    7,
    8,
    255,
    65536,
    i32::MAX as i64,
    i32::MIN as i64,
    u32::MAX as i64,
    i64::MIN,
    i64::MAX,
    0x1234_5678_9abc_def0,
];

/// A function with `params` integer parameters (a main one: integers in its context).
pub(crate) fn function(rng: &mut Rng, name: &str, kind: FuncKind, params: usize, shape: Shape) -> Function {
    let is_main = kind == FuncKind::Main;
    let types = if is_main { vec![Type::Ptr(PtrKind::Ctx)] } else { vec![Type::U64; params] };
    let ret = if is_main { Type::I32 } else { Type::U64 };
    let mut b = FuncBuilder::new(name, kind, &types, ret);
    let pool: Vec<Value> = (0..params)
        .map(|i| match is_main {
            true => b.load(Type::U64, b.param(0), 8 * i as i32),
            false => b.param(i),
        })
        .collect();
    let mut slots = Vec::new();
    for i in 0..shape.slots {
        let size = if i == 0 { 8 } else { 8 * (1 + rng.below(shape.slot_size.max(1))) as u32 };
        let slot = b.slot(size, 8, "s");
        let at = b.slot_addr(slot);
        b.zero(at, 0, size, 8);
        slots.push((slot, size));
    }
    let mut g = Gen { rng, b, pool, slots, shape, budget: shape.statements };
    let c = g.constant();
    g.pool.push(c);
    g.statements(0);
    let mut out = g.result();
    if is_main {
        let half = g.b.u64(32);
        let high = g.b.bin(BinOp::Lshr, Type::U64, out, half);
        out = g.b.bin(BinOp::Xor, Type::U64, out, high);
        out = g.b.extend(out, IntTy::I32);
    }
    g.b.ret(out);
    g.b.finish()
}

impl Gen<'_> {
    fn constant(&mut self) -> Value {
        let c = match self.rng.below(3) {
            0 => self.rng.pick(&CONSTS),
            1 => self.rng.below(100) as i64 - 50,
            _ => self.rng.next() as i64,
        };
        self.b.iconst(Type::U64, c)
    }

    fn value(&mut self) -> Value {
        if self.rng.below(8) == 0 {
            return self.constant();
        }
        // Old values stay alive now and then.
        let n = self.pool.len() as u64;
        let i = if self.rng.below(2) == 0 { self.rng.below(n) } else { n - 1 - self.rng.below(n.min(6)) };
        self.pool[i as usize]
    }

    fn width(&mut self) -> Width {
        if self.rng.below(4) == 0 { Width::W32 } else { Width::W64 }
    }

    fn cond(&mut self) -> Cond {
        let (cc, width) = (self.rng.pick(&CCS), self.width());
        Cond { cc, width, a: self.value(), b: self.value() }
    }

    /// Mixes what is alive, so that everything counts.
    fn result(&mut self) -> Value {
        let mut acc = self.b.u64(17);
        for v in self.pool.clone() {
            let k = self.b.u64(31);
            acc = self.b.bin(BinOp::Mul, Type::U64, acc, k);
            acc = self.b.bin(BinOp::Add, Type::U64, acc, v);
        }
        for (slot, size) in self.slots.clone() {
            let at = self.b.slot_addr(slot);
            let v = self.b.load(Type::U64, at, size as i32 - 8);
            acc = self.b.bin(BinOp::Xor, Type::U64, acc, v);
        }
        acc
    }

    fn statements(&mut self, depth: u32) {
        let n = 1 + self.rng.below(12);
        for _ in 0..n {
            if self.budget == 0 {
                return;
            }
            self.budget -= 1;
            self.statement(depth);
        }
    }

    fn statement(&mut self, depth: u32) {
        let v = match self.rng.below(if depth < 4 { 24 } else { 20 }) {
            0..=6 => {
                let (op, width) = (self.rng.pick(&BinOp::ALL), self.width());
                let (a, b) = (self.value(), self.value());
                self.b.push_value(Op::Bin { op, width, a, b }, Type::U64)
            }
            7 => {
                let ty = self.rng.pick(&[8u8, 16, 32, 1]);
                let op = match self.rng.below(4) {
                    0 => UnOp::Neg,
                    1 => UnOp::Bswap(self.rng.pick(&[2, 4, 8])),
                    n => UnOp::Extend(IntTy { bits: ty, signed: n == 2 && ty != 1 }),
                };
                let a = self.value();
                self.b.push_value(Op::Un { op, a }, Type::U64)
            }
            8 => {
                let cond = self.cond();
                self.b.push_value(Op::Cmp(cond), Type::BOOL)
            }
            9 => {
                let cond = self.cond();
                let (a, b) = (self.value(), self.value());
                self.b.push_value(Op::Select { cond, a, b }, Type::U64)
            }
            10 => {
                let v = self.value();
                let max = self.rng.pick(&[0u64, 5, 255, 1 << 20, 1 << 40]);
                self.b.bound(v, max)
            }
            11..=14 => return self.memory(),
            15..=17 => self.helper(),
            18 if self.shape.subs > 0 => {
                let func = FuncId(1 + self.rng.below(u64::from(self.shape.subs)) as u32);
                let args: Vec<Value> = (0..func.0 as usize % 6).map(|_| self.value()).collect();
                self.b.call(func, &args, Type::U64)
            }
            18 | 19 => self.value(),
            20..=22 => return self.branch(depth),
            _ => return self.counted_loop(depth),
        };
        self.add(v);
    }

    fn add(&mut self, v: Value) {
        let wide = self.b.type_of(v) == Type::U64;
        let v = if wide { v } else { self.b.cast(v, Type::U64) };
        self.pool.push(v);
    }

    /// Helpers that every program may call: clocks, ids, and reading memory at any address to a slot.
    fn real_helper(&mut self) -> Value {
        if self.rng.below(3) > 0 || self.slots.is_empty() {
            let id = self.rng.pick(&[5, 7, 8, 14, 15]);
            return self.b.helper(id, &[], Type::U64);
        }
        let (slot, size) = self.rng.pick(&self.slots.clone());
        let (to, len, from) = (self.b.slot_addr(slot), self.value(), self.value());
        let len = self.b.bound(len, u64::from(size));
        let from = self.b.cast(from, Type::Ptr(PtrKind::Kernel));
        self.b.helper(113, &[to, len, from], Type::U64)
    }

    fn helper(&mut self) -> Value {
        if self.shape.real {
            return self.real_helper();
        }
        let id = 1000 + self.rng.below(12) as u32;
        let args: Vec<Value> = (0..super::vm::helper_args(id)).map(|_| self.value()).collect();
        self.b.helper(id, &args, Type::U64)
    }

    fn memory(&mut self) {
        let Some(i) = (!self.slots.is_empty()).then(|| self.rng.below(self.slots.len() as u64) as usize)
        else {
            return;
        };
        let (slot, size) = self.slots[i];
        let off = 8 * self.rng.below(u64::from(size) / 8) as i32;
        let base = self.b.slot_addr(slot);
        let half = self.rng.below(2) as i64 * i64::from(off);
        let (at, off) = (self.b.ptr_add_imm(base, half), off - half as i32);
        match self.rng.below(if self.shape.atomics { 6 } else { 4 }) {
            0 | 1 => {
                let (v, size) = (self.value(), self.rng.pick(&[1u8, 2, 4, 8]));
                self.b.store(size, at, off, v);
            }
            2 | 3 => {
                let bits = self.rng.pick(&[8u8, 16, 32, 64]);
                let ty = Type::Int(IntTy { bits, signed: self.rng.below(2) == 0 });
                let v = self.b.load(ty, at, off);
                self.add(v);
            }
            4 => {
                let ops = [AtomicOp::Add, AtomicOp::Or, AtomicOp::And, AtomicOp::Xor, AtomicOp::Xchg];
                let (op, val) = (self.rng.pick(&ops), self.value());
                let v =
                    self.b.push_value(Op::Atomic { op, size: 8, ptr: at, off, val, fetch: true }, Type::U64);
                if self.rng.below(2) == 0 {
                    self.pool.push(v);
                }
            }
            _ => {
                let (other, other_size) = self.rng.pick(&self.slots.clone());
                if other != slot {
                    let len = size.min(other_size);
                    let to = self.b.slot_addr(other);
                    let len =
                        if self.rng.below(2) == 0 { len } else { 1 + self.rng.below(u64::from(len)) as u32 };
                    self.b.copy(to, 0, base, 0, len, 8);
                }
            }
        }
    }

    fn branch(&mut self, depth: u32) {
        let cond = self.cond();
        let (then, other) = (self.b.block(&[]), self.b.block(&[]));
        let n = self.rng.below(4) as usize;
        let join = self.b.block(&vec![Type::U64; n]);
        if self.rng.below(3) == 0 {
            let cold = self.b.cold_block();
            let v = self.b.push_value(Op::Cmp(cond), Type::BOOL);
            self.b.branch_nonzero(v, cold, other);
            self.b.switch_to(cold);
            self.b.jump(then, &[]);
        } else {
            let edges = ((then, &[][..]), (other, &[][..]));
            self.b.branch_args(cond.cc, cond.a, cond.b, edges.0, edges.1);
        }
        let mark = self.pool.len();
        for arm in [then, other] {
            self.b.switch_to(arm);
            self.statements(depth + 1);
            self.join(join, n);
            self.pool.truncate(mark);
        }
        self.enter(join, n);
    }

    fn join(&mut self, join: Block, n: usize) {
        let args: Vec<Value> = (0..n).map(|_| self.value()).collect();
        self.b.jump(join, &args);
    }

    fn enter(&mut self, block: Block, n: usize) {
        self.b.switch_to(block);
        for i in 0..n {
            let v = self.b.block_param(block, i);
            self.pool.push(v);
        }
    }

    fn counted_loop(&mut self, depth: u32) {
        let n = 1 + self.rng.below(4) as usize;
        let (head, body, out) =
            (self.b.block(&vec![Type::U64; n]), self.b.block(&[]), self.b.block(&[Type::U64]));
        let mut args: Vec<Value> = (0..n).map(|_| self.value()).collect();
        args[0] = self.b.u64(0);
        self.b.jump(head, &args);
        let mark = self.pool.len();
        self.enter(head, n);
        let (i, last) = (self.b.block_param(head, 0), self.b.block_param(head, n - 1));
        let limit = self.b.u64(self.rng.below(4));
        self.b.branch_args(Cc::Ult, i, limit, (body, &[]), (out, &[last]));
        self.b.switch_to(body);
        self.statements(depth + 1);
        let mut args: Vec<Value> = (0..n).map(|_| self.value()).collect();
        args[0] = self.b.add_imm(i, 1);
        self.b.jump(head, &args);
        self.pool.truncate(mark);
        self.enter(out, 1);
    }
}
