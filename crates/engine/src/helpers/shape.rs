//! Changing the shape of packets of `__sk_buff` programs: tags, room for headers, protocols, length (net/core/filter.c).

use rustix::io::Errno;

use super::packet::{ETHERNET, ethertype};
use super::ring::NO_FLAGS;
use super::{Answer, Call, failed};
use crate::vm::packet::Packet;

/// Bytes of a VLAN tag.
const TAG: u32 = 4;
/// Bytes of the fixed headers of IPv4 and IPv6.
const IPV4_HEADER: u32 = 20;
const IPV6_HEADER: u32 = 40;
/// Most bytes that `bpf_skb_adjust_room()` changes.
const MOST_ROOM: u32 = 0xfff;
/// Where room is made: BPF_ADJ_ROOM_NET, BPF_ADJ_ROOM_MAC.
const BEHIND_NETWORK: u64 = 0;
const BEHIND_MAC: u64 = 1;
/// All flags of `bpf_skb_adjust_room()` (BPF_F_ADJ_ROOM_MASK), with the length of an inner link-layer header.
const ROOM_FLAGS: u64 = 0x1ff | 0xff << 56;
const ROOM_FIXED_GSO: u64 = 1;
const DECAP_FLAGS: u64 = 1 << 7 | 1 << 8;
const DECAP_IPV4: u64 = 1 << 7;

fn tagged(protocol: u16) -> bool {
    matches!(protocol, ethertype::VLAN | ethertype::QINQ)
}

/// The longest that a packet may become (`__bpf_skb_max_len`).
fn longest(call: &Call<'_>) -> u32 {
    call.state.env.net.mtu(call.field("ifindex") as u32) + ETHERNET
}

/// A tag as it lies in a packet: EtherType and value.
fn tag_bytes(protocol: u16, tci: u16) -> [u8; 4] {
    let (protocol, tci) = (protocol.to_ne_bytes(), tci.to_be_bytes());
    [protocol[0], protocol[1], tci[0], tci[1]]
}

pub(super) fn skb_vlan_push(call: &mut Call<'_>) -> Answer {
    let mut packet = call.packet("skb_vlan_push")?;
    let protocol = if tagged(call.arg(2) as u16) { call.arg(2) as u16 } else { ethertype::VLAN };
    let tci = call.arg(3) as u16;
    if call.field("vlan_present") != 0 {
        // The tag beside the packet goes into it, in front of the EtherType.
        let (old, old_tci) = (call.field("vlan_proto") as u16, call.field("vlan_tci") as u16);
        if !call.open(&mut packet, ETHERNET - 2, TAG) {
            return Ok(failed(Errno::NOMEM));
        }
        call.put_packet_bytes(&packet, ETHERNET - 2, &tag_bytes(old, old_tci));
        call.set_field("protocol", old.into());
        call.set_packet(packet);
    }
    call.set_field("vlan_present", 1);
    call.set_field("vlan_proto", protocol.into());
    call.set_field("vlan_tci", tci.into());
    Ok(0)
}

/// Takes the outermost tag out of the packet: its EtherType and value.
fn untag(call: &mut Call<'_>, packet: &mut Packet) -> Option<(u16, u16)> {
    let bytes = call.packet_bytes(packet, ETHERNET - 2, TAG + 2)?;
    let protocol = u16::from_ne_bytes([bytes[0], bytes[1]]);
    let inner = u16::from_ne_bytes([bytes[4], bytes[5]]);
    if !tagged(protocol) || !call.close(packet, ETHERNET - 2, TAG) {
        return None;
    }
    call.set_field("protocol", inner.into());
    call.set_packet(*packet);
    Some((protocol, u16::from_be_bytes([bytes[2], bytes[3]])))
}

pub(super) fn skb_vlan_pop(call: &mut Call<'_>) -> Answer {
    let mut packet = call.packet("skb_vlan_pop")?;
    if call.field("vlan_present") != 0 {
        for field in ["vlan_present", "vlan_proto", "vlan_tci"] {
            call.set_field(field, 0);
        }
    } else if untag(call, &mut packet).is_none() {
        return Ok(0);
    }
    // The next tag, if there is one, moves beside the packet.
    if let Some((protocol, tci)) = untag(call, &mut packet) {
        call.set_field("vlan_present", 1);
        call.set_field("vlan_proto", protocol.into());
        call.set_field("vlan_tci", tci.into());
    }
    Ok(0)
}

