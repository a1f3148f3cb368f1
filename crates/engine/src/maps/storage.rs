//! Storage that belongs to something: a task, an inode, a socket, a cgroup (kernel/bpf/bpf_local_storage.c,
//! kernel/bpf/local_storage.c). A key is the owner's number (process id, socket cookie, inode or cgroup id), cut to the map's key size.

use std::collections::BTreeMap;

use rustix::io::Errno;
use skep_bpf::object::MapSpec;

use super::pool::Pool;
use super::{Map, check_existing, check_flags, key_behind, value_access};
use crate::vm::memory::{Addr, MapId, Memory, ObjectKind};

/// Values by owner.
#[derive(Debug)]
pub struct Storage {
    spec: MapSpec,
    cpus: u32,
    pool: Pool,
    slots: BTreeMap<Vec<u8>, u32>,
}

impl Storage {
    pub(super) fn new(id: MapId, spec: &MapSpec, cpus: u32) -> Storage {
        let access = value_access(spec.flags);
        let pool = Pool::new(ObjectKind::MapValue(id), access, spec.value_size, cpus, u32::MAX);
        Storage { spec: spec.clone(), cpus, pool, slots: BTreeMap::new() }
    }

    fn key_of(&self, owner: u64) -> Vec<u8> {
        let mut key = owner.to_le_bytes().to_vec();
        key.resize(self.spec.key_size as usize, 0);
        if cfg!(target_endian = "big") {
            key.reverse();
        }
        key
    }

    /// The value of an owner; with `create`, one is made where there is none, from those bytes and zeros.
    pub fn of_owner(
        &mut self,
        memory: &mut Memory,
        cpu: u32,
        owner: u64,
        create: Option<&[u8]>,
    ) -> Option<Addr> {
        let key = self.key_of(owner);
        if !self.slots.contains_key(&key) {
            self.insert(memory, &key, create?).ok()?;
        }
        self.find(cpu, &key)
    }

    /// Ends the value of an owner; ENOENT when it has none.
    pub fn delete_owner(&mut self, owner: u64) -> Result<(), Errno> {
        let key = self.key_of(owner);
        self.remove(&key)
    }

    fn insert(&mut self, memory: &mut Memory, key: &[u8], value: &[u8]) -> Result<(), Errno> {
        let slot = match self.slots.get(key) {
            Some(slot) => *slot,
            None => self.pool.take(memory).map_err(|_| Errno::NOMEM)?,
        };
        (0..self.cpus).for_each(|cpu| self.pool.set(memory, slot, cpu, value));
        self.slots.insert(key.to_vec(), slot);
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), Errno> {
        let slot = self.slots.remove(key).ok_or(Errno::NOENT)?;
        self.pool.give(slot);
        Ok(())
    }
}

impl Map for Storage {
    fn spec(&self) -> &MapSpec {
        &self.spec
    }

    fn cpus(&self) -> u32 {
        self.cpus
    }

    fn find(&self, cpu: u32, key: &[u8]) -> Option<Addr> {
        self.pool.at(*self.slots.get(key)?, cpu.min(self.cpus - 1))
    }

    fn update(
        &mut self,
        memory: &mut Memory,
        _cpu: u32,
        key: &[u8],
        value: &[u8],
        flags: u64,
    ) -> Result<(), Errno> {
        check_flags(flags)?;
        check_existing(self.slots.contains_key(key), flags)?;
        self.insert(memory, key, value)
    }

    fn update_all(
        &mut self,
        memory: &mut Memory,
        key: &[u8],
        values: &[u8],
        flags: u64,
    ) -> Result<(), Errno> {
        check_flags(flags)?;
        check_existing(self.slots.contains_key(key), flags)?;
        self.insert(memory, key, &[])?;
        let slot = *self.slots.get(key).ok_or(Errno::NOENT)?;
        let stride = self.spec.value_size.next_multiple_of(8) as usize;
        for cpu in 0..self.cpus {
            self.pool.set(memory, slot, cpu, values.get(cpu as usize * stride..).unwrap_or(&[]));
        }
        Ok(())
    }

    fn delete(&mut self, _memory: &mut Memory, key: &[u8]) -> Result<(), Errno> {
        self.remove(key)
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Option<Vec<u8>>, Errno> {
        Ok(key_behind(&self.slots, key))
    }
}
