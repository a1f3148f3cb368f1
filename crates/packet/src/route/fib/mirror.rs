//! The kernel's routes as far as they are followed, and what they make of the router's table. Messages enter one by one; the changes
//! of those destinations leave whose routes differ from what was handed out before.
//!
//! The kernel says nothing of some changes (of IPv4 routes that go with their interface, their address or their next-hop object). After
//! a message that may stand for such ones [`Mirror::is_stale`] asks for the whole list, which is compared.

use super::super::{Change, Device, NextHop, Prefix, Route, Table, Target};
use super::message::{
    self, Change as News, KernelHop, KernelRoute, Link, MOST_HOPS, Object, RouteKind, Ways,
};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Which routes are followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Selection {
    /// Number of the table.
    pub table: u32,
    /// Who made them (`RTPROT_*`); `None`: whoever.
    pub protocol: Option<u8>,
}

/// Names of who makes routes (include/uapi/linux/rtnetlink.h, `RTPROT_*`, as iproute2 writes them).
const PROTOCOLS: &[(&str, u8)] = &[
    ("redirect", 1),
    ("kernel", 2),
    ("boot", 3),
    ("static", 4),
    ("gated", 8),
    ("ra", 9),
    ("mrt", 10),
    ("zebra", 11),
    ("bird", 12),
    ("dnrouted", 13),
    ("xorp", 14),
    ("ntk", 15),
    ("dhcp", 16),
    ("mrouted", 17),
    ("keepalived", 18),
    ("babel", 42),
    ("openr", 99),
    ("bgp", 186),
    ("isis", 187),
    ("ospf", 188),
    ("rip", 189),
    ("eigrp", 192),
];

/// The number of a protocol by its name or number.
pub fn protocol_number(word: &str) -> Option<u8> {
    let named = PROTOCOLS.iter().find(|(name, _)| *name == word).map(|(_, number)| *number);
    named.or_else(|| word.parse().ok())
}

/// Where routes lead, by number: many routes have few of them.
#[derive(Debug, Default)]
struct Directions {
    all: Vec<(RouteKind, Ways)>,
    numbers: HashMap<(RouteKind, Ways), u32>,
}

impl Directions {
    fn number(&mut self, kind: RouteKind, ways: Ways) -> u32 {
        let next = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        let all = &mut self.all;
        *self.numbers.entry((kind, ways)).or_insert_with_key(|direction| {
            all.push(direction.clone());
            next
        })
    }

    fn get(&self, number: u32) -> Option<&(RouteKind, Ways)> {
        self.all.get(number as usize)
    }
}

/// From so many directions on those that are not used are forgotten with the next list.
const MANY: usize = 1024;

/// Where each route leads, by destination and metric.
type Routes = BTreeMap<(Prefix, u32), u32>;

/// The routes that are followed.
#[derive(Debug)]
pub struct Mirror {
    selection: Selection,
    directions: Directions,
    routes: Routes,
    objects: HashMap<u32, Object>,
    links: HashMap<u32, Link>,
    /// Destinations whose route may have changed since it was handed out.
    changed: HashSet<Prefix>,
    /// All destinations are to be looked at.
    all_changed: bool,
    stale: bool,
    /// The routes before the list that is being read.
    before: Option<Routes>,
}

impl Mirror {
    /// Nothing is known yet: it is stale.
    pub fn new(selection: Selection) -> Mirror {
        Mirror {
            selection,
            directions: Directions::default(),
            routes: Routes::new(),
            objects: HashMap::new(),
            links: HashMap::new(),
            changed: HashSet::new(),
            all_changed: true,
            stale: true,
            before: None,
        }
    }

    /// Whether the whole list is needed.
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// Messages were lost, or are not to be trusted.
    pub fn lost(&mut self) {
        self.stale = true;
    }

