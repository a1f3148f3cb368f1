//! Tests of the reader against blobs of the builder, damaged blobs and, where there is one, the running kernel's.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

/// A blob with one of everything, and the ids that tests ask for.
struct Sample {
    bytes: Vec<u8>,
    int: TypeId,
    outer: TypeId,
    alias: TypeId,
    tagged: TypeId,
    handler: TypeId,
    func: TypeId,
    matrix: TypeId,
    section: TypeId,
}

fn member(name: &str, ty: TypeId, bit_offset: u32, bit_size: u8) -> MemberDef<'_> {
    MemberDef { name, ty, bit_offset, bit_size }
}

fn sample() -> Sample {
    let mut b = BtfBuilder::new();
    let int = b.int("int", 4, true);
    let long = b.int("long unsigned int", 8, false);
    let char_ = b.int("char", 1, true);
    let comm = b.array(char_, 16);
    let deep = b.union("", 8, &[member("x", long, 0, 0), member("y", int, 0, 0)]);
    let inner = b.struct_("", 16, &[member("pad", long, 0, 0), member("", deep, 64, 0)]);
    let self_ptr = TypeId(b.next_id().0 + 1);
    let outer = b.struct_(
        "outer",
        48,
        &[
            member("id", int, 0, 0),
            member("low", int, 32, 3),
            member("high", int, 35, 29),
            member("", inner, 64, 0),
            member("comm", comm, 192, 0),
            member("next", self_ptr, 320, 0),
        ],
    );
    b.ptr(outer);
    let constant = b.const_(outer);
    let alias = b.typedef("outer_t", constant);
    let const_char = b.const_(char_);
    let user = b.type_tag("user", const_char);
    let tagged = b.ptr(user);
    let void_ptr = b.ptr(TypeId(0));
    let proto = b.func_proto(int, &[("file", self_ptr), ("", void_ptr)]);
    let handler = b.ptr(proto);
    let func = b.func("open", proto, Linkage::Global);
    let row = b.array(int, 3);
    let matrix = b.array(row, 2);
    let var = b.var("jiffies", long, Linkage::Global);
    let section = b.datasec(".data", 8, &[(var, 0, 8)]);
    b.enum_("state", 4, true, &[("OFF", -1), ("ON", 1)]);
    b.enum_("wide", 8, false, &[("BIG", 1 << 40)]);
    b.fwd("hidden", true);
    b.float("double", 8);
    b.decl_tag("kfunc", func, -1);
    Sample { bytes: b.finish(), int, outer, alias, tagged, handler, func, matrix, section }
}

#[test]
fn built_types_read_back() {
    let s = sample();
    let btf = Btf::parse(s.bytes.clone(), None).unwrap();
    assert_eq!(btf.get(TypeId(0)), Some(Type::Void));
    assert_eq!(btf.get(s.int), Some(Type::Int { name: "int", size: 4, signed: true, boolean: false }));
    assert_eq!(btf.get(TypeId(btf.len())), None);
    let state = btf.find(NameKind::Enum, "state").unwrap();
    let variants = vec![("OFF", -1), ("ON", 1)];
    assert_eq!(btf.get(state), Some(Type::Enum { name: "state", size: 4, signed: true, variants }));
    let wide = btf.find(NameKind::Enum, "wide").unwrap();
    assert!(
        matches!(btf.get(wide), Some(Type::Enum { size: 8, variants, .. }) if variants == [("BIG", 1 << 40)])
    );
    assert_eq!(btf.find(NameKind::Int, "double").and_then(|t| btf.size_of(t)), Some(8));
    assert_eq!(btf.section_vars(s.section).len(), 1);
    assert_eq!(btf.size_of(s.matrix), Some(24));
    assert_eq!(btf.size_of(s.func), None);
    assert_eq!((btf.size_of(s.alias), btf.align_of(s.alias)), (Some(48), Some(8)));
    assert_eq!(btf.name_of(btf.resolve(s.alias)), "outer");
    assert_eq!(btf.raw(), s.bytes);
    let last = btf.get(TypeId(btf.len() - 1));
    assert_eq!(last, Some(Type::DeclTag { name: "kfunc", to: s.func, component: -1 }));
}

