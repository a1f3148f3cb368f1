//! One function while it is built: its variables, its temporaries, the loops around the current statement, and short
//! forms for what all constructs need.

use super::known::Known;
use super::module::ModuleCx;
use super::types::{ir_type, mem_size};
use super::walk::{CAPTURED_CTX, LoopRules, Place, Plan};
use super::{Result, internal};
use crate::ast::Span;
use crate::hir::{Probe, Var, VarId};
use crate::ty::Ty;
use skep_bpf::helpers::id as helper;
use skep_compiler::ir::{BinOp, Block, Cc, FuncBuilder, IntTy, Op, PtrKind, Slot, Type, UnOp, Value};
use std::collections::HashMap;
use std::rc::Rc;

/// What a function's code belongs to.
#[derive(Clone)]
pub(super) struct Body<'a> {
    /// The probe, if it is one's.
    pub(super) probe: Option<&'a Probe>,
    /// Variables by number.
    pub(super) vars: &'a [Var],
    /// Where they live.
    pub(super) plan: Rc<Plan>,
    /// Which loops are called back.
    pub(super) rules: LoopRules,
    /// Start of the names of the functions made for it.
    pub(super) stem: &'a str,
    /// Type of what a script function returns; `None` for probes.
    pub(super) ret: Option<&'a Ty>,
}

/// Where a variable of the current function lives.
#[derive(Clone, Copy, Debug)]
enum Home {
    /// In a slot of this frame.
    Slot(Slot),
    /// In the capture object: a scalar itself, of others the address.
    Captured(u32),
    /// Memory of the caller.
    Caller(Value),
    /// A word of the object that parts share.
    Shared(u32),
}

/// Where `break` and `continue` go.
#[derive(Clone, Copy, Debug)]
pub(super) enum LoopExit {
    /// Blocks of this function.
    Blocks {
        /// Behind the loop.
        done: Block,
        /// The next round.
        next: Block,
    },
    /// Return values of a callback.
    Callback,
}

/// A function while it is built.
pub(super) struct Fx<'m, 'a> {
    /// The module.
    pub(super) cx: &'m mut ModuleCx<'a>,
    /// The code.
    pub(super) f: FuncBuilder,
    /// What it is.
    pub(super) body: Body<'a>,
    /// Whether the kernel calls it back.
    pub(super) callback: bool,
    /// Address of the capture object, where there is one.
    pub(super) capture: Option<Value>,
    /// Loops around the current statement, innermost last.
    pub(super) loops: Vec<LoopExit>,
    /// Map entries that were read and did not change.
    pub(super) known: Known,
    /// Addresses of parameters that are memory of the caller.
    pub(super) by_reference: HashMap<VarId, Value>,
    /// What is known of the packet, in a program that sees packets.
    pub(super) packet: Option<super::packet::Packet>,
    ctx: Option<Value>,
    homes: HashMap<VarId, Home>,
    pub(super) word: Option<Slot>,
    /// The place of the current expression or statement.
    pub(super) here: Span,
    /// Whether this is a part of a large body (see `parts`).
    pub(super) part: bool,
    /// The object that the parts share.
    pub(super) shared: Option<Value>,
    /// In a function that many places call (see `shared`): the number of the event that says what failed where it was
    /// called.
    pub(super) failure: Option<Value>,
}

impl<'m, 'a> Fx<'m, 'a> {
    /// A function whose entry block is current; `ctx` is the context where it has it itself, `capture` the capture object.
    pub(super) fn new(
        cx: &'m mut ModuleCx<'a>,
        f: FuncBuilder,
        body: Body<'a>,
        ctx: Option<Value>,
        capture: Option<Value>,
    ) -> Fx<'m, 'a> {
        let callback = capture.is_some();
        Fx {
            cx,
            f,
            body,
            callback,
            capture,
            loops: Vec::new(),
            known: Known::default(),
            by_reference: HashMap::new(),
            packet: None,
            ctx,
            homes: HashMap::new(),
            word: None,
            here: Span::default(),
            part: false,
            shared: None,
            failure: None,
        }
    }

    /// Gives the variables of a region their places and zeroes them; in the outermost region makes the capture object.
    pub(super) fn enter(&mut self, region: usize) -> Result<()> {
        let plan = Rc::clone(&self.body.plan);
        if region == 0 && plan.shared_size != 0 {
            let slot = self.f.slot(plan.shared_size, 8, "shared");
            let shared = self.f.slot_addr(slot);
            self.f.zero(shared, 0, plan.shared_size, 8);
            self.shared = Some(shared);
        }
        if region == 0 && plan.capture_size != 0 {
            let slot = self.f.slot(plan.capture_size, 8, "captured");
            let capture = self.f.slot_addr(slot);
            self.f.zero(capture, 0, plan.capture_size, 8);
            self.capture = Some(capture);
            if let Some(ctx) = self.ctx {
                self.f.store(8, capture, CAPTURED_CTX as i32, ctx);
            }
            for (var, at) in plan.captured() {
                if !self.var(var)?.ty.is_scalar() {
                    let address = match self.by_reference.get(&var) {
                        Some(address) => *address,
                        None => {
                            let slot = self.var_slot(var)?;
                            self.f.slot_addr(slot)
                        }
                    };
                    self.f.store(8, capture, at as i32, address);
                }
            }
        }
        for var in plan.frame_vars(region) {
            let home = match self.by_reference.get(&var) {
                Some(address) => Home::Caller(*address),
                None => Home::Slot(self.var_slot(var)?),
            };
            self.homes.insert(var, home);
        }
        Ok(())
    }

