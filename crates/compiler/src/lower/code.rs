//! Machine code with labels: what is left of a function before its jumps get their offsets.
//!
//! Labels are bound to items. [`Code::clean`] shortens chains of jumps and drops what cannot be reached (the kernel
//! refuses unreachable instructions); [`Code::relax`] makes far jumps reachable; then every jump fits its offset.

use std::collections::BTreeMap;

use skep_bpf::insn::{Insn, alu, class, jmp, source};
use skep_bpf::object::RelocKind;

use super::mir::MCond;
use crate::ir::{FuncId, Loc};

/// A place that is jumped to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Label(pub u32);

/// What an instruction leaves open.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Open {
    /// The object's business.
    Reloc(RelocKind),
    /// A function of the module: called, or its address loaded.
    Func(FuncId),
}

/// An instruction of one or two slots.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Item {
    pub insn: Insn,
    /// Second slot of a 64-bit immediate load.
    pub second: Option<Insn>,
    /// Where a jump goes.
    pub target: Option<Label>,
    pub open: Option<Open>,
    pub loc: Loc,
}

impl Item {
    /// Slots that the item takes.
    pub(crate) fn slots(&self) -> i64 {
        1 + i64::from(self.second.is_some())
    }

    /// Slots that the kernel may make of the item: it puts the code of some helpers in their place (array_map_gen_lookup and its like,
    /// kernel/bpf; do_misc_fixups, kernel/bpf/verifier.c), checks divisors, and may blind constants. It moves the jumps across, and
    /// refuses the program where one does not reach any more.
    fn room(&self) -> i64 {
        let code = self.insn.code;
        let in_class = |classes: &[u8]| classes.contains(&(code & 0x07));
        let constant = code & source::X == 0;
        match () {
            () if self.is_jump() => 1,
            () if code == class::JMP | jmp::CALL && !matches!(self.open, Some(Open::Func(_))) => MOST_ROOM,
            () if in_class(&[class::ALU, class::ALU64]) && matches!(code & 0xf0, alu::DIV | alu::MOD) => 6,
            () if in_class(&[class::ALU, class::ALU64, class::JMP, class::JMP32]) && constant => 3,
            () if in_class(&[class::ST]) => 3,
            () if in_class(&[class::LD]) => 3 * self.slots(),
            () if in_class(&[class::LDX]) => 2,
            () => self.slots(),
        }
    }

    /// An unconditional jump.
    pub(crate) fn jump(to: Label, loc: Loc) -> Item {
        Item { insn: Insn::ja(0), second: None, target: Some(to), open: None, loc }
    }

    fn is_jump(&self) -> bool {
        self.target.is_some() && self.insn.code & 0xf0 == jmp::JA
    }

    fn ends(&self) -> bool {
        self.is_jump() || self.insn.code == class::JMP | jmp::EXIT
    }
}

/// A function's code.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Code {
    pub items: Vec<Item>,
    /// By label: the item it stands before.
    pub labels: Vec<usize>,
}

/// Jumps farther than this are made in steps: below the 16 bits of the offset, so that steps can be put between.
const REACH: i64 = 32_000;
/// The most that [`Item::room`] says: a stone lies by so much farther than wanted.
const MOST_ROOM: i64 = 12;
/// Rounds of making jumps reach: what is put between for one lengthens others.
const ROUNDS: usize = 2_000;
/// The farthest that a jump's offset reaches.
const LIMIT: i64 = 32_767;

impl Code {
    fn target(&self, item: &Item) -> Option<usize> {
        item.target.and_then(|l| self.labels.get(l.0 as usize)).copied()
    }

    fn new_label(&mut self, at: usize) -> Label {
        self.labels.push(at);
        Label(self.labels.len() as u32 - 1)
    }

    /// Shortens chains of jumps, turns conditions round that only skip a jump, drops what is unreachable.
    pub(crate) fn clean(&mut self) {
        self.thread();
        self.invert();
        loop {
            let before = self.items.len();
            self.sweep();
            if self.items.len() == before {
                return;
            }
        }
    }

    fn thread(&mut self) {
        for i in 0..self.labels.len() {
            let mut at = self.labels[i];
            for _ in 0..self.items.len() {
                match self.items.get(at).filter(|item| item.is_jump()).and_then(|item| self.target(item)) {
                    Some(next) if next != at => at = next,
                    _ => break,
                }
            }
            self.labels[i] = at;
        }
    }

