//! Interfaces as a router needs them, from netlink, in the network namespace of the calling thread: addresses, and
//! the programs that an interface itself holds, which stay when whoever attached them has ended.
//!
//! Layouts: include/uapi/linux/rtnetlink.h, if_link.h (`IFLA_XDP_*`), if_addr.h, genetlink.h, netdev.h.

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Duration;

use rustix::io::Errno;

use crate::error::Error;
use crate::netlink::{DUMP, Netlink, attributes, ip, list, put, u32_at};
use crate::prog::Prog;
use crate::sys;

pub use crate::link::tc::{HeldFilter, held as tc_filters, hold as hold_tc};
pub use crate::neighbour::{Neighbour, keep_known, keep_one_known, neighbours};

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_VLAN_PROTOCOL: u16 = 5;
/// `ETH_P_8021Q`
const VLAN: u16 = 0x8100;
/// `ARPHRD_ETHER`
const ETHERNET: u32 = 1;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_FD: u16 = 1;
const IFLA_XDP_FLAGS: u16 = 3;
const IFLA_XDP_PROG_ID: u16 = 4;
/// `NLA_F_NESTED`
const NESTED: u16 = 1 << 15;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// `XDP_FLAGS_UPDATE_IF_NOEXIST`, `XDP_FLAGS_DRV_MODE`
const IF_NOEXIST: u32 = 1;
const NATIVE: u32 = 1 << 2;
/// `GENL_ID_CTRL`, `CTRL_CMD_GETFAMILY`, `CTRL_ATTR_FAMILY_ID`, `CTRL_ATTR_FAMILY_NAME`
const CONTROL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// `NETDEV_CMD_DEV_GET`, `NETDEV_A_DEV_IFINDEX`, `NETDEV_A_DEV_XDP_FEATURES`, `NETDEV_XDP_ACT_NDO_XMIT`
const DEV_GET: u8 = 1;
const DEV_IFINDEX: u16 = 1;
const DEV_XDP_FEATURES: u16 = 3;
const NDO_XMIT: u64 = 4;
/// `NETDEV_XDP_ACT_BASIC`
const BASIC: u64 = 1;
/// `ETH_FLAG_RXVLAN` (include/uapi/linux/ethtool.h)
const RXVLAN: u32 = 1 << 8;

/// An interface.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Device {
    /// Name.
    pub name: String,
    /// Index.
    pub index: u32,
    /// Largest IP packet in bytes.
    pub mtu: u32,
    /// Its own address; zeros where it has none of six bytes.
    pub mac: [u8; 6],
    /// Id of the XDP program that it runs.
    pub xdp: Option<u32>,
    /// Kind of its hardware (`ARPHRD_*`, include/uapi/linux/if_arp.h).
    pub hardware: u32,
    /// What the kernel calls it: `veth`, `vlan`, `bridge`, `tun`; empty for a network card.
    pub kind: String,
    /// Of a VLAN device (802.1Q) what it lies on.
    pub tag: Option<Tag>,
}

/// What a VLAN device lies on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tag {
    /// Index of the interface whose frames bear the tag.
    pub lower: u32,
    /// The tag's number.
    pub id: u16,
}

impl Device {
    /// Whether its frames begin with an Ethernet header.
    pub fn is_ethernet(&self) -> bool {
        self.hardware == ETHERNET
    }

    /// Whether it is one end of a pair, whose other end leaves checksums of what it sends undone.
    pub fn is_veth(&self) -> bool {
        self.kind == "veth"
    }
}

/// An address of an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    /// Index of the interface.
    pub device: u32,
    /// The address.
    pub address: IpAddr,
    /// The network that it lies in: another address of it, and how many bits it has.
    pub network: (IpAddr, u8),
}

/// All interfaces, by index.
pub fn devices() -> Result<Vec<Device>, Error> {
    devices_by(&mut Netlink::open().map_err(unlisted)?)
}

fn unlisted(errno: Errno) -> Error {
    Error::os("list network interfaces", errno)
}

