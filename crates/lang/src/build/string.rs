//! Strings: reading them to where they are wanted, and comparing them.
//!
//! A string field of `size` bytes holds up to `size` bytes; one that is full has no NUL, and was cut. Every string is
//! therefore read with room for one byte more, the NUL, which a full field does not keep.

use super::Result;
use super::func::Fx;
use super::memory::Mem;
use super::types::alignment;
use crate::hir::{Arg, Expr, ExprKind};
use crate::ty::{Space, Ty};
use skep_bpf::helpers::id as helper;
use skep_bpf::target::Feature;
use skep_compiler::ir::{Block, Cc, Cond, IntTy, Offset, Op, Type, Value, Width};

/// Strings up to this size are copied whole.
const SHORT: u32 = 64;
/// Bytes of `comm` (TASK_COMM_LEN).
pub(super) const COMM: u32 = 16;

impl Fx<'_, '_> {
    /// Reads a string of at most `cap` bytes, NUL included, to `to`. What is returned is its length without the NUL, 0
    /// where the read failed; the NUL is always written unless `cap` is 0.
    pub(super) fn read_str(&mut self, to: Value, cap: Value, from: &Mem) -> Value {
        let id = match from.space {
            Space::User => helper::PROBE_READ_USER_STR,
            _ => helper::PROBE_READ_KERNEL_STR,
        };
        let address = self.address(from);
        let result = self.call(id, &[to, cap, address]);
        let (zero, less) = (self.f.iconst(Type::I64, 0), self.f.add_imm(result, -1));
        let cond = Cond { cc: Cc::Sgt, width: Width::W64, a: result, b: zero };
        self.f.push_value(Op::Select { cond, a: less, b: zero }, Type::I64)
    }

    /// Where a string expression can be read from, and how long it may be with its NUL: `str()` is read at its source,
    /// everything else where it lies.
    pub(super) fn str_source(&mut self, e: &Expr, size: u32) -> Result<(Mem, Value)> {
        if let ExprKind::Call { name: "str", args } = &e.kind {
            return self.str_args(args, size);
        }
        let has = match &e.ty {
            Ty::Str { size } => *size,
            other => self.cx.size_of(other),
        };
        let from = self.place(e)?;
        let cap = self.f.u64(u64::from(has.min(size)) + 1);
        Ok((from, cap))
    }

    fn str_args(&mut self, args: &[Expr], size: u32) -> Result<(Mem, Value)> {
        let Some(address) = args.first() else { return super::internal("str without an address") };
        let space = match &address.ty {
            Ty::Ptr { space, .. } => *space,
            _ => Space::Kernel,
        };
        let from = match address.ty.is_scalar() {
            true => {
                let base = self.value(address)?;
                Mem { base, off: 0, core: None, space }
            }
            false => self.place(address)?,
        };
        let most = u64::from(size) + 1;
        let cap = match args.get(1) {
            Some(len) => {
                let len = self.value(len)?;
                let len = self.number(len);
                self.f.bound(len, most)
            }
            None => self.f.u64(most),
        };
        Ok((from, cap))
    }

    /// Writes a string to a field of `size` bytes; all behind it is zero.
    pub(super) fn put_str(&mut self, e: &Expr, size: u32, to: Value, off: i32) -> Result<()> {
        match &e.kind {
            ExprKind::Str(bytes) => {
                self.put_constant(bytes, size, to, off);
                return Ok(());
            }
            ExprKind::Call { name: "comm", .. } => {
                return self.put_comm(size, to, off);
            }
            _ => {}
        }
        let has = self.cx.size_of(&e.ty);
        if is_padded(e) && has <= SHORT {
            let from = self.place(e)?;
            self.copy_bytes(to, off, &from, has.min(size));
            if has < size {
                let at = off + has as i32;
                self.f.zero(to, at, size - has, alignment(at, size - has));
            }
            return Ok(());
        }
        let (from, cap) = self.str_source(e, size)?;
        self.f.zero(to, off, size, alignment(off, size));
        let at = self.f.ptr_add_imm(to, i64::from(off));
        self.read_str(at, cap, &from);
        Ok(())
    }

    /// Sets a string variable: what lies behind the NUL is left as it is.
    pub(super) fn assign_str(&mut self, e: &Expr, size: u32, to: Value, off: i32) -> Result<()> {
        let direct = match &e.kind {
            ExprKind::Call { name: "str", args } => args.len() == 1,
            ExprKind::Call { .. } | ExprKind::Str(_) | ExprKind::Ternary { .. } | ExprKind::Block { .. } => {
                false
            }
            ExprKind::MapGet { .. } => false,
            _ => !is_padded(e),
        };
        if !direct {
            let ty = Ty::Str { size };
            return self.put(e, &ty, to, off);
        }
        let (from, cap) = self.str_source(e, size)?;
        let at = self.f.ptr_add_imm(to, i64::from(off));
        self.read_str(at, cap, &from);
        Ok(())
    }

