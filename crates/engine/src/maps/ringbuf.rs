//! Ring buffers that programs write and user space reads (kernel/bpf/ringbuf.c). Always: positions are the kernel's, so that a buffer is full
//! exactly when the kernel's would be; records come out in the order in which they were reserved, and one that is still being
//! written holds back those behind it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;

use rustix::io::Errno;
use skep_bpf::object::MapSpec;

use super::Map;
use crate::vm::memory::{Access, Addr, MapId, Memory, ObjectKind};

/// Bytes in front of each record (BPF_RINGBUF_HDR_SZ).
const HEADER: u64 = 8;
/// A record is smaller (RINGBUF_MAX_RECORD_SZ).
const LONGEST: u64 = (u32::MAX / 4) as u64;
/// Bytes of a page.
const PAGE: u32 = 4096;

/// `BPF_RB_*`: what `bpf_ringbuf_query()` can be asked.
mod query {
    pub(super) const AVAIL_DATA: u64 = 0;
    pub(super) const RING_SIZE: u64 = 1;
    pub(super) const CONS_POS: u64 = 2;
    pub(super) const PROD_POS: u64 = 3;
}

#[derive(Debug)]
enum State {
    Busy,
    Ready(Box<[u8]>),
    Discarded,
}

#[derive(Debug)]
struct Entry {
    /// Bytes in the ring, header and padding included.
    room: u64,
    state: State,
}

/// A record that a program is writing.
#[derive(Clone, Copy, Debug)]
struct Reserved {
    number: u64,
    len: u32,
}

/// A ring buffer.
#[derive(Debug)]
pub struct Ringbuf {
    spec: MapSpec,
    id: MapId,
    producer: u64,
    consumer: u64,
    entries: VecDeque<Entry>,
    /// Number of the first of `entries`, counted from the first record ever.
    first: u64,
    reserved: BTreeMap<Addr, Reserved>,
    /// Memory for records that nobody uses now, by pages.
    rooms: BTreeMap<u32, Vec<Addr>>,
}

fn pages(len: u32) -> u32 {
    len.div_ceil(PAGE).max(1)
}

impl Ringbuf {
    pub(super) fn new(id: MapId, spec: &MapSpec) -> Ringbuf {
        Ringbuf {
            spec: spec.clone(),
            id,
            producer: 0,
            consumer: 0,
            entries: VecDeque::new(),
            first: 0,
            reserved: BTreeMap::new(),
            rooms: BTreeMap::new(),
        }
    }

    /// Room for a record of `len` bytes: its number.
    fn claim(&mut self, len: u64) -> Option<u64> {
        let room = (len <= LONGEST).then(|| (len + HEADER).next_multiple_of(8))?;
        let size = u64::from(self.spec.max_entries);
        if room > size || self.producer + room - self.consumer > size - 1 {
            return None;
        }
        self.producer += room;
        self.entries.push_back(Entry { room, state: State::Busy });
        Some(self.first + self.entries.len() as u64 - 1)
    }

    fn settle(&mut self, number: u64, state: State) {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(entry) = index.and_then(|index| self.entries.get_mut(index)) {
            entry.state = state;
        }
    }

    /// A record of `len` bytes for the program to write, zeros at first (the kernel leaves what was there); `None` when it does not
    /// fit.
    pub fn reserve(&mut self, memory: &mut Memory, len: u64) -> Option<Addr> {
        let number = self.claim(len)?;
        let len = len as u32;
        let at = match self.rooms.get_mut(&pages(len)).and_then(Vec::pop) {
            Some(at) => Some(at),
            None => memory.alloc(ObjectKind::Record(self.id), pages(len) * PAGE, Access::ReadWrite).ok(),
        };
        let Some(at) = at.filter(|at| memory.set_bounds(*at, *at, len).is_ok()) else {
            self.settle(number, State::Discarded);
            return None;
        };
        memory.set_access(at, Access::ReadWrite);
        if let Some(place) = memory.host_mut(at, len) {
            place.fill(0);
        }
        self.reserved.insert(at, Reserved { number, len });
        Some(at)
    }

