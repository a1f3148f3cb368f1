//! Captures written: packets enter, bytes of a pcap or pcapng file leave, in this machine's byte order. What a writer has
//! written is a valid file at any time, but for a packet that is being written: each header, packet and interface is handed on by
//! one call.

use std::io::{self, IoSlice, Write};

use super::pcap::{FILE_HEADER, MAGIC_MICRO, MAGIC_NANO};
use super::pcapng::{self, AROUND};
use super::{Direction, Interface, Packet};

/// A pcap file: one link type, no names of interfaces.
#[derive(Debug)]
pub struct PcapWriter<W> {
    out: W,
    /// Nanoseconds of a unit of the fraction.
    unit: u64,
}

impl<W: Write> PcapWriter<W> {
    /// Writes the file's header. `nano`: times in nanoseconds (which older tools do not read), else in microseconds.
    pub fn new(mut out: W, link: u16, snaplen: u32, nano: bool) -> io::Result<PcapWriter<W>> {
        let mut header = Vec::with_capacity(FILE_HEADER);
        header.extend_from_slice(&(if nano { MAGIC_NANO } else { MAGIC_MICRO }).to_ne_bytes());
        header.extend_from_slice(&2u16.to_ne_bytes());
        header.extend_from_slice(&4u16.to_ne_bytes());
        header.extend_from_slice(&[0; 8]);
        header.extend_from_slice(&snaplen.to_ne_bytes());
        header.extend_from_slice(&u32::from(link).to_ne_bytes());
        out.write_all(&header)?;
        Ok(PcapWriter { out, unit: if nano { 1 } else { 1000 } })
    }

    /// Writes a packet; its interface, direction and comment have no place in the format. Bytes written.
    pub fn write(&mut self, packet: &Packet<'_>) -> io::Result<u64> {
        self.record(packet, gather)
    }

    /// Hands a packet's record to `put`, with the stream below.
    #[inline]
    pub fn record<T>(
        &mut self,
        packet: &Packet<'_>,
        put: impl FnOnce(&mut W, &Record<'_, 4>) -> io::Result<T>,
    ) -> io::Result<T> {
        let seconds = u32::try_from(packet.time / 1_000_000_000).unwrap_or(u32::MAX);
        let fraction = (packet.time % 1_000_000_000 / self.unit) as u32;
        let head = [seconds, fraction, length(packet.data)?, packet.len];
        put(&mut self.out, &Record { head, data: packet.data, tail: &[], end: None })
    }

    /// Writes what is buffered.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// The stream below, as it is.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// The stream below.
    pub fn into_inner(self) -> W {
        self.out
    }
}

/// A pcapng file of one section, with times in nanoseconds.
#[derive(Debug)]
pub struct PcapngWriter<W> {
    out: W,
    block: Vec<u8>,
    interfaces: u32,
    /// What stands behind packets, by the word of their direction: most say the same as the one before.
    tails: [Tail; 3],
}

/// What stands behind packets with the same comment.
#[derive(Debug)]
struct Tail {
    comment: Option<String>,
    mark: u64,
    /// Three zeros, of which the last ones are a packet's padding; the options.
    bytes: Vec<u8>,
}

impl Tail {
    /// Whether it is what packets with this comment need.
    #[inline]
    fn says(&self, comment: Option<&str>, mark: u64) -> bool {
        let same = if mark == 0 { self.comment.as_deref() == comment } else { self.mark == mark };
        same && !self.bytes.is_empty()
    }
}

/// A packet as it stands in a file: `N` words, its bytes, what stands behind them, and perhaps a last word.
#[derive(Debug)]
pub struct Record<'r, const N: usize> {
    head: [u32; N],
    data: &'r [u8],
    tail: &'r [u8],
    end: Option<u32>,
}

