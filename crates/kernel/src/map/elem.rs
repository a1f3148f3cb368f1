//! Bare element calls: a key and a value enter as the kernel takes them, its answer or its errno leaves. Each is one bpf(2); nothing is
//! spread, merged or tried again, so that what a kind of map does can be compared with what it should.

use std::os::fd::AsFd;

use super::{Map, Surroundings};
use crate::error::Error;
use skep_bpf::object::MapSpec;

impl Map {
    /// Creates a map of maps; those that are put in must look like `inner`.
    pub fn create_holding(spec: &MapSpec, inner: &Map) -> Result<Map, Error> {
        Map::create_with(spec, &Surroundings { btf: None, inner: Some(inner.as_fd()) })
    }

    /// `BPF_MAP_LOOKUP_ELEM`: the value, for per-CPU kinds one for each possible CPU. A Bloom filter is asked for `value`; other kinds overwrite it.
    pub fn elem_lookup(&self, key: &[u8], value: &[u8]) -> Result<Vec<u8>, Error> {
        let mut found = value.to_vec();
        found.resize(self.raw.value_bytes(), 0);
        self.raw.lookup(key, &mut found).map_err(|e| self.failed("read", e))?;
        Ok(found)
    }

    /// `BPF_MAP_UPDATE_ELEM` with flags; for per-CPU kinds `value` has one value for each possible CPU.
    pub fn elem_update(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Error> {
        self.raw.update(key, &mut value.to_vec(), flags).map_err(|e| self.failed("update", e))
    }

    /// `BPF_MAP_DELETE_ELEM`.
    pub fn elem_delete(&self, key: &[u8]) -> Result<(), Error> {
        self.raw.delete(key).map_err(|e| self.failed("delete from", e))
    }

    /// `BPF_MAP_LOOKUP_AND_DELETE_ELEM` (hashes since 5.14): the value that was taken out.
    pub fn elem_take(&self, key: &[u8]) -> Result<Vec<u8>, Error> {
        let mut found = vec![0; self.raw.value_bytes()];
        self.raw.take(key, &mut found).map_err(|e| self.failed("take from", e))?;
        Ok(found)
    }

    /// `BPF_MAP_GET_NEXT_KEY`: the key behind `key`; ENOENT at the end.
    pub fn elem_next_key(&self, key: Option<&[u8]>) -> Result<Vec<u8>, Error> {
        let mut next = vec![0; self.raw.key_size()];
        self.raw.next_key(key, &mut next).map_err(|e| self.failed("walk", e))?;
        Ok(next)
    }
}
