//! Building a function, instruction by instruction: what a front-end uses.

use super::func::{Function, SlotData};
use super::module::FuncKind;
use super::op::{AtomicOp, BinOp, Cc, Cond, Edge, Offset, Op, Terminator, UnOp};
use super::types::{Block, FuncId, IntTy, Loc, MapId, PtrKind, Slot, Type, Value, Width};

/// Appends to one block of a function at a time.
#[derive(Debug)]
pub struct FuncBuilder {
    func: Function,
    at: Block,
    loc: Loc,
}

impl FuncBuilder {
    /// A function with an entry block that has `params` as its parameters; building starts there.
    pub fn new(name: &str, kind: FuncKind, params: &[Type], ret: Type) -> FuncBuilder {
        let mut func = Function {
            name: name.to_owned(),
            params: params.to_vec(),
            ret,
            kind,
            blocks: Vec::new(),
            insts: Vec::new(),
            values: Vec::new(),
            slots: Vec::new(),
        };
        let entry = func.new_block();
        for ty in params {
            let value = func.new_value(*ty);
            func.block_mut(entry).params.push(value);
        }
        FuncBuilder { func, at: entry, loc: Loc::default() }
    }

    /// The function, finished.
    pub fn finish(self) -> Function {
        self.func
    }

    /// The function so far.
    pub fn func(&self) -> &Function {
        &self.func
    }

    /// A parameter of the function.
    pub fn param(&self, index: usize) -> Value {
        self.func.blocks[0].params[index]
    }

    /// Where following instructions come from.
    pub fn set_loc(&mut self, loc: Loc) {
        self.loc = loc;
    }

    /// Where following instructions come from.
    pub fn loc(&self) -> Loc {
        self.loc
    }

    /// The block that is being appended to.
    pub fn current(&self) -> Block {
        self.at
    }

    /// Whether the current block has ended.
    pub fn is_terminated(&self) -> bool {
        self.func.block(self.at).term.is_some()
    }

    /// A new block (not yet current) with parameters of these types.
    pub fn block(&mut self, params: &[Type]) -> Block {
        let block = self.func.new_block();
        for ty in params {
            let value = self.func.new_value(*ty);
            self.func.block_mut(block).params.push(value);
        }
        block
    }

    /// A block for a rare case.
    pub fn cold_block(&mut self) -> Block {
        let block = self.block(&[]);
        self.func.block_mut(block).cold = true;
        block
    }

    /// Goes on in `block`.
    pub fn switch_to(&mut self, block: Block) {
        self.at = block;
    }

    /// A block's parameter.
    pub fn block_param(&self, block: Block, index: usize) -> Value {
        self.func.block(block).params[index]
    }

    /// A value's type.
    pub fn type_of(&self, value: Value) -> Type {
        self.func.type_of(value)
    }

    /// A new stack slot.
    pub fn slot(&mut self, size: u32, align: u32, name: &str) -> Slot {
        self.func.slots.push(SlotData { size, align, name: name.to_owned() });
        Slot(self.func.slots.len() as u32 - 1)
    }

    /// Appends an instruction without a result.
    pub fn push(&mut self, op: Op) {
        let (inst, _) = self.func.new_inst(op, None, self.loc);
        self.func.block_mut(self.at).insts.push(inst);
    }

    /// Appends an instruction with a result.
    pub fn push_value(&mut self, op: Op, ty: Type) -> Value {
        let value = self.func.new_value(ty);
        let (inst, _) = self.func.new_inst(op, None, self.loc);
        self.func.insts[inst.index()].result = Some(value);
        self.func.block_mut(self.at).insts.push(inst);
        value
    }

    fn end(&mut self, term: Terminator) {
        let loc = self.loc;
        let block = self.func.block_mut(self.at);
        if block.term.is_none() {
            block.term = Some(term);
            block.loc = loc;
        }
    }

