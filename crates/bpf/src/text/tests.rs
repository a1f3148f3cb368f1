use super::*;
use crate::elf::{Module, Selection};
use crate::insn::{Insn, pseudo};
use crate::object::Object;

fn objects() -> Vec<(String, Object)> {
    let folder = format!("{}/../../tests/elf", env!("CARGO_MANIFEST_DIR"));
    let mut out = Vec::new();
    for name in ["maps", "core", "calls", "plain", "sections"] {
        let bytes = std::fs::read(format!("{folder}/{name}.o")).unwrap();
        out.push((name.to_owned(), Module::parse(&bytes).unwrap().object(&Selection::Default).unwrap()));
    }
    out
}

#[test]
fn objects_come_back_equal() {
    for (name, object) in objects() {
        let text = print(&object);
        let back = parse(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(back, object, "{name}");
        assert!(is_object(&text));
    }
}

/// Files keep all but what their own tables say anew: functions and lines of code that programs share, entries of maps.
#[test]
fn a_file_made_of_it_says_the_same() {
    for (name, object) in objects() {
        let again = crate::elf::read(&crate::elf::write(&object).unwrap()).unwrap();
        assert_eq!(again.maps, object.maps, "{name}");
        for (one, other) in object.programs.iter().zip(&again.programs) {
            assert_eq!(one.insns.len(), other.insns.len(), "{name}: {}", one.symbol);
            assert_eq!(one.relocs, other.relocs, "{name}: {}", one.symbol);
        }
    }
}

#[test]
fn any_instructions_come_back_equal() {
    // A generator of our own: every bit pattern is an instruction for the text form.
    let mut state = 0x1234_5678_9abc_def1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let (_, template) = objects().swap_remove(2);
    for _ in 0..200 {
        let mut object = template.clone();
        for program in &mut object.programs {
            for insn in &mut program.insns {
                let bits = next();
                *insn = match bits % 3 {
                    // Wholly random, a known operation with random operands, or as it was.
                    0 => Insn::from_bytes(next().to_ne_bytes()),
                    1 => Insn { imm: (next() >> 40) as i32, off: (next() >> 60) as i16, ..*insn },
                    _ => *insn,
                };
            }
        }
        let text = print(&object);
        assert_eq!(parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}")), object);
    }
}

#[test]
fn a_map_by_index_stays_one_where_a_relocation_names_another() {
    for src in [pseudo::MAP_IDX, pseudo::MAP_IDX_VALUE] {
        let (_, mut object) = objects().swap_remove(0);
        let program = object.programs.iter_mut().find(|p| !p.relocs.is_empty()).unwrap();
        let at = program.relocs[0].insn as usize;
        assert!(program.insns[at].is_ld_imm64() && program.insns[at].imm == 0);
        program.insns[at].src = src;
        assert_eq!(parse(&print(&object)).unwrap(), object);
    }
}

#[test]
fn text_is_for_people() {
    let (_, object) = objects().swap_remove(0);
    let text = print(&object);
    for wanted in [
        ".license \"GPL\"",
        ".map \"by_comm\" hash key=20 value=24 entries=128",
        "; struct key -> struct value",
        "call bpf_map_lookup_elem#1",
        "= map[by_comm]",
        "maps.c:",
    ] {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
}

#[test]
fn errors_say_where() {
    let error = |text: &str| parse(text).unwrap_err().to_string();
    assert!(error("r0 = 1").contains("line 1"), "{}", error("r0 = 1"));
    assert!(error("\n.map \"x\" heap").contains("line 2: `heap` is no kind of map"));
    assert!(error(".program \"p\" xdp\nexit").contains("no `.end`"));
    assert!(error(".program \"p\" xdp\nr0 = rx\n.end").contains("line 2"));
    assert!(error(".program \"p\" xdp\n.reloc map x\n.end").contains("`x` is not a map's number"));
    assert!(error(".bytes 00").contains("belong behind"));
    assert!(error(".private\n.bytes 00").contains("`.private`"));
    assert!(error(".license \"GPL").contains("do not end"));
    assert_eq!(parse("").unwrap(), Object::default());
}
