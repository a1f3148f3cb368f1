//! The pcapng format (draft-ietf-opsawg-pcapng): a file is blocks, each with its type and its length before and behind
//! it. A section's header sets the byte order; interfaces are numbered within their section.

use super::read::Order;
use super::time::Clock;
use super::{Damage, Direction, Interface, MAX_PACKET};

pub(super) const SECTION: u32 = 0x0a0d_0d0a;
pub(super) const INTERFACE: u32 = 1;
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
pub(super) const PACKET: u32 = 6;
pub(super) const BYTE_ORDER: u32 = 0x1a2b_3c4d;

/// Bytes before and behind a block's body.
pub(super) const BEFORE: usize = 8;
pub(super) const AROUND: usize = 12;
/// Most bytes of a block: a packet with its options.
const MAX_BLOCK: u32 = MAX_PACKET + (1 << 20);

pub(super) const OPTION_COMMENT: u16 = 1;
pub(super) const OPTION_NAME: u16 = 2;
pub(super) const OPTION_FLAGS: u16 = 2;
pub(super) const OPTION_RESOLUTION: u16 = 9;
const OPTION_OFFSET: u16 = 14;

/// The interfaces and byte order of the section that is being read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Section {
    pub(super) order: Order,
    /// Index of its first interface among the file's.
    pub(super) first: usize,
    pub(super) clocks: Vec<Clock>,
    /// Snap length of its first interface, which simple packets are cut to.
    snaplen: u32,
}

/// A packet's block: where in its body the data and options lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) interface: usize,
    pub(super) time: u64,
    pub(super) len: u32,
    /// Offset in the body and bytes of the data.
    pub(super) data: (usize, usize),
    /// Offset in the body of the options.
    pub(super) options: usize,
    /// What the block's own field says of the direction.
    pub(super) direction: Option<Direction>,
}

/// What a block was.
pub(super) enum Block {
    Packet(Found),
    Interface(Interface),
    /// Nothing that is needed here.
    Other,
}

/// Whether what a block of this type says changes how later packets are read.
pub(super) fn changes_nothing(kind: u32) -> bool {
    !matches!(kind, SECTION | INTERFACE)
}

/// Type and length of the block that `bytes` begin with; `None`: not all of it is there, or something is wrong with it.
#[inline]
pub(super) fn whole_block(order: Order, bytes: &[u8]) -> Option<(u32, usize)> {
    if bytes.len() < AROUND {
        return None;
    }
    let len = block_length(order, bytes, 0).ok()?;
    (len <= bytes.len() && order.u32_at(bytes, len - 4) as usize == len)
        .then(|| (order.u32_at(bytes, 0), len))
}

/// Whether blocks of this type hold a packet.
pub(super) fn has_packet(kind: u32) -> bool {
    matches!(kind, PACKET | OLD_PACKET | SIMPLE_PACKET)
}

/// The byte order of the section whose header `bytes` begin with.
pub(super) fn section_order(bytes: &[u8]) -> Option<Order> {
    [Order::Little, Order::Big].into_iter().find(|order| order.u32_at(bytes, BEFORE) == BYTE_ORDER)
}

/// The length of the block that begins with these eight bytes.
pub(super) fn block_length(order: Order, bytes: &[u8], offset: u64) -> Result<usize, Damage> {
    let len = order.u32_at(bytes, 4);
    if len < AROUND as u32 || !len.is_multiple_of(4) || len > MAX_BLOCK {
        let what = format!("a block of {len} bytes (expected a multiple of 4 from {AROUND} to {MAX_BLOCK})");
        return Err(Damage::Bad { what, offset });
    }
    Ok(len as usize)
}

impl Section {
    pub(super) fn new(order: Order, first: usize) -> Section {
        Section { order, first, clocks: Vec::new(), snaplen: 0 }
    }

    /// Reads a block's body; of one that is not `whole`, a packet's data may be missing.
    pub(super) fn block(&mut self, kind: u32, body: &[u8], whole: bool) -> Result<Block, String> {
        if kind == INTERFACE {
            return self.interface(body).map(Block::Interface);
        }
        Ok(self.packet_of(kind, body, whole)?.map_or(Block::Other, Block::Packet))
    }

