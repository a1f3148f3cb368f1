//! Maps: a [`MapSpec`] enters, a [`Map`] leaves. Semantics, flags and errors are the kernel's. Values lie in the machine's memory and
//! stay where they are for as long as programs may hold them.

mod array;
mod bloom;
mod chain;
mod create;
mod hash;
mod inner;
mod jhash;
mod lpm;
mod perf;
mod pool;
mod progs;
mod queue;
mod ringbuf;
mod stacks;
mod storage;
mod targets;
#[cfg(test)]
mod tests;
mod user;

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::Bound;

pub use rustix::io::Errno;
use skep_bpf::kinds::{MapType, map_flags};
use skep_bpf::object::MapSpec;

use crate::vm::VmError;
use crate::vm::memory::{Access, Addr, MapId, Memory, ObjectKind};
use crate::vm::program::ProgId;

pub use array::Array;
pub use hash::Hash;
pub use inner::OuterMap;
pub use perf::{PerfArray, Sample};
pub use ringbuf::{Ringbuf, UserRingbuf};
pub use stacks::StackMap;
pub use storage::Storage;
pub use targets::Targets;

/// What the kernel answers where a kind has no such operation. It has no name in errno.h.
pub const ENOTSUPP: Errno = Errno::from_raw_os_error(524);

/// Flags of updates (`BPF_*`, include/uapi/linux/bpf.h).
pub mod update_flag {
    /// Add or replace.
    pub const ANY: u64 = 0;
    /// Only add.
    pub const NOEXIST: u64 = 1;
    /// Only replace.
    pub const EXIST: u64 = 2;
    /// Take the value's spin lock.
    pub const LOCK: u64 = 4;
}

/// One map. What a kind does not offer fails as in the kernel.
pub trait Map: Any + Send {
    /// What it was made from.
    fn spec(&self) -> &MapSpec;

    /// Values of each entry: the machine's CPUs for per-CPU kinds, else 1.
    fn cpus(&self) -> u32 {
        1
    }

    /// Where the value of a key is; `cpu` counts for per-CPU kinds. Leaves no trace.
    fn find(&self, _cpu: u32, _key: &[u8]) -> Option<Addr> {
        None
    }

    /// The answer to an operation that the kind does not have.
    fn refuses(&self) -> Errno {
        Errno::INVAL
    }

    /// The same as a program asks it: the key counts as used.
    fn lookup(&mut self, cpu: u32, key: &[u8]) -> Option<Addr> {
        self.find(cpu, key)
    }

    /// Sets a value, on one CPU for per-CPU kinds. Kinds without keys put it in; into maps of maps only user space puts something
    /// (`Maps::user_update`).
    fn update(
        &mut self,
        _memory: &mut Memory,
        _cpu: u32,
        _key: &[u8],
        value: &[u8],
        flags: u64,
    ) -> Result<(), Errno> {
        self.push(value, flags)
    }

    /// Sets a value as user space does: on all CPUs for per-CPU kinds, one value behind the other, each rounded up to 8 bytes.
    fn update_all(
        &mut self,
        memory: &mut Memory,
        key: &[u8],
        values: &[u8],
        flags: u64,
    ) -> Result<(), Errno> {
        self.update(memory, 0, key, values, flags)
    }

    /// Removes a key.
    fn delete(&mut self, _memory: &mut Memory, _key: &[u8]) -> Result<(), Errno> {
        Err(self.refuses())
    }

    /// The key behind `key`, the first one without or when `key` is not there; `None` at the end.
    fn next_key(&self, _key: Option<&[u8]>) -> Result<Option<Vec<u8>>, Errno> {
        Err(self.refuses())
    }

    /// What user space reads: the values of a key, one for each CPU for per-CPU kinds, each rounded up to 8 bytes there.
    fn read(&self, memory: &Memory, key: &[u8]) -> Result<Vec<u8>, Errno> {
        let size = self.spec().value_size;
        let mut all = Vec::new();
        for cpu in 0..self.cpus() {
            let at = self.find(cpu, key).ok_or(Errno::NOENT)?;
            all.extend_from_slice(memory.host(at, size).ok_or(Errno::FAULT)?);
            if is_percpu(self.spec().map_type) {
                all.resize(all.len().next_multiple_of(8), 0);
            }
        }
        Ok(all)
    }

    /// Puts a value in, for kinds without keys.
    fn push(&mut self, _value: &[u8], _flags: u64) -> Result<(), Errno> {
        Err(self.refuses())
    }

    /// The value that [`Map::pop`] would take; of a filter, `value` if it may be there.
    fn peek(&self, _value: &[u8]) -> Result<Vec<u8>, Errno> {
        Err(self.refuses())
    }

    /// Takes a value out, for kinds without keys.
    fn pop(&mut self) -> Result<Vec<u8>, Errno> {
        Err(self.refuses())
    }

