//! Printing the IR. Blocks come in the order of their numbers, instructions in the order of their block; what is in
//! no block is not printed.

use super::names::{self, word};
use crate::ir::func::{BlockData, Function};
use crate::ir::module::{FuncKind, Module, ProgramDecl};
use crate::ir::op::{Cond, Edge, Offset, Op, Terminator, UnOp};
use crate::ir::types::{Inst, IntTy, Loc, PtrKind, Type, Value, Width};
use skep_bpf::helpers;
use skep_bpf::object::{BtfTarget, CoreReloc, MapSpec};
use std::fmt::{Display, Formatter, Result};

impl Display for IntTy {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            IntTy { bits: 1, signed: false } => f.write_str("bool"),
            IntTy { bits, signed } => write!(f, "{}{bits}", if *signed { 'i' } else { 'u' }),
        }
    }
}

impl Display for PtrKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let mark = |nullable: &bool| if *nullable { "?" } else { "" };
        match self {
            PtrKind::Ctx => f.write_str("ctx"),
            PtrKind::Stack => f.write_str("stack"),
            PtrKind::Map(map) => write!(f, "map({map})"),
            PtrKind::MapValue { map, nullable } => write!(f, "mapvalue{}({map})", mark(nullable)),
            PtrKind::RingbufMem { nullable } => write!(f, "ringbuf{}", mark(nullable)),
            PtrKind::Packet => f.write_str("packet"),
            PtrKind::PacketEnd => f.write_str("packet_end"),
            PtrKind::Btf { type_id, nullable } => write!(f, "btf{}({type_id})", mark(nullable)),
            PtrKind::Kernel => f.write_str("kernel"),
            PtrKind::User => f.write_str("user"),
            PtrKind::Func(func) => write!(f, "func({func})"),
            PtrKind::CallbackCtx => f.write_str("cbctx"),
        }
    }
}

impl Display for Type {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Type::Int(ty) => ty.fmt(f),
            Type::Ptr(kind) => kind.fmt(f),
        }
    }
}

impl Display for FuncKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            FuncKind::Main => f.write_str("main"),
            FuncKind::Sub => f.write_str("sub"),
            FuncKind::Callback => f.write_str("callback"),
            FuncKind::Global { bytes } => write!(f, "global {bytes}"),
        }
    }
}

/// A list with commas.
struct List<'a, T>(&'a [T]);

impl<T: Display> Display for List<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for (i, item) in self.0.iter().enumerate() {
            write!(f, "{}{item}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// A string in quotes.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "\"{}\"", self.0.escape_default())
    }
}

/// `base + offset` in brackets.
struct At<'a>(Value, &'a Offset);

impl Display for At<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "[{}", self.0)?;
        match self.1.add {
            0 => {}
            add if add < 0 => write!(f, " - {}", add.unsigned_abs())?,
            add => write!(f, " + {add}")?,
        }
        if let Some((value, reloc)) = &self.1.core {
            write!(f, " + core({value}, {})", Reloc(reloc))?;
        }
        f.write_str("]")
    }
}

struct Reloc<'a>(&'a CoreReloc);

impl Display for Reloc<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let CoreReloc { root, root_name, path, kind } = self.0;
        write!(f, "{}, {root}, {}, ", word(names::CORE, kind), Quoted(root_name))?;
        for (i, index) in path.iter().enumerate() {
            write!(f, "{}{index}", if i == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

fn width_suffix(width: Width) -> &'static str {
    match width {
        Width::W64 => "",
        Width::W32 => ".32",
    }
}

/// `eq.32 v1, v2`.
struct Test<'a>(&'a Cond);

impl Display for Test<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Cond { cc, width, a, b } = self.0;
        write!(f, "{}{} {a}, {b}", word(names::CC, cc), width_suffix(*width))
    }
}

impl Display for Edge {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.block.fmt(f)?;
        if self.args.is_empty() { Ok(()) } else { write!(f, "({})", List(&self.args)) }
    }
}

