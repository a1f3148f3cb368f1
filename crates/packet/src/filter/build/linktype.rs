//! The protocol behind a link-layer header, and LLC.

use super::{Build, Built, From, Link};
use crate::filter::Source;
use crate::filter::link::LinkType;
use crate::filter::pred::{Cc, PredId};

/// EtherTypes, and LLC service access points below [`ether::MTU`].
pub(in crate::filter) mod ether {
    /// The largest length that an 802.3 frame's length field has; what is larger is a type.
    pub(in crate::filter) const MTU: u32 = 1500;
    pub(in crate::filter) const IP: u32 = 0x0800;
    pub(in crate::filter) const ARP: u32 = 0x0806;
    pub(in crate::filter) const RARP: u32 = 0x8035;
    pub(in crate::filter) const IP6: u32 = 0x86dd;
    pub(in crate::filter) const VLAN: u32 = 0x8100;
    pub(in crate::filter) const VLAN_AD: u32 = 0x88a8;
    pub(in crate::filter) const VLAN_QINQ: u32 = 0x9100;
    pub(in crate::filter) const MPLS: u32 = 0x8847;
    pub(in crate::filter) const PPPOED: u32 = 0x8863;
    pub(in crate::filter) const PPPOES: u32 = 0x8864;
    /// An Ethernet frame in a tunnel.
    pub(in crate::filter) const BRIDGED: u32 = 0x6558;
    pub(in crate::filter) const ATALK: u32 = 0x809b;
    pub(in crate::filter) const AARP: u32 = 0x80f3;
    pub(in crate::filter) const DECNET: u32 = 0x6003;
    pub(in crate::filter) const LAT: u32 = 0x6004;
    pub(in crate::filter) const SCA: u32 = 0x6007;
    pub(in crate::filter) const MOPDL: u32 = 0x6001;
    pub(in crate::filter) const MOPRC: u32 = 0x6002;
    pub(in crate::filter) const NS: u32 = 0x0600;
    pub(in crate::filter) const IPX: u32 = 0x8137;
    pub(in crate::filter) const SAP_IP: u32 = 0x06;
    pub(in crate::filter) const SAP_STP: u32 = 0x42;
    pub(in crate::filter) const SAP_IPX: u32 = 0xe0;
    pub(in crate::filter) const SAP_NETBEUI: u32 = 0xf0;
    pub(in crate::filter) const SAP_ISO: u32 = 0xfe;
}

/// PPP protocol numbers of EtherTypes and access points.
const PPP: &[(u32, u32)] = &[
    (ether::IP, 0x0021),
    (ether::IP6, 0x0057),
    (ether::DECNET, 0x0027),
    (ether::ATALK, 0x0029),
    (ether::NS, 0x0025),
    (ether::SAP_ISO, 0x0023),
    (ether::SAP_STP, 0x0031),
    (ether::SAP_IPX, 0x002b),
];

/// `LINUX_SLL_P_802_3` and `LINUX_SLL_P_802_2`
const SLL_802_3: u32 = 1;
const SLL_802_2: u32 = 4;

