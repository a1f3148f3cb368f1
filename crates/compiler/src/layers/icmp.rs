//! Answering a packet with an ICMP error about itself: the frame goes back to its sender's addresses, from an address that is
//! given, and quotes as much of what it was as such an answer may have. The quote stays where it is: room for the new headers is made before it, and what is
//! behind it is cut off.
//!
//! What always holds: no error is made about an error, about a fragment behind the first, for a sender that is no one host, or for a
//! frame that is more than Ethernet, or nothing, and a plain IP header (RFC 1122, 3.2.2; RFC 4443, 2.4). The new frame is written whole, so
//! nothing of the old one but the quote leaves.

use super::access::{At, Context, Mode, Reader};
use super::table::LinkType;
use super::walk::{Depth, Frame};
use crate::ir::{
    BinOp, Block, Cc, FuncBuilder, FuncId, FuncKind, Function, IntTy, Op, PtrKind, Type, UnOp, Value,
};
use skep_bpf::helpers::id;

/// What the error says. The numbers are u64.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IcmpError {
    /// Type.
    pub kind: Value,
    /// Code.
    pub code: Value,
    /// The four bytes behind the checksum as a number: of "too big" the MTU.
    pub info: Value,
    /// The address that it comes from, in memory of the program.
    pub from: (Value, i32),
    /// What sums the quote up: see [`quote_sum`].
    pub sum: FuncId,
}

/// Bytes of an Ethernet header.
const ETH: u32 = 14;
/// Bytes of an ICMP error's header.
const ICMP: u32 = 8;
/// `BPF_ADJ_ROOM_MAC`: room behind the link header.
const BEHIND_LINK: u64 = 1;

/// What differs between the families.
struct Family {
    ether_type: u16,
    /// Bytes of the IP header, and where in it the source is.
    header: u32,
    source: u32,
    address: u32,
    /// First byte of the packet: version and (of IPv4) length of the header; the mask of what counts.
    first: (u64, u64),
    /// Number of ICMP.
    icmp: u64,
    /// Where the header says how long the packet is, and what that does not count.
    length: (u32, u32),
    /// Most bytes that are quoted: the answer has 576 then (RFC 1812, 4.3.2.3), or the least MTU of IPv6 (RFC 4443, 2.4).
    quote: u32,
}

impl Family {
    /// Bytes before the quote, behind a link header of so many.
    fn front(&self, link: u32) -> u32 {
        link + self.header + ICMP
    }
}

/// Bytes of the link header.
fn link_header(link: LinkType) -> u32 {
    if link == LinkType::Raw { 0 } else { ETH }
}

const IP4: Family = Family {
    ether_type: 0x0800,
    header: 20,
    source: 12,
    address: 4,
    first: (0x45, 0xff),
    icmp: 1,
    length: (2, 0),
    quote: 576 - 28,
};
const IP6: Family = Family {
    ether_type: 0x86dd,
    header: 40,
    source: 8,
    address: 16,
    first: (0x60, 0xf0),
    icmp: 58,
    length: (4, 40),
    quote: 1280 - 48,
};

