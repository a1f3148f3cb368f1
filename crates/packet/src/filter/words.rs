//! The words of the language: keywords, and names that stand for numbers.

/// Protocols that a primitive can be qualified with, and that stand alone as primitives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "each is the protocol of that name")]
pub enum Proto {
    Link,
    Ip,
    Arp,
    Rarp,
    Sctp,
    Tcp,
    Udp,
    Icmp,
    Igmp,
    Igrp,
    Pim,
    Vrrp,
    Carp,
    Atalk,
    Aarp,
    Decnet,
    Lat,
    Sca,
    Moprc,
    Mopdl,
    Ip6,
    Icmp6,
    Ah,
    Esp,
    Iso,
    Esis,
    Isis,
    L1,
    L2,
    Iih,
    Lsp,
    Snp,
    Csnp,
    Psnp,
    Clnp,
    Stp,
    Ipx,
    Netbeui,
    Radio,
}

/// Which of two addresses or ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dir {
    /// The source.
    Src,
    /// The destination.
    Dst,
    /// Either: `src or dst`.
    Either,
    /// Both: `src and dst`.
    Both,
    /// One of the addresses of an 802.11 frame, by its word.
    Wlan(&'static str),
}

/// What kind of name or number follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each is the word")]
pub enum AddrKind {
    Host,
    Net,
    Port,
    PortRange,
    Gateway,
    Proto,
    ProtoChain,
}

