//! Accesses to memory: loads, stores and atomics. An access to a fixed offset in the frame is decided here; every other one is
//! compared with the window of its site, or the span of its pointer, and asks the machine when it does not lie within.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I16, I32, I64};
use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, Type, Value};

use super::kinds::Kind;
use super::state::{Site, offset};
use super::translate::Translator;
use crate::vm::op::{Atomic, Operand, Size};
use crate::vm::state::FRAME;

/// Where bytes are, on the host.
#[derive(Clone, Copy)]
struct Place {
    base: Value,
    offset: i32,
}

/// One access.
#[derive(Clone, Copy)]
pub(super) struct Access {
    pub(super) at: usize,
    pub(super) base: u8,
    pub(super) off: i16,
    pub(super) size: Size,
    pub(super) write: bool,
    /// Whether the address must be a multiple of the size.
    aligned: bool,
}

impl Access {
    /// An access of the instruction at `at`.
    pub(super) fn new(at: usize, base: u8, off: i16, size: Size) -> Access {
        Access { at, base, off, size, write: false, aligned: false }
    }

    /// Only at a multiple of the size.
    pub(super) fn aligned(self) -> Access {
        Access { aligned: true, ..self }
    }

    fn ty(self) -> Type {
        match self.size {
            Size::B => I8,
            Size::H => I16,
            Size::W => I32,
            Size::Dw => I64,
        }
    }
}

