//! Sockets (net/core/filter.c, net/core/sock_map.c), from the table of the environment. One that a program holds lies in memory as a
//! `struct bpf_sock` that can be read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::io::Errno;
use skep_bpf::helpers::id;
use skep_bpf::kinds::ProgType;

use super::{Answer, Call, failed, refused, status};
use crate::helpers::env::effects::{Effect, Redirect};
use crate::helpers::env::net::{Held, Socket};
use crate::maps::Targets;
use crate::vm::fault::FaultKind;
use crate::vm::memory::{Access, Addr, MapId, ObjectKind};

/// Bytes of `struct bpf_sock`.
const SOCK: usize = 80;
/// Bytes of `struct bpf_sock_tuple` for IPv4 and IPv6.
const TUPLE4: usize = 12;
const TUPLE6: usize = 36;
const TCP: u32 = 6;
const UDP: u32 = 17;
const LISTENING: u32 = 10;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
/// What `bpf_get_socket_uid()` gives without a socket (the overflow uid).
const NOBODY: u64 = 65_534;
/// Events of a connection that a program can ask for (BPF_SOCK_OPS_ALL_CB_FLAGS).
const CALLBACKS: u32 = 0x7f;

/// `struct bpf_sock`.
fn image(socket: &Socket) -> [u8; SOCK] {
    let mut bytes = [0; SOCK];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    let family = if socket.local.is_ipv4() { AF_INET } else { AF_INET6 };
    let kind: u32 = if socket.protocol == UDP { 2 } else { 1 };
    put(0, &socket.device.to_ne_bytes());
    put(4, &family.to_ne_bytes());
    put(8, &kind.to_ne_bytes());
    put(12, &socket.protocol.to_ne_bytes());
    put(16, &socket.mark.to_ne_bytes());
    put(20, &socket.priority.to_ne_bytes());
    let mut address = |at: (usize, usize), ip: IpAddr| match ip {
        IpAddr::V4(ip) => put(at.0, &ip.octets()),
        IpAddr::V6(ip) => put(at.1, &ip.octets()),
    };
    address((24, 28), socket.local.ip());
    if let Some(remote) = socket.remote {
        address((52, 56), remote.ip());
        put(48, &remote.port().to_be_bytes());
    }
    put(44, &u32::from(socket.local.port()).to_ne_bytes());
    put(72, &socket.state.to_ne_bytes());
    put(76, &(-1i32).to_ne_bytes());
    bytes
}

/// Remote and local address of a tuple.
fn tuple(bytes: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let port = |at: usize| Some(u16::from_be_bytes(*bytes.get(at..at + 2)?.first_chunk()?));
    let four = |at: usize| Some(IpAddr::from(Ipv4Addr::from(*bytes.get(at..at + 4)?.first_chunk::<4>()?)));
    let six = |at: usize| Some(IpAddr::from(Ipv6Addr::from(*bytes.get(at..at + 16)?.first_chunk::<16>()?)));
    let (source, destination, ports) = match bytes.len() {
        TUPLE4 => (four(0)?, four(4)?, 8),
        TUPLE6 => (six(0)?, six(16)?, 32),
        _ => return None,
    };
    Some((SocketAddr::new(source, port(ports)?), SocketAddr::new(destination, port(ports + 2)?)))
}

