//! DNS messages (RFC 1035): the header's flags, the question, the answers.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::text::{Escaped, u8_at, u16_at, u32_at};

const HEADER: usize = 12;
/// Most records that are printed of one message.
const MAX_RECORDS: u16 = 32;
/// Longest name (RFC 1035, 2.3.4), and most pointers in one.
const MAX_NAME: usize = 255;
const MAX_POINTERS: usize = 32;

/// Names of record types (IANA).
const TYPES: &[(u16, &str)] = &[
    (1, "A"),
    (2, "NS"),
    (5, "CNAME"),
    (6, "SOA"),
    (12, "PTR"),
    (13, "HINFO"),
    (15, "MX"),
    (16, "TXT"),
    (28, "AAAA"),
    (33, "SRV"),
    (35, "NAPTR"),
    (39, "DNAME"),
    (41, "OPT"),
    (43, "DS"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (50, "NSEC3"),
    (52, "TLSA"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (251, "IXFR"),
    (252, "AXFR"),
    (255, "ANY"),
    (257, "CAA"),
];

/// Results, as they are printed (RFC 1035, 2136).
const RESULTS: [&str; 11] = [
    "",
    " FormErr",
    " ServFail",
    " NXDomain",
    " NotImp",
    " Refused",
    " YXDomain",
    " YXRRSet",
    " NXRRSet",
    " NotAuth",
    " NotZone",
];
/// Kinds of query.
const OPCODES: [&str; 6] = ["", " inv_q", " stat", " op3", " notify", " update"];

/// Adds a message; `len` is its length on the wire.
pub(super) fn print(message: &[u8], len: usize, out: &mut String) {
    let (id, bits) = (u16_at(message, 0), u16_at(message, 2));
    let counts = [4, 6, 8, 10].map(|at| u16_at(message, at));
    let flag = |bit: u16| bits & bit != 0;
    let opcode = OPCODES.get(usize::from(bits >> 11 & 15)).copied().unwrap_or(" op?");
    let _ = write!(out, "{id}{opcode}");
    let response = flag(0x8000);
    if response {
        out.push_str(RESULTS.get(usize::from(bits & 15)).copied().unwrap_or(" Resp?"));
        for (set, sign) in
            [(flag(0x0400), '*'), (!flag(0x0080), '-'), (flag(0x0200), '|'), (flag(0x0020), '$')]
        {
            if set {
                out.push(sign);
            }
        }
        unusual(&[(counts[0], 1, "q")], out);
        let [_, answers, authorities, additional] = counts;
        let _ = write!(out, " {answers}/{authorities}/{additional}");
    } else {
        for (set, sign) in [(flag(0x0100), '+'), (flag(0x0010), '%')] {
            if set {
                out.push(sign);
            }
        }
        let [questions, answers, authorities, additional] = counts;
        unusual(&[(questions, 1, "q"), (answers, 0, "a"), (authorities, 0, "n"), (additional, 0, "au")], out);
    }
    records(message, counts, response, out);
    let _ = write!(out, " ({len})");
}

/// Adds the counts that are not what such a message mostly has.
fn unusual(counts: &[(u16, u16, &str)], out: &mut String) {
    for (count, _, what) in counts.iter().filter(|(count, usual, _)| count != usual) {
        let _ = write!(out, " [{count}{what}]");
    }
}

/// Adds the question of a query, the answers of a response.
fn records(message: &[u8], counts: [u16; 4], response: bool, out: &mut String) {
    let mut at = HEADER;
    for index in 0..counts[0].min(MAX_RECORDS) {
        let Some((name, end)) = name(message, at) else { return out.push_str(" [|domain]") };
        if message.len() < end + 4 {
            return out.push_str(" [|domain]");
        }
        if !response {
            let comma = if index == 0 { "" } else { "," };
            let class = match u16_at(message, end + 2) {
                1 => String::new(),
                // Multicast DNS: the answer may come to the sender alone (RFC 6762, 5.4).
                0x8001 => " (QU)".to_owned(),
                3 => " CHAOS".to_owned(),
                4 => " HS".to_owned(),
                other => format!(" Class{other}"),
            };
            let _ = write!(out, "{comma} {}{class}? {name}", kind(u16_at(message, end)));
        }
        at = end + 4;
    }
    if !response {
        return;
    }
    for index in 0..counts[1].min(MAX_RECORDS) {
        out.push_str(if index == 0 { " " } else { ", " });
        match record(message, at, out) {
            Some(end) => at = end,
            None => return out.push_str("[|domain]"),
        }
    }
}

fn kind(number: u16) -> String {
    let known = TYPES.iter().find(|(known, _)| *known == number);
    known.map_or_else(|| format!("Type{number}"), |(_, name)| (*name).to_owned())
}

/// Adds one resource record; where it ends.
fn record(message: &[u8], at: usize, out: &mut String) -> Option<usize> {
    let (_, end) = name(message, at)?;
    let fixed = message.get(end..end + 10)?;
    let (number, len) = (u16_at(fixed, 0), usize::from(u16_at(fixed, 8)));
    let start = end + 10;
    let data = message.get(start..start + len)?;
    out.push_str(&kind(number));
    let _ = match number {
        1 => write!(out, " {}", Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?)),
        28 => write!(out, " {}", Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?)),
        2 | 5 | 12 | 39 => write!(out, " {}", name(message, start)?.0),
        15 => write!(out, " {} {}", name(message, start + 2)?.0, u16_at(data, 0)),
        33 => write!(
            out,
            " {}:{} {} {}",
            name(message, start + 6)?.0,
            u16_at(data, 4),
            u16_at(data, 0),
            u16_at(data, 2)
        ),
        16 => {
            let text = data.get(1..1 + usize::from(u8_at(data, 0))).unwrap_or_default();
            write!(out, " \"{}\"", Escaped(text))
        }
        6 => write!(out, " {} serial {}", name(message, start)?.0, u32_at(data, len.saturating_sub(20))),
        _ => Ok(()),
    };
    Some(start + len)
}

