//! ICMP, ICMPv6 and IGMP.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use skep_compiler::layers::{LayerId, LinkType, Place, decode};

use super::Frame;
use super::checksum;
use super::text::{u8_at, u16_at, u32_at};

/// Adds an ICMP message.
pub(super) fn v4(frame: &Frame<'_>, place: Place, out: &mut String) {
    let bytes = frame.behind_start(place);
    let (kind, code) = (u8_at(bytes, 0), u8_at(bytes, 1));
    out.push_str("ICMP ");
    let _ = match kind {
        0 | 8 => {
            let what = if kind == 8 { "request" } else { "reply" };
            write!(out, "echo {what}, id {}, seq {}", u16_at(bytes, 4), u16_at(bytes, 6))
        }
        3 => unreachable(code, bytes, out),
        4 => write!(out, "source quench"),
        5 => {
            let what = ["net", "host", "tos net", "tos host"].get(usize::from(code)).copied().unwrap_or("?");
            let gateway = Ipv4Addr::from(u32_at(bytes, 4));
            match inner(bytes) {
                Some(packet) => write!(out, "redirect {} to {what} {gateway}", packet.dst),
                None => write!(out, "redirect to {what} {gateway}"),
            }
        }
        9 => write!(out, "router advertisement"),
        10 => write!(out, "router solicitation"),
        11 if code == 0 => write!(out, "time exceeded in-transit"),
        11 => write!(out, "ip reassembly time exceeded"),
        12 => write!(out, "parameter problem - octet {}", u8_at(bytes, 4)),
        13 => write!(out, "time stamp query id {} seq {}", u16_at(bytes, 4), u16_at(bytes, 6)),
        14 => write!(out, "time stamp reply id {} seq {}", u16_at(bytes, 4), u16_at(bytes, 6)),
        _ => write!(out, "type-#{kind}"),
    };
    let _ = write!(out, ", length {}", frame.rest_with(place));
}

/// The packet that an ICMP error is about.
struct Inner {
    dst: String,
    /// The IP protocol, by its number and a word.
    number: u8,
    proto: &'static str,
    port: Option<u16>,
}

fn inner(bytes: &[u8]) -> Option<Inner> {
    let packet = bytes.get(8..)?;
    let decoded = decode(LinkType::Raw, packet);
    let network = decoded.layers.first()?;
    let header = packet.get(network.start..)?;
    let dst = match network.layer {
        LayerId::Ip4 => Ipv4Addr::from(u32_at(header, 16)).to_string(),
        _ => Ipv6Addr::from(<[u8; 16]>::try_from(header.get(24..40)?).ok()?).to_string(),
    };
    // An error carries eight bytes behind the header: the ports, also where the layer itself is cut.
    let number = if network.layer == LayerId::Ip4 { u8_at(header, 9) } else { u8_at(header, 6) };
    let behind = packet.get(network.end..)?;
    let (proto, has_ports) = match number {
        6 => ("tcp", true),
        17 => ("udp", true),
        132 => ("sctp", true),
        _ => ("ip", false),
    };
    let port = (has_ports && behind.len() >= 4).then(|| u16_at(behind, 2));
    Some(Inner { dst, number, proto, port })
}

fn unreachable(code: u8, bytes: &[u8], out: &mut String) -> std::fmt::Result {
    let packet = inner(bytes);
    let dst = packet.as_ref().map_or("?", |p| p.dst.as_str());
    match (code, &packet) {
        (3, Some(Inner { proto, port: Some(port), .. })) => {
            write!(out, "{dst} {proto} port {port} unreachable")
        }
        (0, _) => write!(out, "net {dst} unreachable"),
        (1, _) => write!(out, "host {dst} unreachable"),
        (2, Some(Inner { number, .. })) => write!(out, "{dst} protocol {number} unreachable"),
        (2, None) => write!(out, "{dst} protocol unreachable"),
        (4, _) => write!(out, "{dst} unreachable - need to frag (mtu {})", u16_at(bytes, 6)),
        (5, _) => write!(out, "{dst} unreachable - source route failed"),
        (9 | 10, _) => write!(out, "host {dst} unreachable - admin prohibited"),
        (13, _) => write!(out, "host {dst} unreachable - admin prohibited filter"),
        _ => write!(out, "{dst} unreachable - code {code}"),
    }
}