impl Translator<'_> {
    /// `dst = *(size *)(base + off)`
    pub(super) fn load(&mut self, access: Access, dst: u8, signed: bool) {
        let value = self.access(access, true, |t, place| Some(t.load_from(place, access.size, signed)));
        if let Some(value) = value {
            self.set(dst, value);
        }
    }

    /// `*(size *)(base + off) = value`
    pub(super) fn store(&mut self, access: Access, value: Operand) {
        let value = self.operand(access.ty(), value);
        self.access(Access { write: true, ..access }, false, |t, place| {
            let flags = t.region_flags();
            t.builder.ins().store(flags, value, place.base, place.offset);
            None
        });
    }

    fn load_from(&mut self, place: Place, size: Size, signed: bool) -> Value {
        let flags = self.region_flags();
        let Place { base, offset } = place;
        let ins = self.builder.ins();
        match (size, signed) {
            (Size::B, false) => ins.uload8(I64, flags, base, offset),
            (Size::B, true) => ins.sload8(I64, flags, base, offset),
            (Size::H, false) => ins.uload16(I64, flags, base, offset),
            (Size::H, true) => ins.sload16(I64, flags, base, offset),
            (Size::W, false) => ins.uload32(flags, base, offset),
            (Size::W, true) => ins.sload32(flags, base, offset),
            _ => ins.load(I64, flags, base, offset),
        }
    }

    /// Emits the access: `what` is emitted once or twice, for the place that the check found and the one that the machine
    /// did. What it gives is the result, if there is one.
    fn access(
        &mut self,
        access: Access,
        result: bool,
        what: impl Fn(&mut Self, Place) -> Option<Value>,
    ) -> Option<Value> {
        let Access { at, base, off, size, .. } = access;
        if let Kind::Stack(offset) = self.function.kinds.get(at, base) {
            let offset = offset.wrapping_add(off.into());
            let within = (-i64::from(FRAME)..=-i64::from(size.bytes())).contains(&offset);
            if within && (!access.aligned || offset % i64::from(size.bytes()) == 0) {
                return what(self, Place { base: self.frame, offset: offset as i32 });
            }
        }
        let pointer = self.get(base);
        let span = self.span(access, pointer);
        let (outside, window) = match span {
            Some(span) => (self.beyond(span, access), span.window),
            None => {
                let window = self.window(access);
                (self.outside(access, pointer, window), window)
            }
        };
        let (miss, hit, behind) =
            (self.cold_block(), self.builder.create_block(), self.builder.create_block());
        self.builder.ins().brif(outside, miss, &[], hit, &[]);
        let value = result.then(|| self.builder.append_block_param(behind, I64));
        self.enter(hit);
        let base = match span {
            Some(span) => span.host,
            None => self.builder.ins().iadd(self.base, pointer),
        };
        let got = what(self, Place { base, offset: off.into() });
        self.leave(behind, got);
        self.enter(miss);
        let address = self.offset(pointer, off);
        let found = self.resolve(access, address, window);
        let got = what(self, Place { base: found, offset: 0 });
        self.leave(behind, got);
        self.enter(behind);
        value
    }

    /// The window that shows what an access probably touches.
    pub(super) fn window(&mut self, access: Access) -> u16 {
        match self.function.kinds.get(access.at, access.base) {
            Kind::Window(window) => window,
            _ => self.windows.take(),
        }
    }

    /// `pointer + off`
    pub(super) fn offset(&mut self, pointer: Value, off: i16) -> Value {
        if off == 0 {
            return pointer;
        }
        let distance = self.constant(I64, off.into());
        self.builder.ins().iadd(pointer, distance)
    }

    /// Whether an access is not within what its window shows, or not at a multiple of its size where it must be.
    fn outside(&mut self, access: Access, pointer: Value, window: u16) -> Value {
        let address = self.offset(pointer, access.off);
        let bounds = offset::bounds(window, access.size.bytes(), access.write);
        // In this order the start is no load of its own but an operand.
        let limit = self.load_state(bounds + offset::LIMIT);
        let start = self.load_state(bounds);
        let offset = self.builder.ins().isub(address, start);
        let outside = self.builder.ins().icmp(IntCC::UnsignedGreaterThan, offset, limit);
        if !access.aligned || access.size == Size::B {
            return outside;
        }
        let low = self.constant(I64, i64::from(access.size.bytes()) - 1);
        let low = self.builder.ins().band(address, low);
        let zero = self.constant(I64, 0);
        let crooked = self.builder.ins().icmp(IntCC::NotEqual, low, zero);
        self.builder.ins().bor(outside, crooked)
    }

    fn enter(&mut self, block: Block) {
        self.builder.switch_to_block(block);
        self.builder.seal_block(block);
    }

    fn leave(&mut self, block: Block, value: Option<Value>) {
        let arguments: Vec<BlockArg> = value.into_iter().map(BlockArg::Value).collect();
        self.builder.ins().jump(block, &arguments);
    }

    /// Asks the machine where the bytes are; ends the program if they may not be accessed.
    fn resolve(&mut self, access: Access, address: Value, window: u16) -> Value {
        self.publish_registers(access.at);
        let Access { at, size, write, aligned, .. } = access;
        let site = Site { insn: self.origin(at), bytes: size.bytes(), write, aligned, window };
        let site = self.constant(I64, site.encode() as i64);
        let function = self.load_state(offset::RESOLVE);
        self.builder.ins().call_indirect(self.signatures.resolve, function, &[self.state, address, site]);
        let found = self.load_state(offset::FOUND);
        let on = self.cold_block();
        self.builder.ins().brif(found, on, &[], self.faulted, &[]);
        self.enter(on);
        found
    }

    /// An atomic operation. No other program runs at the same time, so it is a load, the operation and a store.
    pub(super) fn atomic(&mut self, access: Access, op: Atomic, fetch: bool, src: u8) {
        let place = self.access(Access { write: true, ..access }, true, |t, place| {
            let offset = t.constant(I64, place.offset.into());
            Some(t.builder.ins().iadd(place.base, offset))
        });
        let Some(base) = place else { return };
        let place = Place { base, offset: 0 };
        let old = self.load_from(place, access.size, false);
        let operand = self.get(src);
        let new = self.updated(op, access.ty(), old, operand);
        let new = self.narrow(access.ty(), new);
        let flags = self.region_flags();
        self.builder.ins().store(flags, new, base, 0);
        match op {
            Atomic::Cmpxchg => self.set(0, old),
            _ if fetch => self.set(src, old),
            _ => {}
        }
    }

    fn updated(&mut self, op: Atomic, ty: Type, old: Value, operand: Value) -> Value {
        if op == Atomic::Cmpxchg {
            let expected = self.get(0);
            let expected = self.narrow(ty, expected);
            let expected = self.widen(expected);
            let same = self.builder.ins().icmp(IntCC::Equal, old, expected);
            return self.builder.ins().select(same, operand, old);
        }
        let ins = self.builder.ins();
        match op {
            Atomic::Add => ins.iadd(old, operand),
            Atomic::Or => ins.bor(old, operand),
            Atomic::And => ins.band(old, operand),
            Atomic::Xor => ins.bxor(old, operand),
            Atomic::Xchg | Atomic::Cmpxchg => operand,
        }
    }
}
