//! Finding layers in a running program: a layer's name enters; instructions that find it leave, with its place, and a way
//! out for frames that lack it.
//!
//! Nothing is looked for before it is asked for, and what was found is kept ([`Frame`]) for as long as the caller says that
//! the finding dominates. At most [`MAX_SHIMS`] tags and labels and [`MAX_EXTENSIONS`] extension headers are passed; a frame
//! with more lacks what is behind them.

use super::access::{At, Context, Mode, Reader, Window};
use super::emit::{Coded, by_family, by_version, equal, joined, never};
use super::table::{Field, Layer, LayerId, LinkType, Next, Space, Tier};
use crate::ir::{BinOp, Block, Cc, FuncBuilder, FuncId, FuncKind, Function, PtrKind, Type, Value};

mod network;
mod transport;
mod tunnel;

pub use tunnel::Tunnel;

/// Tags and labels before the network layer that are passed at most.
pub const MAX_SHIMS: u32 = 6;
/// Extension headers that are passed at most.
pub const MAX_EXTENSIONS: u32 = 6;
/// Options of a TCP header that are looked through: as many as there can be.
const MAX_OPTIONS: u32 = 40;

const IP4: i64 = 0x0800;
const IP6: i64 = 0x86dd;
const BRIDGED: i64 = 0x6558;
const UDP: i64 = 17;
const GRE: i64 = 47;

/// Where in the frame a search begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Depth {
    /// At the frame's own first byte.
    #[default]
    Outer,
    /// In what its first tunnel carries (GRE, VXLAN, GENEVE, IP in IP).
    Inner,
}

/// What was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Key {
    /// What the locator says, as it packs it.
    Located(Depth),
    /// What the first tunnel carries: place and EtherType.
    Carried,
    /// Where a frame's own or carried network layer begins, and its EtherType.
    Network(Depth),
    /// What is behind the network layer, and its IP protocol.
    Transport(Depth),
    /// A layer; of those that repeat, which.
    Layer(LayerId, Depth, u32),
}

/// A function that finds the network and the transport layer, for [`Frame::call_locator`]: a global one that takes the
/// context. It gives the place of the network layer, its EtherType, the place of the transport layer and its protocol, packed;
/// zeros for what is not there. `outer` is the one for the frame's own layers, which the one for a tunnel's may call.
pub fn locator(name: &str, mode: Mode, link: LinkType, (depth, outer): (Depth, Option<FuncId>)) -> Function {
    let kind = FuncKind::Global { bytes: 0 };
    let mut f = FuncBuilder::new(name, kind, &[Type::Ptr(PtrKind::Ctx)], Type::U64);
    let ctx = f.param(0);
    let reader = Reader::new(&mut f, mode, ctx);
    let mut frame = Frame::new(reader, link);
    frame.locators[Depth::Outer as usize] = outer;
    let (nothing, no_transport) = (f.cold_block(), f.block(&[]));
    let network = frame.network(&mut f, depth, nothing);
    let off = network.at.value(&mut f);
    let found = packed(&mut f, off, (network.code, ETHER_TYPE));
    let transport = frame.transport(&mut f, depth, no_transport);
    let off = transport.at.value(&mut f);
    let both = packed(&mut f, found, (off, TRANSPORT));
    let both = packed(&mut f, both, (transport.code, PROTOCOL));
    f.ret(both);
    f.switch_to(no_transport);
    f.ret(found);
    f.switch_to(nothing);
    let zero = f.u64(0);
    f.ret(zero);
    f.finish()
}

fn packed(f: &mut FuncBuilder, into: Value, (part, shift): (Value, u32)) -> Value {
    let count = f.u64(shift.into());
    let part = f.bin(BinOp::Shl, Type::U64, part, count);
    f.bin(BinOp::Or, Type::U64, into, part)
}

/// What a function knows of its packet.
#[derive(Clone, Debug)]
pub struct Frame {
    reader: Reader,
    link: LinkType,
    locators: [Option<FuncId>; 2],
    coded: Vec<(Key, Coded)>,
    places: Vec<(Key, At)>,
    windows: Vec<(At, Window)>,
    /// How often the packet was changed.
    changes: u32,
}

/// Farthest place of a layer that a locator gives, from outside and from within a tunnel.
const LOCATED: [u32; 2] = [0x7fff, 0xffff];
/// Where a locator packs the EtherType, the place of the transport layer, and its protocol, above the place of the network
/// layer.
const ETHER_TYPE: u32 = 16;
const TRANSPORT: u32 = 32;
const PROTOCOL: u32 = 48;

/// What a tag or label says that follows.
enum Behind {
    /// What this EtherType says, another tag perhaps.
    More(Value),
    /// The network layer of this EtherType.
    End(Value),
}

/// How much was known; see [`Frame::mark`].
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    coded: usize,
    places: usize,
    windows: usize,
    changes: u32,
    reader: Reader,
}