#[test]
fn equal_records_are_stored_once() {
    let mut b = BtfBuilder::new();
    let int = b.int("int", 4, true);
    assert_eq!(b.int("int", 4, true), int);
    assert_ne!(b.int("int", 4, false), int);
    let p = b.ptr(int);
    assert_eq!(b.ptr(int), p);
    assert_eq!(b.string("int"), b.string("int\0rest"));
}

#[test]
fn members_are_found_through_anonymous_ones() {
    let s = sample();
    let btf = Btf::parse(s.bytes, None).unwrap();
    let y = btf.find_member(s.alias, "y").unwrap();
    assert_eq!((y.path.as_slice(), y.byte_offset(), y.ty), (&[0, 3, 1, 1][..], 16, s.int));
    assert_eq!(btf.follow(s.outer, &y.path).map(|f| f.bit_offset), Some(128));
    let high = btf.find_member(s.outer, "high").unwrap();
    assert_eq!((high.bit_offset, high.bit_size), (35, 29));
    assert!(btf.member_of(&high, "x").is_none());
    let comm = btf.find_member(s.outer, "comm").unwrap();
    let third = btf.element_of(&comm, 3).unwrap();
    assert_eq!((third.path.as_slice(), third.byte_offset()), (&[0, 4, 3][..], 27));
    assert_eq!(btf.find_member(s.outer, "none"), None);
    assert_eq!(btf.find_member(s.outer, ""), None);
    assert_eq!(btf.follow(s.outer, &[0, 6]), None);
    assert_eq!(btf.follow(s.outer, &[1]).map(|f| f.byte_offset()), Some(48));
}

#[test]
fn tags_of_pointers() {
    let s = sample();
    let btf = Btf::parse(s.bytes, None).unwrap();
    assert_eq!(btf.pointer_tags(s.tagged), PtrTags { user: true, ..PtrTags::default() });
    assert_eq!(btf.pointer_tags(s.outer), PtrTags::default());
    assert_eq!(
        btf.pointee(s.handler).map(|p| btf.c_name(p)).as_deref(),
        Some("int(struct outer *file, void *)")
    );
}

#[test]
fn c_text() {
    let s = sample();
    let btf = Btf::parse(s.bytes, None).unwrap();
    assert_eq!(btf.c_name(s.tagged), "const char *");
    assert_eq!(btf.c_decl(s.handler, "open"), "int (*open)(struct outer *file, void *)");
    assert_eq!(btf.c_decl(s.matrix, "m"), "int m[2][3]");
    assert_eq!(btf.c_name(TypeId(0)), "void");
    assert_eq!(btf.c_name(s.alias), "outer_t");
    assert_eq!(btf.c_function(s.func).as_deref(), Some("int open(struct outer *file, void *)"));
    let text = btf.c_definition(s.alias).unwrap();
    let expected = "struct outer {\n\tint id;\n\tint low: 3;\n\tint high: 29;\n\tstruct {\n\
        \t\tlong unsigned int pad;\n\t\tunion {\n\t\t\tlong unsigned int x;\n\t\t\tint y;\n\t\t};\n\t};\n\
        \tchar comm[16];\n\tstruct outer *next;\n};";
    assert_eq!(text, expected);
    assert_eq!(btf.c_definition(s.int), None);
}

#[test]
fn definitions_keep_the_layout() {
    let mut b = BtfBuilder::new();
    let int = b.int("int", 4, true);
    let byte = b.int("char", 1, true);
    let at = |name, ty, bit_offset| MemberDef { name, ty, bit_offset, bit_size: 0 };
    let wide = b.struct_("wide", 16, &[at("a", byte, 0), at("b", int, 32)]);
    let packed = b.struct_("packed", 5, &[at("a", byte, 0), at("b", int, 8)]);
    let empty = b.struct_("empty", 0, &[]);
    let to_wide = b.ptr(wide);
    let make = b.func_proto(to_wide, &[]);
    let maker = b.ptr(make);
    let btf = Btf::parse(b.finish(), None).unwrap();
    let text = |id| btf.c_definition(id).unwrap();
    assert_eq!(text(wide), "struct wide {\n\tchar a;\n\tint b;\n\tlong: 64;\n};");
    assert_eq!(text(packed), "struct packed {\n\tchar a;\n\tint b;\n} __attribute__((packed));");
    assert_eq!(text(empty), "struct empty {};");
    assert_eq!(btf.c_decl(maker, "make"), "struct wide * (*make)(void)");
}

