//! A small interpreter of the IR: what a function returns and which effects it has, in order. Written from the meaning
//! of the operations alone, so that it can judge the passes.
//!
//! Integers are mathematical 64-bit patterns; pointers are a piece of memory and an offset. A slot is known by its name,
//! which no pass changes. Helpers are made up: a constant one gives a hash of its number and arguments; the others see
//! how many effects came before, too.

use skep_bpf::helpers::{self, Effect};
use skep_compiler::ir::*;
use std::collections::BTreeMap;

/// A value at run time.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Val {
    Int(i64),
    Ptr(String, i64),
}

/// What a run shows to the outside.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Outcome {
    pub(crate) ret: Val,
    /// Helper calls with effects: number, arguments, and the memory that pointers among them point to.
    pub(crate) effects: Vec<(u32, Vec<Val>, Vec<Vec<u8>>)>,
    /// The memory of maps and the context at the end.
    pub(crate) memory: BTreeMap<String, Vec<u8>>,
}

const MEMORY: usize = 64;

struct Machine<'a> {
    func: &'a Function,
    values: Vec<Option<Val>>,
    memory: BTreeMap<String, Vec<u8>>,
    spilled: BTreeMap<(String, i64), Val>,
    effects: Vec<(u32, Vec<Val>, Vec<Vec<u8>>)>,
    budget: u32,
}

/// Runs `func`; `None` when it takes too long.
pub(crate) fn run(func: &Function, args: &[Val]) -> Option<Outcome> {
    let mut memory: BTreeMap<String, Vec<u8>> =
        func.slots.iter().map(|s| (format!("slot {}", s.name), vec![0; s.size as usize])).collect();
    let bytes = |first: u8| (0..MEMORY as u8).map(|i| i.wrapping_mul(151).wrapping_add(first)).collect();
    memory.insert("ctx".to_owned(), bytes(133));
    memory.insert("m0".to_owned(), bytes(7));
    let values = vec![None; func.values.len()];
    let mut m = Machine { func, values, memory, spilled: BTreeMap::new(), effects: Vec::new(), budget: 3 };
    for (param, arg) in func.blocks[0].params.iter().zip(args) {
        m.values[param.index()] = Some(arg.clone());
    }
    let (mut block, mut steps) = (Block(0), 0);
    loop {
        for inst in &func.block(block).insts {
            steps += 1;
            m.step(func.inst(*inst));
        }
        steps += 1;
        if steps > 20_000 {
            return None;
        }
        let edge = match func.block(block).term.as_ref().unwrap() {
            Terminator::Return(v) => {
                let ret = m.get(*v);
                let memory = m.memory.into_iter().filter(|(name, _)| !name.starts_with("slot")).collect();
                return Some(Outcome { ret, effects: m.effects, memory });
            }
            Terminator::Jump(edge) => edge,
            Terminator::Branch { cond, then, other } => {
                if m.cond(cond) {
                    then
                } else {
                    other
                }
            }
            Terminator::MayGoto { body, exit } => {
                let left = m.budget > 0;
                m.budget = m.budget.saturating_sub(1);
                if left { body } else { exit }
            }
        };
        let args: Vec<Val> = edge.args.iter().map(|v| m.get(*v)).collect();
        block = edge.block;
        for (param, arg) in func.block(block).params.iter().zip(args) {
            m.set(*param, arg);
        }
    }
}

fn hash(parts: &[i64]) -> i64 {
    parts.iter().fold(0x9e37_79b9_7f4a_7c15_u64 as i64, |h, p| {
        (h ^ p).wrapping_mul(0x2545_f491_4f6c_dd1d).rotate_left(29)
    })
}

fn narrow(value: i64, bits: u32, signed: bool) -> i64 {
    let modulus = 1i128 << bits;
    let low = i128::from(value).rem_euclid(modulus);
    let shown = if signed && low >= modulus / 2 { low - modulus } else { low };
    // The 64-bit pattern of the number.
    shown as i64
}

