//! What comes before the network layer: link headers (with `-e`), tags, labels, PPPoE, and what nobody knows.

use std::fmt::Write as _;

use skep_compiler::layers::{LayerId, LinkType, Place, Space, Tier, decode};

use super::Frame;
use super::text::{Mac, u8_at, u16_at, u32_at};
use skep_compiler::layers::rows::{ETHER_TYPES, IP_PROTOCOLS};

/// The link type of a number in a capture file.
pub fn type_of(number: u16) -> Option<LinkType> {
    use crate::filter::link::LinkType as Known;
    Some(match Known::from_number(number)? {
        Known::Null => LinkType::Null,
        Known::Ethernet => LinkType::Ethernet,
        Known::Loop => LinkType::Loop,
        Known::Raw | Known::Ipv4 | Known::Ipv6 => LinkType::Raw,
        Known::Sll => LinkType::Sll,
        Known::Sll2 => LinkType::Sll2,
    })
}

/// Where the first layer above link and tags begins.
pub(super) fn network_start(link: LinkType, data: &[u8]) -> usize {
    let decoded = decode(link, data);
    let below = decoded.layers.iter().take_while(|p| matches!(p.layer.row().tier, Tier::Link | Tier::Shim));
    below.last().map_or(0, |place| place.end)
}

/// What a Linux cooked header of version 2 says of the device: its number, and which way the packet went.
pub(super) fn device(frame: &Frame<'_>, out: &mut String) {
    let Some(place) = frame.decoded.layers.first().copied() else { return };
    let bytes = frame.bytes(place);
    let way = direction(u16::from(u8_at(bytes, 10)));
    let _ = write!(out, "ifindex {} {way:<3} ", u32_at(bytes, 4));
}

/// The link's header, as `-e` shows it; `quiet`: names in place of numbers.
pub(super) fn header(frame: &Frame<'_>, link: LinkType, quiet: bool, out: &mut String) {
    if link == LinkType::Raw {
        return out.push_str("ip: ");
    }
    let Some(place) = frame.decoded.layers.first().copied() else { return };
    let bytes = frame.bytes(place);
    let part = |at: usize, len: usize| bytes.get(at..at + len).unwrap_or_default();
    let _ = match place.layer {
        LayerId::Eth => {
            let _ = write!(out, "{} > {}, ", Mac(part(6, 6)), Mac(part(0, 6)));
            ether_type(u16_at(bytes, 12), quiet, out);
            write!(out, ", length {}: ", frame.len)
        }
        LayerId::Sll => {
            let sender = part(6, usize::from(u16_at(bytes, 4)).min(8));
            let _ = write!(out, "{:>3} {} ", direction(u16_at(bytes, 0)), Mac(sender));
            ether_type(u16_at(bytes, 14), quiet, out);
            write!(out, ", length {}: ", frame.len)
        }
        LayerId::Sll2 => {
            let sender = part(12, usize::from(u8_at(bytes, 11)).min(8));
            device(frame, out);
            let _ = write!(out, "{} ", Mac(sender));
            ether_type(u16_at(bytes, 0), quiet, out);
            write!(out, ", length {}: ", frame.len)
        }
        LayerId::Null => {
            let family = part(0, 4).iter().max().copied().unwrap_or(0);
            let name = match family {
                2 => "IPv4",
                10 | 24 | 28 | 30 => "IPv6",
                _ => "Unknown",
            };
            write!(out, "AF {name} ({family}), length {}: ", frame.len)
        }
        _ => Ok(()),
    };
}

/// The packet types of Linux (include/uapi/linux/if_packet.h).
fn direction(kind: u16) -> &'static str {
    match kind {
        0 => "In",
        1 => "B",
        2 => "M",
        3 => "P",
        4 => "Out",
        _ => "?",
    }
}

