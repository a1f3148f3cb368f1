//! Packets for people: a packet and its link type enter, one line leaves, in the words that users of tcpdump know. What
//! comes from the wire is printed with control characters escaped; lengths that a header claims are never trusted beyond
//! the bytes that are there.

mod app;
mod arp;
mod checksum;
mod dns;
mod hex;
mod icmp;
mod ip;
mod json;
mod link;
mod sctp;
mod tcp;
mod text;
mod time;
mod udp;

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use skep_compiler::layers::{Decoded, LayerId, LinkType, Place, Stop, Tier, decode};

pub use link::type_of as link_type;
pub use time::{Stamp, Zone, civil};

use crate::file::Direction;
use tcp::Conversations;

/// How packets are printed.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Time in front of each line.
    pub stamp: Stamp,
    /// With details of the headers (1), options and more (2).
    pub verbose: u8,
    /// Of TCP and UDP only how much they carry.
    pub quiet: bool,
    /// With the link's header.
    pub link: bool,
    /// TCP sequence numbers as they are, not counted from the connection's start.
    pub absolute: bool,
    /// Bytes behind the line.
    pub dump: Dump,
}

impl Default for Style {
    fn default() -> Style {
        Style {
            stamp: Stamp::Clock,
            verbose: 0,
            quiet: false,
            link: false,
            absolute: false,
            dump: Dump::None,
        }
    }
}

/// Which bytes are printed behind the line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dump {
    /// None.
    None,
    /// In hexadecimal, from the network header on.
    Hex {
        /// With characters beside.
        text: bool,
        /// From the link header on.
        link: bool,
    },
    /// As characters, from the network header on.
    Text,
}

/// A packet as it is printed.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// `LINKTYPE_` number.
    pub link: u16,
    /// Nanoseconds since 1970-01-01 UTC.
    pub time: u64,
    /// The bytes that were kept.
    pub data: &'a [u8],
    /// Bytes on the wire.
    pub len: usize,
    /// The interface; empty: not told.
    pub interface: &'a str,
    /// Which way it went.
    pub direction: Option<Direction>,
    /// The process that it belongs to; empty: not told.
    pub process: &'a str,
    /// What somebody has said of it.
    pub comment: Option<&'a str>,
}

/// Prints packets, and remembers what it takes to count from the start of a connection.
#[derive(Debug)]
pub struct Printer {
    style: Style,
    clock: time::Clock,
    conversations: Conversations,
}

/// What a layer's printer knows of the packet around it.
struct Frame<'a> {
    data: &'a [u8],
    len: usize,
    decoded: Decoded,
    verbose: u8,
    /// The link's header is printed.
    link: bool,
    /// Layer that is printed next.
    at: usize,
    /// The addresses and the end of the innermost network layer.
    net: Option<ip::Net>,
}

impl Frame<'_> {
    /// The bytes from the start of a layer on.
    fn bytes(&self, place: Place) -> &[u8] {
        self.data.get(place.start..).unwrap_or_default()
    }

    /// The bytes behind a layer, up to what the network layer says is its end.
    fn behind(&self, place: Place) -> &[u8] {
        let end = self.end().min(self.data.len());
        self.data.get(place.end.min(end)..end).unwrap_or_default()
    }

    /// Where the innermost network layer ends, on the wire.
    fn end(&self) -> usize {
        self.net.as_ref().map_or(self.len, |net| net.end)
    }

    /// Bytes behind a layer on the wire.
    fn rest(&self, place: Place) -> usize {
        self.end().saturating_sub(place.end)
    }

    /// The word for the layer that is printed; none where the link's header, which is printed, has said it.
    fn word(&self, word: &'static str) -> &'static str {
        let below = |place: &Place| matches!(place.layer.row().tier, Tier::Link | Tier::Shim);
        let named = self.link && self.decoded.layers.iter().take(self.at).all(below);
        if named { "" } else { word }
    }

    /// The layer that follows the one that is printed.
    fn next(&self) -> Option<LayerId> {
        self.decoded.layers.get(self.at + 1).map(|place| place.layer)
    }
}

impl Printer {
    /// Prints in this style, times in this zone.
    pub fn new(style: Style, zone: Zone) -> Printer {
        Printer { style, clock: time::Clock::new(style.stamp, zone), conversations: Conversations::default() }
    }

