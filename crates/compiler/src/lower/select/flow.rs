//! Selection of conditions, calls and block ends, and the placing of blocks.

use skep_bpf::insn::jmp;

use super::Selector;
use crate::compile::{CompileError, Cpu};
use crate::ir::{Cc, Cond, Edge, Op, Terminator, Type, UnOp, Value, Width, eval};
use crate::lower::mir::{Arg, Callee, Fix, MBlock, MCond, MEdge, MFunc, MOp, MTerm, Source, Src, VReg};

/// Jump operation of each comparison, and that with its operands exchanged.
const CONDITIONS: [(Cc, u8, u8); 11] = [
    (Cc::Eq, jmp::JEQ, jmp::JEQ),
    (Cc::Ne, jmp::JNE, jmp::JNE),
    (Cc::Ult, jmp::JLT, jmp::JGT),
    (Cc::Ule, jmp::JLE, jmp::JGE),
    (Cc::Ugt, jmp::JGT, jmp::JLT),
    (Cc::Uge, jmp::JGE, jmp::JLE),
    (Cc::Slt, jmp::JSLT, jmp::JSGT),
    (Cc::Sle, jmp::JSLE, jmp::JSGE),
    (Cc::Sgt, jmp::JSGT, jmp::JSLT),
    (Cc::Sge, jmp::JSGE, jmp::JSLE),
    (Cc::Set, jmp::JSET, jmp::JSET),
];

fn codes(cc: Cc) -> (u8, u8) {
    CONDITIONS.iter().find(|c| c.0 == cc).map_or((jmp::JEQ, jmp::JEQ), |c| (c.1, c.2))
}

