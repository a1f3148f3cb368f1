//! All routes written by hand at once: what is wanted enters, packed; the router's arrays have it. Where these need more room, new ones get the routes behind the
//! batch, in the order in which they are written fastest, and take the place of the others, on each port in one step. Else routes change one by one where they are.

use super::change::{Planned, Writer};
use super::direct::{Lookups, Mapped, check_count, grown, is_much};
use super::write::POLICIES;
use super::{Maps, Router, find, steps};
use crate::error::Error;
use skep_kernel::device;
use skep_packet::route::direct::{self, Cells};
use skep_packet::route::{Packed, Prefix, Step, Target, Whole, record};
use std::sync::Arc;

impl Router {
    /// Makes these the routes that were written by hand; `false`: nothing was done, because there are routes with conditions.
    pub(super) fn make(&self, wanted: &Packed, targets: &[Arc<Target>]) -> Result<bool, Error> {
        let writer = Writer::begin(Maps(&self.maps))?;
        // Others may have replaced the programs, and with them maps, while this waited for its turn.
        let fresh = if writer.generation() == self.seen.get() { None } else { find()? };
        let router = fresh.as_ref().unwrap_or(self);
        let maps = Maps(&router.maps);
        let writer = Writer::of(writer.turn(), maps)?;
        if maps.find(POLICIES).is_some() {
            return Ok(false);
        }
        let arrays = Mapped::of(maps)?;
        let before = record::packed_routes(&arrays);
        arrays.complete()?;
        let mut table = maps.table_of_values(&before)?;
        let mut steps = table.renew(|index| router.machine.exit(index));
        let own = router.machine.own_prefixes();
        let whole = Whole { before: &before, wanted, targets, own: &own };
        let (behind, more) = table.plan_whole(whole).map_err(|e| Error::Route(e.to_string()))?;
        steps.extend(more);
        router.tell_ports()?;
        let change = Planned { table: None, steps: &steps, others: before != behind };
        let mut lookups = Lookups::with(arrays);
        let write = |lookups: &mut Lookups, maps: Maps<'_>, unfinished: bool| {
            lookups.become_whole((router, maps), &steps, (&before, &behind), unfinished)
        };
        let writer = writer.with(router.digest());
        router.seen.set(writer.apply_by(router, &mut lookups, change, &write)?);
        device::keep_known(&table.gateways())?;
        Ok(true)
    }
}

impl Lookups {
    /// Does the steps, and makes the routes what they are `behind` them. With `all` the arrays may hold anything but for the record.
    fn become_whole(
        &mut self,
        (router, maps): (&Router, Maps<'_>),
        steps: &[Step],
        (before, behind): (&Packed, &Packed),
        all: bool,
    ) -> Result<(), Error> {
        check_count(behind.count())?;
        let mapped = self.mapped(maps)?;
        let come = before.lacks(behind);
        let four = come.iter().take_while(|prefix| prefix.address().is_ipv4()).count();
        let fits = record::has_room(mapped, [four as u32, (come.len() - four) as u32]);
        let wanted = direct::blocks_for(behind.routes().map(|route| route.0)).in_large();
        let (blocks, is_much) = (direct::capacity(wanted), is_much(wanted, mapped));
        let must = all || router.mixed || !fits;
        if must || is_much || blocks > mapped.blocks() || lacks(mapped, come) {
            let room = if fits && !is_much { record::room(mapped) } else { behind.room() };
            let blocks = if is_much { blocks } else { grown(blocks, mapped) };
            let (spare, first): (Vec<Step>, _) =
                steps.iter().cloned().partition(|step| matches!(step, Step::Spare(_)));
            // Next hops are there before anything leads to them.
            steps::apply(maps, mapped, &first)?;
            match router.renew(maps, (blocks, room), |mapped| mapped.fill(room, behind.routes()).map(Some)) {
                Ok(new) => {
                    *mapped = new;
                    return steps::spare(maps, &spare);
                }
                Err(error) if must => return Err(error),
                // Without more blocks the tries are asked.
                Err(_) => {}
            }
        }
        let (spare, mut every): (Vec<Step>, Vec<Step>) =
            steps.iter().cloned().partition(|step| matches!(step, Step::Spare(_)));
        every.extend(before.steps_to(behind));
        every.extend(spare);
        steps::apply(maps, mapped, &every)
    }
}

/// Whether the arrays have not enough blocks for these routes beside those that are there.
fn lacks(mapped: &Mapped, come: Vec<Prefix>) -> bool {
    let lacking = direct::blocks_lacking(mapped, come);
    direct::capacity(direct::blocks_wanted(mapped, lacking)) > mapped.blocks()
}
