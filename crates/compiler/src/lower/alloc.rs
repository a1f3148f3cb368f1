//! Register allocation: linear scan over r0 to r9 with live-range splitting.
//!
//! Live ranges enter; for each position of each virtual register a machine register or a spill slot leaves. Every
//! contiguous range is a piece of its own, so holes cost nothing; pieces are taken by ascending start. A piece that
//! crosses a call wants r6 to r9. Where none is free for all of a piece it is split: the part before the obstacle keeps
//! a register, the rest waits. Where every register is taken, the value whose next use is farthest away goes to its
//! spill slot until it is needed again. A value that is ever spilled is stored once, where it is defined, so leaving a
//! register costs nothing; pieces begin in registers only at definitions or at even positions, where moves can stand.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::live::{Hint, Live};
use super::loops::Nest;
use super::mir::VReg;

/// Where a value is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Place {
    /// A machine register.
    Reg(u8),
    /// A spill slot.
    Spill(u32),
}

/// A part of a live range that is in one place. `reg` is `None` in the spill slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub vreg: VReg,
    pub start: u32,
    pub end: u32,
    pub reg: Option<u8>,
}

/// The result.
pub(crate) struct Allocation {
    /// By virtual register, ascending.
    pieces: Vec<Vec<Piece>>,
    /// By virtual register: its spill slot.
    slots: Vec<Option<u32>>,
    /// By machine register, ascending: where it holds a value.
    taken: [Vec<(u32, u32)>; 10],
    /// How many spill slots there are.
    pub spill_slots: u32,
}

const REGS: usize = 10;
const NEVER: u32 = u32::MAX;
/// Spill slots that are shared: more than a stack holds.
const SHARED: usize = 128;
/// Registers in the order they are tried when nothing is preferred: those that calls clobber first.
const ORDER: [u8; REGS] = [5, 4, 3, 2, 1, 0, 6, 7, 8, 9];

struct Scan<'a> {
    live: &'a Live,
    nest: &'a Nest,
    pieces: Vec<Piece>,
    waiting: BinaryHeap<Reverse<(u32, u32)>>,
    active: [Option<u32>; REGS],
    cursor: [usize; REGS],
    /// Last register of each virtual register.
    last: Vec<Option<u8>>,
}

/// Allocates registers.
pub(crate) fn allocate(live: &Live, nest: &Nest) -> Allocation {
    let mut scan = Scan {
        live,
        nest,
        pieces: Vec::new(),
        waiting: BinaryHeap::new(),
        active: [None; REGS],
        cursor: [0; REGS],
        last: vec![None; live.ranges.len()],
    };
    for (v, ranges) in live.ranges.iter().enumerate() {
        for range in ranges {
            scan.queue(VReg(v as u32), range.start, range.end);
        }
    }
    while let Some(Reverse((start, piece))) = scan.waiting.pop() {
        scan.expire(start);
        scan.place(piece as usize);
    }
    finish(live, scan.pieces)
}

