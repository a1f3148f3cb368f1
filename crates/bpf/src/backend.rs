//! [`Backend`]: what a running object is read through: its maps, its events, and the machine's names for what they
//! hold. The live kernel and the virtual machine implement it, so both print through the same code.
//!
//! Maps are named by their index in [`crate::object::Object::maps`]. Keys and values are bytes as the program sees
//! them, in the machine's byte order.

use std::ops::ControlFlow;
use std::time::Duration;

use crate::schema::Clock;

/// Why a request to a [`Backend`] failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BackendError {
    /// The environment refused: operation and errno.
    #[error("{operation}: {}", std::io::Error::from_raw_os_error(*errno))]
    Os {
        /// What was tried.
        operation: String,
        /// The errno.
        errno: i32,
    },
    /// There is no map of that index, or it has no such operation.
    #[error("map {map}: {why}")]
    Map {
        /// Index into `Object::maps`.
        map: usize,
        /// What is wrong.
        why: String,
    },
    /// This backend has no such thing (a virtual machine without user processes, …).
    #[error("not available here: {0}")]
    Unsupported(String),
}

/// Entries of a map, flat: as many keys and values as were there when it was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Entries {
    key_size: usize,
    value_size: usize,
    stride: usize,
    cpus: usize,
    count: usize,
    keys: Vec<u8>,
    values: Vec<u8>,
}

impl Entries {
    /// An empty set for keys of `key_size` bytes and values of `value_size` bytes on each of `cpus` CPUs (1 for maps
    /// that are not per CPU). Values of several CPUs lie `stride` bytes apart (at least `value_size`; the kernel
    /// rounds up to 8).
    pub fn new(key_size: usize, value_size: usize, stride: usize, cpus: usize) -> Entries {
        Entries {
            key_size,
            value_size,
            stride: stride.max(value_size),
            cpus: cpus.max(1),
            ..Entries::default()
        }
    }

    /// Bytes that the values of one entry take, all CPUs together.
    pub fn entry_stride(&self) -> usize {
        self.stride * self.cpus
    }

    /// Adds one entry. `key` must be `key_size` bytes, `values` the CPUs' values `stride` bytes apart; what is
    /// missing counts as zero, what is more is dropped.
    pub fn push(&mut self, key: &[u8], values: &[u8]) {
        let (keys, all) = ((self.count + 1) * self.key_size, (self.count + 1) * self.entry_stride());
        self.keys.extend_from_slice(key.get(..self.key_size).unwrap_or(key));
        self.keys.resize(keys, 0);
        self.values.extend_from_slice(values.get(..self.entry_stride()).unwrap_or(values));
        self.values.resize(all, 0);
        self.count += 1;
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many values each entry has: possible CPUs, or 1.
    pub fn cpus(&self) -> usize {
        self.cpus
    }

    /// Entry `index`, in the order in which the kernel gave them.
    pub fn get(&self, index: usize) -> Option<Entry<'_>> {
        if index >= self.count {
            return None;
        }
        let step = self.entry_stride();
        let key = self.keys.get(index * self.key_size..(index + 1) * self.key_size)?;
        let values = self.values.get(index * step..(index + 1) * step)?;
        Some(Entry { key, values, stride: self.stride, value_size: self.value_size })
    }

    /// All entries.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Entry<'_>> + '_ {
        let empty = Entry { key: &[], values: &[], stride: 1, value_size: 0 };
        (0..self.count).map(move |i| self.get(i).unwrap_or(empty))
    }
}

/// One entry of a map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// The key.
    pub key: &'a [u8],
    values: &'a [u8],
    stride: usize,
    value_size: usize,
}

impl<'a> Entry<'a> {
    /// The value: of maps that are not per CPU the only one, else CPU 0's.
    pub fn value(&self) -> &'a [u8] {
        self.values.get(..self.value_size).unwrap_or(&[])
    }

    /// The value on each possible CPU, CPU 0 first; one for maps that are not per CPU.
    pub fn per_cpu(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let size = self.value_size;
        self.values.chunks_exact(self.stride.max(1)).map(move |v| v.get(..size).unwrap_or(v))
    }
}

