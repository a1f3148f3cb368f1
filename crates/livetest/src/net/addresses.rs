//! Addresses of a network's devices, and neighbours that they know from the beginning, so that nobody is asked for.
//!
//! In: `DEVICE ADDRESS/LENGTH`, `DEVICE ADDRESS MAC`. Out: the device has them. Always: a device that is given an IPv6 address speaks
//! IPv6 from then on, without a link-local address, router solicitations and a search for duplicates.

use std::net::IpAddr;

use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;

use super::{CREATE, Netlink, attribute};

const RTM_NEWADDR: u16 = 20;
const RTM_NEWNEIGH: u16 = 28;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// `IFA_F_NODAD`
const AT_ONCE: u8 = 2;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_PERMANENT: u16 = 0x80;

/// An address of a device.
pub(super) struct Address<'l> {
    device: &'l str,
    address: IpAddr,
    length: u8,
}

impl Address<'_> {
    pub(super) fn parse(line: &str) -> Result<Address<'_>, String> {
        let usage = || format!("expected DEVICE ADDRESS/LENGTH, found `{line}`");
        let (device, block) = line.split_once(' ').ok_or_else(usage)?;
        let (address, length) = block.split_once('/').ok_or_else(usage)?;
        let address: IpAddr = address.parse().map_err(|_| usage())?;
        let length = length.parse().map_err(|_| usage())?;
        match length <= if address.is_ipv4() { 32 } else { 128 } {
            true => Ok(Address { device, address, length }),
            false => Err(usage()),
        }
    }

    pub(super) fn give(&self, netlink: &mut Netlink) -> Result<(), Errno> {
        let index = name_to_index(&netlink.0, self.device)?;
        if self.address.is_ipv6() {
            let settings = [("addr_gen_mode", "1"), ("router_solicitations", "0"), ("disable_ipv6", "0")];
            for (name, value) in settings {
                let path = format!("/proc/sys/net/ipv6/conf/{}/{name}", self.device);
                std::fs::write(path, value)
                    .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            }
        }
        netlink.give_address(index, self.address, self.length)
    }
}

/// What a device knows of a neighbour.
pub(super) struct Neighbour<'l> {
    device: &'l str,
    address: IpAddr,
    mac: [u8; 6],
}

impl Neighbour<'_> {
    pub(super) fn parse(line: &str) -> Result<Neighbour<'_>, String> {
        let usage = || format!("expected DEVICE ADDRESS MAC, found `{line}`");
        let words: Vec<&str> = line.split_whitespace().collect();
        let [device, address, mac] = words[..] else { return Err(usage()) };
        let octets: Result<Vec<u8>, _> = mac.split(':').map(|octet| u8::from_str_radix(octet, 16)).collect();
        let mac = octets.ok().and_then(|octets| octets.try_into().ok()).ok_or_else(usage)?;
        Ok(Neighbour { device, address: address.parse().map_err(|_| usage())?, mac })
    }

    pub(super) fn give(&self, netlink: &mut Netlink) -> Result<(), Errno> {
        let index = name_to_index(&netlink.0, self.device)?;
        netlink.give_neighbour(index, self.address, &self.mac)
    }
}

fn octets(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
    }
}

impl Netlink {
    pub(super) fn give_address(&mut self, index: u32, address: IpAddr, length: u8) -> Result<(), Errno> {
        let (family, octets) = octets(address);
        // struct ifaddrmsg: family, length of the prefix, flags, scope, index.
        let mut body = vec![family, length, if family == AF_INET6 { AT_ONCE } else { 0 }, 0];
        body.extend(index.to_ne_bytes());
        attribute(&mut body, IFA_LOCAL, &octets);
        attribute(&mut body, IFA_ADDRESS, &octets);
        self.request(RTM_NEWADDR, CREATE, &body)
    }

    pub(super) fn give_neighbour(&mut self, index: u32, address: IpAddr, mac: &[u8; 6]) -> Result<(), Errno> {
        let (family, octets) = octets(address);
        // struct ndmsg: family, padding, index, state, flags, type.
        let mut body = vec![family, 0, 0, 0];
        body.extend(index.to_ne_bytes());
        body.extend(NUD_PERMANENT.to_ne_bytes());
        body.extend([0, 0]);
        attribute(&mut body, NDA_DST, &octets);
        attribute(&mut body, NDA_LLADDR, mac);
        self.request(RTM_NEWNEIGH, CREATE, &body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_checked() {
        let address = Address::parse("va.5 2001:db8:5::1/64").unwrap();
        assert_eq!((address.device, address.address.is_ipv6(), address.length), ("va.5", true, 64));
        for wrong in ["", "va.5", "va.5 10.0.0.1", "va.5 10.0.0.1/33", "va.5 10.0.0/24", "va.5 ::1/x"] {
            assert!(Address::parse(wrong).err().unwrap().contains("ADDRESS/LENGTH"), "{wrong}");
        }
        let neighbour = Neighbour::parse("va.7 10.0.7.9 02:00:00:00:07:0a").unwrap();
        assert_eq!((neighbour.device, neighbour.mac), ("va.7", [2, 0, 0, 0, 7, 10]));
        for wrong in ["", "va 10.0.0.1", "va 10.0.0.1 02:00:00:00:07", "va x 02:00:00:00:07:09"] {
            assert!(Neighbour::parse(wrong).err().unwrap().contains("ADDRESS MAC"), "{wrong}");
        }
    }
}
