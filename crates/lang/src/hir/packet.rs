//! What the checked program reads of a packet and changes in it.

use super::Expr;
use crate::filter::FilterCode;
use skep_compiler::layers::{Context, Depth, Field, LayerId, LinkType, Tunnel};

/// Where a probe's packets come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PacketSource {
    /// What frames begin with.
    pub link: LinkType,
    /// The program's context.
    pub context: Context,
    /// Frames may lie in several buffers.
    pub beyond: bool,
    /// They are sent, not received.
    pub egress: bool,
}

/// A filter on a packet that lies in the kernel's memory.
#[derive(Clone, PartialEq, Debug)]
pub struct FilterMemory {
    /// The filter.
    pub filter: FilterCode,
    /// Address of the first byte: u64.
    pub start: Expr,
    /// Bytes that lie there: u64.
    pub here: Expr,
    /// Bytes of the packet: u64.
    pub whole: Expr,
}

/// What of a packet is read.
#[derive(Clone, PartialEq, Debug)]
pub struct PacketRead {
    /// What.
    pub what: PacketPart,
    /// In the frame itself, or in what its first tunnel carries.
    pub depth: Depth,
    /// Of layers that repeat, which.
    pub nth: u32,
}

impl PacketRead {
    /// Whether it says yes or no of every packet.
    pub fn is_condition(&self) -> bool {
        matches!(
            self.what,
            PacketPart::Has(_) | PacketPart::Filter(_) | PacketPart::TcpOption { bytes: 0, .. }
        )
    }
}

/// Changes of a packet.
#[derive(Clone, PartialEq, Debug)]
pub enum PacketChange {
    /// A field gets a value: u64, or for addresses `Inet` or `Mac`.
    Set {
        /// Which; of several layers, in those that are there.
        fields: Vec<(LayerId, &'static Field)>,
        /// In the frame itself, or in what its first tunnel carries.
        depth: Depth,
        /// Of layers that repeat, which.
        nth: u32,
        /// Value.
        value: Expr,
    },
    /// A VLAN tag is put in: u64.
    PushVlan(Expr),
    /// The outermost VLAN tag is taken out.
    PopVlan,
    /// It is put into a tunnel.
    PushTunnel(Tunnel),
    /// It is taken out of its outermost tunnel.
    PopTunnel,
    /// It becomes an ICMP error about itself: type, code and the four bytes behind, u64; the address that it comes from,
    /// `Inet`, whose family is the packet's.
    IcmpError(Box<[Expr; 4]>),
}

/// Parts of a packet.
#[derive(Clone, PartialEq, Debug)]
pub enum PacketPart {
    /// Bytes of the frame.
    Len,
    /// Index of the interface.
    Interface,
    /// Bytes of payload in each segment that it will be cut into; 0: it will not.
    Segment,
    /// The number that it carries in front (XDP); 0: none.
    Carried,
    /// Whether one of these layers is there: a bool.
    Has(Vec<LayerId>),
    /// A field of the first of these layers that is there.
    Field(Vec<(LayerId, &'static Field)>),
    /// Protocol behind the IP header and its extensions.
    Protocol,
    /// Bytes of the IP packet, its header included.
    IpLen,
    /// A TCP option: `bytes` bytes from byte `at` of its value on, as a number; no bytes: whether it is there.
    TcpOption {
        /// Kind.
        kind: u8,
        /// First byte.
        at: u32,
        /// Bytes.
        bytes: u32,
    },
    /// What is behind the transport layer: a buffer.
    Payload,
    /// Whether it matches: a bool.
    Filter(FilterCode),
}
