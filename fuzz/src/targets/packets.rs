//! Packets: capture files, from their bytes to printed lines and written files; and the filter language.

use super::Target;
use crate::mutate;
use crate::rng::Rng;
use skep_bpf::target::{Answer, Question, Target as Machine, TargetError};
use skep_compiler::compile::{CompileError, CompileOptions, compile as compile_module};
use skep_packet::file::{Packet, PcapWriter, PcapngWriter, Reader};
use skep_packet::filter::link::LinkType;
use skep_packet::filter::program::Verdicts;
use skep_packet::filter::{Options, Packet as Tested, Source, compile, show};
use skep_packet::print::{Dump, Printer, Shown, Stamp, Style, Zone};
use std::io::Write;

#[path = "../../../crates/packet/tests/support"]
#[allow(unreachable_pub, dead_code, reason = "support is shared with the packet crate's tests")]
mod support {
    pub mod expressions;
    pub mod packets;
    pub mod random;
}

use support::expressions::Generator;
use support::packets;
use support::random::Random;

/// What decoders of applications read: ports and payloads.
const PAYLOADS: [(u16, &[u8]); 5] = [
    // A name that points back, an alias, an address.
    (
        53,
        b"\x12\x34\x81\x80\0\x01\0\x02\0\0\0\0\x03www\x07example\x03org\0\0\x01\0\x01\xc0\x0c\0\x05\0\x01\0\0\0\x10\0\x06\x03cdn\xc0\x10\xc0\x2d\0\x01\0\x01\0\0\0\x10\0\x04\x0a\0\0\x07",
    ),
    (53, b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01\x01a\0\0\x1c\0\x01\0\0\x29\x10\0\0\0\0\0\0\0"),
    (80, b"GET /index.html?q=1 HTTP/1.1\r\nHost: example.org\r\n\r\n"),
    (
        443,
        b"\x16\x03\x01\0\x4b\x01\0\0\x47\x03\x03aaaaaaaabbbbbbbbccccccccdddddddd\0\0\x02\x13\x01\x01\0\0\x1c\0\0\0\x0e\0\x0c\0\0\x09a.example\0\x10\0\x06\0\x04\x02h2\x00",
    ),
    (4789, b"\x08\0\0\0\0\0\x2a\0\x02\0\0\0\0\x02\x02\0\0\0\0\x01\x08\0\x45\0\0\x1c\0\x01\0\0\x40\x01\0\0\x0a\0\0\x01\x0a\0\0\x02\x08\0\0\0\0\x01\0\x02"),
];

/// An Ethernet frame with a payload in UDP or TCP, by its port.
fn application(rng: &mut Rng) -> Vec<u8> {
    let Some((port, payload)) = rng.pick(&PAYLOADS) else { return Vec::new() };
    let tcp = matches!(port, 80 | 443);
    let transport = if tcp { 20 } else { 8 };
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
    frame.extend(((20 + transport + payload.len()) as u16).to_be_bytes());
    frame.extend([0, 1, 0x40, 0, 64, if tcp { 6 } else { 17 }, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0x9c, 0x40]);
    frame.extend(port.to_be_bytes());
    if tcp {
        frame.extend([0, 0, 0, 100, 0, 0, 0, 200, 0x50, 0x18, 3, 232, 0, 0, 0, 0]);
    } else {
        frame.extend(((8 + payload.len()) as u16).to_be_bytes());
        frame.extend([0, 0]);
    }
    frame.extend(*payload);
    frame
}

/// Capture files.
pub(super) struct Captures;

impl Captures {
    fn file(rng: &mut Rng) -> Vec<u8> {
        let links: Vec<LinkType> = LinkType::all().collect();
        let link =
            if rng.one_in(2) { LinkType::Ethernet } else { *rng.pick(&links).unwrap_or(&LinkType::Raw) };
        let mut frames = Vec::new();
        for _ in 0..1 + rng.below(6) {
            let app = link == LinkType::Ethernet && rng.one_in(2);
            let mut random = Random::new(rng.next());
            let mut frame = if app { application(rng) } else { packets::packet(&mut random, link) };
            if rng.one_in(2) {
                mutate::bytes(&mut frame, &[], rng);
                frame.truncate(1 << 16);
            }
            frames.push(frame);
        }
        let time = rng.number() % (u64::from(u32::MAX) * 1_000_000_000);
        let packet = |data| Packet { interface: 0, time, data, len: 70, direction: None, comment: None };
        let written = match rng.below(3) {
            0 => PcapWriter::new(Vec::new(), link.number(), 65_535, rng.one_in(2)).and_then(|mut writer| {
                frames.iter().try_for_each(|frame| writer.write(&packet(frame)).map(drop))?;
                Ok(writer.into_inner())
            }),
            _ => PcapngWriter::new(Vec::new(), "fuzz").and_then(|mut writer| {
                let interface = skep_packet::file::Interface {
                    link: link.number(),
                    snaplen: 0,
                    name: "e\u{1b}0".to_owned(),
                };
                writer.interface(&interface)?;
                frames.iter().try_for_each(|frame| {
                    let comment = rng.one_in(4).then_some("c\u{7}");
                    writer.write(&Packet { comment, ..packet(frame) }).map(drop)
                })?;
                writer.flush()?;
                Ok(writer.into_inner())
            }),
        };
        written.unwrap_or_default()
    }
}

/// All ways to print a packet.
fn styles() -> [Style; 4] {
    let hex = Dump::Hex { text: true, link: true };
    [
        Style::default(),
        Style { stamp: Stamp::Date, verbose: 2, link: true, absolute: true, dump: hex, ..Style::default() },
        Style { stamp: Stamp::SincePrevious, verbose: 1, dump: Dump::Text, ..Style::default() },
        Style { quiet: true, link: true, ..Style::default() },
    ]
}

impl Target for Captures {
    fn make(&self, rng: &mut Rng) -> Vec<u8> {
        let mut file = Captures::file(rng);
        if rng.one_in(2) {
            mutate::bytes(&mut file, &[], rng);
        }
        if rng.one_in(8) {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            let _ = packed.write_all(&file);
            file = packed.finish().unwrap_or_default();
            if rng.one_in(2) {
                mutate::bytes(&mut file, &[], rng);
            }
        }
        file
    }

    fn take(&self, input: &[u8]) -> Result<(), String> {
        // What a few bytes of gzip can become is bounded by the reader that is handed in, as a user's patience does.
        let Ok(mut reader) = Reader::new(input) else { return Ok(()) };
        let mut printers = styles().map(|style| Printer::new(style, Zone::utc()));
        let mut copy = PcapngWriter::new(Vec::new(), "fuzz").map_err(|e| e.to_string())?;
        let (mut kept, mut numbers) = (Vec::new(), Vec::new());
        let mut text = String::new();
        while kept.len() < 64 && matches!(reader.advance(), Ok(true)) {
            let packet = reader.packet();
            let Some(interface) = reader.interfaces().get(packet.interface) else {
                return Err(format!("interface {} is not there", packet.interface));
            };
            let shown = Shown {
                link: interface.link,
                time: packet.time,
                data: packet.data,
                len: packet.len as usize,
                interface: &interface.name,
                direction: packet.direction,
                process: "",
                comment: None,
            };
            printers.iter_mut().for_each(|printer| printer.print(&shown, &mut text));
            printers[0].json(&shown, &mut text);
            if let Some(bad) = text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
                return Err(format!("{bad:?} is printed as it is"));
            }
            text.clear();
            while numbers.len() <= packet.interface {
                let missing =
                    reader.interfaces().get(numbers.len()).ok_or("an interface without a number")?;
                numbers.push(copy.interface(missing).map_err(|e| e.to_string())?);
            }
            let number = numbers[packet.interface];
            if copy.write(&Packet { interface: number, ..packet }).is_err() {
                return Ok(());
            }
            kept.push((packet.time, packet.len, packet.data.to_vec(), packet.direction));
        }
        same(&copy.into_inner(), &kept)
    }
}

