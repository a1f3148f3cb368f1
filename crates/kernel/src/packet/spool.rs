//! Files that grow record by record: records enter, one by each call of `write` or `write_vectored`; they are on disk after
//! `flush`. Large parts of records that lie in a block of a packet ring ([`Spool::lend`]) are not copied: the kernel takes
//! them from there.
//!
//! What always holds: the file ends with a whole record, also when the disk is full. Records that did not fit are counted.
//!
//! Two things make the kernel's part cheap. Few long calls: one that begins in the middle of a page costs some 15 microseconds more than
//! one that does not (ext4, 6.18). And room that is asked for ahead ([`Spool::reserve`]): to find room block by block is a quarter of what
//! a write costs.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FallocateFlags;

use super::ring::Lease;
use crate::proc;

/// Bytes that are gathered, and for how long at most.
const BUFFER: usize = 512 << 10;
const LATEST: Duration = Duration::from_millis(100);
/// How much room is asked for at once, and how long a file must be for it: most captures are short.
const AHEAD: u64 = 16 << 20;
const LONG: u64 = 2 << 20;
/// EXT4_SUPER_MAGIC (include/uapi/linux/magic.h). Others were not measured; in memory it costs more than it saves.
const EXT4: u64 = 0xef53;
/// From how many bytes on a part is not copied.
const LARGE: usize = 512;

/// A file of records.
#[derive(Debug)]
pub struct Spool {
    file: File,
    path: PathBuf,
    /// What has been copied of records that are not in the file yet.
    buffer: Vec<u8>,
    /// Parts that have not, in their order.
    lent: Vec<Lent>,
    /// Where each of these records ends.
    ends: Vec<usize>,
    /// Bytes of all of them.
    gathered: usize,
    /// The block that packets are of now, and the one that has lent parts.
    current: Option<Lease>,
    lender: Option<Lease>,
    /// Bytes of the file.
    written: u64,
    /// Up to where the file has room on disk; `None`: none is asked for ahead.
    reserved: Option<u64>,
    /// When it was written last, by the monotonic clock.
    last: Duration,
    /// Records that were lost.
    lost: u64,
    /// It can be cut.
    regular: bool,
}

/// A part that lies in the lender's block.
#[derive(Clone, Copy, Debug)]
struct Lent {
    /// Bytes of the buffer that come before it.
    behind: usize,
    place: usize,
    len: usize,
}

