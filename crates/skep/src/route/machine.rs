//! What the machine has: interfaces and their addresses, as the table asks for them.

use crate::error::Error;
use skep_kernel::device::{self, Address, Device};
use skep_packet::route::{Device as Exit, Links, Prefix};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// Interfaces and addresses.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) devices: Vec<Device>,
    addresses: Vec<Address>,
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

impl Machine {
    /// As it is now.
    pub(super) fn read() -> Result<Machine, Error> {
        Ok(Machine { devices: device::devices()?, addresses: device::addresses()? })
    }

    /// Name of an interface; its index where it is gone.
    pub(super) fn name_of(&self, index: u32) -> String {
        let found = self.devices.iter().find(|d| d.index == index);
        found.map_or_else(|| format!("#{index}"), |d| d.name.clone())
    }

    /// Destinations that the machine itself answers: its addresses, its networks' broadcast addresses, what is never forwarded.
    pub(super) fn own_prefixes(&self) -> BTreeSet<Prefix> {
        let mut own: BTreeSet<Prefix> = NEVER.iter().filter_map(|text| text.parse().ok()).collect();
        for Address { address, network: (other, length), .. } in &self.addresses {
            own.insert(Prefix::around(*address, 128));
            if let (IpAddr::V4(other), 0..=30) = (other, length) {
                let hosts = u32::MAX >> length;
                for edge in [other.to_bits() & !hosts, other.to_bits() | hosts] {
                    own.insert(Prefix::around(IpAddr::V4(Ipv4Addr::from_bits(edge)), 32));
                }
            }
        }
        // One within another that is the machine's own too says nothing more.
        let inner = |p: &Prefix| {
            NEVER.iter().filter_map(|t| t.parse().ok()).any(|o: Prefix| o != *p && o.contains(p.address()))
        };
        own.retain(|p| !inner(p));
        own
    }
}

fn exit(device: &Device) -> Exit {
    let fast = device.mac != [0; 6] && device::takes_frames(device.index);
    Exit { name: device.name.clone(), index: device.index, mtu: device.mtu, mac: device.mac, fast }
}

impl Links for Machine {
    fn named(&self, name: &str) -> Option<Exit> {
        self.devices.iter().find(|d| d.name == name).map(exit)
    }

    fn on_link(&self, address: IpAddr, wanted: Option<u32>) -> Option<Exit> {
        let fits = |a: &&Address| {
            let (other, length) = a.network;
            wanted.is_none_or(|w| w == a.device) && Prefix::around(other, length).contains(address)
        };
        let nearest = self.addresses.iter().filter(fits).max_by_key(|a| a.network.1)?;
        self.devices.iter().find(|d| d.index == nearest.device).map(exit)
    }
}
