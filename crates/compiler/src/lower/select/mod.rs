//! Instruction selection: a function of the IR enters, machine instructions over virtual registers leave.
//!
//! Blocks are selected in reverse postorder. Values that cost no more than naming them (constants, slot and map
//! addresses, pointers at a constant distance, casts, comparisons that only branches use) are not computed where they
//! stand but folded into their users. A `Bound` is computed directly before each user. Results that nothing needs are
//! left out.

mod arith;
mod flow;
mod memory;

use std::collections::HashMap;

use skep_bpf::insn::alu;
use skep_bpf::object::CoreReloc;

use super::chain::Chains;
use super::mir::{Base, Konst, MBlock, MFunc, MInst, MOp, Source, Src, VReg};
use crate::compile::{CompileError, Features};
use crate::ir::cfg::Cfg;
use crate::ir::dom::{DomTree, Loops};
use crate::ir::{Block, Cc, Cond, Function, Inst, Loc, Op, Terminator, Type, Value, Width};

/// Selects `func`.
pub(crate) fn select(func: &Function, features: &Features) -> Result<MFunc, CompileError> {
    let cfg = Cfg::new(func);
    let mut s = Selector::new(func, features, &cfg);
    s.out.blocks = vec![None; func.blocks.len()];
    for &block in cfg.rpo() {
        s.block(block)?;
    }
    let mut out = MFunc {
        name: func.name.clone(),
        kind: func.kind,
        blocks: Vec::new(),
        vregs: s.out.vregs,
        slots: func.slots.iter().map(|s| (s.size, s.align)).collect(),
    };
    flow::place(&mut out, s.out.blocks)?;
    Ok(out)
}

/// What has been selected so far.
struct Partial {
    blocks: Vec<Option<MBlock>>,
    vregs: u32,
}

struct Selector<'a> {
    func: &'a Function,
    features: &'a Features,
    chains: Chains<'a>,
    uses: Vec<u32>,
    /// Comparisons that are folded into every one of their users.
    fused: Vec<bool>,
    needed: Vec<bool>,
    vregs: Vec<Option<VReg>>,
    out: Partial,
    insts: Vec<MInst>,
    loc: Loc,
    loops: Loops,
    /// Addresses of fields that are in registers here.
    fields: HashMap<(VReg, CoreReloc), VReg>,
}