impl Selector<'_> {
    /// The condition that is asked in the end, and whether its answer is turned round.
    fn resolve(&self, mut cond: Cond) -> (Cond, bool) {
        let mut turned = false;
        while let Some(v) = self.tested(&cond)
            && self.fused[v.index()]
            && let Some(Op::Cmp(inner)) = self.def(v)
        {
            turned ^= cond.cc == Cc::Eq;
            cond = *inner;
        }
        (cond, turned)
    }

    /// The condition in the machine's form.
    pub(super) fn condition(&mut self, cond: Cond) -> MCond {
        let (mut op, swapped) = codes(cond.cc);
        let (mut a, mut b, mut width) = (cond.a, cond.b, cond.width);
        if self.int(a).is_some() && self.int(b).is_none() {
            (a, b, op) = (b, a, swapped);
        }
        if width == Width::W64 && self.narrow(cond.cc, a, b) {
            width = Width::W32;
        }
        if width == Width::W32 && self.features.cpu < Cpu::V3 {
            let signed = matches!(cond.cc, Cc::Slt | Cc::Sle | Cc::Sgt | Cc::Sge);
            let (a, b) = (self.reg(a), self.reg(b));
            let (a, b) = (self.extended(a, 32, signed), self.extended(b, 32, signed));
            return MCond { op, width: Width::W64, a, b: Src::Reg(b) };
        }
        let a = self.reg(a);
        let b = self.src(b, width);
        MCond { op, width, a, b }
    }

    /// Whether a comparison with a constant beyond 31 bits may look at the low halves alone.
    fn narrow(&self, cc: Cc, a: Value, b: Value) -> bool {
        let Type::Int(ty) = self.type_of(a) else { return false };
        let unsigned = !matches!(cc, Cc::Slt | Cc::Sle | Cc::Sgt | Cc::Sge);
        let small = ty.bits <= 32 && !ty.signed && self.features.cpu >= Cpu::V3;
        let far = self.int(b).is_some_and(|c| i32::try_from(c).is_err() && u32::try_from(c).is_ok());
        unsigned && small && far
    }

    /// 1 or 0 in a new register.
    pub(super) fn compare(&mut self, cond: Cond) -> VReg {
        let (cond, turned) = self.resolve(cond);
        let cond = self.condition(cond);
        let dst = self.vreg();
        let (then, other) = (Src::Imm(i32::from(!turned)), Src::Imm(i32::from(turned)));
        self.emit(MOp::Select { dst, cond, then, other });
        dst
    }

    pub(super) fn choose(&mut self, cond: Cond, a: Value, b: Value, v: Value) {
        let (cond, turned) = self.resolve(cond);
        let (a, b) = if turned { (b, a) } else { (a, b) };
        let cond = self.condition(cond);
        let (then, other) = (self.src(a, Width::W64), self.src(b, Width::W64));
        let dst = self.home(v);
        self.emit(MOp::Select { dst, cond, then, other });
    }

    fn edge(&mut self, edge: &Edge) -> MEdge {
        let mut args = Vec::new();
        let params = &self.func.block(edge.block).params;
        for (param, &arg) in params.iter().zip(&edge.args) {
            if self.needed[param.index()] {
                let source = self.source(arg);
                args.push(source);
            }
        }
        MEdge { to: edge.block.index(), args }
    }

    pub(super) fn terminator(&mut self, term: &Terminator) -> MTerm {
        match term {
            Terminator::Jump(edge) => MTerm::Jump(self.edge(edge)),
            Terminator::Return(v) => MTerm::Return(self.source(*v)),
            Terminator::MayGoto { body, exit } => {
                let (body, exit) = (self.edge(body), self.edge(exit));
                match self.features.may_goto {
                    true => MTerm::MayGoto { body, exit },
                    false => MTerm::Jump(body),
                }
            }
            Terminator::Branch { cond, then, other } => {
                let (cond, turned) = self.resolve(*cond);
                let (then, other) = if turned { (other, then) } else { (then, other) };
                if let (Some(a), Some(b)) = (self.int(cond.a), self.int(cond.b)) {
                    let holds = eval::cond(cond.cc, cond.width, a, b);
                    return MTerm::Jump(self.edge(if holds { then } else { other }));
                }
                let (then, other) = (self.edge(then), self.edge(other));
                MTerm::Branch { cond: self.condition(cond), then, other }
            }
        }
    }

    fn arg(&mut self, v: Value) -> Arg {
        if let Some(k) = self.konst(v) {
            return Arg { from: Source::Konst(k), fix: Fix::None };
        }
        let root = self.root(v);
        let (from, fix) = match self.def(root) {
            Some(Op::Bound { v: a, max }) if i32::try_from(*max).is_ok() => {
                (self.reg(*a), Fix::Clamp(*max as i32))
            }
            Some(Op::PtrAdd { ptr, off }) if self.is_folded_sum(*off) => self.pointer_arg(root, *ptr, *off),
            _ => (self.reg(root), Fix::None),
        };
        Arg { from: Source::Reg(from), fix }
    }

    fn pointer_arg(&mut self, v: Value, ptr: Value, off: Value) -> (VReg, Fix) {
        if let Some(Op::CoreConst { value, reloc }) = self.def(self.root(off)) {
            let a = self.reg(ptr);
            return match i32::try_from(*value) {
                Ok(off) => (a, Fix::AddCore(off, Box::new(reloc.clone()))),
                Err(_) => (self.add_core(a, *value, reloc), Fix::None),
            };
        }
        let (base, total) = self.chains.parts(v);
        let a = self.reg(base);
        match i32::try_from(total) {
            Ok(total) => (a, Fix::Add(total)),
            Err(_) => (self.add(a, total), Fix::None),
        }
    }

    pub(super) fn call(&mut self, op: &Op, result: Option<Value>) -> Result<(), CompileError> {
        let (callee, args) = match op {
            Op::Helper { id, args } => (Callee::Helper(*id), args),
            Op::Kfunc { name, args } => (Callee::Kfunc(name.clone()), args),
            Op::Call { func, args } => (Callee::Func(*func), args),
            _ => return Ok(()),
        };
        if args.len() > 5 {
            return Err(CompileError::internal(
                &self.func.name,
                "a call has more than five arguments".into(),
            ));
        }
        let args = args.iter().map(|v| self.arg(*v)).collect();
        self.emit(MOp::Call { callee, args });
        self.fields.clear();
        if let Some(v) = result {
            let dst = self.home(v);
            self.emit(MOp::Result { dst });
        }
        Ok(())
    }

    /// A register with the low bits of `a`, extended.
    pub(super) fn extended(&mut self, a: VReg, bits: u8, signed: bool) -> VReg {
        let dst = self.vreg();
        self.extend_into(dst, a, UnOp::Extend(crate::ir::IntTy { bits, signed }));
        dst
    }
}

