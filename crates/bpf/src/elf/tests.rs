//! Tests of the whole folder, and values for tests elsewhere.

use proptest::prelude::*;

use super::*;
use crate::btf::{Btf, BtfBuilder, Linkage, MemberDef, NameKind, TypeId};
use crate::core::embed::embed;
use crate::core::relocation;
use crate::event::{Action, Stream, lay_out};
use crate::format::{Conv, Piece};
use crate::insn::{Insn, Reg, alu, pseudo, size};
use crate::kinds::{AttachType, MapType, ProgType};
use crate::object::*;
use crate::origin::{Assumption, Origin, Place};
use crate::schema::{Agg, Field, ValueType};
use crate::target::Arch;
use crate::version::KernelVersion;

/// A program without instructions.
pub(crate) fn empty_program() -> Program {
    Program {
        name: "begin".into(),
        symbol: "begin_1".into(),
        prog_type: ProgType::RawTracepoint,
        attach_type: AttachType::None,
        attach_btf: None,
        attach: Vec::new(),
        sleepable: false,
        insns: Vec::new(),
        relocs: Vec::new(),
        funcs: Vec::new(),
        lines: Vec::new(),
    }
}

fn map(name: &str, map_type: MapType, schema: Option<MapSchema>) -> MapSpec {
    MapSpec {
        name: name.into(),
        map_type,
        key_size: 4,
        value_size: 8,
        max_entries: 1,
        flags: 0,
        initial: Vec::new(),
        frozen: false,
        schema,
        details: MapDetails::default(),
    }
}

fn maps() -> Vec<MapSpec> {
    let key = vec![ValueType::Str { size: 4 }];
    let value = ValueType::Agg(Agg::LHist { min: -8, max: 8, step: 2 });
    let schema = MapSchema { storage: Storage::Hash, key, value, order: 1 };
    vec![
        map("@", MapType::PercpuHash, Some(schema)),
        MapSpec { initial: vec![7; 8], frozen: true, ..map("words", MapType::Array, None) },
        MapSpec { key_size: 0, value_size: 0, max_entries: 4096, ..map("events", MapType::Ringbuf, None) },
        map("@events", MapType::Hash, None),
    ]
}

fn kernel() -> Btf {
    let mut b = BtfBuilder::new();
    let int = b.int("int", 4, true);
    let at = |name, ty, bit_offset| MemberDef { name, ty, bit_offset, bit_size: 0 };
    b.struct_("bee", 24, &[at("wings", int, 0), at("age", int, 128)]);
    b.var("hive", int, Linkage::Global);
    let proto = b.func_proto(int, &[("a", int)]);
    b.func("bpf_buzz", proto, Linkage::Global);
    Btf::parse(b.finish(), None).unwrap()
}

/// The object's own types: a main function and two others, with lines.
struct Types {
    btf: Vec<u8>,
    funcs: [TypeId; 3],
    strings: (u32, u32),
}

fn types() -> Types {
    let mut b = BtfBuilder::new();
    let int = b.int("int", 4, true);
    let proto = b.func_proto(int, &[("ctx", int)]);
    let funcs = ["main", "helper", "callback"].map(|name| b.func(name, proto, Linkage::Static));
    let strings = (b.string("bees.bt"), b.string("BEGIN { @++ }"));
    Types { btf: b.finish(), funcs, strings }
}

