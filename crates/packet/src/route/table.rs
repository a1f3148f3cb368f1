//! The table of a running router, as its maps hold it, and the steps of a change.
//!
//! A route's value is the number of a next hop, or [`GROUP`] with the number of a group: [`BUCKETS`] numbers of next hops,
//! of which a flow's hash takes one. Each member gets the buckets for which its own hash is the greatest (rendezvous hashing),
//! so a member that goes leaves the others' flows where they are.
//!
//! A group keeps its members while the interface of some is down: these have no buckets then, and no route changes. Only groups that
//! follow another table do so, and only for who keeps this table: the maps say of a group no more than its buckets.

mod live;

use super::{Hop, Prefix, Route, RouteError};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Mark of a route's value that is a group.
pub const GROUP: u32 = 1 << 31;
/// Flows of a group are told apart by so many buckets.
pub const BUCKETS: u32 = 64;
/// Groups that there can be; number 0 is none.
pub const GROUPS: u32 = 4096;
/// Next hops that there can be; number 0 is none.
pub const HOPS: u32 = 4096;

/// A wanted change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A route that is not there yet.
    Add(Route),
    /// A route, in place of what may be there.
    Replace(Route),
    /// A route that is there goes.
    Delete(Prefix),
    /// A route of another table that is followed; one that was written by hand stays in its place.
    Follow(Route),
    /// A followed route goes, if it is there and was not written by hand.
    Unfollow(Prefix),
}

/// A step: one update of one map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// A next hop, its counters begin at zero.
    Hop(u32, Hop),
    /// What its interface is has changed; counters go on.
    Renew(u32, Hop),
    /// An entry of the array of buckets: a next hop.
    Bucket(u32, u32),
    /// A route leads to a value.
    Route {
        /// The route.
        prefix: Prefix,
        /// Where it leads.
        value: u32,
        /// Where it led, if it was there.
        before: Option<u32>,
    },
    /// A route goes.
    Remove {
        /// The route.
        prefix: Prefix,
        /// Where it led.
        before: u32,
    },
}

impl Step {
    /// The route that comes, or leads elsewhere.
    pub fn comes(&self) -> Option<Prefix> {
        match self {
            Step::Route { prefix, .. } => Some(*prefix),
            _ => None,
        }
    }

    /// The step that undoes it. Next hops and buckets need none: no route leads to them then, or they say what interfaces are like now.
    pub fn undone(&self) -> Option<Step> {
        match *self {
            Step::Route { prefix, value, before: Some(before) } => {
                Some(Step::Route { prefix, value: before, before: Some(value) })
            }
            Step::Route { prefix, value, before: None } => Some(Step::Remove { prefix, before: value }),
            Step::Remove { prefix, before } => Some(Step::Route { prefix, value: before, before: None }),
            Step::Hop(..) | Step::Renew(..) | Step::Bucket(..) => None,
        }
    }
}

/// The table.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Table {
    /// Next hops by number, those in use.
    hops: BTreeMap<u32, Hop>,
    /// Numbers by next hop.
    numbers: HashMap<Hop, u32>,
    /// Groups in use.
    groups: BTreeMap<u32, Group>,
    /// Groups by their members.
    shapes: HashMap<Vec<u32>, u32>,
    /// Values by prefix.
    routes: HashMap<Prefix, u32>,
    /// How many routes lead to each value, and groups to each next hop.
    uses: HashMap<u32, usize>,
    /// Interfaces that are down, for groups that follow.
    down: BTreeMap<u32, Down>,
}

/// Why next hops of an interface are not used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Down {
    /// It is turned on but has no carrier.
    Unconnected,
    /// It is turned off.
    Off,
}

/// A group of next hops.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Group {
    /// Numbers of all its next hops, in their order.
    members: Vec<u32>,
    /// Which of them each bucket leads to.
    buckets: Vec<u32>,
}

