//! Flows: packets enter, the ends between which they go leave, as sockets know them: protocol, addresses, ports.
//!
//! What always holds: the ends are those of the outermost IP layer, and only where its own ports follow it. The socket that
//! asks for an ICMP echo has the echo's identifier as its port, so that stands for the asking end's; the other end has none.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::ControlFlow;

use skep_compiler::layers::{LayerId, Place, visit};
use skep_packet::print::link_type;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Layers whose packets have ends, and their numbers and names.
const PROTOCOLS: [(LayerId, u8, &str); 4] = [
    (LayerId::Tcp, TCP, "tcp"),
    (LayerId::Udp, UDP, "udp"),
    (LayerId::Icmp, 1, "icmp"),
    (LayerId::Icmp6, 58, "icmp6"),
];

/// Offset of an echo's identifier in its ICMP header.
const IDENTIFIER: usize = 4;

/// One end: IPv4 addresses as ::ffff:a.b.c.d.
pub(super) type End = (Ipv6Addr, u16);

/// Both ends of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Flow {
    /// As in the IP header.
    pub(super) protocol: u8,
    pub(super) source: End,
    pub(super) destination: End,
}

impl Flow {
    /// The flow of a packet of this link type (`LINKTYPE_`).
    pub(super) fn of(link: u16, data: &[u8]) -> Option<Flow> {
        Flow::seen(link, data, &mut |_| {})
    }

    /// The same, and hands on the layers that were looked at.
    fn seen(link: u16, data: &[u8], see: &mut dyn FnMut(Place)) -> Option<Flow> {
        let mut ends: Option<(Ipv6Addr, Ipv6Addr)> = None;
        let mut found = None;
        visit(link_type(link)?, data, &mut |place| {
            see(place);
            let bytes = data.get(place.start..place.end).unwrap_or_default();
            match place.layer {
                // What another IP layer carries has other ends.
                LayerId::Ip4 | LayerId::Ip6 if ends.is_some() => return ControlFlow::Break(()),
                LayerId::Ip4 => ends = pair(|at| v4(bytes, at), 12, 16),
                LayerId::Ip6 => ends = pair(|at| v6(bytes, at), 8, 24),
                layer => {
                    let Some((_, protocol, _)) = PROTOCOLS.iter().find(|(of, ..)| *of == layer) else {
                        return ControlFlow::Continue(());
                    };
                    let ports = match layer {
                        LayerId::Icmp | LayerId::Icmp6 => echo(layer, bytes),
                        _ => pair(|at| port(bytes, at), 0, 2),
                    };
                    found = ends.zip(ports).map(|(addresses, ports)| Flow {
                        protocol: *protocol,
                        source: (addresses.0, ports.0),
                        destination: (addresses.1, ports.1),
                    });
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        });
        found
    }

    /// Whether a packet of a flow opens its connection: SYN without ACK.
    pub(super) fn is_opened(link: u16, data: &[u8]) -> bool {
        const FLAGS: usize = 13;
        let mut tcp = None;
        let flow = Flow::seen(link, data, &mut |place| {
            if place.layer == LayerId::Tcp {
                tcp = data.get(place.start + FLAGS);
            }
        });
        flow.is_some() && tcp.is_some_and(|flags| flags & 0x12 == 0x02)
    }

    /// Whether both ends are of this machine.
    pub(super) fn is_local(&self) -> bool {
        let address = self.source.0;
        let loopback = address.is_loopback() || address.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback());
        loopback || address == self.destination.0
    }
}

/// Its protocol's name and both ends, for people.
impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name =
            PROTOCOLS.iter().find(|(_, protocol, _)| *protocol == self.protocol).map_or("", |row| row.2);
        let end = |(address, port): End| {
            let address = address.to_canonical();
            match (self.protocol, port) {
                (TCP | UDP, _) => format!("{address}.{port}"),
                (_, 0) => address.to_string(),
                (_, id) => format!("{address} id {id}"),
            }
        };
        write!(f, "{name} {} > {}", end(self.source), end(self.destination))
    }
}

fn pair<T>(read: impl Fn(usize) -> Option<T>, first: usize, second: usize) -> Option<(T, T)> {
    Some((read(first)?, read(second)?))
}

/// The ports of an ICMP echo or its answer.
fn echo(layer: LayerId, bytes: &[u8]) -> Option<(u16, u16)> {
    let id = port(bytes, IDENTIFIER)?;
    match (layer, bytes.first()?) {
        (LayerId::Icmp, 8) | (LayerId::Icmp6, 128) => Some((id, 0)),
        (LayerId::Icmp, 0) | (LayerId::Icmp6, 129) => Some((0, id)),
        _ => None,
    }
}

fn v4(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?).to_ipv6_mapped())
}

fn v6(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?))
}