    /// A zeroed slot for a variable. Of long strings only the start is zeroed: what lies behind their NUL is never used.
    fn var_slot(&mut self, var: VarId) -> Result<Slot> {
        let declared = self.var(var)?;
        let (ty, name) = (declared.ty.clone(), declared.name.clone());
        let slot = self.slot_for(&ty, &name);
        let address = self.f.slot_addr(slot);
        let size = if ty.is_scalar() { 8 } else { self.cx.size_of(&ty).next_multiple_of(8) };
        let shown = if matches!(ty, Ty::Str { .. }) && size > 128 { 8 } else { size };
        self.f.zero(address, 0, shown, 8);
        Ok(slot)
    }

    /// A slot for a value of this type: at least 8 bytes, with room for a NUL behind it, aligned to 8.
    pub(super) fn slot_for(&mut self, ty: &Ty, name: &str) -> Slot {
        let size = if ty.is_scalar() { 8 } else { (self.cx.size_of(ty) + 1).next_multiple_of(8) };
        self.f.slot(size.max(8), 8, name)
    }

    /// A slot of so many bytes, rounded up to 8, aligned to 8; its address.
    pub(super) fn scratch(&mut self, size: u32, name: &str) -> Value {
        let slot = self.f.slot(size.next_multiple_of(8).max(8), 8, name);
        self.f.slot_addr(slot)
    }

    /// Address of a word that is only used until the next use of it.
    pub(super) fn word(&mut self) -> Value {
        let slot = match self.word {
            Some(slot) => slot,
            None => {
                let slot = self.f.slot(8, 8, "word");
                self.word = Some(slot);
                slot
            }
        };
        self.f.slot_addr(slot)
    }

