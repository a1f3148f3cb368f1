//! Other programs for a running router: those that ask the filters of its routes, and the one that CPUs run which routes name. They take the maps of the
//! running ones, so nothing that these hold is lost; each port changes over in one step.

use super::Router;
use super::direct::Mapped;
use super::maps::Maps;
use super::up::{self, Plane};
use super::write::Write;
use crate::error::Error;
use skep_kernel::load::Loaded;
use skep_kernel::map::Map;
use skep_packet::route::direct::Cells;
use skep_packet::route::record::{self, Room};
use skep_packet::route::{Step, Table};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Packets that wait for a CPU at most.
const QUEUE: u32 = 2048;

impl Router {
    /// Compiles and loads the programs again, with so many blocks and slots and these maps of the running ones.
    pub(super) fn reload(
        &self,
        maps: Maps<'_>,
        (blocks, room): (u32, Room),
        reuse: Vec<u32>,
        filters: &BTreeMap<u32, String>,
    ) -> Result<Loaded, Error> {
        let devices: Vec<_> = self.ports.iter().map(|port| port.device.clone()).collect();
        let filters = Some(filters).filter(|filters| !filters.is_empty());
        up::load(&devices, &Plane { blocks, room, filters, hops: maps.most_hops(), follows: false }, reuse)
    }

    /// The same with all of their maps.
    fn reload_all(&self, maps: Maps<'_>, filters: &BTreeMap<u32, String>) -> Result<Loaded, Error> {
        let ids: Result<Vec<u32>, _> = maps.0.iter().map(Map::id).collect();
        let arrays = Mapped::of(maps)?;
        self.reload(maps, (arrays.blocks(), record::room(&arrays)), ids?, filters)
    }

    /// Gives the ports programs that ask the filters of the table, and the map of conditions their texts. `None` where all are asked already.
    pub(super) fn renew_filters(
        &self,
        maps: Maps<'_>,
        table: &Table,
        steps: &[Step],
    ) -> Result<Option<Loaded>, Error> {
        let loaded = self.reload_all(maps, table.filters()).map_err(|error| match error {
            Error::Kernel(failures) if failures.iter().any(|f| matches!(f.error, skep_kernel::Error::Load { .. })) => Error::Route(format!(
                "the kernel refuses the router's programs with these filters, which are too much for it together: {}",
                Error::Kernel(failures).to_string().lines().next().unwrap_or_default()
            )),
            error => error,
        })?;
        let texts = steps.iter().filter(|step| matches!(step, Step::Filter(..)));
        let texts: Vec<Step> = texts.cloned().collect();
        texts.iter().try_for_each(|step| Maps(loaded.maps()).step(step))?;
        up::replace(&loaded, &self.ports)?;
        Ok(Some(loaded))
    }

    /// Makes queues for the CPUs that next hops of these steps name.
    pub(super) fn serve_cpus(&self, maps: Maps<'_>, steps: &[Step]) -> Result<(), Error> {
        let named = steps.iter().filter_map(|step| match step {
            Step::Hop(_, hop) => hop.cpu,
            _ => None,
        });
        let cpus: BTreeSet<u32> = named.collect();
        if cpus.is_empty() {
            return Ok(());
        }
        // Without XDP nothing can be sent there.
        let Some(map) = maps.find("cpus") else { return Ok(()) };
        let missing: Vec<u32> = cpus.into_iter().filter(|cpu| program_of(map, *cpu).is_none()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let put = |program: BorrowedFd<'_>| {
            let value = [QUEUE.to_ne_bytes(), program.as_raw_fd().to_ne_bytes()].concat();
            missing.iter().try_for_each(|cpu| Ok(map.update(&cpu.to_ne_bytes(), &value)?))
        };
        if let Some(id) = (0..map.max_entries()).find_map(|cpu| program_of(map, cpu)) {
            return put(skep_kernel::inspect::program_by_id(id)?.as_fd());
        }
        let loaded = self.reload_all(maps, &maps.filters()?)?;
        let program = loaded.program_on_cpu();
        put(program.ok_or_else(|| Error::Internal("the router has no program for CPUs".to_owned()))?.as_fd())
    }
}

/// Id of the program that a CPU runs.
fn program_of(map: &Map, cpu: u32) -> Option<u32> {
    let entries = map.lookup(&cpu.to_ne_bytes()).ok()?;
    let id = entries.get(0)?.value().get(4..8)?.try_into().ok().map(u32::from_ne_bytes)?;
    (id != 0).then_some(id)
}

/// What lets a CPU of the offline machine go on with packets; `program` is its number there.
pub(super) fn name_cpu(cpu: u32, program: u32) -> Write {
    let value = [QUEUE.to_ne_bytes(), (program + 1).to_ne_bytes()].concat();
    Write { map: "cpus", key: cpu.to_ne_bytes().to_vec(), value: Some(value) }
}
