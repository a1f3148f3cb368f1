//! Map operations, loops, locks, timers, ring buffers, dynptrs, iterators.

use super::*;
use crate::maps::{Ringbuf, UserRingbuf};
use std::ops::ControlFlow;

fn any() -> Rig {
    Rig::new(ProgType::RawTracepoint, Env { cpus: 2, ..Env::default() })
}

fn n(value: u32) -> [u8; 4] {
    value.to_ne_bytes()
}

#[test]
fn maps_as_programs_use_them() {
    let mut rig = any();
    let (_, hash) = rig.map(MapType::Hash, 4, 8, 2, 0);
    let (key, value) = (rig.put(&n(1)), rig.put(&[5; 8]));
    assert_eq!(rig.ok(id::MAP_LOOKUP_ELEM, &[hash, key]), 0);
    assert_eq!(rig.ok(id::MAP_UPDATE_ELEM, &[hash, key, value, 2]), error(2));
    assert_eq!(rig.ok(id::MAP_UPDATE_ELEM, &[hash, key, value, 0]), 0);
    let at = rig.ok(id::MAP_LOOKUP_ELEM, &[hash, key]);
    assert_eq!(rig.get(at, 8), [5; 8]);
    assert_eq!(rig.ok(id::MAP_DELETE_ELEM, &[hash, key]), 0);
    assert_eq!(rig.ok(id::MAP_DELETE_ELEM, &[hash, key]), error(2));
    assert_eq!(
        rig.fault(id::MAP_LOOKUP_ELEM, &[key, key]),
        format!("map_lookup_elem: argument 1 is no map: {key:#x}")
    );
    let (_, queue) = rig.map(MapType::Queue, 0, 4, 2, 0);
    assert!(
        rig.fault(id::MAP_LOOKUP_ELEM, &[queue, key]).ends_with("cannot be the map `m` of the kind queue")
    );
    let out = rig.put(&[9; 4]);
    assert_eq!(rig.ok(id::MAP_POP_ELEM, &[queue, out]), error(2));
    assert_eq!(rig.get(out, 4), [0; 4], "zeros where there is none");
    assert_eq!(rig.ok(id::MAP_PUSH_ELEM, &[queue, key, 0]), 0);
    assert_eq!(rig.ok(id::MAP_PEEK_ELEM, &[queue, out]), 0);
    assert_eq!(rig.get(out, 4), n(1));
    let (_, read_only) = rig.map(MapType::Hash, 4, 8, 2, 1 << 7);
    let message = rig.fault(id::MAP_UPDATE_ELEM, &[read_only, key, value, 0]);
    assert!(message.ends_with("programs may only read it"), "{message}");
}

#[test]
fn values_of_other_cpus() {
    let mut rig = any();
    let (map, handle) = rig.map(MapType::PercpuArray, 4, 8, 1, 0);
    rig.set(map, &n(0), &[[1; 8], [2; 8]].concat());
    let key = rig.put(&n(0));
    let at = rig.ok(id::MAP_LOOKUP_PERCPU_ELEM, &[handle, key, 1]);
    assert_eq!(rig.get(at, 8), [2; 8]);
    assert_eq!(rig.ok(id::MAP_LOOKUP_PERCPU_ELEM, &[handle, key, 2]), 0);
    rig.env().cpu = 1;
    assert_eq!(rig.ok(id::MAP_LOOKUP_ELEM, &[handle, key]), at);
}

#[test]
fn loops_count_their_rounds() {
    let mut rig = any();
    let mut seen = Vec::new();
    let mut body = |_: &mut _, function, args: [u64; 5]| {
        seen.push((function, args[0], args[1]));
        Ok(u64::from(args[0] == 2))
    };
    assert_eq!(rig.call_back(id::LOOP, &[10, 0x77, 0x99, 0], &mut body), Ok(3), "broken off in the third");
    assert_eq!(seen, [(0x77, 0, 0x99), (0x77, 1, 0x99), (0x77, 2, 0x99)]);
    assert_eq!(rig.ok(id::LOOP, &[5, 0, 0, 0]), 5);
    assert_eq!(rig.ok(id::LOOP, &[5, 0, 0, 1]), error(22));
    assert_eq!(rig.ok(id::LOOP, &[(8 << 20) + 1, 0, 0, 0]), error(7));
}

