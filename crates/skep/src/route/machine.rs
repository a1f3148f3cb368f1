//! What the machine has: interfaces and their addresses, as the table asks for them.

use crate::error::Error;
use skep_kernel::device::{self, Address, Device};
use skep_packet::route::{Device as Exit, Links, Prefix, Through};
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};

/// Interfaces and addresses.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) devices: Vec<Device>,
    addresses: Vec<Address>,
    never: Vec<Prefix>,
    /// By index of an interface, whether it takes frames from XDP programs itself: a question to the kernel each.
    fast: RefCell<HashMap<u32, bool>>,
    /// The CPUs that are online.
    cpus: Vec<u32>,
}

/// Destinations that are never forwarded: loopback, link-local and multicast addresses, and broadcast.
const NEVER: &[&str] = &[
    "0.0.0.0",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "224.0.0.0/4",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::/10",
    "ff00::/8",
];

fn never() -> Vec<Prefix> {
    NEVER.iter().filter_map(|text| text.parse().ok()).collect()
}

impl Machine {
    /// As it is now.
    pub(super) fn read() -> Result<Machine, Error> {
        Ok(Machine {
            devices: device::devices()?,
            addresses: device::addresses()?,
            never: never(),
            fast: RefCell::default(),
            cpus: skep_kernel::machine::online_cpus()?,
        })
    }

    /// One that is made up: its interfaces, whether they take frames from XDP programs, its addresses and how many CPUs it has.
    pub(super) fn made(devices: Vec<(Device, bool)>, addresses: Vec<Address>, cpus: u32) -> Machine {
        let fast = devices.iter().map(|(device, fast)| (device.index, *fast)).collect();
        let devices = devices.into_iter().map(|(device, _)| device).collect();
        Machine { devices, addresses, never: never(), fast: RefCell::new(fast), cpus: (0..cpus).collect() }
    }

    /// The interface of that index, as routes take it.
    pub(super) fn exit(&self, index: u32) -> Option<Exit> {
        self.devices.iter().find(|d| d.index == index).map(|device| self.exit_of(device))
    }

    fn exit_of(&self, device: &Device) -> Exit {
        let Device { index, mtu, mac, .. } = *device;
        Exit { name: device.name.clone(), index, mtu, mac, fast: self.through(device) }
    }

    /// What takes frames for an interface from XDP programs: itself, or of a VLAN device what it lies on.
    fn through(&self, device: &Device) -> Option<Through> {
        if self.takes_frames(device) {
            return Some(Through { device: device.index, tag: 0 });
        }
        let tag = device.tag?;
        let lower = self.devices.iter().find(|d| d.index == tag.lower && d.tag.is_none())?;
        self.takes_frames(lower).then_some(Through { device: lower.index, tag: tag.id })
    }

    /// Whether an interface itself takes frames from XDP programs.
    pub(super) fn takes_frames(&self, device: &Device) -> bool {
        let ask = || device.is_ethernet() && device.mac != [0; 6] && device::takes_frames(device.index);
        *self.fast.borrow_mut().entry(device.index).or_insert_with(ask)
    }

    /// Whether VLAN devices lie on an interface.
    pub(super) fn has_vlans(&self, device: &Device) -> bool {
        self.devices.iter().any(|d| d.tag.is_some_and(|tag| tag.lower == device.index))
    }

    /// Whether no address of a block is ever forwarded.
    pub(super) fn is_never_forwarded(&self, prefix: Prefix) -> bool {
        self.never.iter().any(|never| never.length() <= prefix.length() && never.contains(prefix.address()))
    }

    /// Name of an interface; its index where it is gone.
    pub(super) fn name_of(&self, index: u32) -> String {
        let found = self.devices.iter().find(|d| d.index == index);
        found.map_or_else(|| format!("#{index}"), |d| d.name.clone())
    }

    /// An address of each family for each interface, where it has one: not a link-local one where it has another.
    pub(super) fn sources(&self, devices: impl Iterator<Item = u32>) -> Vec<(u32, IpAddr)> {
        let local = |a: &IpAddr| matches!(a, IpAddr::V6(a) if a.is_unicast_link_local());
        let mut sources = Vec::new();
        for device in devices {
            for four in [true, false] {
                let own = self.addresses.iter().filter(|a| a.device == device && a.address.is_ipv4() == four);
                let any =
                    self.addresses.iter().filter(|a| a.address.is_ipv4() == four && !a.address.is_loopback());
                let best = own
                    .map(|a| a.address)
                    .min_by_key(local)
                    .or_else(|| any.map(|a| a.address).min_by_key(local));
                sources.extend(best.map(|address| (device, address)));
            }
        }
        sources
    }

    /// A number for all that the table takes from the machine: its interfaces and addresses, and which of them are ports.
    pub(super) fn digest(&self, ports: impl Iterator<Item = u32>) -> u64 {
        let mut hasher = DefaultHasher::new();
        for Device { name, index, mtu, mac, .. } in &self.devices {
            (name, index, mtu, mac).hash(&mut hasher);
        }
        self.addresses.iter().for_each(|a| (a.device, a.address, a.network).hash(&mut hasher));
        ports.for_each(|port| port.hash(&mut hasher));
        hasher.finish() | 1
    }

    /// Destinations that the machine itself answers: its addresses, its networks' broadcast addresses, what is never forwarded.
    pub(super) fn own_prefixes(&self) -> BTreeSet<Prefix> {
        let mut own: BTreeSet<Prefix> = self.never.iter().copied().collect();
        for address in &self.addresses {
            own.insert(Prefix::around(address.address, 128));
            let edges = edges(address).into_iter().flatten();
            own.extend(edges.map(|edge| Prefix::around(IpAddr::V4(edge), 32)));
        }
        // One within another that is the machine's own too says nothing more.
        let inner = |p: &Prefix| self.never.iter().any(|o| o != p && o.contains(p.address()));
        own.retain(|p| !inner(p));
        own
    }
}

/// The first and the last address of an address' network, which stand for all of its hosts.
fn edges(address: &Address) -> Option<[Ipv4Addr; 2]> {
    let (IpAddr::V4(other), length @ 0..=30) = address.network else { return None };
    let hosts = u32::MAX >> length;
    Some([other.to_bits() & !hosts, other.to_bits() | hosts].map(Ipv4Addr::from_bits))
}

impl Links for Machine {
    fn named(&self, name: &str) -> Option<Exit> {
        self.devices.iter().find(|d| d.name == name).map(|device| self.exit_of(device))
    }

    fn on_link(&self, address: IpAddr, wanted: Option<u32>) -> Option<Exit> {
        let fits = |a: &&Address| {
            let (other, length) = a.network;
            wanted.is_none_or(|w| w == a.device) && Prefix::around(other, length).contains(address)
        };
        let nearest = self.addresses.iter().filter(fits).max_by_key(|a| a.network.1)?;
        self.exit(nearest.device)
    }

    fn cpus(&self) -> Vec<u32> {
        self.cpus.clone()
    }

    fn is_own(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| {
            own.address == address || edges(own).into_iter().flatten().any(|edge| IpAddr::V4(edge) == address)
        })
    }

    fn names(&self) -> Vec<String> {
        self.devices.iter().map(|device| device.name.clone()).collect()
    }
}
