//! One change of a running router's table that looks up only what it needs, so that it takes as long in a large table as in a small one: a route with one
//! next hop comes, goes, or leads elsewhere. What needs more of the table, or finds that the machine is another than at the last change, is left to who
//! reads all of it.

use super::change::Writer;
use super::direct::{Lookups, Mapped};
use super::write::POLICIES;
use super::{Maps, Router};
use crate::error::Error;
use skep_kernel::device;
use skep_packet::route::{Change, GROUP, Hop, Kind, OWN_ROOM, Prefix, Step, record};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What a change takes.
#[derive(Default)]
struct Done {
    steps: Vec<Step>,
    /// Neighbours that the kernel has to keep knowing from now on, and those that it need not any more.
    known: Option<(u32, IpAddr)>,
    forgotten: Option<(u32, IpAddr)>,
}

impl Router {
    /// Makes the change; `false`: the whole table is needed, and nothing was done.
    pub(super) fn change_one(&self, change: &Change) -> Result<bool, Error> {
        let maps = Maps(&self.maps);
        let writer = Writer::begin(maps)?;
        if !writer.knows(self)? {
            drop(writer);
            return Router::open()?.change_one(change);
        }
        if !writer.is_of(self.digest()) || self.mixed || writer.generation() != self.seen.get() {
            return Ok(false);
        }
        let arrays = Mapped::of(maps)?;
        let Some(Done { steps, known, forgotten }) = done(maps, &arrays, change)? else { return Ok(false) };
        self.seen.set(writer.apply(self, &mut Lookups::with(arrays), (None, &steps))?);
        known.map_or(Ok(()), |place| device::keep_one_known(place, true))?;
        forgotten.map_or(Ok(()), |place| device::keep_one_known(place, false))?;
        Ok(true)
    }
}

/// What is to be done; `None`: the whole table is needed.
fn done(maps: Maps<'_>, arrays: &Mapped, change: &Change) -> Result<Option<Done>, Error> {
    // Where routes have conditions, what leads there may lead on to this one.
    if maps.find(POLICIES).is_some() {
        return Ok(None);
    }
    let (prefix, route) = match change {
        Change::Delete(prefix) => (*prefix, None),
        Change::Add(route) | Change::Replace(route) => (route.prefix, Some(route)),
        _ => return Ok(None),
    };
    let before = record::value(arrays, prefix);
    arrays.complete()?;
    // A group, or what else is no next hop.
    if before.is_some_and(|value| value >= maps.most_hops()) {
        return Ok(None);
    }
    let old = before.and_then(|value| maps.hop(value));
    if before.is_some() && old.is_none() || old.as_ref().is_some_and(|hop| hop.kind == Kind::Local) {
        return Ok(None);
    }
    let mut done = Done::default();
    match route {
        Some(route) => {
            let taken = old.as_ref().is_some_and(|hop| !hop.followed);
            let hops = route.counted_hops();
            let ([hop], None, false) = (hops.as_slice(), &route.condition, route.names_cpu()) else {
                return Ok(None);
            };
            if taken && matches!(change, Change::Add(_)) {
                return Ok(None);
            }
            if old.as_ref() == Some(hop) {
                return Ok(Some(done));
            }
            // What it gives back makes room for what it gets.
            let own = before.filter(|_| old.as_ref().is_some_and(|old| old.owner != 0));
            let Some((value, new)) = value_for(maps, hop, own, &mut done)? else { return Ok(None) };
            done.steps.extend(new.map(|hop| Step::Hop(value, hop)));
            if before == Some(value) {
                return Ok(Some(done));
            }
            done.steps.push(Step::Route { prefix, value, before });
        }
        // What is wrong is said by who reads the whole table.
        None => match before {
            Some(before) => done.steps.push(Step::Remove { prefix, before }),
            None => return Ok(None),
        },
    }
    // What this route alone led to is given back.
    let alone = |hop: &Hop| hop.owner != 0 || !is_shared(maps, arrays, (prefix, before));
    if let (Some(number), Some(old)) = (before, old.filter(alone)) {
        done.steps.push(Step::Spare(number));
        let neighbour = old.neighbour().filter(|place| done.known != Some(*place));
        if neighbour.is_some()
            && !maps.numbers(&old, Some(number))?.is_known
            && !leads(&done.steps, neighbour)
        {
            done.forgotten = neighbour;
        }
    }
    Ok(Some(done))
}

/// Whether other routes than this one lead to the next hop that it leads to, alone or among several. Where many do, one of them is found soon.
fn is_shared(maps: Maps<'_>, arrays: &Mapped, (prefix, before): (Prefix, Option<u32>)) -> bool {
    let mut groups = BTreeSet::new();
    let leads = |value: u32| {
        let group = value & GROUP != 0 && groups.insert(value);
        Some(value) == before || group && maps.members(value & !GROUP).is_none_or(|all| all.contains(&before))
    };
    // What could not be read is not given away.
    record::any_other(arrays, prefix, leads) || arrays.complete().is_err()
}

/// Whether one of these steps makes a next hop with that neighbour.
fn leads(steps: &[Step], neighbour: Option<(u32, IpAddr)>) -> bool {
    steps.iter().any(|step| matches!(step, Step::Hop(_, hop) if hop.neighbour() == neighbour))
}

/// The number of a route's next hop, and the next hop where it has to be written; `None`: there is no number. As long as there are enough, it gets one of
/// its own, so that it is counted by itself.
fn value_for(
    maps: Maps<'_>,
    hop: &Hop,
    except: Option<u32>,
    done: &mut Done,
) -> Result<Option<(u32, Option<Hop>)>, Error> {
    let numbers = maps.numbers(hop, except)?;
    let can_own = numbers.owned + OWN_ROOM < maps.most_hops() as usize;
    let shared = || Hop { owner: 0, ..hop.clone() };
    let found = match (numbers.own, numbers.shared, numbers.free) {
        (Some(number), ..) => Some((number, None)),
        (None, _, Some(number)) if can_own => Some((number, Some(hop.clone()))),
        (None, Some(number), _) => Some((number, None)),
        (None, None, Some(number)) => Some((number, Some(shared()))),
        (None, None, None) => None,
    };
    if found.is_some() && !numbers.is_known {
        done.known = hop.neighbour();
    }
    Ok(found)
}
