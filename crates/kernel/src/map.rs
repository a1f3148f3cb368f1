//! Maps: a [`MapSpec`] enters, an owned map with checked reads and writes leaves. Reading a map always ends, however
//! fast programs change it meanwhile.

mod batch;
mod elem;
mod words;

use std::collections::HashSet;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use skep_bpf::backend::Entries;
use skep_bpf::kinds::{MapType, map_flags};
use skep_bpf::object::MapSpec;

use crate::error::Error;
use crate::machine;
use crate::sys::attr::{MapCreate, MapInfo};
use crate::sys::map::RawMap;

pub use batch::Unfinished;
pub use words::Words;

/// `BPF_EXIST`: update only what is there.
const EXIST: u64 = 2;
/// Bytes of one batch's buffers, roughly.
const BATCH_BYTES: usize = 1 << 20;
/// ENOTSUPP, which the kernel gives for batches that a kind lacks.
const ENOTSUPP: i32 = 524;

/// A created map.
#[derive(Debug)]
pub struct Map {
    raw: RawMap,
    name: String,
    kind: MapType,
    value_size: usize,
    max_entries: u32,
    cpus: usize,
    stride: usize,
}

/// What a map's creation needs beside its own description.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Surroundings<'a> {
    /// The object's types.
    pub(crate) btf: Option<BorrowedFd<'a>>,
    /// A map such as those that the map is to hold.
    pub(crate) inner: Option<BorrowedFd<'a>>,
}

/// Whether entries have one value per CPU.
fn is_percpu(kind: MapType) -> bool {
    matches!(
        kind,
        MapType::PercpuHash | MapType::PercpuArray | MapType::LruPercpuHash | MapType::PercpuCgroupStorage
    )
}

/// Whether all indexes always exist.
fn is_array(kind: MapType) -> bool {
    matches!(kind, MapType::Array | MapType::PercpuArray)
}

/// A kernel object name: letters, digits, `_` and `.`, at most 15 bytes (kernel/bpf/syscall.c, bpf_obj_name_cpy).
pub(crate) fn object_name(name: &str) -> [u8; 16] {
    let mut out = [0; 16];
    let bytes = name.bytes().map(|b| if b.is_ascii_alphanumeric() || b == b'.' { b } else { b'_' });
    for (slot, byte) in out[..15].iter_mut().zip(bytes) {
        *slot = byte;
    }
    out
}

/// The text of a name that the kernel gives.
pub(crate) fn kernel_name(name: &[u8; 16]) -> String {
    let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
    String::from_utf8_lossy(&name[..end]).into_owned()
}

impl Map {
    /// Creates a map, fills it with the spec's first contents and freezes it where the spec says so.
    pub fn create(spec: &MapSpec) -> Result<Map, Error> {
        Map::create_with(spec, &Surroundings::default())
    }

    /// As [`Map::create`], with types of key and value, and the map that those within it look like.
    pub(crate) fn create_with(spec: &MapSpec, around: &Surroundings<'_>) -> Result<Map, Error> {
        let operation = || format!("create map {}", spec.name);
        let percpu = is_percpu(spec.map_type);
        let cpus = if percpu { machine::possible_cpus()? } else { 1 };
        let size = spec.value_size as usize;
        let stride = if percpu { size.next_multiple_of(8) } else { size };
        let max_entries = match spec.max_entries {
            0 => u32::try_from(machine::possible_cpus()?).unwrap_or(u32::MAX),
            n => n,
        };
        let details = &spec.details;
        let mut attr = MapCreate {
            map_type: spec.map_type as u32,
            key_size: spec.key_size,
            value_size: spec.value_size,
            max_entries,
            map_flags: spec.flags,
            map_name: object_name(&spec.name),
            inner_map_fd: around.inner.map_or(0, |fd| fd.as_raw_fd() as u32),
            map_extra: details.map_extra,
            ..MapCreate::default()
        };
        if let Some(node) = details.numa_node {
            attr.numa_node = node;
            attr.map_flags |= map_flags::NUMA_NODE;
        }
        let untyped = attr;
        if let (Some(btf), Some(types)) = (around.btf, details.types) {
            attr.btf_fd = btf.as_raw_fd() as u32;
            (attr.btf_key_type_id, attr.btf_value_type_id) = (types.key, types.value);
        }
        let create = |attr: &MapCreate| match RawMap::create(attr, stride * cpus) {
            Err(Errno::PERM) if machine::raise_memlock() => RawMap::create(attr, stride * cpus),
            other => other,
        };
        let raw = match create(&attr) {
            // Many kinds take no types (kernel/bpf/syscall.c, map_check_btf), and which do differs by version.
            Err(_) if attr.btf_fd != 0 => create(&untyped),
            other => other,
        };
        let map = Map {
            raw: raw.map_err(|e| Error::os(operation(), e))?,
            name: spec.name.clone(),
            kind: spec.map_type,
            value_size: size,
            max_entries,
            cpus,
            stride,
        };
        map.fill(spec)?;
        Ok(map)
    }

