//! Filters for packets whose link header the kernel has cut off: a filter on packets with a header of LINKTYPE_LINUX_SLL2
//! enters, one on what such a socket's program sees leaves. Places behind the header move to the front; its fields become
//! what the kernel knows beside the packet. Where a filter reads what it does not know, there is none.

use super::Filter;
use super::link::LinkType;
use super::pred::{Meta, Value};

/// Bytes of the header.
const HEADER: u32 = 20;

impl Filter {
    /// The filter for a socket that gives packets without link headers; `None`: the kernel cannot tell all that it asks
    /// for.
    pub fn cooked(&self) -> Option<Filter> {
        // Of tags the kernel's own place is beside the packet, for some at least.
        if self.options.link != LinkType::Sll2 || self.tags {
            return None;
        }
        let mut preds = self.preds.clone();
        for value in &mut preds.values {
            *value = moved(*value)?;
        }
        preds.forget();
        Some(Filter::new(preds, self.graph.clone(), &self.options, self.tags))
    }
}

fn moved(value: Value) -> Option<Value> {
    Some(match value {
        Value::Load { bytes, add, index } if add >= HEADER => Value::Load { bytes, add: add - HEADER, index },
        Value::Load { bytes: 2, add: 0, index: None } => Value::Meta(Meta::Protocol),
        Value::Load { bytes: 4, add: 4, index: None } => Value::Meta(Meta::Ifindex),
        Value::Load { bytes: 1, add: 10, index: None } => Value::Meta(Meta::PacketType),
        Value::Load { .. } => return None,
        Value::Chain { v6, header, proto } => Value::Chain { v6, header: header.checked_sub(HEADER)?, proto },
        // What the packet's length is counted from differs.
        Value::Len => return None,
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Options, Packet, Source, compile};
    use super::*;
    use skep_bpf::target::{Answer, Question, Target, TargetError};

    struct Nothing;

    impl Target for Nothing {
        fn ask(&self, _: &Question) -> Result<Answer, TargetError> {
            Err(TargetError::Unknown("nothing is known".to_owned()))
        }
    }

    fn filter(text: &str) -> Filter {
        let options = Options { link: LinkType::Sll2, source: Source::Socket, netmask: None, strict: false };
        compile(text, &options, &Nothing).unwrap()
    }

    #[test]
    fn a_packet_without_its_header_gets_the_verdict_that_it_has_with_it() {
        let ip = [
            0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x1f, 0x90, 0, 80, 0, 0, 0,
            1, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0,
        ];
        let header = [8, 0, 0, 0, 0, 0, 0, 7, 0, 1, 4, 6, 2, 0, 0, 0, 0, 1, 0, 0];
        let whole = [&header[..], &ip].concat();
        let with =
            Packet { bytes: &whole, length: 60, packet_type: 4, ifindex: 7, protocol: 0x0800, vlan: None };
        let without = Packet { bytes: &ip, length: 40, ..with };
        for (text, expected) in [
            ("tcp port 80", true),
            ("tcp dst port 8080", false),
            ("host 10.0.0.2 and outbound", true),
            ("inbound", false),
            ("ifindex 7", true),
            ("ifindex 8 or udp", false),
            ("tcp[tcpflags] & tcp-syn != 0", true),
            ("ip6", false),
            ("ip protochain 6", true),
        ] {
            let filter = filter(text);
            assert_eq!(filter.matches(&with), expected, "{text}");
            let cooked = filter.cooked().unwrap();
            assert_eq!(cooked.matches(&without), expected, "{text}, cooked");
        }
    }

    #[test]
    fn tags_stand_behind_the_header() {
        let header = [0x81, 0, 0, 0, 0, 0, 0, 7, 0, 1, 4, 6, 2, 0, 0, 0, 0, 1, 0, 0];
        let udp =
            [0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 9, 0, 53, 0, 8, 0, 0];
        let once = [&header[..], &[0x20, 5, 8, 0], &udp].concat();
        let twice = [&header[..], &[0, 6, 0x81, 0, 0, 5, 8, 0], &udp].concat();
        for (text, bytes, expected) in [
            ("vlan", &once, true),
            ("vlan 5 and udp port 53", &once, true),
            ("vlan 5 and tcp", &once, false),
            ("vlan 6", &once, false),
            ("udp port 53", &once, false),
            ("vlan 6 and vlan 5 and udp port 53", &twice, true),
            ("vlan 6 and udp port 53", &twice, false),
        ] {
            let packet = Packet { bytes, length: bytes.len() as u32, ..Packet::default() };
            assert_eq!(filter(text).matches(&packet), expected, "{text}");
        }
    }

    #[test]
    fn what_the_kernel_does_not_tell_has_no_such_filter() {
        for text in ["len > 100", "link[12] = 2", "vlan 5"] {
            assert!(filter(text).cooked().is_none(), "{text}");
        }
    }
}