/// All interfaces of the network namespace in which the socket was opened, by index.
pub(crate) fn devices_by(netlink: &mut Netlink) -> Result<Vec<Device>, Error> {
    let answer = netlink.request(RTM_GETLINK, DUMP, &[0; 16]).map_err(unlisted)?;
    let mut all: Vec<Device> =
        answer.iter().filter(|m| m.kind == RTM_NEWLINK).filter_map(|m| device(&m.body)).collect();
    all.sort_by_key(|d| d.index);
    Ok(all)
}

fn device(body: &[u8]) -> Option<Device> {
    let head = body.get(..16)?;
    let hardware = u32::from(u16::from_ne_bytes([head[2], head[3]]));
    let mut found = Device { index: u32_at(head, 4), hardware, ..Device::default() };
    let mut lower = 0;
    for (kind, value) in attributes(&body[16..]) {
        match kind {
            IFLA_IFNAME => {
                found.name = word(value);
            }
            IFLA_MTU => found.mtu = u32_at(value, 0),
            IFLA_ADDRESS => found.mac = value.try_into().unwrap_or([0; 6]),
            IFLA_LINK => lower = u32_at(value, 0),
            IFLA_LINKINFO => {
                let part = |wanted: u16| attributes(value).find(|(kind, _)| *kind == wanted).map(|p| p.1);
                found.kind = part(IFLA_INFO_KIND).map(word).unwrap_or_default();
                let data = part(IFLA_INFO_DATA).filter(|_| found.kind == "vlan");
                found.tag = data.and_then(tag);
            }
            IFLA_XDP => {
                let id = attributes(value).find(|(kind, _)| *kind == IFLA_XDP_PROG_ID);
                found.xdp = id.map(|(_, id)| u32_at(id, 0)).filter(|id| *id != 0);
            }
            _ => {}
        }
    }
    match &mut found.tag {
        Some(tag) if lower != 0 => tag.lower = lower,
        // What it lies on is in another network namespace.
        other => *other = None,
    }
    (!found.name.is_empty()).then_some(found)
}

/// Bytes up to a zero.
fn word(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// What a VLAN device says of itself; on what it lies is said elsewhere.
fn tag(data: &[u8]) -> Option<Tag> {
    let (mut id, mut protocol) = (None, VLAN);
    for (kind, value) in attributes(data) {
        match kind {
            IFLA_VLAN_ID => id = Some(u16::from_ne_bytes(value.get(..2)?.try_into().ok()?)),
            IFLA_VLAN_PROTOCOL => protocol = u16::from_be_bytes(value.get(..2)?.try_into().ok()?),
            _ => {}
        }
    }
    Some(Tag { lower: 0, id: id.filter(|_| protocol == VLAN)? })
}

/// The addresses of all interfaces.
pub fn addresses() -> Result<Vec<Address>, Error> {
    let answer = list("addresses", RTM_GETADDR, &[0; 8])?;
    Ok(answer.iter().filter(|m| m.kind == RTM_NEWADDR).filter_map(|m| address(&m.body)).collect())
}

fn address(body: &[u8]) -> Option<Address> {
    let head = body.get(..8)?;
    let (mut own, mut other) = (None, None);
    for (kind, value) in attributes(&body[8..]) {
        match kind {
            IFA_LOCAL => own = ip(value),
            // Of a point-to-point interface the peer's, else the same.
            IFA_ADDRESS => other = ip(value),
            _ => {}
        }
    }
    let address = own.or(other)?;
    Some(Address { device: u32_at(head, 4), address, network: (other.unwrap_or(address), head[1]) })
}

/// Gives an interface an XDP program that stays, in its driver; `false` where the driver runs none. An interface that has one is
/// left as it is, which is an error.
pub fn hold_xdp(prog: &Prog, device: &Device) -> Result<bool, Error> {
    match set_xdp(device.index, prog.as_fd().as_raw_fd(), NATIVE | IF_NOEXIST) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::RANGE) => Ok(false),
        Err(Errno::BUSY | Errno::EXIST) => Err(Error::Unavailable {
            what: format!("XDP on {}", device.name),
            why: "another XDP program is attached there, and an interface has one (`skep links` lists them)"
                .into(),
        }),
        Err(errno) => Err(Error::os(format!("attach XDP to {}", device.name), errno)),
    }
}

