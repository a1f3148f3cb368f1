//! An array of 32-bit numbers that programs read while it is being written: mapped, so that a write takes no system call. Each
//! number is read and written whole.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use rustix::io::Errno;
use skep_bpf::kinds::MapType;

use super::Map;
use crate::error::Error;
use crate::sys::mmap::Mapping;

/// The numbers of an array that was made to be mapped.
#[derive(Debug)]
pub struct Words {
    mapping: Mapping,
    count: u32,
}

impl Map {
    /// Maps an array whose values are of eight bytes, as the numbers that lie in them: two in each, the lower half first.
    pub fn words(&self) -> Result<Words, Error> {
        let count = self.max_entries().checked_mul(2);
        let (MapType::Array, 8, Some(count)) = (self.kind(), self.value_size(), count) else {
            return Err(self.failed("map into memory", Errno::INVAL));
        };
        let mapping = Mapping::shared(self.as_fd(), 0, count as usize * 4, true);
        Ok(Words { mapping: mapping.map_err(|errno| self.failed("map into memory", errno))?, count })
    }
}

impl Words {
    /// How many there are.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// A number; 0 behind the last.
    pub fn get(&self, at: u32) -> u32 {
        let word = self.mapping.atomic_u32(at as usize * 4).filter(|_| at < self.count);
        word.map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Gives a number another value, seen by programs after all that was written before; nothing behind the last.
    pub fn set(&self, at: u32, value: u32) {
        if let Some(word) = self.mapping.atomic_u32(at as usize * 4).filter(|_| at < self.count) {
            word.store(value, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::machine;
    use crate::map::Map;
    use skep_bpf::kinds::{MapType, map_flags};
    use skep_bpf::object::{MapDetails, MapSpec};

    #[test]
    fn what_is_written_is_what_the_kernel_reads() {
        if !machine::missing_capabilities().is_empty() {
            return;
        }
        let mut spec = MapSpec {
            name: "@t".into(),
            map_type: MapType::Array,
            key_size: 4,
            value_size: 8,
            max_entries: 5,
            flags: map_flags::MMAPABLE,
            initial: Vec::new(),
            frozen: false,
            schema: None,
            details: MapDetails::default(),
        };
        let map = Map::create(&spec).unwrap();
        let words = map.words().unwrap();
        words.set(3, 7);
        words.set(10, 9);
        assert_eq!((words.count(), words.get(3), words.get(10)), (10, 7, 0));
        let read = map.lookup(&1u32.to_ne_bytes()).unwrap();
        assert_eq!(read.get(0).unwrap().value(), [0, 0, 0, 0, 7, 0, 0, 0]);
        spec.flags = 0;
        assert!(Map::create(&spec).unwrap().words().is_err(), "it was not made to be mapped");
    }
}
