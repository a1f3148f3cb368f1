//! The way on from the network layer: past extension headers to the transport layer, its options, what it carries.

use super::super::access::At;
use super::super::emit::{Coded, equal, guarded, joined, length, next_code, option_step};
use super::super::rows::LAYERS;
use super::super::table::{LayerId, Next, Space, Tier};
use super::{
    BRIDGED, Depth, Frame, GRE, IP4, IP6, Key, LOCATED, MAX_EXTENSIONS, MAX_OPTIONS, PROTOCOL, TRANSPORT, UDP,
};
use crate::ir::{BinOp, Block, Cc, FuncBuilder, Type, Value};

impl Frame {
    /// What is behind the network layer and its extension headers: place and IP protocol. Goes to `missing` for other
    /// network layers and for later fragments.
    pub fn transport_code(&mut self, f: &mut FuncBuilder, depth: Depth, missing: Block) -> Value {
        self.transport(f, depth, missing).code
    }

    pub(super) fn transport(&mut self, f: &mut FuncBuilder, depth: Depth, missing: Block) -> Coded {
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
    pub(super) fn extensions(
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
    pub(super) fn carried(&mut self, f: &mut FuncBuilder, missing: Block) -> Coded {
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

    /// What is behind the network layer: IP protocol and place.
    pub(in crate::layers) fn transport_at(
        &mut self,
        f: &mut FuncBuilder,
        depth: Depth,
        missing: Block,
    ) -> (Value, At) {
        let found = self.transport(f, depth, missing);
        (found.code, found.at)
    }
}
