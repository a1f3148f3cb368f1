//! Changing a packet: a field and its new value enter; instructions that write it leave, with the checksums that cover it
//! brought up to date by the difference alone (RFC 1624). What always holds behind them: nothing that was known of the
//! packet is used again.
//!
//! IPv4 headers, TCP, UDP, ICMP, ICMPv6 and IGMP have checksums over 16-bit words; TCP, UDP and ICMPv6 also over the addresses.
//! What is changed behind a tunnel's UDP header changes that header's checksum too, by every word that is written there: one that
//! an inner checksum makes up for changes nothing.
//! An skb's checksum may be left to the device or known to the kernel otherwise, so its helpers do the sums there.

use skep_bpf::helpers::id;

use crate::ir::{BinOp, Block, Cc, FuncBuilder, Type, Value};

use super::access::{At, Context, Mode};
use super::table::{Field, FieldKind, LayerId};
use super::walk::{Depth, Frame};

/// A new value of a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NewValue {
    /// A number, 64 bits; what does not fit is cut off.
    Number(Value),
    /// The field's bytes, at an address and a distance from it.
    Bytes(Value, i32),
}

/// Where the checksum of a layer lies in it.
const CHECKSUMS: &[(LayerId, u32)] = &[
    (LayerId::Ip4, 10),
    (LayerId::Tcp, 16),
    (LayerId::Udp, 6),
    (LayerId::Icmp, 2),
    (LayerId::Icmp6, 2),
    (LayerId::Igmp, 2),
];

/// Transport layers whose checksum covers the addresses: IP protocol, layer.
const OVER_ADDRESSES: [(u64, LayerId); 3] = [(6, LayerId::Tcp), (17, LayerId::Udp), (58, LayerId::Icmp6)];

/// What UDP carries, and is under its checksum.
const IN_UDP: [LayerId; 3] = [LayerId::Vxlan, LayerId::Geneve, LayerId::Dns];
const UDP: [(u64, LayerId); 1] = [(17, LayerId::Udp)];

/// Flags of bpf_l4_csum_replace (include/uapi/linux/bpf.h): the bytes are of the pseudo header; a sum of zero means that
/// there is none.
const PSEUDO_HEADER: u64 = 0x10;
const MANGLED_ZERO: u64 = 0x20;
/// Flag of bpf_skb_store_bytes: the sum over the whole packet, if the card has told it, is brought up to date
/// (`BPF_F_RECOMPUTE_CSUM`).
pub(super) const RECOMPUTE: u64 = 1;

/// A checksum that covers what changes.
#[derive(Clone, Copy)]
struct Sum {
    layer: LayerId,
    /// Where its layer begins.
    at: At,
    pseudo: bool,
    /// The transport layer outside of the tunnel that it is in.
    outer: Option<Outer>,
}

/// A transport layer that carries a tunnel, or the protocol of a tunnel in IP.
#[derive(Clone, Copy)]
struct Outer {
    protocol: Value,
    at: At,
}

/// Bytes that change: `len` of them from `first` on, even numbers both.
#[derive(Clone, Copy)]
struct Change {
    at: At,
    len: u32,
    /// Addresses of the bytes as they are and as they will be.
    old: Value,
    new: Value,
}

/// Whether a field can be given a new value. What says how long the header is, or how it is laid out, cannot, nor what is under a
/// checksum that is not brought up to date.
pub fn is_assignable(layer: LayerId, field: &Field) -> bool {
    let length = layer.row().length.bits().is_some_and(|bits| {
        let own = u32::from(field.bit)..u32::from(field.bit + field.bits);
        own.start < bits.end && bits.start < own.end
    });
    layer != LayerId::Sctp && !length && field.name != "version" && field.kind != FieldKind::Bytes
}

