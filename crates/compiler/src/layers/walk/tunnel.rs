//! Putting a packet into a tunnel, and taking it out again: the frame grows or shrinks behind its Ethernet header.
//!
//! What always holds: the new headers are whole, with right lengths and checksums, and nothing that was known of the packet is used
//! again. Both need the network layer directly behind the Ethernet header; a tag that lies beside an skb stays there.

use super::super::access::{At, Context};
use super::super::assign::{RECOMPUTE, go_on};
use super::super::table::LayerId;
use super::{BRIDGED, Depth, Frame, GRE, IP4, IP6, UDP};
use crate::ir::{BinOp, Block, Cc, FuncBuilder, IntTy, Op, Type, UnOp, Value};
use skep_bpf::helpers::id;

/// What carries the packet; outside is IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tunnel {
    /// IP in IP (RFC 2003, RFC 4213).
    Ipip,
    /// GRE without options (RFC 2784).
    Gre,
    /// VXLAN (RFC 7348), which carries the Ethernet header too.
    Vxlan,
}

/// Bytes of an Ethernet header, and of an IPv4 header without options.
const ETH: u32 = 14;
const IPV4: u32 = 20;

/// Place of the room: behind the link header (`BPF_ADJ_ROOM_MAC`, include/uapi/linux/bpf.h).
const BEHIND_LINK: u64 = 1;
/// Flags of bpf_skb_adjust_room: segments that the card will cut keep their size; what is put in front is IPv4, GRE, UDP, an
/// Ethernet header within (5.13), so many bytes of it; what comes to light is IPv4, IPv6 (6.4).
const FIXED_GSO: u64 = 1;
const ENCAP_IPV4: u64 = 1 << 1;
const ENCAP_GRE: u64 = 1 << 3;
const ENCAP_UDP: u64 = 1 << 4;
const ENCAP_ETH: u64 = 1 << 6;
const ENCAP_L2_SHIFT: u32 = 56;
const DECAP_IPV4: u64 = 1 << 7;
const DECAP_IPV6: u64 = 1 << 8;

/// IP protocols of IPv4 and IPv6 in IP.
const IPV4_IN: u64 = 4;
const IPV6_IN: u64 = 41;
/// Ports of VXLAN's UDP header: one of those that are nobody's (RFC 6335; 49152 is taken for another protocol by tcpdump), and its own.
const SOURCE_PORT: u64 = 57344;
const VXLAN_PORT: u64 = 4789;
/// The flag of a network number that counts.
const HAS_VNI: u64 = 0x08;

/// What a tunnel is made of.
struct Form {
    name: &'static str,
    /// IP protocol; `None`: that of the packet's family.
    protocol: Option<i64>,
    /// Bytes by which the frame grows.
    room: u32,
    /// Of these, those of an Ethernet header within.
    link: u32,
    flags: u64,
}

const FORMS: [(Tunnel, Form); 3] = [
    (Tunnel::Ipip, Form { name: "ipip", protocol: None, room: IPV4, link: 0, flags: 0 }),
    (Tunnel::Gre, Form { name: "gre", protocol: Some(GRE), room: IPV4 + 4, link: 0, flags: ENCAP_GRE }),
    (
        Tunnel::Vxlan,
        Form {
            name: "vxlan",
            protocol: Some(UDP),
            room: IPV4 + 16 + ETH,
            link: ETH,
            flags: ENCAP_UDP | (ETH as u64) << ENCAP_L2_SHIFT,
        },
    ),
];

impl Tunnel {
    /// The names of all.
    pub fn names() -> impl Iterator<Item = &'static str> {
        FORMS.iter().map(|(_, form)| form.name)
    }

    /// The one of this name.
    pub fn from_name(name: &str) -> Option<Tunnel> {
        FORMS.iter().find(|(_, form)| form.name == name).map(|(tunnel, _)| *tunnel)
    }

    fn form(self) -> &'static Form {
        &FORMS[self as usize].1
    }
}

/// The packet that is carried.
#[derive(Clone, Copy)]
struct Inner {
    /// Bytes of its IP packet.
    len: Value,
    /// Its protocol in IP.
    protocol: Value,
}

