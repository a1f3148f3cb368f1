//! A router on XDP and TC: ports and routes enter, packets are forwarded by a table of our own. What always holds: the running
//! programs and their maps are all the state there is, found again through the interfaces that hold them; a change is one
//! batch, applied while nobody else changes the table, in an order that leaves no hole.

mod change;
mod condition;
mod direct;
mod load;
mod machine;
mod maps;
mod one;
mod ports;
mod renew;
mod show;
mod steps;
mod sync;
mod trial;
mod up;
mod watch;
mod whole;
mod write;

use crate::error::Error;
use change::Writer;
use direct::Lookups;
use machine::Machine;
use maps::Maps;
use skep_kernel::device::{self, Device};
use skep_kernel::map::Map;
use skep_packet::route::{Change, Kind, Prefix, Route, Step, Table, Target, parse, parse_condition};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::PathBuf;

pub use ports::PortReport;
pub use show::{HopStats, Tried};
pub use sync::{Happened, MAIN_TABLE, Selection, Sync, protocol_number};
pub use trial::{Tested, test};
pub use up::{COUNTED, Mode, UpOptions, UpReport, up};
pub use watch::{Look, Watch};

/// A running router.
#[derive(Debug)]
pub struct Router {
    maps: Vec<Map>,
    ports: Vec<Port>,
    machine: Machine,
    /// Not all of its programs have the same maps: a command that replaced them was killed.
    mixed: bool,
    /// How often its table had been changed when it was found, and by this since.
    seen: Cell<u64>,
}

/// An interface that the router receives packets from.
#[derive(Debug)]
struct Port {
    device: Device,
    /// It has our XDP program.
    xdp: bool,
    filters: Vec<device::HeldFilter>,
}

/// The arrays that addresses are looked up in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LookupStats {
    /// Bytes of memory.
    pub bytes: u64,
    /// Bytes of them that hold routes.
    pub used: u64,
    /// Places whose addresses are looked up in the kernel's tries, because no more memory could be had.
    pub searched: u32,
}

/// The router of this network namespace, in parts.
fn find() -> Result<Option<Router>, Error> {
    let machine = Machine::read()?;
    let (mut ports, mut maps): (Vec<Port>, Vec<Map>) = (Vec::new(), Vec::new());
    let mut arrays: BTreeSet<u32> = BTreeSet::new();
    let mut known: Vec<(u32, bool)> = Vec::new();
    for device in &machine.devices {
        let mut is_ours = |id: u32| -> bool {
            if let Some((_, ours)) = known.iter().find(|(k, _)| *k == id) {
                return *ours;
            }
            // A program that ends meanwhile is not ours to use.
            let found = skep_kernel::inspect::maps_of(id).unwrap_or_default();
            let ours = Maps(&found).are_ours();
            if ours {
                arrays.extend(Maps(&found).find(direct::BLOCK_MAP).and_then(|map| map.id().ok()));
                let new = found.into_iter().filter(|m| maps.iter().all(|k| k.name() != m.name()));
                let new: Vec<Map> = new.collect();
                maps.extend(new);
            }
            known.push((id, ours));
            ours
        };
        let xdp = device.xdp.is_some_and(&mut is_ours);
        let filters = device::tc_filters(device.index)?;
        let filters: Vec<_> = filters.into_iter().filter(|f| is_ours(f.program)).collect();
        if xdp || !filters.is_empty() {
            ports.push(Port { device: device.clone(), xdp, filters });
        }
    }
    let mixed = arrays.len() > 1;
    if ports.is_empty() {
        return Ok(None);
    }
    let seen = Maps(&maps).generation()?.into();
    Ok(Some(Router { maps, ports, machine, mixed, seen }))
}

impl Router {
    /// The router that runs in this network namespace.
    pub fn open() -> Result<Router, Error> {
        find()?.ok_or_else(|| {
            Error::Route(
                "no router runs in this network namespace: `skep route up --ports NAME,NAME` starts one"
                    .to_owned(),
            )
        })
    }

    fn table(&self) -> Result<Table, Error> {
        Maps(&self.maps).table()
    }

    /// Reads a route as it is written on the command line.
    pub fn parse(&self, words: &[&str]) -> Result<Route, Error> {
        let route = parse(words, &self.machine).map_err(|e| Error::Route(e.to_string()))?;
        condition::check(route.condition.as_deref())?;
        Ok(route)
    }

    /// Adds a route, or puts it in the place of another.
    pub fn set(&self, route: Route, replace: bool) -> Result<(), Error> {
        let prefix = route.prefix;
        if self.machine.is_never_forwarded(prefix) || self.machine.own_prefixes().contains(&prefix) {
            return Err(Error::Route(format!(
                "{prefix} is the machine's own, or never forwarded: its packets go to the kernel whatever routes say"
            )));
        }
        let change = if replace { Change::Replace(route) } else { Change::Add(route) };
        match self.change_one(&change)? {
            true => Ok(()),
            false => self.change(|_| Ok(vec![change])),
        }
    }