impl Spool {
    /// Makes the file, or empties it.
    pub fn create(path: &Path) -> io::Result<Spool> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        let regular = file.metadata()?.is_file();
        Ok(Spool {
            file,
            path: path.to_owned(),
            buffer: Vec::with_capacity(BUFFER),
            lent: Vec::new(),
            ends: Vec::new(),
            gathered: 0,
            current: None,
            lender: None,
            written: 0,
            reserved: None,
            last: proc::monotonic(),
            lost: 0,
            regular,
        })
    }

    /// Asks for room on disk ahead, some megabytes at once, where that is worth it. What is left over goes back with this value.
    #[must_use]
    pub fn reserve(mut self) -> Spool {
        let worth = self.regular && rustix::fs::fstatfs(&self.file).is_ok_and(|fs| fs.f_type as u64 == EXT4);
        self.reserved = worth.then_some(0);
        self
    }

    /// Bytes of all records that were not lost.
    #[inline]
    pub fn size(&self) -> u64 {
        self.written + self.gathered as u64
    }

    /// Records that did not fit.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the file away.
    pub fn remove(path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    /// Says of which block packets are from now on: it may be kept until the records are in the file.
    #[inline]
    pub fn lend(&mut self, block: &Lease) {
        if !self.current.as_ref().is_some_and(|current| current.is(block)) {
            self.current = Some(block.clone());
        }
    }

    /// For when no packets wait: writes what has waited long enough, and gives blocks back to the kernel.
    pub fn settle(&mut self) -> io::Result<()> {
        let due = || proc::monotonic().saturating_sub(self.last) >= LATEST;
        if self.lender.is_some() || (self.gathered > 0 && due()) {
            return self.drain();
        }
        self.current = None;
        Ok(())
    }

    /// Room for what is gathered, and some more.
    fn make_reserve(&mut self) {
        let end = self.written + self.gathered as u64;
        while let Some(reserved) = self.reserved.filter(|reserved| end > *reserved && end >= LONG) {
            let from = reserved.max(self.written);
            let done = rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, from, AHEAD);
            // A disk that is nearly full has no room to spare.
            self.reserved = done.is_ok().then_some(from + AHEAD);
        }
    }

    fn drain(&mut self) -> io::Result<()> {
        self.make_reserve();
        let (done, result) = self.write_out();
        let records = self.ends.iter().take_while(|end| **end <= done).count();
        let whole = records.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(0);
        if result.is_err() {
            self.lost += (self.ends.len() - records) as u64;
            if self.regular && whole < done {
                self.file.set_len(self.written + whole as u64)?;
            }
        }
        self.written += whole as u64;
        self.gathered = 0;
        self.buffer.clear();
        self.ends.clear();
        self.lent.clear();
        // The blocks go back to the kernel.
        (self.current, self.lender) = (None, None);
        self.last = proc::monotonic();
        result
    }

    /// Writes what is gathered: how many bytes that were, and what ended it.
    fn write_out(&self) -> (usize, io::Result<()>) {
        let mut parts = Vec::with_capacity(2 * self.lent.len() + 1);
        let mut copied = 0;
        for part in &self.lent {
            parts.push(IoSlice::new(self.buffer.get(copied..part.behind).unwrap_or_default()));
            let bytes = self.lender.as_ref().map_or(&[][..], |lender| lender.bytes(part.place, part.len));
            parts.push(IoSlice::new(bytes));
            copied = part.behind;
        }
        parts.push(IoSlice::new(self.buffer.get(copied..).unwrap_or_default()));
        let (mut rest, mut done) = (parts.as_mut_slice(), 0);
        while done < self.gathered {
            match (&self.file).write_vectored(rest) {
                Ok(0) => return (done, Err(io::ErrorKind::WriteZero.into())),
                Ok(n) => {
                    done += n;
                    IoSlice::advance_slices(&mut rest, n);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (done, Err(error)),
            }
        }
        (done, Ok(()))
    }

    /// Where a part lies in the current block, if it is large and does.
    fn place(&self, part: &[u8]) -> Option<usize> {
        self.current.as_ref().filter(|_| part.len() >= LARGE)?.place(part)
    }

    /// A record that comes when there is no room for those before it is not taken, and not counted.
    #[inline]
    fn make_room(&mut self, length: usize) -> io::Result<()> {
        if self.gathered + length > BUFFER && self.gathered > 0 { self.drain() } else { Ok(()) }
    }
}

impl Write for Spool {
    #[inline]
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        self.make_room(record.len())?;
        self.buffer.extend_from_slice(record);
        self.gathered += record.len();
        self.ends.push(self.gathered);
        Ok(record.len())
    }

    /// All parts are one record.
    #[inline]
    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let length = parts.iter().map(|part| part.len()).sum();
        if length < LARGE {
            self.make_room(length)?;
            parts.iter().for_each(|part| self.buffer.extend_from_slice(part));
            self.gathered += length;
            self.ends.push(self.gathered);
            return Ok(length);
        }
        self.write_large(parts, length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.drain()
    }
}

