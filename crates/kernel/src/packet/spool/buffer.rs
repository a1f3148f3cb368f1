//! Memory in which records are gathered. Its first byte lies in a page as deep as in the file, so that whole pages can go to
//! the disk from where they are.

use std::io;

use crate::sys::mmap::Mapping;

/// Bytes of a page, of memory and of a file.
pub(super) const PAGE: usize = 4096;
/// Bytes of a huge page, which is one piece for the disk.
const HUGE: usize = 2 << 20;
/// Most bytes of a buffer.
pub(super) const MOST: usize = HUGE - PAGE;

/// Records behind one another.
#[derive(Debug)]
pub(super) struct Buffer {
    memory: Mapping,
    /// Offset in the memory at which a huge page begins.
    base: usize,
    /// Where the bytes begin and end.
    first: usize,
    end: usize,
    /// Where each record ends, counted from the first one's start, parts that lie elsewhere included.
    pub(super) ends: Vec<usize>,
}

impl Buffer {
    /// An empty one, for records from this byte of the file on. `huge`: of huge pages, for who fills it again and again.
    pub(super) fn new(at: u64, huge: bool) -> io::Result<Buffer> {
        let memory = Mapping::anonymous(2 * HUGE)?;
        let base = memory.aligned(HUGE);
        if huge {
            memory.prefer_huge(base, HUGE);
        }
        let mut buffer = Buffer { memory, base, first: base, end: base, ends: Vec::new() };
        buffer.begin(at);
        Ok(buffer)
    }

    /// Forgets what it has; the next record begins at this byte of the file.
    pub(super) fn begin(&mut self, at: u64) {
        self.first = self.base + (at % PAGE as u64) as usize;
        self.end = self.first;
        self.ends.clear();
    }

    /// How many bytes it has.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.end - self.first
    }

    /// Its bytes.
    #[allow(unsafe_code)]
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is this value's alone, and is written through `&mut self` only.
        unsafe { self.memory.bytes(self.first, self.len()) }.unwrap_or_default()
    }

    /// Room for so many more bytes, which count from now on; `None`: there is none.
    #[inline]
    #[allow(unsafe_code)]
    pub(super) fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        if len > self.base + HUGE - self.end {
            return None;
        }
        let at = self.end;
        self.end += len;
        // SAFETY: as in `bytes`; the slice lives as long as `&mut self`.
        unsafe { self.memory.bytes_mut(at, len) }
    }
}

/// Copies a short part: `to` is as long as `from`. Without a call, and without a loop.
#[inline]
pub fn copy_short(to: &mut [u8], from: &[u8]) {
    match from.len() {
        4..=8 => both_ends::<4>(to, from),
        9..=15 => both_ends::<8>(to, from),
        16..=32 => both_ends::<16>(to, from),
        33..=64 => both_ends::<32>(to, from),
        65..=128 => both_ends::<64>(to, from),
        _ => to.copy_from_slice(from),
    }
}

/// Copies between `N` and `2 * N` bytes: the first ones and the last ones, which may be the same.
#[inline]
fn both_ends<const N: usize>(to: &mut [u8], from: &[u8]) {
    if let (Some(to), Some(from)) = (to.first_chunk_mut::<N>(), from.first_chunk::<N>()) {
        *to = *from;
    }
    if let (Some(to), Some(from)) = (to.last_chunk_mut::<N>(), from.last_chunk::<N>()) {
        *to = *from;
    }
}
