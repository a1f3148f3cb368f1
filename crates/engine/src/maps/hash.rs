//! Hash tables: plain, least recently used, and both with a value on each CPU (kernel/bpf/hashtab.c).
//!
//! Keys iterate in the order in which they were added (the kernel's order is that of its buckets, seeded by chance). Replacing the value of a key
//! gives it another place, so that a pointer to the old one still reads the old value; per-CPU values are replaced in place.
//! An LRU table drops exactly the key that was not used for the longest time, and only when it is full; the kernel's drops one that was not
//! used lately, many at a time, and each CPU keeps free elements of its own.

use std::collections::HashMap;
use std::sync::Arc;

use rustix::io::Errno;
use skep_bpf::kinds::MapType;
use skep_bpf::object::MapSpec;

use super::chain::Chain;
use super::pool::Pool;
use super::{Map, check_existing, check_flags, is_percpu, value_access};
use crate::vm::memory::{Addr, MapId, Memory, ObjectKind};

/// A hash table.
pub struct Hash {
    spec: MapSpec,
    cpus: u32,
    pool: Pool,
    index: HashMap<Arc<[u8]>, u32>,
    keys: Vec<Option<Arc<[u8]>>>,
    order: Chain,
    /// From the key that was not used for the longest time to the one used last; only for LRU tables.
    used: Option<Chain>,
}

impl Hash {
    pub(super) fn new(id: MapId, spec: &MapSpec, cpus: u32) -> Hash {
        let lru = matches!(spec.map_type, MapType::LruHash | MapType::LruPercpuHash);
        let access = value_access(spec.flags);
        let most = spec.max_entries.saturating_add(1);
        Hash {
            spec: spec.clone(),
            cpus,
            pool: Pool::new(ObjectKind::MapValue(id), access, spec.value_size, cpus, most),
            index: HashMap::new(),
            keys: Vec::new(),
            order: Chain::default(),
            used: lru.then(Chain::default),
        }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    fn touch(&mut self, slot: u32) {
        if let Some(used) = &mut self.used {
            used.push(slot);
        }
    }

    /// The slot for a key that is to be written: `(slot, whether the key is new)`.
    fn slot_for(&mut self, memory: &mut Memory, key: &[u8], flags: u64) -> Result<(u32, bool), Errno> {
        check_flags(flags)?;
        let old = self.index.get(key).copied();
        check_existing(old.is_some(), flags)?;
        if let Some(old) = old {
            let in_place = is_percpu(self.spec.map_type);
            return Ok((if in_place { old } else { self.replace(memory, key, old)? }, false));
        }
        if self.index.len() >= self.spec.max_entries as usize {
            let oldest = self.used.as_ref().and_then(Chain::first).ok_or(Errno::TOOBIG)?;
            self.drop_slot(oldest);
        }
        let slot = self.pool.take(memory).map_err(|_| Errno::NOMEM)?;
        let key: Arc<[u8]> = key.into();
        self.remember(slot, key.clone());
        self.index.insert(key, slot);
        self.order.push(slot);
        Ok((slot, true))
    }

    /// A new place for a key that is there.
    fn replace(&mut self, memory: &mut Memory, key: &[u8], old: u32) -> Result<u32, Errno> {
        let new = self.pool.take(memory).map_err(|_| Errno::NOMEM)?;
        if let Some(slot) = self.index.get_mut(key) {
            *slot = new;
        }
        if let Some(key) = self.keys.get_mut(old as usize).and_then(Option::take) {
            self.remember(new, key);
        }
        self.order.replace(old, new);
        if let Some(used) = &mut self.used {
            used.remove(old);
        }
        self.pool.give(old);
        Ok(new)
    }

    fn remember(&mut self, slot: u32, key: Arc<[u8]>) {
        let index = slot as usize;
        if index >= self.keys.len() {
            self.keys.resize(index + 1, None);
        }
        self.keys[index] = Some(key);
    }

    fn drop_slot(&mut self, slot: u32) {
        if let Some(key) = self.keys.get_mut(slot as usize).and_then(Option::take) {
            self.index.remove(&key);
            self.order.remove(slot);
            if let Some(used) = &mut self.used {
                used.remove(slot);
            }
            self.pool.give(slot);
        }
    }
}

impl Map for Hash {
    fn spec(&self) -> &MapSpec {
        &self.spec
    }

    fn cpus(&self) -> u32 {
        self.cpus
    }

    fn find(&self, cpu: u32, key: &[u8]) -> Option<Addr> {
        self.pool.at(*self.index.get(key)?, cpu.min(self.cpus - 1))
    }

    fn lookup(&mut self, cpu: u32, key: &[u8]) -> Option<Addr> {
        let slot = *self.index.get(key)?;
        self.touch(slot);
        self.pool.at(slot, cpu.min(self.cpus - 1))
    }

    fn update(
        &mut self,
        memory: &mut Memory,
        cpu: u32,
        key: &[u8],
        value: &[u8],
        flags: u64,
    ) -> Result<(), Errno> {
        let (slot, new) = self.slot_for(memory, key, flags)?;
        // A new entry is zero on the other CPUs (pcpu_init_value).
        (0..self.cpus).filter(|_| new).for_each(|other| self.pool.set(memory, slot, other, &[]));
        self.pool.set(memory, slot, cpu.min(self.cpus - 1), value);
        self.touch(slot);
        Ok(())
    }

    fn update_all(
        &mut self,
        memory: &mut Memory,
        key: &[u8],
        values: &[u8],
        flags: u64,
    ) -> Result<(), Errno> {
        let (slot, _) = self.slot_for(memory, key, flags)?;
        let stride = self.spec.value_size.next_multiple_of(8) as usize;
        for cpu in 0..self.cpus {
            self.pool.set(memory, slot, cpu, values.get(cpu as usize * stride..).unwrap_or(&[]));
        }
        self.touch(slot);
        Ok(())
    }

    fn delete(&mut self, _memory: &mut Memory, key: &[u8]) -> Result<(), Errno> {
        let slot = *self.index.get(key).ok_or(Errno::NOENT)?;
        self.drop_slot(slot);
        Ok(())
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Option<Vec<u8>>, Errno> {
        let next = match key.and_then(|key| self.index.get(key)) {
            Some(slot) => self.order.after(*slot),
            None => self.order.first(),
        };
        let key = next.and_then(|slot| self.keys.get(slot as usize)?.as_deref());
        Ok(key.map(<[u8]>::to_vec))
    }
}