impl Machine<'_> {
    fn get(&self, v: Value) -> Val {
        self.values[v.index()].clone().unwrap_or_else(|| panic!("{v} has no value"))
    }

    fn int(&self, v: Value) -> i64 {
        match self.get(v) {
            Val::Int(i) => i,
            Val::Ptr(name, off) => hash(&[name.len() as i64, off]),
        }
    }

    /// Sets a value; an integer must be extended as its type says.
    fn set(&mut self, v: Value, val: Val) {
        if let (Val::Int(i), Type::Int(ty)) = (&val, self.func.type_of(v)) {
            assert_eq!(narrow(*i, ty.bits.into(), ty.signed), *i, "{v}: {i} is no {ty}");
        }
        self.values[v.index()] = Some(val);
    }

    fn step(&mut self, inst: &InstData) {
        let result = self.op(&inst.op);
        if let Some(v) = inst.result {
            self.set(v, result);
        }
    }

    fn op(&mut self, op: &Op) -> Val {
        match op {
            Op::Const(c) => Val::Int(*c),
            Op::CoreConst { value, .. } => Val::Int(*value as i64),
            Op::Bin { op, width, a, b } => Val::Int(bin(*op, *width, self.int(*a), self.int(*b))),
            Op::Un { op: UnOp::Neg, a } => Val::Int(self.int(*a).wrapping_neg()),
            Op::Un { op: UnOp::Bswap(n), a } => {
                let bytes = self.int(*a).to_le_bytes();
                let swapped = bytes[..usize::from(*n)].iter().fold(0u64, |acc, b| acc << 8 | u64::from(*b));
                Val::Int(swapped as i64)
            }
            Op::Un { op: UnOp::Extend(ty), a } => Val::Int(narrow(self.int(*a), ty.bits.into(), ty.signed)),
            Op::Cmp(cond) => Val::Int(self.cond(cond).into()),
            Op::Select { cond, a, b } => self.get(if self.cond(cond) { *a } else { *b }),
            Op::Cast(a) => self.get(*a),
            Op::Bound { v, max } => Val::Int((self.int(*v) as u64).min(*max) as i64),
            Op::PtrAdd { ptr, off } => self.moved(*ptr, self.int(*off)),
            Op::SlotAddr(slot) => Val::Ptr(format!("slot {}", self.func.slots[slot.index()].name), 0),
            Op::MapRef(map) => Val::Ptr(format!("map {map}"), 0),
            Op::MapValueAddr { off, .. } => Val::Ptr("m0".to_owned(), (*off).into()),
            Op::Load { .. } | Op::Store { .. } | Op::Atomic { .. } | Op::Copy { .. } | Op::Zero { .. } => {
                self.access(op)
            }
            Op::Helper { id, args } => self.helper(*id, args),
            other => panic!("not made by the generator: {other}"),
        }
    }

    fn moved(&self, ptr: Value, by: i64) -> Val {
        match self.get(ptr) {
            Val::Ptr(name, off) => Val::Ptr(name, off + by),
            Val::Int(i) => Val::Int(i.wrapping_add(by)),
        }
    }

    fn place(&self, ptr: Value, off: i64) -> (String, i64) {
        match self.moved(ptr, off) {
            Val::Ptr(name, off) => (name, off),
            Val::Int(i) => panic!("{ptr}: access to the address {i}"),
        }
    }

    fn read(&self, place: &(String, i64), len: usize) -> Vec<u8> {
        let start = usize::try_from(place.1).unwrap();
        self.memory[&place.0][start..start + len].to_vec()
    }

    fn write(&mut self, place: &(String, i64), bytes: &[u8]) {
        let start = usize::try_from(place.1).unwrap();
        self.memory.get_mut(&place.0).unwrap()[start..start + bytes.len()].copy_from_slice(bytes);
        self.spilled.retain(|(name, at), _| {
            *name != place.0 || *at + 8 <= place.1 || *at >= place.1 + bytes.len() as i64
        });
    }

    fn access(&mut self, op: &Op) -> Val {
        match op {
            Op::Load { ty, ptr, off } => {
                let place = self.place(*ptr, off.resolved());
                if let Some(pointer) = self.spilled.get(&place) {
                    return pointer.clone();
                }
                let (size, signed) = match ty {
                    Type::Int(int) => (int.bytes(), int.signed),
                    Type::Ptr(_) => (8, false),
                };
                let mut bytes = [0; 8];
                bytes[..size as usize].copy_from_slice(&self.read(&place, size as usize));
                Val::Int(narrow(i64::from_le_bytes(bytes), size * 8, signed))
            }
            Op::Store { size, ptr, off, val } => {
                let place = self.place(*ptr, off.resolved());
                let val = self.get(*val);
                let int = if let Val::Int(i) = val { i } else { -1 };
                self.write(&place, &int.to_le_bytes()[..usize::from(*size)]);
                if let Val::Ptr(..) = val {
                    self.spilled.insert(place, val);
                }
                Val::Int(0)
            }
            Op::Atomic { op, size, ptr, off, val, .. } => {
                let place = self.place(*ptr, (*off).into());
                let mut bytes = [0; 8];
                bytes[..usize::from(*size)].copy_from_slice(&self.read(&place, usize::from(*size)));
                let (old, val) = (i64::from_le_bytes(bytes), self.int(*val));
                let new = match op {
                    AtomicOp::Add => old.wrapping_add(val),
                    AtomicOp::Or => old | val,
                    AtomicOp::And => old & val,
                    AtomicOp::Xor => old ^ val,
                    AtomicOp::Xchg => val,
                };
                self.write(&place, &new.to_le_bytes()[..usize::from(*size)]);
                Val::Int(old)
            }
            Op::Copy { dst, dst_off, src, src_off, len, .. } => {
                let bytes = self.read(&self.place(*src, (*src_off).into()), *len as usize);
                let place = self.place(*dst, (*dst_off).into());
                self.write(&place, &bytes);
                Val::Int(0)
            }
            Op::Zero { dst, off, len, .. } => {
                let place = self.place(*dst, (*off).into());
                self.write(&place, &vec![0; *len as usize]);
                Val::Int(0)
            }
            _ => Val::Int(0),
        }
    }

    fn cond(&self, cond: &Cond) -> bool {
        let (a, b) = (self.get(cond.a), self.get(cond.b));
        let (a, b) = match (a, b) {
            (Val::Int(a), Val::Int(b)) => (a, b),
            // A pointer is not zero.
            (a, b) => (i64::from(matches!(a, Val::Ptr(..))), i64::from(matches!(b, Val::Ptr(..)))),
        };
        let bits = if cond.width == Width::W32 { 32 } else { 64 };
        let (sa, sb) = (narrow(a, bits, true), narrow(b, bits, true));
        let mask = u64::MAX >> (64 - bits);
        let (ua, ub) = (a as u64 & mask, b as u64 & mask);
        match cond.cc {
            Cc::Eq => ua == ub,
            Cc::Ne => ua != ub,
            Cc::Ult => ua < ub,
            Cc::Ule => ua <= ub,
            Cc::Ugt => ua > ub,
            Cc::Uge => ua >= ub,
            Cc::Slt => sa < sb,
            Cc::Sle => sa <= sb,
            Cc::Sgt => sa > sb,
            Cc::Sge => sa >= sb,
            Cc::Set => ua & ub != 0,
        }
    }

    fn helper(&mut self, id: u32, args: &[Value]) -> Val {
        let vals: Vec<Val> = args.iter().map(|a| self.get(*a)).collect();
        let ints: Vec<i64> = args.iter().map(|a| self.int(*a)).collect();
        let effect = helpers::by_id(id).unwrap().effect;
        let mut parts = vec![i64::from(id)];
        if id != helpers::id::MAP_LOOKUP_ELEM {
            parts.extend(ints.iter().zip(&vals).filter(|(_, v)| matches!(v, Val::Int(_))).map(|(i, _)| *i));
        }
        if effect != Effect::Constant {
            parts.push(self.effects.len() as i64);
        }
        let contents: Vec<Vec<u8>> = vals
            .iter()
            .filter_map(|v| match v {
                Val::Ptr(name, off) => self.memory.get(name).map(|m| m[*off as usize..].to_vec()),
                Val::Int(_) => None,
            })
            .collect();
        parts.extend(contents.iter().flatten().map(|b| i64::from(*b)));
        let result = hash(&parts);
        if effect == Effect::Changes {
            self.effects.push((id, vals, contents));
        }
        if id == helpers::id::MAP_LOOKUP_ELEM {
            return if result & 3 == 0 { Val::Int(0) } else { Val::Ptr("m0".to_owned(), 0) };
        }
        Val::Int(result)
    }
}

