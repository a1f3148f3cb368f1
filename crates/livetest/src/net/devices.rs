//! Devices on top of `va`: a VLAN, or one end of a tunnel whose other end is who sends and receives at `vb`.
//!
//! In: `vlan NAME ID`, `gre NAME KEY`, `geneve NAME VNI`, `vxlan NAME VNI`. Out: the device, up. Always: `va` is then 10.0.0.2 with
//! the hardware address 02:00:00:00:00:02, and knows 10.0.0.1 at 02:00:00:00:00:01; tunnels go between these.

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

const RTM_NEWADDR: u16 = 20;
const RTM_NEWNEIGH: u16 = 28;
const AF_INET: u8 = 2;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_PERMANENT: u16 = 0x80;
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
}

impl Device<'_> {
    pub(super) fn parse(line: &str) -> Result<Device<'_>, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let usage = || {
            let kinds = KINDS.map(|(kind, _)| kind).join(", ");
            format!("expected KIND NAME NUMBER with KIND one of {kinds}, found `{line}`")
        };
        let [kind, name, number] = words[..] else { return Err(usage()) };
        let (kind, data) = KINDS.iter().find(|(known, _)| *known == kind).ok_or_else(usage)?;
        let number = number.parse().map_err(|_| usage())?;
        Ok(Device { kind, name, data: data(number) })
    }
}

/// Gives `va` its addresses and makes the devices.
pub(super) fn make(netlink: &mut Netlink, lines: &[String]) -> Result<(), String> {
    let under = name_to_index(&netlink.0, "va").map_err(|error| format!("va: {error}"))?;
    netlink.address(under).map_err(|error| format!("the addresses of va: {error}"))?;
    for line in lines {
        let device = Device::parse(line)?;
        let made = netlink.add(&device, under).and_then(|()| netlink.set_up(device.name));
        made.map_err(|error| format!("making `{line}`: {error}"))?;
    }
    Ok(())
}

impl Netlink {
    fn address(&mut self, index: u32) -> Result<(), Errno> {
        let mut link = vec![0; 16];
        attribute(&mut link, IFLA_IFNAME, b"va\0");
        attribute(&mut link, IFLA_ADDRESS, &HERE_ADDRESS);
        self.request(RTM_NEWLINK, 0, &link)?;
        // struct ifaddrmsg: family, length of the prefix, flags, scope, index.
        let mut address = vec![AF_INET, 24, 0, 0];
        address.extend(index.to_ne_bytes());
        attribute(&mut address, IFA_LOCAL, &HERE);
        attribute(&mut address, IFA_ADDRESS, &HERE);
        self.request(RTM_NEWADDR, CREATE, &address)?;
        // struct ndmsg: family, padding, index, state, flags, type.
        let mut neighbour = vec![AF_INET, 0, 0, 0];
        neighbour.extend(index.to_ne_bytes());
        neighbour.extend(NUD_PERMANENT.to_ne_bytes());
        neighbour.extend([0, 0]);
        attribute(&mut neighbour, NDA_DST, &THERE);
        attribute(&mut neighbour, NDA_LLADDR, &THERE_ADDRESS);
        self.request(RTM_NEWNEIGH, CREATE, &neighbour)
    }

    fn add(&mut self, device: &Device<'_>, under: u32) -> Result<(), Errno> {
        let (mut info, mut body) = (Vec::new(), vec![0; 16]);
        attribute(&mut info, IFLA_INFO_KIND, format!("{}\0", device.kind).as_bytes());
        attribute(&mut info, IFLA_INFO_DATA, &device.data);
        attribute(&mut body, IFLA_IFNAME, format!("{}\0", device.name).as_bytes());
        if device.kind == "vlan" {
            attribute(&mut body, IFLA_LINK, &under.to_ne_bytes());
        }
        attribute(&mut body, IFLA_LINKINFO, &info);
        self.request(RTM_NEWLINK, CREATE, &body)
    }
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
        for wrong in ["", "vlan va.5", "vlan va.5 x", "teapot t 1", "vlan va.5 5 6"] {
            assert!(Device::parse(wrong).err().unwrap().contains("vlan, gre"), "{wrong}");
        }
    }
}