impl Table {
    /// The table that maps hold: what no route leads to does not count. `hop` and `bucket` read the arrays.
    pub fn of(
        routes: impl IntoIterator<Item = (Prefix, u32)>,
        hop: impl Fn(u32) -> Option<Hop>,
        bucket: impl Fn(u32) -> u32,
    ) -> Table {
        let mut table = Table { routes: routes.into_iter().collect(), ..Table::default() };
        let mut uses: BTreeMap<u32, usize> = BTreeMap::new();
        table.routes.values().for_each(|value| *uses.entry(*value).or_default() += 1);
        for (value, count) in uses {
            let used = match value & GROUP {
                0 => vec![value],
                _ => {
                    let group = value & !GROUP;
                    let first = group.saturating_mul(BUCKETS);
                    let buckets: Vec<u32> = (0..BUCKETS).map(|at| bucket(first.saturating_add(at))).collect();
                    let members = distinct(&buckets);
                    table.name_group(group, Group { members: members.clone(), buckets });
                    members
                }
            };
            *table.uses.entry(value).or_default() += count;
            for number in used {
                if let Some(hop) = hop(number) {
                    table.numbers.insert(hop.clone(), number);
                    table.hops.insert(number, hop);
                }
            }
        }
        table
    }

    fn name_group(&mut self, number: u32, group: Group) {
        for member in &group.members {
            *self.uses.entry(*member).or_default() += 1;
        }
        self.shapes.insert(group.members.clone(), number);
        self.groups.insert(number, group);
    }

