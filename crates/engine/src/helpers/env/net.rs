//! The network around a program: interfaces, routes, neighbours, sockets. All empty at first; a test sets what it needs.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::vm::memory::Addr;

/// An interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// Name.
    pub name: String,
    /// Largest packet without link-layer header.
    pub mtu: u32,
    /// Link-layer address.
    pub mac: [u8; 6],
    /// Whether it forwards.
    pub forwarding: bool,
}

/// What a route does with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RouteKind {
    /// Sends it on.
    Unicast,
    /// It is for this machine.
    Local,
    /// Drops it.
    Blackhole,
    /// Drops it and says so.
    Unreachable,
    /// Drops it and says that it is forbidden.
    Prohibit,
}

/// A route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// Table (254: main).
    pub table: u32,
    /// Destination's first bits.
    pub prefix: IpAddr,
    /// How many bits count.
    pub bits: u8,
    /// What happens.
    pub kind: RouteKind,
    /// Interface.
    pub ifindex: u32,
    /// Next hop; `None`: the destination itself.
    pub gateway: Option<IpAddr>,
    /// Source address for packets of this machine.
    pub source: Option<IpAddr>,
    /// Largest packet; 0: the interface's.
    pub mtu: u32,
    /// Metric, smaller is better.
    pub metric: u32,
}

/// A socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Socket {
    /// Cookie: its name in this machine.
    pub cookie: u64,
    /// IPPROTO_TCP (6) or IPPROTO_UDP (17), or another.
    pub protocol: u32,
    /// `TCP_*` state: 1 established, 10 listening.
    pub state: u32,
    /// Own address.
    pub local: SocketAddr,
    /// The other side's, where connected.
    pub remote: Option<SocketAddr>,
    /// Interface that it is bound to; 0: none.
    pub device: u32,
    /// Mark.
    pub mark: u32,
    /// Priority.
    pub priority: u32,
    /// Owner.
    pub uid: u32,
    /// Cgroup ids from the root's down to its own.
    pub cgroups: Vec<u64>,
}

impl Socket {
    /// A socket of TCP: connected where there is a remote address, else listening.
    pub fn tcp(cookie: u64, local: SocketAddr, remote: Option<SocketAddr>) -> Socket {
        Socket {
            cookie,
            protocol: 6,
            state: if remote.is_some() { 1 } else { 10 },
            local,
            remote,
            device: 0,
            mark: 0,
            priority: 0,
            uid: 0,
            cgroups: vec![1],
        }
    }

    /// A socket of UDP.
    pub fn udp(cookie: u64, local: SocketAddr, remote: Option<SocketAddr>) -> Socket {
        Socket {
            protocol: 17,
            state: if remote.is_some() { 1 } else { 7 },
            ..Socket::tcp(cookie, local, remote)
        }
    }
}

/// A socket that a program holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// Cookie.
    pub cookie: u64,
    /// How often it was found and not released.
    pub references: u32,
}

/// All of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Net {
    /// Interfaces by index. While there is none, every index counts as one with an MTU of 1500.
    pub devices: BTreeMap<u32, Device>,
    /// Routes.
    pub routes: Vec<Route>,
    /// Link-layer addresses by interface and address.
    pub neighbours: BTreeMap<(u32, IpAddr), [u8; 6]>,
    /// Sockets.
    pub sockets: Vec<Socket>,
    /// Cookie of the socket that the packet or event belongs to.
    pub socket: Option<u64>,
    /// Cookie of the network namespace.
    pub netns: u64,
    /// Tunnel key of the packet (`struct bpf_tunnel_key`), and its options.
    pub tunnel_key: Option<Vec<u8>>,
    /// Options of the tunnel.
    pub tunnel_options: Option<Vec<u8>>,
    /// Class of the cgroup (net_cls).
    pub classid: u32,
    /// Realm of the packet's route.
    pub realm: u32,
    /// Options of the socket by level and name.
    pub options: BTreeMap<(u32, u32), Vec<u8>>,
    /// Sockets that lie in the machine's memory, by address.
    pub held: BTreeMap<Addr, Held>,
}

