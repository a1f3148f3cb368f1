//! The intermediate representation: typed SSA in basic blocks with block parameters.
//!
//! Every value is 64 bits wide in a register. An integer value of fewer bits is kept extended to 64 bits by its own
//! sign, always: producers extend, consumers rely on it. Memory holds exactly the bits. What always holds is stated,
//! and checked, in the checker.

pub mod builder;
pub mod cfg;
pub mod check;
pub mod dom;
pub mod eval;
pub mod func;
pub mod module;
pub mod op;
pub mod range;
pub mod text;
pub mod types;
pub mod uses;

pub use builder::FuncBuilder;
pub use cfg::Cfg;
pub use check::{CheckError, check, check_function};
pub use dom::{DomTree, Loops};
pub use func::{BlockData, Function, InstData, SlotData, ValueData};
pub use module::{FuncKind, Module, ProgramDecl};
pub use op::{AtomicOp, BinOp, Cc, Cond, Edge, Offset, Op, Terminator, UnOp};
pub use range::Range;
pub use types::{Block, FuncId, Inst, IntTy, Loc, MapId, PtrKind, Slot, Type, Value, Width};
