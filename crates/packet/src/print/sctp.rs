//! SCTP: its chunks (RFC 9260, 3).

use std::fmt::Write as _;

use skep_compiler::layers::Place;

use super::Frame;
use super::text::{u8_at, u16_at, u32_at};

/// Kinds of chunks, by their numbers.
const KINDS: [&str; 15] = [
    "DATA",
    "INIT",
    "INIT ACK",
    "SACK",
    "HB REQ",
    "HB ACK",
    "ABORT",
    "SHUTDOWN",
    "SHUTDOWN ACK",
    "OP ERR",
    "COOKIE ECHO",
    "COOKIE ACK",
    "ECNE",
    "CWR",
    "SHUTDOWN COMPLETE",
];

/// Bytes of the common header, and of a chunk's.
const HEADER: usize = 12;
const CHUNK: usize = 4;

/// Adds the chunks of a packet.
pub(super) fn print(frame: &Frame<'_>, place: Place, out: &mut String) {
    out.push_str("sctp");
    let mut rest = frame.behind_start(place).get(HEADER..).unwrap_or_default();
    let mut number = 1;
    while rest.len() >= CHUNK {
        let (kind, len) = (u8_at(rest, 0), usize::from(u16_at(rest, 2)).max(CHUNK));
        let comma = if number == 1 { "" } else { "," };
        let _ = match KINDS.get(usize::from(kind)) {
            Some(name) => write!(out, "{comma} ({number}) [{name}] "),
            None => write!(out, "{comma} ({number}) [chunk {kind}] "),
        };
        chunk(kind, u8_at(rest, 1), rest.get(CHUNK..len.min(rest.len())).unwrap_or_default(), out);
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        number += 1;
    }
}

/// What a chunk says, if all of its fixed part is there.
fn chunk(kind: u8, flags: u8, body: &[u8], out: &mut String) {
    let _ = match kind {
        0 if body.len() >= 12 => {
            let letters = [(4, "(U)"), (2, "(B)"), (1, "(E)")];
            letters.iter().filter(|(bit, _)| flags & bit != 0).for_each(|(_, letter)| out.push_str(letter));
            let (stream, sequence, protocol) = (u16_at(body, 4), u16_at(body, 6), u32_at(body, 8));
            let tsn = u32_at(body, 0);
            write!(out, " [TSN: {tsn}] [SID: {stream}] [SSEQ {sequence}] [PPID {protocol:#x}] ")
        }
        1 | 2 if body.len() >= 16 => write!(
            out,
            "[init tag: {}] [rwnd: {}] [OS: {}] [MIS: {}] [init TSN: {}] ",
            u32_at(body, 0),
            u32_at(body, 4),
            u16_at(body, 8),
            u16_at(body, 10),
            u32_at(body, 12)
        ),
        3 if body.len() >= 12 => write!(
            out,
            "[cum ack {}] [a_rwnd {}] [#gap acks {}] [#dup tsns {}] ",
            u32_at(body, 0),
            u32_at(body, 4),
            u16_at(body, 8),
            u16_at(body, 10)
        ),
        _ => Ok(()),
    };
}
