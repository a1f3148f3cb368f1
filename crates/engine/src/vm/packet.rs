//! A packet in memory: bytes with room before and behind, so that headers can be added and removed.
//!
//! Always: `head <= meta <= data <= end <= head + room`, and a program can touch what is between `meta` and `end`.

use super::memory::{Access, Addr, Memory, ObjectKind, OutOfMemory};

/// Room before a packet's first byte (XDP_PACKET_HEADROOM, include/uapi/linux/bpf.h).
pub const HEADROOM: u32 = 256;
/// Room behind its last, at least.
pub const TAILROOM: u32 = 512;

/// What a page leaves for a packet and the room around it: the kernel keeps 320 bytes for skb_shared_info.
const FRAME: u32 = 4096 - 320;

/// Where a packet is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Start of the room.
    pub head: Addr,
    /// Bytes of the room.
    pub room: u32,
    /// Metadata in front of the packet; `data` when there is none.
    pub meta: Addr,
    /// First byte.
    pub data: Addr,
    /// Behind the last byte.
    pub end: Addr,
}

impl Packet {
    /// Puts a packet into memory of its own.
    pub fn new(memory: &mut Memory, bytes: &[u8]) -> Result<Packet, OutOfMemory> {
        let mut place = (memory.alloc(ObjectKind::Packet, 0, Access::ReadWrite)?, 0);
        Packet::reuse(memory, &mut place, bytes)
    }

    /// Puts a packet where another one was; `place` is that memory with its bytes, and becomes larger where it must.
    pub(super) fn reuse(
        memory: &mut Memory,
        place: &mut (Addr, u32),
        bytes: &[u8],
    ) -> Result<Packet, OutOfMemory> {
        let full = OutOfMemory { bytes: bytes.len() as u64 };
        let len = u32::try_from(bytes.len()).map_err(|_| full)?;
        let room = len.checked_add(HEADROOM + TAILROOM).ok_or(full)?.max(FRAME);
        if room > place.1 {
            memory.free(place.0);
            *place = (memory.alloc(ObjectKind::Packet, room, Access::ReadWrite)?, room);
        }
        let head = place.0;
        memory.set_access(head, Access::ReadWrite);
        memory.host_mut(head, HEADROOM).ok_or(full)?.fill(0);
        let data = head.plus(HEADROOM);
        memory.host_mut(data, len).ok_or(full)?.copy_from_slice(bytes);
        let packet = Packet { head, room, meta: data, data, end: data.plus(len) };
        packet.apply(memory)?;
        Ok(packet)
    }

    /// Puts metadata in front of a packet that has none; what does not fit there is not put.
    pub(super) fn put_meta(&mut self, memory: &mut Memory, bytes: &[u8]) -> Result<(), OutOfMemory> {
        let len = bytes.len() as u32;
        if bytes.is_empty() || len > self.data.0 - self.head.0 {
            return Ok(());
        }
        self.meta = Addr(self.data.0 - len);
        if let Some(place) = memory.host_mut(self.meta, len) {
            place.copy_from_slice(bytes);
        }
        self.apply(memory)
    }

    /// The metadata in front of it.
    pub fn meta_bytes<'m>(&self, memory: &'m Memory) -> &'m [u8] {
        memory.host(self.meta, self.data.0 - self.meta.0).unwrap_or(&[])
    }

    /// Bytes of the packet.
    pub fn len(&self) -> u32 {
        self.end.0 - self.data.0
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.end == self.data
    }

    /// Lets programs touch what lies between `meta` and `end`, no more and no less.
    pub fn apply(&self, memory: &mut Memory) -> Result<(), OutOfMemory> {
        memory.set_bounds(self.head, self.meta, self.end.0 - self.meta.0)
    }

    /// The packet's bytes.
    pub fn bytes<'m>(&self, memory: &'m Memory) -> &'m [u8] {
        memory.host(self.data, self.len()).unwrap_or(&[])
    }

    /// The same, to write.
    pub fn bytes_mut<'m>(&self, memory: &'m mut Memory) -> &'m mut [u8] {
        memory.host_mut(self.data, self.len()).unwrap_or(&mut [])
    }

    /// Moves the first byte by `by` bytes: behind it for positive numbers. Metadata goes along. `false` when there is no room or no
    /// packet left; then nothing has changed.
    pub fn adjust_head(&mut self, memory: &mut Memory, by: i32) -> bool {
        let meta_len = self.data.0 - self.meta.0;
        let data = i64::from(self.data.0) + i64::from(by);
        if data - i64::from(meta_len) < i64::from(self.head.0) || data > i64::from(self.end.0) {
            return false;
        }
        let data = Addr(data as u32);
        let old = memory.host(self.meta, meta_len).map(<[u8]>::to_vec).unwrap_or_default();
        let meta = Addr(data.0 - meta_len);
        if let Some(place) = memory.host_mut(meta, meta_len) {
            place.copy_from_slice(&old);
        }
        (self.data, self.meta) = (data, meta);
        self.apply(memory).is_ok()
    }

    /// Moves the end by `by` bytes; what is new is zero. `false` when there is no room or no packet left; then nothing has
    /// changed.
    pub fn adjust_tail(&mut self, memory: &mut Memory, by: i32) -> bool {
        let end = i64::from(self.end.0) + i64::from(by);
        if end < i64::from(self.data.0) || end > i64::from(self.head.0) + i64::from(self.room) {
            return false;
        }
        let old = std::mem::replace(&mut self.end, Addr(end as u32));
        if by > 0
            && let Some(fresh) = memory.host_mut(old, by as u32)
        {
            fresh.fill(0);
        }
        self.apply(memory).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_and_tail_move_and_the_program_sees_no_more() {
        let mut m = Memory::new().unwrap();
        let mut p = Packet::new(&mut m, b"abcdef").unwrap();
        assert_eq!(p.bytes(&m), b"abcdef");
        assert!(p.adjust_head(&mut m, 2) && p.adjust_tail(&mut m, -1));
        assert_eq!(p.bytes(&m), b"cde");
        assert!(m.read(p.data.get() - 1, 1).is_err() && m.read(p.end.get(), 1).is_err());
        assert!(p.adjust_tail(&mut m, 3));
        assert_eq!(p.bytes(&m), b"cde\0\0\0", "what was cut off does not come back");
        assert!(p.adjust_head(&mut m, -258) && !p.adjust_head(&mut m, -1));
        assert_eq!(p.data, p.head);
        assert!(!p.adjust_tail(&mut m, -1000) && !p.adjust_tail(&mut m, 100_000));
        assert_eq!(p.len(), 264);
    }
}
