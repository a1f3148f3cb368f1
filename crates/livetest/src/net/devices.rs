//! Devices on top of `va`: a VLAN, or one end of a tunnel whose other end is who sends and receives at `vb`; or a bridge.
//!
//! In: `vlan NAME ID`, `gre NAME KEY`, `geneve NAME VNI`, `vxlan NAME VNI`, `bridge NAME PORT`. Out: the device, up. Always: `va` is then
//! 10.0.0.2 with the hardware address 02:00:00:00:00:02, and knows 10.0.0.1 at 02:00:00:00:00:01; tunnels go between these.

use std::net::{IpAddr, Ipv4Addr};

use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;

use super::{
    CREATE, IFLA_ADDRESS, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINK, IFLA_LINKINFO, Netlink,
    RTM_NEWLINK, attribute,
};

const HERE: [u8; 4] = [10, 0, 0, 2];
const THERE: [u8; 4] = [10, 0, 0, 1];
const HERE_ADDRESS: [u8; 6] = [2, 0, 0, 0, 0, 2];
const THERE_ADDRESS: [u8; 6] = [2, 0, 0, 0, 0, 1];
const BRIDGE_ADDRESS: [u8; 6] = [2, 0, 0, 0, 0, 11];
const IFLA_MASTER: u16 = 10;

/// GRE_KEY (include/net/gre.h), in network byte order.
const KEY_FLAG: [u8; 2] = [0x20, 0];
const GENEVE_PORT: u16 = 6081;
const VXLAN_PORT: u16 = 4789;

/// What a number makes of a device: attributes.
type Data = fn(u32) -> Vec<u8>;

/// Kinds of devices: the kernel's name, and the attributes (include/uapi/linux/if_link.h, if_tunnel.h) that a number makes.
const KINDS: [(&str, Data); 4] = [
    ("vlan", |id| attributes(&[(1, &(id as u16).to_ne_bytes())])),
    ("gre", |key| {
        let key = key.to_be_bytes();
        attributes(&[(2, &KEY_FLAG), (3, &KEY_FLAG), (4, &key), (5, &key), (6, &HERE), (7, &THERE)])
    }),
    ("geneve", |vni| attributes(&[(1, &vni.to_ne_bytes()), (2, &THERE), (5, &GENEVE_PORT.to_be_bytes())])),
    ("vxlan", |vni| {
        attributes(&[(1, &vni.to_ne_bytes()), (2, &THERE), (4, &HERE), (15, &VXLAN_PORT.to_be_bytes())])
    }),
];

/// A device that is wanted.
pub(super) struct Device<'l> {
    kind: &'static str,
    name: &'l str,
    data: Vec<u8>,
    /// Of a bridge, the interface that belongs to it.
    port: Option<&'l str>,
}

impl Device<'_> {
    pub(super) fn parse(line: &str) -> Result<Device<'_>, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let usage = || {
            let kinds = KINDS.map(|(kind, _)| kind).join(", ");
            format!("expected KIND NAME NUMBER with KIND one of {kinds}, or bridge NAME PORT, found `{line}`")
        };
        let [kind, name, what] = words[..] else { return Err(usage()) };
        if kind == "bridge" {
            return Ok(Device { kind: "bridge", name, data: Vec::new(), port: Some(what) });
        }
        let (kind, data) = KINDS.iter().find(|(known, _)| *known == kind).ok_or_else(usage)?;
        let number = what.parse().map_err(|_| usage())?;
        Ok(Device { kind, name, data: data(number), port: None })
    }

    pub(super) fn make(&self, netlink: &mut Netlink) -> Result<(), Errno> {
        let under = name_to_index(&netlink.0, "va")?;
        let (mut info, mut body) = (Vec::new(), vec![0; 16]);
        attribute(&mut info, IFLA_INFO_KIND, format!("{}\0", self.kind).as_bytes());
        attribute(&mut info, IFLA_INFO_DATA, &self.data);
        attribute(&mut body, IFLA_IFNAME, format!("{}\0", self.name).as_bytes());
        if self.kind == "vlan" {
            attribute(&mut body, IFLA_LINK, &under.to_ne_bytes());
        }
        if self.port.is_some() {
            attribute(&mut body, IFLA_ADDRESS, &BRIDGE_ADDRESS);
        }
        attribute(&mut body, IFLA_LINKINFO, &info);
        netlink.request(RTM_NEWLINK, CREATE, &body)?;
        if let Some(port) = self.port {
            let bridge = name_to_index(&netlink.0, self.name)?;
            let mut body = vec![0; 16];
            attribute(&mut body, IFLA_IFNAME, format!("{port}\0").as_bytes());
            attribute(&mut body, IFLA_MASTER, &bridge.to_ne_bytes());
            netlink.request(RTM_NEWLINK, 0, &body)?;
        }
        netlink.set_up(self.name)
    }
}

/// Gives `va` its addresses.
pub(super) fn name_ends(netlink: &mut Netlink) -> Result<(), Errno> {
    let mut link = vec![0; 16];
    attribute(&mut link, IFLA_IFNAME, b"va\0");
    attribute(&mut link, IFLA_ADDRESS, &HERE_ADDRESS);
    netlink.request(RTM_NEWLINK, 0, &link)?;
    let index = name_to_index(&netlink.0, "va")?;
    netlink.give_address(index, IpAddr::V4(Ipv4Addr::from(HERE)), 24)?;
    netlink.give_neighbour(index, IpAddr::V4(Ipv4Addr::from(THERE)), &THERE_ADDRESS)
}

fn attributes(list: &[(u16, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    list.iter().for_each(|(kind, value)| attribute(&mut out, *kind, value));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_checked() {
        let device = Device::parse("vlan va.5 5").unwrap();
        assert_eq!((device.kind, device.name, &device.data[..6]), ("vlan", "va.5", &[6, 0, 1, 0, 5, 0][..]));
        let bridge = Device::parse("bridge br0 vb").unwrap();
        assert_eq!((bridge.kind, bridge.name, bridge.port), ("bridge", "br0", Some("vb")));
        for wrong in ["", "vlan va.5", "bridge br0", "vlan va.5 x", "teapot t 1", "vlan va.5 5 6"] {
            assert!(Device::parse(wrong).err().unwrap().contains("vlan, gre"), "{wrong}");
        }
    }
}
