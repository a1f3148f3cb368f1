//! Queues, filters, ring buffers, stacks, maps of maps, storage and targets.

use std::ops::ControlFlow;

use super::*;
use crate::maps::{ENOTSUPP, PerfArray, Ringbuf, StackMap, Storage, Targets, UserRingbuf};
use crate::vm::program::ProgId;

#[test]
fn queue_and_stack() {
    for (kind, order) in [(MapType::Queue, [2, 3]), (MapType::Stack, [3, 2])] {
        let (mut rig, id) = Rig::with(kind, 0, 4, 2);
        assert_eq!(rig.get(id, &[]), Err(Errno::NOENT));
        rig.set(id, &[], &n(1), 0).unwrap();
        rig.set(id, &[], &n(2), 0).unwrap();
        assert_eq!(rig.set(id, &[], &n(3), 0), Err(Errno::TOOBIG));
        assert_eq!(rig.set(id, &[], &n(3), 1), Err(Errno::INVAL), "BPF_NOEXIST");
        assert_eq!(rig.set(id, &[], &n(3), 2), Ok(()), "BPF_EXIST drops the oldest");
        let values: Vec<_> =
            rig.maps.entries(id, &rig.memory).unwrap().iter().map(|e| e.value().to_vec()).collect();
        assert_eq!(values, order.map(n));
        assert_eq!(rig.get(id, &[]), Ok(n(order[0])));
        for value in order {
            assert_eq!(rig.maps.user_take(id, &mut rig.memory, &[]), Ok(n(value)));
        }
        assert_eq!(rig.maps.user_take(id, &mut rig.memory, &[]), Err(Errno::NOENT));
        assert_eq!(rig.maps.user_next_key(id, None), Err(Errno::INVAL));
    }
}

#[test]
fn bloom_filter() {
    for size in [4u32, 7] {
        let (mut rig, id) = Rig::with(MapType::BloomFilter, 0, size, 1000);
        let value = |i: u32| [n(i), vec![0; 4]].concat()[..size as usize].to_vec();
        for i in 0..1000 {
            rig.set(id, &[], &value(i * 3), 0).unwrap();
        }
        assert!((0..1000).all(|i| rig.get(id, &value(i * 3)).is_ok()), "never a wrong no");
        let wrong = (1000..11_000).filter(|i| rig.get(id, &value(i * 3)).is_ok()).count();
        assert!(wrong < 500, "{wrong} of 10000");
        assert_eq!(rig.set(id, &[], &value(0), 1), Err(Errno::INVAL));
        assert_eq!(rig.maps.user_next_key(id, None), Err(Errno::OPNOTSUPP));
    }
}

#[test]
fn ring_buffer_is_full_when_the_kernels_is() {
    let (mut rig, id) = Rig::with(MapType::Ringbuf, 0, 0, 4096);
    let Rig { memory, maps } = &mut rig;
    let ring = maps.kind::<Ringbuf>(id).unwrap();
    assert!(ring.reserve(memory, 4096 - 8).is_none(), "one byte less than all of it");
    let a = ring.reserve(memory, 4096 - 16).unwrap();
    assert_eq!((ring.query(0), ring.query(1), ring.query(2), ring.query(3)), (4088, 4096, 0, 4088));
    assert_eq!(ring.output(b""), Err(Errno::AGAIN));
    assert!(ring.finish(memory, a, true) && !ring.finish(memory, a, true));
    assert_eq!(ring.output(b"x"), Err(Errno::AGAIN), "what is discarded takes room until it is read");
    assert_eq!(ring.consume(&mut |_| ControlFlow::Continue(())), (0, false));
    assert_eq!(ring.output(b"x"), Ok(()));
    assert_eq!((ring.query(0), ring.query(3), ring.query(9)), (16, 4104, 0));
}

#[test]
fn ring_buffer_keeps_order_and_isolates_records() {
    let (mut rig, id) = Rig::with(MapType::Ringbuf, 0, 0, 4096);
    let Rig { memory, maps } = &mut rig;
    let ring = maps.kind::<Ringbuf>(id).unwrap();
    let (a, b) = (ring.reserve(memory, 5).unwrap(), ring.reserve(memory, 5000 - 4000).unwrap());
    assert!(memory.write(a.get(), 6).is_err());
    memory.write(a.get(), 5).unwrap().copy_from_slice(b"first");
    memory.write(b.get(), 1000).unwrap().fill(b'b');
    ring.output(b"third").unwrap();
    let mut seen = Vec::new();
    ring.finish(memory, b, false);
    ring.consume(&mut |r| {
        seen.push(r.len());
        ControlFlow::Continue(())
    });
    assert!(seen.is_empty(), "the first one is not finished");
    assert_eq!(ring.unfinished(), 1);
    ring.finish(memory, a, false);
    assert!(memory.read(a.get(), 1).is_err(), "no longer the program's");
    assert_eq!(ring.consume(&mut |_| ControlFlow::Break(())), (1, true));
    ring.consume(&mut |r| {
        seen.push(r.len());
        ControlFlow::Continue(())
    });
    assert_eq!(seen, [1000, 5]);
    let again = ring.reserve(memory, 3).unwrap();
    assert!(memory.write(again.get(), 3).is_ok() && memory.write(again.get(), 4).is_err());
}