    /// How many routes are followed.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// The whole list follows, from its start.
    pub fn begin(&mut self) {
        let routes = std::mem::take(&mut self.routes);
        self.before.get_or_insert(routes);
        self.objects.clear();
        self.links.clear();
    }

    /// The list has ended; `whole`: nothing changed while it was read.
    pub fn end(&mut self, whole: bool) {
        let Some(before) = self.before.take() else { return };
        for (key, direction) in &self.routes {
            if before.get(key) != Some(direction) {
                self.changed.insert(key.0);
            }
        }
        for key in before.keys().filter(|key| !self.routes.contains_key(key)) {
            self.changed.insert(key.0);
        }
        // Objects and links may be others than before.
        self.all_changed = true;
        self.stale = !whole;
        self.forget_directions();
    }

    /// Forgets directions that no route takes any more, where there are many.
    fn forget_directions(&mut self) {
        if self.directions.all.len() < MANY {
            return;
        }
        let old = std::mem::take(&mut self.directions);
        for direction in self.routes.values_mut() {
            if let Some((kind, ways)) = old.get(*direction) {
                *direction = self.directions.number(*kind, ways.clone());
            }
        }
    }

    /// Takes a message: of the list between [`Mirror::begin`] and [`Mirror::end`], else of a change. Whether it is of use.
    pub fn take(&mut self, kind: u16, flags: u16, body: &[u8]) -> bool {
        let Some(news) = message::read(kind, flags, body) else { return false };
        let listing = self.before.is_some();
        match news {
            News::Route { route, appended } if self.selects(&route) => self.put(route, appended && !listing),
            News::RouteGone(route) if self.selects(&route) => self.gone(route),
            News::Route { .. } | News::RouteGone(_) => return false,
            News::Object { id, object: Some(object) } => {
                if self.objects.get(&id) != Some(&object) {
                    self.objects.insert(id, object);
                    self.all_changed = true;
                }
            }
            News::Object { id, object: None } => {
                self.objects.remove(&id);
                // Its routes go without a word.
                (self.all_changed, self.stale) = (true, true);
            }
            News::Link { index, link } => {
                let before = match link {
                    Some(link) => self.links.insert(index, link),
                    None => self.links.remove(&index),
                };
                if before != link && !listing {
                    (self.all_changed, self.stale) = (true, true);
                }
            }
            News::Address => self.stale = true,
        }
        true
    }

    fn selects(&self, route: &KernelRoute) -> bool {
        route.table == self.selection.table
            && self.selection.protocol.is_none_or(|protocol| protocol == route.protocol)
    }

    fn put(&mut self, route: KernelRoute, appended: bool) {
        let key = (route.prefix, route.metric);
        // A second IPv4 route beside the first has no effect while that is there.
        if appended && route.prefix.address().is_ipv4() && self.routes.contains_key(&key) {
            self.stale = true;
            return;
        }
        let direction = self.directions.number(route.kind, route.ways);
        // A list gives the IPv4 routes of one metric in the order in which they count.
        if self.before.is_some() {
            self.routes.entry(key).or_insert(direction);
            return;
        }
        if self.routes.insert(key, direction) != Some(direction) {
            self.changed.insert(key.0);
        }
    }

    fn gone(&mut self, route: KernelRoute) {
        let key = (route.prefix, route.metric);
        let Some(direction) = self.routes.get(&key).copied() else { return };
        self.changed.insert(key.0);
        let Some((kind, ways)) = self.directions.get(direction) else { return };
        let left = match (ways, &route.ways) {
            (Ways::Hops(all), Ways::Hops(these)) if *kind == route.kind => {
                let is_gone = |hop: &KernelHop| {
                    these.iter().any(|gone| (gone.gateway, gone.device) == (hop.gateway, hop.device))
                };
                all.iter().filter(|hop| !is_gone(hop)).cloned().collect()
            }
            _ => Vec::new(),
        };
        match (left.is_empty(), route.prefix.address().is_ipv6()) {
            // One of several that IPv6 holds by themselves.
            (false, true) => {
                let direction = self.directions.number(RouteKind::Forward, Ways::Hops(left));
                self.routes.insert(key, direction);
            }
            // Another one with the same metric has gone, or comes to count.
            (false, false) => self.stale = true,
            (true, _) => drop(self.routes.remove(&key)),
        }
    }