#[test]
fn every_entry_once_also_when_it_is_deleted() {
    let mut rig = any();
    let (map, handle) = rig.map(MapType::Hash, 4, 4, 10, 0);
    (0..6).for_each(|key| rig.set(map, &n(key), &n(key * 10)));
    let mut seen = Vec::new();
    let mut body = |state: &mut crate::vm::state::State, _, args: [u64; 5]| {
        let key = state.memory.read(args[1], 4)?.to_vec();
        let value = state.memory.read(args[2], 4)?.to_vec();
        assert!(state.memory.write(args[1], 4).is_err(), "keys can only be read");
        let number = u32::from_ne_bytes(key.clone().try_into().unwrap());
        seen.push((number, u32::from_ne_bytes(value.try_into().unwrap()), args[3]));
        let map = state.maps.get_mut(map).unwrap();
        let _ = map.delete(&mut state.memory, &key);
        if number == 2 {
            // The one that comes next goes as well.
            let _ = map.delete(&mut state.memory, &n(3));
        }
        Ok(0)
    };
    let result = rig.call_back(id::FOR_EACH_MAP_ELEM, &[handle, 0x77, 0x99, 0], &mut body);
    assert_eq!(seen[..3], [(0, 0, 0x99), (1, 10, 0x99), (2, 20, 0x99)]);
    assert_eq!(result, Ok(seen.len() as u64));
    let (array, handle) = rig.map(MapType::Array, 4, 4, 3, 0);
    rig.set(array, &n(1), &n(5));
    assert_eq!(rig.ok(id::FOR_EACH_MAP_ELEM, &[handle, 0, 0, 0]), 3);
    assert_eq!(rig.ok(id::FOR_EACH_MAP_ELEM, &[handle, 0, 0, 1]), error(22));
    let mut stop = |_: &mut _, _, _| Ok(1);
    assert_eq!(rig.call_back(id::FOR_EACH_MAP_ELEM, &[handle, 0, 0, 0], &mut stop), Ok(1));
}

#[test]
fn locks() {
    let mut rig = any();
    let lock = rig.put(&[0; 4]);
    assert!(rig.fault(id::SPIN_UNLOCK, &[lock]).contains("is a lock that is not taken"));
    rig.ok(id::SPIN_LOCK, &[lock]);
    assert!(rig.fault(id::SPIN_LOCK, &[lock]).contains("wait for itself for ever"));
    rig.ok(id::SPIN_UNLOCK, &[lock]);
    rig.ok(id::SPIN_LOCK, &[lock]);
}

#[test]
fn timers_fire_in_the_order_of_their_times() {
    let mut rig = any();
    let (map, handle) = rig.map(MapType::Array, 4, 16, 2, 0);
    let first = rig.vm.state.maps.get(map).unwrap().values().unwrap().get();
    let second = first + 16;
    let own = rig.put(&[0; 16]);
    assert!(rig.fault(id::TIMER_INIT, &[own, handle, 1]).contains("must be in a value of a map"));
    assert_eq!(rig.ok(id::TIMER_START, &[first, 5, 0]), error(22), "not initialised");
    assert_eq!(rig.ok(id::TIMER_INIT, &[first, handle, 2]), error(22), "no such clock");
    for timer in [first, second] {
        assert_eq!(rig.ok(id::TIMER_INIT, &[timer, handle, 1]), 0);
        assert_eq!(rig.ok(id::TIMER_INIT, &[timer, handle, 1]), error(16));
        assert_eq!(rig.ok(id::TIMER_START, &[timer, 5, 0]), error(22), "no callback");
        assert_eq!(rig.ok(id::TIMER_SET_CALLBACK, &[timer, 0x77]), 0);
    }
    rig.env().now = 100;
    assert_eq!(rig.ok(id::TIMER_START, &[first, 50, 0]), 0);
    assert_eq!(rig.ok(id::TIMER_START, &[second, 120, 1]), 0, "at 120");
    let timers = &mut rig.env().timers;
    assert_eq!(timers.next_time(), Some(120));
    assert_eq!(timers.next_due(119), None);
    let due: Vec<(u64, u64)> =
        std::iter::from_fn(|| timers.next_due(500)).map(|due| (due.at.get(), due.time)).collect();
    assert_eq!(due, [(second, 120), (first, 150)]);
    assert_eq!(rig.ok(id::TIMER_CANCEL, &[first]), 0, "it was not waiting");
    rig.ok(id::TIMER_SET_CALLBACK, &[second, 0x77]);
    rig.ok(id::TIMER_START, &[second, 1, 0]);
    assert_eq!(rig.ok(id::TIMER_CANCEL, &[second]), 1);
}