fn bits_match(a: IpAddr, b: IpAddr, bits: u8) -> bool {
    let wide = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => (u128::from(u32::from(ip)) << 96, 32),
        IpAddr::V6(ip) => (u128::from(ip), 128),
    };
    let ((a, width), (b, other)) = (wide(a), wide(b));
    width == other && (bits == 0 || (a ^ b).leading_zeros() >= u32::from(bits.min(width)))
}

impl Net {
    /// Whether there is such an interface.
    pub fn has_device(&self, ifindex: u32) -> bool {
        ifindex != 0 && (self.devices.is_empty() || self.devices.contains_key(&ifindex))
    }

    /// Largest packet of an interface without link-layer header.
    pub fn mtu(&self, ifindex: u32) -> u32 {
        self.devices.get(&ifindex).map_or(1500, |device| device.mtu)
    }

    /// The route for a destination: the longest prefix, then the smallest metric.
    pub fn route(&self, table: Option<u32>, to: IpAddr) -> Option<&Route> {
        self.routes
            .iter()
            .filter(|route| table.is_none_or(|table| route.table == table))
            .filter(|route| bits_match(route.prefix, to, route.bits))
            .min_by_key(|route| (u8::MAX - route.bits, route.metric))
    }

    /// A socket by cookie.
    pub fn by_cookie(&self, cookie: u64) -> Option<&Socket> {
        self.sockets.iter().find(|socket| socket.cookie == cookie)
    }

    /// The socket that a packet from `remote` to `local` belongs to: a connected one, else one that listens there, a bound address before
    /// any address.
    pub fn lookup(&self, protocol: u32, local: SocketAddr, remote: SocketAddr) -> Option<&Socket> {
        let own = |socket: &&Socket| socket.protocol == protocol;
        let connected = self
            .sockets
            .iter()
            .filter(own)
            .find(|socket| socket.local == local && socket.remote == Some(remote));
        let listening = |any: bool| {
            self.sockets.iter().filter(own).find(|socket| {
                socket.remote.is_none()
                    && socket.local.port() == local.port()
                    && socket.local.is_ipv4() == local.is_ipv4()
                    && if any { socket.local.ip().is_unspecified() } else { socket.local.ip() == local.ip() }
            })
        };
        connected.or_else(|| listening(false)).or_else(|| listening(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(prefix: &str, bits: u8, metric: u32, ifindex: u32) -> Route {
        Route {
            table: 254,
            prefix: prefix.parse().unwrap(),
            bits,
            kind: RouteKind::Unicast,
            ifindex,
            gateway: None,
            source: None,
            mtu: 0,
            metric,
        }
    }

    #[test]
    fn the_longest_route_wins_then_the_metric() {
        let routes = vec![
            route("0.0.0.0", 0, 0, 1),
            route("10.0.0.0", 8, 5, 2),
            route("10.0.0.0", 8, 1, 3),
            route("::", 0, 0, 4),
        ];
        let net = Net { routes, ..Net::default() };
        let via = |ip: &str| net.route(None, ip.parse().unwrap()).map(|r| r.ifindex);
        assert_eq!((via("10.1.1.1"), via("11.1.1.1"), via("2001::1")), (Some(3), Some(1), Some(4)));
        assert!(net.route(Some(1), "10.1.1.1".parse().unwrap()).is_none());
    }

    #[test]
    fn connected_sockets_come_before_listening_ones() {
        let at = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let sockets = vec![
            Socket::tcp(1, at("0.0.0.0:80"), None),
            Socket::tcp(2, at("10.0.0.1:80"), None),
            Socket::tcp(3, at("10.0.0.1:80"), Some(at("10.0.0.9:1234"))),
        ];
        let net = Net { sockets, ..Net::default() };
        let found = |protocol, local, remote| net.lookup(protocol, at(local), at(remote)).map(|s| s.cookie);
        assert_eq!(found(6, "10.0.0.1:80", "10.0.0.9:1234"), Some(3));
        assert_eq!(found(6, "10.0.0.1:80", "10.0.0.9:1235"), Some(2));
        assert_eq!(found(6, "10.0.0.2:80", "10.0.0.9:1235"), Some(1));
        assert_eq!(found(17, "10.0.0.2:80", "10.0.0.9:1235"), None);
    }
}
