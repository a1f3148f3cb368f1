//! The table of a running router, as its maps hold it, and the steps of a change.
//!
//! A route's value is the number of a next hop, or [`GROUP`] with the number of a group: [`BUCKETS`] numbers of next hops,
//! of which a flow's hash takes one. Each member gets the buckets for which its own hash is the greatest (rendezvous hashing),
//! so a member that goes leaves the others' flows where they are.

use super::{Hop, Prefix, Route, RouteError};
use std::collections::{BTreeMap, BTreeSet};

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
}

/// A step: one update of one map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// A next hop, its counters begin at zero.
    Hop(u32, Hop),
    /// An entry of the array of buckets: a next hop.
    Bucket(u32, u32),
    /// A route leads to a value.
    Route(Prefix, u32),
    /// A route goes.
    Remove(Prefix),
}

/// The table.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Table {
    /// Next hops by number, those in use.
    hops: BTreeMap<u32, Hop>,
    /// Buckets by group, of groups in use.
    groups: BTreeMap<u32, Vec<u32>>,
    /// Values by prefix.
    routes: BTreeMap<Prefix, u32>,
}

impl Table {
    /// The table that maps hold: what no route leads to does not count. `hop` and `bucket` read the arrays.
    pub fn of(
        routes: impl IntoIterator<Item = (Prefix, u32)>,
        hop: impl Fn(u32) -> Option<Hop>,
        bucket: impl Fn(u32) -> u32,
    ) -> Table {
        let mut table = Table { routes: routes.into_iter().collect(), ..Table::default() };
        let values: BTreeSet<u32> = table.routes.values().copied().collect();
        for value in values {
            let used = match value & GROUP {
                0 => vec![value],
                _ => {
                    let group = value & !GROUP;
                    let buckets: Vec<u32> =
                        (0..BUCKETS).map(|b| bucket(group.saturating_mul(BUCKETS) + b)).collect();
                    table.groups.insert(group, buckets.clone());
                    buckets
                }
            };
            for number in used {
                if let Some(hop) = hop(number) {
                    table.hops.insert(number, hop);
                }
            }
        }
        table
    }

    /// All routes with the numbers of their next hops, in the order of their addresses.
    pub fn routes(&self) -> impl Iterator<Item = (Prefix, Vec<u32>)> {
        self.routes.iter().map(|(prefix, value)| (*prefix, self.members(*value)))
    }

    /// A next hop.
    pub fn hop(&self, number: u32) -> Option<&Hop> {
        self.hops.get(&number)
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

    /// Next hops behind a route's value, each once, in the order of their numbers.
    fn members(&self, value: u32) -> Vec<u32> {
        match value & GROUP {
            0 => vec![value],
            _ => {
                let buckets = self.groups.get(&(value & !GROUP)).into_iter().flatten().copied();
                buckets.collect::<BTreeSet<u32>>().into_iter().collect()
            }
        }
    }

    /// The steps of a batch of changes, in their order; afterwards this is the table behind them. When a change is wrong,
    /// nothing is changed.
    pub fn plan(&mut self, changes: &[Change]) -> Result<Vec<Step>, RouteError> {
        let mut next = self.clone();
        let (mut set, mut gone) = (BTreeMap::new(), BTreeSet::new());
        let mut first = Vec::new();
        for change in changes {
            let route = match change {
                Change::Delete(prefix) => {
                    if next.routes.remove(prefix).is_none() {
                        return Err(RouteError(format!("there is no route to {prefix}")));
                    }
                    set.remove(prefix);
                    gone.insert(*prefix);
                    continue;
                }
                Change::Add(route) if next.routes.contains_key(&route.prefix) => {
                    let prefix = route.prefix;
                    return Err(RouteError(format!(
                        "there is a route to {prefix} already: `replace` changes it"
                    )));
                }
                Change::Add(route) | Change::Replace(route) => route,
            };
            let value = next.value_of(&route.target.hops(), &mut first)?;
            next.routes.insert(route.prefix, value);
            gone.remove(&route.prefix);
            set.insert(route.prefix, value);
        }
        set.retain(|prefix, value| self.routes.get(prefix) != Some(value));
        let mut steps = first;
        // Longer ones first: while a shorter one changes, what it no longer stands for is there already.
        let mut routes: Vec<_> = set.into_iter().collect();
        routes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.length()));
        steps.extend(routes.into_iter().map(|(prefix, value)| Step::Route(prefix, value)));
        steps.extend(gone.into_iter().filter(|p| self.routes.contains_key(p)).map(Step::Remove));
        next.forget_unused();
        *self = next;
        Ok(steps)
    }

    /// The value that leads to these next hops, made where there is none.
    fn value_of(&mut self, hops: &[Hop], steps: &mut Vec<Step>) -> Result<u32, RouteError> {
        let mut numbers = Vec::new();
        for hop in hops {
            let known = self.hops.iter().find(|(_, h)| *h == hop).map(|(number, _)| *number);
            let number = match known {
                Some(number) => number,
                None => {
                    let number = free(&self.hops, HOPS, "next hops")?;
                    self.hops.insert(number, hop.clone());
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
        let buckets = self.shares(&numbers);
        if let Some((group, _)) = self.groups.iter().find(|(_, b)| **b == buckets) {
            return Ok(GROUP | group);
        }
        let group = free(&self.groups, GROUPS, "groups of next hops")?;
        steps.extend((0..).zip(&buckets).map(|(at, hop)| Step::Bucket(group * BUCKETS + at, *hop)));
        self.groups.insert(group, buckets);
        Ok(GROUP | group)
    }

    /// Which member each bucket leads to. Every one has at least one.
    fn shares(&self, members: &[u32]) -> Vec<u32> {
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
        let values: BTreeSet<u32> = self.routes.values().copied().collect();
        self.groups.retain(|group, _| values.contains(&(GROUP | *group)));
        let members: BTreeSet<u32> = values.iter().flat_map(|value| self.members(*value)).collect();
        self.hops.retain(|number, _| members.contains(number));
    }
}

/// The lowest number that is not taken. What the batch before has given up is taken until it is done.
fn free<T>(taken: &BTreeMap<u32, T>, count: u32, what: &str) -> Result<u32, RouteError> {
    let number = (1..count).find(|n| !taken.contains_key(n));
    number.ok_or_else(|| RouteError(format!("there are {} {what} already, no more are possible", count - 1)))
}

/// A number for what a next hop is, whatever its number and weight.
fn identity(hop: &Hop) -> u64 {
    let mut hop = hop.clone();
    hop.weight = 0;
    hop.to_bytes()
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