#[test]
fn user_ring_buffer() {
    let (mut rig, id) = Rig::with(MapType::UserRingbuf, 0, 0, 4096);
    let ring = rig.maps.kind::<UserRingbuf>(id).unwrap();
    ring.push(&[1; 4000]).unwrap();
    assert_eq!(ring.push(&[2; 4000]), Err(Errno::NOSPC));
    ring.push(&[2; 60]).unwrap();
    assert_eq!(ring.pop().as_deref(), Some(&[1u8; 4000][..]));
    assert_eq!(ring.pop().map(|s| s.len()), Some(60));
    assert!(ring.pop().is_none());
}

#[test]
fn perf_events() {
    let (mut rig, id) = Rig::with(MapType::PerfEventArray, 4, 4, 0);
    let perf = rig.maps.kind::<PerfArray>(id).unwrap();
    assert_eq!(perf.output(0, 2, b"x"), Err(Errno::TOOBIG), "0 entries: one for each CPU");
    assert_eq!(perf.output(0, 1, b"x"), Err(Errno::OPNOTSUPP), "another CPU's buffer");
    perf.output(0, 0, b"x").unwrap();
    perf.output(1, 1, b"yy").unwrap();
    let mut seen = Vec::new();
    perf.consume(&mut |s| {
        seen.push((s.cpu, s.bytes.len()));
        ControlFlow::Continue(())
    });
    assert_eq!(seen, [(0, 1), (1, 2)]);
    assert_eq!(rig.get(id, &n(0)), Err(ENOTSUPP));
}

#[test]
fn program_array() {
    let (mut rig, id) = Rig::with(MapType::ProgArray, 4, 4, 2);
    rig.set(id, &n(1), &n(7), 0).unwrap();
    assert_eq!(rig.set(id, &n(1), &n(7), 1), Err(Errno::INVAL));
    assert_eq!(rig.set(id, &n(2), &n(7), 0), Err(Errno::TOOBIG));
    let map = rig.maps.get(id).unwrap();
    assert_eq!((map.program(0), map.program(1), map.program(2)), (None, Some(ProgId(7)), None));
    assert_eq!((rig.delete(id, &n(1)), rig.delete(id, &n(1))), (Ok(()), Err(Errno::NOENT)));
}

#[test]
fn maps_of_maps() {
    let mut rig = Rig::new();
    let inner = rig.make(&spec(MapType::Hash, 4, 4, 2, 0)).unwrap();
    let longer = rig.make(&spec(MapType::Hash, 4, 4, 9, 0)).unwrap();
    let other = rig.make(&spec(MapType::Hash, 8, 4, 2, 0)).unwrap();
    for (kind, key_size) in [(MapType::ArrayOfMaps, 4), (MapType::HashOfMaps, 8)] {
        let outer = rig.make(&spec(kind, key_size, 4, 2, 0)).unwrap();
        let key = |i: u32| [n(i), n(0)].concat()[..key_size as usize].to_vec();
        rig.set(outer, &key(1), &n(inner.0), 0).unwrap();
        assert_eq!(rig.set(outer, &key(0), &n(other.0), 0), Err(Errno::INVAL), "other keys");
        assert_eq!(rig.set(outer, &key(0), &n(99), 0), Err(Errno::BADF));
        assert_eq!(rig.set(outer, &key(0), &n(outer.0), 0), Err(Errno::INVAL), "no deeper than two");
        rig.set(outer, &key(0), &n(longer.0), 0).unwrap();
        let handle = rig.maps.get_mut(outer).unwrap().lookup(0, &key(1)).unwrap();
        assert_eq!(rig.maps.by_handle(&rig.memory, handle.get()), Some(inner));
        assert_eq!(rig.get(outer, &key(1)), Ok(n(inner.0)));
        assert_eq!(rig.set(outer, &key(5), &n(inner.0), 0), Err(Errno::TOOBIG));
        assert_eq!((rig.delete(outer, &key(1)), rig.delete(outer, &key(1))), (Ok(()), Err(Errno::NOENT)));
        assert_eq!(rig.get(outer, &key(1)), Err(Errno::NOENT));
    }
}

