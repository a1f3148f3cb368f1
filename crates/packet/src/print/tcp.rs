//! TCP: flags, sequence numbers counted from a connection's start, options.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use skep_compiler::layers::{LayerId, Place};

use super::text::{u8_at, u16_at, u32_at};
use super::{Frame, app, checksum, dns};

/// Most connections that are remembered; beyond that all are forgotten, and numbers are absolute once more.
const MAX_CONVERSATIONS: usize = 1 << 16;

/// The two ends of a connection, in one order for both directions.
type Ends = [(IpAddr, u16); 2];

/// Where the sequence numbers of both directions begin, by connection: of the lower end first.
#[derive(Debug, Default)]
pub(super) struct Conversations(HashMap<Ends, [u32; 2]>);

impl Conversations {
    /// Numbers to subtract from `seq` and `ack` of a segment; `None` if it is the first one that is seen of both directions, or
    /// begins the connection.
    fn base(&mut self, from: (IpAddr, u16), to: (IpAddr, u16), segment: &Segment) -> Option<(u32, u32)> {
        if !segment.has(ACK) {
            return None;
        }
        let sender = usize::from(from > to);
        let ends = if sender == 0 { [from, to] } else { [to, from] };
        if let Some(bases) = self.0.get(&ends).filter(|_| !segment.has(SYN)) {
            return Some((bases[sender], bases[1 - sender]));
        }
        if self.0.len() >= MAX_CONVERSATIONS {
            self.0.clear();
        }
        let mut bases = [0; 2];
        bases[sender] = segment.seq;
        bases[1 - sender] = segment.ack.wrapping_sub(1);
        self.0.insert(ends, bases);
        None
    }
}

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
const URG: u8 = 0x20;

/// Letters of the flags, in the order in which they are printed.
const LETTERS: [(u8, char); 8] =
    [(FIN, 'F'), (SYN, 'S'), (RST, 'R'), (0x08, 'P'), (ACK, '.'), (URG, 'U'), (0x40, 'E'), (0x80, 'W')];

struct Segment {
    seq: u32,
    ack: u32,
    flags: u8,
}

impl Segment {
    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Adds a segment; with `conversations`, numbers count from the connection's start.
pub(super) fn print(
    frame: &Frame<'_>,
    place: Place,
    conversations: Option<&mut Conversations>,
    out: &mut String,
) {
    let bytes = frame.bytes(place);
    let mut segment = Segment { seq: u32_at(bytes, 4), ack: u32_at(bytes, 8), flags: u8_at(bytes, 13) };
    let ports = (u16_at(bytes, 0), u16_at(bytes, 2));
    let mut other = 0;
    if let (Some(all), Some(net)) = (conversations, &frame.net)
        && let Some((seq, ack)) = all.base((net.src, ports.0), (net.dst, ports.1), &segment)
    {
        segment.seq = segment.seq.wrapping_sub(seq);
        segment.ack = segment.ack.wrapping_sub(ack);
        other = ack;
    }
    let len = frame.rest(place);
    flags(segment.flags, out);
    if frame.verbose > 0 {
        sum(frame, place, out);
    }
    if len > 0 || segment.has(FIN | SYN | RST) {
        let _ = write!(out, ", seq {}", segment.seq);
        if len > 0 {
            let _ = write!(out, ":{}", segment.seq.wrapping_add(len as u32));
        }
    }
    if segment.has(ACK) {
        let _ = write!(out, ", ack {}", segment.ack);
    }
    let _ = write!(out, ", win {}", u16_at(bytes, 14));
    if segment.has(URG) {
        let _ = write!(out, ", urg {}", u16_at(bytes, 18));
    }
    options(bytes.get(20..place.end - place.start).unwrap_or_default(), other, out);
    let _ = write!(out, ", length {len}");
    let payload = frame.behind(place);
    if ports.0 == 53 || ports.1 == 53 {
        // A length of two bytes comes before each message.
        let (claimed, message) = (usize::from(u16_at(payload, 0)), payload.get(2..).unwrap_or_default());
        if claimed >= usize::from(LayerId::Dns.row().min) && message.len() >= claimed {
            out.push(' ');
            dns::print(message, claimed, out);
        }
    } else {
        app::print(payload, out);
    }
}

fn flags(flags: u8, out: &mut String) {
    out.push_str("Flags [");
    if flags == 0 {
        out.push_str("none");
    }
    out.extend(LETTERS.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, letter)| *letter));
    out.push(']');
}

/// The checksum, where all bytes that it is over are there.
fn sum(frame: &Frame<'_>, place: Place, out: &mut String) {
    let Some(net) = &frame.net else { return };
    let bytes = frame.behind_start(place);
    let told = u16_at(bytes, 16);
    if bytes.len() < frame.rest_with(place) {
        let _ = write!(out, ", cksum {told:#06x}");
        return;
    }
    let _ = match checksum::transport(net, 6, bytes) {
        0 => write!(out, ", cksum {told:#06x} (correct)"),
        found => {
            write!(out, ", cksum {told:#06x} (incorrect -> {:#06x})", checksum::right(found, told))
        }
    };
}

/// Adds the options (the numbers are IANA's TCP option kinds); what they say of the other direction counts from `other`.
fn options(mut bytes: &[u8], other: u32, out: &mut String) {
    if bytes.is_empty() {
        return;
    }
    out.push_str(", options [");
    let mut first = true;
    while let Some(kind) = bytes.first().copied() {
        if !first {
            out.push(',');
        }
        first = false;
        if kind <= 1 {
            out.push_str(if kind == 0 { "eol" } else { "nop" });
            bytes = if kind == 0 { &[] } else { bytes.get(1..).unwrap_or_default() };
            continue;
        }
        let len = usize::from(u8_at(bytes, 1));
        let Some(option) = bytes.get(..len).filter(|_| len >= 2) else {
            let _ = write!(out, "[bad opt {kind}]");
            break;
        };
        one_option(kind, option.get(2..).unwrap_or_default(), other, out);
        bytes = bytes.get(len..).unwrap_or_default();
    }
    out.push(']');
}

fn one_option(kind: u8, value: &[u8], other: u32, out: &mut String) {
    let _ = match (kind, value.len()) {
        (2, 2) => write!(out, "mss {}", u16_at(value, 0)),
        (3, 1) => write!(out, "wscale {}", u8_at(value, 0)),
        (4, 0) => write!(out, "sackOK"),
        (5, len) if len % 8 == 0 => {
            let _ = write!(out, "sack {} ", len / 8);
            for block in value.chunks(8) {
                let [start, end] = [0, 4].map(|at| u32_at(block, at).wrapping_sub(other));
                let _ = write!(out, "{{{start}:{end}}}");
            }
            Ok(())
        }
        (8, 8) => write!(out, "TS val {} ecr {}", u32_at(value, 0), u32_at(value, 4)),
        (28, 2) => write!(out, "uto {:#x}", u16_at(value, 0)),
        (30, _) => write!(out, "mptcp {}", value.len() + 2),
        (34, _) => write!(out, "tfo  {}", if value.is_empty() { "cookiereq" } else { "cookie" }),
        _ => {
            let _ = write!(out, "unknown-{kind}");
            if !value.is_empty() {
                out.push_str(" 0x");
            }
            value.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
        }
    };
}