    /// A 64-bit constant of type `ty`.
    pub fn iconst(&mut self, ty: Type, value: i64) -> Value {
        self.push_value(Op::Const(value), ty)
    }

    /// An unsigned 64-bit constant.
    pub fn u64(&mut self, value: u64) -> Value {
        self.iconst(Type::U64, value as i64)
    }

    /// 64-bit arithmetic; the result has the left operand's signedness if `ty` says nothing else.
    pub fn bin(&mut self, op: BinOp, ty: Type, a: Value, b: Value) -> Value {
        self.push_value(Op::Bin { op, width: Width::W64, a, b }, ty)
    }

    /// 64-bit addition of a constant.
    pub fn add_imm(&mut self, a: Value, imm: i64) -> Value {
        let ty = self.type_of(a);
        let b = self.iconst(ty, imm);
        self.bin(BinOp::Add, ty, a, b)
    }

    /// Extends the low bits of `a` by `ty`.
    pub fn extend(&mut self, a: Value, ty: IntTy) -> Value {
        self.push_value(Op::Un { op: UnOp::Extend(ty), a }, Type::Int(ty))
    }

    /// 64-bit comparison as a value.
    pub fn cmp(&mut self, cc: Cc, a: Value, b: Value) -> Value {
        self.push_value(Op::Cmp(Cond { cc, width: Width::W64, a, b }), Type::BOOL)
    }

    /// Another type for the same bits.
    pub fn cast(&mut self, a: Value, ty: Type) -> Value {
        self.push_value(Op::Cast(a), ty)
    }

    /// See [`Op::Bound`].
    pub fn bound(&mut self, v: Value, max: u64) -> Value {
        let ty = self.type_of(v);
        self.push_value(Op::Bound { v, max }, ty)
    }

    /// Pointer and offset of an access: an offset that an instruction cannot hold is added to the pointer.
    fn reach(&mut self, ptr: Value, off: i32) -> (Value, i32) {
        match i16::try_from(off) {
            Ok(_) => (ptr, off),
            Err(_) => (self.ptr_add_imm(ptr, off.into()), 0),
        }
    }

    /// Load at a constant offset.
    pub fn load(&mut self, ty: Type, ptr: Value, off: i32) -> Value {
        let (ptr, off) = self.reach(ptr, off);
        self.push_value(Op::Load { ty, ptr, off: Offset::at(off) }, ty)
    }

    /// Load at an offset that may be a kernel field's.
    pub fn load_field(&mut self, ty: Type, ptr: Value, off: Offset) -> Value {
        if off.core.is_none() {
            return self.load(ty, ptr, off.add);
        }
        self.push_value(Op::Load { ty, ptr, off }, ty)
    }

    /// Store at a constant offset.
    pub fn store(&mut self, size: u8, ptr: Value, off: i32, val: Value) {
        let (ptr, off) = self.reach(ptr, off);
        self.push(Op::Store { size, ptr, off: Offset::at(off), val });
    }

    /// Atomic addition without a result.
    pub fn atomic_add(&mut self, size: u8, ptr: Value, off: i32, val: Value) {
        let (ptr, off) = self.reach(ptr, off);
        self.push(Op::Atomic { op: AtomicOp::Add, size, ptr, off, val, fetch: false });
    }

    /// pointer + integer.
    pub fn ptr_add(&mut self, ptr: Value, off: Value) -> Value {
        let ty = self.type_of(ptr);
        self.push_value(Op::PtrAdd { ptr, off }, ty)
    }

    /// pointer + constant.
    pub fn ptr_add_imm(&mut self, ptr: Value, off: i64) -> Value {
        if off == 0 {
            return ptr;
        }
        let off = self.iconst(Type::I64, off);
        self.ptr_add(ptr, off)
    }

    /// Address of a slot.
    pub fn slot_addr(&mut self, slot: Slot) -> Value {
        self.push_value(Op::SlotAddr(slot), Type::Ptr(PtrKind::Stack))
    }