impl Frame {
    /// Makes of the packet an error about itself; `six` says of which family it is. Goes to `missing` where it must not be
    /// answered, or cannot be.
    pub fn become_icmp_error(&mut self, f: &mut FuncBuilder, six: bool, error: IcmpError, missing: Block) {
        let family = if six { &IP6 } else { &IP4 };
        let link = link_header(self.link());
        let old = self.reader().window(f, At::constant(0), link + family.header, missing);
        let number = |f: &mut FuncBuilder, at: u32, bytes: u32| {
            let value = old.number(f, at, bytes);
            f.extend(value, IntTy::U64)
        };
        if link != 0 {
            let proto = number(f, 12, 2);
            is(f, proto, u64::from(family.ether_type), missing);
        }
        let first = number(f, link, 1);
        let mask = f.u64(family.first.1);
        let first = f.bin(BinOp::And, Type::U64, first, mask);
        is(f, first, family.first.0, missing);
        let sender = (number(f, link + family.source, 1), number(f, link + family.source, 8));
        one_host(f, six, sender, missing);
        let length = number(f, link + family.length.0, 2);
        let length = f.add_imm(length, i64::from(family.length.1));
        let frame = self.reader().frame_len(f);
        let frame = f.extend(frame, IntTy::U64);
        let there = f.add_imm(frame, -i64::from(link));
        let most = f.u64(u64::from(family.quote));
        let quoted = least(f, length, there);
        let quoted = least(f, quoted, most);
        let header_len = f.u64(u64::from(family.header));
        unless(f, Cc::Ult, quoted, header_len, missing);
        let quoted = self.reader().veil(f, quoted);
        // Fragments behind the first have no transport layer.
        let (protocol, behind) = self.transport_at(f, Depth::Outer, missing);
        let (asks, other, mark) = (f.block(&[]), f.block(&[]), self.mark());
        let icmp = f.u64(family.icmp);
        f.branch(Cc::Eq, protocol, icmp, asks, other);
        f.switch_to(asks);
        let kind = self.window(f, behind, 1, missing);
        let kind = kind.number(f, 0, 1);
        let kind = f.extend(kind, IntTy::U64);
        self.forget(mark);
        match six {
            // Errors have the types below 128.
            true => {
                let first = f.u64(128);
                unless(f, Cc::Ult, kind, first, missing);
                f.jump(other, &[]);
            }
            // Questions and answers of echo.
            false => {
                let (eight, reply) = (f.u64(8), f.block(&[]));
                f.branch(Cc::Eq, kind, eight, other, reply);
                f.switch_to(reply);
                is(f, kind, 0, missing);
                f.jump(other, &[]);
            }
        }
        f.switch_to(other);
        let (front, ip) = (family.front(link), link as i32);
        let slot = f.slot(front.next_multiple_of(8), 8, "answer");
        let at = f.slot_addr(slot);
        f.zero(at, 0, front.next_multiple_of(8), 8);
        if link != 0 {
            old.copy(f, 6, 6, at, 0);
            old.copy(f, 0, 6, at, 6);
            old.copy(f, 12, 2, at, 12);
        }
        let new_target = ip + (family.source + family.address) as i32;
        old.copy(f, link + family.source, family.address, at, new_target);
        header(f, family, (at, ip), error, quoted);
        let kept = f.add_imm(quoted, i64::from(link));
        self.resize(f, family.header + ICMP, (frame, kept), missing);
        self.sums(f, family, (at, ip), (quoted, error.sum), missing);
        self.store(f, At::constant(0), (at, front), 0, missing);
    }

    /// Makes so much room for the new headers, and cuts off what is behind the bytes to be kept.
    fn resize(&mut self, f: &mut FuncBuilder, room: u32, (frame, kept): (Value, Value), missing: Block) {
        let ctx = self.reader().ctx();
        match self.context() {
            Some(Context::Skb) => {
                // This also makes one piece of the packet, and of what a card would cut into segments.
                let flags = f.u64(0);
                let result = f.helper(id::SKB_CHANGE_TAIL, &[ctx, kept, flags], Type::I64);
                is(f, result, 0, missing);
                let (room, mode, flags) = (f.u64(room.into()), f.u64(BEHIND_LINK), f.u64(0));
                let result = f.helper(id::SKB_ADJUST_ROOM, &[ctx, room, mode, flags], Type::I64);
                is(f, result, 0, missing);
            }
            _ => {
                let room = f.iconst(Type::I64, -i64::from(room));
                let result = f.helper(id::XDP_ADJUST_HEAD, &[ctx, room], Type::I64);
                is(f, result, 0, missing);
                let less = f.bin(BinOp::Sub, Type::U64, kept, frame);
                let result = f.helper(id::XDP_ADJUST_TAIL, &[ctx, less], Type::I64);
                is(f, result, 0, missing);
            }
        }
        self.changed(f);
    }

    /// The checksums of an answer whose headers are at `at`, that of IP `ip` bytes behind it, and whose quote is in the frame.
    fn sums(
        &self,
        f: &mut FuncBuilder,
        family: &Family,
        (at, ip): (Value, i32),
        (quoted, function): (Value, FuncId),
        missing: Block,
    ) {
        let icmp = ip + family.header as i32;
        let four = family.header == 20;
        if four {
            let none = f.u64(0);
            let sum = sum(f, at, (ip, family.header), none);
            f.store(2, at, ip + 10, sum);
        }
        let seed = match four {
            true => f.u64(0),
            // The pseudo header: length and number of ICMP, then the addresses.
            false => {
                let length = f.add_imm(quoted, ICMP.into());
                let length = f.push_value(Op::Un { op: UnOp::Bswap(2), a: length }, Type::U64);
                let number = f.u64(u64::from((family.icmp as u16).to_be()));
                let numbers = f.bin(BinOp::Add, Type::U64, length, number);
                raw_sum(f, at, (ip + family.source as i32, 2 * family.address), numbers)
            }
        };
        let seed = raw_sum(f, at, (icmp, ICMP), seed);
        let sum = f.call(function, &[self.reader().ctx(), quoted, seed], Type::U64);
        let short = f.u64(SHORT);
        unless(f, Cc::Eq, sum, short, missing);
        let sum = folded(f, sum);
        f.store(2, at, icmp + 2, sum);
    }
}

