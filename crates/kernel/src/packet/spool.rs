//! Files that grow record by record: records enter, one by each call of `write` or `write_vectored`; they are on disk after `flush`.
//!
//! What always holds: the file ends with a whole record, also when the disk is full. Records that did not fit are counted.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::path::{Path, PathBuf};

/// Bytes that are gathered.
const BUFFER: usize = 256 << 10;

/// A file of records.
#[derive(Debug)]
pub struct Spool {
    file: File,
    path: PathBuf,
    /// Records that are not in the file yet, and where each ends.
    buffer: Vec<u8>,
    ends: Vec<usize>,
    /// Bytes of the file.
    written: u64,
    /// Records that were lost.
    lost: u64,
    /// It can be cut.
    regular: bool,
}

impl Spool {
    /// Makes the file, or empties it.
    pub fn create(path: &Path) -> io::Result<Spool> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        let regular = file.metadata()?.is_file();
        let (buffer, path) = (Vec::with_capacity(BUFFER), path.to_owned());
        Ok(Spool { file, path, buffer, ends: Vec::new(), written: 0, lost: 0, regular })
    }

    /// Bytes of all records that were not lost.
    pub fn size(&self) -> u64 {
        self.written + self.buffer.len() as u64
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

    fn drain(&mut self) -> io::Result<()> {
        let mut done = 0;
        let result = loop {
            let rest = self.buffer.get(done..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(());
            }
            match self.file.write(rest) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        let records = self.ends.iter().take_while(|end| **end <= done).count();
        let whole = records.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(0);
        if result.is_err() {
            self.lost += (self.ends.len() - records) as u64;
            if self.regular && whole < done {
                self.file.set_len(self.written + whole as u64)?;
            }
        }
        self.written += whole as u64;
        self.buffer.clear();
        self.ends.clear();
        result
    }
}

impl Write for Spool {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(record)])
    }

    /// All parts are one record.
    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let length = parts.iter().map(|part| part.len()).sum();
        // A record that comes when there is no room for those before it is not taken, and not counted.
        if self.buffer.len() + length > BUFFER && !self.buffer.is_empty() {
            self.drain()?;
        }
        parts.iter().for_each(|part| self.buffer.extend_from_slice(part));
        self.ends.push(self.buffer.len());
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.drain()
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // Whoever wants to know flushes before.
        let _ = self.drain();
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