impl<const N: usize> Record<'_, N> {
    /// Its bytes in all.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "none is empty")]
    pub fn len(&self) -> usize {
        4 * N + self.data.len() + self.tail.len() + self.end.map_or(0, |_| 4)
    }

    /// Fills `room`, which is as long as the record, with it. `copy` copies between slices of one length.
    #[inline]
    pub fn fill(&self, room: &mut [u8], copy: impl Fn(&mut [u8], &[u8])) {
        let mut rest = room;
        for word in self.head {
            let Some((to, behind)) = rest.split_first_chunk_mut() else { return };
            *to = word.to_ne_bytes();
            rest = behind;
        }
        for part in [self.data, self.tail] {
            let Some((to, behind)) = rest.split_at_mut_checked(part.len()) else { return };
            copy(to, part);
            rest = behind;
        }
        if let (Some(to), Some(end)) = (rest.first_chunk_mut(), self.end) {
            *to = end.to_ne_bytes();
        }
    }
}

/// `if_tsresol`: 10^-9 seconds.
const NANOSECONDS: u8 = 9;
/// Bytes of a packet's block before the packet's own.
const HEAD: usize = 28;
/// Option of a section: the program that wrote it.
const OPTION_PROGRAM: u16 = 4;

impl<W: Write> PcapngWriter<W> {
    /// Writes the section's header; `program` is who writes.
    pub fn new(out: W, program: &str) -> io::Result<PcapngWriter<W>> {
        let tails = [(); 3].map(|()| Tail { comment: None, mark: 0, bytes: Vec::new() });
        let mut writer = PcapngWriter { out, block: Vec::new(), interfaces: 0, tails };
        writer.begin(pcapng::SECTION);
        writer.word(pcapng::BYTE_ORDER);
        writer.half(1);
        writer.half(0);
        writer.block.extend_from_slice(&u64::MAX.to_ne_bytes());
        writer.option(OPTION_PROGRAM, program.as_bytes());
        writer.end_options();
        writer.end()?;
        Ok(writer)
    }

    /// Writes an interface; its number, which packets name it by.
    pub fn interface(&mut self, interface: &Interface) -> io::Result<usize> {
        self.begin(pcapng::INTERFACE);
        self.half(interface.link);
        self.half(0);
        self.word(interface.snaplen);
        if !interface.name.is_empty() {
            self.option(pcapng::OPTION_NAME, interface.name.as_bytes());
        }
        self.option(pcapng::OPTION_RESOLUTION, &[NANOSECONDS]);
        self.end_options();
        self.end()?;
        self.interfaces += 1;
        Ok(self.interfaces as usize - 1)
    }

    /// Writes a packet of an interface that was written before. Bytes written.
    pub fn write(&mut self, packet: &Packet<'_>) -> io::Result<u64> {
        self.record(packet, 0, gather)
    }

