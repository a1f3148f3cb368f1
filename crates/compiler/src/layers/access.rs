//! Reading a packet in a program: a place in the frame and a number of bytes enter; instructions that make those bytes
//! readable leave, and a way out where the frame is too short.
//!
//! The way in which the bytes are reached is a parameter ([`Mode`]), and every mode gives the same bytes and the same way
//! out. What always holds: a [`Window`] may be read at constant distances within its length, wherever it dominates;
//! its bounds are checked once, where it is made. A place that the verifier must see bounded is bounded directly before
//! its use ([`crate::ir::Op::Bound`]).

use crate::ir::{BinOp, Block, Cc, FuncBuilder, IntTy, PtrKind, Type, UnOp, Value};
use crate::ir::{Op, Width};
use skep_bpf::helpers::id;

use super::table::Field;

/// Farthest that a packet pointer goes: beyond 0xffff the verifier forgets the packet's bounds (`MAX_PACKET_OFF`,
/// kernel/bpf/verifier.c).
const FARTHEST: u32 = 0xff00;

/// Bytes of the number that a frame carries in front of it.
const CARRIED: i64 = 8;

/// The context that a program gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Context {
    /// `struct xdp_md`
    Xdp,
    /// `struct __sk_buff`
    Skb,
}

impl Context {
    /// Offsets of `data` and `data_end` (include/uapi/linux/bpf.h).
    fn data(self) -> (i32, i32) {
        match self {
            Context::Xdp => (0, 4),
            Context::Skb => (76, 80),
        }
    }

    /// The helper that copies bytes of the frame, wherever they are.
    fn load_helper(self) -> u32 {
        match self {
            Context::Xdp => id::XDP_LOAD_BYTES,
            Context::Skb => id::SKB_LOAD_BYTES,
        }
    }
}

/// How a packet's bytes are reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Through pointers to the frame, `data` to `data_end` of the context (XDP, TC).
    Direct {
        /// The context.
        context: Context,
        /// Bytes behind `data_end` are there too and are copied by a helper: frames in several buffers. On XDP this needs
        /// [`skep_bpf::target::Feature`]s of 5.18.
        beyond: bool,
    },
    /// Through the helper that copies bytes (socket filters).
    Load {
        /// The context.
        context: Context,
    },
    /// Through probe reads of kernel memory (tracepoints that carry a packet).
    Probe {
        /// Kernel address of the frame's first byte.
        start: Value,
        /// Bytes that lie there.
        len: Value,
        /// Bytes of the frame, of which some may lie elsewhere.
        whole: Value,
    },
    /// In memory that the program may access: a map's value, or its stack.
    Flat {
        /// Address of the first byte.
        start: Value,
        /// Bytes that are there, at most `capacity`.
        len: Value,
        /// Bytes of the frame, of which some may not be there.
        whole: Value,
        /// Bytes that may be accessed.
        capacity: u32,
    },
}

/// A place in a frame: `base + add` bytes from its first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct At {
    /// What is only known when the program runs, 64 bits.
    pub base: Option<Value>,
    /// What is known now.
    pub add: u32,
    /// The most that both together can be; `u32::MAX` where nothing is known.
    pub max: u32,
}

impl At {
    /// A constant place.
    pub fn constant(add: u32) -> At {
        At { base: None, add, max: add }
    }

    /// So many bytes behind.
    pub fn plus(self, bytes: u32) -> At {
        At { add: self.add + bytes, max: self.max.saturating_add(bytes), ..self }
    }

    /// As a value of 64 bits.
    pub fn value(self, f: &mut FuncBuilder) -> Value {
        match self.base {
            None => f.u64(u64::from(self.add)),
            Some(base) if self.add == 0 => base,
            Some(base) => f.add_imm(base, i64::from(self.add)),
        }
    }
}

/// Bytes that may be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Address of the first.
    pub ptr: Value,
    /// How many.
    pub len: u32,
    /// Whether it may lie on the stack, where accesses must be aligned.
    pub aligned: bool,
}

