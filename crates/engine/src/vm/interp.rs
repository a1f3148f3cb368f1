//! The interpreter: runs a function of a program, one instruction after the other, every access checked.
//!
//! The address of the function and its arguments enter, r0 or a [`Fault`] leaves. Between two instructions the registers are complete, so
//! a fault always shows what they held before the instruction that it stopped at.

use super::fault::{Fault, FaultKind};
use super::memory::{CODE, code_index};
use super::op::{Atomic, Op, Operand, Size, Width};
use super::program::{Probe, ProgId, Program};
use super::state::{FRAMES, State};
use super::trace::{Observe, Step};
use crate::helpers::{self, Call, HelperFn};

pub mod alu;
mod packet;
mod tail;

pub(crate) use packet::packet_load;
pub(crate) use tail::{FAILED, tail_call};

/// The number of the helper that changes the program: the engines do it themselves.
pub(crate) const TAIL_CALL: u32 = 12;
/// Rounds of a bounded loop (BPF_MAX_LOOPS, include/linux/bpf.h).
pub(crate) const LOOPS: u32 = 8 << 20;

/// Where to begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// The program.
    pub(crate) program: ProgId,
    /// The function's first instruction.
    pub(crate) insn: u32,
    /// r1 to r5.
    pub(crate) args: [u64; 5],
}

/// What a caller gets back when a function of the program returns.
struct Frame {
    program: ProgId,
    insn: u32,
    /// r6 to r10.
    saved: [u64; 5],
    loops: u32,
}

/// What an instruction leads to.
enum Flow {
    Next,
    To(u32),
    /// A function.
    Into(u32),
    Tail(ProgId),
    Exit,
}

/// Runs the function at `entry` to its end.
pub(crate) fn run<O: Observe>(
    programs: &[Program],
    state: &mut State,
    observer: &mut O,
    entry: Entry,
) -> Result<u64, Box<Fault>> {
    let program = &programs[entry.program.0 as usize];
    let mut it = Interp {
        programs,
        observer,
        program,
        id: entry.program,
        registers: [0; 11],
        at: entry.insn,
        frames: Vec::new(),
        loops: LOOPS,
    };
    if state.run.depth >= FRAMES {
        return Err(it.fault(FaultKind::Depth { limit: FRAMES }));
    }
    state.run.depth += 1;
    it.registers[1..6].copy_from_slice(&entry.args);
    it.registers[10] = state.run.frame_end();
    let result = it.run(state);
    state.run.depth -= 1;
    result
}

struct Interp<'a, O> {
    programs: &'a [Program],
    observer: &'a mut O,
    program: &'a Program,
    id: ProgId,
    registers: [u64; 11],
    /// The instruction.
    at: u32,
    /// Callers within this program, outermost first.
    frames: Vec<Frame>,
    /// Rounds that bounded loops of this function have left.
    loops: u32,
}