impl Frame {
    /// Puts the packet into a tunnel, between addresses that are zero; goes to `missing` where it is not plain IP on Ethernet, or there is
    /// no room.
    pub fn push_tunnel(&mut self, f: &mut FuncBuilder, tunnel: Tunnel, missing: Block) {
        let form = tunnel.form();
        self.find(f, LayerId::Eth, Depth::Outer, 0, missing);
        let old = self.window(f, At::constant(0), ETH + IPV4, missing);
        let number = |f: &mut FuncBuilder, at: u32| {
            let value = old.number(f, at, 2);
            f.extend(value, IntTy::U64)
        };
        let (kind, four, six) = (number(f, 12), number(f, ETH + 2), number(f, ETH + 4));
        let six = f.add_imm(six, 40);
        let inner = f.block(&[Type::U64, Type::U64]);
        for (ether, len, protocol) in [(IP4, four, IPV4_IN), (IP6, six, IPV6_IN)] {
            let (want, next, protocol) = (f.u64(ether as u64), f.block(&[]), f.u64(protocol));
            f.branch_args(Cc::Eq, kind, want, (inner, &[len, protocol]), (next, &[]));
            f.switch_to(next);
        }
        f.jump(missing, &[]);
        f.switch_to(inner);
        let inner = Inner { len: f.block_param(inner, 0), protocol: f.block_param(inner, 1) };
        let (most, fits) = (f.u64(u64::from(0xffff - form.room)), f.block(&[]));
        f.branch(Cc::Ugt, inner.len, most, missing, fits);
        f.switch_to(fits);
        let front = ETH + form.room;
        let slot = f.slot(front.next_multiple_of(8), 8, "tunnel");
        let at = f.slot_addr(slot);
        f.zero(at, 0, front.next_multiple_of(8), 8);
        old.copy(f, 0, 12, at, 0);
        half(f, at, 12, IP4 as u64);
        outer(f, at, form, inner);
        match tunnel {
            Tunnel::Ipip => {}
            Tunnel::Gre => old.copy(f, 12, 2, at, (ETH + IPV4 + 2) as i32),
            Tunnel::Vxlan => {
                udp_and_vxlan(f, at, inner);
                old.copy(f, 0, ETH, at, (front - ETH) as i32);
            }
        }
        self.make_room(f, form, missing);
        self.changed(f);
        // The sum over an skb is not over its link header.
        self.store(f, At::constant(0), (at, ETH), 0, missing);
        let behind = f.ptr_add_imm(at, i64::from(ETH));
        self.store(f, At::constant(ETH), (behind, form.room), RECOMPUTE, missing);
        self.changed(f);
    }

    fn make_room(&mut self, f: &mut FuncBuilder, form: &Form, missing: Block) {
        let ctx = self.reader().ctx();
        if self.context() != Some(Context::Skb) {
            let room = f.iconst(Type::I64, -i64::from(form.room));
            let result = f.helper(id::XDP_ADJUST_HEAD, &[ctx, room], Type::I64);
            return go_on(f, result, missing);
        }
        let grow = |f: &mut FuncBuilder, flags: u64| {
            let (room, mode) = (f.u64(form.room.into()), f.u64(BEHIND_LINK));
            let flags = f.u64(flags | FIXED_GSO | ENCAP_IPV4);
            f.helper(id::SKB_ADJUST_ROOM, &[ctx, room, mode, flags], Type::I64)
        };
        if form.link == 0 {
            let result = grow(f, form.flags);
            return go_on(f, result, missing);
        }
        // Kernels that do not know of an Ethernet header within refuse the flag.
        let result = grow(f, form.flags | ENCAP_ETH);
        let (zero, older, done) = (f.iconst(Type::I64, 0), f.cold_block(), f.block(&[]));
        f.branch(Cc::Eq, result, zero, done, older);
        f.switch_to(older);
        let result = grow(f, form.flags);
        go_on(f, result, missing);
        f.jump(done, &[]);
        f.switch_to(done);
    }

    /// Takes the packet out of its outermost tunnel; goes to `missing` where it is in none, or the tunnel carries something other than
    /// plain IP. Of a tunnel that carries Ethernet the frame has that header then, else its own.
    pub fn pop_tunnel(&mut self, f: &mut FuncBuilder, missing: Block) {
        self.find(f, LayerId::Eth, Depth::Outer, 0, missing);
        let own = self.window(f, At::constant(0), ETH, missing);
        let kind = own.number(f, 12, 2);
        let kind = f.extend(kind, IntTy::U64);
        let plain = f.block(&[]);
        for ether in [IP4, IP6] {
            let (want, next) = (f.u64(ether as u64), f.block(&[]));
            f.branch(Cc::Eq, kind, want, plain, next);
            f.switch_to(next);
        }
        f.jump(missing, &[]);
        f.switch_to(plain);
        let inner = self.network(f, Depth::Inner, missing);
        let carried = self.carried(f, missing);
        let slot = f.slot(16, 8, "front");
        let front = f.slot_addr(slot);
        let (bridged, link, none, ready) = (f.u64(BRIDGED as u64), f.block(&[]), f.block(&[]), f.block(&[]));
        let mark = self.mark();
        let start = inner.at.value(f);
        f.branch(Cc::Eq, carried.code, bridged, link, none);
        f.switch_to(link);
        let begin = carried.at.value(f);
        let begin = f.add_imm(begin, ETH.into());
        let untagged = f.block(&[]);
        f.branch(Cc::Ne, begin, start, missing, untagged);
        f.switch_to(untagged);
        let within = self.window(f, carried.at, ETH, missing);
        within.copy(f, 0, ETH, front, 0);
        f.jump(ready, &[]);
        self.forget(mark);
        f.switch_to(none);
        own.copy(f, 0, 12, front, 0);
        let ether = swapped(f, inner.code);
        f.store(2, front, 12, ether);
        f.jump(ready, &[]);
        f.switch_to(ready);
        let gone = f.add_imm(start, -i64::from(ETH));
        self.close_room(f, (kind, inner.code), gone, missing);
        self.changed(f);
        self.store(f, At::constant(0), (front, ETH), 0, missing);
        self.changed(f);
    }

