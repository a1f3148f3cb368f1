//! Makes well-formed functions from a tape of numbers, the way a front-end would: variables in slots, nested branches and
//! loops that end, short-circuit values in block parameters, null checks, bounded accesses, calls. A shorter tape makes
//! a smaller function: where it ends, every choice is the first.

use skep_bpf::helpers::id;
use skep_bpf::kinds::{AttachType, MapType, ProgType};
use skep_bpf::object::{MapDetails, MapSpec};
use skep_compiler::ir::*;

const TYPES: [IntTy; 7] = [
    IntTy::U64,
    IntTy::I64,
    IntTy::U32,
    IntTy::I32,
    IntTy { bits: 8, signed: false },
    IntTy { bits: 16, signed: true },
    IntTy::BOOL,
];

const OPS: [BinOp; 13] = [
    BinOp::Add,
    BinOp::Sub,
    BinOp::Mul,
    BinOp::And,
    BinOp::Or,
    BinOp::Xor,
    BinOp::Shl,
    BinOp::Lshr,
    BinOp::Ashr,
    BinOp::Udiv,
    BinOp::Umod,
    BinOp::Sdiv,
    BinOp::Smod,
];

const CCS: [Cc; 11] =
    [Cc::Eq, Cc::Ne, Cc::Ult, Cc::Ule, Cc::Ugt, Cc::Uge, Cc::Slt, Cc::Sle, Cc::Sgt, Cc::Sge, Cc::Set];

const CONSTANTS: [i64; 16] =
    [0, 1, 2, 3, 8, 10, 63, 255, 256, 4096, -1, -2, -8, 0x8000_0000, i64::MIN, 0xffff_ffff];

struct Generator<'a> {
    tape: std::slice::Iter<'a, u16>,
    b: FuncBuilder,
    /// Variables: slot and type.
    vars: Vec<(Slot, IntTy)>,
    /// Values that are defined wherever code is made now.
    known: Vec<Value>,
    key: Slot,
    buffer: Slot,
    copied: Slot,
    exit: Block,
    loops: u32,
    depth: u32,
}

/// A module with one main function, made from the tape.
pub(crate) fn module(tape: &[u16]) -> Module {
    let ctx = Type::Ptr(PtrKind::Ctx);
    let b = FuncBuilder::new("main", FuncKind::Main, &[ctx], Type::I32);
    let mut g = Generator {
        tape: tape.iter(),
        b,
        vars: Vec::new(),
        known: Vec::new(),
        key: Slot(0),
        buffer: Slot(1),
        copied: Slot(2),
        exit: Block(0),
        loops: 0,
        depth: 0,
    };
    g.b.slot(8, 8, "key");
    g.b.slot(32, 8, "buffer");
    g.b.slot(16, 8, "copied");
    for (i, ty) in TYPES.iter().enumerate() {
        let size = if i % 2 == 0 { 8 } else { ty.bytes() };
        let slot = g.b.slot(size, size, &format!("$v{i}"));
        g.vars.push((slot, *ty));
    }
    g.exit = g.b.cold_block();
    g.statements(6);
    let ret = g.expr(IntTy::I32, 2);
    g.b.ret(ret);
    g.b.switch_to(g.exit);
    let zero = g.b.iconst(Type::I32, 0);
    g.b.ret(zero);
    let mut module = Module { funcs: vec![g.b.finish()], ..Module::default() };
    module.object.maps.push(MapSpec {
        name: "@x".to_owned(),
        map_type: MapType::Array,
        key_size: 8,
        value_size: 64,
        max_entries: 1,
        flags: 0,
        initial: Vec::new(),
        frozen: false,
        schema: None,
        details: MapDetails::default(),
    });
    module.programs.push(ProgramDecl {
        main: FuncId(0),
        name: "tracepoint:a:b".to_owned(),
        symbol: "main".to_owned(),
        prog_type: ProgType::Tracepoint,
        attach_type: AttachType::None,
        attach_btf: None,
        attach: Vec::new(),
        sleepable: false,
    });
    module
}

