//! Where matching packets go: lines, JSON, a pcapng or pcap file, or nowhere.

use std::collections::HashMap;
use std::io::{self, Write};

use skep_packet::file::{Interface, Packet, PcapWriter, PcapngWriter};
use skep_packet::print::{Printer, Shown, Style, Zone};

use super::Matched;
use crate::Error;

/// Most bytes of a packet that a written file says were kept (libpcap's MAXIMUM_SNAPLEN).
const SNAPLEN: u32 = 262_144;
/// Text that is gathered before it is written.
const BATCH: usize = 64 << 10;

/// The form in which packets leave.
#[derive(Debug)]
pub enum Form {
    /// A line for each.
    Lines(Style, Zone),
    /// A JSON object for each.
    Json,
    /// A pcapng file.
    Pcapng,
    /// A pcap file; `nano`: with times in nanoseconds.
    Pcap {
        /// Times in nanoseconds.
        nano: bool,
    },
    /// Only counted.
    Count,
}

/// Takes packets.
#[derive(Debug)]
pub struct Sink<W: Write> {
    kind: Kind<W>,
    /// Written after every packet.
    eager: bool,
    /// Lines say of which interface a packet is.
    origin: bool,
}

#[derive(Debug)]
enum Kind<W: Write> {
    Text { printer: Box<Printer>, json: bool, text: String, out: W },
    Pcapng { writer: Box<PcapngWriter<W>>, numbers: Numbers, comment: String },
    Pcap { writer: PcapWriter<W>, link: u16 },
    Pending { out: W, nano: bool },
    Count(W),
    Gone,
}

/// Numbers that interfaces have in the file that is written.
#[derive(Debug, Default)]
struct Numbers {
    /// By input file and the number there.
    all: HashMap<(usize, usize), usize>,
    /// The entry that was used last.
    last: Option<((usize, usize), usize)>,
}

impl<W: Write> Sink<W> {
    /// Packets to `out`; `eager`: written after every packet.
    pub fn new(form: Form, out: W, eager: bool) -> Result<Sink<W>, Error> {
        let text = |style, zone, json, out| Kind::Text {
            printer: Box::new(Printer::new(style, zone)),
            json,
            text: String::new(),
            out,
        };
        let kind = match form {
            Form::Lines(style, zone) => text(style, zone, false, out),
            Form::Json => text(Style::default(), Zone::utc(), true, out),
            Form::Pcapng => {
                let program = concat!("skep ", env!("CARGO_PKG_VERSION"));
                let writer = Box::new(PcapngWriter::new(out, program)?);
                Kind::Pcapng { writer, numbers: Numbers::default(), comment: String::new() }
            }
            Form::Pcap { nano } => Kind::Pending { out, nano },
            Form::Count => Kind::Count(out),
        };
        Ok(Sink { kind, eager, origin: true })
    }

    /// Lines do not say which interface a packet is of, nor which way it went.
    #[must_use]
    pub fn without_origin(mut self) -> Sink<W> {
        self.origin = false;
        self
    }

    /// The stream that takes the bytes.
    #[inline]
    pub(super) fn stream(&mut self) -> Option<&mut W> {
        match &mut self.kind {
            Kind::Text { out, .. } | Kind::Pending { out, .. } | Kind::Count(out) => Some(out),
            Kind::Pcapng { writer, .. } => Some(writer.get_mut()),
            Kind::Pcap { writer, .. } => Some(writer.get_mut()),
            Kind::Gone => None,
        }
    }

