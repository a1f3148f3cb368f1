//! What a router does while a batch is applied step by step, against the tables before and behind it.

use super::super::parse::tests::{device, read};
use super::super::{Device, FILTERS, NextHop, Policies, SLOTS, TEXT, Target, text_words};
use super::*;
use std::net::IpAddr;

/// The maps of a router.
#[derive(Clone, Default)]
struct Maps {
    hops: BTreeMap<u32, Hop>,
    buckets: BTreeMap<u32, u32>,
    routes: BTreeMap<Prefix, u32>,
    words: BTreeMap<u32, u64>,
}

impl Maps {
    fn take(&mut self, step: &Step) {
        match step {
            Step::Hop(number, hop) | Step::Renew(number, hop) => drop(self.hops.insert(*number, hop.clone())),
            Step::Spare(number) => {
                let leads = |value: &u32| value & GROUP == 0 && value == number;
                assert!(!self.routes.values().any(leads), "a route leads to {number}");
            }
            Step::Bucket(at, hop) => drop(self.buckets.insert(*at, *hop)),
            Step::Filter(number, text) => self.words.extend(text_words(*number, text)),
            Step::List(at, word) => drop(self.words.insert(*at, *word)),
            Step::Route { prefix, value, before } => {
                assert_eq!(self.routes.insert(*prefix, *value), *before);
            }
            Step::Remove { prefix, before } => assert_eq!(self.routes.remove(prefix), Some(*before)),
        }
    }

    /// What the program does with a packet to `address`, whose flow has this hash, and which matches this filter alone.
    fn forward(&self, address: IpAddr, hash: u32, matches: &str) -> Option<Hop> {
        let prefixes = (0..=32).rev().map(|length| Prefix::around(address, length));
        let mut value = prefixes.into_iter().find_map(|p| self.routes.get(&p).copied())?;
        if value >> 29 == 1 {
            let first = (value & (POLICY - 1)) * SLOTS;
            let word = |at: u32| self.words.get(&at).copied().unwrap_or(0);
            // The texts of these tests differ in their first words.
            let (at, text) = text_words(1, matches)[0];
            let number = |n: &u32| word(at + (n - 1) * TEXT / 8) == text;
            let held = (1..=FILTERS).filter(number).fold(1, |bits, n| bits | 1u64 << n) & (word(first) | 1);
            let entries = (first + 1..first + SLOTS).map(word);
            value = entries.into_iter().find(|entry| held >> (entry >> 32 & 63) & 1 != 0)? as u32;
            if value == 0 {
                return None;
            }
        }
        let number = match value & GROUP {
            0 => value,
            _ => self.buckets.get(&((value & !GROUP) * BUCKETS + hash % BUCKETS)).copied()?,
        };
        Some(self.hops.get(&number).cloned().expect("a next hop that is not written"))
    }

    fn table(&self) -> Table {
        let routes: Vec<_> = self.routes.iter().map(|(p, v)| (*p, *v)).collect();
        let policies = Policies::read(&routes, |at| self.words.get(&at).copied().unwrap_or(0));
        let bucket = |at: u32| self.buckets.get(&at).copied().unwrap_or(0);
        Table::of(routes, |n| self.hops.get(&n).cloned(), bucket, policies)
    }
}

/// A generator of numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0) % n
    }
}

fn a_route(random: &mut Random) -> Route {
    let address = IpAddr::from([10, random.below(3) as u8, random.below(3) as u8, 0]);
    let prefix = Prefix::around(address, [8, 16, 24, 32][random.below(4) as usize]);
    let hop = |random: &mut Random| {
        let gateway = IpAddr::from([192, 0, 2, random.below(5) as u8]);
        NextHop {
            gateway: Some(gateway),
            device: device("a", 1),
            weight: 1 + random.below(3) as u16,
            cpu: None,
        }
    };
    let target = match random.below(4) {
        0 => Target::Drop,
        _ => Target::Forward((0..=random.below(3)).map(|_| hop(random)).collect()),
    };
    let condition = match random.below(3) {
        0 => Some(["tcp", "udp", "icmp"][random.below(3) as usize].to_owned()),
        _ => None,
    };
    let position = condition.as_ref().and_then(|_| [None, Some(1), Some(2)][random.below(3) as usize]);
    Route { condition, position, ..Route::new(prefix, target) }
}

