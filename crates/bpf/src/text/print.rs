//! An object enters, its text leaves.

use std::fmt::Write as _;

use super::names::{CORE, KCONFIG, KSYM, word};
use super::words::quoted;
use crate::btf::{Btf, Type, TypeId};
use crate::disasm;
use crate::elf;
use crate::insn::{Insn, pseudo};
use crate::object::{BtfTarget, MapSpec, Object, Program, RelocKind, SlotContent};

/// Bytes on one line.
const LINE: usize = 32;

/// The text of an object.
pub fn print(object: &Object) -> String {
    let btf = Btf::parse(object.btf.clone(), None).ok();
    let mut out = String::new();
    let _ = writeln!(out, ".license {}", quoted(&object.license));
    for spec in &object.maps {
        map(&mut out, spec, object, btf.as_ref());
    }
    if !object.btf.is_empty() {
        out.push_str(".btf\n");
        if let Some(btf) = &btf {
            types(&mut out, btf);
        }
        bytes(&mut out, &object.btf);
    }
    for one in &object.programs {
        program(&mut out, one, object, btf.as_ref());
    }
    out.push_str(".private\n");
    bytes(&mut out, &elf::private(object));
    out
}

fn bytes(out: &mut String, bytes: &[u8]) {
    for line in bytes.chunks(LINE) {
        out.push_str("  .bytes ");
        line.iter().for_each(|b| {
            let _ = write!(out, "{b:02x}");
        });
        out.push('\n');
    }
}

/// Types as comments.
fn types(out: &mut String, btf: &Btf) {
    for id in 1..btf.len() {
        let text = match btf.get(TypeId(id)) {
            Some(Type::Composite { .. } | Type::Enum { .. }) => btf.c_definition(TypeId(id)),
            Some(Type::Func { .. }) => btf.c_function(TypeId(id)),
            Some(Type::Var { name, ty }) => Some(btf.c_decl(ty, name)),
            Some(Type::Datasec { name }) => Some(format!("section {name}")),
            _ => Some(btf.c_name(TypeId(id))),
        };
        for (index, line) in text.unwrap_or_default().lines().enumerate() {
            let number = if index == 0 { format!("[{id}] ") } else { "    ".to_owned() };
            let _ = writeln!(out, "  ; {number}{}", line.escape_debug());
        }
    }
}

fn map(out: &mut String, spec: &MapSpec, object: &Object, btf: Option<&Btf>) {
    let details = &spec.details;
    let _ = write!(
        out,
        ".map {} {} key={} value={} entries={}",
        quoted(&spec.name),
        spec.map_type.name(),
        spec.key_size,
        spec.value_size,
        spec.max_entries
    );
    if spec.flags != 0 {
        let _ = write!(out, " flags={}", spec.flags);
    }
    if details.map_extra != 0 {
        let _ = write!(out, " extra={}", details.map_extra);
    }
    if let Some(node) = details.numa_node {
        let _ = write!(out, " numa_node={node}");
    }
    let mut comment = String::new();
    if let Some(types) = details.types {
        let _ = write!(out, " key_type={} value_type={}", types.key, types.value);
        let name = |id| btf.map_or_else(String::new, |b| b.c_name(TypeId(id)));
        comment = format!("  ; {} -> {}", name(types.key).escape_debug(), name(types.value).escape_debug());
    }
    out.push_str(if spec.frozen { " frozen" } else { "" });
    out.push_str(if details.pin_by_name { " pinned" } else { "" });
    let _ = writeln!(out, "{comment}");
    if let Some(inner) = &details.inner {
        let _ = write!(
            out,
            "  .inner {} key={} value={} entries={} flags={}",
            inner.map_type.name(),
            inner.key_size,
            inner.value_size,
            inner.max_entries,
            inner.flags
        );
        if let Some(types) = inner.types {
            let _ = write!(out, " key_type={} value_type={}", types.key, types.value);
        }
        out.push('\n');
    }
    for slot in &details.slots {
        let _ = match &slot.content {
            SlotContent::Map(map) => {
                let name = object.maps.get(*map).map_or("", |m| m.name.as_str());
                writeln!(out, "  .slot {} map {map}  ; {}", slot.index, name.escape_debug())
            }
            SlotContent::Program(symbol) => {
                writeln!(out, "  .slot {} program {}", slot.index, quoted(symbol))
            }
        };
    }
    for var in &details.kconfig {
        let kind = word(KCONFIG, var.kind);
        let weak = if var.weak { " weak" } else { "" };
        let _ = writeln!(out, "  .kconfig {} {} {} {kind}{weak}", quoted(&var.name), var.offset, var.size);
    }
    bytes(out, &spec.initial);
}