    /// Takes a packet.
    pub fn take(&mut self, matched: &Matched<'_>) -> Result<(), Error> {
        let packet = &matched.packet;
        if let Kind::Pending { .. } = self.kind {
            self.begin_pcap(matched.interface.link)?;
        }
        match &mut self.kind {
            Kind::Text { printer, json, text, out } => {
                let origin = self.origin || *json;
                let shown = Shown {
                    link: matched.interface.link,
                    time: packet.time,
                    data: packet.data,
                    len: packet.len as usize,
                    interface: if origin { &matched.interface.name } else { "" },
                    direction: packet.direction.filter(|_| origin),
                    process: matched.process,
                    comment: packet.comment,
                };
                if *json {
                    printer.json(&shown, text)
                } else {
                    printer.print(&shown, text)
                }
                if self.eager || text.len() >= BATCH {
                    out.write_all(text.as_bytes())?;
                    text.clear();
                }
            }
            Kind::Pcapng { writer, numbers, comment } => {
                let number = numbers.number(writer, matched)?;
                let said = said(packet.comment, matched.process, comment);
                writer.write(&Packet { interface: number, comment: said, ..*packet })?;
            }
            Kind::Pcap { link, .. } if *link != matched.interface.link => {
                return Err(Error::Capture(format!(
                    "a pcap file holds packets of one link type: {link} was first, now comes {} (write pcapng instead)",
                    matched.interface.link
                )));
            }
            Kind::Pcap { writer, .. } => {
                writer.write(packet)?;
            }
            Kind::Count(_) | Kind::Pending { .. } | Kind::Gone => {}
        }
        if self.eager { self.flush() } else { Ok(()) }
    }

    /// Begins a pcap file whose link type has become known.
    fn begin_pcap(&mut self, link: u16) -> Result<(), Error> {
        match std::mem::replace(&mut self.kind, Kind::Gone) {
            Kind::Pending { out, nano } => {
                let writer = PcapWriter::new(out, link, SNAPLEN, nano)?;
                self.kind = Kind::Pcap { writer, link };
            }
            other => self.kind = other,
        }
        Ok(())
    }

    /// Writes what is held back. A file of no packets says `link`, as its link type: readers want to know one.
    pub fn finish(&mut self, link: u16) -> Result<(), Error> {
        if let Kind::Pcapng { writer, numbers, .. } = &mut self.kind
            && numbers.all.is_empty()
        {
            writer.interface(&Interface { link, snaplen: SNAPLEN, name: String::new() })?;
            numbers.all.insert((0, 0), 0);
        }
        if let Kind::Pending { .. } = self.kind {
            self.begin_pcap(link)?;
        }
        self.flush()
    }

    /// Writes what is held back.
    pub fn flush(&mut self) -> Result<(), Error> {
        match &mut self.kind {
            Kind::Text { text, out, .. } => {
                out.write_all(text.as_bytes())?;
                text.clear();
                out.flush()?;
            }
            Kind::Pcapng { writer, .. } => writer.flush()?,
            Kind::Pcap { writer, .. } => writer.flush()?,
            Kind::Pending { out, .. } | Kind::Count(out) => out.flush()?,
            Kind::Gone => {}
        }
        Ok(())
    }
}

/// What a written packet's comment says: what it said before, and its process. `room` is where it is put together.
#[inline]
fn said<'c>(comment: Option<&'c str>, process: &str, room: &'c mut String) -> Option<&'c str> {
    if process.is_empty() {
        return comment;
    }
    const PROCESS: &str = "process: ";
    // Most packets come behind one of the same process.
    if comment.is_none() && room.strip_prefix(PROCESS) == Some(process) {
        return Some(room);
    }
    room.clear();
    if let Some(comment) = comment {
        room.push_str(comment);
        room.push_str("; ");
    }
    room.push_str(PROCESS);
    room.push_str(process);
    Some(room)
}

impl Numbers {
    /// The number of a packet's interface, which is written when it comes first.
    #[inline]
    fn number<W: Write>(&mut self, writer: &mut PcapngWriter<W>, matched: &Matched<'_>) -> io::Result<usize> {
        let key = (matched.file, matched.packet.interface);
        if let Some((_, number)) = self.last.filter(|(last, _)| *last == key) {
            return Ok(number);
        }
        let number = match self.all.get(&key) {
            Some(number) => *number,
            None => {
                let Interface { link, snaplen, name } = matched.interface;
                writer.interface(&Interface { link: *link, snaplen: *snaplen, name: name.clone() })?
            }
        };
        self.all.insert(key, number);
        self.last = Some((key, number));
        Ok(number)
    }
}