/// What [`quote_sum`] gives where the frame does not have the bytes.
const SHORT: u64 = u64::MAX;

/// A function that adds the sum over an error's quote, of so many bytes, to a sum of 32 bits; for frames that are read in this mode. The verifier looks at it once, whichever ways
/// lead to errors.
pub fn quote_sum(name: &str, mode: Mode, link: LinkType, six: bool) -> Function {
    let (kind, params) = (FuncKind::Global { bytes: 0 }, [Type::Ptr(PtrKind::Ctx), Type::U64, Type::U64]);
    let mut f = FuncBuilder::new(name, kind, &params, Type::U64);
    let [ctx, quoted, seed] = [0, 1, 2].map(|at| f.param(at));
    let family = if six { &IP6 } else { &IP4 };
    let quote = Quote {
        reader: Reader::new(&mut f, mode, ctx),
        family,
        front: family.front(link_header(link)),
        quoted,
    };
    let (missing, low) = (f.cold_block(), f.u64(0xffff_ffff));
    let seed = f.bin(BinOp::And, Type::U64, seed, low);
    let words = quote.words(&mut f, seed, missing);
    let sum = quote.odd_bytes(&mut f, words, missing);
    f.ret(sum);
    f.switch_to(missing);
    let short = f.u64(SHORT);
    f.ret(short);
    f.finish()
}

/// The bytes of a packet that an error quotes, behind the error's headers in the frame.
struct Quote<'f> {
    reader: Reader,
    family: &'f Family,
    /// What is before them.
    front: u32,
    /// How many.
    quoted: Value,
}

impl Quote<'_> {
    /// Adds the sum of the words. Parts of so many bytes as the length has bits are taken one after the other, because the verifier has to know how
    /// many a helper gets, and that of older kernels takes 512 at most.
    fn words(&self, f: &mut FuncBuilder, mut sum: Value, missing: Block) -> Value {
        for bit in (2..=self.family.quote.ilog2()).rev().map(|bit| 1 << bit) {
            let done = f.block(&[Type::U64]);
            let ptr = self.part(f, bit, (done, sum), missing);
            let each = bit.min(512);
            let mut more = sum;
            for first in (0..bit).step_by(each as usize) {
                more = raw_sum(f, ptr, (first as i32, each), more);
            }
            f.jump(done, &[more]);
            f.switch_to(done);
            sum = f.block_param(done, 0);
        }
        sum
    }

    /// Adds the sum of the last bytes, which are no whole word.
    fn odd_bytes(&self, f: &mut FuncBuilder, mut sum: Value, missing: Block) -> Value {
        for bit in [2, 1] {
            let done = f.block(&[Type::U64]);
            let ptr = self.part(f, bit, (done, sum), missing);
            // Of a byte at an even place, the machine being little-endian, the number is that of its pair with a zero.
            let ty = Type::Int(IntTy { bits: (8 * bit) as u8, signed: false });
            let number = f.load(ty, ptr, 0);
            let number = f.extend(number, IntTy::U64);
            let more = f.bin(BinOp::Add, Type::U64, sum, number);
            f.jump(done, &[more]);
            f.switch_to(done);
            sum = f.block_param(done, 0);
        }
        sum
    }

    /// A pointer to the `bit` bytes for this bit of the length; goes to `done` with the sum where the length does not have it.
    fn part(&self, f: &mut FuncBuilder, bit: u32, (done, sum): (Block, Value), missing: Block) -> Value {
        let all = self.family.quote.next_power_of_two() - 1;
        let (mask, before) = (f.u64(bit.into()), f.u64(u64::from(all & !(2 * bit - 1))));
        let (has, zero, there) = (f.bin(BinOp::And, Type::U64, self.quoted, mask), f.u64(0), f.block(&[]));
        f.branch_args(Cc::Eq, has, zero, (done, &[sum]), (there, &[]));
        f.switch_to(there);
        let off = f.bin(BinOp::And, Type::U64, self.quoted, before);
        let at = At { base: Some(off), add: self.front, max: self.front + all };
        self.reader.direct(f, at, bit, missing)
    }
}