    fn put_constant(&mut self, bytes: &[u8], size: u32, to: Value, off: i32) {
        let mut content = bytes.to_vec();
        content.truncate(size as usize);
        let used = (content.len() as u32).next_multiple_of(8).min(size);
        content.resize(used as usize, 0);
        for (at, piece) in pieces(off, used) {
            let word = word_of(&content, at, piece);
            let value = self.f.u64(word);
            self.f.store(piece, to, off + at as i32, value);
        }
        if used < size {
            let at = off + used as i32;
            self.f.zero(to, at, size - used, alignment(at, size - used));
        }
    }

    /// The current task's name, padded with zeros: straight from the task where the kernel keeps it padded (5.17) and
    /// lets programs read it, else through bpf_get_current_comm.
    fn put_comm(&mut self, size: u32, to: Value, off: i32) -> Result<()> {
        let piece = alignment(off, COMM);
        if size >= COMM && piece >= 4 && self.cx.padded_comm && self.cx.has(Feature::CurrentTaskBtf)? {
            self.copy_comm(piece, to, off)?;
        } else {
            // Some kernels leave what lies behind the name's NUL as it is (bpf_get_current_comm, Linux 6.1): the whole
            // must be the same for the same name, because it may be a key.
            let len = size.min(COMM);
            self.f.zero(to, off, len, alignment(off, len));
            let at = self.f.ptr_add_imm(to, i64::from(off));
            let len = self.f.u64(u64::from(len));
            self.call(helper::GET_CURRENT_COMM, &[at, len]);
        }
        if size > COMM {
            let rest = off + COMM as i32;
            self.f.zero(to, rest, size - COMM, alignment(rest, size - COMM));
        }
        Ok(())
    }

    /// Copies `comm` from the current task, `piece` bytes at a time.
    fn copy_comm(&mut self, piece: u8, to: Value, off: i32) -> Result<()> {
        let (offset, _, reloc) = self.kernel_field("struct task_struct", "task_struct", &["comm"])?;
        let task = self.current_task()?;
        let ty = if piece == 8 { Type::U64 } else { Type::U32 };
        for at in (0..COMM as i32).step_by(usize::from(piece)) {
            let from = Offset { add: at, core: Some((offset, reloc.clone())) };
            let word = self.f.load_field(ty, task, from);
            self.f.store(piece, to, off + at, word);
        }
        Ok(())
    }

    /// Ends the current block: to `yes` where both are equal by their bytes (strings: up to the NUL; `limit`: at most so
    /// many bytes), else to `no`.
    pub(super) fn bytes_eq(
        &mut self,
        a: &Expr,
        b: &Expr,
        limit: Option<u32>,
        yes: Block,
        no: Block,
    ) -> Result<()> {
        let strings = matches!((&a.ty, &b.ty), (Ty::Str { .. }, Ty::Str { .. }));
        match (&a.kind, &b.kind) {
            _ if !strings => self.memory_eq(a, b, limit, yes, no),
            (_, ExprKind::Str(text)) => self.eq_constant(a, text, limit, yes, no),
            (ExprKind::Str(text), _) => self.eq_constant(b, text, limit, yes, no),
            _ => self.strings_eq(a, b, limit, yes, no),
        }
    }

    /// Arrays, tuples, addresses.
    fn memory_eq(&mut self, a: &Expr, b: &Expr, limit: Option<u32>, yes: Block, no: Block) -> Result<()> {
        let (has_a, has_b) = (self.cx.size_of(&a.ty), self.cx.size_of(&b.ty));
        let size = has_a.min(has_b).min(limit.unwrap_or(u32::MAX));
        if has_a != has_b && limit.is_none() {
            self.f.jump(no, &[]);
            return Ok(());
        }
        let (x, y) = (self.here(a, size)?, self.here(b, size)?);
        self.compare_words(&x, &y, size, no)?;
        self.f.jump(yes, &[]);
        Ok(())
    }

    /// The value in memory of the program itself, at least `size` bytes of it.
    fn here(&mut self, e: &Expr, size: u32) -> Result<Mem> {
        let mem = self.place(e)?;
        if mem.space == Space::Bpf && mem.core.is_none() {
            return Ok(mem);
        }
        let to = self.scratch(size, "copy");
        self.copy_bytes(to, 0, &mem, size);
        Ok(Mem::own(to, 0))
    }

    fn eq_constant(
        &mut self,
        e: &Expr,
        text: &[u8],
        limit: Option<u32>,
        yes: Block,
        no: Block,
    ) -> Result<()> {
        let Ty::Str { size } = e.ty else { return super::internal("a string that is none") };
        let mut wanted = text.to_vec();
        wanted.truncate(text.iter().position(|b| *b == 0).unwrap_or(text.len()));
        wanted.push(0);
        wanted.truncate(limit.unwrap_or(u32::MAX) as usize);
        let len = wanted.len() as u32;
        if len > size + 1 {
            self.f.jump(no, &[]);
            return Ok(());
        }
        let mem = self.str_prefix(e, len, size)?;
        let compared = len.min(if mem.1 { len } else { size });
        for (at, piece) in pieces(mem.0.off, compared) {
            let ty = Type::Int(IntTy { bits: piece * 8, signed: false });
            let found = self.read(&mem.0.clone().plus(at), ty)?;
            let word = self.f.u64(word_of(&wanted, at, piece));
            let same = self.f.block(&[]);
            self.f.branch(Cc::Eq, found, word, same, no);
            self.f.switch_to(same);
        }
        self.f.jump(yes, &[]);
        Ok(())
    }

