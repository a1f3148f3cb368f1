//! Routes and neighbours (`bpf_fib_lookup()`, `bpf_check_mtu()`, net/core/filter.c), from the tables of the environment.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::io::Errno;
use skep_bpf::helpers::id;

use super::packet::ETHERNET;
use super::{Answer, Call, failed};
use crate::helpers::env::net::{Net, Route, RouteKind};

/// `BPF_FIB_LOOKUP_*` and `BPF_FIB_LKUP_RET_*` (include/uapi/linux/bpf.h).
mod code {
    pub(super) const DIRECT: u64 = 1;
    pub(super) const SKIP_NEIGH: u64 = 4;
    pub(super) const TBID: u64 = 8;
    pub(super) const SRC: u64 = 16;
    pub(super) const KNOWN: u64 = 63;
    pub(super) const SUCCESS: u64 = 0;
    pub(super) const BLACKHOLE: u64 = 1;
    pub(super) const UNREACHABLE: u64 = 2;
    pub(super) const PROHIBIT: u64 = 3;
    pub(super) const NOT_FWDED: u64 = 4;
    pub(super) const FWD_DISABLED: u64 = 5;
    pub(super) const NO_NEIGH: u64 = 7;
    pub(super) const FRAG_NEEDED: u64 = 8;
    pub(super) const NO_SRC_ADDR: u64 = 9;
}

/// Bytes of `struct bpf_fib_lookup`, and where its fields are.
const SIZE: usize = 64;
const FAMILY: usize = 0;
const LENGTH: usize = 6;
const IFINDEX: usize = 8;
const METRIC: usize = 12;
const SOURCE: usize = 16;
const DESTINATION: usize = 32;
const TABLE: usize = 48;
const OWN_MAC: usize = 52;
const MAC: usize = 58;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// `struct bpf_fib_lookup`.
struct Lookup {
    bytes: [u8; SIZE],
}

