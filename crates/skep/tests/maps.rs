//! The offline machine's maps against the kernel's: the same calls on both, and the same values and errors must come back. `SKEP_MAPS=N`
//! and `SKEP_SEED=N` choose how many maps of each kind, and which.

use skep_bpf::kinds::{MapType, map_flags};
use skep_bpf::object::{InnerMap, MapSpec};
use skep_engine::maps::{Maps, is_percpu};
use skep_engine::random::Random;
use skep_engine::vm::memory::{MapId, Memory};
use skep_kernel::machine;
use skep_kernel::map::Map;

/// Calls on each map.
const CALLS: usize = 120;
/// `BPF_F_STACK_BUILD_ID`.
const STACK_BUILD_ID: u32 = 1 << 5;
/// Flags of updates, also such as no map takes.
const FLAGS: &[u64] = &[0, 0, 0, 1, 2, 3, 4, 8, 1 << 32];

/// What is random about a kind.
struct Kind {
    map_type: MapType,
    keys: &'static [u32],
    flags: &'static [u32],
    /// Keys are walked in an order that both share.
    ordered: bool,
}

const PLAIN: &[u32] = &[0, 0, map_flags::RDONLY, map_flags::WRONLY];
const LRU: &[u32] = &[0, map_flags::NO_COMMON_LRU];
const HASH: &[u32] =
    &[0, map_flags::NO_PREALLOC, map_flags::RDONLY, map_flags::NO_PREALLOC | map_flags::WRONLY];

static KINDS: &[Kind] = &[
    Kind { map_type: MapType::Array, keys: &[4], flags: PLAIN, ordered: true },
    Kind { map_type: MapType::PercpuArray, keys: &[4], flags: PLAIN, ordered: true },
    Kind { map_type: MapType::Hash, keys: &[1, 3, 4, 8, 13], flags: HASH, ordered: false },
    Kind { map_type: MapType::PercpuHash, keys: &[2, 4, 16], flags: HASH, ordered: false },
    Kind { map_type: MapType::LruHash, keys: &[4, 7], flags: LRU, ordered: false },
    Kind { map_type: MapType::LruPercpuHash, keys: &[4, 8], flags: LRU, ordered: false },
    Kind {
        map_type: MapType::LpmTrie,
        keys: &[5, 6, 8, 20],
        flags: &[map_flags::NO_PREALLOC],
        ordered: true,
    },
    Kind { map_type: MapType::Queue, keys: &[0], flags: PLAIN, ordered: true },
    Kind { map_type: MapType::Stack, keys: &[0], flags: PLAIN, ordered: true },
    Kind { map_type: MapType::BloomFilter, keys: &[0], flags: &[map_flags::ZERO_SEED], ordered: true },
    Kind { map_type: MapType::ArrayOfMaps, keys: &[4], flags: &[0], ordered: true },
    Kind {
        map_type: MapType::HashOfMaps,
        keys: &[4, 6],
        flags: &[0, map_flags::NO_PREALLOC],
        ordered: false,
    },
];

/// An answer: bytes, or the number of an error.
type Answer = Result<Vec<u8>, i32>;

/// A map in the kernel and in the machine.
struct Pair {
    kind: &'static Kind,
    spec: MapSpec,
    kernel: Map,
    memory: Memory,
    maps: Maps,
    id: MapId,
    /// Maps to put into a map of maps: the kernel's, the machine's, and the kernel's number of the first.
    inner: Vec<(Map, MapId, u32)>,
}

fn is_outer(map_type: MapType) -> bool {
    matches!(map_type, MapType::ArrayOfMaps | MapType::HashOfMaps)
}

fn is_lru(map_type: MapType) -> bool {
    matches!(map_type, MapType::LruHash | MapType::LruPercpuHash)
}

fn spec(kind: &Kind, random: &mut Random) -> MapSpec {
    let value = if is_outer(kind.map_type) { 4 } else { random.pick(&[1, 3, 4, 8, 12, 100]) };
    // A kernel's LRU map that fills up drops keys of its own choice: these never do.
    let entries = if is_lru(kind.map_type) { 5000 } else { random.pick(&[1, 3, 6, 8]) };
    let mut spec = MapSpec::new("both", kind.map_type, random.pick(kind.keys), value, entries);
    spec.flags = random.pick(kind.flags);
    spec
}