    /// A map for a helper.
    pub fn map_ref(&mut self, map: MapId) -> Value {
        self.push_value(Op::MapRef(map), Type::Ptr(PtrKind::Map(map)))
    }

    /// Address of an array map's value.
    pub fn map_value_addr(&mut self, map: MapId, off: u32) -> Value {
        self.push_value(Op::MapValueAddr { map, off }, Type::Ptr(PtrKind::MapValue { map, nullable: false }))
    }

    /// A callback for a helper.
    pub fn func_addr(&mut self, func: FuncId) -> Value {
        self.push_value(Op::FuncAddr(func), Type::Ptr(PtrKind::Func(func)))
    }

    /// Helper call with a result.
    pub fn helper(&mut self, id: u32, args: &[Value], ret: Type) -> Value {
        self.push_value(Op::Helper { id, args: args.to_vec() }, ret)
    }

    /// Call of a function of the module.
    pub fn call(&mut self, func: FuncId, args: &[Value], ret: Type) -> Value {
        self.push_value(Op::Call { func, args: args.to_vec() }, ret)
    }

    /// Copy of `len` bytes.
    pub fn copy(&mut self, dst: Value, dst_off: i32, src: Value, src_off: i32, len: u32, align: u8) {
        let ((dst, dst_off), (src, src_off)) = (self.reach(dst, dst_off), self.reach(src, src_off));
        self.push(Op::Copy { dst, dst_off, src, src_off, len, align });
    }

    /// Zeroes `len` bytes.
    pub fn zero(&mut self, dst: Value, off: i32, len: u32, align: u8) {
        let (dst, off) = self.reach(dst, off);
        self.push(Op::Zero { dst, off, len, align });
    }

    /// Ends the block with a jump.
    pub fn jump(&mut self, block: Block, args: &[Value]) {
        self.end(Terminator::Jump(Edge { block, args: args.to_vec() }));
    }

    /// Ends the block with a 64-bit comparison.
    pub fn branch(&mut self, cc: Cc, a: Value, b: Value, then: Block, other: Block) {
        self.branch_args(cc, a, b, (then, &[]), (other, &[]));
    }

    /// Ends the block with a 64-bit comparison, with arguments.
    pub fn branch_args(
        &mut self,
        cc: Cc,
        a: Value,
        b: Value,
        then: (Block, &[Value]),
        other: (Block, &[Value]),
    ) {
        self.end(Terminator::Branch {
            cond: Cond { cc, width: Width::W64, a, b },
            then: Edge { block: then.0, args: then.1.to_vec() },
            other: Edge { block: other.0, args: other.1.to_vec() },
        });
    }

    /// Ends the block: `then` when `v` is not zero.
    pub fn branch_nonzero(&mut self, v: Value, then: Block, other: Block) {
        let ty = match self.type_of(v) {
            Type::Int(ty) => Type::Int(ty),
            Type::Ptr(_) => Type::U64,
        };
        let zero = self.iconst(ty, 0);
        self.branch(Cc::Ne, v, zero, then, other);
    }

    /// Null check: goes on in a new block where the returned pointer is not null; `on_null` otherwise.
    pub fn check_null(&mut self, ptr: Value, on_null: Block) -> Value {
        let ok = self.block(&[]);
        let zero = self.u64(0);
        self.branch(Cc::Eq, ptr, zero, on_null, ok);
        self.switch_to(ok);
        let ty = self.type_of(ptr).non_null();
        self.cast(ptr, ty)
    }

    /// Ends the block with the kernel's loop budget.
    pub fn may_goto(&mut self, body: Block, exit: Block) {
        self.end(Terminator::MayGoto {
            body: Edge { block: body, args: Vec::new() },
            exit: Edge { block: exit, args: Vec::new() },
        });
    }

    /// Ends the block with a return.
    pub fn ret(&mut self, value: Value) {
        self.end(Terminator::Return(value));
    }
}
