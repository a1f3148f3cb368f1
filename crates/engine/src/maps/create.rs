//! Making maps: what the kernel's `map_alloc_check` of each kind demands (kernel/bpf/*map*.c, Linux 6.18), as a table, and the
//! constructor of each.

use skep_bpf::kinds::{MapType, map_flags as flag};
use skep_bpf::object::MapSpec;

use super::array::Array;
use super::bloom::{Bloom, MOST_HASHES};
use super::hash::Hash;
use super::inner::OuterMap;
use super::lpm::Lpm;
use super::perf::PerfArray;
use super::progs::ProgArray;
use super::queue::Queue;
use super::ringbuf::{Ringbuf, UserRingbuf};
use super::stacks::StackMap;
use super::storage::Storage;
use super::targets::Targets;
use super::{Map, targets};
use crate::vm::VmError;
use crate::vm::memory::{MapId, Memory};

/// Most bytes of a key and a value together (KMALLOC_MAX_SIZE, less what the kernel puts around them).
const LARGEST: u64 = (1 << 22) - 64;
/// Most bytes of a value on one CPU (PCPU_MIN_UNIT_SIZE).
const LARGEST_PERCPU: u32 = 32 << 10;
/// Most bits of a prefix, in bytes (LPM_DATA_SIZE_MAX).
const LONGEST_PREFIX: u32 = 256;
/// Most addresses of a stack (sysctl kernel.perf_event_max_stack).
const DEEPEST_STACK: u32 = 127;
/// Most CPUs of a machine (NR_CPUS of common configurations).
const MOST_CPUS: u32 = 8192;
/// Most programs, maps, events or targets in an array: what 64 MiB hold.
const MOST_SLOTS: u32 = 1 << 23;

/// What sizes are allowed.
#[derive(Clone, Copy)]
enum Sizes {
    /// Exactly one of these.
    OneOf(&'static [u32]),
    /// From the first to the second.
    Between(u32, u32),
}

impl Sizes {
    fn allow(self, size: u32) -> bool {
        match self {
            Sizes::OneOf(sizes) => sizes.contains(&size),
            Sizes::Between(least, most) => (least..=most).contains(&size),
        }
    }

