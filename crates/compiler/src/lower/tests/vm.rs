//! A small machine for the code that lowering makes: registers, stack frames, maps, a few helpers.
//!
//! Stricter than the kernel's interpreter where the verifier is: reading a register or a byte of the stack that was
//! never written is an error, calls make r1 to r5 unreadable, addresses must be known.

use std::collections::HashMap;

use skep_bpf::insn::{Insn, alu, atomic, class, jmp, mode, pseudo, size, source};
use skep_bpf::object::{Object, Program, RelocKind};

/// Memory by address; what is not there was never written.
#[derive(Default)]
pub(crate) struct Memory {
    bytes: HashMap<u64, u8>,
    /// Places of map values: (map, key) to address.
    values: HashMap<(u64, u32), u64>,
    next: u64,
}

const MAPS: u64 = 0x4000_0000;

impl Memory {
    pub(crate) fn read(&self, at: u64, len: u64) -> Result<u64, String> {
        let mut out = 0u64;
        for i in (0..len).rev() {
            let byte = self.bytes.get(&at.wrapping_add(i));
            out = out << 8 | u64::from(*byte.ok_or_else(|| format!("read of unwritten memory {at:#x}+{i}"))?);
        }
        Ok(out)
    }

    pub(crate) fn write(&mut self, at: u64, len: u64, value: u64) {
        for i in 0..len {
            self.bytes.insert(at.wrapping_add(i), (value >> (8 * i)) as u8);
        }
    }

    pub(crate) fn forget(&mut self, from: u64, len: u64) {
        for i in 0..len {
            self.bytes.remove(&(from + i));
        }
    }

    /// The address of a map's value, zero at first.
    pub(crate) fn value(&mut self, map: u64, key: u32, len: u32) -> u64 {
        if let Some(at) = self.values.get(&(map, key)) {
            return *at;
        }
        let at = MAPS + self.next;
        self.next += u64::from(len).next_multiple_of(4096) + 4096;
        for i in 0..u64::from(len) {
            // Behind the busy word lies what a former user left.
            self.write(at + i, 1, if i < 8 { 0 } else { 0xee });
        }
        self.values.insert((map, key), at);
        at
    }
}

/// What helpers do, the same for every interpreter: 1 looks a map up, 5 to 9 are clocks that count, others mix their
/// arguments.
pub(crate) fn helper(
    id: u32,
    args: &[u64],
    memory: &mut Memory,
    value_size: &dyn Fn(u64) -> u32,
    calls: &mut u64,
) -> Result<u64, String> {
    if id == 1 {
        let key = memory.read(args[1], 4)? as u32;
        return Ok(if key < 4 { memory.value(args[0], key, value_size(args[0])) } else { 0 });
    }
    *calls += 1;
    let mut out = u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ *calls;
    for arg in args {
        out = (out.rotate_left(7) ^ arg).wrapping_mul(0x1000_0000_01b3);
    }
    Ok(out)
}

/// How many arguments a test helper takes.
pub(crate) fn helper_args(id: u32) -> usize {
    if id == 1 { 2 } else { (id % 6) as usize }
}

pub(crate) struct Vm<'a> {
    pub object: &'a Object,
    pub program: &'a Program,
    pub memory: Memory,
    pub steps: u64,
    pub calls: u64,
}

type Regs = [Option<u64>; 11];

pub(crate) const STACK_TOP: u64 = 0x7000_0000;

