//! Arrays of programs, for tail calls (kernel/bpf/arraymap.c). User space's value is a program's number in the machine.

use rustix::io::Errno;
use skep_bpf::object::MapSpec;

use super::{Map, fd_index, index_of, next_index};
use crate::vm::memory::Memory;
use crate::vm::program::ProgId;

/// An array of programs.
#[derive(Debug)]
pub(super) struct ProgArray {
    spec: MapSpec,
    programs: Vec<Option<ProgId>>,
}

impl ProgArray {
    pub(super) fn new(spec: &MapSpec) -> ProgArray {
        ProgArray { spec: spec.clone(), programs: vec![None; spec.max_entries as usize] }
    }
}

impl Map for ProgArray {
    fn spec(&self) -> &MapSpec {
        &self.spec
    }

    fn read(&self, _memory: &Memory, key: &[u8]) -> Result<Vec<u8>, Errno> {
        let ProgId(number) = index_of(key).and_then(|index| self.program(index)).ok_or(Errno::NOENT)?;
        Ok(number.to_ne_bytes().to_vec())
    }

    fn update(
        &mut self,
        _memory: &mut Memory,
        _cpu: u32,
        key: &[u8],
        value: &[u8],
        flags: u64,
    ) -> Result<(), Errno> {
        let index = fd_index(key, self.spec.max_entries, flags)?;
        self.programs[index as usize] = Some(ProgId(index_of(value).ok_or(Errno::INVAL)?));
        Ok(())
    }

    fn delete(&mut self, _memory: &mut Memory, key: &[u8]) -> Result<(), Errno> {
        let index = fd_index(key, self.spec.max_entries, 0)?;
        self.programs[index as usize].take().map(|_| ()).ok_or(Errno::NOENT)
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Option<Vec<u8>>, Errno> {
        Ok(next_index(key, self.spec.max_entries))
    }

    fn program(&self, index: u32) -> Option<ProgId> {
        *self.programs.get(index as usize)?
    }
}
