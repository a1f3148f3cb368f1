//! Programs as assembly: a text enters; an object leaves. The statements are those that listings show (`-d asm`); lines that
//! begin with a dot say the rest:
//!
//! - `.program NAME KIND`: what follows is a program; its kind is named as a section of an object file is (`xdp`, `tc`,
//!   `raw_tp`, `socket`). Without such a line the text is one program `main` for `xdp`;
//! - `.map NAME KIND KEY VALUE ENTRIES`: a map, with the bytes of a key and of a value; `map[NAME]` loads it;
//! - `.slot MAP INDEX PROGRAM`: an entry of an array of programs;
//! - `.license TEXT`: the license; GPL without.

use crate::error::Error;
use skep_bpf::asm;
use skep_bpf::elf::section;
use skep_bpf::insn::pseudo;
use skep_bpf::kinds::{AttachType, MapType, ProgType, map_flags};
use skep_bpf::object::{AttachPoint, MapSpec, NamedSlot, Object, Program, Reloc, RelocKind, SlotContent};

/// A program's lines, and where they begin.
struct Part<'t> {
    name: String,
    kind: (ProgType, AttachType),
    first: usize,
    lines: Vec<&'t str>,
}

/// Assembles a text, which messages call `name`.
pub fn assemble(name: &str, text: &str) -> Result<Object, Error> {
    let mut object = Object { license: "GPL".to_owned(), ..Object::default() };
    parse(text, &mut object).map_err(|why| Error::Object { file: name.to_owned(), why: vec![why] })?;
    Ok(object)
}

fn parse(text: &str, object: &mut Object) -> Result<(), String> {
    let mut parts: Vec<Part<'_>> = Vec::new();
    let mut slots = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let code = line.split(';').next().unwrap_or("").trim();
        let Some(directive) = code.strip_prefix('.') else {
            if parts.is_empty() && !code.is_empty() {
                let kind = (ProgType::Xdp, AttachType::None);
                parts.push(Part { name: "main".to_owned(), kind, first: number, lines: Vec::new() });
            }
            if let Some(part) = parts.last_mut() {
                part.lines.push(line);
            }
            continue;
        };
        if let Some(part) = parts.last_mut() {
            part.lines.push("");
        }
        let words: Vec<&str> = directive.split_whitespace().collect();
        let wanted = |what: &str| format!("line {number}: expected `{what}`, found `{code}`");
        match words[..] {
            ["license", _, ..] => object.license = words[1..].join(" "),
            ["map", name, kind, key, value, entries] => {
                let kind = MapType::from_name(kind).ok_or_else(|| wanted(".map NAME KIND …, as `hash`"))?;
                let size = |text: &str| text.parse::<u32>().map_err(|_| wanted("a number"));
                let mut spec = MapSpec::new(name, kind, size(key)?, size(value)?, size(entries)?);
                if kind == MapType::LpmTrie {
                    spec.flags = map_flags::NO_PREALLOC; // the kernel makes no others
                }
                object.maps.push(spec);
            }
            ["slot", map, index, program] => {
                let index = index.parse().map_err(|_| wanted(".slot MAP INDEX PROGRAM"))?;
                slots.push((
                    number,
                    map,
                    NamedSlot { index, content: SlotContent::Program(program.to_owned()) },
                ));
            }
            ["program", name, kind] => {
                let found = section::parse(kind).map(|k| (k.prog_type, k.attach_type));
                let kind = found.ok_or_else(|| wanted(".program NAME KIND, as `xdp`"))?;
                parts.push(Part { name: name.to_owned(), kind, first: number + 1, lines: Vec::new() });
            }
            _ => return Err(wanted(".program, .map, .slot or .license")),
        }
    }
    for part in &parts {
        let program = program(part, object)?;
        object.programs.push(program);
    }
    for (number, map, slot) in slots {
        let found = object.maps.iter_mut().find(|spec| spec.name == map);
        let spec = found.ok_or_else(|| format!("line {number}: there is no map `{map}`"))?;
        spec.details.slots.push(slot);
    }
    Ok(())
}

fn program(part: &Part<'_>, object: &Object) -> Result<Program, String> {
    let map = |name: &str| {
        let index = object.maps.iter().position(|spec| spec.name == name)?;
        i32::try_from(index).ok()
    };
    let insns = asm::parse_with(&part.lines.join("\n"), &map);
    let insns = insns.map_err(|e| format!("line {}: {}", part.first + e.line.saturating_sub(1), e.what))?;
    let mut program = Program {
        name: part.name.clone(),
        symbol: part.name.clone(),
        prog_type: part.kind.0,
        attach_type: part.kind.1,
        attach_btf: None,
        attach: Vec::<AttachPoint>::new(),
        sleepable: false,
        insns,
        relocs: Vec::new(),
        funcs: Vec::new(),
        lines: Vec::new(),
    };
    let mut at = 0;
    while let Some(insn) = program.insns.get_mut(at) {
        if !insn.is_ld_imm64() {
            at += 1;
            continue;
        }
        let index = insn.imm as usize;
        let kind = match insn.src {
            pseudo::MAP_FD => Some(RelocKind::Map(index)),
            pseudo::MAP_VALUE => Some(RelocKind::MapValue(index)),
            _ => None,
        };
        if let Some(kind) = kind {
            insn.imm = 0;
            program.relocs.push(Reloc { insn: at as u32, kind });
        }
        at += 2;
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
.map counts array 4 8 2     ; a comment
.map next prog_array 4 4 4
.slot next 1 second
.program first xdp
  r1 = map[counts]
  r0 = 2
  exit
.program second tc
  r0 = 0
  exit
";

    #[test]
    fn programs_and_maps() {
        let object = assemble("x.s", TEXT).unwrap();
        assert_eq!(object.maps.len(), 2);
        let [first, second] = &object.programs[..] else { panic!("two programs") };
        assert_eq!((first.prog_type, first.insns.len()), (ProgType::Xdp, 4));
        assert_eq!(first.relocs, [Reloc { insn: 0, kind: RelocKind::Map(0) }]);
        assert_eq!((second.prog_type, second.name.as_str()), (ProgType::SchedCls, "second"));
        assert_eq!(object.maps[1].details.slots[0].content, SlotContent::Program("second".to_owned()));
        let plain = assemble("x.s", "r0 = 1\nexit\n").unwrap();
        assert_eq!((plain.programs[0].prog_type, plain.programs[0].insns.len()), (ProgType::Xdp, 2));
    }

    #[test]
    fn mistakes_have_their_line() {
        for (text, message) in [
            ("r0 = 1\nr0 = teapot\n", "x.s: line 2: "),
            (".program a xdp\n\nr0 ~ 1\n", "x.s: line 3: "),
            (".map a teapot 4 4 4", "line 1: expected `.map NAME KIND"),
            (".program a teapot", "line 1: expected `.program NAME KIND"),
            (".slot a 0 b\nexit\n", "line 1: there is no map `a`"),
            (".teapot", "line 1: expected `.program, .map, .slot or .license`"),
        ] {
            let error = assemble("x.s", text).unwrap_err().to_string();
            assert!(error.contains(message), "{error:?} should contain {message:?}");
        }
    }
}