fn a_change(random: &mut Random, table: &Table) -> Change {
    let route = a_route(random);
    match (random.below(5), table.has(route.prefix)) {
        (0 | 1, _) if route.condition.is_some() => Change::Replace(route),
        (2, _) if route.condition.is_some() => Change::DeleteAllIf(route.prefix),
        (3, _) => Change::Follow(Route::new(route.prefix, route.target)),
        (4, _) => Change::Unfollow(route.prefix),
        (0, true) => Change::Delete(route.prefix),
        (_, true) => Change::Replace(Route::new(route.prefix, route.target)),
        (_, false) => Change::Add(Route::new(route.prefix, route.target)),
    }
}

#[test]
fn no_step_opens_a_hole() {
    let mut random = Random(7);
    let (mut table, mut maps) = (Table::default(), Maps::default());
    for _ in 0..400 {
        // Of different prefixes, so that each change is valid by itself.
        let mut changes: Vec<(Prefix, Change)> = Vec::new();
        for _ in 0..=random.below(4) {
            let change = a_change(&mut random, &table);
            let prefix = match &change {
                Change::Delete(prefix)
                | Change::Unfollow(prefix)
                | Change::DeleteIf(prefix, _)
                | Change::DeleteAllIf(prefix) => *prefix,
                Change::Add(route) | Change::Replace(route) | Change::Follow(route) => route.prefix,
            };
            if changes.iter().all(|(p, _)| *p != prefix) {
                changes.push((prefix, change));
            }
        }
        let changes: Vec<Change> = changes.into_iter().map(|c| c.1).collect();
        let steps = table.plan(&changes).unwrap();
        let before = maps.clone();
        let mut behind = maps.clone();
        steps.iter().for_each(|step| behind.take(step));
        // One change: each address goes by the old or by the new table at any time.
        let alone = changes.len() == 1;
        for step in &steps {
            maps.take(step);
            let places = [(0, 0, 0), (0, 1, 9), (1, 0, 33), (1, 2, 5), (2, 2, 63), (2, 1, 17)];
            for ((third, fourth, hash), kind) in
                places.into_iter().flat_map(|p| [(p, "tcp"), (p, "udp"), (p, "arp")])
            {
                let address = IpAddr::from([10, third, fourth, 0]);
                let of = |maps: &Maps| maps.forward(address, hash, kind);
                let now = of(&maps);
                if alone {
                    let allowed = [of(&before), of(&behind)];
                    assert!(allowed.contains(&now), "{address}: {now:?} is neither of {allowed:?}");
                }
                // Never nothing where there was something before and is behind.
                let both = of(&before).is_some() && of(&behind).is_some();
                assert!(!both || now.is_some(), "a hole at {address}");
            }
        }
        assert_eq!(maps.table(), table, "the table is found again");
        for kind in ["tcp", "udp", "arp"] {
            let address = IpAddr::from([10, 1, 1, 0]);
            let rows = table.lookup(address);
            let row = rows.iter().find(|row| row.condition.as_ref().is_none_or(|text| text == kind));
            let allowed: Option<Vec<Hop>> =
                row.map(|row| row.hops.iter().filter_map(|n| table.hop(*n).cloned()).collect());
            let found = maps.forward(address, 3, kind);
            let right =
                found.as_ref().map_or(allowed.is_none(), |hop| allowed.is_some_and(|a| a.contains(hop)));
            assert!(right, "{kind}: {found:?} is not what the table says");
        }
        if random.below(4) == 0 {
            steps.iter().rev().filter_map(Step::undone).for_each(|step| maps.take(&step));
            assert_eq!(maps.routes, before.routes, "steps undone");
            table = maps.table();
        }
    }
}

#[test]
fn lookup_is_the_longest_match() {
    let mut random = Random(3);
    let mut table = Table::default();
    let mut naive: BTreeMap<Prefix, Vec<Hop>> = BTreeMap::new();
    for _ in 0..60 {
        let route = a_route(&mut random);
        naive.insert(route.prefix, route.target.hops());
        table.plan(&[Change::Replace(route)]).unwrap();
    }
    for _ in 0..500 {
        let address = IpAddr::from([10, random.below(4) as u8, random.below(4) as u8, random.below(2) as u8]);
        let expected = naive.keys().filter(|p| p.contains(address)).max_by_key(|p| p.length()).copied();
        assert_eq!(table.lookup(address).first().map(|found| found.prefix), expected);
    }
}

fn ways(text: &str) -> (Table, BTreeMap<u32, Hop>) {
    let mut table = Table::default();
    table.plan(&[Change::Add(read(text).unwrap())]).unwrap();
    let group = table.groups.values().next().cloned().unwrap_or_default();
    let hops = (0..).zip(group.buckets).map(|(at, n)| (at, table.hop(n).cloned().unwrap())).collect();
    (table, hops)
}

