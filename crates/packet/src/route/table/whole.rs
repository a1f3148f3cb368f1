//! All routes that were written by hand at once, none of them with a condition: what is wanted and the routes as they are enter, both packed and in order, the
//! routes behind it leave, and the steps for next hops. It says the same as a batch of changes, without a map of a million entries.

use super::super::packed::{Packed, Word};
use super::super::record::{packed, value_of};
use super::super::{Prefix, RouteError, Target};
use super::plan::Draft;
use super::{Step, Table};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What routes are to be.
#[derive(Clone, Copy, Debug)]
pub struct Whole<'w> {
    /// Those that are there.
    pub before: &'w Packed,
    /// Those that are wanted, each with the number of its target.
    pub wanted: &'w Packed,
    /// Targets by number.
    pub targets: &'w [Arc<Target>],
    /// What the machine itself answers.
    pub own: &'w BTreeSet<Prefix>,
}

impl Table {
    /// The routes behind a batch, and the steps that make their next hops and say which are spare then. The table is one of these routes' values
    /// ([`Table::of_values`]), and knows no conditions.
    pub fn plan_whole(&mut self, whole: Whole<'_>) -> Result<(Packed, Vec<Step>), RouteError> {
        let (mut draft, mut own) = (Draft::default(), Packed::default());
        whole.own.iter().for_each(|prefix| own.push(*prefix, 0));
        let Whole { before, wanted, targets, .. } = whole;
        let mut values =
            Values { targets, shared: vec![None; targets.len()], local: Arc::new(Target::Local) };
        let four = self.merge(&mut draft, &mut values, [&before.four, &wanted.four, &own.four])?;
        let six = self.merge(&mut draft, &mut values, [&before.six, &wanted.six, &own.six])?;
        let mut steps = draft.steps;
        steps.extend(self.forget_unused().into_iter().map(Step::Spare));
        Ok((Packed { four, six }, steps))
    }

    /// Routes of one family behind the batch: from what is there, what is wanted and what is the machine's own.
    fn merge<W: Word>(
        &mut self,
        draft: &mut Draft,
        values: &mut Values<'_>,
        [before, wanted, own]: [&[W]; 3],
    ) -> Result<Vec<W>, RouteError> {
        let mut behind = Vec::with_capacity(wanted.len().max(before.len()) + own.len());
        let [mut before, mut wanted, mut own] =
            [before, wanted, own].map(|all| all.iter().copied().peekable());
        let mut last = (0, 0);
        loop {
            let heads = [before.peek(), wanted.peek(), own.peek()];
            let Some(key) = heads.into_iter().flatten().map(|word| word.with(0)).min() else { break };
            let is = |word: &W| word.with(0) == key;
            let [old, new, own] = [before.next_if(is), wanted.next_if(is), own.next_if(is)];
            let old = old.map(|word| value_of(word.number()));
            let value = match (new, old, own) {
                (Some(new), ..) => Some(values.of(self, draft, (key, new.number()))?),
                (None, Some(old), _) if self.value_is_followed(old) => Some(old),
                (None, _, Some(_)) => {
                    Some(self.value_for((key.prefix(), &values.local), None, false, draft)?)
                }
                _ => None,
            };
            if value != old {
                // Neighbours mostly lead to one next hop.
                if let Some(value) = value.filter(|value| *value != last.0) {
                    *self.uses.entry(last.0).or_default() += last.1;
                    last = (value, 0);
                }
                last.1 += usize::from(value.is_some());
                if let Some(old) = old {
                    self.give_up(old);
                }
            }
            behind.extend(value.map(|value| key.with(packed(value))));
        }
        *self.uses.entry(last.0).or_default() += last.1;
        Ok(behind)
    }
}

/// Where targets lead.
struct Values<'t> {
    targets: &'t [Arc<Target>],
    /// By number, where several routes may lead to it.
    shared: Vec<Option<u32>>,
    local: Arc<Target>,
}

impl Values<'_> {
    fn of<W: Word>(
        &mut self,
        table: &mut Table,
        draft: &mut Draft,
        (key, number): (W, u32),
    ) -> Result<u32, RouteError> {
        let prefix = key.prefix();
        let missing = || RouteError(format!("{prefix} has no target"));
        let place = self.targets.get(number as usize).zip(self.shared.get_mut(number as usize));
        let (target, known) = place.ok_or_else(missing)?;
        let shares = !table.can_own() && !table.owns(prefix);
        if let Some(value) = known.filter(|_| shares) {
            return Ok(value);
        }
        let value = table.value_for((prefix, target), None, false, draft)?;
        *known = Some(value).filter(|_| shares);
        Ok(value)
    }
}
