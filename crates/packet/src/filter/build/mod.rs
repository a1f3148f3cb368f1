//! The tree to the predicate form: where each layer begins is known here, and what a primitive tests.
//!
//! A tree, a source of packets and names enter; predicates leave, or the first mistake. What is built for each primitive
//! follows libpcap 1.10 (gencode.c), test by test and in its order, since a packet that is too short ends the filter at the
//! first byte that it lacks. What always holds: nodes are built in the order of the text, because some of them move what
//! follows (`vlan`, `mpls`, `pppoes`, `geneve`, `vxlan`).

use super::ast::{ByteOp, Expr, ExprId, Tree};
use super::link::LinkType;
use super::names::Names;
use super::pred::{Cc, Meta, PredId, Preds, ValueId, Var};
use super::words::{self, Proto};
use super::{Options, Source};
use skep_lang::ast::Span;
use skep_lang::diag::Diagnostic;

mod arith;
mod id;
mod ip;
mod linktype;
mod ports;
mod protos;
mod shift;

pub(super) use linktype::ether;

/// A result, or what is wrong with the expression.
type Built<T> = Result<T, Box<Diagnostic>>;

/// A place in the packet: a number, and a variable that is added to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Off {
    add: u32,
    var: Option<Var>,
}

impl Off {
    fn at(add: u32) -> Off {
        Off { add, var: None }
    }
}

/// How the layer begins that the next primitive looks at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Link {
    /// As packets of this link type do.
    Outer(LinkType),
    /// With a PPP protocol number.
    Ppp,
}

/// Where the layers of a packet begin, as far as the text has been read.
#[derive(Clone, Debug)]
struct Layers {
    link: Link,
    /// The link-layer header.
    header: Off,
    /// The link-layer payload: an LLC header, or what the next offsets are relative to.
    payload: Off,
    /// The type of the payload, if the link type has one.
    linktype: Option<Off>,
    /// From the payload to the network layer: behind a type, and behind an LLC header.
    network: u32,
    network_llc: u32,
    labels: u32,
    vlans: u32,
    /// Behind `geneve` or `vxlan`.
    encapsulated: bool,
}

impl Layers {
    fn new(link: LinkType) -> Layers {
        let (linktype, payload) = match link {
            LinkType::Ethernet => (Some(12), 14),
            LinkType::Null | LinkType::Loop => (Some(0), 4),
            LinkType::Raw | LinkType::Ipv4 | LinkType::Ipv6 => (None, 0),
            LinkType::Sll => (Some(14), 16),
            LinkType::Sll2 => (Some(0), 20),
        };
        Layers {
            link: Link::Outer(link),
            header: Off::at(0),
            payload: Off::at(payload),
            linktype: linktype.map(Off::at),
            network: 0,
            network_llc: if link == LinkType::Ethernet { 3 } else { 0 },
            labels: 0,
            vlans: 0,
            encapsulated: false,
        }
    }
}

/// What a number is relative to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum From {
    Header,
    /// The link-layer payload, where an LLC header begins.
    Llc,
    Network,
    /// The network layer behind an LLC header.
    NetworkLlc,
    LinkType,
    /// What an IPv4 header is followed by.
    Ipv4Payload,
    /// What an IPv6 header without extensions is followed by.
    Ipv6Payload,
}

pub(super) struct Build<'a> {
    tree: &'a Tree,
    options: &'a Options,
    names: Names<'a>,
    preds: Preds,
    layers: Layers,
    vars: u32,
    /// Registers of classic BPF that libpcap would have in use.
    registers: u32,
    /// Nodes of the arithmetic that have been built.
    arithmetic: Vec<arith::Number>,
    /// The place of the node that is being built.
    span: Span,
}

/// Builds the predicate of a tree; for `keep` see [`Preds::new`].
pub(super) fn build(
    tree: &Tree,
    root: ExprId,
    options: &Options,
    names: Names<'_>,
    keep: bool,
) -> Built<(Preds, PredId)> {
    let mut build = Build {
        tree,
        options,
        names,
        preds: Preds::new(keep),
        layers: Layers::new(options.link),
        vars: 0,
        registers: 0,
        arithmetic: Vec::new(),
        span: Span::default(),
    };
    let mut built: Vec<PredId> = Vec::with_capacity(tree.exprs.len());
    for (expr, span) in &tree.exprs {
        build.span = *span;
        let of = |id: &ExprId| built[id.0 as usize];
        let pred = match expr {
            Expr::And(a, b) => build.preds.and(of(a), of(b)),
            Expr::Or(a, b) => build.preds.or(of(a), of(b)),
            Expr::Not(a) => build.preds.not(of(a)),
            other => build.primitive(other)?,
        };
        built.push(pred);
    }
    Ok((build.preds, built[root.0 as usize]))
}