type Kept = (u64, u32, Vec<u8>, Option<skep_packet::file::Direction>);

/// Whether a written file gives what was put into it.
fn same(written: &[u8], kept: &[Kept]) -> Result<(), String> {
    let mut reader = Reader::new(written).map_err(|e| format!("the copy does not open: {e}"))?;
    for (index, wanted) in kept.iter().enumerate() {
        match reader.advance() {
            Ok(true) => {}
            other => return Err(format!("the copy ends at packet {index}: {other:?}")),
        }
        let p = reader.packet();
        let found = (p.time, p.len, p.data.to_vec(), p.direction);
        if found != *wanted {
            return Err(format!("packet {index} was {wanted:?} and became {found:?}"));
        }
    }
    Ok(())
}

/// No files: names come from the built-in table.
struct NoFiles;

impl Machine for NoFiles {
    fn ask(&self, question: &Question) -> Result<Answer, TargetError> {
        Err(TargetError::Unknown(format!("{question:?}")))
    }
}

/// Filter expressions: what is accepted becomes a program.
pub(super) struct Filters {
    words: Vec<String>,
}

impl Filters {
    pub(super) fn new() -> Filters {
        let text = include_str!("../../../docs/filter.md");
        let mut words: Vec<String> = mutate::words(text).into_iter().map(str::to_owned).collect();
        words.sort();
        words.dedup();
        Filters { words }
    }
}

const SOURCES: [Source; 4] =
    [Source::File { swapped: true }, Source::Socket, Source::Xdp, Source::Tc { egress: true }];

impl Target for Filters {
    fn make(&self, rng: &mut Rng) -> Vec<u8> {
        let mut input = rng.next().to_le_bytes()[..4].to_vec();
        let mut random = Random::new(rng.next());
        let mut text = Generator { random: &mut random }.expression();
        for _ in 0..rng.below(3) {
            text = mutate::text(&text, &self.words, &[], rng);
        }
        input.extend(text.as_bytes());
        input
    }

    fn take(&self, input: &[u8]) -> Result<(), String> {
        let (head, text) = input.split_at(input.len().min(4));
        let Ok(text) = std::str::from_utf8(text) else { return Ok(()) };
        let choice = |at: usize| usize::from(head.get(at).copied().unwrap_or(0));
        let links: Vec<LinkType> = LinkType::all().collect();
        let link = links[choice(0) % links.len()];
        let source = SOURCES[choice(1) % SOURCES.len()];
        let options = Options { link, source, netmask: Some(0xffff_ff00), strict: choice(2) % 2 == 0 };
        let _ = show::tree(text, options.strict);
        let Ok(filter) = compile(text, &options, &NoFiles) else { return Ok(()) };
        let _ = filter.to_string();
        let mut random = Random::new(text.len() as u64);
        for _ in 0..4 {
            let bytes = packets::packet(&mut random, link);
            let _ =
                filter.matches(&Tested { bytes: &bytes, length: bytes.len() as u32, ..Tested::default() });
        }
        let module =
            filter.module("filter", filter.mode(choice(3) % 2 == 0), Verdicts { matched: 1, other: 0 });
        let passes = choice(3) % 4 < 2;
        match compile_module(module, &mut CompileOptions { passes, ..CompileOptions::default() }) {
            Ok(_) | Err(CompileError::Limit { .. } | CompileError::Unsupported { .. }) => Ok(()),
            Err(error) => Err(format!("`{text}`: {error}")),
        }
    }
}
