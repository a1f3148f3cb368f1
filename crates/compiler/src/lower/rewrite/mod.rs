//! Rewriting: machine instructions over virtual registers, with their places, become machine code with labels.
//!
//! Enters: a function, its liveness, its allocation, its frame. Leaves: [`Code`]. Moves between places stand before
//! the instruction at whose position a piece begins; those of an edge at the end of its source, or at the start of its
//! target where that has no other source. A value that is spilled is stored directly after it is defined.

mod assemble;
mod ops;

use skep_bpf::insn::{Insn, Reg, alu, class, jmp, pseudo, size as sz};
use skep_bpf::object::RelocKind;

use super::alloc::{Allocation, Place};
use super::code::{Code, Item, Label, Open};
use super::frame::Frame;
use super::live::Live;
use super::mir::{Konst, MEdge, MFunc, MTerm, Source, VReg};
use super::moves::{From, Move, Sequencer, Step};
use crate::compile::CompileError;
use crate::ir::{FuncKind, Loc};

/// A block's code before blocks are put together.
#[derive(Default)]
struct Body {
    items: Vec<Item>,
    /// Labels bound before an item.
    binds: Vec<(usize, Label)>,
}

/// A block's code: in line, and behind.
#[derive(Default)]
struct Parts {
    body: Body,
    stubs: Body,
}

struct Rewriter<'a> {
    func: &'a MFunc,
    live: &'a Live,
    alloc: &'a Allocation,
    frame: &'a Frame,
    moves: Sequencer,
    body: Body,
    /// What the block being written has out of line.
    stubs: Body,
    next_label: u32,
    pos: u32,
    loc: Loc,
}

/// Code and the spill slots that moves needed beyond the allocated ones.
pub(crate) struct Rewritten {
    pub code: Code,
    pub extra_spills: u32,
}

/// Rewrites `func`.
pub(crate) fn rewrite(
    func: &MFunc,
    live: &Live,
    alloc: &Allocation,
    frame: &Frame,
) -> Result<Rewritten, CompileError> {
    let mut r = Rewriter {
        func,
        live,
        alloc,
        frame,
        moves: Sequencer::new(alloc.spill_slots),
        body: Body::default(),
        stubs: Body::default(),
        next_label: func.blocks.len() as u32,
        pos: 0,
        loc: Loc::default(),
    };
    let mut joints = alloc.joints();
    // What goes to its spill slot is there already.
    joints.retain(|j| matches!(j.2, Place::Reg(_)));
    let mut bodies = Vec::new();
    for b in 0..func.blocks.len() {
        r.block(b, &joints)?;
        bodies.push(Parts { body: std::mem::take(&mut r.body), stubs: std::mem::take(&mut r.stubs) });
    }
    let code = r.assemble(bodies)?;
    Ok(Rewritten { code, extra_spills: r.moves.extra })
}