impl Frame {
    /// Gives a field of the layer at `at` a new value; goes to `missing` where the frame lacks it. The reader must read
    /// through the context.
    pub fn assign(
        &mut self,
        f: &mut FuncBuilder,
        (layer, field): (LayerId, &Field),
        (at, depth): (At, Depth),
        value: NewValue,
        missing: Block,
    ) {
        let first = field.first_byte() & !1;
        let len = field.end_byte().next_multiple_of(2) - first;
        let header = self.header(f, layer.row(), at, Some(field), missing);
        let whole = match header.len >= first + len {
            true => header,
            false => self.window(f, at, first + len, missing),
        };
        let room = len.next_multiple_of(8);
        let [old, new] = ["old", "new"].map(|name| f.slot(room, 8, name));
        let (old, new) = (f.slot_addr(old), f.slot_addr(new));
        // Each from the packet: what was just written in small parts can not be read as a whole without waiting for it.
        for slot in [old, new] {
            f.zero(slot, 0, room, 8);
            whole.copy(f, first, len, slot, 0);
        }
        put(f, field, first, len, new, value);
        let change = Change { at: at.plus(first), len, old, new };
        let outer = match depth {
            Depth::Outer => None,
            Depth::Inner => {
                let (protocol, at) = self.transport_at(f, Depth::Outer, missing);
                Some(Outer { protocol, at })
            }
        };
        let sum = CHECKSUMS.iter().any(|(id, _)| *id == layer) && field.name != "checksum";
        if sum {
            self.update_sum(f, &change, Sum { layer, at, pseudo: false, outer });
        }
        let address = matches!(layer, LayerId::Ip4 | LayerId::Ip6)
            && matches!(field.kind, FieldKind::Ip4 | FieldKind::Ip6);
        if address {
            self.at_transport(f, depth, &OVER_ADDRESSES, |frame, f, layer, at| {
                frame.update_sum(f, &change, Sum { layer, at, pseudo: true, outer });
            });
        }
        if IN_UDP.contains(&layer) {
            self.at_transport(f, depth, &UDP, |frame, f, layer, at| {
                frame.update_sum(f, &change, Sum { layer, at, pseudo: false, outer });
            });
        }
        self.carry(f, &change, outer);
        // A change that its own sum makes up for leaves the sum over the packet as it is; link headers are not under it.
        let balanced = sum || IN_UDP.contains(&layer) || layer == LayerId::Eth;
        let flags = if balanced { 0 } else { RECOMPUTE };
        self.store(f, change.at, (change.new, change.len), flags, missing);
        self.changed(f);
    }

    /// Does something to the transport layer, if it is one of these.
    fn at_transport(
        &mut self,
        f: &mut FuncBuilder,
        depth: Depth,
        of: &[(u64, LayerId)],
        work: impl Fn(&mut Frame, &mut FuncBuilder, LayerId, At),
    ) {
        let (done, mark) = (f.block(&[]), self.mark());
        let (code, at) = self.transport_at(f, depth, done);
        for (protocol, layer) in of {
            let (want, this, other) = (f.u64(*protocol), f.block(&[]), f.block(&[]));
            f.branch(Cc::Eq, code, want, this, other);
            f.switch_to(this);
            work(self, f, *layer, at);
            f.jump(done, &[]);
            f.switch_to(other);
        }
        f.jump(done, &[]);
        f.switch_to(done);
        self.forget(mark);
    }

    /// Brings a checksum up to date; one that lies behind what can be reached stays as it is, and so does UDP's 0, which means
    /// that there is none.
    fn update_sum(&mut self, f: &mut FuncBuilder, change: &Change, sum: Sum) {
        let Some((_, offset)) = CHECKSUMS.iter().find(|(id, _)| *id == sum.layer) else { return };
        let at = sum.at.plus(*offset);
        let skb = self.context() == Some(Context::Skb);
        let (done, mark) = (f.block(&[]), self.mark());
        if !skb || sum.layer == LayerId::Udp {
            let before = self.sum_before(f, at, done);
            if sum.layer == LayerId::Udp {
                let (kept, zero) = (f.block(&[]), f.u64(0));
                f.branch(Cc::Eq, before, zero, done, kept);
                f.switch_to(kept);
            }
            if !skb {
                self.compute_sum(f, change, sum, (at, before), done);
            }
        }
        if skb {
            self.replace_sum(f, change, sum, at);
        }
        let made_up = Change { old: change.new, new: change.old, ..*change };
        self.carry(f, &made_up, sum.outer);
        f.jump(done, &[]);
        f.switch_to(done);
        self.forget(mark);
    }

    /// The checksum that is there, as it lies in the packet.
    fn sum_before(&self, f: &mut FuncBuilder, at: At, missing: Block) -> Value {
        if self.context() == Some(Context::Skb) {
            // The helpers that change a packet make all pointers to it useless.
            let slot = f.slot(8, 8, "checksum");
            let to = f.slot_addr(slot);
            self.reader().copy(f, at, 2, to, missing);
            return f.load(word_type(), to, 0);
        }
        self.reader().window(f, at, 2, missing).raw(f, 0, 2)
    }

