//! Reading packets: parts of a packet enter, values leave; and what happens where the packet lacks a part.
//!
//! A comparison that asks for what the packet lacks does not hold, wherever it stands (predicate, `if`, a side of `&&`). In
//! any other value of a statement it ends the probe: such parts are looked for before the statement does anything
//! ([`Fx::prefetch`]), so that nothing is half done. In an arm of `?:` what is missing is zero. What was found is kept as long
//! as it dominates: [`Fx::mark_packet`] and [`Fx::forget_packet`] stand around everything that is not always executed.

use super::func::Fx;
use super::memory::Mem;
use super::module::ModuleCx;
use super::types::{alignment, ir_type};
use super::{BuildError, Result, internal};
use crate::hir::{Expr, ExprKind, PacketChange, PacketPart, PacketRead, PacketSource, Probe, Stmt, StmtKind};
use crate::ty::{Space, Ty};
use skep_bpf::helpers::id as helper;
use skep_compiler::ir::{BinOp, Block, Cc, FuncBuilder, FuncId, PtrKind, Type, Value};
use skep_compiler::layers::walk::{self, Mark};
use skep_compiler::layers::{
    At, Context, Depth, Field, FieldKind, Frame, LayerId, Mode, NewValue, Reader, Tier, Window,
};

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

    /// Changes the packet; ends the probe where it lacks what is to be changed.
    pub(super) fn change_packet(&mut self, change: &PacketChange) -> Result<()> {
        let end = self.packet()?.end;
        match change {
            PacketChange::PushVlan(tci) => {
                let tci = self.value(tci)?;
                self.with_frame(|frame, f| frame.push_vlan(f, tci, end))
            }
            PacketChange::PopVlan => self.with_frame(|frame, f| frame.pop_vlan(f, end)),
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
            | PacketPart::Filter(_) => Ok(()),
        }
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

    /// A part of the packet that is a scalar.
    pub(super) fn packet_value(&mut self, read: &PacketRead, ty: &Ty) -> Result<Value> {
        let reg = ir_type(ty)?;
        match &read.what {
            PacketPart::Len => {
                let len = self.with_frame(|frame, f| frame.reader().frame_len(f))?;
                return self.narrow_to(len, ty);
            }
            PacketPart::Interface => {
                // ingress_ifindex of struct xdp_md, ifindex of struct __sk_buff.
                let reader = *self.packet()?.frame.reader();
                let at = match reader.mode() {
                    Mode::Direct { context: Context::Xdp, .. } => 12,
                    _ => 40,
                };
                return Ok(self.f.load(Type::U32, reader.ctx(), at));
            }
            PacketPart::Has(_) | PacketPart::Filter(_) | PacketPart::TcpOption { bytes: 0, .. } => {
                let (yes, no, join) = (self.f.block(&[]), self.f.block(&[]), self.f.block(&[reg]));
                self.packet_condition(read, yes, no)?;
                for (block, bit) in [(yes, 1), (no, 0)] {
                    self.f.switch_to(block);
                    let bit = self.f.iconst(reg, bit);
                    self.f.jump(join, &[bit]);
                }
                self.f.switch_to(join);
                return Ok(self.f.block_param(join, 0));
            }
            _ => {}
        }
        match self.packet()?.missing {
            Missing::Goto(missing) => self.found_value(read, ty, missing),
            Missing::Zero => {
                let (absent, join, mark) = (self.f.block(&[]), self.f.block(&[reg]), self.mark_packet());
                let value = self.found_value(read, ty, absent)?;
                self.f.jump(join, &[value]);
                self.f.switch_to(absent);
                let zero = self.zero_of(reg);
                self.f.jump(join, &[zero]);
                self.f.switch_to(join);
                self.forget_packet(mark);
                Ok(self.f.block_param(join, 0))
            }
        }
    }

    fn found_value(&mut self, read: &PacketRead, ty: &Ty, missing: Block) -> Result<Value> {
        let depth = read.depth;
        match &read.what {
            PacketPart::Field(fields) => self.field_number(fields, read, ty, missing),
            PacketPart::Protocol => {
                let code = self.with_frame(|frame, f| frame.transport_code(f, depth, missing))?;
                self.narrow_to(code, ty)
            }
            PacketPart::IpLen => self.ip_len(read, ty, missing),
            PacketPart::TcpOption { kind, at, bytes } => {
                let (kind, at, bytes) = (*kind, *at, *bytes);
                let value = self.with_frame(|frame, f| {
                    let place = frame.tcp_option(f, depth, (kind, at + bytes), missing);
                    let window = frame.window(f, place, at + bytes, missing);
                    window.bits(f, 8 * at, 8 * bytes)
                })?;
                self.narrow_to(value, ty)
            }
            other => internal(format!("{other:?} is no scalar")),
        }
    }

    fn field_number(
        &mut self,
        fields: &[(LayerId, &'static Field)],
        read: &PacketRead,
        ty: &Ty,
        missing: Block,
    ) -> Result<Value> {
        if let [(layer, field)] = fields {
            let value = self.one_field(*layer, field, read, missing)?;
            return self.narrow_to(value, ty);
        }
        let join = self.f.block(&[Type::U64]);
        self.network_first(fields.iter().map(|f| f.0), read.depth, missing)?;
        for (layer, field) in fields {
            let (next, mark) = (self.f.block(&[]), self.mark_packet());
            let value = self.one_field(*layer, field, read, next)?;
            self.f.jump(join, &[value]);
            self.f.switch_to(next);
            self.forget_packet(mark);
        }
        self.f.jump(missing, &[]);
        self.f.switch_to(join);
        let value = self.f.block_param(join, 0);
        self.narrow_to(value, ty)
    }

    /// A field of a layer as a number. A tag that the device took out of the frame counts as the first.
    fn one_field(
        &mut self,
        layer: LayerId,
        field: &Field,
        read: &PacketRead,
        missing: Block,
    ) -> Result<Value> {
        if layer == LayerId::Vlan && self.may_be_offloaded(read)? && field.end_byte() <= 2 {
            return self.tag_field(field, read, missing);
        }
        let at = self.layer_at(layer, read, missing)?;
        let window = self.header(layer, at, Some(field), missing)?;
        Ok(window.field(&mut self.f, field))
    }

    /// Whether the outermost tag may be in the context.
    fn may_be_offloaded(&mut self, read: &PacketRead) -> Result<bool> {
        let mode = self.packet()?.frame.reader().mode();
        Ok(read.depth == Depth::Outer && matches!(mode, Mode::Direct { context: Context::Skb, .. }))
    }

    /// A field of the nth VLAN tag, of which the first may be in the context.
    fn tag_field(&mut self, field: &Field, read: &PacketRead, missing: Block) -> Result<Value> {
        let (inside, join, mark) = (self.f.block(&[]), self.f.block(&[Type::U64]), self.mark_packet());
        let tci = self.with_frame(|frame, f| frame.offloaded_tag(f, inside))?;
        match (tci, read.nth) {
            (Some(tci), 0) => {
                let shift = self.f.u64(u64::from(16 - field.bit - field.bits));
                let mask = self.f.u64((1 << field.bits) - 1);
                let value = self.f.bin(BinOp::Lshr, Type::U64, tci, shift);
                let value = self.f.bin(BinOp::And, Type::U64, value, mask);
                self.f.jump(join, &[value]);
            }
            (_, nth) => {
                let outer = PacketRead { nth: nth.saturating_sub(1), ..read.clone() };
                let at = self.layer_at(LayerId::Vlan, &outer, missing)?;
                let window = self.header(LayerId::Vlan, at, Some(field), missing)?;
                let value = window.field(&mut self.f, field);
                self.f.jump(join, &[value]);
            }
        }
        self.forget_packet(mark);
        self.f.switch_to(inside);
        let at = self.layer_at(LayerId::Vlan, read, missing)?;
        let window = self.header(LayerId::Vlan, at, Some(field), missing)?;
        let value = window.field(&mut self.f, field);
        self.f.jump(join, &[value]);
        self.forget_packet(mark);
        self.f.switch_to(join);
        Ok(self.f.block_param(join, 0))
    }

    /// Bytes of the IP packet, its header included.
    fn ip_len(&mut self, read: &PacketRead, ty: &Ty, missing: Block) -> Result<Value> {
        let join = self.f.block(&[Type::U64]);
        self.network_first([LayerId::Ip4, LayerId::Ip6], read.depth, missing)?;
        for (layer, header) in [(LayerId::Ip4, 0), (LayerId::Ip6, 40)] {
            let (next, mark) = (self.f.block(&[]), self.mark_packet());
            let Some(field) = layer.row().field("len") else { return internal("no length") };
            let len = self.one_field(layer, field, read, next)?;
            let len = self.number(len);
            let len = if header == 0 { len } else { self.f.add_imm(len, header) };
            self.f.jump(join, &[len]);
            self.f.switch_to(next);
            self.forget_packet(mark);
        }
        self.f.jump(missing, &[]);
        self.f.switch_to(join);
        let len = self.f.block_param(join, 0);
        self.narrow_to(len, ty)
    }

    /// Ends the current block: `yes` if the packet has the part, else `no`.
    pub(super) fn packet_condition(&mut self, read: &PacketRead, yes: Block, no: Block) -> Result<()> {
        let depth = read.depth;
        match &read.what {
            PacketPart::Has(layers) => {
                let mark = self.mark_packet();
                self.network_first(layers.iter().copied(), depth, no)?;
                for (index, layer) in layers.iter().enumerate() {
                    let last = index + 1 == layers.len();
                    let next = if last { no } else { self.f.block(&[]) };
                    if *layer == LayerId::Vlan && self.may_be_offloaded(read)? {
                        let field = &layer.row().fields[0];
                        self.tag_field(field, read, next)?;
                    } else {
                        let at = self.layer_at(*layer, read, next)?;
                        self.header(*layer, at, None, next)?;
                    }
                    self.f.jump(yes, &[]);
                    if !last {
                        self.f.switch_to(next);
                        self.forget_packet(mark);
                    }
                }
                if layers.len() > 1 {
                    self.forget_packet(mark);
                }
                Ok(())
            }
            PacketPart::TcpOption { kind, .. } => {
                let kind = *kind;
                self.with_frame(|frame, f| frame.tcp_option(f, depth, (kind, 0), no))?;
                self.f.jump(yes, &[]);
                Ok(())
            }
            PacketPart::Filter(filter) => {
                let reader = *self.packet()?.frame.reader();
                filter.code.build(&mut self.f, &reader, yes, no);
                Ok(())
            }
            other => internal(format!("{other:?} is no condition")),
        }
    }

    /// Writes a part of the packet that is no scalar to the program's memory.
    pub(super) fn put_packet(&mut self, read: &PacketRead, ty: &Ty, to: Value, off: i32) -> Result<()> {
        let size = self.cx.size_of(ty);
        self.f.zero(to, off, size, alignment(off, size));
        match self.packet()?.missing {
            Missing::Goto(missing) => self.put_part(read, ty, (to, off), missing),
            Missing::Zero => {
                let (absent, mark) = (self.f.block(&[]), self.mark_packet());
                self.put_part(read, ty, (to, off), absent)?;
                self.f.jump(absent, &[]);
                self.f.switch_to(absent);
                self.forget_packet(mark);
                Ok(())
            }
        }
    }

    fn put_part(&mut self, read: &PacketRead, ty: &Ty, to: (Value, i32), missing: Block) -> Result<()> {
        match &read.what {
            PacketPart::Payload => self.put_payload(read, ty, to, missing),
            PacketPart::Field(fields) => match fields.as_slice() {
                [(layer, field)] => self.put_field(*layer, field, read, to, missing),
                fields => {
                    self.network_first(fields.iter().map(|f| f.0), read.depth, missing)?;
                    let done = self.f.block(&[]);
                    for (layer, field) in fields {
                        let (next, mark) = (self.f.block(&[]), self.mark_packet());
                        self.put_field(*layer, field, read, to, next)?;
                        self.f.jump(done, &[]);
                        self.f.switch_to(next);
                        self.forget_packet(mark);
                    }
                    self.f.jump(missing, &[]);
                    self.f.switch_to(done);
                    Ok(())
                }
            },
            other => internal(format!("{other:?} in memory")),
        }
    }

    fn put_field(
        &mut self,
        layer: LayerId,
        field: &Field,
        read: &PacketRead,
        (to, off): (Value, i32),
        missing: Block,
    ) -> Result<()> {
        let at = self.layer_at(layer, read, missing)?;
        let window = self.header(layer, at, Some(field), missing)?;
        let (first, len) = (field.first_byte(), field.end_byte() - field.first_byte());
        let family = match field.kind {
            FieldKind::Ip4 => Some(FAMILIES[0]),
            FieldKind::Ip6 => Some(FAMILIES[1]),
            _ => None,
        };
        let mut at = off;
        if let Some(family) = family {
            let family = self.f.u64(family);
            self.f.store(4, to, off, family);
            at += 4;
        }
        window.copy(&mut self.f, first, len, to, at);
        Ok(())
    }

    /// u32 length, then the bytes: as many as there are, at most what the type holds.
    fn put_payload(
        &mut self,
        read: &PacketRead,
        ty: &Ty,
        (to, off): (Value, i32),
        missing: Block,
    ) -> Result<()> {
        let Ty::Buf { size } = *ty else { return internal("a payload that is no buffer") };
        let depth = read.depth;
        let at = self.with_frame(|frame, f| frame.payload(f, depth, missing))?;
        let (start, end) = self.with_frame(|frame, f| (at.value(f), frame.reader().frame_len(f)))?;
        let end = self.number(end);
        let done = self.f.block(&[]);
        let some = self.f.block(&[]);
        self.f.branch(Cc::Ule, end, start, done, some);
        self.f.switch_to(some);
        let left = self.f.bin(BinOp::Sub, Type::U64, end, start);
        let len = self.f.bound(left, u64::from(size));
        self.f.store(4, to, off, len);
        let bytes_at = self.f.ptr_add_imm(to, i64::from(off) + 4);
        let reader = *self.packet()?.frame.reader();
        match reader.mode() {
            Mode::Direct { context: Context::Xdp, beyond: false } => {
                // Before 5.18 no helper copies a frame's bytes, but all of them lie in one piece of kernel memory.
                let data = self.f.load(Type::Ptr(PtrKind::Packet), reader.ctx(), 0);
                let data = self.untrack(data);
                let from = self.f.bin(BinOp::Add, Type::U64, data, start);
                let from = self.address(&Mem { base: from, off: 0, core: None, space: Space::Kernel });
                let len = self.f.bound(left, u64::from(size));
                self.call(helper::PROBE_READ_KERNEL, &[bytes_at, len, from]);
            }
            mode => {
                let id = match mode {
                    Mode::Direct { context: Context::Xdp, .. } => helper::XDP_LOAD_BYTES,
                    _ => helper::SKB_LOAD_BYTES,
                };
                // The helpers refuse a length of zero.
                let len = self.f.bound(left, u64::from(size));
                let one = self.f.u64(1);
                let (go, none) = (self.f.block(&[]), done);
                self.f.branch(Cc::Ult, len, one, none, go);
                self.f.switch_to(go);
                let less = self.f.add_imm(left, -1);
                let less = self.f.bound(less, u64::from(size) - 1);
                let len = self.f.add_imm(less, 1);
                self.f.helper(id, &[reader.ctx(), start, bytes_at, len], Type::I64);
            }
        }
        self.f.jump(done, &[]);
        self.f.switch_to(done);
        Ok(())
    }

    /// What a program returns where nothing else is said. Measurements are XDP programs too, and return 0.
    pub(super) fn neutral(&self) -> i64 {
        let packets = self.body.probe.filter(|probe| probe.packet.is_some());
        packets.map_or(0, |probe| i64::from(probe.prog_type.neutral_result()))
    }
}

impl ModuleCx<'_> {
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

/// In which depths a probe asks for layers of the packet.
fn depths(probe: Option<&Probe>) -> Vec<Depth> {
    let mut found = Vec::new();
    let mut see = |node: super::walk::Node<'_>| {
        if let super::walk::Node::Expr(Expr { kind: ExprKind::Packet(read), .. }) = node
            && !matches!(read.what, PacketPart::Len | PacketPart::Interface | PacketPart::Filter(_))
            && !found.contains(&read.depth)
        {
            found.push(read.depth);
        }
    };
    if let Some(probe) = probe {
        probe.predicate.iter().for_each(|e| super::walk::walk_expr(e, &mut see));
        super::walk::walk_stmts(&probe.body, &mut see);
    }
    found
}

/// Whether an expression asks for the packet.
pub(super) fn reads_packet(e: &Expr) -> bool {
    let mut found = false;
    super::walk::walk_expr(e, &mut |node| {
        if let super::walk::Node::Expr(Expr { kind: ExprKind::Packet(_), .. }) = node {
            found = true;
        }
    });
    found
}

/// Whether everything in an expression is evaluated in any case, one after another.
fn is_straight(e: &Expr) -> bool {
    match &e.kind {
        ExprKind::Int(_) | ExprKind::Str(_) | ExprKind::Var(_) => true,
        ExprKind::Packet(read) => match &read.what {
            PacketPart::Field(fields) => fields.len() == 1 && fields[0].0 != LayerId::Vlan,
            PacketPart::Len | PacketPart::Interface | PacketPart::Protocol => true,
            PacketPart::Has(layers) => layers.len() == 1 && layers[0] != LayerId::Vlan,
            _ => false,
        },
        ExprKind::Convert(a) | ExprKind::Unary { a, .. } | ExprKind::Reinterpret(a) => is_straight(a),
        ExprKind::Binary { a, b, .. } | ExprKind::Compare { a, b, .. } => is_straight(a) && is_straight(b),
        _ => false,
    }
}

fn stmt_reads<'t>(stmt: &'t Stmt, out: &mut Vec<&'t PacketRead>) {
    match &stmt.kind {
        StmtKind::Expr(e) | StmtKind::AssignVar(_, e) | StmtKind::Return(Some(e)) => always_read(e, out),
        StmtKind::AssignMap { key, value, .. } => {
            key.iter().for_each(|e| always_read(e, out));
            always_read(value, out);
        }
        StmtKind::Aggregate { key, arg, weight, .. } => {
            key.iter().chain(arg).chain(weight).for_each(|e| always_read(e, out));
        }
        StmtKind::Delete { key, .. } => key.iter().for_each(|e| always_read(e, out)),
        StmtKind::ChangePacket(PacketChange::Set { value, .. } | PacketChange::PushVlan(value)) => {
            always_read(value, out);
        }
        StmtKind::Emit { args, .. } => args.iter().for_each(|e| always_read(e, out)),
        _ => {}
    }
}