impl<O: Observe> Interp<'_, O> {
    fn run(&mut self, state: &mut State) -> Result<u64, Box<Fault>> {
        loop {
            match self.step(state) {
                Ok(Flow::Next) => self.at += 1,
                Ok(Flow::To(insn)) => self.at = insn,
                Ok(Flow::Into(insn)) => self.enter(state, insn).map_err(|kind| self.fault(kind))?,
                Ok(Flow::Tail(program)) => self.switch(state, program),
                Ok(Flow::Exit) => match self.frames.pop() {
                    Some(frame) => self.leave(state, frame),
                    None => return Ok(self.registers[0]),
                },
                Err(kind) => return Err(self.fault(kind)),
            }
        }
    }

    #[cold]
    fn fault(&self, kind: FaultKind) -> Box<Fault> {
        match kind {
            FaultKind::Within(fault) => fault,
            kind => Box::new(Fault {
                kind,
                place: self.program.place(self.at),
                registers: self.registers.map(Some),
            }),
        }
    }

    fn enter(&mut self, state: &mut State, insn: u32) -> Result<(), FaultKind> {
        if state.run.depth >= FRAMES {
            return Err(FaultKind::Depth { limit: FRAMES });
        }
        let mut saved = [0; 5];
        saved.copy_from_slice(&self.registers[6..]);
        self.frames.push(Frame { program: self.id, insn: self.at + 1, saved, loops: self.loops });
        state.run.depth += 1;
        self.registers[0] = 0;
        self.registers[6..10].fill(0);
        self.registers[10] = state.run.frame_end();
        self.loops = LOOPS;
        self.at = insn;
        Ok(())
    }

    fn leave(&mut self, state: &mut State, frame: Frame) {
        state.run.depth -= 1;
        self.select(state, frame.program);
        self.registers[1..6].fill(0);
        self.registers[6..].copy_from_slice(&frame.saved);
        self.loops = frame.loops;
        self.at = frame.insn;
    }

    /// Goes on in another program, in the same frame.
    fn switch(&mut self, state: &mut State, program: ProgId) {
        self.select(state, program);
        self.registers[..10].fill(0);
        self.registers[1] = state.run.context.get();
        self.loops = LOOPS;
        self.at = 0;
    }

    fn select(&mut self, state: &mut State, program: ProgId) {
        self.program = &self.programs[program.0 as usize];
        self.id = program;
        state.run.program = program;
    }

    #[inline]
    fn step(&mut self, state: &mut State) -> Result<Flow, FaultKind> {
        let at = self.at as usize;
        let charge = u64::from(self.program.charge[at]);
        if charge > 0 {
            let left = state.run.budget.checked_sub(charge);
            state.run.budget = left.ok_or(FaultKind::Budget { limit: state.run.limit })?;
        }
        let op = self.program.ops[at];
        self.observer.step(&Step {
            program: self.program,
            insn: self.at,
            registers: &self.registers,
            depth: state.run.depth,
        });
        match op {
            Op::Alu { op, width, dst, src } => {
                let (a, b) = (self.registers[dst as usize], self.operand(src));
                self.registers[dst as usize] = alu::apply(op, width, a, b);
            }
            Op::Extend { bits, width, dst, src } => {
                self.registers[dst as usize] = alu::extend(bits, width, self.registers[src as usize]);
            }
            Op::Neg { width, dst } => {
                let value = self.registers[dst as usize].wrapping_neg();
                self.registers[dst as usize] = if width == Width::W32 { value as u32 as u64 } else { value };
            }
            Op::Swap { order, bits, dst } => {
                self.registers[dst as usize] = alu::swap(order, bits, self.registers[dst as usize]);
            }
            Op::Const { dst, value } => {
                self.registers[dst as usize] = value;
                return Ok(Flow::To(self.at + 2));
            }
            Op::Second => {}
            Op::Load { size, signed, dst, base, off } => {
                let value = self.load(state, self.address(base, off), size)?;
                let signed = if signed { alu::extend(size as u8 * 8, Width::W64, value) } else { value };
                self.registers[dst as usize] = signed;
            }
            Op::LoadAcquire { size, dst, base, off } => {
                self.registers[dst as usize] = self.load(state, self.address(base, off), size)?;
            }
            Op::Store { size, base, off, value } => {
                let value = self.operand(value);
                store(state, self.address(base, off), size, value)?;
            }
            Op::StoreRelease { size, base, off, src } => {
                store(state, self.address(base, off), size, self.registers[src as usize])?;
            }
            Op::Atomic { op, fetch, size, base, off, src } => {
                self.atomic(state, (op, fetch), size, self.address(base, off), src)?;
            }
            Op::Packet { size, index, imm } => return self.packet(state, size, index, imm),
            Op::Jump { to } => return Ok(Flow::To(to)),
            Op::Branch { op, width, dst, src, to } => {
                if alu::compare(op, width, self.registers[dst as usize], self.operand(src)) {
                    return Ok(Flow::To(to));
                }
            }
            Op::MayGoto { to } => match self.loops.checked_sub(1) {
                Some(left) => self.loops = left,
                None => return Ok(Flow::To(to)),
            },
            Op::Call { helper: TAIL_CALL } => {
                let [_, map, index, ..] = self.args();
                match tail_call(state, map, index)? {
                    Some(program) => return Ok(Flow::Tail(program)),
                    None => self.returned(tail::FAILED),
                }
            }
            Op::Call { helper } => self.call(state, helpers::by_id(helper, state.run.prog_type)?)?,
            Op::Kfunc { index } => self.call(state, self.program.kfuncs[index as usize].function)?,
            Op::CallLocal { to } => return Ok(Flow::Into(to)),
            Op::CallReg { reg } => return self.call_register(state, reg),
            Op::Exit => return Ok(Flow::Exit),
        }
        Ok(Flow::Next)
    }

    #[inline]
    fn operand(&self, operand: Operand) -> u64 {
        match operand {
            Operand::Reg(reg) => self.registers[reg as usize],
            Operand::Imm(imm) => i64::from(imm) as u64,
        }
    }

    #[inline]
    fn address(&self, base: u8, off: i16) -> u64 {
        self.registers[base as usize].wrapping_add(i64::from(off) as u64)
    }

    #[inline]
    fn load(&self, state: &State, at: u64, size: Size) -> Result<u64, FaultKind> {
        match state.memory.read(at, size.bytes()) {
            Ok(bytes) => Ok(number(bytes)),
            Err(kind) => probe(self.program.probe, state, at, size).ok_or(kind),
        }
    }

    fn atomic(
        &mut self,
        state: &mut State,
        (op, fetch): (Atomic, bool),
        size: Size,
        at: u64,
        src: u8,
    ) -> Result<(), FaultKind> {
        let bytes = state.memory.update(at, size.bytes())?;
        let old = number(bytes);
        let new = alu::atomic(op, size, old, self.registers[src as usize], self.registers[0]);
        bytes.copy_from_slice(&new.to_le_bytes()[..bytes.len()]);
        match op {
            Atomic::Cmpxchg => self.registers[0] = old,
            _ if fetch => self.registers[src as usize] = old,
            _ => {}
        }
        Ok(())
    }

    fn args(&self) -> [u64; 5] {
        let [_, a, b, c, d, e, ..] = self.registers;
        [a, b, c, d, e]
    }

    fn returned(&mut self, value: u64) {
        self.registers[0] = value;
        self.registers[1..6].fill(0);
    }

    fn call(&mut self, state: &mut State, function: HelperFn) -> Result<(), FaultKind> {
        let (programs, program, id) = (self.programs, self.program, self.id);
        let observer = &mut *self.observer;
        state.run.insn = self.at;
        let mut invoke = |state: &mut State, at: u64, args: [u64; 5]| {
            let insn = code_index(at).filter(|insn| program.is_function(*insn));
            let insn = insn.ok_or(FaultKind::NotAFunction { at })?;
            let result = run(programs, state, observer, Entry { program: id, insn, args });
            state.run.program = id;
            result.map_err(FaultKind::Within)
        };
        let [_, a, b, c, d, e, ..] = self.registers;
        let value = function(&mut Call { args: [a, b, c, d, e], state, invoke: &mut invoke })?;
        self.returned(value);
        Ok(())
    }

    /// Calls the function whose address, or the helper whose number, a register holds.
    fn call_register(&mut self, state: &mut State, reg: u8) -> Result<Flow, FaultKind> {
        let at = self.registers[reg as usize];
        if let Some(insn) = code_index(at).filter(|insn| self.program.is_function(*insn)) {
            return Ok(Flow::Into(insn));
        }
        self.call(state, helpers::by_id(helper_number(at)?, state.run.prog_type)?)?;
        Ok(Flow::Next)
    }
}

