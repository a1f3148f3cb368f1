//! Maps that say where packets go: devices, CPUs, sockets; and arrays of cgroups (kernel/bpf/devmap.c, cpumap.c,
//! net/xdp/xskmap.c, net/core/sock_map.c, kernel/bpf/arraymap.c). What the numbers in them mean is the machine's own: interface
//! indexes, CPUs, socket cookies, cgroup ids.

use std::collections::BTreeMap;

use rustix::io::Errno;
use skep_bpf::kinds::MapType;
use skep_bpf::object::MapSpec;

use super::pool::Pool;
use super::{Map, check_existing, index_of, key_behind, next_index, update_flag};
use crate::vm::memory::{Access, Addr, MapId, Memory, ObjectKind};

/// Longest queue of a CPU (cpu_map_update_elem).
const LONGEST_QUEUE: u64 = 16_384;

/// What a kind of target map does otherwise than its siblings.
struct Rule {
    map_type: MapType,
    /// Keys are indexes below `max_entries`.
    indexed: bool,
    /// BPF_NOEXIST and BPF_EXIST count as everywhere; else only the first does, or neither.
    exist: Exist,
    /// A value of zero deletes.
    zero_deletes: bool,
    /// Error for deleting at an index that is too large, where keys are indexes.
    bad_index: Errno,
    /// Error for deleting what is not there; without one it is none.
    missing: Option<Errno>,
    /// Programs may look values up and read them.
    readable: bool,
    /// User space may read values.
    user_reads: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Exist {
    Both,
    NoexistOnly,
    Neither,
}

const fn rule(map_type: MapType, indexed: bool, exist: Exist) -> Rule {
    Rule {
        map_type,
        indexed,
        exist,
        zero_deletes: false,
        bad_index: Errno::INVAL,
        missing: None,
        readable: false,
        user_reads: true,
    }
}

static RULES: &[Rule] = &[
    Rule { zero_deletes: true, readable: true, ..rule(MapType::Devmap, true, Exist::NoexistOnly) },
    Rule {
        missing: Some(Errno::NOENT),
        readable: true,
        ..rule(MapType::DevmapHash, false, Exist::NoexistOnly)
    },
    Rule { zero_deletes: true, readable: true, ..rule(MapType::Cpumap, true, Exist::NoexistOnly) },
    Rule { user_reads: false, ..rule(MapType::Xskmap, true, Exist::Both) },
    Rule { missing: Some(Errno::INVAL), ..rule(MapType::Sockmap, true, Exist::Both) },
    Rule { missing: Some(Errno::NOENT), ..rule(MapType::Sockhash, false, Exist::Both) },
    Rule {
        bad_index: Errno::TOOBIG,
        missing: Some(Errno::NOENT),
        user_reads: false,
        ..rule(MapType::CgroupArray, true, Exist::Neither)
    },
    Rule {
        bad_index: Errno::TOOBIG,
        missing: Some(Errno::NOENT),
        ..rule(MapType::ReuseportSockarray, true, Exist::Both)
    },
];

/// Whether a kind is one of these.
pub(super) fn is_target(map_type: MapType) -> bool {
    RULES.iter().any(|rule| rule.map_type == map_type)
}

/// A map of targets.
pub struct Targets {
    spec: MapSpec,
    rule: &'static Rule,
    pool: Pool,
    slots: BTreeMap<Vec<u8>, (u32, u64)>,
    cpus: u32,
}

impl Targets {
    /// An empty map; `None` for kinds that are none of these.
    pub(super) fn new(id: MapId, spec: &MapSpec, cpus: u32) -> Option<Targets> {
        let rule = RULES.iter().find(|rule| rule.map_type == spec.map_type)?;
        let kind = ObjectKind::MapValue(id);
        let pool = Pool::new(kind, Access::Read, spec.value_size, 1, spec.max_entries);
        Some(Targets { spec: spec.clone(), rule, pool, slots: BTreeMap::new(), cpus })
    }

    /// Where a key leads: interface index, CPU (the key) or queue, socket cookie, cgroup id.
    pub fn target(&self, key: &[u8]) -> Option<u64> {
        self.slots.get(key).map(|(_, target)| *target)
    }

