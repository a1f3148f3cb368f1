//! What interfaces are like now: which of them are down and what their addresses and lengths are enter, steps leave that bring a
//! running table up to date. No route changes: a group of next hops, or a next hop, is written where it is.

use super::super::Device;
use super::{BUCKETS, Down, Group, Hop, Step, Table};
use std::collections::BTreeMap;

impl Table {
    /// Says which interfaces are down. The steps take their next hops out of the groups that follow and have others, and give those back
    /// whose interfaces are down no more; routes stay as they are.
    pub fn set_down(&mut self, down: &BTreeMap<u32, Down>) -> Vec<Step> {
        if self.down == *down {
            return Vec::new();
        }
        self.down.clone_from(down);
        let mut steps = Vec::new();
        for number in self.groups.keys().copied().collect::<Vec<u32>>() {
            let Some(Group { members, buckets: before }) = self.groups.get(&number) else { continue };
            let buckets = self.shares(members);
            let differ = (0..).zip(buckets.iter().zip(before)).filter(|(_, (new, old))| new != old);
            steps.extend(differ.map(|(at, (new, _))| Step::Bucket(number * BUCKETS + at, *new)));
            if let Some(group) = self.groups.get_mut(&number) {
                group.buckets = buckets;
            }
        }
        steps
    }

    /// Those of a group's members that packets go to: on interfaces that are connected, or else such as are turned on at least.
    pub(super) fn live(&self, members: &[u32]) -> Vec<u32> {
        let down = |member: &u32| {
            let hop = self.hops.get(member).filter(|hop| hop.followed);
            hop.and_then(|hop| self.down.get(&hop.device)).copied()
        };
        let those = |wanted: &[Option<Down>]| -> Vec<u32> {
            members.iter().copied().filter(|member| wanted.contains(&down(member))).collect()
        };
        let best = [&[None][..], &[None, Some(Down::Unconnected)]].map(those);
        best.into_iter().find(|live| !live.is_empty()).unwrap_or_else(|| members.to_vec())
    }

    /// Of a table that was read from maps again: what `before` knew of groups that are still as it left them, of interfaces that are down,
    /// and of members that have no bucket for that. `hop` reads the array.
    pub fn remember(&mut self, before: &Table, hop: impl Fn(u32) -> Option<Hop>) {
        self.down.clone_from(&before.down);
        for (number, known) in &before.groups {
            let Some(now) = self.groups.get(number) else { continue };
            let hidden: Vec<u32> =
                known.members.iter().copied().filter(|m| !now.members.contains(m)).collect();
            let as_it_was = |m: &u32| before.hops.get(m).is_some_and(|known| hop(*m).as_ref() == Some(known));
            if hidden.is_empty() || now.buckets != known.buckets || !hidden.iter().all(as_it_was) {
                continue;
            }
            self.shapes.remove(&now.members);
            for member in hidden {
                *self.uses.entry(member).or_default() += 1;
                if let Some(hop) = before.hops.get(&member) {
                    self.numbers.insert(hop.clone(), member);
                    self.hops.insert(member, hop.clone());
                }
            }
            self.shapes.insert(known.members.clone(), *number);
            self.groups.insert(*number, known.clone());
        }
    }

    /// Brings next hops up to date with their interfaces. Those of interfaces that `device` does not know stay as they are.
    pub fn renew(&mut self, device: impl Fn(u32) -> Option<Device>) -> Vec<Step> {
        let mut steps = Vec::new();
        for (number, hop) in &mut self.hops {
            let Some(Device { mtu, mac, fast, .. }) = Some(hop.device).filter(|d| *d != 0).and_then(&device)
            else {
                continue;
            };
            let new = Hop { mtu, mac, fast, ..hop.clone() };
            if new == *hop {
                continue;
            }
            if self.numbers.get(hop) == Some(number) {
                self.numbers.remove(hop);
            }
            self.numbers.entry(new.clone()).or_insert(*number);
            steps.push(Step::Renew(*number, new.clone()));
            *hop = new;
        }
        steps
    }
}
