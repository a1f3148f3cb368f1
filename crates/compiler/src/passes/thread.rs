//! Threads jumps: an edge to a block that only jumps on goes where that one goes; an edge that decides the branch of the
//! block it leads to goes where the branch goes; and a block that only one jump leads to becomes a part of the block before.
//!
//! A block is only passed by when none of its values is used outside of it, so no definition stops dominating a use.

use super::Env;
use super::subst::Substitution;
use crate::ir::op::{Cond, Edge, Op, Terminator};
use crate::ir::types::{Block, Inst, Type, Value};
use crate::ir::{Cfg, Function, eval};

/// Runs the pass.
pub fn run(func: &mut Function, _: &Env) {
    redirect(func);
    super::sweep::prune(func);
    merge(func);
}

/// Most instructions of a block that may be passed by; they are constants, copied where they are needed.
const MAX_CONSTANTS: usize = 4;
/// Longest way that one edge is redirected along.
const MAX_HOPS: usize = 8;

/// What is known of the function for redirecting; edges change meanwhile, definitions do not.
struct Threading {
    constants: Vec<Option<i64>>,
    /// Blocks that can be passed by.
    passable: Vec<bool>,
}

fn constants(func: &Function) -> Vec<Option<i64>> {
    let mut out = vec![None; func.values.len()];
    for inst in func.blocks.iter().flat_map(|b| &b.insts) {
        if let (Op::Const(c), Some(v)) = (&func.inst(*inst).op, func.inst(*inst).result) {
            out[v.index()] = Some(*c);
        }
    }
    out
}

impl Threading {
    fn new(func: &Function) -> Threading {
        let uses = func.use_counts();
        let passable = func.blocks.iter().map(|block| {
            let constant = |i: &Inst| matches!(func.inst(*i).op, Op::Const(_));
            if block.insts.len() > MAX_CONSTANTS || !block.insts.iter().all(constant) {
                return false;
            }
            let Some(term @ (Terminator::Jump(_) | Terminator::Branch { .. })) = &block.term else {
                return false;
            };
            let results = block.insts.iter().filter_map(|i| func.inst(*i).result);
            block.params.iter().copied().chain(results).all(|v| {
                let mut inside = 0;
                term.for_each_operand(|used| inside += u32::from(used == v));
                inside == uses[v.index()]
            })
        });
        Threading { constants: constants(func), passable: passable.collect() }
    }

    /// Where the edge goes on from the block it leads to, if that can be said: the edge in terms of that block.
    fn way<'f>(&self, func: &'f Function, edge: &Edge) -> Option<&'f Edge> {
        if !self.passable[edge.block.index()] {
            return None;
        }
        let target = func.block(edge.block);
        match target.term.as_ref()? {
            Terminator::Jump(next) => Some(next),
            Terminator::Branch { cond, then, other } => {
                let holds = self.decide(func, edge, cond)?;
                Some(if holds { then } else { other })
            }
            _ => None,
        }
    }

    /// What stands for a value of the passed block: the edge's argument, if it is a parameter.
    fn given(func: &Function, edge: &Edge, value: Value) -> Value {
        let params = &func.block(edge.block).params;
        match params.iter().position(|p| *p == value) {
            Some(n) => edge.args.get(n).copied().unwrap_or(value),
            None => value,
        }
    }

    fn decide(&self, func: &Function, edge: &Edge, cond: &Cond) -> Option<bool> {
        let constant = |v: Value| self.constants[Threading::given(func, edge, v).index()];
        let (a, b) = (constant(cond.a)?, constant(cond.b)?);
        Some(eval::cond(cond.cc, cond.width, a, b))
    }
}

/// Leads edges past blocks that can be passed by. Blocks are done after those they lead to, so that one step mostly
/// goes all the way.
fn redirect(func: &mut Function) {
    let cfg = Cfg::new(func);
    let mut threading = Threading::new(func);
    for &block in cfg.rpo().iter().rev() {
        let Some(mut term) = func.block_mut(block).term.take() else { continue };
        let forks = !matches!(term, Terminator::Jump(_));
        for edge in term.edges_mut() {
            for _ in 0..MAX_HOPS {
                if edge.block == block || !threading.step(func, block, forks, edge) {
                    break;
                }
            }
        }
        if let Terminator::Branch { then, other, .. } = &term
            && then == other
        {
            term = Terminator::Jump(then.clone());
        }
        func.block_mut(block).term = Some(term);
    }
}

impl Threading {
    /// Moves the edge from `from` on by one block; whether it could. A block that only hands arguments to the next
    /// stays where `from` has several ways out: emission would have to make it again.
    fn step(&mut self, func: &mut Function, from: Block, forks: bool, edge: &mut Edge) -> bool {
        let Some(next) = self.way(func, edge) else { return false };
        let hands_over = forks
            && !next.args.is_empty()
            && matches!(func.block(edge.block).term, Some(Terminator::Jump(_)));
        if next.block == edge.block || next.block == Function::ENTRY || hands_over {
            return false;
        }
        let mut next = next.clone();
        for arg in &mut next.args {
            let given = Threading::given(func, edge, *arg);
            let own = given == *arg && self.is_constant_of(func, edge.block, *arg);
            *arg = if own { self.copy_constant(func, from, *arg) } else { given };
        }
        *edge = next;
        true
    }

    fn is_constant_of(&self, func: &Function, block: Block, value: Value) -> bool {
        func.block(block).insts.iter().any(|i| func.inst(*i).result == Some(value))
    }

    /// A copy of a constant at the end of `block`.
    fn copy_constant(&mut self, func: &mut Function, block: Block, value: Value) -> Value {
        let c = self.constants[value.index()].unwrap_or(0);
        let ty: Type = func.type_of(value);
        let copy = func.new_value(ty);
        let loc = func.block(block).loc;
        let (inst, _) = func.new_inst(Op::Const(c), None, loc);
        func.insts[inst.index()].result = Some(copy);
        func.block_mut(block).insts.push(inst);
        self.constants.push(Some(c));
        // The block has got a value that its own edge uses: nothing else of it changes.
        copy
    }
}

/// Appends to each block the blocks that only its jump leads to.
fn merge(func: &mut Function) {
    let cfg = Cfg::new(func);
    let mut subst = Substitution::new(func);
    let mut gone = vec![false; func.blocks.len()];
    for &block in cfg.rpo() {
        if gone[block.index()] {
            continue;
        }
        while let Some(Terminator::Jump(edge)) = &func.block(block).term {
            let next = edge.block;
            if next == block || next == Function::ENTRY || cfg.preds(next).len() != 1 {
                break;
            }
            let args = edge.args.clone();
            let data = std::mem::take(func.block_mut(next));
            for (param, arg) in data.params.iter().zip(args) {
                subst.replace(*param, arg);
            }
            gone[next.index()] = true;
            let into = func.block_mut(block);
            into.insts.extend(data.insts);
            into.term = data.term;
            into.loc = data.loc;
            into.cold |= data.cold && block != Function::ENTRY;
        }
    }
    subst.apply(func);
}