impl Call<'_> {
    /// Puts a socket into memory and counts that the program holds it.
    pub(super) fn hold(&mut self, name: &'static str, cookie: u64) -> Result<u64, FaultKind> {
        let at = self.place_socket(cookie)?;
        Ok(self.gives(name, "sk_release", at))
    }

    fn place_socket(&mut self, cookie: u64) -> Result<u64, FaultKind> {
        let held = &mut self.state.env.net.held;
        if let Some((at, held)) = held.iter_mut().find(|(_, held)| held.cookie == cookie) {
            held.references += 1;
            return Ok(at.get());
        }
        let Some(socket) = self.state.env.net.by_cookie(cookie) else { return Ok(0) };
        let bytes = image(socket);
        let at = self.state.memory.alloc(ObjectKind::Other("socket"), SOCK as u32, Access::Read)?;
        if let Some(place) = self.state.memory.host_mut(at, SOCK as u32) {
            place.copy_from_slice(&bytes);
        }
        self.state.env.net.held.insert(at, Held { cookie, references: 1 });
        Ok(at.get())
    }

    /// The socket that an argument means: one that the program holds, the context's, or a kernel's by its address.
    pub(super) fn socket_cookie(&self, number: u8) -> Option<u64> {
        let at = self.arg(number);
        if at == self.state.run.context.get() {
            return self.state.env.net.socket;
        }
        let held = u32::try_from(at).ok().and_then(|at| self.state.env.net.held.get(&Addr(at)));
        held.map(|held| held.cookie).or((at != 0).then_some(at))
    }

    /// The socket that the packet or event belongs to.
    fn own_socket(&self) -> Option<&Socket> {
        let net = &self.state.env.net;
        net.socket.and_then(|cookie| net.by_cookie(cookie))
    }
}

fn look_up(call: &mut Call<'_>, name: &'static str, protocol: u32) -> Answer {
    call.context(name, 1)?;
    let given = call.sized(name, 2)?;
    let (netns, flags) = (call.arg(4) as i32, call.arg(5));
    let found = tuple(&given).filter(|_| flags == 0 && netns < 0);
    let Some((remote, local)) = found else { return Ok(0) };
    let cookie = call.state.env.net.lookup(protocol, local, remote).map(|socket| socket.cookie);
    cookie.map_or(Ok(0), |cookie| call.hold(name, cookie))
}

pub(super) fn sk_lookup_tcp(call: &mut Call<'_>) -> Answer {
    look_up(call, "sk_lookup_tcp", TCP)
}

pub(super) fn skc_lookup_tcp(call: &mut Call<'_>) -> Answer {
    look_up(call, "skc_lookup_tcp", TCP)
}

pub(super) fn sk_lookup_udp(call: &mut Call<'_>) -> Answer {
    look_up(call, "sk_lookup_udp", UDP)
}

pub(super) fn sk_release(call: &mut Call<'_>) -> Answer {
    let at = u32::try_from(call.arg(1)).map(Addr);
    let held = at.ok().and_then(|at| Some((at, call.state.env.net.held.get_mut(&at)?)));
    let Some((at, held)) = held else {
        let what = format!("is no socket that the program holds: {:#x}", call.arg(1));
        return Err(FaultKind::Argument { name: "sk_release", index: 1, what });
    };
    call.state.run.let_go(Some("sk_release"), at.get());
    held.references -= 1;
    if held.references == 0 {
        call.state.env.net.held.remove(&at);
        call.state.memory.free(at);
    }
    Ok(0)
}

/// The value of a map of sockets, as `bpf_map_lookup_elem()` gives it: the program holds the socket then.
pub(super) fn lookup_in_map(call: &mut Call<'_>, map: MapId, key: &[u8]) -> Answer {
    let target = call.state.maps.kind::<Targets>(map).and_then(|targets| targets.target(key));
    target.map_or(Ok(0), |cookie| call.hold("map_lookup_elem", cookie))
}

fn set_in_map(call: &mut Call<'_>, map: MapId, key: &[u8], cookie: Option<u64>, flags: u64) -> Answer {
    let Some(cookie) = cookie else { return Ok(failed(Errno::INVAL)) };
    let state = &mut *call.state;
    let Some(map) = state.maps.get_mut(map) else { return Ok(failed(Errno::INVAL)) };
    let size = map.spec().value_size as usize;
    let mut value = cookie.to_ne_bytes().to_vec();
    if cfg!(target_endian = "big") && size < value.len() {
        value.drain(..value.len() - size);
    }
    value.truncate(size);
    Ok(status(map.update(&mut state.memory, 0, key, &value, flags)))
}

/// `bpf_map_update_elem()` on a map of sockets: the value is a socket.
pub(super) fn update_map(call: &mut Call<'_>, map: MapId, key: &[u8]) -> Answer {
    let (cookie, flags) = (call.socket_cookie(3), call.arg(4));
    set_in_map(call, map, key, cookie, flags)
}

