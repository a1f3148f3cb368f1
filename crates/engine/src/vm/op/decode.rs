//! From raw instructions to [`Op`]s, or to the first instruction that is none.

use super::*;

/// An instruction that does not exist, or that uses what it may not.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("instruction {insn}: {what}")]
pub struct DecodeError {
    /// Its index.
    pub insn: usize,
    /// What is wrong, and what would be right.
    pub what: String,
}

/// Most instructions of a program (BPF_COMPLEXITY_LIMIT_INSNS, include/linux/bpf.h).
const MAX: usize = 1_000_000;

/// Decodes a program.
pub fn decode(insns: &[Insn]) -> Result<Vec<Op>, DecodeError> {
    if insns.is_empty() || insns.len() > MAX {
        let what = format!("a program has 1 to {MAX} instructions, this one has {}", insns.len());
        return Err(DecodeError { insn: 0, what });
    }
    let mut ops = Vec::with_capacity(insns.len());
    while ops.len() < insns.len() {
        let at = ops.len();
        let error = |what| DecodeError { insn: at, what };
        let insn = insns[at];
        if insn.is_ld_imm64() {
            let next = insns.get(at + 1).ok_or_else(|| error("the second half is missing".to_owned()))?;
            ops.extend(wide(at, insn, *next).map_err(error)?);
        } else {
            ops.push(one(at, insn).map_err(error)?);
        }
    }
    for (insn, op) in ops.iter().enumerate() {
        if let Some(to) = target(*op) {
            let what = match ops.get(to as usize) {
                None => format!("there is no instruction {}", shown(to)),
                Some(Op::Second) => format!("instruction {to} is the second half of another"),
                Some(_) => continue,
            };
            return Err(DecodeError { insn, what });
        }
    }
    falls_off(&ops)?;
    Ok(ops)
}

/// Where a jump or call of the program's own leads.
pub(crate) fn target(op: Op) -> Option<u32> {
    match op {
        Op::Jump { to } | Op::Branch { to, .. } | Op::MayGoto { to } | Op::CallLocal { to } => Some(to),
        _ => None,
    }
}

fn shown(to: u32) -> i64 {
    i64::from(to as i32)
}

/// The last instruction is one that nothing follows.
fn falls_off(ops: &[Op]) -> Result<(), DecodeError> {
    match ops.last() {
        Some(Op::Exit | Op::Jump { .. }) => Ok(()),
        _ => {
            let what =
                "the program goes on behind its end: the last instruction is `exit` or `goto`".to_owned();
            Err(DecodeError { insn: ops.len() - 1, what })
        }
    }
}

type Decoded = Result<Op, String>;

fn wide(at: usize, insn: Insn, next: Insn) -> Result<[Op; 2], String> {
    let clean = Insn { imm: next.imm, ..Insn::default() } == next;
    if !clean {
        return Err(format!("behind a 64-bit immediate comes its second half, not {next:?}"));
    }
    unused(&[("off", insn.off.into())])?;
    if insn.src > pseudo::MAP_IDX_VALUE {
        return Err(format!("a 64-bit immediate of kind {}; there are 0 to 6", insn.src));
    }
    let value = if insn.src == pseudo::FUNC {
        let to = index(at, insn.imm.into());
        u64::from(to)
    } else {
        u64::from(insn.imm as u32) | u64::from(next.imm as u32) << 32
    };
    Ok([Op::Const { dst: written(insn.dst)?, value }, Op::Second])
}

fn one(at: usize, insn: Insn) -> Decoded {
    match insn.class() {
        class::LD => packet(insn),
        class::LDX => load(insn),
        class::ST | class::STX => store(insn),
        class::ALU => arithmetic(insn, Width::W32),
        class::ALU64 => arithmetic(insn, Width::W64),
        class::JMP => jump(at, insn, Width::W64),
        _ => jump(at, insn, Width::W32),
    }
}

fn unknown(insn: Insn) -> String {
    format!("there is no instruction with code {:#04x}", insn.code)
}

/// Fields that mean nothing here are zero.
fn unused(fields: &[(&str, i64)]) -> Result<(), String> {
    match fields.iter().find(|(_, value)| *value != 0) {
        Some((name, value)) => {
            Err(format!("field `{name}` is {value}; this instruction does not use it, so it is 0"))
        }
        None => Ok(()),
    }
}

fn read(reg: u8) -> Result<u8, String> {
    if reg <= 10 { Ok(reg) } else { Err(format!("there is no r{reg}")) }
}

fn written(reg: u8) -> Result<u8, String> {
    if reg == 10 { Err("r10 can only be read".to_owned()) } else { read(reg) }
}