impl Build<'_> {
    /// Whether the payload is of this EtherType, or this LLC access point if not above [`ether::MTU`].
    pub(super) fn linktype(&mut self, proto: u32) -> Built<PredId> {
        if self.layers.labels > 0 {
            return self.behind_mpls(proto);
        }
        Ok(match self.layers.link {
            Link::Ppp => {
                let number = PPP.iter().find(|(from, _)| *from == proto).map_or(proto, |(_, to)| *to);
                self.equal(From::LinkType, 0, 2, number)
            }
            Link::Outer(LinkType::Ethernet) => self.ether_type(proto),
            Link::Outer(LinkType::Sll) => self.sll_type(proto),
            Link::Outer(LinkType::Sll2) => self.equal(From::LinkType, 0, 2, proto),
            Link::Outer(LinkType::Raw) => match proto {
                ether::IP => self.masked(From::Header, 0, 1, 0x40, 0xf0),
                ether::IP6 => self.masked(From::Header, 0, 1, 0x60, 0xf0),
                _ => self.preds.always(false),
            },
            Link::Outer(LinkType::Ipv4) => self.preds.always(proto == ether::IP),
            Link::Outer(LinkType::Ipv6) => self.preds.always(proto == ether::IP6),
            Link::Outer(LinkType::Null | LinkType::Loop) => self.family(proto),
        })
    }

    /// The bottom of the label stack, and the version of IP behind it.
    fn behind_mpls(&mut self, proto: u32) -> Built<PredId> {
        let version = match proto {
            ether::IP => 0x40,
            ether::IP6 => 0x60,
            _ => return self.fail("unsupported protocol over mpls"),
        };
        let bottom = self.masked(From::Network, 2u32.wrapping_neg(), 1, 0x01, 0x01);
        let version = self.masked(From::Network, 0, 1, version, 0xf0);
        Ok(self.preds.and(bottom, version))
    }

    /// The address family before the packet. IPv6's number differs between systems.
    fn family(&mut self, proto: u32) -> PredId {
        const INET: u32 = 2;
        /// Linux'; that of NetBSD, OpenBSD and Npcap; FreeBSD's; macOS'.
        const INET6: u32 = 10;
        const INET6_SAVED: [u32; 3] = [24, 28, 30];
        match (proto, self.options.source) {
            (ether::IP, _) => self.loopback(INET),
            (ether::IP6, Source::File { .. }) => {
                let [bsd, freebsd, darwin] = INET6_SAVED.map(|family| self.loopback(family));
                let both = self.preds.or(bsd, freebsd);
                self.preds.or(darwin, both)
            }
            (ether::IP6, _) => self.loopback(INET6),
            _ => self.preds.always(false),
        }
    }

    fn loopback(&mut self, family: u32) -> PredId {
        let host_order = self.layers.link == Link::Outer(LinkType::Null);
        let swapped = matches!(self.options.source, Source::File { swapped: true });
        let shown = match (host_order, swapped) {
            (true, false) => u32::from_ne_bytes(family.to_be_bytes()),
            (true, true) => u32::from_ne_bytes(family.swap_bytes().to_be_bytes()),
            (false, _) => family,
        };
        self.equal(From::Header, 0, 4, shown)
    }

    fn is_llc(&mut self) -> PredId {
        let typed = self.compare(From::LinkType, 0, 2, Cc::Gt, ether::MTU);
        self.preds.not(typed)
    }

    fn snap(&mut self, organisation: u32, kind: u32) -> PredId {
        let [_, a, b, c] = organisation.to_be_bytes();
        let [_, _, d, e] = kind.to_be_bytes();
        self.bytes(From::Llc, 0, &[0xaa, 0xaa, 0x03, a, b, c, d, e])
    }

    /// The SNAP header that AppleTalk's protocols have behind LLC.
    fn apple_snap(&mut self, proto: u32) -> PredId {
        match proto {
            ether::ATALK => self.snap(0x08_0007, ether::ATALK),
            _ => self.snap(0, ether::AARP),
        }
    }

    fn ether_type(&mut self, proto: u32) -> PredId {
        match proto {
            ether::SAP_ISO | ether::SAP_IP | ether::SAP_NETBEUI => {
                let llc = self.is_llc();
                let both = self.equal(From::Llc, 0, 2, proto << 8 | proto);
                self.preds.and(llc, both)
            }
            ether::SAP_IPX => {
                let sap = self.equal(From::Llc, 0, 1, ether::SAP_IPX);
                let raw = self.equal(From::Llc, 0, 2, 0xffff);
                let either = self.preds.or(sap, raw);
                let snap = self.snap(0, ether::IPX);
                let any = self.preds.or(snap, either);
                let llc = self.is_llc();
                let framed = self.preds.and(llc, any);
                let typed = self.equal(From::LinkType, 0, 2, ether::IPX);
                self.preds.or(typed, framed)
            }
            ether::ATALK | ether::AARP => {
                let llc = self.is_llc();
                let snap = self.apple_snap(proto);
                let framed = self.preds.and(llc, snap);
                let typed = self.equal(From::LinkType, 0, 2, proto);
                self.preds.or(typed, framed)
            }
            _ if proto <= ether::MTU => {
                let llc = self.is_llc();
                let sap = self.equal(From::LinkType, 2, 1, proto);
                self.preds.and(llc, sap)
            }
            _ => self.equal(From::LinkType, 0, 2, proto),
        }
    }

    fn sll_type(&mut self, proto: u32) -> PredId {
        match proto {
            ether::SAP_ISO | ether::SAP_IP | ether::SAP_NETBEUI => {
                let llc = self.equal(From::LinkType, 0, 2, SLL_802_2);
                let both = self.equal(From::Llc, 0, 2, proto << 8 | proto);
                self.preds.and(llc, both)
            }
            ether::SAP_IPX => {
                let sap = self.equal(From::Llc, 0, 1, ether::SAP_IPX);
                let snap = self.snap(0, ether::IPX);
                let either = self.preds.or(sap, snap);
                let llc = self.equal(From::LinkType, 0, 2, SLL_802_2);
                let framed = self.preds.and(llc, either);
                let raw = self.equal(From::LinkType, 0, 2, SLL_802_3);
                let untyped = self.preds.or(raw, framed);
                let typed = self.equal(From::LinkType, 0, 2, ether::IPX);
                self.preds.or(typed, untyped)
            }
            ether::ATALK | ether::AARP => {
                let llc = self.equal(From::LinkType, 0, 2, SLL_802_2);
                let snap = self.apple_snap(proto);
                let framed = self.preds.and(llc, snap);
                let typed = self.equal(From::LinkType, 0, 2, proto);
                self.preds.or(typed, framed)
            }
            _ if proto <= ether::MTU => {
                let llc = self.equal(From::LinkType, 0, 2, SLL_802_2);
                let payload = self.layers.payload.add;
                let sap = self.equal(From::Header, payload, 1, proto);
                self.preds.and(llc, sap)
            }
            _ => self.equal(From::LinkType, 0, 2, proto),
        }
    }

    /// `llc` and its types.
    pub(super) fn llc(&mut self, kind: Option<&str>) -> Built<PredId> {
        /// Supervisory commands and unnumbered ones, as their control fields are.
        const SUPERVISORY: &[(&str, u32)] = &[("rr", 0x01), ("rnr", 0x05), ("rej", 0x09)];
        const UNNUMBERED: &[(&str, u32)] = &[
            ("ui", 0x03),
            ("ua", 0x63),
            ("disc", 0x43),
            ("dm", 0x0f),
            ("sabme", 0x6f),
            ("test", 0xe3),
            ("xid", 0xaf),
            ("frmr", 0x87),
        ];
        let lower = kind.map(str::to_ascii_lowercase);
        let find = |table: &[(&str, u32)]| {
            lower
                .as_deref()
                .and_then(|kind| table.iter().find(|(name, _)| *name == kind))
                .map(|(_, value)| *value)
        };
        let control = match lower.as_deref() {
            None => None,
            Some("i") => Some((0x01, 0x00, true)),
            Some("s") => Some((0x03, 0x01, false)),
            Some("u") => Some((0x03, 0x03, false)),
            _ => match (find(SUPERVISORY), find(UNNUMBERED)) {
                (Some(value), _) => Some((0x0f, value, false)),
                (None, Some(value)) => Some((0xef, value, false)),
                (None, None) => {
                    let shown = kind.unwrap_or_default().escape_default().to_string();
                    return self.fail(format!("unknown LLC type name \"{shown}\""));
                }
            },
        };
        if self.layers.link != Link::Outer(LinkType::Ethernet) {
            let name = self.link_name();
            return self.fail(format!("'llc' not supported for {name}"));
        }
        let framed = self.is_llc();
        let novell = self.equal(From::Llc, 0, 2, 0xffff);
        let real = self.preds.not(novell);
        let llc = self.preds.and(framed, real);
        let Some((mask, value, information)) = control else { return Ok(llc) };
        let test = if information {
            let other = self.compare(From::Llc, 2, 1, Cc::Set, mask);
            self.preds.not(other)
        } else {
            self.masked(From::Llc, 2, 1, value, mask)
        };
        Ok(self.preds.and(llc, test))
    }
}
