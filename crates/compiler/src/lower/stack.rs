//! The stack as a budget: which slots leave it, and whether the frames of every chain of calls fit.

use super::FuncCode;
use super::frame::{FRAME_UNIT, STACK};
use super::scratch::LARGE;
use super::slots::{SlotUse, pack};
use crate::compile::CompileError;
use crate::ir::{FuncId, Function, Loc, Op, ProgramDecl, Slot};

/// Frames that a chain of calls may have (MAX_CALL_FRAMES, include/linux/bpf_verifier.h, Linux 6.18).
const FRAMES: usize = 8;

/// How many bytes of slots each function may keep on the stack.
pub(crate) struct Budgets {
    names: Vec<String>,
    locs: Vec<Loc>,
    budgets: Vec<u32>,
    /// Bytes that the slots took in the last round.
    taken: Vec<u32>,
    /// Functions whose slots did not get smaller when asked.
    stuck: Vec<bool>,
}

impl Budgets {
    /// All of the stack for each.
    pub(crate) fn new(funcs: &[Function]) -> Budgets {
        Budgets {
            names: funcs.iter().map(|f| f.name.clone()).collect(),
            locs: funcs.iter().map(first_loc).collect(),
            budgets: vec![STACK; funcs.len()],
            taken: vec![0; funcs.len()],
            stuck: vec![false; funcs.len()],
        }
    }

    /// What function `i` may keep.
    pub(crate) fn of(&self, i: usize) -> u32 {
        self.budgets[i]
    }

    /// Notes what the slots of function `i` take now.
    pub(crate) fn slots_take(&mut self, i: usize, bytes: u32) {
        self.stuck[i] = bytes > self.budgets[i];
        self.taken[i] = bytes;
    }

    /// The longest chain of frames from `func`, in bytes, and its functions.
    fn chain(
        &self,
        func: FuncId,
        codes: &[Option<FuncCode>],
        known: &mut Vec<Option<(u32, Option<FuncId>)>>,
        depth: usize,
    ) -> Result<u32, CompileError> {
        if let Some(Some((bytes, _))) = known.get(func.index()) {
            return Ok(*bytes);
        }
        let Some(Some(code)) = codes.get(func.index()) else {
            return Err(CompileError::internal("", format!("there is no function {func}")));
        };
        if depth >= FRAMES {
            let what = format!("functions call each other more than {FRAMES} deep, which the kernel refuses");
            return Err(self.limit(func, what));
        }
        let own = code.frame.max(1).next_multiple_of(FRAME_UNIT);
        let mut best = (own, None);
        for &callee in &code.refers {
            let bytes = own + self.chain(callee, codes, known, depth + 1)?;
            if bytes > best.0 {
                best = (bytes, Some(callee));
            }
        }
        known[func.index()] = Some(best);
        Ok(best.0)
    }

    fn limit(&self, func: FuncId, what: String) -> CompileError {
        let function = self.names.get(func.index()).cloned().unwrap_or_default();
        CompileError::Limit { what, function, loc: self.locs.get(func.index()).copied().unwrap_or_default() }
    }

    /// Checks the chains of all programs. A function whose slots should take less and that is to be lowered again, if
    /// there is one.
    pub(crate) fn check(
        &mut self,
        programs: &[ProgramDecl],
        codes: &[Option<FuncCode>],
    ) -> Result<Option<usize>, CompileError> {
        let mut known = vec![None; codes.len()];
        for program in programs {
            let bytes = self.chain(program.main, codes, &mut known, 0)?;
            if bytes <= STACK {
                continue;
            }
            let mut chain = vec![program.main];
            while let Some(Some((_, Some(next)))) = chain.last().and_then(|f| known.get(f.index())) {
                chain.push(*next);
            }
            let widest = chain
                .iter()
                .map(|f| f.index())
                .filter(|f| !self.stuck[*f] && self.taken[*f] > 0)
                .max_by_key(|f| self.taken[*f]);
            let Some(widest) = widest else {
                let what = format!("the program needs {bytes} bytes of stack, the kernel allows {STACK}");
                return Err(self.limit(program.main, what));
            };
            self.budgets[widest] = self.taken[widest].saturating_sub((bytes - STACK).max(8));
            return Ok(Some(widest));
        }
        Ok(None)
    }
}

/// Decides which slots leave the stack: large ones at once, then the largest until the others fit into `budget`.
pub(crate) fn choose(func: &Function, uses: &[SlotUse], budget: u32) -> Vec<bool> {
    let movable = |i: usize| uses[i].is_used() && !uses[i].pinned;
    let mut moves: Vec<bool> =
        func.slots.iter().enumerate().map(|(i, s)| s.size > LARGE && movable(i)).collect();
    loop {
        let packing = pack(func, uses, |i| !moves[i]);
        let mut excess = packing.size.saturating_sub(budget);
        if excess == 0 {
            return moves;
        }
        let mut left: Vec<usize> = (0..moves.len()).filter(|i| !moves[*i] && movable(*i)).collect();
        left.sort_by_key(|i| std::cmp::Reverse(func.slots[*i].size));
        if left.is_empty() {
            return moves;
        }
        for i in left {
            if excess == 0 {
                break;
            }
            moves[i] = true;
            excess = excess.saturating_sub(func.slots[i].size.max(1));
        }
    }
}

fn first_loc(func: &Function) -> Loc {
    let locs = func.blocks.iter().flat_map(|b| b.insts.iter().map(|i| func.inst(*i).loc).chain([b.loc]));
    locs.into_iter().find(|l| l.line != 0).unwrap_or_default()
}

/// Where a slot is first named.
fn slot_loc(func: &Function, slot: Slot) -> Loc {
    let insts = func.blocks.iter().flat_map(|b| &b.insts).map(|i| func.inst(*i));
    let at = insts.filter(|i| matches!(i.op, Op::SlotAddr(s) if s == slot)).map(|i| i.loc);
    at.into_iter().next().unwrap_or_default()
}

/// Refuses slots that fit nowhere: of more than `limit` bytes.
pub(crate) fn check_sizes(func: &Function, limit: u32) -> Result<(), CompileError> {
    for (i, data) in func.slots.iter().enumerate() {
        if data.size > limit {
            let what = format!("{} needs {} bytes, the most is {}", data.name, data.size, limit);
            let loc = slot_loc(func, Slot(i as u32));
            return Err(CompileError::Limit { what, function: func.name.clone(), loc });
        }
    }
    Ok(())
}

/// The error for a frame that is too large for the scratch area, at its largest slot.
pub(crate) fn too_large(func: &Function, bytes: u32, limit: u32) -> CompileError {
    let largest = (0..func.slots.len()).max_by_key(|i| func.slots[*i].size).unwrap_or(0);
    let what = format!("the program needs {bytes} bytes for its values, the most is {limit}");
    CompileError::Limit { what, function: func.name.clone(), loc: slot_loc(func, Slot(largest as u32)) }
}