pub(super) fn skb_change_tail(call: &mut Call<'_>) -> Answer {
    let mut packet = call.packet("skb_change_tail")?;
    let (len, flags) = (call.arg32(2), call.arg(3));
    let least = call.state.run.network_offset;
    if flags != NO_FLAGS || len > longest(call) || len < least {
        return Ok(failed(Errno::INVAL));
    }
    let by = i64::from(len) - i64::from(packet.len());
    let by = i32::try_from(by).unwrap_or(i32::MAX);
    if !packet.adjust_tail(&mut call.state.memory, by) {
        return Ok(failed(Errno::NOMEM));
    }
    call.set_packet(packet);
    Ok(0)
}

pub(super) fn skb_change_head(call: &mut Call<'_>) -> Answer {
    let mut packet = call.packet("skb_change_head")?;
    let (by, flags) = (call.arg32(2), call.arg(3));
    if flags != NO_FLAGS || packet.len().saturating_add(by) > longest(call) {
        return Ok(failed(Errno::INVAL));
    }
    if !call.open(&mut packet, 0, by) {
        return Ok(failed(Errno::NOMEM));
    }
    call.state.run.network_offset += by;
    call.set_packet(packet);
    Ok(0)
}

pub(super) fn skb_change_proto(call: &mut Call<'_>) -> Answer {
    let mut packet = call.packet("skb_change_proto")?;
    let (wanted, flags) = (call.arg(2) as u16, call.arg(3));
    if flags != NO_FLAGS {
        return Ok(failed(Errno::INVAL));
    }
    let at = call.state.run.network_offset;
    let difference = IPV6_HEADER - IPV4_HEADER;
    let done = match (call.protocol(), wanted) {
        (ethertype::IPV4, ethertype::IPV6) => call.open(&mut packet, at, difference),
        (ethertype::IPV6, ethertype::IPV4) => call.close(&mut packet, at, difference),
        _ => return Ok(failed(crate::maps::ENOTSUPP)),
    };
    if !done {
        return Ok(failed(Errno::NOMEM));
    }
    call.set_field("protocol", wanted.into());
    call.set_field("hash", 0);
    call.set_packet(packet);
    Ok(0)
}

pub(super) fn skb_adjust_room(call: &mut Call<'_>) -> Answer {
    let mut packet = call.packet("skb_adjust_room")?;
    let (by, mode, flags) = (call.arg(2) as i32, call.arg(3), call.arg(4));
    let len = by.unsigned_abs();
    if flags & !ROOM_FLAGS != 0 || (by < 0 && flags & !(ROOM_FIXED_GSO | DECAP_FLAGS | 1 << 5) != 0) {
        return Ok(failed(Errno::INVAL));
    }
    if len > MOST_ROOM {
        return Ok(failed(Errno::FAULT));
    }
    let header = match call.protocol() {
        ethertype::IPV4 => IPV4_HEADER,
        ethertype::IPV6 => IPV6_HEADER,
        _ => return Ok(failed(crate::maps::ENOTSUPP)),
    };
    let network = call.state.run.network_offset;
    let at = match mode {
        BEHIND_NETWORK => network + header,
        BEHIND_MAC => network,
        _ => return Ok(failed(crate::maps::ENOTSUPP)),
    };
    // What is left must hold a network header; of a decapsulation the inner one.
    let least = match flags & DECAP_FLAGS {
        0 => header,
        DECAP_IPV4 => IPV4_HEADER,
        _ => IPV6_HEADER,
    };
    let too_short = by < 0 && packet.len().saturating_sub(network) < len + least;
    let too_long = by > 0 && packet.len() + len > longest(call);
    if too_short || too_long {
        return Ok(failed(crate::maps::ENOTSUPP));
    }
    let done = if by < 0 { call.close(&mut packet, at, len) } else { call.open(&mut packet, at, len) };
    if !done {
        return Ok(failed(Errno::NOMEM));
    }
    match flags & DECAP_FLAGS {
        0 => {}
        DECAP_IPV4 => call.set_field("protocol", ethertype::IPV4.into()),
        _ => call.set_field("protocol", ethertype::IPV6.into()),
    }
    call.set_field("hash", 0);
    call.set_packet(packet);
    Ok(0)
}
