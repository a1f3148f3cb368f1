//! Map operations of programs.

use rustix::io::Errno;
use skep_bpf::helpers::{self, id};
use skep_bpf::kinds::{MapType, map_flags};

use super::{Answer, Call, failed, status};
use crate::maps::Map;
use crate::vm::fault::FaultKind;
use crate::vm::memory::MapId;

/// What kinds of maps a helper takes (check_map_func_compatibility, kernel/bpf/verifier.c).
fn takes(helper: u32, map_type: MapType) -> bool {
    use MapType::*;
    let keyed =
        matches!(map_type, Hash | Array | PercpuHash | PercpuArray | LruHash | LruPercpuHash | LpmTrie);
    let redirects = matches!(map_type, Devmap | DevmapHash | Cpumap | Xskmap);
    match helper {
        id::MAP_LOOKUP_ELEM => {
            keyed || redirects || matches!(map_type, ArrayOfMaps | HashOfMaps | Sockmap | Sockhash)
        }
        id::MAP_UPDATE_ELEM => keyed || matches!(map_type, Sockmap | Sockhash),
        id::MAP_DELETE_ELEM => keyed || matches!(map_type, Sockmap | Sockhash),
        id::MAP_PUSH_ELEM | id::MAP_PEEK_ELEM => matches!(map_type, Queue | Stack | BloomFilter),
        id::MAP_POP_ELEM => matches!(map_type, Queue | Stack),
        id::MAP_LOOKUP_PERCPU_ELEM => matches!(map_type, PercpuArray | PercpuHash | LruPercpuHash),
        id::FOR_EACH_MAP_ELEM => keyed && map_type != LpmTrie,
        id::REDIRECT_MAP => redirects,
        id::PERF_EVENT_OUTPUT
        | id::PERF_EVENT_READ
        | id::PERF_EVENT_READ_VALUE
        | id::SKB_OUTPUT
        | id::XDP_OUTPUT => map_type == PerfEventArray,
        id::GET_STACKID => map_type == StackTrace,
        id::SKB_UNDER_CGROUP | id::CURRENT_TASK_UNDER_CGROUP => map_type == CgroupArray,
        id::SK_REDIRECT_MAP | id::MSG_REDIRECT_MAP | id::SOCK_MAP_UPDATE => map_type == Sockmap,
        id::SK_REDIRECT_HASH | id::MSG_REDIRECT_HASH | id::SOCK_HASH_UPDATE => map_type == Sockhash,
        id::SK_SELECT_REUSEPORT => matches!(map_type, ReuseportSockarray | Sockmap | Sockhash),
        id::GET_LOCAL_STORAGE => matches!(map_type, CgroupStorage | PercpuCgroupStorage),
        id::RINGBUF_OUTPUT | id::RINGBUF_RESERVE | id::RINGBUF_QUERY | id::RINGBUF_RESERVE_DYNPTR => {
            map_type == Ringbuf
        }
        id::USER_RINGBUF_DRAIN => map_type == UserRingbuf,
        id::SK_STORAGE_GET | id::SK_STORAGE_DELETE => map_type == SkStorage,
        id::INODE_STORAGE_GET | id::INODE_STORAGE_DELETE => map_type == InodeStorage,
        id::TASK_STORAGE_GET | id::TASK_STORAGE_DELETE => map_type == TaskStorage,
        id::CGRP_STORAGE_GET | id::CGRP_STORAGE_DELETE => map_type == CgrpStorage,
        _ => true,
    }
}

impl Call<'_> {
    /// The map that an argument names, of a kind that the helper takes.
    pub(super) fn map(&self, helper: u32, number: u8) -> Result<MapId, FaultKind> {
        let name = helpers::by_id(helper).map_or("?", |helper| helper.name);
        let refuse = |what: String| FaultKind::Argument { name, index: number, what };
        let found = self.state.maps.by_handle(&self.state.memory, self.arg(number));
        let found = found.ok_or_else(|| refuse(format!("is no map: {:#x}", self.arg(number))))?;
        let spec = self.state.maps.get(found).map(Map::spec);
        let spec = spec.ok_or_else(|| refuse("is no map".to_owned()))?;
        if !takes(helper, spec.map_type) {
            let kind = spec.map_type.name();
            return Err(refuse(format!("cannot be the map `{}` of the kind {kind}", spec.name)));
        }
        let writes = matches!(
            helper,
            id::MAP_UPDATE_ELEM | id::MAP_DELETE_ELEM | id::MAP_PUSH_ELEM | id::MAP_POP_ELEM
        );
        if writes && spec.flags & map_flags::RDONLY_PROG != 0 {
            return Err(refuse(format!("cannot be the map `{}`: programs may only read it", spec.name)));
        }
        Ok(found)
    }

    /// Bytes of a map's keys and values.
    pub(super) fn sizes(&self, map: MapId) -> (u32, u32) {
        self.state.maps.get(map).map_or((0, 0), |map| (map.spec().key_size, map.spec().value_size))
    }

    /// A copy of the key that an argument points to.
    pub(super) fn key(&self, map: MapId, number: u8) -> Result<Vec<u8>, FaultKind> {
        self.fixed(number, self.sizes(map).0)
    }

    /// A map by number.
    pub(super) fn map_mut(&mut self, map: MapId) -> Result<&mut (dyn Map + 'static), FaultKind> {
        let what = "is no map".to_owned();
        self.state.maps.get_mut(map).ok_or(FaultKind::Argument { name: "map", index: 1, what })
    }
}

