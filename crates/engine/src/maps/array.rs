//! Arrays: every index from 0 to `max_entries` has a value, always (kernel/bpf/arraymap.c). Per-CPU arrays have one on each CPU.

use rustix::io::Errno;
use skep_bpf::object::MapSpec;

use super::{Map, check_flags, index_below, index_of, is_percpu, update_flag, value_access};
use crate::vm::memory::{Addr, MapId, Memory, ObjectKind, OutOfMemory};

/// An array, a value on each CPU or one for all.
pub struct Array {
    spec: MapSpec,
    cpus: u32,
    base: Addr,
}

impl Array {
    pub(super) fn new(
        id: MapId,
        spec: &MapSpec,
        memory: &mut Memory,
        cpus: u32,
    ) -> Result<Array, OutOfMemory> {
        let bytes = u64::from(spec.max_entries) * u64::from(spec.value_size) * u64::from(cpus);
        let count = spec.max_entries.checked_mul(cpus).ok_or(OutOfMemory { bytes })?;
        let access = value_access(spec.flags);
        let base = memory.alloc_array(ObjectKind::MapValue(id), count, spec.value_size, access)?;
        Ok(Array { spec: spec.clone(), cpus, base })
    }

    fn at(&self, cpu: u32, index: u32) -> Option<Addr> {
        let number = cpu.min(self.cpus - 1) * self.spec.max_entries + index;
        (index < self.spec.max_entries)
            .then(|| self.base.plus(number * self.spec.value_size.next_multiple_of(8)))
    }

    fn set(&self, memory: &mut Memory, cpu: u32, index: u32, value: &[u8]) -> Result<(), Errno> {
        let at = self.at(cpu, index).ok_or(Errno::TOOBIG)?;
        let place = memory.host_mut(at, self.spec.value_size).ok_or(Errno::FAULT)?;
        place.copy_from_slice(value.get(..place.len()).ok_or(Errno::INVAL)?);
        Ok(())
    }

    fn checked(&self, key: &[u8], flags: u64) -> Result<u32, Errno> {
        check_flags(flags)?;
        let index = index_below(key, self.spec.max_entries)?;
        if flags & update_flag::NOEXIST != 0 { Err(Errno::EXIST) } else { Ok(index) }
    }
}

impl Map for Array {
    fn spec(&self) -> &MapSpec {
        &self.spec
    }

    fn cpus(&self) -> u32 {
        self.cpus
    }

    fn find(&self, cpu: u32, key: &[u8]) -> Option<Addr> {
        self.at(cpu, index_of(key)?)
    }

    fn update(
        &mut self,
        memory: &mut Memory,
        cpu: u32,
        key: &[u8],
        value: &[u8],
        flags: u64,
    ) -> Result<(), Errno> {
        let index = self.checked(key, flags)?;
        self.set(memory, cpu, index, value)
    }

    fn update_all(
        &mut self,
        memory: &mut Memory,
        key: &[u8],
        values: &[u8],
        flags: u64,
    ) -> Result<(), Errno> {
        let index = self.checked(key, flags)?;
        let stride = self.spec.value_size.next_multiple_of(8) as usize;
        let step = if is_percpu(self.spec.map_type) { stride } else { values.len().max(1) };
        (0..)
            .zip(values.chunks(step))
            .take(self.cpus as usize)
            .try_for_each(|(cpu, value)| self.set(memory, cpu, index, value))
    }

    fn delete(&mut self, _memory: &mut Memory, _key: &[u8]) -> Result<(), Errno> {
        Err(Errno::INVAL)
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Option<Vec<u8>>, Errno> {
        Ok(super::next_index(key, self.spec.max_entries))
    }

    fn values(&self) -> Option<Addr> {
        (!is_percpu(self.spec.map_type)).then_some(self.base)
    }
}