    /// The values of kinds without keys, in the order in which they would be taken.
    fn contents(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// Where the first value is, for kinds whose values an instruction can address (`map[…][0]+N`).
    fn values(&self) -> Option<Addr> {
        None
    }

    /// The program at an index, for arrays of programs.
    fn program(&self, _index: u32) -> Option<ProgId> {
        None
    }
}

/// What a program may do with the values of a map with these flags.
fn value_access(flags: u32) -> Access {
    match (flags & map_flags::RDONLY_PROG != 0, flags & map_flags::WRONLY_PROG != 0) {
        (true, _) => Access::Read,
        (false, true) => Access::Write,
        (false, false) => Access::ReadWrite,
    }
}

/// Whether entries have a value on each CPU.
pub fn is_percpu(map_type: MapType) -> bool {
    matches!(
        map_type,
        MapType::PercpuArray | MapType::PercpuHash | MapType::LruPercpuHash | MapType::PercpuCgroupStorage
    )
}

/// The number in a key or value of four bytes.
fn index_of(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

/// The index in a key, which must be one of `entries`.
fn index_below(key: &[u8], entries: u32) -> Result<u32, Errno> {
    index_of(key).filter(|index| *index < entries).ok_or(Errno::TOOBIG)
}

/// The index behind that of `key` (array_map_get_next_key).
fn next_index(key: Option<&[u8]>, entries: u32) -> Option<Vec<u8>> {
    let next = match key.and_then(index_of).filter(|index| *index < entries) {
        Some(index) => index.checked_add(1)?,
        None => 0,
    };
    (next < entries).then(|| next.to_ne_bytes().to_vec())
}

/// The key behind `key` in a table that is kept in the order of its keys; the first one without, or when it is not there.
fn key_behind<V>(table: &BTreeMap<Vec<u8>, V>, key: Option<&[u8]>) -> Option<Vec<u8>> {
    let from = match key.filter(|key| table.contains_key(*key)) {
        Some(key) => Bound::Excluded(key),
        None => Bound::Unbounded,
    };
    table.range::<[u8], _>((from, Bound::Unbounded)).next().map(|(key, _)| key.clone())
}

/// The index of an array of files (bpf_fd_array_map_update_elem).
fn fd_index(key: &[u8], entries: u32, flags: u64) -> Result<u32, Errno> {
    if flags != update_flag::ANY {
        return Err(Errno::INVAL);
    }
    index_below(key, entries)
}

/// Flags of an update of a map whose values have no spin lock.
fn check_flags(flags: u64) -> Result<(), Errno> {
    if flags > update_flag::EXIST { Err(Errno::INVAL) } else { Ok(()) }
}

/// What the flags of an update say about whether the key may be there.
fn check_existing(exists: bool, flags: u64) -> Result<(), Errno> {
    match (exists, flags) {
        (true, update_flag::NOEXIST) => Err(Errno::EXIST),
        (false, update_flag::EXIST) => Err(Errno::NOENT),
        _ => Ok(()),
    }
}

struct Entry {
    map: Box<dyn Map>,
    handle: Addr,
    frozen: bool,
}

/// The maps of a machine.
#[derive(Default)]
pub struct Maps {
    maps: Vec<Entry>,
}

impl Maps {
    /// Makes a map, fills it with the spec's first contents and freezes it where the spec says so.
    pub fn create(&mut self, spec: &MapSpec, memory: &mut Memory, cpus: u32) -> Result<MapId, VmError> {
        let id = MapId(self.maps.len() as u32);
        let map = create::create(id, spec, memory, cpus)?;
        let id = self.add(map, memory)?;
        memory.name_map(id, &spec.name);
        if !spec.initial.is_empty() {
            let set = self.user_update(id, memory, &0u32.to_ne_bytes(), &spec.initial, 0);
            set.map_err(|errno| VmError::Map {
                name: spec.name.clone(),
                what: format!(
                    "{} bytes of contents do not fit its value of {}: {errno}",
                    spec.initial.len(),
                    spec.value_size
                ),
            })?;
        }
        if spec.frozen {
            self.freeze(id);
        }
        Ok(id)
    }

    /// Adds a map and gives it the address that programs know it by.
    pub fn add(&mut self, map: Box<dyn Map>, memory: &mut Memory) -> Result<MapId, VmError> {
        let id = MapId(self.maps.len() as u32);
        let handle = memory.alloc(ObjectKind::Map(id), 8, Access::None)?;
        self.maps.push(Entry { map, handle, frozen: false });
        Ok(id)
    }

    /// The address that programs know a map by.
    pub fn handle(&self, id: MapId) -> Option<Addr> {
        self.maps.get(id.0 as usize).map(|entry| entry.handle)
    }

    /// The map that a program means by an address.
    pub fn by_handle(&self, memory: &Memory, at: u64) -> Option<MapId> {
        let object = memory.find(at).filter(|object| object.base.get() == at)?;
        let ObjectKind::Map(id) = object.kind else { return None };
        Some(id)
    }

    /// A map.
    pub fn get(&self, id: MapId) -> Option<&dyn Map> {
        self.maps.get(id.0 as usize).map(|entry| &*entry.map)
    }

    /// A map, to change.
    pub fn get_mut(&mut self, id: MapId) -> Option<&mut (dyn Map + 'static)> {
        self.maps.get_mut(id.0 as usize).map(|entry| &mut *entry.map)
    }

    /// A map as the kind that it is; `None` when it is another.
    pub fn kind<T: Map>(&mut self, id: MapId) -> Option<&mut T> {
        let map: &mut dyn Any = self.get_mut(id)?;
        map.downcast_mut()
    }

    /// The numbers of all maps.
    pub fn ids(&self) -> impl Iterator<Item = MapId> + use<> {
        (0..self.maps.len() as u32).map(MapId)
    }
}
