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
    Pcapng { writer: PcapngWriter<W>, numbers: HashMap<(usize, usize), usize> },
    Pcap { writer: PcapWriter<W>, link: u16 },
    Pending { out: W, nano: bool },
    Count(W),
    Gone,
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
                let writer = PcapngWriter::new(out, program)?;
                Kind::Pcapng { writer, numbers: HashMap::new() }
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
            Kind::Pcapng { writer, numbers } => {
                let number = interface_number(writer, numbers, matched)?;
                let process = (!matched.process.is_empty()).then(|| match packet.comment {
                    Some(comment) => format!("{comment}; process: {}", matched.process),
                    None => format!("process: {}", matched.process),
                });
                let comment = process.as_deref().or(packet.comment);
                writer.write(&Packet { interface: number, comment, ..*packet })?;
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
        if let Kind::Pcapng { writer, numbers } = &mut self.kind
            && numbers.is_empty()
        {
            writer.interface(&Interface { link, snaplen: SNAPLEN, name: String::new() })?;
            numbers.insert((0, 0), 0);
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

/// The number of a packet's interface in the file that is written.
fn interface_number<W: Write>(
    writer: &mut PcapngWriter<W>,
    numbers: &mut HashMap<(usize, usize), usize>,
    matched: &Matched<'_>,
) -> io::Result<usize> {
    let key = (matched.file, matched.packet.interface);
    if let Some(number) = numbers.get(&key) {
        return Ok(*number);
    }
    let Interface { link, snaplen, name } = matched.interface;
    let number = writer.interface(&Interface { link: *link, snaplen: *snaplen, name: name.clone() })?;
    numbers.insert(key, number);
    Ok(number)
}