/// What one [`Backend::poll_events`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PollOutcome {
    /// Records handed to the sink.
    pub records: u64,
    /// The sink asked to stop; records may be left for the next call.
    pub stopped: bool,
    /// A signal or another wake-up ended the wait early: the caller looks at its own stop conditions.
    pub interrupted: bool,
}

/// What an address is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Symbol {
    /// Function or variable name, demangled. `None`: unknown.
    pub name: Option<String>,
    /// Bytes from the symbol's start.
    pub offset: u64,
    /// Kernel: the module ("" for the kernel itself). User: path of the binary or library ("" unknown).
    pub module: String,
    /// Source file and line, where debug information gives them.
    pub source: Option<(String, u32)>,
    /// Functions that the compiler has put into this one at the address, the innermost first.
    pub inlined: Vec<Inlined>,
}

/// A function within another's code.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Inlined {
    /// Name, demangled.
    pub name: String,
    /// Source file and line.
    pub source: Option<(String, u32)>,
}

/// A build id and the offset within its file, for stacks printed by build id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BuildIdFrame {
    /// The build id's bytes, at most 20; empty where the address could not be assigned to a file.
    pub build_id: Vec<u8>,
    /// Offset in the file; the address itself without build id.
    pub offset: u64,
}

/// A moment as a calendar needs it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WallTime {
    /// Seconds since 1970-01-01 UTC.
    pub secs: i64,
    /// Nanoseconds within the second.
    pub nanos: u32,
    /// Local time minus UTC at that moment, in seconds.
    pub utc_offset: i32,
    /// Abbreviation of the local time zone ("UTC", "CEST").
    pub zone: String,
}

/// An object's maps, by their index in it.
pub trait MapAccess {
    /// All entries of a map. Arrays give every index. Entries that change meanwhile may be missed or be seen with
    /// their old or new value; the call ends in bounded time all the same.
    fn map_entries(&mut self, map: usize) -> Result<Entries, BackendError>;

    /// The entry of `key`, or an empty set when there is none.
    fn map_lookup(&mut self, map: usize, key: &[u8]) -> Result<Entries, BackendError>;

    /// Sets the entry of `key`; `value` holds one value, which for per-CPU maps is set on every CPU.
    fn map_update(&mut self, map: usize, key: &[u8], value: &[u8]) -> Result<(), BackendError>;

    /// Removes the entry of `key`; whether there was one. Arrays: sets it to zero.
    fn map_delete(&mut self, map: usize, key: &[u8]) -> Result<bool, BackendError>;

    /// Removes all entries; of an array sets all values to zero.
    fn map_clear(&mut self, map: usize) -> Result<(), BackendError>;

    /// Sets all values to zero and keeps the keys.
    fn map_zero(&mut self, map: usize) -> Result<(), BackendError>;
}

/// What has the maps of something else.
pub trait HasMaps {
    /// That.
    type Maps: MapAccess;

    /// It.
    fn maps(&mut self) -> &mut Self::Maps;
}

impl<T: HasMaps> MapAccess for T {
    fn map_entries(&mut self, map: usize) -> Result<Entries, BackendError> {
        self.maps().map_entries(map)
    }

    fn map_lookup(&mut self, map: usize, key: &[u8]) -> Result<Entries, BackendError> {
        self.maps().map_lookup(map, key)
    }

    fn map_update(&mut self, map: usize, key: &[u8], value: &[u8]) -> Result<(), BackendError> {
        self.maps().map_update(map, key, value)
    }

    fn map_delete(&mut self, map: usize, key: &[u8]) -> Result<bool, BackendError> {
        self.maps().map_delete(map, key)
    }

    fn map_clear(&mut self, map: usize) -> Result<(), BackendError> {
        self.maps().map_clear(map)
    }