impl Scan<'_> {
    fn queue(&mut self, vreg: VReg, start: u32, end: u32) {
        if start < end {
            self.waiting.push(Reverse((start, self.pieces.len() as u32)));
            self.pieces.push(Piece { vreg, start, end, reg: None });
        }
    }

    fn expire(&mut self, pos: u32) {
        for reg in 0..REGS {
            if self.active[reg].is_some_and(|p| self.pieces[p as usize].end <= pos) {
                self.active[reg] = None;
            }
            let blocked = &self.live.blocked[reg];
            while blocked.get(self.cursor[reg]).is_some_and(|b| b.end <= pos) {
                self.cursor[reg] += 1;
            }
        }
    }

    /// Where the register is next unusable, from the current position on.
    fn obstacle(&self, reg: usize) -> u32 {
        self.live.blocked[reg].get(self.cursor[reg]).map_or(NEVER, |b| b.start)
    }

    /// The first use of a virtual register at or after `pos`; with `must`, the first that needs a register.
    fn next_use(&self, vreg: VReg, pos: u32, end: u32, must: bool) -> u32 {
        let uses = &self.live.uses[vreg.index()];
        let from = uses.partition_point(|u| u.pos < pos);
        let next = uses[from..].iter().take_while(|u| u.pos < end).find(|u| u.reg || !must);
        next.map_or(NEVER, |u| u.pos)
    }

    /// How far the register is free from `start`; `None`: not at all.
    fn free_until(&self, reg: usize, start: u32) -> Option<u32> {
        let until = self.obstacle(reg);
        (self.active[reg].is_none() && until > start).then_some(until)
    }

    fn hinted(&self, vreg: VReg) -> impl Iterator<Item = u8> {
        let hints = self.live.hints[vreg.index()].iter().filter_map(|h| match h {
            Hint::Fixed(reg) => Some(*reg),
            Hint::Same(v) => self.last[v.index()],
        });
        let wanted = self.live.wanted[vreg.index()];
        self.last[vreg.index()].into_iter().chain(wanted).chain(hints)
    }

    fn place(&mut self, id: usize) {
        let Piece { vreg, start, end, .. } = self.pieces[id];
        let free: [Option<u32>; REGS] = std::array::from_fn(|r| self.free_until(r, start));
        let whole = |r: &u8| free[*r as usize].is_some_and(|u| u >= end);
        let hinted = self.hinted(vreg).find(whole);
        if let Some(reg) = hinted.or_else(|| ORDER.into_iter().find(whole)) {
            return self.assign(id, reg);
        }
        // No register for all of it: one for the longest part.
        let usable = |u: u32| (u & !1) > start;
        let longest = free.iter().flatten().copied().filter(|u| usable(*u)).max();
        let next = self.next_use(vreg, start, end, false);
        match longest {
            Some(until) if next < until => {
                let same = |r: &u8| free[*r as usize] == Some(until);
                let reg = self.hinted(vreg).find(same).or_else(|| ORDER.into_iter().find(same));
                self.cut(id, until);
                if let Some(reg) = reg {
                    self.assign(id, reg);
                }
            }
            _ => self.contend(id),
        }
    }

    fn assign(&mut self, id: usize, reg: u8) {
        self.pieces[id].reg = Some(reg);
        self.last[self.pieces[id].vreg.index()] = Some(reg);
        self.active[reg as usize] = Some(id as u32);
    }

    /// Ends the piece before the obstacle at `until`; the rest waits. The cut is moved out of loops that the piece
    /// does not begin in, if it is not used between.
    fn cut(&mut self, id: usize, until: u32) {
        let Piece { vreg, start, end, .. } = self.pieces[id];
        let mut at = until & !1;
        if let Some(head) = self.nest.outermost_after(at, start)
            && self.next_use(vreg, head, at, false) == NEVER
            && head > start
        {
            at = head;
        }
        self.pieces[id].end = at;
        self.queue(vreg, at, end);
    }

    /// Every register is taken: the value that is used last gives way.
    fn contend(&mut self, id: usize) {
        let Piece { vreg, start, end, .. } = self.pieces[id];
        let mut best: Option<(u32, u8)> = None;
        for reg in 0..REGS as u8 {
            let Some(holder) = self.active[reg as usize] else { continue };
            let until = self.obstacle(reg as usize);
            if (until & !1) <= start && until < end {
                continue;
            }
            let holder = self.pieces[holder as usize];
            let next = self.next_use(holder.vreg, start, holder.end, false);
            let next = if next == NEVER { NEVER } else { next & !1 };
            if next > start && best.is_none_or(|b| next > b.0) {
                best = Some((next, reg));
            }
        }
        let must = self.next_use(vreg, start, end, true);
        let own = self.next_use(vreg, start, end, false);
        let forced = must != NEVER && (must & !1) <= start;
        match best {
            Some((next, reg)) if forced || next > own => {
                self.evict(reg, start);
                let until = self.obstacle(reg as usize);
                if until < end {
                    self.cut_here(id, until & !1);
                }
                self.assign(id, reg);
            }
            _ => self.wait(id, must),
        }
    }

    fn cut_here(&mut self, id: usize, at: u32) {
        let Piece { vreg, end, .. } = self.pieces[id];
        self.pieces[id].end = at;
        self.queue(vreg, at, end);
    }

    /// The piece stays in its spill slot until a use at `must` needs a register.
    fn wait(&mut self, id: usize, must: u32) {
        let Piece { start, .. } = self.pieces[id];
        if must != NEVER && (must & !1) > start {
            self.cut_here(id, must & !1);
        }
    }

    /// The value in `reg` goes to its spill slot at `pos` until its next use that needs a register.
    fn evict(&mut self, reg: u8, pos: u32) {
        let Some(id) = self.active[reg as usize].take() else { return };
        let Piece { vreg, start, end, .. } = self.pieces[id as usize];
        let must = self.next_use(vreg, pos, end, true);
        let back = if must == NEVER { end } else { (must & !1).max(pos) };
        if start < pos {
            self.pieces[id as usize].end = pos;
            if pos < back {
                self.pieces.push(Piece { vreg, start: pos, end: back, reg: None });
            }
        } else {
            self.pieces[id as usize].end = back;
            self.pieces[id as usize].reg = None;
        }
        self.queue(vreg, back, end);
    }
}

