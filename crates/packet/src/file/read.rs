//! A capture file as packets, in the order in which they stand. [`Reader::advance`] goes to the next one, which
//! [`Reader::packet`] shows until then.

use super::ahead::{Ahead, Asked, record_at};
use super::pcap;
use super::pcapng::{self, Block, Section};
use super::{Damage, Direction, FileError, Input, Interface, MAX_INTERFACES, Packet};

/// Byte order of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    Little,
    Big,
}

impl Order {
    /// The number at `at`; bytes that are not there count as zero.
    #[inline]
    pub(super) fn u16_at(self, bytes: &[u8], at: usize) -> u16 {
        let raw: [u8; 2] = bytes.get(at..at + 2).and_then(|b| b.try_into().ok()).unwrap_or_default();
        if self == Order::Little { u16::from_le_bytes(raw) } else { u16::from_be_bytes(raw) }
    }

    /// The number at `at`; bytes that are not there count as zero.
    #[inline]
    pub(super) fn u32_at(self, bytes: &[u8], at: usize) -> u32 {
        let raw: [u8; 4] = bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).unwrap_or_default();
        if self == Order::Little { u32::from_le_bytes(raw) } else { u32::from_be_bytes(raw) }
    }

    /// The number at `at`; bytes that are not there count as zero.
    pub(super) fn u64_at(self, bytes: &[u8], at: usize) -> u64 {
        let raw: [u8; 8] = bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).unwrap_or_default();
        if self == Order::Little { u64::from_le_bytes(raw) } else { u64::from_be_bytes(raw) }
    }
}

#[derive(Debug)]
pub(super) enum Format {
    Pcap(pcap::Format),
    Pcapng(Section),
}

/// Where the current packet lies in the input, and what is told of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Current {
    interface: usize,
    time: u64,
    len: u32,
    /// First byte and count, from the input's start.
    data: (usize, usize),
    /// The options of its block, from the input's start.
    options: (usize, usize),
    direction: Option<Direction>,
    /// Bytes of the whole record or block, which the next step consumes.
    pub(super) whole: usize,
}

/// A capture that is being read.
#[derive(Debug)]
pub struct Reader<'s> {
    pub(super) input: Input<'s>,
    pub(super) format: Format,
    pub(super) interfaces: Vec<Interface>,
    pub(super) current: Current,
    pub(super) count: u64,
    /// Nothing can be read any more.
    pub(super) ended: bool,
    /// What is told after the packet that the end of the file cuts.
    pub(super) damage: Option<Damage>,
    pub(super) ahead: Ahead,
    /// Offset in the file up to which bytes were asked for, see [`Asked`].
    asked: u64,
}

