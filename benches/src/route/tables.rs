//! Prefixes as tables have them, and frames to addresses in them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Lengths of prefixes and how many of a hundred have them, roughly as in the internet's table.
const LENGTHS4: [(u32, u32); 8] = [(24, 60), (22, 12), (23, 10), (20, 5), (21, 5), (19, 3), (16, 3), (18, 2)];
const LENGTHS6: [(u32, u32); 9] =
    [(48, 47), (32, 13), (44, 11), (40, 10), (36, 6), (29, 4), (46, 4), (47, 3), (64, 2)];
/// Where IPv6 is given out: the first twelve bits.
const REGIONS: [u128; 6] = [0x200, 0x240, 0x260, 0x280, 0x2a0, 0x2c0];
/// Most blocks of 32 bits that longer prefixes lie in.
const HOLDERS: u32 = 25_000;

/// A block of addresses: the first, and how many bits they share.
pub(super) type Block = (IpAddr, u32);

struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    fn length(&mut self, lengths: &[(u32, u32)]) -> u32 {
        let mut share = self.next() % 100;
        for (length, part) in lengths {
            if share < *part {
                return *length;
            }
            share -= part;
        }
        lengths[0].0
    }
}

/// So many prefixes of IPv4.
pub(super) fn four(size: u32) -> Vec<Block> {
    let (mut random, mut seen, mut list) = (Random(7), BTreeSet::new(), Vec::new());
    while list.len() < size as usize {
        let length = random.length(&LENGTHS4);
        let address = random.next() >> (32 - length) << (32 - length);
        // Unicast, and none of the interfaces' own networks.
        let other = (1..224).contains(&(address >> 24)) && ![10, 127, 169].contains(&(address >> 24));
        if other && seen.insert((address, length)) {
            list.push((IpAddr::V4(Ipv4Addr::from_bits(address)), length));
        }
    }
    list
}

/// So many prefixes of IPv6: those of some thousand holders, and longer ones within, of a few of them many.
pub(super) fn six(size: u32) -> Vec<Block> {
    let (mut random, mut seen, mut list) = (Random(11), BTreeSet::new(), Vec::new());
    while list.len() < size as usize {
        let length = random.length(&LENGTHS6);
        // The product of two has small numbers more often than large ones.
        let holder = ((u64::from(random.next()) * u64::from(random.next())) >> 32) as u32;
        let holder = ((u64::from(holder) * u64::from(HOLDERS)) >> 32) as u32;
        let region = REGIONS[holder as usize % REGIONS.len()];
        let spread = u128::from(holder.wrapping_mul(2_654_435_761) >> 15);
        let within = u128::from(random.next() & random.next()) << 32 | u128::from(random.next());
        let bits = region << 116 | spread << 99 | within << 32;
        let bits = bits >> (128 - length) << (128 - length);
        if seen.insert((bits, length)) {
            list.push((IpAddr::V6(Ipv6Addr::from_bits(bits)), length));
        }
    }
    list
}

/// An address in a block.
pub(super) fn within((address, length): Block) -> IpAddr {
    match address {
        IpAddr::V4(a) => IpAddr::V4(Ipv4Addr::from_bits(a.to_bits() | u32::from(length < 32))),
        IpAddr::V6(a) => IpAddr::V6(Ipv6Addr::from_bits(a.to_bits() | u128::from(length < 128))),
    }
}

/// A UDP datagram in an Ethernet frame to the port, with the longest time to live.
pub(super) fn frame(port: [u8; 6], destination: IpAddr) -> Vec<u8> {
    let mut frame = port.to_vec();
    frame.extend([2, 0, 0, 0, 0, 1]);
    match destination {
        IpAddr::V4(to) => {
            let mut ip = vec![0x45, 0, 0, 50, 0, 1, 0x40, 0, 255, 17, 0, 0, 10, 0, 1, 9];
            ip.extend(to.octets());
            let sum: u32 = ip.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
            let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
            frame.extend([8, 0]);
            frame.extend(ip);
        }
        IpAddr::V6(to) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 30, 17, 255]);
            frame.extend([0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
            frame.extend(to.octets());
        }
    }
    frame.extend([0x10, 0, 0, 53, 0, 30, 0, 0]);
    frame.resize(if destination.is_ipv4() { 64 } else { 84 }, 0);
    frame
}