#[test]
fn a_member_that_goes_takes_only_its_own_flows_along() {
    let (_, three) = ways("10.9.0.0/16 via 10.0.1.1 via 10.0.2.2 via 10.0.2.3");
    let (_, two) = ways("10.9.0.0/16 via 10.0.1.1 via 10.0.2.3");
    let gone: IpAddr = "10.0.2.2".parse().unwrap();
    let mut moved = 0;
    for (bucket, hop) in &three {
        match hop.gateway == Some(gone) {
            true => moved += 1,
            false => assert_eq!(two.get(bucket), Some(hop)),
        }
    }
    assert!((8..40).contains(&moved), "{moved} of 64 buckets were its own");
}

#[test]
fn weights_are_shares() {
    let (_, hops) = ways("10.9.0.0/16 via 10.0.1.1 weight 3 via 10.0.2.2");
    let heavy = hops.values().filter(|h| h.weight == 3).count();
    assert!((36..60).contains(&heavy), "{heavy} of 64");
    let (_, hops) = ways("10.9.0.0/16 via 10.0.1.1 weight 256 via 10.0.2.2");
    assert!(hops.values().any(|h| h.weight == 1), "the lightest has a bucket too");
}

#[test]
fn wrong_changes_change_nothing() {
    let mut table = Table::default();
    table.plan(&[Change::Add(read("10.9.0.0/16 drop").unwrap())]).unwrap();
    let before = table.clone();
    let batch =
        [Change::Add(read("10.8.0.0/16 drop").unwrap()), Change::Add(read("10.9.0.0/16 pass").unwrap())];
    assert!(table.plan(&batch).unwrap_err().to_string().contains("`replace` changes it"));
    let absent = Change::Delete("10.7.0.0/16".parse().unwrap());
    assert!(table.plan(&[absent]).unwrap_err().to_string().contains("no route to 10.7.0.0/16"));
    assert_eq!(table, before);
}

#[test]
fn followed_routes_leave_those_of_others_alone() {
    let route = |text: &str| read(text).unwrap();
    let mut table = Table::default();
    table.plan(&[Change::Add(route("10.1.0.0/16 drop"))]).unwrap();
    let follow = |text: &str| Change::Follow(route(text));
    let steps = table
        .plan(&[
            follow("10.1.0.0/16 via 10.0.1.1"),
            follow("10.2.0.0/16 via 10.0.1.1"),
            follow("10.3.0.0/16 drop"),
        ])
        .unwrap();
    assert_eq!(steps.iter().filter(|s| matches!(s, Step::Route { .. })).count(), 2);
    let followed = |table: &Table, text: &str| table.is_followed(text.parse().unwrap());
    assert_eq!(followed(&table, "10.1.0.0/16"), Some(false));
    assert_eq!(followed(&table, "10.2.0.0/16"), Some(true));
    assert_eq!(
        followed(&table, "10.3.0.0/16"),
        Some(true),
        "not the next hop of the route that drops by hand"
    );
    assert_eq!(table.those(|hop| hop.followed).len(), 2);
    let unfollow = |text: &str| Change::Unfollow(text.parse().unwrap());
    table.plan(&[unfollow("10.1.0.0/16"), unfollow("10.2.0.0/16"), unfollow("10.9.0.0/16")]).unwrap();
    assert_eq!(followed(&table, "10.1.0.0/16"), Some(false));
    assert_eq!(followed(&table, "10.2.0.0/16"), None);
    // A route that is written by hand takes the place of a followed one.
    table.plan(&[Change::Add(route("10.3.0.0/16 pass"))]).unwrap();
    assert_eq!(followed(&table, "10.3.0.0/16"), Some(false));
}