impl<'s> Reader<'s> {
    /// Reads the header of a pcap or pcapng file, which may be packed by gzip.
    pub fn new(source: impl std::io::Read + 's) -> Result<Reader<'s>, FileError> {
        Reader::over(Input::new(source)?)
    }

    /// The same of an input.
    pub fn over(mut input: Input<'s>) -> Result<Reader<'s>, FileError> {
        if !input.ahead(4)? {
            let len = input.bytes().len();
            let what = if len == 0 { "the file is empty".to_owned() } else { format!("only {len} bytes") };
            return Err(FileError::NotACapture(format!("{what}; a capture begins with 24 or more")));
        }
        let (format, interfaces) = if Order::Little.u32_at(input.bytes(), 0) == pcapng::SECTION {
            (Format::Pcapng(Section::new(Order::Little, 0)), Vec::new())
        } else {
            let (format, interface) = pcap_header(&mut input)?;
            (Format::Pcap(format), vec![interface])
        };
        let current = Current::default();
        let ahead = Ahead::default();
        Ok(Reader {
            input,
            format,
            interfaces,
            current,
            count: 0,
            ended: false,
            damage: None,
            ahead,
            asked: 0,
        })
    }

    /// The interfaces that were met so far; a pcap file has one from the start.
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Whether the machine that wrote what is being read has the other byte order: where a link type has fields in its
    /// writer's order, this tells it.
    pub fn swapped(&self) -> bool {
        let order = match &self.format {
            Format::Pcap(format) => format.order,
            Format::Pcapng(section) => section.order,
        };
        order != if cfg!(target_endian = "little") { Order::Little } else { Order::Big }
    }

    /// How many packets were read.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Goes to the next packet; `false` at the end. Damage ends the file: what is called after it answers `false`. A
    /// packet that is cut by the end of the file is handed out first, with the bytes that are there.
    pub fn advance(&mut self) -> Result<bool, FileError> {
        if let Format::Pcap(format) = self.format
            && self.damage.is_none()
            && !self.ended
            && self.whole_record(format)
        {
            return Ok(true);
        }
        if let Some(damage) = self.damage.take() {
            self.ended = true;
            return Err(damage.into());
        }
        if self.ended {
            return Ok(false);
        }
        let step = match &self.format {
            Format::Pcap(format) => self.next_record(*format),
            Format::Pcapng(_) => self.next_packet_block(),
        };
        match step {
            Ok(true) => self.count += 1,
            _ => self.ended = true,
        }
        match self.damage.take_if(|_| step.is_err()) {
            Some(cut) => Err(cut.into()),
            None => step,
        }
    }

    /// The current packet; an empty one before the first [`Reader::advance`].
    #[inline]
    pub fn packet(&self) -> Packet<'_> {
        let current = &self.current;
        let bytes = self.input.bytes();
        let part = |(start, len): (usize, usize)| bytes.get(start..start + len).unwrap_or_default();
        Packet {
            interface: current.interface,
            time: current.time,
            data: part(current.data),
            len: current.len,
            direction: current.direction,
            comment: if current.options.1 == 0 { None } else { self.comment(part(current.options)) },
        }
    }

    fn comment<'a>(&self, options: &'a [u8]) -> Option<&'a str> {
        let Format::Pcapng(section) = &self.format else { return None };
        let mut all = pcapng::options(section.order, options, 0);
        let (_, text) = all.find(|(code, _)| *code == pcapng::OPTION_COMMENT)?;
        std::str::from_utf8(text).ok()
    }

    /// Goes to the next record, if all of it lies ahead already and nothing is wrong with it.
    #[inline]
    fn whole_record(&mut self, format: pcap::Format) -> bool {
        self.input.consume(self.current.whole);
        self.current.whole = 0;
        let (bytes, offset) = (self.input.bytes(), self.input.offset());
        let before = usize::try_from(self.asked.saturating_sub(offset)).unwrap_or(0);
        let mut asked = Asked::new(self.input.fetcher(), before);
        asked.ask(bytes, 0);
        self.asked = offset + asked.to() as u64;
        let Some((record, _)) = record_at(format, bytes, 0) else { return false };
        let (start, kept) = (format.header(), record.captured as usize);
        let (data, whole) = ((start, kept), start + kept);
        self.current = Current { time: record.time, len: record.len, data, whole, ..Current::default() };
        self.count += 1;
        true
    }

    /// The link type of all packets that were met: `None` where there are several.
    pub fn only_link(&self) -> Option<u16> {
        let link = self.interfaces.first()?.link;
        self.interfaces.iter().all(|interface| interface.link == link).then_some(link)
    }

    fn next_record(&mut self, format: pcap::Format) -> Result<bool, FileError> {
        self.input.consume(self.current.whole);
        self.current.whole = 0;
        if !self.input.ahead(format.header())? {
            return match self.input.bytes().len() {
                0 => Ok(false),
                _ => Err(self.cut("a record's header", format.header()).into()),
            };
        }
        let record = format.record(self.input.bytes(), self.count + 1, self.input.offset())?;
        let (start, wanted) = (format.header(), record.captured as usize);
        self.current = Current {
            time: record.time,
            len: record.len,
            data: (start, wanted),
            whole: start + wanted,
            ..Current::default()
        };
        if !self.input.ahead(start + wanted)? {
            self.damage = Some(self.cut("a packet", start + wanted));
            self.current.data.1 = self.input.bytes().len().saturating_sub(start);
        }
        Ok(true)
    }

    fn next_packet_block(&mut self) -> Result<bool, FileError> {
        loop {
            self.input.consume(self.current.whole);
            self.current = Current::default();
            let Some((kind, len)) = self.block_header()? else { return Ok(false) };
            let whole = self.input.ahead(len)?;
            if !whole {
                let damage = self.cut("a block", len);
                if !pcapng::has_packet(kind) {
                    return Err(damage.into());
                }
                self.damage = Some(damage);
            }
            self.current.whole = len;
            let Format::Pcapng(section) = &mut self.format else { return Ok(false) };
            if kind == pcapng::SECTION {
                *section = Section::new(section.order, self.interfaces.len());
                continue;
            }
            let offset = self.input.offset();
            let bad = |what: String| Damage::Bad { what, offset };
            let bytes = self.input.bytes();
            if whole && section.order.u32_at(bytes, len - 4) as usize != len {
                let behind = section.order.u32_at(bytes, len - 4);
                return Err(bad(format!("a block of {len} bytes that ends with the length {behind}")).into());
            }
            let body = bytes.get(pcapng::BEFORE..(len - 4).min(bytes.len())).unwrap_or_default();
            match section.block(kind, body, whole).map_err(bad)? {
                Block::Other => {}
                Block::Interface(_) if self.interfaces.len() >= MAX_INTERFACES => {
                    return Err(bad(format!("more than {MAX_INTERFACES} interfaces")).into());
                }
                Block::Interface(interface) => self.interfaces.push(interface),
                Block::Packet(found) => {
                    let shift = |(start, len): (usize, usize)| (start + pcapng::BEFORE, len);
                    let options = (found.options, body.len().saturating_sub(found.options));
                    self.current = Current {
                        interface: found.interface,
                        time: found.time,
                        len: found.len,
                        data: shift(found.data),
                        options: shift(options),
                        direction: found.direction,
                        whole: len,
                    };
                    return Ok(true);
                }
            }
        }
    }

    /// Type and length of the next block; a section's header sets the byte order before its length is read.
    fn block_header(&mut self) -> Result<Option<(u32, usize)>, FileError> {
        if !self.input.ahead(pcapng::AROUND)? {
            return match self.input.bytes().len() {
                0 => Ok(None),
                _ => Err(self.cut("a block's header", pcapng::AROUND).into()),
            };
        }
        let offset = self.input.offset();
        let Format::Pcapng(section) = &mut self.format else { return Ok(None) };
        let bytes = self.input.bytes();
        // The type of a section's header reads the same in both byte orders.
        let kind = section.order.u32_at(bytes, 0);
        if kind == pcapng::SECTION {
            section.order = pcapng::section_order(bytes).ok_or_else(|| {
                let found = Order::Little.u32_at(bytes, pcapng::BEFORE);
                let what = format!("a section whose byte-order magic is {found:#010x}");
                Damage::Bad { what, offset }
            })?;
        }
        Ok(Some((kind, pcapng::block_length(section.order, bytes, offset)?)))
    }

    fn cut(&self, what: &'static str, wanted: usize) -> Damage {
        let missing = wanted.saturating_sub(self.input.bytes().len()) as u64;
        Damage::Cut { what, offset: self.input.offset(), wanted: wanted as u64, missing }
    }
}

fn pcap_header(input: &mut Input<'_>) -> Result<(pcap::Format, Interface), FileError> {
    let whole = input.ahead(pcap::FILE_HEADER)?;
    let bytes = input.bytes();
    let mut header = [0; pcap::FILE_HEADER];
    let there = bytes.len().min(header.len());
    header[..there].copy_from_slice(&bytes[..there]);
    let Some((format, link, snaplen)) = pcap::file_header(&header) else {
        let [a, b, c, d, ..] = header;
        return Err(FileError::NotACapture(format!(
            "it begins with {a:02x} {b:02x} {c:02x} {d:02x}, which is neither pcap nor pcapng"
        )));
    };
    if !whole {
        let (wanted, missing) = (pcap::FILE_HEADER as u64, (pcap::FILE_HEADER - there) as u64);
        return Err(Damage::Cut { what: "the file's header", offset: 0, wanted, missing }.into());
    }
    input.consume(pcap::FILE_HEADER);
    Ok((format, Interface { link, snaplen, name: String::new() }))
}
