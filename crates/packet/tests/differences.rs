//! The table of differences from libpcap in `docs/filter.md`: each row is shown by an expression on a packet, with what libpcap says
//! (with its optimiser and without), what skep says, and what it says with `--strict-libpcap`; and there is no row without.

#![allow(unreachable_pub, dead_code, reason = "support is shared by test programs")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test may stop at what it does not understand")]

mod support;

use skep_packet::filter::link::LinkType;
use skep_packet::filter::{Options, Packet, compile};
use support::classic::{self, End};
use support::oracle::Oracle;
use support::{Files, oracle};

const DOC: &str = include_str!("../../../docs/filter.md");

/// What comes of an expression and a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Says {
    Yes,
    No,
    /// The expression is refused.
    Refused,
    /// A verdict that depends on what was read before.
    Any,
}
use Says::{Any, No, Refused, Yes};

struct Row {
    /// How the document's row begins.
    row: &'static str,
    expression: &'static str,
    /// Compiled for a live interface.
    live: bool,
    /// The packet, with a header of Linux cooked v2 or, mostly, of Ethernet.
    packet: &'static str,
    /// libpcap, optimised and not.
    libpcap: [Says; 2],
    /// skep, and with the strict option.
    skep: [Says; 2],
}

const TCP: &str = "020000000002 020000000001 0800 45000028 00010000 40060000 0a000001 0a000002 \
    9c40 0050 00000001 00000000 5002 0200 0000 0000";
const VXLAN: &str = "020000000002 020000000001 0800 4500003c 00010000 40110000 0a000001 0a000002 \
    9c40 12b5 0028 0000 08000000 00000700 020000000002 020000000001 0806 0000";
/// Two headers, one behind the other.
const AUTHENTICATED: &str = "020000000002 020000000001 0800 45000058 00010000 40330000 0a000001 0a000002 \
    33 04 0000 00000007 00000001 000000000000000000000000 06 04 0000 00000007 00000001 000000000000000000000000 \
    9c40 0050 00000001 00000000 5002 0200 0000 0000";
const PPPOE: &str = "020000000002 020000000001 8864 1100 0027 002a 0021 45000028 00010000 40060000 0a000001 0a000002 \
    9c40 0050 00000001 00000000 5002 0200 0000 0000";
/// Twelve headers of options before TCP.
const LONG: &str = "020000000002 020000000001 86dd 60000000 0074 3c 40 \
    20010db8000000000000000000000001 20010db8000000000000000000000002 \
    3c00000000000000 3c00000000000000 3c00000000000000 3c00000000000000 3c00000000000000 3c00000000000000 \
    3c00000000000000 3c00000000000000 3c00000000000000 3c00000000000000 3c00000000000000 0600000000000000 \
    9c40 0050 00000001 00000000 5002 0200 0000 0000";
const COOKED: &str =
    "8100 0000 00000002 0001 00 06 0200000000010000 0005 0800 45000014 00010000 40fd0000 0a000001 0a000002";
const ZEROS: &str = "00000000 00000000 00000000 88b5 00000000";

const ROWS: &[Row] = &[
    Row {
        row: "`vxlan [VNI]`",
        expression: "vxlan 7",
        live: false,
        packet: VXLAN,
        libpcap: [Refused; 2],
        skep: [Yes, Refused],
    },
    Row {
        row: "a packet that is too short",
        expression: "ether[100] = 1 or ether[100] != 1",
        live: false,
        packet: TCP,
        libpcap: [Yes, No],
        skep: [Yes, No],
    },
    Row {
        row: "`byte N & V`",
        expression: "byte 0 & 2",
        live: false,
        packet: TCP,
        libpcap: [Any; 2],
        skep: [Yes, Refused],
    },
    Row {
        row: "`byte N & V`",
        expression: "byte 0 | 0",
        live: false,
        packet: TCP,
        libpcap: [Any; 2],
        skep: [Yes, Refused],
    },
    Row {
        row: "`portrange 80-90x`",
        expression: "tcp portrange 80-90x",
        live: false,
        packet: TCP,
        libpcap: [Yes; 2],
        skep: [Refused, Yes],
    },
    Row {
        row: "`portrange ssh-70000`",
        expression: "tcp portrange ssh-70000",
        live: false,
        packet: TCP,
        libpcap: [Yes; 2],
        skep: [Refused, Yes],
    },
    Row {
        row: "`protochain` past an authentication header",
        expression: "ip protochain 6",
        live: false,
        packet: AUTHENTICATED,
        libpcap: [No; 2],
        skep: [Yes, No],
    },
    Row {
        row: "`inbound`, `outbound`, `ifindex` behind",
        expression: "pppoes and inbound",
        live: true,
        packet: PPPOE,
        libpcap: [No; 2],
        skep: [Yes, No],
    },
    Row {
        row: "`protochain` through more than 10 headers",
        expression: "ip6 protochain 6",
        live: false,
        packet: LONG,
        libpcap: [Yes; 2],
        skep: [No; 2],
    },
    Row {
        row: "`vlan` on packets with a header of Linux cooked v2",
        expression: "vlan 5 and host 10.0.0.1",
        live: false,
        packet: COOKED,
        libpcap: [Refused; 2],
        skep: [Yes, Refused],
    },
    Row {
        row: "an expression that no packet can match",
        expression: "ip and arp",
        live: false,
        packet: TCP,
        libpcap: [Refused; 2],
        skep: [Refused; 2],
    },
    Row {
        row: "an expression that no packet can match",
        expression: "ether[0:4] & 0xffffffff = 0",
        live: false,
        packet: ZEROS,
        libpcap: [Refused; 2],
        skep: [Yes; 2],
    },
    Row {
        row: "an expression that no packet can match",
        expression: "ether[0] & 3 = 4",
        live: false,
        packet: TCP,
        libpcap: [No; 2],
        skep: [No; 2],
    },
    Row {
        row: "`x & 0xffffffff = 0`",
        expression: "ether[0:4] & 0xffffffff = 0 or arp",
        live: false,
        packet: ZEROS,
        libpcap: [No, Yes],
        skep: [Yes; 2],
    },
    // What libpcap's program reads there nobody has written.
    Row {
        row: "`geneve or …`",
        expression: "geneve or ether[0] = 2",
        live: false,
        packet: TCP,
        libpcap: [Any; 2],
        skep: [Yes; 2],
    },
    Row {
        row: "places below zero",
        expression: "ether[-4096:2] = 0",
        live: true,
        packet: TCP,
        libpcap: [No; 2],
        skep: [No; 2],
    },
];

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn says(verdict: bool) -> Says {
    if verdict { Yes } else { No }
}

