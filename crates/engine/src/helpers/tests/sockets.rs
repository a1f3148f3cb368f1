//! Sockets, routes, cgroups, sysctls.

use super::*;
use crate::helpers::env::effects::{Effect, Redirect};
use crate::helpers::env::net::{Route, RouteKind, Socket};

fn with_sockets(prog_type: ProgType) -> Rig {
    let mut rig = Rig::packet(prog_type, &[0; 64]);
    let at = |text: &str| text.parse().unwrap();
    rig.env().net.sockets = vec![
        Socket::tcp(11, at("10.0.0.2:80"), None),
        Socket::tcp(12, at("10.0.0.2:80"), Some(at("10.0.0.1:4000"))),
    ];
    rig
}

fn tuple(source_port: u16) -> Vec<u8> {
    [&[10, 0, 0, 1, 10, 0, 0, 2][..], &source_port.to_be_bytes(), &80u16.to_be_bytes()].concat()
}

#[test]
fn sockets_are_found_held_and_released() {
    let mut rig = with_sockets(ProgType::Xdp);
    let (context, key) = (rig.context(), rig.put(&tuple(4000)));
    let current = u64::from(u32::MAX);
    let socket = rig.ok(id::SK_LOOKUP_TCP, &[context, key, 12, current, 0]);
    assert_eq!(rig.get(socket + 44, 4), 80u32.to_ne_bytes(), "src_port in host order");
    assert_eq!(rig.get(socket + 48, 2), 4000u16.to_be_bytes(), "dst_port in network order");
    assert_eq!(rig.get(socket + 24, 4), [10, 0, 0, 2]);
    assert!(rig.vm.state.memory.write(socket, 4).is_err());
    assert_eq!(rig.ok(id::SK_RELEASE, &[socket]), 0);
    assert!(rig.fault(id::SK_RELEASE, &[socket]).contains("is no socket that the program holds"));
    let other = rig.put(&tuple(1));
    let listener = rig.ok(id::SK_LOOKUP_TCP, &[context, other, 12, current, 0]);
    assert_eq!(rig.get(listener + 72, 4), 10u32.to_ne_bytes(), "BPF_TCP_LISTEN");
    assert_eq!(rig.ok(id::SK_LOOKUP_UDP, &[context, other, 12, current, 0]), 0);
    assert_eq!(rig.ok(id::SK_LOOKUP_TCP, &[context, other, 13, current, 0]), 0, "no tuple");
    assert_eq!(rig.ok(id::SK_LOOKUP_TCP, &[context, other, 12, 5, 0]), 0, "another network namespace");
}

#[test]
fn maps_of_sockets() {
    let mut rig = with_sockets(ProgType::SkMsg);
    let (map, handle) = rig.map(MapType::Sockhash, 4, 8, 4, 0);
    rig.set(map, &1u32.to_ne_bytes(), &12u64.to_ne_bytes());
    let (context, key, none) = (rig.context(), rig.put(&1u32.to_ne_bytes()), rig.put(&2u32.to_ne_bytes()));
    assert_eq!(rig.ok(id::MSG_REDIRECT_HASH, &[context, handle, key, 1]), 1);
    assert_eq!(rig.env().redirect, Some(Redirect::Socket { cookie: 12, ingress: true }));
    assert_eq!(rig.ok(id::MSG_REDIRECT_HASH, &[context, handle, none, 1]), 0);
    assert_eq!(rig.ok(id::MSG_REDIRECT_HASH, &[context, handle, key, 2]), 0);
    rig.ok(id::MSG_APPLY_BYTES, &[context, 100]);
    assert_eq!(rig.env().effects.take(), [Effect::ApplyBytes(100)]);
    let mut ops = Rig::with(ProgType::SockOps, Env::default(), &Input::fields(ProgType::SockOps).unwrap());
    let (map, handle) = ops.map(MapType::Sockmap, 4, 8, 4, 0);
    ops.env().net.socket = Some(77);
    let (context, key) = (ops.context(), ops.put(&3u32.to_ne_bytes()));
    assert_eq!(ops.ok(id::SOCK_MAP_UPDATE, &[context, handle, key, 1]), 0);
    assert_eq!(ops.ok(id::SOCK_MAP_UPDATE, &[context, handle, key, 1]), error(17));
    let state = &ops.vm.state;
    assert_eq!(
        state.maps.user_lookup(map, &state.memory, &3u32.to_ne_bytes()),
        Ok(77u64.to_ne_bytes().to_vec())
    );
}