/// Goes on where a sender, of whose address these are the first byte and the first eight, may be one host: not unspecified, not loopback,
/// not multicast, not broadcast.
fn one_host(f: &mut FuncBuilder, six: bool, (first, eight): (Value, Value), missing: Block) {
    if six {
        let (all, zero) = (f.u64(0xff), f.u64(0));
        unless(f, Cc::Eq, first, all, missing);
        return unless(f, Cc::Eq, eight, zero, missing);
    }
    let (zero, loopback, most) = (f.u64(0), f.u64(127), f.u64(0xdf));
    unless(f, Cc::Eq, first, zero, missing);
    unless(f, Cc::Eq, first, loopback, missing);
    unless(f, Cc::Ugt, first, most, missing);
}

/// The IP header of an answer that quotes so many bytes, `ip` bytes behind `at`, but for the addresses' target and the checksum, and the ICMP header but for
/// its checksum.
fn header(f: &mut FuncBuilder, family: &Family, (at, ip): (Value, i32), error: IcmpError, quoted: Value) {
    let byte = |f: &mut FuncBuilder, off: i32, value: u64| {
        let value = f.u64(value);
        f.store(1, at, off, value);
    };
    let length = |f: &mut FuncBuilder, off: i32, more: u32| {
        let length = f.add_imm(quoted, more.into());
        let length = f.push_value(Op::Un { op: UnOp::Bswap(2), a: length }, Type::U64);
        f.store(2, at, off, length);
    };
    byte(f, ip, family.first.0);
    match family.header {
        20 => {
            // Precedence "internetwork control" (RFC 1812, 4.3.2.5).
            byte(f, ip + 1, 0xc0);
            length(f, ip + 2, family.header + ICMP);
            byte(f, ip + 8, 64);
            byte(f, ip + 9, family.icmp);
        }
        _ => {
            length(f, ip + 4, ICMP);
            byte(f, ip + 6, family.icmp);
            byte(f, ip + 7, 64);
        }
    }
    f.copy(at, ip + family.source as i32, error.from.0, error.from.1, family.address, 2);
    let icmp = ip + family.header as i32;
    f.store(1, at, icmp, error.kind);
    f.store(1, at, icmp + 1, error.code);
    let info = f.push_value(Op::Un { op: UnOp::Bswap(4), a: error.info }, Type::U64);
    // Behind Ethernet words lie at even addresses.
    let sixteen = f.u64(16);
    let high = f.bin(BinOp::Lshr, Type::U64, info, sixteen);
    f.store(2, at, icmp + 4, info);
    f.store(2, at, icmp + 6, high);
}

/// The sum over bytes (a multiple of four), not folded.
fn raw_sum(f: &mut FuncBuilder, at: Value, (off, len): (i32, u32), seed: Value) -> Value {
    let (none, zero) = (f.u64(0), f.u64(0));
    let (bytes, len) = (f.ptr_add_imm(at, i64::from(off)), f.u64(u64::from(len)));
    let sum = f.helper(id::CSUM_DIFF, &[none, zero, bytes, len, seed], Type::U64);
    let low = f.u64(0xffff_ffff);
    f.bin(BinOp::And, Type::U64, sum, low)
}

/// The checksum over bytes, in the order in which it lies.
fn sum(f: &mut FuncBuilder, at: Value, bytes: (i32, u32), seed: Value) -> Value {
    let sum = raw_sum(f, at, bytes, seed);
    folded(f, sum)
}

/// The checksum of a sum of little more than 32 bits.
fn folded(f: &mut FuncBuilder, mut sum: Value) -> Value {
    for _ in 0..3 {
        let (low, sixteen) = (f.u64(0xffff), f.u64(16));
        let (low, high) =
            (f.bin(BinOp::And, Type::U64, sum, low), f.bin(BinOp::Lshr, Type::U64, sum, sixteen));
        sum = f.bin(BinOp::Add, Type::U64, low, high);
    }
    let all = f.u64(0xffff);
    f.bin(BinOp::Xor, Type::U64, sum, all)
}

/// The lesser of two numbers.
fn least(f: &mut FuncBuilder, a: Value, b: Value) -> Value {
    let known = f.block(&[Type::U64]);
    f.branch_args(Cc::Ult, a, b, (known, &[a]), (known, &[b]));
    f.switch_to(known);
    f.block_param(known, 0)
}

/// Goes on where a value is this one.
fn is(f: &mut FuncBuilder, value: Value, wanted: u64, missing: Block) {
    let wanted = f.u64(wanted);
    unless(f, Cc::Ne, value, wanted, missing);
}

/// Goes to `missing` where the comparison holds, and on where it does not.
fn unless(f: &mut FuncBuilder, cc: Cc, a: Value, b: Value, missing: Block) {
    let good = f.block(&[]);
    f.branch(cc, a, b, missing, good);
    f.switch_to(good);
}