fn name(names: &[(u32, &'static str)], number: u16) -> Option<&'static str> {
    names.iter().find(|(known, _)| *known == u32::from(number)).map(|(_, name)| *name)
}

/// Types that tcpdump's users know by other names than the table's.
const KNOWN_AS: [(u32, &str); 4] =
    [(0x8035, "Reverse ARP"), (0x88a8, "802.1Q-QinQ"), (0x8847, "MPLS unicast"), (0x8848, "MPLS multicast")];

fn ether_type(number: u16, quiet: bool, out: &mut String) {
    let _ = match name(&KNOWN_AS, number).or_else(|| name(ETHER_TYPES, number)) {
        Some(name) if quiet => write!(out, "{name}"),
        Some(name) => write!(out, "ethertype {name} ({number:#06x})"),
        None if number < 1536 => write!(out, "802.3"),
        None => write!(out, "ethertype Unknown ({number:#06x})"),
    };
}

/// Protocols in PPP (IANA), as they are shown with the link's header.
const PPP: [(u32, &str); 5] =
    [(0x21, "IP"), (0x57, "IP6"), (0xc021, "LCP"), (0x8021, "IPCP"), (0x8057, "IP6CP")];

/// Tags, labels and PPPoE.
pub(super) fn shim(frame: &Frame<'_>, place: Place, out: &mut String) {
    let bytes = frame.bytes(place);
    let row = place.layer.row();
    let number = |name: &str| row.number(name, bytes);
    let _ = match place.layer {
        LayerId::Vlan => {
            let _ = write!(out, "vlan {}, p {}{}, ", number("id"), number("pcp"), dei(number("dei")));
            if frame.link {
                ether_type(u16_at(bytes, 2), false, out);
                out.push_str(", ");
            }
            Ok(())
        }
        LayerId::Mpls => {
            let bottom = if number("bottom") == 1 { "[S], " } else { "" };
            let (label, class, ttl) = (number("label"), number("tc"), number("ttl"));
            let again = frame.at > 0
                && frame.decoded.layers.get(frame.at - 1).is_some_and(|p| p.layer == LayerId::Mpls);
            let word = if again { "" } else { "MPLS " };
            write!(out, "{word}(label {label}, tc {class}, {bottom}ttl {ttl}) ")
        }
        LayerId::Pppoe => {
            let _ = write!(out, "PPPoE  [ses {:#x}] ", number("session"));
            let proto = number("proto") as u16;
            match (frame.link, name(&PPP, proto)) {
                (false, _) => Ok(()),
                (true, Some(name)) => write!(out, "{name} ({proto:#06x}), length {}: ", number("len")),
                (true, None) => write!(out, "unknown ({proto:#06x}), length {}: ", number("len")),
            }
        }
        _ => {
            let steps = [(0x09, "PADI"), (0x07, "PADO"), (0x19, "PADR"), (0x65, "PADS"), (0xa7, "PADT")];
            let code = number("code");
            let step = steps.iter().find(|(known, _)| *known == code).map_or("PPPoE", |(_, name)| name);
            write!(out, "PPPoE {step} [ses {:#x}], length {}", number("session"), number("len"))
        }
    };
}

fn dei(set: u64) -> &'static str {
    if set == 1 { ", DEI" } else { "" }
}

/// What the last layer names and the table does not know.
pub(super) fn unknown(frame: &Frame<'_>, space: Space, code: u16, out: &mut String) {
    let start = frame.decoded.payload;
    let rest = frame.end().saturating_sub(start);
    let _ = match space {
        Space::EtherType if code < 1536 => llc(frame.data.get(start..).unwrap_or_default(), code, out),
        Space::EtherType => match name(ETHER_TYPES, code) {
            Some(name) => write!(out, "{name}, length {rest}"),
            None => write!(out, "ethertype {code:#06x}, length {rest}"),
        },
        Space::IpProto => match name(IP_PROTOCOLS, code) {
            Some(name) => write!(out, "{name}, length {rest}"),
            None => write!(out, "ip-proto-{code} {rest}"),
        },
        Space::Ppp => write!(out, "PPP {code:#06x}, length {rest}"),
        Space::Family => write!(out, "AF {code}, length {rest}"),
        Space::Version => write!(out, "unknown ip {code}"),
        Space::UdpPort | Space::UdpDestination => write!(out, "length {rest}"),
    };
}

/// An IEEE 802.3 frame: its type field is a length, and a logical link header follows.
fn llc(bytes: &[u8], length: u16, out: &mut String) -> std::fmt::Result {
    let (dsap, ssap, control) = (u8_at(bytes, 0), u8_at(bytes, 1), u8_at(bytes, 2));
    match (dsap, ssap) {
        (0x42, 0x42) => write!(out, "STP, length {length}"),
        (0xaa, 0xaa) => {
            let oui = Mac(bytes.get(3..6).unwrap_or_default()).to_string();
            write!(out, "SNAP, oui {oui}, ethertype {:#06x}, length {length}", u16_at(bytes, 6))
        }
        _ => write!(out, "LLC, dsap {dsap:#04x} ssap {ssap:#04x} ctrl {control:#04x}, length {length}"),
    }
}