    /// Brings the checksum of a tunnel's UDP header up to date.
    fn carry(&mut self, f: &mut FuncBuilder, change: &Change, outer: Option<Outer>) {
        let Some(outer) = outer else { return };
        let (udp, this, done) = (f.u64(UDP[0].0), f.block(&[]), f.block(&[]));
        f.branch(Cc::Eq, outer.protocol, udp, this, done);
        f.switch_to(this);
        let sum = Sum { layer: LayerId::Udp, at: outer.at, pseudo: false, outer: None };
        self.update_sum(f, change, sum);
        f.jump(done, &[]);
        f.switch_to(done);
    }

    /// By the helpers that know how an skb's checksum is kept.
    fn replace_sum(&self, f: &mut FuncBuilder, change: &Change, sum: Sum, at: At) {
        let (helper, flags) = match sum.layer {
            LayerId::Ip4 => (id::L3_CSUM_REPLACE, 0),
            LayerId::Udp => (id::L4_CSUM_REPLACE, MANGLED_ZERO),
            _ => (id::L4_CSUM_REPLACE, 0),
        };
        let flags = flags | if sum.pseudo { PSEUDO_HEADER } else { 0 } | 2;
        for word in (0..change.len).step_by(2) {
            let [old, new] = [change.old, change.new].map(|from| f.load(word_type(), from, word as i32));
            let (off, flags) = (at.value(f), f.u64(flags));
            f.helper(helper, &[self.reader().ctx(), off, old, new, flags], Type::I64);
        }
    }

    /// By the difference, in one's complement: HC' = ~(~HC + ~m + m').
    fn compute_sum(
        &mut self,
        f: &mut FuncBuilder,
        change: &Change,
        sum: Sum,
        (at, before): (At, Value),
        missing: Block,
    ) {
        let (ones, zero) = (f.u64(0xffff), f.u64(0));
        let mut total = f.bin(BinOp::Xor, Type::U64, before, ones);
        for word in (0..change.len).step_by(2) {
            let [old, new] = [change.old, change.new].map(|from| f.load(word_type(), from, word as i32));
            let minus = f.bin(BinOp::Xor, Type::U64, old, ones);
            total = f.bin(BinOp::Add, Type::U64, total, minus);
            total = f.bin(BinOp::Add, Type::U64, total, new);
        }
        for _ in 0..2 {
            let sixteen = f.u64(16);
            let low = f.bin(BinOp::And, Type::U64, total, ones);
            let high = f.bin(BinOp::Lshr, Type::U64, total, sixteen);
            total = f.bin(BinOp::Add, Type::U64, low, high);
        }
        let mut after = f.bin(BinOp::Xor, Type::U64, total, ones);
        after = f.bin(BinOp::And, Type::U64, after, ones);
        if sum.layer == LayerId::Udp {
            let (zero_sum, join) = (f.block(&[]), f.block(&[Type::U64]));
            f.branch_args(Cc::Ne, after, zero, (join, &[after]), (zero_sum, &[]));
            f.switch_to(zero_sum);
            f.jump(join, &[ones]);
            f.switch_to(join);
            after = f.block_param(join, 0);
        }
        let slot = f.slot(8, 8, "checksum");
        let from = f.slot_addr(slot);
        f.store(2, from, 0, after);
        self.store(f, at, (from, 2), 0, missing);
    }

    /// Writes bytes of the program's memory, so many, to the packet; `flags` are those of bpf_skb_store_bytes.
    pub(super) fn store(
        &self,
        f: &mut FuncBuilder,
        at: At,
        (from, len): (Value, u32),
        flags: u64,
        missing: Block,
    ) {
        match self.reader().mode() {
            Mode::Direct { context: Context::Xdp, beyond: false } => {
                let to = self.reader().direct(f, at, len, missing);
                f.copy(to, 0, from, 0, len, 2);
            }
            mode => {
                let (off, size) = (at.value(f), f.u64(len.into()));
                let ctx = self.reader().ctx();
                let result = match mode {
                    Mode::Direct { context: Context::Xdp, .. } | Mode::Load { context: Context::Xdp } => {
                        f.helper(id::XDP_STORE_BYTES, &[ctx, off, from, size], Type::I64)
                    }
                    _ => {
                        let flags = f.u64(flags);
                        f.helper(id::SKB_STORE_BYTES, &[ctx, off, from, size, flags], Type::I64)
                    }
                };
                go_on(f, result, missing);
            }
        }
    }
}

/// Bytes before the tag, and the tag's own.
const MACS: u32 = 12;
const TAG: i64 = 4;