    /// A variable's declaration.
    pub(super) fn var(&self, var: VarId) -> Result<&'a Var> {
        match self.body.vars.get(var.0 as usize) {
            Some(declared) => Ok(declared),
            None => internal(format!("variable {} is not declared", var.0)),
        }
    }

    fn home(&self, var: VarId) -> Result<Home> {
        if let Some(home) = self.homes.get(&var) {
            return Ok(*home);
        }
        match self.body.plan.place(var) {
            Place::Captured(at) => Ok(Home::Captured(at)),
            Place::Shared(at) => Ok(Home::Shared(at)),
            Place::Frame(region) => internal(format!("variable {} lives in region {region}", var.0)),
        }
    }

    /// Whether a variable can be reached from this function.
    pub(super) fn is_here(&self, var: VarId) -> bool {
        self.home(var).is_ok()
    }

    /// Address of a variable's memory and the offset in it.
    pub(super) fn var_addr(&mut self, var: VarId) -> Result<(Value, i32)> {
        let scalar = self.var(var)?.ty.is_scalar();
        match self.home(var)? {
            Home::Slot(slot) => Ok((self.f.slot_addr(slot), 0)),
            Home::Caller(address) => Ok((address, 0)),
            Home::Shared(at) => match self.shared {
                Some(shared) => Ok((shared, at as i32)),
                None => internal("no shared object"),
            },
            Home::Captured(at) => {
                let Some(capture) = self.capture else { return internal("no capture object") };
                if scalar {
                    return Ok((capture, at as i32));
                }
                Ok((self.f.load(Type::Ptr(PtrKind::Stack), capture, at as i32), 0))
            }
        }
    }

    /// Value of a scalar variable.
    pub(super) fn load_var(&mut self, var: VarId) -> Result<Value> {
        let ty = ir_type(&self.var(var)?.ty)?;
        let (address, off) = self.var_addr(var)?;
        Ok(self.f.load(ty, address, off))
    }

    /// Sets a scalar variable.
    pub(super) fn store_var(&mut self, var: VarId, value: Value) -> Result<()> {
        let size = mem_size(ir_type(&self.var(var)?.ty)?);
        let (address, off) = self.var_addr(var)?;
        self.f.store(size, address, off, value);
        Ok(())
    }

    /// The context.
    pub(super) fn ctx(&mut self) -> Result<Value> {
        match (self.ctx, self.capture) {
            (Some(ctx), _) => Ok(ctx),
            (None, Some(capture)) => Ok(self.f.load(Type::Ptr(PtrKind::Ctx), capture, CAPTURED_CTX as i32)),
            (None, None) => internal("a function of the script has no context"),
        }
    }

    /// Following instructions come from `span`.
    pub(super) fn at(&mut self, span: Span) {
        if span != Span::default() && span.start < crate::source::LIBRARY {
            let loc = self.cx.loc(span);
            self.f.set_loc(loc);
            self.here = span;
        }
    }

    /// Makes sure that there is a block to append to: behind a jump, one that nothing reaches.
    pub(super) fn open(&mut self) {
        if self.f.is_terminated() {
            let block = self.f.block(&[]);
            self.f.switch_to(block);
        }
    }

    /// Helper call with an i64 result.
    pub(super) fn call(&mut self, id: u32, args: &[Value]) -> Value {
        let result = self.f.helper(id, args, Type::I64);
        self.report_read(id, result);
        result
    }

    /// The same bits as a 64-bit number. Pointers that the verifier tracks become plain numbers to it.
    pub(super) fn number(&mut self, value: Value) -> Value {
        match self.f.type_of(value) {
            Type::Int(IntTy { bits: 64, .. }) => value,
            Type::Int(IntTy { signed: false, .. }) => self.f.cast(value, Type::U64),
            Type::Int(_) => self.f.cast(value, Type::I64),
            Type::Ptr(PtrKind::Btf { .. } | PtrKind::Ctx) => self.untrack(value),
            Type::Ptr(_) => self.f.cast(value, Type::U64),
        }
    }

    /// A tracked pointer as a number that may be computed with. The verifier forgets what a register is when it is
    /// negated (check_alu_op, Linux 5.10 to 6.18): -p, then !(-p) + 1 is p again.
    pub(super) fn untrack(&mut self, pointer: Value) -> Value {
        let bits = self.f.cast(pointer, Type::U64);
        let negated = self.f.push_value(Op::Un { op: UnOp::Neg, a: bits }, Type::U64);
        let ones = self.f.u64(u64::MAX);
        let flipped = self.f.bin(BinOp::Xor, Type::U64, negated, ones);
        self.f.add_imm(flipped, 1)
    }

    /// A value as it may be stored, compared and computed with: pointers that the verifier tracks by type lose that.
    pub(super) fn plain(&mut self, value: Value) -> Value {
        match self.f.type_of(value) {
            Type::Ptr(PtrKind::Btf { .. }) => {
                let bits = self.untrack(value);
                self.f.cast(bits, Type::Ptr(PtrKind::Kernel))
            }
            _ => value,
        }
    }

    /// Zero of any type.
    pub(super) fn zero_of(&mut self, ty: Type) -> Value {
        self.f.iconst(ty, 0)
    }

    /// `cond ? then() : other()` with values of type `ty`, each computed only when it is asked for.
    pub(super) fn either(
        &mut self,
        cond: (Cc, Value, Value),
        ty: Type,
        then: &mut dyn FnMut(&mut Self) -> Result<Value>,
        other: &mut dyn FnMut(&mut Self) -> Result<Value>,
    ) -> Result<Value> {
        let (a, b, join) = (self.f.block(&[]), self.f.block(&[]), self.f.block(&[ty]));
        self.f.branch(cond.0, cond.1, cond.2, a, b);
        let mark = self.mark_packet();
        self.f.switch_to(a);
        let value = then(self)?;
        self.f.jump(join, &[value]);
        self.forget_packet(mark);
        self.f.switch_to(b);
        let value = other(self)?;
        self.f.jump(join, &[value]);
        self.forget_packet(mark);
        self.f.switch_to(join);
        Ok(self.f.block_param(join, 0))
    }

    /// Adds one to a counter of losses of this CPU; in a rare block, so exactness costs nothing: atomic.
    pub(super) fn count_loss(&mut self, counter: skep_bpf::object::Counter) {
        let done = self.f.block(&[]);
        let (entry, one) = self.loss_entry(counter, done);
        self.f.atomic_add(8, entry, 0, one);
        self.f.jump(done, &[]);
        self.f.switch_to(done);
    }

    /// The same; `first` is built where it is the first loss of its kind on this CPU.
    pub(super) fn count_loss_and(
        &mut self,
        counter: skep_bpf::object::Counter,
        first: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let (done, told) = (self.f.block(&[]), self.f.cold_block());
        let (entry, one) = self.loss_entry(counter, done);
        let before = self.f.load(Type::U64, entry, 0);
        self.f.atomic_add(8, entry, 0, one);
        let none = self.f.u64(0);
        self.f.branch(Cc::Eq, before, none, told, done);
        self.f.switch_to(told);
        first(self)?;
        self.f.jump(done, &[]);
        self.f.switch_to(done);
        Ok(())
    }

    /// Where a loss is counted on this CPU, and one.
    fn loss_entry(
        &mut self,
        counter: skep_bpf::object::Counter,
        none: skep_compiler::ir::Block,
    ) -> (Value, Value) {
        let (map, index) = self.cx.counter(counter);
        let key = self.word();
        let index = self.f.iconst(Type::U32, i64::from(index));
        self.f.store(4, key, 0, index);
        let map_ref = self.f.map_ref(map);
        let found = self.f.helper(
            helper::MAP_LOOKUP_ELEM,
            &[map_ref, key],
            Type::Ptr(PtrKind::MapValue { map, nullable: true }),
        );
        let entry = self.f.check_null(found, none);
        (entry, self.f.u64(1))
    }
}
