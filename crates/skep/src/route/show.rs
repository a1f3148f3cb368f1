//! What a running router says of itself: its routes as they are written, its ports, what it counted.

use super::maps::Maps;
use super::write::POLICIES;
use super::{LookupStats, Port, Router, direct, is_followed, is_local, ports};
use crate::error::Error;
use skep_packet::route::{Hop, Kind, Row, Table};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What the router counted of a route, or of a next hop that several lead to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HopStats {
    /// As it is written: a route with one of its next hops where that is counted by itself, else the next hop.
    pub hop: String,
    /// How many routes lead to it.
    pub routes: usize,
    /// Packets.
    pub packets: u64,
    /// Bytes of their frames.
    pub bytes: u64,
}

/// A route that is tried for an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tried {
    /// As it is written.
    pub text: String,
    /// It has a condition.
    pub condition: bool,
}

impl Router {
    /// All routes as they are written, those that follow the kernel's marked; those of the machine itself only with `all`.
    pub fn show(&self, all: bool) -> Result<Vec<String>, Error> {
        let table = self.table()?;
        let wanted = table.routes().filter(|row| all || !is_local(&table, &row.hops));
        let line = |row: Row| {
            let mark = if is_followed(&table, &row.hops) { " # sync" } else { "" };
            format!("{}{mark}", self.row(&table, &row))
        };
        Ok(wanted.map(line).collect())
    }

    /// The routes that were written by hand, as [`Router::load`] takes them.
    pub fn save(&self) -> Result<String, Error> {
        let table = self.table()?;
        let by_hand =
            table.routes().filter(|row| !is_local(&table, &row.hops) && !is_followed(&table, &row.hops));
        Ok(by_hand.map(|row| format!("{}\n", self.row(&table, &row))).collect())
    }

    /// The ports, and how packets of each are handled.
    pub fn ports(&self) -> Vec<String> {
        let runs: Vec<u32> =
            self.ports.iter().filter(|port| port.xdp).map(|port| port.device.index).collect();
        let way = |port: &Port| match port.filters.is_empty() {
            true => "XDP alone: its TC program is gone".to_owned(),
            false => ports::way(&self.machine, &port.device, &runs, None),
        };
        self.ports.iter().map(|port| format!("{}: {}", port.device.name, way(port))).collect()
    }

    /// Ports whose packets stay on the CPU that they come in on, because no XDP program sees them.
    pub fn ports_that_stay(&self) -> Vec<&str> {
        let runs = |index: u32| self.ports.iter().any(|port| port.xdp && port.device.index == index);
        let below = |port: &Port| port.device.tag.is_some_and(|tag| runs(tag.lower));
        self.ports
            .iter()
            .filter(|port| !port.xdp && !below(port))
            .map(|port| port.device.name.as_str())
            .collect()
    }

    /// How large the arrays are that addresses are looked up in.
    pub fn lookup(&self) -> Result<LookupStats, Error> {
        direct::Mapped::of(Maps(&self.maps)).map(|mapped| mapped.stats())
    }

    /// The routes of an address, in the order in which they are tried: the last, or all, have no condition. Where the last has one, or there is
    /// none, other packets go to the kernel.
    pub fn get(&self, address: IpAddr) -> Result<Vec<Tried>, Error> {
        let maps = Maps(&self.maps);
        let table = if maps.find(POLICIES).is_some() { self.table()? } else { maps.around(address)? };
        let tried = |row: &Row| Tried { text: self.row(&table, row), condition: row.condition.is_some() };
        Ok(table.lookup(address).iter().map(tried).collect())
    }

    /// What was counted: of each route that is counted by itself, by next hop, in the order of the routes; then of other next hops, in the order
    /// in which they were made.
    pub fn stats(&self) -> Result<Vec<HopStats>, Error> {
        let table = self.table()?;
        let (mut stats, mut shared) = (Vec::new(), BTreeMap::<u32, usize>::new());
        let mut count = |number: u32, routes: usize, hop: String| -> Result<(), Error> {
            let (packets, bytes) = Maps(&self.maps).counters(number)?;
            stats.push(HopStats { hop, routes, packets, bytes });
            Ok(())
        };
        for row in table.routes().filter(|row| !is_local(&table, &row.hops)) {
            for number in &row.hops {
                match table.hop(*number).is_some_and(|hop| hop.owner != 0) {
                    true => count(*number, 1, self.row(&table, &Row { hops: vec![*number], ..row.clone() }))?,
                    false => *shared.entry(*number).or_default() += 1,
                }
            }
        }
        shared
            .into_iter()
            .try_for_each(|(number, routes)| count(number, routes, self.text(&table, &[number])))?;
        Ok(stats)
    }

    /// A route as it is written.
    pub(super) fn row(&self, table: &Table, row: &Row) -> String {
        let condition = row.condition.as_ref().map(|text| format!(" if \"{text}\"")).unwrap_or_default();
        format!("{} {}{condition}", row.prefix, self.text(table, &row.hops))
    }

    /// Next hops as they are written.
    fn text(&self, table: &Table, hops: &[u32]) -> String {
        let alone = hops.len() == 1;
        let one = |hop: &Hop| {
            let device = || self.machine.name_of(hop.device);
            let weight =
                if alone || hop.weight == 1 { String::new() } else { format!(" weight {}", hop.weight) };
            let cpu = hop.cpu.map(|cpu| format!(" cpu {cpu}")).unwrap_or_default();
            match (hop.kind, hop.gateway) {
                (Kind::Drop, _) => "drop".to_owned(),
                (Kind::Unreachable, _) => "unreachable".to_owned(),
                (Kind::Pass, _) if hop.cpu.is_some() => cpu.trim_start().to_owned(),
                (Kind::Pass, _) => "pass".to_owned(),
                (Kind::Local, _) => "local".to_owned(),
                (Kind::Redirect, _) => format!("redirect dev {}", device()),
                (Kind::Forward, None) => format!("dev {}{cpu}", device()),
                (Kind::Forward, Some(gateway)) => format!("via {gateway} dev {}{weight}{cpu}", device()),
            }
        };
        let hops = hops.iter().filter_map(|number| table.hop(*number));
        hops.map(one).collect::<Vec<_>>().join(" ")
    }
}
