//! What registers probably point to: a function's instructions enter, and for each access the place that it most likely
//! touches leaves. A guess costs time when it is wrong, never correctness: only [`Kind::Stack`] and [`Kind::Number`] are
//! certain, everything else is checked where it is used.

use std::ops::Range;

use skep_bpf::context::{self, Role};
use skep_bpf::kinds::ProgType;

use super::flow::{self, Next};
use super::state::{CONTEXT, PACKET, WINDOWS};
use crate::vm::op::{Alu, Atomic, Op, Operand, Size, Width};

/// The helper whose result is a value of a map.
const MAP_LOOKUP_ELEM: u32 = 1;

/// What a register holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Nothing is known.
    Any,
    /// r10 of this call plus a constant.
    Stack(i64),
    /// A pointer into the object that this window shows.
    Window(u16),
    /// A number, known.
    Number(u64),
}

/// Kinds of r0 to r10, and of the register that blinding uses.
type Registers = [Kind; 12];

/// Where the context keeps packet pointers: offsets of its 32-bit fields `data` and `data_meta`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct PacketFields([Option<u32>; 2]);

impl PacketFields {
    /// In the context of such programs.
    pub(crate) fn of(prog_type: ProgType) -> PacketFields {
        let field = |role| context::layout(prog_type)?.role(role).map(|field| field.offset);
        PacketFields([Role::Data, Role::DataMeta].map(field))
    }

    fn has(self, offset: i16) -> bool {
        u32::try_from(offset).is_ok_and(|offset| self.0.contains(&Some(offset)))
    }
}

/// The kinds before each instruction of one function.
#[derive(Debug)]
pub(crate) struct Kinds {
    first: usize,
    before: Vec<Option<Registers>>,
    /// The window that the result of a call is shown in.
    results: Vec<Option<u16>>,
    fields: PacketFields,
}

/// Gives windows to sites.
#[derive(Debug)]
pub(crate) struct Windows {
    next: u16,
}

impl Windows {
    /// None is given away yet.
    pub(crate) fn new() -> Windows {
        Windows { next: PACKET + 1 }
    }

    /// The next one; when all are given away, sites share.
    pub(crate) fn take(&mut self) -> u16 {
        let window = self.next;
        self.next = if window + 1 < WINDOWS { window + 1 } else { PACKET + 1 };
        window
    }
}

impl Kinds {
    /// Reads the function at `range`; the program's own (`main`) gets the context in r1.
    pub(crate) fn of(
        ops: &[Op],
        range: Range<usize>,
        main: bool,
        fields: PacketFields,
        windows: &mut Windows,
    ) -> Kinds {
        let result = |op: &Op| (*op == Op::Call { helper: MAP_LOOKUP_ELEM }).then(|| windows.take());
        let results = ops[range.clone()].iter().map(result).collect();
        let mut entry = [Kind::Any; 12];
        entry[10] = Kind::Stack(0);
        if main {
            entry[1] = Kind::Window(CONTEXT);
        }
        let mut before = vec![None; range.len() + 1];
        before[0] = Some(entry);
        let mut kinds = Kinds { first: range.start, before, results, fields };
        // Kinds only fall (known, then Any), so this ends after a few rounds.
        while kinds.round(ops, range.clone()) {}
        kinds
    }

    /// One pass over the function; whether something changed.
    fn round(&mut self, ops: &[Op], range: Range<usize>) -> bool {
        let mut changed = false;
        for at in range {
            let Some(mut registers) = self.before[at - self.first] else { continue };
            let op = ops[at];
            step(&mut registers, op, self.result(at), self.fields);
            match flow::next(op) {
                Next::Through => changed |= self.join(at + 1, &registers),
                Next::Jump(target) => changed |= self.join(target, &registers),
                Next::Branch(target) => {
                    changed |= self.join(target, &registers);
                    changed |= self.join(at + 1, &registers);
                }
                Next::Exit => {}
            }
        }
        changed
    }

    fn join(&mut self, at: usize, registers: &Registers) -> bool {
        let known = &mut self.before[at - self.first];
        let Some(old) = known else {
            *known = Some(*registers);
            return true;
        };
        let mut changed = false;
        for (old, &new) in old.iter_mut().zip(registers) {
            if *old != new && *old != Kind::Any {
                *old = Kind::Any;
                changed = true;
            }
        }
        changed
    }

    /// The kind of a register before `at`.
    pub(crate) fn get(&self, at: usize, register: u8) -> Kind {
        self.before[at - self.first].map_or(Kind::Any, |registers| registers[register as usize])
    }

    /// Whether anything leads to `at`.
    pub(crate) fn reached(&self, at: usize) -> bool {
        self.before[at - self.first].is_some()
    }

    /// The window for the result of the call at `at`.
    pub(crate) fn result(&self, at: usize) -> Option<u16> {
        self.results[at - self.first]
    }
}

fn step(registers: &mut Registers, op: Op, result: Option<u16>, fields: PacketFields) {
    match op {
        Op::Alu { op, width: Width::W64, dst, src } => {
            registers[dst as usize] = arithmetic(registers, op, dst, src);
        }
        Op::Const { dst, value } => registers[dst as usize] = Kind::Number(value),
        Op::Load { size, signed, dst, base, off } => {
            let context = registers[base as usize] == Kind::Window(CONTEXT);
            let packet = size == Size::W && !signed && context && fields.has(off);
            registers[dst as usize] = if packet { Kind::Window(PACKET) } else { Kind::Any };
        }
        Op::Alu { dst, .. } | Op::Extend { dst, .. } | Op::Neg { dst, .. } | Op::Swap { dst, .. } => {
            registers[dst as usize] = Kind::Any;
        }
        Op::LoadAcquire { dst, .. } => registers[dst as usize] = Kind::Any,
        Op::Atomic { op: Atomic::Cmpxchg, .. } => registers[0] = Kind::Any,
        Op::Atomic { fetch: true, src, .. } => registers[src as usize] = Kind::Any,
        Op::Call { .. }
        | Op::Kfunc { .. }
        | Op::CallLocal { .. }
        | Op::CallReg { .. }
        | Op::Packet { .. } => {
            registers[..6].fill(Kind::Any);
            registers[0] = result.map_or(Kind::Any, Kind::Window);
        }
        _ => {}
    }
}

fn arithmetic(registers: &Registers, op: Alu, dst: u8, src: Operand) -> Kind {
    let left = registers[dst as usize];
    let right = match src {
        Operand::Imm(value) => Kind::Number(i64::from(value) as u64),
        Operand::Reg(register) => registers[register as usize],
    };
    match (op, left, right) {
        (Alu::Mov, _, right) => right,
        (Alu::Add, Kind::Stack(offset), Kind::Number(n))
        | (Alu::Add, Kind::Number(n), Kind::Stack(offset)) => Kind::Stack(offset.wrapping_add(n as i64)),
        (Alu::Sub, Kind::Stack(offset), Kind::Number(n)) => Kind::Stack(offset.wrapping_sub(n as i64)),
        (Alu::Add, Kind::Number(a), Kind::Number(b)) => Kind::Number(a.wrapping_add(b)),
        (Alu::Sub, Kind::Number(a), Kind::Number(b)) => Kind::Number(a.wrapping_sub(b)),
        (Alu::Add | Alu::Sub, Kind::Window(window), Kind::Any | Kind::Number(_)) => Kind::Window(window),
        (Alu::Add, Kind::Any | Kind::Number(_), Kind::Window(window)) => Kind::Window(window),
        _ => Kind::Any,
    }
}
