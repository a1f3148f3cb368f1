//! The pieces that programs are made of: each emits a few instructions that belong together.

use super::*;

/// Atomic operations.
const ATOMICS: [i32; 10] = [
    atomic::ADD,
    atomic::OR,
    atomic::AND,
    atomic::XOR,
    atomic::ADD | atomic::FETCH,
    atomic::OR | atomic::FETCH,
    atomic::AND | atomic::FETCH,
    atomic::XOR | atomic::FETCH,
    atomic::XCHG,
    atomic::CMPXCHG,
];
const SIZES: [u8; 4] = [size::B, size::H, size::W, size::DW];
const MAP_LOOKUP_ELEM: u32 = 1;
const TAIL_CALL: u32 = 12;
/// Helpers that take no pointers, and one that there is not.
const HELPERS: [u32; 5] = [5, 7, 8, 14, 60_000];

impl Maker<'_> {
    /// Emits one piece of the function that begins at `start`.
    pub(super) fn piece(&mut self, start: usize) {
        match self.random.below(20) {
            0..=5 => self.arithmetic(),
            6 | 7 => self.branch(),
            8 => self.jump(),
            9..=11 => self.stack(),
            12 | 13 => self.packet(),
            14 => self.context(),
            15 => self.value(),
            16 => self.anywhere(),
            17 => self.count_down(start),
            18 => self.call(),
            _ => self.rare(),
        }
    }

    fn arithmetic(&mut self) {
        let (dst, src, imm) = (self.register(), self.operand(), self.imm());
        let width = self.random.pick(&[class::ALU, class::ALU64]);
        let op = self.random.pick(&[
            alu::ADD,
            alu::SUB,
            alu::MUL,
            alu::DIV,
            alu::OR,
            alu::AND,
            alu::LSH,
            alu::RSH,
            alu::NEG,
            alu::MOD,
            alu::XOR,
            alu::MOV,
            alu::ARSH,
            alu::END,
        ]);
        let plain = Insn { code: width | op, dst: dst.0, ..Insn::default() };
        let insn = match op {
            alu::NEG => plain,
            alu::END => {
                let order = if width == class::ALU { self.random.pick(&[source::K, source::X]) } else { 0 };
                Insn { code: plain.code | order, imm: self.random.pick(&[16, 32, 64]), ..plain }
            }
            alu::MOV if self.random.one_in(2) => {
                let bits = if width == class::ALU { [0, 8, 16, 8] } else { [0, 8, 16, 32] };
                let off = self.random.pick(&bits);
                Insn { code: plain.code | source::X, src: src.0, off, ..plain }
            }
            _ => {
                let signed = i16::from(matches!(op, alu::DIV | alu::MOD) && self.random.one_in(2));
                let plain = Insn { off: signed, ..plain };
                match self.random.one_in(2) {
                    true => Insn { code: plain.code | source::X, src: src.0, ..plain },
                    false => Insn { imm: self.amount(op, width, imm), ..plain },
                }
            }
        };
        self.push(insn);
    }

    /// An immediate that the operation can have: shifts are shorter than the width, divisors not 0.
    fn amount(&mut self, op: u8, width: u8, imm: i32) -> i32 {
        match op {
            alu::LSH | alu::RSH | alu::ARSH => imm & if width == class::ALU { 31 } else { 63 },
            alu::DIV | alu::MOD if imm == 0 => 3,
            _ => imm,
        }
    }

    fn branch(&mut self) {
        let op = self.random.pick(&[
            jmp::JEQ,
            jmp::JGT,
            jmp::JGE,
            jmp::JSET,
            jmp::JNE,
            jmp::JSGT,
            jmp::JSGE,
            jmp::JLT,
            jmp::JLE,
            jmp::JSLT,
            jmp::JSLE,
        ]);
        let code = op | self.random.pick(&[class::JMP, class::JMP32]);
        let dst = self.operand().0;
        let insn = if self.random.one_in(2) {
            Insn { code: code | source::X, dst, src: self.operand().0, ..Insn::default() }
        } else {
            Insn { code, dst, imm: self.imm(), ..Insn::default() }
        };
        self.items.push(Item::Jump(insn, usize::MAX));
    }

    fn jump(&mut self) {
        let code = jmp::JA | self.random.pick(&[class::JMP, class::JMP32]);
        self.items.push(Item::Jump(Insn { code, ..Insn::default() }, usize::MAX));
    }

    /// An access to the frame, mostly within it; sometimes through another register.
    fn stack(&mut self) {
        let off = match self.random.below(8) {
            0 => self.random.pick(&[-513, -520, -4, 0, 8, -511, -1, 600, -1536]),
            _ => -8 * (1 + self.random.below(4) as i16) + self.random.pick(&[0, 0, 0, 1, 4]),
        };
        if self.random.one_in(3) {
            let base = self.register();
            self.push(Insn::mov_reg(base, Reg::FP));
            self.push(Insn::alu64_imm(alu::ADD, base, i32::from(off)));
            return self.access(base, 0);
        }
        self.access(Reg::FP, off);
    }

    /// One load, store or atomic operation.
    fn access(&mut self, base: Reg, off: i16) {
        let bytes = self.random.pick(&SIZES);
        let (dst, src) = (self.register(), self.operand());
        let insn = match self.random.below(8) {
            0 | 1 => Insn::load(bytes, dst, base, off),
            2 if bytes != size::DW => {
                Insn { code: class::LDX | bytes | mode::MEMSX, ..Insn::load(bytes, dst, base, off) }
            }
            2 | 3 => Insn::store_reg(bytes, base, off, src),
            4 => Insn::store_imm(bytes, base, off, self.imm()),
            5 if base == Reg::FP => Insn::atomic(bytes, atomic::STORE_REL, base, off, src),
            5 => Insn::atomic(bytes, atomic::LOAD_ACQ, dst, off, base),
            _ => {
                let bytes = self.random.pick(&[size::W, size::DW]);
                let op = self.random.pick(&ATOMICS);
                // What the old value is fetched into is written.
                let src = if src == Reg::FP { dst } else { src };
                Insn::atomic(bytes, op, base, off, src)
            }
        };
        self.push(insn);
    }

    /// An access to the packet, half of the time behind a comparison with its end.
    fn packet(&mut self) {
        let (Some(_), Some(end)) = self.packet_fields() else { return self.legacy() };
        let off = self.random.below(72) as i16 - self.random.pick(&[0, 0, 0, 4]);
        if self.random.one_in(2) {
            self.push(Insn::load(size::W, Reg::R3, Reg::R6, end));
            self.push(Insn::mov_reg(Reg::R2, Reg(7)));
            self.push(Insn::alu64_imm(alu::ADD, Reg::R2, i32::from(off) + 8));
            let skip = self.items.len() + 2;
            self.items.push(Item::Jump(Insn::jmp_reg(jmp::JGT, Reg::R2, Reg::R3, 0), skip));
        }
        self.access(Reg(7), off);
        // What a comparison skips to is always there.
        self.push(Insn::alu64_imm(alu::ADD, Reg::R0, 1));
    }

    /// A legacy packet load.
    fn legacy(&mut self) {
        let bytes = self.random.pick(&[size::B, size::H, size::W]);
        let imm = self.random.pick(&[0, 12, 30, 200, -0x10_0000, -1]);
        let insn = match self.random.one_in(2) {
            true => Insn { code: class::LD | bytes | mode::ABS, imm, ..Insn::default() },
            false => {
                Insn { code: class::LD | bytes | mode::IND, src: self.register().0, imm, ..Insn::default() }
            }
        };
        self.push(insn);
    }

    fn context(&mut self) {
        let off = 4 * self.random.below(50) as i16;
        self.access(Reg::R6, off);
    }

    /// A value of a map, by lookup or by address.
    fn value(&mut self) {
        if self.random.one_in(3) {
            let offset = self.random.pick(&[0, 4, 8, 12, 16, 60, 64]);
            let [first, second] = Insn::ld_imm64(Reg(8), pseudo::MAP_IDX_VALUE, map::ARRAY as u64);
            self.items.push(Item::Wide([first, Insn { imm: offset, ..second }]));
            return self.access(Reg(8), 0);
        }
        let index = self.random.pick(&[map::ARRAY, map::HASH]);
        let key = self.random.below(6) as i32;
        self.push(Insn::store_imm(size::W, Reg::FP, -4, key));
        self.push(Insn::mov_reg(Reg::R2, Reg::FP));
        self.push(Insn::alu64_imm(alu::ADD, Reg::R2, -4));
        self.items.push(Item::Wide(Insn::ld_imm64(Reg::R1, pseudo::MAP_IDX, index as u64)));
        self.push(Insn::call_helper(MAP_LOOKUP_ELEM));
        if !self.random.one_in(8) {
            let skip = self.items.len() + 2;
            self.items.push(Item::Jump(Insn::jmp_imm(jmp::JEQ, Reg::R0, 0, 0), skip));
        }
        let off = self.random.pick(&[0, 0, 4, 8, 12, 13]);
        self.access(Reg::R0, off);
        self.push(Insn::mov_imm(Reg::R0, 5));
    }

    /// An access through a register that holds anything.
    fn anywhere(&mut self) {
        let base = self.register();
        let off = self.imm() as i16;
        self.access(base, off);
    }

    /// A loop that ends.
    fn count_down(&mut self, start: usize) {
        let rounds = 1 + self.random.below(20) as i32;
        self.push(Insn::mov_imm(Reg::R9, rounds));
        let head = self.items.len();
        for _ in 0..1 + self.random.below(3) {
            match self.random.below(4) {
                0 => self.stack(),
                1 if self.items.len() > start => self.packet(),
                _ => self.arithmetic(),
            }
        }
        self.push(Insn::alu64_imm(alu::SUB, Reg::R9, 1));
        self.items.push(Item::Jump(Insn::jmp_imm(jmp::JNE, Reg::R9, 0, 0), head));
    }

    fn call(&mut self) {
        let function = self.random.below(self.functions);
        match self.random.below(4) {
            0 => {
                let id = self.random.pick(&HELPERS);
                self.push(Insn::call_helper(id));
            }
            1 => {
                let register = self.register();
                self.items.push(Item::Address(register, function));
                self.push(Insn {
                    code: class::JMP | jmp::CALL | source::X,
                    dst: register.0,
                    ..Insn::default()
                });
            }
            _ => self.items.push(Item::Call(function)),
        }
    }

    /// Tail calls, bounded loops, constants.
    fn rare(&mut self) {
        match self.random.below(3) {
            0 => {
                let index = self.random.below(5) as i32;
                self.push(Insn::mov_reg(Reg::R1, Reg::R6));
                self.items.push(Item::Wide(Insn::ld_imm64(Reg::R2, pseudo::MAP_IDX, map::PROGRAMS as u64)));
                self.push(Insn::mov_imm(Reg::R3, index));
                self.push(Insn::call_helper(TAIL_CALL));
            }
            1 => {
                let insn = Insn { code: class::JMP | jmp::JCOND, ..Insn::default() };
                self.items.push(Item::Jump(insn, usize::MAX));
            }
            _ => {
                let (register, value) = (self.register(), self.number());
                self.items.push(Item::Wide(Insn::ld_imm64(register, 0, value)));
            }
        }
    }
}