/// Specs of maps for a map of maps: one that fits always, others that may not.
fn inner_specs(random: &mut Random) -> Vec<MapSpec> {
    let map_type = random.pick(&[MapType::Array, MapType::Hash, MapType::LpmTrie]);
    let flags = match map_type {
        MapType::LpmTrie => map_flags::NO_PREALLOC,
        MapType::Array => random.pick(&[0, map_flags::INNER_MAP]),
        _ => 0,
    };
    let key = if map_type == MapType::LpmTrie { 8 } else { 4 };
    let make =
        |value: u32, entries: u32| MapSpec { flags, ..MapSpec::new("in", map_type, key, value, entries) };
    vec![make(8, 3), make(8, 3), make(8, 5), make(4, 3), MapSpec::new("in", MapType::Queue, 0, 8, 3)]
}

impl Pair {
    fn make(kind: &'static Kind, random: &mut Random) -> Result<Pair, String> {
        let cpus = machine::possible_cpus().map_err(|e| e.to_string())? as u32;
        let mut memory = Memory::new().map_err(|e| e.to_string())?;
        let mut maps = Maps::default();
        let mut spec = spec(kind, random);
        let mut inner = Vec::new();
        if is_outer(kind.map_type) {
            let specs = inner_specs(random);
            spec.details.inner = specs.first().map(|s| InnerMap {
                map_type: s.map_type,
                key_size: s.key_size,
                value_size: s.value_size,
                max_entries: s.max_entries,
                flags: s.flags,
                types: None,
            });
            for spec in &specs {
                let kernel = Map::create(spec).map_err(|e| e.to_string())?;
                let number = number_of(&kernel)?;
                let id = maps.create(spec, &mut memory, cpus).map_err(|e| e.to_string())?;
                inner.push((kernel, id, number));
            }
        }
        let kernel = match inner.first() {
            Some((first, ..)) => Map::create_holding(&spec, first),
            None => Map::create(&spec),
        };
        let kernel = kernel.map_err(|e| format!("{spec:?}: {e}"))?;
        let id = maps.create(&spec, &mut memory, cpus).map_err(|e| e.to_string())?;
        Ok(Pair { kind, spec, kernel, memory, maps, id, inner })
    }

    /// A key out of few, so that the same ones come again.
    fn key(&self, random: &mut Random) -> Vec<u8> {
        let size = self.spec.key_size as usize;
        if self.kind.map_type == MapType::LpmTrie {
            let bits = (size - 4) * 8;
            let mut key = (random.below(bits.min(20) + 2) as u32).to_ne_bytes().to_vec();
            key.extend((4..size).map(|_| random.pick(&[0, 0x80, 0xc0, 0xff])));
            return key;
        }
        let mut key = vec![0; size];
        if let Some(first) = key.first_mut() {
            *first = random.below(10) as u8;
        }
        key
    }