/// Reads a packet in one function.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    mode: Mode,
    ctx: Value,
    /// `data` and `data_end`.
    data: Option<(Value, Value)>,
    /// See [`Reader::veil`].
    veil: Option<Value>,
}

/// Bits that the veil hides.
const VEIL: u64 = 0x7fff;

impl Reader {
    /// A reader; what it needs of the context is read at the builder's place, which must dominate every use.
    pub fn new(f: &mut FuncBuilder, mode: Mode, ctx: Value) -> Reader {
        let mut reader = Reader { mode, ctx, data: None, veil: None };
        reader.reload(f);
        reader.veil = Some(reader.make_veil(f));
        reader
    }

    /// A reader of the bytes between two packet pointers, for programs that go through several packets; both must dominate every
    /// use.
    pub fn between(ctx: Value, context: Context, data: Value, end: Value) -> Reader {
        Reader { mode: Mode::Direct { context, beyond: false }, ctx, data: Some((data, end)), veil: None }
    }

    /// The value unchanged, but as one of which the verifier knows nothing (of its low 15 bits). Where ways meet that differ
    /// in where a layer was found, it would otherwise follow all that comes behind once for each of them.
    pub fn veil(&self, f: &mut FuncBuilder, value: Value) -> Value {
        match self.veil {
            Some(veil) => f.bin(BinOp::Xor, Type::U64, value, veil),
            None => value,
        }
    }

    /// Zero, which the verifier cannot see: no frame has 2^31 bytes.
    fn make_veil(&self, f: &mut FuncBuilder) -> Value {
        let (len, bits) = match (self.mode, self.data) {
            (Mode::Direct { .. }, Some((data, end))) => {
                let (data, end) = (f.cast(data, Type::U64), f.cast(end, Type::U64));
                (f.bin(BinOp::Sub, Type::U64, end, data), 63)
            }
            (Mode::Probe { len, .. } | Mode::Flat { len, .. }, _) => (len, 63),
            _ => (self.frame_len(f), 31),
        };
        let (bits, zero, mask) = (f.u64(bits), f.u64(0), f.u64(VEIL));
        let top = f.bin(BinOp::Lshr, Type::U64, len, bits);
        let spread = f.bin(BinOp::Sub, Type::U64, zero, top);
        f.bin(BinOp::And, Type::U64, spread, mask)
    }

    /// How it reads.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The program's context.
    pub fn ctx(&self) -> Value {
        self.ctx
    }

    /// Reads the context anew: what was known of the packet no longer holds. To be called behind a helper that changes it.
    pub fn reload(&mut self, f: &mut FuncBuilder) {
        if let Mode::Direct { context, .. } = self.mode {
            let (data, end) = context.data();
            let data = f.load(Type::Ptr(PtrKind::Packet), self.ctx, data);
            let end = f.load(Type::Ptr(PtrKind::PacketEnd), self.ctx, end);
            self.data = Some((data, end));
        }
    }

    /// Bytes from the frame's first one on that can be copied, 64 bits.
    pub fn reach(&self, f: &mut FuncBuilder) -> Value {
        match self.mode {
            Mode::Probe { len, .. } | Mode::Flat { len, .. } => len,
            Mode::Direct { .. } | Mode::Load { .. } => self.frame_len(f),
        }
    }

    /// Bytes of the frame, 64 bits.
    pub fn frame_len(&self, f: &mut FuncBuilder) -> Value {
        match self.mode {
            Mode::Direct { context: Context::Skb, .. } | Mode::Load { context: Context::Skb } => {
                let len = f.load(Type::U32, self.ctx, 0);
                f.extend(len, IntTy::U64)
            }
            Mode::Direct { context: Context::Xdp, beyond: false } => {
                let (data, end) = self.bounds();
                let (data, end) = (f.cast(data, Type::U64), f.cast(end, Type::U64));
                f.bin(BinOp::Sub, Type::U64, end, data)
            }
            Mode::Direct { context: Context::Xdp, .. } | Mode::Load { context: Context::Xdp } => {
                f.helper(id::XDP_GET_BUFF_LEN, &[self.ctx], Type::U64)
            }
            Mode::Probe { whole, .. } | Mode::Flat { whole, .. } => whole,
        }
    }

