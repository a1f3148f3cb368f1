//! Neighbours of interfaces from netlink, in the network namespace of the calling thread: those whose link addresses the kernel knows
//! leave, and some are marked so that the kernel keeps knowing theirs (`NTF_EXT_MANAGED`, Linux 5.16). Whom skep marked bears its number
//! as the protocol that made the entry, so marks are found again by whoever comes next.
//!
//! Layouts: include/uapi/linux/neighbour.h.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::error::Error;
use crate::netlink::{self, Netlink, attributes, ip, put, u32_at};

const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_PROTOCOL: u16 = 12;
const NDA_FLAGS_EXT: u16 = 15;
/// `NTF_USE`: ask for its address now. Kernels that do not know the mark do this.
const USE: u8 = 1;
/// `NTF_EXT_MANAGED`
const MANAGED: u32 = 1;
/// `NUD_VALID`: the states in which a neighbour's address is known.
const VALID: u16 = 0xde;
/// `NUD_NOARP`, `NUD_PERMANENT`: it needs no asking.
const FIXED: u16 = 0x40 | 0x80;
/// Who made an entry (`RTPROT_*`): skep, and the kernel.
const SKEP: u8 = 115;
const KERNEL: u8 = 2;

/// A neighbour whose link address is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Neighbour {
    /// Index of the interface.
    pub device: u32,
    /// Its address.
    pub address: IpAddr,
    /// Its link address.
    pub mac: [u8; 6],
}

/// An entry of the kernel's table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entry {
    device: u32,
    address: IpAddr,
    /// Its link address, of six bytes.
    mac: Option<[u8; 6]>,
    /// `NUD_*`
    state: u16,
    managed: bool,
    protocol: u8,
}

fn entries() -> Result<Vec<Entry>, Error> {
    let answer = netlink::list("neighbours", RTM_GETNEIGH, &[0; 12])?;
    Ok(answer.iter().filter(|m| m.kind == RTM_NEWNEIGH).filter_map(|m| entry(&m.body)).collect())
}

fn entry(body: &[u8]) -> Option<Entry> {
    let head = body.get(..12)?;
    let (mut address, mut mac, mut managed, mut protocol) = (None, None, false, 0);
    for (kind, value) in attributes(&body[12..]) {
        match kind {
            NDA_DST => address = ip(value),
            NDA_LLADDR => mac = value.try_into().ok(),
            NDA_PROTOCOL => protocol = value.first().copied().unwrap_or(0),
            NDA_FLAGS_EXT => managed = u32_at(value, 0) & MANAGED != 0,
            _ => {}
        }
    }
    let state = u16::from_ne_bytes([head[8], head[9]]);
    Some(Entry { device: u32_at(head, 4), address: address?, mac, state, managed, protocol })
}

/// The neighbours whose link addresses the kernel knows.
pub fn neighbours() -> Result<Vec<Neighbour>, Error> {
    let known = |e: &Entry| {
        let Entry { device, address, mac, state, .. } = *e;
        Some(Neighbour { device, address, mac: mac.filter(|_| state & VALID != 0)? })
    };
    Ok(entries()?.iter().filter_map(known).collect())
}

/// Lets the kernel keep the link addresses of these neighbours (interface and address), and of no others that skep marked before. It asks
/// for them at once, and again before it forgets them; before Linux 5.16 only at once. Entries that others mark or write stay as they
/// are, and interfaces that are down or ask for nobody have none.
pub fn keep_known(wanted: &BTreeSet<(u32, IpAddr)>) -> Result<(), Error> {
    mark(wanted, &|_| true)
}

/// The same of one neighbour alone: others stay as they are.
pub fn keep_one_known(place: (u32, IpAddr), wanted: bool) -> Result<(), Error> {
    mark(&wanted.then_some(place).into_iter().collect(), &|other| other == place)
}

/// Marks those that are wanted, and no others among those of the kernel's table that `judged` picks.
fn mark(wanted: &BTreeSet<(u32, IpAddr)>, judged: &dyn Fn((u32, IpAddr)) -> bool) -> Result<(), Error> {
    let entries = entries()?;
    let mut netlink = Netlink::open().map_err(|errno| Error::os("mark neighbours", errno))?;
    let mut mark = |device: u32, address: IpAddr, managed: bool| {
        let flags = if managed { netlink::CREATE } else { 0 };
        // The entry or its interface may have gone meanwhile or be down, the table may be full: then the neighbour is asked for when a
        // packet goes there.
        let _ = netlink.request(RTM_NEWNEIGH, flags, &request(device, address, managed));
    };
    let mut settled = BTreeSet::new();
    for Entry { device, address, state, managed, protocol, .. } in entries {
        let place = (device, address);
        if !judged(place) {
            continue;
        }
        let ours = managed && protocol == SKEP;
        match wanted.contains(&place) {
            true if managed || state & FIXED != 0 => drop(settled.insert(place)),
            false if ours => mark(device, address, false),
            _ => {}
        }
    }
    wanted.difference(&settled).for_each(|(device, address)| mark(*device, *address, true));
    Ok(())
}

/// struct ndmsg and its attributes.
fn request(device: u32, address: IpAddr, managed: bool) -> Vec<u8> {
    let (family, octets) = match address {
        IpAddr::V4(a) => (2, a.octets().to_vec()),
        IpAddr::V6(a) => (10, a.octets().to_vec()),
    };
    let mut body = vec![family, 0, 0, 0];
    body.extend(device.to_ne_bytes());
    body.extend([0, 0, USE, 0]);
    put(&mut body, NDA_DST, &octets);
    put(&mut body, NDA_PROTOCOL, &[if managed { SKEP } else { KERNEL }]);
    if managed {
        put(&mut body, NDA_FLAGS_EXT, &MANAGED.to_ne_bytes());
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_read_back() {
        for address in ["192.0.2.1", "fe80::9"].map(|a| a.parse().unwrap()) {
            let mut body = request(7, address, true);
            let wanted = Entry { device: 7, address, mac: None, state: 0, managed: true, protocol: SKEP };
            assert_eq!(entry(&body), Some(wanted));
            put(&mut body, NDA_LLADDR, &[2, 0, 0, 0, 0, 9]);
            body[8] = 0x40;
            let wanted = Entry { mac: Some([2, 0, 0, 0, 0, 9]), state: 0x40, ..wanted };
            assert_eq!(entry(&body), Some(wanted));
        }
        assert_eq!(entry(&[0; 11]), None);
        assert_eq!(entry(&[0; 12]), None);
        assert!(neighbours().is_ok());
    }
}