/// Target of a distance from the next instruction; what is out of range becomes an index that no program has.
fn index(at: usize, distance: i64) -> u32 {
    let to = at as i64 + 1 + distance;
    if to < 0 { (to.max(i32::MIN.into())) as i32 as u32 } else { to.min(u32::MAX.into()) as u32 }
}

fn bytes(insn: Insn) -> Size {
    match insn.code & 0x18 {
        size::B => Size::B,
        size::H => Size::H,
        size::W => Size::W,
        _ => Size::Dw,
    }
}

fn packet(insn: Insn) -> Decoded {
    let size = bytes(insn);
    let index = match insn.code & 0xe0 {
        mode::ABS => {
            unused(&[("src", insn.src.into())])?;
            None
        }
        mode::IND => Some(read(insn.src)?),
        _ => return Err(unknown(insn)),
    };
    if size == Size::Dw {
        return Err(unknown(insn));
    }
    unused(&[("dst", insn.dst.into()), ("off", insn.off.into())])?;
    Ok(Op::Packet { size, index, imm: insn.imm })
}

fn load(insn: Insn) -> Decoded {
    let signed = match insn.code & 0xe0 {
        mode::MEM => false,
        mode::MEMSX if bytes(insn) != Size::Dw => true,
        _ => return Err(unknown(insn)),
    };
    unused(&[("imm", insn.imm.into())])?;
    Ok(Op::Load { size: bytes(insn), signed, dst: written(insn.dst)?, base: read(insn.src)?, off: insn.off })
}

fn store(insn: Insn) -> Decoded {
    let (size, base, off) = (bytes(insn), read(insn.dst)?, insn.off);
    match (insn.class(), insn.code & 0xe0) {
        (class::ST, mode::MEM) => {
            unused(&[("src", insn.src.into())])?;
            Ok(Op::Store { size, base, off, value: Operand::Imm(insn.imm) })
        }
        (class::STX, mode::MEM) => {
            unused(&[("imm", insn.imm.into())])?;
            Ok(Op::Store { size, base, off, value: Operand::Reg(read(insn.src)?) })
        }
        (class::STX, mode::ATOMIC) => atomics(insn),
        _ => Err(unknown(insn)),
    }
}

fn atomics(insn: Insn) -> Decoded {
    let (size, base, off, src) = (bytes(insn), insn.dst, insn.off, insn.src);
    match insn.imm {
        atomic::LOAD_ACQ => {
            return Ok(Op::LoadAcquire { size, dst: written(insn.dst)?, base: read(insn.src)?, off });
        }
        atomic::STORE_REL => return Ok(Op::StoreRelease { size, base, off, src: read(src)? }),
        _ => {}
    }
    let op = match insn.imm & !atomic::FETCH {
        atomic::ADD => Atomic::Add,
        atomic::OR => Atomic::Or,
        atomic::AND => Atomic::And,
        atomic::XOR => Atomic::Xor,
        _ if insn.imm == atomic::XCHG => Atomic::Xchg,
        _ if insn.imm == atomic::CMPXCHG => Atomic::Cmpxchg,
        _ => return Err(format!("there is no atomic operation {:#x}", insn.imm)),
    };
    if matches!(size, Size::B | Size::H) {
        return Err(format!("atomic operations work on 4 or 8 bytes, not on {}", size.bytes()));
    }
    let fetch = insn.imm & atomic::FETCH != 0;
    let src = if fetch && op != Atomic::Cmpxchg { written(src)? } else { read(src)? };
    Ok(Op::Atomic { op, fetch, size, base, off, src })
}

fn operand(insn: Insn) -> Result<Operand, String> {
    if insn.code & source::X != 0 {
        unused(&[("imm", insn.imm.into())])?;
        Ok(Operand::Reg(read(insn.src)?))
    } else {
        unused(&[("src", insn.src.into())])?;
        Ok(Operand::Imm(insn.imm))
    }
}

fn arithmetic(insn: Insn, width: Width) -> Decoded {
    let dst = written(insn.dst)?;
    let off = i64::from(insn.off);
    let op = match insn.code & 0xf0 {
        alu::ADD => Alu::Add,
        alu::SUB => Alu::Sub,
        alu::MUL => Alu::Mul,
        alu::OR => Alu::Or,
        alu::AND => Alu::And,
        alu::LSH => Alu::Lsh,
        alu::RSH => Alu::Rsh,
        alu::XOR => Alu::Xor,
        alu::ARSH => Alu::Arsh,
        alu::DIV if off == 1 => return Ok(Op::Alu { op: Alu::Sdiv, width, dst, src: operand(insn)? }),
        alu::MOD if off == 1 => return Ok(Op::Alu { op: Alu::Smod, width, dst, src: operand(insn)? }),
        alu::DIV => Alu::Div,
        alu::MOD => Alu::Mod,
        alu::MOV if off != 0 => return extend(insn, width, dst),
        alu::MOV => Alu::Mov,
        alu::NEG => {
            unused(&[("src", insn.src.into()), ("off", off), ("imm", insn.imm.into())])?;
            return if insn.code & source::X == 0 { Ok(Op::Neg { width, dst }) } else { Err(unknown(insn)) };
        }
        alu::END => return swap(insn, width, dst),
        _ => return Err(unknown(insn)),
    };
    unused(&[("off", off)])?;
    Ok(Op::Alu { op, width, dst, src: operand(insn)? })
}

