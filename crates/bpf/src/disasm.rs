//! Disassembler: instructions enter, text in the kernel's syntax (kernel/bpf/disasm.c, Linux 6.18) leaves. Every
//! instruction has a text that [`crate::asm`] reads back to the same bytes: what has no meaning, or sets a field that
//! its meaning does not use, prints as `.raw` and its eight bytes.
//!
//! Differences from the kernel's text, so that it can be read back: a 64-bit immediate ends with `ll`, and what a
//! relocation names stands in brackets (`map[@counts]`, `kfunc[bpf_cpumask_first]`).

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::btf::Btf;
use crate::helpers;
use crate::insn::{Insn, alu, atomic, class, jmp, mode, pseudo, size, source};
use crate::object::{Object, Program, RelocKind};

/// Signs of arithmetic operations as they stand before `=`.
pub(crate) const ALU: [(u8, &str); 11] = [
    (alu::ADD, "+"),
    (alu::SUB, "-"),
    (alu::MUL, "*"),
    (alu::DIV, "/"),
    (alu::OR, "|"),
    (alu::AND, "&"),
    (alu::LSH, "<<"),
    (alu::RSH, ">>"),
    (alu::MOD, "%"),
    (alu::XOR, "^"),
    (alu::ARSH, "s>>"),
];

/// Signs of comparisons.
pub(crate) const COMPARE: [(u8, &str); 11] = [
    (jmp::JEQ, "=="),
    (jmp::JNE, "!="),
    (jmp::JGT, ">"),
    (jmp::JGE, ">="),
    (jmp::JLT, "<"),
    (jmp::JLE, "<="),
    (jmp::JSGT, "s>"),
    (jmp::JSGE, "s>="),
    (jmp::JSLT, "s<"),
    (jmp::JSLE, "s<="),
    (jmp::JSET, "&"),
];

/// Sizes of memory accesses in bits.
pub(crate) const SIZES: [(u8, u32); 4] = [(size::B, 8), (size::H, 16), (size::W, 32), (size::DW, 64)];

/// Atomic arithmetic: operation, name, sign.
pub(crate) const ATOMICS: [(i32, &str, &str); 4] = [
    (atomic::ADD, "add", "+"),
    (atomic::OR, "or", "|"),
    (atomic::AND, "and", "&"),
    (atomic::XOR, "xor", "^"),
];

/// Gives the name of what the instruction at an index refers to (a map, a kernel function); `None` prints the number.
pub type Names<'a> = &'a dyn Fn(usize) -> Option<String>;

/// The text of the instruction at `at` and how many slots it takes (2 for 64-bit immediates, else 1). Jumps print as
/// `pc+N`. An index outside prints as nothing in one slot.
pub fn insn(insns: &[Insn], at: usize, names: Names<'_>) -> (String, usize) {
    Printer { insns, names, labels: None }.one(at)
}

/// Text of all instructions, one to a line, with its index in front and labels (`L7:`) where jumps go to.
pub fn listing(insns: &[Insn], names: Names<'_>) -> String {
    annotated(insns, names, &|_, _| {})
}

/// Text of a program with its head, functions, source lines and the names of its maps.
pub fn program(program: &Program, object: &Object) -> String {
    let names = |at: usize| {
        let reloc = program.relocs.iter().filter(|r| r.insn as usize == at);
        reloc.filter_map(|r| reloc_name(&r.kind, object)).next()
    };
    let btf = Btf::parse(object.btf.clone(), None).ok();
    let string = |offset: u32| btf.as_ref().map_or("", |b| b.string(offset)).to_owned();
    let note = |at: usize, out: &mut String| {
        for f in program.funcs.iter().filter(|f| f.insn as usize == at) {
            let name = btf.as_ref().and_then(|b| b.c_function(crate::btf::TypeId(f.type_id)));
            let _ = writeln!(out, "; {}", name.as_deref().unwrap_or("function"));
        }
        for l in program.lines.iter().filter(|l| l.insn as usize == at) {
            let text = string(l.text);
            let _ = writeln!(out, "; {}:{}:{} {}", string(l.file), l.line, l.column, text.trim());
        }
        for r in program.relocs.iter().filter(|r| r.insn as usize == at) {
            if let RelocKind::Core(core) = &r.kind {
                let _ = writeln!(out, "; relocate {:?} of {} {:?}", core.kind, core.root_name, core.path);
            }
        }
    };
    let mut text = format!(
        "; program {} ({:?}, {} instructions, license {})\n; probe {}\n",
        program.symbol,
        program.prog_type,
        program.insns.len(),
        object.license,
        program.name
    );
    text.push_str(&annotated(&program.insns, &names, &note));
    text
}

