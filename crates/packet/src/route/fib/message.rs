//! Messages of rtnetlink about routes, next-hop objects, links and addresses, as values. A message that says nothing about what is
//! followed, or makes no sense, is `None`.
//!
//! Layouts: include/uapi/linux/rtnetlink.h (rtmsg, rtnexthop, `RTA_*`), nexthop.h (nhmsg, nexthop_grp, `NHA_*`), if_link.h.

use super::super::Prefix;
use std::net::IpAddr;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_NEWNEXTHOP: u16 = 104;
const RTM_DELNEXTHOP: u16 = 105;
/// `NLM_F_APPEND`: it was put beside another of the same kind.
const APPEND: u16 = 0x800;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
const RTA_ENCAP: u16 = 22;
const RTA_NH_ID: u16 = 30;
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_BLACKHOLE: u16 = 4;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;
const NHA_ENCAP: u16 = 8;
const NHA_FDB: u16 = 11;
/// `RTM_F_CLONED`: an entry of a cache.
const CLONED: u32 = 0x200;
/// `RTNH_F_DEAD`
const DEAD: u8 = 1;
/// `IFF_UP`, `IFF_LOOPBACK`, `IFF_LOWER_UP`
const UP: u32 = 1;
const LOOPBACK: u32 = 1 << 3;
const LOWER_UP: u32 = 1 << 16;
/// Most next hops of a route that are read.
pub(super) const MOST_HOPS: usize = 64;

/// What a message says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A route is there.
    Route {
        /// The route.
        route: KernelRoute,
        /// Beside others to the same destination.
        appended: bool,
    },
    /// A route has gone.
    RouteGone(KernelRoute),
    /// A next-hop object is there, or has gone.
    Object {
        /// Its number.
        id: u32,
        /// What it is.
        object: Option<Object>,
    },
    /// An interface is there as it is now, or has gone.
    Link {
        /// Its index.
        index: u32,
        /// As it is now.
        link: Option<Link>,
    },
    /// An address has come or gone.
    Address,
}

/// What becomes of a route's packets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RouteKind {
    /// They are sent on.
    Forward,
    /// They are dropped (`blackhole`).
    Drop,
    /// The same, and their senders are told (`unreachable`, `prohibit`).
    Refuse,
    /// The kernel does something with them that is not done here (`throw`, encapsulation).
    Leave,
}

/// A route of the kernel's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KernelRoute {
    /// Destinations.
    pub prefix: Prefix,
    /// Of several to the same destinations the lowest counts.
    pub metric: u32,
    /// Number of the table.
    pub table: u32,
    /// Who made it (`RTPROT_*`).
    pub protocol: u8,
    /// What becomes of packets.
    pub kind: RouteKind,
    /// Where to.
    pub ways: Ways,
}

/// Where a route's packets go.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Ways {
    /// To one of these.
    Hops(Vec<KernelHop>),
    /// To what a next-hop object says.
    Object(u32),
}

/// A next hop of the kernel's.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct KernelHop {
    /// The neighbour; without, the destination itself.
    pub gateway: Option<IpAddr>,
    /// Index of the interface.
    pub device: u32,
    /// Share among several.
    pub weight: u16,
    /// It is not used now.
    pub dead: bool,
}

/// A next-hop object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Object {
    /// One next hop.
    Hop(KernelHop),
    /// Others, by number, with their shares.
    Group(Vec<(u32, u16)>),
    /// Packets are dropped.
    Blackhole,
    /// What is not done here.
    Leave,
}

/// An interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// It is turned on.
    pub up: bool,
    /// It is connected.
    pub carrier: bool,
    /// It leads to the machine itself.
    pub loopback: bool,
}

/// Reads a message by its kind, its flags and what follows its header.
pub fn read(kind: u16, flags: u16, body: &[u8]) -> Option<Change> {
    match kind {
        RTM_NEWROUTE => Some(Change::Route { route: route(body)?, appended: flags & APPEND != 0 }),
        RTM_DELROUTE => route(body).map(Change::RouteGone),
        RTM_NEWNEXTHOP | RTM_DELNEXTHOP => {
            let (id, object) = object(body)?;
            Some(Change::Object { id, object: (kind == RTM_NEWNEXTHOP).then_some(object) })
        }
        RTM_NEWLINK | RTM_DELLINK => {
            let flags = u32_at(body.get(..16)?, 8)?;
            let [up, carrier, loopback] = [UP, LOWER_UP, LOOPBACK].map(|bit| flags & bit != 0);
            let link = Link { up, carrier, loopback };
            Some(Change::Link { index: u32_at(body, 4)?, link: (kind == RTM_NEWLINK).then_some(link) })
        }
        RTM_NEWADDR | RTM_DELADDR => Some(Change::Address),
        _ => None,
    }
}

