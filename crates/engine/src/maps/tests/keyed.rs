//! Arrays and hash tables.

use super::*;

const NOEXIST: u64 = 1;
const EXIST: u64 = 2;

#[test]
fn array() {
    let (mut rig, id) = Rig::with(MapType::Array, 4, 4, 3);
    assert_eq!(rig.get(id, &n(2)), Ok(n(0)), "every index has a value");
    assert_eq!(rig.set(id, &n(2), &n(7), EXIST), Ok(()));
    assert_eq!(rig.set(id, &n(2), &n(8), NOEXIST), Err(Errno::EXIST));
    assert_eq!(rig.set(id, &n(3), &n(8), 0), Err(Errno::TOOBIG));
    assert_eq!(rig.set(id, &n(3), &n(8), 3), Err(Errno::INVAL), "flags come first");
    assert_eq!(rig.set(id, &n(0), &n(8), 4), Err(Errno::INVAL), "no spin lock in the value");
    assert_eq!(rig.set(id, &[0; 3], &n(8), 0), Err(Errno::INVAL));
    assert_eq!(rig.delete(id, &n(2)), Err(Errno::INVAL));
    assert_eq!((rig.get(id, &n(2)), rig.get(id, &n(3))), (Ok(n(7)), Err(Errno::NOENT)));
    assert_eq!(rig.maps.keys(id).unwrap(), [n(0), n(1), n(2)]);
    assert_eq!(rig.maps.user_next_key(id, Some(&n(9))), Ok(n(0)));
    assert_eq!(rig.maps.user_next_key(id, Some(&n(2))), Err(Errno::NOENT));
}

#[test]
fn values_of_an_array_are_apart() {
    let (mut rig, id) = Rig::with(MapType::Array, 4, 5, 2);
    let at = rig.maps.get(id).unwrap().values().unwrap();
    assert!(rig.memory.write(at.get(), 6).is_err() && rig.memory.write(at.get() + 5, 1).is_err());
    rig.memory.write(at.get() + 8, 5).unwrap().fill(9);
    assert_eq!(rig.get(id, &n(1)), Ok(vec![9; 5]));
}

#[test]
fn percpu_array() {
    let (mut rig, id) = Rig::with(MapType::PercpuArray, 4, 4, 2);
    rig.program_set(id, 1, &n(1), &n(5)).unwrap();
    assert_eq!(rig.get(id, &n(1)).unwrap(), [n(0), n(0), n(5), n(0)].concat());
    rig.set(id, &n(0), &[n(1), n(99), n(2), n(99)].concat(), 0).unwrap();
    assert_eq!((rig.program_get(id, 0, &n(0)), rig.program_get(id, 1, &n(0))), (Some(n(1)), Some(n(2))));
    assert_eq!(rig.set(id, &n(0), &n(1), 0), Err(Errno::INVAL), "a value for each CPU");
    let entries = rig.maps.entries(id, &rig.memory).unwrap();
    let sums: Vec<u32> = entries
        .iter()
        .map(|e| e.per_cpu().map(|v| u32::from_ne_bytes(v.try_into().unwrap())).sum())
        .collect();
    assert_eq!(sums, [3, 5]);
}

#[test]
fn hash() {
    let (mut rig, id) = Rig::with(MapType::Hash, 4, 4, 2);
    assert_eq!(rig.set(id, &n(1), &n(10), EXIST), Err(Errno::NOENT));
    assert_eq!(rig.set(id, &n(1), &n(10), NOEXIST), Ok(()));
    assert_eq!(rig.set(id, &n(1), &n(11), NOEXIST), Err(Errno::EXIST));
    assert_eq!(rig.set(id, &n(2), &n(20), 0), Ok(()));
    assert_eq!(rig.set(id, &n(3), &n(30), 0), Err(Errno::TOOBIG));
    assert_eq!(rig.set(id, &n(3), &n(30), EXIST), Err(Errno::NOENT), "flags come before room");
    assert_eq!(rig.set(id, &n(2), &n(21), 0), Ok(()), "a full table can still replace");
    assert_eq!(rig.delete(id, &n(3)), Err(Errno::NOENT));
    assert_eq!(rig.delete(id, &n(1)), Ok(()));
    assert_eq!(rig.set(id, &n(3), &n(30), 0), Ok(()));
    assert_eq!(rig.maps.keys(id).unwrap(), [n(2), n(3)]);
    assert_eq!(rig.maps.user_next_key(id, Some(&n(1))), Ok(n(2)), "a key that is gone starts again");
    assert_eq!(rig.maps.user_take(id, &mut rig.memory, &n(2)), Ok(n(21)));
    assert_eq!(rig.get(id, &n(2)), Err(Errno::NOENT));
}