impl<'a> Vm<'a> {
    pub(crate) fn new(object: &'a Object, program: &'a Program) -> Vm<'a> {
        Vm { object, program, memory: Memory::default(), steps: 0, calls: 0 }
    }

    /// Runs the program with the context at `ctx`.
    pub(crate) fn run(&mut self, ctx: u64) -> Result<u64, String> {
        let mut regs: Regs = [None; 11];
        regs[1] = Some(ctx);
        self.function(0, regs, 0)
    }

    fn reloc(&self, at: usize) -> Option<&RelocKind> {
        let i = self.program.relocs.binary_search_by_key(&(at as u32), |r| r.insn).ok()?;
        Some(&self.program.relocs[i].kind)
    }

    fn function(&mut self, start: usize, mut regs: Regs, depth: u64) -> Result<u64, String> {
        let fp = STACK_TOP - depth * 512;
        regs[10] = Some(fp);
        self.memory.forget(fp - 512, 512);
        let mut pc = start;
        loop {
            self.steps += 1;
            if self.steps > 2_000_000 {
                return Err("too many steps".into());
            }
            let insn = *self.program.insns.get(pc).ok_or("ran off the end")?;
            let at = pc;
            pc += 1;
            self.one(insn, at, &mut pc, &mut regs, depth).map_err(|e| format!("insn {at}: {e}"))?;
            if insn.code == class::JMP | jmp::EXIT {
                return regs[0].ok_or_else(|| format!("insn {at}: r0 is not set"));
            }
        }
    }

    fn one(&mut self, i: Insn, at: usize, pc: &mut usize, regs: &mut Regs, depth: u64) -> Result<(), String> {
        let get = |regs: &Regs, r: u8| regs[r as usize].ok_or(format!("r{r} is not set"));
        match i.class() {
            class::LD => {
                let second = self.program.insns[at + 1];
                let value = u64::from(i.imm as u32) | u64::from(second.imm as u32) << 32;
                let value = match (i.src, self.reloc(at)) {
                    (pseudo::MAP_FD, Some(RelocKind::Map(m))) => *m as u64,
                    (pseudo::MAP_VALUE, Some(RelocKind::MapValue(m))) => {
                        let len = self.object.maps[*m].value_size;
                        self.memory.value(*m as u64, 0, len) + u64::from(second.imm as u32)
                    }
                    (0, _) => value,
                    (pseudo::FUNC, _) => (at as i64 + 1 + i64::from(i.imm)) as u64,
                    other => return Err(format!("ld_imm64 {other:?}")),
                };
                regs[i.dst as usize] = Some(value);
                *pc += 1;
            }
            class::LDX => {
                let address = get(regs, i.src)?.wrapping_add(i.off as i64 as u64);
                let len = bytes(i.code);
                let mut value = self.memory.read(address, len)?;
                if i.code & 0xe0 == mode::MEMSX {
                    let unused = 64 - 8 * len;
                    value = (((value << unused) as i64) >> unused) as u64;
                }
                regs[i.dst as usize] = Some(value);
            }
            class::ST => {
                let address = get(regs, i.dst)?.wrapping_add(i.off as i64 as u64);
                self.memory.write(address, bytes(i.code), i.imm as i64 as u64);
            }
            class::STX => {
                let address = get(regs, i.dst)?.wrapping_add(i.off as i64 as u64);
                let value = get(regs, i.src)?;
                if i.code & 0xe0 == mode::ATOMIC {
                    self.atomic(i, address, value, regs)?;
                } else {
                    self.memory.write(address, bytes(i.code), value);
                }
            }
            class::ALU | class::ALU64 => {
                let out = self.alu(i, regs)?;
                regs[i.dst as usize] = Some(out);
            }
            _ => self.jump(i, at, pc, regs, depth)?,
        }
        Ok(())
    }

    fn atomic(&mut self, i: Insn, at: u64, value: u64, regs: &mut Regs) -> Result<(), String> {
        let len = bytes(i.code);
        let old = self.memory.read(at, len)?;
        let new = match i.imm & !atomic::FETCH {
            atomic::ADD => old.wrapping_add(value),
            atomic::OR => old | value,
            atomic::AND => old & value,
            atomic::XOR => old ^ value,
            _ => value,
        };
        self.memory.write(at, len, new);
        if i.imm & atomic::FETCH != 0 {
            regs[i.src as usize] = Some(old);
        }
        Ok(())
    }

    fn alu(&self, i: Insn, regs: &Regs) -> Result<u64, String> {
        let get = |r: u8| regs[r as usize].ok_or(format!("r{r} is not set"));
        let wide = i.class() == class::ALU64;
        let op = i.code & 0xf0;
        let b = if i.code & source::X != 0 && op != alu::END { get(i.src)? } else { i.imm as i64 as u64 };
        if op == alu::MOV {
            let value = match i.off {
                8 => b as i8 as i64 as u64,
                16 => b as i16 as i64 as u64,
                32 => b as i32 as i64 as u64,
                _ => b,
            };
            return Ok(if wide { value } else { u64::from(value as u32) });
        }
        let a = get(i.dst)?;
        if op == alu::END {
            return Ok(match i.imm {
                16 => u64::from((a as u16).swap_bytes()),
                32 => u64::from((a as u32).swap_bytes()),
                _ => a.swap_bytes(),
            });
        }
        if !wide {
            return Ok(u64::from(narrow(op, i.off, a as u32, b as u32)?));
        }
        let (sa, sb) = (a as i64, b as i64);
        Ok(match (op, i.off) {
            (alu::ADD, _) => a.wrapping_add(b),
            (alu::SUB, _) => a.wrapping_sub(b),
            (alu::MUL, _) => a.wrapping_mul(b),
            (alu::DIV | alu::MOD, _) if i.code & source::X == 0 && b == 0 => {
                return Err("division by 0".into());
            }
            (alu::DIV | alu::MOD, 1) if sa == i64::MIN && sb == -1 => return Err("overflow".into()),
            (alu::DIV, 1) => sa.checked_div(sb).unwrap_or(0) as u64,
            (alu::MOD, 1) => sa.checked_rem(sb).unwrap_or(sa) as u64,
            (alu::DIV, _) => a.checked_div(b).unwrap_or(0),
            (alu::MOD, _) => a.checked_rem(b).unwrap_or(a),
            (alu::OR, _) => a | b,
            (alu::AND, _) => a & b,
            (alu::XOR, _) => a ^ b,
            (alu::LSH, _) => a.wrapping_shl(b as u32),
            (alu::RSH, _) => a.wrapping_shr(b as u32),
            (alu::ARSH, _) => sa.wrapping_shr(b as u32) as u64,
            (alu::NEG, _) => a.wrapping_neg(),
            other => return Err(format!("alu {other:?}")),
        })
    }

    fn jump(
        &mut self,
        i: Insn,
        at: usize,
        pc: &mut usize,
        regs: &mut Regs,
        depth: u64,
    ) -> Result<(), String> {
        let get = |regs: &Regs, r: u8| regs[r as usize].ok_or(format!("r{r} is not set"));
        let wide = i.class() == class::JMP;
        let op = i.code & 0xf0;
        match op {
            jmp::EXIT => return Ok(()),
            jmp::CALL => return self.call(i, at, regs, depth),
            jmp::JA => {
                let off = if wide { i64::from(i.off) } else { i64::from(i.imm) };
                *pc = (*pc as i64 + off) as usize;
                return Ok(());
            }
            jmp::JCOND => return Ok(()),
            _ => {}
        }
        let (mut a, mut b) = (get(regs, i.dst)?, i.imm as i64 as u64);
        if i.code & source::X != 0 {
            b = get(regs, i.src)?;
        }
        if !wide {
            (a, b) = (a as i32 as i64 as u64, b as i32 as i64 as u64);
        }
        let (sa, sb) = (a as i64, b as i64);
        let taken = match op {
            jmp::JEQ => a == b,
            jmp::JNE => a != b,
            jmp::JGT => a > b,
            jmp::JGE => a >= b,
            jmp::JLT => a < b,
            jmp::JLE => a <= b,
            jmp::JSGT => sa > sb,
            jmp::JSGE => sa >= sb,
            jmp::JSLT => sa < sb,
            jmp::JSLE => sa <= sb,
            jmp::JSET => a & b != 0,
            _ => return Err(format!("jump {op:#x}")),
        };
        if taken {
            *pc = (*pc as i64 + i64::from(i.off)) as usize;
        }
        Ok(())
    }

    fn call(&mut self, i: Insn, at: usize, regs: &mut Regs, depth: u64) -> Result<(), String> {
        let result = match i.src {
            0 => {
                let n = helper_args(i.imm as u32);
                let mut args = Vec::new();
                for (r, value) in regs.iter().enumerate().skip(1).take(n) {
                    args.push(value.ok_or(format!("argument r{r} is not set"))?);
                }
                let maps = &self.object.maps;
                let size = |m: u64| maps.get(m as usize).map_or(8, |m| m.value_size);
                helper(i.imm as u32, &args, &mut self.memory, &size, &mut self.calls)?
            }
            pseudo::CALL => {
                let mut inner: Regs = [None; 11];
                inner[1..6].copy_from_slice(&regs[1..6]);
                self.function((at as i64 + 1 + i64::from(i.imm)) as usize, inner, depth + 1)?
            }
            other => return Err(format!("call {other}")),
        };
        regs[1..6].fill(None);
        regs[0] = Some(result);
        Ok(())
    }
}