    /// `if c goto A; goto B; A:` becomes `if !c goto B; A:`.
    fn invert(&mut self) {
        for i in 0..self.items.len().saturating_sub(2) {
            let (first, second) = (&self.items[i], &self.items[i + 1]);
            let skips = first.target.is_some() && !first.is_jump() && self.target(first) == Some(i + 2);
            if !skips || !second.is_jump() {
                continue;
            }
            let op = first.insn.code & 0xf0;
            if let Some(inverse) = MCond::inverse(op) {
                let to = second.target;
                let first = &mut self.items[i];
                first.insn.code = (first.insn.code & 0x0f) | inverse;
                first.target = to;
                // The jump now leads where it would fall through to, and is swept away.
                let next = self.new_label(i + 2);
                self.items[i + 1].target = Some(next);
            }
        }
    }

    /// Drops unreachable items and jumps to the next item.
    fn sweep(&mut self) {
        let reachable = self.reachable();
        let keep: Vec<bool> = self
            .items
            .iter()
            .enumerate()
            .map(|(i, item)| reachable[i] && !(item.is_jump() && self.leads_on(i, item, &reachable)))
            .collect();
        if keep.iter().all(|k| *k) {
            return;
        }
        let mut moved = Vec::with_capacity(keep.len() + 1);
        let mut n = 0;
        for k in &keep {
            moved.push(n);
            n += usize::from(*k);
        }
        moved.push(n);
        self.labels.iter_mut().for_each(|l| *l = moved.get(*l).copied().unwrap_or(n));
        let mut kept = keep.iter();
        self.items.retain(|_| kept.next().copied().unwrap_or(true));
    }

    /// Whether a jump goes to the next item that stays.
    fn leads_on(&self, i: usize, item: &Item, reachable: &[bool]) -> bool {
        let Some(to) = self.target(item) else { return false };
        to > i && !reachable[i + 1..to.min(reachable.len())].iter().any(|r| *r)
    }

    fn reachable(&self) -> Vec<bool> {
        let mut seen = vec![false; self.items.len()];
        let mut work = vec![0usize];
        while let Some(mut at) = work.pop() {
            while at < seen.len() && !std::mem::replace(&mut seen[at], true) {
                let item = &self.items[at];
                if let Some(to) = self.target(item) {
                    work.push(to);
                }
                if item.ends() {
                    break;
                }
                at += 1;
            }
        }
        seen
    }

    /// Position of each item in slots, and the length.
    pub(crate) fn positions(&self) -> Vec<i64> {
        self.sums(Item::slots)
    }

    /// The sum of `size` over the items before each, and over all.
    fn sums(&self, size: impl Fn(&Item) -> i64) -> Vec<i64> {
        let mut at = 0;
        let mut out = Vec::with_capacity(self.items.len() + 1);
        for item in &self.items {
            out.push(at);
            at += size(item);
        }
        out.push(at);
        out
    }

    /// From the end of a jump to its target.
    fn distance(&self, positions: &[i64], i: usize) -> Option<i64> {
        let to = self.target(&self.items[i])?;
        Some(positions[to.min(self.items.len())] - positions[i + 1])
    }

    /// Makes every jump reach its target, also when the kernel has made more of what lies between; `long`: there is a jump with 32 bits.
    pub(crate) fn relax(&mut self, long: bool) {
        for _ in 0..ROUNDS {
            let positions = self.sums(Item::room);
            let far = |i: usize| self.distance(&positions, i).is_some_and(|d| d.abs() > REACH);
            let is_long = |item: &Item| item.insn.code == class::JMP32 | jmp::JA;
            let wanted: Vec<usize> = (0..self.items.len())
                .filter(|i| self.items[*i].target.is_some() && !is_long(&self.items[*i]) && far(*i))
                .collect();
            let strict =
                wanted.iter().any(|i| self.distance(&positions, *i).is_some_and(|d| d.abs() > LIMIT));
            if wanted.is_empty() || !strict {
                return;
            }
            match long {
                true => self.lengthen(&wanted),
                false => self.step_stones(&wanted, &positions),
            }
        }
    }

    /// Far jumps become long ones; far conditions skip a long jump.
    fn lengthen(&mut self, far: &[usize]) {
        let mut new: Vec<(usize, Vec<Item>)> = Vec::new();
        for &i in far {
            let item = &mut self.items[i];
            if item.is_jump() {
                item.insn.code = class::JMP32 | jmp::JA;
                continue;
            }
            let (to, loc) = (item.target, item.loc);
            let mut jump = Item::jump(Label(0), loc);
            (jump.target, jump.insn.code) = (to, class::JMP32 | jmp::JA);
            new.push((i, vec![jump]));
        }
        self.insert_behind_conditions(new);
    }