fn route(body: &[u8]) -> Option<KernelRoute> {
    let head: &[u8; 12] = body.get(..12)?.try_into().ok()?;
    let [family, length, source, service, table, protocol, _, what, flags @ ..] = *head;
    // Routes for some senders or services only are none for the others.
    if source != 0 || service != 0 || u32::from_ne_bytes(flags) & CLONED != 0 {
        return None;
    }
    // `RTN_UNICAST`, `RTN_BLACKHOLE` to `RTN_PROHIBIT`, `RTN_THROW`; the others are of the machine itself.
    let mut kind = match what {
        1 => RouteKind::Forward,
        6 => RouteKind::Drop,
        7 | 8 => RouteKind::Refuse,
        9 => RouteKind::Leave,
        _ => return None,
    };
    let any: IpAddr = match family {
        2 => [0; 4].into(),
        10 => [0; 16].into(),
        _ => return None,
    };
    let (mut address, mut metric, mut table) = (any, 0, u32::from(table));
    let (mut one, mut many, mut object) = (hop(&[]), None, None);
    one.dead = u32::from_ne_bytes(flags) & u32::from(DEAD) != 0;
    for (attribute, value) in attributes(body.get(12..)?) {
        match attribute {
            RTA_DST => address = ip(value)?,
            RTA_PRIORITY => metric = u32_at(value, 0)?,
            RTA_TABLE => table = u32_at(value, 0)?,
            RTA_NH_ID => object = Some(u32_at(value, 0)?),
            RTA_MULTIPATH => many = Some(multipath(value)?),
            RTA_ENCAP => kind = RouteKind::Leave,
            _ => one.take(attribute, value)?,
        }
    }
    let prefix = Prefix::new(address, length).ok().filter(|_| address.is_ipv4() == any.is_ipv4())?;
    let (hops, encapsulated) = many.unwrap_or((vec![one], false));
    if encapsulated {
        kind = RouteKind::Leave;
    }
    let ways = match (kind, object) {
        (RouteKind::Forward, Some(id)) => Ways::Object(id),
        (RouteKind::Forward, None) => Ways::Hops(hops),
        _ => Ways::Hops(Vec::new()),
    };
    Some(KernelRoute { prefix, metric, table, protocol, kind, ways })
}

impl KernelHop {
    /// Takes what an attribute of a route or of one of its next hops says.
    fn take(&mut self, attribute: u16, value: &[u8]) -> Option<()> {
        match attribute {
            RTA_OIF => self.device = u32_at(value, 0)?,
            RTA_GATEWAY => self.gateway = Some(ip(value)?),
            // struct rtvia: a family, then the address, which is of another family than the route.
            RTA_VIA => self.gateway = Some(ip(value.get(2..)?)?),
            _ => {}
        }
        Some(())
    }
}

/// A next hop before its attributes: flags, weight and device of a struct rtnexthop behind its length; of nothing, the only one.
fn hop(head: &[u8]) -> KernelHop {
    let (flags, weight) = (head.first().copied().unwrap_or(0), head.get(1).copied().unwrap_or(0));
    let device = u32_at(head, 2).unwrap_or(0);
    KernelHop { gateway: None, device, weight: u16::from(weight) + 1, dead: flags & DEAD != 0 }
}

/// The next hops of `RTA_MULTIPATH`, and whether one of them encapsulates.
fn multipath(mut rest: &[u8]) -> Option<(Vec<KernelHop>, bool)> {
    let (mut hops, mut encapsulated) = (Vec::new(), false);
    while !rest.is_empty() && hops.len() < MOST_HOPS {
        let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
        let this = rest.get(..length)?;
        let mut one = hop(this.get(2..8)?);
        for (attribute, value) in attributes(&this[8..]) {
            encapsulated |= attribute == RTA_ENCAP;
            one.take(attribute, value)?;
        }
        hops.push(one);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    Some((hops, encapsulated))
}

fn object(body: &[u8]) -> Option<(u32, Object)> {
    let flags = u32_at(body.get(..8)?, 4)?;
    let mut one = hop(&[]);
    // The flags are those of a next hop, in 32 bits.
    one.dead = flags & u32::from(DEAD) != 0;
    let (mut id, mut group, mut other) = (None, None, None);
    for (attribute, value) in attributes(&body[8..]) {
        match attribute {
            NHA_ID => id = Some(u32_at(value, 0)?),
            NHA_OIF => one.device = u32_at(value, 0)?,
            NHA_GATEWAY => one.gateway = Some(ip(value)?),
            NHA_BLACKHOLE => other = Some(Object::Blackhole),
            NHA_ENCAP | NHA_FDB => other = Some(Object::Leave),
            NHA_GROUP => {
                // struct nexthop_grp: number, low byte of the weight less one, high byte (6.12).
                let member =
                    |m: &[u8]| Some((u32_at(m, 0)?, u16::from_le_bytes([m[4], m[5]]).saturating_add(1)));
                group = value.chunks_exact(8).take(MOST_HOPS).map(member).collect::<Option<Vec<_>>>();
            }
            _ => {}
        }
    }
    let object = other.or(group.map(Object::Group)).unwrap_or(Object::Hop(one));
    Some((id?, object))
}

/// The attributes of a message behind its fixed part: kind and value. A damaged length ends them.
fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let head: [u8; 4] = rest.get(..4)?.try_into().ok()?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        // The two top bits say nested and network byte order.
        Some((u16::from_ne_bytes([head[2], head[3]]) & 0x3fff, value))
    })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(<[u8; 4]>::try_from(bytes).ok()?.into()),
        16 => Some(<[u8; 16]>::try_from(bytes).ok()?.into()),
        _ => None,
    }
}
