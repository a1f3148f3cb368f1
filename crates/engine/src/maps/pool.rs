//! Places for the values of a map, taken and given back by number. A value's place stays an object of the program even when it was
//! given back: what a program found stays readable for as long as it runs, and the place may meanwhile be another key's, as in
//! the kernel, whose preallocated elements are used again at once (kernel/bpf/hashtab.c).

use crate::vm::memory::{Access, Addr, Memory, ObjectKind, OutOfMemory};

/// Bytes that are taken from the machine's memory at a time, roughly.
const CHUNK: u32 = 1 << 16;

/// The places.
#[derive(Debug)]
pub(super) struct Pool {
    kind: ObjectKind,
    access: Access,
    size: u32,
    /// Values of one place: CPUs, or 1.
    per_slot: u32,
    slots_per_chunk: u32,
    chunks: Vec<Addr>,
    made: u32,
    free: Vec<u32>,
}

impl Pool {
    /// Places for `per_slot` values of `size` bytes each. `most` is a hint: how many places will be needed.
    pub(super) fn new(kind: ObjectKind, access: Access, size: u32, per_slot: u32, most: u32) -> Pool {
        let bytes = u64::from(size.max(1).next_multiple_of(8)) * u64::from(per_slot.max(1));
        let slots_per_chunk = (u64::from(CHUNK) / bytes).clamp(1, u64::from(most.max(1))) as u32;
        Pool {
            kind,
            access,
            size,
            per_slot: per_slot.max(1),
            slots_per_chunk,
            chunks: Vec::new(),
            made: 0,
            free: Vec::new(),
        }
    }

    /// A place, the one that was given back last if there is any; what was in it is still there.
    pub(super) fn take(&mut self, memory: &mut Memory) -> Result<u32, OutOfMemory> {
        if let Some(slot) = self.free.pop() {
            return Ok(slot);
        }
        if self.made / self.slots_per_chunk == self.chunks.len() as u32 {
            let count = self.slots_per_chunk * self.per_slot;
            self.chunks.push(memory.alloc_array(self.kind, count, self.size, self.access)?);
        }
        self.made += 1;
        Ok(self.made - 1)
    }

    /// Gives a place back.
    pub(super) fn give(&mut self, slot: u32) {
        self.free.push(slot);
    }

    /// Where the value of a place is, for kinds with one on each CPU that of `cpu`.
    pub(super) fn at(&self, slot: u32, cpu: u32) -> Option<Addr> {
        let chunk = self.chunks.get((slot / self.slots_per_chunk) as usize)?;
        let index = slot % self.slots_per_chunk * self.per_slot + cpu;
        (cpu < self.per_slot).then(|| chunk.plus(index * self.size.next_multiple_of(8)))
    }

    /// Sets a value; what `value` lacks becomes zero.
    pub(super) fn set(&self, memory: &mut Memory, slot: u32, cpu: u32, value: &[u8]) {
        if let Some(place) = self.at(slot, cpu).and_then(|at| memory.host_mut(at, self.size)) {
            let len = value.len().min(place.len());
            place[..len].copy_from_slice(&value[..len]);
            place[len..].fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::memory::MapId;

    #[test]
    fn places_do_not_overlap_and_come_back() {
        let mut memory = Memory::new().unwrap();
        let mut pool = Pool::new(ObjectKind::MapValue(MapId(0)), Access::ReadWrite, 20_001, 3, 100);
        let slots: Vec<u32> = (0..7).map(|_| pool.take(&mut memory).unwrap()).collect();
        for slot in &slots {
            for cpu in 0..3 {
                pool.set(&mut memory, *slot, cpu, &[*slot as u8 * 3 + cpu as u8 + 1; 20_001]);
            }
        }
        for slot in &slots {
            for cpu in 0..3 {
                let at = pool.at(*slot, cpu).unwrap();
                let bytes = memory.read(at.get(), 20_001).unwrap();
                assert!(bytes.iter().all(|b| *b == *slot as u8 * 3 + cpu as u8 + 1));
                assert!(memory.read(at.get(), 20_002).is_err());
            }
        }
        assert_eq!(pool.at(0, 3), None);
        pool.give(2);
        pool.give(5);
        assert_eq!(pool.take(&mut memory).unwrap(), 5, "the last one first");
    }
}
