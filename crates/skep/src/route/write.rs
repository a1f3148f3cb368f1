//! What is written to the maps of `programs/router/router.bt`: ports, neighbours, next hops and steps of the table enter, keys and values leave.

use skep_kernel::device::{Device, Neighbour, Tag};
use skep_packet::route::direct;
use skep_packet::route::{Prefix, Step, text_words};
use std::net::IpAddr;

/// The map of routes with conditions, which only programs have that ask filters.
pub(super) const POLICIES: &str = "policies";
/// Bit of a link address' number that says that it is known.
const KNOWN: u64 = 1 << 48;
/// Bits of a key of `@fib6` before the address: its family.
const FAMILY_BITS: u32 = 32;
/// `AF_INET` and `AF_INET6`
const FAMILIES: (u32, u32) = (2, 10);
/// Interfaces with numbers below it are looked up in an array.
const NEAR: u32 = 4096;

/// An update of one entry of a map; without a value, its removal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Write {
    /// The map's name in the source, without `@`.
    pub(super) map: &'static str,
    pub(super) key: Vec<u8>,
    pub(super) value: Option<Vec<u8>>,
}

impl Write {
    pub(super) fn new(map: &'static str, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Write {
        Write { map, key: key.into(), value: Some(value.into()) }
    }
}

/// What a step writes, in this order, but for the arrays that routes lie in.
pub(super) fn writes(step: &Step) -> Vec<Write> {
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
        // Routes lie in the arrays; nothing asks for what is spare.
        Step::Route { .. } | Step::Remove { .. } | Step::Spare(_) => Vec::new(),
    }
}

/// The map of routes that found no place in the arrays.
pub(super) fn trie(prefix: Prefix) -> &'static str {
    if prefix.address().is_ipv4() { "fib4" } else { "fib6" }
}

/// Tells the programs of a route that found no place in the arrays.
pub(super) fn name_route(prefix: Prefix, value: u32) -> Write {
    let route = direct::route(value, prefix.length());
    Write::new(trie(prefix), key(prefix), route.to_ne_bytes())
}

/// Tells the programs a port's own link address.
pub(super) fn name_port(port: &Device) -> Vec<Write> {
    let write = |map| Write::new(map, port.index.to_ne_bytes(), number_of(port.mac).to_ne_bytes());
    ["own", "near"].into_iter().filter(|map| *map == "own" || port.index < NEAR).map(write).collect()
}

/// Tells the programs a cell of the arrays that look addresses up.
pub(super) fn name_cell((part, at, cell): (direct::Part, u32, u64)) -> Write {
    let map = if part == direct::Part::Block { "blocks" } else { "roots" };
    Write::new(map, at.to_ne_bytes(), cell.to_ne_bytes())
}

pub(super) fn neighbour_key(device: u32, address: IpAddr) -> Vec<u8> {
    [&device.to_ne_bytes()[..], &inet(address)].concat()
}

/// Tells the programs that frames with a tag are a VLAN device's; `None` for other devices.
pub(super) fn name_tag(port: &Device) -> Option<Write> {
    let Tag { lower, id } = port.tag?;
    Some(Write::new("tags", tag_key(lower, id.into()), port.index.to_ne_bytes()))
}

pub(super) fn tag_key(device: u32, tag: u32) -> Vec<u8> {
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

/// A prefix as a key of a trie: its length in bits, then (of IPv6) the family, then the address.
pub(super) fn key(prefix: Prefix) -> Vec<u8> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_tries() {
        let words = |text: &str| key(text.parse().unwrap());
        assert_eq!(words("10.0.0.0/8"), [&8u32.to_ne_bytes()[..], &[10, 0, 0, 0]].concat());
        let six = words("2001:db8::/32");
        assert_eq!(
            (six.len(), &six[..8], &six[8..12]),
            (24, &[64u32, 10].map(u32::to_ne_bytes).concat()[..], &[0x20, 1, 0xd, 0xb8][..])
        );
    }

    #[test]
    fn link_addresses_lie_in_their_order() {
        let bytes = number_of([1, 2, 3, 4, 5, 6]).to_ne_bytes();
        assert_eq!(bytes[..6], [1, 2, 3, 4, 5, 6]);
    }
}
