//! A backend of plain data, and the notation of the fixtures: types, bytes, formats.
#![allow(dead_code, unreachable_pub)]

pub mod notation;

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::time::Duration;

use skep_bpf::backend::{
    Backend, BackendError, BuildIdFrame, Entries, MapAccess, PollOutcome, Symbol, WallTime,
};
use skep_bpf::kinds::MapType;
use skep_bpf::object::{MapDetails, MapSchema, MapSpec};
use skep_bpf::schema::Clock;

/// A machine that is whatever the test says.
#[derive(Default)]
pub struct Fake {
    pub cpus: usize,
    /// Entries by map index.
    pub maps: BTreeMap<usize, FakeMap>,
    /// Records not yet read.
    pub records: VecDeque<Vec<u8>>,
    pub stacks: BTreeMap<i64, Vec<u64>>,
    pub files: BTreeMap<String, Vec<u8>>,
    pub commands: Vec<String>,
    pub misses: u64,
    /// What was done to maps, in order.
    pub log: Vec<String>,
}

/// A map's entries: key, and the values of all CPUs one after another.
#[derive(Clone, Default)]
pub struct FakeMap {
    pub key_size: usize,
    pub value_size: usize,
    pub cpus: usize,
    pub entries: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Fake {
    fn map(&mut self, map: usize) -> Result<&mut FakeMap, BackendError> {
        self.maps.get_mut(&map).ok_or_else(|| BackendError::Map { map, why: "no such map".to_owned() })
    }
}

impl MapAccess for Fake {
    fn map_entries(&mut self, map: usize) -> Result<Entries, BackendError> {
        let m = self.map(map)?;
        let mut entries = Entries::new(m.key_size, m.value_size, m.value_size, m.cpus);
        m.entries.iter().for_each(|(k, v)| entries.push(k, v));
        Ok(entries)
    }

    fn map_lookup(&mut self, map: usize, key: &[u8]) -> Result<Entries, BackendError> {
        let m = self.map(map)?;
        let mut entries = Entries::new(m.key_size, m.value_size, m.value_size, m.cpus);
        m.entries.iter().filter(|(k, _)| k == key).for_each(|(k, v)| entries.push(k, v));
        Ok(entries)
    }

    fn map_update(&mut self, map: usize, key: &[u8], value: &[u8]) -> Result<(), BackendError> {
        let m = self.map(map)?;
        let all = value.repeat(m.cpus.max(1));
        m.entries.retain(|(k, _)| k != key);
        m.entries.push((key.to_vec(), all));
        Ok(())
    }

    fn map_delete(&mut self, map: usize, key: &[u8]) -> Result<bool, BackendError> {
        let m = self.map(map)?;
        let before = m.entries.len();
        m.entries.retain(|(k, _)| k != key);
        Ok(m.entries.len() != before)
    }

    fn map_clear(&mut self, map: usize) -> Result<(), BackendError> {
        self.log.push(format!("clear {map}"));
        self.map(map)?.entries.clear();
        Ok(())
    }

    fn map_zero(&mut self, map: usize) -> Result<(), BackendError> {
        self.log.push(format!("zero {map}"));
        self.map(map)?.entries.iter_mut().for_each(|(_, v)| v.fill(0));
        Ok(())
    }
}

impl Backend for Fake {
    fn possible_cpus(&self) -> usize {
        self.cpus.max(1)
    }

    fn poll_events(
        &mut self,
        _timeout: Option<Duration>,
        sink: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<PollOutcome, BackendError> {
        let mut outcome = PollOutcome::default();
        while let Some(record) = self.records.pop_front() {
            outcome.records += 1;
            if sink(&record).is_break() {
                outcome.stopped = true;
                break;
            }
        }
        Ok(outcome)
    }

    fn recursion_misses(&mut self) -> Result<u64, BackendError> {
        Ok(self.misses)
    }

    fn kernel_symbol(&mut self, address: u64) -> Symbol {
        symbol(address, "kfun", "")
    }

    fn user_symbol(&mut self, _pid: u32, address: u64) -> Symbol {
        symbol(address, "ufun", "/bin/x")
    }

    fn build_ids(&mut self, _pid: u32, addresses: &[u64]) -> Vec<BuildIdFrame> {
        let id = |a: u64| if a < 16 { Vec::new() } else { vec![0xab, 0x01] };
        addresses.iter().map(|a| BuildIdFrame { build_id: id(*a), offset: *a }).collect()
    }

    fn stack(&mut self, _map: usize, id: i64) -> Result<Vec<u64>, BackendError> {
        Ok(self.stacks.get(&id).cloned().unwrap_or_default())
    }

    fn user_name(&mut self, uid: u32) -> Option<String> {
        (uid == 0).then(|| "root".to_owned())
    }

    fn cgroup_paths(&mut self, id: u64) -> Vec<(String, String)> {
        let names: &[&str] = if id == 1 { &["unified"] } else { &[] };
        names.iter().map(|name| ((*name).to_owned(), "/".to_owned())).collect()
    }

    fn wall_time(&mut self, _clock: Clock, ns: u64) -> WallTime {
        let secs = (ns / 1_000_000_000) as i64;
        WallTime { secs, nanos: (ns % 1_000_000_000) as u32, utc_offset: 0, zone: "UTC".to_owned() }
    }

    fn now(&mut self) -> WallTime {
        self.wall_time(Clock::Realtime, 3_723_000_000_000)
    }

    fn read_file(&mut self, path: &str, limit: usize) -> Result<Vec<u8>, BackendError> {
        let missing = || BackendError::Os { operation: format!("open {path}"), errno: 2 };
        let all = self.files.get(path).ok_or_else(missing)?;
        Ok(all[..all.len().min(limit)].to_vec())
    }

    fn run_command(&mut self, command: &str, _limit: usize) -> Result<Vec<u8>, BackendError> {
        self.commands.push(command.to_owned());
        Ok(b"output\n".to_vec())
    }
}

/// A map of stack traces.
pub fn stack_map() -> MapSpec {
    map("stacks", MapType::StackTrace, 4, 64, None)
}

/// A map.
pub fn map(name: &str, map_type: MapType, key: u32, value: u32, schema: Option<MapSchema>) -> MapSpec {
    MapSpec {
        name: name.to_owned(),
        map_type,
        key_size: key,
        value_size: value,
        max_entries: 16,
        flags: 0,
        initial: Vec::new(),
        frozen: false,
        schema,
        details: MapDetails::default(),
    }
}

/// Addresses from 16 on belong to a function at the next multiple of 16 below.
fn symbol(address: u64, name: &str, module: &str) -> Symbol {
    if address < 16 {
        return Symbol::default();
    }
    Symbol {
        name: Some(format!("{name}{:x}", address / 16)),
        offset: address % 16,
        module: module.to_owned(),
        source: None,
        inlined: Vec::new(),
    }
}