#[test]
fn stack_traces() {
    let (mut rig, id) = Rig::with(MapType::StackTrace, 4, 24, 4);
    let stacks = rig.maps.kind::<StackMap>(id).unwrap();
    let first = stacks.insert(&[1, 2, 3, 4], 0).unwrap();
    assert_eq!(stacks.insert(&[1, 2, 3], 0), Ok(first), "cut to the depth of the map");
    // With four numbers another stack has the same one sooner or later.
    let clash = (10..1000u64).find(|i| stacks.insert(&[*i], 0) == Err(Errno::EXIST)).unwrap();
    let taken = stacks.insert(&[clash], 1 << 10).unwrap();
    assert_eq!(stacks.get(taken), Some(&[clash][..]), "BPF_F_REUSE_STACKID");
    assert_eq!(stacks.insert(&[], 0), Err(Errno::FAULT));
    let key = n(taken);
    let bytes = rig.get(id, &key).unwrap();
    assert_eq!(bytes, [clash.to_ne_bytes(), [0; 8], [0; 8]].concat());
    assert!(rig.maps.keys(id).unwrap().contains(&key));
    assert_eq!((rig.delete(id, &key), rig.delete(id, &key)), (Ok(()), Err(Errno::NOENT)));
}

#[test]
fn storage_belongs_to_an_owner() {
    let mut rig = Rig::new();
    let id = rig.make(&spec(MapType::TaskStorage, 4, 8, 0, 1)).unwrap();
    let Rig { memory, maps } = &mut rig;
    let storage = maps.kind::<Storage>(id).unwrap();
    assert_eq!(storage.of_owner(memory, 0, 42, None), None);
    let at = storage.of_owner(memory, 0, 42, Some(&[7; 8])).unwrap();
    assert_eq!(storage.of_owner(memory, 0, 42, Some(&[9; 8])), Some(at), "it is there already");
    assert_eq!(storage.delete_owner(41), Err(Errno::NOENT));
    assert_eq!(rig.get(id, &n(42)), Ok(vec![7; 8]));
    assert_eq!(rig.set(id, &n(42), &[8; 8], 1), Err(Errno::EXIST));
    rig.set(id, &n(42), &[8; 8], 0).unwrap();
    assert_eq!(rig.memory.read(at.get(), 8).unwrap(), [8; 8], "in place");
    assert_eq!(rig.delete(id, &n(42)), Ok(()));
}

#[test]
fn targets() {
    let (mut rig, dev) = Rig::with(MapType::Devmap, 4, 4, 2);
    assert_eq!(rig.set(dev, &n(1), &n(7), 1), Err(Errno::EXIST), "an index always exists");
    rig.set(dev, &n(1), &n(7), 0).unwrap();
    assert_eq!(rig.program_get(dev, 0, &n(1)), Some(n(7)));
    assert_eq!(rig.maps.kind::<Targets>(dev).unwrap().target(&n(1)), Some(7));
    rig.set(dev, &n(1), &n(0), 0).unwrap();
    assert_eq!(rig.get(dev, &n(1)), Err(Errno::NOENT), "interface 0 deletes");
    assert_eq!((rig.delete(dev, &n(1)), rig.delete(dev, &n(2))), (Ok(()), Err(Errno::INVAL)));

    let (mut rig, cpu) = Rig::with(MapType::Cpumap, 4, 4, 8);
    assert_eq!(rig.set(cpu, &n(2), &n(64), 0), Err(Errno::NODEV), "two CPUs");
    assert_eq!(rig.set(cpu, &n(1), &n(20_000), 0), Err(Errno::OVERFLOW));
    assert_eq!(rig.set(cpu, &n(1), &n(64), 0), Ok(()));

    let (mut rig, sock) = Rig::with(MapType::Sockhash, 4, 8, 1);
    rig.set(sock, &n(1), &[1; 8], 1).unwrap();
    assert_eq!(rig.set(sock, &n(2), &[1; 8], 0), Err(Errno::TOOBIG));
    assert_eq!(rig.set(sock, &n(1), &[2; 8], 1), Err(Errno::EXIST));
    assert_eq!(rig.program_get(sock, 0, &n(1)), None, "a socket is no value to read");
    assert_eq!((rig.delete(sock, &n(1)), rig.delete(sock, &n(1))), (Ok(()), Err(Errno::NOENT)));
}
