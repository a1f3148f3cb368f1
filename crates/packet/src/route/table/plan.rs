//! Changes of a table: a batch of them enters, the steps leave that make a running table what it is behind them.

use super::super::hash::Map;
use super::super::policy::{self, Entry, Policies, Policy};
use super::super::{FILTERS, Hop, Kind, LISTS, POLICY, Prefix, Route, RouteError, Target};
use super::{Change, OFFSET, OWN_ROOM, PRIME, Step, Table, free, mix};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Routes that are read at once before they are changed.
const NEAR: usize = 32;

/// What a batch makes of routes.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) steps: Vec<Step>,
    /// Values of routes without conditions.
    plain: Values,
    /// Values of targets that several routes may lead to, by where they lie in memory and whether the routes are followed.
    shared: Map<(usize, bool), u32>,
    /// Next hops below have their numbers.
    free_hop: u32,
    /// Filters and values of routes with conditions.
    conditions: BTreeMap<Prefix, Vec<(u32, u32)>>,
}

/// Values by destination, in the order in which these came.
#[derive(Default)]
struct Values {
    all: Vec<(Prefix, Option<u32>)>,
    /// Where each is, from the first on that did not come in the order of the destinations.
    places: Option<Map<Prefix, usize>>,
}

impl Values {
    fn place(&self, prefix: &Prefix) -> Option<usize> {
        match &self.places {
            Some(places) => places.get(prefix).copied(),
            None if self.all.last().is_none_or(|last| last.0 < *prefix) => None,
            None => self.all.binary_search_by_key(prefix, |value| value.0).ok(),
        }
    }

    fn get(&self, prefix: &Prefix) -> Option<&Option<u32>> {
        self.all.get(self.place(prefix)?).map(|(_, value)| value)
    }

    fn insert(&mut self, prefix: Prefix, value: Option<u32>) {
        if let Some(known) = self.place(&prefix).and_then(|place| self.all.get_mut(place)) {
            known.1 = value;
            return;
        }
        if self.places.is_none() && self.all.last().is_some_and(|last| last.0 > prefix) {
            self.places = Some(self.all.iter().map(|value| value.0).zip(0..).collect());
        }
        if let Some(places) = &mut self.places {
            places.insert(prefix, self.all.len());
        }
        self.all.push((prefix, value));
    }
}

impl Table {
    /// The steps of a batch of changes, in their order; afterwards this is the table behind them. When a change is wrong,
    /// nothing is changed.
    pub fn plan(&mut self, changes: &[Change]) -> Result<Vec<Step>, RouteError> {
        let plain = Values { all: Vec::with_capacity(changes.len()), places: None };
        let (mut draft, filters) = (Draft { plain, ..Draft::default() }, self.policies.filters.clone());
        let drafted = changes.iter().try_for_each(|change| self.take(change, &mut draft));
        let policies = match drafted.and_then(|()| self.resolve(&mut draft)) {
            Ok(policies) => policies,
            Err(error) => {
                // What was made for the batch is used by nothing.
                self.policies.filters = filters;
                self.forget_unused();
                return Err(error);
            }
        };
        let Draft { mut steps, plain: Values { all: mut new, .. }, .. } = draft;
        // Longer ones first: while a shorter one changes, what it no longer stands for is there already. Of those that go the
        // shorter ones first, so that no address falls to one that goes too.
        new.sort_by_key(|(prefix, _)| Reverse(prefix.length()));
        let mut gone = Vec::new();
        steps.reserve(new.len());
        self.routes.reserve(new.len().saturating_sub(self.routes.len()));
        for (place, (prefix, value)) in new.iter().copied().enumerate() {
            if place % NEAR == 0 {
                // Many at once are read much faster than one after the other.
                let near = new[place..].iter().take(NEAR).filter(|(p, _)| self.routes.contains_key(p));
                std::hint::black_box(near.count());
            }
            let before = match value {
                Some(value) => self.routes.insert(prefix, value),
                None => self.routes.remove(&prefix),
            };
            match (value, before) {
                (Some(value), before) if before != Some(value) => {
                    steps.push(Step::Route { prefix, value, before });
                    *self.uses.entry(value).or_default() += 1;
                }
                (None, Some(before)) => gone.push(Step::Remove { prefix, before }),
                _ => continue,
            }
            if let Some(before) = before {
                self.give_up(before);
            }
        }
        steps.extend(gone.into_iter().rev());
        if let Some(policies) = policies {
            self.policies.of = policies;
        }
        steps.extend(self.forget_unused().into_iter().map(Step::Spare));
        Ok(steps)
    }

