//! Protocols: those that stand alone, and `proto`.

use super::{Build, Built, From, ether, word};
use crate::filter::pred::{Cc, PredId, Value};
use crate::filter::words::{Dir, Proto};

/// Protocols that the link layer tells.
const LINK_LAYER: &[(Proto, u32)] = &[
    (Proto::Ip, ether::IP),
    (Proto::Arp, ether::ARP),
    (Proto::Rarp, ether::RARP),
    (Proto::Ip6, ether::IP6),
    (Proto::Atalk, ether::ATALK),
    (Proto::Aarp, ether::AARP),
    (Proto::Decnet, ether::DECNET),
    (Proto::Sca, ether::SCA),
    (Proto::Lat, ether::LAT),
    (Proto::Mopdl, ether::MOPDL),
    (Proto::Moprc, ether::MOPRC),
    (Proto::Iso, ether::SAP_ISO),
    (Proto::Stp, ether::SAP_STP),
    (Proto::Ipx, ether::SAP_IPX),
    (Proto::Netbeui, ether::SAP_NETBEUI),
];

/// Protocols that another tells, with their numbers; `None`: IPv4 or IPv6.
const CARRIED: &[(Proto, u32, Option<Proto>)] = &[
    (Proto::Sctp, 132, None),
    (Proto::Tcp, 6, None),
    (Proto::Udp, 17, None),
    (Proto::Icmp, 1, Some(Proto::Ip)),
    (Proto::Igmp, 2, Some(Proto::Ip)),
    (Proto::Igrp, 9, Some(Proto::Ip)),
    (Proto::Pim, 103, None),
    (Proto::Vrrp, 112, Some(Proto::Ip)),
    (Proto::Carp, 112, Some(Proto::Ip)),
    (Proto::Icmp6, 58, Some(Proto::Ip6)),
    (Proto::Ah, 51, None),
    (Proto::Esp, 50, None),
    (Proto::Esis, 0x82, Some(Proto::Iso)),
    (Proto::Isis, 0x83, Some(Proto::Iso)),
    (Proto::Clnp, 0x81, Some(Proto::Iso)),
];

/// Kinds of IS-IS packets by the words for them, in the order in which they are asked for.
const ISIS: &[(Proto, &[u32])] = &[
    (Proto::L1, &[26, 24, 18, 15, 17]),
    (Proto::L2, &[27, 25, 20, 16, 17]),
    (Proto::Iih, &[17, 15, 16]),
    (Proto::Lsp, &[18, 20]),
    (Proto::Snp, &[27, 26, 24, 25]),
    (Proto::Csnp, &[24, 25]),
    (Proto::Psnp, &[26, 27]),
];

/// The number of a protocol with ports.
pub(super) fn with_ports(proto: Option<Proto>) -> Option<Option<u8>> {
    match proto {
        None => Some(None),
        Some(Proto::Tcp) => Some(Some(6)),
        Some(Proto::Udp) => Some(Some(17)),
        Some(Proto::Sctp) => Some(Some(132)),
        Some(_) => None,
    }
}

impl Build<'_> {
    /// A protocol that stands alone.
    pub(super) fn proto(&mut self, proto: Proto) -> Built<PredId> {
        if let Some((_, number)) = LINK_LAYER.iter().find(|(found, _)| *found == proto) {
            return self.linktype(*number);
        }
        if let Some((_, number, over)) = CARRIED.iter().find(|(found, _, _)| *found == proto) {
            return self.proto_number(*number, *over, None);
        }
        if let Some((_, kinds)) = ISIS.iter().find(|(found, _)| *found == proto) {
            let tests = kinds.iter().map(|kind| self.proto_number(*kind, Some(Proto::Isis), None));
            let tests: Vec<PredId> = tests.collect::<Built<_>>()?;
            return Ok(self.any(&tests));
        }
        match proto {
            Proto::Radio => self.fail("'radio' is not a valid protocol type"),
            _ => self.fail("link layer applied in wrong context"),
        }
    }

    /// A protocol number over another protocol; `None`: over IPv4 or IPv6.
    pub(super) fn proto_number(
        &mut self,
        number: u32,
        over: Option<Proto>,
        dir: Option<Dir>,
    ) -> Built<PredId> {
        if dir.is_some() {
            return self.fail("direction applied to 'proto'");
        }
        match over {
            None => {
                let v4 = self.proto_number(number, Some(Proto::Ip), None)?;
                let v6 = self.proto_number(number, Some(Proto::Ip6), None)?;
                Ok(self.preds.or(v4, v6))
            }
            Some(Proto::Link) => self.linktype(number),
            Some(Proto::Ip) => {
                let ip = self.linktype(ether::IP)?;
                let test = self.equal(From::Network, 9, 1, number);
                Ok(self.preds.and(ip, test))
            }
            Some(Proto::Ip6) => {
                let ip = self.linktype(ether::IP6)?;
                let fragment = self.equal(From::Network, 6, 1, 44);
                let behind = self.equal(From::Network, 40, 1, number);
                let behind = self.preds.and(fragment, behind);
                let direct = self.equal(From::Network, 6, 1, number);
                let either = self.preds.or(direct, behind);
                Ok(self.preds.and(ip, either))
            }
            Some(Proto::Iso) => {
                let iso = self.linktype(ether::SAP_ISO)?;
                let test = self.equal(From::NetworkLlc, 0, 1, number);
                Ok(self.preds.and(iso, test))
            }
            Some(Proto::Isis) => {
                let isis = self.proto_number(0x83, Some(Proto::Iso), None)?;
                let test = self.equal(From::NetworkLlc, 4, 1, number);
                Ok(self.preds.and(isis, test))
            }
            Some(
                proto @ (Proto::Arp | Proto::Rarp | Proto::Lat | Proto::Sca | Proto::Moprc | Proto::Mopdl),
            ) => self.fail(format!("{} does not encapsulate another protocol", word(proto))),
            Some(proto @ (Proto::Atalk | Proto::Decnet)) => {
                self.fail(format!("{} encapsulation is not specifiable", word(proto)))
            }
            Some(Proto::Clnp) => self.fail("'clnp proto' is not supported"),
            Some(proto) => self.fail(format!("'{} proto' is bogus", word(proto))),
        }
    }

    /// A protocol anywhere in the chain of headers.
    pub(super) fn protochain(&mut self, number: u32, over: Option<Proto>) -> Built<PredId> {
        self.take_register()?;
        let v6 = match over {
            None => {
                let v4 = self.protochain(number, Some(Proto::Ip))?;
                let v6 = self.protochain(number, Some(Proto::Ip6))?;
                return Ok(self.preds.or(v4, v6));
            }
            Some(Proto::Ip) => false,
            Some(Proto::Ip6) => true,
            Some(_) => return self.fail("bad protocol applied for 'protochain'"),
        };
        if self.layers.payload.var.is_some() {
            return self.fail("'protochain' not supported with variable length headers");
        }
        let ip = self.linktype(if v6 { ether::IP6 } else { ether::IP })?;
        let header = self.network().add;
        let last = self.preds.add(Value::Chain { v6, header, proto: number });
        let number = self.preds.number(number);
        let test = self.preds.test(Cc::Eq, last, number);
        self.registers -= 1;
        Ok(self.preds.and(ip, test))
    }
}
