//! Reading memory: an address with its space enters, values or copies leave. A read that fails gives zeros: the helpers
//! zero what they cannot fill (bpf_probe_read_*, kernel/trace/bpf_trace.c).

use super::func::Fx;
use super::types::{alignment, int_type, mem_size};
use super::{Result, internal};
use crate::hir::Access;
use crate::ty::Space;
use skep_bpf::helpers::id as helper;
use skep_bpf::object::CoreReloc;
use skep_compiler::ir::{BinOp, Cc, IntTy, Offset, Op, PtrKind, Type, Value};

/// Copies up to this many bytes are loads and stores; longer ones are left to a helper.
const INLINE_COPY: u32 = 128;

/// An address: base, constant offset, and how it is read.
#[derive(Clone, Debug)]
pub(super) struct Mem {
    /// Start.
    pub(super) base: Value,
    /// Bytes from it.
    pub(super) off: i32,
    /// The offset of a kernel field, to be added.
    pub(super) core: Option<(u32, CoreReloc)>,
    /// How to read.
    pub(super) space: Space,
}

impl Mem {
    /// Memory of the program.
    pub(super) fn own(base: Value, off: i32) -> Mem {
        Mem { base, off, core: None, space: Space::Bpf }
    }

    /// So many bytes further on.
    pub(super) fn plus(mut self, bytes: u32) -> Mem {
        self.off = self.off.wrapping_add(bytes as i32);
        self
    }

    /// As an offset of a load.
    fn offset(&self) -> Offset {
        Offset { add: self.off, core: self.core.clone() }
    }
}

impl Fx<'_, '_> {
    /// base + offset, the field's part kept apart for relocation.
    pub(super) fn offset_address(&mut self, base: Value, off: &Offset) -> Value {
        let mut address = base;
        if let Some((value, reloc)) = &off.core {
            let op = Op::CoreConst { value: u64::from(*value), reloc: reloc.clone() };
            let field = self.f.push_value(op, Type::U64);
            address = self.f.ptr_add(address, field);
        }
        self.f.ptr_add_imm(address, i64::from(off.add))
    }

    /// A field of `mem`.
    pub(super) fn field(&self, mem: Mem, access: &Access) -> Mem {
        let Some(core) = &access.core else { return mem.plus(access.offset) };
        // A field of an embedded struct is reached from the outer one, by one path: the base stays the pointer that is
        // compared with null.
        let (offset, core) = match &mem.core {
            None => (access.offset, core.clone()),
            Some((offset, outer)) => {
                let mut joined = outer.clone();
                joined.path.extend(core.path.iter().skip(1));
                (offset + access.offset, joined)
            }
        };
        Mem { core: Some((offset, core)), ..mem }
    }

    /// The address as a pointer, for helpers that write there or read the program's own memory.
    pub(super) fn pointer(&mut self, mem: &Mem) -> Value {
        self.offset_address(mem.base, &mem.offset())
    }

    /// The address as helpers that read any memory take it: a number of kernel or user space. A tracked pointer that may
    /// be null cannot be added to, so it is made a number first.
    pub(super) fn address(&mut self, mem: &Mem) -> Value {
        let kind = if mem.space == Space::User { PtrKind::User } else { PtrKind::Kernel };
        let base = match self.f.type_of(mem.base) {
            Type::Ptr(PtrKind::Btf { nullable: true, .. }) => self.plain(mem.base),
            Type::Int(_) => self.f.cast(mem.base, Type::Ptr(kind)),
            Type::Ptr(_) => mem.base,
        };
        let address = self.offset_address(base, &mem.offset());
        match self.f.type_of(address) {
            Type::Ptr(PtrKind::Kernel | PtrKind::User) => address,
            _ => self.f.cast(address, Type::Ptr(kind)),
        }
    }

    /// The same as a number that anything can be added to.
    pub(super) fn free_address(&mut self, mem: &Mem) -> Value {
        let base = match self.f.type_of(mem.base) {
            Type::Ptr(PtrKind::Kernel | PtrKind::User) | Type::Int(_) => self.number(mem.base),
            Type::Ptr(_) => self.untrack(mem.base),
        };
        let base = self.f.cast(base, Type::Ptr(PtrKind::Kernel));
        let address = self.offset_address(base, &mem.offset());
        self.f.cast(address, Type::U64)
    }

    /// Reads a scalar through a helper: `address` is a kernel or (`user`) user address.
    pub(super) fn probe_read(&mut self, address: Value, ty: Type, user: bool) -> Result<Value> {
        let size = mem_size(ty);
        let word = self.word();
        self.probe_bytes(word, u32::from(size), address, user);
        Ok(self.load_mem(ty, word, Offset::at(0)))
    }

