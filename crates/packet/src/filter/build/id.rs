//! Names, numbers and addresses with their qualifiers.

use super::ip::prefix_mask;
use super::ports::PortTest;
use super::protos::with_ports;
use super::{Build, Built, Link};
use crate::filter::ast::{Id, Quals};
use crate::filter::link::LinkType;
use crate::filter::pred::PredId;
use crate::filter::words::{AddrKind, Proto};
use std::net::{IpAddr, Ipv6Addr};

const MAX_PORT: u32 = 0xffff;

impl Build<'_> {
    pub(super) fn id(&mut self, quals: Quals, id: &Id) -> Built<PredId> {
        match id {
            Id::Name(name) => self.name(quals, name),
            Id::Number(number) => self.plain_number(quals, *number),
            Id::Ipv4(text) => self.ipv4(quals, text),
            Id::Ipv4Prefix(text, bits) => {
                if *bits > 32 {
                    return self.fail("mask length must be <= 32");
                }
                let mask = (prefix_mask(*bits) >> 96) as u32;
                self.network4(quals, text, mask, &format!("{text}/{bits}"))
            }
            Id::Ipv4Mask(text, mask) => {
                let (value, bits) = self.ipv4_parts(mask)?;
                let value = value.checked_shl(32 - bits).unwrap_or(0);
                self.network4(quals, text, value, &format!("{text} mask {mask}"))
            }
            Id::Ipv6(address) => self.ipv6(quals, *address, 128),
            Id::Ipv6Prefix(address, bits) => self.ipv6(quals, *address, *bits),
            Id::Mac(address) => match (quals.kind, quals.proto) {
                (None | Some(AddrKind::Host), Some(Proto::Link)) => self.ether_host(*address, quals.dir),
                _ => self.fail("ethernet address used in non-ether expression"),
            },
        }
    }

    /// The number that dotted parts make, and how many bits they have.
    fn ipv4_parts(&self, text: &str) -> Built<(u32, u32)> {
        let mut value = 0u32;
        let mut bits = 0;
        for part in text.split('.') {
            let decimal = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            let number =
                if decimal { part.trim_start_matches('0').parse().or(Ok(0)) } else { part.parse::<u32>() };
            match number {
                Ok(number) if number <= 255 && part.trim_start_matches('0').len() <= 3 => {
                    value = value << 8 | number;
                    bits += 8;
                }
                _ => return self.fail(format!("invalid IPv4 address '{text}'")),
            }
        }
        Ok((value, bits))
    }

    fn network4(&mut self, quals: Quals, text: &str, mask: u32, shown: &str) -> Built<PredId> {
        let (value, bits) = self.ipv4_parts(text)?;
        let address = value.checked_shl(32 - bits).unwrap_or(0);
        if address & !mask != 0 {
            return self.fail(format!("non-network bits set in \"{shown}\""));
        }
        match quals.kind {
            Some(AddrKind::Net) => self.host(address, mask, quals.proto, quals.dir, quals.kind),
            _ => self.fail("Mask syntax for networks only"),
        }
    }

    fn ipv4(&mut self, quals: Quals, text: &str) -> Built<PredId> {
        let shown = match quals.kind {
            Some(AddrKind::Port) => "port",
            Some(AddrKind::PortRange) => "portrange",
            Some(AddrKind::Proto) => "proto",
            Some(AddrKind::ProtoChain) => "protochain",
            Some(AddrKind::Gateway) => return self.gateway_needs_a_name(),
            _ if quals.proto == Some(Proto::Decnet) => return self.decnet_address(quals, text),
            _ if quals.proto == Some(Proto::Link) => {
                self.ipv4_parts(text)?;
                return self.fail("illegal link layer address");
            }
            _ => {
                let (value, bits) = self.ipv4_parts(text)?;
                let shift = |value: u32| value.checked_shl(32 - bits).unwrap_or(0);
                return self.host(shift(value), shift(u32::MAX), quals.proto, quals.dir, quals.kind);
            }
        };
        self.fail(format!("'{shown}' modifier applied to ip host"))
    }

    fn gateway_needs_a_name<T>(&self) -> Built<T> {
        self.fail("'gateway' requires a name")
    }

    /// `AREA.NODE`
    fn decnet_address(&mut self, quals: Quals, text: &str) -> Built<PredId> {
        let mut parts = text.split('.').map(str::parse::<u32>);
        let (Some(Ok(area)), Some(Ok(node))) = (parts.next(), parts.next()) else {
            return self.fail(format!("malformed decnet address '{text}'"));
        };
        let address = (area << 10) & 0xfc00 | node & 0x3ff;
        self.host(address, 0, quals.proto, quals.dir, quals.kind)
    }

    fn ipv6(&mut self, quals: Quals, address: Ipv6Addr, bits: u32) -> Built<PredId> {
        if bits > 128 {
            return self.fail("mask length must be <= 128");
        }
        if address.to_bits() & !prefix_mask(bits) != 0 {
            return self.fail(format!("non-network bits set in \"{address}/{bits}\""));
        }
        match quals.kind {
            None | Some(AddrKind::Host) if bits != 128 => self.fail("Mask syntax for networks only"),
            None | Some(AddrKind::Host | AddrKind::Net) => {
                self.host6(address, bits, quals.proto, quals.dir, quals.kind)
            }
            _ => self.fail("invalid qualifier against IPv6 address"),
        }
    }

    fn plain_number(&mut self, quals: Quals, number: u32) -> Built<PredId> {
        match quals.kind {
            None | Some(AddrKind::Host | AddrKind::Net) => {
                if quals.proto == Some(Proto::Link) {
                    return self.fail("illegal link layer address");
                }
                let net = quals.kind == Some(AddrKind::Net) && quals.proto != Some(Proto::Decnet);
                let (address, mask) = if net { leading(number) } else { (number, u32::MAX) };
                self.host(address, mask, quals.proto, quals.dir, quals.kind)
            }
            Some(AddrKind::Port | AddrKind::PortRange) => {
                let range = quals.kind == Some(AddrKind::PortRange);
                let proto = self.proto_of_port(quals)?;
                self.check_port(i64::from(number))?;
                let test = if range { PortTest::Range(number, number) } else { PortTest::One(number) };
                self.ports(test, proto, quals.dir)
            }
            Some(AddrKind::Gateway) => self.gateway_needs_a_name(),
            Some(AddrKind::Proto) => self.proto_number(number, quals.proto, quals.dir),
            Some(AddrKind::ProtoChain) => self.protochain(number, quals.proto),
        }
    }

    fn proto_of_port(&self, quals: Quals) -> Built<Option<u8>> {
        let word = if quals.kind == Some(AddrKind::PortRange) { "portrange" } else { "port" };
        with_ports(quals.proto).map_or_else(|| self.fail(format!("illegal qualifier of '{word}'")), Ok)
    }

    fn check_port(&self, port: i64) -> Built<()> {
        match port {
            ..0 => self.fail(format!("illegal port number {port} < 0")),
            _ if port > i64::from(MAX_PORT) => self.fail(format!("illegal port number {port} > {MAX_PORT}")),
            _ => Ok(()),
        }
    }

    fn name(&mut self, quals: Quals, name: &str) -> Built<PredId> {
        let shown = name.escape_default().to_string();
        match quals.kind {
            Some(AddrKind::Net) => match self.names.network(name) {
                Some(number) if number != 0 => {
                    let (address, mask) = leading(number);
                    self.host(address, mask, quals.proto, quals.dir, quals.kind)
                }
                _ => {
                    self.unknown(format!("unknown network '{shown}'"), "an address such as `net 10.0.0.0/8`")
                }
            },
            None | Some(AddrKind::Host) => self.host_name(quals, name, &shown),
            Some(AddrKind::Port) => {
                let wanted = self.proto_of_port(quals)?;
                let Some(port) = self.names.port(name) else {
                    return self.unknown(format!("unknown port '{shown}'"), "a number");
                };
                let proto = self.agree(wanted, port.proto, "port", &shown)?;
                self.ports(PortTest::One(port.number), proto, quals.dir)
            }
            Some(AddrKind::PortRange) => self.port_range(quals, name, &shown),
            Some(AddrKind::Gateway) => self.fail("'gateway' not supported in this configuration"),
            Some(AddrKind::Proto) => {
                let number = self.proto_name(quals.proto, name, &shown)?;
                self.proto_number(number, quals.proto, quals.dir)
            }
            Some(AddrKind::ProtoChain) => {
                let number = self.proto_name(quals.proto, name, &shown)?;
                self.protochain(number, quals.proto)
            }
        }
    }

    fn unknown<T>(&self, message: String, instead: &str) -> Built<T> {
        self.fail(message).map_err(|d: Box<skep_lang::diag::Diagnostic>| {
            d.hint(format!(
                "names come from the files in /etc and are not asked of a name server; write {instead}"
            ))
            .into()
        })
    }

    /// The protocol of a port's name must be the one that is asked for.
    fn agree(&self, wanted: Option<u8>, named: Option<u8>, what: &str, shown: &str) -> Built<Option<u8>> {
        match (wanted, named) {
            (Some(wanted), Some(named)) if wanted != named => {
                let named = if named == 6 { "tcp" } else { "udp" };
                self.fail(format!("{what} '{shown}' is {named}"))
            }
            (Some(wanted), _) => Ok(Some(wanted)),
            (None, named) => Ok(named),
        }
    }

    /// `A-B`, numbers or names.
    fn port_range(&mut self, quals: Quals, name: &str, shown: &str) -> Built<PredId> {
        let wanted = self.proto_of_port(quals)?;
        let unknown = |build: &Self| build.unknown(format!("unknown port in range '{shown}'"), "two numbers");
        let Some((first, last)) = name.split_once('-') else { return unknown(self) };
        let strict = self.options.strict;
        if let Some((first, last)) = leading_int(first, false).zip(leading_int(last, strict)) {
            self.check_port(first)?;
            self.check_port(last)?;
            return self.ports(PortTest::Range(first as u32, last as u32), wanted, quals.dir);
        }
        let number = |build: &Self, text: &str| match leading_int(text, false) {
            Some(number) => Some((number, None)),
            None => build.names.port(text).map(|port| (i64::from(port.number), port.proto)),
        };
        let (Some((first, a)), Some((last, b))) = (number(self, first), number(self, last)) else {
            return unknown(self);
        };
        // Where a name and a number stand together libpcap cuts the number to 16 bits.
        let cut = |port: i64| if strict { port & 0xffff } else { port };
        let (first, last) = (cut(first), cut(last));
        self.check_port(first)?;
        self.check_port(last)?;
        let named = if a == b { a } else { None };
        let proto = self.agree(wanted, named, "port in range", shown)?;
        self.ports(PortTest::Range(first as u32, last as u32), proto, quals.dir)
    }

    fn proto_name(&self, over: Option<Proto>, name: &str, shown: &str) -> Built<u32> {
        let (found, what) = match over {
            None | Some(Proto::Ip | Proto::Ip6) => (self.names.protocol(name), "ip"),
            Some(Proto::Link) => (self.names.ether_protocol(name), "ether"),
            Some(Proto::Iso) => (
                [("esis", 0x82), ("isis", 0x83), ("clnp", 0x81)]
                    .into_iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, number)| number),
                "osi",
            ),
            Some(_) => return self.fail(format!("unknown protocol: {shown}")),
        };
        match found {
            Some(number) => Ok(number),
            None => self.unknown(format!("unknown {what} proto '{shown}'"), "the protocol's number"),
        }
    }

    fn host_name(&mut self, quals: Quals, name: &str, shown: &str) -> Built<PredId> {
        if quals.proto == Some(Proto::Link) {
            if self.layers.link != Link::Outer(LinkType::Ethernet) {
                return self.fail(
                    "only ethernet/FDDI/token ring/802.11/ATM LANE/Fibre Channel supports link-level host name",
                );
            }
            return match self.names.ether_host(name) {
                Some(address) => self.ether_host(address, quals.dir),
                None => self
                    .unknown(format!("unknown ether host '{shown}'"), "an address such as 02:00:00:00:00:01"),
            };
        }
        if quals.proto == Some(Proto::Decnet) {
            return self.fail(format!("decnet name support not included, '{shown}' cannot be translated"));
        }
        let addresses = self.names.host(name);
        if addresses.is_empty() {
            return self.unknown(format!("unknown host '{shown}'"), "an address");
        }
        let untyped = self.layers.linktype.is_none() && quals.proto.is_none();
        let mut any: Option<PredId> = None;
        for address in addresses {
            let test = match address {
                IpAddr::V4(_) if quals.proto == Some(Proto::Ip6) => continue,
                IpAddr::V6(_) if quals.proto == Some(Proto::Ip) => continue,
                IpAddr::V4(address) => {
                    let proto = if untyped { Some(Proto::Ip) } else { quals.proto };
                    self.host(address.to_bits(), u32::MAX, proto, quals.dir, quals.kind)?
                }
                IpAddr::V6(address) => {
                    let proto = if untyped { Some(Proto::Ip6) } else { quals.proto };
                    self.host6(address, 128, proto, quals.dir, quals.kind)?
                }
            };
            any = Some(any.map_or(test, |before| self.preds.or(before, test)));
        }
        match any {
            Some(any) => Ok(any),
            None => {
                self.unknown(format!("unknown host '{shown}' for specified address family"), "an address")
            }
        }
    }
}

/// A network's number without its trailing zero bytes: the address, and the mask of what is given.
fn leading(number: u32) -> (u32, u32) {
    let (mut address, mut mask) = (number, u32::MAX);
    while address != 0 && address & 0xff00_0000 == 0 {
        address <<= 8;
        mask <<= 8;
    }
    (address, mask)
}

/// A decimal number; `more`: anything may stand behind it.
fn leading_int(text: &str, more: bool) -> Option<i64> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let len = digits.bytes().take_while(u8::is_ascii_digit).count();
    if len == 0 || !more && len < digits.len() {
        return None;
    }
    digits[..len].parse::<i64>().ok().map(|value| sign * value)
}