    fn bounds(&self) -> (Value, Value) {
        self.data.unwrap_or((self.ctx, self.ctx))
    }

    /// Makes `len` bytes from `at` on readable; goes to `missing` where the frame does not have them. Building goes on where
    /// it has.
    pub fn window(&self, f: &mut FuncBuilder, at: At, len: u32, missing: Block) -> Window {
        match self.mode {
            Mode::Direct { beyond: false, .. } => {
                let ptr = self.direct(f, at, len, missing);
                Window { ptr, len, aligned: false }
            }
            Mode::Direct { context, beyond: true } => {
                let (both, far) = (f.block(&[Type::Ptr(PtrKind::Packet)]), f.cold_block());
                let near = self.direct(f, at, len, far);
                f.jump(both, &[near]);
                f.switch_to(far);
                let copy = self.copied(f, context.load_helper(), at, len, missing);
                let copy = f.cast(copy, Type::Ptr(PtrKind::Packet));
                f.jump(both, &[copy]);
                f.switch_to(both);
                Window { ptr: f.block_param(both, 0), len, aligned: true }
            }
            Mode::Load { context } => {
                let ptr = self.copied(f, context.load_helper(), at, len, missing);
                Window { ptr, len, aligned: true }
            }
            Mode::Probe { start, len: there, .. } => {
                let off = within(f, at, len, there, missing);
                let slot = f.slot(len, 8, "packet");
                let to = f.slot_addr(slot);
                let size = f.u64(u64::from(len));
                let from = f.ptr_add(start, off);
                let result = f.helper(id::PROBE_READ_KERNEL, &[to, size, from], Type::I64);
                succeeded(f, result, missing);
                Window { ptr: to, len, aligned: true }
            }
            Mode::Flat { start, len: there, capacity, .. } => {
                let off = within(f, at, len, there, missing);
                let off = f.bound(off, u64::from(capacity.saturating_sub(len)));
                Window { ptr: f.ptr_add(start, off), len, aligned: true }
            }
        }
    }

    /// A pointer to `len` bytes between `data` and `data_end`; `short` where they are not there.
    pub fn direct(&self, f: &mut FuncBuilder, at: At, len: u32, short: Block) -> Value {
        let (data, end) = self.bounds();
        let farthest = FARTHEST.saturating_sub(len);
        let ptr = match at.base {
            None if at.add > farthest => {
                f.jump(short, &[]);
                let unreachable = f.block(&[]);
                f.switch_to(unreachable);
                data
            }
            None => f.ptr_add_imm(data, i64::from(at.add)),
            Some(base) => {
                let most = u64::from(farthest.saturating_sub(at.add));
                if at.max > farthest {
                    let (most, near) = (f.u64(most), f.block(&[]));
                    f.branch(Cc::Ugt, base, most, short, near);
                    f.switch_to(near);
                }
                let base = f.bound(base, most);
                let ptr = f.ptr_add(data, base);
                f.ptr_add_imm(ptr, i64::from(at.add))
            }
        };
        let behind = f.ptr_add_imm(ptr, i64::from(len));
        let there = f.block(&[]);
        f.branch(Cc::Ugt, behind, end, short, there);
        f.switch_to(there);
        ptr
    }

