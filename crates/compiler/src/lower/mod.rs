//! Lowering: functions of the IR enter, machine code leaves.
//!
//! In order: slots that do not fit into the stack move to the per-CPU scratch area ([`scratch`]), large copies become
//! loops ([`expand`]), the slots that are left are packed ([`slots`]); operations become machine instructions over
//! virtual registers ([`select`]); these get registers and spill slots ([`live`], [`alloc`]); moves, frame offsets and
//! jumps are written out ([`rewrite`], [`code`]). What always holds afterwards: no register is read before it is
//! written, none that a call clobbers is read after it, and the frames of every chain of calls fit into the stack.

mod alloc;
mod chain;
mod code;
mod expand;
mod frame;
mod live;
mod loops;
mod mir;
mod moves;
mod rewrite;
mod scratch;
mod select;
mod slots;
mod stack;
#[cfg(test)]
mod tests;

pub(crate) use chain::Chains;
pub(crate) use code::{Item, Open};
pub(crate) use expand::Append;

use crate::compile::{CompileError, Cpu, Features};
use crate::ir::{FuncId, FuncKind, Function, Module, ProgramDecl, Terminator};
use crate::passes::{Env, order};
use frame::Frame;
use slots::Packing;
use stack::Budgets;

/// A function's machine code; jumps have their offsets, calls of functions and references are open.
pub(crate) struct FuncCode {
    /// Instructions with their positions in slots.
    pub items: Vec<(Item, u32)>,
    /// Slots in all.
    pub len: u32,
    /// Bytes of its frame.
    pub frame: u32,
    /// Functions it calls or passes on, each once, in order.
    pub refers: Vec<FuncId>,
}

/// Rounds of moving slots out of the stack; each makes some frame smaller.
const ROUNDS: usize = 32;

/// Lowers every function of `module`; by function number. The module's functions are replaced by what was selected
/// from, and the compiler's own maps are added to its object.
pub(crate) fn lower(module: &mut Module, features: &Features) -> Result<Vec<FuncCode>, CompileError> {
    let sources = std::mem::take(&mut module.funcs);
    let mut budgets = Budgets::new(&sources);
    let mut areas = scratch::Areas::default();
    let mut codes: Vec<Option<FuncCode>> = sources.iter().map(|_| None).collect();
    module.funcs = sources.clone();
    for _ in 0..ROUNDS {
        for (i, source) in sources.iter().enumerate() {
            if codes[i].is_some() {
                continue;
            }
            let mut func = source.clone();
            let gives_up = gives_up(&module.programs, i, func.kind);
            let room = (budgets.of(i), gives_up);
            let packing = arrange(&mut func, room, &mut module.object, &mut areas, features)?;
            budgets.slots_take(i, packing.size);
            codes[i] = Some(lower_function(&func, &packing, features)?);
            module.funcs[i] = func;
        }
        let excess = budgets.check(&module.programs, &codes)?;
        let Some(again) = excess else { break };
        codes[again] = None;
    }
    let done: Option<Vec<FuncCode>> = codes.into_iter().collect();
    done.ok_or_else(|| CompileError::internal("", "the stack does not settle".into()))
}

/// What function number `index` returns where it cannot go on: a callback what ends its loop, a program what lets the
/// kernel go on as without it.
fn gives_up(programs: &[ProgramDecl], index: usize, kind: FuncKind) -> i64 {
    let program = programs.iter().find(|p| p.main.index() == index);
    match (kind, program) {
        (FuncKind::Callback, _) => 1,
        (_, Some(program)) => program.prog_type.neutral_result().into(),
        (_, None) => 0,
    }
}

/// Decides where each slot lies: moves some to the scratch area, packs the others. The function has room for `budget`
/// bytes, and returns `gives_up` where there is no scratch area to be had.
fn arrange(
    func: &mut Function,
    (budget, gives_up): (u32, i64),
    object: &mut skep_bpf::object::Object,
    areas: &mut scratch::Areas,
    features: &Features,
) -> Result<Packing, CompileError> {
    let limit = scratch::limit(features.fetch_atomics);
    stack::check_sizes(func, limit)?;
    let uses = slots::analyse(func);
    let moves = stack::choose(func, &uses, budget);
    if moves.iter().any(|m| *m) {
        let packing = slots::pack(func, &uses, |i| moves[i]);
        if packing.size > limit {
            return Err(stack::too_large(func, packing.size, limit));
        }
        let area = areas.of(packing.size, object, features.fetch_atomics);
        let plan = scratch::Plan { moves: &moves, packing: &packing, uses: &uses, gives_up };
        scratch::apply(func, area, &plan);
    }
    expand::expand(func);
    order::run(func, &Env { ctx_is_constant: false });
    let uses = slots::analyse(func);
    Ok(slots::pack(func, &uses, |_| true))
}

fn lower_function(func: &Function, packing: &Packing, features: &Features) -> Result<FuncCode, CompileError> {
    let mir = select::select(func, features)?;
    let frame = Frame::new(packing.below.iter().map(|b| -(*b as i32)).collect(), packing.size);
    let live = live::Live::new(&mir);
    let nest = loops::Nest::new(&mir, &live);
    let alloc = alloc::allocate(&live, &nest);
    let done = rewrite::rewrite(&mir, &live, &alloc, &frame)?;
    let mut code = done.code;
    code.clean();
    code.relax(features.cpu >= Cpu::V4);
    let items = code
        .resolve()
        .map_err(|d| CompileError::internal(&func.name, format!("a jump over {d} instructions is left")))?;
    let len = items.last().map_or(0, |(item, at)| at + item.slots() as u32);
    let mut refers = Vec::new();
    for (item, _) in &items {
        if let Some(Open::Func(f)) = &item.open
            && !refers.contains(f)
        {
            refers.push(*f);
        }
    }
    let waits = |b: &crate::ir::BlockData| matches!(b.term, Some(Terminator::MayGoto { .. }));
    let budget = features.may_goto && func.blocks.iter().any(waits);
    let extra = if budget { frame::MAY_GOTO } else { 0 };
    let frame = frame.size(alloc.spill_slots + done.extra_spills) + extra;
    Ok(FuncCode { items, len, frame, refers })
}
