//! The pcap format (draft-ietf-opsawg-pcap, and the older variants that libpcap reads): a header of 24 bytes, then
//! records of a header and data. The magic number tells the byte order and whether fractions are micro- or nanoseconds.

use super::read::Order;
use super::{Damage, MAX_PACKET};

/// Bytes of the file's header.
pub(super) const FILE_HEADER: usize = 24;
/// Bytes of a record's header; Kuznetzov's variant has eight more.
const RECORD_HEADER: usize = 16;
const RECORD_HEADER_MODIFIED: usize = 24;

pub(super) const MAGIC_MICRO: u32 = 0xa1b2_c3d4;
pub(super) const MAGIC_NANO: u32 = 0xa1b2_3c4d;
const MAGIC_MODIFIED: u32 = 0xa1b2_cd34;

/// What the file's header says of the records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Format {
    pub(super) order: Order,
    /// Nanoseconds of a unit of the fraction.
    unit: u32,
    header: usize,
    lengths: Lengths,
}

/// The order of a record's two lengths: before version 2.3 the wire's came first, and 2.3 had writers of both kinds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lengths {
    CapturedFirst,
    WireFirst,
    Either,
}

/// A record's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Record {
    /// Nanoseconds since 1970.
    pub(super) time: u64,
    pub(super) captured: u32,
    pub(super) len: u32,
}

/// The header of a file: its format, link type and snap length. `None`: no pcap file.
pub(super) fn file_header(bytes: &[u8; FILE_HEADER]) -> Option<(Format, u16, u32)> {
    let variants = [
        (MAGIC_MICRO, 1000, RECORD_HEADER),
        (MAGIC_NANO, 1, RECORD_HEADER),
        (MAGIC_MODIFIED, 1000, RECORD_HEADER_MODIFIED),
    ];
    let (order, (_, unit, header)) = [Order::Little, Order::Big].into_iter().find_map(|order| {
        let found = variants.into_iter().find(|(number, ..)| order.u32_at(bytes, 0) == *number);
        found.map(|variant| (order, variant))
    })?;
    let lengths = match (order.u16_at(bytes, 4), order.u16_at(bytes, 6)) {
        (2, 0..=2) => Lengths::WireFirst,
        (2, 3) | (543, 0) => Lengths::Either,
        _ => Lengths::CapturedFirst,
    };
    // The upper half has the length of the frame check sequence; the lower one the link type.
    let link = order.u32_at(bytes, 20) as u16;
    Some((Format { order, unit, header, lengths }, link, order.u32_at(bytes, 16)))
}

impl Format {
    /// Bytes of a record's header.
    #[inline]
    pub(super) fn header(self) -> usize {
        self.header
    }

    /// The record whose header `bytes` begin with; they must be [`Format::header`] long. `number` counts from 1.
    pub(super) fn record(self, bytes: &[u8], number: u64, offset: u64) -> Result<Record, Damage> {
        self.sound_record(bytes).ok_or_else(|| {
            let (captured, _) = self.lengths(bytes);
            let what =
                format!("record {number} claims {captured} bytes, more than any packet ({MAX_PACKET})");
            Damage::Bad { what, offset }
        })
    }

    /// The same; `None`: it claims more than any packet has.
    #[inline]
    pub(super) fn sound_record(self, bytes: &[u8]) -> Option<Record> {
        let (captured, len) = self.lengths(bytes);
        let (seconds, fraction) = (self.order.u32_at(bytes, 0), self.order.u32_at(bytes, 4));
        let time = u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * u64::from(self.unit);
        (captured <= MAX_PACKET).then_some(Record { time, captured, len })
    }

    /// Bytes that were captured, and on the wire.
    #[inline]
    fn lengths(self, bytes: &[u8]) -> (u32, u32) {
        let (first, second) = (self.order.u32_at(bytes, 8), self.order.u32_at(bytes, 12));
        let swapped = match self.lengths {
            Lengths::CapturedFirst => false,
            Lengths::WireFirst => true,
            Lengths::Either => first > second,
        };
        if swapped { (second, first) } else { (first, second) }
    }
}
