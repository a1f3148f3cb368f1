//! Messages as the kernel writes them, and any bytes at all.

use super::super::{Change as Step, Device, Prefix, Row, Table, Target};
use super::message::{Change, KernelHop, RouteKind, Ways, read};
use super::*;
use proptest::prelude::*;

const NEWLINK: u16 = 16;
const NEWROUTE: u16 = 24;
const DELROUTE: u16 = 25;
const NEWNEXTHOP: u16 = 104;
const DELNEXTHOP: u16 = 105;

fn put(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend((4 + value.len() as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// A route of the main table by `proto`.
fn route(prefix: &str, what: u8, proto: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let prefix: Prefix = prefix.parse().unwrap();
    let (family, octets) = match prefix.address() {
        std::net::IpAddr::V4(a) => (2, a.octets().to_vec()),
        std::net::IpAddr::V6(a) => (10, a.octets().to_vec()),
    };
    let mut body = vec![family, prefix.length(), 0, 0, 254, proto, 0, what, 0, 0, 0, 0];
    if prefix.length() > 0 {
        put(&mut body, 1, &octets);
    }
    attributes.iter().for_each(|(kind, value)| put(&mut body, *kind, value));
    body
}

fn link(index: u32, up: bool, carrier: bool) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(index.to_ne_bytes());
    body.extend((u32::from(up) | u32::from(carrier) << 16).to_ne_bytes());
    body.extend([0; 4]);
    body
}

fn nexthop(hops: u8, device: u32, gateway: [u8; 4]) -> Vec<u8> {
    hop_by(hops, device, &gateway)
}

fn hop_by(hops: u8, device: u32, gateway: &[u8]) -> Vec<u8> {
    let mut one = vec![0, 0, 0, hops];
    one.extend(device.to_ne_bytes());
    put(&mut one, 5, gateway);
    let length = one.len() as u16;
    one[..2].copy_from_slice(&length.to_ne_bytes());
    one
}

fn device(index: u32) -> Option<Device> {
    (1..4).contains(&index).then(|| Device {
        name: format!("d{index}"),
        index,
        mtu: 1500,
        mac: [2; 6],
        fast: None,
    })
}

/// A kernel with three links that are up, and the router that follows it.
struct World {
    mirror: Mirror,
    table: Table,
}

impl World {
    fn new(protocol: Option<u8>) -> World {
        let mut mirror = Mirror::new(Selection { table: 254, protocol });
        mirror.begin();
        (1..4).for_each(|index| assert!(mirror.take(NEWLINK, 0, &link(index, true, true))));
        mirror.end(true);
        assert!(!mirror.is_stale());
        World { mirror, table: Table::default() }
    }

    fn say(&mut self, kind: u16, body: &[u8]) {
        self.mirror.take(kind, 0, body);
        self.follow();
    }

    fn follow(&mut self) {
        let skip = |prefix: Prefix| prefix.to_string().starts_with("fe80");
        self.table.set_down(&self.mirror.down());
        let changes = self.mirror.changes(&self.table, &device, &skip);
        self.table.plan(&changes).unwrap();
    }

    /// Gateways' last octets by which a route goes; 0 for a device alone, 255 for what is dropped, 254 for what is left.
    fn ways(&self, prefix: &str) -> Vec<u8> {
        let address = prefix.parse::<Prefix>().unwrap().address();
        let Some(Row { hops, .. }) = self.table.lookup(address).into_iter().next() else { return Vec::new() };
        let hops = hops.iter().filter_map(|n| self.table.hop(*n));
        let mut ways: Vec<u8> = hops
            .map(|hop| match (hop.kind as u32, hop.gateway) {
                (2, _) => 255,
                (3, _) => 254,
                (_, Some(std::net::IpAddr::V4(a))) => a.octets()[3],
                (_, Some(std::net::IpAddr::V6(a))) => a.octets()[15],
                (_, None) => 0,
            })
            .collect();
        ways.sort_unstable();
        ways
    }
}

const OIF1: (u16, &[u8]) = (4, &[1, 0, 0, 0]);
const OIF2: (u16, &[u8]) = (4, &[2, 0, 0, 0]);
const VIA1: (u16, &[u8]) = (5, &[10, 0, 1, 1]);
const VIA2: (u16, &[u8]) = (5, &[10, 0, 2, 2]);

#[test]
fn routes_are_read() {
    let Some(Change::Route { route: read, appended: false }) =
        read(NEWROUTE, 0, &route("10.1.0.0/16", 1, 186, &[OIF1, VIA1, (6, &[20, 0, 0, 0])]))
    else {
        panic!("no route")
    };
    assert_eq!(
        (read.prefix.to_string().as_str(), read.metric, read.table, read.protocol),
        ("10.1.0.0/16", 20, 254, 186)
    );
    let gateway = Some([10, 0, 1, 1].into());
    assert_eq!(read.ways, Ways::Hops(vec![KernelHop { gateway, device: 1, weight: 1, dead: false }]));
    let kind = |what| match super::read(NEWROUTE, 0, &route("10.1.0.0/16", what, 4, &[])) {
        Some(Change::Route { route, .. }) => Some(route.kind),
        _ => None,
    };
    let all = [2, 6, 7, 8, 9, 5].map(kind);
    assert_eq!(
        all,
        [
            None,
            Some(RouteKind::Drop),
            Some(RouteKind::Refuse),
            Some(RouteKind::Refuse),
            Some(RouteKind::Leave),
            None
        ]
    );
}

#[test]
fn routes_come_change_and_go() {
    let mut world = World::new(None);
    world.say(NEWROUTE, &route("10.1.0.0/16", 1, 4, &[OIF1, VIA1]));
    world.say(NEWROUTE, &route("10.2.0.0/16", 6, 4, &[]));
    world.say(NEWROUTE, &route("0.0.0.0/0", 1, 4, &[OIF2]));
    world.say(NEWROUTE, &route("fe80::/64", 1, 2, &[OIF2]));
    assert_eq!(
        ["10.1.0.0/16", "10.2.0.0/16", "9.9.9.9", "fe80::1"].map(|p| world.ways(p)),
        [vec![1], vec![255], vec![0], vec![]]
    );
    world.say(NEWROUTE, &route("10.1.0.0/16", 1, 4, &[OIF2, VIA2]));
    assert_eq!(world.ways("10.1.0.0/16"), [2]);
    // A lower metric counts more, and its end brings the other back.
    world.say(NEWROUTE, &route("10.3.0.0/16", 1, 4, &[OIF1, VIA1, (6, &[100, 0, 0, 0])]));
    world.say(NEWROUTE, &route("10.3.0.0/16", 1, 4, &[OIF2, VIA2, (6, &[50, 0, 0, 0])]));
    assert_eq!(world.ways("10.3.0.0/16"), [2]);
    world.say(DELROUTE, &route("10.3.0.0/16", 1, 4, &[OIF2, VIA2, (6, &[50, 0, 0, 0])]));
    assert_eq!(world.ways("10.3.0.0/16"), [1]);
    for gone in ["10.1.0.0/16", "10.2.0.0/16"] {
        let what = if gone == "10.2.0.0/16" { 7 } else { 1 };
        world.say(DELROUTE, &route(gone, what, 4, &[OIF2, VIA2]));
    }
    assert_eq!(world.ways("10.1.0.0/16"), [0], "by the default route");
    assert!(!world.mirror.is_stale());
}

#[test]
fn only_what_is_selected() {
    let mut world = World::new(Some(186));
    world.say(NEWROUTE, &route("10.1.0.0/16", 1, 4, &[OIF1, VIA1]));
    world.say(NEWROUTE, &route("10.2.0.0/16", 1, 186, &[OIF1, VIA1]));
    let mut other = route("10.3.0.0/16", 1, 186, &[OIF1, VIA1]);
    put(&mut other, 15, &100u32.to_ne_bytes());
    world.say(NEWROUTE, &other);
    assert_eq!(["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"].map(|p| world.ways(p).len()), [0, 1, 0]);
    assert_eq!(protocol_number("bgp"), Some(186));
    assert_eq!(protocol_number("77"), Some(77));
    assert_eq!((protocol_number("bgq"), protocol_number("300")), (None, None));
}

#[test]
fn several_next_hops_and_links_that_fail() {
    let mut world = World::new(None);
    let both = [nexthop(0, 1, [10, 0, 1, 1]), nexthop(2, 2, [10, 0, 2, 2])].concat();
    world.say(NEWROUTE, &route("10.1.0.0/16", 1, 4, &[(9, &both)]));
    assert_eq!(world.ways("10.1.0.0/16"), [1, 2]);
    world.say(NEWLINK, &link(2, true, false));
    assert_eq!(world.ways("10.1.0.0/16"), [1], "without a carrier");
    assert!(world.mirror.is_doubtful(), "the kernel may have dropped routes without a word");
    world.say(NEWLINK, &link(1, false, false));
    assert_eq!(world.ways("10.1.0.0/16"), [2], "up at least");
    world.say(NEWLINK, &link(2, true, true));
    assert_eq!(world.ways("10.1.0.0/16"), [2]);
    // The list says that the route has gone.
    world.mirror.begin();
    (1..4).for_each(|index| assert!(world.mirror.take(NEWLINK, 0, &link(index, true, true))));
    world.mirror.end(true);
    world.follow();
    assert!(world.ways("10.1.0.0/16").is_empty() && !world.mirror.is_stale() && !world.mirror.is_doubtful());
}

#[test]
fn a_link_is_turned_off_and_its_routes_go_before_any_list() {
    let mut world = World::new(None);
    let both = [nexthop(0, 1, [10, 0, 1, 1]), nexthop(0, 2, [10, 0, 2, 2])].concat();
    world.say(NEWROUTE, &route("10.1.0.0/16", 1, 4, &[(9, &both)]));
    world.say(NEWROUTE, &route("10.2.0.0/16", 1, 4, &[OIF1, VIA1]));
    world.say(NEWROUTE, &route("10.3.0.0/16", 1, 4, &[OIF1, VIA1, (6, &[10, 0, 0, 0])]));
    world.say(NEWROUTE, &route("10.3.0.0/16", 1, 4, &[OIF2, VIA2, (6, &[20, 0, 0, 0])]));
    world.say(NEWLINK, &link(1, false, false));
    let seen = ["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"].map(|p| world.ways(p));
    assert_eq!(seen, [vec![2], vec![], vec![2]]);
    assert!(!world.mirror.is_stale() && world.mirror.is_doubtful());
    // What it says of the same route while the link is down: a next hop is dead, which ends without a word.
    let mut dead = both;
    dead[2] = 1;
    world.mirror.take(NEWROUTE, 0, &route("10.1.0.0/16", 1, 4, &[(9, &dead)]));
    world.mirror.take(NEWLINK, 0, &link(1, true, true));
    world.table.set_down(&world.mirror.down());
    assert_eq!(world.mirror.changes(&world.table, &device, &|_| false), [], "no route changes");
    assert_eq!(world.ways("10.1.0.0/16"), [1, 2]);
}

#[test]
fn one_of_several_ipv6_next_hops_goes() {
    let mut world = World::new(None);
    let hop = |device: u32, last: u8| {
        hop_by(0, device, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last])
    };
    let both = [hop(1, 1), hop(2, 2)].concat();
    world.say(NEWROUTE, &route("2001:db8:9::/48", 1, 12, &[(9, &both)]));
    assert_eq!(world.ways("2001:db8:9::/48"), [1, 2]);
    let first = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    world.say(DELROUTE, &route("2001:db8:9::/48", 1, 12, &[OIF1, (5, &first)]));
    assert_eq!(world.ways("2001:db8:9::/48"), [2]);
    world.say(DELROUTE, &route("2001:db8:9::/48", 1, 12, &[(9, &hop(2, 2))]));
    assert!(world.ways("2001:db8:9::/48").is_empty());
}

#[test]
fn next_hop_objects() {
    let mut world = World::new(None);
    let one = |id: u32, device: &'static [u8], gateway: &'static [u8]| {
        let mut body = vec![0; 8];
        put(&mut body, 1, &id.to_ne_bytes());
        put(&mut body, 5, device);
        put(&mut body, 6, gateway);
        body
    };
    world.say(NEWNEXTHOP, &one(7, OIF1.1, VIA1.1));
    world.say(NEWNEXTHOP, &one(8, OIF2.1, VIA2.1));
    let mut group = vec![0; 8];
    put(&mut group, 1, &9u32.to_ne_bytes());
    put(&mut group, 2, &[7, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 4, 0, 0, 0]);
    world.say(NEWNEXTHOP, &group);
    world.say(NEWROUTE, &route("10.1.0.0/16", 1, 4, &[(30, &7u32.to_ne_bytes()), OIF1, VIA1]));
    world.say(NEWROUTE, &route("10.2.0.0/16", 1, 4, &[(30, &9u32.to_ne_bytes())]));
    assert_eq!((world.ways("10.1.0.0/16"), world.ways("10.2.0.0/16")), (vec![1], vec![1, 2]));
    // The object changes, and with it all of its routes.
    world.say(NEWNEXTHOP, &one(7, OIF2.1, VIA2.1));
    assert_eq!(world.ways("10.1.0.0/16"), [2]);
    world.say(DELNEXTHOP, &one(7, OIF2.1, VIA2.1));
    assert!(world.ways("10.1.0.0/16").is_empty() && world.mirror.is_stale());
}

#[test]
fn what_is_not_done_here_is_left_to_the_kernel() {
    let mut world = World::new(None);
    world.say(NEWROUTE, &route("10.1.0.0/16", 1, 4, &[OIF1, (21, &[1, 0]), (22, &[0; 8])]));
    assert_eq!(world.ways("10.1.0.0/16"), [254]);
    // IPv4 by an IPv6 neighbour is.
    let via = [10, 0, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    world.say(NEWROUTE, &route("10.2.0.0/16", 1, 186, &[OIF1, (18, &via)]));
    assert_eq!(world.ways("10.2.0.0/16"), [9]);
}

#[test]
fn routes_by_hand_stay() {
    let mut world = World::new(None);
    let by_hand = super::super::Route::new("10.1.0.0/16".parse().unwrap(), Target::Drop);
    world.table.plan(&[Step::Add(by_hand)]).unwrap();
    world.say(NEWROUTE, &route("10.1.0.0/16", 1, 4, &[OIF1, VIA1]));
    assert_eq!(world.ways("10.1.0.0/16"), [255]);
    world.say(DELROUTE, &route("10.1.0.0/16", 1, 4, &[OIF1, VIA1]));
    assert_eq!(world.ways("10.1.0.0/16"), [255]);
}

/// Messages that are nearly right.
fn a_message() -> impl Strategy<Value = (u16, Vec<u8>)> {
    let kind = prop_oneof![
        Just(NEWLINK),
        Just(NEWROUTE),
        Just(DELROUTE),
        Just(NEWNEXTHOP),
        Just(DELNEXTHOP),
        0u16..120
    ];
    let hops = [nexthop(0, 1, [10, 0, 1, 1]), nexthop(2, 2, [10, 0, 2, 2])].concat();
    let good = prop_oneof![
        (0u8..33, 0u8..10).prop_map(|(length, what)| {
            let prefix = Prefix::around([10, 77, 3, 9].into(), length).to_string();
            route(&prefix, what, 4, &[OIF1, VIA1])
        }),
        Just(route("10.1.0.0/16", 1, 4, &[(9, &hops)])),
        (0u32..5, any::<bool>(), any::<bool>()).prop_map(|(index, up, carrier)| link(index, up, carrier)),
        prop::collection::vec(any::<u8>(), 0..80),
    ];
    (kind, good, prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)).prop_map(
        |(kind, mut body, damage)| {
            for (at, byte) in damage {
                if !body.is_empty() {
                    let at = at.index(body.len());
                    body[at] = byte;
                }
            }
            (kind, body)
        },
    )
}

proptest! {
    #[test]
    fn any_messages_are_read_to_their_end(messages in prop::collection::vec(a_message(), 0..40)) {
        let mut world = World::new(None);
        for (kind, body) in &messages {
            world.say(*kind, body);
        }
        // Every one of them again as a list: the router's table is what the list says, by whatever way it came about.
        let mut lists = Vec::new();
        let mirror = Mirror::new(Selection { table: 254, protocol: None });
        for mut world in [world, World { mirror, table: Table::default() }] {
            world.mirror.begin();
            for (kind, body) in &messages {
                world.mirror.take(*kind, 0, body);
            }
            world.mirror.end(true);
            world.follow();
            let text = |Row { prefix, hops, .. }: Row| {
                let mut hops: Vec<_> = hops.iter().filter_map(|n| world.table.hop(*n).cloned()).collect();
                hops.sort();
                (prefix, hops)
            };
            lists.push(world.table.routes().map(text).collect::<Vec<_>>());
        }
        prop_assert_eq!(&lists[0], &lists[1]);
    }
}