    fn describe(self) -> String {
        match self {
            Sizes::OneOf(sizes) => {
                let words: Vec<String> = sizes.iter().map(u32::to_string).collect();
                words.join(" or ")
            }
            Sizes::Between(least, most) => format!("{least} to {most}"),
        }
    }
}

/// What `max_entries` may be.
#[derive(Clone, Copy, PartialEq)]
enum Count {
    /// At least one.
    Some,
    /// At least one; 0 stands for the number of CPUs.
    SomeOrCpus,
    /// Zero.
    None,
    /// A power of two and a multiple of the page size.
    Pages,
}

struct Rule {
    map_types: &'static [MapType],
    key: Sizes,
    value: Sizes,
    flags: u32,
    count: Count,
}

/// Read and write permissions of user space and programs (BPF_F_ACCESS_MASK).
const ACCESS: u32 = flag::RDONLY | flag::RDONLY_PROG | flag::WRONLY | flag::WRONLY_PROG;
const ANY: Sizes = Sizes::Between(1, LARGEST as u32);
const INDEX: Sizes = Sizes::OneOf(&[4]);

static RULES: &[Rule] = &[
    Rule {
        map_types: &[MapType::Array],
        key: INDEX,
        value: ANY,
        flags: ACCESS | flag::NUMA_NODE | flag::MMAPABLE | flag::INNER_MAP,
        count: Count::Some,
    },
    Rule {
        map_types: &[MapType::PercpuArray],
        key: INDEX,
        value: Sizes::Between(1, LARGEST_PERCPU),
        flags: ACCESS,
        count: Count::Some,
    },
    Rule {
        map_types: &[MapType::Hash],
        key: ANY,
        value: ANY,
        flags: ACCESS | flag::NUMA_NODE | flag::NO_PREALLOC | flag::ZERO_SEED,
        count: Count::Some,
    },
    Rule {
        map_types: &[MapType::PercpuHash],
        key: ANY,
        value: Sizes::Between(1, LARGEST_PERCPU),
        flags: ACCESS | flag::NO_PREALLOC | flag::ZERO_SEED,
        count: Count::Some,
    },
    Rule {
        map_types: &[MapType::LruHash],
        key: ANY,
        value: ANY,
        flags: ACCESS | flag::NUMA_NODE | flag::NO_COMMON_LRU | flag::ZERO_SEED,
        count: Count::Some,
    },
    Rule {
        map_types: &[MapType::LruPercpuHash],
        key: ANY,
        value: Sizes::Between(1, LARGEST_PERCPU),
        flags: ACCESS | flag::NO_COMMON_LRU | flag::ZERO_SEED,
        count: Count::Some,
    },
    Rule {
        map_types: &[MapType::LpmTrie],
        key: Sizes::Between(5, 4 + LONGEST_PREFIX),
        value: ANY,
        flags: ACCESS | flag::NUMA_NODE | flag::NO_PREALLOC,
        count: Count::Some,
    },
    Rule {
        map_types: &[MapType::ProgArray, MapType::CgroupArray],
        key: INDEX,
        value: INDEX,
        flags: flag::NUMA_NODE | flag::RDONLY | flag::WRONLY,
        count: Count::Some,
    },
    Rule {
        map_types: &[MapType::PerfEventArray],
        key: INDEX,
        value: INDEX,
        flags: flag::NUMA_NODE | flag::RDONLY | flag::WRONLY | flag::PRESERVE_ELEMS,
        count: Count::SomeOrCpus,
    },
    Rule {
        map_types: &[MapType::ArrayOfMaps],
        key: INDEX,
        value: INDEX,
        flags: flag::NUMA_NODE | ACCESS,
        count: Count::Some,
    },
    Rule {
        map_types: &[MapType::HashOfMaps],
        key: ANY,
        value: INDEX,
        flags: ACCESS | flag::NUMA_NODE | flag::NO_PREALLOC | flag::ZERO_SEED,
        count: Count::Some,
    },
    Rule {
        map_types: &[MapType::Queue, MapType::Stack],
        key: Sizes::OneOf(&[0]),
        value: ANY,
        flags: ACCESS | flag::NUMA_NODE,
        count: Count::Some,
    },
    Rule {
        map_types: &[MapType::BloomFilter],
        key: Sizes::OneOf(&[0]),
        value: ANY,
        flags: ACCESS | flag::NUMA_NODE | flag::ZERO_SEED,
        count: Count::Some,
    },
    Rule {
        map_types: &[MapType::Ringbuf],
        key: Sizes::OneOf(&[0]),
        value: Sizes::OneOf(&[0]),
        flags: flag::NUMA_NODE,
        count: Count::Pages,
    },
    Rule {
        map_types: &[MapType::UserRingbuf],
        key: Sizes::OneOf(&[0]),
        value: Sizes::OneOf(&[0]),
        flags: flag::NUMA_NODE,
        count: Count::Pages,
    },
    Rule {
        map_types: &[MapType::StackTrace],
        key: INDEX,
        value: Sizes::Between(8, DEEPEST_STACK * 8),
        flags: flag::NUMA_NODE | flag::RDONLY | flag::WRONLY,
        count: Count::Some,
    },
    Rule {
        map_types: &[MapType::TaskStorage, MapType::InodeStorage, MapType::CgrpStorage],
        key: INDEX,
        value: ANY,
        flags: flag::NO_PREALLOC,
        count: Count::None,
    },
    Rule {
        map_types: &[MapType::SkStorage],
        key: INDEX,
        value: ANY,
        flags: flag::NO_PREALLOC | flag::CLONE,
        count: Count::None,
    },
    Rule {
        map_types: &[MapType::CgroupStorage, MapType::PercpuCgroupStorage],
        key: Sizes::OneOf(&[8, 16]),
        value: ANY,
        flags: ACCESS | flag::NUMA_NODE,
        count: Count::None,
    },
    Rule {
        map_types: &[MapType::Devmap],
        key: INDEX,
        value: Sizes::OneOf(&[4, 8]),
        flags: flag::NUMA_NODE | flag::RDONLY | flag::WRONLY,
        count: Count::Some,
    },
    Rule {
        map_types: &[MapType::DevmapHash],
        key: INDEX,
        value: Sizes::OneOf(&[4, 8]),
        flags: flag::NUMA_NODE | flag::RDONLY | flag::WRONLY,
        count: Count::Some,
    },
    Rule {
        map_types: &[MapType::Cpumap],
        key: INDEX,
        value: Sizes::OneOf(&[4, 8]),
        flags: flag::NUMA_NODE,
        count: Count::Some,
    },
    Rule {
        map_types: &[MapType::Xskmap],
        key: INDEX,
        value: INDEX,
        flags: flag::NUMA_NODE | flag::RDONLY | flag::WRONLY,
        count: Count::Some,
    },
    Rule {
        map_types: &[MapType::Sockmap],
        key: INDEX,
        value: Sizes::OneOf(&[4, 8]),
        flags: flag::NUMA_NODE | flag::RDONLY | flag::WRONLY,
        count: Count::Some,
    },
    Rule {
        map_types: &[MapType::ReuseportSockarray],
        key: INDEX,
        value: Sizes::OneOf(&[4, 8]),
        flags: ACCESS | flag::NUMA_NODE,
        count: Count::Some,
    },
    Rule {
        map_types: &[MapType::Sockhash],
        key: Sizes::Between(1, 512),
        value: Sizes::OneOf(&[4, 8]),
        flags: flag::NUMA_NODE | flag::RDONLY | flag::WRONLY,
        count: Count::Some,
    },
];

/// Why this machine has no maps of a kind.
fn refusal(map_type: MapType) -> String {
    match map_type {
        MapType::StructOps => {
            "struct_ops replaces functions of the kernel; there is no kernel here to call them".to_owned()
        }
        MapType::Arena => {
            "arenas are memory that programs and a process share; there is no process here".to_owned()
        }
        other => format!("the machine has no maps of the kind {other:?}"),
    }
}

fn check(spec: &MapSpec) -> Result<(), String> {
    let rule = RULES.iter().find(|rule| rule.map_types.contains(&spec.map_type));
    let rule = rule.ok_or_else(|| refusal(spec.map_type))?;
    let MapSpec { map_type, key_size, value_size, max_entries, flags, .. } = *spec;
    for (what, size, allowed) in [("key", key_size, rule.key), ("value", value_size, rule.value)] {
        if !allowed.allow(size) {
            let wanted = allowed.describe();
            return Err(format!("a {what} of {size} bytes; {map_type:?} maps take {wanted} (EINVAL)"));
        }
    }
    if u64::from(key_size) + u64::from(value_size) > LARGEST {
        return Err(format!("key and value take more than {LARGEST} bytes together (E2BIG)"));
    }
    if map_type == MapType::StackTrace && !value_size.is_multiple_of(8) {
        return Err(format!("{value_size} bytes hold no whole number of addresses (EINVAL)"));
    }
    if map_type == MapType::BloomFilter && spec.details.map_extra > MOST_HASHES.into() {
        return Err(format!("more than {MOST_HASHES} hash functions in map_extra (EINVAL)"));
    }
    check_count(rule.count, map_type, max_entries)?;
    check_map_flags(rule, map_type, flags)
}

fn check_count(count: Count, map_type: MapType, entries: u32) -> Result<(), String> {
    let most = match map_type {
        MapType::Cpumap => MOST_CPUS,
        _ if is_host_array(map_type) => MOST_SLOTS,
        _ => u32::MAX,
    };
    match count {
        Count::Some if entries == 0 => Err("max_entries is 0; it must hold at least one (EINVAL)".to_owned()),
        Count::None if entries != 0 => {
            Err(format!("max_entries is {entries}; {map_type:?} maps have no limit: 0 (EINVAL)"))
        }
        Count::Pages if !entries.is_power_of_two() || entries < 4096 => {
            Err(format!("{entries} bytes; a ring buffer has a power of two, at least 4096 (EINVAL)"))
        }
        _ if entries > most => Err(format!("max_entries is {entries}, more than {most} (E2BIG)")),
        _ => Ok(()),
    }
}

/// Kinds whose slots the machine keeps in an array of its own.
fn is_host_array(map_type: MapType) -> bool {
    matches!(map_type, MapType::ProgArray | MapType::PerfEventArray | MapType::StackTrace)
}

fn check_map_flags(rule: &Rule, map_type: MapType, flags: u32) -> Result<(), String> {
    let unknown = flags & !rule.flags;
    if unknown != 0 {
        return Err(format!("flags {unknown:#x} are none of {map_type:?} maps (EINVAL)"));
    }
    for (a, b, who) in
        [(flag::RDONLY, flag::WRONLY, "user space"), (flag::RDONLY_PROG, flag::WRONLY_PROG, "programs")]
    {
        if flags & a != 0 && flags & b != 0 {
            return Err(format!("{who} may not at once only read and only write (EINVAL)"));
        }
    }
    let needs = match map_type {
        MapType::LpmTrie => flag::NO_PREALLOC,
        _ if rule.count == Count::None && rule.flags & flag::NO_PREALLOC != 0 => flag::NO_PREALLOC,
        _ => 0,
    };
    if flags & needs != needs {
        return Err(format!("{map_type:?} maps need the flag BPF_F_NO_PREALLOC (EINVAL)"));
    }
    Ok(())
}

/// Makes a map.
pub(super) fn create(
    id: MapId,
    spec: &MapSpec,
    memory: &mut Memory,
    cpus: u32,
) -> Result<Box<dyn Map>, VmError> {
    let refused = |what: String| VmError::Map { name: spec.name.clone(), what };
    check(spec).map_err(refused)?;
    let cpus = cpus.max(1);
    let mut spec = spec.clone();
    if spec.max_entries == 0 && spec.map_type == MapType::PerfEventArray {
        spec.max_entries = cpus;
    }
    let spec = &spec;
    Ok(match spec.map_type {
        MapType::Array => Box::new(Array::new(id, spec, memory, 1)?),
        MapType::PercpuArray => Box::new(Array::new(id, spec, memory, cpus)?),
        MapType::Hash | MapType::LruHash => Box::new(Hash::new(id, spec, 1)),
        MapType::PercpuHash | MapType::LruPercpuHash => Box::new(Hash::new(id, spec, cpus)),
        MapType::LpmTrie => Box::new(Lpm::new(id, spec)),
        MapType::ProgArray => Box::new(ProgArray::new(spec)),
        MapType::PerfEventArray => Box::new(PerfArray::new(spec, cpus)),
        MapType::ArrayOfMaps | MapType::HashOfMaps => Box::new(OuterMap::new(spec)),
        MapType::Queue | MapType::Stack => Box::new(Queue::new(spec)),
        MapType::BloomFilter => Box::new(Bloom::new(spec)),
        MapType::Ringbuf => Box::new(Ringbuf::new(id, spec)),
        MapType::UserRingbuf => Box::new(UserRingbuf::new(spec)),
        MapType::StackTrace => Box::new(StackMap::new(spec)),
        MapType::PercpuCgroupStorage => Box::new(Storage::new(id, spec, cpus)),
        _ if targets::is_target(spec.map_type) => match Targets::new(id, spec, cpus) {
            Some(map) => Box::new(map),
            None => return Err(refused(refusal(spec.map_type))),
        },
        _ => Box::new(Storage::new(id, spec, 1)),
    })
}
