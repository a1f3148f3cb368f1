//! The file below a spool: bytes enter, and are in the file in their order.
//!
//! What always holds: after a failure the file ends with a whole record, and nothing more is written to it.

use std::fs::File;
use std::io::{self, IoSlice, Write};

use rustix::fs::{FallocateFlags, OFlags, fallocate, fcntl_getfl, fcntl_setfl};

use super::buffer::PAGE;

/// How much room is asked for at once, and how long a file must be for it: most captures are short.
pub(super) const AHEAD: u64 = 16 << 20;
pub(super) const LONG: u64 = 2 << 20;

/// A file that grows at its end.
#[derive(Debug)]
pub(super) struct Body {
    file: File,
    /// It can be cut.
    regular: bool,
    /// Its bytes.
    size: u64,
    /// Up to where it has room on disk; `None`: none is asked for ahead.
    pub(super) reserved: Option<u64>,
    /// What has ended it.
    failed: Option<i32>,
}

/// What became of records.
#[derive(Debug)]
pub(super) struct Written {
    /// Bytes of those that are in the file.
    pub(super) whole: u64,
    /// How many are not.
    pub(super) lost: u64,
    pub(super) result: io::Result<()>,
}

impl Body {
    pub(super) fn new(file: File, regular: bool) -> Body {
        Body { file, regular, size: 0, reserved: None, failed: None }
    }

    /// Appends records, in parts, that end at these places.
    pub(super) fn write(&mut self, parts: &mut [IoSlice<'_>], ends: &[usize]) -> Written {
        let all = parts.iter().map(|part| part.len()).sum();
        self.append(all, ends, |body| body.write_parts(parts, all))
    }

    /// The same for records that lie behind one another, in memory as deep in a page as the file's end: whole pages go to the disk
    /// without being copied into the page cache.
    pub(super) fn write_direct(&mut self, bytes: &[u8], ends: &[usize]) -> Written {
        self.append(bytes.len(), ends, |body| body.write_pages(bytes))
    }

    fn append(
        &mut self,
        all: usize,
        ends: &[usize],
        write: impl FnOnce(&Body) -> (usize, io::Result<()>),
    ) -> Written {
        if let Some(errno) = self.failed {
            let result = if ends.is_empty() { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) };
            return Written { whole: 0, lost: ends.len() as u64, result };
        }
        self.make_reserve(all as u64);
        let (done, mut result) = write(self);
        let records = ends.iter().take_while(|end| **end <= done).count();
        let whole = records.checked_sub(1).and_then(|last| ends.get(last)).copied().unwrap_or(0) as u64;
        if let Err(error) = &result {
            self.failed = Some(error.raw_os_error().unwrap_or(libc::EIO));
            if self.regular && whole < done as u64 {
                result = self.file.set_len(self.size + whole).and(result);
            }
        }
        self.size += whole;
        Written { whole, lost: (ends.len() - records) as u64, result }
    }

    /// Room for so many bytes, and some more.
    fn make_reserve(&mut self, more: u64) {
        let end = self.size + more;
        while let Some(reserved) = self.reserved.filter(|reserved| end > *reserved && end >= LONG) {
            let from = reserved.max(self.size);
            let done = fallocate(&self.file, FallocateFlags::KEEP_SIZE, from, AHEAD);
            // A disk that is nearly full has no room to spare.
            self.reserved = done.is_ok().then_some(from + AHEAD);
        }
    }

    /// Writes these parts: how many bytes that were, and what ended it.
    fn write_parts(&self, mut parts: &mut [IoSlice<'_>], all: usize) -> (usize, io::Result<()>) {
        let mut done = 0;
        while done < all {
            match (&self.file).write_vectored(parts) {
                Ok(0) => return (done, Err(io::ErrorKind::WriteZero.into())),
                Ok(n) => {
                    done += n;
                    IoSlice::advance_slices(&mut parts, n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (done, Err(error)),
            }
        }
        (done, Ok(()))
    }

    /// Writes what stands before the first whole page, the pages, and what stands behind.
    fn write_pages(&self, bytes: &[u8]) -> (usize, io::Result<()>) {
        let front = (self.size.wrapping_neg() % PAGE as u64) as usize;
        let pages = bytes.len().saturating_sub(front) / PAGE * PAGE;
        let mut done = 0;
        if pages > 0 {
            let (all, result) = self.write_parts(&mut [IoSlice::new(&bytes[..front])], front);
            if result.is_err() {
                return (all, result);
            }
            done = all + self.bypass(&bytes[front..front + pages]);
        }
        let rest = &bytes[done..];
        let (more, result) = self.write_parts(&mut [IoSlice::new(rest)], rest.len());
        (done + more, result)
    }

    /// Writes pages past the page cache; how many bytes that were. What is left, for whatever reason, can go the usual way.
    fn bypass(&self, pages: &[u8]) -> usize {
        let Ok(flags) = fcntl_getfl(&self.file) else { return 0 };
        if fcntl_setfl(&self.file, flags | OFlags::DIRECT).is_err() {
            return 0;
        }
        let mut done = 0;
        while done < pages.len() && done.is_multiple_of(PAGE) {
            match (&self.file).write(&pages[done..]) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        // Both calls are of the same kind: what one can, the other can.
        let _ = fcntl_setfl(&self.file, flags);
        done
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if self.reserved.is_some_and(|reserved| reserved > self.size) {
            let _ = self.file.set_len(self.size);
        }
    }
}