    /// Adds a packet's line (and what follows it, each line with its end) to `out`.
    pub fn print(&mut self, packet: &Shown<'_>, out: &mut String) {
        self.clock.stamp(packet.time, out);
        self.origin(packet, out);
        match link::type_of(packet.link) {
            Some(link) => self.layers(packet, link, out),
            None => {
                let _ = write!(out, "link type {}, length {}", packet.link, packet.len);
            }
        }
        out.push('\n');
        let network = link::type_of(packet.link).map_or(0, |link| link::network_start(link, packet.data));
        hex::dump(self.style.dump, packet.data, network, out);
    }

    /// The packet as one JSON object on a line of its own.
    pub fn json(&self, packet: &Shown<'_>, out: &mut String) {
        json::object(packet, out);
    }

    fn origin(&self, packet: &Shown<'_>, out: &mut String) {
        if !packet.interface.is_empty() {
            let _ = write!(out, "{} ", text::Escaped(packet.interface.as_bytes()));
        }
        out.push_str(match packet.direction {
            Some(Direction::In) => "In  ",
            Some(Direction::Out) => "Out ",
            None => "",
        });
        if !packet.process.is_empty() {
            let _ = write!(out, "[{}] ", text::Escaped(packet.process.as_bytes()));
        }
        if let Some(comment) = packet.comment {
            let _ = write!(out, "[{}] ", text::Escaped(comment.as_bytes()));
        }
    }

    fn layers(&mut self, packet: &Shown<'_>, link: LinkType, out: &mut String) {
        let decoded = decode(link, packet.data);
        let verbose = self.style.verbose;
        let (data, len, link_header) = (packet.data, packet.len, self.style.link);
        let mut frame = Frame { data, len, decoded, verbose, link: link_header, at: 0, net: None };
        if link_header {
            link::header(&frame, link, self.style.quiet, out);
        } else if link == LinkType::Sll2 && packet.direction.is_none() {
            link::device(&frame, out);
        }
        while let Some(place) = frame.decoded.layers.get(frame.at).copied() {
            if self.style.quiet && udp::quiet(&frame, place, out) {
                return;
            }
            self.layer(&mut frame, place, out);
            frame.at += 1;
        }
        end(&frame, out);
    }

    fn layer(&mut self, frame: &mut Frame<'_>, place: Place, out: &mut String) {
        use LayerId::*;
        match place.layer {
            Eth | Sll | Sll2 | Null => {}
            Vlan | Mpls | Pppoe | PppoeDiscovery => link::shim(frame, place, out),
            Arp => arp::print(frame, place, out),
            Ip4 => ip::v4(frame, place, out),
            Ip6 => ip::v6(frame, place, out),
            Ip6Hop | Ip6Route | Ip6Frag | Ip6Dest | Ip6Mobility | Ah => ip::extension(frame, place, out),
            Icmp => icmp::v4(frame, place, out),
            Icmp6 => icmp::v6(frame, place, out),
            Igmp => icmp::igmp(frame, place, out),
            Tcp => {
                let relative = !self.style.absolute;
                tcp::print(frame, place, relative.then_some(&mut self.conversations), out);
            }
            Udp => udp::print(frame, place, out),
            Sctp => sctp::print(frame, place, out),
            Esp => udp::esp(frame, place, out),
            Gre => udp::gre(frame, place, out),
            Vxlan | Geneve => udp::tunnel(frame, place, out),
            Dns => dns::print(frame.behind_start(place), frame.rest_with(place), out),
        }
    }
}

impl Frame<'_> {
    /// The bytes of a layer with all behind it, up to the network layer's end.
    fn behind_start(&self, place: Place) -> &[u8] {
        let end = self.end().min(self.data.len());
        self.data.get(place.start.min(end)..end).unwrap_or_default()
    }

    /// Bytes of a layer with all behind it, on the wire.
    fn rest_with(&self, place: Place) -> usize {
        self.end().saturating_sub(place.start)
    }
}

/// What ended the search for layers, where the last layer has not said it.
fn end(frame: &Frame<'_>, out: &mut String) {
    match frame.decoded.stop {
        Stop::Truncated(layer) => {
            // The header has begun.
            if layer == LayerId::Ip4 && frame.data.len() > frame.decoded.payload {
                out.push_str(frame.word("IP "));
            }
            let name = match layer {
                LayerId::Eth => "ether",
                LayerId::Ip4 => "ip",
                other => other.row().name,
            };
            let _ = write!(out, " [|{name}]");
        }
        Stop::Damaged(layer) => {
            let _ = write!(out, "[bad {} header]", layer.row().name);
        }
        Stop::Unknown { space, code } => link::unknown(frame, space, code, out),
        Stop::TooDeep => out.push_str("[more layers]"),
        Stop::Payload | Stop::Guarded(_) => {}
    }
}