    /// A pointer to the eight bytes in front of the frame of an XDP program (its metadata); goes to `none` where they are not there.
    pub fn carried(&self, f: &mut FuncBuilder, none: Block) -> Value {
        // data_meta and data of struct xdp_md; the one ends where the other begins.
        let place = f.load(Type::Ptr(PtrKind::Packet), self.ctx, 8);
        let end = f.load(Type::Ptr(PtrKind::PacketEnd), self.ctx, 0);
        let behind = f.ptr_add_imm(place, CARRIED);
        let there = f.block(&[]);
        f.branch(Cc::Ugt, behind, end, none, there);
        f.switch_to(there);
        place
    }

    /// Lets the frame of an XDP program carry a number in front of it; goes to `none` where there is no room for it, or the driver keeps none. The
    /// frame is not read any more behind this.
    pub fn carry(&self, f: &mut FuncBuilder, number: Value, none: Block) {
        let room = f.iconst(Type::I64, -CARRIED);
        let result = f.helper(id::XDP_ADJUST_META, &[self.ctx, room], Type::I64);
        succeeded(f, result, none);
        let place = self.carried(f, none);
        f.store(8, place, 0, number);
    }

    /// Copies `len` bytes from `at` on to memory, in the modes that read by helpers; goes to `missing` where the frame does
    /// not have them.
    pub fn copy(&self, f: &mut FuncBuilder, at: At, len: u32, to: Value, missing: Block) {
        if let Mode::Probe { len: there, .. } = self.mode {
            within(f, at, len, there, missing);
        }
        let size = f.u64(u64::from(len));
        self.copy_some(f, at, size, to, missing);
    }

    /// The same for a number of bytes that is only known when the program runs, at least 1, and that the frame has. Plain
    /// memory, which needs no copies, has no helper for it: there nothing is copied and `missing` comes next.
    pub fn copy_some(&self, f: &mut FuncBuilder, at: At, size: Value, to: Value, missing: Block) {
        let off = at.value(f);
        let result = match self.mode {
            Mode::Probe { start, .. } => {
                let from = f.ptr_add(start, off);
                f.helper(id::PROBE_READ_KERNEL, &[to, size, from], Type::I64)
            }
            Mode::Load { context } | Mode::Direct { context, .. } => {
                f.helper(context.load_helper(), &[self.ctx, off, to, size], Type::I64)
            }
            Mode::Flat { .. } => {
                f.jump(missing, &[]);
                let unreachable = f.block(&[]);
                return f.switch_to(unreachable);
            }
        };
        succeeded(f, result, missing);
    }

    /// A copy of `len` bytes on the stack.
    fn copied(&self, f: &mut FuncBuilder, helper: u32, at: At, len: u32, missing: Block) -> Value {
        let slot = f.slot(len, 8, "packet");
        let off = at.value(f);
        let (to, size) = (f.slot_addr(slot), f.u64(u64::from(len)));
        let result = f.helper(helper, &[self.ctx, off, to, size], Type::I64);
        succeeded(f, result, missing);
        f.slot_addr(slot)
    }
}

/// `at` as a value; `missing` unless `len` bytes from there on lie within the first `there`.
fn within(f: &mut FuncBuilder, at: At, len: u32, there: Value, missing: Block) -> Value {
    let off = at.value(f);
    let behind = f.add_imm(off, i64::from(len));
    let good = f.block(&[]);
    f.branch(Cc::Ugt, behind, there, missing, good);
    f.switch_to(good);
    off
}

/// Goes on where a helper returned 0.
fn succeeded(f: &mut FuncBuilder, result: Value, failed: Block) {
    let (zero, good) = (f.iconst(Type::I64, 0), f.block(&[]));
    f.branch(Cc::Ne, result, zero, failed, good);
    f.switch_to(good);
}

impl Window {
    /// Reads `bytes` (1, 2, 4 or 8) at `at` as a number in network byte order.
    pub fn number(&self, f: &mut FuncBuilder, at: u32, bytes: u32) -> Value {
        let raw = self.raw(f, at, bytes);
        if bytes == 1 {
            return raw;
        }
        let ty = Type::Int(IntTy { bits: (8 * bytes) as u8, signed: false });
        f.push_value(Op::Un { op: UnOp::Bswap(bytes as u8), a: raw }, ty)
    }