/// Puts the reachable blocks in the order of their numbers, then splits critical edges.
pub(super) fn place(out: &mut MFunc, blocks: Vec<Option<MBlock>>) -> Result<(), CompileError> {
    let mut seen = vec![false; blocks.len()];
    let mut work = vec![0usize];
    while let Some(b) = work.pop() {
        let Some(Some(block)) = blocks.get(b) else {
            return Err(CompileError::internal(&out.name, format!("edge to a missing block {b}")));
        };
        if !std::mem::replace(&mut seen[b], true) {
            work.extend(block.term.edges().map(|e| e.to));
        }
    }
    let mut place = Vec::with_capacity(blocks.len());
    let mut next = 0;
    for s in &seen {
        place.push(next);
        next += usize::from(*s);
    }
    for (mut block, _) in blocks.into_iter().zip(seen).filter(|b| b.1).filter_map(|b| Some((b.0?, b.1))) {
        for edge in block.term.edges_mut() {
            edge.to = place[edge.to];
        }
        (block.head, block.outer) = (block.head.map(|h| place[h]), block.outer.map(|h| place[h]));
        out.blocks.push(block);
    }
    split_critical(out);
    Ok(())
}

fn split_critical(out: &mut MFunc) {
    let mut preds = vec![0u32; out.blocks.len()];
    for block in &out.blocks {
        block.term.edges().for_each(|e| preds[e.to] += 1);
    }
    let mut after: Vec<Vec<MBlock>> = vec![Vec::new(); out.blocks.len()];
    let mut next = out.blocks.len();
    let mut new = Vec::new();
    let heads: Vec<Option<usize>> = out.blocks.iter().map(|b| b.head).collect();
    for (i, block) in out.blocks.iter_mut().enumerate() {
        if block.term.edges().count() < 2 {
            continue;
        }
        let (loc, cold) = (block.loc, block.cold);
        for edge in block.term.edges_mut().filter(|e| preds[e.to] > 1) {
            let jump = MTerm::Jump(MEdge { to: edge.to, args: std::mem::take(&mut edge.args) });
            // In a loop only if both ends are in it.
            let head = if heads[i] == heads[edge.to] { heads[i] } else { None };
            let (params, insts) = (Vec::new(), Vec::new());
            after[i].push(MBlock { params, insts, term: jump, loc, cold, head, outer: None });
            new.push(i);
            edge.to = next;
            next += 1;
        }
    }
    if new.is_empty() {
        return;
    }
    // The new blocks stand directly behind the ones that lead to them.
    let mut place = vec![0usize; next];
    let (mut at, mut extra) = (0, out.blocks.len());
    for (i, new) in after.iter().enumerate() {
        place[i] = at;
        at += 1;
        for _ in new {
            place[extra] = at;
            (at, extra) = (at + 1, extra + 1);
        }
    }
    let old = std::mem::take(&mut out.blocks);
    for (block, new) in old.into_iter().zip(after) {
        out.blocks.push(block);
        out.blocks.extend(new);
    }
    for block in &mut out.blocks {
        (block.head, block.outer) = (block.head.map(|h| place[h]), block.outer.map(|h| place[h]));
        block.term.edges_mut().for_each(|e| e.to = place[e.to]);
    }
}