fn own_into_map(call: &mut Call<'_>, helper: u32) -> Answer {
    let map = call.map(helper, 2)?;
    let key = call.key(map, 3)?;
    let (cookie, flags) = (call.state.env.net.socket, call.arg(4));
    set_in_map(call, map, &key, cookie, flags)
}

pub(super) fn sock_map_update(call: &mut Call<'_>) -> Answer {
    call.context("sock_map_update", 1)?;
    own_into_map(call, id::SOCK_MAP_UPDATE)
}

pub(super) fn sock_hash_update(call: &mut Call<'_>) -> Answer {
    call.context("sock_hash_update", 1)?;
    own_into_map(call, id::SOCK_HASH_UPDATE)
}

pub(super) fn sk_select_reuseport(call: &mut Call<'_>) -> Answer {
    call.context("sk_select_reuseport", 1)?;
    let map = call.map(id::SK_SELECT_REUSEPORT, 2)?;
    let key = call.key(map, 3)?;
    if call.arg(4) != 0 {
        return Ok(failed(Errno::INVAL));
    }
    let target = call.state.maps.kind::<Targets>(map).and_then(|targets| targets.target(&key));
    let Some(cookie) = target else { return Ok(failed(Errno::NOENT)) };
    call.state.env.redirect = Some(Redirect::Socket { cookie, ingress: true });
    Ok(0)
}

/// `BPF_SK_LOOKUP_F_REPLACE` and `BPF_SK_LOOKUP_F_NO_REUSEPORT`.
const REPLACE: u64 = 1;
const NO_REUSEPORT: u64 = 2;

pub(super) fn sk_assign(call: &mut Call<'_>) -> Answer {
    call.context("sk_assign", 1)?;
    let lookup = call.state.run.prog_type == ProgType::SkLookup;
    let flags = call.arg(3);
    let known = if lookup { REPLACE | NO_REUSEPORT } else { 0 };
    if flags & !known != 0 {
        return Ok(failed(Errno::INVAL));
    }
    if call.arg(2) == 0 && lookup {
        call.state.env.redirect = None;
        call.state.env.effects.push(Effect::AssignSocket { cookie: 0 });
        return Ok(0);
    }
    let cookie = call.socket_cookie(2);
    let socket = cookie.and_then(|cookie| call.state.env.net.by_cookie(cookie));
    let Some((cookie, protocol)) = socket.map(|socket| (socket.cookie, socket.protocol)) else {
        return Ok(failed(Errno::NOENT));
    };
    if lookup && protocol != call.field("protocol") as u32 {
        return Ok(failed(Errno::PROTOTYPE));
    }
    if lookup && call.state.env.redirect.is_some() && flags & REPLACE == 0 {
        return Ok(failed(Errno::EXIST));
    }
    call.state.env.redirect = Some(Redirect::Socket { cookie, ingress: true });
    call.state.env.effects.push(Effect::AssignSocket { cookie });
    Ok(0)
}

pub(super) fn sk_fullsock(call: &mut Call<'_>) -> Answer {
    Ok(call.arg(1))
}

pub(super) fn get_listener_sock(call: &mut Call<'_>) -> Answer {
    let net = &call.state.env.net;
    let socket = call.socket_cookie(1).and_then(|cookie| net.by_cookie(cookie));
    let listens = socket.is_some_and(|socket| socket.protocol == TCP && socket.state == LISTENING);
    Ok(if listens { call.arg(1) } else { 0 })
}

/// `struct bpf_tcp_sock` counts what happens in a connection; here nothing does.
pub(super) fn tcp_sock(call: &mut Call<'_>) -> Answer {
    let net = &call.state.env.net;
    let socket = call.socket_cookie(1).and_then(|cookie| net.by_cookie(cookie));
    if socket.is_some_and(|socket| socket.protocol != TCP) {
        return Ok(0);
    }
    Err(refused("bpf_tcp_sock()", "the state of a TCP connection is the kernel's; there is none here"))
}

pub(super) fn get_socket_cookie(call: &mut Call<'_>) -> Answer {
    if let Some(r0) = call.recorded(id::GET_SOCKET_COOKIE)? {
        return Ok(r0);
    }
    Ok(call.socket_cookie(1).unwrap_or(0))
}