    /// A map that is there already, by what the kernel says of it.
    pub(crate) fn opened(fd: OwnedFd, info: &MapInfo) -> Result<Map, Error> {
        let name = kernel_name(&info.name);
        let kind = MapType::from_number(info.map_type).ok_or_else(|| Error::Unavailable {
            what: format!("map {}", info.id),
            why: format!("maps of type {} are not known to this version of skep", info.map_type),
        })?;
        let cpus = if is_percpu(kind) { machine::possible_cpus()? } else { 1 };
        let value_size = info.value_size as usize;
        let stride = if is_percpu(kind) { value_size.next_multiple_of(8) } else { value_size };
        let raw = RawMap::open(fd, info.key_size as usize, stride * cpus);
        Ok(Map { raw, name, kind, value_size, max_entries: info.max_entries, cpus, stride })
    }

    fn fill(&self, spec: &MapSpec) -> Result<(), Error> {
        if !spec.initial.is_empty() {
            if spec.initial.len() != self.value_size {
                return Err(Error::Damaged {
                    what: format!("map {}", self.name),
                    why: format!(
                        "{} bytes of contents for a value of {}",
                        spec.initial.len(),
                        self.value_size
                    ),
                });
            }
            self.update(&0u32.to_ne_bytes(), &spec.initial)?;
        }
        if spec.frozen {
            self.raw.freeze().map_err(|e| self.failed("freeze", e))?;
        }
        Ok(())
    }

    fn failed(&self, verb: &str, errno: Errno) -> Error {
        Error::os(format!("{verb} map {}", self.name), errno)
    }

    /// The number that the kernel has given it.
    pub fn id(&self) -> Result<u32, Error> {
        let info = crate::sys::objects::map_info(self.as_fd());
        Ok(info.map_err(|errno| self.failed("describe", errno))?.id)
    }

    /// The name in the source.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Kind.
    pub fn kind(&self) -> MapType {
        self.kind
    }

    /// Bytes of a key.
    pub fn key_size(&self) -> usize {
        self.raw.key_size()
    }

    /// Bytes of a value (on one CPU).
    pub fn value_size(&self) -> usize {
        self.value_size
    }

    /// Entries, as created.
    pub fn max_entries(&self) -> u32 {
        self.max_entries
    }

    /// An empty set in this map's shape.
    fn no_entries(&self) -> Entries {
        Entries::new(self.raw.key_size(), self.value_size, self.stride, self.cpus)
    }

    /// The entry of `key`: an empty set when there is none.
    pub fn lookup(&self, key: &[u8]) -> Result<Entries, Error> {
        let mut entries = self.no_entries();
        let mut value = vec![0; self.raw.value_bytes()];
        match self.raw.lookup(key, &mut value) {
            Ok(()) => entries.push(key, &value),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(self.failed("read", errno)),
        }
        Ok(entries)
    }