    fn map_zero(&mut self, map: usize) -> Result<(), BackendError> {
        self.maps().map_zero(map)
    }
}

/// A running object and the machine that it runs on.
pub trait Backend: MapAccess {
    /// Possible CPUs: the number of values of a per-CPU entry.
    fn possible_cpus(&self) -> usize;

    /// Hands records to `sink`, oldest first, without waiting while there are any; waits up to `timeout` (`None`:
    /// for ever) for the first one. A zero timeout drains. A record that was handed over is gone.
    fn poll_events(
        &mut self,
        timeout: Option<Duration>,
        sink: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<PollOutcome, BackendError>;

    /// Takes the watchpoints on `address` off; how many there were.
    fn unwatch(&mut self, _address: u64) -> Result<usize, BackendError> {
        Ok(0)
    }

    /// How often the kernel did not run a program because it was already running on that CPU (all programs).
    fn recursion_misses(&mut self) -> Result<u64, BackendError>;

    /// The kernel symbol that holds `address`.
    fn kernel_symbol(&mut self, address: u64) -> Symbol;

    /// The symbol that holds `address` in process `pid` (of the initial PID namespace).
    fn user_symbol(&mut self, pid: u32, address: u64) -> Symbol;

    /// The symbols of a whole user stack, one for each address, in their order.
    fn user_symbols(&mut self, pid: u32, addresses: &[u64]) -> Vec<Symbol> {
        addresses.iter().map(|a| self.user_symbol(pid, *a)).collect()
    }

    /// Build ids and file offsets of a user stack, one for each address.
    fn build_ids(&mut self, pid: u32, addresses: &[u64]) -> Vec<BuildIdFrame>;

    /// The addresses of stack `id` in a stack trace map, innermost first, without trailing zeros. Unknown ids: empty.
    fn stack(&mut self, map: usize, id: i64) -> Result<Vec<u64>, BackendError>;

    /// A user's name, `None` when the user database has none.
    fn user_name(&mut self, uid: u32) -> Option<String>;

    /// The hierarchies that have a cgroup of that id, each with the cgroup's path in it ("unified", "/user.slice").
    fn cgroup_paths(&mut self, id: u64) -> Vec<(String, String)>;

    /// The calendar time of `ns` nanoseconds on `clock`.
    fn wall_time(&mut self, clock: Clock, ns: u64) -> WallTime;

    /// The calendar time now.
    fn now(&mut self) -> WallTime;

    /// Contents of a file, at most `limit` bytes of it.
    fn read_file(&mut self, path: &str, limit: usize) -> Result<Vec<u8>, BackendError>;

    /// Runs a command through the shell, waits for its end, and gives its standard output, at most `limit` bytes;
    /// standard error stays the caller's own.
    fn run_command(&mut self, command: &str, limit: usize) -> Result<Vec<u8>, BackendError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_cpus_apart() {
        let mut e = Entries::new(4, 4, 8, 2);
        e.push(&1u32.to_ne_bytes(), &[1, 0, 0, 0, 9, 9, 9, 9, 2, 0, 0, 0, 9, 9, 9, 9]);
        e.push(&2u32.to_ne_bytes(), &[5]);
        let got: Vec<Vec<&[u8]>> = e.iter().map(|x| x.per_cpu().collect()).collect();
        assert_eq!(got[0], [&[1u8, 0, 0, 0][..], &[2, 0, 0, 0][..]]);
        assert_eq!(got[1], [&[5u8, 0, 0, 0][..], &[0, 0, 0, 0][..]]);
        assert_eq!(e.get(1).map(|x| x.key.to_vec()), Some(2u32.to_ne_bytes().to_vec()));
        assert!(e.get(2).is_none());
    }

    #[test]
    fn entries_without_key_or_value_do_not_divide_by_zero() {
        let mut e = Entries::new(0, 0, 0, 0);
        e.push(&[], &[]);
        assert_eq!(e.len(), 1);
        assert_eq!(e.iter().map(|x| x.per_cpu().count()).sum::<usize>(), 0);
    }
}