/// Name that stands in brackets for a relocation; `None` when the text does not show it.
pub(crate) fn reloc_name(kind: &RelocKind, object: &Object) -> Option<String> {
    match kind {
        RelocKind::Map(map) | RelocKind::MapValue(map) => object.maps.get(*map).map(|m| m.name.clone()),
        RelocKind::KernelSymbol(name) | RelocKind::Kfunc(name) => Some(name.clone()),
        RelocKind::Ksym(symbol) => Some(symbol.name.clone()),
        RelocKind::Core(_) => None,
    }
}

/// As [`listing`], with what `note` writes in front of the instruction at an index.
pub fn annotated(insns: &[Insn], names: Names<'_>, note: &dyn Fn(usize, &mut String)) -> String {
    let printer = Printer { insns, names, labels: Some(targets(insns)) };
    let mut text = String::new();
    let mut at = 0;
    while at < insns.len() {
        note(at, &mut text);
        if printer.is_label(at) {
            let _ = writeln!(text, "L{at}:");
        }
        let (line, slots) = printer.one(at);
        let _ = writeln!(text, "{at:5}: {line}");
        at += slots;
    }
    text
}

/// Indexes that jumps, calls and function addresses go to, as far as they are the start of an instruction.
fn targets(insns: &[Insn]) -> BTreeSet<usize> {
    let mut starts = BTreeSet::new();
    let mut wanted = BTreeSet::new();
    let mut at = 0;
    while at < insns.len() {
        starts.insert(at);
        let i = insns[at];
        if let Some(distance) = distance(i) {
            wanted.extend(target(at, distance));
        }
        at += if is_wide(insns, at) { 2 } else { 1 };
    }
    wanted.intersection(&starts).copied().collect()
}

/// How far the instruction reaches, when it jumps, calls a function of the program or takes its address.
fn distance(i: Insn) -> Option<i64> {
    let op = i.code & 0xf0;
    match i.class() {
        class::JMP if op == jmp::CALL => (i.src == pseudo::CALL).then_some(i64::from(i.imm)),
        class::JMP if op == jmp::EXIT => None,
        class::JMP32 if op == jmp::JA => Some(i64::from(i.imm)),
        class::JMP | class::JMP32 => Some(i64::from(i.off)),
        _ if i.is_ld_imm64() && i.src == pseudo::FUNC => Some(i64::from(i.imm)),
        _ => None,
    }
}

fn target(at: usize, distance: i64) -> Option<usize> {
    usize::try_from(at as i64 + 1 + distance).ok()
}

/// Whether a well-formed 64-bit immediate load starts at `at`.
fn is_wide(insns: &[Insn], at: usize) -> bool {
    let (Some(a), Some(b)) = (insns.get(at), insns.get(at + 1)) else { return false };
    let plain = Insn { imm: b.imm, ..Insn::default() };
    a.is_ld_imm64() && a.off == 0 && a.dst <= 10 && a.src <= pseudo::MAP_IDX_VALUE && *b == plain
}

/// `i` without what its text says: text is given only when nothing is left.
fn only(i: Insn, used: Insn) -> Option<()> {
    (i == used && i.dst <= 10 && i.src <= 10).then_some(())
}

struct Printer<'a> {
    insns: &'a [Insn],
    names: Names<'a>,
    labels: Option<BTreeSet<usize>>,
}

