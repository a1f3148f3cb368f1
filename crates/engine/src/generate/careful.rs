//! Programs that the kernel's verifier takes, for tests that compare the machine with the kernel. A stream of random numbers
//! enters, instructions leave.
//!
//! Always: registers that are read have been written on every path, memory that is touched lies within the frame, the checked
//! part of the packet or the map's value, loops have a number of rounds that the verifier can count, and every number that a
//! program computed ends up in the map's value or in r0.

use skep_bpf::insn::{Insn, Reg, alu, atomic, class, jmp, mode, pseudo, size, source};
use skep_bpf::kinds::{MapType, ProgType};
use skep_bpf::object::MapSpec;

use crate::random::Random;

/// Bytes of the packet that programs have checked.
pub const PACKET: usize = 64;
/// Bytes of the map's value: what programs work on, then their registers.
pub const VALUE: u32 = 64 + 8 * NUMBERS.len() as u32;

/// Registers that hold numbers.
const NUMBERS: [u8; 8] = [0, 1, 2, 3, 4, 5, 8, 9];
/// The packet, and the map's value.
const DATA: Reg = Reg(6);
const MAP: Reg = Reg(7);
/// Bytes of the frame that hold something, below r10.
const FRAME: i32 = 64;

/// The one map.
pub fn map() -> MapSpec {
    MapSpec::new("value", MapType::Array, 4, VALUE, 1)
}

/// A program; it refers to [`map`] by index 0.
pub fn program(random: &mut Random) -> (ProgType, Vec<Insn>) {
    let prog_type = random.pick(&[ProgType::Xdp, ProgType::SchedCls]);
    let mut careful = Careful { random, insns: Vec::new(), branches: 6, loops: 2, called: Vec::new() };
    careful.begin(prog_type);
    let pieces = 5 + careful.random.below(30);
    careful.pieces(pieces, None);
    careful.end();
    careful.function();
    (prog_type, careful.insns)
}

struct Careful<'a> {
    random: &'a mut Random,
    insns: Vec<Insn>,
    /// Branches and loops that may still be made: the verifier walks every path.
    branches: u32,
    loops: u32,
    /// Calls of the one function.
    called: Vec<usize>,
}

