//! Rewriting of single operations.

use skep_bpf::insn::{Insn, Reg, alu, class, jmp, mode, pseudo, size as sz, source};
use skep_bpf::object::{CoreReloc, RelocKind};

use super::Rewriter;
use crate::compile::CompileError;
use crate::ir::Width;
use crate::lower::alloc::Place;
use crate::lower::code::{Item, Label, Open};
use crate::lower::mir::{Addr, Arg, Base, Callee, Ext, Fix, MCond, MOp, Source, Src, VReg};
use crate::lower::moves::{From, Move};

type Done = Result<(), CompileError>;

fn size_code(size: u8) -> u8 {
    match size {
        1 => sz::B,
        2 => sz::H,
        4 => sz::W,
        _ => sz::DW,
    }
}

fn alu_insn(op: u8, width: Width, dst: Reg, b: Result<Reg, i32>) -> Insn {
    match (width, b) {
        (Width::W64, Ok(b)) => Insn::alu64_reg(op, dst, b),
        (Width::W64, Err(imm)) => Insn::alu64_imm(op, dst, imm),
        (Width::W32, Ok(b)) => Insn::alu32_reg(op, dst, b),
        (Width::W32, Err(imm)) => Insn::alu32_imm(op, dst, imm),
    }
}

/// A conditional jump whose offset is still open.
pub(super) fn jump_insn(op: u8, width: Width, a: Reg, b: Result<Reg, i32>) -> Insn {
    let class = if width == Width::W32 { class::JMP32 } else { class::JMP };
    match b {
        Ok(b) => Insn { code: class | op | source::X, dst: a.0, src: b.0, ..Insn::default() },
        Err(imm) => Insn { code: class | op | source::K, dst: a.0, imm, ..Insn::default() },
    }
}

