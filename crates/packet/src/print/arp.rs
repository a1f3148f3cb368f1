//! ARP and RARP.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use skep_compiler::layers::Place;

use super::Frame;
use super::text::{Mac, u8_at, u16_at};

/// Adds what an ARP packet says.
pub(super) fn print(frame: &Frame<'_>, place: Place, out: &mut String) {
    let bytes = frame.bytes(place);
    let (hlen, plen) = (usize::from(u8_at(bytes, 4)), usize::from(u8_at(bytes, 5)));
    let part = |at: usize, len: usize| bytes.get(at..at + len).unwrap_or_default();
    let (sender_mac, sender) = (part(8, hlen), part(8 + hlen, plen));
    let (target_mac, target) = (part(8 + hlen + plen, hlen), part(8 + 2 * hlen + plen, plen));
    let unset = target_mac.iter().all(|b| *b == 0) || target_mac.iter().all(|b| *b == 0xff);
    let aim = |f: &mut String| {
        let _ = write!(f, "{}", address(target));
        if !unset {
            let _ = write!(f, " ({})", Mac(target_mac));
        }
    };
    out.push_str(frame.word("ARP, "));
    let _ = match u16_at(bytes, 6) {
        1 => {
            out.push_str("Request who-has ");
            aim(out);
            write!(out, " tell {}", address(sender))
        }
        2 => write!(out, "Reply {} is-at {}", address(sender), Mac(sender_mac)),
        3 => write!(out, "Reverse Request who-is {} tell {}", Mac(target_mac), Mac(sender_mac)),
        4 => write!(out, "Reverse Reply {} at {}", Mac(target_mac), address(target)),
        other => write!(out, "operation {other}"),
    };
    let _ = write!(out, ", length {}", frame.len.saturating_sub(place.start));
}

/// A protocol address: IPv4 where it is as long.
fn address(bytes: &[u8]) -> String {
    match <[u8; 4]>::try_from(bytes) {
        Ok(octets) => Ipv4Addr::from(octets).to_string(),
        Err(_) => bytes.iter().map(|b| format!("{b:02x}")).collect(),
    }
}