#[test]
fn signatures() {
    let s = sample();
    let btf = Btf::parse(s.bytes, None).unwrap();
    let (ret, params) = btf.signature(s.func).unwrap();
    assert_eq!((ret, params.len(), params[0].0), (s.int, 2, "file"));
    assert_eq!(btf.signature(s.handler), btf.signature(s.func));
    assert_eq!(btf.signature(s.tagged), None);
    assert_eq!(btf.signature(TypeId(0)), None);
}

#[test]
fn qualified_pointers_in_c_text() {
    let mut b = BtfBuilder::new();
    let char_ = b.int("char", 1, true);
    let c = b.const_(char_);
    let p = b.ptr(c);
    let cp = b.const_(p);
    let rows = b.array(cp, 4);
    let to_rows = b.ptr(rows);
    let btf = Btf::parse(b.finish(), None).unwrap();
    assert_eq!(btf.c_decl(cp, "s"), "const char * const s");
    assert_eq!(btf.c_name(cp), "const char * const");
    assert_eq!(btf.c_name(to_rows), "const char * const(*)[4]");
    assert_eq!(btf.c_decl(to_rows, "t"), "const char * const (*t)[4]");
}

#[test]
fn a_module_builds_on_its_base() {
    let s = sample();
    let base = Arc::new(Btf::parse(s.bytes, None).unwrap());
    let mut b = BtfBuilder::on(&base);
    let priv_ptr = b.ptr(s.outer);
    let own = b.struct_("mod_priv", 8, &[member("owner", priv_ptr, 0, 0)]);
    let clash = b.struct_("outer", 8, &[member("owner", priv_ptr, 0, 0)]);
    let module = Btf::parse(b.finish(), Some(base.clone())).unwrap();
    assert_eq!(module.first_id(), TypeId(base.len()));
    assert_eq!(module.find(NameKind::Struct, "mod_priv"), Some(own));
    assert_eq!(module.find_all(NameKind::Struct, "outer"), [clash, s.outer]);
    assert_eq!(module.find(NameKind::Enum, "state"), base.find(NameKind::Enum, "state"));
    let names: Vec<&str> = module.types(NameKind::Struct).map(|(_, n)| n).collect();
    assert_eq!(names, ["outer", "mod_priv", "outer"]);
    assert_eq!(module.own_types(NameKind::Struct).count(), 2);
    let owner = module.find_member(own, "owner").unwrap();
    assert_eq!(module.c_decl(owner.ty, "owner"), "struct outer *owner");
    assert_eq!(base.find(NameKind::Struct, "mod_priv"), None);
}

#[test]
fn foreign_and_damaged_headers_are_refused() {
    let good = sample().bytes;
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        Btf::parse(bytes, None).map(|_| ()).unwrap_err().0
    };
    assert!(refused(&|b| b.swap(0, 1)).contains("other byte order"));
    assert!(refused(&|b| b[0] = 0).contains("magic"));
    assert!(refused(&|b| b[2] = 9).contains("version 9"));
    assert!(refused(&|b| b.truncate(10)).contains("too few"));
    assert!(refused(&|b| b.truncate(b.len() - 1)).contains("string section"));
    assert!(refused(&|b| *b.last_mut().unwrap() = b'x').contains("zero byte"));
    assert!(refused(&|b| b[24 + 7] = 0x63).contains("unknown kind 99"));
    assert!(refused(&|b| b[12..16].copy_from_slice(&[6, 0, 0, 0])).contains("whole number"));
}

#[test]
fn types_that_contain_themselves_end_the_walk() {
    let mut b = BtfBuilder::new();
    let own = b.next_id();
    b.typedef("loop", own);
    let array = TypeId(b.next_id().0 + 1);
    b.array(array, 2);
    let holder = b.next_id();
    b.struct_("", 8, &[member("", holder, 0, 0), member("", holder, 0, 0), member("", holder, 0, 0)]);
    let pointer = b.next_id();
    b.ptr(pointer);
    let btf = Btf::parse(b.finish(), None).unwrap();
    assert_eq!(btf.resolve(own), TypeId(0));
    assert_eq!((btf.size_of(own), btf.size_of(array), btf.align_of(holder)), (None, None, None));
    assert_eq!(btf.find_member(holder, "x"), None);
    assert!(btf.c_name(pointer).starts_with("..."));
    assert!(btf.c_definition(holder).is_some());
}

