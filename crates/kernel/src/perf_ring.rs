//! The ring buffer of a perf event: records leave in the order in which the kernel wrote them. What is told while a buffer
//! is full is lost; the kernel counts it.
//!
//! Layout of the mapping (include/uapi/linux/perf_event.h, `struct perf_event_mmap_page`, Linux 6.18): a page with the
//! kernel's position at byte 1024 and ours at 1032, then the data. A record is u32 type, u16 flags, u16 size (all of it),
//! then its words, and may wrap at the end of the data.

use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use rustix::io::Errno;

use crate::machine;
use crate::sys::mmap::Mapping;

/// Positions in the first page.
const HEAD: usize = 1024;
const TAIL: usize = 1032;
/// Bytes before a record's words.
pub(crate) const HEADER: usize = 8;

/// The buffer of one event, which lives as long.
#[derive(Debug)]
pub(crate) struct PerfRing {
    mapping: Mapping,
    page: usize,
    size: usize,
    event: OwnedFd,
}

impl PerfRing {
    /// Maps the buffer of `event`: so many pages of data, a power of two.
    pub(crate) fn new(event: OwnedFd, pages: usize) -> Result<PerfRing, Errno> {
        let page = machine::page_size();
        let size = pages * page;
        let mapping = Mapping::shared(event.as_fd(), 0, page + size, true)?;
        Ok(PerfRing { mapping, page, size, event })
    }

    /// Hands over each record until there is none or `sink` breaks; how many, and whether it broke.
    pub(crate) fn drain(&self, sink: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> (u64, bool) {
        let positions = self.mapping.atomic_u64(HEAD).zip(self.mapping.atomic_u64(TAIL));
        let Some((head, tail)) = positions else { return (0, false) };
        // Acquire pairs with the kernel's barrier: what lies below its position is written.
        let end = head.load(Ordering::Acquire);
        let mut at = tail.load(Ordering::Relaxed);
        let (mut record, mut records, mut broke) = (Vec::new(), 0, false);
        while !broke && end.wrapping_sub(at) >= HEADER as u64 {
            self.copy(at, HEADER, &mut record);
            let size = usize::from(u16_at(&record, 6));
            if size < HEADER || end.wrapping_sub(at) < size as u64 {
                // The rest makes no sense.
                at = end;
                break;
            }
            self.copy(at, size, &mut record);
            at = at.wrapping_add(size as u64);
            records += 1;
            broke = sink(&record).is_break();
        }
        // Release: our reads come before the kernel may write there again.
        tail.store(at, Ordering::Release);
        (records, broke)
    }

    /// Copies `len` bytes of data at position `at`.
    #[allow(unsafe_code)]
    fn copy(&self, at: u64, len: usize, out: &mut Vec<u8>) {
        out.clear();
        let start = (at % self.size as u64) as usize;
        let first = len.min(self.size - start);
        for (offset, len) in [(start, first), (0, len - first)] {
            // SAFETY: the bytes lie between our position and the kernel's, where it writes nothing before ours has
            // passed them, and that is moved only after this copy.
            out.extend_from_slice(unsafe { self.mapping.bytes(self.page + offset, len) }.unwrap_or(&[]));
        }
    }
}

impl AsFd for PerfRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// The number at `at`; zero where the record ends before.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_ne_bytes)
}

/// As [`u16_at`].
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

/// As [`u16_at`].
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes)
}