impl Frame {
    /// A packet that `reader` reads and that begins with `link`.
    pub fn new(reader: Reader, link: LinkType) -> Frame {
        let locators = [None; 2];
        Frame {
            reader,
            link,
            locators,
            coded: Vec::new(),
            places: Vec::new(),
            windows: Vec::new(),
            changes: 0,
        }
    }

    /// What it begins with.
    pub fn link(&self) -> LinkType {
        self.link
    }

    /// From now on, finds network and transport layer by calling a function that [`locator`] made for the same mode, link
    /// type and depth. The verifier follows such a function once, and not once for each way through it and all that
    /// comes behind.
    pub fn call_locator(&mut self, depth: Depth, locator: FuncId) {
        self.locators[depth as usize] = Some(locator);
    }

    /// What the locator says of a depth, if there is one: `bits` bits from bit `shift` on.
    fn located(&mut self, f: &mut FuncBuilder, depth: Depth, (shift, bits): (u32, u32)) -> Option<Value> {
        let locator = self.locators[depth as usize]?;
        let key = Key::Located(depth);
        let packed = match self.known(key) {
            Some(known) => known.code,
            None => {
                let code = f.call(locator, &[self.reader.ctx()], Type::U64);
                self.coded.push((key, Coded { at: At::constant(0), code }));
                code
            }
        };
        let (count, mask) = (f.u64(shift.into()), f.u64((1 << bits) - 1));
        let part = f.bin(BinOp::Lshr, Type::U64, packed, count);
        Some(f.bin(BinOp::And, Type::U64, part, mask))
    }

    /// The reader.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// How much is known now.
    pub fn mark(&self) -> Mark {
        Mark {
            coded: self.coded.len(),
            places: self.places.len(),
            windows: self.windows.len(),
            changes: self.changes,
            reader: self.reader,
        }
    }

    /// Forgets what was found since `mark`: to be called where building goes on at a place that it does not dominate.
    pub fn forget(&mut self, mark: Mark) {
        let kept = |len| if mark.changes == self.changes { len } else { 0 };
        self.coded.truncate(kept(mark.coded));
        self.places.truncate(kept(mark.places));
        self.windows.truncate(kept(mark.windows));
        self.reader = mark.reader;
    }

    /// As [`Frame::forget`], where ways meet: if the packet was changed on one of them, the context is read anew.
    pub fn join(&mut self, f: &mut FuncBuilder, mark: Mark) {
        if mark.changes == self.changes || f.is_terminated() {
            return self.forget(mark);
        }
        self.changed(f);
    }

    /// Forgets all and reads the context anew: the packet was changed.
    pub fn changed(&mut self, f: &mut FuncBuilder) {
        self.coded.clear();
        self.places.clear();
        self.windows.clear();
        self.reader.reload(f);
        self.changes += 1;
    }

    /// `len` bytes from `at` on; those that were checked before are not checked again.
    pub fn window(&mut self, f: &mut FuncBuilder, at: At, len: u32, missing: Block) -> Window {
        let known = self.windows.iter().find(|(known, window)| *known == at && window.len >= len);
        if let Some((_, window)) = known {
            return *window;
        }
        let window = self.reader.window(f, at, len, missing);
        self.windows.push((at, window));
        window
    }

    /// The window of a layer at its place: what every such layer has, and at least `field`.
    pub fn header(
        &mut self,
        f: &mut FuncBuilder,
        layer: &Layer,
        at: At,
        field: Option<&Field>,
        missing: Block,
    ) -> Window {
        let len = u32::from(layer.min).max(field.map_or(0, Field::end_byte));
        self.window(f, at, len, missing)
    }

    /// The place of a layer, the `nth` (from 0) of those that repeat; goes to `missing` where the frame lacks it.
    pub fn find(
        &mut self,
        f: &mut FuncBuilder,
        layer: LayerId,
        depth: Depth,
        nth: u32,
        missing: Block,
    ) -> At {
        let key = Key::Layer(layer, depth, nth);
        if let Some((_, at)) = self.places.iter().find(|(known, _)| *known == key) {
            return *at;
        }
        let at = match layer.row().tier {
            Tier::Link => self.find_link(f, layer, depth, missing),
            Tier::Shim => self.shim(f, layer, depth, nth, missing),
            Tier::Network => {
                let network = self.network(f, depth, missing);
                self.require_code(f, layer, Space::EtherType, network.code, missing);
                network.at
            }
            Tier::Extension => self.extensions(f, depth, Some(layer), missing).at,
            Tier::Transport | Tier::Tunnel | Tier::Application => {
                self.behind_network(f, layer, depth, missing)
            }
        };
        self.places.push((key, at));
        at
    }