    /// The changes that make the followed routes of `table` those of the kernel, of destinations that may differ. `device` tells what
    /// an interface is; destinations that `skip` says are the machine's are left alone.
    pub fn changes(
        &mut self,
        table: &Table,
        device: &dyn Fn(u32) -> Option<Device>,
        skip: &dyn Fn(Prefix) -> bool,
    ) -> Vec<Change> {
        let mut changed = std::mem::take(&mut self.changed);
        if std::mem::take(&mut self.all_changed) {
            changed.extend(self.routes.keys().map(|key| key.0));
            changed.extend(table.those(|hop| hop.followed));
        }
        let mut targets: HashMap<u32, Option<Target>> = HashMap::new();
        let mut target = |direction: u32| {
            targets.entry(direction).or_insert_with(|| self.target(direction, device)).clone()
        };
        let mut changes = Vec::with_capacity(changed.len());
        for prefix in changed.into_iter().filter(|prefix| !skip(*prefix)) {
            let all = self.routes.range((prefix, 0)..=(prefix, u32::MAX));
            match all.map(|(_, direction)| *direction).find_map(&mut target) {
                Some(target) => changes.push(Change::Follow(Route { prefix, target })),
                None => changes.push(Change::Unfollow(prefix)),
            }
        }
        changes
    }

    /// All destinations are looked at again: the table, or what interfaces are, has changed otherwise.
    pub fn look_again(&mut self) {
        self.all_changed = true;
    }

    /// What becomes of packets that go there; `None` where nothing leads on.
    fn target(&self, direction: u32, device: &dyn Fn(u32) -> Option<Device>) -> Option<Target> {
        let (kind, ways) = self.directions.get(direction)?;
        let hops = match (kind, ways) {
            (RouteKind::Drop, _) => return Some(Target::Drop),
            (RouteKind::Refuse, _) => return Some(Target::Unreachable),
            (RouteKind::Leave, _) => return Some(Target::Pass),
            (RouteKind::Forward, Ways::Hops(hops)) => hops.clone(),
            (RouteKind::Forward, Ways::Object(id)) => match self.objects.get(id)? {
                Object::Blackhole => return Some(Target::Drop),
                Object::Leave => return Some(Target::Pass),
                Object::Hop(hop) => vec![hop.clone()],
                Object::Group(members) => self.members(members),
            },
        };
        let link = |hop: &KernelHop| self.links.get(&hop.device).copied();
        if hops.iter().any(|hop| link(hop).is_some_and(|link| link.loopback)) {
            return Some(Target::Pass);
        }
        let up: Vec<&KernelHop> = hops.iter().filter(|h| !h.dead && link(h).is_some_and(|l| l.up)).collect();
        let connected = up.iter().copied().filter(|h| link(h).is_some_and(|l| l.carrier));
        let connected: Vec<&KernelHop> = connected.collect();
        let used = if connected.is_empty() { up } else { connected };
        let next = |hop: &KernelHop| {
            Some(NextHop { gateway: hop.gateway, device: device(hop.device)?, weight: hop.weight })
        };
        let next: Vec<NextHop> = used.into_iter().filter_map(next).collect();
        (!next.is_empty()).then_some(Target::Forward(next))
    }

    fn members(&self, members: &[(u32, u16)]) -> Vec<KernelHop> {
        let one = |(id, weight): &(u32, u16)| match self.objects.get(id)? {
            Object::Hop(hop) => Some(KernelHop { weight: *weight, ..hop.clone() }),
            _ => None,
        };
        members.iter().filter_map(one).take(MOST_HOPS).collect()
    }
}
