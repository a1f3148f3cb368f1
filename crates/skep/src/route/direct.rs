//! Direct lookup in the maps of a running router: its programs look addresses up in mapped arrays, which follow the routes; where they are full, or much
//! too large, programs with others take their place. What always holds: the tries have every route too, so a table is found again in them, and arrays
//! that a killed command left half written are made anew by the next.

use super::maps::Maps;
use super::up;
use super::{LookupStats, Router};
use crate::error::Error;
use skep_kernel::map::{Map, Words};
use skep_packet::route::direct::{self, BLOCK_CELLS, BLOCKS, Cells, Direct, Part, ROOT_CELLS};
use skep_packet::route::{Prefix, Step, Table};

/// The array of blocks, by which the programs of one router are told from others'.
pub(super) const BLOCK_MAP: &str = "blocks";
/// Arrays are made smaller when they have room for so many times as much as they hold.
const MUCH: u32 = 8;

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
        if mapped.roots.count() < 2 * ROOT_CELLS || mapped.blocks() < *BLOCKS.start() {
            return Err(Error::Route(
                "the router's table is smaller than it should be: `skep route down` ends it".to_owned(),
            ));
        }
        Ok(mapped)
    }

    fn part(&self, part: Part) -> &Words {
        match part {
            Part::Root => &self.roots,
            Part::Block => &self.blocks,
        }
    }

    /// How large they are.
    pub(super) fn stats(&self) -> LookupStats {
        let (used, searched) = direct::usage(self);
        let bytes =
            |blocks: u32| 8 * (2 * u64::from(ROOT_CELLS) + u64::from(blocks) * u64::from(BLOCK_CELLS));
        LookupStats { bytes: bytes(self.blocks()), used: bytes(used), searched }
    }

    /// An error if something could not be read or written.
    fn complete(&self) -> Result<(), Error> {
        Ok(self.roots.complete().and_then(|()| self.blocks.complete())?)
    }

    /// Gives arrays that hold nothing these routes.
    pub(super) fn fill(&mut self, routes: impl IntoIterator<Item = (Prefix, u32)>) -> Result<(), Error> {
        let mut direct = Direct::new(self);
        routes.into_iter().for_each(|(prefix, value)| direct.set(prefix, value));
        self.complete()
    }
}

impl Cells for Mapped {
    fn get(&self, part: Part, at: u32) -> u64 {
        self.part(part).get(at)
    }

    fn set(&mut self, part: Part, at: u32, cell: u64) {
        self.part(part).set(at, cell);
    }

    fn blocks(&self) -> u32 {
        self.blocks.count() / BLOCK_CELLS
    }

    fn grow(&mut self) -> bool {
        false
    }
}

/// The arrays of running programs, which larger ones take the place of when they are full.
struct Growing<'r> {
    mapped: &'r mut Mapped,
    router: &'r Router,
    maps: Maps<'r>,
    /// Blocks that the routes of the batch may need beside those in use.
    more: u32,
    /// Why there are no more.
    failed: Option<Error>,
}

impl Growing<'_> {
    fn grown(&mut self) -> Result<(), Error> {
        let (used, _) = direct::usage(self.mapped);
        let blocks = direct::capacity(used.saturating_add(self.more)).max(self.mapped.blocks() * 2);
        let mut larger = self.router.renew(self.maps, blocks, |larger| {
            direct::copy(self.mapped, larger);
            larger.complete()
        })?;
        std::mem::swap(self.mapped, &mut larger);
        Ok(())
    }
}

impl Cells for Growing<'_> {
    fn get(&self, part: Part, at: u32) -> u64 {
        self.mapped.get(part, at)
    }

    fn set(&mut self, part: Part, at: u32, cell: u64) {
        self.mapped.set(part, at, cell);
    }

    fn blocks(&self) -> u32 {
        self.mapped.blocks()
    }

    fn grow(&mut self) -> bool {
        if self.failed.is_some() || self.blocks() >= *BLOCKS.end() {
            return false;
        }
        self.failed = self.grown().err();
        self.failed.is_none()
    }
}

