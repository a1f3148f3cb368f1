//! What a row of the table says, and how rows are looked up. Positions are counted from the first byte of the layer, bits
//! from the most significant one on; all numbers are in network byte order, but where a field says otherwise.

use std::sync::LazyLock;

use super::rows::{LAYERS, UNIONS};

macro_rules! layers {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        /// A layer, by its row in the table.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum LayerId {
            $($(#[$doc])* $name,)*
        }

        impl LayerId {
            /// All layers, in the order of the table.
            pub const ALL: &[LayerId] = &[$(LayerId::$name),*];
        }
    };
}

layers! {
    /// Ethernet.
    Eth;
    /// Linux cooked capture, version 1.
    Sll;
    /// Linux cooked capture, version 2.
    Sll2;
    /// The loopback header of BSD: an address family.
    Null;
    /// An IEEE 802.1Q or 802.1ad tag.
    Vlan;
    /// An MPLS label stack entry.
    Mpls;
    /// PPPoE discovery.
    PppoeDiscovery;
    /// PPPoE session, with the PPP protocol behind it.
    Pppoe;
    /// ARP and RARP.
    Arp;
    /// IPv4.
    Ip4;
    /// IPv6.
    Ip6;
    /// IPv6 hop-by-hop options.
    Ip6Hop;
    /// IPv6 routing header.
    Ip6Route;
    /// IPv6 fragment header.
    Ip6Frag;
    /// IPv6 destination options.
    Ip6Dest;
    /// IPsec authentication header.
    Ah;
    /// IPv6 mobility header.
    Ip6Mobility;
    /// ICMP.
    Icmp;
    /// ICMPv6.
    Icmp6;
    /// IGMP.
    Igmp;
    /// TCP.
    Tcp;
    /// UDP.
    Udp;
    /// SCTP.
    Sctp;
    /// IPsec encapsulating security payload.
    Esp;
    /// GRE.
    Gre;
    /// VXLAN.
    Vxlan;
    /// GENEVE.
    Geneve;
    /// DNS over UDP.
    Dns;
}

impl LayerId {
    /// The layer's row.
    pub fn row(self) -> &'static Layer {
        &LAYERS[self as usize]
    }
}

/// What a frame begins with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum LinkType {
    /// Ethernet.
    Ethernet,
    /// IPv4 or IPv6, told apart by the version.
    Raw,
    /// Linux cooked capture, version 1.
    Sll,
    /// Linux cooked capture, version 2.
    Sll2,
    /// An address family in the byte order of the machine that captured.
    Null,
    /// An address family in network byte order.
    Loop,
}

impl LinkType {
    /// The layer that comes first; `None`: what the first four bits of the frame say.
    pub fn first(self) -> Option<LayerId> {
        match self {
            LinkType::Ethernet => Some(LayerId::Eth),
            LinkType::Raw => None,
            LinkType::Sll => Some(LayerId::Sll),
            LinkType::Sll2 => Some(LayerId::Sll2),
            LinkType::Null | LinkType::Loop => Some(LayerId::Null),
        }
    }
}

/// Where in the order of layers a layer stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Tier {
    /// What a frame begins with.
    Link,
    /// Between link and network: tags and labels.
    Shim,
    /// Network.
    Network,
    /// Extension headers of the network layer.
    Extension,
    /// Transport.
    Transport,
    /// What carries another frame or packet.
    Tunnel,
    /// Above transport.
    Application,
}

/// What a number that names the following layer belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Space {
    /// EtherType.
    EtherType,
    /// IP protocol number.
    IpProto,
    /// PPP protocol number.
    Ppp,
    /// Address family of the loopback header.
    Family,
    /// UDP port, of either side.
    UdpPort,
    /// UDP port that a datagram is sent to.
    UdpDestination,
    /// The first four bits, where nothing else says what follows.
    Version,
}

/// How long a layer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Length {
    /// [`Layer::min`] bytes.
    Fixed,
    /// `((byte[at] & mask) >> shift) * unit + plus` bytes; less than [`Layer::min`] means that the frame is damaged.
    Counted {
        /// Byte.
        at: u8,
        /// Bits of it.
        mask: u8,
        /// Where they begin.
        shift: u8,
        /// Bytes that one counts for.
        unit: u8,
        /// Bytes that are not counted.
        plus: u8,
    },
    /// [`Layer::min`] bytes, and `unit` more for each bit of `mask` that is set in byte `at`.
    Flagged {
        /// Byte.
        at: u8,
        /// Bits of it.
        mask: u8,
        /// Bytes for each.
        unit: u8,
    },
    /// `plus` bytes, and `unit` more for each that the two bytes at `at` count together (ARP's addresses).
    Summed {
        /// First of the two bytes.
        at: u8,
        /// Bytes for each.
        unit: u8,
        /// Bytes that are not counted.
        plus: u8,
    },
}

