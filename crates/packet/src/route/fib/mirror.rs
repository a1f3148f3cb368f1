//! The kernel's routes as far as they are followed, and what they make of the router's table. Messages enter one by one; the changes
//! of those destinations leave whose routes differ from what was handed out before.
//!
//! The kernel says nothing of some changes (of IPv4 routes that go with their interface, their address or their next-hop object). After
//! a message that may stand for such ones [`Mirror::is_stale`] asks for the whole list, which is compared. Of a link that fails it is known
//! what the kernel does: the list is asked for, but later ([`Mirror::is_doubtful`]).
//!
//! Routes lead in few directions. When links or next-hop objects change, those are looked at, and of the routes only such whose direction
//! leads elsewhere now. Next hops on links that are down stay in their routes while there are others ([`Mirror::down`]): the table knows
//! how to do without them.

use super::super::{Change, Device, Down, NextHop, Prefix, Route, Table, Target};
use super::message::{
    self, Change as News, KernelHop, KernelRoute, Link, MOST_HOPS, Object, RouteKind, Ways,
};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

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

fn is_connected(link: Link) -> bool {
    link.up && link.carrier
}

/// Whether two targets are the same but for what their interfaces are like.
fn is_same_way(one: Option<&Target>, other: Option<&Target>) -> bool {
    let (Some(Target::Forward(one)), Some(Target::Forward(other))) = (one, other) else {
        return one == other;
    };
    let way = |hop: &NextHop| (hop.gateway, hop.device.index, hop.weight);
    one.iter().map(way).eq(other.iter().map(way))
}

