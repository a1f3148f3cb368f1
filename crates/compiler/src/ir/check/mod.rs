//! The invariants of the IR: a module enters; nothing leaves, or what is wrong, with function, block and instruction.
//! A front-end's output holds them, and so does every pass's.
//!
//! **Control flow.** A function has an entry block, number 0, that no edge leads to and whose parameters are the
//! function's. Every reachable block has a terminator. Edges lead to blocks that exist and give one argument for each
//! parameter, of a type that may stand for the parameter's. Blocks that cannot be reached are not looked at.
//!
//! **Values.** A value is defined once, by a block parameter or an instruction; an instruction stands in one block
//! once. The definition dominates each use; an edge's arguments are used at the end of the block that the edge leaves.
//!
//! **Integers.** A value of n bits is extended to 64 by its type's sign, always. An operation's result must therefore lie
//! in its type's range as far as [`crate::ir::range`] can show: 64-bit arithmetic has a 64-bit type unless its operands keep
//! it small, 32-bit arithmetic at least `u32`, and what must be cut is cut by `extend`. Conversions between types go through
//! `extend` or, where the bits stay, through `cast`. Where a value of one type stands for another's (edge, argument, return),
//! every value of the one is one of the other; 64-bit integers stand for each other.
//!
//! **Pointers.** Loads, stores, atomics, copies and pointer arithmetic work on memory that the kernel's verifier tracks;
//! kernel and user addresses are read by helpers alone. A nullable pointer is only compared, stored, passed on, and cast
//! to its non-null type where a branch on `p == 0` or `p != 0` has made sure: the cast is dominated by the branch's
//! non-null edge, whose block has no other predecessor. An access through a slot's or a map value's constant address lies
//! within it. An offset that an instruction holds fits its 16 bits. To the context and to kernel objects only constants
//! are added.
//!
//! **Bounds.** `bound` takes and gives an integer.
//!
//! **Functions.** At most five parameters and arguments. A main takes the context and returns an integer; a sub returns
//! no stack pointer; a callback's last parameter is the callback context, before it stand one integer (bpf_loop) or map, key
//! and value, and it returns 64 bits. Calls do not recurse and nest at most eight deep.
//!
//! **Slots.** At least one byte, alignment 1, 2, 4 or 8. How many bytes there may be is a limit of lowering.

mod flow;
mod ops;
mod pointers;
mod signatures;

use super::func::Function;
use super::module::Module;
use super::op::{Op, Terminator};
use super::types::{Block, FuncId, Inst, Type, Value};
use super::{Cfg, DomTree, Range, range};
use std::fmt;

/// One broken invariant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckError {
    /// The function; `None`: the module.
    pub func: Option<String>,
    /// The block.
    pub block: Option<Block>,
    /// The instruction as text; within a block, none means its parameters or its terminator.
    pub inst: Option<String>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.func {
            Some(func) => write!(f, "{func}")?,
            None => f.write_str("module")?,
        }
        if let Some(block) = self.block {
            write!(f, ", {block}")?;
        }
        if let Some(inst) = &self.inst {
            write!(f, ", `{inst}`")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for CheckError {}

/// After so many errors the checker stops.
const MAX_ERRORS: usize = 50;

/// Checks a module; every broken invariant found (the first 50) if there is one.
pub fn check(module: &Module) -> Result<(), Vec<CheckError>> {
    let mut errors = Vec::new();
    signatures::check_module(module, &mut errors);
    for func in &module.funcs {
        check_into(module, func, &mut errors);
    }
    errors.truncate(MAX_ERRORS);
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Checks one function of a module.
pub fn check_function(module: &Module, func: &Function) -> Result<(), Vec<CheckError>> {
    let mut errors = Vec::new();
    check_into(module, func, &mut errors);
    errors.truncate(MAX_ERRORS);
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn check_into(module: &Module, func: &Function, errors: &mut Vec<CheckError>) {
    if errors.len() >= MAX_ERRORS {
        return;
    }
    let mut found = Vec::new();
    let mut check = Check { module, func, errors: &mut found, block: None, inst: None };
    check.signature();
    check.slots();
    // Dominance and types are only looked at in a graph that is sound.
    if check.errors.is_empty() && check.structure() {
        let cfg = Cfg::new(func);
        let dom = DomTree::new(&cfg);
        check.reachable_ends(&cfg);
        if check.errors.is_empty() && check.dominance(&cfg, &dom) {
            let order = cfg.rpo().iter().flat_map(|b| func.block(*b).insts.iter().copied());
            let facts = Facts {
                defs: func.definitions(),
                ranges: range::of_function(func, order),
                regions: pointers::regions(module, func, &cfg),
                checked: pointers::checked(func, &cfg),
                dom: &dom,
            };
            check.types(&cfg, &facts);
        }
    }
    errors.append(&mut found);
}

/// What is known of a function whose structure is sound.
struct Facts<'a> {
    defs: Vec<Option<Inst>>,
    ranges: Vec<Range>,
    regions: Vec<Option<pointers::Region>>,
    checked: Vec<Vec<Block>>,
    dom: &'a DomTree,
}

/// One function's check: where it is, and what it has found.
struct Check<'a> {
    module: &'a Module,
    func: &'a Function,
    errors: &'a mut Vec<CheckError>,
    block: Option<Block>,
    inst: Option<Inst>,
}

impl Check<'_> {
    fn error(&mut self, message: impl Into<String>) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(CheckError {
                func: Some(self.func.name.clone()),
                block: self.block,
                inst: self.inst.map(|i| self.func.display_inst(i)),
                message: message.into(),
            });
        }
    }

    fn require(&mut self, holds: bool, message: impl FnOnce() -> String) {
        if !holds {
            self.error(message());
        }
    }

    fn ty(&self, value: Value) -> Type {
        self.func.type_of(value)
    }

    /// The operation that defines a value.
    fn def<'f>(&'f self, facts: &Facts<'_>, value: Value) -> Option<&'f Op> {
        facts.defs[value.index()].map(|inst| &self.func.inst(inst).op)
    }

    fn callee(&self, id: FuncId) -> Option<&Function> {
        self.module.funcs.get(id.index())
    }

    /// Types of all reachable instructions and terminators.
    fn types(&mut self, cfg: &Cfg, facts: &Facts<'_>) {
        let func = self.func;
        for &block in cfg.rpo() {
            self.block = Some(block);
            for &inst in &func.block(block).insts {
                self.inst = Some(inst);
                self.op(facts, block, &func.inst(inst).op, func.inst(inst).result);
            }
            self.inst = None;
            match &func.block(block).term {
                Some(Terminator::Return(v)) => self.returned(facts, *v),
                Some(term) => {
                    if let Terminator::Branch { cond, .. } = term {
                        self.cond(facts, cond);
                    }
                    for edge in term.edges() {
                        self.edge(facts, edge);
                    }
                }
                None => {}
            }
        }
        self.block = None;
    }
}