    /// The packet of a block that is not [`INTERFACE`]; `None`: it holds none.
    pub(super) fn packet_of(&self, kind: u32, body: &[u8], whole: bool) -> Result<Option<Found>, String> {
        match kind {
            PACKET => self.packet(body, self.order.u32_at(body, 0), whole).map(Some),
            OLD_PACKET => self.packet(body, u32::from(self.order.u16_at(body, 0)), whole).map(Some),
            SIMPLE_PACKET => self.simple_packet(body).map(Some),
            _ => Ok(None),
        }
    }

    fn interface(&mut self, body: &[u8]) -> Result<Interface, String> {
        need(body, 8, "an interface description")?;
        let order = self.order;
        let (link, snaplen) = (order.u16_at(body, 0), order.u32_at(body, 4));
        let (mut resolution, mut offset, mut name) = (6, 0, String::new());
        for (code, value) in options(order, body, 8) {
            match code {
                OPTION_NAME => name = String::from_utf8_lossy(value).into_owned(),
                OPTION_RESOLUTION => resolution = value.first().copied().unwrap_or(resolution),
                OPTION_OFFSET if value.len() >= 8 => offset = order.u64_at(value, 0) as i64,
                _ => {}
            }
        }
        let clock = Clock::new(resolution, offset)
            .ok_or_else(|| format!("an interface whose time has the resolution {resolution:#x}"))?;
        if self.clocks.is_empty() {
            self.snaplen = snaplen;
        }
        self.clocks.push(clock);
        Ok(Interface { link, snaplen, name })
    }

    fn clock(&self, interface: u32) -> Result<Clock, String> {
        let clock = usize::try_from(interface).ok().and_then(|i| self.clocks.get(i)).copied();
        clock.ok_or_else(|| {
            format!("a packet of interface {interface}, of which the section has {}", self.clocks.len())
        })
    }

    /// A packet with a time. The packet block of the first drafts differs in its first word: an interface of 16 bits
    /// and a count of drops.
    fn packet(&self, body: &[u8], interface: u32, whole: bool) -> Result<Found, String> {
        const HEAD: usize = 20;
        need(body, HEAD, "a packet")?;
        let word = |at| self.order.u32_at(body, at);
        let clock = self.clock(interface)?;
        let (claimed, len) = (word(12) as usize, word(16));
        if whole {
            need(body, HEAD + claimed, "a packet's data")?;
        }
        let captured = claimed.min(body.len() - HEAD);
        let options = (HEAD + captured.next_multiple_of(4)).min(body.len());
        let direction = options_direction(self.order, body, options);
        let time = clock.nanoseconds(u64::from(word(4)) << 32 | u64::from(word(8)));
        let interface = self.first + interface as usize;
        Ok(Found { interface, time, len, data: (HEAD, captured), options, direction })
    }

    /// A packet without a time, of the section's first interface.
    fn simple_packet(&self, body: &[u8]) -> Result<Found, String> {
        need(body, 4, "a packet")?;
        self.clock(0)?;
        let len = self.order.u32_at(body, 0);
        let room = body.len() - 4;
        let limit = if self.snaplen == 0 { len } else { len.min(self.snaplen) };
        let captured = (limit as usize).min(room);
        Ok(Found {
            interface: self.first,
            time: 0,
            len,
            data: (4, captured),
            options: body.len(),
            direction: None,
        })
    }
}

fn need(body: &[u8], len: usize, what: &str) -> Result<(), String> {
    if body.len() < len {
        return Err(format!("{what} that needs {len} bytes in a block that has {}", body.len()));
    }
    Ok(())
}

/// The options of a body from `start` on; what is damaged ends them.
pub(super) fn options(order: Order, body: &[u8], start: usize) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = body.get(start..).unwrap_or_default();
    std::iter::from_fn(move || {
        if rest.len() < 4 {
            return None;
        }
        let (code, len) = (order.u16_at(rest, 0), usize::from(order.u16_at(rest, 2)));
        let value = rest.get(4..4 + len)?;
        if code == 0 {
            return None;
        }
        rest = rest.get(4 + len.next_multiple_of(4)..).unwrap_or_default();
        Some((code, value))
    })
}

fn options_direction(order: Order, body: &[u8], start: usize) -> Option<Direction> {
    let (_, flags) =
        options(order, body, start).find(|(code, value)| *code == OPTION_FLAGS && value.len() == 4)?;
    match order.u32_at(flags, 0) & 3 {
        1 => Some(Direction::In),
        2 => Some(Direction::Out),
        _ => None,
    }
}
