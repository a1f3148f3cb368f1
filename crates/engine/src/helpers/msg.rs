//! Messages of sockets in a map (net/core/filter.c, `bpf_msg_*`). A message is one piece of memory here.

use rustix::io::Errno;

use super::ring::NO_FLAGS;
use super::{Answer, Call, failed};
use crate::helpers::env::effects::Effect;

pub(super) fn msg_apply_bytes(call: &mut Call<'_>) -> Answer {
    call.context("msg_apply_bytes", 1)?;
    let bytes = call.arg32(2);
    call.state.env.effects.push(Effect::ApplyBytes(bytes));
    Ok(0)
}

pub(super) fn msg_cork_bytes(call: &mut Call<'_>) -> Answer {
    call.context("msg_cork_bytes", 1)?;
    let bytes = call.arg32(2);
    call.state.env.effects.push(Effect::CorkBytes(bytes));
    Ok(0)
}

pub(super) fn msg_pull_data(call: &mut Call<'_>) -> Answer {
    let message = call.packet("msg_pull_data")?;
    let (start, end, flags) = (call.arg32(2), call.arg32(3), call.arg(4));
    let inside = start < end && end <= message.len();
    Ok(if flags == NO_FLAGS && inside { 0 } else { failed(Errno::INVAL) })
}

pub(super) fn msg_push_data(call: &mut Call<'_>) -> Answer {
    let mut message = call.packet("msg_push_data")?;
    let (start, len, flags) = (call.arg32(2), call.arg32(3), call.arg(4));
    if flags != NO_FLAGS || start > message.len() {
        return Ok(failed(Errno::INVAL));
    }
    if len > 0 {
        if !call.open(&mut message, start, len) {
            return Ok(failed(Errno::NOMEM));
        }
        call.set_packet(message);
    }
    Ok(0)
}

pub(super) fn msg_pop_data(call: &mut Call<'_>) -> Answer {
    let mut message = call.packet("msg_pop_data")?;
    let (start, len, flags) = (call.arg32(2), call.arg32(3), call.arg(4));
    if flags != NO_FLAGS || (len > 0 && !call.close(&mut message, start, len)) {
        return Ok(failed(Errno::INVAL));
    }
    call.set_packet(message);
    Ok(0)
}
