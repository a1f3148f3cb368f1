//! Where matching packets go: lines, JSON, a pcapng or pcap file, or nowhere.

use std::collections::HashMap;
use std::io::{self, Write};

use skep_kernel::packet::{Spool, copy_short};
use skep_packet::file::{Interface, Packet, PcapWriter, PcapngWriter, Record};
use skep_packet::print::{Printer, Shown, Style, Zone};

use super::Matched;
use crate::Error;

/// Most bytes of a packet that a written file says were kept (libpcap's MAXIMUM_SNAPLEN).
const SNAPLEN: u32 = 262_144;
/// Bytes of packets that are copied at once.
const SHORT: usize = 256;
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
    Pcapng { writer: Box<PcapngWriter<W>>, numbers: Numbers, said: Box<Said> },
    Pcap { writer: PcapWriter<W>, link: u16 },
    Pending { out: W, nano: bool },
    Count(W),
    Gone,
}

/// What packets' comments say.
#[derive(Debug, Default)]
struct Said {
    text: String,
    /// The process that it names, where it says nothing else.
    process: String,
    mark: u64,
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
                Kind::Pcapng { writer, numbers: Numbers::default(), said: Box::default() }
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
            Kind::Pcapng { writer, numbers, said } => {
                let number = numbers.number(writer, matched)?;
                let (comment, _) = said.of(packet.comment, matched.process);
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

impl Sink<Spool> {
    /// Takes a packet, as [`Sink::take`] does. What is short is put together where it is gathered.
    #[inline]
    pub(super) fn keep(&mut self, matched: &Matched<'_>) -> Result<(), Error> {
        if let Kind::Pcapng { writer, numbers, said } = &mut self.kind
            && !self.eager
            && matched.packet.data.len() < SHORT
        {
            let number = numbers.number(writer, matched)?;
            let (comment, mark) = said.of(matched.packet.comment, matched.process);
            let packet = Packet { interface: number, comment, ..matched.packet };
            let put = |spool: &mut Spool, record: &Record<'_, 7>| -> io::Result<bool> {
                let room = spool.room(record.len())?;
                Ok(room.map(|room| record.fill(room, copy_short)).is_some())
            };
            if writer.record(&packet, mark, put)? {
                return Ok(());
            }
        }
        self.take(matched)
    }
}

impl Said {
    /// What a written packet's comment says: what it said before, and its process. And a mark of that text; 0: it has none.
    #[inline]
    fn of<'c>(&'c mut self, comment: Option<&'c str>, process: &str) -> (Option<&'c str>, u64) {
        if process.is_empty() {
            return (comment, u64::from(comment.is_none()));
        }
        // Most packets come behind one of the same process.
        if comment.is_some() || self.process != process {
            self.put_together(comment, process);
        }
        (Some(&self.text), self.mark)
    }

    #[cold]
    fn put_together(&mut self, comment: Option<&str>, process: &str) {
        self.text.clear();
        self.process.clear();
        if let Some(comment) = comment {
            self.text.push_str(comment);
            self.text.push_str("; ");
        } else {
            self.process.push_str(process);
        }
        self.text.push_str("process: ");
        self.text.push_str(process);
        // One is that of no comment.
        self.mark = self.mark.max(1) + 1;
    }
}

impl Numbers {
    /// The number of a packet's interface, which is written when it comes first.
    #[inline]
    fn number<W: Write>(&mut self, writer: &mut PcapngWriter<W>, matched: &Matched<'_>) -> io::Result<usize> {
        let key = (matched.file, matched.packet.interface);
        if let Some((_, number)) = self.last.filter(|(last, _)| *last == key) {
            return Ok(number);
        }
        self.find(key, writer, matched.interface)
    }

    #[cold]
    fn find<W: Write>(
        &mut self,
        key: (usize, usize),
        writer: &mut PcapngWriter<W>,
        interface: &Interface,
    ) -> io::Result<usize> {
        let number = match self.all.get(&key) {
            Some(number) => *number,
            None => writer.interface(interface)?,
        };
        self.all.insert(key, number);
        self.last = Some((key, number));
        Ok(number)
    }
}