/// A program of a main function, which refers to two others, one of which refers to the other.
fn program(symbol: &str, extra: usize, kernel: &Btf, types: &Types) -> Program {
    let ld = Insn::ld_imm64;
    let mut insns = vec![Insn::mov_imm(Reg::R6, 1); extra];
    let mut relocs = Vec::new();
    let mut open = |insns: &Vec<Insn>, kind| relocs.push(Reloc { insn: insns.len() as u32, kind });
    open(&insns, RelocKind::Map(0));
    insns.extend(ld(Reg::R1, pseudo::MAP_FD, 0));
    open(&insns, RelocKind::MapValue(1));
    insns.extend(ld(Reg::R2, pseudo::MAP_VALUE, 4 << 32));
    open(&insns, RelocKind::KernelSymbol("hive".into()));
    insns.extend(ld(Reg::R3, pseudo::BTF_ID, 0));
    let bee = kernel.find(NameKind::Struct, "bee").unwrap();
    let age = kernel.find_member(bee, "age").unwrap();
    open(&insns, RelocKind::Core(relocation(kernel, &age, CoreKind::FieldByteOffset)));
    insns.push(Insn::load(size::W, Reg::R1, Reg::R1, 16));
    open(&insns, RelocKind::Kfunc("bpf_buzz".into()));
    insns.push(Insn { src: pseudo::KFUNC_CALL, imm: 0, ..Insn::call_helper(0) });
    let (callback, helper) = (extra + 13, extra + 11);
    let at = insns.len();
    insns.extend(ld(Reg::R2, pseudo::FUNC, 0));
    insns[at].imm = callback as i32 - at as i32 - 1;
    insns.push(Insn::exit());
    insns.push(Insn { src: pseudo::CALL, imm: 1, ..Insn::call_helper(0) });
    insns[helper] = Insn { src: pseudo::CALL, imm: 1, ..Insn::call_helper(0) };
    insns.push(Insn::exit());
    open(&insns, RelocKind::Core(relocation(kernel, &age, CoreKind::FieldByteOffset)));
    insns.push(Insn::alu64_imm(alu::ADD, Reg::R1, 16));
    insns.push(Insn::exit());
    let starts = [0, callback as u32];
    // The function that the main one refers to first stands first; nothing refers to `helper` here.
    let _ = helper;
    let ids = [types.funcs[0], types.funcs[2]];
    let funcs = starts.iter().zip(ids).map(|(insn, id)| FuncInfo { insn: *insn, type_id: id.0 });
    let line =
        |insn: u32| LineInfo { insn, file: types.strings.0, text: types.strings.1, line: 1, column: 9 };
    let at = AttachPoint { at: Attach::Begin, cookie: 3, name: "begin".into(), probes: Some(1) };
    Program {
        symbol: symbol.into(),
        attach: vec![at],
        insns,
        relocs,
        funcs: funcs.collect(),
        lines: vec![line(0), line(1), line(callback as u32)],
        ..empty_program()
    }
}

pub(crate) fn sample() -> Object {
    let (kernel, types) = (kernel(), types());
    let mut programs = vec![program("begin_1", 0, &kernel, &types), program("begin_1", 2, &kernel, &types)];
    // Only the functions that are referred to: drop the two instructions that stood for another.
    for (program, extra) in programs.iter_mut().zip([0usize, 2]) {
        let gone = extra + 11;
        program.insns.drain(gone..gone + 2);
        for func in program.funcs.iter_mut().skip(1) {
            func.insn -= 2;
        }
        for line in program.lines.iter_mut().skip(2) {
            line.insn -= 2;
        }
        for reloc in &mut program.relocs {
            if reloc.insn as usize > gone {
                reloc.insn -= 2;
            }
        }
        program.insns[extra + 8].imm -= 2;
    }
    let format = vec![Piece::Text("bee ".into()), Piece::Conv(Conv { width: Some(5), ..Conv::default() })];
    let fields = vec![Field {
        name: "a".into(),
        offset: 0,
        ty: ValueType::Int { size: 4, signed: true },
        bits: Some((3, 4)),
    }];
    let record = ValueType::Record { size: 8, fields };
    let names = vec![(-1, "NONE".to_owned())];
    let args = vec![record, ValueType::Enum { size: 4, signed: true, names }, ValueType::Str { size: 64 }];
    let object = Object {
        license: "GPL".into(),
        programs,
        maps: maps(),
        btf: types.btf,
        events: vec![
            lay_out(Action::Printf { format, stream: Stream::Warning }, args, 3),
            lay_out(Action::Clear { map: 3 }, Vec::new(), 4),
        ],
        session: SessionSpec {
            events: Some(2),
            counters: vec![Counter::LostEvent, Counter::MapFull(0), Counter::MapRefused(0)],
            ..SessionSpec::default()
        },
        notes: vec!["a note".into()],
        ..Object::default()
    };
    let fields = vec![Place { name: "id".into(), offset: 8, size: 8 }];
    let assumptions = vec![
        Assumption::Tracepoint { category: "raw".into(), name: "enter".into(), fields },
        Assumption::Cpus(4),
    ];
    let origin = Origin { arch: Arch::X86_64, kernel: KernelVersion::new(6, 18), assumptions };
    embed(&object, &kernel, origin).unwrap()
}

#[test]
fn an_object_reads_back() {
    let object = sample();
    let bytes = write(&object).unwrap();
    assert_eq!(bytes, write(&object).unwrap());
    assert!(is_elf(&bytes));
    let back = read(&bytes).unwrap();
    assert_eq!(back.programs, object.programs);
    assert_eq!(back, object);
    assert_eq!(write(&back).unwrap(), bytes);
}