    /// One value in the form of an update: for per-CPU kinds on every CPU.
    fn spread(&self, value: &[u8]) -> Result<Vec<u8>, Error> {
        if value.len() != self.value_size {
            return Err(self.failed("update", Errno::INVAL));
        }
        let mut all = vec![0; self.raw.value_bytes()];
        for slot in all.chunks_exact_mut(self.stride.max(1)) {
            slot[..value.len()].copy_from_slice(value);
        }
        Ok(all)
    }

    /// Sets the entry of `key`; per-CPU kinds get `value` on every CPU.
    pub fn update(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let mut all = self.spread(value)?;
        self.raw.update(key, &mut all, 0).map_err(|e| self.failed("update", e))
    }

    /// Removes the entry of `key` (of an array: sets it to zero); whether there was one.
    pub fn delete(&self, key: &[u8]) -> Result<bool, Error> {
        if is_array(self.kind) {
            return self.set_zero(key);
        }
        match self.raw.delete(key) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(self.failed("delete from", errno)),
        }
    }

    fn set_zero(&self, key: &[u8]) -> Result<bool, Error> {
        let mut zeros = vec![0; self.raw.value_bytes()];
        match self.raw.update(key, &mut zeros, EXIST) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(self.failed("update", errno)),
        }
    }

    /// Removes all entries that are there now; sets an array to zero.
    pub fn clear(&self) -> Result<(), Error> {
        for entry in self.entries()?.iter() {
            self.delete(entry.key)?;
        }
        Ok(())
    }

    /// Sets all values to zero and keeps the keys.
    pub fn zero(&self) -> Result<(), Error> {
        for entry in self.entries()?.iter() {
            self.set_zero(entry.key)?;
        }
        Ok(())
    }

    /// All entries: in batches where the kernel has them for this kind (5.6), else one by one.
    pub fn entries(&self) -> Result<Entries, Error> {
        let mut entries = self.no_entries();
        if is_array(self.kind) && self.max_entries <= 4 {
            return self.indexes();
        }
        match self.read_batches(&mut entries) {
            Ok(()) => Ok(entries),
            Err(Errno::INVAL) if is_array(self.kind) => self.indexes(),
            Err(Errno::INVAL) => self.walk(),
            Err(errno) if errno.raw_os_error() == ENOTSUPP && is_array(self.kind) => self.indexes(),
            Err(errno) if errno.raw_os_error() == ENOTSUPP => self.walk(),
            Err(errno) => Err(self.failed("read", errno)),
        }
    }

    fn read_batches(&self, entries: &mut Entries) -> Result<(), Errno> {
        let (key_size, value_bytes) = (self.raw.key_size(), self.raw.value_bytes());
        let most = u32::try_from(BATCH_BYTES / (key_size + value_bytes).max(1)).unwrap_or(u32::MAX);
        let mut count = most.clamp(64, 4096).min(self.max_entries.max(1));
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        let mut positions = [vec![0u8; key_size.max(4)], vec![0u8; key_size.max(4)]];
        let mut started = false;
        loop {
            keys.resize(count as usize * key_size, 0);
            values.resize(count as usize * value_bytes, 0);
            let [from, next] = &mut positions;
            let from = started.then_some(&from[..]);
            let (got, last) = match self.raw.lookup_batch(from, next, &mut keys, &mut values, count) {
                Ok(answer) => answer,
                // One bucket has more entries than fit: a larger buffer takes them.
                Err(Errno::NOSPC) if count < self.max_entries => {
                    count = count.saturating_mul(2).min(self.max_entries);
                    continue;
                }
                Err(errno) => return Err(errno),
            };
            for i in 0..got as usize {
                let key = keys.get(i * key_size..(i + 1) * key_size).unwrap_or(&[]);
                entries.push(key, values.get(i * value_bytes..(i + 1) * value_bytes).unwrap_or(&[]));
            }
            // The position counts buckets, so it always moves on; the limit is against a kernel that does not.
            if last || entries.len() > self.max_entries as usize * 2 {
                return Ok(());
            }
            started = true;
            positions.swap(0, 1);
        }
    }

    /// Every index of an array.
    fn indexes(&self) -> Result<Entries, Error> {
        let mut entries = self.no_entries();
        let mut value = vec![0; self.raw.value_bytes()];
        for index in 0..self.max_entries {
            let key = index.to_ne_bytes();
            self.raw.lookup(&key, &mut value).map_err(|e| self.failed("read", e))?;
            entries.push(&key, &value);
        }
        Ok(entries)
    }

    /// Key by key. When a key vanishes under the walk the kernel starts again from the first: keys already seen are
    /// skipped and the steps are limited.
    fn walk(&self) -> Result<Entries, Error> {
        let mut entries = self.no_entries();
        let mut value = vec![0; self.raw.value_bytes()];
        let (mut key, mut next) = (Vec::new(), vec![0; self.raw.key_size()]);
        let mut seen = HashSet::new();
        for _ in 0..u64::from(self.max_entries) * 2 + 16 {
            let from = if key.is_empty() { None } else { Some(&key[..]) };
            match self.raw.next_key(from, &mut next) {
                Ok(()) => {}
                Err(Errno::NOENT) => break,
                Err(errno) => return Err(self.failed("read", errno)),
            }
            if seen.insert(next.clone()) && self.raw.lookup(&next, &mut value).is_ok() {
                entries.push(&next, &value);
            }
            key.clone_from(&next);
        }
        Ok(entries)
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.raw.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_bpf::object::MapDetails;

    #[test]
    fn object_names_are_the_kernels() {
        assert_eq!(&object_name("@bytes")[..7], b"_bytes\0");
        assert_eq!(&object_name("a_name_that_is_too_long")[..], b"a_name_that_is_\0");
    }

    fn hash(entries: u32) -> Option<Map> {
        if !machine::missing_capabilities().is_empty() {
            return None;
        }
        let spec = MapSpec {
            name: "@t".into(),
            map_type: MapType::Hash,
            key_size: 8,
            value_size: 8,
            max_entries: entries,
            flags: 0,
            initial: Vec::new(),
            frozen: false,
            schema: None,
            details: MapDetails::default(),
        };
        Some(Map::create(&spec).unwrap())
    }

    #[test]
    fn without_batches_the_map_is_walked() {
        use crate::sys::{attr::cmd, fake};
        let Some(map) = hash(1000) else { return };
        for n in 0..700u64 {
            map.update(&n.to_ne_bytes(), &[1; 8]).unwrap();
        }
        for errno in [Errno::INVAL, Errno::from_raw_os_error(ENOTSUPP)] {
            let _fake = fake::install(move |c| (c == cmd::MAP_LOOKUP_BATCH).then_some(Err(errno)));
            assert_eq!(map.entries().unwrap().len(), 700);
        }
        let _fake = fake::install(|c| (c == cmd::MAP_LOOKUP_BATCH).then_some(Err(Errno::NOMEM)));
        assert_eq!(map.entries().unwrap_err().errno(), Some(libc::ENOMEM));
    }

    #[test]
    fn a_walk_ends_although_the_map_changes() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let Some(map) = hash(5000) else { return };
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut n = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    map.update(&(n % 4000).to_ne_bytes(), &[1; 8]).unwrap();
                    map.delete(&((n + 2000) % 4000).to_ne_bytes()).unwrap();
                    n += 1;
                }
            });
            for _ in 0..20 {
                assert!(map.walk().unwrap().len() <= 5000 * 2);
                assert!(map.entries().unwrap().len() <= 5000 * 2);
                map.clear().unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn sizes_are_checked_before_the_kernel_sees_them() {
        let Some(map) = hash(10) else { return };
        assert!(map.update(&[0; 7], &[0; 8]).is_err());
        assert!(map.update(&[0; 8], &[0; 9]).is_err());
        assert!(map.lookup(&[0; 9]).is_err());
        assert!(map.delete(&[]).is_err());
    }
}
