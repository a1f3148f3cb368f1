//! Programs for tests that compare one engine with another. A seed enters, instructions and an input leave; the same for the
//! same seed. The programs are correct instructions but not careful ones: most touch memory, some touch what is not there,
//! jump backwards, divide by zero and call themselves. Each ends, by itself or by its budget.

use skep_bpf::insn::{Insn, Reg, alu, atomic, class, jmp, mode, pseudo, size, source};
use skep_bpf::kinds::{MapType, ProgType};
use skep_bpf::object::MapSpec;

pub use crate::random::Random;

pub mod careful;
mod compare;
mod pieces;

pub use compare::{anything, engines};

/// What programs are given maps of: the index that an instruction names them by.
pub mod map {
    /// An array of four values of 16 bytes.
    pub const ARRAY: i32 = 0;
    /// A hash table from 4 bytes to 4 bytes.
    pub const HASH: i32 = 1;
    /// An array of four programs.
    pub const PROGRAMS: i32 = 2;
}

/// The maps, in the order of their indices.
pub fn maps() -> Vec<MapSpec> {
    vec![
        MapSpec::new("array", MapType::Array, 4, 16, 4),
        MapSpec::new("hash", MapType::Hash, 4, 4, 8),
        MapSpec::new("programs", MapType::ProgArray, 4, 4, 4),
    ]
}

/// A made program and what it is run with.
#[derive(Clone, Debug)]
pub struct Made {
    /// Its kind.
    pub prog_type: ProgType,
    /// Its instructions; maps are named by their index in [`maps`].
    pub insns: Vec<Insn>,
    /// The packet.
    pub packet: Vec<u8>,
    /// Instructions that it may run.
    pub budget: u64,
}

/// Makes a program.
pub fn program(random: &mut Random) -> Made {
    let prog_type = random.pick(&[ProgType::Xdp, ProgType::SchedCls, ProgType::SocketFilter]);
    let functions = if random.one_in(3) { 1 + random.below(3) } else { 1 };
    let mut made = Maker { random, prog_type, items: Vec::new(), starts: Vec::new(), functions };
    for index in 0..functions {
        made.function(index);
    }
    let insns = made.finish();
    let length = random.pick(&[0, 1, 7, 14, 34, 60, 64, 200]);
    let packet = (0..length).map(|_| random.next() as u8).collect();
    Made { prog_type, insns, packet, budget: 200 + random.below(4000) as u64 }
}

/// One instruction, whose target is an item where it has one.
#[derive(Clone, Copy, Debug)]
enum Item {
    Plain(Insn),
    /// Both slots.
    Wide([Insn; 2]),
    /// A jump to an item.
    Jump(Insn, usize),
    /// A call of a function, or its address, by the function's index.
    Call(usize),
    Address(Reg, usize),
}

struct Maker<'a> {
    random: &'a mut Random,
    prog_type: ProgType,
    items: Vec<Item>,
    /// Items that functions begin with.
    starts: Vec<usize>,
    functions: usize,
}

impl Maker<'_> {
    fn push(&mut self, insn: Insn) {
        self.items.push(Item::Plain(insn));
    }

    fn function(&mut self, index: usize) {
        let start = self.items.len();
        self.starts.push(start);
        if index == 0 {
            self.prologue();
        }
        let pieces = 2 + self.random.below(14);
        for _ in 0..pieces {
            self.piece(start);
        }
        self.push(Insn::exit());
        self.aim(start);
    }

    /// Registers with something in them: the context in r6, the packet in r7, numbers elsewhere.
    fn prologue(&mut self) {
        self.push(Insn::mov_reg(Reg::R6, Reg::R1));
        let (data, _) = self.packet_fields();
        if let Some(data) = data {
            self.push(Insn::load(size::W, Reg(7), Reg::R6, data));
        }
        for register in [0, 2, 3, 8] {
            if self.random.one_in(2) {
                let value = self.number();
                self.items.push(Item::Wide(Insn::ld_imm64(Reg(register), 0, value)));
            }
        }
    }

    /// Offsets of `data` and `data_end` in the context.
    fn packet_fields(&self) -> (Option<i16>, Option<i16>) {
        match self.prog_type {
            ProgType::Xdp => (Some(0), Some(4)),
            ProgType::SchedCls => (Some(76), Some(80)),
            _ => (None, None),
        }
    }

    /// Gives the jumps of the function that begins at `start` their targets: mostly forwards, and within the function.
    fn aim(&mut self, start: usize) {
        let end = self.items.len();
        for at in start..end {
            if let Item::Jump(insn, usize::MAX) = self.items[at] {
                let ahead = end - at - 1;
                let target = if ahead == 0 || self.random.one_in(6) {
                    start + self.random.below(at - start + 1)
                } else {
                    at + 1 + self.random.below(ahead.min(8))
                };
                self.items[at] = Item::Jump(insn, target);
            }
        }
    }

    /// Instructions, with the distances of jumps and calls filled in.
    fn finish(self) -> Vec<Insn> {
        let mut slots = Vec::with_capacity(self.items.len());
        let mut next = 0;
        for item in &self.items {
            slots.push(next);
            next += if matches!(item, Item::Wide(_) | Item::Address(..)) { 2 } else { 1 };
        }
        let distance = |at: usize, to: usize| slots[to] as i32 - slots[at] as i32 - 1;
        let mut insns = Vec::with_capacity(next);
        for (at, item) in self.items.iter().enumerate() {
            match *item {
                Item::Plain(insn) => insns.push(insn),
                Item::Wide(both) => insns.extend(both),
                Item::Jump(insn, to) if insn.class() == class::JMP32 && insn.code & 0xf0 == jmp::JA => {
                    insns.push(Insn { imm: distance(at, to), ..insn });
                }
                Item::Jump(insn, to) => insns.push(Insn { off: distance(at, to) as i16, ..insn }),
                Item::Call(function) => insns.push(Insn {
                    code: class::JMP | jmp::CALL,
                    src: pseudo::CALL,
                    imm: distance(at, self.starts[function]),
                    ..Insn::default()
                }),
                Item::Address(register, function) => {
                    let to = distance(at, self.starts[function]) as u32;
                    insns.extend(Insn::ld_imm64(register, pseudo::FUNC, to.into()));
                }
            }
        }
        insns
    }

    /// A number that programs trip over, or any.
    fn number(&mut self) -> u64 {
        match self.random.below(4) {
            0 => self.random.pick(&[0, 1, 2, u64::MAX, i64::MIN as u64, i32::MAX as u64, 1 << 31, 1 << 32]),
            1 => self.random.below(256) as u64,
            2 => u64::from(self.random.next() as u32),
            _ => self.random.next(),
        }
    }

    fn imm(&mut self) -> i32 {
        self.number() as i32
    }

    /// A register that may be written.
    fn register(&mut self) -> Reg {
        Reg(self.random.below(10) as u8)
    }

    /// A register that may be read.
    fn operand(&mut self) -> Reg {
        Reg(self.random.below(11) as u8)
    }
}