/// The arrays of a running router; who changes the table again and again keeps them.
#[derive(Debug, Default)]
pub(super) struct Lookups(Option<Mapped>);

impl Lookups {
    /// The map of blocks that the programs have now, if it is known.
    pub(super) fn arrays(&self) -> Option<u32> {
        self.0.as_ref().map(|mapped| mapped.id)
    }

    /// Behind the steps of a batch, which made the table what it is: lookups say what it says. With `all`, the arrays may hold anything. What finds
    /// no room in memory is left to the tries.
    pub(super) fn follow(
        &mut self,
        (router, maps): (&Router, Maps<'_>),
        table: Option<&Table>,
        steps: &[Step],
        all: bool,
    ) -> Result<(), Error> {
        if let Some(table) = table.filter(|_| all || router.mixed) {
            self.0 = Some(router.rebuild(maps, table)?);
            return Ok(());
        }
        let mapped = match &mut self.0 {
            Some(mapped) => mapped,
            none => none.insert(Mapped::of(maps)?),
        };
        let mut new: Vec<Prefix> = steps.iter().filter_map(Step::comes).collect();
        new.sort_unstable();
        let mut growing = Growing { mapped, router, maps, more: direct::blocks_for(new), failed: None };
        let mut changed = Direct::new(&mut growing);
        for step in steps {
            match step {
                Step::Route { prefix, value, .. } => changed.set(*prefix, *value),
                Step::Remove { prefix, .. } => {
                    let mut failed = None;
                    changed.remove(*prefix, |prefix, shortest| {
                        let (length, value) = match table {
                            Some(table) => table.longest(prefix, shortest..prefix.length())?,
                            None => match maps.longest(prefix) {
                                Ok(found) => found.map(|(value, length)| (length, value))?,
                                Err(error) => {
                                    failed = Some(error);
                                    return None;
                                }
                            },
                        };
                        (length >= shortest).then(|| direct::route(value, length))
                    });
                    failed.map_or(Ok(()), Err)?;
                }
                _ => {}
            }
        }
        mapped.complete()?;
        let (used, _) = direct::usage(mapped);
        let smaller = direct::capacity(used.saturating_mul(MUCH)) < mapped.blocks();
        if let Some(table) = table.filter(|_| smaller) {
            self.0 = Some(router.rebuild(maps, table)?);
        }
        Ok(())
    }
}

impl Router {
    /// Puts programs with arrays of so many blocks in the place of the running ones; `fill` gives them what they are to hold. Each port changes
    /// over in one step.
    fn renew(
        &self,
        maps: Maps<'_>,
        blocks: u32,
        fill: impl FnOnce(&mut Mapped) -> Result<(), Error>,
    ) -> Result<Mapped, Error> {
        let kept =
            maps.0.iter().filter(|map| ![Some("roots"), Some(BLOCK_MAP)].contains(&map.name().get(1..)));
        let ids: Result<Vec<u32>, _> = kept.map(Map::id).collect();
        let loaded = self.reload(maps, blocks, ids?, &maps.filters()?)?;
        let mut mapped = Mapped::of(Maps(loaded.maps()))?;
        fill(&mut mapped)?;
        up::replace(&loaded, &self.ports)?;
        Ok(mapped)
    }

    /// Makes the arrays anew, as large as the table needs.
    fn rebuild(&self, maps: Maps<'_>, table: &Table) -> Result<Mapped, Error> {
        let mut routes: Vec<(Prefix, u32)> = table.values().collect();
        routes.sort_unstable();
        let blocks = direct::capacity(direct::blocks_for(routes.iter().map(|route| route.0)));
        self.renew(maps, blocks, |mapped| mapped.fill(routes))
    }
}