    /// A load of a value that lies in memory as it does in C: a bool is whatever is not zero.
    fn load_mem(&mut self, ty: Type, base: Value, off: Offset) -> Value {
        match ty {
            Type::Int(IntTy::BOOL) => {
                let byte = self.f.load_field(Type::Int(IntTy { bits: 8, signed: false }), base, off);
                let zero = self.f.u64(0);
                self.f.cmp(Cc::Ne, byte, zero)
            }
            _ => self.f.load_field(ty, base, off),
        }
    }

    /// Copies bytes from an address into the program's memory; zeros where the read fails.
    pub(super) fn probe_bytes(&mut self, to: Value, size: u32, address: Value, user: bool) {
        let id = if user { helper::PROBE_READ_USER } else { helper::PROBE_READ_KERNEL };
        let size = self.f.iconst(Type::U32, i64::from(size));
        self.call(id, &[to, size, address]);
    }

    /// Reads a scalar of type `ty` at `mem`.
    pub(super) fn read(&mut self, mem: &Mem, ty: Type) -> Result<Value> {
        match (mem.space, self.f.type_of(mem.base)) {
            (Space::Bpf, Type::Ptr(kind)) if !matches!(kind, PtrKind::Kernel | PtrKind::User) => {
                Ok(self.load_mem(ty, mem.base, mem.offset()))
            }
            (Space::Ctx, Type::Ptr(PtrKind::Ctx))
                if mem.offset().resolved() % i64::from(mem_size(ty)) == 0 =>
            {
                Ok(self.load_mem(ty, mem.base, mem.offset()))
            }
            (Space::Btf, Type::Ptr(PtrKind::Btf { nullable, .. })) => self.read_btf(mem, ty, nullable),
            _ => {
                let address = self.address(mem);
                self.probe_read(address, ty, mem.space == Space::User)
            }
        }
    }

    /// A plain load through a pointer that the verifier knows by type; zero where it is null.
    fn read_btf(&mut self, mem: &Mem, ty: Type, nullable: bool) -> Result<Value> {
        if !nullable {
            return Ok(self.f.load_field(ty, mem.base, mem.offset()));
        }
        let (null, join) = (self.f.block(&[]), self.f.block(&[ty]));
        let base = self.f.check_null(mem.base, null);
        let value = self.f.load_field(ty, base, mem.offset());
        self.f.jump(join, &[value]);
        self.f.switch_to(null);
        let zero = self.zero_of(ty);
        self.f.jump(join, &[zero]);
        self.f.switch_to(join);
        Ok(self.f.block_param(join, 0))
    }

    /// Reads a bit field of type `ty`: `width` bits from bit `first` of the `unit` bytes at `mem`.
    pub(super) fn read_bits(
        &mut self,
        mem: &Mem,
        ty: Type,
        (first, width, unit): (u8, u8, u8),
    ) -> Result<Value> {
        if !matches!(unit, 1 | 2 | 4 | 8) || width == 0 || u32::from(first) + u32::from(width) > 64 {
            return internal(format!("bit field of {width} bits at {first} in {unit} bytes"));
        }
        let unit = Type::Int(IntTy { bits: unit * 8, signed: false });
        let word = self.read(mem, unit)?;
        let word = self.number(word);
        let int = int_type(ty);
        let left = self.f.u64(u64::from(64 - width - first));
        let right = self.f.u64(u64::from(64 - width));
        let high = self.f.bin(BinOp::Shl, Type::U64, word, left);
        let (op, wide) = match int.signed {
            true => (BinOp::Ashr, Type::I64),
            false => (BinOp::Lshr, Type::U64),
        };
        let low = self.f.bin(op, wide, high, right);
        Ok(self.narrow(low, ty))
    }

    /// Copies `size` bytes from `from` into the program's memory at `to` + `off`.
    pub(super) fn copy_bytes(&mut self, to: Value, off: i32, from: &Mem, size: u32) {
        if size == 0 {
            return;
        }
        let tracked = match self.f.type_of(from.base) {
            Type::Ptr(kind) => {
                !matches!(kind, PtrKind::Kernel | PtrKind::User | PtrKind::Btf { .. } | PtrKind::Ctx)
            }
            Type::Int(_) => false,
        };
        if tracked && from.space == Space::Bpf && size <= INLINE_COPY {
            let align = alignment(from.off, size).min(alignment(off, size));
            self.f.copy(to, off, from.base, from.off, size, align);
            return;
        }
        let address = self.address(from);
        let to = self.f.ptr_add_imm(to, i64::from(off));
        self.probe_bytes(to, size, address, from.space == Space::User);
    }
}
