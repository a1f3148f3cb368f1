//! Many entries at once: keys and values one behind the other enter, the map has them, or as many as is said. They are written in
//! their order: in batches where the kernel has them for this kind of map (5.6; tries 5.14), else one by one.

use rustix::io::Errno;

use super::{ENOTSUPP, Map, is_array};
use crate::error::Error;

/// Entries of one call. The kernel copies each key and value by itself, so more at once are no faster.
const ENTRIES: usize = 4096;

/// Why not all entries were changed.
#[derive(Debug)]
pub struct Unfinished {
    /// How many of the first were.
    pub done: usize,
    /// What happened at the next.
    pub error: Error,
}

impl Map {
    /// Sets the entries of `keys` to `values`; per-CPU kinds are not served.
    pub fn update_all(&self, keys: &[u8], values: &[u8]) -> Result<(), Unfinished> {
        self.change_all(keys, Some(values))
    }

    /// Removes the entries of `keys`; one that is not there is no error.
    pub fn delete_all(&self, keys: &[u8]) -> Result<(), Unfinished> {
        self.change_all(keys, None)
    }

    fn change_all(&self, keys: &[u8], values: Option<&[u8]>) -> Result<(), Unfinished> {
        let (key_size, value_size) = (self.raw.key_size().max(1), self.raw.value_bytes());
        let count = keys.len() / key_size;
        let verb = if values.is_some() { "update" } else { "delete from" };
        let stopped = |done, errno| Unfinished { done, error: self.failed(verb, errno) };
        let whole = keys.len() == count * key_size
            && values.is_none_or(|v| v.len() == count * value_size)
            && self.cpus == 1
            && (values.is_some() || !is_array(self.kind));
        if !whole {
            return Err(stopped(0, Errno::INVAL));
        }
        let (mut at, mut batches) = (0, count > 1);
        while at < count {
            let some = if batches { (count - at).min(ENTRIES) } else { 1 };
            let keys = &keys[at * key_size..(at + some) * key_size];
            let values = values.map(|v| &v[at * value_size..(at + some) * value_size]);
            let (done, result) = match (batches, values) {
                (true, values) => self.raw.change_batch(keys, values, some as u32),
                (false, Some(values)) => (0, self.raw.update(keys, &mut values.to_vec(), 0)),
                (false, None) => (0, self.raw.delete(keys)),
            };
            at += done as usize;
            match result {
                Ok(()) if batches => {}
                Ok(()) => at += 1,
                Err(Errno::NOENT) if values.is_none() => at += 1,
                Err(errno) if batches && done == 0 && is_unknown(errno) => batches = false,
                Err(errno) => return Err(stopped(at, errno)),
            }
        }
        Ok(())
    }
}

/// What a kernel answers that has no batches, or none for this kind of map.
fn is_unknown(errno: Errno) -> bool {
    errno == Errno::INVAL || errno.raw_os_error() == ENOTSUPP
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine;
    use crate::sys::{attr::cmd, fake};
    use skep_bpf::kinds::MapType;
    use skep_bpf::object::MapSpec;

    fn map(kind: MapType, entries: u32) -> Option<Map> {
        let mut spec = MapSpec::new("@t", kind, 8, 4, entries);
        spec.flags = if kind == MapType::LpmTrie { 1 } else { 0 };
        machine::missing_capabilities().is_empty().then(|| Map::create(&spec).unwrap())
    }

    fn keys(count: u32) -> Vec<u8> {
        // Of a trie: a length of 32 bits, then those.
        (0..count).flat_map(|n| [32u32.to_ne_bytes(), n.to_be_bytes()].concat()).collect()
    }

    fn values(count: u32) -> Vec<u8> {
        (0..count).flat_map(u32::to_ne_bytes).collect()
    }

    #[test]
    fn with_and_without_batches() {
        for kind in [MapType::Hash, MapType::LpmTrie] {
            for errno in [None, Some(Errno::INVAL), Some(Errno::from_raw_os_error(ENOTSUPP))] {
                let Some(map) = map(kind, 10_000) else { return };
                let _fake = errno.map(|errno| {
                    fake::install(move |c| {
                        matches!(c, cmd::MAP_UPDATE_BATCH | cmd::MAP_DELETE_BATCH).then_some(Err(errno))
                    })
                });
                map.update_all(&keys(9_000), &values(9_000)).unwrap();
                let entries = map.entries().unwrap();
                assert_eq!(entries.len(), 9_000);
                for entry in entries.iter() {
                    assert_eq!(
                        entry.key[4..],
                        u32::from_ne_bytes(entry.value().try_into().unwrap()).to_be_bytes()
                    );
                }
                // Some of them are gone already.
                map.delete_all(&keys(10)).unwrap();
                map.delete_all(&keys(8_990)).unwrap();
                assert_eq!(map.entries().unwrap().len(), 10);
            }
        }
    }

    #[test]
    fn a_full_map_says_how_many_it_took() {
        let Some(map) = map(MapType::LpmTrie, 5_000) else { return };
        let stopped = map.update_all(&keys(9_000), &values(9_000)).unwrap_err();
        assert_eq!((stopped.done, stopped.error.errno()), (5_000, Some(libc::ENOSPC)));
        assert_eq!(map.entries().unwrap().len(), 5_000);
        assert_eq!(map.update_all(&[0; 7], &[]).unwrap_err().done, 0);
    }
}
