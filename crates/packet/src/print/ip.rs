//! IPv4, IPv6 and the headers between them and the transport layer.

use std::fmt::Write as _;
use std::net::IpAddr;

use skep_compiler::layers::rows::IP_PROTOCOLS;
use skep_compiler::layers::{LayerId, Place, Stop, Value};

use super::Frame;
use super::checksum;
use super::text::{u8_at, u16_at};

/// A network layer's addresses and end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Net {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    /// One past its last byte on the wire, counted from the frame's start.
    pub(super) end: usize,
}

/// Ports, where the transport layer has them and they are there, also if the rest of it is not.
fn ports(frame: &Frame<'_>) -> Option<(u16, u16)> {
    use LayerId::*;
    let transport = frame
        .decoded
        .layers
        .iter()
        .skip(frame.at + 1)
        .find(|place| !matches!(place.layer, Ip6Hop | Ip6Route | Ip6Frag | Ip6Dest | Ip6Mobility | Ah));
    let (layer, start) = match (transport, frame.decoded.stop) {
        (Some(place), _) => (place.layer, place.start),
        (None, Stop::Truncated(layer)) => (layer, frame.decoded.payload),
        (None, _) => return None,
    };
    let bytes = frame.data.get(start..start + 4)?;
    matches!(layer, Tcp | Udp | Sctp).then(|| (u16_at(bytes, 0), u16_at(bytes, 2)))
}

/// `IP a.1 > b.2: `; `word` stands before it.
fn addresses(word: &str, net: &Net, ports: Option<(u16, u16)>, out: &mut String) {
    let _ = match ports {
        Some((from, to)) => write!(out, "{word}{}.{from} > {}.{to}: ", net.src, net.dst),
        None => write!(out, "{word}{} > {}: ", net.src, net.dst),
    };
}

fn address(place: Place, field: &str, bytes: &[u8]) -> Option<IpAddr> {
    match place.layer.row().field(field)?.value(bytes)? {
        Value::Ip4(address) => Some(address.into()),
        Value::Ip6(address) => Some(address.into()),
        _ => None,
    }
}

fn net(place: Place, bytes: &[u8], end: usize) -> Option<Net> {
    Some(Net { src: address(place, "src", bytes)?, dst: address(place, "dst", bytes)?, end })
}

fn protocol(number: u64) -> &'static str {
    IP_PROTOCOLS.iter().find(|(known, _)| u64::from(*known) == number).map_or("?", |(_, name)| *name)
}

/// Adds an IPv4 header.
pub(super) fn v4(frame: &mut Frame<'_>, place: Place, out: &mut String) {
    let bytes = frame.bytes(place);
    let number = |name: &str| place.layer.row().number(name, bytes);
    let len = number("len") as usize;
    // A card that segments by itself hands over packets whose length is zero.
    let whole = if len == 0 { frame.len.saturating_sub(place.start) } else { len };
    let Some(net) = net(place, bytes, (place.start + whole).min(frame.len)) else { return };
    let (offset, more) = (number("frag") * 8, number("mf") == 1);
    let (proto, id) = (number("proto"), number("id"));
    let word = frame.word("IP ");
    if frame.verbose > 0 {
        let flags = match (number("df") == 1, more) {
            (true, true) => "DF,+",
            (true, false) => "DF",
            (false, true) => "+",
            (false, false) => "none",
        };
        let _ = write!(
            out,
            "{word}(tos {:#x}, ttl {}, id {}, offset {offset}, flags [{flags}], proto {} ({proto}), length {len}",
            number("tos"),
            number("ttl"),
            id,
            protocol(proto),
        );
        let header = bytes.get(..place.end - place.start).unwrap_or_default();
        if checksum::header(header) != 0 {
            let told = number("checksum") as u16;
            let right = checksum::right(checksum::header(header), told);
            let _ = write!(out, ", bad cksum {told:x} (->{right:x})!");
        }
        out.push_str(") ");
    }
    let word = if frame.verbose > 0 { "" } else { word };
    addresses(word, &net, ports(frame).filter(|_| offset == 0), out);
    if len > 0 && len < place.end - place.start {
        let _ = write!(out, "bad length {len} ");
    } else if place.start + len > frame.len {
        let _ = write!(out, "truncated-ip - {} bytes missing! ", place.start + len - frame.len);
    }
    frame.net = Some(net);
    if offset > 0 {
        fragment(frame, place, proto, offset, more, id, out);
    }
}

/// What is said of a fragment that is not the first.
fn fragment(frame: &Frame<'_>, place: Place, proto: u64, offset: u64, more: bool, id: u64, out: &mut String) {
    let name = protocol(proto).to_ascii_lowercase();
    let plus = if more { "+" } else { "" };
    let rest = frame.rest(place);
    let _ = write!(out, "{name} fragment, id {id}, offset {offset}{plus}, length {rest}");
}

/// Adds an IPv6 header.
pub(super) fn v6(frame: &mut Frame<'_>, place: Place, out: &mut String) {
    let bytes = frame.bytes(place);
    let number = |name: &str| place.layer.row().number(name, bytes);
    let len = number("len") as usize;
    // Jumbograms and packets that the card will segment say zero.
    let end = if len == 0 { frame.len } else { (place.end + len).min(frame.len) };
    let Some(net) = net(place, bytes, end) else { return };
    let word = frame.word("IP6 ");
    if frame.verbose > 0 {
        let (class, flow, hops, next) = (number("tclass"), number("flow"), number("hops"), number("next"));
        let _ = write!(out, "{word}(");
        if class != 0 {
            let _ = write!(out, "class {class:#04x}, ");
        }
        if flow != 0 {
            let _ = write!(out, "flowlabel {flow:#07x}, ");
        }
        let name = protocol(next);
        let _ = write!(out, "hlim {hops}, next-header {name} ({next}) payload length: {len}) ");
    }
    let word = if frame.verbose > 0 { "" } else { word };
    addresses(word, &net, ports(frame), out);
    if place.end + len > frame.len {
        let _ = write!(out, "truncated-ip6 - {} bytes missing!", place.end + len - frame.len);
    }
    frame.net = Some(net);
}

/// Adds an extension header of IPv6, or an authentication header.
pub(super) fn extension(frame: &Frame<'_>, place: Place, out: &mut String) {
    let bytes = frame.bytes(place);
    let number = |name: &str| place.layer.row().number(name, bytes);
    let _ = match place.layer {
        LayerId::Ip6Hop => write!(out, "HBH "),
        LayerId::Ip6Dest => write!(out, "DSTOPT "),
        LayerId::Ip6Mobility => write!(out, "mobility type {} ", u8_at(bytes, 2)),
        LayerId::Ip6Route => write!(out, "srcrt (type={}, segleft={}) ", number("type"), number("left")),
        LayerId::Ah => write!(out, "AH(spi={:#010x},seq={:#x}): ", number("spi"), number("seq")),
        _ => {
            let (offset, more) = (number("offset") * 8, number("more") == 1);
            match frame.decoded.stop {
                Stop::Guarded(_) => {
                    fragment(frame, place, number("next"), offset, more, number("id"), out);
                    Ok(())
                }
                _ if frame.verbose == 0 => write!(out, "frag ({offset}|{}) ", frame.rest(place)),
                _ => write!(out, "frag ({:#010x}:{offset}|{}) ", number("id"), frame.rest(place)),
            }
        }
    };
}
