//! Rounds of the loops that walk a stack: the function of one frame, and those of the searches within it. What the loops
//! share enters with each call, at the offsets that the parent module names.

use super::{
    ADDRESS_BITS, BUFFER, FOUND, FP, FRAMES, HASH, HIGH, IP, KEY, KEY_ADDRESS, LINK, LOW, MOST_RETURNS,
    MULTIPLIER, NO_TABLES, RETURNS, SEARCH_ROUNDS, SP, WANTED, WORD,
};
use skep_bpf::helpers::id as helper;
use skep_bpf::object::CoreReloc;
use skep_bpf::target::Arch;
use skep_bpf::unwind::{CHUNK_ROWS, Cfa, ROW_BYTES, Return, Saved, UNKNOWN_CALLER, place, row};
use skep_compiler::ir::{
    BinOp, Block, Cc, FuncBuilder, FuncId, IntTy, MapId, Op, PtrKind, Type, UnOp, Value,
};

/// A function that bpf_loop calls, while it is built.
pub(super) struct Round {
    /// The code.
    pub(super) f: FuncBuilder,
    /// What the loops share.
    pub(super) state: Value,
    pub(super) places: MapId,
    pub(super) rows: MapId,
    /// Most frames.
    pub(super) limit: u32,
}

impl Round {
    fn get(&mut self, at: i32) -> Value {
        self.f.load(Type::U64, self.state, at)
    }

    fn set(&mut self, at: i32, value: Value) {
        self.f.store(8, self.state, at, value);
    }

    /// Ends the round: 0 goes on, 1 stops.
    fn finish(&mut self, code: i64) {
        let code = self.f.iconst(Type::I64, code);
        self.f.ret(code);
    }

    fn add(&mut self, a: Value, b: Value) -> Value {
        self.f.bin(BinOp::Add, Type::U64, a, b)
    }

    /// An entry of a map whose key is `key`, or on to `none`.
    fn lookup(&mut self, map: MapId, key: Value, none: Block) -> Value {
        let map_ref = self.f.map_ref(map);
        let entry = Type::Ptr(PtrKind::MapValue { map, nullable: true });
        let found = self.f.helper(helper::MAP_LOOKUP_ELEM, &[map_ref, key], entry);
        self.f.check_null(found, none)
    }

    /// Address of row `index`, or on to `none`.
    fn row(&mut self, index: Value, none: Block) -> Value {
        let shift = self.f.u64(u64::from(CHUNK_ROWS.ilog2()));
        let chunk = self.f.bin(BinOp::Lshr, Type::U64, index, shift);
        self.f.store(4, self.state, WORD, chunk);
        let key = self.f.ptr_add_imm(self.state, i64::from(WORD));
        let chunk = self.lookup(self.rows, key, none);
        let (mask, size) = (self.f.u64(u64::from(CHUNK_ROWS) - 1), self.f.u64(u64::from(ROW_BYTES)));
        let within = self.f.bin(BinOp::And, Type::U64, index, mask);
        let offset = self.f.bin(BinOp::Mul, Type::U64, within, size);
        let offset = self.f.bound(offset, u64::from((CHUNK_ROWS - 1) * ROW_BYTES));
        self.f.ptr_add(chunk, offset)
    }

    /// A round of the binary search for the first row behind what is wanted.
    pub(super) fn search(mut self) -> Round {
        let (low, high) = (self.get(LOW), self.get(HIGH));
        let (look, stop, above, below) =
            (self.f.block(&[]), self.f.block(&[]), self.f.block(&[]), self.f.block(&[]));
        self.f.branch(Cc::Ult, low, high, look, stop);
        self.f.switch_to(stop);
        self.finish(1);
        self.f.switch_to(look);
        let sum = self.add(low, high);
        let one = self.f.u64(1);
        let middle = self.f.bin(BinOp::Lshr, Type::U64, sum, one);
        let row = self.row(middle, stop);
        let pc = self.f.load(Type::U32, row, row::PC);
        let pc = self.f.cast(pc, Type::U64);
        let wanted = self.get(WANTED);
        self.f.branch(Cc::Ule, pc, wanted, above, below);
        self.f.switch_to(above);
        let next = self.f.add_imm(middle, 1);
        self.set(LOW, next);
        self.finish(0);
        self.f.switch_to(below);
        self.set(HIGH, middle);
        self.finish(0);
        self
    }