/// A keyword.
#[derive(Clone, Copy, PartialEq, Debug)]
#[allow(missing_docs, reason = "each is the word")]
pub enum Word {
    Proto(Proto),
    Src,
    Dst,
    Wlan(&'static str),
    Kind(AddrKind),
    Mask,
    Less,
    Greater,
    Byte,
    Broadcast,
    Multicast,
    And,
    Or,
    Not,
    Len,
    Inbound,
    Outbound,
    Ifindex,
    Vlan,
    Mpls,
    Pppoed,
    Pppoes,
    Geneve,
    Vxlan,
    Llc,
    /// `rnr`, of PF and of LLC.
    Rnr,
    /// A word for link types that are not among ours, with what it is for.
    Foreign(&'static str),
}

const ATM: &str = "ATM";
const SS7: &str = "MTP2 and MTP3";
const PF: &str = "PF logs";
const WLAN: &str = "802.11";

const KEYWORDS: &[(&[&str], Word)] = &[
    (&["dst"], Word::Dst),
    (&["src"], Word::Src),
    (&["link", "ether", "ppp", "slip", "fddi", "tr", "wlan"], Word::Proto(Proto::Link)),
    (&["arp"], Word::Proto(Proto::Arp)),
    (&["rarp"], Word::Proto(Proto::Rarp)),
    (&["ip"], Word::Proto(Proto::Ip)),
    (&["sctp"], Word::Proto(Proto::Sctp)),
    (&["tcp"], Word::Proto(Proto::Tcp)),
    (&["udp"], Word::Proto(Proto::Udp)),
    (&["icmp"], Word::Proto(Proto::Icmp)),
    (&["igmp"], Word::Proto(Proto::Igmp)),
    (&["igrp"], Word::Proto(Proto::Igrp)),
    (&["pim"], Word::Proto(Proto::Pim)),
    (&["vrrp"], Word::Proto(Proto::Vrrp)),
    (&["carp"], Word::Proto(Proto::Carp)),
    (&["radio"], Word::Proto(Proto::Radio)),
    (&["ip6"], Word::Proto(Proto::Ip6)),
    (&["icmp6"], Word::Proto(Proto::Icmp6)),
    (&["ah"], Word::Proto(Proto::Ah)),
    (&["esp"], Word::Proto(Proto::Esp)),
    (&["atalk"], Word::Proto(Proto::Atalk)),
    (&["aarp"], Word::Proto(Proto::Aarp)),
    (&["decnet"], Word::Proto(Proto::Decnet)),
    (&["lat"], Word::Proto(Proto::Lat)),
    (&["sca"], Word::Proto(Proto::Sca)),
    (&["moprc"], Word::Proto(Proto::Moprc)),
    (&["mopdl"], Word::Proto(Proto::Mopdl)),
    (&["iso"], Word::Proto(Proto::Iso)),
    (&["esis", "es-is"], Word::Proto(Proto::Esis)),
    (&["isis", "is-is"], Word::Proto(Proto::Isis)),
    (&["l1"], Word::Proto(Proto::L1)),
    (&["l2"], Word::Proto(Proto::L2)),
    (&["iih"], Word::Proto(Proto::Iih)),
    (&["lsp"], Word::Proto(Proto::Lsp)),
    (&["snp"], Word::Proto(Proto::Snp)),
    (&["csnp"], Word::Proto(Proto::Csnp)),
    (&["psnp"], Word::Proto(Proto::Psnp)),
    (&["clnp"], Word::Proto(Proto::Clnp)),
    (&["stp"], Word::Proto(Proto::Stp)),
    (&["ipx"], Word::Proto(Proto::Ipx)),
    (&["netbeui"], Word::Proto(Proto::Netbeui)),
    (&["host"], Word::Kind(AddrKind::Host)),
    (&["net"], Word::Kind(AddrKind::Net)),
    (&["mask"], Word::Mask),
    (&["port"], Word::Kind(AddrKind::Port)),
    (&["portrange"], Word::Kind(AddrKind::PortRange)),
    (&["proto"], Word::Kind(AddrKind::Proto)),
    (&["protochain"], Word::Kind(AddrKind::ProtoChain)),
    (&["gateway"], Word::Kind(AddrKind::Gateway)),
    (&["address1", "addr1"], Word::Wlan("addr1")),
    (&["address2", "addr2"], Word::Wlan("addr2")),
    (&["address3", "addr3"], Word::Wlan("addr3")),
    (&["address4", "addr4"], Word::Wlan("addr4")),
    (&["ra"], Word::Wlan("ra")),
    (&["ta"], Word::Wlan("ta")),
    (&["less"], Word::Less),
    (&["greater"], Word::Greater),
    (&["byte"], Word::Byte),
    (&["broadcast"], Word::Broadcast),
    (&["multicast"], Word::Multicast),
    (&["and"], Word::And),
    (&["or"], Word::Or),
    (&["not"], Word::Not),
    (&["len", "length"], Word::Len),
    (&["inbound"], Word::Inbound),
    (&["outbound"], Word::Outbound),
    (&["ifindex"], Word::Ifindex),
    (&["vlan"], Word::Vlan),
    (&["mpls"], Word::Mpls),
    (&["pppoed"], Word::Pppoed),
    (&["pppoes"], Word::Pppoes),
    (&["geneve"], Word::Geneve),
    (&["llc"], Word::Llc),
    (&["type", "subtype", "direction", "dir"], Word::Foreign(WLAN)),
    (&["lane", "metac", "bcc", "oam", "oamf4", "oamf4ec", "oamf4sc", "sc", "ilmic"], Word::Foreign(ATM)),
    (&["vpi", "vci", "connectmsg", "metaconnect"], Word::Foreign(ATM)),
    (&["on", "ifname", "rset", "ruleset", "srnr", "subrulenum", "reason", "action"], Word::Foreign(PF)),
    (&["rnr", "rulenum"], Word::Rnr),
    (&["fisu", "lssu", "lsu", "msu", "hfisu", "hlssu", "hmsu"], Word::Foreign(SS7)),
    (&["sio", "opc", "dpc", "sls", "hsio", "hopc", "hdpc", "hsls"], Word::Foreign(SS7)),
];

/// Words that libpcap has since 1.11 only.
const NEW_KEYWORDS: &[(&str, Word)] = &[("vxlan", Word::Vxlan)];

/// The keyword that `text` is; `strict`: as libpcap 1.10 knows them.
pub fn keyword(text: &str, strict: bool) -> Option<Word> {
    let new = NEW_KEYWORDS.iter().filter(|_| !strict).find(|(word, _)| *word == text).map(|(_, word)| *word);
    new.or_else(|| KEYWORDS.iter().find(|(words, _)| words.contains(&text)).map(|(_, word)| *word))
}

/// The first way to write a protocol.
pub fn proto_name(proto: Proto) -> &'static str {
    KEYWORDS
        .iter()
        .find(|(_, word)| *word == Word::Proto(proto))
        .and_then(|(words, _)| words.first())
        .copied()
        .unwrap_or("")
}

/// Named offsets and values.
const CONSTANTS: &[(&str, u32)] = &[
    ("icmptype", 0),
    ("icmpcode", 1),
    ("icmp-echoreply", 0),
    ("icmp-unreach", 3),
    ("icmp-sourcequench", 4),
    ("icmp-redirect", 5),
    ("icmp-echo", 8),
    ("icmp-routeradvert", 9),
    ("icmp-routersolicit", 10),
    ("icmp-timxceed", 11),
    ("icmp-paramprob", 12),
    ("icmp-tstamp", 13),
    ("icmp-tstampreply", 14),
    ("icmp-ireq", 15),
    ("icmp-ireqreply", 16),
    ("icmp-maskreq", 17),
    ("icmp-maskreply", 18),
    ("icmp6type", 0),
    ("icmp6code", 1),
    ("icmp6-destinationunreach", 1),
    ("icmp6-packettoobig", 2),
    ("icmp6-timeexceeded", 3),
    ("icmp6-parameterproblem", 4),
    ("icmp6-echo", 128),
    ("icmp6-echoreply", 129),
    ("icmp6-multicastlistenerquery", 130),
    ("icmp6-multicastlistenerreportv1", 131),
    ("icmp6-multicastlistenerdone", 132),
    ("icmp6-routersolicit", 133),
    ("icmp6-routeradvert", 134),
    ("icmp6-neighborsolicit", 135),
    ("icmp6-neighboradvert", 136),
    ("icmp6-redirect", 137),
    ("icmp6-routerrenum", 138),
    ("icmp6-nodeinformationquery", 139),
    ("icmp6-nodeinformationresponse", 140),
    ("icmp6-ineighbordiscoverysolicit", 141),
    ("icmp6-ineighbordiscoveryadvert", 142),
    ("icmp6-multicastlistenerreportv2", 143),
    ("icmp6-homeagentdiscoveryrequest", 144),
    ("icmp6-homeagentdiscoveryreply", 145),
    ("icmp6-mobileprefixsolicit", 146),
    ("icmp6-mobileprefixadvert", 147),
    ("icmp6-certpathsolicit", 148),
    ("icmp6-certpathadvert", 149),
    ("icmp6-multicastrouteradvert", 151),
    ("icmp6-multicastroutersolicit", 152),
    ("icmp6-multicastrouterterm", 153),
    ("tcpflags", 13),
    ("tcp-fin", 0x01),
    ("tcp-syn", 0x02),
    ("tcp-rst", 0x04),
    ("tcp-push", 0x08),
    ("tcp-ack", 0x10),
    ("tcp-urg", 0x20),
    ("tcp-ece", 0x40),
    ("tcp-cwr", 0x80),
];

/// The number that a name stands for.
pub fn constant(name: &str) -> Option<u32> {
    CONSTANTS.iter().find(|(found, _)| *found == name).map(|(_, value)| *value)
}