#[test]
fn the_standard_parts_say_the_same() {
    let object = sample();
    let module = Module::parse(&write(&object).unwrap()).unwrap();
    assert_eq!(module.license, "GPL");
    let symbols: Vec<&str> = module.maps.iter().map(|m| m.symbol.as_str()).collect();
    assert_eq!(symbols, ["map", "skep_events", "map_events", "skep_words"]);
    assert_eq!(module.maps[1].spec.max_entries, 4096);
    assert_eq!((&module.maps[3].spec.initial, module.maps[3].spec.frozen), (&vec![7; 8], true));
    let functions: Vec<&str> = module.programs.iter().map(|p| p.function.as_str()).collect();
    assert_eq!(functions, ["begin_1", "begin_1_2"]);
    assert!(module.programs.iter().all(|p| p.section == "raw_tp"));
    assert_eq!(module.programs[1].insns, object.programs[1].insns);
}

#[test]
fn code_in_text_alone_is_a_program_of_no_kind() {
    let mut bytes = write(&sample()).unwrap();
    while let Some(name) = bytes.windows(7).position(|w| w == b"raw_tp\0") {
        bytes[name..name + 7].copy_from_slice(b".text\0\0");
    }
    let module = Module::parse(&bytes).unwrap();
    let kinds: Vec<_> = module.listing().into_iter().map(|row| (row.function, row.prog_type)).collect();
    assert_eq!(kinds, [("begin_1".to_owned(), None), ("begin_1_2".to_owned(), None)]);
    let refused = module.object(&super::Selection::Default).unwrap_err().to_string();
    assert!(refused.contains("is in section `.text`, which names no type of program"), "{refused}");
}

#[test]
fn what_cannot_be_written_is_refused() {
    let whole = sample();
    let object = Object { origin: None, ..whole.clone() };
    assert!(write(&object).unwrap_err().to_string().contains("depends on the kernel"));
    let mut object = whole.clone();
    object.programs[0].relocs[0].kind = RelocKind::Map(9);
    assert!(write(&object).is_err());
    let mut object = whole.clone();
    object.maps[1].value_size = 0;
    assert!(write(&object).unwrap_err().to_string().contains("0 bytes"));
    let mut object = whole;
    object.programs[0].insns[8].imm = 1000;
    assert!(write(&object).unwrap_err().to_string().contains("refers to nothing"));
}

#[test]
fn other_files_are_named() {
    let bytes = write(&sample()).unwrap();
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = bytes.clone();
        change(&mut bytes);
        read(&bytes).unwrap_err().to_string()
    };
    assert!(refused(&|b| b[4] = 1).contains("32-bit"));
    assert!(refused(&|b| b[5] = 3 - b[5]).contains("byte order"));
    assert!(refused(&|b| b[18] = 62).contains("for a CPU"));
    assert!(refused(&|b| b.truncate(32)).contains("no ELF header"));
    let name = bytes.windows(6).position(|w| w == b".skep\0").unwrap();
    assert!(refused(&|b| b[name + 1] = b'S').contains("not written by skep"));
    let magic = bytes.windows(4).position(|w| w == b"SKEP").unwrap();
    assert!(refused(&|b| b[magic + 8] ^= 1).contains("another version of skep"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_are_harmless(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        cuts in prop::bool::weighted(0.1),
    ) {
        thread_local!(static BYTES: Vec<u8> = write(&sample()).unwrap());
        let mut bytes = BYTES.with(Clone::clone);
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(object) = read(&bytes) {
            let _ = write(&object);
        }
    }

    #[test]
    fn damaged_skep_sections_are_harmless(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        thread_local!(static BYTES: Vec<u8> = {
            let mut skep = Module::parse(&write(&sample()).unwrap()).unwrap().skep;
            skep.pop();
            skep
        });
        let mut bytes = BYTES.with(Clone::clone);
        for (at, value) in edits {
            let at = 12 + at.index(bytes.len() - 12);
            bytes[at] = value;
        }
        let _ = super::tables::Extra::from_bytes(&bytes);
    }

    #[test]
    fn random_bytes_are_harmless(tail in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = Module::parse(&tail);
        let mut bytes = write(&Object { origin: sample().origin, ..Object::default() }).unwrap();
        bytes.truncate(64);
        bytes.extend_from_slice(&tail);
        let _ = Module::parse(&bytes);
    }
}
