//! Reading packets: parts of a packet enter, values leave; and what happens where the packet lacks a part.
//!
//! A comparison that asks for what the packet lacks does not hold, wherever it stands (predicate, `if`, a side of `&&`). In
//! any other value of a statement it ends the probe: such parts are looked for before the statement does anything
//! ([`Fx::prefetch`]), so that nothing is half done. In an arm of `?:` what is missing is zero. What was found is kept as long
//! as it dominates: [`Fx::mark_packet`] and [`Fx::forget_packet`] stand around everything that is not always executed.

use super::func::Fx;
use super::module::ModuleCx;
use super::{BuildError, Result, internal};
use crate::ast::BinOp;
use crate::hir::{Expr, ExprKind, FilterMemory, PacketChange, PacketPart, PacketRead, PacketSource, Stmt};
use crate::ty::Ty;
use skep_bpf::helpers::id as helper;
use skep_compiler::ir::{Block, Cc, FuncBuilder, FuncId, PtrKind, Type, Value};
use skep_compiler::layers::walk::{self, Mark};
use skep_compiler::layers::{
    At, Depth, Field, Frame, IcmpError, LayerId, LinkType, Mode, NewValue, Reader, Tier, Window,
};

mod memory;
mod reads;
mod value;

pub(super) use reads::reads_packet;
use reads::{depths, is_straight, stmt_reads};

/// Bytes of an Ethernet header.
const ETHERNET: u64 = 14;
/// `AF_INET`, `AF_INET6`.
const FAMILIES: [u64; 2] = [2, 10];

/// Where a part that the packet lacks leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Missing {
    /// There.
    Goto(Block),
    /// The value is zero.
    Zero,
}

/// What a function knows of its packet.
pub(super) struct Packet {
    frame: Frame,
    missing: Missing,
    /// Where the probe ends with the default verdict.
    end: Block,
}

impl Fx<'_, '_> {
    /// Begins to read the packet of a probe; `end` returns the default verdict.
    pub(super) fn enter_packet(&mut self, source: PacketSource, end: Block) -> Result<()> {
        let ctx = self.ctx()?;
        let mode = Mode::Direct { context: source.context, beyond: source.beyond };
        let reader = Reader::new(&mut self.f, mode, ctx);
        let mut frame = Frame::new(reader, source.link);
        for depth in depths(self.body.probe) {
            let locator = self.cx.locator(mode, source, depth);
            frame.call_locator(depth, locator);
        }
        self.packet = Some(Packet { frame, missing: Missing::Zero, end });
        Ok(())
    }

    pub(super) fn mark_packet(&self) -> Option<Mark> {
        self.packet.as_ref().map(|p| p.frame.mark())
    }

    pub(super) fn forget_packet(&mut self, mark: Option<Mark>) {
        if let (Some(packet), Some(mark)) = (&mut self.packet, mark) {
            packet.frame.forget(mark);
        }
    }

    /// As [`Fx::forget_packet`], where ways meet on one of which the packet may have been changed.
    pub(super) fn join_packet(&mut self, mark: Option<Mark>) {
        if let (Some(packet), Some(mark)) = (&mut self.packet, mark) {
            packet.frame.join(&mut self.f, mark);
        }
    }

    /// Ends the current block: to `yes` where the packet that lies in the kernel's memory matches, else to `no`.
    pub(super) fn filter_memory(&mut self, test: &FilterMemory, yes: Block, no: Block) -> Result<()> {
        let ctx = self.ctx()?;
        let mut numbers = Vec::with_capacity(3);
        for part in [&test.start, &test.here, &test.whole] {
            let value = self.value(part)?;
            numbers.push(self.number(value));
        }
        let [start, len, whole] = numbers[..] else { return internal("three numbers") };
        let start = self.f.cast(start, Type::Ptr(PtrKind::Kernel));
        let reader = Reader::new(&mut self.f, Mode::Probe { start, len, whole }, ctx);
        test.filter.code.build(&mut self.f, &reader, yes, no);
        Ok(())
    }

