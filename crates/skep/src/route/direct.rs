//! The arrays of a running router: its programs look addresses up in them, and behind the roots lies the record of all routes, from which a table is found
//! again; where they are full, or much too large, programs with others take their place. What always holds: the record is right, and lookups that a killed command
//! left half written are made anew from it by the next.

use super::maps::Maps;
use super::up;
use super::write::{key, name_route};
use super::{LookupStats, Router};
use crate::error::Error;
use skep_kernel::map::{Map, Words};
use skep_packet::route::direct::{
    self, BLOCK_CELLS, BLOCKS, Blocks, Cells, Direct, Part, ROOT_CELLS, UNIT_CELLS,
};
use skep_packet::route::record::{self, Room};
use skep_packet::route::{Prefix, Step};
use std::collections::BTreeSet;

/// The array of blocks, by which the programs of one router are told from others'.
pub(super) const BLOCK_MAP: &str = "blocks";
/// Arrays that are full grow so many times at least, as long as they have no more blocks than that.
const GROWTH: u32 = 4;
const SOON: u32 = 1 << 14;
/// Arrays are made smaller when they have room for so many times as much as they hold.
const MUCH: u32 = 8;

/// Routes whose places in the record are read at once.
const NEAR: usize = 64;

/// The arrays of running programs.
#[derive(Debug)]
pub(super) struct Mapped {
    /// The map of blocks.
    id: u32,
    roots: Words,
    blocks: Words,
}

impl Mapped {
    /// The arrays among a router's maps.
    pub(super) fn of(maps: Maps<'_>) -> Result<Mapped, Error> {
        let (roots, blocks) = (maps.named("roots")?, maps.named(BLOCK_MAP)?);
        let mapped = Mapped { id: blocks.id()?, roots: roots.words()?, blocks: blocks.words()? };
        if mapped.roots.count() < 2 * ROOT_CELLS + record::room(&mapped).words()
            || mapped.blocks() < *BLOCKS.start()
        {
            return Err(Error::Route(
                "the router's table is smaller than it should be: `skep route down` ends it".to_owned(),
            ));
        }
        Ok(mapped)
    }

    /// The arrays of new programs, with a record of no routes.
    pub(super) fn begun(maps: Maps<'_>, room: Room) -> Result<Mapped, Error> {
        let mut mapped = Mapped::of(maps)?;
        mapped.fill(room, std::iter::empty())?;
        Ok(mapped)
    }

    /// The array and the place in it.
    #[inline]
    fn word(&self, part: Part, at: u32) -> (&Words, u32) {
        match part {
            Part::Root => (&self.roots, at),
            Part::Block => (&self.blocks, at),
            Part::Record => (&self.roots, at.saturating_add(2 * ROOT_CELLS)),
        }
    }

    /// How large they are.
    pub(super) fn stats(&self) -> LookupStats {
        let (used, searched) = direct::usage(self);
        let bytes = |cells: u64| 8 * (u64::from(self.roots.count()) + cells);
        let (all, used) = (u64::from(self.blocks.count()), u64::from(used) * u64::from(UNIT_CELLS));
        LookupStats { bytes: bytes(all), used: bytes(used), searched }
    }

    /// An error if something could not be read or written.
    pub(super) fn complete(&self) -> Result<(), Error> {
        Ok(self.roots.complete().and_then(|()| self.blocks.complete())?)
    }

    /// Gives arrays that hold nothing these routes; gives back those that found no place where programs look.
    pub(super) fn fill(
        &mut self,
        room: Room,
        mut routes: impl Iterator<Item = (Prefix, u32)>,
    ) -> Result<Vec<(Prefix, u32)>, Error> {
        record::begin(self, room);
        let (mut left, mut near) = (Vec::new(), Vec::with_capacity(NEAR));
        loop {
            near.clear();
            near.extend(routes.by_ref().take(NEAR));
            if near.is_empty() {
                break;
            }
            record::touch(self, near.iter().map(|route| route.0));
            for (prefix, value) in near.iter().copied() {
                record::set(self, prefix, value);
                if !Direct::new(self).set(prefix, value) {
                    left.push((prefix, value));
                }
            }
        }
        self.complete()?;
        Ok(left)
    }
}

impl Cells for Mapped {
    #[inline]
    fn get(&self, part: Part, at: u32) -> u64 {
        let (words, at) = self.word(part, at);
        words.get(at)
    }

    #[inline]
    fn set(&mut self, part: Part, at: u32, cell: u64) {
        let (words, at) = self.word(part, at);
        words.set(at, cell);
    }

    fn blocks(&self) -> u32 {
        self.blocks.count() / BLOCK_CELLS
    }

    fn grow(&mut self) -> bool {
        false
    }
}

/// The arrays of a running router; who changes the table again and again keeps them.
#[derive(Debug, Default)]
pub(super) struct Lookups(Option<Mapped>);

impl Lookups {
    /// These.
    pub(super) fn with(arrays: Mapped) -> Lookups {
        Lookups(Some(arrays))
    }

    /// The map of blocks that the programs have now, if it is known.
    pub(super) fn arrays(&self) -> Option<u32> {
        self.0.as_ref().map(|mapped| mapped.id)
    }

    /// The arrays.
    pub(super) fn mapped(&mut self, maps: Maps<'_>) -> Result<&mut Mapped, Error> {
        let mapped = match self.0.take() {
            Some(mapped) => mapped,
            None => Mapped::of(maps)?,
        };
        Ok(self.0.insert(mapped))
    }

