//! Windows where bytes cannot be reached by pointers: copies on the stack, each made once for all the reads that it serves.
//!
//! A copy holds more than is read in any case, so a frame may be too short for all of it and still match. Then what
//! there is of it is copied, and a read behind that asks for the frame's length first. What lies behind an IPv4 header is
//! copied with the head, as if the header had no options; where it has none, that spares asking the kernel again.

use super::reads::{self, Read};
use super::{Emit, Known};
use crate::filter::pred::ValueId;
use skep_compiler::ir::{BinOp, Block, Cc, Type, Value};
use skep_compiler::layers::{At, Mode, Window};

/// Most bytes from the frame's start on that are copied at once.
const MOST_HEAD: u32 = 128;
/// Most bytes from a computed place on that are copied at once.
const MOST_BEHIND: u32 = 48;
/// Length of an IPv4 header without options, which nearly all are.
const PLAIN_IP4: u32 = 20;

/// The bytes from the frame's start on that are copied once, and where.
#[derive(Clone, Copy)]
pub(super) struct Head {
    /// The node before which it is made.
    node: u32,
    from: u32,
    end: u32,
}

/// A copy on the stack.
#[derive(Clone, Copy)]
pub(super) struct Copy {
    index: Option<ValueId>,
    /// Begins `shift` bytes before what was copied.
    window: Window,
    shift: u32,
    from: u32,
    end: u32,
    /// Bytes before this place are there on every way.
    sure: u32,
}

impl Copy {
    fn at(&self, place: u32) -> u32 {
        place - self.from + self.shift
    }
}