/// Adds an ICMPv6 message.
pub(super) fn v6(frame: &Frame<'_>, place: Place, out: &mut String) {
    let bytes = frame.behind_start(place);
    let (kind, code) = (u8_at(bytes, 0), u8_at(bytes, 1));
    let target = || match bytes.get(8..24).and_then(|b| <[u8; 16]>::try_from(b).ok()) {
        Some(octets) => Ipv6Addr::from(octets).to_string(),
        None => "[|icmp6]".to_owned(),
    };
    if frame.verbose > 0 {
        sum(frame, bytes, out);
    }
    out.push_str("ICMP6, ");
    let _ = match kind {
        1 => {
            const WHY: [&str; 7] =
                ["route", "prohibited", "beyond scope", "address", "port", "policy", "reject"];
            let why = WHY.get(usize::from(code)).copied().unwrap_or("?");
            match inner(bytes) {
                Some(Inner { dst, proto, port: Some(port), .. }) if code == 4 => {
                    write!(out, "destination unreachable, unreachable port, {dst} {proto} port {port}")
                }
                Some(Inner { dst, .. }) => write!(out, "destination unreachable, unreachable {why} {dst}"),
                None => write!(out, "destination unreachable, unreachable {why}"),
            }
        }
        2 => write!(out, "packet too big, mtu {}", u32_at(bytes, 4)),
        3 => {
            let what = if code == 0 { "in-transit" } else { "(reassembly)" };
            match inner(bytes) {
                Some(packet) => write!(out, "time exceeded {what} for {}", packet.dst),
                None => write!(out, "time exceeded {what}"),
            }
        }
        4 => {
            let what =
                ["erroneous", "next header", "option"].get(usize::from(code)).copied().unwrap_or("code");
            write!(out, "parameter problem, {what} - octet {}", u32_at(bytes, 4))
        }
        128 | 129 => {
            let what = if kind == 128 { "request" } else { "reply" };
            write!(out, "echo {what}, id {}, seq {}", u16_at(bytes, 4), u16_at(bytes, 6))
        }
        130 => write!(out, "multicast listener query"),
        131 => write!(out, "multicast listener report {}", target()),
        132 => write!(out, "multicast listener done {}", target()),
        133 => write!(out, "router solicitation"),
        134 => {
            write!(out, "router advertisement, hop limit {}, lifetime {}s", u8_at(bytes, 4), u16_at(bytes, 6))
        }
        135 => write!(out, "neighbor solicitation, who has {}", target()),
        136 => write!(out, "neighbor advertisement, tgt is {}", target()),
        137 => write!(out, "redirect, tgt is {}", target()),
        143 => write!(out, "multicast listener report v2, {} group record(s)", u16_at(bytes, 6)),
        _ => write!(out, "type-#{kind}, code {code}"),
    };
    if frame.verbose == 0 {
        let _ = write!(out, ", length {}", frame.rest_with(place));
    }
}

/// The checksum, where all bytes that it is over are there.
fn sum(frame: &Frame<'_>, message: &[u8], out: &mut String) {
    let Some(net) = &frame.net else { return };
    let (told, found) = (u16_at(message, 2), checksum::transport(net, 58, message));
    let _ = match found {
        _ if message.len() < frame.end().saturating_sub(frame.data.len() - message.len()) => Ok(()),
        0 => write!(out, "[icmp6 sum ok] "),
        _ => write!(out, "[bad icmp6 cksum {told:#06x} -> {:#06x}!] ", checksum::right(found, told)),
    };
}

/// Adds an IGMP message.
pub(super) fn igmp(frame: &Frame<'_>, place: Place, out: &mut String) {
    let bytes = frame.behind_start(place);
    let group = Ipv4Addr::from(u32_at(bytes, 4));
    let whole = frame.rest_with(place);
    let _ = match u8_at(bytes, 0) {
        0x11 => {
            let version = match (whole >= 12, u8_at(bytes, 1)) {
                (true, _) => 3,
                (false, 0) => 1,
                (false, _) => 2,
            };
            let _ = write!(out, "igmp query v{version}");
            if group.is_unspecified() { Ok(()) } else { write!(out, " [gaddr {group}]") }
        }
        0x12 => write!(out, "igmp v1 report {group}"),
        0x16 => write!(out, "igmp v2 report {group}"),
        0x17 => write!(out, "igmp leave {group}"),
        0x22 => write!(out, "igmp v3 report, {} group record(s)", u16_at(bytes, 6)),
        other => write!(out, "igmp type-#{other}"),
    };
}
