//! Steps of a change, done on a running router's maps and arrays in their order: each next hop is written before the routes that lead to it. A route is
//! written to the record first, then to what programs look addresses up in. Where a step cannot be done, those before it are undone.

use super::direct::Mapped;
use super::maps::Maps;
use super::write::{POLICIES, key, name_route, trie};
use crate::error::Error;
use skep_kernel::map::Unfinished;
use skep_packet::route::direct::{self, Direct};
use skep_packet::route::{HOP_BYTES, OWNER_AT, Prefix, SPARE, Step, record};
use std::collections::BTreeSet;

/// Steps whose places in the record are read at once.
const NEAR: usize = 64;

/// Why not all steps were done.
struct Stopped {
    /// How many were.
    done: usize,
    error: Error,
}

/// Does the steps; the arrays have room for their routes.
pub(super) fn apply(maps: Maps<'_>, arrays: &mut Mapped, steps: &[Step]) -> Result<(), Error> {
    let (mut at, mut near) = (0, 0);
    while let Some(step) = steps.get(at) {
        if at >= near {
            near = at + NEAR;
            record::touch(arrays, steps[at..].iter().take(NEAR).filter_map(Step::prefix));
        }
        let run = run(&steps[at..]);
        let done = match step {
            Step::Bucket(..) | Step::List(..) => batch(maps, &steps[at..at + run]),
            _ => one(maps, arrays, step).map_err(|error| Stopped { done: 0, error }),
        };
        if let Err(Stopped { done, error }) = done {
            // What cannot be undone for the same reason stays: a table as between two steps.
            for step in steps[..at + done].iter().rev().filter_map(Step::undone) {
                let _ = one(maps, arrays, &step);
            }
            return Err(error);
        }
        at += run;
    }
    spare(maps, steps)
}

/// Marks next hops that no route leads to behind the steps.
pub(super) fn spare(maps: Maps<'_>, steps: &[Step]) -> Result<(), Error> {
    let mut numbers = BTreeSet::new();
    for step in steps {
        match step {
            Step::Spare(number) => drop(numbers.insert(*number)),
            Step::Hop(number, _) | Step::Renew(number, _) => drop(numbers.remove(number)),
            _ => {}
        }
    }
    if numbers.is_empty() {
        return Ok(());
    }
    let hops = maps.named("hops")?.words()?;
    numbers
        .into_iter()
        .for_each(|number| hops.set((number as usize * HOP_BYTES + OWNER_AT) as u32 / 8, SPARE));
    Ok(hops.complete()?)
}

/// How many of the first steps go to one map of words, so that they can be done at once.
fn run(steps: &[Step]) -> usize {
    let alike = |step: &Step| {
        let both = (step, steps.first());
        matches!(both, (Step::Bucket(..), Some(Step::Bucket(..))) | (Step::List(..), Some(Step::List(..))))
    };
    steps.iter().take_while(|step| alike(step)).count().max(1)
}

/// Does steps of buckets or of lists.
fn batch(maps: Maps<'_>, steps: &[Step]) -> Result<(), Stopped> {
    let (mut keys, mut values, mut name) = (Vec::new(), Vec::new(), POLICIES);
    for step in steps {
        match step {
            Step::Bucket(at, hop) => {
                name = "buckets";
                keys.extend(at.to_ne_bytes());
                values.extend(hop.to_ne_bytes());
            }
            Step::List(at, word) => {
                keys.extend(at.to_ne_bytes());
                values.extend(word.to_ne_bytes());
            }
            _ => {}
        }
    }
    let map = maps.named(name).map_err(|error| Stopped { done: 0, error })?;
    let changed = map.update_all(&keys, &values);
    changed.map_err(|Unfinished { done, error }| Stopped { done, error: error.into() })
}

fn one(maps: Maps<'_>, arrays: &mut Mapped, step: &Step) -> Result<(), Error> {
    match step {
        Step::Route { prefix, value, .. } => set(maps, arrays, *prefix, *value),
        Step::Remove { prefix, .. } => remove(maps, arrays, *prefix),
        Step::Spare(_) => Ok(()),
        _ => maps.step(step),
    }
}

fn set(maps: Maps<'_>, arrays: &mut Mapped, prefix: Prefix, value: u32) -> Result<(), Error> {
    if !record::set(arrays, prefix, value) {
        return Err(Error::Internal(format!("the record of routes has no room for {prefix}")));
    }
    match Direct::new(arrays).set(prefix, value) {
        true => Ok(()),
        false => maps.write(&name_route(prefix, value)),
    }
}

fn remove(maps: Maps<'_>, arrays: &mut Mapped, prefix: Prefix) -> Result<(), Error> {
    record::remove(arrays, prefix);
    let placed = Direct::new(arrays).remove(prefix, |arrays, prefix, shortest| {
        let (length, value) = record::longest(arrays, prefix, shortest..prefix.length())?;
        Some(direct::route(value, length))
    });
    if !placed {
        maps.named(trie(prefix))?.delete(&key(prefix))?;
    }
    Ok(())
}
