//! The machine's maps as user space sees them, by their numbers in the object.

use super::guest::Guest;
use skep_bpf::backend::{BackendError, Entries, MapAccess};
use skep_bpf::kinds::MapType;
use skep_engine::maps::{Map, Ringbuf};
use std::ops::ControlFlow;

/// There is no such entry.
const ENOENT: i32 = 2;
/// Entries that are read of one map at most.
const MOST: usize = 1 << 24;

impl Guest {
    fn known(&self, map: usize) -> Result<&dyn Map, BackendError> {
        let id = self.map(map);
        let found = id.and_then(|id| self.vm.state.maps.get(id));
        found.ok_or_else(|| BackendError::Map { map, why: "there is none".to_owned() })
    }

    fn keys(&self, map: usize) -> Result<Vec<Vec<u8>>, BackendError> {
        let known = self.known(map)?;
        let mut keys: Vec<Vec<u8>> = Vec::new();
        loop {
            let next = known.next_key(keys.last().map(Vec::as_slice));
            match next.map_err(|e| BackendError::Map { map, why: e.to_string() })? {
                None => return Ok(keys),
                Some(_) if keys.len() >= MOST => {
                    return Err(BackendError::Map { map, why: format!("it has more than {MOST} entries") });
                }
                Some(key) => keys.push(key),
            }
        }
    }

    fn empty(&self, map: usize) -> Result<Entries, BackendError> {
        let known = self.known(map)?;
        let (spec, cpus) = (known.spec(), known.cpus() as usize);
        let (key, value) = (spec.key_size as usize, spec.value_size as usize);
        let stride = if cpus > 1 || is_percpu(spec.map_type) { value.next_multiple_of(8) } else { value };
        Ok(Entries::new(key, value, stride, cpus))
    }

    fn values(&self, map: usize, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        match self.known(map)?.read(&self.vm.state.memory, key) {
            Ok(values) => Ok(Some(values)),
            Err(e) if e.raw_os_error() == ENOENT => Ok(None),
            Err(e) => Err(BackendError::Map { map, why: e.to_string() }),
        }
    }

    /// All entries of a map.
    pub(super) fn entries(&self, map: usize) -> Result<Entries, BackendError> {
        let mut entries = self.empty(map)?;
        for key in self.keys(map)? {
            if let Some(values) = self.values(map, &key)? {
                entries.push(&key, &values);
            }
        }
        Ok(entries)
    }
}

impl MapAccess for Guest {
    fn map_entries(&mut self, map: usize) -> Result<Entries, BackendError> {
        self.entries(map)
    }

    fn map_lookup(&mut self, map: usize, key: &[u8]) -> Result<Entries, BackendError> {
        let mut entries = self.empty(map)?;
        if let Some(values) = self.values(map, key)? {
            entries.push(key, &values);
        }
        Ok(entries)
    }

    fn map_update(&mut self, map: usize, key: &[u8], value: &[u8]) -> Result<(), BackendError> {
        let all = {
            let known = self.known(map)?;
            match is_percpu(known.spec().map_type) {
                false => value.to_vec(),
                true => {
                    let mut one = value.to_vec();
                    one.resize(value.len().next_multiple_of(8), 0);
                    one.repeat(known.cpus().max(1) as usize)
                }
            }
        };
        let Some(id) = self.map(map) else { return Ok(()) };
        let state = &mut self.vm.state;
        let Some(known) = state.maps.get_mut(id) else { return Ok(()) };
        let set = known.update_all(&mut state.memory, key, &all, 0);
        set.map_err(|e| BackendError::Map { map, why: e.to_string() })
    }

    fn map_delete(&mut self, map: usize, key: &[u8]) -> Result<bool, BackendError> {
        if self.values(map, key)?.is_none() {
            return Ok(false);
        }
        let spec = self.known(map)?.spec();
        if matches!(spec.map_type, MapType::Array | MapType::PercpuArray) {
            let zeros = vec![0; spec.value_size as usize];
            return self.map_update(map, key, &zeros).map(|()| true);
        }
        let Some(id) = self.map(map) else { return Ok(false) };
        let state = &mut self.vm.state;
        let Some(known) = state.maps.get_mut(id) else { return Ok(false) };
        let removed = known.delete(&mut state.memory, key);
        removed.map(|()| true).map_err(|e| BackendError::Map { map, why: e.to_string() })
    }

    fn map_clear(&mut self, map: usize) -> Result<(), BackendError> {
        self.keys(map)?.iter().try_for_each(|key| self.map_delete(map, key).map(|_| ()))
    }

    fn map_zero(&mut self, map: usize) -> Result<(), BackendError> {
        let zeros = vec![0; self.known(map)?.spec().value_size as usize];
        self.keys(map)?.iter().try_for_each(|key| self.map_update(map, key, &zeros))
    }
}

impl Guest {
    /// Takes the records that programs have sent.
    pub(super) fn sent(&mut self) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        let ring = self.object.session.events.and_then(|map| self.map(map));
        if let Some(ring) = ring.and_then(|id| self.vm.state.maps.kind::<Ringbuf>(id)) {
            ring.consume(&mut |record| {
                records.push(record.to_vec());
                ControlFlow::Continue(())
            });
        }
        records
    }
}

fn is_percpu(kind: MapType) -> bool {
    matches!(kind, MapType::PercpuArray | MapType::PercpuHash | MapType::LruPercpuHash)
}
