//! Looking ahead in a file: the records that lie in memory already are tested many at a time, and the wanted ones noted. A
//! [`Reader`] and [`Tests`] enter; [`Reader::next_wanted`] then goes from one wanted packet to the next.
//!
//! What always holds: the packets that are shown, their order and number are those that a test of one after the other gives.

use std::collections::VecDeque;

use super::pcap;
use super::pcapng::{self, Found, Section};
use super::read::{Current, Format, Reader};
use crate::filter::batch::{Batch, Slots};

/// Tests of packets, many at once.
pub trait Tests {
    /// Memory for the next packets.
    fn slots(&mut self) -> Slots<'_>;
    /// Tests the first `count` packets that lie there, and hands out the numbers of those that match, in their order.
    fn test(&mut self, count: usize, found: impl FnMut(usize));
}

/// Records that were looked at already: the wanted ones among them, and how far that goes.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// Offsets in the file, and the number of each record.
    wanted: VecDeque<(u64, u64)>,
    /// Behind the last record that was looked at, and its number.
    end: (u64, u64),
}

/// How far ahead bytes are asked for, so that they are in the processor's cache when they are needed: where a record begins is only
/// known when the one before is, and memory would be waited for each time.
const SOON: usize = 1024;

/// How far bytes were asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    fetch: Option<fn(&[u8])>,
    /// Where that ends.
    to: usize,
}

impl Asked {
    pub(super) fn new(fetch: Option<fn(&[u8])>, to: usize) -> Asked {
        Asked { fetch, to }
    }

    pub(super) fn to(self) -> usize {
        self.to
    }

    /// Asks for bytes from `at` on.
    #[inline]
    pub(super) fn ask(&mut self, bytes: &[u8], at: usize) {
        if self.to >= at + SOON {
            return;
        }
        let Some(fetch) = self.fetch else { return };
        let (from, to) = (self.to.max(at), bytes.len().min(at + 2 * SOON));
        if let Some(soon) = bytes.get(from..to) {
            fetch(soon);
        }
        self.to = to;
    }
}

/// A packet in the bytes that lie ahead.
struct Seen<'b> {
    /// All bytes from its first one on.
    rest: &'b [u8],
    /// How many of them are its own.
    kept: usize,
    len: u32,
    /// Where its record or block begins and ends.
    from: usize,
    to: usize,
}

/// Goes through records of one format.
trait Walk {
    /// The packet that is next from `at` on; `None`: there is none that is whole and sound, or it is of another kind.
    fn next<'b>(&self, bytes: &'b [u8], at: usize) -> Option<Seen<'b>>;
}

impl Walk for pcap::Format {
    #[inline]
    fn next<'b>(&self, bytes: &'b [u8], at: usize) -> Option<Seen<'b>> {
        let (record, rest) = record_at(*self, bytes, at)?;
        let kept = record.captured as usize;
        let to = at + self.header() + kept;
        Some(Seen { rest, kept, len: record.len, from: at, to })
    }
}

/// The blocks of a section whose packets all have the same link type: `same` says whether an interface has it.
struct Blocks<'r> {
    section: &'r Section,
    same: &'r [bool],
}

impl Walk for Blocks<'_> {
    #[inline]
    fn next<'b>(&self, bytes: &'b [u8], at: usize) -> Option<Seen<'b>> {
        let mut from = at;
        loop {
            let rest = bytes.get(from..)?;
            let (kind, len) = pcapng::whole_block(self.section.order, rest)?;
            if !pcapng::changes_nothing(kind) {
                return None;
            }
            let body = rest.get(pcapng::BEFORE..len - 4)?;
            if let Some(Found { interface, len: length, data: (start, kept), .. }) =
                self.section.packet_of(kind, body, true).ok()?
            {
                self.same.get(interface).filter(|same| **same)?;
                let rest = rest.get(pcapng::BEFORE + start..)?;
                return Some(Seen { rest, kept, len: length, from, to: from + len });
            }
            from += len;
        }
    }
}

impl Reader<'_> {
    /// Looks at the packets that lie ahead just now, from the next one on, as far as they are of one link type, and notes those that are
    /// wanted, for [`Reader::next_wanted`]. Whether there were any.
    pub fn look_ahead(&mut self, tests: &mut impl Tests) -> bool {
        if self.ended || self.damage.is_some() {
            return false;
        }
        self.input.consume(self.current.whole);
        self.current = Current::default();
        let Reader { input, ahead, format, count, interfaces, .. } = self;
        let from = Start { bytes: input.bytes(), offset: input.offset(), count: *count };
        let fetch = input.fetcher();
        match format {
            Format::Pcap(format) => ahead.look(&*format, from, fetch, tests),
            Format::Pcapng(section) => {
                let Some(first) = interfaces.first() else { return false };
                let same: Vec<bool> =
                    interfaces.iter().map(|interface| interface.link == first.link).collect();
                ahead.look(&Blocks { section, same: &same }, from, fetch, tests)
            }
        }
    }

    /// Forgets what was noted.
    pub fn forget_ahead(&mut self) {
        self.ahead = Ahead::default();
    }

    /// Goes to the next packet that was noted; `false`: there is none, and the next one has not been looked at.
    pub fn next_wanted(&mut self) -> bool {
        let next = self.ahead.wanted.pop_front();
        let (offset, number) = next.unwrap_or(self.ahead.end);
        let Some(distance) = offset.checked_sub(self.input.offset()).and_then(|d| usize::try_from(d).ok())
        else {
            return false;
        };
        if next.is_none() && distance <= self.current.whole {
            return false;
        }
        self.input.consume(distance);
        (self.current, self.count) = (Current::default(), number);
        if next.is_some() {
            self.count -= 1;
            return matches!(self.advance(), Ok(true));
        }
        false
    }
}

/// Where looking ahead begins.
#[derive(Clone, Copy)]
struct Start<'b> {
    bytes: &'b [u8],
    /// Offset in the file of the first byte.
    offset: u64,
    /// Packets before it.
    count: u64,
}

impl Ahead {
    fn look(
        &mut self,
        walk: &impl Walk,
        start: Start<'_>,
        fetch: Option<fn(&[u8])>,
        tests: &mut impl Tests,
    ) -> bool {
        let Start { bytes, offset, count } = start;
        let (mut at, mut number) = (0, count);
        let mut asked = Asked::new(fetch, 0);
        let mut begins = [0usize; Batch::MOST];
        loop {
            let mut slots = tests.slots();
            for begin in &mut begins {
                asked.ask(bytes, at);
                let Some(seen) = walk.next(bytes, at) else { break };
                if !slots.put(seen.rest, seen.kept, seen.len) {
                    break;
                }
                (*begin, at) = (seen.from, seen.to);
            }
            let used = slots.used();
            if used == 0 {
                break;
            }
            asked.ask(bytes, at);
            let wanted = &mut self.wanted;
            tests.test(used, |index| {
                let begin = begins.get(index).copied().unwrap_or(0);
                wanted.push_back((offset + begin as u64, number + index as u64 + 1));
            });
            number += used as u64;
        }
        self.end = (offset + at as u64, number);
        at > 0
    }
}

/// The record that begins at `at`, and the bytes from its data on, if all of it is there and nothing is wrong with it.
#[inline]
pub(super) fn record_at(format: pcap::Format, bytes: &[u8], at: usize) -> Option<(pcap::Record, &[u8])> {
    let (header, data) = bytes.get(at..)?.split_at_checked(format.header())?;
    let record = format.sound_record(header)?;
    (record.captured as usize <= data.len()).then_some((record, data))
}