impl Emit<'_> {
    /// Whether bytes have to be copied to be read.
    pub(super) fn copies(&self) -> bool {
        matches!(self.place.reader.mode(), Mode::Load { .. } | Mode::Probe { .. })
    }

    /// Which bytes from the frame's start on are copied at once.
    pub(super) fn plan_head(&self) -> Option<Head> {
        let near = || self.reads.of(None).iter().filter(|read| read.end <= MOST_HEAD);
        let (from, end) = span(near())?;
        let node = reads::meet(&self.dominators, near().map(|read| read.node))?;
        let behind = self.reads.indices().filter(|index| self.preds.ip4_length(*index).is_some());
        let ends = behind.flat_map(|index| self.reads.of(Some(index))).map(|read| read.end);
        let end = ends
            .filter_map(|end| end.checked_add(PLAIN_IP4))
            .filter(|end| *end <= MOST_HEAD)
            .fold(end, u32::max);
        self.copies().then_some(Head { node, from, end })
    }

    /// Copies the head, where its node is.
    pub(super) fn head(&mut self) {
        let Some(head) = self.head.filter(|head| head.node == self.at) else { return };
        let reads: Vec<Read> = self.reads.of(None).iter().copied().filter(|r| r.end <= head.end).collect();
        let need = self.reads.need(self.graph, None, self.at).clamp(head.from, head.end);
        let mut copy = self.slot(None, (head.from, head.end), &reads, 0);
        copy.sure = need;
        let missing = self.place.other;
        let at = At::constant(head.from);
        if need == head.end {
            self.fetch(&copy, at, missing);
        } else {
            let (whole, part, there) = (self.f.block(&[]), self.f.cold_block(), self.f.block(&[]));
            let len = self.place.reader.reach(self.f);
            let end = self.f.u64(head.end.into());
            self.f.branch(Cc::Uge, len, end, whole, part);
            self.f.switch_to(whole);
            self.fetch(&copy, at, missing);
            self.f.jump(there, &[]);
            self.f.switch_to(part);
            self.fetch_part(&copy, len);
            self.f.jump(there, &[]);
            self.f.switch_to(there);
        }
        self.known[self.at as usize].copies.push(copy);
    }

    /// The window that holds these bytes, and where they begin in it. `None`: they are better read alone.
    pub(super) fn copied(&mut self, index: Option<ValueId>, from: u32, bytes: u32) -> Option<(Window, u32)> {
        let end = from.checked_add(bytes)?;
        if !self.copies() {
            return None;
        }
        let holds = |copy: &&Copy| copy.index == index && copy.from <= from && end <= copy.end;
        let best = |known: &Known| known.copies.iter().rev().find(holds).copied();
        let copy = match (self.find(best), index) {
            (Some(copy), _) => copy,
            (None, None) => return None,
            (None, Some(index)) => self.copy_behind(index, (from, end))?,
        };
        if copy.sure < end {
            self.ask_length(copy, end);
        }
        Some((copy.window, copy.at(from)))
    }

    /// Makes sure that the frame goes on to `end`.
    fn ask_length(&mut self, copy: Copy, end: u32) {
        let sure = self.reads.need(self.graph, copy.index, self.at).clamp(end, copy.end);
        let len = self.place.reader.reach(self.f);
        let wanted = match copy.index {
            None => self.f.u64(sure.into()),
            Some(index) => {
                let base = self.number(index);
                let base = self.f.cast(base, Type::U64);
                self.f.add_imm(base, sure.into())
            }
        };
        let there = self.f.block(&[]);
        self.f.branch(Cc::Ult, len, wanted, self.place.other, there);
        self.f.switch_to(there);
        self.known[self.at as usize].copies.push(Copy { sure, ..copy });
    }

    /// Copies what is read from a computed place on, here and where this node has led to.
    fn copy_behind(&mut self, index: ValueId, own: (u32, u32)) -> Option<Copy> {
        if self.varies[index.0 as usize] || !self.is_small(index, u64::from(own.1)) {
            return None;
        }
        let below = |read: &&Read| reads::dominates(&self.dominators, self.at, read.node);
        let near = |read: &&Read| read.end.max(own.1) - read.from.min(own.0) <= MOST_BEHIND;
        let reads: Vec<Read> =
            self.reads.of(Some(index)).iter().filter(below).filter(near).copied().collect();
        let (from, end) = span(reads.iter()).unwrap_or(own);
        let (from, end) = (from.min(own.0), end.max(own.1));
        if end - from > MOST_BEHIND || !self.is_small(index, u64::from(end)) {
            return None;
        }
        let need = self.reads.need(self.graph, Some(index), self.at).clamp(own.1, end);
        let at = self.at(Some(index), from);
        let head = self.in_head(index, (from, end));
        let mut copy =
            self.slot(Some(index), (from, end), &reads, head.map_or(0, |head| head.at(from + PLAIN_IP4) % 8));
        copy.sure = need;
        let missing = self.place.other;
        let joined = head.map(|head| self.fetch_from_head(index, &head, &copy));
        if need == end {
            self.fetch(&copy, at, missing);
        } else {
            let (less, there) = (self.f.cold_block(), self.f.block(&[]));
            self.fetch(&copy, at, less);
            self.f.jump(there, &[]);
            self.f.switch_to(less);
            self.zero(&copy);
            self.fetch(&Copy { end: need, ..copy }, at, missing);
            self.f.jump(there, &[]);
            self.f.switch_to(there);
        }
        if let Some(joined) = joined {
            self.f.jump(joined, &[]);
            self.f.switch_to(joined);
        }
        self.known[self.at as usize].copies.push(copy);
        Some(copy)
    }

    /// The copy of the head, if it has what follows an IPv4 header without options.
    fn in_head(&self, index: ValueId, (from, end): (u32, u32)) -> Option<Copy> {
        let (from, end) = (from.checked_add(PLAIN_IP4)?, end.checked_add(PLAIN_IP4)?);
        let holds = |copy: &&Copy| copy.index.is_none() && copy.from <= from && end <= copy.end;
        let head = self.find(|known| known.copies.iter().rev().find(holds).copied());
        head.filter(|_| self.preds.ip4_length(index).is_some())
    }

    /// Copies from the head where the header before has no options. Building goes on where it has some; both meet in the
    /// block that is returned.
    fn fetch_from_head(&mut self, index: ValueId, head: &Copy, copy: &Copy) -> Block {
        let (plain, near, other, joined) =
            (self.f.block(&[]), self.f.block(&[]), self.f.cold_block(), self.f.block(&[]));
        let (length, none) = (self.number(index), self.constant(PLAIN_IP4));
        self.f.branch(Cc::Eq, length, none, plain, other);
        self.f.switch_to(plain);
        let end = copy.end + PLAIN_IP4;
        if head.sure >= end {
            self.f.jump(near, &[]);
        } else {
            let (len, end) = (self.place.reader.reach(self.f), self.f.u64(end.into()));
            self.f.branch(Cc::Uge, len, end, near, other);
        }
        self.f.switch_to(near);
        let (to, from) = (copy.at(copy.from), head.at(copy.from + PLAIN_IP4));
        let (mut done, bytes) = (0, copy.end - copy.from);
        while done < bytes {
            let (to, from, left) = (to + done, from + done, bytes - done);
            let step = 1 << (to | from | 8).trailing_zeros().min(left.ilog2());
            self.f.copy(copy.window.ptr, to as i32, head.window.ptr, from as i32, step, step as u8);
            done += step;
        }
        self.f.jump(joined, &[]);
        self.f.switch_to(other);
        joined
    }

    /// Memory for a copy, placed so that as many reads as possible are aligned; if it can be, `best` bytes behind the start.
    fn slot(&mut self, index: Option<ValueId>, (from, end): (u32, u32), reads: &[Read], best: u32) -> Copy {
        let split = |shift: u32| {
            let askew =
                |read: &&Read| !(read.from - from + shift).is_multiple_of((read.end - read.from).max(1));
            reads.iter().filter(|read| read.from >= from).filter(askew).count()
        };
        let shift = [best, 0, 2, 4, 6, 1, 3, 5, 7].into_iter().min_by_key(|shift| split(*shift)).unwrap_or(0);
        let len = end - from + shift;
        let slot = self.f.slot(len, 8, "packet");
        let window = Window { ptr: self.f.slot_addr(slot), len, aligned: true };
        Copy { index, window, shift, from, end, sure: from }
    }

    fn target(&mut self, copy: &Copy) -> Value {
        self.f.ptr_add_imm(copy.window.ptr, copy.shift.into())
    }

    fn fetch(&mut self, copy: &Copy, at: At, missing: Block) {
        let (to, size) = (self.target(copy), copy.end - copy.from);
        self.place.reader.copy(self.f, at, size, to, missing);
    }

    fn zero(&mut self, copy: &Copy) {
        self.f.zero(copy.window.ptr, 0, copy.window.len, 8);
    }

    /// Copies what there is, which is less than all; the rest is zero.
    fn fetch_part(&mut self, copy: &Copy, len: Value) {
        self.zero(copy);
        let most = copy.end - copy.from - 1;
        let first = self.f.u64(u64::from(copy.sure.max(copy.from + 1)));
        let (some, none) = (self.f.block(&[]), self.f.block(&[]));
        let short = if copy.sure > copy.from { self.place.other } else { none };
        self.f.branch(Cc::Ult, len, first, short, some);
        self.f.switch_to(some);
        if most == 0 {
            self.f.jump(none, &[]);
        } else {
            // The helper wants to see that it is at least one byte.
            let from = self.f.u64(u64::from(copy.from) + 1);
            let less = self.f.bin(BinOp::Sub, Type::U64, len, from);
            let less = self.f.bound(less, u64::from(most) - 1);
            let size = self.f.add_imm(less, 1);
            let to = self.target(copy);
            self.place.reader.copy_some(self.f, At::constant(copy.from), size, to, self.place.other);
            self.f.jump(none, &[]);
        }
        self.f.switch_to(none);
    }
}

fn span<'r>(reads: impl Iterator<Item = &'r Read>) -> Option<(u32, u32)> {
    reads.map(|read| (read.from, read.end)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}