#[test]
fn ring_buffers() {
    let mut rig = any();
    let (map, handle) = rig.map(MapType::Ringbuf, 0, 0, 4096, 0);
    let data = rig.put(b"hello");
    assert_eq!(rig.ok(id::RINGBUF_OUTPUT, &[handle, data, 5, 0]), 0);
    assert_eq!(rig.ok(id::RINGBUF_OUTPUT, &[handle, data, 5, 4]), error(22));
    let record = rig.ok(id::RINGBUF_RESERVE, &[handle, 3, 0]);
    rig.vm.state.memory.write(record, 3).unwrap().copy_from_slice(b"abc");
    assert_eq!(rig.ok(id::RINGBUF_QUERY, &[handle, 0]), 32);
    assert!(rig.fault(id::RINGBUF_SUBMIT, &[record + 1, 0]).contains("is no record"));
    assert_eq!(rig.ok(id::RINGBUF_SUBMIT, &[record, 0]), 0);
    assert!(rig.fault(id::RINGBUF_SUBMIT, &[record, 0]).contains("is no record"));
    assert_eq!(rig.ok(id::RINGBUF_RESERVE, &[handle, 5000, 0]), 0);
    let dynptr = rig.put(&[0; 16]);
    assert_eq!(rig.ok(id::RINGBUF_RESERVE_DYNPTR, &[handle, 8, 0, dynptr]), 0);
    assert_eq!(rig.ok(id::DYNPTR_WRITE, &[dynptr, 3, data, 5, 0]), 0);
    assert_eq!(rig.ok(id::DYNPTR_WRITE, &[dynptr, 4, data, 5, 0]), error(7));
    assert_eq!(rig.ok(id::RINGBUF_SUBMIT_DYNPTR, &[dynptr, 0]), 0);
    assert_eq!(rig.ok(id::RINGBUF_RESERVE_DYNPTR, &[handle, 5000, 0, dynptr]), error(22));
    assert_eq!(rig.ok(id::RINGBUF_DISCARD_DYNPTR, &[dynptr, 0]), 0, "of nothing, nothing");
    let mut seen = Vec::new();
    let ring = rig.vm.state.maps.kind::<Ringbuf>(map).unwrap();
    ring.consume(&mut |record| {
        seen.push(record.to_vec());
        ControlFlow::Continue(())
    });
    assert_eq!(seen, [b"hello".to_vec(), b"abc".to_vec(), b"\0\0\0hello".to_vec()]);
}

#[test]
fn user_ring_buffers_are_drained() {
    let mut rig = any();
    let (map, handle) = rig.map(MapType::UserRingbuf, 0, 0, 4096, 0);
    for sample in [&b"one"[..], b"two", b"three"] {
        rig.vm.state.maps.kind::<UserRingbuf>(map).unwrap().push(sample).unwrap();
    }
    let mut count = 0;
    let mut body = |state: &mut crate::vm::state::State, _, args: [u64; 5]| {
        count += 1;
        assert_eq!(state.memory.read(args[0], 16)?.len(), 16);
        Ok(u64::from(count == 2))
    };
    assert_eq!(rig.call_back(id::USER_RINGBUF_DRAIN, &[handle, 1, 2, 0], &mut body), Ok(2));
    assert_eq!(rig.ok(id::USER_RINGBUF_DRAIN, &[handle, 1, 2, 0]), 1);
    assert_eq!(rig.ok(id::USER_RINGBUF_DRAIN, &[handle, 1, 2, 9]), error(22));
}

