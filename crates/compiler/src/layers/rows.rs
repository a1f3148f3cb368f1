//! The rows of the table. Sources: IEEE 802.3 and 802.1Q; RFC 826 (ARP), 791 (IPv4), 8200 (IPv6), 792 (ICMP), 4443 (ICMPv6),
//! 3376 (IGMP), 9293 (TCP), 768 (UDP), 9260 (SCTP), 2784 and 2890 (GRE), 7348 (VXLAN), 8926 (GENEVE), 1035 (DNS), 3032 (MPLS),
//! 2516 (PPPoE), 4302 and 4303 (IPsec), 6275 (mobility); LINKTYPE_LINUX_SLL, _SLL2 and _NULL of the tcpdump group.

use super::table::{Field, FieldKind, Guard, Layer, LayerId, Length, Next, Shown, Space, Tier, Union};

const fn field(name: &'static str, bit: u16, bits: u16, kind: FieldKind, doc: &'static str) -> Field {
    Field { name, bit, bits, kind, shown: Shown::Decimal, doc }
}

const fn num(name: &'static str, bit: u16, bits: u16, doc: &'static str) -> Field {
    field(name, bit, bits, FieldKind::Number, doc)
}

const fn hex(name: &'static str, bit: u16, bits: u16, doc: &'static str) -> Field {
    Field { shown: Shown::Hex, ..num(name, bit, bits, doc) }
}

const fn named(
    name: &'static str,
    bit: u16,
    bits: u16,
    names: &'static [(u32, &'static str)],
    doc: &'static str,
) -> Field {
    Field { shown: Shown::Names(names), ..num(name, bit, bits, doc) }
}

const fn flag(name: &'static str, bit: u16, doc: &'static str) -> Field {
    field(name, bit, 1, FieldKind::Flag, doc)
}

const fn mac(name: &'static str, bit: u16, doc: &'static str) -> Field {
    field(name, bit, 48, FieldKind::Mac, doc)
}

const fn ip4(name: &'static str, bit: u16, doc: &'static str) -> Field {
    field(name, bit, 32, FieldKind::Ip4, doc)
}

const fn ip6(name: &'static str, bit: u16, doc: &'static str) -> Field {
    field(name, bit, 128, FieldKind::Ip6, doc)
}

const fn code(space: Space, at: u8, bytes: u8) -> Next {
    Next::Code { space, at, bytes }
}

const fn counted(at: u8, mask: u8, shift: u8, unit: u8, plus: u8) -> Length {
    Length::Counted { at, mask, shift, unit, plus }
}

const fn guard(at: u8, mask: u16, why: &'static str) -> Option<Guard> {
    Some(Guard { at, mask, why })
}

/// A row with what most rows have; the rest is said by the row.
const fn layer(id: LayerId, name: &'static str, title: &'static str, doc: &'static str, tier: Tier) -> Layer {
    Layer {
        id,
        name,
        title,
        doc,
        tier,
        min: 0,
        length: Length::Fixed,
        codes: &[],
        next: Next::Nothing,
        guard: None,
        fields: &[],
    }
}

const FRAGMENT: &str = "not the first fragment";

/// Names of EtherTypes.
pub const ETHER_TYPES: &[(u32, &str)] = &[
    (0x0800, "IPv4"),
    (0x0806, "ARP"),
    (0x8035, "RARP"),
    (0x6558, "Ethernet"),
    (0x8100, "802.1Q"),
    (0x86dd, "IPv6"),
    (0x8847, "MPLS"),
    (0x8848, "MPLS multicast"),
    (0x8863, "PPPoE D"),
    (0x8864, "PPPoE S"),
    (0x88a8, "802.1ad"),
    (0x88cc, "LLDP"),
    (0x9100, "802.1QinQ"),
];