    fn behind_network(&mut self, f: &mut FuncBuilder, layer: LayerId, depth: Depth, missing: Block) -> At {
        let row = layer.row();
        if row.codes_in(Space::IpProto).next().is_some() {
            let transport = self.transport(f, depth, missing);
            self.require_code(f, layer, Space::IpProto, transport.code, missing);
            return transport.at;
        }
        let udp = self.find(f, LayerId::Udp, depth, 0, missing);
        let ports = self.header(f, LayerId::Udp.row(), udp, None, missing);
        let found = f.block(&[]);
        let dport = ports.number(f, 2, 2);
        for port in row.codes_in(Space::UdpDestination).chain(row.codes_in(Space::UdpPort)) {
            equal(f, dport, i64::from(port), found);
        }
        if row.codes_in(Space::UdpPort).next().is_some() {
            let sport = ports.number(f, 0, 2);
            for port in row.codes_in(Space::UdpPort) {
                equal(f, sport, i64::from(port), found);
            }
        }
        f.jump(missing, &[]);
        f.switch_to(found);
        udp.plus(8)
    }

    fn find_link(&mut self, f: &mut FuncBuilder, layer: LayerId, depth: Depth, missing: Block) -> At {
        match depth {
            Depth::Outer if self.link.first() == Some(layer) => At::constant(0),
            Depth::Inner if layer == LayerId::Eth => {
                let carried = self.carried(f, missing);
                self.require(f, carried.code, BRIDGED, missing);
                carried.at
            }
            _ => {
                never(f, missing);
                At::constant(0)
            }
        }
    }

    /// What the link layer, or the tunnel, says that follows: place and EtherType.
    fn first(&mut self, f: &mut FuncBuilder, depth: Depth, missing: Block) -> Coded {
        match depth {
            Depth::Outer => self.own_first(f, missing),
            Depth::Inner => {
                let carried = self.carried(f, missing);
                let (done, frame) = (f.block(&[Type::U64, Type::U64]), f.block(&[]));
                let (bridged, other) = (f.u64(BRIDGED as u64), f.block(&[]));
                f.branch(Cc::Eq, carried.code, bridged, frame, other);
                f.switch_to(other);
                let at = carried.at.value(f);
                f.jump(done, &[at, carried.code]);
                f.switch_to(frame);
                let eth = self.reader.window(f, carried.at, 14, missing);
                let code = eth.number(f, 12, 2);
                let at = carried.at.plus(14).value(f);
                f.jump(done, &[at, code]);
                f.switch_to(done);
                joined(f, &self.reader, done, carried.at.max.saturating_add(14))
            }
        }
    }

    fn own_first(&mut self, f: &mut FuncBuilder, missing: Block) -> Coded {
        let Some(row) = self.link.first().map(LayerId::row) else {
            let first = self.window(f, At::constant(0), 1, missing);
            let code = by_version(f, &first);
            return Coded { at: At::constant(0), code };
        };
        let header = self.header(f, row, At::constant(0), None, missing);
        let at = At::constant(u32::from(row.min));
        let code = match row.next {
            Next::Code { at, bytes, .. } => header.number(f, at.into(), bytes.into()),
            _ => by_family(f, &header),
        };
        Coded { at, code }
    }

    /// The VLAN tag that the device took out of the frame and put into the context: its TCI; `missing` without one. Where
    /// the context cannot hold one, `None`.
    pub fn offloaded_tag(&self, f: &mut FuncBuilder, missing: Block) -> Option<Value> {
        let (Mode::Direct { context, .. } | Mode::Load { context }) = self.reader.mode() else { return None };
        if context != Context::Skb {
            return None;
        }
        // vlan_present and vlan_tci of struct __sk_buff.
        let present = f.load(Type::U32, self.reader.ctx(), 20);
        let there = f.block(&[]);
        f.branch_nonzero(present, there, missing);
        f.switch_to(there);
        Some(f.load(Type::U32, self.reader.ctx(), 24))
    }

    fn known(&self, key: Key) -> Option<Coded> {
        self.coded.iter().find(|(known, _)| *known == key).map(|(_, found)| *found)
    }

    fn require(&mut self, f: &mut FuncBuilder, code: Value, want: i64, missing: Block) {
        let (want, good) = (f.u64(want as u64), f.block(&[]));
        f.branch(Cc::Ne, code, want, missing, good);
        f.switch_to(good);
    }

    fn require_code(
        &mut self,
        f: &mut FuncBuilder,
        layer: LayerId,
        space: Space,
        code: Value,
        missing: Block,
    ) {
        let mut codes: Vec<u16> = layer.row().codes_in(space).collect();
        let Some(last) = codes.pop() else { return never(f, missing) };
        let found = f.block(&[]);
        for number in codes {
            equal(f, code, i64::from(number), found);
        }
        let want = f.u64(last.into());
        f.branch(Cc::Eq, code, want, found, missing);
        f.switch_to(found);
    }
}
