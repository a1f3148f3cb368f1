//! The maps of `programs/router/router.bt`, by their names there: the table is read from them, and what is no route is written to them.

use super::direct::Mapped;
use super::write::{
    POLICIES, Write, name_neighbour, name_port, name_source, name_tag, neighbour_key, tag_key, writes,
};
use crate::error::Error;
use skep_kernel::device::{Device, Neighbour};
use skep_kernel::map::Map;
use skep_packet::route::record;
use skep_packet::route::{
    BUCKETS, GROUP, HOP_BYTES, HOPS, Hop, Kind, LINK_AT, Packed, Policies, Prefix, SPARE, Step, Table, WORDS,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Maps of a router, as its loader has them or as the kernel names them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Maps<'a>(pub(super) &'a [Map]);

/// Maps that are gone where no port runs XDP, or none has Ethernet headers.
const OPTIONAL: [&str; 4] = ["ports", "tags", "own", "near"];
/// What stands for a tag in `@tags` where it is noted what a port's card did: no tag has this number.
const TAKES_OFF: u32 = 4096;

/// Numbers that a next hop may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Numbers {
    /// That of the same next hop, of the same route.
    pub(super) own: Option<u32>,
    /// That of the same next hop, which several routes lead to.
    pub(super) shared: Option<u32>,
    /// One that no next hop has.
    pub(super) free: Option<u32>,
    /// How many are given away to one route each.
    pub(super) owned: usize,
    /// Whether some next hop has its gateway.
    pub(super) is_known: bool,
}