    /// Changes the packet; ends the probe where it lacks what is to be changed.
    pub(super) fn change_packet(&mut self, change: &PacketChange) -> Result<()> {
        let end = self.packet()?.end;
        match change {
            PacketChange::PushVlan(tci) => {
                let tci = self.value(tci)?;
                self.with_frame(|frame, f| frame.push_vlan(f, tci, end))
            }
            PacketChange::PopVlan => self.with_frame(|frame, f| frame.pop_vlan(f, end)),
            PacketChange::PushTunnel(tunnel) => {
                self.with_frame(|frame, f| frame.push_tunnel(f, *tunnel, end))
            }
            PacketChange::PopTunnel => self.with_frame(|frame, f| frame.pop_tunnel(f, end)),
            PacketChange::IcmpError(parts) => self.icmp_error(parts, end),
            PacketChange::Set { fields, depth, nth, value } => {
                let value = match value.ty.is_scalar() {
                    true => {
                        let number = self.value(value)?;
                        NewValue::Number(self.number(number))
                    }
                    false => {
                        let mem = self.place(value)?;
                        // Behind the family of an address.
                        let off = if value.ty == Ty::Inet { mem.off + 4 } else { mem.off };
                        NewValue::Bytes(mem.base, off)
                    }
                };
                let read = PacketRead { what: PacketPart::Len, depth: *depth, nth: *nth };
                let (done, mark) = (self.f.block(&[]), self.mark_packet());
                self.network_first(fields.iter().map(|f| f.0), *depth, end)?;
                for (index, (layer, field)) in fields.iter().enumerate() {
                    let last = index + 1 == fields.len();
                    let (next, here) = (if last { end } else { self.f.block(&[]) }, self.mark_packet());
                    let at = self.layer_at(*layer, &read, next)?;
                    self.with_frame(|frame, f| {
                        frame.assign(f, (*layer, *field), (at, *depth), value, end);
                    })?;
                    self.f.jump(done, &[]);
                    if !last {
                        self.f.switch_to(next);
                        self.forget_packet(here);
                    }
                }
                self.f.switch_to(done);
                self.join_packet(mark);
                Ok(())
            }
        }
    }

    /// Puts an empty Ethernet header before a packet that has none: bpf_redirect_neigh fills it, and drops packets without one.
    pub(super) fn make_ethernet_header(&mut self) -> Result<()> {
        let (ctx, packet) = (self.ctx()?, self.packet()?);
        let (bare, end) = (packet.frame.link() == LinkType::Raw, packet.end);
        if bare {
            let (room, flags) = (self.f.u64(ETHERNET), self.f.u64(0));
            let result = self.f.helper(helper::SKB_CHANGE_HEAD, &[ctx, room, flags], Type::I64);
            let (zero, good) = (self.f.iconst(Type::I64, 0), self.f.block(&[]));
            self.f.branch(Cc::Ne, result, zero, end, good);
            self.f.switch_to(good);
        }
        Ok(())
    }

    /// Makes of the packet an ICMP error about itself, of the family of the address that it comes from.
    fn icmp_error(&mut self, [kind, code, info, from]: &[Expr; 4], end: Block) -> Result<()> {
        let number = |fx: &mut Self, e: &Expr| -> Result<Value> {
            let value = fx.value(e)?;
            Ok(fx.number(value))
        };
        let (kind, code, info) = (number(self, kind)?, number(self, code)?, number(self, info)?);
        let address = self.scratch(20, "from");
        let ty = from.ty.clone();
        self.put(from, &ty, address, 0)?;
        let family = self.f.load(Type::U32, address, 0);
        let family = self.number(family);
        let (mode, link) = self.with_frame(|frame, _| (frame.reader().mode(), frame.link()))?;
        let (done, mark) = (self.f.block(&[]), self.mark_packet());
        for (six, number) in [false, true].into_iter().zip(FAMILIES) {
            let (this, next, number) = (self.f.block(&[]), self.f.block(&[]), self.f.u64(number));
            self.f.branch(Cc::Eq, family, number, this, next);
            self.f.switch_to(this);
            let here = self.mark_packet();
            let error =
                IcmpError { kind, code, info, from: (address, 4), sum: self.cx.quote_sum(mode, link, six) };
            self.with_frame(|frame, f| frame.become_icmp_error(f, six, error, end))?;
            self.f.jump(done, &[]);
            self.f.switch_to(next);
            self.join_packet(here);
        }
        self.f.jump(end, &[]);
        self.f.switch_to(done);
        self.join_packet(mark);
        Ok(())
    }