impl Spool {
    /// A record that may have parts which need not be copied.
    fn write_large(&mut self, parts: &[IoSlice<'_>], length: usize) -> io::Result<usize> {
        let current = self.current.clone();
        self.make_room(length)?;
        self.current = current;
        let lends = parts.iter().any(|part| self.place(part).is_some());
        if lends && !matches!((&self.lender, &self.current), (Some(one), Some(other)) if one.is(other)) {
            // One block at a time is kept from the kernel beside the one that is read.
            let current = self.current.clone();
            if self.lender.is_some() {
                self.drain()?;
            }
            self.lender.clone_from(&current);
            self.current = current;
        }
        for part in parts {
            match self.place(part) {
                Some(place) => {
                    self.lent.push(Lent { behind: self.buffer.len(), place, len: part.len() });
                }
                None => self.buffer.extend_from_slice(part),
            }
        }
        self.gathered += length;
        self.ends.push(self.gathered);
        Ok(length)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // Whoever wants to know flushes before.
        let _ = self.drain();
        if self.reserved.is_some_and(|reserved| reserved > self.written) {
            let _ = self.file.set_len(self.written);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_room_takes_nothing_and_the_rest_is_counted() {
        let mut spool = Spool::create(Path::new("/dev/full")).unwrap();
        assert_eq!(spool.write(b"one").unwrap() + spool.write(b"two").unwrap(), 6);
        assert_eq!(spool.flush().unwrap_err().raw_os_error(), Some(libc::ENOSPC));
        assert_eq!((spool.lost(), spool.size()), (2, 0));
    }

    #[test]
    fn small_records_wait_a_moment_and_not_longer() {
        let path = std::env::temp_dir().join(format!("skep-spool-moment-{}", std::process::id()));
        let mut spool = Spool::create(&path).unwrap();
        spool.write_all(b"record").unwrap();
        spool.settle().unwrap();
        let soon = spool.last + LATEST;
        // A slow machine may have taken longer already.
        let early = if proc::monotonic() < soon { std::fs::metadata(&path).unwrap().len() } else { 0 };
        while proc::monotonic() < soon {
            std::thread::sleep(Duration::from_millis(5));
        }
        spool.settle().unwrap();
        let written = std::fs::read(&path).unwrap();
        drop(spool);
        std::fs::remove_file(&path).unwrap();
        assert_eq!((early, written.as_slice()), (0, &b"record"[..]));
    }

    #[test]
    fn room_that_was_asked_for_goes_back() {
        use std::os::unix::fs::MetadataExt;
        let path = std::env::temp_dir().join(format!("skep-spool-room-{}", std::process::id()));
        let mut spool = Spool::create(&path).unwrap().reserve();
        if spool.reserved.is_none() {
            std::fs::remove_file(&path).unwrap();
            eprintln!("skipped: the temporary folder is not on ext4");
            return;
        }
        let on_disk = || std::fs::metadata(&path).map(|data| (data.len(), data.blocks() * 512)).unwrap();
        let record = vec![7; 100_000];
        for _ in 0..30 {
            spool.write_all(&record).unwrap();
        }
        spool.flush().unwrap();
        let (size, room) = on_disk();
        assert_eq!(size, 3_000_000);
        assert!(room >= AHEAD, "{room}");
        drop(spool);
        let (size, room) = on_disk();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(size, 3_000_000);
        assert!(room < 4_000_000, "{room}");
    }

    #[test]
    fn a_file_ends_with_a_whole_record_when_its_limit_is_reached() {
        // A file system of its own with 64 KiB: what fits of ten records of 10,000 bytes are six.
        let folder = std::env::temp_dir().join(format!("skep-spool-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mounted = rustix::mount::mount(
            "none",
            &folder,
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            Some(c"size=64k"),
        );
        if mounted.is_err() {
            let _ = std::fs::remove_dir(&folder);
            eprintln!("skipped: mounting needs root");
            return;
        }
        let path = folder.join("file");
        let mut spool = Spool::create(&path).unwrap();
        for record in 0..10u8 {
            spool.write_all(&[record; 10_000]).unwrap();
        }
        let full = spool.flush();
        let (size, lost) = (std::fs::metadata(&path).unwrap().len(), spool.lost());
        drop(spool);
        rustix::mount::unmount(&folder, rustix::mount::UnmountFlags::DETACH).unwrap();
        std::fs::remove_dir(&folder).unwrap();
        assert!(full.is_err());
        assert_eq!((size, lost), (60_000, 4));
    }
}
