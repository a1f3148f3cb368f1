//! Parts of a packet as scalars and as conditions.

use super::Missing;
use crate::build::func::Fx;
use crate::build::types::ir_type;
use crate::build::{Result, internal};
use crate::hir::{PacketPart, PacketRead};
use crate::ty::Ty;
use skep_compiler::ir::{BinOp, Block, Type, Value};
use skep_compiler::layers::{Context, Depth, Field, LayerId, Mode};

impl Fx<'_, '_> {
    /// A part of the packet that is a scalar.
    pub(in crate::build) fn packet_value(&mut self, read: &PacketRead, ty: &Ty) -> Result<Value> {
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
            PacketPart::Segment => {
                let reader = *self.packet()?.frame.reader();
                return Ok(match reader.mode() {
                    Mode::Direct { context: Context::Xdp, .. } => self.f.iconst(Type::U32, 0),
                    // gso_size of struct __sk_buff.
                    _ => self.f.load(Type::U32, reader.ctx(), 176),
                });
            }
            PacketPart::Carried => return self.carried(),
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

    /// The number in front of the frame; 0 where there is none.
    fn carried(&mut self) -> Result<Value> {
        let reader = *self.packet()?.frame.reader();
        let Mode::Direct { context: Context::Xdp, .. } = reader.mode() else { return Ok(self.f.u64(0)) };
        let (none, join) = (self.f.block(&[]), self.f.block(&[Type::U64]));
        let place = reader.carried(&mut self.f, none);
        let number = self.f.load(Type::U64, place, 0);
        self.f.jump(join, &[number]);
        self.f.switch_to(none);
        let zero = self.f.u64(0);
        self.f.jump(join, &[zero]);
        self.f.switch_to(join);
        Ok(self.f.block_param(join, 0))
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
    pub(super) fn one_field(
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
    pub(in crate::build) fn packet_condition(
        &mut self,
        read: &PacketRead,
        yes: Block,
        no: Block,
    ) -> Result<()> {
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
}