#[test]
fn conditions_are_tried_in_their_order() {
    let change = |table: &mut Table, text: &str| table.plan(&[Change::Add(read(text).unwrap())]);
    let mut table = Table::default();
    for text in [
        "10.0.0.0/8 via 10.0.1.8",
        "10.1.0.0/16 drop if udp",
        "10.1.0.0/16 pass if tcp",
        "10.0.0.0/8 pass if icmp",
    ] {
        change(&mut table, text).unwrap();
    }
    let tried = |table: &Table| {
        let rows = table.lookup("10.1.2.3".parse().unwrap()).into_iter();
        rows.map(|row| format!("{} {}", row.prefix, row.condition.unwrap_or_default())).collect::<Vec<_>>()
    };
    assert_eq!(tried(&table), ["10.1.0.0/16 udp", "10.1.0.0/16 tcp", "10.0.0.0/8 icmp", "10.0.0.0/8 "]);
    change(&mut table, "10.1.0.0/16 drop at 1 if arp").unwrap();
    table.plan(&[Change::Replace(read("10.1.0.0/16 drop at 1 if tcp").unwrap())]).unwrap();
    assert_eq!(tried(&table)[..3], ["10.1.0.0/16 tcp", "10.1.0.0/16 arp", "10.1.0.0/16 udp"]);
    for (change, part) in [
        (
            Change::Add(read("10.1.0.0/16 drop if tcp").unwrap()),
            "with that `if` already: `replace` changes it",
        ),
        (
            Change::Delete("10.1.0.0/16".parse().unwrap()),
            "`del DESTINATION if EXPRESSION` takes one with it away",
        ),
        (
            Change::DeleteIf("10.1.0.0/16".parse().unwrap(), "ip6".to_owned()),
            "no route to 10.1.0.0/16 if \"ip6\"",
        ),
    ] {
        let before = table.clone();
        let why = table.plan(&[change]).unwrap_err().to_string();
        assert!(why.contains(part), "{part}: {why}");
        assert_eq!(table, before);
    }
    // A filter that no route asks any more makes room for another one only then.
    table.plan(&[Change::DeleteIf("10.1.0.0/16".parse().unwrap(), "arp".to_owned())]).unwrap();
    assert!(table.filters().values().any(|text| text == "arp"));
    change(&mut table, "10.2.0.0/16 drop if sctp").unwrap();
    assert!(!table.filters().values().any(|text| text == "arp"));
    table.plan(&[Change::DeleteAllIf("10.1.0.0/16".parse().unwrap())]).unwrap();
    assert_eq!(tried(&table), ["10.0.0.0/8 icmp", "10.0.0.0/8 "]);
}

#[test]
fn what_is_tried_is_bounded() {
    let mut table = Table::default();
    let add = |table: &mut Table, n: usize| {
        let prefix = if n.is_multiple_of(2) { "10.0.0.0/8" } else { "10.1.0.0/16" };
        table.plan(&[Change::Add(read(&format!("{prefix} drop if tcp port {n}")).unwrap())]).map(drop)
    };
    (0..SLOTS as usize - 1).for_each(|n| add(&mut table, n).unwrap());
    let why = add(&mut table, SLOTS as usize).unwrap_err().to_string();
    assert!(why.contains("10.1.0.0/16 has 16 routes to try"), "{why}");
    let one = |n: u32| Change::Add(read(&format!("10.{n}.0.0/16 drop if tcp port {n}")).unwrap());
    let mut table = Table::default();
    (1..=FILTERS).for_each(|n| drop(table.plan(&[one(n)]).unwrap()));
    assert!(
        table.plan(&[one(FILTERS + 1)]).unwrap_err().to_string().contains("there are 32 different filters")
    );
}

#[test]
fn routes_by_hand_are_counted_by_themselves() {
    let mut table = Table::default();
    let all = ["10.1.0.0/16 via 10.0.1.1", "10.2.0.0/16 via 10.0.1.1"].map(|t| read(t).unwrap());
    table.plan(&all.clone().map(Change::Add)).unwrap();
    let hops: Vec<Vec<u32>> = table.routes().map(|row| row.hops).collect();
    assert_ne!(hops[0], hops[1]);
    assert!(table.plan(&all.map(Change::Replace)).unwrap().is_empty(), "counters go on");
    let follow = |n: u32| Change::Follow(read(&format!("10.{n}.0.0/16 via 10.0.1.1")).unwrap());
    table.plan(&[follow(8), follow(9)]).unwrap();
    let hops: Vec<Vec<u32>> = table.routes().skip(2).map(|row| row.hops).collect();
    assert_eq!(hops[0], hops[1]);
    table.count_all(2 * HOPS);
    table.plan(&[follow(8)]).unwrap();
    assert_ne!(table.routes().nth(2).map(|row| row.hops), table.routes().nth(3).map(|row| row.hops));
}

#[test]
fn numbers_run_out_with_a_message() {
    let mut table = Table::default();
    let route = |n: u32| {
        let device = Device { mtu: n, ..device("a", 1) };
        let prefix = Prefix::around(IpAddr::from(std::net::Ipv4Addr::from_bits(n)), 32);
        Route::new(prefix, Target::Forward(vec![NextHop { gateway: None, device, weight: 1, cpu: None }]))
    };
    let all: Vec<Change> = (1..=HOPS).map(|n| Change::Add(route(n))).collect();
    assert!(table.plan(&all).unwrap_err().to_string().contains("no more are possible"));
    assert_eq!(table.routes().count(), 0);
    table.plan(&all[..HOPS as usize - 1]).unwrap();
}