    /// `kinds`: EtherTypes of what goes, and of what comes to light.
    fn close_room(&mut self, f: &mut FuncBuilder, kinds: (Value, Value), gone: Value, missing: Block) {
        let ctx = self.reader().ctx();
        if self.context() != Some(Context::Skb) {
            let result = f.helper(id::XDP_ADJUST_HEAD, &[ctx, gone], Type::I64);
            return go_on(f, result, missing);
        }
        // Only where the family changes: older kernels refuse these flags.
        let (known, other) = (f.block(&[Type::U64]), f.block(&[]));
        let [same, four, six] = [0, DECAP_IPV4, DECAP_IPV6].map(|decap| f.u64(FIXED_GSO | decap));
        f.branch_args(Cc::Eq, kinds.0, kinds.1, (known, &[same]), (other, &[]));
        f.switch_to(other);
        let ip4 = f.u64(IP4 as u64);
        f.branch_args(Cc::Eq, kinds.1, ip4, (known, &[four]), (known, &[six]));
        f.switch_to(known);
        let flags = f.block_param(known, 0);
        let (zero, mode) = (f.u64(0), f.u64(BEHIND_LINK));
        let less = f.bin(BinOp::Sub, Type::U64, zero, gone);
        let result = f.helper(id::SKB_ADJUST_ROOM, &[ctx, less, mode, flags], Type::I64);
        go_on(f, result, missing);
    }
}

/// The outer IP header (RFC 791): not to be cut, for 64 hops, between addresses that are zero.
fn outer(f: &mut FuncBuilder, at: Value, form: &Form, inner: Inner) {
    const FIRST: u64 = 0x4500;
    const WHOLE: u64 = 0x4000;
    const HOPS: u64 = 64;
    let len = f.add_imm(inner.len, i64::from(form.room));
    let protocol = match form.protocol {
        Some(protocol) => f.u64(protocol as u64),
        None => inner.protocol,
    };
    let last = f.add_imm(protocol, (HOPS << 8) as i64);
    let ip = ETH as i32;
    half(f, at, ip, FIRST);
    half(f, at, ip + 6, WHOLE);
    for (off, value) in [(2, len), (8, last)] {
        let value = swapped(f, value);
        f.store(2, at, ip + off, value);
    }
    let sum = f.bin(BinOp::Add, Type::U64, len, last);
    let mut sum = f.add_imm(sum, (FIRST + WHOLE) as i64);
    for _ in 0..2 {
        let (low, sixteen) = (f.u64(0xffff), f.u64(16));
        let low = f.bin(BinOp::And, Type::U64, sum, low);
        let high = f.bin(BinOp::Lshr, Type::U64, sum, sixteen);
        sum = f.bin(BinOp::Add, Type::U64, low, high);
    }
    let ones = f.u64(0xffff);
    let sum = f.bin(BinOp::Xor, Type::U64, sum, ones);
    let sum = swapped(f, sum);
    f.store(2, at, ip + 10, sum);
}

/// The headers between the outer IP header and the frame within; the UDP header has no checksum, as RFC 7348 wants it.
fn udp_and_vxlan(f: &mut FuncBuilder, at: Value, inner: Inner) {
    let udp = (ETH + IPV4) as i32;
    half(f, at, udp, SOURCE_PORT);
    half(f, at, udp + 2, VXLAN_PORT);
    let len = f.add_imm(inner.len, i64::from(16 + ETH));
    let len = swapped(f, len);
    f.store(2, at, udp + 4, len);
    let flags = f.u64(HAS_VNI);
    f.store(1, at, udp + 8, flags);
}

/// Stores 16 bits that are known.
fn half(f: &mut FuncBuilder, at: Value, off: i32, value: u64) {
    let value = f.u64(u64::from((value as u16).to_be()));
    f.store(2, at, off, value);
}

/// The low 16 bits in network byte order.
fn swapped(f: &mut FuncBuilder, value: Value) -> Value {
    f.push_value(Op::Un { op: UnOp::Bswap(2), a: value }, Type::U64)
}