    /// All routes with the numbers of their next hops, by prefix.
    pub fn routes(&self) -> impl Iterator<Item = (Prefix, Vec<u32>)> {
        let mut all: Vec<(Prefix, u32)> =
            self.routes.iter().map(|(prefix, value)| (*prefix, *value)).collect();
        all.sort_unstable();
        all.into_iter().map(|(prefix, value)| (prefix, self.members(value)))
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// All routes with their values, in no order.
    pub fn values(&self) -> impl Iterator<Item = (Prefix, u32)> {
        self.routes.iter().map(|(prefix, value)| (*prefix, *value))
    }

    /// Length and value of the longest route around a block whose length is one of these.
    pub fn longest(&self, prefix: Prefix, lengths: std::ops::Range<u8>) -> Option<(u8, u32)> {
        let mut lengths = lengths.rev();
        lengths.find_map(|l| Some((l, *self.routes.get(&Prefix::around(prefix.address(), l))?)))
    }

    /// A next hop.
    pub fn hop(&self, number: u32) -> Option<&Hop> {
        self.hops.get(&number)
    }

    /// The neighbours that routes lead to, by the index of their interface and their address.
    pub fn gateways(&self) -> BTreeSet<(u32, std::net::IpAddr)> {
        self.hops.values().filter_map(|hop| Some((hop.device, hop.gateway?))).collect()
    }

    /// The route of an address, the longest that contains it.
    pub fn lookup(&self, address: std::net::IpAddr) -> Option<(Prefix, Vec<u32>)> {
        let width = if address.is_ipv4() { 32 } else { 128 };
        let found = (0..=width).rev().map(|length| Prefix::around(address, length));
        found.into_iter().find_map(|p| Some((p, self.members(*self.routes.get(&p)?))))
    }

    /// Whether there is such a route.
    pub fn has(&self, prefix: Prefix) -> bool {
        self.routes.contains_key(&prefix)
    }

    /// The routes whose next hops are all `wanted`, in no order. Many routes share a value, which is judged once.
    pub fn those(&self, wanted: impl Fn(&Hop) -> bool) -> Vec<Prefix> {
        let is = |value: u32| self.members(value).iter().all(|n| self.hops.get(n).is_some_and(&wanted));
        let values: HashMap<u32, bool> = self
            .routes
            .values()
            .copied()
            .collect::<BTreeSet<u32>>()
            .into_iter()
            .map(|v| (v, is(v)))
            .collect();
        let routes = self.routes.iter().filter(|(_, value)| values.get(value).is_some_and(|w| *w));
        routes.map(|(prefix, _)| *prefix).collect()
    }

    /// Whether a route follows another table; `None` where there is none.
    pub fn is_followed(&self, prefix: Prefix) -> Option<bool> {
        self.routes.get(&prefix).map(|value| self.value_is_followed(*value))
    }

    fn value_is_followed(&self, value: u32) -> bool {
        let number = match value & GROUP {
            0 => Some(value),
            _ => self.groups.get(&(value & !GROUP)).and_then(|group| group.members.first().copied()),
        };
        number.and_then(|n| self.hops.get(&n)).is_some_and(|hop| hop.followed)
    }

    /// Next hops behind a route's value that packets go to, each once, in the order of their numbers.
    fn members(&self, value: u32) -> Vec<u32> {
        match value & GROUP {
            0 => vec![value],
            _ => self.groups.get(&(value & !GROUP)).map_or(Vec::new(), |group| distinct(&group.buckets)),
        }
    }

    /// The steps of a batch of changes, in their order; afterwards this is the table behind them. When a change is wrong,
    /// nothing is changed.
    pub fn plan(&mut self, changes: &[Change]) -> Result<Vec<Step>, RouteError> {
        let (mut first, mut new) = (Vec::new(), HashMap::new());
        if let Err(error) = changes.iter().try_for_each(|change| self.take(change, &mut first, &mut new)) {
            // What was made for the batch is used by nothing.
            self.forget_unused();
            return Err(error);
        }
        let (mut set, mut gone) = (Vec::new(), Vec::new());
        for (prefix, value) in new {
            let before = self.routes.get(&prefix).copied();
            match (value, before) {
                (Some(value), before) if before != Some(value) => {
                    set.push(Step::Route { prefix, value, before });
                    self.routes.insert(prefix, value);
                    *self.uses.entry(value).or_default() += 1;
                }
                (None, Some(before)) => {
                    gone.push(Step::Remove { prefix, before });
                    self.routes.remove(&prefix);
                }
                _ => continue,
            }
            if let Some(before) = before {
                self.give_up(before);
            }
        }
        // Longer ones first: while a shorter one changes, what it no longer stands for is there already. Of those that go the
        // shorter ones first, so that no address falls to one that goes too.
        set.sort_unstable_by_key(Step::order);
        gone.sort_unstable_by_key(|step| std::cmp::Reverse(step.order()));
        self.forget_unused();
        let mut steps = first;
        steps.extend(set);
        steps.extend(gone);
        Ok(steps)
    }

    /// Notes in `new` what a change makes of its route; next hops that it needs are made, and their steps added.
    fn take(
        &mut self,
        change: &Change,
        steps: &mut Vec<Step>,
        new: &mut HashMap<Prefix, Option<u32>>,
    ) -> Result<(), RouteError> {
        let now = |table: &Table, prefix: Prefix| {
            new.get(&prefix).copied().unwrap_or_else(|| table.routes.get(&prefix).copied())
        };
        let (route, followed) = match change {
            Change::Delete(prefix) => {
                if now(self, *prefix).is_none() {
                    return Err(RouteError(format!("there is no route to {prefix}")));
                }
                new.insert(*prefix, None);
                return Ok(());
            }
            Change::Unfollow(prefix) => {
                if now(self, *prefix).is_some_and(|value| self.value_is_followed(value)) {
                    new.insert(*prefix, None);
                }
                return Ok(());
            }
            Change::Add(route) => {
                let prefix = route.prefix;
                // One that is followed makes room: it comes back when this one goes.
                if now(self, prefix).is_some_and(|value| !self.value_is_followed(value)) {
                    return Err(RouteError(format!(
                        "there is a route to {prefix} already: `replace` changes it"
                    )));
                }
                (route, false)
            }
            Change::Replace(route) => (route, false),
            Change::Follow(route) => {
                if now(self, route.prefix).is_some_and(|value| !self.value_is_followed(value)) {
                    return Ok(());
                }
                (route, true)
            }
        };
        let mut hops = route.target.hops();
        hops.iter_mut().for_each(|hop| hop.followed = followed);
        let value = self.value_of(&hops, steps)?;
        new.insert(route.prefix, Some(value));
        Ok(())
    }

    /// A route or a group no longer leads to `value`.
    fn give_up(&mut self, value: u32) {
        if let Some(count) = self.uses.get_mut(&value) {
            *count = count.saturating_sub(1);
        }
    }

    /// The value that leads to these next hops, made where there is none.
    fn value_of(&mut self, hops: &[Hop], steps: &mut Vec<Step>) -> Result<u32, RouteError> {
        let mut numbers = Vec::new();
        for hop in hops {
            let number = match self.numbers.get(hop) {
                Some(number) => *number,
                None => {
                    let number = free(&self.hops, HOPS, "next hops")?;
                    self.hops.insert(number, hop.clone());
                    self.numbers.insert(hop.clone(), number);
                    steps.push(Step::Hop(number, hop.clone()));
                    number
                }
            };
            if !numbers.contains(&number) {
                numbers.push(number);
            }
        }
        if let [one] = numbers[..] {
            return Ok(one);
        }
        numbers.sort_unstable();
        if let Some(group) = self.shapes.get(&numbers) {
            return Ok(GROUP | group);
        }
        let buckets = self.shares(&numbers);
        let group = free(&self.groups, GROUPS, "groups of next hops")?;
        steps.extend((0..).zip(&buckets).map(|(at, hop)| Step::Bucket(group * BUCKETS + at, *hop)));
        self.name_group(group, Group { members: numbers, buckets });
        Ok(GROUP | group)
    }

    /// Which member each bucket leads to. Every one that packets go to has at least one.
    fn shares(&self, members: &[u32]) -> Vec<u32> {
        let members = &self.live(members);
        let score = |member: u32, bucket: u32| {
            let (hash, weight) = self.hops.get(&member).map_or((0, 1), |hop| (identity(hop), hop.weight));
            // Between 0 and 1, neither included.
            let share = (mix(hash ^ mix(u64::from(bucket) + 1)) >> 11) as f64 + 0.5;
            -f64::from(weight) / (share / (1u64 << 53) as f64).ln()
        };
        let best = |bucket: u32| {
            let order = |a: &u32, b: &u32| score(*a, bucket).total_cmp(&score(*b, bucket));
            members.iter().copied().max_by(order).unwrap_or(0)
        };
        let mut buckets: Vec<u32> = (0..BUCKETS).map(best).collect();
        for member in members {
            if !buckets.contains(member) {
                let held = |at: u32| buckets.iter().filter(|b| **b == buckets[at as usize]).count() > 1;
                let order = |a: &u32, b: &u32| score(*member, *a).total_cmp(&score(*member, *b));
                if let Some(at) = (0..BUCKETS).filter(|at| held(*at)).max_by(order) {
                    buckets[at as usize] = *member;
                }
            }
        }
        buckets
    }

    /// Forgets what no route leads to.
    fn forget_unused(&mut self) {
        let used = |uses: &HashMap<u32, usize>, value: u32| uses.get(&value).is_some_and(|count| *count > 0);
        let groups: Vec<u32> =
            self.groups.keys().copied().filter(|group| !used(&self.uses, GROUP | group)).collect();
        for group in groups {
            let Group { members, .. } = self.groups.remove(&group).unwrap_or_default();
            self.shapes.remove(&members);
            members.into_iter().for_each(|member| self.give_up(member));
        }
        self.uses.retain(|_, count| *count > 0);
        let (uses, numbers) = (&self.uses, &mut self.numbers);
        self.hops.retain(|number, hop| {
            let keep = used(uses, *number);
            if !keep && numbers.get(hop) == Some(number) {
                numbers.remove(hop);
            }
            keep
        });
    }
}

impl Step {
    /// Longer prefixes before shorter ones, equally long ones by address.
    fn order(&self) -> Option<(std::cmp::Reverse<u8>, Prefix)> {
        match self {
            Step::Route { prefix, .. } | Step::Remove { prefix, .. } => {
                Some((std::cmp::Reverse(prefix.length()), *prefix))
            }
            _ => None,
        }
    }
}

/// Each number once, in their order.
fn distinct(numbers: &[u32]) -> Vec<u32> {
    numbers.iter().copied().collect::<BTreeSet<u32>>().into_iter().collect()
}

/// The lowest number that is not taken. What the batch before has given up is taken until it is done.
fn free<T>(taken: &BTreeMap<u32, T>, count: u32, what: &str) -> Result<u32, RouteError> {
    let number = (1..count).find(|n| !taken.contains_key(n));
    number.ok_or_else(|| RouteError(format!("there are {} {what} already, no more are possible", count - 1)))
}

/// A number for where a next hop is, whatever its number, its weight and what its interface is like now.
fn identity(hop: &Hop) -> u64 {
    let Hop { kind, device, gateway, .. } = *hop;
    // What lies behind is no part of it.
    Hop { device, gateway, weight: 0, ..Hop::plain(kind) }.to_bytes()[..48]
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// Spreads a number over all 64 bits (the finaliser of SplitMix64).
fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