fn check(row: &Row, link: LinkType, oracle: &Oracle) {
    let bytes = hex(row.packet);
    let packet = Packet { bytes: &bytes, length: bytes.len() as u32, ..Packet::default() };
    let theirs = match oracle.compile(row.expression) {
        Err(_) => [Refused; 2],
        Ok(programs) => [programs.optimised, programs.plain].map(|program| {
            match classic::run(&program, &packet, row.live) {
                End::Verdict(verdict) => says(verdict),
                End::Missing => No,
                End::Never => Any,
            }
        }),
    };
    for (theirs, expected) in theirs.into_iter().zip(row.libpcap) {
        let same = theirs == expected || expected == Any && theirs != Refused;
        assert!(same, "libpcap {}: `{}` is {theirs:?}, not {expected:?}", oracle::version(), row.expression);
    }
    let ours = [false, true].map(|strict| {
        let source = oracle.source(false);
        let options = Options { link, source, netmask: Some(0), strict };
        compile(row.expression, &options, &Files).map_or(Refused, |filter| says(filter.matches(&packet)))
    });
    assert_eq!(ours, row.skep, "skep, and strict: `{}`", row.expression);
}

/// The first cells of the table, and whether they say that the strict option changes nothing.
fn documented() -> Vec<(String, bool)> {
    let part = DOC.split("## Differences").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = part.lines().filter(|line| line.starts_with("| ")).map(|line| line.replace("\\|", "\u{1}"));
    let cells = rows.map(|line| line.split('|').nth(1).unwrap().trim().replace('\u{1}', "|"));
    cells.filter(|cell| !cell.is_empty()).map(|cell| (cell.clone(), cell.contains("also strict"))).collect()
}

#[test]
fn each_difference_is_as_it_is_written() {
    let [file, cooked] = [LinkType::Ethernet, LinkType::Sll2].map(|link| Oracle::file(link, false));
    let live = Oracle::live();
    if let Err(error) = &live {
        println!("not root, so libpcap compiles for no live interface: {error}");
    }
    for row in ROWS {
        match (row.live, &live) {
            (false, _) if row.packet == COOKED => check(row, LinkType::Sll2, &cooked),
            (false, _) => check(row, LinkType::Ethernet, &file),
            (true, Ok(live)) => check(row, LinkType::Ethernet, live),
            (true, Err(_)) => {}
        }
    }
}

#[test]
fn no_row_of_the_document_is_without_proof() {
    let documented = documented();
    assert!(documented.len() > 8, "the table is gone");
    for (cell, strict_too) in &documented {
        let rows: Vec<&Row> = ROWS.iter().filter(|row| cell.starts_with(row.row)).collect();
        assert!(!rows.is_empty(), "nothing shows: {cell}");
        for row in rows {
            assert_eq!(*strict_too, row.skep[0] == row.skep[1], "{cell}: `{}`", row.expression);
            // Strict is as libpcap without its optimiser; where that is not so, the document says so.
            let like = row.libpcap[1] == Any || row.skep[1] == Refused || row.libpcap[1] == row.skep[1];
            assert!(*strict_too || like, "{cell}");
        }
    }
    for row in ROWS {
        assert!(
            documented.iter().any(|(cell, _)| cell.starts_with(row.row)),
            "not in the document: {}",
            row.row
        );
    }
}