/// Names of IP protocols.
pub const IP_PROTOCOLS: &[(u32, &str)] = &[
    (0, "HOPOPT"),
    (1, "ICMP"),
    (2, "IGMP"),
    (4, "IPIP"),
    (6, "TCP"),
    (17, "UDP"),
    (41, "IPv6"),
    (43, "Routing"),
    (44, "Fragment"),
    (47, "GRE"),
    (50, "ESP"),
    (51, "AH"),
    (58, "ICMPv6"),
    (59, "none"),
    (60, "DSTOPT"),
    (89, "OSPF"),
    (103, "PIM"),
    (112, "VRRP"),
    (132, "SCTP"),
    (135, "Mobility"),
];

const ARP_OPERATIONS: &[(u32, &str)] =
    &[(1, "request"), (2, "reply"), (3, "reverse request"), (4, "reverse reply")];

const ICMP_TYPES: &[(u32, &str)] = &[
    (0, "echo reply"),
    (3, "unreachable"),
    (4, "source quench"),
    (5, "redirect"),
    (8, "echo request"),
    (9, "router advertisement"),
    (10, "router solicitation"),
    (11, "time exceeded"),
    (12, "parameter problem"),
    (13, "timestamp request"),
    (14, "timestamp reply"),
];

const ICMP6_TYPES: &[(u32, &str)] = &[
    (1, "unreachable"),
    (2, "packet too big"),
    (3, "time exceeded"),
    (4, "parameter problem"),
    (128, "echo request"),
    (129, "echo reply"),
    (130, "listener query"),
    (131, "listener report"),
    (132, "listener done"),
    (133, "router solicitation"),
    (134, "router advertisement"),
    (135, "neighbor solicitation"),
    (136, "neighbor advertisement"),
    (137, "redirect"),
    (143, "listener report v2"),
];

const IGMP_TYPES: &[(u32, &str)] =
    &[(0x11, "query"), (0x12, "report v1"), (0x16, "report v2"), (0x17, "leave"), (0x22, "report v3")];

const PACKET_TYPES: &[(u32, &str)] =
    &[(0, "to us"), (1, "broadcast"), (2, "multicast"), (3, "to others"), (4, "from us")];

const DNS_CODES: &[(u32, &str)] = &[
    (0, "no error"),
    (1, "format error"),
    (2, "server failure"),
    (3, "no such name"),
    (4, "not implemented"),
    (5, "refused"),
];

const TCP_FLAGS: &[&str] = &["F", "S", "R", "P", ".", "U", "E", "W"];

