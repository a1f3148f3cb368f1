//! Next hops as they lie in the router's maps: `struct hop` of `programs/router/router.bt`, in the byte order of the machine.

use std::net::IpAddr;

/// What becomes of packets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// Sent on, the time to live counted down.
    Forward = 1,
    /// Gone.
    Drop = 2,
    /// Left to the kernel.
    Pass = 3,
    /// Left to the kernel because the machine itself is meant.
    Local = 4,
    /// Sent out of another interface as it is.
    Redirect = 5,
    /// Gone, and their senders are told that there is no way.
    Unreachable = 6,
}

/// A next hop.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Hop {
    /// What becomes of packets.
    pub kind: Kind,
    /// Index of the interface that they leave through; 0: none.
    pub device: u32,
    /// Most bytes of an IP packet that the interface takes.
    pub mtu: u32,
    /// The neighbour that they are sent to; without, their destination itself.
    pub gateway: Option<IpAddr>,
    /// The interface's own address.
    pub mac: [u8; 6],
    /// Share of the flows among several.
    pub weight: u16,
    /// What takes frames for the interface from XDP programs.
    pub fast: Option<Through>,
    /// Its routes follow the kernel's; those that were written by hand have next hops of their own.
    pub followed: bool,
    /// The CPU that goes on with the packets; `None`: the one that has them.
    pub cpu: Option<u32>,
    /// Tells the route apart that alone leads here, so that it is counted by itself; 0: any may lead here.
    pub owner: u64,
}

/// What takes frames for an interface from XDP programs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Through {
    /// Index of an interface: the same one, or what a VLAN device lies on.
    pub device: u32,
    /// The VLAN tag that they bear there; 0: none.
    pub tag: u16,
}

/// Bytes of a next hop in the map.
pub const HOP_BYTES: usize = 64;
/// Where among them lies what `skep route` puts there: the number under which programs find the gateway's link address.
pub const LINK_AT: usize = 52;
/// Where its owner lies.
pub const OWNER_AT: usize = 56;
/// What stands there when no route leads to it any more: its number may be used again.
pub const SPARE: u64 = u64::MAX;
/// Kinds in the map of what another CPU goes on with: sent on there, or left to the kernel there.
const ON_CPU: (u32, u32) = (7, 8);
/// `AF_INET` and `AF_INET6`.
const FAMILIES: (u32, u32) = (2, 10);

impl Hop {
    /// One that sends nothing on.
    pub fn plain(kind: Kind) -> Hop {
        Hop {
            kind,
            device: 0,
            mtu: 0,
            gateway: None,
            mac: [0; 6],
            weight: 1,
            fast: None,
            followed: false,
            cpu: None,
            owner: 0,
        }
    }

    /// The gateway, on its interface.
    pub fn neighbour(&self) -> Option<(u32, IpAddr)> {
        Some((self.device, self.gateway?))
    }

    /// As it lies in the map.
    pub fn to_bytes(&self) -> [u8; HOP_BYTES] {
        let (family, mut address) = (self.gateway.map_or(0, family_of), [0; 16]);
        match self.gateway {
            Some(IpAddr::V4(a)) => address[..4].copy_from_slice(&a.octets()),
            Some(IpAddr::V6(a)) => address = a.octets(),
            None => {}
        }
        let mut out = [0; HOP_BYTES];
        let kind = match (self.cpu, self.kind) {
            (Some(_), Kind::Forward) => ON_CPU.0,
            (Some(_), Kind::Pass) => ON_CPU.1,
            (_, kind) => kind as u32,
        };
        for (at, word) in [kind, self.device, self.mtu, family].into_iter().enumerate() {
            out[4 * at..4 * at + 4].copy_from_slice(&word.to_ne_bytes());
        }
        out[16..32].copy_from_slice(&address);
        out[32..38].copy_from_slice(&self.mac);
        out[38..40].copy_from_slice(&self.weight.to_ne_bytes());
        let Through { device, tag } = self.fast.unwrap_or(Through { device: 0, tag: 0 });
        out[40..44].copy_from_slice(&device.to_ne_bytes());
        out[44..46].copy_from_slice(&u16::from(self.followed).to_ne_bytes());
        out[46..48].copy_from_slice(&tag.to_ne_bytes());
        out[48..52].copy_from_slice(&self.cpu.unwrap_or(0).to_ne_bytes());
        out[OWNER_AT..].copy_from_slice(&self.owner.to_ne_bytes());
        out
    }

    /// From the map; `None` for an entry that holds none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Hop> {
        let bytes: &[u8; HOP_BYTES] = bytes.get(..HOP_BYTES)?.try_into().ok()?;
        let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let half = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let kind = match word(0)? {
            1 => Kind::Forward,
            kind if kind == ON_CPU.0 => Kind::Forward,
            kind if kind == ON_CPU.1 => Kind::Pass,
            2 => Kind::Drop,
            3 => Kind::Pass,
            4 => Kind::Local,
            5 => Kind::Redirect,
            6 => Kind::Unreachable,
            _ => return None,
        };
        let address: [u8; 16] = bytes[16..32].try_into().ok()?;
        let gateway = match word(12)? {
            family if family == FAMILIES.0 => {
                Some(IpAddr::from([address[0], address[1], address[2], address[3]]))
            }
            family if family == FAMILIES.1 => Some(IpAddr::from(address)),
            _ => None,
        };
        Some(Hop {
            kind,
            device: word(4)?,
            mtu: word(8)?,
            gateway,
            mac: bytes[32..38].try_into().ok()?,
            weight: half(38),
            fast: Some(Through { device: word(40)?, tag: half(46) }).filter(|through| through.device != 0),
            followed: half(44) != 0,
            cpu: word(48).filter(|_| word(0).is_some_and(|kind| kind == ON_CPU.0 || kind == ON_CPU.1)),
            owner: u64::from_ne_bytes(bytes[OWNER_AT..].try_into().ok()?),
        })
    }
}

/// The kernel's number of an address' family.
fn family_of(address: IpAddr) -> u32 {
    if address.is_ipv4() { FAMILIES.0 } else { FAMILIES.1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_back() {
        for gateway in [None, Some("192.0.2.1".parse().unwrap()), Some("fe80::1".parse().unwrap())] {
            let (mac, fast) =
                ([2, 0, 0, 0, 0, 9], Some(Through { device: 4, tag: gateway.map_or(0, |_| 100) }));
            let plain = Hop::plain(Kind::Forward);
            let hop = Hop { device: 7, mtu: 1500, gateway, mac, weight: 3, fast, followed: true, ..plain };
            let other = Hop { cpu: Some(0), owner: 1 << 60 | 5, ..hop.clone() };
            assert_eq!(Hop::from_bytes(&hop.to_bytes()), Some(hop));
            assert_eq!(Hop::from_bytes(&other.to_bytes()), Some(other));
        }
        let pass = Hop { cpu: Some(3), ..Hop::plain(Kind::Pass) };
        assert_eq!(Hop::from_bytes(&pass.to_bytes()), Some(pass));
        assert_eq!(Hop::from_bytes(&[0; HOP_BYTES]), None);
        assert_eq!(Hop::from_bytes(&[1; 8]), None);
    }
}