    /// Hands a packet's block to `put`, with the stream below. `mark`: a number that the caller has for the comment's text, and for
    /// no other, so that texts need not be compared; 0: none.
    #[inline]
    pub fn record<T>(
        &mut self,
        packet: &Packet<'_>,
        mark: u64,
        put: impl FnOnce(&mut W, &Record<'_, 7>) -> io::Result<T>,
    ) -> io::Result<T> {
        let interface = u32::try_from(packet.interface).ok().filter(|i| *i < self.interfaces);
        let Some(interface) = interface else {
            return Err(io::Error::other("a packet of an interface that is not written"));
        };
        let captured = length(packet.data)?;
        let way = packet.direction.map_or(0, |direction| flags(direction) as usize);
        if !self.tails.get(way).is_some_and(|tail| tail.says(packet.comment, mark)) {
            self.say(way, packet, mark);
        }
        // Its bytes are not copied here, nor what stands behind them.
        let tail = self.tails.get(way).and_then(|tail| tail.bytes.get(3 - padding(packet.data.len())..));
        let tail = tail.unwrap_or_default();
        let all = u32::try_from(HEAD + packet.data.len() + tail.len() + 4).map_err(io::Error::other)?;
        let (high, low) = ((packet.time >> 32) as u32, packet.time as u32);
        let head = [pcapng::PACKET, all, interface, high, low, captured, packet.len];
        put(&mut self.out, &Record { head, data: packet.data, tail, end: Some(all) })
    }

    /// Puts together what stands behind packets that go this way and say the same as this one.
    #[cold]
    fn say(&mut self, way: usize, packet: &Packet<'_>, mark: u64) {
        self.block.clear();
        self.block.extend_from_slice(&[0; 3]);
        if let Some(comment) = packet.comment {
            self.option(pcapng::OPTION_COMMENT, comment.as_bytes());
        }
        if let Some(direction) = packet.direction {
            self.option(pcapng::OPTION_FLAGS, &flags(direction).to_ne_bytes());
        }
        if packet.comment.is_some() || packet.direction.is_some() {
            self.end_options();
        }
        if let Some(tail) = self.tails.get_mut(way) {
            tail.mark = mark;
            tail.comment = packet.comment.map(str::to_owned);
            tail.bytes.clone_from(&self.block);
        }
    }

    /// Writes what is buffered.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// The stream below, as it is.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// The stream below.
    pub fn into_inner(self) -> W {
        self.out
    }

    fn begin(&mut self, kind: u32) {
        self.block.clear();
        self.word(kind);
        self.word(0);
    }

    fn word(&mut self, word: u32) {
        self.block.extend_from_slice(&word.to_ne_bytes());
    }

    fn half(&mut self, half: u16) {
        self.block.extend_from_slice(&half.to_ne_bytes());
    }

    fn padded(&mut self, bytes: &[u8]) {
        self.block.extend_from_slice(bytes);
        self.block.extend_from_slice(&[0; 3][..padding(bytes.len())]);
    }

    /// An option; what is longer than an option can be is cut.
    fn option(&mut self, code: u16, value: &[u8]) {
        let value = value.get(..usize::from(u16::MAX)).unwrap_or(value);
        self.half(code);
        self.half(value.len() as u16);
        self.padded(value);
    }

    fn end_options(&mut self) {
        self.word(0);
    }

    fn end(&mut self) -> io::Result<u64> {
        let len = u32::try_from(self.block.len() + AROUND - pcapng::BEFORE).map_err(io::Error::other)?;
        if let Some(place) = self.block.get_mut(4..8) {
            place.copy_from_slice(&len.to_ne_bytes());
        }
        self.word(len);
        self.out.write_all(&self.block)?;
        Ok(self.block.len() as u64)
    }
}

/// Bytes that fill up a multiple of four.
#[inline]
fn padding(len: usize) -> usize {
    len.wrapping_neg() & 3
}

/// The word of a direction in [`pcapng::OPTION_FLAGS`].
#[inline]
fn flags(direction: Direction) -> u32 {
    if direction == Direction::In { 1 } else { 2 }
}

/// Hands a record on by one call, or as many as it takes; how many bytes it has.
fn gather<W: Write, const N: usize>(out: &mut W, record: &Record<'_, N>) -> io::Result<u64> {
    let mut head = [[0; 4]; N];
    for (to, word) in head.iter_mut().zip(record.head) {
        *to = word.to_ne_bytes();
    }
    let end = record.end.map(u32::to_ne_bytes);
    let end = end.as_ref().map_or(&[][..], |end| end);
    let mut slices = [head.as_flattened(), record.data, record.tail, end].map(IoSlice::new);
    let mut rest = slices.as_mut_slice();
    let mut left = record.len();
    while left > 0 {
        match out.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) if n >= left => break,
            Ok(n) => {
                left -= n;
                IoSlice::advance_slices(&mut rest, n);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(record.len() as u64)
}

#[inline]
fn length(data: &[u8]) -> io::Result<u32> {
    u32::try_from(data.len()).map_err(io::Error::other)
}
