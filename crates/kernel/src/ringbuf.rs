//! The consumer of a BPF ring buffer (kernel/bpf/ringbuf.c, Linux 6.18): records leave in the order in which programs
//! reserved them; discarded ones are skipped; one that is still being written ends the round.
//!
//! Layout of the mapping: one page with the consumer position (ours to write), one with the producer position, then
//! the data twice, so that a record that wraps is contiguous; of the second time only as much is mapped as a record may
//! need, since every page mapped counts as this process's memory. Positions only grow; a record is a u32 of length and
//! flags, u32 page offset, then the bytes, padded to 8.

use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use skep_bpf::kinds::MapType;

use crate::error::Error;
use crate::machine;
use crate::map::Map;
use crate::sys::mmap::Mapping;

/// The record is being written.
const BUSY: u32 = 1 << 31;
/// The record was thrown away.
const DISCARD: u32 = 1 << 30;
/// Bytes before a record's content.
const HEADER: u64 = 8;
/// Bytes of the longest record that is handed over, header included.
const LONGEST: usize = 64 << 10;

/// A mapped ring buffer.
#[derive(Debug)]
pub struct RingBuf {
    consumer: Mapping,
    producer: Mapping,
    page: usize,
    size: u64,
}

impl RingBuf {
    /// Maps the ring buffer `map`.
    pub fn new(map: &Map) -> Result<RingBuf, Error> {
        if map.kind() != MapType::Ringbuf {
            return Err(Error::Damaged { what: format!("map {}", map.name()), why: "no ring buffer".into() });
        }
        let (page, size) = (machine::page_size(), map.max_entries() as usize);
        let failed = |errno| Error::os(format!("mmap ring buffer {}", map.name()), errno);
        let consumer = Mapping::shared(map.as_fd(), 0, page, true).map_err(failed)?;
        let producer = Mapping::shared(map.as_fd(), page as u64, page + size + size.min(LONGEST), false)
            .map_err(failed)?;
        Ok(RingBuf { consumer, producer, page, size: size as u64 })
    }

    fn positions(&self) -> Option<(u64, u64)> {
        // The producer's position is read after the consumer's own; Acquire pairs with the kernel's release, so what
        // lies below it is at least reserved.
        let consumer = self.consumer.atomic_u64(0)?.load(Ordering::Relaxed);
        Some((consumer, self.producer.atomic_u64(0)?.load(Ordering::Acquire)))
    }

    /// Bytes that wait (headers and padding included).
    pub fn pending(&self) -> u64 {
        self.positions().map_or(0, |(consumer, producer)| producer.saturating_sub(consumer))
    }

    /// Bytes of the buffer.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Hands finished records to `sink` until there is none, it breaks, or a whole buffer's worth has passed (programs
    /// may be faster than the sink). Gives the number of records and whether the sink broke.
    pub fn consume(&self, sink: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> (u64, bool) {
        let mut records = 0;
        let Some((mut at, mut end)) = self.positions() else { return (0, false) };
        let (mut told, limit) = (at, at.saturating_add(self.size));
        loop {
            if at >= end {
                self.tell(at, &mut told);
                end = self.positions().map_or(at, |(_, producer)| producer);
                if at >= end || at >= limit {
                    return (records, false);
                }
            }
            let Some((length, flags)) = self.header(at) else {
                self.tell(at, &mut told);
                return (records, false);
            };
            let from = at;
            at += (u64::from(length) + HEADER).next_multiple_of(8);
            if flags & DISCARD == 0 {
                records += 1;
                if self.hand_over(from, length, sink).is_break() {
                    self.tell(at, &mut told);
                    return (records, true);
                }
            }
            // Room is given back in steps, so that the positions' cache lines do not move for each record.
            if at - told >= self.size / 16 {
                self.tell(at, &mut told);
            }
        }
    }

    /// Length and flags of the record at `at`; `None` while it is being written.
    fn header(&self, at: u64) -> Option<(u32, u32)> {
        let offset = self.page + (at & (self.size - 1)) as usize;
        let word = self.producer.atomic_u32(offset)?.load(Ordering::Acquire);
        let length = word & !(BUSY | DISCARD);
        let whole = word & BUSY == 0 && u64::from(length) <= self.size;
        whole.then_some((length, word & DISCARD))
    }

    fn hand_over(
        &self,
        at: u64,
        length: u32,
        sink: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let offset = self.page + ((at & (self.size - 1)) + HEADER) as usize;
        // The record was submitted (BUSY was clear) and the consumer position is not beyond it, so no program
        // writes it.
        match self.record(offset, length as usize) {
            Some(bytes) => sink(bytes),
            None => ControlFlow::Continue(()),
        }
    }

    #[allow(unsafe_code)]
    fn record(&self, offset: usize, length: usize) -> Option<&[u8]> {
        // SAFETY: called for submitted records at or above the consumer position only: the kernel hands their room
        // to another producer not before the position has passed them, which happens after the sink has returned.
        unsafe { self.producer.bytes(offset, length) }
    }

    fn tell(&self, at: u64, told: &mut u64) {
        if at != *told {
            // Release: our reads of the records come before the kernel may reuse their room.
            if let Some(position) = self.consumer.atomic_u64(0) {
                position.store(at, Ordering::Release);
            }
            *told = at;
        }
    }
}
