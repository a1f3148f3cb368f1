//! Changing the table of a running router: steps enter, its maps have them, one command at a time. A number in the maps counts the
//! changes, so that who keeps a copy of the table knows whether it still holds; it is odd while a change is under way.

use super::direct::{BLOCK_MAP, Lookups};
use super::{Maps, Router, steps};
use crate::error::Error;
use skep_kernel::device::{self, Turn};
use skep_packet::route::{Step, Table};

/// The name of the right to change the table.
const TURN: &str = "skep-route";

/// The right to change the table, and the table's number.
#[derive(Debug)]
pub(super) struct Writer<'m> {
    maps: Maps<'m>,
    generation: u64,
    arrays: u32,
    machine: u64,
    turn: Turn,
}

/// What a change takes.
pub(super) struct Planned<'p> {
    /// The table behind it, where filters may be new.
    pub(super) table: Option<&'p Table>,
    pub(super) steps: &'p [Step],
    /// There is more to do than the steps.
    pub(super) others: bool,
}

impl<'m> Writer<'m> {
    /// Waits for the right.
    pub(super) fn begin(maps: Maps<'m>) -> Result<Writer<'m>, Error> {
        let turn = device::turn(TURN)?.ok_or_else(|| {
            Error::Route(
                "another `skep route` has been changing this table for ten seconds: try again".to_owned(),
            )
        })?;
        Writer::of(turn, maps)
    }

    /// With the right to change the table in hand.
    pub(super) fn of(turn: Turn, maps: Maps<'m>) -> Result<Writer<'m>, Error> {
        let (generation, arrays, machine) = (maps.generation()?, maps.arrays()?, maps.machine()?);
        Ok(Writer { maps, generation, arrays, machine, turn })
    }

    /// The right alone: the programs, and with them the maps, may have been replaced before it was had.
    pub(super) fn turn(self) -> Turn {
        self.turn
    }

    /// Whether the change before came to its end, and the machine was then as this number says.
    pub(super) fn is_of(&self, machine: u64) -> bool {
        self.generation.is_multiple_of(2) && self.machine == machine
    }

    /// The table will be of a machine as this number says.
    pub(super) fn with(self, machine: u64) -> Writer<'m> {
        Writer { machine, ..self }
    }

    /// Whether the router's programs still look addresses up in the arrays that were found with it.
    pub(super) fn knows(&self, router: &Router) -> Result<bool, Error> {
        Ok(self.arrays == 0 || Maps(&router.maps).named(BLOCK_MAP)?.id()? == self.arrays)
    }

    /// The table's number; odd: the command that changed it last did not come to its end.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Does the steps, which make the table what it is here, and brings what looks addresses up to date; gives the table's number
    /// behind them. Where a step cannot be done, the table is as it was.
    pub(super) fn apply(
        self,
        router: &Router,
        lookups: &mut Lookups,
        (table, steps): (Option<&Table>, &[Step]),
    ) -> Result<u64, Error> {
        let write = |lookups: &mut Lookups, maps: Maps<'_>, unfinished: bool| {
            let arrays = lookups.prepare((router, maps), steps, unfinished)?;
            steps::apply(maps, arrays, steps)
        };
        self.apply_by(router, lookups, Planned { table, steps, others: false }, &write)
    }

    /// The same, where `write` does the steps, and what else there is to do. It is told whether lookups may hold anything.
    pub(super) fn apply_by(
        self,
        router: &Router,
        lookups: &mut Lookups,
        Planned { table, steps, others }: Planned<'_>,
        write: &dyn Fn(&mut Lookups, Maps<'_>, bool) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        let unfinished = !self.generation.is_multiple_of(2);
        let same = self.maps.machine()? == self.machine;
        if steps.is_empty() && !others && same && !unfinished && !router.mixed {
            return Ok(self.generation);
        }
        self.maps.set_generation(self.generation | 1, self.arrays, self.machine)?;
        let behind = (self.generation | 1) + 1;
        let asks = steps.iter().any(|step| matches!(step, Step::Filter(..)));
        let renewed = match table {
            Some(table) if asks || (unfinished && !table.filters().is_empty()) => {
                router.renew_filters(self.maps, table, steps)
            }
            _ => Ok(None),
        };
        let (renewed, prepared) = match renewed {
            Ok(renewed) => (renewed, Ok(())),
            Err(error) => (None, Err(error)),
        };
        let maps = renewed.as_ref().map_or(self.maps, |loaded| Maps(loaded.maps()));
        let mut steps_done = || {
            router.serve_cpus(maps, steps)?;
            write(lookups, maps, unfinished)
        };
        let applied = prepared.and_then(|()| steps_done());
        match &applied {
            Ok(()) => lookups.settle((router, maps))?,
            // Whoever comes next finds unfinished what this one found so.
            Err(_) if unfinished => return applied.map(|()| behind),
            Err(_) => {}
        }
        let arrays = lookups.arrays().unwrap_or(self.arrays);
        // Where nothing was done, the machine's own addresses may be missing.
        let machine = if applied.is_ok() { self.machine } else { 0 };
        self.maps.set_generation(behind, arrays, machine)?;
        applied.map(|()| behind)
    }
}
