//! Longest-prefix match: the trie against a list that is searched through, and the kernel's order.

use std::collections::BTreeMap;

use super::*;

fn key(prefix: u32, bytes: &[u8]) -> Vec<u8> {
    [&prefix.to_ne_bytes(), bytes].concat()
}

fn trie(bytes: u32, entries: u32) -> (Rig, MapId) {
    let mut rig = Rig::new();
    let id = rig.make(&spec(MapType::LpmTrie, 4 + bytes, 4, entries, 1)).unwrap();
    (rig, id)
}

#[test]
fn the_longest_prefix_wins() {
    let (mut rig, id) = trie(4, 10);
    for (number, prefix, address) in
        [(1, 0, [0, 0, 0, 0]), (2, 8, [10, 0, 0, 0]), (3, 24, [10, 1, 2, 0]), (4, 32, [10, 1, 2, 3])]
    {
        rig.set(id, &key(prefix, &address), &n(number), 0).unwrap();
    }
    let mut at = |prefix, address: [u8; 4]| rig.program_get(id, 0, &key(prefix, &address));
    assert_eq!(at(32, [10, 1, 2, 3]), Some(n(4)));
    assert_eq!(at(32, [10, 1, 2, 4]), Some(n(3)));
    assert_eq!(at(32, [10, 9, 9, 9]), Some(n(2)));
    assert_eq!(at(32, [11, 0, 0, 0]), Some(n(1)));
    assert_eq!(at(20, [10, 1, 2, 3]), Some(n(2)), "no longer than what is asked for");
    assert_eq!(at(33, [10, 1, 2, 3]), None);
}

#[test]
fn errors_and_order() {
    let (mut rig, id) = trie(4, 3);
    assert_eq!(rig.set(id, &key(33, &[0; 4]), &n(1), 0), Err(Errno::INVAL));
    assert_eq!(rig.set(id, &key(8, &[10, 0, 0, 0]), &n(1), 2), Err(Errno::NOENT));
    for (prefix, first) in [(8, 10), (8, 11), (9, 10)] {
        rig.set(id, &key(prefix, &[first, 0, 0, 0]), &n(1), 1).unwrap();
    }
    assert_eq!(rig.set(id, &key(8, &[10, 0, 0, 0]), &n(1), 1), Err(Errno::EXIST));
    assert_eq!(rig.set(id, &key(8, &[12, 0, 0, 0]), &n(1), 0), Err(Errno::NOSPC));
    assert_eq!(rig.set(id, &key(8, &[10, 0, 0, 0]), &n(2), 0), Ok(()), "replacing needs no room");
    let keys = [key(9, &[10, 0, 0, 0]), key(8, &[10, 0, 0, 0]), key(8, &[11, 0, 0, 0])];
    assert_eq!(rig.maps.keys(id).unwrap(), keys, "the more specific first");
    assert_eq!(rig.delete(id, &key(7, &[10, 0, 0, 0])), Err(Errno::NOENT), "the fork is no entry");
    assert_eq!(rig.delete(id, &key(40, &[10, 0, 0, 0])), Err(Errno::INVAL));
    assert_eq!(rig.delete(id, &key(8, &[10, 0, 0, 0])), Ok(()));
    assert_eq!(rig.maps.keys(id).unwrap(), [key(9, &[10, 0, 0, 0]), key(8, &[11, 0, 0, 0])]);
}

/// The model: all entries, by their own bits.
fn search(entries: &BTreeMap<(u32, u32), u32>, prefix: u32, address: u32) -> Option<u32> {
    let inside = |(p, a): &(u32, u32)| *p <= prefix && (*p == 0 || (a ^ address) >> (32 - p) == 0);
    entries.iter().filter(|(key, _)| inside(key)).max_by_key(|((p, _), _)| *p).map(|(_, v)| *v)
}

#[test]
fn agrees_with_a_list_under_random_changes() {
    let (mut rig, id) = trie(4, 500);
    let mut entries: BTreeMap<(u32, u32), u32> = BTreeMap::new();
    let mut state = 7u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    for round in 0..6000 {
        // Few different bits, so that prefixes nest and collide.
        let prefix = random() % 33;
        let address = (random() & 0x8181_0003).rotate_left(random() % 2 * 3);
        let mask = if prefix == 0 { 0 } else { u32::MAX << (32 - prefix) };
        let bytes = key(prefix, &address.to_be_bytes());
        match random() % 3 {
            0 => {
                let there = entries.contains_key(&(prefix, address & mask));
                let expected = if there || entries.len() < 500 { Ok(()) } else { Err(Errno::NOSPC) };
                assert_eq!(rig.set(id, &bytes, &n(round), 0), expected);
                if expected.is_ok() {
                    entries.insert((prefix, address & mask), round);
                }
            }
            1 => {
                let expected = entries.remove(&(prefix, address & mask)).map(|_| ()).ok_or(Errno::NOENT);
                assert_eq!(rig.delete(id, &bytes), expected);
            }
            _ => {
                let expected = search(&entries, prefix, address).map(n);
                assert_eq!(rig.program_get(id, 0, &bytes), expected, "{prefix} {address:#x}");
            }
        }
        if round % 500 == 0 {
            let mut keys: Vec<(u32, u32)> = rig
                .maps
                .keys(id)
                .unwrap()
                .iter()
                .map(|k| {
                    let prefix = u32::from_ne_bytes(k[..4].try_into().unwrap());
                    let mask = if prefix == 0 { 0 } else { u32::MAX << (32 - prefix) };
                    (prefix, u32::from_be_bytes(k[4..].try_into().unwrap()) & mask)
                })
                .collect();
            keys.sort_unstable();
            assert!(keys.iter().eq(entries.keys()), "every entry once");
        }
    }
}
