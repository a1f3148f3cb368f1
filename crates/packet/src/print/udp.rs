//! UDP and what it carries, and the other protocols over IP that need few words.

use std::fmt::Write as _;

use skep_compiler::layers::{LayerId, Place, Stop};

use super::Frame;
use super::checksum;
use super::text::{Mac, u8_at, u16_at, u32_at};

/// Adds a UDP header, and what is known of its payload where no other layer follows.
pub(super) fn print(frame: &Frame<'_>, place: Place, out: &mut String) {
    let bytes = frame.bytes(place);
    let (sport, dport, len) = (u16_at(bytes, 0), u16_at(bytes, 2), usize::from(u16_at(bytes, 4)));
    if frame.verbose > 0 {
        sum(frame, place, out);
    }
    if len < 8 && len != 0 {
        let _ = write!(out, "UDP, bad length {len}");
        return;
    }
    if frame.next().is_some() || matches!(frame.decoded.stop, Stop::Truncated(_)) {
        return;
    }
    let payload = frame.behind(place);
    let either = |port: u16| sport == port || dport == port;
    let rest = frame.rest(place);
    let _ = if (either(67) || either(68)) && payload.len() >= 34 {
        let kind = if u8_at(payload, 0) == 1 { "Request" } else { "Reply" };
        let client = payload.get(28..34).unwrap_or_default();
        let _ = write!(out, "BOOTP/DHCP, {kind} from {}", Mac(client));
        if let Some(message) = dhcp_message(payload) {
            let _ = write!(out, ", {message}");
        }
        write!(out, ", length {rest}")
    } else if either(123) && rest >= 48 {
        let first = u8_at(payload, 0);
        let modes = ["Reserved", "symmetric active", "symmetric passive", "Client", "Server", "Broadcast"];
        let mode = modes.get(usize::from(first & 7)).copied().unwrap_or("control");
        write!(out, "NTPv{}, {mode}, length {rest}", first >> 3 & 7)
    } else {
        write!(out, "UDP, length {}", if len == 0 { rest } else { len - 8 })
    };
}

/// Adds how much TCP or UDP carries; whether the layer is one of them.
pub(super) fn quiet(frame: &Frame<'_>, place: Place, out: &mut String) -> bool {
    let rest = frame.rest(place);
    let _ = match place.layer {
        LayerId::Tcp => write!(out, "tcp {rest}"),
        LayerId::Udp => write!(out, "UDP, length {rest}"),
        _ => return false,
    };
    true
}

/// The message type of DHCP (RFC 2132, option 53).
fn dhcp_message(payload: &[u8]) -> Option<&'static str> {
    const NAMES: [&str; 8] = ["Discover", "Offer", "Request", "Decline", "ACK", "NAK", "Release", "Inform"];
    if payload.get(236..240)? != [99, 130, 83, 99] {
        return None;
    }
    let mut options = payload.get(240..)?;
    loop {
        match *options.first()? {
            0 => options = options.get(1..)?,
            255 => return None,
            53 => return NAMES.get(usize::from(*options.get(2)?).checked_sub(1)?).copied(),
            _ => options = options.get(2 + usize::from(*options.get(1)?)..)?,
        }
    }
}

fn sum(frame: &Frame<'_>, place: Place, out: &mut String) {
    let Some(net) = &frame.net else { return };
    let bytes = frame.behind_start(place);
    let told = u16_at(bytes, 6);
    let len = usize::from(u16_at(bytes, 4));
    let _ = match bytes.get(..len) {
        _ if told == 0 => write!(out, "[no cksum] "),
        Some(datagram) if checksum::transport(net, 17, datagram) == 0 => write!(out, "[udp sum ok] "),
        Some(datagram) => {
            let right = checksum::right(checksum::transport(net, 17, datagram), told);
            write!(out, "[bad udp cksum {told:#06x} -> {right:#06x}!] ")
        }
        None => Ok(()),
    };
}

/// Adds an ESP header.
pub(super) fn esp(frame: &Frame<'_>, place: Place, out: &mut String) {
    let bytes = frame.bytes(place);
    let (spi, seq) = (u32_at(bytes, 0), u32_at(bytes, 4));
    let _ = write!(out, "ESP(spi={spi:#010x},seq={seq:#x}), length {}", frame.rest_with(place));
}

/// Adds a GRE header.
pub(super) fn gre(frame: &Frame<'_>, place: Place, out: &mut String) {
    let bytes = frame.bytes(place);
    let number = |name: &str| place.layer.row().number(name, bytes);
    let _ = write!(out, "GREv{}", number("version"));
    let mut at = 4;
    if number("has_checksum") == 1 {
        let _ = write!(out, ", off {:#x}", u16_at(bytes, 6));
        at += 4;
    }
    if number("has_key") == 1 {
        let _ = write!(out, ", key={:#x}", u32_at(bytes, at));
        at += 4;
    }
    if number("has_seq") == 1 {
        let _ = write!(out, ", seq {}", u32_at(bytes, at));
    }
    let _ = write!(out, ", length {}", frame.rest_with(place));
    if frame.next().is_some() {
        out.push_str(": ");
    } else if matches!(frame.decoded.stop, Stop::Unknown { .. }) {
        out.push_str(", ");
    }
}

/// Adds a header of VXLAN or GENEVE.
pub(super) fn tunnel(frame: &Frame<'_>, place: Place, out: &mut String) {
    let bytes = frame.bytes(place);
    let row = place.layer.row();
    let number = |name: &str| row.number(name, bytes);
    let _ = match place.layer {
        LayerId::Vxlan => {
            let (flags, vni) = (number("flags"), number("vni"));
            let valid = if flags & 8 != 0 { "I" } else { "." };
            write!(out, "VXLAN, flags [{valid}] ({flags:#04x}), vni {vni}: ")
        }
        _ => {
            let critical = if number("critical") == 1 { "C" } else { "" };
            let oam = if number("oam") == 1 { "O" } else { "" };
            let none = if critical.is_empty() && oam.is_empty() { "none" } else { "" };
            let _ = write!(out, "Geneve, Flags [{critical}{oam}{none}], vni {:#x}", number("vni"));
            match number("optlen") {
                0 => write!(out, ": "),
                words => write!(out, ", options [{} bytes]: ", 4 * words),
            }
        }
    };
}