impl Display for Op {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Op::Const(v) => write!(f, "const {v}"),
            Op::CoreConst { value, reloc } => write!(f, "core {value}, {}", Reloc(reloc)),
            Op::Bin { op, width, a, b } => {
                write!(f, "{}{} {a}, {b}", word(names::BIN, op), width_suffix(*width))
            }
            Op::Un { op: UnOp::Neg, a } => write!(f, "neg {a}"),
            Op::Un { op: UnOp::Bswap(bytes), a } => write!(f, "bswap.{bytes} {a}"),
            Op::Un { op: UnOp::Extend(ty), a } => write!(f, "extend {ty} {a}"),
            Op::Cmp(cond) => write!(f, "cmp.{}", Test(cond)),
            Op::Select { cond, a, b } => write!(f, "select.{}, {a}, {b}", Test(cond)),
            Op::Cast(a) => write!(f, "cast {a}"),
            Op::Bound { v, max } => write!(f, "bound {v}, {max}"),
            Op::PtrAdd { ptr, off } => write!(f, "ptradd {ptr}, {off}"),
            Op::SlotAddr(slot) => write!(f, "slotaddr {slot}"),
            Op::MapRef(map) => write!(f, "mapref {map}"),
            Op::MapValueAddr { map, off } => write!(f, "mapvalue {map}, {off}"),
            Op::FuncAddr(func) => write!(f, "funcaddr {func}"),
            Op::KernelSymbol(name) => write!(f, "ksym {}", Quoted(name)),
            Op::Helper { id, args } => match helpers::by_id(*id) {
                Some(helper) => write!(f, "helper {}({})", helper.name, List(args)),
                None => write!(f, "helper {id}({})", List(args)),
            },
            Op::Kfunc { name, args } => write!(f, "kfunc {}({})", Quoted(name), List(args)),
            Op::Call { func, args } => write!(f, "call {func}({})", List(args)),
            _ => write_memory(f, self),
        }
    }
}

fn write_memory(f: &mut Formatter<'_>, op: &Op) -> Result {
    match op {
        Op::Load { ty, ptr, off } => write!(f, "load {ty} {}", At(*ptr, off)),
        Op::Store { size, ptr, off, val } => write!(f, "store.{size} {}, {val}", At(*ptr, off)),
        Op::Atomic { op, size, ptr, off, val, fetch } => {
            let (op, fetch) = (word(names::ATOMIC, op), if *fetch { ".fetch" } else { "" });
            write!(f, "atomic.{op}.{size}{fetch} {}, {val}", At(*ptr, &Offset::at(*off)))
        }
        Op::Copy { dst, dst_off, src, src_off, len, align } => {
            let (to, from) = (Offset::at(*dst_off), Offset::at(*src_off));
            write!(f, "copy {}, {}, {len} align {align}", At(*dst, &to), At(*src, &from))
        }
        Op::Zero { dst, off, len, align } => {
            write!(f, "zero {}, {len} align {align}", At(*dst, &Offset::at(*off)))
        }
        _ => Ok(()),
    }
}

impl Display for Terminator {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Terminator::Jump(edge) => write!(f, "jump {edge}"),
            Terminator::Branch { cond, then, other } => {
                write!(f, "branch.{}, {then}, {other}", Test(cond))
            }
            Terminator::MayGoto { body, exit } => write!(f, "may_goto {body}, {exit}"),
            Terminator::Return(v) => write!(f, "return {v}"),
        }
    }
}

fn write_loc(f: &mut Formatter<'_>, loc: Loc) -> Result {
    if loc == Loc::default() { writeln!(f) } else { writeln!(f, " @{}:{}", loc.line, loc.column) }
}

impl Function {
    /// One instruction as the text form writes it, without its place.
    pub fn display_inst(&self, inst: Inst) -> String {
        let data = self.inst(inst);
        match data.result {
            Some(v) => format!("{v}: {} = {}", self.type_of(v), data.op),
            None => data.op.to_string(),
        }
    }

