//! A table as maps hold it: routes, next hops and buckets enter.

use super::super::hash::Map;
use super::super::policy::{Policies, list_of};
use super::super::{Hop, Prefix};
use super::{BUCKETS, GROUP, Group, Table, distinct};

impl Table {
    /// The table that maps hold: what no route leads to does not count. `hop` and `bucket` read the arrays.
    pub fn of(
        routes: impl IntoIterator<Item = (Prefix, u32)>,
        hop: impl Fn(u32) -> Option<Hop>,
        bucket: impl Fn(u32) -> u32,
        policies: Policies,
    ) -> Table {
        let routes: Map<Prefix, u32> = routes.into_iter().collect();
        let mut uses: Map<u32, usize> = Map::default();
        routes.values().for_each(|value| *uses.entry(*value).or_default() += 1);
        Table { routes, ..Table::of_uses(uses, hop, bucket, policies) }
    }

    /// A table that knows of its routes no more than where they lead.
    pub fn of_values(
        values: impl IntoIterator<Item = u32>,
        hop: impl Fn(u32) -> Option<Hop>,
        bucket: impl Fn(u32) -> u32,
    ) -> Table {
        let mut uses: Map<u32, usize> = Map::default();
        let mut last = (0, 0);
        for value in values {
            if value != last.0 {
                *uses.entry(last.0).or_default() += last.1;
                last = (value, 0);
            }
            last.1 += 1;
        }
        *uses.entry(last.0).or_default() += last.1;
        uses.retain(|_, count| *count > 0);
        Table::of_uses(uses, hop, bucket, Policies::default())
    }

    fn of_uses(
        mut uses: Map<u32, usize>,
        hop: impl Fn(u32) -> Option<Hop>,
        bucket: impl Fn(u32) -> u32,
        policies: Policies,
    ) -> Table {
        let mut table = Table { policies, ..Table::default() };
        for list in table.policies.lists.keys() {
            table.policies.values(*list).into_iter().for_each(|value| *uses.entry(value).or_default() += 1);
        }
        for (value, count) in uses {
            let used = match value & GROUP {
                0 if list_of(value).is_some() => Vec::new(),
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
                    if !table.hops.contains_key(&number) {
                        table.own(hop.owner);
                    }
                    table.hops.insert(number, hop);
                }
            }
        }
        table
    }

    /// A next hop comes that this route alone leads to, if any.
    pub(super) fn own(&mut self, owner: u64) {
        if owner != 0 {
            self.owned += 1;
            *self.owners.entry(owner).or_default() += 1;
        }
    }

    pub(super) fn name_group(&mut self, number: u32, group: Group) {
        for member in &group.members {
            *self.uses.entry(*member).or_default() += 1;
        }
        self.shapes.insert(group.members.clone(), number);
        self.groups.insert(number, group);
    }
}