    /// Ends the writing of a record: readers get it, or nobody does. `false` when none was reserved there.
    pub fn finish(&mut self, memory: &mut Memory, at: Addr, discard: bool) -> bool {
        let Some(Reserved { number, len }) = self.reserved.remove(&at) else { return false };
        let bytes = memory.host(at, len).map(Box::from);
        memory.set_access(at, Access::None);
        self.rooms.entry(pages(len)).or_default().push(at);
        self.settle(number, bytes.filter(|_| !discard).map_or(State::Discarded, State::Ready));
        true
    }

    /// A whole record at once; EAGAIN when it does not fit.
    pub fn output(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let number = self.claim(bytes.len() as u64).ok_or(Errno::AGAIN)?;
        self.settle(number, State::Ready(bytes.into()));
        Ok(())
    }

    /// The answer of `bpf_ringbuf_query()`.
    pub fn query(&self, what: u64) -> u64 {
        match what {
            query::AVAIL_DATA => self.producer - self.consumer,
            query::RING_SIZE => self.spec.max_entries.into(),
            query::CONS_POS => self.consumer,
            query::PROD_POS => self.producer,
            _ => 0,
        }
    }

    /// How many records are reserved and not finished.
    pub fn unfinished(&self) -> usize {
        self.reserved.len()
    }

    /// Hands records to `sink`, the oldest first, until one is unfinished or the sink breaks off: how many, and whether it did.
    pub fn consume(&mut self, sink: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> (u64, bool) {
        let mut count = 0;
        while let Some(entry) = self.entries.front() {
            if matches!(entry.state, State::Busy) {
                break;
            }
            let Some(Entry { room, state }) = self.entries.pop_front() else { break };
            self.first += 1;
            self.consumer += room;
            if let State::Ready(bytes) = state {
                count += 1;
                if sink(&bytes).is_break() {
                    return (count, true);
                }
            }
        }
        (count, false)
    }
}

impl Map for Ringbuf {
    fn spec(&self) -> &MapSpec {
        &self.spec
    }

    fn refuses(&self) -> Errno {
        super::ENOTSUPP
    }

    fn read(&self, _memory: &Memory, _key: &[u8]) -> Result<Vec<u8>, Errno> {
        Err(super::ENOTSUPP)
    }
}

/// A ring buffer that user space writes and programs read (`bpf_user_ringbuf_drain()`).
#[derive(Debug)]
pub struct UserRingbuf {
    spec: MapSpec,
    used: u64,
    samples: VecDeque<Box<[u8]>>,
}

impl UserRingbuf {
    pub(super) fn new(spec: &MapSpec) -> UserRingbuf {
        UserRingbuf { spec: spec.clone(), used: 0, samples: VecDeque::new() }
    }

    /// User space's side: adds a sample; ENOSPC when it does not fit.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let room = (bytes.len() as u64 + HEADER).next_multiple_of(8);
        if self.used + room > u64::from(self.spec.max_entries) {
            return Err(Errno::NOSPC);
        }
        self.used += room;
        self.samples.push_back(bytes.into());
        Ok(())
    }

    /// The program's side: takes the oldest sample.
    pub fn pop(&mut self) -> Option<Box<[u8]>> {
        let sample = self.samples.pop_front()?;
        self.used -= (sample.len() as u64 + HEADER).next_multiple_of(8);
        Some(sample)
    }
}

impl Map for UserRingbuf {
    fn spec(&self) -> &MapSpec {
        &self.spec
    }

    fn refuses(&self) -> Errno {
        super::ENOTSUPP
    }

    fn read(&self, _memory: &Memory, _key: &[u8]) -> Result<Vec<u8>, Errno> {
        Err(super::ENOTSUPP)
    }
}