impl<'a> Selector<'a> {
    fn new(func: &'a Function, features: &'a Features, cfg: &Cfg) -> Selector<'a> {
        let mut s = Selector {
            func,
            features,
            chains: Chains::new(func),
            uses: func.use_counts(),
            fused: vec![false; func.values.len()],
            needed: vec![false; func.values.len()],
            vregs: vec![None; func.values.len()],
            out: Partial { blocks: Vec::new(), vregs: 0 },
            insts: Vec::new(),
            loc: Loc::default(),
            loops: Loops::new(cfg, &DomTree::new(cfg)),
            fields: HashMap::new(),
        };
        s.find_fused();
        s.find_needed(cfg);
        s
    }

    fn def(&self, v: Value) -> Option<&'a Op> {
        self.chains.def(v)
    }

    fn root(&self, v: Value) -> Value {
        self.chains.root(v)
    }

    fn int(&self, v: Value) -> Option<i64> {
        self.chains.int(v)
    }

    /// The value as something that needs no register, if it is.
    fn konst(&self, v: Value) -> Option<Konst> {
        let (base, total) = self.chains.parts(v);
        if total == 0
            && let Some(c) = self.int(base)
        {
            return Some(Konst::Int(c));
        }
        let off = i32::try_from(total).ok()?;
        match self.def(base)? {
            Op::SlotAddr(slot) => Some(Konst::Slot { slot: *slot, off }),
            Op::MapValueAddr { map, off: at } => {
                let off = u32::try_from(i64::from(*at) + total).ok()?;
                Some(Konst::MapValue { map: *map, off })
            }
            _ if total != 0 => None,
            Op::MapRef(map) => Some(Konst::Map(*map)),
            Op::FuncAddr(func) => Some(Konst::Func(*func)),
            Op::KernelSymbol(name) => Some(Konst::Symbol(name.clone())),
            Op::CoreConst { value, reloc } => {
                Some(Konst::Core { value: *value, reloc: Box::new(reloc.clone()) })
            }
            _ => None,
        }
    }

    fn vreg(&mut self) -> VReg {
        self.out.vregs += 1;
        VReg(self.out.vregs - 1)
    }

    /// The register that a value is computed into where it stands.
    fn home(&mut self, v: Value) -> VReg {
        if let Some(r) = self.vregs[v.index()] {
            return r;
        }
        let r = self.vreg();
        self.vregs[v.index()] = Some(r);
        r
    }

    fn emit(&mut self, op: MOp) {
        self.insts.push(MInst { op, loc: self.loc });
    }

    /// Whether a pointer sum is folded into its users.
    fn is_folded_sum(&self, off: Value) -> bool {
        self.int(off).is_some_and(|c| i32::try_from(c).is_ok())
            || matches!(self.def(self.root(off)), Some(Op::CoreConst { .. }))
    }

    /// A register that holds the value, here.
    fn reg(&mut self, v: Value) -> VReg {
        if let Some(value) = self.konst(v) {
            let dst = self.vreg();
            self.emit(MOp::Konst { dst, value });
            return dst;
        }
        let v = self.root(v);
        match self.def(v) {
            Some(Op::Bound { v: a, max }) => self.bound(*a, *max),
            Some(Op::PtrAdd { ptr, off }) if self.is_folded_sum(*off) => self.sum(v, *ptr, *off),
            Some(Op::Cmp(cond)) if self.fused[v.index()] => self.compare(*cond),
            _ => self.home(v),
        }
    }

    fn bound(&mut self, a: Value, max: u64) -> VReg {
        let a = self.reg(a);
        let max = match i32::try_from(max) {
            Ok(max) => Src::Imm(max),
            Err(_) => Src::Reg(self.constant(max as i64)),
        };
        let dst = self.vreg();
        self.emit(MOp::Clamp { dst, a, max });
        dst
    }

    fn sum(&mut self, v: Value, ptr: Value, off: Value) -> VReg {
        if let Some(Op::CoreConst { value, reloc }) = self.def(self.root(off)) {
            let a = self.reg(ptr);
            return self.add_core(a, *value, reloc);
        }
        let (base, total) = self.chains.parts(v);
        let a = self.reg(base);
        self.add(a, total)
    }

    /// A register with `a` plus a constant.
    fn add(&mut self, a: VReg, total: i64) -> VReg {
        if total == 0 {
            return a;
        }
        let b = match i32::try_from(total) {
            Ok(imm) => Src::Imm(imm),
            Err(_) => Src::Reg(self.constant(total)),
        };
        let dst = self.vreg();
        self.emit(MOp::Alu { op: alu::ADD, width: Width::W64, off: 0, dst, a: Src::Reg(a), b });
        dst
    }

    fn add_core(&mut self, a: VReg, value: u64, reloc: &CoreReloc) -> VReg {
        let reloc = Box::new(reloc.clone());
        match i32::try_from(value) {
            Ok(off) => {
                let dst = self.vreg();
                self.emit(MOp::AddCore { dst, a, off, reloc });
                dst
            }
            Err(_) => {
                let b = self.vreg();
                self.emit(MOp::Konst { dst: b, value: Konst::Core { value, reloc } });
                let dst = self.vreg();
                let (a, b) = (Src::Reg(a), Src::Reg(b));
                self.emit(MOp::Alu { op: alu::ADD, width: Width::W64, off: 0, dst, a, b });
                dst
            }
        }
    }

    /// A register with a constant.
    fn constant(&mut self, value: i64) -> VReg {
        let dst = self.vreg();
        self.emit(MOp::Konst { dst, value: Konst::Int(value) });
        dst
    }

    /// The value as operand of `width`: an immediate if it is a constant that fits.
    fn src(&mut self, v: Value, width: Width) -> Src {
        match (self.int(v), width) {
            (Some(c), Width::W32) => Src::Imm(c as i32),
            (Some(c), Width::W64) => match i32::try_from(c) {
                Ok(imm) => Src::Imm(imm),
                Err(_) => Src::Reg(self.constant(c)),
            },
            (None, _) => Src::Reg(self.reg(v)),
        }
    }

    /// The value as source of a copy.
    fn source(&mut self, v: Value) -> Source {
        match self.konst(v) {
            Some(k) => Source::Konst(k),
            None => Source::Reg(self.reg(v)),
        }
    }

    /// What a memory access at a constant distance from `ptr` is based on.
    fn base(&mut self, ptr: Value) -> (Base, i64) {
        let (base, total) = self.chains.parts(ptr);
        match self.def(base) {
            Some(Op::SlotAddr(slot)) => (Base::Slot(*slot), total),
            _ => (Base::Reg(self.reg(base)), total),
        }
    }

    fn block(&mut self, at: Block) -> Result<(), CompileError> {
        let block = self.func.block(at);
        self.fields.clear();
        if at == Function::ENTRY {
            self.loc = block.insts.first().map_or(block.loc, |i| self.func.inst(*i).loc);
            for (index, &v) in block.params.iter().enumerate() {
                if self.needed[v.index()] {
                    let dst = self.home(v);
                    self.emit(MOp::Param { dst, index: index as u8 });
                }
            }
        }
        for &inst in &block.insts {
            self.inst(inst)?;
        }
        self.loc = block.loc;
        let Some(term) = &block.term else {
            return Err(CompileError::internal(&self.func.name, format!("block {at} does not end")));
        };
        let term = self.terminator(term);
        let params = match at == Function::ENTRY {
            true => Vec::new(),
            false => self.params(at),
        };
        let insts = std::mem::take(&mut self.insts);
        let head = self.loops.header(at);
        let outer = head.filter(|h| *h == at).and_then(|h| self.loops.parent(h));
        self.out.blocks[at.index()] = Some(MBlock {
            params,
            insts,
            term,
            loc: block.loc,
            cold: block.cold,
            head: head.map(Block::index),
            outer: outer.map(Block::index),
        });
        Ok(())
    }

    fn params(&mut self, at: Block) -> Vec<VReg> {
        let params = &self.func.block(at).params;
        let needed: Vec<Value> = params.iter().copied().filter(|v| self.needed[v.index()]).collect();
        needed.into_iter().map(|v| self.home(v)).collect()
    }

    fn inst(&mut self, inst: Inst) -> Result<(), CompileError> {
        let data = self.func.inst(inst);
        self.loc = data.loc;
        let wanted = data.result.is_some_and(|v| self.needed[v.index()]);
        if !wanted && !data.op.has_side_effect() {
            return Ok(());
        }
        let result = data.result.filter(|_| wanted);
        match &data.op {
            Op::Const(_) | Op::CoreConst { .. } | Op::Cast(_) | Op::Bound { .. } | Op::SlotAddr(_) => {}
            Op::MapRef(_) | Op::MapValueAddr { .. } | Op::FuncAddr(_) | Op::KernelSymbol(_) => {}
            Op::Store { size, ptr, off, val } => self.store(*size, *ptr, off, *val),
            Op::Atomic { .. } => self.atomic(&data.op, result)?,
            Op::Copy { .. } => self.copy(&data.op),
            Op::Zero { dst, off, len, align } => self.zero(*dst, *off, *len, *align),
            Op::Helper { .. } | Op::Kfunc { .. } | Op::Call { .. } => self.call(&data.op, result)?,
            op => {
                if let Some(v) = result {
                    self.value(op, v);
                }
            }
        }
        Ok(())
    }

    /// An operation whose only effect is its result.
    fn value(&mut self, op: &Op, v: Value) {
        match op {
            Op::PtrAdd { off, .. } if self.is_folded_sum(*off) => {}
            Op::PtrAdd { ptr, off } => {
                let (a, b) = (self.reg(*ptr), self.reg(*off));
                let dst = self.home(v);
                let (a, b) = (Src::Reg(a), Src::Reg(b));
                self.emit(MOp::Alu { op: alu::ADD, width: Width::W64, off: 0, dst, a, b });
            }
            Op::Bin { op, width, a, b } => self.bin(*op, *width, *a, *b, v),
            Op::Un { op, a } => self.un(*op, *a, v),
            Op::Cmp(_) if self.fused[v.index()] => {}
            Op::Cmp(cond) => {
                let r = self.compare(*cond);
                self.vregs[v.index()] = Some(r);
            }
            Op::Select { cond, a, b } => self.choose(*cond, *a, *b, v),
            Op::Load { ty, ptr, off } => self.load(*ty, *ptr, off, v),
            _ => {}
        }
    }

    fn type_of(&self, v: Value) -> Type {
        self.func.type_of(v)
    }
}