impl Careful<'_> {
    fn push(&mut self, insn: Insn) {
        self.insns.push(insn);
    }

    fn value(&mut self) -> u64 {
        match self.random.below(4) {
            0 => self.random.pick(&[0, 1, u64::MAX, i64::MIN as u64, i32::MAX as u64, 1 << 31, 1 << 32]),
            1 => self.random.below(256) as u64,
            2 => u64::from(self.random.next() as u32),
            _ => self.random.next(),
        }
    }

    fn number(&mut self) -> Reg {
        Reg(self.random.pick(&NUMBERS))
    }

    /// A register that may be written; not the counter of a loop.
    fn target(&mut self, counter: Option<Reg>) -> Reg {
        loop {
            let register = self.number();
            if Some(register) != counter {
                return register;
            }
        }
    }

    /// Fills registers and the frame with something, and checks the packet.
    fn begin(&mut self, prog_type: ProgType) {
        let (data, end) = if prog_type == ProgType::Xdp { (0, 4) } else { (76, 80) };
        if prog_type == ProgType::SchedCls && self.random.one_in(3) {
            self.legacy_loads();
        } else {
            self.push(Insn::mov_reg(Reg(8), Reg::R1));
            self.push(Insn::store_imm(size::DW, Reg::FP, -8, 7));
        }
        self.push(Insn::load(size::W, DATA, Reg(8), data));
        self.push(Insn::load(size::W, Reg(2), Reg(8), end));
        self.push(Insn::mov_reg(Reg(3), DATA));
        self.push(Insn::alu64_imm(alu::ADD, Reg(3), PACKET as i32));
        self.push(Insn::jmp_reg(jmp::JLE, Reg(3), Reg(2), 2));
        self.push(Insn::mov_imm(Reg(0), 0));
        self.push(Insn::exit());
        self.insns.extend(Insn::ld_imm64(MAP, pseudo::MAP_VALUE, 0));
        for at in (16..=FRAME).step_by(8) {
            let value = self.value() as i32;
            self.push(Insn::store_imm(size::DW, Reg::FP, -at as i16, value));
        }
        for register in NUMBERS {
            if self.random.one_in(2) {
                let value = self.value();
                self.insns.extend(Insn::ld_imm64(Reg(register), 0, value));
            } else {
                let (bits, offset) = (self.size(), self.random.below(PACKET - 8));
                self.push(Insn::load(bits, Reg(register), DATA, offset as i16));
            }
        }
    }

    /// A few bytes of the packet as old programs read them, into the frame.
    fn legacy_loads(&mut self) {
        self.push(Insn::mov_reg(Reg(6), Reg::R1));
        self.push(Insn::mov_reg(Reg(8), Reg::R1));
        let code = class::LD | self.random.pick(&[size::B, size::H, size::W]);
        let imm = self.random.pick(&[0, 12, 13, 20, 59, 60, 61, 62, 63, 64, 100]);
        if self.random.one_in(2) {
            self.push(Insn { code: code | mode::ABS, imm, ..Insn::default() });
        } else {
            let added = self.random.below(8) as i32;
            self.push(Insn::mov_imm(Reg(7), added));
            self.push(Insn { code: code | mode::IND, src: 7, imm, ..Insn::default() });
        }
        self.push(Insn::store_reg(size::DW, Reg::FP, -8, Reg(0)));
    }

    /// Keeps what registers hold, and mixes them into r0.
    fn end(&mut self) {
        for (at, register) in (0i16..).zip(NUMBERS) {
            self.push(Insn::store_reg(size::DW, MAP, 64 + at * 8, Reg(register)));
        }
        for register in &NUMBERS[1..] {
            self.push(Insn::alu64_imm(alu::MUL, Reg(0), 31));
            self.push(Insn::alu64_reg(alu::XOR, Reg(0), Reg(*register)));
        }
        for at in (8..=FRAME).step_by(8) {
            self.push(Insn::load(size::DW, Reg(1), Reg::FP, -at as i16));
            self.push(Insn::alu64_reg(alu::ADD, Reg(0), Reg(1)));
        }
        self.push(Insn::mov_reg(Reg(1), Reg(0)));
        self.push(Insn::alu64_imm(alu::RSH, Reg(1), 32));
        self.push(Insn::alu64_reg(alu::XOR, Reg(0), Reg(1)));
        self.push(Insn::exit());
    }

    /// The function that calls lead to, if there are any: it works on its arguments and a frame of its own.
    fn function(&mut self) {
        if self.called.is_empty() {
            return;
        }
        let start = self.insns.len();
        for at in std::mem::take(&mut self.called) {
            self.insns[at].imm = start as i32 - at as i32 - 1;
        }
        self.push(Insn::mov_imm(Reg(0), 5));
        self.push(Insn::store_reg(size::DW, Reg::FP, -8, Reg(1)));
        for _ in 0..3 + self.random.below(6) {
            let (op, dst, src) = (self.operation(), self.random.below(6) as u8, self.random.below(6) as u8);
            let width = self.width();
            self.push(Insn { code: width | op | source::X, dst, src, ..Insn::default() });
        }
        self.push(Insn::load(size::DW, Reg(2), Reg::FP, -8));
        self.push(Insn::alu64_reg(alu::ADD, Reg(0), Reg(2)));
        self.push(Insn::exit());
    }

    fn size(&mut self) -> u8 {
        self.random.pick(&[size::B, size::H, size::W, size::DW])
    }

    fn width(&mut self) -> u8 {
        self.random.pick(&[class::ALU, class::ALU64])
    }

    /// An operation on two numbers.
    fn operation(&mut self) -> u8 {
        let all = [
            alu::ADD,
            alu::SUB,
            alu::MUL,
            alu::DIV,
            alu::OR,
            alu::AND,
            alu::LSH,
            alu::RSH,
            alu::MOD,
            alu::XOR,
        ];
        if self.random.one_in(8) { alu::ARSH } else { self.random.pick(&all) }
    }

    fn pieces(&mut self, count: usize, counter: Option<Reg>) {
        for _ in 0..count {
            match self.random.below(16) {
                0..5 => self.arithmetic(counter),
                5 => self.unary(counter),
                6..9 => self.load(counter),
                9..11 => self.store(),
                11 => self.atomic(counter),
                12 => self.indexed(counter),
                13 => self.branch(counter),
                14 if counter.is_none() => self.repeat(),
                15 if counter.is_none() => self.call(),
                _ => self.arithmetic(counter),
            }
        }
    }

    fn arithmetic(&mut self, counter: Option<Reg>) {
        let (width, op, dst) = (self.width(), self.operation(), self.target(counter));
        let signed = matches!(op, alu::DIV | alu::MOD) && self.random.one_in(2);
        let off = i16::from(signed);
        if self.random.one_in(2) {
            let src = self.number();
            self.push(Insn { code: width | op | source::X, dst: dst.0, src: src.0, off, imm: 0 });
            return;
        }
        let bits = if width == class::ALU { 32 } else { 64 };
        let imm = match op {
            // The verifier refuses shifts by the width or more, and divisions by a zero that it sees.
            alu::LSH | alu::RSH | alu::ARSH => self.random.below(bits) as i32,
            alu::DIV | alu::MOD => (self.value() as i32) | 1,
            _ => self.value() as i32,
        };
        self.push(Insn { code: width | op | source::K, dst: dst.0, off, imm, ..Insn::default() });
    }

    fn unary(&mut self, counter: Option<Reg>) {
        let (width, dst, src) = (self.width(), self.target(counter).0, self.number().0);
        let code = match self.random.below(4) {
            0 => (width | alu::NEG, 0, 0, 0),
            1 => (
                width | alu::MOV | source::X,
                src,
                if width == class::ALU64 {
                    self.random.pick(&[0, 8, 16, 32])
                } else {
                    self.random.pick(&[0, 8, 16])
                },
                0,
            ),
            2 => (
                class::ALU | alu::END | self.random.pick(&[source::K, source::X]),
                0,
                0,
                self.random.pick(&[16, 32, 64]),
            ),
            _ => (class::ALU64 | alu::END, 0, 0, self.random.pick(&[16, 32, 64])),
        };
        let (code, src, off, imm) = code;
        self.push(Insn { code, dst, src, off, imm });
    }

    /// A place: base, offset of something of `bytes` bytes. Frames ask for alignment.
    fn place(&mut self, bytes: usize) -> (Reg, i16) {
        match self.random.below(3) {
            0 => (DATA, self.random.below(PACKET - bytes + 1) as i16),
            1 => (MAP, self.random.below(64 - bytes + 1) as i16),
            _ => (Reg::FP, self.framed(bytes)),
        }
    }

    fn framed(&mut self, bytes: usize) -> i16 {
        (self.random.below(FRAME as usize / bytes) * bytes) as i16 - FRAME as i16
    }

    fn load(&mut self, counter: Option<Reg>) {
        let (bits, dst) = (self.size(), self.target(counter));
        let (base, off) = self.place(bytes(bits));
        let extends = bits != size::DW && self.random.one_in(3);
        let mode = if extends { mode::MEMSX } else { mode::MEM };
        self.push(Insn { code: class::LDX | bits | mode, dst: dst.0, src: base.0, off, imm: 0 });
    }

    fn store(&mut self) {
        let bits = self.size();
        let (base, off) = self.place(bytes(bits));
        if self.random.one_in(2) {
            let src = self.number();
            self.push(Insn::store_reg(bits, base, off, src));
        } else {
            let imm = self.value() as i32;
            self.push(Insn::store_imm(bits, base, off, imm));
        }
    }

    /// An atomic operation on the frame or the map's value; packets have none.
    fn atomic(&mut self, counter: Option<Reg>) {
        let bits = self.random.pick(&[size::W, size::DW]);
        let (base, off) = if self.random.one_in(2) {
            (MAP, (self.random.below(64 / bytes(bits)) * bytes(bits)) as i16)
        } else {
            (Reg::FP, self.framed(bytes(bits)))
        };
        let plain = [atomic::ADD, atomic::OR, atomic::AND, atomic::XOR];
        let op = match self.random.below(8) {
            0 => atomic::XCHG,
            1 if counter != Some(Reg(0)) => atomic::CMPXCHG,
            2..5 => self.random.pick(&plain) | atomic::FETCH,
            _ => self.random.pick(&plain),
        };
        let src = self.target(counter);
        self.push(Insn::atomic(bits, op, base, off, src));
    }

    /// A load from the map's value at an index that is computed.
    fn indexed(&mut self, counter: Option<Reg>) {
        let (dst, index) = (self.target(counter), self.number());
        self.push(Insn::mov_reg(dst, index));
        self.push(Insn::alu64_imm(alu::AND, dst, 31));
        self.push(Insn::alu64_reg(alu::ADD, dst, MAP));
        let (bits, off) = (self.size(), self.random.below(64 - 31 - 8) as i16);
        self.push(Insn::load(bits, dst, dst, off));
    }

    /// A comparison that leaves out a few pieces.
    fn branch(&mut self, counter: Option<Reg>) {
        let Some(left) = self.branches.checked_sub(1) else { return self.arithmetic(counter) };
        self.branches = left;
        let all = [
            jmp::JEQ,
            jmp::JNE,
            jmp::JGT,
            jmp::JGE,
            jmp::JLT,
            jmp::JLE,
            jmp::JSGT,
            jmp::JSGE,
            jmp::JSLT,
            jmp::JSLE,
            jmp::JSET,
        ];
        let code = self.random.pick(&all) | self.random.pick(&[class::JMP, class::JMP32]);
        let dst = self.number().0;
        let at = self.insns.len();
        if self.random.one_in(2) {
            let src = self.number().0;
            self.push(Insn { code: code | source::X, dst, src, ..Insn::default() });
        } else {
            let imm = self.value() as i32;
            self.push(Insn { code, dst, imm, ..Insn::default() });
        }
        let count = 1 + self.random.below(3);
        self.pieces(count, counter.or(Some(Reg(11))));
        self.insns[at].off = (self.insns.len() - at - 1) as i16;
    }

    /// A loop of a few rounds.
    fn repeat(&mut self) {
        let Some(left) = self.loops.checked_sub(1) else { return self.arithmetic(None) };
        self.loops = left;
        let counter = Reg(self.random.pick(&[8, 9]));
        let rounds = 1 + self.random.below(6) as i32;
        self.push(Insn::mov_imm(counter, rounds));
        let start = self.insns.len();
        let count = 1 + self.random.below(4);
        let branches = std::mem::take(&mut self.branches);
        self.pieces(count, Some(counter));
        self.branches = branches;
        self.push(Insn::alu64_imm(alu::SUB, counter, 1));
        let back = start as i64 - self.insns.len() as i64 - 1;
        self.push(Insn::jmp_imm(jmp::JNE, counter, 0, back as i16));
    }

    /// A call of the function; what it may not keep is written anew.
    fn call(&mut self) {
        self.called.push(self.insns.len());
        self.push(Insn { code: class::JMP | jmp::CALL, src: pseudo::CALL, ..Insn::default() });
        for register in 1..6 {
            let value = self.value() as i32;
            self.push(Insn::mov_imm(Reg(register), value));
        }
    }
}

fn bytes(bits: u8) -> usize {
    match bits {
        size::B => 1,
        size::H => 2,
        size::W => 4,
        _ => 8,
    }
}