impl Rewriter<'_> {
    fn mov(&mut self, to: Reg, from: Reg) {
        if to != from {
            self.push(Insn::mov_reg(to, from));
        }
    }

    /// The register or immediate of an operand that is read late.
    fn late_src(&self, src: Src) -> Result<Result<Reg, i32>, CompileError> {
        Ok(match src {
            Src::Reg(v) => Ok(self.late(v)?),
            Src::Imm(imm) => Err(imm),
        })
    }

    /// Brings an early operand to a register.
    fn bring(&mut self, to: Reg, src: Src) -> Done {
        match src {
            Src::Reg(v) => {
                let from = self.read(v)?;
                self.mov(to, from);
            }
            Src::Imm(imm) => self.push(Insn::mov_imm(to, imm)),
        }
        Ok(())
    }

    pub(super) fn op(&mut self, op: &MOp) -> Done {
        match op {
            MOp::Param { dst, index } => {
                let dst = self.late(*dst)?;
                self.mov(dst, Reg(index + 1));
            }
            MOp::Result { dst } => {
                let dst = self.late(*dst)?;
                self.mov(dst, Reg::R0);
            }
            MOp::Konst { dst, value } => {
                let dst = self.late(*dst)?;
                self.konst(dst, value);
            }
            MOp::Mov { dst, src, ext } => self.copy(*dst, *src, *ext)?,
            MOp::Alu { op, width, off, dst, a, b } => {
                let dst = self.late(*dst)?;
                let b = self.late_src(*b)?;
                self.bring(dst, *a)?;
                self.push(Insn { off: *off, ..alu_insn(*op, *width, dst, b) });
            }
            MOp::AddCore { dst, a, off, reloc } => {
                let dst = self.late(*dst)?;
                self.bring(dst, Src::Reg(*a))?;
                self.add_core(dst, *off, reloc);
            }
            MOp::Neg { width, dst, a } => {
                let dst = self.late(*dst)?;
                self.bring(dst, Src::Reg(*a))?;
                self.push(alu_insn(alu::NEG, *width, dst, Err(0)));
            }
            MOp::Swap { dst, a, bits, always } => {
                let dst = self.late(*dst)?;
                self.bring(dst, Src::Reg(*a))?;
                // Both architectures are little-endian: "to big endian" swaps.
                let code = if *always { class::ALU64 | source::K } else { class::ALU | source::X };
                let imm = i32::from(*bits);
                self.push(Insn { code: code | alu::END, dst: dst.0, imm, ..Insn::default() });
            }
            MOp::Select { .. } | MOp::NegIf { .. } | MOp::Clamp { .. } => self.conditional(op)?,
            MOp::Call { callee, args } => self.call(callee, args)?,
            _ => self.memory(op)?,
        }
        Ok(())
    }

    fn copy(&mut self, dst: VReg, src: VReg, ext: Ext) -> Done {
        let (dst, src) = (self.late(dst)?, self.read(src)?);
        match ext {
            Ext::None => self.mov(dst, src),
            Ext::Zero32 => self.push(Insn::alu32_reg(alu::MOV, dst, src)),
            Ext::Sign(bits) => self.push(Insn { off: i16::from(bits), ..Insn::mov_reg(dst, src) }),
        }
        Ok(())
    }

    fn add_core(&mut self, dst: Reg, off: i32, reloc: &CoreReloc) {
        let open = Open::Reloc(RelocKind::Core(reloc.clone()));
        self.open(Insn::alu64_imm(alu::ADD, dst, off), open);
    }

    fn address(&self, addr: &Addr, pos: u32) -> Result<(Reg, i16), CompileError> {
        let (reg, off) = match addr.base {
            Base::Reg(v) => (self.reg_at(v, pos)?, addr.off),
            Base::Slot(slot) => (Reg::FP, self.frame.slot(slot) + addr.off),
        };
        match i16::try_from(off) {
            Ok(off) => Ok((reg, off)),
            Err(_) => Err(self.bug("a memory offset does not fit")),
        }
    }

    fn access(&mut self, insn: Insn, addr: &Addr) {
        match &addr.core {
            Some(reloc) => self.open(insn, Open::Reloc(RelocKind::Core((**reloc).clone()))),
            None => self.push(insn),
        }
    }

    fn memory(&mut self, op: &MOp) -> Done {
        match op {
            MOp::Load { size, signed, dst, addr } => {
                let dst = self.late(*dst)?;
                let (base, off) = self.address(addr, self.pos)?;
                let mut insn = Insn::load(size_code(*size), dst, base, off);
                if *signed {
                    insn.code = class::LDX | size_code(*size) | mode::MEMSX;
                }
                self.access(insn, addr);
            }
            MOp::Store { size, addr, src } => {
                let (base, off) = self.address(addr, self.pos)?;
                let insn = match src {
                    Src::Reg(v) => Insn::store_reg(size_code(*size), base, off, self.read(*v)?),
                    Src::Imm(imm) => Insn::store_imm(size_code(*size), base, off, *imm),
                };
                self.access(insn, addr);
            }
            MOp::Atomic { op, size, addr, src } => {
                let (base, off) = self.address(addr, self.pos)?;
                let src = self.read(*src)?;
                self.push(Insn::atomic(size_code(*size), *op, base, off, src));
            }
            MOp::AtomicFetch { op, size, dst, addr, src } => {
                let dst = self.late(*dst)?;
                let (base, off) = self.address(addr, self.pos + 1)?;
                self.bring(dst, Src::Reg(*src))?;
                self.push(Insn::atomic(size_code(*size), *op, base, off, dst));
            }
            _ => return Err(self.bug("an operation has no form")),
        }
        Ok(())
    }

    pub(super) fn new_label(&mut self) -> Label {
        self.next_label += 1;
        Label(self.next_label - 1)
    }

    fn bind(&mut self, label: Label) {
        self.body.binds.push((self.body.items.len(), label));
    }

    pub(super) fn jump_to(&mut self, insn: Insn, target: Label) {
        let item = Item { insn, second: None, target: Some(target), open: None, loc: self.loc };
        self.body.items.push(item);
    }

    /// Jumps to `over` when the condition does not hold.
    fn unless(&mut self, cond: &MCond, over: Label) -> Done {
        let (a, b) = (self.late(cond.a)?, self.late_src(cond.b)?);
        match MCond::inverse(cond.op) {
            Some(op) => self.jump_to(jump_insn(op, cond.width, a, b), over),
            None => {
                let holds = self.new_label();
                self.jump_to(jump_insn(cond.op, cond.width, a, b), holds);
                self.jump_to(Insn::ja(0), over);
                self.bind(holds);
            }
        }
        Ok(())
    }

    fn conditional(&mut self, op: &MOp) -> Done {
        match op {
            MOp::Select { dst, cond, then, other } => {
                let dst = self.late(*dst)?;
                self.bring(dst, *then)?;
                let (a, b) = (self.late(cond.a)?, self.late_src(cond.b)?);
                let over = self.new_label();
                self.jump_to(jump_insn(cond.op, cond.width, a, b), over);
                match self.late_src(*other)? {
                    Ok(from) => self.push(Insn::mov_reg(dst, from)),
                    Err(imm) => self.push(Insn::mov_imm(dst, imm)),
                }
                self.bind(over);
            }
            MOp::NegIf { dst, cond, a } => {
                let dst = self.late(*dst)?;
                self.bring(dst, Src::Reg(*a))?;
                let over = self.new_label();
                self.unless(cond, over)?;
                self.push(alu_insn(alu::NEG, Width::W64, dst, Err(0)));
                self.bind(over);
            }
            MOp::Clamp { dst, a, max } => {
                let dst = self.late(*dst)?;
                let max = self.late_src(*max)?;
                self.bring(dst, Src::Reg(*a))?;
                self.clamp(dst, max);
            }
            _ => return Err(self.bug("an operation has no form")),
        }
        Ok(())
    }

    /// The way for values above the bound lies behind the function: the verifier walks the fall-through first, knows
    /// the whole range there, and finds the other way covered by it when it comes back.
    fn clamp(&mut self, dst: Reg, max: Result<Reg, i32>) {
        let (above, back) = (self.new_label(), self.new_label());
        self.jump_to(jump_insn(jmp::JGT, Width::W64, dst, max), above);
        self.bind(back);
        self.stubs.binds.push((self.stubs.items.len(), above));
        let insn = match max {
            Ok(from) => Insn::mov_reg(dst, from),
            Err(imm) => Insn::mov_imm(dst, imm),
        };
        self.stubs.items.push(Item { insn, second: None, target: None, open: None, loc: self.loc });
        self.stubs.items.push(Item::jump(back, self.loc));
    }

    fn call(&mut self, callee: &Callee, args: &[Arg]) -> Done {
        let mut set = Vec::new();
        for (i, arg) in args.iter().enumerate() {
            let from = match &arg.from {
                Source::Konst(k) => From::Konst(k.clone()),
                Source::Reg(v) => match self.alloc.at(*v, self.pos) {
                    Some(place) => From::Place(place),
                    None => return Err(self.bug("an argument is lost")),
                },
            };
            set.push(Move { from, to: Place::Reg(i as u8 + 1) });
        }
        let (alloc, pos, count) = (self.alloc, self.pos, args.len() as u8);
        let free = |r: u8| {
            !(1..=count).contains(&r) && !alloc.is_taken(r, pos) && (r < 6 || !alloc.is_taken(r, pos + 1))
        };
        let steps = self.moves.sequence(set, free);
        steps.into_iter().for_each(|s| self.step(s));
        for (i, arg) in args.iter().enumerate() {
            let reg = Reg(i as u8 + 1);
            match &arg.fix {
                Fix::None => {}
                Fix::Add(imm) => self.push(Insn::alu64_imm(alu::ADD, reg, *imm)),
                Fix::AddCore(off, reloc) => self.add_core(reg, *off, reloc),
                Fix::Clamp(max) => self.clamp(reg, Err(*max)),
            }
        }
        match callee {
            Callee::Helper(id) => self.push(Insn::call_helper(*id)),
            Callee::Kfunc(name) => {
                let insn = Insn { src: pseudo::KFUNC_CALL, ..Insn::call_helper(0) };
                self.open(insn, Open::Reloc(RelocKind::Kfunc(name.clone())));
            }
            Callee::Func(func) => {
                let insn = Insn { src: pseudo::CALL, ..Insn::call_helper(0) };
                self.open(insn, Open::Func(*func));
            }
        }
        Ok(())
    }
}