fn port(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// Bytes of headers that are compared, and how many at once.
const HEADERS: usize = 96;
const STEP: usize = 8;

/// The headers of one packet of a flow. Another packet that agrees in all bytes which decide what its layers are, and in
/// its ends, is of the same flow: most packets come behind one of their own kind, and need not be decoded.
#[derive(Clone, Debug)]
pub(super) struct Headers {
    link: u16,
    /// How many words there are.
    len: usize,
    /// Words of the packet in memory's order: which bits count, and what they are.
    words: [(u64, u64); HEADERS / STEP],
}

impl Headers {
    /// Finds a packet's flow, and its headers, if they are not too long.
    pub(super) fn of(link: u16, data: &[u8]) -> Option<(Flow, Option<Headers>)> {
        let mut mask = [0; HEADERS];
        let mut end = 0;
        let flow = Flow::seen(link, data, &mut |place| {
            end = place.start;
            let (kind, ends) = match place.layer {
                LayerId::Ip4 => (None, 12..20),
                LayerId::Ip6 => (None, 8..40),
                LayerId::Tcp | LayerId::Udp => (None, 0..4),
                LayerId::Icmp | LayerId::Icmp6 => (Some(0), IDENTIFIER..IDENTIFIER + 2),
                _ => (None, 0..0),
            };
            for at in place.layer.row().deciding().chain(kind).chain(ends) {
                if let Some(byte) = mask.get_mut(place.start + at) {
                    *byte = 0xff;
                }
                end = end.max(place.start + at + 1);
            }
        })?;
        let len = end.next_multiple_of(STEP);
        let headers = data.get(..len).filter(|_| len <= HEADERS).map(|found| {
            let mut words = [(0, 0); HEADERS / STEP];
            for ((to, bytes), mask) in words.iter_mut().zip(found.as_chunks().0).zip(mask.as_chunks().0) {
                let mask = u64::from_ne_bytes(*mask);
                *to = (mask, u64::from_ne_bytes(*bytes) & mask);
            }
            Headers { link, len: len / STEP, words }
        });
        Some((flow, headers))
    }

    /// Whether a packet is of the same flow; false also where that does not show.
    #[inline]
    pub(super) fn agree(&self, link: u16, data: &[u8]) -> bool {
        let (Some(words), true) = (self.words.get(..self.len), self.link == link) else { return false };
        let mut rest = data;
        let mut other = 0;
        for (mask, bits) in words {
            let Some((bytes, behind)) = rest.split_first_chunk() else { return false };
            other |= u64::from_ne_bytes(*bytes) & mask ^ bits;
            rest = behind;
        }
        other == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram() -> Vec<u8> {
        let ip = [8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        [&[0; 12][..], &ip, &[0, 9, 0x12, 0x34, 0, 8, 0, 0]].concat()
    }

    #[test]
    fn flows_have_ports_and_mapped_addresses() {
        let packet = datagram();
        let found = Flow::of(1, &packet).unwrap();
        assert_eq!((found.protocol, found.source.1, found.destination.1), (17, 9, 0x1234));
        assert_eq!(found.source.0, "::ffff:10.0.0.1".parse::<Ipv6Addr>().unwrap());
        assert_eq!(found.to_string(), "udp 10.0.0.1.9 > 10.0.0.2.4660");
        for end in 0..packet.len() - 4 {
            assert!(Flow::of(1, &packet[..end]).is_none());
        }
    }

    #[test]
    fn an_echo_is_of_who_asks() {
        let mut packet = datagram();
        packet[23] = 1;
        let shown = |packet: &[u8]| Flow::of(1, packet).map(|flow| flow.to_string());
        for (kind, wanted) in [
            (8, Some("icmp 10.0.0.1 id 77 > 10.0.0.2")),
            (0, Some("icmp 10.0.0.1 > 10.0.0.2 id 77")),
            (3, None),
        ] {
            packet[34..42].copy_from_slice(&[kind, 0, 9, 9, 0, 77, 0, 1]);
            assert_eq!(shown(&packet).as_deref(), wanted, "type {kind}");
        }
        packet[34] = 8;
        let (_, headers) = Headers::of(1, &packet).unwrap();
        let agree = |at: usize| {
            let mut other = packet.clone();
            other[at] ^= 1;
            headers.as_ref().unwrap().agree(1, &other)
        };
        // Type and identifier tell flows apart; checksum and sequence do not.
        assert_eq!([34, 36, 38, 39, 40, 41].map(agree), [false, true, false, false, true, true]);
    }

    #[test]
    fn a_connection_is_opened_by_syn_alone() {
        let mut packet = datagram();
        packet.resize(14 + 20 + 20, 0);
        assert!(!Flow::is_opened(1, &packet));
        packet[23] = 6;
        packet[34 + 12] = 5 << 4;
        for (flags, opens) in [(0x02, true), (0xc2, true), (0x12, false), (0x10, false), (0x04, false)] {
            packet[34 + 13] = flags;
            assert_eq!(Flow::is_opened(1, &packet), opens, "{flags:#x}");
        }
        assert!(!Flow::is_opened(1, &packet[..40]));
    }

    #[test]
    fn ports_of_a_tunnels_inside_are_not_the_outsides() {
        let inner = datagram();
        let mut packet = inner[..34].to_vec();
        packet[23] = 4;
        packet.extend(&inner[14..]);
        assert_eq!(Flow::of(1, &packet), None);
    }

    #[test]
    fn packets_of_a_flow_agree_and_others_do_not() {
        let mut packet = datagram();
        packet.resize(64, 7);
        let (flow, headers) = Headers::of(1, &packet).unwrap();
        let headers = headers.unwrap();
        let same = |at: usize| {
            let mut other = packet.clone();
            other[at] ^= 1;
            assert!(!headers.agree(1, &other) || Flow::of(1, &other) == Some(flow), "byte {at}");
            headers.agree(1, &other)
        };
        // Length, id, hops, checksums and the payload are each packet's own.
        let own = (0..packet.len()).filter(|at| same(*at)).count();
        assert!(own > packet.len() - 30, "{own}");
        assert!(!headers.agree(113, &packet) && !headers.agree(1, &packet[..39]));
    }
}
