//! Parts of a packet that are no scalars, written to the program's memory: addresses and the payload.

use super::{FAMILIES, Missing};
use crate::build::func::Fx;
use crate::build::memory::Mem;
use crate::build::types::alignment;
use crate::build::{Result, internal};
use crate::hir::{PacketPart, PacketRead};
use crate::ty::{Space, Ty};
use skep_bpf::helpers::id as helper;
use skep_compiler::ir::{BinOp, Block, Cc, PtrKind, Type, Value};
use skep_compiler::layers::{Context, Field, FieldKind, LayerId, Mode};

impl Fx<'_, '_> {
    /// Writes a part of the packet that is no scalar to the program's memory.
    pub(in crate::build) fn put_packet(
        &mut self,
        read: &PacketRead,
        ty: &Ty,
        to: Value,
        off: i32,
    ) -> Result<()> {
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
}