    /// At least the first `len` bytes of a string in the program's memory, and whether there is a NUL behind its end
    /// even when it is full. Only as much is read as will be compared.
    fn str_prefix(&mut self, e: &Expr, len: u32, size: u32) -> Result<(Mem, bool)> {
        let in_place = match &e.kind {
            ExprKind::Call { name: "str", .. } => false,
            ExprKind::Call { .. } => true,
            _ => is_padded(e) || matches!(e.kind, ExprKind::Var(_)),
        };
        if in_place {
            let mem = self.place(e)?;
            if mem.space == Space::Bpf && mem.core.is_none() {
                return Ok((mem, false));
            }
        }
        let keep = len.min(size);
        let to = self.scratch(keep + 1, "prefix");
        let (from, cap) = self.str_source(e, keep)?;
        self.f.zero(to, 0, (keep + 1).next_multiple_of(8), 8);
        self.read_str(to, cap, &from);
        Ok((Mem::own(to, 0), true))
    }

    /// Two strings that are both not known: both are copied so that zeros follow their NULs.
    fn strings_eq(&mut self, a: &Expr, b: &Expr, limit: Option<u32>, yes: Block, no: Block) -> Result<()> {
        let (has_a, has_b) = (self.cx.size_of(&a.ty), self.cx.size_of(&b.ty));
        let size = has_a.max(has_b).min(limit.unwrap_or(u32::MAX)).max(1);
        let ty = Ty::Str { size };
        let mut copies = Vec::new();
        for e in [a, b] {
            let slot = self.slot_for(&ty, "string");
            let to = self.f.slot_addr(slot);
            self.put(e, &ty, to, 0)?;
            copies.push(Mem::own(to, 0));
        }
        if let [x, y] = copies.as_slice() {
            self.compare_words(x, y, size, no)?;
        }
        self.f.jump(yes, &[]);
        Ok(())
    }

    /// Goes on where `size` bytes are equal, to `no` elsewhere.
    fn compare_words(&mut self, x: &Mem, y: &Mem, size: u32, no: Block) -> Result<()> {
        for (at, piece) in pieces(x.off | y.off, size) {
            let ty = Type::Int(IntTy { bits: piece * 8, signed: false });
            let (a, b) = (self.read(&x.clone().plus(at), ty)?, self.read(&y.clone().plus(at), ty)?);
            let same = self.f.block(&[]);
            self.f.branch(Cc::Eq, a, b, same, no);
            self.f.switch_to(same);
        }
        Ok(())
    }
}

/// Whether a string in memory is followed by zeros to the end of its field: what was written by `put`.
fn is_padded(e: &Expr) -> bool {
    match &e.kind {
        ExprKind::MapGet { .. } | ExprKind::Str(_) | ExprKind::Arg(Arg::SyscallName { .. }) => true,
        ExprKind::Call { name, .. } => *name == "comm",
        ExprKind::TupleField { base, .. } => {
            !matches!(base.kind, ExprKind::Field { .. } | ExprKind::Index { .. })
        }
        _ => false,
    }
}

/// Offsets and sizes of the largest aligned words that `size` bytes from offset `start` are made of.
pub(super) fn pieces(start: i32, size: u32) -> Vec<(u32, u8)> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < size {
        let align = alignment(start.wrapping_add(at as i32), 0);
        let fits = |piece: &u8| *piece <= align && u32::from(*piece) <= size - at;
        let piece = [8u8, 4, 2].into_iter().find(fits).unwrap_or(1);
        pieces.push((at, piece));
        at += u32::from(piece);
    }
    pieces
}

/// The word of `size` bytes at `at`, as the machine (little endian) loads it.
fn word_of(bytes: &[u8], at: u32, size: u8) -> u64 {
    let from = bytes.iter().skip(at as usize).take(usize::from(size));
    from.enumerate().fold(0, |word, (i, byte)| word | u64::from(*byte) << (8 * i))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_every_byte_once() {
        assert_eq!(pieces(0, 16), [(0, 8), (8, 8)]);
        assert_eq!(pieces(8, 7), [(0, 4), (4, 2), (6, 1)]);
        assert_eq!(pieces(5, 7), [(0, 1), (1, 2), (3, 4)]);
        for (start, size) in (-8..8).flat_map(|start| (0..40).map(move |size| (start, size))) {
            let mut at = 0;
            for (offset, len) in pieces(start, size) {
                assert_eq!((offset, (start + offset as i32) % i32::from(len)), (at, 0));
                at += u32::from(len);
            }
            assert_eq!(at, size);
        }
    }

    #[test]
    fn words_are_little_endian() {
        assert_eq!(word_of(b"ls\0", 0, 2), 0x736c);
        assert_eq!(word_of(b"ls\0", 2, 1), 0);
        assert_eq!(word_of(b"abcdefgh", 0, 8), u64::from_le_bytes(*b"abcdefgh"));
    }
}