    /// The arrays, with room for the routes of these steps. With `all` they may hold anything but for the record, and are made anew.
    pub(super) fn prepare(
        &mut self,
        (router, maps): (&Router, Maps<'_>),
        steps: &[Step],
        all: bool,
    ) -> Result<&mut Mapped, Error> {
        let mapped = self.mapped(maps)?;
        let new = Prefix::in_order(steps.iter().filter_map(Step::comes).map(|prefix| (prefix, ())));
        let four = new.iter().take_while(|(prefix, ())| prefix.address().is_ipv4()).count();
        let more = [four as u32, (new.len() - four) as u32];
        let routes = [0, 1].map(|at| record::count(mapped)[at].saturating_add(more[at]));
        check_count(routes)?;
        let lacking = direct::blocks_lacking(mapped, new.into_iter().map(|(prefix, ())| prefix));
        let blocks = direct::capacity(direct::blocks_wanted(mapped, lacking));
        if all || router.mixed {
            *mapped = router.rebuild(maps, mapped, routes, blocks)?;
            return Ok(mapped);
        }
        let fits = record::has_room(mapped, more);
        if fits && blocks <= mapped.blocks() {
            return Ok(mapped);
        }
        let room = if fits { record::room(mapped) } else { Room::for_routes(routes) };
        let larger = router.renew(maps, (grown(blocks, mapped), room), |larger| {
            record::begin(larger, room);
            direct::copy(mapped, larger);
            larger.complete()?;
            Ok(None)
        });
        match larger {
            Ok(larger) => *mapped = larger,
            // Without more blocks the tries are asked.
            Err(error) if !fits => return Err(error),
            Err(_) => {}
        }
        Ok(mapped)
    }

    /// Behind a change: arrays that are much too large are replaced.
    pub(super) fn settle(&mut self, (router, maps): (&Router, Maps<'_>)) -> Result<(), Error> {
        let Some(mapped) = &mut self.0 else { return Ok(()) };
        mapped.complete()?;
        let used = direct::blocks_wanted(mapped, Blocks::default());
        if is_much(used, mapped) {
            let (blocks, routes) = (direct::capacity(used), record::count(mapped));
            *mapped = router.rebuild(maps, mapped, routes, blocks)?;
        }
        Ok(())
    }
}

/// An error where there are more routes of IPv4 or IPv6 than a table can have.
pub(super) fn check_count(routes: [u32; 2]) -> Result<(), Error> {
    let Some(at) = (0..2).find(|at| routes[*at] > record::MOST[*at]) else { return Ok(()) };
    let (most, family) = (record::MOST[at], ["IPv4", "IPv6"][at]);
    Err(Error::Route(format!(
        "a table has at most {most} routes of {family}, this would have {}",
        routes[at]
    )))
}

/// How many blocks arrays get that need so many. Small ones grow by much, so that a table that fills route by route does not often load programs.
pub(super) fn grown(blocks: u32, mapped: &Mapped) -> u32 {
    match blocks > mapped.blocks() {
        true => blocks.max((mapped.blocks() * GROWTH).min(SOON)),
        false => mapped.blocks(),
    }
}

/// Whether the arrays are much too large for so many blocks.
pub(super) fn is_much(used: u32, mapped: &Mapped) -> bool {
    direct::capacity(used.saturating_mul(MUCH)) < mapped.blocks()
}

/// Routes that found no place in new arrays; `None`: the tries have them already.
type Left = Option<Vec<(Prefix, u32)>>;

impl Router {
    /// Puts programs with arrays of so many blocks and slots in the place of the running ones; `fill` gives them what they are to hold. Each port changes
    /// over in one step.
    pub(super) fn renew(
        &self,
        maps: Maps<'_>,
        (blocks, room): (u32, Room),
        fill: impl FnOnce(&mut Mapped) -> Result<Left, Error>,
    ) -> Result<Mapped, Error> {
        let kept =
            maps.0.iter().filter(|map| ![Some("roots"), Some(BLOCK_MAP)].contains(&map.name().get(1..)));
        let ids: Result<Vec<u32>, _> = kept.map(Map::id).collect();
        let loaded = self.reload(maps, (blocks, room), ids?, &maps.filters()?)?;
        let mut mapped = Mapped::of(Maps(loaded.maps()))?;
        let left = fill(&mut mapped)?;
        for (prefix, value) in left.iter().flatten() {
            maps.write(&name_route(*prefix, *value))?;
        }
        up::replace(&loaded, &self.ports)?;
        if let Some(left) = left {
            let wanted: BTreeSet<Vec<u8>> = left.iter().map(|(prefix, _)| key(*prefix)).collect();
            for name in ["fib4", "fib6"] {
                let trie = maps.named(name)?;
                let entries = trie.entries()?;
                let stale = entries.iter().filter(|entry| !wanted.contains(entry.key));
                stale.map(|entry| entry.key).try_for_each(|key| trie.delete(key).map(drop))?;
            }
        }
        Ok(mapped)
    }

    /// Makes the arrays anew from the record, with room for so many routes and blocks.
    fn rebuild(
        &self,
        maps: Maps<'_>,
        before: &Mapped,
        routes: [u32; 2],
        blocks: u32,
    ) -> Result<Mapped, Error> {
        let mut known = record::routes(before);
        before.complete()?;
        known.sort_unstable();
        let blocks =
            blocks.max(direct::capacity(direct::blocks_for(known.iter().map(|route| route.0)).in_large()));
        let room = Room::for_routes(routes);
        self.renew(maps, (blocks, room), |mapped| mapped.fill(room, known.into_iter()).map(Some))
    }
}
