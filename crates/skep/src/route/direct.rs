//! Direct lookup in the maps of a running router: from [`FROM`] routes of IPv4 on, its programs are replaced by such as look addresses up in mapped
//! arrays, filled before they are attached. What always holds: the trie has every route too, so a table is found again in it, and arrays that a
//! killed command left half written are made anew by the next.

use super::Router;
use super::maps::Maps;
use super::up::{self, Lookup};
use crate::error::Error;
use skep_kernel::map::{Map, Words};
use skep_packet::route::direct::{BLOCK_CELLS, Cells, Direct, Part, WIDE_CELLS};
use skep_packet::route::{Step, Table};

/// From so many routes of IPv4 on they are looked up directly.
pub(super) const FROM: usize = 10_000;
/// The map that only programs have that look addresses up directly.
pub(super) const WIDE: &str = "wide4";

/// The arrays of the programs that look addresses up directly.
#[derive(Debug)]
pub(super) struct Mapped {
    short: Words,
    wide: Words,
    deep: Words,
}

impl Cells for Mapped {
    fn get(&self, part: Part, at: u32) -> u32 {
        self.part(part).get(at)
    }

    fn set(&mut self, part: Part, at: u32, value: u32) {
        self.part(part).set(at, value);
    }

    fn blocks(&self) -> u32 {
        self.deep.count() / BLOCK_CELLS
    }
}

impl Mapped {
    fn part(&self, part: Part) -> &Words {
        match part {
            Part::Short => &self.short,
            Part::Wide => &self.wide,
            Part::Deep => &self.deep,
        }
    }

    /// The arrays among a router's maps; `None` where its programs ask the trie.
    pub(super) fn of(maps: Maps<'_>) -> Result<Option<Mapped>, Error> {
        let Some(wide) = maps.find(WIDE).map(Map::words).transpose()? else { return Ok(None) };
        if wide.count() < WIDE_CELLS {
            return Err(Error::Route(
                "the router's table is smaller than it should be: `skep route down` ends it".to_owned(),
            ));
        }
        Ok(Some(Mapped { short: maps.named("short4")?.words()?, wide, deep: maps.named("deep4")?.words()? }))
    }
}

/// The arrays of a running router with the routes that they say; who changes the table again and again keeps them.
#[derive(Debug, Default)]
pub(super) struct Lookups(Option<(Mapped, Direct)>);

impl Lookups {
    /// Behind the steps of a batch, which made the table what it is: lookups are direct where it is large, and say what it says. With `all`, the
    /// arrays may hold anything.
    pub(super) fn follow(
        &mut self,
        router: &Router,
        table: &Table,
        steps: &[Step],
        all: bool,
    ) -> Result<(), Error> {
        let kept = self.0.is_some();
        if !kept {
            self.0 = Mapped::of(Maps(&router.maps))?.map(|mapped| (mapped, Direct::new(table.values())));
        }
        if let Some((mapped, direct)) = &mut self.0 {
            let changes = steps.iter().filter_map(|step| match step {
                Step::Route { prefix, value, .. } => Some((*prefix, Some(*value))),
                Step::Remove { prefix, .. } => Some((*prefix, None)),
                Step::Hop(..) | Step::Renew(..) | Step::Bucket(..) => None,
            });
            match kept {
                true => direct.change(changes, mapped),
                false => direct.again(changes.map(|change| change.0), mapped),
            }
            if all {
                direct.write_all(mapped);
            }
        }
        let is_new = self.0.is_none() && table.len() >= FROM && table.count4() >= FROM;
        if is_new || router.mixed {
            self.0 = Some(router.renew(table)?);
        }
        Ok(())
    }
}

impl Router {
    /// Puts programs that look addresses up directly in the place of the running ones. Each port changes over in one step.
    fn renew(&self, table: &Table) -> Result<(Mapped, Direct), Error> {
        let ids: Result<Vec<u32>, _> = self.maps.iter().map(Map::id).collect();
        let devices: Vec<_> = self.ports.iter().map(|port| port.device.clone()).collect();
        let loaded = up::load(&devices, Lookup::Direct, ids?)?;
        let missing =
            || Error::Internal("the router's programs do not look addresses up directly".to_owned());
        let mut mapped = Mapped::of(Maps(loaded.maps()))?.ok_or_else(missing)?;
        let direct = Direct::new(table.values());
        direct.write_all(&mut mapped);
        up::replace(&loaded, &self.ports)?;
        Ok((mapped, direct))
    }
}
