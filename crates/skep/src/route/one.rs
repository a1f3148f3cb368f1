//! One change of a running router's table that looks up only what it needs, so that it takes as long in a large table as in a small one: a route with one
//! next hop comes, goes, or leads elsewhere. What needs more of the table, or finds that the machine is another than at the last change, is left to who
//! reads all of it.

use super::change::Writer;
use super::direct::{Lookups, Mapped};
use super::up::COUNTED;
use super::write::POLICIES;
use super::{Maps, Router};
use crate::error::Error;
use skep_packet::route::{Change, HOPS, Kind, Step, record};

/// What a change does to the route that is there.
enum Done {
    /// These steps.
    Steps(Vec<Step>),
    /// The whole table is needed.
    Unknown,
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
        if !writer.is_of(self.digest()) || self.mixed || writer.generation() != self.seen {
            return Ok(false);
        }
        let arrays = Mapped::of(maps)?;
        match steps(maps, &arrays, change)? {
            Done::Unknown => Ok(false),
            Done::Steps(steps) => {
                writer.apply(self, &mut Lookups::with(arrays), (None, &steps)).map(|_| true)
            }
        }
    }
}

fn steps(maps: Maps<'_>, arrays: &Mapped, change: &Change) -> Result<Done, Error> {
    // Where routes have conditions, what leads there may lead on to this one.
    if maps.find(POLICIES).is_some() {
        return Ok(Done::Unknown);
    }
    let (prefix, route) = match change {
        Change::Delete(prefix) => (*prefix, None),
        Change::Add(route) | Change::Replace(route) => (route.prefix, Some(route)),
        _ => return Ok(Done::Unknown),
    };
    let before = record::value(arrays, prefix);
    arrays.complete()?;
    // A group, or what else is no next hop.
    let known = match before {
        Some(value) if value >= HOPS => return Ok(Done::Unknown),
        Some(value) => maps.hop(value),
        None => None,
    };
    if known.as_ref().is_some_and(|hop| hop.kind == Kind::Local) {
        return Ok(Done::Unknown);
    }
    let Some(route) = route else {
        return Ok(match (before, known) {
            (Some(before), Some(_)) => Done::Steps(vec![Step::Remove { prefix, before }]),
            // What is wrong is said by who reads the whole table.
            _ => Done::Unknown,
        });
    };
    let taken = known.as_ref().is_some_and(|hop| !hop.followed);
    if route.condition.is_some() || route.names_cpu() {
        return Ok(Done::Unknown);
    }
    let hops = route.counted_hops();
    let [hop] = hops.as_slice() else { return Ok(Done::Unknown) };
    if before.is_some() && known.is_none() || taken && matches!(change, Change::Add(_)) {
        return Ok(Done::Unknown);
    }
    let Some((value, is_new, is_known)) = maps.number_of(hop)? else { return Ok(Done::Unknown) };
    // Numbers are left for those that several lead to.
    if is_new && value >= COUNTED {
        return Ok(Done::Unknown);
    }
    // A gateway that comes has to stay known to the kernel, beside the others.
    if !is_known && hop.gateway.is_some() {
        return Ok(Done::Unknown);
    }
    let mut steps = Vec::new();
    if is_new {
        steps.push(Step::Hop(value, hop.clone()));
    }
    if before != Some(value) {
        steps.push(Step::Route { prefix, value, before });
    }
    Ok(Done::Steps(steps))
}
