use super::*;

const STACK: ObjectKind = ObjectKind::Stack;
const VALUE: ObjectKind = ObjectKind::MapValue(MapId(3));

fn miss(result: Result<&[u8], FaultKind>) -> Miss {
    match result {
        Err(FaultKind::Access(AccessFault { miss, .. })) => miss,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_object_ends_where_it_ends() {
    let mut m = Memory::new().unwrap();
    let at = m.alloc(VALUE, 13, Access::ReadWrite).unwrap().get();
    m.write(at + 8, 5).unwrap().copy_from_slice(b"hello");
    assert_eq!(m.read(at, 13).unwrap(), b"\0\0\0\0\0\0\0\0hello");
    assert!(matches!(miss(m.read(at + 8, 8)), Miss::Beyond { by: 3, object } if object.kind == VALUE));
    assert!(
        matches!(miss(m.read(at + 13, 1)), Miss::Nothing(Some(near)) if near.after && near.distance == 0)
    );
    assert!(
        matches!(miss(m.read(at - 4, 4)), Miss::Nothing(Some(near)) if !near.after && near.distance == 4)
    );
    // It begins before the object and ends within.
    assert!(m.read(at - 4, 8).is_err() && m.write(at - 4, 8).is_err());
    assert_eq!(m.find(at + 12).map(|o| (o.base.get(), o.size)), Some((at, 13)));
    assert_eq!(m.find(at + 13), None);
}

#[test]
fn elements_are_objects_of_their_own() {
    let mut m = Memory::new().unwrap();
    let at = m.alloc_array(VALUE, 1000, 12, Access::ReadWrite).unwrap().get();
    assert_eq!(m.find(at + 16 * 999 + 11).map(|o| o.index), Some(999));
    assert!(m.read(at + 16 * 5, 12).is_ok());
    assert!(matches!(miss(m.read(at + 16 * 5 + 8, 8)), Miss::Beyond { by: 4, object } if object.index == 5));
    // Padding between elements belongs to nobody, nor does what lies behind the last.
    assert!(m.read(at + 16 * 5 + 12, 4).is_err() && m.read(at + 16 * 1000, 1).is_err());
    let spaced = m.alloc_spaced(STACK, 8, 512, 1024, Access::ReadWrite).unwrap().get();
    assert!(m.read(spaced + 1024, 512).is_ok() && m.read(spaced + 1023, 1).is_err());
}

#[test]
fn what_no_object_can_have() {
    let mut m = Memory::new().unwrap();
    assert_eq!(miss(m.read(0, 8)), Miss::Null);
    assert_eq!(miss(m.read(u64::from(PAGE) - 1, 1)), Miss::Null);
    assert_eq!(miss(m.read(1 << 32, 1)), Miss::Outside);
    assert_eq!(miss(m.read(u64::MAX, 8)), Miss::Outside);
    assert_eq!(miss(m.read(code_address(7), 8)), Miss::Code);
    assert_eq!((code_index(code_address(7)), code_index(8), code_index(1 << 40)), (Some(7), None, None));
    assert!(m.alloc(VALUE, u32::MAX, Access::Read).is_err());
    assert!(m.alloc_array(VALUE, u32::MAX, u32::MAX, Access::Read).is_err());
    let at = m.alloc(VALUE, 0, Access::ReadWrite).unwrap().get();
    assert!(m.read(at, 1).is_err() && m.read(at, 0).is_ok());
}

#[test]
fn access_is_what_was_given() {
    let mut m = Memory::new().unwrap();
    let at = m.alloc(VALUE, 8, Access::Read).unwrap().get();
    assert!(m.read(at, 8).is_ok());
    assert!(matches!(m.write(at, 8), Err(FaultKind::Access(AccessFault { miss: Miss::ReadOnly(_), .. }))));
    let at = m.alloc(ObjectKind::Context, 64, Access::Fields(&[(8, 16), (40, 44)])).unwrap().get();
    assert!(m.read(at, 64).is_ok() && m.write(at + 8, 8).is_ok() && m.write(at + 41, 1).is_ok());
    for (offset, len) in [(4, 8), (15, 2), (40, 8), (0, 1), (12, 32)] {
        let found = m.write(at + offset, len);
        assert!(
            matches!(found, Err(FaultKind::Access(AccessFault { miss: Miss::ReadOnlyField(_), .. }))),
            "{offset} {len}"
        );
    }
    let at = m.alloc(ObjectKind::Map(MapId(0)), 8, Access::None).unwrap().get();
    assert!(matches!(miss(m.read(at, 1)), Miss::Opaque(_)));
}

#[test]
fn bounds_move_within_the_allocation() {
    let mut m = Memory::new().unwrap();
    let at = m.alloc(ObjectKind::Packet, 1000, Access::ReadWrite).unwrap();
    m.host_mut(at.plus(256), 3).unwrap().copy_from_slice(b"abc");
    let before = m.epoch();
    m.set_bounds(at, at.plus(256), 3).unwrap();
    assert!(m.epoch() != before);
    assert_eq!(m.read(at.get() + 256, 3).unwrap(), b"abc");
    assert!(m.read(at.get() + 255, 1).is_err() && m.read(at.get() + 259, 1).is_err());
    assert!(m.set_bounds(at, at.plus(4000), 1000).is_err());
    assert!(m.set_bounds(at, Addr(at.0 - 1), 1).is_err());
    assert!(m.host(at, 4096).is_some() && m.host(at, 1 << 20).is_none());
}

#[test]
fn what_was_freed_is_gone_and_comes_back_empty() {
    let mut m = Memory::new().unwrap();
    let first = m.alloc(VALUE, 4096, Access::ReadWrite).unwrap();
    m.write(first.get(), 4096).unwrap().fill(7);
    m.free(first);
    assert!(m.read(first.get(), 1).is_err());
    let second = m.alloc(STACK, 4096, Access::ReadWrite).unwrap();
    assert_eq!(second, first, "pages are used again");
    assert!(m.read(second.get(), 4096).unwrap().iter().all(|b| *b == 0));
    assert_eq!(m.find(second.get()).map(|o| o.kind), Some(STACK));
    m.free(Addr(0));
    m.free(Addr(u32::MAX));
}

proptest::proptest! {
    /// Whatever is asked, what is allowed lies within one object.
    #[test]
    fn an_allowed_access_is_within_one_object(
        sizes in proptest::collection::vec((1u32..5, 1u32..40), 1..6),
        tries in proptest::collection::vec((0u32..3 * PAGE, 1u32..20), 50),
    ) {
        let mut m = Memory::new().unwrap();
        let bases: Vec<(u64, u32, u32)> = sizes
            .iter()
            .map(|&(count, size)| {
                let at = m.alloc_array(VALUE, count, size, Access::ReadWrite).unwrap();
                (at.get(), count, size)
            })
            .collect();
        for (offset, len) in tries {
            let at = bases[0].0 + u64::from(offset);
            let end = at + u64::from(len);
            let expected = bases.iter().any(|&(base, count, size)| {
                (0..count).map(|i| base + u64::from(i * size.next_multiple_of(8))).any(|start| {
                    start <= at && end <= start + u64::from(size)
                })
            });
            proptest::prop_assert_eq!(m.read(at, len).is_ok(), expected, "{:#x} {}", at, len);
        }
    }
}
