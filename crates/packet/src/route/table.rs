//! The table of a running router, as its maps hold it, and the steps of a change.
//!
//! A route's value is the number of a next hop, or [`GROUP`] with the number of a group: [`BUCKETS`] numbers of next hops,
//! of which a flow's hash takes one. Each member gets the buckets for which its own hash is the greatest (rendezvous hashing),
//! so a member that goes leaves the others' flows where they are.
//!
//! A group keeps its members while the interface of some is down: these have no buckets then, and no route changes. Only groups that
//! follow another table do so, and only for who keeps this table: the maps say of a group no more than its buckets.

mod live;
mod plan;
mod read;
mod whole;

pub(super) use plan::owner;
pub use whole::Whole;

use super::hash::Map;
use super::policy::{Policies, list_of};
use super::{Hop, POLICY, Prefix, Route, RouteError};
use std::collections::{BTreeMap, BTreeSet};

/// Mark of a route's value that is a group.
pub const GROUP: u32 = 1 << 31;
/// Flows of a group are told apart by so many buckets.
pub const BUCKETS: u32 = 64;
/// Groups that there can be; number 0 is none.
pub const GROUPS: u32 = 4096;
/// Next hops that there can be; number 0 is none.
pub const HOPS: u32 = 8192;
/// So many of them stay for those that several routes lead to.
pub const OWN_ROOM: usize = 4096;
/// Bytes of a next hop that say where it is.
const PLACE: usize = 48;
/// Of the hash FNV-1a.
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x100_0000_01b3;

/// A wanted change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A route that is not there yet.
    Add(Route),
    /// A route, in place of what may be there.
    Replace(Route),
    /// A route that is there goes, the one without a condition.
    Delete(Prefix),
    /// A route with this condition, which is there, goes.
    DeleteIf(Prefix, String),
    /// All routes with conditions go, if there are any.
    DeleteAllIf(Prefix),
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
    /// No route leads to a next hop any more, so its number may be used again.
    Spare(u32),
    /// An entry of the array of buckets: a next hop.
    Bucket(u32, u32),
    /// The programs get a filter, under this number.
    Filter(u32, String),
    /// A word of the map of lists.
    List(u32, u64),
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
    /// The route that was not there before.
    pub fn comes(&self) -> Option<Prefix> {
        match self {
            Step::Route { prefix, before: None, .. } => Some(*prefix),
            _ => None,
        }
    }

    /// The route that it changes.
    pub fn prefix(&self) -> Option<Prefix> {
        match self {
            Step::Route { prefix, .. } | Step::Remove { prefix, .. } => Some(*prefix),
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
            Step::Hop(..)
            | Step::Renew(..)
            | Step::Spare(..)
            | Step::Bucket(..)
            | Step::Filter(..)
            | Step::List(..) => None,
        }
    }
}

/// The table.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Table {
    /// Next hops by number, those in use.
    hops: BTreeMap<u32, Hop>,
    /// Numbers by next hop.
    numbers: Map<Hop, u32>,
    /// Groups in use.
    groups: BTreeMap<u32, Group>,
    /// Groups by their members.
    shapes: Map<Vec<u32>, u32>,
    /// Values by prefix.
    routes: Map<Prefix, u32>,
    /// How many routes lead to each value, and groups to each next hop.
    uses: Map<u32, usize>,
    /// Interfaces that are down, for groups that follow.
    down: BTreeMap<u32, Down>,
    /// Routes with conditions.
    policies: Policies,
    /// Next hops that one route alone leads to, and of each such route how many.
    owned: usize,
    owners: Map<u64, usize>,
    /// Where routes that follow another table get such next hops too: how many next hops there can be.
    counts_all: Option<u32>,
}

