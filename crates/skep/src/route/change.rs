//! Changing the table of a running router: steps enter, its maps have them, one command at a time. A number in the maps counts the
//! changes, so that who keeps a copy of the table knows whether it still holds; it is odd while a change is under way.

use super::direct::{BLOCK_MAP, Lookups};
use super::{Maps, Router};
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
    _turn: Turn,
}

impl<'m> Writer<'m> {
    /// Waits for the right.
    pub(super) fn begin(maps: Maps<'m>) -> Result<Writer<'m>, Error> {
        let turn = device::turn(TURN)?.ok_or_else(|| {
            Error::Route(
                "another `skep route` has been changing this table for ten seconds: try again".to_owned(),
            )
        })?;
        Ok(Writer { maps, generation: maps.generation()?, arrays: maps.arrays()?, _turn: turn })
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
        (table, steps): (&Table, &[Step]),
    ) -> Result<u64, Error> {
        let unfinished = !self.generation.is_multiple_of(2);
        if steps.is_empty() && !unfinished && !router.mixed {
            return Ok(self.generation);
        }
        self.maps.set_generation(self.generation | 1, self.arrays)?;
        let applied = self.maps.apply(steps);
        let behind = (self.generation | 1) + 1;
        match &applied {
            Ok(()) => lookups.follow(router, table, steps, unfinished)?,
            // Whoever comes next finds unfinished what this one found so.
            Err(_) if unfinished => return applied.map(|()| behind),
            Err(_) => {}
        }
        self.maps.set_generation(behind, lookups.arrays().unwrap_or(self.arrays))?;
        applied.map(|()| behind)
    }
}
