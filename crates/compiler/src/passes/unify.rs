//! Unifies block parameters with their arguments: a parameter to which every edge gives the same value (or itself) is
//! that value; one to which every edge gives the same constant becomes that constant.

use super::Env;
use super::subst::Substitution;
use crate::ir::op::Op;
use crate::ir::types::{Loc, Value};
use crate::ir::{Cfg, Function, Inst};

/// A parameter of a loop may only turn out the same once the one it depends on is gone; after so many rounds it stays.
const ROUNDS: usize = 4;

/// Runs the pass.
pub fn run(func: &mut Function, _: &Env) {
    let cfg = Cfg::new(func);
    for _ in 0..ROUNDS {
        if !round(func, &cfg) {
            return;
        }
    }
}

/// What the edges give to a parameter.
#[derive(Clone, Copy, PartialEq)]
enum Given {
    Nothing,
    One(Value),
    Constant(i64),
    Different,
}

/// One round over all parameters; whether it changed something.
fn round(func: &mut Function, cfg: &Cfg) -> bool {
    let defs = func.definitions();
    let mut given: Vec<Vec<Given>> =
        func.blocks.iter().map(|b| vec![Given::Nothing; b.params.len()]).collect();
    for block in cfg.rpo() {
        for edge in func.block(*block).term.iter().flat_map(|t| t.edges()) {
            let params = &func.block(edge.block).params;
            for ((given, arg), param) in given[edge.block.index()].iter_mut().zip(&edge.args).zip(params) {
                if arg != param {
                    *given = meet(func, &defs, *given, *arg);
                }
            }
        }
    }
    let mut subst = Substitution::new(func);
    let mut changed = false;
    let mut keeps: Vec<Vec<bool>> = func.blocks.iter().map(|b| vec![true; b.params.len()]).collect();
    for &block in cfg.rpo().iter().skip(1) {
        let mut constants = Vec::new();
        for (n, given) in given[block.index()].iter().enumerate() {
            let param = func.block(block).params[n];
            match given {
                Given::One(value) if subst.find(*value) != param => match constant_of(func, &defs, *value) {
                    _ if func.type_of(*value) == func.type_of(param) => subst.replace(param, *value),
                    Some(c) => constants.push(constant(func, param, c)),
                    None => continue,
                },
                Given::Constant(c) => constants.push(constant(func, param, *c)),
                _ => continue,
            }
            keeps[block.index()][n] = false;
            changed = true;
        }
        func.block_mut(block).insts.splice(0..0, constants);
    }
    if changed {
        drop_params(func, &keeps);
        subst.apply(func);
    }
    changed
}

fn constant_of(func: &Function, defs: &[Option<Inst>], value: Value) -> Option<i64> {
    match defs[value.index()].map(|i| &func.inst(i).op) {
        Some(Op::Const(c)) => Some(*c),
        _ => None,
    }
}

fn meet(func: &Function, defs: &[Option<Inst>], given: Given, arg: Value) -> Given {
    let constant = |v: Value| constant_of(func, defs, v);
    match given {
        Given::Nothing => Given::One(arg),
        Given::One(value) if value == arg => given,
        Given::One(value) => match (constant(value), constant(arg)) {
            (Some(a), Some(b)) if a == b => Given::Constant(a),
            _ => Given::Different,
        },
        Given::Constant(c) if constant(arg) == Some(c) => given,
        _ => Given::Different,
    }
}

/// An instruction that makes `param` a constant.
fn constant(func: &mut Function, param: Value, c: i64) -> Inst {
    let (inst, _) = func.new_inst(Op::Const(c), None, Loc::default());
    func.insts[inst.index()].result = Some(param);
    inst
}

fn drop_params(func: &mut Function, keeps: &[Vec<bool>]) {
    for (block, keep) in func.blocks.iter_mut().zip(keeps) {
        retain(&mut block.params, keep);
        for edge in block.term.iter_mut().flat_map(|t| t.edges_mut()) {
            retain(&mut edge.args, &keeps[edge.block.index()]);
        }
    }
}

/// Keeps the values whose flag is set.
pub(super) fn retain(values: &mut Vec<Value>, keep: &[bool]) {
    if keep.iter().all(|k| *k) {
        return;
    }
    let mut flags = keep.iter();
    values.retain(|_| flags.next().copied().unwrap_or(true));
}
