//! A router on XDP and TC: ports and routes enter, packets are forwarded by a table of our own. What always holds: the running
//! programs and their maps are all the state there is, found again through the interfaces that hold them; a change is one
//! batch, applied while nobody else changes the table, in an order that leaves no hole.

mod change;
mod direct;
mod machine;
mod maps;
mod one;
mod ports;
mod sync;
mod trial;
mod up;
mod watch;

use crate::error::Error;
use change::Writer;
use direct::Lookups;
use machine::Machine;
use maps::Maps;
use skep_kernel::device::{self, Device};
use skep_kernel::map::Map;
use skep_packet::route::{Change, Hop, Kind, Prefix, Route, Step, Table, Target, parse};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

pub use ports::PortReport;
pub use sync::{Happened, MAIN_TABLE, Selection, Sync, protocol_number};
pub use trial::{Tested, test};
pub use up::{Mode, UpReport, up};
pub use watch::{Look, Watch};

/// A running router.
#[derive(Debug)]
pub struct Router {
    maps: Vec<Map>,
    ports: Vec<Port>,
    machine: Machine,
    /// Not all of its programs have the same maps: a command that replaced them was killed.
    mixed: bool,
}

/// An interface that the router receives packets from.
#[derive(Debug)]
struct Port {
    device: Device,
    /// It has our XDP program.
    xdp: bool,
    filters: Vec<device::HeldFilter>,
}