/// A name with its pointers followed, as text, and where it ends in its record.
fn name(message: &[u8], at: usize) -> Option<(String, usize)> {
    let (mut at, mut end, mut pointers, mut length) = (at, None, 0, 0);
    let mut text = String::new();
    loop {
        let len = *message.get(at)?;
        match len >> 6 {
            0 if len == 0 => break,
            0 => {
                let label = message.get(at + 1..at + 1 + usize::from(len))?;
                length += label.len() + 1;
                if length > MAX_NAME {
                    return None;
                }
                let _ = write!(text, "{}.", Escaped(label));
                at += 1 + usize::from(len);
            }
            3 => {
                pointers += 1;
                if pointers > MAX_POINTERS {
                    return None;
                }
                end.get_or_insert(at + 2);
                at = usize::from(u16_at(message.get(at..at + 2)?, 0) & 0x3fff);
            }
            _ => return None,
        }
    }
    if text.is_empty() {
        text.push('.');
    }
    Some((text, end.unwrap_or(at + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(message: &[u8]) -> String {
        let mut out = String::new();
        print(message, message.len(), &mut out);
        out
    }

    const QUESTION: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\x03org\0\0\x1c\0\x01";

    #[test]
    fn questions_and_answers() {
        assert_eq!(text(QUESTION), "4660+ AAAA? www.example.org. (33)");
        let mut answer = QUESTION.to_vec();
        answer[2..4].copy_from_slice(&[0x81, 0x80]);
        answer[7] = 2;
        answer.extend(b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x06\x03cdn\xc0\x10");
        answer.extend(b"\xc0\x2d\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\0\0\x07");
        assert_eq!(text(&answer), "4660 2/0/0 CNAME cdn.example.org., A 10.0.0.7 (67)");
        answer[3] = 0x83;
        assert!(text(&answer).starts_with("4660 NXDomain 2/0/0"));
    }

    #[test]
    fn damage_ends_the_message() {
        let mut looped = QUESTION.to_vec();
        looped[12..14].copy_from_slice(&[0xc0, 0x0c]);
        assert_eq!(text(&looped), "4660+ [|domain] (33)");
        for end in 0..QUESTION.len() {
            text(&QUESTION[..end]);
        }
        let mut strange = QUESTION.to_vec();
        strange[13] = 0x1b;
        assert_eq!(text(&strange), "4660+ AAAA? \\x1bww.example.org. (33)");
    }
}
