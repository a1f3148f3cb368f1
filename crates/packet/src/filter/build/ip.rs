//! Addresses: IPv4, IPv6, link-layer and DECnet.

use super::{Build, Built, From, Link, ether, word};
use crate::filter::link::LinkType;
use crate::filter::pred::PredId;
use crate::filter::words::{AddrKind, Dir, Proto};
use std::net::Ipv6Addr;

/// Where an address of a header lies, from its network layer on.
#[derive(Clone, Copy)]
struct Pair {
    source: u32,
    destination: u32,
}

const IP: Pair = Pair { source: 12, destination: 16 };
const ARP: Pair = Pair { source: 14, destination: 24 };
const IP6: Pair = Pair { source: 8, destination: 24 };

/// How messages call what has this kind.
fn noun(kind: Option<AddrKind>) -> &'static str {
    if kind == Some(AddrKind::Net) { "net" } else { "host" }
}

impl Build<'_> {
    /// Source, destination or both, by the direction.
    pub(super) fn directed(
        &mut self,
        dir: Option<Dir>,
        what: &str,
        mut one: impl FnMut(&mut Self, bool) -> Built<PredId>,
    ) -> Built<PredId> {
        Ok(match dir {
            Some(Dir::Src) => one(self, true)?,
            Some(Dir::Dst) => one(self, false)?,
            Some(Dir::Both) => {
                let (a, b) = (one(self, true)?, one(self, false)?);
                self.preds.and(a, b)
            }
            None | Some(Dir::Either) => {
                let (a, b) = (one(self, true)?, one(self, false)?);
                self.preds.or(a, b)
            }
            Some(Dir::Wlan(word)) => {
                return self.fail(format!("'{word}' is not a valid qualifier for {what}"));
            }
        })
    }

    fn address4(&mut self, dir: Option<Dir>, proto: u32, at: Pair, address: u32, mask: u32) -> Built<PredId> {
        self.directed(dir, "addresses other than 802.11 MAC addresses", |build, source| {
            let kind = build.linktype(proto)?;
            let at = if source { at.source } else { at.destination };
            let test = build.masked(From::Network, at, 4, address, mask);
            Ok(build.preds.and(kind, test))
        })
    }

    /// A host or network of IPv4, or of what else has 32-bit addresses.
    pub(super) fn host(
        &mut self,
        address: u32,
        mask: u32,
        proto: Option<Proto>,
        dir: Option<Dir>,
        kind: Option<AddrKind>,
    ) -> Built<PredId> {
        let noun = noun(kind);
        match proto {
            None => {
                let ip = self.address4(dir, ether::IP, IP, address, mask)?;
                if self.layers.labels > 0 {
                    return Ok(ip);
                }
                let arp = self.address4(dir, ether::ARP, ARP, address, mask)?;
                let rarp = self.address4(dir, ether::RARP, ARP, address, mask)?;
                Ok(self.any(&[ip, arp, rarp]))
            }
            Some(Proto::Ip) => self.address4(dir, ether::IP, IP, address, mask),
            Some(Proto::Arp) => self.address4(dir, ether::ARP, ARP, address, mask),
            Some(Proto::Rarp) => self.address4(dir, ether::RARP, ARP, address, mask),
            Some(Proto::Decnet) => self.decnet(dir, address),
            Some(Proto::Link) => self.fail(format!("link-layer modifier applied to {noun}")),
            Some(Proto::Ip6) => self.fail("'ip6' modifier applied to ip host"),
            Some(Proto::Atalk) => self.fail("AppleTalk host filtering not implemented"),
            Some(
                proto @ (Proto::Lat
                | Proto::Sca
                | Proto::Moprc
                | Proto::Mopdl
                | Proto::Aarp
                | Proto::Iso
                | Proto::Ipx),
            ) => self.fail(format!("{} host filtering not implemented", word(proto).to_uppercase())),
            Some(proto) => self.fail(format!("'{}' modifier applied to {noun}", word(proto))),
        }
    }

    /// A host or network of IPv6.
    pub(super) fn host6(
        &mut self,
        address: Ipv6Addr,
        bits: u32,
        proto: Option<Proto>,
        dir: Option<Dir>,
        kind: Option<AddrKind>,
    ) -> Built<PredId> {
        if let Some(proto) = proto.filter(|proto| *proto != Proto::Ip6) {
            return self.fail(format!("'{}' modifier applied to ip6 {}", word(proto), noun(kind)));
        }
        let mask = prefix_mask(bits);
        let words = |value: u128| [96, 64, 32, 0].map(|shift| (value >> shift) as u32);
        let (address, mask) = (words(address.to_bits()), words(mask));
        self.directed(dir, "addresses other than 802.11 MAC addresses", |build, source| {
            let at = if source { IP6.source } else { IP6.destination };
            // The tests are built from the last on; the first comes first.
            let mut all = build.masked(From::Network, at + 12, 4, address[3], mask[3]);
            for i in (0..3).rev() {
                let test = build.masked(From::Network, at + 4 * i as u32, 4, address[i], mask[i]);
                all = build.preds.and(test, all);
            }
            let kind = build.linktype(ether::IP6)?;
            Ok(build.preds.and(kind, all))
        })
    }

    /// A link-layer address.
    pub(super) fn ether_host(&mut self, address: [u8; 6], dir: Option<Dir>) -> Built<PredId> {
        if self.layers.link != Link::Outer(LinkType::Ethernet) {
            return self.fail(
                "ethernet addresses supported only on ethernet/FDDI/token ring/802.11/ATM LANE/Fibre Channel",
            );
        }
        let before = self.encapsulated_frame();
        if let Some(Dir::Wlan(word)) = dir {
            return self.fail(format!("'{word}' is only supported on 802.11 with 802.11 headers"));
        }
        let test = self.directed(dir, "Ethernet addresses", |build, source| {
            Ok(build.bytes(From::Header, if source { 6 } else { 0 }, &address))
        })?;
        Ok(self.after(before, test))
    }

    /// DECnet's short and long headers, each with a byte of padding or without.
    fn decnet(&mut self, dir: Option<Dir>, address: u32) -> Built<PredId> {
        /// Flags and their mask, bytes of the flags; whether the header is the long one, and how far it is shifted.
        const FORMS: [(u32, u32, u8, bool, u32); 4] = [
            (0x8106, 0xff07, 2, true, 1),
            (0x06, 0x07, 1, true, 0),
            (0x8102, 0xff07, 2, false, 1),
            (0x02, 0x07, 1, false, 0),
        ];
        let address = u32::from((address as u16).swap_bytes());
        self.directed(dir, "addresses other than 802.11 MAC addresses", |build, source| {
            let kind = build.linktype(ether::DECNET)?;
            let mut any: Option<PredId> = None;
            for (flags, mask, bytes, long, shift) in FORMS {
                let at = match (long, source) {
                    (true, true) => 15,
                    (true, false) => 7,
                    (false, true) => 3,
                    (false, false) => 1,
                };
                let form = build.masked(From::Network, 2, bytes, flags, mask);
                let test = build.equal(From::Network, 2 + shift + at, 2, address);
                let both = build.preds.and(form, test);
                // Each form is asked for before those that were built earlier.
                any = Some(any.map_or(both, |before| build.preds.or(both, before)));
            }
            let any = any.unwrap_or(kind);
            Ok(build.preds.and(kind, any))
        })
    }
}

/// The netmask of so many bits.
pub(super) fn prefix_mask(bits: u32) -> u128 {
    u128::MAX.checked_shl(128 - bits.min(128)).unwrap_or(0)
}
