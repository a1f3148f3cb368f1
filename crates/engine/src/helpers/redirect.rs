//! Where packets go: redirects are noted, never done (net/core/filter.c).

use rustix::io::Errno;
use skep_bpf::helpers::id;
use skep_bpf::kinds::{MapType, ProgType};

use super::{Answer, Call, failed};
use crate::helpers::env::effects::{Effect, Redirect};
use crate::maps::Targets;

/// Verdicts of XDP and TC programs.
mod verdict {
    pub(super) const XDP_ABORTED: u64 = 0;
    pub(super) const XDP_REDIRECT: u64 = 4;
    pub(super) const TC_ACT_SHOT: u64 = 2;
    pub(super) const TC_ACT_REDIRECT: u64 = 7;
    pub(super) const SK_DROP: u64 = 0;
    pub(super) const SK_PASS: u64 = 1;
}

/// `BPF_F_INGRESS`.
const INGRESS: u64 = 1;
/// Bits of `bpf_redirect_map()`'s flags that are the verdict where there is nothing.
const ACTION: u64 = 3;
const BROADCAST: u64 = 1 << 3;
const EXCLUDE_INGRESS: u64 = 1 << 4;
/// Bytes of `struct bpf_redir_neigh`.
const NEIGHBOUR: usize = 20;

pub(super) fn redirect(call: &mut Call<'_>) -> Answer {
    let (ifindex, flags) = (call.arg32(1), call.arg(2));
    let xdp = call.state.run.prog_type == ProgType::Xdp;
    let known = if xdp { 0 } else { INGRESS };
    if flags & !known != 0 {
        return Ok(if xdp { verdict::XDP_ABORTED } else { verdict::TC_ACT_SHOT });
    }
    let ingress = flags & INGRESS != 0;
    call.state.env.redirect = Some(Redirect::Device { ifindex, ingress, peer: false, neighbour: None });
    Ok(if xdp { verdict::XDP_REDIRECT } else { verdict::TC_ACT_REDIRECT })
}

pub(super) fn redirect_peer(call: &mut Call<'_>) -> Answer {
    let (ifindex, flags) = (call.arg32(1), call.arg(2));
    if flags != 0 {
        return Ok(verdict::TC_ACT_SHOT);
    }
    call.state.env.redirect = Some(Redirect::Device { ifindex, ingress: true, peer: true, neighbour: None });
    Ok(verdict::TC_ACT_REDIRECT)
}

pub(super) fn redirect_neigh(call: &mut Call<'_>) -> Answer {
    let parameters = call.sized_or_null("redirect_neigh", 2)?.unwrap_or_default();
    if call.arg(4) != 0 || (!parameters.is_empty() && parameters.len() < NEIGHBOUR) {
        return Ok(verdict::TC_ACT_SHOT);
    }
    let ifindex = call.arg32(1);
    let neighbour = Some(parameters);
    call.state.env.redirect = Some(Redirect::Device { ifindex, ingress: false, peer: false, neighbour });
    Ok(verdict::TC_ACT_REDIRECT)
}

pub(super) fn redirect_map(call: &mut Call<'_>) -> Answer {
    let map = call.map(id::REDIRECT_MAP, 1)?;
    let (key, flags) = (call.arg32(2).to_ne_bytes().to_vec(), call.arg(3));
    let Some(targets) = call.state.maps.kind::<Targets>(map) else { return Ok(verdict::XDP_ABORTED) };
    let devices = matches!(crate::maps::Map::spec(targets).map_type, MapType::Devmap | MapType::DevmapHash);
    let known = ACTION | if devices { BROADCAST | EXCLUDE_INGRESS } else { 0 };
    if flags & !known != 0 {
        return Ok(verdict::XDP_ABORTED);
    }
    let target = targets.target(&key);
    let broadcast = flags & BROADCAST != 0;
    if target.is_none() && !broadcast {
        return Ok(flags & ACTION);
    }
    let exclude_ingress = flags & EXCLUDE_INGRESS != 0;
    call.state.env.redirect = Some(Redirect::Map { map, key, target, broadcast, exclude_ingress });
    Ok(verdict::XDP_REDIRECT)
}

pub(super) fn clone_redirect(call: &mut Call<'_>) -> Answer {
    let packet = call.packet("clone_redirect")?;
    let (ifindex, flags) = (call.arg32(2), call.arg(3));
    if flags & !INGRESS != 0 || !call.state.env.net.has_device(ifindex) {
        return Ok(failed(Errno::INVAL));
    }
    let to = Redirect::Device { ifindex, ingress: flags & INGRESS != 0, peer: false, neighbour: None };
    let packet = packet.bytes(&call.state.memory).to_vec();
    call.state.env.effects.push(Effect::CloneRedirect { to, packet });
    Ok(0)
}

/// A redirect of a message or a packet to a socket of a map.
fn to_socket(call: &mut Call<'_>, helper: u32, hash: bool) -> Answer {
    let map = call.map(helper, 2)?;
    let key = if hash { call.key(map, 3)? } else { call.arg32(3).to_ne_bytes().to_vec() };
    let flags = call.arg(4);
    if flags & !INGRESS != 0 {
        return Ok(verdict::SK_DROP);
    }
    let target = call.state.maps.kind::<Targets>(map).and_then(|targets| targets.target(&key));
    let Some(cookie) = target else { return Ok(verdict::SK_DROP) };
    call.state.env.redirect = Some(Redirect::Socket { cookie, ingress: flags & INGRESS != 0 });
    Ok(verdict::SK_PASS)
}

pub(super) fn sk_redirect_map(call: &mut Call<'_>) -> Answer {
    call.context("sk_redirect_map", 1)?;
    to_socket(call, id::SK_REDIRECT_MAP, false)
}

pub(super) fn sk_redirect_hash(call: &mut Call<'_>) -> Answer {
    call.context("sk_redirect_hash", 1)?;
    to_socket(call, id::SK_REDIRECT_HASH, true)
}

pub(super) fn msg_redirect_map(call: &mut Call<'_>) -> Answer {
    call.context("msg_redirect_map", 1)?;
    to_socket(call, id::MSG_REDIRECT_MAP, false)
}

pub(super) fn msg_redirect_hash(call: &mut Call<'_>) -> Answer {
    call.context("msg_redirect_hash", 1)?;
    to_socket(call, id::MSG_REDIRECT_HASH, true)
}