impl Lookup {
    fn word(&self, at: usize) -> u32 {
        let mut word = [0; 4];
        word.copy_from_slice(&self.bytes[at..at + 4]);
        u32::from_ne_bytes(word)
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn address(&self, at: usize) -> Option<IpAddr> {
        match self.bytes[FAMILY] {
            AF_INET => self.bytes[at..].first_chunk::<4>().map(|b| Ipv4Addr::from(*b).into()),
            AF_INET6 => self.bytes[at..].first_chunk::<16>().map(|b| Ipv6Addr::from(*b).into()),
            _ => None,
        }
    }

    fn put_address(&mut self, at: usize, address: IpAddr) {
        match address {
            IpAddr::V4(ip) => self.put(at, &ip.octets()),
            IpAddr::V6(ip) => self.put(at, &ip.octets()),
        }
    }

    /// Follows a route (bpf_fib_set_fwd_params and around it).
    fn follow(&mut self, net: &Net, route: &Route, flags: u64, len: u32) -> u64 {
        match route.kind {
            RouteKind::Unicast => {}
            RouteKind::Blackhole => return code::BLACKHOLE,
            RouteKind::Unreachable => return code::UNREACHABLE,
            RouteKind::Prohibit => return code::PROHIBIT,
            RouteKind::Local => return code::NOT_FWDED,
        }
        let mtu = if route.mtu > 0 { route.mtu } else { net.mtu(route.ifindex) };
        // A length of the header is checked against the route; without one the packet is, against the interface.
        let wanted = u32::from(u16::from_ne_bytes([self.bytes[LENGTH], self.bytes[LENGTH + 1]]));
        if wanted > 0 && wanted > mtu {
            self.put(LENGTH, &(mtu as u16).to_ne_bytes());
            return code::FRAG_NEEDED;
        }
        if flags & code::SRC != 0 {
            match route.source {
                Some(source) => self.put_address(SOURCE, source),
                None => return code::NO_SRC_ADDR,
            }
        }
        let hop = route.gateway.or_else(|| self.address(DESTINATION));
        if let Some(gateway) = route.gateway {
            if gateway.is_ipv6() {
                self.bytes[FAMILY] = AF_INET6;
            }
            self.put_address(DESTINATION, gateway);
        }
        self.put(IFINDEX, &route.ifindex.to_ne_bytes());
        self.put(METRIC, &route.metric.to_ne_bytes());
        if flags & code::SKIP_NEIGH == 0 {
            let Some(mac) = hop.and_then(|hop| net.neighbours.get(&(route.ifindex, hop))) else {
                return code::NO_NEIGH;
            };
            let own = net.devices.get(&route.ifindex).map_or([0; 6], |device| device.mac);
            self.put(MAC, mac);
            self.put(OWN_MAC, &own);
        }
        self.put(TABLE, &[0; 4]);
        if wanted == 0 && len > 0 && len > mtu + ETHERNET {
            self.put(LENGTH, &(mtu as u16).to_ne_bytes());
            return code::FRAG_NEEDED;
        }
        self.put(LENGTH, &(mtu as u16).to_ne_bytes());
        code::SUCCESS
    }
}

pub(super) fn fib_lookup(call: &mut Call<'_>) -> Answer {
    call.context("fib_lookup", 1)?;
    let size = call.length("fib_lookup", 3)?;
    let given = call.fixed(2, size)?;
    call.writable(2, size)?;
    if let Some(r0) = call.recorded(id::FIB_LOOKUP)? {
        return Ok(r0);
    }
    let flags = call.arg(4);
    let Some(bytes) = given.first_chunk::<SIZE>().copied().filter(|_| flags & !code::KNOWN == 0) else {
        return Ok(failed(Errno::INVAL));
    };
    let mut lookup = Lookup { bytes };
    let Some(to) = lookup.address(DESTINATION) else { return Ok(failed(Errno::AFNOSUPPORT)) };
    let net = &call.state.env.net;
    let incoming = lookup.word(IFINDEX);
    if !net.has_device(incoming) {
        return Ok(failed(Errno::NODEV));
    }
    if net.devices.get(&incoming).is_some_and(|device| !device.forwarding) {
        return Ok(code::FWD_DISABLED);
    }
    let table = match flags & (code::DIRECT | code::TBID) {
        both if both == code::DIRECT | code::TBID => Some(lookup.word(TABLE)),
        _ => None,
    };
    let Some(route) = net.route(table, to) else { return Ok(code::NOT_FWDED) };
    // XDP programs say the length themselves; of a __sk_buff it is the packet's.
    let xdp = call.state.run.prog_type == skep_bpf::kinds::ProgType::Xdp;
    let len = call.state.run.packet.filter(|_| !xdp).map_or(0, |packet| packet.len());
    let result = lookup.follow(net, route, flags, len);
    call.put(2, &lookup.bytes)?;
    Ok(result)
}

/// `BPF_MTU_CHK_RET_FRAG_NEEDED`.
const FRAG_NEEDED: u64 = 1;
/// Smallest packet of the check (`BPF_MTU_CHK_SEGS` is for GSO packets, which the machine does not have).
const CHECK_FLAGS: u64 = 1;

pub(super) fn check_mtu(call: &mut Call<'_>) -> Answer {
    let packet = call.packet("check_mtu")?;
    let given = call.fixed(3, 4)?;
    call.writable(3, 4)?;
    let [_, ifindex, _, difference, flags] = call.args;
    if flags & !CHECK_FLAGS != 0 {
        return Ok(failed(Errno::INVAL));
    }
    let own = call.field(if call.state.run.prog_type == skep_bpf::kinds::ProgType::Xdp {
        "ingress_ifindex"
    } else {
        "ifindex"
    });
    let ifindex = if ifindex as u32 == 0 { own as u32 } else { ifindex as u32 };
    let net = &call.state.env.net;
    if ifindex != 0 && !net.has_device(ifindex) {
        return Ok(failed(Errno::NODEV));
    }
    let mtu = net.mtu(ifindex);
    let mut length = [0; 4];
    length.copy_from_slice(&given);
    // A length in the argument is one without link-layer header.
    let len = match u32::from_ne_bytes(length) {
        0 => i64::from(packet.len()) - i64::from(call.state.run.network_offset),
        len => i64::from(len),
    };
    call.put(3, &mtu.to_ne_bytes())?;
    let after = len + i64::from(difference as i32);
    Ok(if after <= i64::from(mtu) { 0 } else { FRAG_NEEDED })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helpers::env::net::Device;

    fn net() -> Net {
        let mut net = Net::default();
        let device = Device { name: "out".to_owned(), mtu: 1400, mac: [2; 6], forwarding: true };
        net.devices.insert(2, device);
        let mut add = |prefix: &str, bits, kind, gateway: Option<&str>| {
            net.routes.push(Route {
                table: 254,
                prefix: prefix.parse().unwrap(),
                bits,
                kind,
                ifindex: 2,
                gateway: gateway.map(|ip| ip.parse().unwrap()),
                source: None,
                mtu: 0,
                metric: 7,
            });
        };
        add("10.0.0.0", 8, RouteKind::Unicast, Some("192.168.0.1"));
        add("10.9.0.0", 16, RouteKind::Blackhole, None);
        net.neighbours.insert((2, "192.168.0.1".parse().unwrap()), [9; 6]);
        net
    }

    fn lookup(to: [u8; 4], len: u16) -> Lookup {
        let mut lookup = Lookup { bytes: [0; SIZE] };
        lookup.bytes[FAMILY] = AF_INET;
        lookup.put(DESTINATION, &to);
        lookup.put(LENGTH, &len.to_ne_bytes());
        lookup
    }

    fn ask(to: [u8; 4], len: u16, flags: u64) -> (u64, Lookup) {
        let (net, mut lookup) = (net(), lookup(to, len));
        let route = net.route(None, lookup.address(DESTINATION).unwrap()).unwrap().clone();
        (lookup.follow(&net, &route, flags, 0), lookup)
    }

    #[test]
    fn a_route_gives_interface_and_addresses() {
        let (result, found) = ask([10, 1, 2, 3], 0, 0);
        assert_eq!(result, code::SUCCESS);
        assert_eq!((found.word(IFINDEX), found.word(METRIC)), (2, 7));
        assert_eq!(found.bytes[MAC..MAC + 6], [9; 6]);
        assert_eq!(found.bytes[OWN_MAC..OWN_MAC + 6], [2; 6]);
        assert_eq!(found.bytes[DESTINATION..DESTINATION + 4], [192, 168, 0, 1]);
        assert_eq!(found.bytes[LENGTH..LENGTH + 2], 1400u16.to_ne_bytes());
    }

    #[test]
    fn what_cannot_be_sent_says_why() {
        assert_eq!(ask([10, 9, 2, 3], 0, 0).0, code::BLACKHOLE);
        assert_eq!(ask([10, 1, 2, 3], 1401, 0).0, code::FRAG_NEEDED);
        assert_eq!(ask([10, 1, 2, 3], 1400, code::SRC).0, code::NO_SRC_ADDR);
        let mut net = net();
        net.neighbours.clear();
        let mut asked = lookup([10, 1, 2, 3], 0);
        let route = net.routes[0].clone();
        assert_eq!(asked.follow(&net, &route, 0, 0), code::NO_NEIGH);
        assert_eq!(asked.follow(&net, &route, code::SKIP_NEIGH, 0), code::SUCCESS);
    }
}