impl Frame {
    /// Puts a VLAN tag with this TCI before the EtherType; goes to `missing` where that is not possible.
    pub fn push_vlan(&mut self, f: &mut FuncBuilder, tci: Value, missing: Block) {
        let ctx = self.reader().ctx();
        // ETH_P_8021Q in network byte order.
        let protocol = f.u64(u64::from(0x8100u16.to_be()));
        if self.context() == Some(Context::Skb) {
            let result = f.helper(id::SKB_VLAN_PUSH, &[ctx, protocol, tci], Type::I64);
            go_on(f, result, missing);
            return self.changed(f);
        }
        let room = f.iconst(Type::I64, -TAG);
        let result = f.helper(id::XDP_ADJUST_HEAD, &[ctx, room], Type::I64);
        go_on(f, result, missing);
        self.changed(f);
        let start = self.reader().direct(f, At::constant(0), MACS + 6, missing);
        move_macs(f, start, TAG as i32, 0);
        f.store(2, start, MACS as i32, protocol);
        let tci = f.push_value(crate::ir::Op::Un { op: crate::ir::UnOp::Bswap(2), a: tci }, Type::U64);
        f.store(2, start, MACS as i32 + 2, tci);
        self.changed(f);
    }

    /// Takes the outermost VLAN tag out; goes to `missing` where there is none.
    pub fn pop_vlan(&mut self, f: &mut FuncBuilder, missing: Block) {
        let ctx = self.reader().ctx();
        if self.context() == Some(Context::Skb) {
            let result = f.helper(id::SKB_VLAN_POP, &[ctx], Type::I64);
            go_on(f, result, missing);
            return self.changed(f);
        }
        // A tag, and not something that only looks like it.
        self.find(f, LayerId::Vlan, Depth::Outer, 0, missing);
        let start = self.reader().direct(f, At::constant(0), MACS + 6, missing);
        move_macs(f, start, 0, TAG as i32);
        let room = f.iconst(Type::I64, TAG);
        let result = f.helper(id::XDP_ADJUST_HEAD, &[ctx, room], Type::I64);
        go_on(f, result, missing);
        self.changed(f);
    }

    pub(super) fn context(&self) -> Option<Context> {
        match self.reader().mode() {
            Mode::Direct { context, .. } | Mode::Load { context } => Some(context),
            Mode::Probe { .. } | Mode::Flat { .. } => None,
        }
    }
}

/// Moves the two addresses of an Ethernet header, which may overlap where they were.
fn move_macs(f: &mut FuncBuilder, start: Value, from: i32, to: i32) {
    let words = [0, 4, 8].map(|at| (at, f.load(Type::U32, start, from + at)));
    for (at, word) in words {
        f.store(4, start, to + at, word);
    }
}

/// Goes on where a helper returned 0.
pub(super) fn go_on(f: &mut FuncBuilder, result: Value, missing: Block) {
    let (zero, good) = (f.iconst(Type::I64, 0), f.block(&[]));
    f.branch(Cc::Ne, result, zero, missing, good);
    f.switch_to(good);
}

fn word_type() -> Type {
    Type::Int(crate::ir::IntTy { bits: 16, signed: false })
}

/// Writes a field's new value into the bytes that hold it, `first` bytes from the layer's start.
fn put(f: &mut FuncBuilder, field: &Field, first: u32, len: u32, bytes: Value, value: NewValue) {
    match value {
        NewValue::Bytes(from, off) => {
            let (at, size) = (field.first_byte() - first, field.end_byte() - field.first_byte());
            f.copy(bytes, at as i32, from, off, size, 2);
        }
        NewValue::Number(value) => {
            let window = super::access::Window { ptr: bytes, len, aligned: true };
            let bits = u32::from(field.bits);
            let behind = 8 * (first + len) - u32::from(field.bit) - bits;
            let mask = u64::MAX >> (64 - bits) << behind;
            let whole = window.number(f, 0, len);
            let (keep, mask, count) = (f.u64(!mask), f.u64(mask), f.u64(behind.into()));
            let kept = f.bin(BinOp::And, Type::U64, whole, keep);
            let shifted = f.bin(BinOp::Shl, Type::U64, value, count);
            let placed = f.bin(BinOp::And, Type::U64, shifted, mask);
            let word = f.bin(BinOp::Or, Type::U64, kept, placed);
            let swapped = crate::ir::UnOp::Bswap(len as u8);
            let word = f.push_value(crate::ir::Op::Un { op: swapped, a: word }, Type::U64);
            f.store(len as u8, bytes, 0, word);
        }
    }
}