    fn packet(&mut self) -> Result<&mut Packet> {
        match &mut self.packet {
            Some(packet) => Ok(packet),
            None => Err(BuildError::Unsupported {
                what: "reading a packet in a loop whose rounds the kernel calls (read it into a variable before the loop)"
                    .to_owned(),
                since: None,
                span: self.here,
            }),
        }
    }

    /// Evaluates a comparison or the like that does not hold where the packet lacks what it asks for.
    pub(super) fn unless_missing(
        &mut self,
        e: &Expr,
        no: Block,
        build: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        if self.packet.is_none() || !reads_packet(e) {
            return build(self);
        }
        let mark = self.mark_packet();
        let outer = std::mem::replace(&mut self.packet()?.missing, Missing::Goto(no));
        let result = build(self);
        self.packet()?.missing = outer;
        if !is_straight(e) {
            self.forget_packet(mark);
        }
        result
    }

    /// Takes note of what a condition that holds here says of the packet: where an EtherType is compared with a constant, the network
    /// layer need not be looked for.
    pub(super) fn learn(&mut self, cond: &Expr) -> Result<()> {
        match &cond.kind {
            ExprKind::Logical { and: true, a, b } => {
                self.learn(a)?;
                self.learn(b)
            }
            ExprKind::Compare { op: BinOp::Eq, a, b } if self.packet.is_some() => {
                match (reads::ether_type(a), &b.kind, reads::ether_type(b), &a.kind) {
                    (true, ExprKind::Int(code), ..) | (.., true, ExprKind::Int(code)) => {
                        let code = *code as u64;
                        self.with_frame(|frame, f| frame.assume_ether_type(f, code))
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// Looks for every part of the packet that a statement asks for in any case; ends the probe where one is missing.
    pub(super) fn prefetch(&mut self, stmt: &Stmt) -> Result<()> {
        let Some(packet) = &self.packet else { return Ok(()) };
        let end = packet.end;
        let mut reads = Vec::new();
        stmt_reads(stmt, &mut reads);
        for read in reads {
            self.find_part(read, end)?;
        }
        Ok(())
    }

    /// Makes sure that a part is there.
    fn find_part(&mut self, read: &PacketRead, missing: Block) -> Result<()> {
        let depth = read.depth;
        match &read.what {
            PacketPart::Field(fields) => match fields.as_slice() {
                // It may be in the context.
                [(layer @ LayerId::Vlan, field)] => self.one_field(*layer, field, read, missing).map(drop),
                [(layer, field)] => {
                    let at = self.layer_at(*layer, read, missing)?;
                    self.header(*layer, at, Some(field), missing)?;
                    Ok(())
                }
                fields => {
                    self.network_first(fields.iter().map(|f| f.0), depth, missing)?;
                    let found = self.f.block(&[]);
                    for (layer, field) in fields {
                        let (next, mark) = (self.f.block(&[]), self.mark_packet());
                        let at = self.layer_at(*layer, read, next)?;
                        self.header(*layer, at, Some(field), next)?;
                        self.f.jump(found, &[]);
                        self.f.switch_to(next);
                        self.forget_packet(mark);
                    }
                    self.f.jump(missing, &[]);
                    self.f.switch_to(found);
                    Ok(())
                }
            },
            PacketPart::Protocol => self.with_frame(|frame, f| {
                frame.transport_code(f, depth, missing);
            }),
            PacketPart::IpLen => self.network_first([LayerId::Ip4, LayerId::Ip6], depth, missing),
            PacketPart::TcpOption { kind, at, bytes } if *bytes > 0 => {
                let (kind, len) = (*kind, at + bytes);
                self.with_frame(|frame, f| {
                    let at = frame.tcp_option(f, depth, (kind, len), missing);
                    frame.window(f, at, len, missing);
                })
            }
            PacketPart::Payload => self.with_frame(|frame, f| {
                frame.payload(f, depth, missing);
            }),
            // Whether something is there can be said of every packet.
            PacketPart::Has(_)
            | PacketPart::TcpOption { .. }
            | PacketPart::Len
            | PacketPart::Interface
            | PacketPart::Segment
            | PacketPart::Carried
            | PacketPart::Filter(_) => Ok(()),
        }
    }

    /// What reads the packet.
    pub(super) fn packet_reader(&mut self) -> Result<Reader> {
        Ok(*self.packet()?.frame.reader())
    }

    fn with_frame<T>(&mut self, work: impl FnOnce(&mut Frame, &mut FuncBuilder) -> T) -> Result<T> {
        self.packet()?;
        let Some(packet) = &mut self.packet else { return internal("no packet") };
        Ok(work(&mut packet.frame, &mut self.f))
    }

    fn layer_at(&mut self, layer: LayerId, read: &PacketRead, missing: Block) -> Result<At> {
        let (depth, nth) = (read.depth, read.nth);
        self.with_frame(|frame, f| frame.find(f, layer, depth, nth, missing))
    }

    fn header(&mut self, layer: LayerId, at: At, field: Option<&Field>, missing: Block) -> Result<Window> {
        self.with_frame(|frame, f| frame.header(f, layer.row(), at, field, missing))
    }

    /// Finds the network layer, where all of `layers` are such, so that each need not look for it.
    fn network_first(
        &mut self,
        layers: impl IntoIterator<Item = LayerId>,
        depth: Depth,
        missing: Block,
    ) -> Result<()> {
        if layers.into_iter().all(|l| l.row().tier == Tier::Network) {
            self.with_frame(|frame, f| frame.network_code(f, depth, missing))?;
        }
        Ok(())
    }

    /// What a program returns where nothing else is said. Measurements are XDP programs too, and return 0.
    pub(super) fn neutral(&self) -> i64 {
        let packets = self.body.probe.filter(|probe| probe.packet.is_some());
        packets.map_or(0, |probe| i64::from(probe.prog_type.neutral_result()))
    }
}

impl ModuleCx<'_> {
    /// The function that sums up what an ICMP error quotes.
    fn quote_sum(&mut self, mode: Mode, link: LinkType, six: bool) -> FuncId {
        let key = (format!("{mode:?} {link:?}"), "quote", usize::from(six));
        if let Some(known) = self.shared.get(&key) {
            return *known;
        }
        let name = self.func_name("quote");
        let func = self.add_func(skep_compiler::layers::quote_sum(&name, mode, link, six));
        self.shared.insert(key, func);
        func
    }

    /// The function that finds the layers of such packets; one for all programs alike.
    fn locator(&mut self, mode: Mode, source: PacketSource, depth: Depth) -> FuncId {
        let known = self.locators.iter().find(|(key, _)| *key == (source, depth));
        if let Some((_, locator)) = known {
            return *locator;
        }
        let outer = match depth {
            Depth::Outer => None,
            Depth::Inner => Some(self.locator(mode, source, Depth::Outer)),
        };
        let name = self.func_name("locate");
        let locator = self.add_func(walk::locator(&name, mode, source.link, (depth, outer)));
        self.locators.push(((source, depth), locator));
        locator
    }
}