    /// Makes of the draft what routes lead to: those with conditions to lists, which also change where a block around theirs does. Gives the routes
    /// with conditions behind the batch, where there are or were any.
    fn resolve(&mut self, draft: &mut Draft) -> Result<Option<BTreeMap<Prefix, Policy>>, RouteError> {
        if self.policies.of.is_empty() && draft.conditions.is_empty() {
            return Ok(None);
        }
        let mut behind = Policies { of: self.policies.of.clone(), ..Policies::default() };
        for (prefix, conditions) in &draft.conditions {
            let otherwise = self.plain(*prefix);
            let policy = behind.of.entry(*prefix).or_insert(Policy { otherwise, ..Policy::default() });
            policy.conditions.clone_from(conditions);
        }
        for (prefix, policy) in &mut behind.of {
            if let Some(value) = draft.plain.get(prefix) {
                policy.otherwise = *value;
            }
        }
        for (prefix, policy) in behind.of.iter().filter(|(_, policy)| policy.conditions.is_empty()) {
            draft.plain.insert(*prefix, policy.otherwise);
        }
        behind.of.retain(|_, policy| !policy.conditions.is_empty());
        let plain = |p: Prefix| draft.plain.get(&p).copied().unwrap_or_else(|| self.plain(p));
        let lists: Result<Vec<_>, _> =
            behind.of.keys().map(|prefix| Ok((*prefix, behind.entries(*prefix, &plain)?))).collect();
        for (prefix, entries) in lists? {
            let list = self.list(entries, &mut draft.steps)?;
            draft.plain.insert(prefix, Some(POLICY | list));
        }
        Ok(Some(behind.of))
    }

    /// The list of these entries, made where there is none.
    fn list(&mut self, entries: Vec<Entry>, steps: &mut Vec<Step>) -> Result<u32, RouteError> {
        if let Some(list) = self.policies.number_of(&entries) {
            return Ok(list);
        }
        let list = free(&self.policies.lists, LISTS, "sequences of routes with `if`")?;
        steps.extend(policy::words_of(list, &entries).into_iter().map(|(at, word)| Step::List(at, word)));
        self.policies.name(list, entries);
        for value in self.policies.values(list) {
            *self.uses.entry(value).or_default() += 1;
        }
        Ok(list)
    }

    /// Notes in the draft what a change makes of its route; next hops that it needs are made, and their steps added.
    fn take(&mut self, change: &Change, draft: &mut Draft) -> Result<(), RouteError> {
        let now = |table: &Table, prefix: Prefix| {
            draft.plain.get(&prefix).copied().unwrap_or_else(|| table.plain(prefix))
        };
        let (route, followed) = match change {
            Change::Delete(prefix) => {
                if now(self, *prefix).is_none() {
                    let others = self.policies.of.contains_key(prefix);
                    let mend = if others {
                        " without `if`: `del DESTINATION if EXPRESSION` takes one with it away"
                    } else {
                        ""
                    };
                    return Err(RouteError(format!("there is no route to {prefix}{mend}")));
                }
                draft.plain.insert(*prefix, None);
                return Ok(());
            }
            Change::DeleteIf(prefix, text) => {
                let filter = self.policies.filter_named(text);
                let conditions = self.conditions(*prefix, draft);
                let before = conditions.len();
                conditions.retain(|c| Some(c.0) != filter);
                return match conditions.len() == before {
                    true => Err(RouteError(format!(
                        "there is no route to {prefix} if \"{}\"",
                        text.escape_debug()
                    ))),
                    false => Ok(()),
                };
            }
            Change::DeleteAllIf(prefix) => {
                self.conditions(*prefix, draft).clear();
                return Ok(());
            }
            Change::Unfollow(prefix) => {
                if now(self, *prefix).is_some_and(|value| self.value_is_followed(value)) {
                    draft.plain.insert(*prefix, None);
                }
                return Ok(());
            }
            Change::Add(route) if route.condition.is_some() => {
                return self.take_condition(route, false, draft);
            }
            Change::Replace(route) if route.condition.is_some() => {
                return self.take_condition(route, true, draft);
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
        let value = self.value_for((route.prefix, &route.target), None, followed, draft)?;
        draft.plain.insert(route.prefix, Some(value));
        Ok(())
    }

    /// The value of a route's target, made where there is none.
    pub(super) fn value_for(
        &mut self,
        (prefix, target): (Prefix, &Arc<Target>),
        condition: Option<&str>,
        followed: bool,
        draft: &mut Draft,
    ) -> Result<u32, RouteError> {
        let owner = owner_of(prefix, condition);
        let counts = !followed || self.counts_all.is_some();
        let own = counts && (self.can_own() || self.owners.contains_key(&owner));
        let key = (Arc::as_ptr(target) as usize, followed);
        if let Some(value) = draft.shared.get(&key).filter(|_| !own) {
            return Ok(*value);
        }
        let hops = self.hops_of(target, followed, own.then_some(owner));
        let value = self.value_of(&hops, &mut draft.free_hop, &mut draft.steps)?;
        if !own {
            draft.shared.insert(key, value);
        }
        Ok(value)
    }

    /// Whether a route without a condition has next hops that it alone leads to.
    pub(super) fn owns(&self, prefix: Prefix) -> bool {
        self.owners.contains_key(&owner_of(prefix, None))
    }

    /// Whether there are numbers for next hops that one route alone leads to.
    pub(super) fn can_own(&self) -> bool {
        self.owned + OWN_ROOM < self.most_hops() as usize
    }

    /// The filters and values of a destination, as the draft has them.
    fn conditions<'d>(&self, prefix: Prefix, draft: &'d mut Draft) -> &'d mut Vec<(u32, u32)> {
        let now =
            || self.policies.of.get(&prefix).map(|policy| policy.conditions.clone()).unwrap_or_default();
        draft.conditions.entry(prefix).or_insert_with(now)
    }