impl<'a> Maps<'a> {
    pub(super) fn find(self, name: &str) -> Option<&'a Map> {
        // `@fib4` in the source, `_fib4` in the kernel.
        self.0.iter().find(|map| map.name().get(1..) == Some(name))
    }

    pub(super) fn named(self, name: &str) -> Result<&'a Map, Error> {
        self.find(name).ok_or_else(|| {
            Error::Route(format!("the router's program has no map {name}: `skep route down` ends it"))
        })
    }

    /// Whether they are those of a router.
    pub(super) fn are_ours(self) -> bool {
        ["fib4", "fib6", "buckets", "hops", "sources"].iter().all(|name| self.find(name).is_some())
    }

    /// The table that they hold.
    pub(super) fn table(self) -> Result<Table, Error> {
        let arrays = Mapped::of(self)?;
        let routes = record::routes(&arrays);
        arrays.complete()?;
        self.table_of(routes)
    }

    /// The table of these routes alone.
    fn table_of(self, routes: Vec<(Prefix, u32)>) -> Result<Table, Error> {
        let buckets = self.buckets_of(groups(routes.iter().map(|route| route.1)))?;
        let policies = self.policies(&routes)?;
        let bucket = |at: u32| buckets.get(&at).copied().unwrap_or(0);
        let mut table = Table::of(routes, |at| self.hop(at), bucket, policies);
        self.count(&mut table);
        Ok(table)
    }

    /// The table of these routes, without them; none has a condition.
    pub(super) fn table_of_values(self, routes: &Packed) -> Result<Table, Error> {
        let buckets = self.buckets_of(groups(routes.routes().map(|route| route.1)))?;
        let bucket = |at: u32| buckets.get(&at).copied().unwrap_or(0);
        let mut table = Table::of_values(routes.routes().map(|route| route.1), |at| self.hop(at), bucket);
        self.count(&mut table);
        Ok(table)
    }

    fn count(self, table: &mut Table) {
        let most = self.most_hops();
        if most > HOPS {
            table.count_all(most);
        }
    }

    /// The buckets of groups.
    fn buckets_of(self, groups: BTreeSet<u32>) -> Result<BTreeMap<u32, u32>, Error> {
        let buckets = self.named("buckets")?;
        let bucket = |at: u32| {
            let entries = buckets.lookup(&at.to_ne_bytes()).ok();
            entries.and_then(|e| Some(word(e.get(0)?.value(), 0))).unwrap_or(0)
        };
        // Of many routes that lead to one group each entry is read once.
        let mut known: BTreeMap<u32, u32> = BTreeMap::new();
        for group in groups {
            let first = group.saturating_mul(BUCKETS);
            known.extend((first..first.saturating_add(BUCKETS)).map(|at| (at, bucket(at))));
        }
        Ok(known)
    }

    /// Where the buckets of a group lead; `None`: that could not be read.
    pub(super) fn members(self, group: u32) -> Option<BTreeSet<Option<u32>>> {
        let (map, first) = (self.find("buckets")?, group.saturating_mul(BUCKETS));
        let each = (first..first.saturating_add(BUCKETS)).map(|at| {
            let entries = map.lookup(&at.to_ne_bytes()).ok()?;
            Some(Some(word(entries.get(0)?.value(), 0)))
        });
        each.collect()
    }

    /// Next hops that there can be.
    pub(super) fn most_hops(self) -> u32 {
        self.find("hops").map_or(HOPS, Map::max_entries)
    }

    /// Filters that the programs ask, by number.
    pub(super) fn filters(self) -> Result<BTreeMap<u32, String>, Error> {
        Ok(self.policies(&[])?.filters().clone())
    }

    /// Routes with conditions.
    fn policies(self, routes: &[(Prefix, u32)]) -> Result<Policies, Error> {
        let Some(map) = self.find(POLICIES) else { return Ok(Policies::default()) };
        let mut words = vec![0u64; WORDS as usize];
        for entry in map.entries()?.iter() {
            let place = words.get_mut(word(entry.key, 0) as usize);
            if let (Some(place), Some(value)) = (place, entry.value().first_chunk()) {
                *place = u64::from_ne_bytes(*value);
            }
        }
        Ok(Policies::read(routes, |at| words.get(at as usize).copied().unwrap_or(0)))
    }

    /// A next hop, whether or not a route leads to it.
    pub(super) fn hop(self, number: u32) -> Option<Hop> {
        let entries = self.find("hops")?.lookup(&number.to_ne_bytes()).ok()?;
        Hop::from_bytes(entries.get(0)?.value())
    }

    /// The table of the longest route around an address alone.
    pub(super) fn around(self, address: IpAddr) -> Result<Table, Error> {
        let arrays = Mapped::of(self)?;
        let found = record::longest(&arrays, Prefix::around(address, 128), 0..129);
        arrays.complete()?;
        self.table_of(
            found.map(|(length, value)| (Prefix::around(address, length), value)).into_iter().collect(),
        )
    }

    /// Numbers for a next hop that one route alone leads to. `except` counts as if it were spare.
    pub(super) fn numbers(self, hop: &Hop, except: Option<u32>) -> Result<Numbers, Error> {
        let words = self.named("hops")?.words()?;
        let each = (HOP_BYTES / 8) as u32;
        let of = |bytes: [u8; HOP_BYTES]| -> Vec<u64> { bytes.chunks_exact(8).map(long).collect() };
        let mut mask = [0xff; HOP_BYTES];
        // Whatever link it has.
        mask[LINK_AT..LINK_AT + 4].fill(0);
        let mut place = [0; HOP_BYTES];
        // The interface, and the gateway with its family.
        [4..8, 12..32].into_iter().for_each(|bytes| place[bytes].fill(0xff));
        let shared = Hop { owner: 0, ..hop.clone() }.to_bytes();
        let (wanted, mask, place) = (of(shared), of(mask), of(place));
        let last = wanted.len() - 1;
        let mut numbers = Numbers::default();
        for number in 1..self.most_hops() {
            let at = |word: usize| words.get(number * each + word as u32);
            let owner = at(last);
            if word(&at(0).to_ne_bytes(), 0) == 0 || owner == SPARE || Some(number) == except {
                numbers.free = numbers.free.or(Some(number).filter(|_| Some(number) != except));
                continue;
            }
            numbers.owned += usize::from(owner != 0);
            let same = |mask: &[u64]| (0..last).all(|word| (at(word) ^ wanted[word]) & mask[word] == 0);
            numbers.is_known |= same(&place);
            if (owner == 0 || owner == hop.owner) && same(&mask) {
                let found = if owner == 0 { &mut numbers.shared } else { &mut numbers.own };
                *found = Some(number);
            }
        }
        words.complete()?;
        Ok(numbers)
    }

    /// Writes what a step says, but for the arrays that routes lie in.
    pub(super) fn step(self, step: &Step) -> Result<(), Error> {
        let mut writes = writes(step);
        for write in &mut writes {
            if let (Step::Hop(_, hop) | Step::Renew(_, hop), "hops", Some(bytes)) =
                (step, write.map, &mut write.value)
            {
                bytes[LINK_AT..LINK_AT + 4].copy_from_slice(&self.link(hop)?.to_ne_bytes());
            }
            self.write(write)?;
        }
        Ok(())
    }

    /// The number under which programs find the link address of a next hop's gateway, which is there from now on; 0: none is free, or there is
    /// no gateway.
    fn link(self, hop: &Hop) -> Result<u32, Error> {
        let (Kind::Forward, Some(gateway)) = (hop.kind, hop.gateway) else { return Ok(0) };
        // Where no port runs XDP programs, nothing asks for it.
        let maps = (self.find("slots"), self.find("links"), self.find("neighbours"));
        let (Some(slots), Some(links), Some(neighbours)) = maps else { return Ok(0) };
        let key = neighbour_key(hop.device, gateway);
        if let Some(entry) = slots.lookup(&key)?.get(0) {
            return Ok(word(entry.value(), 0));
        }
        let taken: BTreeSet<u32> = slots.entries()?.iter().map(|entry| word(entry.value(), 0)).collect();
        let Some(number) = (1..HOPS).find(|number| !taken.contains(number)) else { return Ok(0) };
        let known = || -> Result<u64, Error> {
            let entries = neighbours.lookup(&key)?;
            Ok(entries.get(0).map_or(0, |entry| long(entry.value())))
        };
        // The programs write the address too from the time on when they find the number.
        slots.update(&key, &number.to_ne_bytes())?;
        let mut address = known()?;
        loop {
            links.update(&number.to_ne_bytes(), &address.to_ne_bytes())?;
            match known()? {
                same if same == address => return Ok(number),
                other => address = other,
            }
        }
    }

    pub(super) fn write(self, Write { map, key, value }: &Write) -> Result<(), Error> {
        if OPTIONAL.contains(map) && self.find(map).is_none() {
            return Ok(());
        }
        let map = self.named(map)?;
        match value {
            Some(value) => map.update(key, value)?,
            None => drop(map.delete(key)?),
        }
        Ok(())
    }

    /// How often the table has been changed; an odd number: a change is under way, or was never ended.
    pub(super) fn generation(self) -> Result<u64, Error> {
        let entries = self.named("hops")?.lookup(&0u32.to_ne_bytes())?;
        let bytes = entries.get(0).map(|e| e.value().to_vec()).unwrap_or_default();
        Ok(u64::from(word(&bytes, 4)) | u64::from(word(&bytes, 8)) << 32)
    }

    /// The map of blocks that programs look addresses up in: 0 where they still have the first.
    pub(super) fn arrays(self) -> Result<u32, Error> {
        let entries = self.named("hops")?.lookup(&0u32.to_ne_bytes())?;
        Ok(entries.get(0).map_or(0, |entry| word(entry.value(), 12)))
    }

    /// The number of the machine that the table was last made for.
    pub(super) fn machine(self) -> Result<u64, Error> {
        let entries = self.named("hops")?.lookup(&0u32.to_ne_bytes())?;
        Ok(entries.get(0).map_or(0, |entry| long(entry.value().get(16..).unwrap_or(&[]))))
    }

    /// Notes how often the table has been changed, in which map programs look addresses up now, and what the machine is like.
    pub(super) fn set_generation(self, generation: u64, arrays: u32, machine: u64) -> Result<(), Error> {
        // A kind of 0 says that it is no next hop.
        let mut bytes = [0; HOP_BYTES];
        bytes[4..12].copy_from_slice(&generation.to_ne_bytes());
        // As two words, of which the first is the lower one.
        if cfg!(target_endian = "big") {
            bytes[4..12].rotate_left(4);
        }
        bytes[12..16].copy_from_slice(&arrays.to_ne_bytes());
        bytes[16..24].copy_from_slice(&machine.to_ne_bytes());
        Ok(self.named("hops")?.update(&0u32.to_ne_bytes(), &bytes)?)
    }

    /// Tells the programs the ports' own link addresses.
    pub(super) fn name_ports<'d>(self, ports: impl Iterator<Item = &'d Device>) -> Result<(), Error> {
        ports.flat_map(name_port).try_for_each(|write| self.write(&write))
    }

    /// Tells the programs which VLAN devices are ports.
    pub(super) fn name_tags<'d>(self, mut ports: impl Iterator<Item = &'d Device>) -> Result<(), Error> {
        ports.try_for_each(|port| name_tag(port).iter().try_for_each(|write| self.write(write)))
    }

    /// Notes that the card of a port took VLAN tags off before the router ran.
    pub(super) fn note_tags_off(self, port: u32) -> Result<(), Error> {
        self.write(&Write::new("tags", tag_key(port, TAKES_OFF), port.to_ne_bytes()))
    }

    /// Whether that was noted.
    pub(super) fn took_tags_off(self, port: u32) -> Result<bool, Error> {
        let Some(tags) = self.find("tags") else { return Ok(false) };
        Ok(tags.lookup(&tag_key(port, TAKES_OFF))?.get(0).is_some())
    }

    /// Tells the programs the addresses that errors come from, by port.
    pub(super) fn name_sources(self, sources: &[(u32, IpAddr)]) -> Result<(), Error> {
        sources.iter().map(name_source).try_for_each(|write| self.write(&write))
    }

    /// Tells the programs of neighbours.
    pub(super) fn name_neighbours(self, neighbours: &[Neighbour]) -> Result<(), Error> {
        neighbours.iter().map(name_neighbour).try_for_each(|write| self.write(&write))
    }

    /// Packets and bytes that were counted of a next hop.
    pub(super) fn counters(self, number: u32) -> Result<(u64, u64), Error> {
        let sum = |name: &str| -> Result<u64, Error> {
            let entries = self.named(name)?.lookup(&number.to_ne_bytes())?;
            let Some(entry) = entries.get(0) else { return Ok(0) };
            let each = entry.per_cpu().filter_map(|v| Some(u64::from_ne_bytes(v.get(..8)?.try_into().ok()?)));
            Ok(each.fold(0, u64::wrapping_add))
        };
        Ok((sum("packets")?, sum("octets")?))
    }
}

/// Numbers of the groups among values.
fn groups(values: impl Iterator<Item = u32>) -> BTreeSet<u32> {
    values.filter(|value| value & GROUP != 0).map(|value| value & !GROUP).collect()
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

fn long(bytes: &[u8]) -> u64 {
    bytes.first_chunk().copied().map_or(0, u64::from_ne_bytes)
}