/// Analysis before selection.
impl Selector<'_> {
    /// The comparison that a condition only asks for its truth, if it does.
    fn tested(&self, cond: &Cond) -> Option<Value> {
        let zero = self.int(cond.b) == Some(0);
        let v = self.root(cond.a);
        let asks = zero && matches!(cond.cc, Cc::Eq | Cc::Ne) && matches!(self.def(v), Some(Op::Cmp(_)));
        asks.then_some(v)
    }

    fn find_fused(&mut self) {
        let mut tests = vec![0u32; self.func.values.len()];
        let mut count = |cond: &Cond| {
            if self.tested(cond) == Some(cond.a) {
                tests[cond.a.index()] += 1;
            }
        };
        for block in &self.func.blocks {
            for inst in &block.insts {
                if let Op::Cmp(cond) | Op::Select { cond, .. } = &self.func.inst(*inst).op {
                    count(cond);
                }
            }
            if let Some(Terminator::Branch { cond, .. }) = &block.term {
                count(cond);
            }
        }
        for (v, n) in tests.into_iter().enumerate() {
            self.fused[v] = n > 0 && n == self.uses[v];
        }
    }

    /// Finds the values that something with an effect depends on.
    fn find_needed(&mut self, cfg: &Cfg) {
        let mut work: Vec<Value> = Vec::new();
        let mut param_of: Vec<Option<(Block, usize)>> = vec![None; self.func.values.len()];
        for &at in cfg.rpo() {
            let block = self.func.block(at);
            for (i, v) in block.params.iter().enumerate() {
                param_of[v.index()] = Some((at, i));
            }
            for inst in &block.insts {
                let op = &self.func.inst(*inst).op;
                if op.has_side_effect() {
                    op.for_each_operand(|v| work.push(v));
                }
            }
            match &block.term {
                Some(Terminator::Branch { cond, .. }) => work.extend([cond.a, cond.b]),
                Some(Terminator::Return(v)) => work.push(*v),
                _ => {}
            }
        }
        while let Some(v) = work.pop() {
            if std::mem::replace(&mut self.needed[v.index()], true) {
                continue;
            }
            if let Some(op) = self.def(v) {
                op.for_each_operand(|v| work.push(v));
            } else if let Some((block, index)) = param_of[v.index()] {
                for &pred in cfg.preds(block) {
                    let edges = self.func.block(pred).term.iter().flat_map(|t| t.edges());
                    work.extend(edges.filter(|e| e.block == block).filter_map(|e| e.args.get(index)));
                }
            }
        }
    }
}