impl Rewriter<'_> {
    fn bug(&self, what: &str) -> CompileError {
        CompileError::internal(&self.func.name, format!("{what} at position {}", self.pos))
    }

    fn push(&mut self, insn: Insn) {
        self.body.items.push(Item { insn, second: None, target: None, open: None, loc: self.loc });
    }

    fn open(&mut self, insn: Insn, open: Open) {
        self.body.items.push(Item { insn, second: None, target: None, open: Some(open), loc: self.loc });
    }

    fn wide(&mut self, insns: [Insn; 2], open: Option<Open>) {
        let [insn, second] = insns;
        self.body.items.push(Item { insn, second: Some(second), target: None, open, loc: self.loc });
    }

    fn reg_at(&self, v: VReg, pos: u32) -> Result<Reg, CompileError> {
        match self.alloc.at(v, pos) {
            Some(Place::Reg(r)) => Ok(Reg(r)),
            _ => Err(self.bug(&format!("v{} has no register", v.0))),
        }
    }

    fn read(&self, v: VReg) -> Result<Reg, CompileError> {
        self.reg_at(v, self.pos)
    }

    fn late(&self, v: VReg) -> Result<Reg, CompileError> {
        self.reg_at(v, self.pos + 1)
    }

    fn block(&mut self, b: usize, joints: &[(u32, Place, Place)]) -> Result<(), CompileError> {
        let (block, span) = (&self.func.blocks[b], self.live.spans[b]);
        self.pos = span.start;
        self.loc = block.insts.first().map_or(block.loc, |i| i.loc);
        if b == 0 {
            self.check_memory();
        }
        if let [pred] = self.live.preds[b][..]
            && self.func.blocks[pred].term.edges().count() > 1
            && let Some(edge) = self.func.blocks[pred].term.edges().find(|e| e.to == b)
        {
            self.edge_moves(pred, edge)?;
        }
        for &param in &block.params {
            if let (Some(slot), Some(Place::Reg(r))) =
                (self.alloc.spill_slot(param), self.alloc.at(param, span.start))
            {
                self.step(Step::Store(slot, r));
            }
        }
        let mut next = joints.partition_point(|j| j.0 <= span.start);
        for inst in &block.insts {
            self.pos += 2;
            self.loc = inst.loc;
            self.joint_moves(joints, &mut next);
            self.op(&inst.op)?;
            if let Some(dst) = inst.op.dst()
                && let Some(slot) = self.alloc.spill_slot(dst)
            {
                let r = self.late(dst)?;
                self.step(Step::Store(slot, r.0));
            }
        }
        self.pos += 2;
        self.loc = block.loc;
        self.joint_moves(joints, &mut next);
        match &block.term {
            MTerm::Jump(edge) => self.edge_moves(b, edge)?,
            MTerm::Return(source) => self.return_value(source)?,
            MTerm::Branch { .. } | MTerm::MayGoto { .. } => {}
        }
        Ok(())
    }

    /// The verifier takes the memory that a global function gets for possibly null (ARG_PTR_TO_MEM | PTR_MAYBE_NULL,
    /// btf_prepare_func_args, Linux 5.13 to 6.18).
    fn check_memory(&mut self) {
        if !matches!(self.func.kind, FuncKind::Global { bytes: 1.. }) {
            return;
        }
        let there = Label(self.next_label);
        self.next_label += 1;
        let insn = Insn { code: class::JMP | jmp::JNE, dst: Reg::R1.0, ..Insn::default() };
        self.body.items.push(Item { insn, second: None, target: Some(there), open: None, loc: self.loc });
        self.push(Insn::mov_imm(Reg::R0, 0));
        self.push(Insn::exit());
        self.body.binds.push((self.body.items.len(), there));
    }

    fn joint_moves(&mut self, joints: &[(u32, Place, Place)], next: &mut usize) {
        let mut set = Vec::new();
        while let Some(&(at, from, to)) = joints.get(*next).filter(|j| j.0 <= self.pos) {
            *next += 1;
            if at == self.pos {
                set.push(Move { from: From::Place(from), to });
            }
        }
        if !set.is_empty() {
            let (alloc, pos) = (self.alloc, self.pos);
            let steps = self.moves.sequence(set, |r| !alloc.is_taken(r, pos - 1) && !alloc.is_taken(r, pos));
            steps.into_iter().for_each(|s| self.step(s));
        }
    }

    fn edge_moves(&mut self, from: usize, edge: &MEdge) -> Result<(), CompileError> {
        let (out, into) = (self.live.spans[from].end - 1, self.live.spans[edge.to].start);
        let mut set = Vec::new();
        for &v in &self.live.live_in[edge.to] {
            let (Some(from), Some(to)) = (self.alloc.at(v, out), self.alloc.at(v, into)) else {
                return Err(self.bug(&format!("v{} is lost on an edge", v.0)));
            };
            if matches!(to, Place::Reg(_)) {
                set.push(Move { from: From::Place(from), to });
            }
        }
        for (&param, arg) in self.func.blocks[edge.to].params.iter().zip(&edge.args) {
            let Some(to) = self.alloc.at(param, into) else { continue };
            let from = match arg {
                Source::Konst(k) => From::Konst(k.clone()),
                Source::Reg(v) => match self.alloc.at(*v, out) {
                    Some(place) => From::Place(place),
                    None => return Err(self.bug(&format!("v{} is lost on an edge", v.0))),
                },
            };
            set.push(Move { from, to });
        }
        let used: Vec<Place> = set.iter().map(|m| m.to).collect();
        let alloc = self.alloc;
        let steps = self.moves.sequence(set, |r| {
            !alloc.is_taken(r, out) && !alloc.is_taken(r, into) && !used.contains(&Place::Reg(r))
        });
        steps.into_iter().for_each(|s| self.step(s));
        Ok(())
    }

    fn step(&mut self, step: Step) {
        let off = |slot| self.frame.spill(slot);
        match step {
            Step::Copy(to, from) => self.push(Insn::mov_reg(Reg(to), Reg(from))),
            Step::Load(to, slot) => self.push(Insn::load(sz::DW, Reg(to), Reg::FP, off(slot))),
            Step::Store(slot, from) => self.push(Insn::store_reg(sz::DW, Reg::FP, off(slot), Reg(from))),
            Step::StoreImm(slot, imm) => self.push(Insn::store_imm(sz::DW, Reg::FP, off(slot), imm)),
            Step::Konst(to, k) => self.konst(Reg(to), &k),
        }
    }

    fn return_value(&mut self, source: &Source) -> Result<(), CompileError> {
        match source {
            Source::Konst(k) => self.konst(Reg::R0, k),
            Source::Reg(v) => match self.alloc.at(*v, self.pos) {
                Some(Place::Reg(0)) => {}
                Some(Place::Reg(r)) => self.step(Step::Copy(0, r)),
                Some(Place::Spill(s)) => self.step(Step::Load(0, s)),
                None => return Err(self.bug("the returned value is lost")),
            },
        }
        self.push(Insn::exit());
        Ok(())
    }

    fn konst(&mut self, to: Reg, k: &Konst) {
        match k {
            Konst::Int(c) => match i32::try_from(*c) {
                Ok(imm) => self.push(Insn::mov_imm(to, imm)),
                Err(_) if u32::try_from(*c).is_ok() => self.push(Insn::alu32_imm(alu::MOV, to, *c as i32)),
                Err(_) => self.wide(Insn::ld_imm64(to, 0, *c as u64), None),
            },
            Konst::Slot { slot, off } => {
                self.push(Insn::mov_reg(to, Reg::FP));
                self.push(Insn::alu64_imm(alu::ADD, to, self.frame.slot(*slot) + off));
            }
            Konst::Map(map) => {
                let open = Open::Reloc(RelocKind::Map(map.index()));
                self.wide(Insn::ld_imm64(to, pseudo::MAP_FD, 0), Some(open));
            }
            Konst::MapValue { map, off } => {
                let open = Open::Reloc(RelocKind::MapValue(map.index()));
                self.wide(Insn::ld_imm64(to, pseudo::MAP_VALUE, u64::from(*off) << 32), Some(open));
            }
            Konst::Func(func) => self.wide(Insn::ld_imm64(to, pseudo::FUNC, 0), Some(Open::Func(*func))),
            Konst::Symbol(name) => {
                let open = Open::Reloc(RelocKind::KernelSymbol(name.clone()));
                self.wide(Insn::ld_imm64(to, pseudo::BTF_ID, 0), Some(open));
            }
            Konst::Core { value, reloc } => {
                let open = Open::Reloc(RelocKind::Core((**reloc).clone()));
                match i32::try_from(*value) {
                    Ok(imm) => self.open(Insn::mov_imm(to, imm), open),
                    Err(_) => self.wide(Insn::ld_imm64(to, 0, *value), Some(open)),
                }
            }
        }
    }
}