#[test]
fn routes() {
    let mut rig = with_sockets(ProgType::Xdp);
    rig.env().net.routes.push(Route {
        table: 254,
        prefix: "10.0.0.0".parse().unwrap(),
        bits: 8,
        kind: RouteKind::Unicast,
        ifindex: 4,
        gateway: None,
        source: None,
        mtu: 0,
        metric: 0,
    });
    let to = "10.0.0.7".parse().unwrap();
    rig.env().net.neighbours.insert((4, to), [7; 6]);
    let mut asked = [0; 64];
    asked[0] = 2;
    asked[8..12].copy_from_slice(&1u32.to_ne_bytes());
    asked[32..36].copy_from_slice(&[10, 0, 0, 7]);
    let (context, params) = (rig.context(), rig.put(&asked));
    assert_eq!(rig.ok(id::FIB_LOOKUP, &[context, params, 64, 0]), 0);
    assert_eq!(rig.get(params + 8, 4), 4u32.to_ne_bytes());
    assert_eq!(rig.get(params + 58, 6), [7; 6]);
    assert_eq!(rig.ok(id::FIB_LOOKUP, &[context, params, 63, 0]), error(22));
    assert_eq!(rig.ok(id::FIB_LOOKUP, &[context, params, 64, 1 << 9]), error(22));
    let elsewhere = {
        asked[32] = 11;
        rig.put(&asked)
    };
    assert_eq!(rig.ok(id::FIB_LOOKUP, &[context, elsewhere, 64, 0]), 4, "not forwarded");
}

#[test]
fn sysctls() {
    let mut rig =
        Rig::with(ProgType::CgroupSysctl, Env::default(), &Input::fields(ProgType::CgroupSysctl).unwrap());
    let sysctl = &mut rig.env().attached.sysctl;
    (sysctl.name, sysctl.value) = (b"net/ipv4/ip_forward".to_vec(), b"0\n".to_vec());
    let (context, out) = (rig.context(), rig.put(&[9; 24]));
    assert_eq!(rig.ok(id::SYSCTL_GET_NAME, &[context, out, 24, 0]), 19);
    assert_eq!(rig.ok(id::SYSCTL_GET_NAME, &[context, out, 24, 1]), 10);
    assert_eq!(rig.get(out, 11), b"ip_forward\0");
    assert_eq!(rig.ok(id::SYSCTL_GET_NAME, &[context, out, 4, 1]), error(7));
    assert_eq!(rig.get(out, 4), b"ip_\0");
    assert_eq!(rig.ok(id::SYSCTL_GET_NEW_VALUE, &[context, out, 24]), error(22), "nothing is written");
    rig.env().attached.sysctl.new = Some(b"1".to_vec());
    let value = rig.put(b"2");
    assert_eq!(rig.ok(id::SYSCTL_SET_NEW_VALUE, &[context, value, 1]), 0);
    assert_eq!(rig.ok(id::SYSCTL_GET_NEW_VALUE, &[context, out, 24]), 1);
    assert_eq!(rig.env().effects.take(), [Effect::Sysctl(b"2".to_vec())]);
    assert_eq!(rig.ok(id::GET_RETVAL, &[]), 0);
    rig.ok(id::SET_RETVAL, &[-1i64 as u64]);
    assert_eq!(rig.ok(id::GET_RETVAL, &[]), -1i64 as u64);
}

#[test]
fn cgroups_of_sockets() {
    let mut rig = with_sockets(ProgType::SchedCls);
    rig.env().net.sockets[0].cgroups = vec![1, 50];
    let context = rig.context();
    assert_eq!(rig.ok(id::SKB_CGROUP_ID, &[context]), 0, "the packet has no socket");
    rig.env().net.socket = Some(11);
    assert_eq!(rig.ok(id::SKB_CGROUP_ID, &[context]), 50);
    assert_eq!(rig.ok(id::SKB_ANCESTOR_CGROUP_ID, &[context, 0]), 1);
    assert_eq!(rig.ok(id::GET_SOCKET_COOKIE, &[context]), 11);
    let (map, handle) = rig.map(MapType::CgroupArray, 4, 4, 2, 0);
    rig.set(map, &0u32.to_ne_bytes(), &50u32.to_ne_bytes());
    assert_eq!(rig.ok(id::SKB_UNDER_CGROUP, &[context, handle, 0]), 1);
    assert_eq!(rig.ok(id::SKB_UNDER_CGROUP, &[context, handle, 1]), error(11));
    assert_eq!(rig.ok(id::SKB_UNDER_CGROUP, &[context, handle, 2]), error(7));
}

#[test]
fn a_socket_is_released_before_the_program_ends() {
    let mut rig = with_sockets(ProgType::Xdp);
    let (context, key) = (rig.context(), rig.put(&tuple(4000)));
    let current = u64::from(u32::MAX);
    let socket = rig.ok(id::SK_LOOKUP_TCP, &[context, key, 12, current, 0]);
    let again = rig.ok(id::SKC_LOOKUP_TCP, &[context, key, 12, current, 0]);
    let held = |rig: &Rig| rig.vm.state.run.held.iter().map(|held| (held.name, held.at)).collect::<Vec<_>>();
    assert_eq!(held(&rig), [("sk_lookup_tcp", socket), ("skc_lookup_tcp", again)]);
    rig.ok(id::SK_RELEASE, &[socket]);
    rig.ok(id::SK_RELEASE, &[again]);
    assert_eq!(held(&rig), []);
}
