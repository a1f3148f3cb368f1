//! The maps of `programs/router/router.bt`, by their names there: the table is read from them and steps are written to them.

use crate::error::Error;
use skep_kernel::device::{Device, Neighbour, Tag};
use skep_kernel::map::{Map, Unfinished};
use skep_packet::route::direct;
use skep_packet::route::{
    BUCKETS, GROUP, HOP_BYTES, HOPS, Hop, Kind, LINK_AT, Policies, Prefix, Step, Table, WORDS, text_words,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Maps of a router, as its loader has them or as the kernel names them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Maps<'a>(pub(super) &'a [Map]);

/// Why not all steps were done.
struct Stopped {
    /// How many were.
    done: usize,
    error: Error,
}

/// The map of routes with conditions, which only programs have that ask filters.
pub(super) const POLICIES: &str = "policies";
/// Bit of a link address' number that says that it is known.
const KNOWN: u64 = 1 << 48;
/// Maps that are gone where no port runs XDP, or none has Ethernet headers.
const OPTIONAL: [&str; 4] = ["ports", "tags", "own", "near"];
/// What stands for a tag in `@tags` where it is noted what a port's card did: no tag has this number.
const TAKES_OFF: u32 = 4096;
/// Bits of a key of `@fib6` before the address: its family.
const FAMILY_BITS: u32 = 32;
/// `AF_INET` and `AF_INET6`
const FAMILIES: (u32, u32) = (2, 10);
/// Interfaces with numbers below it are looked up in an array.
const NEAR: u32 = 4096;

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
        let mut routes = Vec::new();
        for name in ["fib4", "fib6"] {
            for entry in self.named(name)?.entries()?.iter() {
                let Some(prefix) = prefix(entry.key) else { continue };
                routes.push((prefix, direct::parts(long(entry.value())).0));
            }
        }
        self.table_of(routes)
    }

    /// The table of these routes alone.
    fn table_of(self, routes: Vec<(Prefix, u32)>) -> Result<Table, Error> {
        let buckets = self.named("buckets")?;
        let read = |map: &Map, at: u32| map.lookup(&at.to_ne_bytes()).ok();
        let hop = |at: u32| self.hop(at);
        let bucket = |at: u32| read(buckets, at).and_then(|e| Some(word(e.get(0)?.value(), 0))).unwrap_or(0);
        // Of many routes that lead to one next hop each array entry is read once.
        let mut known: BTreeMap<u32, u32> = BTreeMap::new();
        let groups =
            routes.iter().map(|r| r.1).filter(|value| value & GROUP != 0).map(|value| value & !GROUP);
        for group in groups.collect::<std::collections::BTreeSet<u32>>() {
            let first = group.saturating_mul(BUCKETS);
            known.extend((first..first.saturating_add(BUCKETS)).map(|at| (at, bucket(at))));
        }
        let policies = self.policies(&routes)?;
        let mut table = Table::of(routes, hop, |at| known.get(&at).copied().unwrap_or(0), policies);
        let most = self.most_hops();
        if most > HOPS {
            table.count_all(most);
        }
        Ok(table)
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

    /// The value and the length of the longest route around a block.
    pub(super) fn longest(self, prefix: Prefix) -> Result<Option<(u32, u8)>, Error> {
        let found = self.fib(prefix)?.lookup(&key(prefix))?;
        Ok(found.get(0).map(|entry| direct::parts(long(entry.value()))))
    }

    /// The value of a route.
    pub(super) fn route(self, prefix: Prefix) -> Result<Option<u32>, Error> {
        let found = self.longest(prefix)?;
        Ok(found.filter(|(_, length)| *length == prefix.length()).map(|(value, _)| value))
    }

    /// The table of the longest route around an address alone.
    pub(super) fn around(self, address: IpAddr) -> Result<Table, Error> {
        let found = self.longest(Prefix::around(address, 128))?;
        let route = found.map(|(value, length)| (Prefix::around(address, length), value));
        self.table_of(route.into_iter().collect())
    }

    /// The number of a next hop, and whether it is not there yet but could be; `None`: it is not there, and no number was never used.
    /// Behind it whether another next hop has its gateway.
    pub(super) fn number_of(self, hop: &Hop) -> Result<Option<(u32, bool, bool)>, Error> {
        let (words, wanted) = (self.named("hops")?.words()?, hop.to_bytes());
        let each = wanted.len() / 8;
        let (mut free, mut is_known) = (None, false);
        for number in 1..HOPS {
            let at = |word: usize| words.get((number as usize * each + word) as u32).to_ne_bytes();
            if word(&at(0), 0) == 0 {
                free = free.or(Some(number));
                continue;
            }
            let same = |from: &usize| at(from / 8)[from % 8..][..4] == wanted[*from..from + 4];
            // The interface, and the gateway with its family.
            is_known |= [4, 12, 16, 20, 24, 28].iter().all(same);
            // Whatever link it has.
            if (0..wanted.len()).step_by(4).all(|from| from == LINK_AT || same(&from)) {
                return Ok(Some((number, false, true)));
            }
        }
        words.complete()?;
        Ok(free.map(|number| (number, true, is_known)))
    }

    /// Does the steps, in their order; where one fails, those before it are undone.
    pub(super) fn apply(self, steps: &[Step]) -> Result<(), Error> {
        let mut at = 0;
        while let Some(step) = steps.get(at) {
            let run = self.run(&steps[at..]);
            let done = match run {
                1 => self.step(step).map_err(|error| Stopped { done: 0, error }),
                _ => self.batch(&steps[at..at + run]),
            };
            if let Err(Stopped { done, error }) = done {
                // What cannot be undone for the same reason stays: a table as between two steps.
                for step in steps[..at + done].iter().rev().filter_map(Step::undone) {
                    let _ = self.step(&step);
                }
                return Err(error);
            }
            at += run;
        }
        Ok(())
    }

    /// How many of the first steps are of one kind and go to one map, so that they can be done at once.
    fn run(self, steps: &[Step]) -> usize {
        let alike = |step: &Step| match (step, steps.first()) {
            (Step::Route { prefix, .. }, Some(Step::Route { prefix: first, .. }))
            | (Step::Remove { prefix, .. }, Some(Step::Remove { prefix: first, .. })) => {
                prefix.address().is_ipv4() == first.address().is_ipv4()
            }
            (Step::Bucket(..), Some(Step::Bucket(..))) | (Step::List(..), Some(Step::List(..))) => true,
            _ => false,
        };
        steps.iter().take_while(|step| alike(step)).count().max(1)
    }

    /// Does steps that are alike.
    fn batch(self, steps: &[Step]) -> Result<(), Stopped> {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        let mut map = Err(Error::Internal("a batch of no steps".to_owned()));
        for step in steps {
            match step {
                Step::Bucket(at, hop) => {
                    map = self.named("buckets");
                    keys.extend(at.to_ne_bytes());
                    values.extend(hop.to_ne_bytes());
                }
                Step::List(at, word) => {
                    map = self.named(POLICIES);
                    keys.extend(at.to_ne_bytes());
                    values.extend(word.to_ne_bytes());
                }
                Step::Route { prefix, value, .. } => {
                    map = self.fib(*prefix);
                    keys.extend(key(*prefix));
                    values.extend(direct::route(*value, prefix.length()).to_ne_bytes());
                }
                Step::Remove { prefix, .. } => {
                    map = self.fib(*prefix);
                    keys.extend(key(*prefix));
                }
                Step::Hop(..) | Step::Renew(..) | Step::Filter(..) => {}
            }
        }
        let map = map.map_err(|error| Stopped { done: 0, error })?;
        let changed = if values.is_empty() { map.delete_all(&keys) } else { map.update_all(&keys, &values) };
        changed.map_err(|Unfinished { done, error }| Stopped { done, error: error.into() })
    }

    fn step(self, step: &Step) -> Result<(), Error> {
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

    fn write(self, Write { map, key, value }: &Write) -> Result<(), Error> {
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

    fn fib(self, prefix: Prefix) -> Result<&'a Map, Error> {
        self.named(if prefix.address().is_ipv4() { "fib4" } else { "fib6" })
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

/// An update of one entry of a map; without a value, its removal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Write {
    /// The map's name in the source, without `@`.
    pub(super) map: &'static str,
    pub(super) key: Vec<u8>,
    pub(super) value: Option<Vec<u8>>,
}

impl Write {
    fn new(map: &'static str, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Write {
        Write { map, key: key.into(), value: Some(value.into()) }
    }
}

/// What a step writes, in this order.
pub(super) fn writes(step: &Step) -> Vec<Write> {
    let fib = |prefix: &Prefix| if prefix.address().is_ipv4() { "fib4" } else { "fib6" };
    match step {
        Step::Hop(number, hop) | Step::Renew(number, hop) => {
            let key = number.to_ne_bytes();
            let mut all = Vec::new();
            if matches!(step, Step::Hop(..)) {
                all.extend(["packets", "octets"].map(|counter| Write::new(counter, key, [0; 8])));
            }
            if let Some(through) = hop.fast {
                all.push(Write::new("ports", key, through.device.to_ne_bytes()));
            }
            all.push(Write::new("hops", key, hop.to_bytes()));
            all
        }
        Step::Bucket(at, hop) => vec![Write::new("buckets", at.to_ne_bytes(), hop.to_ne_bytes())],
        Step::List(at, word) => vec![Write::new(POLICIES, at.to_ne_bytes(), word.to_ne_bytes())],
        Step::Filter(number, text) => {
            let words = text_words(*number, text).into_iter();
            words.map(|(at, word)| Write::new(POLICIES, at.to_ne_bytes(), word.to_ne_bytes())).collect()
        }
        Step::Route { prefix, value, .. } => {
            let route = direct::route(*value, prefix.length());
            vec![Write::new(fib(prefix), key(*prefix), route.to_ne_bytes())]
        }
        Step::Remove { prefix, .. } => vec![Write { map: fib(prefix), key: key(*prefix), value: None }],
    }
}

/// Tells the programs a port's own link address.
pub(super) fn name_port(port: &Device) -> Vec<Write> {
    let write = |map| Write::new(map, port.index.to_ne_bytes(), number_of(port.mac).to_ne_bytes());
    ["own", "near"].into_iter().filter(|map| *map == "own" || port.index < NEAR).map(write).collect()
}

/// Tells the programs a cell of the arrays that look addresses up.
pub(super) fn name_cell((part, at, cell): (direct::Part, u32, u64)) -> Write {
    let map = if part == direct::Part::Root { "roots" } else { "blocks" };
    Write::new(map, at.to_ne_bytes(), cell.to_ne_bytes())
}

fn neighbour_key(device: u32, address: IpAddr) -> Vec<u8> {
    [&device.to_ne_bytes()[..], &inet(address)].concat()
}

/// Tells the programs that frames with a tag are a VLAN device's; `None` for other devices.
pub(super) fn name_tag(port: &Device) -> Option<Write> {
    let Tag { lower, id } = port.tag?;
    Some(Write::new("tags", tag_key(lower, id.into()), port.index.to_ne_bytes()))
}

fn tag_key(device: u32, tag: u32) -> Vec<u8> {
    [device.to_ne_bytes(), tag.to_ne_bytes()].concat()
}

/// Tells the programs of a neighbour.
pub(super) fn name_neighbour(neighbour: &Neighbour) -> Write {
    let key = neighbour_key(neighbour.device, neighbour.address);
    Write::new("neighbours", key, number_of(neighbour.mac).to_ne_bytes())
}

/// Tells the programs the address that errors come from which leave through a port.
pub(super) fn name_source((port, address): &(u32, IpAddr)) -> Write {
    let family = if address.is_ipv4() { FAMILIES.0 } else { FAMILIES.1 };
    Write::new("sources", [port.to_ne_bytes(), family.to_ne_bytes()].concat(), inet(*address))
}

/// An address as the programs hold it: its family, and 16 bytes.
fn inet(address: IpAddr) -> [u8; 20] {
    let (family, mut out) = (if address.is_ipv4() { FAMILIES.0 } else { FAMILIES.1 }, [0; 20]);
    out[..4].copy_from_slice(&family.to_ne_bytes());
    match address {
        IpAddr::V4(a) => out[4..8].copy_from_slice(&a.octets()),
        IpAddr::V6(a) => out[4..].copy_from_slice(&a.octets()),
    }
    out
}

/// A link address as the programs hold it.
fn number_of(mac: [u8; 6]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..6].copy_from_slice(&mac);
    u64::from_ne_bytes(bytes) | KNOWN
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

fn long(bytes: &[u8]) -> u64 {
    bytes.first_chunk().copied().map_or(0, u64::from_ne_bytes)
}

/// A prefix as a key of a trie: its length in bits, then (of IPv6) the family, then the address.
fn key(prefix: Prefix) -> Vec<u8> {
    let length = u32::from(prefix.length());
    let mut key = Vec::with_capacity(24);
    match prefix.address() {
        IpAddr::V4(a) => {
            key.extend(length.to_ne_bytes());
            key.extend(a.octets());
        }
        IpAddr::V6(a) => {
            key.extend((length + FAMILY_BITS).to_ne_bytes());
            key.extend(FAMILIES.1.to_ne_bytes());
            key.extend(a.octets());
        }
    }
    key
}

/// The prefix of a trie's key.
fn prefix(key: &[u8]) -> Option<Prefix> {
    let length = word(key, 0);
    let (address, length): (IpAddr, u32) = match key.len() {
        8 => (<[u8; 4]>::try_from(key.get(4..)?).ok()?.into(), length),
        24 => (<[u8; 16]>::try_from(key.get(8..)?).ok()?.into(), length.checked_sub(FAMILY_BITS)?),
        _ => return None,
    };
    Prefix::new(address, u8::try_from(length).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "192.0.2.1", "::/0", "2001:db8::/32", "2001:db8::1"] {
            let wanted: Prefix = text.parse().unwrap();
            assert_eq!(prefix(&key(wanted)), Some(wanted));
        }
        assert_eq!(prefix(&[0; 7]), None);
        assert_eq!(prefix(&[255; 8]), None);
    }

    #[test]
    fn link_addresses_lie_in_their_order() {
        let bytes = number_of([1, 2, 3, 4, 5, 6]).to_ne_bytes();
        assert_eq!(bytes[..6], [1, 2, 3, 4, 5, 6]);
    }
}