    /// The same as it lies in memory, in the machine's order.
    pub fn raw(&self, f: &mut FuncBuilder, at: u32, bytes: u32) -> Value {
        let ty = |bytes: u32| Type::Int(IntTy { bits: (8 * bytes) as u8, signed: false });
        if !self.aligned || at.is_multiple_of(bytes) {
            return f.load(ty(bytes), self.ptr, at as i32);
        }
        // In two halves, the lower one first: the machine is little-endian.
        let half = bytes / 2;
        let (low, high) = (self.raw(f, at, half), self.raw(f, at + half, half));
        let count = f.u64(u64::from(8 * half));
        let width = if bytes == 8 { Width::W64 } else { Width::W32 };
        let wide = if bytes == 8 { Type::U64 } else { Type::U32 };
        let high = f.push_value(Op::Bin { op: BinOp::Shl, width, a: high, b: count }, wide);
        f.push_value(Op::Bin { op: BinOp::Or, width, a: low, b: high }, wide)
    }

    /// A field of at most 64 bits as a number, 64 bits; the window begins where the layer does and holds the field.
    pub fn field(&self, f: &mut FuncBuilder, field: &Field) -> Value {
        self.bits(f, u32::from(field.bit), u32::from(field.bits))
    }

    /// `bits` bits from bit `bit` on as a number.
    pub fn bits(&self, f: &mut FuncBuilder, bit: u32, bits: u32) -> Value {
        let (first, end) = (bit / 8, (bit + bits).div_ceil(8));
        let Some((at, bytes)) = covering(first, end, self.len) else {
            return self.pieced(f, bit, bits);
        };
        let whole = self.number(f, at, bytes);
        let behind = 8 * (at + bytes) - (bit + bits);
        cut(f, whole, behind, bits, 8 * bytes)
    }

    /// As [`Window::bits`], from two parts.
    fn pieced(&self, f: &mut FuncBuilder, bit: u32, bits: u32) -> Value {
        let low_bits = bits / 2 / 8 * 8;
        if low_bits == 0 {
            return f.u64(0);
        }
        let high = self.bits(f, bit, bits - low_bits);
        let low = self.bits(f, bit + bits - low_bits, low_bits);
        let count = f.u64(u64::from(low_bits));
        let high = f.bin(BinOp::Shl, Type::U64, high, count);
        f.bin(BinOp::Or, Type::U64, high, low)
    }

    /// Copies `len` bytes from `at` to memory.
    pub fn copy(&self, f: &mut FuncBuilder, at: u32, len: u32, to: Value, to_off: i32) {
        let align = |n: u32| 1u32 << n.trailing_zeros().min(3);
        let align = align(at).min(align(to_off.unsigned_abs()));
        f.copy(to, to_off, self.ptr, at as i32, len, align as u8);
    }
}

/// The smallest aligned power of two of bytes that holds bytes `first` to `end`, all below `len`.
fn covering(first: u32, end: u32, len: u32) -> Option<(u32, u32)> {
    let spans = [1u32, 2, 4, 8].into_iter();
    let exact = spans.clone().find(|n| end - first == *n).map(|n| (first, n));
    exact.or_else(|| spans.map(|n| (first / n * n, n)).find(|(at, n)| at + n >= end && at + n <= len))
}

/// `bits` bits of a number of `of` bits, `behind` bits from its end.
fn cut(f: &mut FuncBuilder, whole: Value, behind: u32, bits: u32, of: u32) -> Value {
    let mut value = whole;
    if behind > 0 {
        let count = f.u64(u64::from(behind));
        value = f.bin(BinOp::Lshr, Type::U64, value, count);
    }
    if behind + bits < of {
        let mask = f.u64((1u64 << bits) - 1);
        value = f.bin(BinOp::And, Type::U64, value, mask);
    }
    value
}