    /// A round of the walk: notes the frame at hand and goes on to its caller.
    pub(super) fn step(mut self, search: FuncId, finder: Option<FuncId>, arch: Arch) -> Round {
        let (end, fail, unknown) = (self.f.block(&[]), self.f.block(&[]), self.f.block(&[]));
        let ip = self.get(IP);
        let big = self.f.push_value(Op::Un { op: UnOp::Bswap(8), a: ip }, Type::U64);
        self.set(KEY_ADDRESS, big);
        let key = self.f.ptr_add_imm(self.state, i64::from(KEY));
        let place = self.lookup(self.places, key, unknown);
        let bias = self.f.load(Type::U64, place, place::BIAS);
        let first = self.unsigned(IntTy::U32, place, place::FIRST);
        let count = self.unsigned(IntTy::U32, place, place::COUNT);
        self.note(ip);
        let row = self.find(search, (ip, bias), (first, count), fail);
        self.apply(row, finder, arch, end, fail);
        self.f.switch_to(unknown);
        let one = self.f.u64(1);
        self.set(NO_TABLES, one);
        self.f.jump(end, &[]);
        self.f.switch_to(fail);
        let marker = self.f.u64(UNKNOWN_CALLER);
        let (frames, most) = (self.get(FRAMES), self.f.u64(u64::from(self.limit)));
        let room = self.f.block(&[]);
        self.f.branch(Cc::Ult, frames, most, room, end);
        self.f.switch_to(room);
        self.note(marker);
        self.f.jump(end, &[]);
        self.f.switch_to(end);
        self.finish(1);
        self
    }

    fn unsigned(&mut self, ty: IntTy, from: Value, at: i32) -> Value {
        let value = self.f.load(Type::Int(ty), from, at);
        self.f.cast(value, Type::U64)
    }

    fn signed(&mut self, bits: u8, from: Value, at: i32) -> Value {
        let value = self.f.load(Type::Int(IntTy { bits, signed: true }), from, at);
        let wide = self.f.cast(value, Type::I64);
        self.f.cast(wide, Type::U64)
    }

    /// Adds an address to the frames.
    fn note(&mut self, address: Value) {
        let frames = self.get(FRAMES);
        let eight = self.f.u64(8);
        let offset = self.f.bin(BinOp::Mul, Type::U64, frames, eight);
        let buffer = self.f.load(Type::Ptr(PtrKind::Stack), self.state, BUFFER);
        let offset = self.f.bound(offset, u64::from(self.limit.saturating_sub(1)) * 8);
        let at = self.f.ptr_add(buffer, offset);
        self.f.store(8, at, 0, address);
        let next = self.f.add_imm(frames, 1);
        self.set(FRAMES, next);
        let (hash, by, shift) = (self.get(HASH), self.f.u64(MULTIPLIER), self.f.u64(29));
        let mixed = self.f.bin(BinOp::Xor, Type::U64, hash, address);
        let mixed = self.f.bin(BinOp::Mul, Type::U64, mixed, by);
        let high = self.f.bin(BinOp::Lshr, Type::U64, mixed, shift);
        let mixed = self.f.bin(BinOp::Xor, Type::U64, mixed, high);
        self.set(HASH, mixed);
    }

    /// The row for a program counter among `count` rows from `first` on, or on to `none`.
    fn find(
        &mut self,
        search: FuncId,
        (ip, bias): (Value, Value),
        (first, count): (Value, Value),
        none: Block,
    ) -> Value {
        let wanted = self.f.bin(BinOp::Sub, Type::U64, ip, bias);
        self.set(WANTED, wanted);
        self.set(LOW, first);
        let behind = self.add(first, count);
        self.set(HIGH, behind);
        let (func, rounds, flags) = (self.f.func_addr(search), self.f.u64(SEARCH_ROUNDS), self.f.u64(0));
        self.f.helper(helper::LOOP, &[rounds, func, self.state, flags], Type::I64);
        let found = self.get(LOW);
        let some = self.f.block(&[]);
        self.f.branch(Cc::Ugt, found, first, some, none);
        self.f.switch_to(some);
        let index = self.f.add_imm(found, -1);
        self.row(index, none)
    }

    /// What lies at a user address, or on to `none`.
    fn read(&mut self, address: Value, none: Block) -> Value {
        let to = self.f.ptr_add_imm(self.state, i64::from(WORD));
        let from = self.f.cast(address, Type::Ptr(PtrKind::User));
        let size = self.f.u64(8);
        let result = self.f.helper(helper::PROBE_READ_USER, &[to, size, from], Type::I64);
        let (zero, good) = (self.f.iconst(Type::I64, 0), self.f.block(&[]));
        self.f.branch(Cc::Eq, result, zero, good, none);
        self.f.switch_to(good);
        self.get(WORD)
    }