/// Notes the destinations whose routes are not the same in both.
fn note_differences(before: &Routes, now: &Routes, changed: &mut HashSet<Prefix>) {
    let (mut old, mut new) = (before.iter().peekable(), now.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((one, _)), Some((other, _))) => one.cmp(other),
        };
        let (gone, come) =
            (if order.is_le() { old.next() } else { None }, if order.is_ge() { new.next() } else { None });
        if gone.map(|g| g.1) != come.map(|c| c.1) {
            changed.extend(gone.or(come).map(|(key, _)| key.0));
        }
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
    /// Where each direction leads, as it was handed out.
    targets: HashMap<u32, Option<Arc<Target>>>,
    /// Directions may lead elsewhere.
    turned: bool,
    stale: bool,
    doubtful: bool,
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
            targets: HashMap::new(),
            turned: false,
            stale: true,
            doubtful: false,
            before: None,
        }
    }

    /// Whether the whole list is needed.
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// Whether the whole list should be compared when there is time: nothing that is known is missing.
    pub fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    /// Interfaces whose next hops are not to be used where a route has others.
    pub fn down(&self) -> BTreeMap<u32, Down> {
        let down = |link: &Link| if link.up { Down::Unconnected } else { Down::Off };
        let down = self.links.iter().map(|(index, link)| (*index, *link, down(link)));
        down.filter(|(_, link, _)| !is_connected(*link)).map(|(index, _, down)| (index, down)).collect()
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
        note_differences(&before, &self.routes, &mut self.changed);
        // Objects and links may be others than before.
        self.turned = true;
        self.doubtful = false;
        self.stale = !whole;
        self.forget_directions();
    }

    /// Forgets directions that no route takes any more, where there are many.
    fn forget_directions(&mut self) {
        if self.directions.all.len() < MANY {
            return;
        }
        self.targets.clear();
        self.all_changed = true;
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
                    self.turned = true;
                }
            }
            News::Object { id, object: None } => {
                self.objects.remove(&id);
                // Its routes go without a word.
                (self.turned, self.stale) = (true, true);
            }
            News::Link { index, link } => {
                let before = match link {
                    Some(link) => self.links.insert(index, link),
                    None => self.links.remove(&index),
                };
                if before != link && !listing {
                    (self.turned, self.doubtful) = (true, true);
                    let was_up = before.is_some_and(|link| link.up);
                    if was_up && !link.is_some_and(|link| link.up) {
                        self.forget_by(index);
                    }
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

    /// Forgets the routes of IPv4 that lead to this interface alone: the kernel drops them without a word when it is turned off.
    fn forget_by(&mut self, device: u32) {
        let by = |(_, ways): &(RouteKind, Ways)| matches!(ways, Ways::Hops(hops) if !hops.is_empty() && hops.iter().all(|h| h.device == device));
        let gone: HashSet<u32> =
            (0..).zip(&self.directions.all).filter(|(_, direction)| by(direction)).map(|d| d.0).collect();
        if gone.is_empty() {
            return;
        }
        let changed = &mut self.changed;
        self.routes.retain(|(prefix, _), direction| {
            let keep = prefix.address().is_ipv6() || !gone.contains(direction);
            if !keep {
                changed.insert(*prefix);
            }
            keep
        });
    }

    fn put(&mut self, mut route: KernelRoute, appended: bool) {
        // That a next hop is dead because its link is down is known from the link, and ends without a word.
        if let Ways::Hops(hops) = &mut route.ways {
            let links = &self.links;
            let known = |hop: &KernelHop| links.get(&hop.device).is_some_and(|link| !is_connected(*link));
            hops.iter_mut().filter(|hop| hop.dead && known(hop)).for_each(|hop| hop.dead = false);
        }
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
        if std::mem::take(&mut self.turned) {
            self.turn(device);
        }
        let mut changed = std::mem::take(&mut self.changed);
        if std::mem::take(&mut self.all_changed) {
            changed.extend(self.routes.keys().map(|key| key.0));
            changed.extend(table.those(|hop| hop.followed));
        }
        let mut targets = std::mem::take(&mut self.targets);
        let mut target = |direction: u32| {
            targets.entry(direction).or_insert_with(|| self.target(direction, device).map(Arc::new)).clone()
        };
        let mut changes = Vec::with_capacity(changed.len());
        let mut changed: Vec<Prefix> = changed.into_iter().filter(|prefix| !skip(*prefix)).collect();
        changed.sort_unstable();
        for prefix in changed {
            let all = self.routes.range((prefix, 0)..=(prefix, u32::MAX));
            match all.map(|(_, direction)| *direction).find_map(&mut target) {
                Some(target) => changes.push(Change::Follow(Route::new(prefix, target))),
                None => changes.push(Change::Unfollow(prefix)),
            }
        }
        self.targets = targets;
        changes
    }

    /// Notes the destinations whose routes lead elsewhere now because links, next-hop objects or interfaces are others.
    fn turn(&mut self, device: &dyn Fn(u32) -> Option<Device>) {
        let before = std::mem::take(&mut self.targets);
        let mut turned = HashSet::new();
        for (direction, old) in before {
            let new = self.target(direction, device);
            if !is_same_way(old.as_deref(), new.as_ref()) {
                turned.insert(direction);
            }
            self.targets.insert(direction, new.map(Arc::new));
        }
        if !turned.is_empty() {
            let routes = self.routes.iter().filter(|(_, direction)| turned.contains(direction));
            self.changed.extend(routes.map(|(key, _)| key.0));
        }
    }

    /// Directions are looked at again: what interfaces are has changed.
    pub fn look_at_directions(&mut self) {
        self.turned = true;
    }

    /// All destinations are looked at again: the table, or what interfaces are, has changed otherwise.
    pub fn look_again(&mut self) {
        self.all_changed = true;
    }

    /// What becomes of packets that go there; `None` where no link that it leads to is up.
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
        // What the kernel does not use although its link is there has no address there any more.
        let used: Vec<&KernelHop> =
            hops.iter().filter(|h| !(h.dead && link(h).is_some_and(is_connected))).collect();
        if !used.iter().any(|hop| link(hop).is_some_and(|link| link.up)) {
            return None;
        }
        let next = |hop: &KernelHop| {
            Some(NextHop { gateway: hop.gateway, device: device(hop.device)?, weight: hop.weight, cpu: None })
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