    /// A value for the kernel and the same one for the machine: they differ where values are maps.
    fn value(&self, random: &mut Random) -> (Vec<u8>, Vec<u8>) {
        if is_outer(self.kind.map_type) {
            let (fd, id) = match self.inner.get(random.below(self.inner.len() + 1)) {
                Some((map, MapId(id), _)) => {
                    (std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(map)), *id)
                }
                None => (i32::MAX, u32::MAX),
            };
            return (fd.to_ne_bytes().to_vec(), id.to_ne_bytes().to_vec());
        }
        let bytes = random.below(4) as u8 + 1;
        // What a program cannot see, the bytes behind a CPU's value up to the next one's, is zero: the kernel would keep it.
        let (size, stride) = (self.spec.value_size as usize, self.stride());
        let byte = |at: usize| if at % stride < size { bytes.wrapping_mul(at as u8 | 1) } else { 0 };
        let value: Vec<u8> = (0..stride * self.cpus()).map(byte).collect();
        (value.clone(), value)
    }

    /// Bytes from one CPU's value to the next.
    fn stride(&self) -> usize {
        let size = self.spec.value_size as usize;
        if is_percpu(self.kind.map_type) { size.next_multiple_of(8) } else { size }
    }

    fn cpus(&self) -> usize {
        if is_percpu(self.kind.map_type) { machine::possible_cpus().unwrap_or(1) } else { 1 }
    }

    /// A value that the machine gave, as the kernel says it.
    fn as_kernel(&self, value: Vec<u8>) -> Vec<u8> {
        if !is_outer(self.kind.map_type) {
            return value;
        }
        let known = self.inner.iter().find(|(_, MapId(id), _)| id.to_ne_bytes() == *value);
        known.map_or(value, |(_, _, number)| number.to_ne_bytes().to_vec())
    }

    /// One call on both: what it was, and both answers.
    fn call(&mut self, random: &mut Random) -> (String, Answer, Answer) {
        let key = self.key(random);
        let (there, here) = self.value(random);
        let flags = random.pick(FLAGS);
        match random.below(8) {
            0..=2 => (
                format!("update {key:02x?} {here:02x?} flags {flags:#x}"),
                number(self.kernel.elem_update(&key, &there, flags).map(|()| Vec::new())),
                errno(
                    self.maps.user_update(self.id, &mut self.memory, &key, &here, flags).map(|()| Vec::new()),
                ),
            ),
            3 => (
                format!("delete {key:02x?}"),
                number(self.kernel.elem_delete(&key).map(|()| Vec::new())),
                errno(self.maps.user_delete(self.id, &mut self.memory, &key).map(|()| Vec::new())),
            ),
            4 => (
                format!("take {key:02x?}"),
                number(self.kernel.elem_take(&key)),
                errno(self.maps.user_take(self.id, &mut self.memory, &key)),
            ),
            5 => {
                let from = (!random.one_in(3)).then_some(&key[..]);
                let there = number(self.kernel.elem_next_key(from));
                let here = errno(self.maps.user_next_key(self.id, from));
                let what = format!("next key of {from:02x?}");
                let found = |key: Vec<u8>| if self.kind.ordered { key } else { vec![1] };
                // Where the order is each one's own, only the first key's being there is the same.
                match from.is_none() || self.kind.ordered || there.is_err() && here.is_err() {
                    true => (what, there.map(found), here.map(found)),
                    false => (what, Ok(Vec::new()), Ok(Vec::new())),
                }
            }
            _ => {
                let asked = if self.kind.map_type == MapType::BloomFilter { &here } else { &key };
                let found = errno(self.maps.user_lookup(self.id, &self.memory, asked));
                let found = found.map(|value| self.as_kernel(value));
                (format!("look up {asked:02x?}"), number(self.kernel.elem_lookup(&key, &there)), found)
            }
        }
    }

    /// All keys of both, by walking: sorted where each has its own order.
    fn walk(&self) -> [Result<Vec<Vec<u8>>, i32>; 2] {
        let all = |next: &dyn Fn(Option<&[u8]>) -> Answer| {
            let mut keys: Vec<Vec<u8>> = Vec::new();
            loop {
                match next(keys.last().map(Vec::as_slice)) {
                    Ok(key) => keys.push(key),
                    Err(errno) if errno == NOENT => break,
                    Err(errno) => return Err(errno),
                }
                assert!(keys.len() <= 1000, "the walk does not end");
            }
            if !self.kind.ordered {
                keys.sort();
            }
            Ok(keys)
        };
        let there = all(&|key| number(self.kernel.elem_next_key(key)));
        let here = all(&|key| errno(self.maps.user_next_key(self.id, key)));
        [there, here]
    }
}

const NOENT: i32 = 2;

fn number(answer: Result<Vec<u8>, skep_kernel::Error>) -> Answer {
    answer.map_err(|error| error.errno().unwrap_or(-1))
}

fn errno(answer: Result<Vec<u8>, skep_engine::maps::Errno>) -> Answer {
    answer.map_err(skep_engine::maps::Errno::raw_os_error)
}