#[test]
fn dynptrs_check_their_bounds() {
    let mut rig = any();
    let (data, dynptr, out) = (rig.put(b"0123456789"), rig.put(&[0; 16]), rig.put(&[0; 8]));
    assert_eq!(rig.ok(id::DYNPTR_FROM_MEM, &[data, 10, 1, dynptr]), error(22));
    assert_eq!(rig.ok(id::DYNPTR_READ, &[out, 4, dynptr, 0, 0]), error(22), "null");
    assert_eq!(rig.ok(id::DYNPTR_FROM_MEM, &[data, 10, 0, dynptr]), 0);
    assert_eq!(rig.ok(id::DYNPTR_READ, &[out, 4, dynptr, 6, 0]), 0);
    assert_eq!(rig.get(out, 4), b"6789");
    assert_eq!(rig.ok(id::DYNPTR_READ, &[out, 4, dynptr, 7, 0]), error(7));
    assert_eq!(rig.ok(id::DYNPTR_DATA, &[dynptr, 2, 8]), data + 2);
    assert_eq!(rig.ok(id::DYNPTR_DATA, &[dynptr, 3, 8]), 0);
    assert_eq!(rig.kfunc("bpf_dynptr_adjust", &[dynptr, 2, 5]), 0);
    assert_eq!(rig.kfunc("bpf_dynptr_size", &[dynptr]), 3);
    assert_eq!(rig.ok(id::DYNPTR_READ, &[out, 3, dynptr, 0, 0]), 0);
    assert_eq!(rig.get(out, 3), b"234");
    assert_eq!(rig.kfunc("bpf_dynptr_adjust", &[dynptr, 0, 4]), error(34));
    // A program that forges one gets no further than its own memory.
    let forged = rig.put(&[[0; 8].as_slice(), &(1u32 << 28 | 64).to_ne_bytes(), &[0; 4]].concat());
    assert!(rig.fault(id::DYNPTR_READ, &[out, 4, forged, 0, 0]).contains("null pointer"));
}

#[test]
fn iterators_over_numbers() {
    let mut rig = any();
    let it = rig.put(&[0; 8]);
    assert_eq!(rig.kfunc("bpf_iter_num_new", &[it, 3, 5]), 0);
    let mut seen = Vec::new();
    while rig.kfunc("bpf_iter_num_next", &[it]) != 0 {
        seen.push(rig.get(it, 4)[0]);
    }
    assert_eq!(seen, [3, 4]);
    assert_eq!(rig.kfunc("bpf_iter_num_next", &[it]), 0, "the end stays the end");
    assert_eq!(rig.kfunc("bpf_iter_num_new", &[it, 5, 3]), error(22));
    assert_eq!(rig.kfunc("bpf_iter_num_new", &[it, 0, (8 << 20) + 1]), error(7));
}

#[test]
fn sets_of_cpus() {
    let mut rig = any();
    let (a, b) = (rig.kfunc("bpf_cpumask_create", &[]), rig.kfunc("bpf_cpumask_create", &[]));
    assert_eq!(rig.kfunc("bpf_cpumask_first", &[a]), 2, "none: the number of CPUs");
    rig.kfunc("bpf_cpumask_set_cpu", &[1, a]);
    rig.kfunc("bpf_cpumask_set_cpu", &[5, a]);
    assert_eq!((rig.kfunc("bpf_cpumask_weight", &[a]), rig.kfunc("bpf_cpumask_first", &[a])), (1, 1));
    rig.kfunc("bpf_cpumask_setall", &[b]);
    assert_eq!((rig.kfunc("bpf_cpumask_full", &[b]), rig.kfunc("bpf_cpumask_subset", &[a, b])), (1, 1));
    assert_eq!(rig.kfunc("bpf_cpumask_xor", &[b, a, b]), 1);
    assert_eq!(rig.kfunc("bpf_cpumask_intersects", &[a, b]), 0);
    rig.kfunc("bpf_cpumask_release", &[a]);
    assert!(rig.vm.state.memory.find(a).is_none());
}
