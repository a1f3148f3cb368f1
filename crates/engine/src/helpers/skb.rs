//! Reading, writing and describing packets of `__sk_buff` programs (net/core/filter.c). All of a packet is linear here.

use rustix::io::Errno;

use super::{Answer, Call, failed};

/// `BPF_F_RECOMPUTE_CSUM` and `BPF_F_INVALIDATE_HASH`.
const STORE_FLAGS: u64 = 3;
const INVALIDATE_HASH: u64 = 2;
/// Where `bpf_skb_load_bytes_relative()` counts from: BPF_HDR_START_MAC, BPF_HDR_START_NET.
const FROM_MAC: u64 = 0;
const FROM_NETWORK: u64 = 1;
/// Highest packet type that programs may set (PACKET_OTHERHOST).
const LAST_TYPE: u64 = 3;

fn load(call: &mut Call<'_>, offset: Option<u32>, len: u32) -> Answer {
    let packet = call.state.run.packet;
    let found = offset.filter(|offset| *offset <= i32::MAX as u32).zip(packet);
    let bytes = found.and_then(|(offset, packet)| call.packet_bytes(&packet, offset, len));
    call.put(3, bytes.as_deref().unwrap_or(&vec![0; len as usize]))?;
    Ok(if bytes.is_some() { 0 } else { failed(Errno::FAULT) })
}

pub(super) fn skb_load_bytes(call: &mut Call<'_>) -> Answer {
    call.packet("skb_load_bytes")?;
    let len = call.length("skb_load_bytes", 4)?;
    call.writable(3, len)?;
    let offset = call.arg32(2);
    load(call, Some(offset), len)
}

pub(super) fn skb_load_bytes_relative(call: &mut Call<'_>) -> Answer {
    call.packet("skb_load_bytes_relative")?;
    let len = call.length("skb_load_bytes_relative", 4)?;
    call.writable(3, len)?;
    let offset = call.arg32(2);
    let start = match call.arg(5) {
        // Where the packet begins with its network header there is no link-layer header to count from.
        FROM_MAC if call.state.run.network_offset > 0 => Some(0),
        FROM_NETWORK => Some(call.state.run.network_offset),
        _ => None,
    };
    let offset = start.and_then(|start| start.checked_add(offset)).filter(|_| offset <= 0xffff);
    load(call, offset, len)
}

pub(super) fn skb_store_bytes(call: &mut Call<'_>) -> Answer {
    let packet = call.packet("skb_store_bytes")?;
    let bytes = call.sized("skb_store_bytes", 3)?;
    let (offset, flags) = (call.arg32(2), call.arg(5));
    if flags & !STORE_FLAGS != 0 {
        return Ok(failed(Errno::INVAL));
    }
    if offset > i32::MAX as u32 || !call.put_packet_bytes(&packet, offset, &bytes) {
        return Ok(failed(Errno::FAULT));
    }
    if flags & INVALIDATE_HASH != 0 {
        call.set_field("hash", 0);
    }
    Ok(0)
}

pub(super) fn skb_pull_data(call: &mut Call<'_>) -> Answer {
    let packet = call.packet("skb_pull_data")?;
    Ok(if call.arg32(2) > packet.len() { failed(Errno::NOMEM) } else { 0 })
}

pub(super) fn skb_change_type(call: &mut Call<'_>) -> Answer {
    call.packet("skb_change_type")?;
    let wanted = call.arg(2) & u64::from(u32::MAX);
    if call.field("pkt_type") > LAST_TYPE || wanted > LAST_TYPE {
        return Ok(failed(Errno::INVAL));
    }
    call.set_field("pkt_type", wanted);
    Ok(0)
}

/// The hash of the packet's flow: one that is set, else one made of its addresses and ports.
pub(super) fn get_hash_recalc(call: &mut Call<'_>) -> Answer {
    let packet = call.packet("get_hash_recalc")?;
    let known = call.field("hash");
    if known != 0 {
        return Ok(known);
    }
    let start = call.state.run.network_offset as usize;
    let bytes = packet.bytes(&call.state.memory);
    let network = bytes.get(start..).unwrap_or(&[]);
    let (addresses, protocol, ports) = match network.first().map(|byte| byte >> 4) {
        Some(4) => (12..20, 9, usize::from(network[0] & 15) * 4),
        Some(6) => (8..40, 6, 40),
        _ => return Ok(0),
    };
    let mut flow = network.get(addresses).unwrap_or(&[]).to_vec();
    flow.extend(network.get(protocol));
    flow.extend(network.get(ports..ports + 4).unwrap_or(&[]));
    // FNV-1a; the kernel's is seeded by chance.
    let hash =
        flow.iter().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    let hash = u64::from(hash.max(1));
    call.set_field("hash", hash);
    Ok(hash)
}

pub(super) fn set_hash_invalid(call: &mut Call<'_>) -> Answer {
    call.packet("set_hash_invalid")?;
    call.set_field("hash", 0);
    Ok(0)
}

pub(super) fn set_hash(call: &mut Call<'_>) -> Answer {
    call.packet("set_hash")?;
    let hash = u64::from(call.arg32(2));
    call.set_field("hash", hash);
    Ok(0)
}

pub(super) fn skb_set_tstamp(call: &mut Call<'_>) -> Answer {
    call.packet("skb_set_tstamp")?;
    let [_, time, kind, ..] = call.args;
    // BPF_SKB_TSTAMP_UNSPEC clears; BPF_SKB_TSTAMP_DELIVERY_MONO needs a time.
    match (kind & u64::from(u32::MAX), time) {
        (0, 0) | (1, 1..) => {}
        (0 | 1, _) => return Ok(failed(Errno::INVAL)),
        _ => return Ok(failed(Errno::INVAL)),
    }
    if !matches!(call.protocol(), super::packet::ethertype::IPV4 | super::packet::ethertype::IPV6) {
        return Ok(failed(Errno::OPNOTSUPP));
    }
    call.set_field("tstamp", time);
    call.set_field("tstamp_type", kind);
    Ok(0)
}

/// Marks the packet as having met congestion: 1 when it is marked, 0 when its sender does not understand that.
pub(super) fn skb_ecn_set_ce(call: &mut Call<'_>) -> Answer {
    let packet = call.packet("skb_ecn_set_ce")?;
    let start = call.state.run.network_offset;
    let Some(header) = call.packet_bytes(&packet, start, 20) else { return Ok(0) };
    match header[0] >> 4 {
        4 => Ok(mark_ipv4(call, &header, start)),
        6 => {
            let ecn = header[1] >> 4 & 3;
            if ecn == 0 {
                return Ok(0);
            }
            call.put_packet_bytes(&packet, start + 1, &[header[1] | 0x30]);
            Ok(1)
        }
        _ => Ok(0),
    }
}

fn mark_ipv4(call: &mut Call<'_>, header: &[u8], start: u32) -> u64 {
    let (ecn, Some(packet)) = (header[1] & 3, call.state.run.packet) else { return 0 };
    if ecn == 0 {
        return 0;
    }
    if ecn != 3 {
        // One word of the header grows by what the bits lack; the checksum shrinks by it (RFC 1624).
        let by = u32::from(3 - ecn);
        let check = u32::from(u16::from_be_bytes([header[10], header[11]]));
        let sum = check + 0xffff - by;
        let sum = ((sum & 0xffff) + (sum >> 16)) as u16;
        call.put_packet_bytes(&packet, start + 1, &[header[1] | 3]);
        call.put_packet_bytes(&packet, start + 10, &sum.to_be_bytes());
    }
    1
}
