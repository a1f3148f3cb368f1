//! Statements that stand for themselves: arithmetic, memory, conditions.

use super::Place;
use super::cursor::Cursor;
use crate::disasm::{ALU, ATOMICS, COMPARE, SIZES};
use crate::insn::{Insn, Reg, alu, atomic, class, mode, size, source};

/// A place in memory: size of the access, sign-extending, base, offset.
struct Memory {
    size: u8,
    extending: bool,
    base: u8,
    off: i16,
}

impl Cursor<'_> {
    /// `u64`: (size, sign-extending).
    fn access(&mut self) -> Result<(u8, bool), String> {
        for (size, bits) in SIZES {
            for (sign, extending) in [("u", false), ("s", true)] {
                if self.word(&format!("{sign}{bits}")) {
                    return Ok((size, extending));
                }
            }
        }
        self.wanted("a type such as u64")
    }

    /// `(u64 *)`.
    fn cast(&mut self) -> Result<(u8, bool), String> {
        self.expect("(")?;
        let access = self.access()?;
        self.expect("*")?;
        self.expect(")")?;
        Ok(access)
    }

    /// `(u64 *)(r1 +8)`.
    fn memory(&mut self) -> Result<Memory, String> {
        let (size, extending) = self.cast()?;
        self.expect("(")?;
        let base = self.wide_register()?;
        let off = if self.peek(")") { 0 } else { self.number()? };
        self.expect(")")?;
        let off = i16::try_from(off).map_err(|_| format!("offset {off} does not fit into 16 bits"))?;
        Ok(Memory { size, extending, base, off })
    }

    /// `(u64 *)(r1 +8)` without sign extension.
    fn plain_memory(&mut self) -> Result<Memory, String> {
        match self.memory()? {
            m if m.extending => Err("only a load sign-extends".to_owned()),
            m => Ok(m),
        }
    }

    /// Everything behind `if`.
    pub(super) fn condition(&mut self) -> Result<(Insn, Place), String> {
        let Some((wide, dst)) = self.register() else { return self.wanted("a register") };
        // The longest sign that fits.
        let sign = COMPARE.iter().filter(|(_, s)| self.peek(s)).max_by_key(|(_, s)| s.len());
        let Some((op, sign)) = sign else { return self.wanted("a comparison") };
        self.eat(sign);
        let base = if wide { class::JMP } else { class::JMP32 };
        let insn = match self.register() {
            Some((w, _)) if w != wide => return Err("both registers must have the same width".to_owned()),
            Some((_, src)) => Insn { code: base | op | source::X, dst, src, ..Insn::default() },
            None => Insn { code: base | op, dst, imm: self.immediate()?, ..Insn::default() },
        };
        if !self.word("goto") {
            return self.wanted("`goto`");
        }
        Ok((insn, self.place()?))
    }

    /// Any other statement; two instructions for a 64-bit immediate.
    pub(super) fn simple(&mut self) -> Result<Vec<Insn>, String> {
        if self.eat("store_release(") {
            let m = self.plain_memory()?;
            self.expect(",")?;
            let src = self.wide_register()?;
            self.expect(")")?;
            return Ok(vec![Insn::atomic(m.size, atomic::STORE_REL, Reg(m.base), m.off, Reg(src))]);
        }
        if self.word("lock") {
            return Ok(vec![self.locked()?]);
        }
        if self.eat("*") {
            return Ok(vec![self.store()?]);
        }
        match self.register() {
            Some((wide, dst)) if self.peek("=") && !self.peek("==") => self.assign(wide, dst),
            Some((wide, dst)) => Ok(vec![self.update(wide, dst)?]),
            None => self.wanted("a statement"),
        }
    }

    /// `*(u64 *)(r1 +0) += r2` behind `lock`.
    fn locked(&mut self) -> Result<Insn, String> {
        self.expect("*")?;
        let m = self.plain_memory()?;
        let Some((op, _, sign)) = ATOMICS.iter().find(|(_, _, sign)| self.peek(sign)) else {
            return self.wanted("`+=`, `|=`, `&=` or `^=`");
        };
        self.eat(sign);
        self.expect("=")?;
        let src = self.wide_register()?;
        atomic_size(&m)?;
        Ok(Insn::atomic(m.size, *op, Reg(m.base), m.off, Reg(src)))
    }

    /// `(u64 *)(r1 +0) = r2` or an immediate, behind `*`.
    fn store(&mut self) -> Result<Insn, String> {
        let m = self.plain_memory()?;
        self.expect("=")?;
        Ok(match self.register() {
            Some((_, src)) => Insn::store_reg(m.size, Reg(m.base), m.off, Reg(src)),
            None => Insn::store_imm(m.size, Reg(m.base), m.off, self.immediate()?),
        })
    }

    /// `+= r2` and the like behind a register.
    fn update(&mut self, wide: bool, dst: u8) -> Result<Insn, String> {
        let signed = ["s/", "s%"].into_iter().find(|s| self.peek(s));
        if signed.is_some() {
            self.eat("s");
        }
        let Some((op, sign)) = ALU.iter().find(|(_, s)| self.peek(s)) else {
            return self.wanted("an operation such as `+=`");
        };
        self.eat(sign);
        self.expect("=")?;
        let insn = self.operand(wide, *op, dst)?;
        Ok(Insn { off: signed.is_some().into(), ..insn })
    }

    /// A register of the same width or an immediate, as operand of `op`.
    fn operand(&mut self, wide: bool, op: u8, dst: u8) -> Result<Insn, String> {
        let base = if wide { class::ALU64 } else { class::ALU };
        Ok(match self.register() {
            Some((w, _)) if w != wide => return Err("both registers must have the same width".to_owned()),
            Some((_, src)) => Insn { code: base | op | source::X, dst, src, ..Insn::default() },
            None => Insn { code: base | op, dst, imm: self.immediate()?, ..Insn::default() },
        })
    }

    /// `= …` behind a register.
    fn assign(&mut self, wide: bool, dst: u8) -> Result<Vec<Insn>, String> {
        self.expect("=")?;
        let base = if wide { class::ALU64 } else { class::ALU };
        if self.peek("-r") || self.peek("-w") {
            self.eat("-");
            self.same(wide, dst)?;
            return Ok(vec![Insn { code: base | alu::NEG, dst, ..Insn::default() }]);
        }
        for (bits, off) in [("(s8)", 8), ("(s16)", 16), ("(s32)", 32)] {
            if self.eat(bits) {
                let insn = self.operand(wide, alu::MOV, dst)?;
                let fits = insn.code & source::X != 0 && (wide || off < 32);
                return if fits { Ok(vec![Insn { off, ..insn }]) } else { self.wanted("a wider register") };
            }
        }
        if let Some(insn) = self.swap(wide, dst)? {
            return Ok(vec![insn]);
        }
        if self.peek("*") || self.peek("atomic") || self.peek("load_acquire") || self.peek("addr_space_cast")
        {
            if !wide {
                return Err("memory is loaded into 64-bit registers".to_owned());
            }
            return Ok(vec![self.fetch_from(dst)?]);
        }
        if self.peek("r") || self.peek("w") {
            return Ok(vec![self.operand(wide, alu::MOV, dst)?]);
        }
        let n = self.number()?;
        if wide && self.word("ll") {
            let bits = u64::try_from(n).or_else(|_| i64::try_from(n).map(|v| v as u64));
            let bits = bits.map_err(|_| format!("{n} does not fit into 64 bits"))?;
            return Ok(Insn::ld_imm64(Reg(dst), 0, bits).to_vec());
        }
        let bits = i32::try_from(n).or_else(|_| u32::try_from(n).map(|u| u as i32));
        let imm = bits.map_err(|_| format!("{n} does not fit into 32 bits (64: put `ll` behind it)"))?;
        Ok(vec![Insn { code: base | alu::MOV, dst, imm, ..Insn::default() }])
    }

    /// The register that is assigned to, once more.
    fn same(&mut self, wide: bool, dst: u8) -> Result<(), String> {
        match self.register() {
            Some(r) if r == (wide, dst) => Ok(()),
            _ => Err("expected the register that is assigned to".to_owned()),
        }
    }

    /// `be16 r1`, `le64 r1`, `bswap32 r1`.
    fn swap(&mut self, wide: bool, dst: u8) -> Result<Option<Insn>, String> {
        let kinds = [("bswap", true, source::K), ("be", false, source::X), ("le", false, source::K)];
        for (name, always, order) in kinds {
            for imm in [16, 32, 64] {
                if !self.word(&format!("{name}{imm}")) {
                    continue;
                }
                if always != wide && !self.peek("r") {
                    return self.wanted("a register");
                }
                self.register().filter(|r| r.1 == dst).ok_or("expected the register that is assigned to")?;
                let class = if always { class::ALU64 } else { class::ALU };
                return Ok(Some(Insn { code: class | alu::END | order, dst, imm, ..Insn::default() }));
            }
        }
        Ok(None)
    }

    fn fetch_from(&mut self, dst: u8) -> Result<Insn, String> {
        if self.eat("addr_space_cast(") {
            let src = self.wide_register()?;
            self.expect(",")?;
            let high = self.unsigned()?;
            self.expect(",")?;
            let low = self.unsigned()?;
            self.expect(")")?;
            let (Ok(high), Ok(low)) = (u16::try_from(high), u16::try_from(low)) else {
                return Err("address spaces have 16 bits".to_owned());
            };
            let imm = (u32::from(high) << 16 | u32::from(low)) as i32;
            return Ok(Insn { off: 1, imm, ..Insn::mov_reg(Reg(dst), Reg(src)) });
        }
        if self.eat("load_acquire(") {
            let m = self.plain_memory()?;
            self.expect(")")?;
            return Ok(Insn::atomic(m.size, atomic::LOAD_ACQ, Reg(dst), m.off, Reg(m.base)));
        }
        if self.eat("atomic") {
            return self.fetching(dst);
        }
        self.expect("*")?;
        let mut ahead = self.clone();
        let (size, _) = ahead.cast()?;
        if ahead.eat("skb") {
            *self = ahead;
            return self.packet(dst, size);
        }
        let m = self.memory()?;
        if m.extending && m.size == size::DW {
            return Err("a load of 64 bits extends nothing".to_owned());
        }
        let mode = if m.extending { mode::MEMSX } else { mode::MEM };
        Ok(Insn { code: class::LDX | m.size | mode, dst, src: m.base, off: m.off, imm: 0 })
    }

    /// `[12]` or `[r6 +3]` behind `skb`.
    fn packet(&mut self, dst: u8, size: u8) -> Result<Insn, String> {
        if dst != 0 || size == size::DW {
            return Err("packets are loaded into r0, at most 32 bits".to_owned());
        }
        self.expect("[")?;
        let (mode, src) = match self.register() {
            Some((_, src)) => (mode::IND, src),
            None => (mode::ABS, 0),
        };
        let imm = if self.peek("]") { 0 } else { self.immediate()? };
        self.expect("]")?;
        Ok(Insn { code: class::LD | size | mode, src, imm, ..Insn::default() })
    }

    /// `64_fetch_add((u64 *)(r1 +0), r2)` and its kin behind `atomic`.
    fn fetching(&mut self, dst: u8) -> Result<Insn, String> {
        let wide = self.eat("64");
        let op = if self.eat("_xchg(") {
            atomic::XCHG
        } else if self.eat("_cmpxchg(") {
            atomic::CMPXCHG
        } else {
            self.expect("_fetch_")?;
            let Some((op, name, _)) = ATOMICS.iter().find(|(_, name, _)| self.peek(name)) else {
                return self.wanted("add, or, and, xor");
            };
            self.eat(name);
            self.expect("(")?;
            op | atomic::FETCH
        };
        let m = self.plain_memory()?;
        if (m.size == size::DW) != wide {
            return Err("`atomic64` goes with u64, `atomic` with u32".to_owned());
        }
        atomic_size(&m)?;
        self.expect(",")?;
        let mut src = self.wide_register()?;
        let mut result = src;
        if op == atomic::CMPXCHG {
            self.expect(",")?;
            (result, src) = (src, self.wide_register()?);
        }
        self.expect(")")?;
        if result != dst || (op == atomic::CMPXCHG && dst != 0) {
            return Err("the result goes to the register of the operand (cmpxchg: r0)".to_owned());
        }
        Ok(Insn::atomic(m.size, op, Reg(m.base), m.off, Reg(src)))
    }
}

fn atomic_size(m: &Memory) -> Result<(), String> {
    match m.size {
        size::DW | size::W => Ok(()),
        _ => Err("atomic updates have 32 or 64 bits".to_owned()),
    }
}
