//! Stack trace maps (kernel/bpf/stackmap.c): a stack goes in and gets a number that follows from its addresses, so that equal
//! stacks have equal numbers.

use rustix::io::Errno;
use skep_bpf::object::MapSpec;

use super::{Map, jhash};
use crate::vm::memory::Memory;

/// `BPF_F_FAST_STACK_CMP`: compare stacks by hash only.
const FAST_COMPARE: u64 = 1 << 9;
/// `BPF_F_REUSE_STACKID`: a new stack replaces one of the same number.
const REUSE: u64 = 1 << 10;

#[derive(Clone, Debug)]
struct Bucket {
    hash: u32,
    addresses: Box<[u64]>,
}

/// A map of stacks.
#[derive(Debug)]
pub struct StackMap {
    spec: MapSpec,
    buckets: Vec<Option<Bucket>>,
}

impl StackMap {
    pub(super) fn new(spec: &MapSpec) -> StackMap {
        let count = spec.max_entries.next_power_of_two() as usize;
        StackMap { spec: spec.clone(), buckets: vec![None; count] }
    }

    /// Addresses that a stack may have.
    pub fn depth(&self) -> usize {
        (self.spec.value_size / 8) as usize
    }

    /// Puts a stack in (`__bpf_get_stackid`): its number, EEXIST when another one has it.
    pub fn insert(&mut self, addresses: &[u64], flags: u64) -> Result<u32, Errno> {
        let addresses = &addresses[..addresses.len().min(self.depth())];
        if addresses.is_empty() {
            return Err(Errno::FAULT);
        }
        let words: Vec<u32> = addresses.iter().flat_map(|at| [*at as u32, (*at >> 32) as u32]).collect();
        let hash = jhash::words(&words, 0);
        let id = hash & (self.buckets.len() as u32 - 1);
        let bucket = self.buckets.get_mut(id as usize).ok_or(Errno::FAULT)?;
        if let Some(old) = bucket {
            let same = old.hash == hash && (flags & FAST_COMPARE != 0 || *old.addresses == *addresses);
            if same {
                return Ok(id);
            }
            if flags & REUSE == 0 {
                return Err(Errno::EXIST);
            }
        }
        *bucket = Some(Bucket { hash, addresses: addresses.into() });
        Ok(id)
    }

    /// Puts a stack in under a number that was recorded.
    pub fn set(&mut self, id: u32, addresses: &[u64]) -> Result<(), Errno> {
        let depth = self.depth();
        let bucket = self.buckets.get_mut(id as usize).ok_or(Errno::NOENT)?;
        *bucket = Some(Bucket { hash: id, addresses: addresses[..addresses.len().min(depth)].into() });
        Ok(())
    }

    /// A stack.
    pub fn get(&self, id: u32) -> Option<&[u64]> {
        self.buckets.get(id as usize)?.as_ref().map(|bucket| &*bucket.addresses)
    }
}

impl Map for StackMap {
    fn spec(&self) -> &MapSpec {
        &self.spec
    }

    fn read(&self, _memory: &Memory, key: &[u8]) -> Result<Vec<u8>, Errno> {
        let stack = super::index_of(key).and_then(|id| self.get(id)).ok_or(Errno::NOENT)?;
        let mut bytes: Vec<u8> = stack.iter().flat_map(|at| at.to_ne_bytes()).collect();
        bytes.resize(self.spec.value_size as usize, 0);
        Ok(bytes)
    }

    fn delete(&mut self, _memory: &mut Memory, key: &[u8]) -> Result<(), Errno> {
        let id = super::index_below(key, self.buckets.len() as u32)?;
        self.buckets[id as usize].take().map(|_| ()).ok_or(Errno::NOENT)
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Option<Vec<u8>>, Errno> {
        let at = key.and_then(super::index_of).filter(|id| self.get(*id).is_some());
        let from = at.map_or(0, |id| id as usize + 1);
        let next = (from..self.buckets.len()).find(|id| self.buckets[*id].is_some());
        Ok(next.map(|id| (id as u32).to_ne_bytes().to_vec()))
    }
}