impl Generator<'_> {
    fn pick(&mut self, n: usize) -> usize {
        self.tape.next().map_or(0, |v| usize::from(*v) % n)
    }

    fn done(&self) -> bool {
        self.tape.as_slice().is_empty()
    }

    fn ty(&mut self) -> IntTy {
        TYPES[self.pick(TYPES.len())]
    }

    /// `value` as a value of type `ty`.
    fn fit(&mut self, value: Value, ty: IntTy) -> Value {
        if self.b.type_of(value) == Type::Int(ty) { value } else { self.b.extend(value, ty) }
    }

    fn constant(&mut self, ty: IntTy) -> Value {
        let c = CONSTANTS[self.pick(CONSTANTS.len())];
        let c = eval::extend(ty, c);
        self.b.iconst(Type::Int(ty), c)
    }

    fn load_var(&mut self) -> Value {
        let var = self.pick(self.vars.len());
        let (slot, ty) = self.vars[var];
        let addr = self.b.slot_addr(slot);
        self.b.load(Type::Int(ty), addr, 0)
    }

    fn expr(&mut self, ty: IntTy, depth: u32) -> Value {
        let choice = if depth == 0 { self.pick(4) } else { self.pick(12) };
        let value = match choice {
            0 => return self.constant(ty),
            1 => self.load_var(),
            2 => {
                let ctx = self.b.param(0);
                let ty = self.ty();
                let ty = if ty.bits == 1 { IntTy::U64 } else { ty };
                let off = 8 * self.pick(4) as i32;
                self.b.load(Type::Int(ty), ctx, off)
            }
            3 if self.known.is_empty() => self.b.helper(id::GET_CURRENT_PID_TGID, &[], Type::U64),
            3 => {
                let index = self.pick(self.known.len());
                self.known[index]
            }
            4 => {
                let helper =
                    [id::GET_CURRENT_PID_TGID, id::KTIME_GET_NS, id::GET_SMP_PROCESSOR_ID][self.pick(3)];
                self.b.helper(helper, &[], Type::U64)
            }
            5 => {
                let cond = self.cond(depth - 1);
                self.b.push_value(Op::Cmp(cond), Type::BOOL)
            }
            6 => {
                let cond = self.cond(depth - 1);
                let ty = self.ty();
                let (a, b) = (self.expr(ty, depth - 1), self.expr(ty, depth - 1));
                self.b.push_value(Op::Select { cond, a, b }, Type::Int(ty))
            }
            7 => self.logic(depth - 1),
            8 => {
                let ty = self.ty();
                let a = self.expr(ty, depth - 1);
                let bytes = [2u8, 4, 8][self.pick(3)];
                let swapped = Type::Int(IntTy { bits: bytes * 8, signed: false });
                match self.pick(2) {
                    0 => self.b.push_value(Op::Un { op: UnOp::Neg, a }, Type::I64),
                    _ => self.b.push_value(Op::Un { op: UnOp::Bswap(bytes), a }, swapped),
                }
            }
            _ => self.arithmetic(depth - 1),
        };
        self.fit(value, ty)
    }

    fn arithmetic(&mut self, depth: u32) -> Value {
        let (ta, tb) = (self.ty(), self.ty());
        let a = self.expr(ta, depth);
        let b = if self.pick(2) == 1 { self.constant(tb) } else { self.expr(tb, depth) };
        let op = OPS[self.pick(OPS.len())];
        if self.pick(3) == 1 {
            return self.b.push_value(Op::Bin { op, width: Width::W32, a, b }, Type::U32);
        }
        let ty = if ta.signed { Type::I64 } else { Type::U64 };
        self.b.bin(op, ty, a, b)
    }

    fn cond(&mut self, depth: u32) -> Cond {
        let (ta, tb) = (self.ty(), self.ty());
        let (a, b) = (self.expr(ta, depth), self.expr(tb, depth));
        let width = if self.pick(4) == 1 { Width::W32 } else { Width::W64 };
        Cond { cc: CCS[self.pick(CCS.len())], width, a, b }
    }

    fn branch(&mut self, cond: Cond, then: Block, other: Block) {
        let value = match (cond.width, self.pick(2)) {
            (Width::W64, 0) => return self.b.branch(cond.cc, cond.a, cond.b, then, other),
            _ => self.b.push_value(Op::Cmp(cond), Type::BOOL),
        };
        self.b.branch_nonzero(value, then, other);
    }

    /// `a && b` as a value.
    fn logic(&mut self, depth: u32) -> Value {
        let (more, no) = (self.b.block(&[]), self.b.block(&[]));
        let join = self.b.block(&[Type::BOOL]);
        let cond = self.cond(depth);
        self.branch(cond, more, no);
        self.b.switch_to(more);
        let known = self.known.len();
        let cond = self.cond(depth);
        let yes = self.b.block(&[]);
        self.branch(cond, yes, no);
        self.known.truncate(known);
        for (block, value) in [(yes, 1), (no, 0)] {
            self.b.switch_to(block);
            let value = self.b.iconst(Type::BOOL, value);
            self.b.jump(join, &[value]);
        }
        self.b.switch_to(join);
        self.b.block_param(join, 0)
    }

    fn statements(&mut self, most: usize) {
        for _ in 0..1 + self.pick(most) {
            if self.done() {
                return;
            }
            self.statement();
        }
    }

    fn statement(&mut self) {
        let choice = if self.depth >= 4 { self.pick(5) } else { self.pick(11) };
        match choice {
            0 | 1 => self.assign(),
            2 => {
                let value = self.expr(IntTy::U64, 2);
                self.known.push(value);
            }
            3 => self.effect(),
            4 => self.buffer(),
            5 | 6 => self.if_else(),
            7 => self.while_loop(),
            8 => self.lookup(),
            9 => {
                let cond = self.cond(1);
                let rest = self.b.block(&[]);
                self.branch(cond, rest, self.exit);
                self.b.switch_to(rest);
            }
            _ => self.budget_loop(),
        }
    }

    fn assign(&mut self) {
        let var = self.pick(self.vars.len());
        let (slot, ty) = self.vars[var];
        let value = self.expr(ty, 3);
        let addr = self.b.slot_addr(slot);
        self.b.store(ty.bytes() as u8, addr, 0, value);
    }

    fn effect(&mut self) {
        let (a, b) = (self.expr(IntTy::U64, 2), self.expr(IntTy::I32, 1));
        let addr = self.b.slot_addr(self.buffer);
        self.b.helper(id::TRACE_PRINTK, &[addr, a, b], Type::I64);
    }

    /// Accesses to memory at constant and at bounded places.
    fn buffer(&mut self) {
        let addr = self.b.slot_addr(self.buffer);
        match self.pick(5) {
            0 => self.b.zero(addr, 8, 16, 8),
            1 => {
                let distance = 8 * self.pick(2) as i64;
                let to = self.b.ptr_add_imm(addr, distance);
                let value = self.expr(IntTy::U32, 2);
                self.b.store(4, to, 4, value);
            }
            2 => {
                // What is copied is read nowhere else.
                let from = self.b.slot_addr(self.copied);
                let value = self.expr(IntTy::U64, 2);
                self.b.store(8, from, 8, value);
                self.b.copy(addr, 16, from, 8, 8, 8);
            }
            3 => {
                let value = self.expr(IntTy::U64, 1);
                self.b.atomic_add(8, addr, 8, value);
            }
            _ => {
                let index = self.expr(IntTy::U64, 2);
                let index = self.b.bound(index, 31);
                let at = self.b.ptr_add(addr, index);
                let value = self.expr(IntTy { bits: 8, signed: false }, 1);
                self.b.store(1, at, 0, value);
                let read = self.b.load(Type::Int(IntTy { bits: 8, signed: false }), at, 0);
                self.known.push(read);
            }
        }
    }

    /// Statements whose values are not known afterwards.
    fn inner(&mut self, most: usize) {
        let known = self.known.len();
        self.depth += 1;
        self.statements(most);
        self.depth -= 1;
        self.known.truncate(known);
    }

    fn if_else(&mut self) {
        let (then, other, join) = (self.b.block(&[]), self.b.block(&[]), self.b.block(&[]));
        let cond = self.cond(2);
        self.branch(cond, then, other);
        for block in [then, other] {
            self.b.switch_to(block);
            self.inner(3);
            self.b.jump(join, &[]);
        }
        self.b.switch_to(join);
    }

    /// A loop that counts to a constant.
    fn while_loop(&mut self) {
        let slot = self.b.slot(8, 8, &format!("loop{}", self.loops));
        self.loops += 1;
        let (head, body, exit) = (self.b.block(&[]), self.b.block(&[]), self.b.block(&[]));
        let addr = self.b.slot_addr(slot);
        let zero = self.b.u64(0);
        self.b.store(8, addr, 0, zero);
        self.b.jump(head, &[]);
        self.b.switch_to(head);
        let at = self.b.load(Type::U64, addr, 0);
        let most = self.pick(4) as u64;
        let most = self.b.u64(most);
        self.b.branch(Cc::Ult, at, most, body, exit);
        self.b.switch_to(body);
        self.inner(3);
        let at = self.b.load(Type::U64, addr, 0);
        let next = self.b.add_imm(at, 1);
        self.b.store(8, addr, 0, next);
        self.b.jump(head, &[]);
        self.b.switch_to(exit);
    }

    /// A loop that ends with the kernel's budget.
    fn budget_loop(&mut self) {
        let (head, body, exit) = (self.b.block(&[]), self.b.block(&[]), self.b.block(&[]));
        self.b.jump(head, &[]);
        self.b.switch_to(head);
        self.b.may_goto(body, exit);
        self.b.switch_to(body);
        self.inner(2);
        self.b.jump(head, &[]);
        self.b.switch_to(exit);
    }

    /// A map's value, if it is there: read, changed, and checked a second time.
    fn lookup(&mut self) {
        let key = self.expr(IntTy::U64, 2);
        let addr = self.b.slot_addr(self.key);
        self.b.store(8, addr, 0, key);
        let map = self.b.map_ref(MapId(0));
        let ty = Type::Ptr(PtrKind::MapValue { map: MapId(0), nullable: true });
        let found = self.b.helper(id::MAP_LOOKUP_ELEM, &[map, addr], ty);
        let (none, join) = (self.b.cold_block(), self.b.block(&[]));
        let mut value = self.b.check_null(found, none);
        let old = self.b.load(Type::U64, value, 8);
        self.known.push(old);
        self.inner(3);
        if self.pick(2) == 1 {
            value = self.b.check_null(found, none);
        }
        let index = self.expr(IntTy { bits: 8, signed: false }, 1);
        let index = self.b.bound(index, 63);
        let at = self.b.ptr_add(value, index);
        self.b.store(1, at, 0, old);
        self.known.pop();
        self.b.jump(join, &[]);
        self.b.switch_to(none);
        if self.pick(2) == 1 {
            self.inner(2);
        }
        self.b.jump(join, &[]);
        self.b.switch_to(join);
    }
}
