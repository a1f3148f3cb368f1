//! Keys and options of tunnels (net/core/filter.c): a test sets what came with the packet; what programs set is noted.

use rustix::io::Errno;

use super::{Answer, Call, failed};
use crate::helpers::env::effects::Effect;

/// `BPF_F_TUNINFO_IPV6` and `BPF_F_TUNINFO_FLAGS`.
const GET_FLAGS: u64 = 1 | 1 << 4;
/// `BPF_F_TUNINFO_IPV6`, `BPF_F_ZERO_CSUM_TX`, `BPF_F_DONT_FRAGMENT`, `BPF_F_SEQ_NUMBER`, `BPF_F_NO_TUNNEL_KEY`.
const SET_FLAGS: u64 = 0x2f;

pub(super) fn skb_get_tunnel_key(call: &mut Call<'_>) -> Answer {
    call.context("skb_get_tunnel_key", 1)?;
    let size = call.length("skb_get_tunnel_key", 3)? as usize;
    call.writable(2, size as u32)?;
    let known = call.arg(4) & !GET_FLAGS == 0;
    let key = call.state.env.net.tunnel_key.clone().filter(|_| known);
    let mut bytes = key.clone().unwrap_or_default();
    bytes.resize(size, 0);
    call.put(2, &bytes)?;
    Ok(if key.is_some() { 0 } else { failed(Errno::INVAL) })
}

pub(super) fn skb_set_tunnel_key(call: &mut Call<'_>) -> Answer {
    call.context("skb_set_tunnel_key", 1)?;
    let key = call.sized("skb_set_tunnel_key", 2)?;
    if call.arg(4) & !SET_FLAGS != 0 {
        return Ok(failed(Errno::INVAL));
    }
    call.state.env.effects.push(Effect::Tunnel(key));
    Ok(0)
}

pub(super) fn skb_get_tunnel_opt(call: &mut Call<'_>) -> Answer {
    call.context("skb_get_tunnel_opt", 1)?;
    let size = call.length("skb_get_tunnel_opt", 3)? as usize;
    call.writable(2, size as u32)?;
    let options = call.state.env.net.tunnel_options.clone();
    let (mut bytes, result) = match options {
        None => (Vec::new(), failed(Errno::NOENT)),
        Some(options) if options.len() > size => (Vec::new(), failed(Errno::NOMEM)),
        Some(options) => {
            let len = options.len() as u64;
            (options, len)
        }
    };
    bytes.resize(size, 0);
    call.put(2, &bytes)?;
    Ok(result)
}

pub(super) fn skb_set_tunnel_opt(call: &mut Call<'_>) -> Answer {
    call.context("skb_set_tunnel_opt", 1)?;
    let options = call.sized("skb_set_tunnel_opt", 2)?;
    // IP_TUNNEL_OPTS_MAX, and a multiple of four.
    if !options.len().is_multiple_of(4) {
        return Ok(failed(Errno::INVAL));
    }
    if options.len() > 255 {
        return Ok(failed(Errno::NOMEM));
    }
    call.state.env.effects.push(Effect::Tunnel(options));
    Ok(0)
}
