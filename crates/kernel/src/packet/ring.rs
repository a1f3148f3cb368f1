//! A ring of blocks that the kernel fills with packets (struct tpacket_block_desc and tpacket3_hdr in
//! include/uapi/linux/if_packet.h; net/packet/af_packet.c, Linux 6.18): the mapping enters, frames leave.
//!
//! What always holds: a block belongs to the kernel or to us, by its status word; one of which a [`Block`] or a [`Lease`]
//! lives is ours, and is given back when the last of them is dropped. Offsets that the kernel has written are checked all
//! the same.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use super::tags::{self, VLAN, VLAN_TAG};
use crate::sys::mmap::{Mapping, fetch};

/// `PACKET_OUTGOING`: what this machine sends.
pub const PACKET_OUTGOING: u8 = 4;
/// Bytes of a header of LINKTYPE_LINUX_SLL2.
pub const SLL2_HEADER: usize = 20;

/// Most room that is asked for in front of a packet: for a header in place of the link's, and a tag.
const RESERVE: usize = SLL2_HEADER + VLAN_TAG;

/// Room that is asked for in front of a packet. `cooked`: the kernel cuts the link's header off.
pub(super) fn reserve(cooked: bool) -> usize {
    if cooked { RESERVE } else { VLAN_TAG }
}

/// Offsets in a block's head: its status, its packets, where the first one begins.
const STATUS: usize = 8;
const PACKETS: usize = 12;
const FIRST: usize = 16;
/// `TP_STATUS_USER`
const OURS: u32 = 1;
const KERNELS: u32 = 0;

/// Bytes of struct tpacket3_hdr, behind which struct sockaddr_ll lies, and of both.
const HEAD: usize = 48;
const HEADS: usize = HEAD + 20;
/// `TP_STATUS_VLAN_VALID`, `TP_STATUS_VLAN_TPID_VALID`
const TAGGED: u32 = 1 << 4;
const TAG_NAMED: u32 = 1 << 6;
/// Destination and source of an Ethernet frame: what stands in front of its tag.
const ADDRESSES: usize = 12;

/// How far ahead bytes are brought nearer, and how many of a packet at most.
const NEAR: usize = 1024;
const MOST_NEAR: usize = 256;

/// A mapped ring.
#[derive(Debug)]
pub(super) struct Ring {
    shared: Rc<Shared>,
    block: usize,
    blocks: usize,
    /// The block that is read next.
    next: usize,
    /// The kernel has cut the link's header off.
    cooked: bool,
    reserve: usize,
}

#[derive(Debug)]
struct Shared {
    mapping: Mapping,
    /// By block: it has been read, and somebody still holds it.
    held: Vec<Cell<bool>>,
}

/// A block that is ours.
#[derive(Debug)]
struct Held {
    shared: Rc<Shared>,
    number: usize,
    /// Offset in the mapping of the block, and behind it.
    start: usize,
    end: usize,
}

/// Keeps a block ours, with the packets in it, beyond its [`Block`]. For one thread: what lies in the block is changed only
/// while packets are read of it.
#[derive(Clone, Debug)]
pub struct Lease(Rc<Held>);

/// A block of packets that is ours while this lives.
#[derive(Debug)]
pub struct Block<'r> {
    ring: &'r mut Ring,
    lease: Lease,
    /// Offset in the mapping of the block, and behind it.
    start: usize,
    end: usize,
    /// Offset of the next packet.
    at: usize,
    /// Packets that are left.
    left: u32,
}

/// A packet: its bytes are [`Block::data`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Nanoseconds since 1970-01-01 UTC.
    pub time: u64,
    /// Its length on the wire.
    pub len: u32,
    /// Index of the interface.
    pub interface: u32,
    /// `PACKET_HOST` and so on.
    pub kind: u8,
    /// Offset in the mapping of its bytes, and how many there are.
    start: usize,
    kept: usize,
}

impl Ring {
    pub(super) fn new(mapping: Mapping, block: usize, blocks: usize, cooked: bool) -> Ring {
        let held = (0..blocks).map(|_| Cell::new(false)).collect();
        Ring {
            shared: Rc::new(Shared { mapping, held }),
            block,
            blocks,
            next: 0,
            cooked,
            reserve: reserve(cooked),
        }
    }

    pub(super) fn block(&mut self) -> Option<Block<'_>> {
        let start = self.next * self.block;
        let lent = self.shared.held.get(self.next)?;
        // Once around: what has been read is not read again.
        if lent.get() {
            return None;
        }
        let status = self.shared.mapping.atomic_u32(start + STATUS)?.load(Ordering::Acquire);
        if status & OURS == 0 {
            return None;
        }
        let left = self.word(start + PACKETS)?;
        let at = start + self.word(start + FIRST)? as usize;
        let end = start + self.block;
        lent.set(true);
        let lease = Lease(Rc::new(Held { shared: self.shared.clone(), number: self.next, start, end }));
        self.next = (self.next + 1) % self.blocks.max(1);
        Some(Block { ring: self, lease, start, end, at, left })
    }

    fn word(&self, at: usize) -> Option<u32> {
        self.shared.mapping.atomic_u32(at).map(|word| word.load(Ordering::Relaxed))
    }
}