impl Printer<'_> {
    fn is_label(&self, at: usize) -> bool {
        self.labels.as_ref().is_some_and(|l| l.contains(&at))
    }

    /// Where a jump of this distance goes.
    fn place(&self, at: usize, distance: i64) -> String {
        match target(at, distance).filter(|&t| self.is_label(t)) {
            Some(t) => format!("L{t}"),
            None => format!("pc{distance:+}"),
        }
    }

    fn one(&self, at: usize) -> (String, usize) {
        let Some(&i) = self.insns.get(at) else { return (String::new(), 1) };
        if is_wide(self.insns, at)
            && let Some(text) = self.wide(at)
        {
            return (text, 2);
        }
        let text = match i.class() {
            class::ALU | class::ALU64 => arithmetic(i),
            class::LDX => load(i),
            class::ST => {
                let used = Insn { src: 0, ..i };
                only(i, used)
                    .and_then(|()| Some(format!("*{} = {}", memory(i, i.dst, 'u', mode::MEM)?, i.imm)))
            }
            class::STX if i.code & 0xe0 == mode::ATOMIC => atomics(i),
            class::STX => {
                let used = Insn { imm: 0, ..i };
                only(i, used)
                    .and_then(|()| Some(format!("*{} = r{}", memory(i, i.dst, 'u', mode::MEM)?, i.src)))
            }
            class::JMP | class::JMP32 => self.jump(i, at),
            _ => packet(i),
        };
        (text.unwrap_or_else(|| raw(i)), 1)
    }

    fn wide(&self, at: usize) -> Option<String> {
        let (i, next) = (self.insns[at], self.insns[at + 1].imm);
        let value = |kind: &str| (self.names)(at).unwrap_or_else(|| format!("{kind}{}", i.imm));
        Some(match i.src {
            0 => format!("r{} = {:#x} ll", i.dst, u64::from(next as u32) << 32 | u64::from(i.imm as u32)),
            pseudo::MAP_FD if next == 0 => format!("r{} = map[{}]", i.dst, value("fd:")),
            pseudo::MAP_VALUE => format!("r{} = map[{}][0]{next:+}", i.dst, value("fd:")),
            pseudo::MAP_IDX if next == 0 => format!("r{} = map[{}]", i.dst, value("idx:")),
            pseudo::MAP_IDX_VALUE => format!("r{} = map[{}][0]{next:+}", i.dst, value("idx:")),
            pseudo::BTF_ID if next == 0 => format!("r{} = btf_id[{}]", i.dst, value("")),
            pseudo::FUNC if next == 0 => {
                format!("r{} = subprog[{}]", i.dst, self.place(at, i64::from(i.imm)))
            }
            _ => return None,
        })
    }

    fn jump(&self, i: Insn, at: usize) -> Option<String> {
        let op = i.code & 0xf0;
        let register = i.code & source::X != 0;
        let wide = i.class() == class::JMP;
        let zero = Insn { code: i.code, ..Insn::default() };
        match op {
            jmp::CALL if wide && !register => return self.call(i, at),
            jmp::EXIT if wide && !register => return only(i, zero).map(|()| "exit".to_owned()),
            jmp::JA if register => return None,
            jmp::JA if wide => {
                only(i, Insn { off: i.off, ..zero })?;
                return Some(format!("goto {}", self.place(at, i.off.into())));
            }
            jmp::JA => {
                only(i, Insn { imm: i.imm, ..zero })?;
                return Some(format!("gotol {}", self.place(at, i.imm.into())));
            }
            jmp::JCOND if wide && !register => {
                only(i, Insn { off: i.off, ..zero })?;
                return Some(format!("may_goto {}", self.place(at, i.off.into())));
            }
            _ => {}
        }
        let (_, sign) = COMPARE.iter().find(|(o, _)| *o == op)?;
        let r = if wide { 'r' } else { 'w' };
        let place = self.place(at, i.off.into());
        if register {
            only(i, Insn { imm: 0, ..i })?;
            return Some(format!("if {r}{} {sign} {r}{} goto {place}", i.dst, i.src));
        }
        only(i, Insn { src: 0, ..i })?;
        Some(format!("if {r}{} {sign} {:#x} goto {place}", i.dst, i.imm))
    }

    fn call(&self, i: Insn, at: usize) -> Option<String> {
        only(i, Insn { dst: 0, ..i })?;
        match i.src {
            0 if i.off == 0 => Some(match (helpers::by_id(i.imm as u32), (self.names)(at)) {
                (Some(helper), _) => format!("call bpf_{}#{}", helper.name, helper.id),
                (None, Some(name)) => format!("call {name}"),
                (None, None) => format!("call bpf_unknown#{}", i.imm as u32),
            }),
            pseudo::CALL if i.off == 0 => Some(format!("call {}", self.place(at, i.imm.into()))),
            pseudo::KFUNC_CALL if i.off == 0 => {
                let name = (self.names)(at).unwrap_or_else(|| i.imm.to_string());
                Some(format!("call kfunc[{name}]"))
            }
            _ => None,
        }
    }
}

/// The eight bytes in hex, in this machine's order.
fn raw(i: Insn) -> String {
    i.to_bytes().iter().fold(".raw ".to_owned(), |text, b| format!("{text}{b:02x}"))
}

