//! Ports, of TCP, UDP and SCTP over IPv4 and IPv6.

use super::{Build, Built, From, ether};
use crate::filter::pred::{Cc, PredId};
use crate::filter::words::Dir;

/// A port, or all from one to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PortTest {
    /// One.
    One(u32),
    /// From the lower to the higher, whichever is written first.
    Range(u32, u32),
}

/// TCP, UDP and SCTP.
const WITH_PORTS: [u8; 3] = [6, 17, 132];

impl Build<'_> {
    /// Ports of both versions of IP, IPv6 first. `proto`: of this protocol only.
    pub(super) fn ports(&mut self, test: PortTest, proto: Option<u8>, dir: Option<Dir>) -> Built<PredId> {
        let v4 = self.ports_of(false, test, proto, dir)?;
        let v6 = self.ports_of(true, test, proto, dir)?;
        Ok(self.preds.or(v6, v4))
    }

    /// Ports over one version of IP.
    pub(super) fn ports_of(
        &mut self,
        v6: bool,
        test: PortTest,
        proto: Option<u8>,
        dir: Option<Dir>,
    ) -> Built<PredId> {
        let ip = self.linktype(if v6 { ether::IP6 } else { ether::IP })?;
        let of = match proto {
            Some(proto) => self.ports_in(v6, test, proto, dir)?,
            None => {
                let [tcp, udp, sctp] = WITH_PORTS;
                let tcp = self.ports_in(v6, test, tcp, dir)?;
                let udp = self.ports_in(v6, test, udp, dir)?;
                let both = self.preds.or(tcp, udp);
                let sctp = self.ports_in(v6, test, sctp, dir)?;
                self.preds.or(sctp, both)
            }
        };
        Ok(self.preds.and(ip, of))
    }

    fn ports_in(&mut self, v6: bool, test: PortTest, proto: u8, dir: Option<Dir>) -> Built<PredId> {
        let mut head = self.equal(From::Network, if v6 { 6 } else { 9 }, 1, proto.into());
        if !v6 {
            let whole = self.first_fragment();
            head = self.preds.and(head, whole);
        }
        let what = if matches!(test, PortTest::One(_)) { "ports" } else { "port ranges" };
        let ports = self.directed(dir, what, |build, source| {
            let from = if v6 { From::Ipv6Payload } else { From::Ipv4Payload };
            let at = if source { 0 } else { 2 };
            Ok(match test {
                PortTest::One(port) => build.equal(from, at, 2, port),
                PortTest::Range(a, b) => {
                    let least = build.compare(from, at, 2, Cc::Ge, a.min(b));
                    let above = build.compare(from, at, 2, Cc::Gt, a.max(b));
                    let most = build.preds.not(above);
                    build.preds.and(least, most)
                }
            })
        })?;
        Ok(self.preds.and(head, ports))
    }

    /// The fragment's offset is zero.
    pub(super) fn first_fragment(&mut self) -> PredId {
        let later = self.compare(From::Network, 6, 2, Cc::Set, 0x1fff);
        self.preds.not(later)
    }
}
