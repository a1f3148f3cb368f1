//! A capture file as it lies in the page cache: a file enters, its bytes leave without being copied.

use std::fs::File;
use std::os::fd::AsFd;

use crate::sys::mmap::{FileMapping, fetch};

/// A file's bytes.
#[derive(Debug)]
pub struct MappedFile {
    mapping: FileMapping,
    file: File,
}

impl MappedFile {
    /// Maps a file; gives it back where that cannot be: it is not a regular one, or it is empty.
    pub fn new(file: File) -> Result<MappedFile, File> {
        let len =
            file.metadata().ok().filter(|data| data.is_file()).and_then(|data| data.len().try_into().ok());
        match len.and_then(|len: usize| FileMapping::new(file.as_fd(), len).ok()) {
            Some(mapping) => {
                mapping.sequential();
                Ok(MappedFile { mapping, file })
            }
            None => Err(file),
        }
    }

    /// All bytes that it had. What is behind [`MappedFile::present`] must not be read: the kernel would end this process.
    pub fn bytes(&self) -> &[u8] {
        self.mapping.as_ref()
    }

    /// Brings bytes that will be needed soon nearer to the processor, without waiting for them.
    pub fn fetch(bytes: &[u8]) {
        fetch(bytes);
    }

    /// How many bytes it has now: somebody may have cut it.
    pub fn present(&self) -> usize {
        self.file.metadata().ok().and_then(|data| data.len().try_into().ok()).unwrap_or(0)
    }
}