/// What the router counted of a next hop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HopStats {
    /// As routes name it.
    pub hop: String,
    /// How many routes lead to it.
    pub routes: usize,
    /// Packets.
    pub packets: u64,
    /// Bytes of their frames.
    pub bytes: u64,
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
    Ok((!ports.is_empty()).then(|| Router { maps, ports, machine, mixed }))
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
        parse(words, &self.machine).map_err(|e| Error::Route(e.to_string()))
    }

    /// Adds a route, or puts it in the place of another.
    pub fn set(&self, route: Route, replace: bool) -> Result<(), Error> {
        let change = if replace { Change::Replace(route) } else { Change::Add(route) };
        match self.change_one(&change)? {
            true => Ok(()),
            false => self.change(|_| Ok(vec![change])),
        }
    }

    /// Takes a route away.
    pub fn delete(&self, destination: &str) -> Result<(), Error> {
        let prefix = match destination {
            "default" => "0.0.0.0/0",
            other => other,
        };
        let prefix: Prefix =
            prefix.parse().map_err(|e: skep_packet::route::RouteError| Error::Route(e.to_string()))?;
        if self.change_one(&Change::Delete(prefix))? {
            return Ok(());
        }
        self.change(|table| {
            let own = table
                .lookup(prefix.address())
                .is_some_and(|(found, hops)| found == prefix && is_local(table, &hops));
            match own {
                true => Err(Error::Route(format!(
                    "{prefix} is the machine's own: it goes with the interface's address"
                ))),
                false => Ok(vec![Change::Delete(prefix)]),
            }
        })
    }

    /// Makes the routes of a text, one a line, the router's routes; `name` is what messages call it. Gives how many.
    pub fn load(&self, name: &str, text: &str) -> Result<usize, Error> {
        let mut routes: Vec<(usize, Route)> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let words: Vec<&str> = line.split('#').next().unwrap_or("").split_whitespace().collect();
            if words.is_empty() {
                continue;
            }
            let at = |why: String| Error::Route(format!("{name}:{number}: {why}"));
            let route = parse(&words, &self.machine).map_err(|e| at(e.to_string()))?;
            routes.push((number, route));
        }
        let mut order: Vec<(Prefix, usize)> = routes.iter().map(|(number, r)| (r.prefix, *number)).collect();
        order.sort_unstable();
        if let Some([first, second]) = order.windows(2).find(|w| w[0].0 == w[1].0) {
            let why = format!("{} has a route in line {} already", first.0, first.1);
            return Err(Error::Route(format!("{name}:{}: {why}", second.1)));
        }
        let count = routes.len();
        self.change(|table| {
            let wanted = |p: &Prefix| order.binary_search_by(|probe| probe.0.cmp(p)).is_ok();
            // Those that follow the kernel's, and those of the machine itself, stay.
            let by_hand = table.those(|hop| hop.kind != Kind::Local && !hop.followed);
            let gone: Vec<Change> = by_hand.into_iter().filter(|p| !wanted(p)).map(Change::Delete).collect();
            Ok(routes.into_iter().map(|(_, r)| Change::Replace(r)).chain(gone).collect())
        })?;
        Ok(count)
    }

    /// One batch of changes, which are made of the table as it is.
    fn change(&self, changes: impl FnOnce(&Table) -> Result<Vec<Change>, Error>) -> Result<(), Error> {
        let maps = Maps(&self.maps);
        let writer = Writer::begin(maps)?;
        if !writer.knows(self)? {
            drop(writer);
            return Router::open()?.change(changes);
        }
        let mut table = maps.table()?;
        let mut steps = own(&mut table, &self.machine)?;
        steps.extend(table.renew(|index| self.machine.exit(index)));
        let changes = changes(&table)?;
        steps.extend(table.plan(&changes).map_err(|e| Error::Route(e.to_string()))?);
        self.apply(writer, &mut Lookups::default(), (&table, &steps))?;
        Ok(device::keep_known(&table.gateways())?)
    }

    /// Does the steps that made the table what it is; gives the table's number behind them.
    fn apply(
        &self,
        writer: Writer<'_>,
        lookups: &mut Lookups,
        change: (&Table, &[Step]),
    ) -> Result<u64, Error> {
        let (maps, ports) = (Maps(&self.maps), || self.ports.iter().map(|port| &port.device));
        maps.name_ports(ports())?;
        maps.name_sources(&self.machine.sources(ports().map(|device| device.index)))?;
        writer.with(self.digest()).apply(self, lookups, (Some(change.0), change.1))
    }

    /// A number for what interfaces and addresses are like.
    fn digest(&self) -> u64 {
        self.machine.digest(self.ports.iter().map(|port| port.device.index))
    }

    /// All routes as they are written, those that follow the kernel's marked; those of the machine itself only with `all`.
    pub fn show(&self, all: bool) -> Result<Vec<String>, Error> {
        let table = self.table()?;
        let wanted = table.routes().filter(|(_, hops)| all || !is_local(&table, hops));
        let line = |(prefix, hops): (Prefix, Vec<u32>)| {
            let mark = if is_followed(&table, &hops) { " # sync" } else { "" };
            format!("{prefix} {}{mark}", self.text(&table, &hops))
        };
        Ok(wanted.map(line).collect())
    }

    /// The routes that were written by hand, as [`Router::load`] takes them.
    pub fn save(&self) -> Result<String, Error> {
        let table = self.table()?;
        let by_hand =
            table.routes().filter(|(_, hops)| !is_local(&table, hops) && !is_followed(&table, hops));
        Ok(by_hand.map(|(prefix, hops)| format!("{prefix} {}\n", self.text(&table, &hops))).collect())
    }

    /// The ports, and how packets of each are handled.
    pub fn ports(&self) -> Vec<String> {
        let way = |port: &Port| match port.filters.is_empty() {
            true => "XDP alone: its TC program is gone".to_owned(),
            false => ports::way(&self.machine, &port.device, port.xdp, None),
        };
        self.ports.iter().map(|port| format!("{}: {}", port.device.name, way(port))).collect()
    }

    /// How large the arrays are that addresses are looked up in.
    pub fn lookup(&self) -> Result<LookupStats, Error> {
        direct::Mapped::of(Maps(&self.maps)).map(|mapped| mapped.stats())
    }

    /// The route of an address; `None` where the kernel gets the packet.
    pub fn get(&self, address: IpAddr) -> Result<Option<String>, Error> {
        let table = Maps(&self.maps).around(address)?;
        let found = table.lookup(address);
        Ok(found.map(|(prefix, hops)| format!("{prefix} {}", self.text(&table, &hops))))
    }

    /// What was counted of each next hop, in the order in which they were made.
    pub fn stats(&self) -> Result<Vec<HopStats>, Error> {
        let table = self.table()?;
        let mut routes = std::collections::BTreeMap::<u32, usize>::new();
        table.routes().flat_map(|r| r.1).for_each(|hop| *routes.entry(hop).or_default() += 1);
        let mut stats = Vec::new();
        for (number, count) in routes {
            if is_local(&table, &[number]) {
                continue;
            }
            let (packets, bytes) = Maps(&self.maps).counters(number)?;
            stats.push(HopStats { hop: self.text(&table, &[number]), routes: count, packets, bytes });
        }
        Ok(stats)
    }

    /// Next hops as they are written.
    fn text(&self, table: &Table, hops: &[u32]) -> String {
        let alone = hops.len() == 1;
        let one = |hop: &Hop| {
            let device = || self.machine.name_of(hop.device);
            let weight =
                if alone || hop.weight == 1 { String::new() } else { format!(" weight {}", hop.weight) };
            match (hop.kind, hop.gateway) {
                (Kind::Drop, _) => "drop".to_owned(),
                (Kind::Unreachable, _) => "unreachable".to_owned(),
                (Kind::Pass, _) => "pass".to_owned(),
                (Kind::Local, _) => "local".to_owned(),
                (Kind::Redirect, _) => format!("redirect dev {}", device()),
                (Kind::Forward, None) => format!("dev {}", device()),
                (Kind::Forward, Some(gateway)) => format!("via {gateway} dev {}{weight}", device()),
            }
        };
        let hops = hops.iter().filter_map(|number| table.hop(*number));
        hops.map(one).collect::<Vec<_>>().join(" ")
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
    changes.extend(new.map(|p| Change::Add(Route { prefix: *p, target: Target::Local })));
    table.plan(&changes).map_err(|e| Error::Route(e.to_string()))
}