/// Parts that an expression asks for in any case, but for those of comparisons, which do not hold without them.
fn always_read<'t>(e: &'t Expr, out: &mut Vec<&'t PacketRead>) {
    match &e.kind {
        ExprKind::Packet(read) => out.push(read),
        ExprKind::Logical { .. }
        | ExprKind::Not(_)
        | ExprKind::Compare { .. }
        | ExprKind::BytesEq { .. }
        | ExprKind::Ternary { .. }
        | ExprKind::Block { .. } => {}
        ExprKind::MapGet { key, .. }
        | ExprKind::MapAgg { key, .. }
        | ExprKind::HasKey { key, .. }
        | ExprKind::Delete { key, .. }
        | ExprKind::IncMap { key, .. } => key.iter().for_each(|e| always_read(e, out)),
        ExprKind::Field { base: a, .. }
        | ExprKind::TupleField { base: a, .. }
        | ExprKind::Unary { a, .. }
        | ExprKind::Convert(a)
        | ExprKind::Reinterpret(a)
        | ExprKind::AddrOf(a) => always_read(a, out),
        ExprKind::Index { base, index, .. } => {
            always_read(base, out);
            always_read(index, out);
        }
        ExprKind::Binary { a, b, .. } => {
            always_read(a, out);
            always_read(b, out);
        }
        ExprKind::Tuple(parts)
        | ExprKind::Record(parts)
        | ExprKind::Call { args: parts, .. }
        | ExprKind::CallFn { args: parts, .. } => parts.iter().for_each(|e| always_read(e, out)),
        ExprKind::Int(_)
        | ExprKind::Str(_)
        | ExprKind::Var(_)
        | ExprKind::MapLen(_)
        | ExprKind::Arg(_)
        | ExprKind::IncVar { .. } => {}
    }
}