    /// Inserts jumps behind conditions: each is taken exactly when the condition held.
    fn insert_behind_conditions(&mut self, new: Vec<(usize, Vec<Item>)>) {
        let mut inserts: Vec<(usize, Vec<Item>)> = Vec::new();
        let mut skips: Vec<(usize, usize)> = Vec::new();
        for (i, mut items) in new {
            let op = self.items[i].insn.code & 0xf0;
            let loc = self.items[i].loc;
            if let Some(inverse) = MCond::inverse(op) {
                let item = &mut self.items[i];
                item.insn.code = (item.insn.code & 0x0f) | inverse;
                skips.push((i, 0));
            } else {
                // if c goto +1; goto over; goto far; over:
                items.insert(0, Item::jump(Label(0), loc));
                skips.push((i, 1));
            }
            inserts.push((i + 1, items));
        }
        let moved = self.insert(&inserts);
        for ((i, kind), (_, items)) in skips.into_iter().zip(&inserts) {
            let first = moved[i] + 1;
            let over = self.new_label(first + items.len());
            if kind == 0 {
                self.items[moved[i]].target = Some(over);
            } else {
                let taken = self.new_label(first + 1);
                self.items[moved[i]].target = Some(taken);
                self.items[first].target = Some(over);
            }
        }
    }

    /// Inserts items before the given ones; labels stay with the items they stood before. Where each item went.
    fn insert(&mut self, inserts: &[(usize, Vec<Item>)]) -> Vec<usize> {
        let mut moved = Vec::with_capacity(self.items.len() + 1);
        let mut out = Vec::with_capacity(self.items.len());
        let mut next = inserts.iter().peekable();
        let old = std::mem::take(&mut self.items);
        for (i, item) in old.into_iter().enumerate() {
            while let Some((_, items)) = next.next_if(|n| n.0 == i) {
                out.extend(items.iter().cloned());
            }
            moved.push(out.len());
            out.push(item);
        }
        for (_, items) in next {
            out.extend(items.iter().cloned());
        }
        moved.push(out.len());
        self.items = out;
        self.labels.iter_mut().for_each(|l| *l = moved.get(*l).copied().unwrap_or(*l));
        moved
    }

    /// Puts a jump on the way of far ones: one for all that go to the same place in the same direction and reach it.
    fn step_stones(&mut self, far: &[usize], positions: &[i64]) {
        let half = REACH - 2_000;
        let mut groups: BTreeMap<(usize, bool), Vec<usize>> = BTreeMap::new();
        for &i in far {
            if let (Some(to), Some(d)) = (self.target(&self.items[i]), self.distance(positions, i)) {
                groups.entry((to, d > 0)).or_default().push(i);
            }
        }
        let mut stones: Vec<(usize, Vec<usize>)> = Vec::new();
        for ((_, ahead), users) in groups {
            // The farthest one leads; the others use its stone if it lies on their way.
            let leader = if ahead { users.first() } else { users.last() };
            let Some(&leader) = leader else { continue };
            let want = if ahead { positions[leader] + half } else { positions[leader] - half };
            let at = positions.partition_point(|p| *p < want).min(self.items.len());
            let near = |i: &usize| (positions[*i] - positions[at]).abs() <= half + MOST_ROOM;
            stones.push((at, users.into_iter().filter(near).collect()));
        }
        stones.sort_unstable();
        let first = self.labels.len() as u32;
        let mut inserts = Vec::new();
        for (n, (at, users)) in stones.iter().enumerate() {
            let Some(to) = users.first().and_then(|i| self.items[*i].target) else { continue };
            let loc = self.items[users[0]].loc;
            let over = Label(first + 2 * n as u32 + 1);
            inserts.push((*at, vec![Item::jump(over, loc), Item::jump(to, loc)]));
        }
        let moved = self.insert(&inserts);
        // Several stones may stand before one item: the last directly before it.
        for (n, (at, users)) in stones.iter().enumerate() {
            let behind = stones[n..].iter().take_while(|s| s.0 == *at).count();
            let start = moved[*at] - 2 * behind;
            self.labels.extend([start + 1, start + 2]);
            for i in users {
                self.items[moved[*i]].target = Some(Label(first + 2 * n as u32));
            }
        }
    }

    /// The instructions with their jump offsets.
    pub(crate) fn resolve(&self) -> Result<Vec<(Item, u32)>, i64> {
        let positions = self.positions();
        let mut out = Vec::with_capacity(self.items.len());
        for (i, item) in self.items.iter().enumerate() {
            let mut item = item.clone();
            if let Some(d) = self.distance(&positions, i) {
                if item.insn.code == class::JMP32 | jmp::JA {
                    item.insn.imm = d as i32;
                } else {
                    item.insn.off = i16::try_from(d).map_err(|_| d)?;
                }
            }
            out.push((item, positions[i] as u32));
        }
        Ok(out)
    }
}