/// Whether frames in a tunnel are looked for, for which libpcap does not optimise.
pub(super) fn encapsulates(tree: &Tree) -> bool {
    use super::ast::Shift;
    tree.exprs.iter().any(|(expr, _)| matches!(expr, Expr::Shift(Shift::Geneve | Shift::Vxlan, _)))
}

/// Whether VLAN tags are asked for.
pub(super) fn asks_for_tags(tree: &Tree) -> bool {
    use super::ast::Shift;
    tree.exprs.iter().any(|(expr, _)| matches!(expr, Expr::Shift(Shift::Vlan, _)))
}

/// Offset from which on classic BPF reads what the kernel knows beside the packet (`SKF_AD_OFF`).
const BESIDE: u32 = 0xffff_f000;

/// The registers that classic BPF has (`BPF_MEMWORDS`).
const REGISTERS: u32 = 16;

impl Build<'_> {
    fn fail<T>(&self, message: impl Into<String>) -> Built<T> {
        Err(Diagnostic::error("filter-meaning", self.span, message).into())
    }

    fn var(&mut self) -> Var {
        self.vars += 1;
        Var(self.vars - 1)
    }

    fn take_register(&mut self) -> Built<()> {
        if self.registers == REGISTERS {
            return self.fail("too many registers needed to evaluate expression");
        }
        self.registers += 1;
        Ok(())
    }

    fn link_name(&self) -> String {
        match self.layers.link {
            Link::Outer(link) => link.name().to_owned(),
            Link::Ppp => "PPP".to_owned(),
        }
    }

    /// Bytes at a place.
    fn load_at(&mut self, off: Off, plus: u32, bytes: u8) -> ValueId {
        let index = off.var.map(|var| self.preds.add(super::pred::Value::Var(var)));
        self.preds.load(index, off.add.wrapping_add(plus), bytes)
    }

    /// The network layer.
    fn network(&self) -> Off {
        Off { add: self.layers.payload.add.wrapping_add(self.layers.network), ..self.layers.payload }
    }

    /// Length of the IPv4 header, with the variable part of its own place.
    fn ipv4_header(&mut self) -> ValueId {
        use super::ast::ArithOp;
        let first = self.load_at(self.network(), 0, 1);
        let words = self.preds.bin_number(ArithOp::And, first, 0xf);
        let length = self.preds.bin_number(ArithOp::Shl, words, 2);
        match self.layers.payload.var {
            None => length,
            Some(var) => {
                let var = self.preds.add(super::pred::Value::Var(var));
                self.preds.bin(ArithOp::Add, length, var)
            }
        }
    }

    fn load(&mut self, from: From, at: u32, bytes: u8) -> ValueId {
        let llc =
            Off { add: self.layers.payload.add.wrapping_add(self.layers.network_llc), ..self.layers.payload };
        let off = match from {
            From::Header => self.layers.header,
            From::Llc => self.layers.payload,
            From::Network => self.network(),
            From::NetworkLlc => llc,
            // Only asked for where there is one.
            From::LinkType => self.layers.linktype.unwrap_or(self.layers.header),
            From::Ipv6Payload => {
                let network = self.network();
                Off { add: network.add.wrapping_add(40), ..network }
            }
            From::Ipv4Payload => {
                let header = self.ipv4_header();
                let add = self.network().add.wrapping_add(at);
                return self.preds.load(Some(header), add, bytes);
            }
        };
        self.load_at(off, at, bytes)
    }

    fn compare(&mut self, from: From, at: u32, bytes: u8, cc: Cc, with: u32) -> PredId {
        let (a, b) = (self.load(from, at, bytes), self.preds.number(with));
        self.preds.test(cc, a, b)
    }

    fn equal(&mut self, from: From, at: u32, bytes: u8, with: u32) -> PredId {
        self.compare(from, at, bytes, Cc::Eq, with)
    }

    fn masked(&mut self, from: From, at: u32, bytes: u8, with: u32, mask: u32) -> PredId {
        let a = self.load(from, at, bytes);
        let a = if mask == u32::MAX { a } else { self.preds.bin_number(super::ast::ArithOp::And, a, mask) };
        let b = self.preds.number(with);
        self.preds.test(Cc::Eq, a, b)
    }

    /// The same bytes, compared from the last ones on, four and then two at a time.
    fn bytes(&mut self, from: From, at: u32, bytes: &[u8]) -> PredId {
        let mut end = bytes.len();
        let mut all: Option<PredId> = None;
        while end > 0 {
            let size = if end >= 4 {
                4
            } else if end >= 2 {
                2
            } else {
                1
            };
            let with = bytes[end - size..end].iter().fold(0u32, |v, b| v << 8 | u32::from(*b));
            let test = self.equal(from, at + (end - size) as u32, size as u8, with);
            all = Some(all.map_or(test, |before| self.preds.and(before, test)));
            end -= size;
        }
        all.unwrap_or_else(|| self.preds.always(true))
    }

    fn any(&mut self, tests: &[PredId]) -> PredId {
        let mut all = tests.iter().copied();
        let first = all.next();
        let joined = first.map(|first| all.fold(first, |a, b| self.preds.or(a, b)));
        joined.unwrap_or_else(|| self.preds.always(false))
    }

    /// A primitive: everything but and, or, not.
    fn primitive(&mut self, expr: &Expr) -> Built<PredId> {
        match expr {
            Expr::Id(quals, id) => self.id(*quals, id),
            Expr::Proto(proto) => self.proto(*proto),
            Expr::Relation(op, a, b) => self.relation(*op, *a, *b),
            Expr::Broadcast(proto) => self.broadcast(*proto),
            Expr::Multicast(proto) => self.multicast(*proto),
            Expr::Less(length) => {
                let greater = self.length(Cc::Gt, *length);
                Ok(self.preds.not(greater))
            }
            Expr::Greater(length) => Ok(self.length(Cc::Ge, *length)),
            Expr::Byte(at, op, with) => self.byte(*at, *op, *with),
            Expr::Direction(outbound) => self.direction(*outbound),
            Expr::Ifindex(index) => self.ifindex(*index),
            Expr::Shift(shift, number) => self.shift(*shift, *number),
            Expr::Pppoed => self.linktype(ether::PPPOED),
            Expr::Llc(kind) => self.llc(kind.as_deref()),
            Expr::And(..) | Expr::Or(..) | Expr::Not(..) => self.fail("internal: no primitive"),
        }
    }

    fn length(&mut self, cc: Cc, with: u32) -> PredId {
        let (a, b) = (self.preds.add(super::pred::Value::Len), self.preds.number(with));
        self.preds.test(cc, a, b)
    }

    fn byte(&mut self, at: u32, op: ByteOp, with: u32) -> Built<PredId> {
        use super::ast::ArithOp;
        Ok(match op {
            ByteOp::Eq => self.equal(From::Header, at, 1, with),
            ByteOp::Gt => self.compare(From::Header, at, 1, Cc::Gt, with),
            ByteOp::Lt => {
                let at_least = self.compare(From::Header, at, 1, Cc::Ge, with);
                self.preds.not(at_least)
            }
            ByteOp::And | ByteOp::Or if self.options.strict => {
                return self.fail(
                    "libpcap reads no byte for `&` and `|` here; its result depends on what was read before",
                );
            }
            ByteOp::And | ByteOp::Or => {
                let op = if op == ByteOp::And { ArithOp::And } else { ArithOp::Or };
                let byte = self.load(From::Header, at, 1);
                let (a, b) = (self.preds.bin_number(op, byte, with), self.preds.number(0));
                let zero = self.preds.test(Cc::Eq, a, b);
                self.preds.not(zero)
            }
        })
    }

    fn meta(&mut self, meta: Meta, with: u32) -> PredId {
        let (a, b) = (self.preds.add(super::pred::Value::Meta(meta)), self.preds.number(with));
        self.preds.test(Cc::Eq, a, b)
    }

    fn direction(&mut self, outbound: bool) -> Built<PredId> {
        /// `PACKET_OUTGOING`
        const OUTGOING: u32 = 4;
        let out = match (self.layers.link, self.options.source) {
            (Link::Outer(LinkType::Sll), _) => self.equal(From::Header, 0, 2, OUTGOING),
            (Link::Outer(LinkType::Sll2), _) => self.equal(From::Header, 10, 1, OUTGOING),
            (_, Source::File { .. }) => {
                let name = self.link_name();
                return self.fail(format!("inbound/outbound not supported on {name} when reading savefiles"));
            }
            (_, Source::Socket) if self.beyond_reach() => self.equal(From::Header, BESIDE + 4, 2, OUTGOING),
            (_, Source::Socket) => self.meta(Meta::PacketType, OUTGOING),
            (_, Source::Xdp) => self.preds.always(false),
            (_, Source::Tc { egress }) => self.preds.always(egress),
        };
        Ok(if outbound { out } else { self.preds.not(out) })
    }

    fn ifindex(&mut self, index: u32) -> Built<PredId> {
        match (self.layers.link, self.options.source) {
            (Link::Outer(LinkType::Sll2), _) => Ok(self.equal(From::Header, 4, 4, index)),
            (_, Source::File { .. }) => {
                let name = self.link_name();
                self.fail(format!("ifindex not supported on {name} when reading savefiles"))
            }
            (_, Source::Socket) if self.beyond_reach() => Ok(self.equal(From::Header, BESIDE + 8, 4, index)),
            _ => Ok(self.meta(Meta::Ifindex, index)),
        }
    }

    /// libpcap counts what the kernel knows beside the packet from the link-layer header on, and so misses it behind
    /// layers that move that.
    fn beyond_reach(&self) -> bool {
        self.options.strict && self.layers.header != Off::at(0)
    }

    /// The link-layer header of what is encapsulated; without one there is none.
    fn encapsulated_frame(&mut self) -> Option<PredId> {
        if !self.layers.encapsulated {
            return None;
        }
        let value =
            |build: &mut Self, off: Off| off.var.map(|var| build.preds.add(super::pred::Value::Var(var)));
        let (header, payload) = (value(self, self.layers.header)?, value(self, self.layers.payload)?);
        let same = self.preds.test(Cc::Eq, header, payload);
        Some(self.preds.not(same))
    }

    fn after(&mut self, before: Option<PredId>, test: PredId) -> PredId {
        before.map_or(test, |before| self.preds.and(before, test))
    }

    fn broadcast(&mut self, proto: Option<Proto>) -> Built<PredId> {
        match proto {
            None | Some(Proto::Link) => {
                if self.layers.link != Link::Outer(LinkType::Ethernet) {
                    return self.fail("not a broadcast link");
                }
                let before = self.encapsulated_frame();
                let test = self.bytes(From::Header, 0, &[0xff; 6]);
                Ok(self.after(before, test))
            }
            Some(Proto::Ip) => {
                let Some(netmask) = self.options.netmask else {
                    return self.fail("netmask not known, so 'ip broadcast' not supported");
                };
                let ip = self.linktype(ether::IP)?;
                let zeros = self.masked(From::Network, 16, 4, 0, !netmask);
                let ones = self.masked(From::Network, 16, 4, !netmask, !netmask);
                let either = self.preds.or(zeros, ones);
                Ok(self.preds.and(ip, either))
            }
            Some(_) => self.fail("only link-layer/IP broadcast filters supported"),
        }
    }

    fn multicast(&mut self, proto: Option<Proto>) -> Built<PredId> {
        match proto {
            None | Some(Proto::Link) if self.layers.link == Link::Outer(LinkType::Ethernet) => {
                let before = self.encapsulated_frame();
                let test = self.compare(From::Header, 0, 1, Cc::Set, 1);
                Ok(self.after(before, test))
            }
            Some(Proto::Ip) => {
                let ip = self.linktype(ether::IP)?;
                let test = self.compare(From::Network, 16, 1, Cc::Ge, 224);
                Ok(self.preds.and(ip, test))
            }
            Some(Proto::Ip6) => {
                let ip6 = self.linktype(ether::IP6)?;
                let test = self.equal(From::Network, 24, 1, 255);
                Ok(self.preds.and(ip6, test))
            }
            _ => self.fail(
                "link-layer multicast filters supported only on ethernet/FDDI/token ring/ARCNET/802.11/ATM LANE/Fibre Channel",
            ),
        }
    }
}

/// A protocol's word.
fn word(proto: Proto) -> &'static str {
    words::proto_name(proto)
}