    /// The return address of a frame, or the one that a uretprobe has put `ip` in place of.
    fn original(&mut self, finder: FuncId, ip: Value, cfa: Value, arch: Arch) -> Value {
        let (some, join) = (self.f.block(&[]), self.f.block(&[Type::U64]));
        let (head, zero) = (self.get(RETURNS), self.f.u64(0));
        self.f.branch_args(Cc::Eq, head, zero, (join, &[ip]), (some, &[]));
        self.f.switch_to(some);
        // What the kernel has noted: the stack pointer where the function began.
        let began = match arch {
            Arch::X86_64 => self.f.add_imm(cfa, -8),
            Arch::Aarch64 => cfa,
        };
        self.set(WANTED, began);
        self.set(FOUND, ip);
        let (func, rounds, flags) = (self.f.func_addr(finder), self.f.u64(MOST_RETURNS), self.f.u64(0));
        self.f.helper(helper::LOOP, &[rounds, func, self.state, flags], Type::I64);
        let found = self.get(FOUND);
        self.f.jump(join, &[found]);
        self.f.switch_to(join);
        self.f.block_param(join, 0)
    }

    /// A round of the search for a replaced return address: the fields are the stack pointer, the address, the next.
    pub(super) fn find_return(mut self, [stack, address, next]: [(u32, CoreReloc); 3]) -> Round {
        let (look, stop) = (self.f.block(&[]), self.f.block(&[]));
        let (note, zero) = (self.get(RETURNS), self.f.u64(0));
        self.f.branch(Cc::Eq, note, zero, stop, look);
        self.f.switch_to(look);
        let began = self.read_field(note, stack);
        let (outer, inner, here) = (self.f.block(&[]), self.f.block(&[]), self.f.block(&[]));
        let wanted = self.get(WANTED);
        self.f.branch(Cc::Ult, began, wanted, inner, outer);
        self.f.switch_to(inner);
        let behind = self.read_field(note, next);
        self.set(RETURNS, behind);
        self.finish(0);
        self.f.switch_to(outer);
        self.f.branch(Cc::Eq, began, wanted, here, stop);
        self.f.switch_to(here);
        let original = self.read_field(note, address);
        self.set(FOUND, original);
        self.f.jump(stop, &[]);
        self.f.switch_to(stop);
        self.finish(1);
        self
    }

    /// A word of a kernel object; 0 where it cannot be read.
    fn read_field(&mut self, object: Value, (offset, reloc): (u32, CoreReloc)) -> Value {
        let offset = self.f.push_value(Op::CoreConst { value: u64::from(offset), reloc }, Type::U64);
        let from = self.add(object, offset);
        let (to, size) = (self.f.ptr_add_imm(self.state, i64::from(WORD)), self.f.u64(8));
        self.f.helper(helper::PROBE_READ_KERNEL, &[to, size, from], Type::I64);
        self.get(WORD)
    }

    /// On to the block of the rule with the number in `kind`; else to the last one.
    fn dispatch(&mut self, kind: Value, cases: &[(u8, Block)], other: Block) {
        for (number, block) in cases {
            let (number, next) = (self.f.u64(u64::from(*number)), self.f.block(&[]));
            self.f.branch(Cc::Eq, kind, number, *block, next);
            self.f.switch_to(next);
        }
        self.f.jump(other, &[]);
    }

    /// Goes to the caller by the rule of a row: `end` where there is none, `fail` where it is not known.
    fn apply(&mut self, row: Value, finder: Option<FuncId>, arch: Arch, end: Block, fail: Block) {
        let byte = IntTy { bits: 8, signed: false };
        let cfa_rule = self.unsigned(byte, row, row::CFA_RULE);
        let fp_rule = self.unsigned(byte, row, row::FP_RULE);
        let ra_rule = self.unsigned(byte, row, row::RA_RULE);
        let extra = self.unsigned(byte, row, row::EXTRA);
        let cfa_offset = self.signed(32, row, row::CFA);
        let fp_offset = self.signed(16, row, row::FP);
        let ra_offset = self.signed(16, row, row::RA);
        let (nowhere, inner) = (self.f.u64(Return::Nowhere as u64), self.f.block(&[]));
        self.f.branch(Cc::Eq, ra_rule, nowhere, end, inner);
        self.f.switch_to(inner);
        let cfa = self.frame_address(cfa_rule, cfa_offset, extra, fail);
        let sp = self.get(SP);
        let upwards = self.f.block(&[]);
        self.f.branch(Cc::Uge, cfa, sp, upwards, fail);
        self.f.switch_to(upwards);
        let fp = self.saved(fp_rule, fp_offset, cfa, fail);
        let ip = self.return_address(ra_rule, ra_offset, cfa, arch, fail);
        let ip = match finder {
            Some(finder) => self.original(finder, ip, cfa, arch),
            None => ip,
        };
        self.set(SP, cfa);
        self.set(FP, fp);
        let (zero, go_on) = (self.f.u64(0), self.f.block(&[]));
        self.set(LINK, zero);
        self.f.branch(Cc::Eq, ip, zero, end, go_on);
        self.f.switch_to(go_on);
        // The call before the address it returns to: that may be another function's first.
        let ip = self.f.add_imm(ip, -1);
        self.set(IP, ip);
        self.finish(0);
    }

