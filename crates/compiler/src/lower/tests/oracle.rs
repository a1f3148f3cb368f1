//! What a module means: an interpreter of the IR, to compare machine code with.

use std::collections::HashMap;

use super::vm::{Memory, helper};
use crate::ir::{AtomicOp, Edge, FuncId, Function, Module, Op, Terminator, Type, Value, eval};

pub(crate) struct Oracle<'a> {
    pub module: &'a Module,
    pub memory: Memory,
    pub calls: u64,
    steps: u64,
    next_slot: u64,
}

impl<'a> Oracle<'a> {
    pub(crate) fn new(module: &'a Module) -> Oracle<'a> {
        Oracle { module, memory: Memory::default(), calls: 0, steps: 0, next_slot: 0x1000_0000 }
    }

    pub(crate) fn run(&mut self, func: FuncId, args: &[i64]) -> Result<i64, String> {
        let f = &self.module.funcs[func.index()];
        let mut slots = Vec::new();
        for slot in &f.slots {
            slots.push(self.next_slot);
            self.next_slot += u64::from(slot.size).next_multiple_of(16) + 64;
        }
        let mut values: HashMap<Value, i64> =
            f.blocks[0].params.iter().copied().zip(args.iter().copied()).collect();
        let mut at = Function::ENTRY;
        loop {
            let block = f.block(at);
            for inst in &block.insts {
                self.steps += 1;
                if self.steps > 1_000_000 {
                    return Err("too many steps".into());
                }
                let data = f.inst(*inst);
                let out = self.op(f, &data.op, &values, &slots)?;
                if let Some(v) = data.result {
                    values.insert(v, out);
                }
            }
            let get = |v: &Value| values[v];
            let edge: &Edge = match block.term.as_ref().ok_or("no end")? {
                Terminator::Return(v) => return Ok(get(v)),
                Terminator::Jump(e) | Terminator::MayGoto { body: e, .. } => e,
                Terminator::Branch { cond, then, other } => {
                    match eval::cond(cond.cc, cond.width, get(&cond.a), get(&cond.b)) {
                        true => then,
                        false => other,
                    }
                }
            };
            let args: Vec<i64> = edge.args.iter().map(get).collect();
            at = edge.block;
            values.extend(f.block(at).params.iter().copied().zip(args));
        }
    }

    fn op(
        &mut self,
        f: &Function,
        op: &Op,
        values: &HashMap<Value, i64>,
        slots: &[u64],
    ) -> Result<i64, String> {
        let get = |v: &Value| values[v];
        let addr = |ptr: &Value, off: i64| (get(ptr).wrapping_add(off)) as u64;
        Ok(match op {
            Op::Const(c) => *c,
            Op::Bin { op, width, a, b } => eval::bin(*op, *width, get(a), get(b)),
            Op::Un { op, a } => eval::un(*op, get(a)),
            Op::Cmp(c) => i64::from(eval::cond(c.cc, c.width, get(&c.a), get(&c.b))),
            Op::Select { cond: c, a, b } => {
                get(if eval::cond(c.cc, c.width, get(&c.a), get(&c.b)) { a } else { b })
            }
            Op::Cast(a) => get(a),
            Op::Bound { v, max } => (get(v) as u64).min(*max) as i64,
            Op::Load { ty, ptr, off } => {
                let int = match ty {
                    Type::Int(int) => *int,
                    Type::Ptr(_) => crate::ir::IntTy::U64,
                };
                let raw = self.memory.read(addr(ptr, off.resolved()), u64::from(int.bytes()))?;
                eval::extend(int, raw as i64)
            }
            Op::Store { size, ptr, off, val } => {
                self.memory.write(addr(ptr, off.resolved()), u64::from(*size), get(val) as u64);
                0
            }
            Op::Atomic { op, size, ptr, off, val, .. } => {
                let at = addr(ptr, i64::from(*off));
                let old = self.memory.read(at, u64::from(*size))?;
                let val = get(val) as u64;
                let new = match op {
                    AtomicOp::Add => old.wrapping_add(val),
                    AtomicOp::Or => old | val,
                    AtomicOp::And => old & val,
                    AtomicOp::Xor => old ^ val,
                    AtomicOp::Xchg => val,
                };
                self.memory.write(at, u64::from(*size), new);
                old as i64
            }
            Op::PtrAdd { ptr, off } => get(ptr).wrapping_add(get(off)),
            Op::SlotAddr(slot) => slots[slot.index()] as i64,
            Op::MapRef(map) => i64::from(map.0),
            Op::MapValueAddr { map, off } => {
                let size = self.module.object.maps[map.index()].value_size;
                (self.memory.value(u64::from(map.0), 0, size) + u64::from(*off)) as i64
            }
            Op::Copy { dst, dst_off, src, src_off, len, .. } => {
                for i in 0..i64::from(*len) {
                    let byte = self.memory.read(addr(src, i64::from(*src_off) + i), 1)?;
                    self.memory.write(addr(dst, i64::from(*dst_off) + i), 1, byte);
                }
                0
            }
            Op::Zero { dst, off, len, .. } => {
                self.memory.write_zero(addr(dst, i64::from(*off)), u64::from(*len));
                0
            }
            Op::Helper { id, args } => {
                let args: Vec<u64> = args.iter().map(|v| get(v) as u64).collect();
                let maps = &self.module.object.maps;
                let size = |m: u64| maps.get(m as usize).map_or(8, |m| m.value_size);
                helper(*id, &args, &mut self.memory, &size, &mut self.calls)? as i64
            }
            Op::Call { func, args } => {
                let args: Vec<i64> = args.iter().map(get).collect();
                self.run(*func, &args)?
            }
            other => return Err(format!("{}: {other:?} is not interpreted", f.name)),
        })
    }
}

impl Memory {
    fn write_zero(&mut self, at: u64, len: u64) {
        (0..len).for_each(|i| self.write(at + i, 1, 0));
    }
}
