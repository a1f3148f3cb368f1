//! A function: blocks, instructions, values, stack slots.

use super::op::{Op, Terminator};
use super::types::{Block, Inst, Loc, Slot, Type, Value};

/// A function's body.
#[derive(Clone, PartialEq, Debug)]
pub struct Function {
    /// C identifier.
    pub name: String,
    /// Parameters are the entry block's parameters, at most five.
    pub params: Vec<Type>,
    /// What it returns.
    pub ret: Type,
    /// What the function is, which decides its calling rules.
    pub kind: super::module::FuncKind,
    /// Blocks by number; the entry is block 0. Emission order is decided later.
    pub blocks: Vec<BlockData>,
    /// Instructions by number; those in no block are dead.
    pub insts: Vec<InstData>,
    /// Values by number.
    pub values: Vec<ValueData>,
    /// Stack slots by number.
    pub slots: Vec<SlotData>,
}

/// A block.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct BlockData {
    /// Values that each edge to the block gives.
    pub params: Vec<Value>,
    /// Instructions in order.
    pub insts: Vec<Inst>,
    /// How it ends; `None` only while it is built.
    pub term: Option<Terminator>,
    /// Place of the terminator.
    pub loc: Loc,
    /// Rarely executed: laid out at the end.
    pub cold: bool,
}

/// An instruction.
#[derive(Clone, PartialEq, Debug)]
pub struct InstData {
    /// What it does.
    pub op: Op,
    /// Its result.
    pub result: Option<Value>,
    /// Where it comes from.
    pub loc: Loc,
}

/// A value.
#[derive(Clone, PartialEq, Debug)]
pub struct ValueData {
    /// What it is.
    pub ty: Type,
}

/// A stack slot. Slots that do not fit into the frame are moved to the per-CPU scratch area by the compiler, so a
/// front-end may ask for any size up to 32 KiB, and for so much in use at one time; slots that are never in use
/// together share their bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotData {
    /// Bytes.
    pub size: u32,
    /// Alignment, 1 to 8.
    pub align: u32,
    /// For dumps.
    pub name: String,
}

impl Function {
    /// The entry block.
    pub const ENTRY: Block = Block(0);

    /// A block.
    pub fn block(&self, block: Block) -> &BlockData {
        &self.blocks[block.index()]
    }

    /// A block, to change it.
    pub fn block_mut(&mut self, block: Block) -> &mut BlockData {
        &mut self.blocks[block.index()]
    }

    /// An instruction.
    pub fn inst(&self, inst: Inst) -> &InstData {
        &self.insts[inst.index()]
    }

    /// A value's type.
    pub fn type_of(&self, value: Value) -> Type {
        self.values[value.index()].ty
    }

    /// A new value.
    pub fn new_value(&mut self, ty: Type) -> Value {
        self.values.push(ValueData { ty });
        Value(self.values.len() as u32 - 1)
    }

    /// A new, empty block.
    pub fn new_block(&mut self) -> Block {
        self.blocks.push(BlockData::default());
        Block(self.blocks.len() as u32 - 1)
    }

    /// A new instruction in no block yet, with a result of type `ty` if there is one.
    pub fn new_inst(&mut self, op: Op, ty: Option<Type>, loc: Loc) -> (Inst, Option<Value>) {
        let result = ty.map(|ty| self.new_value(ty));
        self.insts.push(InstData { op, result, loc });
        (Inst(self.insts.len() as u32 - 1), result)
    }

    /// A new stack slot.
    pub fn new_slot(&mut self, size: u32, align: u32, name: &str) -> Slot {
        self.slots.push(SlotData { size, align, name: name.to_owned() });
        Slot(self.slots.len() as u32 - 1)
    }
}
