//! Packets of XDP programs (net/core/filter.c, `bpf_xdp_*`).

use rustix::io::Errno;

use super::packet::ETHERNET;
use super::{Answer, Call, failed};

/// Longest metadata in front of a packet, and what its length is a multiple of (xdp_metalen_invalid).
const LONGEST_META: u32 = 255;
/// Bytes at the start of the room that the kernel keeps for itself (struct xdp_frame).
const FRAME: u32 = 40;

pub(super) fn xdp_get_buff_len(call: &mut Call<'_>) -> Answer {
    Ok(call.packet("xdp_get_buff_len")?.len().into())
}

pub(super) fn xdp_adjust_head(call: &mut Call<'_>) -> Answer {
    let mut packet = call.packet("xdp_adjust_head")?;
    let by = call.arg(2) as i32;
    // An Ethernet header must be left, also for the kernel to look at.
    let left = i64::from(packet.len()) - i64::from(by);
    let room = i64::from(packet.meta.0 - packet.head.0) + i64::from(by) - i64::from(FRAME);
    if left < i64::from(ETHERNET) || room < 0 || !packet.adjust_head(&mut call.state.memory, by) {
        return Ok(failed(Errno::INVAL));
    }
    call.set_packet(packet);
    Ok(0)
}

pub(super) fn xdp_adjust_tail(call: &mut Call<'_>) -> Answer {
    let mut packet = call.packet("xdp_adjust_tail")?;
    let by = call.arg(2) as i32;
    let left = i64::from(packet.len()) + i64::from(by);
    if left < i64::from(ETHERNET) || !packet.adjust_tail(&mut call.state.memory, by) {
        return Ok(failed(Errno::INVAL));
    }
    call.set_packet(packet);
    Ok(0)
}

pub(super) fn xdp_adjust_meta(call: &mut Call<'_>) -> Answer {
    let mut packet = call.packet("xdp_adjust_meta")?;
    let by = i64::from(call.arg(2) as i32);
    let meta = i64::from(packet.meta.0) + by;
    if meta < i64::from(packet.head.0 + FRAME) || meta > i64::from(packet.data.0) {
        return Ok(failed(Errno::INVAL));
    }
    let meta = crate::vm::memory::Addr(meta as u32);
    let len = packet.data.0 - meta.0;
    if len > LONGEST_META || !len.is_multiple_of(4) {
        return Ok(failed(Errno::ACCESS));
    }
    packet.meta = meta;
    call.set_packet(packet);
    Ok(0)
}

pub(super) fn xdp_load_bytes(call: &mut Call<'_>) -> Answer {
    let packet = call.packet("xdp_load_bytes")?;
    let len = call.length("xdp_load_bytes", 4)?;
    call.writable(3, len)?;
    let offset = call.arg32(2);
    if offset > 0xffff || len > 0xffff {
        return Ok(failed(Errno::FAULT));
    }
    let Some(bytes) = call.packet_bytes(&packet, offset, len) else { return Ok(failed(Errno::INVAL)) };
    call.put(3, &bytes)?;
    Ok(0)
}

pub(super) fn xdp_store_bytes(call: &mut Call<'_>) -> Answer {
    let packet = call.packet("xdp_store_bytes")?;
    let bytes = call.sized("xdp_store_bytes", 3)?;
    let offset = call.arg32(2);
    if offset > 0xffff || bytes.len() > 0xffff {
        return Ok(failed(Errno::FAULT));
    }
    Ok(if call.put_packet_bytes(&packet, offset, &bytes) { 0 } else { failed(Errno::INVAL) })
}