    /// A route with a condition is added, or put in the place of the one with the same.
    fn take_condition(&mut self, route: &Route, replace: bool, draft: &mut Draft) -> Result<(), RouteError> {
        let (prefix, text) = (route.prefix, route.condition.as_deref().unwrap_or_default());
        let filter = self.filter(text, draft)?;
        let place = self.conditions(prefix, draft).iter().position(|c| c.0 == filter);
        if place.is_some() && !replace {
            return Err(RouteError(format!(
                "there is a route to {prefix} with that `if` already: `replace` changes it"
            )));
        }
        let value = self.value_for((prefix, &route.target), Some(text), false, draft)?;
        let conditions = self.conditions(prefix, draft);
        if let Some(place) = place {
            conditions.remove(place);
        }
        let at = route.position.map(|position| position - 1).or(place).unwrap_or(usize::MAX);
        conditions.insert(at.min(conditions.len()), (filter, value));
        Ok(())
    }

    /// The number of a filter, which the programs get where they do not have it. Then they lose those that no route asks.
    fn filter(&mut self, text: &str, draft: &mut Draft) -> Result<u32, RouteError> {
        if let Some(number) = self.policies.filter_named(text) {
            return Ok(number);
        }
        let asked = self.policies.of.values().flat_map(|policy| &policy.conditions);
        let asked: BTreeSet<u32> = asked.chain(draft.conditions.values().flatten()).map(|c| c.0).collect();
        let unused: Vec<u32> =
            self.policies.filters.keys().copied().filter(|number| !asked.contains(number)).collect();
        for number in unused {
            self.policies.filters.remove(&number);
            draft.steps.push(Step::Filter(number, String::new()));
        }
        let number = free(&self.policies.filters, FILTERS + 1, "different filters")?;
        self.policies.filters.insert(number, text.to_owned());
        draft.steps.push(Step::Filter(number, text.to_owned()));
        Ok(number)
    }

    /// A route's next hops. With an owner each is its own, as long as there are enough numbers.
    fn hops_of(&self, target: &Target, followed: bool, owner: Option<u64>) -> Vec<Hop> {
        let mut hops = target.hops();
        let owner = owner.filter(|_| hops.iter().all(|hop| hop.kind != Kind::Local));
        for hop in &mut hops {
            hop.followed = followed;
            let own = owner.map(|owner| Hop { owner, ..hop.clone() });
            if let Some(own) = own.filter(|own| self.numbers.contains_key(own) || self.can_own()) {
                *hop = own;
            }
        }
        hops
    }
}

/// A number that tells a route apart: of its destination and its condition. Never 0.
pub(in crate::route) fn owner(route: &Route) -> u64 {
    owner_of(route.prefix, route.condition.as_deref())
}

fn owner_of(prefix: Prefix, condition: Option<&str>) -> u64 {
    let bits = match prefix.address() {
        std::net::IpAddr::V4(a) => u128::from(a.to_bits()) | 1 << 127,
        std::net::IpAddr::V6(a) => a.to_bits(),
    };
    let prefix = mix(mix((bits >> 64) as u64) ^ bits as u64).wrapping_add(prefix.length().into());
    let condition = condition.iter().flat_map(|text| text.bytes());
    mix(condition.fold(prefix ^ OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))) | 1
}
