//! Selection of loads, stores, atomics, copies and zeroing.

use skep_bpf::insn::atomic;
use skep_bpf::object::CoreReloc;

use super::Selector;
use crate::compile::{CompileError, Cpu};
use crate::ir::{AtomicOp, IntTy, Offset, Op, PtrKind, Type, UnOp, Value, Width};
use crate::lower::chain::chunks;
use crate::lower::mir::{Addr, Base, MOp, Src, VReg};

const ATOMICS: [(AtomicOp, i32); 5] = [
    (AtomicOp::Add, atomic::ADD),
    (AtomicOp::Or, atomic::OR),
    (AtomicOp::And, atomic::AND),
    (AtomicOp::Xor, atomic::XOR),
    (AtomicOp::Xchg, atomic::XCHG),
];

impl Selector<'_> {
    fn at(&mut self, base: Base, total: i64, span: i64) -> Addr {
        let near = i16::try_from(total).is_ok() && i16::try_from(total + span).is_ok();
        match base {
            Base::Reg(r) if !near => Addr { base: Base::Reg(self.add(r, total)), off: 0, core: None },
            base => Addr { base, off: total as i32, core: None },
        }
    }

    fn addr(&mut self, ptr: Value, off: &Offset) -> Addr {
        let (base, total) = self.base(ptr);
        let total = total + i64::from(off.add);
        let Some((value, reloc)) = &off.core else { return self.at(base, total, 0) };
        let (base, total) = match base {
            Base::Reg(r) => (r, total),
            Base::Slot(_) => (self.reg(ptr), i64::from(off.add)),
        };
        match i16::try_from(*value) {
            Ok(value) if total == 0 => {
                let core = Some(Box::new(reloc.clone()));
                Addr { base: Base::Reg(base), off: i32::from(value), core }
            }
            _ => {
                let field = self.field(base, u64::from(*value), reloc);
                self.at(Base::Reg(field), total, 0)
            }
        }
    }

    /// A register with the address of a field: what lies at a distance from its start shares it, up to the next call.
    fn field(&mut self, base: VReg, value: u64, reloc: &CoreReloc) -> VReg {
        let key = (base, reloc.clone());
        if let Some(known) = self.fields.get(&key) {
            return *known;
        }
        let field = self.add_core(base, value, reloc);
        self.fields.insert(key, field);
        field
    }

    pub(super) fn load(&mut self, ty: Type, ptr: Value, off: &Offset, v: Value) {
        let addr = self.addr(ptr, off);
        let dst = self.home(v);
        let int = match ty {
            Type::Int(int) => int,
            // The context holds the packet's bounds in 32 bits, which the kernel makes pointers of.
            Type::Ptr(PtrKind::Packet | PtrKind::PacketEnd)
                if self.func.type_of(ptr) == Type::Ptr(PtrKind::Ctx) =>
            {
                IntTy::U32
            }
            Type::Ptr(_) => IntTy::U64,
        };
        self.load_int(int, addr, dst);
    }

    fn load_int(&mut self, int: IntTy, addr: Addr, dst: VReg) {
        let size = int.bytes() as u8;
        if !int.signed || size == 8 {
            return self.emit(MOp::Load { size, signed: false, dst, addr });
        }
        if self.features.cpu >= Cpu::V4 {
            return self.emit(MOp::Load { size, signed: true, dst, addr });
        }
        let t = self.vreg();
        self.emit(MOp::Load { size, signed: false, dst: t, addr });
        self.extend_into(dst, t, UnOp::Extend(int));
    }

    pub(super) fn store(&mut self, size: u8, ptr: Value, off: &Offset, val: Value) {
        let addr = self.addr(ptr, off);
        let width = if size == 8 { Width::W64 } else { Width::W32 };
        let src = self.src(val, width);
        self.emit(MOp::Store { size, addr, src });
    }

    pub(super) fn atomic(&mut self, op: &Op, result: Option<Value>) -> Result<(), CompileError> {
        let Op::Atomic { op, size, ptr, off, val, fetch } = op else { return Ok(()) };
        let Some(&(_, code)) = ATOMICS.iter().find(|a| a.0 == *op) else { return Ok(()) };
        let addr = self.addr(*ptr, &Offset::at(*off));
        let src = self.reg(*val);
        let fetches = *op == AtomicOp::Xchg || (*fetch && result.is_some());
        if (fetches || *op != AtomicOp::Add) && !self.features.fetch_atomics {
            let what = "an atomic operation that the kernel has from 5.12 on".to_owned();
            return Err(CompileError::Unsupported { what, function: self.func.name.clone(), loc: self.loc });
        }
        if !fetches {
            self.emit(MOp::Atomic { op: code, size: *size, addr, src });
            return Ok(());
        }
        let dst = match result {
            Some(v) => self.home(v),
            None => self.vreg(),
        };
        let signed = result.is_some_and(|v| matches!(self.type_of(v), Type::Int(ty) if ty.signed));
        let code = code | atomic::FETCH;
        if *size == 4 && signed {
            let t = self.vreg();
            self.emit(MOp::AtomicFetch { op: code, size: *size, dst: t, addr, src });
            self.extend_into(dst, t, UnOp::Extend(IntTy::I32));
        } else {
            self.emit(MOp::AtomicFetch { op: code, size: *size, dst, addr, src });
        }
        Ok(())
    }

    pub(super) fn copy(&mut self, op: &Op) {
        let Op::Copy { dst, dst_off, src, src_off, len, align } = op else { return };
        let chains = &self.chains;
        let align = chains.alignment(*dst, *dst_off, *align).min(chains.alignment(*src, *src_off, *align));
        let (to, to_off) = self.base(*dst);
        let (from, from_off) = self.base(*src);
        let span = i64::from(*len);
        let to = self.at(to, to_off + i64::from(*dst_off), span);
        let from = self.at(from, from_off + i64::from(*src_off), span);
        for (size, at) in chunks(*len, align) {
            let t = self.vreg();
            let addr = Addr { off: from.off.saturating_add(at), ..from.clone() };
            self.emit(MOp::Load { size, signed: false, dst: t, addr });
            let addr = Addr { off: to.off.saturating_add(at), ..to.clone() };
            self.emit(MOp::Store { size, addr, src: Src::Reg(t) });
        }
    }

    pub(super) fn zero(&mut self, dst: Value, off: i32, len: u32, align: u8) {
        let align = self.chains.alignment(dst, off, align);
        let (to, to_off) = self.base(dst);
        let to = self.at(to, to_off + i64::from(off), i64::from(len));
        for (size, at) in chunks(len, align) {
            let addr = Addr { off: to.off.saturating_add(at), ..to.clone() };
            self.emit(MOp::Store { size, addr, src: Src::Imm(0) });
        }
    }
}