/// The kernel's number of a map, as a map of maps tells it.
fn number_of(map: &Map) -> Result<u32, String> {
    let holder = MapSpec::new("of", MapType::ArrayOfMaps, 4, 4, 1);
    let holder = Map::create_holding(&holder, map).map_err(|e| e.to_string())?;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(map));
    holder.elem_update(&[0; 4], &fd.to_ne_bytes(), 0).map_err(|e| e.to_string())?;
    let id = holder.elem_lookup(&[0; 4], &[]).map_err(|e| e.to_string())?;
    let id = id.try_into().map_err(|_| "a number of four bytes".to_owned())?;
    Ok(u32::from_ne_bytes(id))
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Makes a map of a kind and calls it: the calls, up to the first that differs.
fn compare(kind: &'static Kind, seed: u64) -> Result<(), String> {
    let mut random = Random::new(seed);
    let mut pair = Pair::make(kind, &mut random)?;
    let mut calls = Vec::new();
    for _ in 0..CALLS {
        let (what, there, here) = pair.call(&mut random);
        calls.push(format!("{what}: {there:02x?}"));
        if there != here {
            return Err(format!("{:?}\n{}\nmachine: {here:02x?}", pair.spec, calls.join("\n")));
        }
        let [there, here] = pair.walk();
        if there != here {
            return Err(format!(
                "{:?}\n{}\nkeys: kernel {there:02x?}\nmachine {here:02x?}",
                pair.spec,
                calls.join("\n")
            ));
        }
    }
    Ok(())
}

#[test]
fn the_machines_maps_do_what_the_kernels_do() {
    if !machine::is_root() {
        eprintln!("skipped: not root, so no maps can be made");
        return;
    }
    let (count, seed) = (setting("SKEP_MAPS", 25), setting("SKEP_SEED", 1));
    let mut differences = Vec::new();
    for kind in KINDS {
        let found = (0..count).find_map(|n| compare(kind, seed << 32 | n).err());
        differences.extend(found.map(|what| format!("{:?}: {what}", kind.map_type)));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}

/// Specs at random, most of them wrong: both take and refuse the same.
#[test]
fn the_machine_makes_the_maps_that_the_kernel_makes() {
    if !machine::is_root() {
        eprintln!("skipped: not root, so no maps can be made");
        return;
    }
    let mut random = Random::new(setting("SKEP_SEED", 1));
    let kinds: Vec<MapType> =
        KINDS.iter().map(|kind| kind.map_type).filter(|kind| !is_outer(*kind)).collect();
    let more = [
        MapType::ProgArray,
        MapType::PerfEventArray,
        MapType::StackTrace,
        MapType::Devmap,
        MapType::DevmapHash,
        MapType::Cpumap,
        MapType::Xskmap,
        MapType::Sockmap,
        MapType::Sockhash,
        MapType::Ringbuf,
        MapType::UserRingbuf,
        MapType::CgroupArray,
        MapType::ReuseportSockarray,
    ];
    let kinds: Vec<MapType> = kinds.into_iter().chain(more).collect();
    let mut differences = Vec::new();
    for _ in 0..setting("SKEP_SPECS", 3000) {
        let mut spec = MapSpec::new("both", random.pick(&kinds), 0, 0, 0);
        spec.key_size = random.pick(&[0, 1, 4, 4, 4, 5, 8, 16, 260, 261, 512, 513]);
        spec.value_size = random.pick(&[0, 1, 4, 4, 8, 8, 9, 16, 1016, 1024, 32768, 32769]);
        spec.max_entries = random.pick(&[1, 2, 3, 64, 4096, 8192, 8193, 12288]);
        if spec.map_type == MapType::Cpumap {
            // How many CPUs a kernel is made for differs.
            spec.max_entries = spec.max_entries.min(2);
        }
        spec.flags = match random.below(3) {
            0 => 0,
            1 => 1,
            _ => 1 << random.below(17),
        };
        if spec.map_type == MapType::StackTrace {
            // There are no files here whose build ids stacks could hold.
            spec.flags &= !STACK_BUILD_ID;
        }
        let there = Map::create(&spec).err().map(|error| error.to_string());
        let here = Maps::default()
            .create(&spec, &mut Memory::new().expect("address space"), 2)
            .err()
            .map(|error| error.to_string());
        if there.is_some() != here.is_some() {
            let MapSpec { map_type, key_size, value_size, max_entries, flags, .. } = spec;
            differences.push(format!(
                "{map_type:?} key {key_size} value {value_size} entries {max_entries} flags {flags:#x}: kernel {there:?}, machine {here:?}"
            ));
        }
    }
    differences.sort();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