pub(super) fn map_lookup_elem(call: &mut Call<'_>) -> Answer {
    let number = call.map(id::MAP_LOOKUP_ELEM, 1)?;
    let (key_size, _) = call.sizes(number);
    let cpu = call.state.env.cpu;
    let key = call.state.memory.read(call.args[1], key_size)?;
    let Some(map) = call.state.maps.get_mut(number) else { return Ok(0) };
    if matches!(map.spec().map_type, MapType::Sockmap | MapType::Sockhash) {
        let key = key.to_vec();
        return super::socket::lookup_in_map(call, number, &key);
    }
    Ok(map.lookup(cpu, key).map_or(0, |at| at.get()))
}

pub(super) fn map_lookup_percpu_elem(call: &mut Call<'_>) -> Answer {
    let map = call.map(id::MAP_LOOKUP_PERCPU_ELEM, 1)?;
    let key = call.key(map, 2)?;
    let cpu = call.arg32(3);
    if cpu >= call.state.env.cpus {
        return Ok(0);
    }
    Ok(call.map_mut(map)?.lookup(cpu, &key).map_or(0, |at| at.get()))
}

pub(super) fn map_update_elem(call: &mut Call<'_>) -> Answer {
    let map = call.map(id::MAP_UPDATE_ELEM, 1)?;
    let key = call.key(map, 2)?;
    let (cpu, flags) = (call.state.env.cpu, call.arg(4));
    let kind = call.map_mut(map)?.spec().map_type;
    if matches!(kind, MapType::Sockmap | MapType::Sockhash) {
        return super::socket::update_map(call, map, &key);
    }
    let value = call.fixed(3, call.sizes(map).1)?;
    let state = &mut *call.state;
    let Some(map) = state.maps.get_mut(map) else { return Ok(failed(Errno::INVAL)) };
    Ok(status(map.update(&mut state.memory, cpu, &key, &value, flags)))
}

pub(super) fn map_delete_elem(call: &mut Call<'_>) -> Answer {
    let map = call.map(id::MAP_DELETE_ELEM, 1)?;
    let key = call.key(map, 2)?;
    let (_, size) = call.sizes(map);
    let state = &mut *call.state;
    let Some(map) = state.maps.get_mut(map) else { return Ok(failed(Errno::INVAL)) };
    if let Some(at) = map.find(0, &key) {
        state.env.timers.drop_within(at, size);
    }
    Ok(status(map.delete(&mut state.memory, &key)))
}

pub(super) fn map_push_elem(call: &mut Call<'_>) -> Answer {
    let map = call.map(id::MAP_PUSH_ELEM, 1)?;
    let value = call.fixed(2, call.sizes(map).1)?;
    let flags = call.arg(3);
    Ok(status(call.map_mut(map)?.push(&value, flags)))
}

/// Copies a value out; where there is none, zeros.
fn copy_out(call: &mut Call<'_>, size: u32, value: Result<Vec<u8>, Errno>) -> Answer {
    let (bytes, result) = match value {
        Ok(value) => (value, 0),
        Err(errno) => (vec![0; size as usize], failed(errno)),
    };
    call.put(2, &bytes)?;
    Ok(result)
}

pub(super) fn map_pop_elem(call: &mut Call<'_>) -> Answer {
    let map = call.map(id::MAP_POP_ELEM, 1)?;
    let (_, size) = call.sizes(map);
    call.writable(2, size)?;
    let value = call.map_mut(map)?.pop();
    copy_out(call, size, value)
}

pub(super) fn map_peek_elem(call: &mut Call<'_>) -> Answer {
    let map = call.map(id::MAP_PEEK_ELEM, 1)?;
    let (_, size) = call.sizes(map);
    if call.map_mut(map)?.spec().map_type == MapType::BloomFilter {
        let value = call.fixed(2, size)?;
        return Ok(status(call.map_mut(map)?.peek(&value).map(|_| ())));
    }
    call.writable(2, size)?;
    let value = call.map_mut(map)?.peek(&[]);
    copy_out(call, size, value)
}
