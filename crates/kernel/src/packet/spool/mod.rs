//! Files that grow record by record: records enter, one by each call of `write`, `write_vectored` or [`Spool::room`]; they are
//! in the file after `flush`. Large parts of records that lie in a block of a packet ring ([`Spool::lend`]) are not copied: the
//! kernel takes them from there.
//!
//! What always holds: the file ends with a whole record, also when the disk is full. Records that did not fit are counted.
//!
//! Three things make the kernel's part cheap, all measured on ext4 (6.18). Few long calls: one that begins in the middle of a page costs
//! some 15 microseconds more than one that does not. Room that is asked for ahead ([`Spool::reserve`]): to find it block by block is a
//! quarter of what a write costs. And where small records come fast, no copy into the page cache ([`Behind`]): that is five sixths of
//! the rest.

mod behind;
mod body;
mod buffer;
#[cfg(test)]
mod tests;

use std::fs::OpenOptions;
use std::io::{self, IoSlice, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::ring::Lease;
use crate::proc;
use behind::Behind;
use body::{Body, LONG, Written};
use buffer::{Buffer, MOST};

pub use buffer::copy_short;

/// Bytes that are gathered for the page cache, and for how long at most.
const BUFFER: usize = 512 << 10;
const LATEST: Duration = Duration::from_millis(100);
/// EXT4_SUPER_MAGIC (include/uapi/linux/magic.h). Others were not measured; in memory it costs more than it saves.
const EXT4: u64 = 0xef53;
/// From how many bytes on a part is not copied.
const LARGE: usize = 512;

/// A file of records.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    body: Arc<Mutex<Body>>,
    /// The thread that writes full buffers of a long file; `direct`: there may be one.
    behind: Option<Behind>,
    direct: bool,
    /// What has been copied of records that are not on their way yet.
    buffer: Buffer,
    /// Parts that have not, in their order.
    lent: Vec<Lent>,
    /// Bytes of all of them, and how many they may be.
    gathered: usize,
    most: usize,
    /// The block that packets are of now, and the one that has lent parts.
    current: Option<Lease>,
    lender: Option<Lease>,
    /// Bytes of the file, with those that are on their way.
    before: u64,
    /// When it was written last, by the monotonic clock.
    last: Duration,
    /// Records that were lost.
    lost: u64,
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
        let direct = regular && rustix::fs::fstatfs(&file).is_ok_and(|fs| fs.f_type as u64 == EXT4);
        Ok(Spool {
            path: path.to_owned(),
            body: Arc::new(Mutex::new(Body::new(file, regular))),
            behind: None,
            direct,
            buffer: Buffer::new(0, false)?,
            lent: Vec::new(),
            gathered: 0,
            most: BUFFER,
            current: None,
            lender: None,
            before: 0,
            last: proc::monotonic(),
            lost: 0,
        })
    }

    /// Asks for room on disk ahead, some megabytes at once, where that is worth it. What is left over goes back with this value.
    #[must_use]
    pub fn reserve(self) -> Spool {
        self.body().reserved = self.direct.then_some(0);
        self
    }

    /// Bytes of all records that were not lost.
    #[inline]
    pub fn size(&self) -> u64 {
        self.before + self.gathered as u64
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
            return match self.behind.as_ref().is_some_and(Behind::is_busy) && self.lent.is_empty() {
                true => self.hand_over(),
                false => self.write_now(),
            };
        }
        self.current = None;
        Ok(())
    }

    /// Room for a record of so many bytes, which the caller fills; `None`: it is to be written.
    #[inline]
    pub fn room(&mut self, length: usize) -> io::Result<Option<&mut [u8]>> {
        if length >= LARGE {
            return Ok(None);
        }
        self.make_room(length)?;
        self.gathered += length;
        self.buffer.ends.push(self.gathered);
        Ok(self.buffer.room(length))
    }

    fn body(&self) -> MutexGuard<'_, Body> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what is gathered on its way.
    fn drain(&mut self) -> io::Result<()> {
        if self.direct && self.lent.is_empty() && self.size() >= LONG {
            self.hand_over()
        } else {
            self.write_now()
        }
    }

    /// Gives the buffer to the thread that writes.
    fn hand_over(&mut self) -> io::Result<()> {
        if self.behind.is_none() {
            // Without another thread this one writes, as before.
            self.behind = Behind::start(self.body.clone()).ok();
            self.direct = self.behind.is_some();
        }
        let Some(behind) = &mut self.behind else { return self.write_now() };
        let Ok(empty) = behind.buffer() else { return self.write_now() };
        self.settle_account()?;
        let full = std::mem::replace(&mut self.buffer, empty);
        if let Some(behind) = &mut self.behind {
            behind.send(full);
        }
        self.before += self.gathered as u64;
        self.most = MOST;
        self.begin();
        Ok(())
    }

    /// Writes what is gathered, behind all that is on its way.
    fn write_now(&mut self) -> io::Result<()> {
        if let Some(behind) = &mut self.behind {
            behind.wait();
        }
        self.settle_account()?;
        let Written { whole, lost, result } = self.write_out();
        self.before += whole;
        self.lost += lost;
        self.begin();
        result
    }

    /// What has not reached the file is not counted as if it had; nor is what is gathered, which would come behind it.
    fn settle_account(&mut self) -> io::Result<()> {
        let Some(behind) = &mut self.behind else { return Ok(()) };
        let account = behind.account();
        self.before = self.before.saturating_sub(account.missing);
        self.lost += account.lost;
        let Some(error) = account.failed else { return Ok(()) };
        self.lost += self.buffer.ends.len() as u64;
        self.begin();
        Err(error)
    }

    /// Forgets what was gathered; the blocks go back to the kernel.
    fn begin(&mut self) {
        self.gathered = 0;
        self.buffer.begin(self.before);
        self.lent.clear();
        (self.current, self.lender) = (None, None);
        self.last = proc::monotonic();
    }

    fn write_out(&self) -> Written {
        let mut parts = Vec::with_capacity(2 * self.lent.len() + 1);
        let (bytes, mut copied) = (self.buffer.bytes(), 0);
        for part in &self.lent {
            parts.push(IoSlice::new(bytes.get(copied..part.behind).unwrap_or_default()));
            let bytes = self.lender.as_ref().map_or(&[][..], |lender| lender.bytes(part.place, part.len));
            parts.push(IoSlice::new(bytes));
            copied = part.behind;
        }
        parts.push(IoSlice::new(bytes.get(copied..).unwrap_or_default()));
        self.body().write(&mut parts, &self.buffer.ends)
    }

    /// Where a part lies in the current block, if it is large and does.
    fn place(&self, part: &[u8]) -> Option<usize> {
        self.current.as_ref().filter(|_| part.len() >= LARGE)?.place(part)
    }

    /// A record that comes when there is no room for those before it is not taken, and not counted.
    #[inline]
    fn make_room(&mut self, length: usize) -> io::Result<()> {
        if self.gathered + length > self.most && self.gathered > 0 { self.drain() } else { Ok(()) }
    }

    /// A record that may have parts which need not be copied.
    fn write_large(&mut self, parts: &[IoSlice<'_>], length: usize) -> io::Result<usize> {
        let current = self.current.clone();
        self.make_room(length)?;
        self.current = current;
        if length > MOST {
            return self.write_alone(parts, length);
        }
        let lends = parts.iter().any(|part| self.place(part).is_some());
        if lends && !matches!((&self.lender, &self.current), (Some(one), Some(other)) if one.is(other)) {
            // One block at a time is kept from the kernel beside the one that is read.
            let current = self.current.clone();
            if self.lender.is_some() {
                self.drain()?;
            }
            self.lender.clone_from(&current);
            self.current = current;
            self.most = BUFFER;
        }
        for part in parts {
            match self.place(part) {
                Some(place) => self.lent.push(Lent { behind: self.buffer.len(), place, len: part.len() }),
                None => {
                    let room = self.buffer.room(part.len());
                    room.ok_or(io::ErrorKind::OutOfMemory)?.copy_from_slice(part);
                }
            }
        }
        self.gathered += length;
        self.buffer.ends.push(self.gathered);
        Ok(length)
    }

    /// A record that is longer than a buffer.
    fn write_alone(&mut self, parts: &[IoSlice<'_>], length: usize) -> io::Result<usize> {
        self.write_now()?;
        let mut parts = parts.to_vec();
        let Written { whole, lost, result } = self.body().write(&mut parts, &[length]);
        self.before += whole;
        self.lost += lost;
        self.begin();
        result.map(|()| length)
    }
}

impl Write for Spool {
    #[inline]
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(record)])
    }

    /// All parts are one record.
    #[inline]
    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let length = parts.iter().map(|part| part.len()).sum();
        let Some(mut room) = self.room(length)? else { return self.write_large(parts, length) };
        for part in parts {
            let Some((to, rest)) = room.split_at_mut_checked(part.len()) else { break };
            copy_short(to, part);
            room = rest;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_now()
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // Whoever wants to know flushes before.
        let _ = self.write_now();
    }
}