    fn write_block(&self, f: &mut Formatter<'_>, number: usize, block: &BlockData) -> Result {
        write!(f, "b{number}")?;
        for (i, param) in block.params.iter().enumerate() {
            write!(f, "{}{param}: {}", if i == 0 { "(" } else { ", " }, self.type_of(*param))?;
        }
        let close = if block.params.is_empty() { "" } else { ")" };
        writeln!(f, "{close}{}:", if block.cold { " cold" } else { "" })?;
        for inst in &block.insts {
            write!(f, "  {}", self.display_inst(*inst))?;
            write_loc(f, self.inst(*inst).loc)?;
        }
        match &block.term {
            Some(term) => {
                write!(f, "  {term}")?;
                write_loc(f, block.loc)
            }
            None => writeln!(f, "  unfinished"),
        }
    }

    fn write(&self, f: &mut Formatter<'_>, id: Option<usize>) -> Result {
        f.write_str("func ")?;
        if let Some(id) = id {
            write!(f, "f{id} ")?;
        }
        writeln!(f, "{} {}({}) -> {} {{", Quoted(&self.name), self.kind, List(&self.params), self.ret)?;
        for (i, slot) in self.slots.iter().enumerate() {
            writeln!(f, "  slot s{i} {} size {} align {}", Quoted(&slot.name), slot.size, slot.align)?;
        }
        for (i, block) in self.blocks.iter().enumerate() {
            self.write_block(f, i, block)?;
        }
        writeln!(f, "}}")
    }
}

impl Display for Function {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.write(f, None)
    }
}

fn write_map(f: &mut Formatter<'_>, id: usize, map: &MapSpec) -> Result {
    write!(f, "map m{id} {} {}", word(names::MAP, &map.map_type), Quoted(&map.name))?;
    write!(f, " key {} value {} entries {}", map.key_size, map.value_size, map.max_entries)?;
    if map.flags != 0 {
        write!(f, " flags {}", map.flags)?;
    }
    if !map.initial.is_empty() {
        f.write_str(" initial \"")?;
        map.initial.iter().try_for_each(|b| write!(f, "{b:02x}"))?;
        f.write_str("\"")?;
    }
    writeln!(f, "{}", if map.frozen { " frozen" } else { "" })
}

fn write_program(f: &mut Formatter<'_>, program: &ProgramDecl) -> Result {
    let ProgramDecl { main, name, symbol, prog_type, attach_type, attach_btf, sleepable, .. } = program;
    let ty = word(names::PROG, prog_type);
    write!(f, "program {main} {} symbol {} type {ty}", Quoted(name), Quoted(symbol))?;
    if *attach_type != skep_bpf::kinds::AttachType::None {
        write!(f, " attach {}", word(names::ATTACH, attach_type))?;
    }
    match attach_btf {
        Some(BtfTarget::RawTracepoint(name)) => write!(f, " btf raw_tp {}", Quoted(name))?,
        Some(BtfTarget::Iter(name)) => write!(f, " btf iter {}", Quoted(name))?,
        Some(BtfTarget::Function { name, module: None }) => write!(f, " btf func {}", Quoted(name))?,
        Some(BtfTarget::Function { name, module: Some(module) }) => {
            write!(f, " btf func {} module {}", Quoted(name), Quoted(module))?;
        }
        Some(BtfTarget::Program { id, function }) => write!(f, " btf prog {id} {}", Quoted(function))?,
        None => {}
    }
    writeln!(f, "{}", if *sleepable { " sleepable" } else { "" })
}

impl Display for Module {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if !self.object.license.is_empty() {
            writeln!(f, "license {}", Quoted(&self.object.license))?;
        }
        for (i, map) in self.object.maps.iter().enumerate() {
            write_map(f, i, map)?;
        }
        for program in &self.programs {
            write_program(f, program)?;
        }
        for (i, func) in self.funcs.iter().enumerate() {
            func.write(f, Some(i))?;
        }
        Ok(())
    }
}
