//! Dynptrs: of packets, parts of them, copies (kernel/bpf/helpers.c).

use rustix::io::Errno;

use crate::helpers::dynptr::{Dynptr, Kind};
use crate::helpers::{Answer, Call, failed};

fn from_packet(call: &mut Call<'_>, name: &'static str, kind: Kind) -> Answer {
    let packet = call.packet(name)?;
    if call.arg(2) != 0 {
        call.put_dynptr(3, Dynptr::NULL)?;
        return Ok(failed(Errno::INVAL));
    }
    let data = packet.data.get();
    let size = packet.len();
    call.put_dynptr(3, Dynptr { kind, data, size, offset: 0, read_only: false })?;
    Ok(0)
}

pub(super) fn from_xdp(call: &mut Call<'_>) -> Answer {
    from_packet(call, "dynptr_from_xdp", Kind::Xdp)
}

pub(super) fn from_skb(call: &mut Call<'_>) -> Answer {
    from_packet(call, "dynptr_from_skb", Kind::Skb)
}

fn part(call: &mut Call<'_>, write: bool) -> Answer {
    let dynptr = call.dynptr(1)?;
    let (offset, len) = (call.arg32(2), call.length("dynptr_slice", 4)?);
    if dynptr.kind == Kind::Null || dynptr.check(offset, len).is_err() || (write && dynptr.read_only) {
        return Ok(0);
    }
    Ok(call.dynptr_base(&dynptr).wrapping_add(offset.into()))
}

pub(super) fn slice(call: &mut Call<'_>) -> Answer {
    part(call, false)
}

pub(super) fn slice_rdwr(call: &mut Call<'_>) -> Answer {
    part(call, true)
}

pub(super) fn adjust(call: &mut Call<'_>) -> Answer {
    let mut dynptr = call.dynptr(1)?;
    let (start, end) = (call.arg32(2), call.arg32(3));
    if dynptr.kind == Kind::Null || start > end {
        return Ok(failed(Errno::INVAL));
    }
    if start > dynptr.size || end > dynptr.size {
        return Ok(failed(Errno::RANGE));
    }
    dynptr.offset += start;
    dynptr.size = end - start;
    call.put_dynptr(1, dynptr)?;
    Ok(0)
}

pub(super) fn is_null(call: &mut Call<'_>) -> Answer {
    Ok((call.dynptr(1)?.kind == Kind::Null).into())
}

pub(super) fn is_rdonly(call: &mut Call<'_>) -> Answer {
    Ok(call.dynptr(1)?.read_only.into())
}

pub(super) fn size(call: &mut Call<'_>) -> Answer {
    let dynptr = call.dynptr(1)?;
    Ok(if dynptr.kind == Kind::Null { failed(Errno::INVAL) } else { dynptr.size.into() })
}

pub(super) fn clone(call: &mut Call<'_>) -> Answer {
    let dynptr = call.dynptr(1)?;
    call.put_dynptr(2, dynptr)?;
    Ok(if dynptr.kind == Kind::Null { failed(Errno::INVAL) } else { 0 })
}

pub(super) fn copy(call: &mut Call<'_>) -> Answer {
    let (to, from) = (call.dynptr(1)?, call.dynptr(3)?);
    let (to_offset, from_offset, len) = (call.arg32(2), call.arg32(4), call.arg32(5));
    if to.kind == Kind::Null || from.kind == Kind::Null || to.read_only {
        return Ok(failed(Errno::INVAL));
    }
    if to.check(to_offset, len).and(from.check(from_offset, len)).is_err() {
        return Ok(failed(Errno::TOOBIG));
    }
    let bytes = call.dynptr_bytes(&from, from_offset, len)?;
    if len > 0 {
        let at = call.dynptr_base(&to).wrapping_add(to_offset.into());
        call.state.memory.write(at, len)?.copy_from_slice(&bytes);
    }
    Ok(0)
}

pub(super) fn memset(call: &mut Call<'_>) -> Answer {
    let dynptr = call.dynptr(1)?;
    let (offset, len, value) = (call.arg32(2), call.arg32(3), call.arg(4) as u8);
    if dynptr.kind == Kind::Null || dynptr.read_only {
        return Ok(failed(Errno::INVAL));
    }
    if let Err(errno) = dynptr.check(offset, len) {
        return Ok(failed(errno));
    }
    if len > 0 {
        let at = call.dynptr_base(&dynptr).wrapping_add(offset.into());
        call.state.memory.write(at, len)?.fill(value);
    }
    Ok(0)
}
