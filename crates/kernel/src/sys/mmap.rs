//! Mappings: of files that do not shrink (sysfs BTF), and of maps and ring buffers that the kernel writes meanwhile.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

/// A mapping, unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: *mut u8,
    len: usize,
}

// SAFETY: the mapping belongs to this value alone; shared parts are accessed through atomics or volatile copies.
unsafe impl Send for Mapping {}
// SAFETY: as above; no method hands out a mutable reference.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(
        fd: BorrowedFd<'_>,
        offset: u64,
        len: usize,
        prot: ProtFlags,
        flags: MapFlags,
    ) -> Result<Mapping, Errno> {
        if len == 0 {
            return Err(Errno::INVAL);
        }
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe { mmap(std::ptr::null_mut(), len, prot, flags, fd, offset) }?;
        Ok(Mapping { start: start.cast(), len })
    }

    /// Shared, readable and perhaps writable.
    pub(crate) fn shared(fd: BorrowedFd<'_>, offset: u64, len: usize, write: bool) -> Result<Mapping, Errno> {
        let prot = if write { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        Mapping::new(fd, offset, len, prot, MapFlags::SHARED)
    }

    /// Memory of zeros that belongs to nobody else.
    pub(crate) fn anonymous(len: usize) -> Result<Mapping, Errno> {
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: as in `new`.
        let start = unsafe { mmap_anonymous(std::ptr::null_mut(), len, prot, MapFlags::PRIVATE) }?;
        Ok(Mapping { start: start.cast(), len })
    }

    /// The first offset at which the address is a multiple of `unit`.
    pub(crate) fn aligned(&self, unit: usize) -> usize {
        (self.start as usize).next_multiple_of(unit) - self.start as usize
    }

    /// Says that huge pages would be good for this part; the kernel may think otherwise.
    pub(crate) fn prefer_huge(&self, offset: usize, len: usize) {
        if offset.checked_add(len).is_some_and(|end| end <= self.len) {
            // SAFETY: a part of this mapping; the advice changes no byte of it.
            let _ = unsafe { madvise(self.start.add(offset).cast(), len, Advice::LinuxHugepage) };
        }
    }

    /// The u64 at `offset` (aligned to 8) as both sides change it.
    #[inline]
    pub(crate) fn atomic_u64(&self, offset: usize) -> Option<&AtomicU64> {
        let fits = offset.is_multiple_of(8) && offset.checked_add(8)? <= self.len;
        // SAFETY: in bounds, aligned (mappings start at a page), and shared memory is accessed by atomics only.
        fits.then(|| unsafe { AtomicU64::from_ptr(self.start.add(offset).cast()) })
    }

    /// The u32 at `offset` (aligned to 4) as both sides change it.
    #[inline]
    pub(crate) fn atomic_u32(&self, offset: usize) -> Option<&AtomicU32> {
        let fits = offset.is_multiple_of(4) && offset.checked_add(4)? <= self.len;
        // SAFETY: as in `atomic_u64`.
        fits.then(|| unsafe { AtomicU32::from_ptr(self.start.add(offset).cast()) })
    }

    /// A ring record's bytes.
    ///
    /// # Safety
    /// Nobody writes these bytes while the result lives (a submitted record is not written until the consumer
    /// position passes it).
    #[inline]
    pub(crate) unsafe fn bytes(&self, offset: usize, len: usize) -> Option<&[u8]> {
        let fits = offset.checked_add(len)? <= self.len;
        // SAFETY: in bounds; not written meanwhile by the caller's promise.
        fits.then(|| unsafe { std::slice::from_raw_parts(self.start.add(offset), len) })
    }

    /// The same, to be written.
    ///
    /// # Safety
    /// Nobody else reads or writes these bytes while the result lives.
    #[inline]
    pub(crate) unsafe fn bytes_mut(&mut self, offset: usize, len: usize) -> Option<&mut [u8]> {
        let fits = offset.checked_add(len)? <= self.len;
        // SAFETY: in bounds; not touched meanwhile by the caller's promise.
        fits.then(|| unsafe { std::slice::from_raw_parts_mut(self.start.add(offset), len) })
    }

    /// Where in the mapping these bytes lie; `None`: elsewhere.
    #[inline]
    pub(crate) fn place(&self, bytes: &[u8]) -> Option<usize> {
        let offset = (bytes.as_ptr() as usize).checked_sub(self.start as usize)?;
        (offset.checked_add(bytes.len())? <= self.len).then_some(offset)
    }

    /// Writes into what nobody else touches meanwhile; whether it is in bounds.
    ///
    /// # Safety
    /// Nobody reads or writes these bytes during the call, and no result of [`Mapping::bytes`] that has them lives.
    #[inline]
    pub(crate) unsafe fn write(&self, offset: usize, bytes: &[u8]) -> bool {
        let fits = offset.checked_add(bytes.len()).is_some_and(|end| end <= self.len);
        if fits {
            // SAFETY: in bounds; `bytes` is not of the mapping by the caller's promise.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(offset), bytes.len()) };
        }
        fits
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the range that `mmap` gave, unmapped once; no reference outlives `self`.
        let _ = unsafe { munmap(self.start.cast(), self.len) };
    }
}

/// A read-only view of a sysfs BTF file (mmap allowed from 6.16).
#[derive(Debug)]
pub(crate) struct BtfMapping(Mapping);

impl BtfMapping {
    /// Maps `len` bytes of a file under /sys/kernel/btf.
    pub(crate) fn new(fd: BorrowedFd<'_>, len: usize) -> Result<BtfMapping, Errno> {
        Mapping::new(fd, 0, len, ProtFlags::READ, MapFlags::PRIVATE).map(BtfMapping)
    }
}

/// A read-only view of a large file: debug information, or a capture.
#[derive(Debug)]
pub(crate) struct FileMapping(Mapping);

impl FileMapping {
    /// Maps the first `len` bytes of a regular file.
    pub(crate) fn new(fd: BorrowedFd<'_>, len: usize) -> Result<FileMapping, Errno> {
        Mapping::new(fd, 0, len, ProtFlags::READ, MapFlags::PRIVATE).map(FileMapping)
    }
}

impl FileMapping {
    /// Says that it is read from its start to its end, so that the kernel reads ahead.
    pub(crate) fn sequential(&self) {
        // SAFETY: exactly the range that `mmap` gave; the advice changes no byte of it.
        let _ = unsafe { madvise(self.0.start.cast(), self.0.len, Advice::Sequential) };
    }
}

/// Bytes that come into the processor's cache together.
const LINE: usize = 64;

/// Brings bytes nearer to the processor, without waiting for them.
pub(crate) fn fetch(bytes: &[u8]) {
    for byte in bytes.iter().step_by(LINE) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a hint, which changes nothing and faults nowhere; every such processor has it.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(byte).cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        std::hint::black_box(*byte);
    }
}

impl AsRef<[u8]> for FileMapping {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: nothing of ours writes the file. Debug information is written once, when it is built or installed
        // (package managers and linkers put a new file in the place of the old), and captures grow at their end; their
        // readers check every value against the bounds of what they have and trust nothing that they have read before.
        unsafe { self.0.bytes(0, self.0.len) }.unwrap_or(&[])
    }
}

impl AsRef<[u8]> for BtfMapping {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: kernel BTF is constant while the kernel (or the module, whose file holds a reference) lives.
        unsafe { self.0.bytes(0, self.0.len) }.unwrap_or(&[])
    }
}
