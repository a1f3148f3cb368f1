//! An array of 64-bit numbers that programs read while it is being written: mapped, so that a write takes no system call. Each
//! number is read and written whole. Of a large array only the parts that are asked for are mapped.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::io::Errno;
use skep_bpf::kinds::MapType;

use super::Map;
use crate::error::Error;
use crate::sys::mmap::Mapping;

/// Bytes that are mapped at once: the kernel enters each page of them by itself, so a change of one route takes few.
const PART: usize = 128 << 10;

/// The numbers of an array that was made to be mapped.
#[derive(Debug)]
pub struct Words {
    fd: OwnedFd,
    /// `None`: the kernel refused.
    parts: Vec<OnceLock<Option<Mapping>>>,
    count: u32,
    failed: AtomicBool,
}

impl Map {
    /// Maps an array whose values are of whole words, as the words that lie in them.
    pub fn words(&self) -> Result<Words, Error> {
        let refused = |errno| self.failed("map into memory", errno);
        let count =
            u32::try_from(self.value_size() / 8).ok().and_then(|words| self.max_entries().checked_mul(words));
        let (MapType::Array, true, Some(count)) = (self.kind(), self.value_size().is_multiple_of(8), count)
        else {
            return Err(refused(Errno::INVAL));
        };
        let fd = self
            .as_fd()
            .try_clone_to_owned()
            .map_err(|e| refused(Errno::from_io_error(&e).unwrap_or(Errno::IO)))?;
        let parts = (0..(count as usize * 8).div_ceil(PART)).map(|_| OnceLock::new()).collect();
        let words = Words { fd, parts, count, failed: AtomicBool::new(false) };
        // An array that cannot be mapped is found at once.
        words.map(0).map_err(refused)?;
        Ok(words)
    }
}

impl Words {
    /// How many there are.
    #[inline]
    pub fn count(&self) -> u32 {
        self.count
    }

    fn map(&self, part: usize) -> Result<Mapping, Errno> {
        let start = part * PART;
        let len = (self.count as usize * 8 - start).min(PART);
        Mapping::shared(self.fd.as_fd(), start as u64, len, true)
    }

    #[inline]
    fn word(&self, at: u32) -> Option<&AtomicU64> {
        let at = at as usize * 8;
        let part = self.parts.get(at / PART)?.get_or_init(|| self.map(at / PART).ok());
        match part {
            Some(mapping) => mapping.atomic_u64(at % PART),
            None => {
                self.failed.store(true, Ordering::Relaxed);
                None
            }
        }
    }

    /// A number; 0 behind the last.
    #[inline]
    pub fn get(&self, at: u32) -> u64 {
        self.word(at).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Gives a number another value, seen by programs after all that was written before; nothing behind the last.
    #[inline]
    pub fn set(&self, at: u32, value: u64) {
        if let Some(word) = self.word(at) {
            word.store(value, Ordering::Release);
        }
    }

    /// An error if some of the array could not be mapped, so that what was read there was zero and what was written is lost.
    pub fn complete(&self) -> Result<(), Error> {
        match self.failed.load(Ordering::Relaxed) {
            true => Err(Error::os("map an array into memory".to_owned(), Errno::NOMEM)),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::machine;
    use crate::map::Map;
    use skep_bpf::kinds::{MapType, map_flags};
    use skep_bpf::object::MapSpec;

    #[test]
    fn what_is_written_is_what_the_kernel_reads() {
        if !machine::missing_capabilities().is_empty() {
            return;
        }
        let mut spec = MapSpec::new("@t", MapType::Array, 4, 16, 100_000);
        spec.flags = map_flags::MMAPABLE;
        let map = Map::create(&spec).unwrap();
        let words = map.words().unwrap();
        words.set(3, 7);
        words.set(199_998, 1 << 40);
        words.set(200_000, 9);
        assert_eq!(words.count(), 200_000);
        assert_eq!([3, 199_998, 200_000].map(|at| words.get(at)), [7, 1 << 40, 0]);
        words.complete().unwrap();
        let read = |at: u32| map.lookup(&at.to_ne_bytes()).unwrap().get(0).unwrap().value().to_vec();
        assert_eq!(read(1)[8..], 7u64.to_ne_bytes());
        assert_eq!(read(99_999)[..8], (1u64 << 40).to_ne_bytes());
        spec.flags = 0;
        assert!(Map::create(&spec).unwrap().words().is_err(), "it was not made to be mapped");
    }
}
