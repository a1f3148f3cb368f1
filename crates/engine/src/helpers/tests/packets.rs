//! Packets of XDP and TC programs: their bytes, bounds, shape and fate.

use super::*;
use crate::helpers::env::effects::{Effect, Redirect};

/// An Ethernet frame with an IPv4 header and eight bytes behind it.
fn ipv4() -> Vec<u8> {
    let mut packet = vec![1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 8, 0];
    packet.extend([0x45, 1, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    packet.extend(b"payload!");
    packet
}

fn field(rig: &Rig, name: &str) -> u64 {
    let run = &rig.vm.state.run;
    let layout = run.layout.unwrap();
    let bytes = rig.vm.state.memory.host(run.context, layout.size).unwrap();
    crate::vm::context::field(layout, bytes, name).unwrap()
}

#[test]
fn xdp_moves_both_ends() {
    let mut rig = Rig::packet(ProgType::Xdp, &ipv4());
    let context = rig.context();
    let len = ipv4().len() as u64;
    assert_eq!(rig.ok(id::XDP_GET_BUFF_LEN, &[context]), len);
    assert_eq!(rig.ok(id::XDP_ADJUST_HEAD, &[context, -4i64 as u64]), 0);
    assert_eq!(field(&rig, "data_end") - field(&rig, "data"), len + 4);
    assert_eq!(
        rig.ok(id::XDP_ADJUST_HEAD, &[context, -213i64 as u64]),
        error(22),
        "40 bytes are the kernel's"
    );
    assert_eq!(rig.ok(id::XDP_ADJUST_HEAD, &[context, len + 4 - 13]), error(22), "an Ethernet header stays");
    assert_eq!(rig.ok(id::XDP_ADJUST_TAIL, &[context, -2i64 as u64]), 0);
    assert_eq!(rig.packet_now()[4..], ipv4()[..ipv4().len() - 2]);
    assert_eq!(rig.ok(id::XDP_ADJUST_TAIL, &[context, 5000]), error(22));
    let data = field(&rig, "data");
    assert_eq!(rig.ok(id::XDP_ADJUST_META, &[context, -8i64 as u64]), 0);
    assert_eq!((field(&rig, "data_meta"), field(&rig, "data")), (data - 8, data));
    assert!(rig.vm.state.memory.write(data - 8, 8).is_ok() && rig.vm.state.memory.read(data - 9, 1).is_err());
    assert_eq!(rig.ok(id::XDP_ADJUST_META, &[context, -3i64 as u64]), error(13));
    assert_eq!(rig.ok(id::XDP_ADJUST_META, &[context, 9]), error(22));
}

#[test]
fn xdp_bytes() {
    let mut rig = Rig::packet(ProgType::Xdp, &ipv4());
    let (context, buffer) = (rig.context(), rig.put(&[9; 8]));
    assert_eq!(rig.ok(id::XDP_LOAD_BYTES, &[context, 34, buffer, 8]), 0);
    assert_eq!(rig.get(buffer, 8), b"payload!");
    assert_eq!(rig.ok(id::XDP_LOAD_BYTES, &[context, 35, buffer, 8]), error(22));
    assert_eq!(rig.ok(id::XDP_STORE_BYTES, &[context, 0, buffer, 8]), 0);
    assert_eq!(rig.packet_now()[..8], *b"payload!");
    let dynptr = rig.put(&[0; 16]);
    assert_eq!(rig.kfunc("bpf_dynptr_from_xdp", &[context, 0, dynptr]), 0);
    assert_eq!(rig.kfunc("bpf_dynptr_slice", &[dynptr, 34, buffer, 8]), field(&rig, "data") + 34);
    assert_eq!(rig.kfunc("bpf_dynptr_slice", &[dynptr, 35, buffer, 8]), 0);
}

#[test]
fn skb_bytes() {
    let mut rig = Rig::packet(ProgType::SchedCls, &ipv4());
    let (context, buffer) = (rig.context(), rig.put(&[9; 8]));
    assert_eq!(rig.ok(id::SKB_LOAD_BYTES, &[context, 34, buffer, 8]), 0);
    assert_eq!(rig.get(buffer, 8), b"payload!");
    assert_eq!(rig.ok(id::SKB_LOAD_BYTES, &[context, 36, buffer, 8]), error(14));
    assert_eq!(rig.get(buffer, 8), [0; 8], "zeros where there is none");
    assert_eq!(rig.ok(id::SKB_LOAD_BYTES_RELATIVE, &[context, 12, buffer, 4, 1]), 0);
    assert_eq!(rig.get(buffer, 4), [10, 0, 0, 1]);
    assert_eq!(rig.ok(id::SKB_STORE_BYTES, &[context, 0, buffer, 4, 0]), 0);
    assert_eq!(rig.packet_now()[..4], [10, 0, 0, 1]);
    assert_eq!(rig.ok(id::SKB_STORE_BYTES, &[context, 0, buffer, 4, 8]), error(22));
    assert_eq!(rig.ok(id::SKB_PULL_DATA, &[context, 42]), 0);
    assert_eq!(rig.ok(id::SKB_PULL_DATA, &[context, 43]), error(12));
    let hash = rig.ok(id::GET_HASH_RECALC, &[context]);
    assert_eq!((hash, hash != 0), (field(&rig, "hash"), true));
    rig.ok(id::SET_HASH, &[context, 7]);
    assert_eq!(rig.ok(id::GET_HASH_RECALC, &[context]), 7);
}

#[test]
fn tags_come_and_go() {
    let mut rig = Rig::packet(ProgType::SchedCls, &ipv4());
    let context = rig.context();
    let (vlan, qinq) = (u64::from(0x8100u16.to_be()), u64::from(0x88a8u16.to_be()));
    assert_eq!(rig.ok(id::SKB_VLAN_PUSH, &[context, vlan, 5]), 0);
    assert_eq!((field(&rig, "vlan_present"), field(&rig, "vlan_tci")), (1, 5));
    assert_eq!(rig.packet_now(), ipv4(), "the first tag lies beside the packet");
    assert_eq!(rig.ok(id::SKB_VLAN_PUSH, &[context, qinq, 6]), 0);
    assert_eq!(rig.packet_now()[12..18], [0x81, 0, 0, 5, 8, 0]);
    assert_eq!(field(&rig, "vlan_proto"), qinq);
    assert_eq!(rig.ok(id::SKB_VLAN_POP, &[context]), 0);
    assert_eq!((rig.packet_now(), field(&rig, "vlan_tci")), (ipv4(), 5), "the inner one moves beside it");
    assert_eq!(rig.ok(id::SKB_VLAN_POP, &[context]), 0);
    assert_eq!(field(&rig, "vlan_present"), 0);
    assert_eq!(field(&rig, "protocol"), u64::from(0x0800u16.to_be()));
}

#[test]
fn room_for_headers() {
    let mut rig = Rig::packet(ProgType::SchedCls, &ipv4());
    let context = rig.context();
    assert_eq!(rig.ok(id::SKB_ADJUST_ROOM, &[context, 8, 0, 0]), 0);
    let with_gap = [&ipv4()[..34], &[0; 8], &ipv4()[34..]].concat();
    assert_eq!(rig.packet_now(), with_gap, "behind the network header");
    assert_eq!(field(&rig, "len"), with_gap.len() as u64);
    assert_eq!(rig.ok(id::SKB_ADJUST_ROOM, &[context, -8i64 as u64, 0, 0]), 0);
    assert_eq!(rig.ok(id::SKB_ADJUST_ROOM, &[context, 20, 1, 0]), 0);
    assert_eq!(rig.packet_now(), [&ipv4()[..14], &[0; 20], &ipv4()[14..]].concat(), "in front of it");
    assert_eq!(rig.ok(id::SKB_ADJUST_ROOM, &[context, -20i64 as u64, 1, 0]), 0);
    assert_eq!(rig.packet_now(), ipv4());
    assert_eq!(
        rig.ok(id::SKB_ADJUST_ROOM, &[context, -20i64 as u64, 1, 0]),
        error(524),
        "no header would be left"
    );
    assert_eq!(rig.ok(id::SKB_ADJUST_ROOM, &[context, 5000, 1, 0]), error(14));
    assert_eq!(rig.ok(id::SKB_ADJUST_ROOM, &[context, 5, 1, 1 << 40]), error(22));
    let v6 = u64::from(0x86ddu16.to_be());
    assert_eq!(rig.ok(id::SKB_CHANGE_PROTO, &[context, v6, 0]), 0);
    assert_eq!((rig.packet_now().len(), field(&rig, "protocol")), (62, v6));
    assert_eq!(rig.ok(id::SKB_CHANGE_PROTO, &[context, v6, 0]), error(524));
    assert_eq!(rig.ok(id::SKB_CHANGE_TAIL, &[context, 20, 0]), 0);
    assert_eq!(
        rig.ok(id::SKB_CHANGE_TAIL, &[context, 2000, 0]),
        error(22),
        "longer than the interface sends"
    );
    assert_eq!(rig.ok(id::SKB_CHANGE_HEAD, &[context, 14, 0]), 0);
    assert_eq!((rig.packet_now().len(), rig.vm.state.run.network_offset), (34, 28));
}

#[test]
fn checksums_follow_a_change() {
    let mut rig = Rig::packet(ProgType::SchedCls, &ipv4());
    let context = rig.context();
    let (from, to) = (u32::from_ne_bytes([10, 0, 0, 2]), u32::from_ne_bytes([10, 0, 9, 9]));
    let before = rig.packet_now()[24..26].to_vec();
    assert_eq!(rig.ok(id::L3_CSUM_REPLACE, &[context, 24, from.into(), to.into(), 4]), 0);
    assert_ne!(rig.packet_now()[24..26], before);
    assert_eq!(rig.ok(id::L3_CSUM_REPLACE, &[context, 24, to.into(), from.into(), 4]), 0);
    assert_eq!(rig.packet_now()[24..26], before, "there and back");
    assert_eq!(rig.ok(id::L3_CSUM_REPLACE, &[context, 24, 0, 0, 3]), error(22));
    assert_eq!(rig.ok(id::L3_CSUM_REPLACE, &[context, 25, 0, 0, 4]), error(14));
    assert_eq!(rig.ok(id::L4_CSUM_REPLACE, &[context, 24, 0, 1, 1 << 5 | 2]), 0, "no checksum stays none");
    assert_eq!(rig.packet_now()[24..26], [0, 0]);
    let words = rig.put(&[1, 2, 3, 4]);
    let sum = rig.ok(id::CSUM_DIFF, &[0, 0, words, 4, 0]);
    assert_eq!(sum, u64::from(u16::from_ne_bytes([1, 2])) + u64::from(u16::from_ne_bytes([3, 4])));
    assert_eq!(rig.ok(id::CSUM_DIFF, &[words, 3, 0, 0, 0]), error(22));
}

#[test]
fn redirects_are_noted() {
    let mut rig = Rig::packet(ProgType::Xdp, &ipv4());
    assert_eq!(rig.ok(id::REDIRECT, &[7, 0]), 4);
    let device = |ifindex, ingress| Redirect::Device { ifindex, ingress, peer: false, neighbour: None };
    assert_eq!(rig.env().redirect, Some(device(7, false)));
    assert_eq!(rig.ok(id::REDIRECT, &[7, 1]), 0, "XDP_ABORTED");
    let (map, handle) = rig.map(MapType::DevmapHash, 4, 4, 4, 0);
    rig.set(map, &9u32.to_ne_bytes(), &3u32.to_ne_bytes());
    assert_eq!(rig.ok(id::REDIRECT_MAP, &[handle, 9, 0]), 4);
    let Some(Redirect::Map { target: Some(3), .. }) = rig.env().redirect else { panic!("no target") };
    assert_eq!(
        rig.ok(id::REDIRECT_MAP, &[handle, 8, 2]),
        2,
        "the verdict of the flags where there is nothing"
    );
    assert_eq!(rig.ok(id::REDIRECT_MAP, &[handle, 8, 8]), 4, "to all");
    assert_eq!(rig.ok(id::REDIRECT_MAP, &[handle, 9, 64]), 0);
    let mut tc = Rig::packet(ProgType::SchedCls, &ipv4());
    assert_eq!((tc.ok(id::REDIRECT, &[7, 1]), tc.ok(id::REDIRECT, &[7, 2])), (7, 2));
    assert_eq!(tc.env().redirect, Some(device(7, true)));
    let context = tc.context();
    assert_eq!(tc.ok(id::CLONE_REDIRECT, &[context, 5, 0]), 0);
    assert_eq!(tc.env().effects.take(), [Effect::CloneRedirect { to: device(5, false), packet: ipv4() }]);
}

#[test]
fn congestion_is_marked() {
    let mut rig = Rig::packet(ProgType::SchedCls, &ipv4());
    let context = rig.context();
    // Give the header its checksum, then see that marking keeps it right.
    let sum = |packet: &[u8]| {
        let total: u32 = packet[14..34].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
        (total & 0xffff) + (total >> 16)
    };
    let check = (!(sum(&rig.packet_now()) as u16)).to_be_bytes();
    let at = rig.put(&check);
    rig.ok(id::SKB_STORE_BYTES, &[context, 24, at, 2, 0]);
    assert_eq!(rig.ok(id::SKB_ECN_SET_CE, &[context]), 1);
    let marked = rig.packet_now();
    assert_eq!((marked[15] & 3, sum(&marked)), (3, 0xffff));
}
