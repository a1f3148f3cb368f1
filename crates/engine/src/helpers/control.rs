//! Loops over numbers and over maps, spin locks, pointers in maps.

use std::collections::HashSet;

use rustix::io::Errno;
use skep_bpf::helpers::id;
use skep_bpf::kinds::MapType;

use super::ring::NO_FLAGS;
use super::{Answer, Call, failed};
use crate::maps::Map;
use crate::vm::fault::FaultKind;
use crate::vm::memory::{Access, Addr, MapId, ObjectKind};

/// Most rounds of `bpf_loop()` (BPF_MAX_LOOPS).
const MOST_LOOPS: u64 = 8 << 20;

pub(super) fn bpf_loop(call: &mut Call<'_>) -> Answer {
    let [rounds, function, context, flags, _] = call.args;
    let rounds = rounds & u64::from(u32::MAX);
    if flags != NO_FLAGS {
        return Ok(failed(Errno::INVAL));
    }
    if rounds > MOST_LOOPS {
        return Ok(failed(Errno::TOOBIG));
    }
    for round in 0..rounds {
        if call.call_back(function, [round, context, 0, 0, 0])? != 0 {
            return Ok(round + 1);
        }
    }
    Ok(rounds)
}

pub(super) fn for_each_map_elem(call: &mut Call<'_>) -> Answer {
    let map = call.map(id::FOR_EACH_MAP_ELEM, 1)?;
    if call.arg(4) != NO_FLAGS {
        return Ok(failed(Errno::INVAL));
    }
    let (key_size, _) = call.sizes(map);
    let key = call.state.memory.alloc(ObjectKind::MapKey(map), key_size, Access::Read)?;
    let result = match call.state.env.key_order.knows(map) {
        true => each_recorded(call, map, key, key_size),
        false => each(call, map, key, key_size),
    };
    call.state.memory.free(key);
    result
}

/// Calls back for the entries that a recorded run came to, in its order. A walk comes to a key once, and only to one that is there.
fn each_recorded(call: &mut Call<'_>, map: MapId, key_at: Addr, key_size: u32) -> Answer {
    let [handle, function, context, ..] = call.args;
    let cpu = call.state.env.cpu;
    let mut seen = HashSet::new();
    loop {
        let maps = &call.state.maps;
        let place = |key: &[u8]| maps.get(map).and_then(|map| map.find(cpu, key));
        let next = call.state.env.key_order.next(map, |key| !seen.contains(key) && place(key).is_some());
        let Some((key, at)) = next.and_then(|key| place(&key).map(|at| (key, at))) else { break };
        if let Some(place) = call.state.memory.host_mut(key_at, key_size) {
            place.copy_from_slice(&key);
        }
        seen.insert(key);
        if call.call_back(function, [handle, key_at.get(), at.get(), context, 0])? != 0 {
            break;
        }
    }
    Ok(seen.len() as u64)
}

fn is_array(map: &dyn Map) -> bool {
    matches!(map.spec().map_type, MapType::Array | MapType::PercpuArray)
}

/// Calls back for every entry. Entries that the callback deletes are not lost track of: the next key is found before.
fn each(call: &mut Call<'_>, map: MapId, key_at: Addr, key_size: u32) -> Answer {
    let [handle, function, context, ..] = call.args;
    let cpu = call.state.env.cpu;
    let mut count = 0;
    let next = |call: &Call<'_>, key: Option<&[u8]>| {
        call.state.maps.get(map).and_then(|map| map.next_key(key).ok().flatten())
    };
    let array = call.state.maps.get(map).is_some_and(is_array);
    let mut key = next(call, None);
    while let Some(now) = key {
        let following = next(call, Some(&now));
        let Some(at) = call.state.maps.get(map).and_then(|map| map.find(cpu, &now)) else {
            key = following;
            continue;
        };
        if let Some(place) = call.state.memory.host_mut(key_at, key_size) {
            place.copy_from_slice(&now);
        }
        count += 1;
        if call.call_back(function, [handle, key_at.get(), at.get(), context, 0])? != 0 {
            break;
        }
        // A key that was deleted meanwhile would begin again from the first one.
        let alive =
            |key: &Vec<u8>| array || call.state.maps.get(map).is_some_and(|m| m.find(cpu, key).is_some());
        key = match following {
            Some(following) if alive(&following) => Some(following),
            Some(_) if alive(&now) => next(call, Some(&now)),
            _ => None,
        };
    }
    Ok(count)
}

/// The lock of a `struct bpf_spin_lock`: a u32.
pub(super) fn spin_lock(call: &mut Call<'_>) -> Answer {
    if call.fixed(1, 4)? != [0; 4] {
        let what = "is a lock that is taken already: the program would wait for itself for ever".to_owned();
        return Err(FaultKind::Argument { name: "spin_lock", index: 1, what });
    }
    call.put(1, &1u32.to_ne_bytes())?;
    let at = call.arg(1);
    call.gives("spin_lock", "spin_unlock", at);
    Ok(0)
}

pub(super) fn spin_unlock(call: &mut Call<'_>) -> Answer {
    if call.fixed(1, 4)? == [0; 4] {
        let what = "is a lock that is not taken".to_owned();
        return Err(FaultKind::Argument { name: "spin_unlock", index: 1, what });
    }
    call.put(1, &[0; 4])?;
    let at = call.arg(1);
    call.state.run.let_go(Some("spin_unlock"), at);
    Ok(0)
}

pub(super) fn kptr_xchg(call: &mut Call<'_>) -> Answer {
    let new = call.arg(2);
    let mut old = [0; 8];
    old.copy_from_slice(&call.fixed(1, 8)?);
    call.put(1, &new.to_ne_bytes())?;
    // The map owns the new one, and the program the old one, whatever kind of thing they are.
    let old = u64::from_ne_bytes(old);
    call.state.run.let_go(None, new);
    if old != 0 {
        call.state.run.hold("kptr_xchg", None, old);
    }
    Ok(old)
}
