//! Captures on disk: bytes of a pcap or pcapng file enter through a reader that is handed in, packets with their
//! interface and time leave; and back.
//!
//! A file is hostile input: lengths are bounded before anything is reserved for them, and what is damaged ends the file
//! with a [`Damage`] that says where, after everything before it was handed out.

mod ahead;
mod input;
mod merge;
mod pcap;
mod pcapng;
mod read;
mod time;
mod write;

#[cfg(test)]
mod tests;

pub use ahead::Tests;
pub use input::{Input, Memory};
pub use merge::Merge;
pub use read::Reader;
pub use write::{PcapWriter, PcapngWriter, Record};

/// Most bytes of one packet, as captured. Larger than any link's; what claims more is damage.
pub const MAX_PACKET: u32 = 16 << 20;

/// Most interfaces of one file: each is kept.
pub const MAX_INTERFACES: usize = 1 << 16;

/// Where packets came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interface {
    /// `LINKTYPE_` number; [`crate::filter::link::LinkType::from_number`] names those that are understood.
    pub link: u16,
    /// Most bytes that were kept of a packet; 0: no limit is told.
    pub snaplen: u32,
    /// Its name; empty where the file has none.
    pub name: String,
}

/// Which way a packet went, where the file says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Received.
    In,
    /// Sent.
    Out,
}

/// One packet of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'a> {
    /// Index of its interface among all of the reader's.
    pub interface: usize,
    /// When it was captured: nanoseconds since 1970-01-01 UTC. Finer resolutions are rounded down.
    pub time: u64,
    /// Its bytes, as many as were kept.
    pub data: &'a [u8],
    /// Its length on the wire.
    pub len: u32,
    /// Which way it went.
    pub direction: Option<Direction>,
    /// The first comment of its block.
    pub comment: Option<&'a str>,
}

/// Why a file ends before its end.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Damage {
    /// The file stops in the middle of something.
    #[error(
        "the file is cut in the middle of {what}: {missing} of its {wanted} bytes are missing at offset {offset}"
    )]
    Cut {
        /// What was being read.
        what: &'static str,
        /// Offset of its first byte, in the uncompressed file.
        offset: u64,
        /// Its bytes.
        wanted: u64,
        /// Those that are not there.
        missing: u64,
    },
    /// Something contradicts the format.
    #[error("{what} at offset {offset}")]
    Bad {
        /// What was found and what was expected.
        what: String,
        /// Offset of the record or block, in the uncompressed file.
        offset: u64,
    },
}

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The bytes could not be had.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It is no capture: what it is instead.
    #[error("{0}")]
    NotACapture(String),
    /// It is damaged; what came before was handed out.
    #[error("{0}")]
    Damaged(#[from] Damage),
    /// The format cannot hold it.
    #[error("{0}")]
    Unsupported(String),
}