#[test]
fn a_replaced_value_stays_readable_where_it_was() {
    let (mut rig, id) = Rig::with(MapType::Hash, 4, 4, 8);
    rig.set(id, &n(1), &n(10), 0).unwrap();
    let old = rig.maps.get(id).unwrap().find(0, &n(1)).unwrap();
    rig.set(id, &n(1), &n(11), 0).unwrap();
    let new = rig.maps.get(id).unwrap().find(0, &n(1)).unwrap();
    assert_ne!(old, new);
    assert_eq!(rig.memory.read(old.get(), 4).unwrap(), n(10));
    rig.set(id, &n(2), &n(20), 0).unwrap();
    assert_eq!(rig.memory.read(old.get(), 4).unwrap(), n(20), "its place is used again at once");
}

#[test]
fn percpu_hash() {
    let (mut rig, id) = Rig::with(MapType::PercpuHash, 4, 8, 2);
    let place = |rig: &Rig| rig.maps.get(id).unwrap().find(1, &n(1));
    rig.program_set(id, 1, &n(1), &[1; 8]).unwrap();
    assert_eq!(rig.get(id, &n(1)).unwrap(), [[0; 8], [1; 8]].concat(), "zero on the other CPU");
    let before = place(&rig);
    rig.program_set(id, 0, &n(1), &[2; 8]).unwrap();
    assert_eq!(rig.get(id, &n(1)).unwrap(), [[2; 8], [1; 8]].concat());
    assert_eq!(place(&rig), before, "replaced in place");
    rig.delete(id, &n(1)).unwrap();
    rig.program_set(id, 0, &n(9), &[3; 8]).unwrap();
    assert_eq!(rig.get(id, &n(9)).unwrap(), [[3; 8], [0; 8]].concat(), "nothing of the old key is left");
}

#[test]
fn lru_drops_what_was_not_used() {
    for kind in [MapType::LruHash, MapType::LruPercpuHash] {
        let (mut rig, id) = Rig::with(kind, 4, 8, 3);
        for key in 1..=3 {
            rig.program_set(id, 0, &n(key), &[key as u8; 8]).unwrap();
        }
        assert!(rig.program_get(id, 0, &n(1)).is_some(), "used");
        assert!(rig.get(id, &n(2)).is_ok(), "user space's reading does not count as use");
        rig.program_set(id, 0, &n(4), &[4; 8]).unwrap();
        assert_eq!(rig.maps.keys(id).unwrap(), [n(1), n(3), n(4)]);
        rig.program_set(id, 0, &n(3), &[5; 8]).unwrap();
        rig.program_set(id, 0, &n(5), &[5; 8]).unwrap();
        assert_eq!(rig.maps.keys(id).unwrap(), [n(3), n(4), n(5)]);
        assert_eq!(
            rig.set(id, &n(6), &vec![0; if kind == MapType::LruHash { 8 } else { 16 }], EXIST),
            Err(Errno::NOENT)
        );
        assert_eq!(rig.maps.keys(id).unwrap().len(), 3, "a refused update drops nothing");
    }
}

#[test]
fn many_keys_in_many_chunks() {
    let (mut rig, id) = Rig::with(MapType::Hash, 4, 1000, 2000);
    for round in 0..3u32 {
        for key in 0..2000u32 {
            rig.program_set(id, 0, &n(key), &[(key + round) as u8; 1000]).unwrap();
        }
    }
    for key in (0..2000).filter(|key| key % 2 == 0) {
        rig.delete(id, &n(key)).unwrap();
    }
    for key in 0..2000u32 {
        let expected = (key % 2 == 1).then(|| vec![(key + 2) as u8; 1000]);
        assert_eq!(rig.program_get(id, 0, &n(key)), expected);
    }
}
