//! All routes at once, packed, against the same as a batch of changes.

use super::super::super::{Kind, Packed};
use super::super::Whole;
use super::*;
use std::sync::Arc;

/// Routes with the next hops that they lead to, those of a group in an order of their own.
fn meanings(maps: &Maps) -> BTreeMap<Prefix, Vec<Hop>> {
    let table = maps.table();
    let hops = |row: &Row| {
        let mut hops: Vec<Hop> = row.hops.iter().filter_map(|n| table.hop(*n).cloned()).collect();
        hops.sort();
        hops
    };
    table.routes().map(|row| (row.prefix, hops(&row))).collect()
}

fn packed(maps: &Maps) -> Packed {
    let mut all = Packed::default();
    maps.routes.iter().for_each(|(prefix, value)| all.push_value(*prefix, *value));
    all.sort();
    all
}

/// Makes the wanted routes the table of these maps.
fn make(maps: &mut Maps, wanted: &BTreeMap<Prefix, Arc<Target>>, own: &BTreeSet<Prefix>) {
    let before = packed(maps);
    let bucket = |at: u32| maps.buckets.get(&at).copied().unwrap_or(0);
    let values = before.routes().map(|route| route.1);
    let mut table = Table::of_values(values, |n| maps.hops.get(&n).cloned(), bucket);
    let (mut all, mut targets) = (Packed::default(), Vec::new());
    for (prefix, target) in wanted {
        let place = targets.iter().position(|known| known == target).unwrap_or(targets.len());
        if place == targets.len() {
            targets.push(target.clone());
        }
        all.push(*prefix, place as u32);
    }
    all.sort();
    let (behind, steps) =
        table.plan_whole(Whole { before: &before, wanted: &all, targets: &targets, own }).unwrap();
    let (spare, first): (Vec<Step>, Vec<Step>) =
        steps.into_iter().partition(|step| matches!(step, Step::Spare(_)));
    let meant = meanings(maps);
    first.iter().for_each(|step| maps.take(step));
    assert_eq!(meanings(maps), meant, "what is written first changes no route");
    before.steps_to(&behind).iter().for_each(|step| maps.take(step));
    spare.iter().for_each(|step| maps.take(step));
    assert_eq!(packed(maps), behind);
}

#[test]
fn all_at_once_is_what_changes_say() {
    let mut random = Random(11);
    let (mut one, mut other, mut shown) = (Maps::default(), Maps::default(), Table::default());
    for round in 0..200 {
        // Routes that follow the kernel's come and go in both.
        let route = a_route(&mut random);
        let change = match random.below(3) {
            0 => Change::Unfollow(route.prefix),
            _ => Change::Follow(Route::new(route.prefix, route.target)),
        };
        for maps in [&mut one, &mut other] {
            maps.table().plan(std::slice::from_ref(&change)).unwrap().iter().for_each(|step| maps.take(step));
        }
        let some = (0..random.below(12)).map(|_| a_route(&mut random));
        let wanted: BTreeMap<Prefix, Arc<Target>> = some.map(|route| (route.prefix, route.target)).collect();
        let own: BTreeSet<Prefix> =
            (0..random.below(3)).map(|n| Prefix::around(IpAddr::from([10, 7, n as u8, 1]), 32)).collect();
        make(&mut one, &wanted, &own);
        let mut table = other.table();
        let by_hand = table.those(|hop| !hop.followed);
        let gone = by_hand.iter().filter(|p| !wanted.contains_key(p) && !own.contains(p));
        let mut changes: Vec<Change> = gone.copied().map(Change::Delete).collect();
        changes.extend(own.iter().map(|p| Change::Replace(Route::new(*p, Target::Local))));
        changes.extend(wanted.iter().map(|(p, target)| Change::Replace(Route::new(*p, target.clone()))));
        table.plan(&changes).unwrap().iter().for_each(|step| other.take(step));
        assert_eq!(meanings(&one), meanings(&other), "round {round}");
        shown = table;
    }
    assert!(shown.len() > 3);
}

#[test]
fn what_does_not_change_keeps_its_next_hop() {
    let mut maps = Maps::default();
    let wanted: BTreeMap<Prefix, Arc<Target>> = (0..6000u32)
        .map(|n| {
            let target = Arc::new(if n % 2 == 0 { Target::Drop } else { Target::Pass });
            (Prefix::around(IpAddr::from((10 << 24 | n << 8).to_be_bytes()), 24), target)
        })
        .collect();
    make(&mut maps, &wanted, &BTreeSet::new());
    let (first, owned) =
        (maps.routes.clone(), |maps: &Maps| maps.hops.values().filter(|hop| hop.owner != 0).count());
    assert_eq!((owned(&maps), first.len()), (OWN_ROOM_LEFT, 6000));
    assert!(maps.table().those(|hop| hop.owner == 0 && hop.kind == Kind::Drop).len() > 900);
    let fewer: BTreeMap<_, _> =
        wanted.into_iter().filter(|(p, _)| !p.to_string().contains(".5.0/")).collect();
    make(&mut maps, &fewer, &BTreeSet::new());
    assert!(maps.routes.iter().all(|(prefix, value)| first.get(prefix) == Some(value)));
    assert_eq!(maps.routes.len(), fewer.len());
}

/// Routes that get next hops of their own.
const OWN_ROOM_LEFT: usize = HOPS as usize - OWN_ROOM;