    /// Takes a route away: the one without a condition, or the one with the condition that the words behind the destination say.
    pub fn delete(&self, words: &[&str]) -> Result<(), Error> {
        let wrong = |e: skep_packet::route::RouteError| Error::Route(e.to_string());
        let (destination, rest) = words.split_first().map_or(("", &[][..]), |(first, rest)| (*first, rest));
        let prefix = if destination == "default" { "0.0.0.0/0" } else { destination };
        let prefix: Prefix = prefix.parse().map_err(wrong)?;
        let (rest, text) = parse_condition(rest).map_err(wrong)?;
        if let Some(extra) = rest.first() {
            return Err(Error::Route(format!(
                "`{}` was not expected behind {prefix}: `del` takes a destination alone, or `if EXPRESSION` behind it",
                extra.escape_debug()
            )));
        }
        if text.is_none() && self.change_one(&Change::Delete(prefix))? {
            return Ok(());
        }
        self.change(|table| {
            let rows = table.lookup(prefix.address());
            let own = rows.last().is_some_and(|row| row.prefix == prefix && is_local(table, &row.hops));
            match (text, own) {
                (Some(text), _) => Ok(vec![Change::DeleteIf(prefix, text)]),
                (None, true) => Err(Error::Route(format!(
                    "{prefix} is the machine's own: it goes with the interface's address"
                ))),
                (None, false) => Ok(vec![Change::Delete(prefix)]),
            }
        })
    }

    /// One batch of changes, which are made of the table as it is.
    fn change(&self, changes: impl FnOnce(&Table) -> Result<Vec<Change>, Error>) -> Result<(), Error> {
        let writer = Writer::begin(Maps(&self.maps))?;
        // Others may have replaced the programs, and with them maps, while this waited for its turn.
        let fresh = if writer.generation() == self.seen.get() { None } else { find()? };
        let router = fresh.as_ref().unwrap_or(self);
        let maps = Maps(&router.maps);
        let writer = Writer::of(writer.turn(), maps)?;
        let mut table = maps.table()?;
        let mut steps = own(&mut table, &router.machine)?;
        steps.extend(table.renew(|index| router.machine.exit(index)));
        let changes = changes(&table)?;
        steps.extend(table.plan(&changes).map_err(|e| Error::Route(e.to_string()))?);
        router.seen.set(router.apply(writer, &mut Lookups::default(), (&table, &steps))?);
        Ok(device::keep_known(&table.gateways())?)
    }

    /// Does the steps that made the table what it is; gives the table's number behind them.
    fn apply(
        &self,
        writer: Writer<'_>,
        lookups: &mut Lookups,
        change: (&Table, &[Step]),
    ) -> Result<u64, Error> {
        self.tell_ports()?;
        writer.with(self.digest()).apply(self, lookups, (Some(change.0), change.1))
    }

    /// Tells the programs what ports are like.
    fn tell_ports(&self) -> Result<(), Error> {
        let (maps, ports) = (Maps(&self.maps), || self.ports.iter().map(|port| &port.device));
        maps.name_ports(ports())?;
        maps.name_sources(&self.machine.sources(ports().map(|device| device.index)))
    }

    /// A number for what interfaces and addresses are like.
    fn digest(&self) -> u64 {
        self.machine.digest(self.ports.iter().map(|port| port.device.index))
    }

    /// Ends the router: takes its programs off the ports. Gives the names of these.
    pub fn down(self) -> Result<Vec<String>, Error> {
        let (mut names, maps) = (Vec::new(), Maps(&self.maps));
        for port in &self.ports {
            port.filters.iter().try_for_each(device::HeldFilter::release)?;
            if port.xdp {
                device::release_xdp(&port.device)?;
            }
            if maps.took_tags_off(port.device.index)? {
                device::take_tags_off(&port.device.name, true)?;
            }
            names.push(port.device.name.clone());
        }
        skep_kernel::pin::unpin_folder(&folder()?)?;
        device::keep_known(&BTreeSet::new())?;
        Ok(names)
    }
}

/// An error's text behind a place.
fn bare(error: &Error) -> String {
    let text = error.to_string();
    text.strip_prefix("error: ").map_or(text.clone(), str::to_owned)
}

fn is_local(table: &Table, hops: &[u32]) -> bool {
    hops.iter().all(|number| table.hop(*number).is_some_and(|hop| hop.kind == Kind::Local))
}

fn is_followed(table: &Table, hops: &[u32]) -> bool {
    hops.iter().any(|number| table.hop(*number).is_some_and(|hop| hop.followed))
}

/// Where links that have no interface are pinned.
fn folder() -> Result<PathBuf, Error> {
    Ok(PathBuf::from(skep_kernel::pin::ROOT).join(format!("skep-route-{}", device::namespace()?)))
}

/// The steps that make the machine's own addresses routes to itself, as they are now.
fn own(table: &mut Table, machine: &Machine) -> Result<Vec<Step>, Error> {
    let wanted = machine.own_prefixes();
    let local = table.those(|hop| hop.kind == Kind::Local);
    let mut changes: Vec<Change> =
        local.into_iter().filter(|p| !wanted.contains(p)).map(Change::Delete).collect();
    let new = wanted.iter().filter(|p| !table.has(**p));
    changes.extend(new.map(|p| Change::Add(Route::new(*p, Target::Local))));
    table.plan(&changes).map_err(|e| Error::Route(e.to_string()))
}
