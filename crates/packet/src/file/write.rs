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
        let seconds = u32::try_from(packet.time / 1_000_000_000).unwrap_or(u32::MAX);
        let fraction = (packet.time % 1_000_000_000 / self.unit) as u32;
        let head: [u8; 16] = words([seconds, fraction, length(packet.data)?, packet.len]);
        gather(&mut self.out, &head, packet.data, &[])
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
    /// Three zeros, of which the last ones are a packet's padding; the options; room for the block's length.
    bytes: Vec<u8>,
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
        let tails = [(); 3].map(|()| Tail { comment: None, bytes: Vec::new() });
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
        let interface = u32::try_from(packet.interface).ok().filter(|i| *i < self.interfaces);
        let interface =
            interface.ok_or_else(|| io::Error::other("a packet of an interface that is not written"))?;
        let captured = length(packet.data)?;
        let way = packet.direction.map_or(0, |direction| flags(direction) as usize);
        if self
            .tails
            .get(way)
            .is_none_or(|tail| tail.bytes.is_empty() || tail.comment.as_deref() != packet.comment)
        {
            self.say(way, packet);
        }
        // Its bytes are not copied here, nor what stands behind them.
        let padding = padding(packet.data.len());
        let tail =
            self.tails.get_mut(way).and_then(|tail| tail.bytes.get_mut(3 - padding..)).unwrap_or_default();
        let all = u32::try_from(HEAD + packet.data.len() + tail.len()).map_err(io::Error::other)?;
        if let Some(end) = tail.last_chunk_mut() {
            *end = all.to_ne_bytes();
        }
        let (high, low) = ((packet.time >> 32) as u32, packet.time as u32);
        let head: [u8; HEAD] = words([pcapng::PACKET, all, interface, high, low, captured, packet.len]);
        gather(&mut self.out, &head, packet.data, tail)
    }

    /// Puts together what stands behind packets that go this way and say the same as this one.
    #[cold]
    fn say(&mut self, way: usize, packet: &Packet<'_>) {
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
        self.word(0);
        if let Some(tail) = self.tails.get_mut(way) {
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

/// Numbers one behind the other. `BYTES` is four for each.
#[inline]
fn words<const N: usize, const BYTES: usize>(words: [u32; N]) -> [u8; BYTES] {
    let mut out = [0; BYTES];
    for (to, word) in out.as_chunks_mut().0.iter_mut().zip(words) {
        *to = word.to_ne_bytes();
    }
    out
}

/// Hands these bytes on by one call, or as many as it takes; how many they are.
#[inline]
fn gather<W: Write>(out: &mut W, head: &[u8], data: &[u8], tail: &[u8]) -> io::Result<u64> {
    let mut slices = [IoSlice::new(head), IoSlice::new(data), IoSlice::new(tail)];
    let all = head.len() + data.len() + tail.len();
    let mut rest = slices.as_mut_slice();
    let mut left = all;
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
    Ok(all as u64)
}

#[inline]
fn length(data: &[u8]) -> io::Result<u32> {
    u32::try_from(data.len()).map_err(io::Error::other)
}
