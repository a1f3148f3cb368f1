//! Maps: a [`MapSpec`] enters, a [`Map`] leaves. Semantics, flags and errors are the kernel's. Values lie in the machine's memory and
//! stay where they are for as long as programs may hold them.

use rustix::io::Errno;
use skep_bpf::object::MapSpec;

use crate::vm::VmError;
use crate::vm::memory::{Access, Addr, MapId, Memory, ObjectKind};
use crate::vm::program::ProgId;

/// One map. What a kind does not offer fails as in the kernel.
pub trait Map {
    /// What it was made from.
    fn spec(&self) -> &MapSpec;

    /// Where the value of a key is; `cpu` counts for per-CPU kinds.
    fn lookup(&mut self, memory: &mut Memory, cpu: u32, key: &[u8]) -> Option<Addr>;

    /// Sets a value.
    fn update(
        &mut self,
        memory: &mut Memory,
        cpu: u32,
        key: &[u8],
        value: &[u8],
        flags: u64,
    ) -> Result<(), Errno>;

    /// Removes a key.
    fn delete(&mut self, memory: &mut Memory, key: &[u8]) -> Result<(), Errno>;

    /// The key behind `key`, the first one without or when `key` is not there.
    fn next_key(&self, memory: &Memory, key: Option<&[u8]>) -> Option<Vec<u8>>;

    /// Where the first value is, for kinds whose values an instruction can address (`map[…][0]+N`).
    fn values(&self) -> Option<Addr> {
        None
    }

    /// The program at an index, for arrays of programs.
    fn program(&self, _index: u32) -> Option<ProgId> {
        None
    }
}

/// The maps of a machine.
#[derive(Default)]
pub struct Maps {
    maps: Vec<(Box<dyn Map>, Addr)>,
}

impl Maps {
    /// Adds a map and gives it the address that programs know it by.
    pub fn add(&mut self, map: Box<dyn Map>, memory: &mut Memory) -> Result<MapId, VmError> {
        let id = MapId(self.maps.len() as u32);
        let handle = memory.alloc(ObjectKind::Map(id), 8, Access::None)?;
        self.maps.push((map, handle));
        Ok(id)
    }

    /// The address that programs know a map by.
    pub fn handle(&self, id: MapId) -> Option<Addr> {
        self.maps.get(id.0 as usize).map(|(_, handle)| *handle)
    }

    /// The map that a program means by an address.
    pub fn by_handle(&self, memory: &Memory, at: u64) -> Option<MapId> {
        let object = memory.find(at).filter(|object| object.base.get() == at)?;
        let ObjectKind::Map(id) = object.kind else { return None };
        Some(id)
    }

    /// A map.
    pub fn get(&self, id: MapId) -> Option<&dyn Map> {
        self.maps.get(id.0 as usize).map(|(map, _)| &**map)
    }

    /// A map, to change.
    pub fn get_mut(&mut self, id: MapId) -> Option<&mut (dyn Map + 'static)> {
        self.maps.get_mut(id.0 as usize).map(|(map, _)| &mut **map)
    }

    /// The numbers of all maps.
    pub fn ids(&self) -> impl Iterator<Item = MapId> + use<> {
        (0..self.maps.len() as u32).map(MapId)
    }
}
