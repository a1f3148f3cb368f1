//! What helpers about packets share: the packet that the program's context speaks of, its fields, and changing its shape.

use super::Call;
use crate::vm::fault::FaultKind;
use crate::vm::packet::Packet;

/// EtherTypes, in network byte order as `protocol` has them.
pub(super) mod ethertype {
    pub(in crate::helpers) const IPV4: u16 = 0x0800u16.to_be();
    pub(in crate::helpers) const IPV6: u16 = 0x86ddu16.to_be();
    pub(in crate::helpers) const VLAN: u16 = 0x8100u16.to_be();
    pub(in crate::helpers) const QINQ: u16 = 0x88a8u16.to_be();
}

/// Bytes of an Ethernet header.
pub(super) const ETHERNET: u32 = 14;

impl Call<'_> {
    /// The packet of the context, which argument 1 must be.
    pub(super) fn packet(&self, name: &'static str) -> Result<Packet, FaultKind> {
        self.context(name, 1)?;
        let what = "has no packet".to_owned();
        self.state.run.packet.ok_or(FaultKind::Argument { name, index: 1, what })
    }

    /// Makes the context follow a packet that has changed.
    pub(super) fn set_packet(&mut self, packet: Packet) {
        self.state.run.packet = Some(packet);
        self.state.sync_packet();
    }

    /// A field of the context by name; 0 where it has none.
    pub(super) fn field(&self, name: &str) -> u64 {
        let Some(field) = self.state.run.layout.and_then(|layout| layout.field(name)) else { return 0 };
        let mut bytes = [0; 8];
        let at = self.state.run.context.plus(field.offset);
        let len = field.size.min(8);
        if let Some(found) = self.state.memory.host(at, len) {
            bytes[..len as usize].copy_from_slice(found);
        }
        u64::from_le_bytes(bytes)
    }

    /// Sets a field of the context by name.
    pub(super) fn set_field(&mut self, name: &str, value: u64) {
        let Some(field) = self.state.run.layout.and_then(|layout| layout.field(name)) else { return };
        let at = self.state.run.context.plus(field.offset);
        let len = field.size.min(8);
        if let Some(place) = self.state.memory.host_mut(at, len) {
            place.copy_from_slice(&value.to_le_bytes()[..len as usize]);
        }
    }

    /// Bytes of the packet; `None` when they do not lie in it.
    pub(super) fn packet_bytes(&self, packet: &Packet, offset: u32, len: u32) -> Option<Vec<u8>> {
        let bytes = packet.bytes(&self.state.memory);
        let end = (offset as usize).checked_add(len as usize)?;
        bytes.get(offset as usize..end).map(<[u8]>::to_vec)
    }

    /// Writes into the packet; `false` when that does not lie in it.
    pub(super) fn put_packet_bytes(&mut self, packet: &Packet, offset: u32, new: &[u8]) -> bool {
        let end = (offset as usize).checked_add(new.len());
        let place =
            end.and_then(|end| packet.bytes_mut(&mut self.state.memory).get_mut(offset as usize..end));
        place.map(|place| place.copy_from_slice(new)).is_some()
    }

    /// Opens `len` zero bytes at `offset`; `false` when there is no room.
    pub(super) fn open(&mut self, packet: &mut Packet, offset: u32, len: u32) -> bool {
        let front = self.packet_bytes(packet, 0, offset);
        let by = i32::try_from(len).ok().map(|len| -len);
        let (Some(front), Some(by)) = (front, by) else { return false };
        if !packet.adjust_head(&mut self.state.memory, by) {
            return false;
        }
        let zeros = vec![0; len as usize];
        self.put_packet_bytes(packet, 0, &front) && self.put_packet_bytes(packet, offset, &zeros)
    }

    /// Takes `len` bytes at `offset` out; `false` when they do not lie in the packet.
    pub(super) fn close(&mut self, packet: &mut Packet, offset: u32, len: u32) -> bool {
        let inside = self.packet_bytes(packet, offset, len).is_some();
        let front = self.packet_bytes(packet, 0, offset);
        let (Some(front), true, Ok(by)) = (front, inside, i32::try_from(len)) else { return false };
        packet.adjust_head(&mut self.state.memory, by) && self.put_packet_bytes(packet, 0, &front)
    }

    /// The protocol that the context names.
    pub(super) fn protocol(&self) -> u16 {
        self.field("protocol") as u16
    }
}