/// Asks everything of every type.
fn exercise(btf: &Btf) {
    for id in (0..btf.len().min(200) + 2).map(TypeId) {
        let _ = (btf.get(id), btf.name_of(id), btf.size_of(id), btf.align_of(id), btf.pointer_tags(id));
        let _ = (btf.find_member(id, "y"), btf.c_decl(id, "v"), btf.c_definition(id), btf.section_vars(id));
        let _ = (btf.follow(id, &[1, 0, 1]), btf.c_function(id));
    }
    for kind in [NameKind::Struct, NameKind::Func, NameKind::Typedef] {
        let names: Vec<String> = btf.types(kind).map(|(_, n)| n.to_owned()).collect();
        for name in names {
            assert!(btf.find(kind, &name).is_some(), "{name}");
        }
    }
}

proptest! {
    #[test]
    fn damaged_blobs_are_harmless(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
                                  cut in any::<prop::sample::Index>(), cuts in any::<bool>()) {
        let mut bytes = sample().bytes;
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(btf) = Btf::parse(bytes, None) {
            exercise(&btf);
        }
    }

    #[test]
    fn damaged_types_are_harmless(edits in prop::collection::vec((any::<prop::sample::Index>(), 0u32..40), 1..12)) {
        let mut bytes = sample().bytes;
        let types = u32::from_ne_bytes(bytes[12..16].try_into().unwrap()) as usize;
        for (at, value) in edits {
            let at = 24 + at.index(types / 4) * 4;
            bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        if let Ok(btf) = Btf::parse(bytes, None) {
            exercise(&btf);
        }
    }
}

fn kernel() -> Option<Btf> {
    let bytes = std::fs::read("/sys/kernel/btf/vmlinux").ok()?;
    Some(Btf::parse(bytes, None).unwrap())
}

#[test]
fn the_running_kernels_types() {
    let Some(btf) = kernel() else {
        eprintln!("skipped: no /sys/kernel/btf/vmlinux");
        return;
    };
    let task = btf.find(NameKind::Struct, "task_struct").unwrap();
    let comm = btf.find_member(task, "comm").unwrap();
    assert_eq!(btf.c_decl(comm.ty, "comm"), "char comm[16]");
    assert_eq!(btf.follow(task, &comm.path), Some(comm));
    let next = btf.find_member(task, "real_parent").unwrap();
    assert_eq!(btf.c_name(next.ty), "struct task_struct *");
    assert!(btf.size_of(task).unwrap() > 1024);
    let skb = btf.find(NameKind::Struct, "sk_buff").unwrap();
    // In an anonymous struct of an anonymous union.
    assert!(btf.find_member(skb, "dev").unwrap().path.len() > 2);
    let pid = btf.find(NameKind::Typedef, "pid_t").unwrap();
    assert!(matches!(btf.get_resolved(pid), Some(Type::Int { name: "int", size: 4, signed: true, .. })));
    let switch = btf.find(NameKind::Typedef, "btf_trace_sched_switch").unwrap();
    let (_, params) = btf.signature(switch).unwrap();
    assert_eq!(btf.c_name(params[2].1), "struct task_struct *");
    let listed = btf.types(NameKind::Struct).filter(|(_, n)| *n == "task_struct").count();
    assert_eq!(listed, 1);
    for id in (0..btf.len()).map(TypeId) {
        assert!(btf.get(id).is_some());
        assert!(!btf.c_name(id).starts_with("..."), "{}", btf.c_name(id));
    }
    assert!(btf.c_definition(task).unwrap().contains("\tchar comm[16];\n"));
}

#[test]
fn the_running_kernels_types_are_read_quickly() {
    let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else { return };
    let start = std::time::Instant::now();
    let btf = Btf::parse(bytes, None).unwrap();
    let parsed = start.elapsed();
    let start = std::time::Instant::now();
    assert!(btf.find(NameKind::Struct, "task_struct").is_some());
    assert!(btf.find(NameKind::Func, "vfs_read").is_some());
    let walked = start.elapsed();
    let start = std::time::Instant::now();
    for _ in 0..20 {
        assert!(btf.find(NameKind::Struct, "no such struct").is_none());
    }
    eprintln!("parse {parsed:?}, two lookups {walked:?}, twenty more with index {:?}", start.elapsed());
    if !cfg!(debug_assertions) {
        assert!(parsed.as_millis() < 50, "{parsed:?}");
    }
}
