//! What was recorded of a real run: memory of the kernel and of processes, and answers of helpers. Replaying a run asks for
//! them in the same order, so answers are queues by helper.

use std::collections::{BTreeMap, VecDeque};

use rustix::io::Errno;

use crate::vm::memory::MapId;

/// Recorded memory, by address.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecordedMemory {
    ranges: BTreeMap<u64, Vec<u8>>,
}

impl RecordedMemory {
    /// Adds what was read at an address; bytes that were known before are replaced.
    pub fn put(&mut self, at: u64, bytes: &[u8]) {
        let Some((start, old)) = self.ranges.range_mut(..=at).next_back() else {
            self.ranges.insert(at, bytes.to_vec());
            return;
        };
        let offset = (at - start) as usize;
        if offset > old.len() {
            self.ranges.insert(at, bytes.to_vec());
            return;
        }
        let shared = bytes.len().min(old.len() - offset);
        old[offset..offset + shared].copy_from_slice(&bytes[..shared]);
        old.extend_from_slice(&bytes[shared..]);
    }

    /// The bytes that are known from an address on, at most `most`.
    pub fn get(&self, at: u64, most: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while out.len() < most {
            let next = at.wrapping_add(out.len() as u64);
            let Some((start, bytes)) = self.ranges.range(..=next).next_back() else { break };
            let Some(rest) = usize::try_from(next - start).ok().and_then(|offset| bytes.get(offset..)) else {
                break;
            };
            if rest.is_empty() {
                break;
            }
            out.extend_from_slice(&rest[..rest.len().min(most - out.len())]);
        }
        out
    }

    /// Fills `bytes` from an address on; EFAULT when not all of it is known.
    pub fn read(&self, at: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        let known = self.get(at, bytes.len());
        if known.len() < bytes.len() {
            return Err(Errno::FAULT);
        }
        bytes.copy_from_slice(&known);
        Ok(())
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.ranges.clear();
    }
}

/// What a helper returned once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Answer {
    /// r0.
    pub r0: u64,
    /// What it wrote into the memory that it was given; of `bpf_get_stackid()` the addresses of the stack.
    pub bytes: Vec<u8>,
}

/// Who answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Who {
    Helper(u32),
    /// By its number in recordings.
    Kfunc(u32),
}

/// Answers of helpers and kernel functions, the next one of each first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Answers {
    queues: BTreeMap<Who, VecDeque<Answer>>,
}

impl Answers {
    /// Adds the answer of one more call.
    pub fn push(&mut self, helper: u32, answer: Answer) {
        self.queues.entry(Who::Helper(helper)).or_default().push_back(answer);
    }

    /// Adds what one more call of a kernel function returned, which [`skep_bpf::record::KFUNCS`] gives the number of.
    pub fn push_kfunc(&mut self, number: u32, r0: u64) {
        let answer = Answer { r0, bytes: Vec::new() };
        self.queues.entry(Who::Kfunc(number)).or_default().push_back(answer);
    }

    /// Takes the result of the next call of a kernel function.
    pub fn next_kfunc(&mut self, name: &str) -> Option<u64> {
        let number = skep_bpf::record::kfunc_number(name)?;
        Some(self.queues.get_mut(&Who::Kfunc(number))?.pop_front()?.r0)
    }

    /// Takes the answer for the next call.
    pub fn next(&mut self, helper: u32) -> Option<Answer> {
        self.queues.get_mut(&Who::Helper(helper))?.pop_front()
    }

    /// How many answers nobody has asked for: after a faithful replay there are none.
    pub fn left(&self) -> usize {
        self.queues.values().map(VecDeque::len).sum()
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.queues.clear();
    }
}

/// Keys that callbacks were called for, by map, the next one first: the order of the kernel's hash tables is its own.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeyOrder {
    queues: BTreeMap<MapId, VecDeque<Vec<u8>>>,
}

impl KeyOrder {
    /// Adds the key that one more callback was called for.
    pub fn push(&mut self, map: MapId, key: &[u8]) {
        self.queues.entry(map).or_default().push_back(key.to_vec());
    }

    /// Whether the run's order of a map's keys is known.
    pub fn knows(&self, map: MapId) -> bool {
        self.queues.contains_key(&map)
    }

    /// Takes the next key of a map, if `belongs` says that it belongs to the walk that asks: that of the next walk may be behind.
    pub fn next(&mut self, map: MapId, belongs: impl FnOnce(&[u8]) -> bool) -> Option<Vec<u8>> {
        let queue = self.queues.get_mut(&map)?;
        queue.front().is_some_and(|key| belongs(key)).then(|| queue.pop_front()).flatten()
    }

    /// How many keys no walk has come to: after a faithful replay there are none.
    pub fn left(&self) -> usize {
        self.queues.values().map(VecDeque::len).sum()
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.queues.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_grows_together() {
        let mut memory = RecordedMemory::default();
        memory.put(100, b"abcd");
        memory.put(104, b"efgh");
        memory.put(102, b"CD");
        memory.put(200, b"x");
        assert_eq!(memory.get(100, 100), b"abCDefgh");
        assert_eq!(memory.get(103, 2), b"De");
        assert_eq!(memory.get(99, 4), b"");
        assert_eq!(memory.get(108, 4), b"");
        let mut bytes = [0; 4];
        assert_eq!((memory.read(104, &mut bytes), bytes), (Ok(()), *b"efgh"));
        assert_eq!(memory.read(105, &mut bytes), Err(Errno::FAULT));
        memory.put(u64::MAX, b"z");
        assert_eq!(memory.get(u64::MAX, 5), b"z", "the end of the address space is the end");
    }

    #[test]
    fn keys_come_walk_by_walk() {
        let (mut order, map) = (KeyOrder::default(), MapId(3));
        ["b", "a", "b"].iter().for_each(|key| order.push(map, key.as_bytes()));
        assert!(order.knows(map) && !order.knows(MapId(0)));
        let mut seen: Vec<Vec<u8>> = Vec::new();
        while let Some(key) = order.next(map, |key| !seen.iter().any(|seen| seen == key)) {
            seen.push(key);
        }
        assert_eq!((seen, order.left()), (vec![b"b".to_vec(), b"a".to_vec()], 1));
    }

    #[test]
    fn answers_come_in_order() {
        let mut answers = Answers::default();
        answers.push_kfunc(1, 9);
        assert_eq!(answers.next_kfunc("bpf_task_from_pid"), Some(9));
        assert_eq!((answers.next_kfunc("bpf_task_from_pid"), answers.next_kfunc("bpf_x")), (None, None));
        for r0 in [5, 6] {
            answers.push(7, Answer { r0, bytes: vec![] });
        }
        assert_eq!(answers.next(7).map(|a| a.r0), Some(5));
        assert_eq!((answers.next(8), answers.left()), (None, 1));
    }
}