fn followed(text: &str) -> Change {
    Change::Follow(read(text).unwrap())
}

#[test]
fn a_link_that_fails_changes_groups_and_no_route() {
    let (mut table, mut maps) = (Table::default(), Maps::default());
    let mut changes: Vec<Change> = (0..200)
        .map(|n| followed(&format!("10.{n}.0.0/16 via 10.0.1.1 via 10.0.2.2 weight 3 via 10.0.2.3")))
        .collect();
    changes.push(followed("172.16.0.0/16 via 10.0.2.2"));
    changes.push(Change::Add(read("172.17.0.0/16 via 10.0.1.1 via 10.0.2.2").unwrap()));
    table.plan(&changes).unwrap().iter().for_each(|step| maps.take(step));
    let before = maps.clone();
    let down = |table: &mut Table, maps: &mut Maps, devices: &[u32]| {
        let steps = table.set_down(&devices.iter().map(|device| (*device, Down::Off)).collect());
        steps.iter().for_each(|step| maps.take(step));
        assert!(steps.iter().all(|step| matches!(step, Step::Bucket(..))), "{steps:?}");
        steps.len()
    };
    let devices = |maps: &Maps, address: [u8; 4]| {
        (0..BUCKETS)
            .filter_map(|hash| maps.forward(address.into(), hash, ""))
            .map(|hop| hop.device)
            .collect::<BTreeSet<_>>()
    };
    let moved = down(&mut table, &mut maps, &[2]);
    assert!((1..=64).contains(&moved), "{moved} buckets for 200 routes");
    assert_eq!(devices(&maps, [10, 9, 0, 1]), [1].into());
    assert_eq!(devices(&maps, [172, 16, 0, 1]), [2].into(), "it has no other");
    assert_eq!(devices(&maps, [172, 17, 0, 1]), [1, 2].into(), "written by hand");
    // What is planned meanwhile finds its group.
    assert_eq!(table.plan(&changes[..200]).unwrap(), []);
    // Read again, it knows the members that have no buckets now; not if somebody has written others in their place.
    let mut again = maps.table();
    again.remember(&table, |n| maps.hops.get(&n).cloned());
    assert_eq!(again.plan(&changes[..200]).unwrap(), []);
    let mut other = maps.table();
    other.remember(&table, |_| None);
    assert_eq!(
        other.plan(&changes[..200]).unwrap().iter().filter(|s| matches!(s, Step::Route { .. })).count(),
        200
    );
    assert_eq!(down(&mut again, &mut maps, &[]), moved);
    assert_eq!(maps.buckets, before.buckets);
    assert_eq!(maps.routes, before.routes);
    // None is left: all stay.
    assert_eq!(down(&mut again, &mut maps, &[1, 2]), 0);
}

#[test]
fn next_hops_are_renewed_where_they_are() {
    let (mut table, mut maps) = (Table::default(), Maps::default());
    let changes = [followed("10.1.0.0/16 via 10.0.1.1 via 10.0.2.2"), followed("10.2.0.0/16 via 10.0.1.1")];
    table.plan(&changes).unwrap().iter().for_each(|step| maps.take(step));
    assert_eq!(table.renew(|index| Some(device(if index == 1 { "a" } else { "b" }, index))), []);
    let shorter = |index: u32| (index == 1).then(|| Device { mtu: 1280, ..device("a", 1) });
    let steps = table.renew(shorter);
    assert!(matches!(&steps[..], [Step::Renew(_, hop)] if hop.mtu == 1280), "{steps:?}");
    steps.iter().for_each(|step| maps.take(step));
    assert_eq!(maps.forward([10, 2, 0, 1].into(), 0, "").unwrap().mtu, 1280);
    assert_eq!(table.renew(shorter), []);
    // A route that is planned now leads to the same next hop.
    let mut route = read("10.3.0.0/16 via 10.0.1.1").unwrap();
    if let Target::Forward(hops) = std::sync::Arc::make_mut(&mut route.target) {
        hops[0].device.mtu = 1280;
    }
    let steps = table.plan(&[Change::Follow(route)]).unwrap();
    assert!(matches!(&steps[..], [Step::Route { .. }]), "{steps:?}");
}

#[path = "whole_tests.rs"]
mod whole;