/// The table; [`LayerId`] is the index.
pub static LAYERS: &[Layer] = &[
    Layer {
        min: 14,
        codes: &[(Space::EtherType, 0x6558)],
        next: code(Space::EtherType, 12, 2),
        fields: &[
            mac("dst", 0, "receiver"),
            mac("src", 48, "sender"),
            named("proto", 96, 16, ETHER_TYPES, "EtherType, or the length of an 802.3 frame"),
        ],
        ..layer(LayerId::Eth, "eth", "Ethernet", "An Ethernet frame.", Tier::Link)
    },
    Layer {
        min: 16,
        next: code(Space::EtherType, 14, 2),
        fields: &[
            named("type", 0, 16, PACKET_TYPES, "where the packet came from or goes to"),
            num("hwtype", 16, 16, "ARPHRD type of the device"),
            num("alen", 32, 16, "bytes of the sender's address"),
            mac("src", 48, "sender"),
            named("proto", 112, 16, ETHER_TYPES, "EtherType"),
        ],
        ..layer(LayerId::Sll, "sll", "Linux cooked", "A capture on any device, version 1.", Tier::Link)
    },
    Layer {
        min: 20,
        next: code(Space::EtherType, 0, 2),
        fields: &[
            named("proto", 0, 16, ETHER_TYPES, "EtherType"),
            num("ifindex", 32, 32, "index of the interface"),
            num("hwtype", 64, 16, "ARPHRD type of the device"),
            named("type", 80, 8, PACKET_TYPES, "where the packet came from or goes to"),
            num("alen", 88, 8, "bytes of the sender's address"),
            mac("src", 96, "sender"),
        ],
        ..layer(LayerId::Sll2, "sll2", "Linux cooked v2", "A capture on any device, version 2.", Tier::Link)
    },
    Layer {
        min: 4,
        next: Next::Family,
        fields: &[num("family", 0, 32, "address family, in the byte order of the frame")],
        ..layer(LayerId::Null, "null", "Loopback", "The loopback header of BSD.", Tier::Link)
    },
    Layer {
        min: 4,
        codes: &[(Space::EtherType, 0x8100), (Space::EtherType, 0x88a8), (Space::EtherType, 0x9100)],
        next: code(Space::EtherType, 2, 2),
        fields: &[
            num("pcp", 0, 3, "priority"),
            flag("dei", 3, "may be dropped first"),
            num("id", 4, 12, "VLAN"),
            named("proto", 16, 16, ETHER_TYPES, "EtherType of what follows"),
        ],
        ..layer(LayerId::Vlan, "vlan", "802.1Q", "A VLAN tag (802.1Q or 802.1ad).", Tier::Shim)
    },
    Layer {
        min: 4,
        codes: &[(Space::EtherType, 0x8847), (Space::EtherType, 0x8848)],
        next: Next::Label,
        fields: &[
            num("label", 0, 20, "label"),
            num("tc", 20, 3, "traffic class"),
            flag("bottom", 23, "last of the stack"),
            num("ttl", 24, 8, "hops left"),
        ],
        ..layer(LayerId::Mpls, "mpls", "MPLS", "An MPLS label.", Tier::Shim)
    },
    Layer {
        min: 6,
        codes: &[(Space::EtherType, 0x8863)],
        fields: &[
            hex("code", 8, 8, "which step"),
            hex("session", 16, 16, "session"),
            num("len", 32, 16, "bytes behind the header"),
        ],
        ..layer(LayerId::PppoeDiscovery, "pppoed", "PPPoE D", "PPPoE discovery.", Tier::Shim)
    },
    Layer {
        min: 8,
        codes: &[(Space::EtherType, 0x8864)],
        next: code(Space::Ppp, 6, 2),
        guard: guard(0, 0x00ff, "not a session's data"),
        fields: &[
            hex("code", 8, 8, "0: data"),
            hex("session", 16, 16, "session"),
            num("len", 32, 16, "bytes behind these, the protocol's two included"),
            hex("proto", 48, 16, "PPP protocol"),
        ],
        ..layer(LayerId::Pppoe, "pppoe", "PPPoE S", "A PPPoE session's data.", Tier::Shim)
    },
    Layer {
        min: 8,
        length: Length::Summed { at: 4, unit: 2, plus: 8 },
        codes: &[(Space::EtherType, 0x0806), (Space::EtherType, 0x8035)],
        fields: &[
            num("hwtype", 0, 16, "kind of hardware address"),
            named("proto", 16, 16, ETHER_TYPES, "kind of protocol address"),
            num("hlen", 32, 8, "bytes of a hardware address"),
            num("plen", 40, 8, "bytes of a protocol address"),
            named("op", 48, 16, ARP_OPERATIONS, "operation"),
            mac("sha", 64, "sender's hardware address"),
            ip4("spa", 112, "sender's protocol address"),
            mac("tha", 144, "target's hardware address"),
            ip4("tpa", 192, "target's protocol address"),
        ],
        ..layer(LayerId::Arp, "arp", "ARP", "ARP or RARP.", Tier::Network)
    },
    Layer {
        min: 20,
        length: counted(0, 0x0f, 0, 4, 0),
        codes: &[
            (Space::EtherType, 0x0800),
            (Space::IpProto, 4),
            (Space::Ppp, 0x21),
            (Space::Family, 2),
            (Space::Version, 4),
        ],
        next: code(Space::IpProto, 9, 1),
        guard: guard(6, 0x1fff, FRAGMENT),
        fields: &[
            num("version", 0, 4, "4"),
            num("ihl", 4, 4, "length of the header in words of 32 bits"),
            hex("tos", 8, 8, "dscp and ecn together"),
            num("dscp", 8, 6, "differentiated services"),
            num("ecn", 14, 2, "congestion"),
            num("len", 16, 16, "bytes, header included"),
            num("id", 32, 16, "identification, of fragments"),
            flag("df", 49, "do not fragment"),
            flag("mf", 50, "more fragments follow"),
            num("frag", 51, 13, "offset of the fragment, in units of 8 bytes"),
            num("ttl", 64, 8, "hops left"),
            named("proto", 72, 8, IP_PROTOCOLS, "protocol"),
            hex("checksum", 80, 16, "checksum of the header"),
            ip4("src", 96, "sender"),
            ip4("dst", 128, "receiver"),
        ],
        ..layer(LayerId::Ip4, "ip4", "IPv4", "IPv4.", Tier::Network)
    },
    Layer {
        min: 40,
        codes: &[
            (Space::EtherType, 0x86dd),
            (Space::IpProto, 41),
            (Space::Ppp, 0x57),
            (Space::Family, 10),
            (Space::Family, 24),
            (Space::Family, 28),
            (Space::Family, 30),
            (Space::Version, 6),
        ],
        next: code(Space::IpProto, 6, 1),
        fields: &[
            num("version", 0, 4, "6"),
            hex("tclass", 4, 8, "dscp and ecn together"),
            num("dscp", 4, 6, "differentiated services"),
            num("ecn", 10, 2, "congestion"),
            hex("flow", 12, 20, "flow label"),
            num("len", 32, 16, "bytes behind the header"),
            named("next", 48, 8, IP_PROTOCOLS, "protocol of the next header"),
            num("hops", 56, 8, "hops left"),
            ip6("src", 64, "sender"),
            ip6("dst", 192, "receiver"),
        ],
        ..layer(LayerId::Ip6, "ip6", "IPv6", "IPv6.", Tier::Network)
    },
    extension(LayerId::Ip6Hop, "ip6hop", "hop-by-hop", "IPv6 hop-by-hop options.", &[(Space::IpProto, 0)]),
    Layer {
        fields: &[
            named("next", 0, 8, IP_PROTOCOLS, "protocol of the next header"),
            num("len", 8, 8, "length, in units of 8 bytes beyond the first 8"),
            num("type", 16, 8, "kind"),
            num("left", 24, 8, "segments left"),
        ],
        ..extension(LayerId::Ip6Route, "ip6route", "routing", "IPv6 routing header.", &[(Space::IpProto, 43)])
    },
    Layer {
        min: 8,
        length: Length::Fixed,
        guard: guard(2, 0xfff8, FRAGMENT),
        fields: &[
            named("next", 0, 8, IP_PROTOCOLS, "protocol of the next header"),
            num("offset", 16, 13, "offset of the fragment, in units of 8 bytes"),
            flag("more", 31, "more fragments follow"),
            hex("id", 32, 32, "identification"),
        ],
        ..extension(LayerId::Ip6Frag, "ip6frag", "fragment", "IPv6 fragment header.", &[(Space::IpProto, 44)])
    },
    extension(
        LayerId::Ip6Dest,
        "ip6dest",
        "destination",
        "IPv6 destination options.",
        &[(Space::IpProto, 60)],
    ),
    Layer {
        min: 12,
        length: counted(1, 0xff, 0, 4, 8),
        fields: &[
            named("next", 0, 8, IP_PROTOCOLS, "protocol of the next header"),
            num("len", 8, 8, "length, in words of 32 bits beyond the first two"),
            hex("spi", 32, 32, "security parameters index"),
            num("seq", 64, 32, "sequence number"),
        ],
        ..extension(LayerId::Ah, "ah", "AH", "IPsec authentication header.", &[(Space::IpProto, 51)])
    },
    Layer {
        fields: &[
            named("next", 0, 8, IP_PROTOCOLS, "protocol of the next header"),
            num("len", 8, 8, "length, in units of 8 bytes beyond the first 8"),
            num("type", 16, 8, "kind"),
        ],
        ..extension(
            LayerId::Ip6Mobility,
            "ip6mobility",
            "mobility",
            "IPv6 mobility header.",
            &[(Space::IpProto, 135)],
        )
    },
    Layer {
        min: 8,
        codes: &[(Space::IpProto, 1)],
        fields: &[
            named("type", 0, 8, ICMP_TYPES, "kind"),
            num("code", 8, 8, "what about it"),
            hex("checksum", 16, 16, "checksum"),
            num("id", 32, 16, "of an echo: identifier"),
            num("seq", 48, 16, "of an echo: sequence number"),
        ],
        ..layer(LayerId::Icmp, "icmp", "ICMP", "ICMP.", Tier::Transport)
    },
    Layer {
        min: 8,
        codes: &[(Space::IpProto, 58)],
        fields: &[
            named("type", 0, 8, ICMP6_TYPES, "kind"),
            num("code", 8, 8, "what about it"),
            hex("checksum", 16, 16, "checksum"),
            num("id", 32, 16, "of an echo: identifier"),
            num("seq", 48, 16, "of an echo: sequence number"),
            ip6("target", 64, "of a neighbor solicitation or advertisement: target"),
        ],
        ..layer(LayerId::Icmp6, "icmp6", "ICMPv6", "ICMPv6.", Tier::Transport)
    },
    Layer {
        min: 8,
        codes: &[(Space::IpProto, 2)],
        fields: &[
            named("type", 0, 8, IGMP_TYPES, "kind"),
            num("code", 8, 8, "longest time to respond"),
            hex("checksum", 16, 16, "checksum"),
            ip4("group", 32, "group"),
        ],
        ..layer(LayerId::Igmp, "igmp", "IGMP", "IGMP.", Tier::Transport)
    },
    Layer {
        min: 20,
        length: counted(12, 0xf0, 4, 4, 0),
        codes: &[(Space::IpProto, 6)],
        fields: &[
            num("sport", 0, 16, "sender's port"),
            num("dport", 16, 16, "receiver's port"),
            num("seq", 32, 32, "sequence number"),
            num("ack_seq", 64, 32, "acknowledged up to here"),
            num("doff", 96, 4, "length of the header in words of 32 bits"),
            Field { shown: Shown::Bits(TCP_FLAGS), ..num("flags", 104, 8, "all flags") },
            flag("cwr", 104, "congestion window reduced"),
            flag("ece", 105, "congestion was met"),
            flag("urg", 106, "urgent data"),
            flag("ack", 107, "ack_seq counts"),
            flag("psh", 108, "push"),
            flag("rst", 109, "reset"),
            flag("syn", 110, "synchronize"),
            flag("fin", 111, "no more data"),
            num("window", 112, 16, "receive window, not scaled"),
            hex("checksum", 128, 16, "checksum"),
            num("urg_ptr", 144, 16, "end of urgent data"),
        ],
        ..layer(LayerId::Tcp, "tcp", "TCP", "TCP.", Tier::Transport)
    },
    Layer {
        min: 8,
        codes: &[(Space::IpProto, 17)],
        next: Next::Ports,
        fields: &[
            num("sport", 0, 16, "sender's port"),
            num("dport", 16, 16, "receiver's port"),
            num("len", 32, 16, "bytes, header included"),
            hex("checksum", 48, 16, "checksum; 0: none"),
        ],
        ..layer(LayerId::Udp, "udp", "UDP", "UDP.", Tier::Transport)
    },
    Layer {
        min: 12,
        codes: &[(Space::IpProto, 132)],
        fields: &[
            num("sport", 0, 16, "sender's port"),
            num("dport", 16, 16, "receiver's port"),
            hex("tag", 32, 32, "verification tag"),
            hex("checksum", 64, 32, "CRC32c"),
            num("chunk", 96, 8, "kind of the first chunk"),
        ],
        ..layer(LayerId::Sctp, "sctp", "SCTP", "SCTP.", Tier::Transport)
    },
    Layer {
        min: 8,
        codes: &[(Space::IpProto, 50)],
        fields: &[hex("spi", 0, 32, "security parameters index"), num("seq", 32, 32, "sequence number")],
        ..layer(LayerId::Esp, "esp", "ESP", "IPsec encapsulating security payload.", Tier::Transport)
    },
    Layer {
        min: 4,
        length: Length::Flagged { at: 0, mask: 0xb0, unit: 4 },
        codes: &[(Space::IpProto, 47)],
        next: code(Space::EtherType, 2, 2),
        guard: guard(0, 0x4007, "another version, or source routed"),
        fields: &[
            flag("has_checksum", 0, "with a checksum"),
            flag("has_key", 2, "with a key"),
            flag("has_seq", 3, "with a sequence number"),
            num("version", 13, 3, "0; 1: of PPTP"),
            named("proto", 16, 16, ETHER_TYPES, "EtherType of what it carries"),
        ],
        ..layer(LayerId::Gre, "gre", "GRE", "A GRE tunnel.", Tier::Tunnel)
    },
    Layer {
        min: 8,
        codes: &[(Space::UdpDestination, 4789), (Space::UdpDestination, 8472)],
        next: Next::Layer(LayerId::Eth),
        fields: &[hex("flags", 0, 8, "flags"), num("vni", 32, 24, "network")],
        ..layer(LayerId::Vxlan, "vxlan", "VXLAN", "A VXLAN tunnel, by its port.", Tier::Tunnel)
    },
    Layer {
        min: 8,
        length: counted(0, 0x3f, 0, 4, 8),
        codes: &[(Space::UdpDestination, 6081)],
        next: code(Space::EtherType, 2, 2),
        guard: guard(0, 0xc000, "another version"),
        fields: &[
            num("version", 0, 2, "0"),
            num("optlen", 2, 6, "options, in words of 32 bits"),
            flag("oam", 8, "for the tunnel's own ends"),
            flag("critical", 9, "has options that must be understood"),
            named("proto", 16, 16, ETHER_TYPES, "EtherType of what it carries"),
            num("vni", 32, 24, "network"),
        ],
        ..layer(LayerId::Geneve, "geneve", "GENEVE", "A GENEVE tunnel, by its port.", Tier::Tunnel)
    },
    Layer {
        min: 12,
        codes: &[(Space::UdpPort, 53), (Space::UdpPort, 5353)],
        fields: &[
            num("id", 0, 16, "identification"),
            flag("response", 16, "an answer"),
            num("opcode", 17, 4, "kind of query"),
            flag("aa", 21, "authoritative"),
            flag("tc", 22, "cut"),
            flag("rd", 23, "recursion wanted"),
            flag("ra", 24, "recursion available"),
            named("rcode", 28, 4, DNS_CODES, "result"),
            num("questions", 32, 16, "questions"),
            num("answers", 48, 16, "answers"),
            num("authorities", 64, 16, "records of authorities"),
            num("additional", 80, 16, "further records"),
        ],
        ..layer(LayerId::Dns, "dns", "DNS", "DNS over UDP, by its port.", Tier::Application)
    },
];