pub(super) fn get_socket_uid(call: &mut Call<'_>) -> Answer {
    if let Some(r0) = call.recorded(id::GET_SOCKET_UID)? {
        return Ok(r0);
    }
    Ok(call.own_socket().map_or(NOBODY, |socket| socket.uid.into()))
}

pub(super) fn get_netns_cookie(call: &mut Call<'_>) -> Answer {
    if let Some(r0) = call.recorded(id::GET_NETNS_COOKIE)? {
        return Ok(r0);
    }
    Ok(call.state.env.net.netns)
}

fn own_cgroup(call: &Call<'_>, level: Option<usize>) -> u64 {
    let cgroups = call.own_socket().map(|socket| socket.cgroups.as_slice()).unwrap_or(&[]);
    let found = level.map_or(cgroups.last(), |level| cgroups.get(level));
    found.copied().unwrap_or(0)
}

pub(super) fn skb_cgroup_id(call: &mut Call<'_>) -> Answer {
    Ok(own_cgroup(call, None))
}

pub(super) fn skb_ancestor_cgroup_id(call: &mut Call<'_>) -> Answer {
    Ok(own_cgroup(call, Some(call.arg32(2) as usize)))
}

fn held_cgroup(call: &Call<'_>, level: Option<usize>) -> u64 {
    let net = &call.state.env.net;
    let socket = call.socket_cookie(1).and_then(|cookie| net.by_cookie(cookie));
    let cgroups = socket.map(|socket| socket.cgroups.as_slice()).unwrap_or(&[]);
    let found = level.map_or(cgroups.last(), |level| cgroups.get(level));
    found.copied().unwrap_or(0)
}

pub(super) fn sk_cgroup_id(call: &mut Call<'_>) -> Answer {
    Ok(held_cgroup(call, None))
}

pub(super) fn sk_ancestor_cgroup_id(call: &mut Call<'_>) -> Answer {
    Ok(held_cgroup(call, Some(call.arg32(2) as usize)))
}

pub(super) fn bind(call: &mut Call<'_>) -> Answer {
    call.context("bind", 1)?;
    let address = call.sized("bind", 2)?;
    let family = address.first_chunk::<2>().map(|bytes| u32::from(u16::from_ne_bytes(*bytes)));
    let least = match family {
        Some(AF_INET) => 16,
        Some(AF_INET6) => 24,
        Some(_) => return Ok(failed(Errno::AFNOSUPPORT)),
        None => return Ok(failed(Errno::INVAL)),
    };
    if address.len() < least {
        return Ok(failed(Errno::INVAL));
    }
    call.state.env.effects.push(Effect::Bind(address));
    Ok(0)
}

pub(super) fn setsockopt(call: &mut Call<'_>) -> Answer {
    let value = call.sized("setsockopt", 4)?;
    let (level, name) = (call.arg32(2), call.arg32(3));
    call.state.env.net.options.insert((level, name), value.clone());
    call.state.env.effects.push(Effect::SocketOption { level, name, value });
    Ok(0)
}

pub(super) fn getsockopt(call: &mut Call<'_>) -> Answer {
    let size = call.length("getsockopt", 5)?;
    call.writable(4, size)?;
    if let Some(r0) = call.recorded(id::GETSOCKOPT)? {
        return Ok(r0);
    }
    let key = (call.arg32(2), call.arg32(3));
    let found = call.state.env.net.options.get(&key).cloned();
    let mut bytes = found.clone().unwrap_or_default();
    bytes.resize(size as usize, 0);
    call.put(4, &bytes)?;
    Ok(if found.is_some() { 0 } else { failed(Errno::NOPROTOOPT) })
}

pub(super) fn sock_ops_cb_flags_set(call: &mut Call<'_>) -> Answer {
    call.context("sock_ops_cb_flags_set", 1)?;
    let flags = call.arg32(2);
    call.set_field("bpf_sock_ops_cb_flags", (flags & CALLBACKS).into());
    call.state.env.effects.push(Effect::CallbackFlags(flags & CALLBACKS));
    Ok((flags & !CALLBACKS).into())
}