/// The number of the helper that a register holds for [`Op::CallReg`]; tail calls are made by number alone.
pub(crate) fn helper_number(at: u64) -> Result<u32, FaultKind> {
    let number = u32::try_from(at).ok().filter(|number| *number < CODE && *number != TAIL_CALL);
    number.ok_or(FaultKind::NotAFunction { at })
}

/// What a load outside of the machine's memory reads; `None` where it may not.
#[cold]
pub(crate) fn probe(allowed: Probe, state: &State, at: u64, size: Size) -> Option<u64> {
    let null = at < 4096;
    let needed = match at >> 32 {
        0 if null => Probe::KernelOrNull,
        0 => return None,
        _ => Probe::Kernel,
    };
    if allowed < needed {
        return None;
    }
    let mut bytes = [0; 8];
    let bytes = &mut bytes[..size.bytes() as usize];
    if !null {
        state.env.kernel_memory(at, bytes);
    }
    Some(number(bytes))
}

/// The number that up to eight bytes hold, in the byte order of programs (little endian).
#[inline]
pub(crate) fn number(bytes: &[u8]) -> u64 {
    let mut value = [0; 8];
    match bytes.len() {
        8 => value.copy_from_slice(bytes),
        4 => value[..4].copy_from_slice(bytes),
        n => value[..n.min(8)].copy_from_slice(&bytes[..n.min(8)]),
    }
    u64::from_le_bytes(value)
}

#[inline]
fn store(state: &mut State, at: u64, size: Size, value: u64) -> Result<(), FaultKind> {
    let bytes = state.memory.write(at, size.bytes())?;
    bytes.copy_from_slice(&value.to_le_bytes()[..bytes.len()]);
    Ok(())
}