/// An IPv6 extension header.
const fn extension(
    id: LayerId,
    name: &'static str,
    title: &'static str,
    doc: &'static str,
    codes: &'static [(Space, u16)],
) -> Layer {
    Layer {
        min: 8,
        length: counted(1, 0xff, 0, 8, 8),
        codes,
        next: code(Space::IpProto, 0, 1),
        fields: EXTENSION_FIELDS,
        ..layer(id, name, title, doc, Tier::Extension)
    }
}

const EXTENSION_FIELDS: &[Field] = &[
    named("next", 0, 8, IP_PROTOCOLS, "protocol of the next header"),
    num("len", 8, 8, "length, in units of 8 bytes beyond the first 8"),
];

/// Layers that are asked for by one name.
pub static UNIONS: &[Union] = &[Union {
    name: "ip",
    doc: "IPv4 or IPv6.",
    layers: &[LayerId::Ip4, LayerId::Ip6],
    fields: &[
        ("version", &["version", "version"], "4 or 6"),
        ("src", &["src", "src"], "sender"),
        ("dst", &["dst", "dst"], "receiver"),
        ("ttl", &["ttl", "hops"], "hops left"),
        ("dscp", &["dscp", "dscp"], "differentiated services"),
        ("ecn", &["ecn", "ecn"], "congestion"),
    ],
}];
