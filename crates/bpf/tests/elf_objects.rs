//! Objects that clang made of `tests/elf/*.c`: what a file says is what is read.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at what it does not understand")]

use skep_bpf::btf::Btf;
use skep_bpf::elf::{Module, Selection};
use skep_bpf::kinds::{AttachType, MapType, ProgType};
use skep_bpf::object::{CoreKind, KconfigKind, KsymKind, MapSpec, Object, RelocKind, SlotContent};

fn module(name: &str) -> Module {
    let path = format!("{}/../../tests/elf/{name}.o", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    Module::parse(&bytes).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn object(name: &str) -> Object {
    module(name).object(&Selection::Default).unwrap()
}

fn map<'a>(object: &'a Object, name: &str) -> &'a MapSpec {
    object.maps.iter().find(|m| m.name == name).unwrap_or_else(|| panic!("no map {name}"))
}

#[test]
fn maps_are_what_their_definitions_say() {
    let object = object("maps");
    let by_comm = map(&object, "by_comm");
    assert_eq!((by_comm.map_type, by_comm.key_size, by_comm.value_size), (MapType::Hash, 20, 24));
    let btf = Btf::parse(object.btf.clone(), None).unwrap();
    let types = by_comm.details.types.unwrap();
    assert_eq!(btf.c_name(skep_bpf::btf::TypeId(types.key)), "struct key");
    assert!(map(&object, "pinned").details.pin_by_name);
    let outer = map(&object, "outer");
    let inner = outer.details.inner.as_ref().unwrap();
    assert_eq!((inner.map_type, inner.max_entries, inner.value_size), (MapType::Hash, 8, 4));
    let index = |name: &str| object.maps.iter().position(|m| m.name == name).unwrap();
    let slots: Vec<_> = outer.details.slots.iter().map(|s| (s.index, s.content.clone())).collect();
    assert_eq!(slots, [(0, SlotContent::Map(index("first"))), (2, SlotContent::Map(index("second")))]);
    let jumps = &map(&object, "jumps").details.slots;
    assert_eq!((jumps[0].index, &jumps[0].content), (1, &SlotContent::Program("tail".into())));
    assert_eq!(map(&object, ".data.custom").initial, 42i32.to_ne_bytes());
    assert_eq!(map(&object, ".rodata").initial[..4], 3i32.to_ne_bytes());
    assert!(map(&object, ".rodata").frozen && !map(&object, ".bss").frozen);
    assert_eq!(object.license, "GPL");
}

#[test]
fn sections_of_data_have_sizes_and_places() {
    let object = object("maps");
    let btf = Btf::parse(object.btf.clone(), None).unwrap();
    for name in [".data", ".bss", ".rodata", ".data.custom"] {
        let spec = map(&object, name);
        let section = skep_bpf::btf::TypeId(spec.details.types.unwrap().value);
        assert_eq!(btf.size_of(section), Some(spec.value_size), "{name}");
        assert!(!btf.section_vars(section).is_empty(), "{name}");
    }
}