/// `(u64 *)(r1 +8)`; `None` for another mode.
fn memory(i: Insn, base: u8, sign: char, wanted: u8) -> Option<String> {
    let bits = SIZES.iter().find(|(s, _)| *s == i.code & 0x18)?.1;
    (i.code & 0xe0 == wanted).then(|| format!("({sign}{bits} *)(r{base} {:+})", i.off))
}

fn load(i: Insn) -> Option<String> {
    only(i, Insn { imm: 0, ..i })?;
    let extending = i.code & 0x18 != size::DW;
    let from = match memory(i, i.src, 'u', mode::MEM) {
        Some(from) => from,
        None => memory(i, i.src, 's', mode::MEMSX).filter(|_| extending)?,
    };
    Some(format!("r{} = *{from}", i.dst))
}

/// `r0 = *(u16 *)skb[12]`, `r0 = *(u8 *)skb[r6 + 3]`.
fn packet(i: Insn) -> Option<String> {
    let bits = SIZES.iter().find(|(s, _)| *s == i.code & 0x18 && *s != size::DW)?.1;
    let used = Insn { code: i.code, imm: i.imm, ..Insn::default() };
    match i.code & 0xe0 {
        mode::ABS => only(i, used).map(|()| format!("r0 = *(u{bits} *)skb[{}]", i.imm)),
        mode::IND => only(i, Insn { src: i.src, ..used })
            .map(|()| format!("r0 = *(u{bits} *)skb[r{} {:+}]", i.src, i.imm)),
        _ => None,
    }
}

fn arithmetic(i: Insn) -> Option<String> {
    let (op, register) = (i.code & 0xf0, i.code & source::X != 0);
    let wide = i.class() == class::ALU64;
    let (r, d) = (if wide { 'r' } else { 'w' }, i.dst);
    if op == alu::END {
        only(i, Insn { src: 0, off: 0, ..i })?;
        let name = match (wide, register) {
            (true, false) => "bswap",
            (true, true) => return None,
            (false, false) => "le",
            (false, true) => "be",
        };
        return matches!(i.imm, 16 | 32 | 64).then(|| format!("r{d} = {name}{} r{d}", i.imm));
    }
    if op == alu::NEG {
        only(i, Insn { code: i.code & !source::X, dst: d, ..Insn::default() })?;
        return Some(format!("{r}{d} = -{r}{d}"));
    }
    if op == alu::MOV && register && wide && i.off == 1 {
        only(i, i)?;
        return Some(format!("r{d} = addr_space_cast(r{}, {}, {})", i.src, i.imm as u32 >> 16, i.imm as u16));
    }
    only(i, if register { Insn { imm: 0, ..i } } else { Insn { src: 0, ..i } })?;
    let operand = if register { format!("{r}{}", i.src) } else { i.imm.to_string() };
    if op == alu::MOV {
        let cast = match i.off {
            0 => String::new(),
            8 | 16 if register => format!("(s{})", i.off),
            32 if register && wide => "(s32)".to_owned(),
            _ => return None,
        };
        return Some(format!("{r}{d} = {cast}{operand}"));
    }
    let sign = ALU.iter().find(|(o, _)| *o == op)?.1;
    let signed = match i.off {
        0 => "",
        1 if op == alu::DIV || op == alu::MOD => "s",
        _ => return None,
    };
    Some(format!("{r}{d} {signed}{sign}= {operand}"))
}

fn atomics(i: Insn) -> Option<String> {
    only(i, i)?;
    let at = memory(i, i.dst, 'u', mode::ATOMIC)?;
    let s = i.src;
    match i.imm {
        atomic::LOAD_ACQ => {
            return Some(format!("r{} = load_acquire({})", i.dst, memory(i, s, 'u', mode::ATOMIC)?));
        }
        atomic::STORE_REL => return Some(format!("store_release({at}, r{s})")),
        _ => {}
    }
    let wide = match i.code & 0x18 {
        size::DW => "64",
        size::W => "",
        _ => return None,
    };
    match i.imm {
        atomic::XCHG => return Some(format!("r{s} = atomic{wide}_xchg({at}, r{s})")),
        atomic::CMPXCHG => return Some(format!("r0 = atomic{wide}_cmpxchg({at}, r0, r{s})")),
        _ => {}
    }
    let (_, name, sign) = ATOMICS.iter().find(|(op, _, _)| *op == i.imm & !atomic::FETCH)?;
    Some(if i.imm & atomic::FETCH == 0 {
        format!("lock *{at} {sign}= r{s}")
    } else {
        format!("r{s} = atomic{wide}_fetch_{name}({at}, r{s})")
    })
}

#[cfg(test)]
mod tests;
