//! Types of operands and results, operation by operation.

use super::pointers::{Access, Base, refusal};
use super::signatures::MAX_ARGS;
use super::{Check, Facts};
use crate::ir::module::FuncKind;
use crate::ir::op::{AtomicOp, Cond, Edge, Offset, Op, UnOp};
use crate::ir::types::{Block, FuncId, IntTy, MapId, PtrKind, Type, Value};
use crate::ir::{Range, range};

fn int_of(ty: Type) -> Option<IntTy> {
    match ty {
        Type::Int(int) => Some(int),
        Type::Ptr(_) => None,
    }
}

/// Kernel and user addresses: numbers that the verifier does not track.
fn is_address(ty: Type) -> bool {
    matches!(ty, Type::Ptr(PtrKind::Kernel | PtrKind::User))
}

impl Check<'_> {
    /// One instruction.
    pub(super) fn op(&mut self, facts: &Facts<'_>, block: Block, op: &Op, result: Option<Value>) {
        let ty = result.map(|v| self.ty(v));
        match op {
            Op::Store { .. } | Op::Copy { .. } | Op::Zero { .. } => {
                self.require(ty.is_none(), || "the operation has no result".to_owned());
            }
            Op::Atomic { op, fetch, .. } => {
                let fetches = *fetch || *op == AtomicOp::Xchg;
                self.require(ty.is_some() == fetches, || {
                    "an atomic has a result if and only if it fetches".to_owned()
                });
            }
            Op::Helper { .. } | Op::Kfunc { .. } | Op::Call { .. } => {}
            _ => self.require(ty.is_some(), || "the operation has a result, and here it has none".to_owned()),
        }
        let Some(ty) = ty else { return self.effects(facts, op, None) };
        match op {
            Op::Const(v) => self.constant(*v, ty),
            Op::CoreConst { .. } => self.integer_result(ty),
            Op::Bin { a, b, .. } => {
                self.integer_operands(&[*a, *b]);
                self.fits(facts, op, ty);
            }
            Op::Un { op: kind, a } => {
                let sized = !matches!(kind, UnOp::Bswap(n) if !matches!(n, 2 | 4 | 8));
                self.require(sized, || "2, 4 or 8 bytes can be swapped".to_owned());
                self.integer_operands(&[*a]);
                self.fits(facts, op, ty);
            }
            Op::Cmp(cond) => {
                self.cond(facts, cond);
                self.fits(facts, op, ty);
            }
            Op::Select { cond, a, b } => {
                self.cond(facts, cond);
                self.stands_for(facts, *a, ty, "the first choice");
                self.stands_for(facts, *b, ty, "the second choice");
            }
            Op::Cast(a) => self.cast(facts, block, *a, ty),
            Op::Bound { v, .. } => {
                self.integer_operands(&[*v]);
                self.fits(facts, op, ty);
            }
            Op::PtrAdd { ptr, off } => self.pointer_add(facts, *ptr, *off, ty),
            _ => self.addresses(facts, op, ty),
        }
    }

    fn addresses(&mut self, facts: &Facts<'_>, op: &Op, ty: Type) {
        let expected = match op {
            Op::SlotAddr(slot) => {
                let exists = slot.index() < self.func.slots.len();
                self.require(exists, || format!("{slot} is no slot"));
                PtrKind::Stack
            }
            Op::MapRef(map) => {
                self.map_exists(*map);
                PtrKind::Map(*map)
            }
            Op::MapValueAddr { map, .. } => {
                self.map_exists(*map);
                PtrKind::MapValue { map: *map, nullable: false }
            }
            Op::FuncAddr(func) => {
                let callback = self.callee(*func).is_some_and(|f| f.kind == FuncKind::Callback);
                self.require(callback, || format!("{func} is no callback"));
                PtrKind::Func(*func)
            }
            Op::KernelSymbol(_) => {
                let good = matches!(ty, Type::Ptr(PtrKind::Kernel | PtrKind::Btf { .. }));
                return self.require(good, || format!("a kernel variable's address has no type {ty}"));
            }
            _ => return self.effects(facts, op, Some(ty)),
        };
        let expected = Type::Ptr(expected);
        self.require(ty == expected, || format!("the result has type {expected}, not {ty}"));
    }

    fn map_exists(&mut self, map: MapId) {
        let exists = map.index() < self.module.object.maps.len();
        self.require(exists, || format!("{map} is no map"));
    }

    /// Memory operations and calls.
    fn effects(&mut self, facts: &Facts<'_>, op: &Op, ty: Option<Type>) {
        match op {
            Op::Load { ty: loaded, ptr, off } => {
                let size = int_of(*loaded).map_or(8, IntTy::bytes);
                self.access(facts, *ptr, off, size.into(), Access::Read);
                self.size(size);
                if let Some(ty) = ty {
                    self.fits_type(*loaded, Range::of(*loaded), ty);
                }
            }
            Op::Store { size, ptr, off, val } => {
                self.access(facts, *ptr, off, (*size).into(), Access::Write);
                self.size((*size).into());
                let whole = int_of(self.ty(*val)).is_some() || *size == 8;
                self.require(whole, || "a pointer is stored in 8 bytes".to_owned());
            }
            Op::Atomic { size, ptr, off, val, .. } => {
                self.access(facts, *ptr, &Offset::at(*off), (*size).into(), Access::Atomic);
                self.require(matches!(size, 4 | 8), || "an atomic has 4 or 8 bytes".to_owned());
                self.integer_operands(&[*val]);
                if let Some(ty) = ty {
                    self.fits(facts, op, ty);
                }
            }
            Op::Copy { dst, dst_off, src, src_off, len, align } => {
                self.access(facts, *dst, &Offset::at(*dst_off), (*len).into(), Access::Write);
                self.access(facts, *src, &Offset::at(*src_off), (*len).into(), Access::Read);
                self.alignment(*align);
            }
            Op::Zero { dst, off, len, align } => {
                self.access(facts, *dst, &Offset::at(*off), (*len).into(), Access::Write);
                self.alignment(*align);
            }
            Op::Helper { args, .. } | Op::Kfunc { args, .. } => self.argument_count(args),
            Op::Call { func, args } => self.call(facts, *func, args, ty),
            _ => {}
        }
    }

    fn size(&mut self, size: u32) {
        self.require(matches!(size, 1 | 2 | 4 | 8), || {
            format!("an access has 1, 2, 4 or 8 bytes, not {size}")
        });
    }

    fn alignment(&mut self, align: u8) {
        self.require(matches!(align, 1 | 2 | 4 | 8), || {
            format!("the alignment is 1, 2, 4 or 8, not {align}")
        });
    }

    /// `size` bytes at `ptr + off`.
    fn access(&mut self, facts: &Facts<'_>, ptr: Value, off: &Offset, size: u64, access: Access) {
        if let Some(why) = refusal(self.ty(ptr), access) {
            return self.error(format!("{ptr} has type {}: {why}", self.ty(ptr)));
        }
        let fits = i16::try_from(off.resolved()).is_ok();
        self.require(fits, || format!("the offset {} does not fit 16 bits", off.resolved()));
        let Some(region) = facts.regions[ptr.index()] else { return };
        let start = region.offset.saturating_add(off.resolved());
        let end = start.saturating_add_unsigned(size);
        let inside = start >= 0 && end <= i64::try_from(region.size).unwrap_or(i64::MAX);
        let name = match region.base {
            Base::Slot(slot) => slot.to_string(),
            Base::Map(map) => format!("the value of {map}"),
        };
        self.require(inside, || {
            format!("bytes {start} to {end} are not within {name}, {} bytes", region.size)
        });
    }

    fn argument_count(&mut self, args: &[Value]) {
        self.require(args.len() <= MAX_ARGS, || format!("{} arguments, at most five can be", args.len()));
    }

    fn call(&mut self, facts: &Facts<'_>, func: FuncId, args: &[Value], ty: Option<Type>) {
        let Some(callee) = self.module.funcs.get(func.index()) else {
            return self.error(format!("{func} is no function"));
        };
        self.require(matches!(callee.kind, FuncKind::Sub | FuncKind::Global { .. }), || {
            format!("{func} is a {}, which is not called", callee.kind)
        });
        let (given, wanted) = (args.len(), callee.params.len());
        self.require(given == wanted, || format!("{given} arguments for {wanted} parameters"));
        for (arg, param) in args.iter().zip(&callee.params) {
            self.stands_for(facts, *arg, *param, "an argument");
        }
        if let Some(ty) = ty {
            self.fits_type(callee.ret, Range::of(callee.ret), ty);
        }
    }

    /// A condition of a branch or comparison.
    pub(super) fn cond(&mut self, facts: &Facts<'_>, cond: &Cond) {
        let (a, b) = (self.ty(cond.a), self.ty(cond.b));
        let plain = |ty: Type| int_of(ty).is_some() || is_address(ty);
        let packet = |ty: Type| matches!(ty, Type::Ptr(PtrKind::Packet | PtrKind::PacketEnd));
        let zero =
            |v: Value| facts.ranges[v.index()] == Range::exact(0) && int_of(self.func.type_of(v)).is_some();
        let good =
            (plain(a) && plain(b)) || (packet(a) && packet(b)) || a == b || zero(cond.a) || zero(cond.b);
        self.require(good, || format!("{a} and {b} cannot be compared"));
    }

    /// A return's value.
    pub(super) fn returned(&mut self, facts: &Facts<'_>, value: Value) {
        let ret = self.func.ret;
        // Of a main's value the kernel sees 32 bits.
        if self.func.kind == FuncKind::Main && int_of(self.ty(value)).is_some() {
            return;
        }
        self.stands_for(facts, value, ret, "the returned value");
    }

    /// An edge's arguments.
    pub(super) fn edge(&mut self, facts: &Facts<'_>, edge: &Edge) {
        let func = self.func;
        for (arg, param) in edge.args.iter().zip(&func.block(edge.block).params) {
            self.stands_for(facts, *arg, func.type_of(*param), "an argument of the edge");
        }
    }

    /// `value` is used where `ty` is wanted.
    fn stands_for(&mut self, facts: &Facts<'_>, value: Value, ty: Type, what: &str) {
        let own = self.ty(value);
        let good = match (own, ty) {
            _ if own == ty || own.non_null() == own && ty.non_null() == own => true,
            (Type::Int(_), Type::Int(to)) => facts.ranges[value.index()].fits(to),
            (Type::Int(_), to) => to.is_nullable() && facts.ranges[value.index()] == Range::exact(0),
            _ => false,
        };
        self.require(good, || format!("{what}, {value}, has type {own} where {ty} is wanted"));
    }

    fn constant(&mut self, v: i64, ty: Type) {
        match ty {
            Type::Int(int) => {
                let fits = Range::exact(v).fits(int);
                self.require(fits, || format!("{v} is no {ty}"));
            }
            _ => {
                let good = is_address(ty) || ty.is_nullable() && v == 0;
                self.require(good, || format!("a constant has no type {ty}"));
            }
        }
    }

    fn integer_result(&mut self, ty: Type) {
        self.require(int_of(ty).is_some(), || format!("the result is an integer, not {ty}"));
    }

    fn integer_operands(&mut self, operands: &[Value]) {
        for v in operands {
            let ty = self.ty(*v);
            self.require(int_of(ty).is_some(), || format!("{v} has type {ty} where an integer is wanted"));
        }
    }

    /// The operation's result lies in the range of its type.
    fn fits(&mut self, facts: &Facts<'_>, op: &Op, ty: Type) {
        let range = range::of_op(op, ty, |v| facts.ranges[v.index()]);
        match ty {
            Type::Int(int) => {
                let fits = range.fits(int);
                self.require(fits, || format!("the result may not fit {ty}: give it more bits or extend it"));
            }
            Type::Ptr(_) => self.integer_result(ty),
        }
    }

    /// A value of type `from` in `range` is one of `to`.
    fn fits_type(&mut self, from: Type, range: Range, to: Type) {
        let good = from == to || int_of(from).is_some() && int_of(to).is_some_and(|int| range.fits(int));
        self.require(good, || format!("the result has type {from}, which is no {to}"));
    }

    fn pointer_add(&mut self, facts: &Facts<'_>, ptr: Value, off: Value, ty: Type) {
        let base = self.ty(ptr);
        self.integer_operands(&[off]);
        self.require(base == ty, || format!("the result has the pointer's type, {base}"));
        if !is_address(base)
            && let Some(why) = refusal(base, Access::Read)
        {
            return self.error(format!("{ptr} has type {base}: {why}"));
        }
        if matches!(base, Type::Ptr(PtrKind::Ctx | PtrKind::Btf { .. })) {
            let constant = matches!(self.def(facts, off), Some(Op::Const(_) | Op::CoreConst { .. }));
            self.require(constant, || format!("only a constant can be added to {base}"));
        }
    }

    fn cast(&mut self, facts: &Facts<'_>, block: Block, from: Value, ty: Type) {
        let own = self.ty(from);
        let narrowed = own.is_nullable() && own.non_null() == ty;
        let good = match (own, ty) {
            _ if own == ty => true,
            (Type::Int(_), Type::Int(to)) => facts.ranges[from.index()].fits(to),
            (Type::Int(_), to) => {
                is_address(to) || to.is_nullable() && facts.ranges[from.index()] == Range::exact(0)
            }
            (_, Type::Int(to)) => to.bits == 64,
            (_, to) if is_address(to) => true,
            (Type::Ptr(PtrKind::Btf { nullable: a, .. }), Type::Ptr(PtrKind::Btf { nullable: b, .. }))
                if a == b =>
            {
                true
            }
            // An entry of a map is memory of the program as a slot is.
            (Type::Ptr(PtrKind::MapValue { nullable: false, .. }), Type::Ptr(PtrKind::Stack)) => true,
            // A copy of a packet's bytes stands for them.
            (Type::Ptr(PtrKind::Stack), Type::Ptr(PtrKind::Packet)) => true,
            _ => narrowed || ty.non_null() == own,
        };
        self.require(good, || format!("{from} of type {own} cannot become {ty}"));
        if narrowed {
            let checked = facts.checked[from.index()].iter().any(|b| facts.dom.dominates(*b, block));
            self.require(checked, || {
                format!("no branch that leads here has made sure that {from} is not null")
            });
        }
    }
}
