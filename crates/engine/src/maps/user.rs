//! User space's side of maps: what bpf(2) does with them, checks of size and permission included.

use rustix::io::Errno;
use skep_bpf::backend::Entries;
use skep_bpf::kinds::{MapType, map_flags};

use super::inner::Inner;
use super::{ENOTSUPP, Map, Maps, OuterMap, is_percpu, update_flag};
use crate::vm::memory::{MapId, Memory};

impl Maps {
    /// No more writing by user space (`BPF_MAP_FREEZE`).
    pub fn freeze(&mut self, id: MapId) {
        if let Some(entry) = self.maps.get_mut(id.0 as usize) {
            entry.frozen = true;
        }
    }

    fn readable(&self, id: MapId) -> Result<&dyn Map, Errno> {
        let map = self.get(id).ok_or(Errno::BADF)?;
        if map.spec().flags & map_flags::WRONLY != 0 { Err(Errno::PERM) } else { Ok(map) }
    }

    fn writable(&mut self, id: MapId) -> Result<&mut (dyn Map + 'static), Errno> {
        let entry = self.maps.get_mut(id.0 as usize).ok_or(Errno::BADF)?;
        let allowed = !entry.frozen && entry.map.spec().flags & map_flags::RDONLY == 0;
        if allowed { Ok(&mut *entry.map) } else { Err(Errno::PERM) }
    }

    /// The value of a key (`BPF_MAP_LOOKUP_ELEM`): for per-CPU kinds one for each CPU, rounded up to 8 bytes. Queues and stacks have no key;
    /// a Bloom filter's is the value that is asked for.
    pub fn user_lookup(&self, id: MapId, memory: &Memory, key: &[u8]) -> Result<Vec<u8>, Errno> {
        let map = self.readable(id)?;
        match map.spec().map_type {
            MapType::Queue | MapType::Stack | MapType::BloomFilter => map.peek(key),
            _ => {
                check_key(map, key)?;
                map.read(memory, key)
            }
        }
    }

    /// Sets a value (`BPF_MAP_UPDATE_ELEM`).
    pub fn user_update(
        &mut self,
        id: MapId,
        memory: &mut Memory,
        key: &[u8],
        value: &[u8],
        flags: u64,
    ) -> Result<(), Errno> {
        let map = self.writable(id)?;
        // No value here has a lock (map_update_elem asks that before all else).
        if value.len() != user_value_size(map) || flags & update_flag::LOCK != 0 {
            return Err(Errno::INVAL);
        }
        match map.spec().map_type {
            MapType::Queue | MapType::Stack | MapType::BloomFilter => map.push(value, flags),
            MapType::ArrayOfMaps | MapType::HashOfMaps => self.put_inner(id, key, value, flags),
            _ => {
                check_key(map, key)?;
                map.update_all(memory, key, value, flags)
            }
        }
    }

    /// Puts a map into a map; the value is its number.
    fn put_inner(&mut self, outer: MapId, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        let id = super::index_of(value).map(MapId);
        let inner = id.and_then(|id| {
            let spec = self.get(id)?.spec().clone();
            Some(Inner { id, handle: self.handle(id)?, spec })
        });
        let map = self.kind::<OuterMap>(outer).ok_or(Errno::INVAL)?;
        check_key(map, key)?;
        map.put(key, inner, flags)
    }

    /// Removes a key (`BPF_MAP_DELETE_ELEM`).
    pub fn user_delete(&mut self, id: MapId, memory: &mut Memory, key: &[u8]) -> Result<(), Errno> {
        let map = self.writable(id)?;
        check_key(map, key)?;
        map.delete(memory, key)
    }

    /// Takes a value out (`BPF_MAP_LOOKUP_AND_DELETE_ELEM`): of a queue or stack the next one, of a hash that of `key`.
    pub fn user_take(&mut self, id: MapId, memory: &mut Memory, key: &[u8]) -> Result<Vec<u8>, Errno> {
        self.readable(id)?;
        let map = self.writable(id)?;
        match map.spec().map_type {
            MapType::Queue | MapType::Stack => map.pop(),
            MapType::Hash | MapType::LruHash | MapType::PercpuHash | MapType::LruPercpuHash => {
                check_key(map, key)?;
                let value = map.read(memory, key)?;
                map.delete(memory, key)?;
                Ok(value)
            }
            _ => Err(ENOTSUPP),
        }
    }

    /// The key behind `key` (`BPF_MAP_GET_NEXT_KEY`).
    pub fn user_next_key(&self, id: MapId, key: Option<&[u8]>) -> Result<Vec<u8>, Errno> {
        let map = self.readable(id)?;
        key.map_or(Ok(()), |key| check_key(map, key))?;
        map.next_key(key)?.ok_or(Errno::NOENT)
    }

    /// All keys, in the map's order.
    pub fn keys(&self, id: MapId) -> Result<Vec<Vec<u8>>, Errno> {
        let map = self.readable(id)?;
        let mut keys = Vec::new();
        let mut next = map.next_key(None)?;
        while let Some(key) = next {
            next = map.next_key(Some(&key))?;
            keys.push(key);
        }
        Ok(keys)
    }

    /// All entries, in the map's order; of kinds without keys the values alone.
    pub fn entries(&self, id: MapId, memory: &Memory) -> Result<Entries, Errno> {
        let map = self.readable(id)?;
        let spec = map.spec();
        let (key_size, value_size) = (spec.key_size as usize, spec.value_size as usize);
        let stride = if is_percpu(spec.map_type) { value_size.next_multiple_of(8) } else { value_size };
        let mut entries = Entries::new(key_size, value_size, stride, map.cpus() as usize);
        if matches!(spec.map_type, MapType::Queue | MapType::Stack) {
            map.contents().iter().for_each(|value| entries.push(&[], value));
            return Ok(entries);
        }
        for key in self.keys(id)? {
            match map.read(memory, &key) {
                Ok(value) => entries.push(&key, &value),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(entries)
    }
}

fn check_key(map: &dyn Map, key: &[u8]) -> Result<(), Errno> {
    if key.len() == map.spec().key_size as usize { Ok(()) } else { Err(Errno::INVAL) }
}

/// Bytes of a value as user space writes it (bpf_map_value_size).
fn user_value_size(map: &dyn Map) -> usize {
    let spec = map.spec();
    let size = spec.value_size as usize;
    match spec.map_type {
        MapType::ProgArray | MapType::PerfEventArray | MapType::CgroupArray => 4,
        MapType::ArrayOfMaps | MapType::HashOfMaps => 4,
        _ if is_percpu(spec.map_type) => size.next_multiple_of(8) * map.cpus() as usize,
        _ => size,
    }
}