impl Lease {
    /// Where in the ring these bytes of the block lie; `None`: elsewhere.
    pub(super) fn place(&self, bytes: &[u8]) -> Option<usize> {
        let place = self.0.shared.mapping.place(bytes)?;
        (place >= self.0.start && place + bytes.len() <= self.0.end).then_some(place)
    }

    /// The bytes at a place that [`Lease::place`] has given.
    #[allow(unsafe_code)]
    pub(super) fn bytes(&self, place: usize, len: usize) -> &[u8] {
        if place < self.0.start || place.saturating_add(len) > self.0.end {
            return &[];
        }
        // SAFETY: within a block that is ours as long as `self` lives. Only `Block::head` writes into it, which does not
        // run meanwhile: neither type leaves its thread, and `head` calls nobody.
        unsafe { self.0.shared.mapping.bytes(place, len) }.unwrap_or_default()
    }

    /// Whether both are of the same block.
    #[inline]
    pub(super) fn is(&self, other: &Lease) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Release: our reads come before the kernel may write again.
        if let Some(status) = self.shared.mapping.atomic_u32(self.start + STATUS) {
            status.store(KERNELS, Ordering::Release);
        }
        if let Some(held) = self.shared.held.get(self.number) {
            held.set(false);
        }
    }
}

impl Block<'_> {
    /// Keeps the block beyond this value.
    pub fn lease(&self) -> Lease {
        self.lease.clone()
    }

    /// When the next packet came.
    pub fn time(&self) -> Option<u64> {
        let word = |offset: usize| self.ring.word(self.at + offset).map(u64::from);
        let inside = self.left > 0 && self.at + HEADS <= self.end;
        inside.then(|| Some(word(4)? * 1_000_000_000 + word(8)?)).flatten()
    }

    /// The next packet.
    #[inline]
    pub fn head(&mut self) -> Option<Head> {
        self.left = self.left.checked_sub(1)?;
        let at = self.at;
        // Before anything is written: all of the head that is needed, read once.
        let head = self.bytes(at, HEADS)?.first_chunk::<HEADS>()?;
        let word = |offset: usize| u32::from_ne_bytes(word_at(head, offset));
        let half = |offset: usize| u16::from_ne_bytes([head[offset], head[offset + 1]]);
        let next = word(0) as usize;
        let (time, kept) = (u64::from(word(4)) * 1_000_000_000 + u64::from(word(8)), word(12) as usize);
        let (len, status, start) = (word(16), word(20), at + usize::from(half(24)));
        let (interface, kind) = (word(52), head[58]);
        // What is put in front may not reach into the head.
        if start < at + HEADS + self.ring.reserve || start + kept > self.end {
            self.left = 0;
            return None;
        }
        self.fetch(at, next);
        self.at = at + next;
        let mut found = Head { time, len, interface, kind, start, kept };
        if self.ring.cooked || status & TAGGED != 0 {
            self.restore(at, &mut found)?;
        }
        Some(found)
    }

    /// The packet's bytes, as many as the filter said; with the VLAN tag in its place.
    #[inline]
    pub fn data(&self, head: &Head) -> &[u8] {
        self.bytes(head.start, head.kept).unwrap_or_default()
    }

    /// Brings the heads of packets to come nearer, which the processor does not expect beyond the end of a page. `next`: from one
    /// to the next.
    #[inline]
    fn fetch(&self, at: usize, next: usize) {
        if let Some(bytes) = self.bytes(at + NEAR.max(2 * next), next.min(MOST_NEAR)) {
            fetch(bytes);
        }
    }

    /// Puts back what the kernel has cut off in front of the packet whose head is at `at`.
    #[cold]
    fn restore(&self, at: usize, found: &mut Head) -> Option<()> {
        let head: [u8; HEADS] = *self.bytes(at, HEADS)?.first_chunk()?;
        let half = |offset: usize| u16::from_ne_bytes([head[offset], head[offset + 1]]);
        let status = u32::from_ne_bytes(word_at(&head, 20));
        let tag =
            (status & TAGGED != 0).then(|| (half(32), if status & TAG_NAMED != 0 { half(36) } else { VLAN }));
        let moved = if self.ring.cooked {
            self.cook(found.start, (found.kept, found.len), &head, tag)
        } else {
            tag.map_or(0, |tag| self.insert(found.start, found.kept, tag))
        };
        found.start -= moved;
        found.kept += moved;
        found.len += moved as u32;
        Some(())
    }

    /// Puts a tag behind the addresses of a frame; the bytes by which the frame begins earlier.
    fn insert(&self, start: usize, kept: usize, (tag, kind): (u16, u16)) -> usize {
        let Some(addresses) = self.bytes(start, ADDRESSES.min(kept)).map(<[u8]>::to_vec) else { return 0 };
        if addresses.len() < ADDRESSES {
            return 0;
        }
        let mut front = [0; ADDRESSES + VLAN_TAG];
        front[..ADDRESSES].copy_from_slice(&addresses);
        front[ADDRESSES..ADDRESSES + 2].copy_from_slice(&kind.to_be_bytes());
        front[ADDRESSES + 2..].copy_from_slice(&tag.to_be_bytes());
        if self.write(start - VLAN_TAG, &front) { VLAN_TAG } else { 0 }
    }

    /// Puts a header of LINKTYPE_LINUX_SLL2 in front of a packet, and its tag between both. `size`: bytes that were kept of
    /// the packet, and its length.
    fn cook(&self, start: usize, size: (usize, u32), head: &[u8; HEADS], tag: Option<(u16, u16)>) -> usize {
        let mut front = [0; RESERVE];
        let protocol = u16::from_be_bytes([head[50], head[51]]);
        let (kind, length) = tag.map_or((protocol, SLL2_HEADER), |(tag, kind)| {
            let another = self.bytes(start, size.0).is_some_and(|data| tags::begins(data, size.1, protocol));
            let inner = if another { VLAN } else { protocol };
            front[SLL2_HEADER..SLL2_HEADER + 2].copy_from_slice(&tag.to_be_bytes());
            front[SLL2_HEADER + 2..].copy_from_slice(&inner.to_be_bytes());
            (kind, RESERVE)
        });
        let kind = kind.to_be_bytes();
        front[..2].copy_from_slice(&kind);
        front[4..8].copy_from_slice(&u32::from_ne_bytes(word_at(head, 52)).to_be_bytes());
        front[8..10].copy_from_slice(&u16::from_ne_bytes([head[56], head[57]]).to_be_bytes());
        front[10] = head[58];
        front[11] = head[59];
        front[12..20].copy_from_slice(&head[60..68]);
        if self.write(start - length, &front[..length]) { length } else { 0 }
    }

    #[inline]
    #[allow(unsafe_code)]
    fn bytes(&self, at: usize, len: usize) -> Option<&[u8]> {
        if at < self.start || at.checked_add(len)? > self.end {
            return None;
        }
        // SAFETY: within a block that is ours: the kernel writes it not before it is given back, when this value and all
        // leases are gone; `write` is called by `head` alone, whose exclusive borrow no such slice outlives, and
        // leases give theirs only while their holder runs.
        unsafe { self.ring.shared.mapping.bytes(at, len) }
    }

    #[allow(unsafe_code)]
    fn write(&self, at: usize, bytes: &[u8]) -> bool {
        if at < self.start || at + bytes.len() > self.end {
            return false;
        }
        // SAFETY: as in `bytes`: the block is ours, and `head`, the only caller, holds no slice of it here.
        unsafe { self.ring.shared.mapping.write(at, bytes) }
    }
}

