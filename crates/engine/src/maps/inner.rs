//! Maps of maps (kernel/bpf/map_in_map.c): arrays and hashes whose values are maps. A program gets the address that it knows the
//! inner map by; user space reads and writes its number.

use std::collections::BTreeMap;

use rustix::io::Errno;
use skep_bpf::kinds::MapType;
use skep_bpf::object::MapSpec;

use super::{Map, check_existing, check_flags, fd_index, key_behind, next_index};
use crate::vm::memory::{Addr, MapId, Memory};

/// A map of maps.
#[derive(Debug)]
pub struct OuterMap {
    spec: MapSpec,
    inner: BTreeMap<Vec<u8>, (MapId, Addr)>,
    /// What inner maps look like; where the spec does not say, the first one that is put in does.
    shape: Option<Shape>,
}

/// A map that is to be put in.
pub(super) struct Inner {
    pub(super) id: MapId,
    pub(super) handle: Addr,
    pub(super) spec: MapSpec,
}

/// What all inner maps must have in common (bpf_map_meta_equal; arrays and others may differ in their entries where the kernel
/// can cope with it, see [`Shape::of`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Shape {
    map_type: MapType,
    key_size: u32,
    value_size: u32,
    flags: u32,
    /// For arrays: programs index them with a bound that was checked against the first map's.
    entries: Option<u32>,
}

/// `BPF_F_INNER_MAP`: inner arrays of any length.
const ANY_LENGTH: u32 = 1 << 12;

impl Shape {
    fn of(spec: &MapSpec) -> Shape {
        let fixed = spec.map_type == MapType::Array && spec.flags & ANY_LENGTH == 0;
        Shape {
            map_type: spec.map_type,
            key_size: spec.key_size,
            value_size: spec.value_size,
            flags: spec.flags,
            entries: fixed.then_some(spec.max_entries),
        }
    }
}

impl OuterMap {
    pub(super) fn new(spec: &MapSpec) -> OuterMap {
        let shape = spec.details.inner.as_ref().map(|inner| Shape::of(&inner.spec("")));
        OuterMap { spec: spec.clone(), inner: BTreeMap::new(), shape }
    }

    fn is_array(&self) -> bool {
        self.spec.map_type == MapType::ArrayOfMaps
    }

    /// Puts a map in; `None` is one that there is not. An array looks at the index first, a hash table at the map
    /// (bpf_fd_array_map_update_elem, bpf_fd_htab_map_update_elem).
    pub(super) fn put(&mut self, key: &[u8], inner: Option<Inner>, flags: u64) -> Result<(), Errno> {
        if self.is_array() {
            fd_index(key, self.spec.max_entries, flags)?;
        }
        let inner = inner.ok_or(Errno::BADF)?;
        let nested = matches!(inner.spec.map_type, MapType::ArrayOfMaps | MapType::HashOfMaps);
        if nested || *self.shape.get_or_insert_with(|| Shape::of(&inner.spec)) != Shape::of(&inner.spec) {
            return Err(Errno::INVAL);
        }
        if !self.is_array() {
            check_flags(flags)?;
            check_existing(self.inner.contains_key(key), flags)?;
            if !self.inner.contains_key(key) && self.inner.len() >= self.spec.max_entries as usize {
                return Err(Errno::TOOBIG);
            }
        }
        self.inner.insert(key.to_vec(), (inner.id, inner.handle));
        Ok(())
    }
}

impl Map for OuterMap {
    fn spec(&self) -> &MapSpec {
        &self.spec
    }

    fn find(&self, _cpu: u32, key: &[u8]) -> Option<Addr> {
        self.inner.get(key).map(|(_, handle)| *handle)
    }

    fn read(&self, _memory: &Memory, key: &[u8]) -> Result<Vec<u8>, Errno> {
        let (MapId(number), _) = self.inner.get(key).ok_or(Errno::NOENT)?;
        Ok(number.to_ne_bytes().to_vec())
    }

    fn delete(&mut self, _memory: &mut Memory, key: &[u8]) -> Result<(), Errno> {
        if self.is_array() {
            fd_index(key, self.spec.max_entries, 0)?;
        }
        self.inner.remove(key).map(|_| ()).ok_or(Errno::NOENT)
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Option<Vec<u8>>, Errno> {
        if self.is_array() {
            return Ok(next_index(key, self.spec.max_entries));
        }
        Ok(key_behind(&self.inner, key))
    }
}