/// Gives an interface that has an XDP program in its driver another, in one step: each packet is seen by the old or by the new one.
pub fn replace_xdp(prog: &Prog, device: &Device) -> Result<(), Error> {
    set_xdp(device.index, prog.as_fd().as_raw_fd(), NATIVE)
        .map_err(|errno| Error::os(format!("give {} another XDP program", device.name), errno))
}

/// Takes the XDP program of an interface away.
pub fn release_xdp(device: &Device) -> Result<(), Error> {
    set_xdp(device.index, -1, 0).map_err(|errno| Error::os(format!("take XDP off {}", device.name), errno))
}

fn set_xdp(index: u32, fd: i32, flags: u32) -> Result<(), Errno> {
    let mut body = vec![0; 16];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    let mut xdp = Vec::new();
    put(&mut xdp, IFLA_XDP_FD, &fd.to_ne_bytes());
    put(&mut xdp, IFLA_XDP_FLAGS, &flags.to_ne_bytes());
    put(&mut body, IFLA_XDP | NESTED, &xdp);
    Netlink::open()?.request(RTM_SETLINK, 0, &body).map(drop)
}

/// Whether an interface takes frames that XDP programs send to it; `false` where the kernel does not say (before 6.3).
pub fn takes_frames(index: u32) -> bool {
    features(index).is_ok_and(|features| features & NDO_XMIT != 0)
}

/// Whether the driver of an interface runs XDP programs; `None` where the kernel does not say (before 6.3).
pub fn runs_xdp(index: u32) -> Option<bool> {
    features(index).ok().map(|features| features & BASIC != 0)
}

/// Whether the card of an interface takes the outermost VLAN tag out of what it receives, so that XDP programs do not see it.
pub fn takes_tags_off(name: &str) -> Result<bool, Error> {
    let flags = sys::ethtool::flags(name);
    let flags = flags.or_else(|errno| if errno == Errno::OPNOTSUPP { Ok(0) } else { Err(errno) });
    flags
        .map(|flags| flags & RXVLAN != 0)
        .map_err(|errno| Error::os(format!("ask {name} whether it takes VLAN tags off"), errno))
}

/// Lets the card of an interface take VLAN tags off what it receives, or leave them; `false` where it cannot.
pub fn take_tags_off(name: &str, on: bool) -> Result<bool, Error> {
    let set = sys::ethtool::flags(name)
        .and_then(|flags| sys::ethtool::set_flags(name, if on { flags | RXVLAN } else { flags & !RXVLAN }));
    match set {
        Ok(()) => Ok(takes_tags_off(name)? == on),
        Err(Errno::OPNOTSUPP | Errno::INVAL) => Ok(false),
        Err(errno) => Err(Error::os(format!("change how {name} handles VLAN tags"), errno)),
    }
}

fn features(index: u32) -> Result<u64, Errno> {
    let mut netlink = Netlink::open_generic()?;
    let mut body = vec![GET_FAMILY, 1, 0, 0];
    put(&mut body, FAMILY_NAME, b"netdev\0");
    let answer = netlink.request(CONTROL, 0, &body)?;
    let family = answer.iter().find_map(|m| {
        let (_, id) = attributes(m.body.get(4..)?).find(|(kind, _)| *kind == FAMILY_ID)?;
        Some(u16::from_ne_bytes(id.try_into().ok()?))
    });
    let mut body = vec![DEV_GET, 1, 0, 0];
    put(&mut body, DEV_IFINDEX, &index.to_ne_bytes());
    let answer = netlink.request(family.ok_or(Errno::NOENT)?, 0, &body)?;
    let features = answer.iter().find_map(|m| {
        let (_, bits) = attributes(m.body.get(4..)?).find(|(kind, _)| *kind == DEV_XDP_FEATURES)?;
        Some(u64::from_ne_bytes(bits.try_into().ok()?))
    });
    features.ok_or(Errno::NOENT)
}

