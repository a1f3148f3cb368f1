//! Reserved address space of 4 GiB: offsets enter, slices of committed memory leave. Nothing can be read or written before
//! it is committed, and committed memory is zero until it is written.

use std::ffi::c_void;
use std::ptr::NonNull;

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munmap};

/// Bytes of a page: commits are multiples of it.
pub(crate) const PAGE: u32 = 4096;
/// Pages of the region.
pub(crate) const PAGES: u32 = 1 << 20;
const SIZE: usize = 1 << 32;
/// Never committed, before and behind: an access that leaves the region by a page traps and reads nothing of the host.
const GUARD: usize = 1 << 16;

/// The region.
#[derive(Debug)]
pub(crate) struct Region {
    /// Start of the region (behind the first guard).
    base: NonNull<u8>,
    /// One bit for each page that can be read and written.
    committed: Vec<u64>,
    /// Pages of ours in one page of the host.
    host: u32,
}

// SAFETY: the region is owned memory like a `Vec`'s; nothing in it belongs to a thread.
unsafe impl Send for Region {}

impl Region {
    /// Reserves address space; takes no memory yet.
    pub(crate) fn reserve() -> Result<Region, Errno> {
        let length = SIZE + 2 * GUARD;
        // SAFETY: a new private mapping at an address of the kernel's choice touches nothing that exists.
        let start = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                length,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        // SAFETY: the guard lies within the mapping.
        let base = unsafe { start.cast::<u8>().add(GUARD) };
        let base = NonNull::new(base).ok_or(Errno::NOMEM)?;
        let host = (rustix::param::page_size() as u32 / PAGE).max(1);
        Ok(Region { base, committed: vec![0; PAGES as usize / 64], host })
    }

    /// The address of offset 0.
    pub(crate) fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Pages that a commit must be a multiple of, start and length.
    pub(crate) fn alignment(&self) -> u32 {
        self.host
    }

    /// Makes pages readable and writable; they are zero. Both numbers are multiples of [`Region::alignment`].
    pub(crate) fn commit(&mut self, page: u32, pages: u32) -> Result<(), Errno> {
        let (start, length) = self.span(page, pages).ok_or(Errno::INVAL)?;
        // SAFETY: the span lies within the region, which is ours alone.
        unsafe { mprotect(start, length, MprotectFlags::READ | MprotectFlags::WRITE) }?;
        (page..page + pages).for_each(|p| self.committed[p as usize / 64] |= 1 << (p % 64));
        Ok(())
    }

    /// Gives pages back: their contents are gone, and an access traps.
    pub(crate) fn release(&mut self, page: u32, pages: u32) -> Result<(), Errno> {
        let (start, length) = self.span(page, pages).ok_or(Errno::INVAL)?;
        (page..page + pages).for_each(|p| self.committed[p as usize / 64] &= !(1 << (p % 64)));
        // SAFETY: the span lies within the region, and no slice of it can exist while `self` is borrowed mutably.
        unsafe {
            madvise(start, length, Advice::LinuxDontNeed)?;
            mprotect(start, length, MprotectFlags::empty())
        }
    }

    fn span(&self, page: u32, pages: u32) -> Option<(*mut c_void, usize)> {
        let end = page.checked_add(pages)?;
        let aligned = page.is_multiple_of(self.host) && pages.is_multiple_of(self.host);
        // SAFETY: `page` is within the region.
        let start = (end <= PAGES && aligned).then(|| unsafe { self.base.as_ptr().add(offset(page)) });
        Some((start?.cast(), offset(pages)))
    }

    fn is_committed(&self, at: u32, len: u32) -> bool {
        let Some(last) = (len.max(1) - 1).checked_add(at) else { return false };
        (at / PAGE..=last / PAGE).all(|p| self.committed[p as usize / 64] >> (p % 64) & 1 == 1)
    }

    /// Committed bytes; `None` when some are not.
    pub(crate) fn bytes(&self, at: u32, len: u32) -> Option<&[u8]> {
        // SAFETY: every page of the range is readable and initialised, and is borrowed as `self` is.
        self.is_committed(at, len)
            .then(|| unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(at as usize), len as usize) })
    }

    /// The same, to write.
    pub(crate) fn bytes_mut(&mut self, at: u32, len: u32) -> Option<&mut [u8]> {
        let base = self.base.as_ptr();
        // SAFETY: every page of the range is readable and writable, and is borrowed as `self` is, mutably.
        self.is_committed(at, len)
            .then(|| unsafe { std::slice::from_raw_parts_mut(base.add(at as usize), len as usize) })
    }
}

fn offset(pages: u32) -> usize {
    pages as usize * PAGE as usize
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping began a guard before the base, and nothing borrows it any more.
        let _ = unsafe { munmap(self.base.as_ptr().sub(GUARD).cast(), SIZE + 2 * GUARD) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_there_before_it_is_committed() {
        let mut region = Region::reserve().unwrap();
        let n = region.alignment();
        assert!(region.bytes(0, 1).is_none() && region.bytes_mut(PAGE * n, 8).is_none());
        region.commit(n, n).unwrap();
        region.bytes_mut(PAGE * n, 4).unwrap().copy_from_slice(&[1, 2, 3, 4]);
        assert_eq!(region.bytes(PAGE * n, 5).unwrap(), [1, 2, 3, 4, 0]);
        // One byte further is not committed, nor is one before.
        assert!(region.bytes(PAGE * n * 2 - 1, 2).is_none() && region.bytes(PAGE * n - 1, 2).is_none());
        region.release(n, n).unwrap();
        assert!(region.bytes(PAGE * n, 1).is_none());
        region.commit(n, n).unwrap();
        assert_eq!(region.bytes(PAGE * n, 4).unwrap(), [0; 4], "what was given back came back");
    }

    #[test]
    fn the_last_page_ends_the_region() {
        let mut region = Region::reserve().unwrap();
        let n = region.alignment();
        region.commit(PAGES - n, n).unwrap();
        assert_eq!(region.bytes(u32::MAX, 1).unwrap(), [0]);
        assert!(region.bytes(u32::MAX, 2).is_none());
        assert_eq!(region.commit(PAGES, n), Err(Errno::INVAL));
        assert_eq!(region.commit(u32::MAX, n), Err(Errno::INVAL));
    }
}