#[inline]
fn word_at(head: &[u8; HEADS], at: usize) -> [u8; 4] {
    [head[at], head[at + 1], head[at + 2], head[at + 3]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
    use std::os::fd::AsFd;

    const BLOCK: usize = 4096;

    /// A ring of one block with these packets, as the kernel would have filled it: status and bytes of each.
    fn ring(packets: &[(u32, &[u8])], cooked: bool) -> Ring {
        let mut block = vec![0; BLOCK];
        let word = |block: &mut Vec<u8>, at: usize, value: u32| {
            block[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        };
        word(&mut block, STATUS, OURS);
        word(&mut block, PACKETS, packets.len() as u32);
        word(&mut block, FIRST, 48);
        let mut at = 48;
        for (index, (status, bytes)) in packets.iter().enumerate() {
            let start = HEADS + RESERVE + 4;
            let next = (start + bytes.len()).next_multiple_of(16);
            for (offset, value) in [
                (0, next as u32),
                (4, 1),
                (8, 5),
                (12, bytes.len() as u32),
                (16, bytes.len() as u32),
                (20, *status),
            ] {
                word(&mut block, at + offset, value);
            }
            block[at + 24..at + 26].copy_from_slice(&(start as u16).to_ne_bytes());
            word(&mut block, at + 32, 42);
            block[at + 36..at + 38].copy_from_slice(&0x88a8u16.to_ne_bytes());
            block[at + 50..at + 52].copy_from_slice(&[8, 0]);
            word(&mut block, at + 52, 7 + index as u32);
            block[at + 56..at + 60].copy_from_slice(&[1, 0, PACKET_OUTGOING, 6]);
            block[at + start..at + start + bytes.len()].copy_from_slice(bytes);
            at += next;
        }
        let file = memfd_create("ring", MemfdFlags::empty()).unwrap();
        ftruncate(&file, BLOCK as u64).unwrap();
        assert_eq!(rustix::io::pwrite(&file, &block, 0).unwrap(), BLOCK);
        Ring::new(Mapping::shared(file.as_fd(), 0, BLOCK, true).unwrap(), BLOCK, 1, cooked)
    }

    struct Frame<'b> {
        data: &'b [u8],
        len: u32,
        interface: u32,
        kind: u8,
    }

    fn frame<'b>(block: &'b mut Block<'_>) -> Frame<'b> {
        let head = block.head().unwrap();
        Frame { data: block.data(&head), len: head.len, interface: head.interface, kind: head.kind }
    }

    const FRAME: &[u8] = b"ddddddssssss\x08\0payload";

    #[test]
    fn tags_are_put_back() {
        let mut ring =
            ring(&[(OURS, FRAME), (OURS | TAGGED | TAG_NAMED, FRAME), (OURS | TAGGED, FRAME)], false);
        let mut block = ring.block().unwrap();
        assert_eq!(block.time(), Some(1_000_000_005));
        let plain = frame(&mut block);
        assert_eq!((plain.data, plain.len, plain.interface), (FRAME, FRAME.len() as u32, 7));
        let tagged = frame(&mut block);
        assert_eq!(tagged.data, b"ddddddssssss\x88\xa8\0\x2a\x08\0payload");
        assert_eq!((tagged.len as usize, tagged.kind), (FRAME.len() + 4, PACKET_OUTGOING));
        assert_eq!(frame(&mut block).data, b"ddddddssssss\x81\0\0\x2a\x08\0payload");
        assert_eq!(block.head(), None);
        assert_eq!(block.time(), None);
        drop(block);
        assert!(ring.block().is_none(), "the block is the kernel's again");
    }

    #[test]
    fn a_lease_keeps_its_block() {
        let mut ring = ring(&[(OURS, FRAME)], false);
        let mut block = ring.block().unwrap();
        let lease = block.lease();
        let data = frame(&mut block).data;
        let (place, len) = (lease.place(data).unwrap(), data.len());
        assert_eq!(lease.place(FRAME), None);
        drop(block);
        assert_eq!(lease.bytes(place, len), FRAME);
        assert_eq!(lease.bytes(BLOCK - 2, 4), b"");
        assert!(ring.block().is_none(), "it was read already");
        assert_eq!(ring.word(STATUS), Some(OURS));
        drop(lease);
        assert_eq!(ring.word(STATUS), Some(KERNELS));
        assert!(ring.block().is_none());
    }

    #[test]
    fn a_header_stands_in_the_place_of_the_links() {
        let mut ring = ring(&[(OURS, b"packet"), (OURS | TAGGED, b"packet")], true);
        let mut block = ring.block().unwrap();
        let plain = frame(&mut block);
        assert_eq!(plain.data, b"\x08\0\0\0\0\0\0\x07\0\x01\x04\x06\0\0\0\0\0\0\0\0packet");
        assert_eq!(plain.len, 26);
        let tagged = frame(&mut block);
        assert_eq!(tagged.data, b"\x81\0\0\0\0\0\0\x08\0\x01\x04\x06\0\0\0\0\0\0\0\0\0\x2a\x08\0packet");
    }

    #[test]
    fn a_second_tag_is_named() {
        // What the kernel took off says IPv4; the packet begins with another tag.
        let ip = b"\x45\0\0\x15\0\0\0\0\x40\x11\x66\xd6\x0a\0\0\x01\x0a\0\0\x02!";
        let mut ring =
            ring(&[(OURS | TAGGED, &[b"\0\x07\x08\0", &ip[..]].concat()), (OURS | TAGGED, ip)], true);
        let mut block = ring.block().unwrap();
        let twice = frame(&mut block);
        assert_eq!(&twice.data[20..28], b"\0\x2a\x81\0\0\x07\x08\0");
        assert_eq!(twice.data.len(), 24 + 4 + 21);
        assert_eq!(&frame(&mut block).data[20..26], b"\0\x2a\x08\0\x45\0");
    }

    #[test]
    fn offsets_that_lead_out_end_the_block() {
        let mut ring = ring(&[(OURS, FRAME), (OURS, FRAME)], false);
        let mut block = ring.block().unwrap();
        let next = block.at;
        let long = block.ring.shared.mapping.atomic_u32(next + 12).unwrap();
        long.store(u32::MAX, Ordering::Relaxed);
        assert_eq!(block.head(), None);
        assert_eq!(block.head(), None);
    }
}
