//! Finding layers in a running program: a layer's name enters; instructions that find it leave, with its place, and a way
//! out for frames that lack it.
//!
//! Nothing is looked for before it is asked for, and what was found is kept ([`Frame`]) for as long as the caller says that
//! the finding dominates. At most [`MAX_SHIMS`] tags and labels and [`MAX_EXTENSIONS`] extension headers are passed; a frame
//! with more lacks what is behind them.

use crate::ir::{BinOp, Block, Cc, FuncBuilder, FuncId, FuncKind, Function, PtrKind, Type, Value};

use super::access::{At, Context, Mode, Reader, Window};
use super::emit::{
    Coded, by_family, by_version, equal, guarded, joined, length, never, next_code, option_step, translated,
};
use super::rows::LAYERS;
use super::table::{Field, Layer, LayerId, LinkType, Next, Space, Tier};

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

    /// Where the network layer begins, and its EtherType: behind all tags and labels.
    fn network(&mut self, f: &mut FuncBuilder, depth: Depth, missing: Block) -> Coded {
        let key = Key::Network(depth);
        if let Some(known) = self.known(key) {
            return known;
        }
        let max = LOCATED[depth as usize];
        if let Some(off) = self.located(f, depth, (0, max.count_ones()))
            && let Some(code) = self.located(f, depth, (ETHER_TYPE, 16))
        {
            // Without a network layer the EtherType is 0, which no layer has.
            let found = Coded { at: At { base: Some(off), add: 0, max }, code };
            self.coded.push((key, found));
            return found;
        }
        let first = self.first(f, depth, missing);
        let done = f.block(&[Type::U64, Type::U64]);
        let at = first.at.value(f);
        for code in [IP4, IP6] {
            let (want, next) = (f.u64(code as u64), f.block(&[]));
            f.branch_args(Cc::Eq, first.code, want, (done, &[at, first.code]), (next, &[]));
            f.switch_to(next);
        }
        self.pass_shims(f, first, None, (done, missing));
        f.switch_to(done);
        let found = joined(f, &self.reader, done, first.at.max.saturating_add(8 * MAX_SHIMS));
        self.coded.push((key, found));
        found
    }

    /// Passes tags and labels, in a loop: jumps to `done` with the place and EtherType of what follows; or, with a layer
    /// to look for, with the place of its nth.
    fn pass_shims(
        &mut self,
        f: &mut FuncBuilder,
        first: Coded,
        wanted: Option<(LayerId, u32)>,
        (done, missing): (Block, Block),
    ) {
        let head = f.block(&[Type::U64, Type::U64, Type::U64, Type::U64]);
        let (at, zero) = (first.at.value(f), f.u64(0));
        f.jump(head, &[at, first.code, zero, zero]);
        f.switch_to(head);
        let [off, code, round, seen] = [0, 1, 2, 3].map(|i| f.block_param(head, i));
        let (off, code) = (self.reader.veil(f, off), self.reader.veil(f, code));
        let at = At { base: Some(off), add: 0, max: first.at.max.saturating_add(8 * MAX_SHIMS) };
        let (limit, go) = (f.u64(u64::from(MAX_SHIMS)), f.block(&[]));
        f.branch(Cc::Uge, round, limit, missing, go);
        f.switch_to(go);
        let round = f.add_imm(round, 1);
        for row in LAYERS.iter().filter(|row| row.tier == Tier::Shim) {
            let (yes, no) = (f.block(&[]), f.block(&[]));
            for wanted in row.codes_in(Space::EtherType) {
                equal(f, code, i64::from(wanted), yes);
            }
            f.jump(no, &[]);
            f.switch_to(yes);
            let mut seen = seen;
            if let Some((layer, nth)) = wanted
                && layer == row.id
            {
                let (nth, later) = (f.u64(nth.into()), f.block(&[]));
                f.branch_args(Cc::Eq, seen, nth, (done, &[off, code]), (later, &[]));
                f.switch_to(later);
                seen = f.add_imm(seen, 1);
            }
            self.pass_shim(
                f,
                row,
                (at, code),
                |f, off, code| match code {
                    Behind::More(code) => f.jump(head, &[off, code, round, seen]),
                    Behind::End(code) => match wanted {
                        None => f.jump(done, &[off, code]),
                        Some(_) => f.jump(missing, &[]),
                    },
                },
                missing,
            );
            f.switch_to(no);
        }
        match wanted {
            None => f.jump(done, &[off, code]),
            Some(_) => f.jump(missing, &[]),
        }
    }

    /// Passes one tag or label; `go` ends each way that there is behind it.
    fn pass_shim(
        &mut self,
        f: &mut FuncBuilder,
        row: &Layer,
        (at, code): (At, Value),
        mut go: impl FnMut(&mut FuncBuilder, Value, Behind),
        missing: Block,
    ) {
        let header = self.reader.window(f, at, row.min.into(), missing);
        guarded(f, &header, row.guard, missing);
        let next = at.plus(row.min.into());
        let off = next.value(f);
        match row.next {
            Next::Code { space: Space::EtherType, at, bytes } => {
                let code = header.number(f, at.into(), bytes.into());
                go(f, off, Behind::More(code));
            }
            Next::Code { at, bytes, .. } => {
                let ppp = header.number(f, at.into(), bytes.into());
                let code = translated(f, ppp, Space::Ppp);
                go(f, off, Behind::End(code));
            }
            Next::Label => {
                let bottom = header.bits(f, 23, 1);
                let (last, more) = (f.block(&[]), f.block(&[]));
                f.branch_nonzero(bottom, last, more);
                f.switch_to(more);
                go(f, off, Behind::More(code));
                f.switch_to(last);
                let first = self.reader.window(f, next, 1, missing);
                let code = by_version(f, &first);
                go(f, off, Behind::End(code));
            }
            _ => f.jump(missing, &[]),
        }
    }

    fn shim(&mut self, f: &mut FuncBuilder, layer: LayerId, depth: Depth, nth: u32, missing: Block) -> At {
        let first = self.first(f, depth, missing);
        let done = f.block(&[Type::U64, Type::U64]);
        self.pass_shims(f, first, Some((layer, nth)), (done, missing));
        f.switch_to(done);
        joined(f, &self.reader, done, first.at.max.saturating_add(8 * MAX_SHIMS)).at
    }

    /// What is behind the network layer and its extension headers: place and IP protocol. Goes to `missing` for other
    /// network layers and for later fragments.
    pub fn transport_code(&mut self, f: &mut FuncBuilder, depth: Depth, missing: Block) -> Value {
        self.transport(f, depth, missing).code
    }

    /// Finds the network layer; its EtherType.
    pub fn network_code(&mut self, f: &mut FuncBuilder, depth: Depth, missing: Block) -> Value {
        self.network(f, depth, missing).code
    }

    /// What is behind the network layer: IP protocol and place.
    pub(super) fn transport_at(&mut self, f: &mut FuncBuilder, depth: Depth, missing: Block) -> (Value, At) {
        let found = self.transport(f, depth, missing);
        (found.code, found.at)
    }

    fn transport(&mut self, f: &mut FuncBuilder, depth: Depth, missing: Block) -> Coded {
        let key = Key::Transport(depth);
        if let Some(known) = self.known(key) {
            return known;
        }
        let max = LOCATED[depth as usize];
        let found = match self.located(f, depth, (TRANSPORT, max.count_ones())) {
            Some(off) => {
                let (zero, there) = (f.u64(0), f.block(&[]));
                f.branch(Cc::Eq, off, zero, missing, there);
                f.switch_to(there);
                let code = self.located(f, depth, (PROTOCOL, 8)).unwrap_or(zero);
                Coded { at: At { base: Some(off), add: 0, max }, code }
            }
            None => self.extensions(f, depth, None, missing),
        };
        self.coded.push((key, found));
        found
    }

    /// Behind the fixed header of the network layer: passes extension headers up to `wanted`, or up to the first that is
    /// none.
    fn extensions(
        &mut self,
        f: &mut FuncBuilder,
        depth: Depth,
        wanted: Option<LayerId>,
        missing: Block,
    ) -> Coded {
        let network = self.network(f, depth, missing);
        let start = f.block(&[Type::U64, Type::U64]);
        let max = network.at.max.saturating_add(60);
        for (id, code) in [(LayerId::Ip4, IP4), (LayerId::Ip6, IP6)] {
            let (yes, no, want) = (f.block(&[]), f.block(&[]), f.u64(code as u64));
            f.branch(Cc::Eq, network.code, want, yes, no);
            f.switch_to(yes);
            let row = id.row();
            let header = self.reader.window(f, network.at, row.min.into(), missing);
            guarded(f, &header, row.guard, missing);
            let len = length(f, row, &header, missing);
            let at = network.at.value(f);
            let off = f.bin(BinOp::Add, Type::U64, at, len);
            let next = next_code(f, row, &header);
            f.jump(start, &[off, next]);
            f.switch_to(no);
        }
        f.jump(missing, &[]);
        f.switch_to(start);
        let first = joined(f, &self.reader, start, max);
        self.pass_extensions(f, first, wanted, missing)
    }

    fn pass_extensions(
        &mut self,
        f: &mut FuncBuilder,
        first: Coded,
        wanted: Option<LayerId>,
        missing: Block,
    ) -> Coded {
        let max = first.at.max.saturating_add(MAX_EXTENSIONS * 2048);
        let done = f.block(&[Type::U64, Type::U64]);
        let head = f.block(&[Type::U64, Type::U64, Type::U64]);
        let off = first.at.value(f);
        let rows = || LAYERS.iter().filter(|row| row.tier == Tier::Extension);
        if wanted.is_none() {
            for common in [6, UDP] {
                let (want, next) = (f.u64(common as u64), f.block(&[]));
                f.branch_args(Cc::Eq, first.code, want, (done, &[off, first.code]), (next, &[]));
                f.switch_to(next);
            }
        }
        let zero = f.u64(0);
        f.jump(head, &[off, first.code, zero]);
        f.switch_to(head);
        let [off, code, round] = [0, 1, 2].map(|i| f.block_param(head, i));
        let (off, code) = (self.reader.veil(f, off), self.reader.veil(f, code));
        let at = At { base: Some(off), add: 0, max };
        let round = f.add_imm(round, 1);
        for row in rows() {
            let (yes, no) = (f.block(&[]), f.block(&[]));
            for number in row.codes_in(Space::IpProto) {
                equal(f, code, i64::from(number), yes);
            }
            f.jump(no, &[]);
            f.switch_to(yes);
            if wanted == Some(row.id) {
                f.jump(done, &[off, code]);
                f.switch_to(no);
                continue;
            }
            let (limit, go) = (f.u64(u64::from(MAX_EXTENSIONS)), f.block(&[]));
            f.branch(Cc::Ugt, round, limit, missing, go);
            f.switch_to(go);
            let header = self.reader.window(f, at, row.min.into(), missing);
            guarded(f, &header, row.guard, missing);
            let len = length(f, row, &header, missing);
            let behind = f.bin(BinOp::Add, Type::U64, off, len);
            let next = next_code(f, row, &header);
            f.jump(head, &[behind, next, round]);
            f.switch_to(no);
        }
        match wanted {
            None => f.jump(done, &[off, code]),
            Some(_) => f.jump(missing, &[]),
        }
        f.switch_to(done);
        joined(f, &self.reader, done, max)
    }

    /// What the first tunnel carries: place and EtherType (0x6558: an Ethernet frame).
    fn carried(&mut self, f: &mut FuncBuilder, missing: Block) -> Coded {
        if let Some(known) = self.known(Key::Carried) {
            return known;
        }
        let transport = self.transport(f, Depth::Outer, missing);
        let done = f.block(&[Type::U64, Type::U64]);
        let off = transport.at.value(f);
        for (proto, ether) in [(4, IP4), (41, IP6)] {
            let (want, next) = (f.u64(proto), f.block(&[]));
            let ether = f.u64(ether as u64);
            f.branch_args(Cc::Eq, transport.code, want, (done, &[off, ether]), (next, &[]));
            f.switch_to(next);
        }
        let (gre, udp, other) = (f.block(&[]), f.block(&[]), f.block(&[]));
        equal(f, transport.code, GRE, gre);
        let want = f.u64(UDP as u64);
        f.branch(Cc::Eq, transport.code, want, udp, other);
        f.switch_to(other);
        f.jump(missing, &[]);
        f.switch_to(gre);
        self.carried_by(f, LayerId::Gre, transport.at, (done, missing));
        f.switch_to(udp);
        let ports = self.reader.window(f, transport.at, 8, missing);
        let dport = ports.number(f, 2, 2);
        for id in [LayerId::Vxlan, LayerId::Geneve] {
            let (yes, no) = (f.block(&[]), f.block(&[]));
            for port in id.row().codes_in(Space::UdpDestination) {
                equal(f, dport, i64::from(port), yes);
            }
            f.jump(no, &[]);
            f.switch_to(yes);
            self.carried_by(f, id, transport.at.plus(8), (done, missing));
            f.switch_to(no);
        }
        f.jump(missing, &[]);
        f.switch_to(done);
        let found = joined(f, &self.reader, done, transport.at.max.saturating_add(8 + 8 + 252));
        self.coded.push((Key::Carried, found));
        found
    }

    fn carried_by(&mut self, f: &mut FuncBuilder, id: LayerId, at: At, (done, missing): (Block, Block)) {
        let row = id.row();
        let header = self.reader.window(f, at, row.min.into(), missing);
        guarded(f, &header, row.guard, missing);
        let len = length(f, row, &header, missing);
        let start = at.value(f);
        let off = f.bin(BinOp::Add, Type::U64, start, len);
        let code = match row.next {
            Next::Code { .. } => next_code(f, row, &header),
            _ => f.u64(BRIDGED as u64),
        };
        f.jump(done, &[off, code]);
    }

    /// First byte behind the transport layer; `missing` where there is none.
    pub fn payload(&mut self, f: &mut FuncBuilder, depth: Depth, missing: Block) -> At {
        let transport = self.transport(f, depth, missing);
        let done = f.block(&[Type::U64, Type::U64]);
        let off = transport.at.value(f);
        let (tcp, other) = (f.block(&[]), f.block(&[]));
        let want = f.u64(6);
        f.branch(Cc::Eq, transport.code, want, tcp, other);
        f.switch_to(tcp);
        let row = LayerId::Tcp.row();
        let header = self.reader.window(f, transport.at, row.min.into(), missing);
        let len = length(f, row, &header, missing);
        let behind = f.bin(BinOp::Add, Type::U64, off, len);
        f.jump(done, &[behind, transport.code]);
        f.switch_to(other);
        let transports = LAYERS.iter().filter(|row| row.tier == Tier::Transport && row.id != LayerId::Tcp);
        for row in transports {
            for number in row.codes_in(Space::IpProto) {
                let (want, next) = (f.u64(number.into()), f.block(&[]));
                let behind = f.add_imm(off, row.min.into());
                f.branch_args(Cc::Eq, transport.code, want, (done, &[behind, transport.code]), (next, &[]));
                f.switch_to(next);
            }
        }
        f.jump(missing, &[]);
        f.switch_to(done);
        joined(f, &self.reader, done, transport.at.max.saturating_add(60)).at
    }

    /// The place of a TCP option's data, `bytes` long; `missing` where the header lacks it.
    pub fn tcp_option(
        &mut self,
        f: &mut FuncBuilder,
        depth: Depth,
        (kind, bytes): (u8, u32),
        missing: Block,
    ) -> At {
        let tcp = self.find(f, LayerId::Tcp, depth, 0, missing);
        let row = LayerId::Tcp.row();
        let header = self.header(f, row, tcp, None, missing);
        let len = length(f, row, &header, missing);
        let start = tcp.value(f);
        let end = f.bin(BinOp::Add, Type::U64, start, len);
        let (head, found) = (f.block(&[Type::U64, Type::U64]), f.block(&[]));
        let (first, zero) = (f.add_imm(start, 20), f.u64(0));
        f.jump(head, &[first, zero]);
        f.switch_to(head);
        let (off, round) = (f.block_param(head, 0), f.block_param(head, 1));
        let off = self.reader.veil(f, off);
        let at = At { base: Some(off), add: 0, max: tcp.max.saturating_add(60 + 255) };
        let (limit, go) = (f.u64(u64::from(MAX_OPTIONS)), f.block(&[]));
        f.branch(Cc::Uge, round, limit, missing, go);
        f.switch_to(go);
        // The kind's byte and the length's: a header that ends with a kind alone has none of the options that are asked for.
        let behind = f.add_imm(off, 2 + i64::from(bytes));
        let room = f.block(&[]);
        f.branch(Cc::Ugt, behind, end, missing, room);
        f.switch_to(room);
        let option = self.reader.window(f, at, 2, missing);
        let this = option.number(f, 0, 1);
        equal(f, this, i64::from(kind), found);
        let zero = f.u64(0);
        let more = f.block(&[]);
        f.branch(Cc::Eq, this, zero, missing, more);
        f.switch_to(more);
        let step = option_step(f, this, &option);
        let next = f.bin(BinOp::Add, Type::U64, off, step);
        let round = f.add_imm(round, 1);
        f.jump(head, &[next, round]);
        f.switch_to(found);
        at.plus(2)
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