/// A route as it is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Destinations.
    pub prefix: Prefix,
    /// The filter expression that packets have to match.
    pub condition: Option<String>,
    /// Numbers of its next hops.
    pub hops: Vec<u32>,
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
    /// All routes, by prefix; of one destination in the order in which they are tried.
    pub fn routes(&self) -> impl Iterator<Item = Row> {
        let mut all: Vec<Prefix> = self.routes.keys().copied().collect();
        all.sort_unstable();
        all.into_iter().flat_map(|prefix| self.rows(prefix))
    }

    /// The routes of a destination, in the order in which they are tried.
    fn rows(&self, prefix: Prefix) -> Vec<Row> {
        let conditions = self.policies.of.get(&prefix).into_iter().flat_map(|policy| &policy.conditions);
        let text = |filter: &u32| Some(self.policies.filters.get(filter).cloned().unwrap_or_default());
        let mut rows: Vec<Row> = conditions
            .map(|(filter, value)| Row { prefix, condition: text(filter), hops: self.members(*value) })
            .collect();
        let plain = self.plain(prefix).map(|value| self.members(value));
        rows.extend(plain.map(|hops| Row { prefix, condition: None, hops }));
        rows
    }

    /// The value of a route without a condition.
    fn plain(&self, prefix: Prefix) -> Option<u32> {
        match self.policies.of.get(&prefix) {
            Some(policy) => policy.otherwise,
            None => self.routes.get(&prefix).copied(),
        }
    }

    /// Texts of the filters that programs need, and may have, by number.
    pub fn filters(&self) -> &BTreeMap<u32, String> {
        &self.policies.filters
    }

    /// Whether there are routes with conditions.
    pub fn has_conditions(&self) -> bool {
        !self.policies.of.is_empty()
    }

    /// Routes that follow another table are counted each by itself too, and there can be so many next hops.
    pub fn count_all(&mut self, hops: u32) {
        self.counts_all = Some(hops);
    }

    /// Next hops that there can be.
    fn most_hops(&self) -> u32 {
        self.counts_all.unwrap_or(HOPS)
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

    /// A next hop.
    pub fn hop(&self, number: u32) -> Option<&Hop> {
        self.hops.get(&number)
    }

    /// The neighbours that routes lead to, by the index of their interface and their address.
    pub fn gateways(&self) -> BTreeSet<(u32, std::net::IpAddr)> {
        self.hops.values().filter_map(Hop::neighbour).collect()
    }

    /// The routes of an address, in the order in which they are tried: those with conditions, from the longest block on, then one without. The
    /// last has a condition where packets that match none go to the kernel.
    pub fn lookup(&self, address: std::net::IpAddr) -> Vec<Row> {
        let width = if address.is_ipv4() { 32 } else { 128 };
        let mut found: Vec<Row> = Vec::new();
        for length in (0..=width).rev() {
            found.extend(self.rows(Prefix::around(address, length)));
            if found.last().is_some_and(|row| row.condition.is_none()) {
                break;
            }
        }
        found
    }

    /// Whether there is such a route, without a condition.
    pub fn has(&self, prefix: Prefix) -> bool {
        self.plain(prefix).is_some()
    }

    /// Destinations of routes with conditions.
    pub fn conditional(&self) -> impl Iterator<Item = Prefix> {
        self.policies.of.keys().copied()
    }

    /// The routes without conditions whose next hops are all `wanted`, in no order. Many routes share a value, which is judged once.
    pub fn those(&self, wanted: impl Fn(&Hop) -> bool) -> Vec<Prefix> {
        let is = |value: u32| self.members(value).iter().all(|n| self.hops.get(n).is_some_and(&wanted));
        let values: Map<u32, bool> = self
            .routes
            .values()
            .copied()
            .collect::<BTreeSet<u32>>()
            .into_iter()
            .map(|v| (v, is(v)))
            .collect();
        let wanted = |prefix: &Prefix, value: &u32| match list_of(*value) {
            Some(_) => self.plain(*prefix).is_some_and(is),
            None => values.get(value).is_some_and(|w| *w),
        };
        let routes = self.routes.iter().filter(|(prefix, value)| wanted(prefix, value));
        routes.map(|(prefix, _)| *prefix).collect()
    }

    /// Whether a route follows another table; `None` where there is none.
    pub fn is_followed(&self, prefix: Prefix) -> Option<bool> {
        self.plain(prefix).map(|value| self.value_is_followed(value))
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

    /// A route or a group no longer leads to `value`.
    fn give_up(&mut self, value: u32) {
        if let Some(count) = self.uses.get_mut(&value) {
            *count = count.saturating_sub(1);
        }
    }

    /// The value that leads to these next hops, made where there is none. No next hop below `free` can be had.
    fn value_of(
        &mut self,
        hops: &[Hop],
        free_hop: &mut u32,
        steps: &mut Vec<Step>,
    ) -> Result<u32, RouteError> {
        let mut numbers = Vec::new();
        for hop in hops {
            let number = match self.numbers.get(hop) {
                Some(number) => *number,
                None => {
                    let number = free_from(*free_hop, &self.hops, self.most_hops(), "next hops")?;
                    *free_hop = number + 1;
                    self.hops.insert(number, hop.clone());
                    self.own(hop.owner);
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

    /// Forgets what no route leads to; gives numbers of next hops.
    fn forget_unused(&mut self) -> Vec<u32> {
        let mut spare = Vec::new();
        let used = |uses: &Map<u32, usize>, value: u32| uses.get(&value).is_some_and(|count| *count > 0);
        let lists: Vec<u32> =
            self.policies.lists.keys().copied().filter(|list| !used(&self.uses, POLICY | list)).collect();
        for list in lists {
            self.policies.forget(list).into_iter().for_each(|value| self.give_up(value));
        }
        let groups: Vec<u32> =
            self.groups.keys().copied().filter(|group| !used(&self.uses, GROUP | group)).collect();
        for group in groups {
            let Group { members, .. } = self.groups.remove(&group).unwrap_or_default();
            self.shapes.remove(&members);
            members.into_iter().for_each(|member| self.give_up(member));
        }
        self.uses.retain(|_, count| *count > 0);
        let (uses, numbers) = (&self.uses, &mut self.numbers);
        let (owned, owners) = (&mut self.owned, &mut self.owners);
        self.hops.retain(|number, hop| {
            let keep = used(uses, *number);
            if !keep && hop.owner != 0 {
                *owned = owned.saturating_sub(1);
                if let Some(left) = owners.get_mut(&hop.owner) {
                    *left = left.saturating_sub(1);
                }
            }
            if !keep {
                spare.push(*number);
                if numbers.get(hop) == Some(number) {
                    numbers.remove(hop);
                }
            }
            keep
        });
        self.owners.retain(|_, count| *count > 0);
        spare
    }
}

/// Each number once, in their order.
fn distinct(numbers: &[u32]) -> Vec<u32> {
    numbers.iter().copied().collect::<BTreeSet<u32>>().into_iter().collect()
}

/// The lowest number that is not taken. What the batch before has given up is taken until it is done.
fn free<T>(taken: &BTreeMap<u32, T>, count: u32, what: &str) -> Result<u32, RouteError> {
    free_from(1, taken, count, what)
}

/// The same, where all below `first` are taken.
fn free_from<T>(first: u32, taken: &BTreeMap<u32, T>, count: u32, what: &str) -> Result<u32, RouteError> {
    let mut number = first.max(1);
    number += taken.range(number..).zip(number..).take_while(|((key, _), n)| *key == n).count() as u32;
    match number < count {
        true => Ok(number),
        false => Err(RouteError(format!("there are {} {what} already, no more are possible", count - 1))),
    }
}

/// A number for where a next hop is, whatever its number, its weight and what its interface is like now.
fn identity(hop: &Hop) -> u64 {
    let Hop { kind, device, gateway, .. } = *hop;
    Hop { device, gateway, weight: 0, ..Hop::plain(kind) }.to_bytes()[..PLACE]
        .iter()
        .fold(OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
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
