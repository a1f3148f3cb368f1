//! Maps against the kernel's documented behaviour: a file for each family, on one small rig.

mod keyed;
mod others;
mod trie;

use std::fmt::Debug;

use rustix::io::Errno;
use skep_bpf::kinds::MapType;
use skep_bpf::object::MapSpec;

use super::Maps;
use crate::vm::VmError;
use crate::vm::memory::{MapId, Memory};

/// A machine's memory and maps, with two CPUs.
struct Rig {
    memory: Memory,
    maps: Maps,
}

fn spec(map_type: MapType, key: u32, value: u32, entries: u32, flags: u32) -> MapSpec {
    MapSpec { flags, ..MapSpec::new("m", map_type, key, value, entries) }
}

fn n(value: u32) -> Vec<u8> {
    value.to_ne_bytes().to_vec()
}

impl Rig {
    fn new() -> Rig {
        Rig { memory: Memory::new().unwrap(), maps: Maps::default() }
    }

    fn with(map_type: MapType, key: u32, value: u32, entries: u32) -> (Rig, MapId) {
        let mut rig = Rig::new();
        let id = rig.make(&spec(map_type, key, value, entries, 0)).unwrap();
        (rig, id)
    }

    fn make(&mut self, spec: &MapSpec) -> Result<MapId, VmError> {
        self.maps.create(spec, &mut self.memory, 2)
    }

    /// User space sets a value.
    fn set(&mut self, id: MapId, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        self.maps.user_update(id, &mut self.memory, key, value, flags)
    }

    /// User space reads a value.
    fn get(&self, id: MapId, key: &[u8]) -> Result<Vec<u8>, Errno> {
        self.maps.user_lookup(id, &self.memory, key)
    }

    fn delete(&mut self, id: MapId, key: &[u8]) -> Result<(), Errno> {
        self.maps.user_delete(id, &mut self.memory, key)
    }

    /// A program on `cpu` sets a value.
    fn program_set(&mut self, id: MapId, cpu: u32, key: &[u8], value: &[u8]) -> Result<(), Errno> {
        self.maps.get_mut(id).unwrap().update(&mut self.memory, cpu, key, value, 0)
    }

    /// What a program on `cpu` finds.
    fn program_get(&mut self, id: MapId, cpu: u32, key: &[u8]) -> Option<Vec<u8>> {
        let map = self.maps.get_mut(id).unwrap();
        let size = map.spec().value_size;
        let at = map.lookup(cpu, key)?;
        Some(self.memory.read(at.get(), size).unwrap().to_vec())
    }
}

fn refused(result: Result<MapId, VmError>) -> String
where
    MapId: Debug,
{
    result.unwrap_err().to_string()
}

#[test]
fn creation_follows_the_kernels_rules() {
    let mut rig = Rig::new();
    let bad = [
        (spec(MapType::Array, 8, 4, 1, 0), "a key of 8 bytes; Array maps take 4"),
        (spec(MapType::Hash, 4, 0, 1, 0), "a value of 0 bytes"),
        (spec(MapType::Hash, 4, 4, 0, 0), "max_entries is 0"),
        (spec(MapType::Hash, 4, 4, 1, 2), "flags 0x2 are none of Hash maps"),
        (spec(MapType::LruHash, 4, 4, 1, 1), "flags 0x1"),
        (spec(MapType::LpmTrie, 8, 4, 1, 0), "need the flag BPF_F_NO_PREALLOC"),
        (spec(MapType::Ringbuf, 0, 0, 5000, 0), "a power of two"),
        (spec(MapType::TaskStorage, 4, 8, 1, 1), "have no limit: 0"),
        (spec(MapType::PercpuArray, 4, 40_000, 1, 0), "1 to 32768"),
        (spec(MapType::StackTrace, 4, 12, 1, 0), "no whole number of addresses"),
        (spec(MapType::Hash, 4, 4, 1, 0x18), "user space may not at once"),
        (spec(MapType::StructOps, 4, 4, 1, 0), "struct_ops replaces functions of the kernel"),
        (spec(MapType::Arena, 0, 0, 1, 0), "arenas are memory"),
    ];
    for (spec, why) in bad {
        let message = refused(rig.make(&spec));
        assert!(message.contains(why) && message.contains("`m`"), "{message}");
    }
}

#[test]
fn contents_are_set_and_frozen() {
    let mut rig = Rig::new();
    let mut data = spec(MapType::Array, 4, 6, 1, 0x80);
    (data.initial, data.frozen) = (b"abcdef".to_vec(), true);
    let id = rig.make(&data).unwrap();
    assert_eq!(rig.get(id, &n(0)), Ok(b"abcdef".to_vec()));
    assert_eq!(rig.set(id, &n(0), b"ghijkl", 0), Err(Errno::PERM));
    let at = rig.maps.get(id).unwrap().values().unwrap();
    assert!(rig.memory.read(at.get(), 6).is_ok());
    assert!(rig.memory.write(at.get(), 1).is_err(), "BPF_F_RDONLY_PROG");
    data.initial.push(0);
    assert!(refused(rig.make(&data)).contains("7 bytes of contents do not fit its value of 6"));
}

#[test]
fn permissions_of_user_space() {
    let mut rig = Rig::new();
    let rdonly = rig.make(&spec(MapType::Hash, 4, 4, 2, 1 << 3)).unwrap();
    assert_eq!(rig.set(rdonly, &n(1), &n(1), 0), Err(Errno::PERM));
    assert_eq!(rig.delete(rdonly, &n(1)), Err(Errno::PERM));
    assert_eq!(rig.program_set(rdonly, 0, &n(1), &n(5)), Ok(()));
    assert_eq!(rig.get(rdonly, &n(1)), Ok(n(5)));
    let wronly = rig.make(&spec(MapType::Hash, 4, 4, 2, 1 << 4)).unwrap();
    assert_eq!(rig.set(wronly, &n(1), &n(1), 0), Ok(()));
    assert_eq!(rig.get(wronly, &n(1)), Err(Errno::PERM));
    assert_eq!(rig.maps.user_next_key(wronly, None), Err(Errno::PERM));
}