fn narrow(op: u8, off: i16, a: u32, b: u32) -> Result<u32, String> {
    let (sa, sb) = (a as i32, b as i32);
    Ok(match (op, off) {
        (alu::ADD, _) => a.wrapping_add(b),
        (alu::SUB, _) => a.wrapping_sub(b),
        (alu::MUL, _) => a.wrapping_mul(b),
        (alu::DIV | alu::MOD, 1) if sa == i32::MIN && sb == -1 => return Err("overflow".into()),
        (alu::DIV, 1) => sa.checked_div(sb).unwrap_or(0) as u32,
        (alu::MOD, 1) => sa.checked_rem(sb).unwrap_or(sa) as u32,
        (alu::DIV, _) => a.checked_div(b).unwrap_or(0),
        (alu::MOD, _) => a.checked_rem(b).unwrap_or(a),
        (alu::OR, _) => a | b,
        (alu::AND, _) => a & b,
        (alu::XOR, _) => a ^ b,
        (alu::LSH, _) => a.wrapping_shl(b),
        (alu::RSH, _) => a.wrapping_shr(b),
        (alu::ARSH, _) => sa.wrapping_shr(b) as u32,
        (alu::NEG, _) => a.wrapping_neg(),
        other => return Err(format!("alu32 {other:?}")),
    })
}

fn bytes(code: u8) -> u64 {
    match code & 0x18 {
        size::B => 1,
        size::H => 2,
        size::W => 4,
        _ => 8,
    }
}