#[test]
fn relocations_of_every_kind_are_read() {
    let object = object("core");
    let [program] = &object.programs[..] else { panic!("{} programs", object.programs.len()) };
    let kinds: Vec<CoreKind> = program
        .relocs
        .iter()
        .filter_map(|r| match &r.kind {
            RelocKind::Core(core) => Some(core.kind),
            _ => None,
        })
        .collect();
    use CoreKind::*;
    for kind in [
        FieldByteOffset,
        FieldByteSize,
        FieldExists,
        FieldLshiftU64,
        FieldRshiftU64,
        TypeIdLocal,
        TypeIdTarget,
        TypeExists,
        TypeSize,
        EnumvalExists,
        EnumvalValue,
    ] {
        assert!(kinds.contains(&kind), "{kind:?} is missing");
    }
    let symbols: Vec<(&str, bool, KsymKind)> = program
        .relocs
        .iter()
        .filter_map(|r| match &r.kind {
            RelocKind::Ksym(k) => Some((k.name.as_str(), k.weak, k.kind)),
            _ => None,
        })
        .collect();
    for wanted in [
        ("schedule", false, KsymKind::Address),
        ("no_such_symbol", true, KsymKind::Address),
        ("runqueues_nowhere", true, KsymKind::Typed),
        ("no_such_function", true, KsymKind::Typed),
        ("no_such_function", true, KsymKind::Call),
    ] {
        assert!(symbols.contains(&wanted), "{wanted:?} is not among {symbols:?}");
    }
    assert!(program.relocs.iter().any(|r| r.kind == RelocKind::Kfunc("bpf_rcu_read_lock".into())));
    let config = &map(&object, ".kconfig").details.kconfig;
    let kinds: Vec<_> = config.iter().map(|v| (v.name.as_str(), v.kind, v.weak)).collect();
    assert!(kinds.contains(&("LINUX_KERNEL_VERSION", KconfigKind::Int { signed: true }, false)));
    assert!(kinds.contains(&("CONFIG_BPF_SYSCALL", KconfigKind::Bool, true)));
    assert!(kinds.contains(&("CONFIG_NO_SUCH_OPTION", KconfigKind::Tristate, true)));
}

#[test]
fn sections_name_types() {
    let module = module("sections");
    let rows = module.listing();
    assert!(rows.iter().all(|r| r.prog_type.is_some()), "{rows:?}");
    let object = module.object(&Selection::Default).unwrap();
    assert_eq!(object.programs.len() + 1, rows.len(), "one is optional");
    let kind = |name: &str| {
        let found = object.programs.iter().find(|p| p.symbol == format!("on_{name}"));
        found.map(|p| (p.prog_type, p.attach_type)).unwrap()
    };
    assert_eq!(kind("connect4"), (ProgType::CgroupSockAddr, AttachType::CgroupInet4Connect));
    assert_eq!(kind("kprobe_multi"), (ProgType::Kprobe, AttachType::TraceKprobeMulti));
    assert_eq!(kind("xdp_devmap"), (ProgType::Xdp, AttachType::XdpDevmap));
    assert_eq!(kind("netfilter"), (ProgType::Netfilter, AttachType::Netfilter));
    let named = Selection::Named(vec!["on_optional".into()]);
    assert_eq!(module.object(&named).unwrap().programs.len(), 1);
    let error = module.object(&Selection::Named(vec!["nobody".into()])).unwrap_err();
    assert!(error.to_string().contains("no program `nobody`"), "{error}");
}

#[test]
fn functions_come_along() {
    let object = object("calls");
    let run = object.programs.iter().find(|p| p.symbol == "run").unwrap();
    // run, add, each, outside, twice.
    assert_eq!(run.funcs.len(), 5, "{:?}", run.funcs);
    assert!(!run.lines.is_empty() && run.lines.is_sorted_by_key(|l| l.insn));
    let pass = object.programs.iter().find(|p| p.symbol == "pass").unwrap();
    assert!(pass.funcs.len() == 3 && pass.insns.len() < run.insns.len());
}

#[test]
fn maps_as_numbers() {
    let object = object("plain");
    let (counts, shared) = (map(&object, "counts"), map(&object, "shared"));
    assert_eq!((counts.map_type, counts.max_entries, counts.flags), (MapType::Hash, 16, 1));
    assert!(shared.details.pin_by_name && !counts.details.pin_by_name);
    assert!(object.programs[0].relocs.iter().any(|r| matches!(r.kind, RelocKind::Map(_))));
}

#[test]
fn damaged_files_are_refused_not_believed() {
    for name in ["maps", "core", "calls", "plain", "sections"] {
        let path = format!("{}/../../tests/elf/{name}.o", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(path).unwrap();
        for at in (0..bytes.len()).step_by(41) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x5a;
            if let Ok(module) = Module::parse(&damaged) {
                let _ = module.object(&Selection::Default);
            }
            let _ = Module::parse(&bytes[..at]);
        }
    }
}