fn bin(op: BinOp, width: Width, a: i64, b: i64) -> i64 {
    let bits: u32 = if width == Width::W32 { 32 } else { 64 };
    let unsigned = |v: i64| i128::from(v).rem_euclid(1i128 << bits);
    let signed = |v: i64| i128::from(narrow(v, bits, true));
    let (ua, ub, sa, sb) = (unsigned(a), unsigned(b), signed(a), signed(b));
    let count = (ub % i128::from(bits)) as u32;
    let exact: i128 = match op {
        BinOp::Add => ua + ub,
        BinOp::Sub => ua - ub,
        BinOp::Mul => i128::from((ua as u64).wrapping_mul(ub as u64)),
        BinOp::Udiv => ua.checked_div(ub).unwrap_or(0),
        BinOp::Umod => ua.checked_rem(ub).unwrap_or(ua),
        BinOp::Sdiv => sa.checked_div(sb).unwrap_or(0),
        BinOp::Smod => sa.checked_rem(sb).unwrap_or(sa),
        BinOp::And => ua & ub,
        BinOp::Or => ua | ub,
        BinOp::Xor => ua ^ ub,
        BinOp::Shl => i128::from((ua as u64) << count),
        BinOp::Lshr => ua >> count,
        BinOp::Ashr => sa >> count,
    };
    exact.rem_euclid(1i128 << bits) as u64 as i64
}
