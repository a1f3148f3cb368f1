//! `vxlan`, which the libpcap of the other test does not have: what it accepts are the packets in which the layer table finds a
//! VXLAN header, and what stands behind it asks of the frame inside what it asks of that frame alone.

#![allow(unreachable_pub, dead_code, reason = "support is shared by test programs")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test may stop at what it does not understand")]

mod support;

use skep_compiler::layers::{LayerId, LinkType as Layers, Stop, decode};
use skep_packet::filter::link::LinkType;
use skep_packet::filter::{Filter, Options, Packet, Source, compile};
use support::expressions::Generator;
use support::packets::VNIS;
use support::random::Random;
use support::{Files, packets};

/// `strict`: every byte is read that the expression names, as it is behind a tunnel.
fn filter(text: &str, strict: bool) -> Option<Filter> {
    let source = Source::File { swapped: false };
    let options = Options { link: LinkType::Ethernet, source, netmask: Some(0), strict };
    compile(text, &options, &Files).ok()
}

fn matches(filter: &Filter, bytes: &[u8]) -> bool {
    filter.matches(&Packet { bytes, length: bytes.len() as u32, ..Packet::default() })
}

/// The network and the frame inside of a VXLAN packet.
fn inside(bytes: &[u8]) -> Option<(u32, &[u8])> {
    use LayerId::{Eth, Ip4, Ip6, Udp, Vxlan};
    let decoded = decode(Layers::Ethernet, bytes);
    let layers: Vec<LayerId> = decoded.layers.iter().map(|place| place.layer).take(4).collect();
    if !matches!(layers[..], [Eth, Ip4 | Ip6, Udp, Vxlan]) {
        return None;
    }
    let (udp, tunnel) = (decoded.layers[2], decoded.layers[3]);
    let header = &bytes[tunnel.start..tunnel.end];
    let right = bytes[udp.start + 2..udp.start + 4] == 4789u16.to_be_bytes() && header[0] == 8;
    let network = u32::from_be_bytes([0, header[4], header[5], header[6]]);
    right.then_some((network, &bytes[tunnel.end..]))
}

/// Packets of which many are VXLAN's. None ends within that header, of which no network is asked where any is right.
fn packet(random: &mut Random) -> Vec<u8> {
    loop {
        let bytes = packets::packet(random, LinkType::Ethernet);
        let cut = decode(Layers::Ethernet, &bytes).stop == Stop::Truncated(LayerId::Vxlan);
        if !cut && (inside(&bytes).is_some() || random.one_in(200)) {
            return bytes;
        }
    }
}

#[test]
fn vxlan_is_what_the_table_finds() {
    let mut random = Random::new(11);
    let all = [None].into_iter().chain(VNIS.map(Some));
    let filters: Vec<(Option<u32>, Filter)> = all
        .map(|vni| {
            let text = vni.map_or("vxlan".to_owned(), |vni| format!("vxlan {vni}"));
            (vni, filter(&text, false).unwrap())
        })
        .collect();
    let mut found = 0;
    for _ in 0..4000 {
        let bytes = packet(&mut random);
        for (vni, filter) in &filters {
            let expected = inside(&bytes).is_some_and(|(network, _)| vni.is_none_or(|vni| vni == network));
            assert_eq!(matches(filter, &bytes), expected, "vxlan {vni:?} on {bytes:02x?}");
            found += usize::from(expected);
        }
    }
    assert!(found > 2000, "only {found} packets are VXLAN's");
    assert!(filter("vxlan 0x1000000", false).is_none(), "a network has 24 bits");
}

#[test]
fn what_stands_behind_it_is_asked_of_the_frame_inside() {
    /// What does not ask the frame alone, or means something else behind a tunnel.
    const OTHER: [&str; 12] = [
        "geneve",
        "len",
        "less",
        "greater",
        "bound",
        "ifindex",
        "cast",
        "protochain",
        "link",
        "byte",
        "ether",
        "mpls",
    ];
    let mut random = Random::new(12);
    let (mut compared, mut yes, mut telling) = (0, 0, 0);
    while compared < 400 {
        let text = Generator { random: &mut random }.expression();
        if OTHER.iter().any(|word| text.contains(word)) {
            continue;
        }
        let Some(alone) = filter(&text, true) else { continue };
        let Some(behind) = filter(&format!("vxlan and ({text})"), false) else { continue };
        compared += 1;
        let mut matched = 0;
        for _ in 0..24 {
            let bytes = packet(&mut random);
            let expected = inside(&bytes).is_some_and(|(_, frame)| matches(&alone, frame));
            assert_eq!(matches(&behind, &bytes), expected, "vxlan and ({text}) on {bytes:02x?}");
            matched += usize::from(expected);
        }
        yes += matched;
        telling += usize::from(matched > 0 && matched < 24);
    }
    println!("{compared} expressions, {telling} told packets apart, {yes} packets accepted");
    assert!(telling * 4 > compared, "the expressions tell too few packets apart");
}