fn finish(live: &Live, all: Vec<Piece>) -> Allocation {
    let mut pieces: Vec<Vec<Piece>> = vec![Vec::new(); live.ranges.len()];
    let mut taken: [Vec<(u32, u32)>; REGS] = Default::default();
    for piece in all {
        if let Some(reg) = piece.reg {
            taken[reg as usize].push((piece.start, piece.end));
        }
        pieces[piece.vreg.index()].push(piece);
    }
    pieces.iter_mut().for_each(|p| p.sort_unstable_by_key(|p| p.start));
    taken.iter_mut().for_each(|t| t.sort_unstable());
    let (slots, spill_slots) = spill_slots(live, &pieces);
    Allocation { pieces, slots, taken, spill_slots }
}

/// Spill slots: values that are never live together share one. Each value gets the first slot that is free wherever it
/// is live; beyond what a stack holds, nothing is shared any more.
fn spill_slots(live: &Live, pieces: &[Vec<Piece>]) -> (Vec<Option<u32>>, u32) {
    let mut slots = vec![None; pieces.len()];
    let mut spilled: Vec<(u32, usize)> = Vec::new();
    for (v, list) in pieces.iter().enumerate() {
        if list.iter().any(|p| p.reg.is_none()) {
            spilled.push((live.ranges[v].first().map_or(0, |r| r.start), v));
        }
    }
    spilled.sort_unstable();
    // By slot: starts and ends of the ranges that it is in use.
    let mut taken: Vec<BTreeMap<u32, u32>> = Vec::new();
    let mut count = 0;
    for (_, v) in spilled {
        let ranges = &live.ranges[v];
        let is_free = |slot: &BTreeMap<u32, u32>| {
            ranges.iter().all(|r| slot.range(..r.end).next_back().is_none_or(|(_, end)| *end <= r.start))
        };
        let found = taken.iter().position(is_free).unwrap_or_else(|| {
            if taken.len() < SHARED {
                taken.push(BTreeMap::new());
                return taken.len() - 1;
            }
            count + 1
        });
        if let Some(slot) = taken.get_mut(found) {
            slot.extend(ranges.iter().map(|r| (r.start, r.end)));
        }
        count = count.max(found);
        slots[v] = Some(found as u32);
    }
    let any = slots.iter().any(Option::is_some);
    (slots, if any { count as u32 + 1 } else { 0 })
}

impl Allocation {
    /// Where the value is at `pos`; `None` where it is not live.
    pub(crate) fn at(&self, vreg: VReg, pos: u32) -> Option<Place> {
        let list = &self.pieces[vreg.index()];
        let i = list.partition_point(|p| p.end <= pos);
        let piece = list.get(i).filter(|p| p.start <= pos)?;
        self.place_of(piece)
    }

    fn place_of(&self, piece: &Piece) -> Option<Place> {
        match piece.reg {
            Some(reg) => Some(Place::Reg(reg)),
            None => self.slots[piece.vreg.index()].map(Place::Spill),
        }
    }

    /// The spill slot of a value that is ever spilled.
    pub(crate) fn spill_slot(&self, vreg: VReg) -> Option<u32> {
        self.slots[vreg.index()]
    }

    /// Pieces that continue a piece directly before them from another place: position, from, to.
    pub(crate) fn joints(&self) -> Vec<(u32, Place, Place)> {
        let mut out = Vec::new();
        for pair in self.pieces.iter().flat_map(|list| list.windows(2)) {
            if pair[0].end == pair[1].start
                && let (Some(from), Some(to)) = (self.place_of(&pair[0]), self.place_of(&pair[1]))
                && from != to
            {
                out.push((pair[1].start, from, to));
            }
        }
        out.sort_unstable();
        out
    }

    /// Whether a register holds a value at `pos`.
    pub(crate) fn is_taken(&self, reg: u8, pos: u32) -> bool {
        let list = &self.taken[reg as usize];
        let i = list.partition_point(|p| p.0 <= pos);
        i > 0 && list[i - 1].1 > pos
    }
}