impl Length {
    /// The bits that the length is computed from; `None` where it is fixed.
    pub fn bits(&self) -> Option<std::ops::Range<u32>> {
        let masked = |at: u8, mask: u8| {
            let first = u32::from(at) * 8;
            Some(first + mask.leading_zeros()..first + 8 - mask.trailing_zeros())
        };
        match *self {
            Length::Fixed => None,
            Length::Counted { at, mask, .. } | Length::Flagged { at, mask, .. } => masked(at, mask),
            Length::Summed { at, .. } => Some(u32::from(at) * 8..u32::from(at) * 8 + 16),
        }
    }
}

/// What follows a layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Payload.
    Nothing,
    /// What a number in the layer names.
    Code {
        /// Which kind of number.
        space: Space,
        /// Its first byte.
        at: u8,
        /// Its bytes, 1 or 2.
        bytes: u8,
    },
    /// The address family in its four bytes.
    Family,
    /// Another label, up to the one with the bottom bit; then what the first four bits say.
    Label,
    /// What the ports name.
    Ports,
    /// Always the same.
    Layer(LayerId),
}

/// A condition for what follows: the 16 bits at byte `at`, under `mask`, are zero. Otherwise payload follows: the rest of a
/// packet of which this is not the first fragment, or a form of the layer that nothing can be said about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Guard {
    /// First byte.
    pub at: u8,
    /// Bits.
    pub mask: u16,
    /// What it means when they are not zero.
    pub why: &'static str,
}

/// One layer.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Layer {
    /// Its number: its index in the table.
    pub id: LayerId,
    /// As the language has it.
    pub name: &'static str,
    /// As people write it.
    pub title: &'static str,
    /// In a sentence.
    pub doc: &'static str,
    /// Where it stands.
    pub tier: Tier,
    /// Bytes that are always there.
    pub min: u16,
    /// How long it is.
    pub length: Length,
    /// Numbers that it goes by.
    pub codes: &'static [(Space, u16)],
    /// What follows.
    pub next: Next,
    /// When that holds.
    pub guard: Option<Guard>,
    /// Fields, by position.
    pub fields: &'static [Field],
}

/// How a field's value reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FieldKind {
    /// A number without sign.
    Number,
    /// One bit.
    Flag,
    /// A MAC address, 6 bytes.
    Mac,
    /// An IPv4 address.
    Ip4,
    /// An IPv6 address.
    Ip6,
    /// Bytes.
    Bytes,
}

/// How a number is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shown {
    /// Decimal.
    Decimal,
    /// Hexadecimal.
    Hex,
    /// By name, if it has one here; else decimal.
    Names(&'static [(u32, &'static str)]),
    /// The letters of the bits that are set, the least significant first.
    Bits(&'static [&'static str]),
}

/// One field.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Field {
    /// As the language has it.
    pub name: &'static str,
    /// First bit.
    pub bit: u16,
    /// Bits; numbers have at most 64.
    pub bits: u16,
    /// How it reads.
    pub kind: FieldKind,
    /// How it is printed.
    pub shown: Shown,
    /// In a few words.
    pub doc: &'static str,
}

impl Field {
    /// First byte that holds some of it.
    pub fn first_byte(&self) -> u32 {
        u32::from(self.bit / 8)
    }

    /// One past its last byte.
    pub fn end_byte(&self) -> u32 {
        (u32::from(self.bit) + u32::from(self.bits)).div_ceil(8)
    }
}

/// Layers that are asked for by one name, whichever is there.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Union {
    /// As the language has it.
    pub name: &'static str,
    /// In a sentence.
    pub doc: &'static str,
    /// The layers.
    pub layers: &'static [LayerId],
    /// Fields: name, the name in each of the layers, and a few words.
    pub fields: &'static [(&'static str, &'static [&'static str], &'static str)],
}

impl Layer {
    /// The layer of that name.
    pub fn named(name: &str) -> Option<&'static Layer> {
        LAYERS.iter().find(|layer| layer.name == name)
    }

    /// The layer that `code` names in `space`.
    pub fn of_code(space: Space, code: u16) -> Option<&'static Layer> {
        /// All rows by their codes, in the order of [`key`].
        static BY_CODE: LazyLock<Vec<(u32, &'static Layer)>> = LazyLock::new(|| {
            let rows = LAYERS.iter().flat_map(|row| row.codes.iter().map(move |code| (key(*code), row)));
            let mut all: Vec<_> = rows.collect();
            all.sort_by_key(|(code, _)| *code);
            all
        });
        fn key((space, code): (Space, u16)) -> u32 {
            (space as u32) << 16 | u32::from(code)
        }
        let found = BY_CODE.binary_search_by_key(&key((space, code)), |(code, _)| *code).ok()?;
        BY_CODE.get(found).map(|(_, layer)| *layer)
    }

    /// Its field of that name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The numbers that it goes by in `space`.
    pub fn codes_in(&self, space: Space) -> impl Iterator<Item = u16> {
        self.codes.iter().filter(move |code| code.0 == space).map(|code| code.1)
    }
}

impl Union {
    /// The union of that name.
    pub fn named(name: &str) -> Option<&'static Union> {
        UNIONS.iter().find(|union| union.name == name)
    }
}