fn extend(insn: Insn, width: Width, dst: u8) -> Decoded {
    let bits = match insn.off {
        8 | 16 => insn.off as u8,
        32 if width == Width::W64 => 32,
        1 if width == Width::W64 && insn.code & source::X != 0 => {
            return Err(
                "casts between address spaces are for arenas, which the machine does not have".to_owned()
            );
        }
        _ => return Err(format!("field `off` of a sign-extending move is 8, 16 or 32, not {}", insn.off)),
    };
    match operand(insn)? {
        Operand::Reg(src) => Ok(Op::Extend { bits, width, dst, src }),
        Operand::Imm(_) => Err("a sign-extending move takes a register".to_owned()),
    }
}

fn swap(insn: Insn, width: Width, dst: u8) -> Decoded {
    unused(&[("src", insn.src.into()), ("off", insn.off.into())])?;
    let order = match (width, insn.code & source::X != 0) {
        (Width::W32, false) => ByteOrder::Little,
        (Width::W32, true) => ByteOrder::Big,
        (Width::W64, false) => ByteOrder::Swap,
        (Width::W64, true) => return Err(unknown(insn)),
    };
    match insn.imm {
        16 | 32 | 64 => Ok(Op::Swap { order, bits: insn.imm as u8, dst }),
        bits => Err(format!("byte swaps are of 16, 32 or 64 bits, not of {bits}")),
    }
}

fn jump(at: usize, insn: Insn, width: Width) -> Decoded {
    let to = index(at, insn.off.into());
    let fields = [("dst", insn.dst.into()), ("src", insn.src.into())];
    let op = match insn.code & 0xf0 {
        jmp::JA if insn.code & source::X != 0 => return Err(unknown(insn)),
        jmp::JA if width == Width::W32 => {
            unused(&fields)?;
            unused(&[("off", insn.off.into())])?;
            return Ok(Op::Jump { to: index(at, insn.imm.into()) });
        }
        jmp::JA => {
            unused(&fields)?;
            unused(&[("imm", insn.imm.into())])?;
            return Ok(Op::Jump { to });
        }
        jmp::JCOND if insn.code == class::JMP | jmp::JCOND => {
            unused(&fields)?;
            unused(&[("imm", insn.imm.into())])?;
            return Ok(Op::MayGoto { to });
        }
        jmp::CALL if width == Width::W64 => return call(at, insn),
        jmp::EXIT if insn.code == class::JMP | jmp::EXIT => {
            unused(&fields)?;
            unused(&[("off", insn.off.into()), ("imm", insn.imm.into())])?;
            return Ok(Op::Exit);
        }
        jmp::JEQ => Cmp::Eq,
        jmp::JGT => Cmp::Gt,
        jmp::JGE => Cmp::Ge,
        jmp::JSET => Cmp::Set,
        jmp::JNE => Cmp::Ne,
        jmp::JSGT => Cmp::Sgt,
        jmp::JSGE => Cmp::Sge,
        jmp::JLT => Cmp::Lt,
        jmp::JLE => Cmp::Le,
        jmp::JSLT => Cmp::Slt,
        jmp::JSLE => Cmp::Sle,
        _ => return Err(unknown(insn)),
    };
    Ok(Op::Branch { op, width, dst: read(insn.dst)?, src: operand(insn)?, to })
}

fn call(at: usize, insn: Insn) -> Decoded {
    if insn.code & source::X != 0 {
        unused(&[("src", insn.src.into()), ("off", insn.off.into()), ("imm", insn.imm.into())])?;
        return Ok(Op::CallReg { reg: read(insn.dst)? });
    }
    unused(&[("dst", insn.dst.into())])?;
    match insn.src {
        0 => {
            unused(&[("off", insn.off.into())])?;
            Ok(Op::Call { helper: insn.imm as u32 })
        }
        pseudo::CALL => {
            unused(&[("off", insn.off.into())])?;
            Ok(Op::CallLocal { to: index(at, insn.imm.into()) })
        }
        // The field `off` chooses the module that has the function.
        pseudo::KFUNC_CALL => Ok(Op::Kfunc { index: insn.imm as u32 }),
        kind => {
            Err(format!("a call of kind {kind}; there are 0 (helper), 1 (function) and 2 (kernel function)"))
        }
    }
}

#[cfg(test)]
mod tests;