    /// The frame's address; a signal's frame ends the round by itself.
    fn frame_address(&mut self, rule: Value, offset: Value, extra: Value, fail: Block) -> Value {
        let rules = [Cfa::Sp, Cfa::Fp, Cfa::Plt, Cfa::AtFp, Cfa::Signal, Cfa::AtSp];
        let blocks = rules.map(|_| self.f.block(&[]));
        let join = self.f.block(&[Type::U64]);
        let cases: Vec<(u8, Block)> = rules.iter().zip(blocks).map(|(rule, b)| (*rule as u8, b)).collect();
        self.dispatch(rule, &cases, fail);
        for (rule, block) in rules.into_iter().zip(blocks) {
            self.f.switch_to(block);
            let base = self.get(if matches!(rule, Cfa::Fp | Cfa::AtFp) { FP } else { SP });
            let at = self.add(base, offset);
            let cfa = match rule {
                Cfa::AtFp | Cfa::AtSp => {
                    let there = self.read(at, fail);
                    self.add(there, extra)
                }
                Cfa::Plt => {
                    let (ip, fifteen) = (self.get(IP), self.f.u64(15));
                    let within = self.f.bin(BinOp::And, Type::U64, ip, fifteen);
                    let pushed = self.f.block(&[]);
                    self.f.branch_args(Cc::Ult, within, extra, (join, &[at]), (pushed, &[]));
                    self.f.switch_to(pushed);
                    self.f.add_imm(at, 8)
                }
                Cfa::Signal => {
                    self.signal(at, fail);
                    continue;
                }
                _ => at,
            };
            self.f.jump(join, &[cfa]);
        }
        self.f.switch_to(join);
        self.f.block_param(join, 0)
    }

    /// Goes to what a signal has interrupted, whose registers lie around `at`.
    fn signal(&mut self, at: Value, fail: Block) {
        let (ip_at, fp_at) = (self.f.add_imm(at, 8), self.f.add_imm(at, -40));
        let sp = self.read(at, fail);
        let ip = self.read(ip_at, fail);
        let fp = self.read(fp_at, fail);
        self.set(SP, sp);
        self.set(IP, ip);
        self.set(FP, fp);
        self.finish(0);
    }

    /// The caller's frame pointer.
    fn saved(&mut self, rule: Value, offset: Value, cfa: Value, fail: Block) -> Value {
        let (same, at_cfa, at_fp) = (self.f.block(&[]), self.f.block(&[]), self.f.block(&[]));
        let join = self.f.block(&[Type::U64]);
        self.dispatch(rule, &[(Saved::AtCfa as u8, at_cfa), (Saved::AtFp as u8, at_fp)], same);
        self.f.switch_to(same);
        let fp = self.get(FP);
        self.f.jump(join, &[fp]);
        self.f.switch_to(at_cfa);
        let at = self.add(cfa, offset);
        let fp = self.read(at, fail);
        self.f.jump(join, &[fp]);
        self.f.switch_to(at_fp);
        let fp = self.get(FP);
        let at = self.add(fp, offset);
        let fp = self.read(at, fail);
        self.f.jump(join, &[fp]);
        self.f.switch_to(join);
        self.f.block_param(join, 0)
    }

    /// Where the frame returns to; 0: nowhere.
    fn return_address(&mut self, rule: Value, offset: Value, cfa: Value, arch: Arch, fail: Block) -> Value {
        let at = self.add(cfa, offset);
        if arch == Arch::X86_64 {
            return self.read(at, fail);
        }
        let (saved, link, join) = (self.f.block(&[]), self.f.block(&[]), self.f.block(&[Type::U64]));
        self.dispatch(rule, &[(Return::Link as u8, link)], saved);
        self.f.switch_to(saved);
        let there = self.read(at, fail);
        self.f.jump(join, &[there]);
        self.f.switch_to(link);
        let register = self.get(LINK);
        self.f.jump(join, &[register]);
        self.f.switch_to(join);
        let (ip, mask) = (self.f.block_param(join, 0), self.f.u64(ADDRESS_BITS));
        self.f.bin(BinOp::And, Type::U64, ip, mask)
    }
}