fn program(out: &mut String, program: &Program, object: &Object, btf: Option<&Btf>) {
    let _ = write!(
        out,
        ".program {} {} attach={} probe={}",
        quoted(&program.symbol),
        program.prog_type.name(),
        if program.attach_type as u32 == 0 { "none" } else { program.attach_type.name() },
        quoted(&program.name)
    );
    if let Some(target) = &program.attach_btf {
        let _ = match target {
            BtfTarget::RawTracepoint(name) => write!(out, " tracepoint={}", quoted(name)),
            BtfTarget::Iter(name) => write!(out, " iter={}", quoted(name)),
            BtfTarget::Function { name, module: None } => write!(out, " function={}", quoted(name)),
            BtfTarget::Function { name, module: Some(module) } => {
                write!(out, " function={} module={}", quoted(name), quoted(module))
            }
            BtfTarget::Program { id, function } => write!(out, " function={} program={id}", quoted(function)),
        };
    }
    let _ = writeln!(out, "{}", if program.sleepable { " sleepable" } else { "" });
    // A name in brackets stands for a relocation whose instruction is otherwise empty, and means a map by descriptor.
    let by_index = |i: &Insn| i.is_ld_imm64() && matches!(i.src, pseudo::MAP_IDX | pseudo::MAP_IDX_VALUE);
    let names = |at: usize| {
        let plain = program.insns.get(at).is_some_and(|i| i.imm == 0 && !by_index(i));
        let found = program.relocs.iter().find(|r| r.insn as usize == at).filter(|_| plain)?;
        let name = disasm::reloc_name(&found.kind, object)?;
        let usable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '@');
        let first = name.chars().next().is_some_and(|c| !c.is_ascii_digit());
        (first && name.chars().all(usable)).then_some(name)
    };
    let note = |at: usize, out: &mut String| notes(out, program, object, btf, at);
    out.push_str(&disasm::annotated(&program.insns, &names, &note));
    // What names an instruction behind the last, or the second half of a wide one, is kept too.
    let starts = starts(program);
    for at in 0..=program.insns.len() {
        if starts.binary_search(&at).is_err() {
            stray(out, program, at);
        }
    }
    out.push_str(".end\n");
}

/// Indexes of instructions at which text begins.
fn starts(program: &Program) -> Vec<usize> {
    let mut at = 0;
    let mut starts = Vec::new();
    while at < program.insns.len() {
        starts.push(at);
        at += disasm::insn(&program.insns, at, &|_| None).1;
    }
    starts
}

fn stray(out: &mut String, program: &Program, at: usize) {
    let here = |n: u32| n as usize == at;
    let any = program.funcs.iter().any(|f| here(f.insn))
        || program.lines.iter().any(|l| here(l.insn))
        || program.relocs.iter().any(|r| here(r.insn));
    if any {
        let _ = writeln!(out, "  .at {at}");
        directives(out, program, at);
    }
}

fn notes(out: &mut String, program: &Program, object: &Object, btf: Option<&Btf>, at: usize) {
    let string = |offset: u32| btf.map_or("", |b| b.string(offset));
    for f in program.funcs.iter().filter(|f| f.insn as usize == at) {
        let name = btf.and_then(|b| b.c_function(TypeId(f.type_id)));
        let _ = writeln!(out, "\n; {}", name.as_deref().unwrap_or("function").escape_debug());
    }
    for l in program.lines.iter().filter(|l| l.insn as usize == at) {
        let (file, text) = (string(l.file).escape_debug(), string(l.text).trim().escape_debug());
        let _ = writeln!(out, "; {file}:{}:{} {text}", l.line, l.column);
    }
    for r in program.relocs.iter().filter(|r| r.insn as usize == at) {
        if let (RelocKind::Core(core), Some(btf)) = (&r.kind, btf) {
            let field = btf.follow(TypeId(core.root), &core.path).map(|f| btf.c_name(f.ty));
            let field = field.unwrap_or_default();
            let _ = writeln!(out, "; relocated: {}, {}", core.root_name.escape_debug(), field.escape_debug());
        }
        let _ = object;
    }
    directives(out, program, at);
}

fn directives(out: &mut String, program: &Program, at: usize) {
    for f in program.funcs.iter().filter(|f| f.insn as usize == at) {
        let _ = writeln!(out, "  .func {}", f.type_id);
    }
    for l in program.lines.iter().filter(|l| l.insn as usize == at) {
        let _ = writeln!(out, "  .line {} {} file={} text={}", l.line, l.column, l.file, l.text);
    }
    for r in program.relocs.iter().filter(|r| r.insn as usize == at) {
        let _ = match &r.kind {
            RelocKind::Map(map) => writeln!(out, "  .reloc map {map}"),
            RelocKind::MapValue(map) => writeln!(out, "  .reloc value {map}"),
            RelocKind::KernelSymbol(name) => writeln!(out, "  .reloc symbol {}", quoted(name)),
            RelocKind::Kfunc(name) => writeln!(out, "  .reloc kfunc {}", quoted(name)),
            RelocKind::Ksym(symbol) => {
                let weak = if symbol.weak { " weak" } else { "" };
                let kind = word(KSYM, symbol.kind);
                writeln!(out, "  .reloc ksym {} {kind}{weak}", quoted(&symbol.name))
            }
            RelocKind::Core(core) => {
                let path: Vec<String> = core.path.iter().map(u32::to_string).collect();
                let (kind, name) = (word(CORE, core.kind), quoted(&core.root_name));
                writeln!(out, "  .reloc core {kind} {} {name} path={}", core.root, quoted(&path.join(":")))
            }
        };
    }
}
