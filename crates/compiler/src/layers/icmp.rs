//! Answering a packet with an ICMP error about itself: the frame goes back to its sender's addresses, from an address that is
//! given, and quotes the beginning of what it was.
//!
//! What always holds: no error is made about an error, about a fragment behind the first, for a sender that is no one host, or for a
//! frame that is more than Ethernet, or nothing, and a plain IP header (RFC 1122, 3.2.2; RFC 4443, 2.4). The new frame is written whole, so
//! nothing of the old one but the quote leaves.

use super::access::{At, Context};
use super::table::LinkType;
use super::walk::{Depth, Frame};
use crate::ir::{BinOp, Block, Cc, FuncBuilder, IntTy, Op, Type, UnOp, Value};
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
}

/// Bytes of an Ethernet header.
const ETH: u32 = 14;
/// Bytes of an ICMP error's header.
const ICMP: u32 = 8;

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
    /// What is quoted: the header, and the eight bytes behind it that say which connection it was.
    quote: u32,
}

const IP4: Family = Family {
    ether_type: 0x0800,
    header: 20,
    source: 12,
    address: 4,
    first: (0x45, 0xff),
    icmp: 1,
    quote: 28,
};
const IP6: Family = Family {
    ether_type: 0x86dd,
    header: 40,
    source: 8,
    address: 16,
    first: (0x60, 0xf0),
    icmp: 58,
    quote: 48,
};

impl Frame {
    /// Makes of the packet an error about itself; `six` says of which family it is. Goes to `missing` where it must not be
    /// answered, or cannot be.
    pub fn become_icmp_error(&mut self, f: &mut FuncBuilder, six: bool, error: IcmpError, missing: Block) {
        let family = if six { &IP6 } else { &IP4 };
        let link = if self.link() == LinkType::Raw { 0 } else { ETH };
        let old = self.reader().window(f, At::constant(0), link + family.quote, missing);
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
        let total = link + family.header + ICMP + family.quote;
        let slot = f.slot(total.next_multiple_of(8), 8, "answer");
        let at = f.slot_addr(slot);
        f.zero(at, 0, total.next_multiple_of(8), 8);
        if link != 0 {
            old.copy(f, 6, 6, at, 0);
            old.copy(f, 0, 6, at, 6);
            old.copy(f, 12, 2, at, 12);
        }
        let ip = link as i32;
        old.copy(f, link, family.quote, at, ip + (family.header + ICMP) as i32);
        header(f, family, (at, ip), error);
        let new_target = ip + (family.source + family.address) as i32;
        old.copy(f, link + family.source, family.address, at, new_target);
        sums(f, family, (at, ip));
        self.resize(f, total, missing);
        self.store(f, At::constant(0), (at, total), 0, missing);
    }

    /// Gives the frame another length.
    fn resize(&mut self, f: &mut FuncBuilder, total: u32, missing: Block) {
        let ctx = self.reader().ctx();
        let new = f.u64(u64::from(total));
        let result = match self.context() {
            Some(Context::Skb) => {
                let flags = f.u64(0);
                f.helper(id::SKB_CHANGE_TAIL, &[ctx, new, flags], Type::I64)
            }
            _ => {
                let now = self.reader().frame_len(f);
                let now = f.extend(now, IntTy::U64);
                // There is always room before a frame; what is behind depends on the driver.
                let (longer, shorter, done) = (f.block(&[]), f.block(&[]), f.block(&[Type::I64]));
                f.branch(Cc::Ult, now, new, longer, shorter);
                for (block, helper, (from, to)) in
                    [(longer, id::XDP_ADJUST_HEAD, (now, new)), (shorter, id::XDP_ADJUST_TAIL, (new, now))]
                {
                    f.switch_to(block);
                    let change = f.bin(BinOp::Sub, Type::U64, from, to);
                    let result = f.helper(helper, &[ctx, change], Type::I64);
                    f.jump(done, &[result]);
                }
                f.switch_to(done);
                f.block_param(done, 0)
            }
        };
        is(f, result, 0, missing);
        self.changed(f);
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

/// The IP header, `ip` bytes behind `at`, but for the addresses' target and the checksum, and the ICMP header but for its checksum.
fn header(f: &mut FuncBuilder, family: &Family, (at, ip): (Value, i32), error: IcmpError) {
    let byte = |f: &mut FuncBuilder, off: i32, value: u64| {
        let value = f.u64(value);
        f.store(1, at, off, value);
    };
    byte(f, ip, family.first.0);
    match family.header {
        20 => {
            // Precedence "internetwork control" (RFC 1812, 4.3.2.5).
            byte(f, ip + 1, 0xc0);
            byte(f, ip + 3, u64::from(family.header + ICMP + family.quote));
            byte(f, ip + 8, 64);
            byte(f, ip + 9, family.icmp);
        }
        _ => {
            byte(f, ip + 5, u64::from(ICMP + family.quote));
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

/// The checksums.
fn sums(f: &mut FuncBuilder, family: &Family, (at, ip): (Value, i32)) {
    let icmp = ip + family.header as i32;
    let length = ICMP + family.quote;
    let seed = match family.header {
        20 => {
            let none = f.u64(0);
            let sum = sum(f, at, (ip, family.header), none);
            f.store(2, at, ip + 10, sum);
            f.u64(0)
        }
        // The pseudo header: length and number of ICMP, then the addresses.
        _ => {
            let numbers =
                f.u64(u64::from(length.swap_bytes()) + u64::from((family.icmp as u32).swap_bytes()));
            raw_sum(f, at, (ip + family.source as i32, 2 * family.address), numbers)
        }
    };
    let sum = sum(f, at, (icmp, length), seed);
    f.store(2, at, icmp + 2, sum);
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
    let mut sum = raw_sum(f, at, bytes, seed);
    for _ in 0..2 {
        let (low, sixteen) = (f.u64(0xffff), f.u64(16));
        let (low, high) =
            (f.bin(BinOp::And, Type::U64, sum, low), f.bin(BinOp::Lshr, Type::U64, sum, sixteen));
        sum = f.bin(BinOp::Add, Type::U64, low, high);
    }
    let all = f.u64(0xffff);
    f.bin(BinOp::Xor, Type::U64, sum, all)
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