/// The number of this thread's network namespace.
pub fn namespace() -> Result<u64, Error> {
    let place = "/proc/thread-self/ns/net";
    let data = std::fs::metadata(place).map_err(|e| Error::io(format!("read {place}"), &e))?;
    Ok(data.ino())
}

/// A right that one process of a network namespace has at a time; its end gives it back.
#[derive(Debug)]
pub struct Turn {
    /// An abstract name belongs to the namespace and goes with the process.
    _name: UnixListener,
}

/// Most tries to take a right, and the time between two of them: ten seconds in all.
const TRIES: u32 = 1000;
const BETWEEN: Duration = Duration::from_millis(10);

/// Takes the right called `name`; `None` where another keeps it for too long.
pub fn turn(name: &str) -> Result<Option<Turn>, Error> {
    for _ in 0..TRIES {
        let turn = try_turn(name)?;
        if turn.is_some() {
            return Ok(turn);
        }
        std::thread::sleep(BETWEEN);
    }
    Ok(None)
}

/// Takes the right called `name`; `None` where another has it.
pub fn try_turn(name: &str) -> Result<Option<Turn>, Error> {
    let failed = |e: std::io::Error| Error::io(format!("take the name {name}"), &e);
    let address = SocketAddr::from_abstract_name(name).map_err(failed)?;
    match UnixListener::bind_addr(&address) {
        Ok(listener) => Ok(Some(Turn { _name: listener })),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_its_address() {
        let lo = devices().unwrap().into_iter().find(|d| d.name == "lo").unwrap();
        assert_eq!((lo.mac, lo.xdp), ([0; 6], None));
        assert!(!lo.is_ethernet() && lo.kind.is_empty() && lo.tag.is_none());
        assert!(!takes_tags_off("lo").unwrap() && !take_tags_off("lo", true).unwrap());
        assert!(takes_tags_off("no-such-device").is_err());
        let all = addresses().unwrap();
        let own =
            all.iter().find(|a| a.device == lo.index && a.address == IpAddr::from([127, 0, 0, 1])).unwrap();
        assert_eq!(own.network.1, 8);
        assert!(!takes_frames(lo.index));
    }

    #[test]
    fn vlan_devices_say_what_they_lie_on() {
        let mut body = vec![0, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let (mut data, mut info) = (Vec::new(), Vec::new());
        put(&mut data, IFLA_VLAN_ID, &100u16.to_ne_bytes());
        put(&mut data, IFLA_VLAN_PROTOCOL, &VLAN.to_be_bytes());
        put(&mut info, IFLA_INFO_KIND, b"vlan\0");
        put(&mut info, IFLA_INFO_DATA | NESTED, &data);
        put(&mut body, IFLA_IFNAME, b"eth3.100\0");
        put(&mut body, IFLA_LINKINFO, &info);
        assert_eq!(device(&body).unwrap().tag, None, "on nothing that is known");
        put(&mut body, IFLA_LINK, &7u32.to_ne_bytes());
        let found = device(&body).unwrap();
        assert_eq!(
            (found.tag, found.is_ethernet()),
            (Some(Tag { lower: 7, id: 100 }), cfg!(target_endian = "little"))
        );
    }

    #[test]
    fn short_messages_are_nothing() {
        assert_eq!(device(&[0; 15]), None);
        assert_eq!(address(&[0; 7]), None);
    }

    #[test]
    fn one_at_a_time() {
        let name = format!("skep-test-{}", std::process::id());
        let first = try_turn(&name).unwrap();
        assert!(first.is_some());
        assert!(try_turn(&name).unwrap().is_none());
        drop(first);
        assert!(turn(&name).unwrap().is_some());
    }
}