    /// All keys with their targets.
    pub fn all(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.slots.iter().map(|(key, (_, target))| (key.as_slice(), *target))
    }

    fn check_index(&self, key: &[u8], error: Errno) -> Result<(), Errno> {
        let fits = index_of(key).is_some_and(|index| index < self.spec.max_entries);
        if fits || !self.rule.indexed { Ok(()) } else { Err(error) }
    }

    fn check(&self, key: &[u8], value: u64, flags: u64) -> Result<(), Errno> {
        let exists = self.slots.contains_key(key);
        let too_large = match self.rule.exist {
            Exist::Neither => flags != update_flag::ANY,
            _ => flags > update_flag::EXIST,
        };
        if too_large {
            return Err(Errno::INVAL);
        }
        self.check_index(key, Errno::TOOBIG)?;
        match self.rule.exist {
            Exist::Both => check_existing(exists, flags)?,
            // Devices and CPUs refuse the flag for every index: their array always has it.
            Exist::NoexistOnly if flags == update_flag::NOEXIST && (exists || self.rule.indexed) => {
                return Err(Errno::EXIST);
            }
            _ => {}
        }
        if self.rule.map_type == MapType::Cpumap {
            if index_of(key).is_none_or(|cpu| cpu >= self.cpus) {
                return Err(Errno::NODEV);
            }
            if value > LONGEST_QUEUE {
                return Err(Errno::OVERFLOW);
            }
        }
        let full = !exists && !self.rule.indexed && self.slots.len() >= self.spec.max_entries as usize;
        if full { Err(Errno::TOOBIG) } else { Ok(()) }
    }
}

/// The first number of a value: 8 bytes where those are sockets, else 4.
fn number(spec: &MapSpec, value: &[u8]) -> Option<u64> {
    let sockets = matches!(spec.map_type, MapType::Sockmap | MapType::Sockhash | MapType::ReuseportSockarray);
    match value.first_chunk::<8>() {
        Some(bytes) if sockets => Some(u64::from_ne_bytes(*bytes)),
        _ => index_of(value.get(..4)?).map(u64::from),
    }
}

impl Map for Targets {
    fn spec(&self) -> &MapSpec {
        &self.spec
    }

    fn find(&self, _cpu: u32, key: &[u8]) -> Option<Addr> {
        let (slot, _) = self.slots.get(key).filter(|_| self.rule.readable)?;
        self.pool.at(*slot, 0)
    }

    fn read(&self, memory: &Memory, key: &[u8]) -> Result<Vec<u8>, Errno> {
        if !self.rule.user_reads {
            return Err(super::ENOTSUPP);
        }
        let (slot, _) = self.slots.get(key).ok_or(Errno::NOENT)?;
        let at = self.pool.at(*slot, 0).ok_or(Errno::NOENT)?;
        memory.host(at, self.spec.value_size).map(<[u8]>::to_vec).ok_or(Errno::FAULT)
    }

    fn update(
        &mut self,
        memory: &mut Memory,
        _cpu: u32,
        key: &[u8],
        value: &[u8],
        flags: u64,
    ) -> Result<(), Errno> {
        let target = number(&self.spec, value).ok_or(Errno::INVAL)?;
        self.check(key, target, flags)?;
        if target == 0 && self.rule.zero_deletes {
            if let Some((slot, _)) = self.slots.remove(key) {
                self.pool.give(slot);
            }
            return Ok(());
        }
        let slot = match self.slots.get(key) {
            Some((slot, _)) => *slot,
            None => self.pool.take(memory).map_err(|_| Errno::NOMEM)?,
        };
        self.pool.set(memory, slot, 0, value);
        self.slots.insert(key.to_vec(), (slot, target));
        Ok(())
    }

    fn delete(&mut self, _memory: &mut Memory, key: &[u8]) -> Result<(), Errno> {
        self.check_index(key, self.rule.bad_index)?;
        match self.slots.remove(key) {
            Some((slot, _)) => self.pool.give(slot),
            None => return self.rule.missing.map_or(Ok(()), Err),
        }
        Ok(())
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Option<Vec<u8>>, Errno> {
        if self.rule.indexed {
            return Ok(next_index(key, self.spec.max_entries));
        }
        Ok(key_behind(&self.slots, key))
    }
}
