//! Whole programs; single instructions are tested with the assembler.

use super::*;
use crate::asm;
use crate::btf::{BtfBuilder, Linkage, TypeId};
use crate::insn::Reg;
use crate::kinds::{AttachType, MapType, ProgType};
use crate::object::{CoreKind, CoreReloc, FuncInfo, LineInfo, MapDetails, MapSpec, Reloc};

fn sample() -> Object {
    let mut b = BtfBuilder::new();
    let int = b.int("int", 4, true);
    let ctx = b.ptr(TypeId(0));
    let proto = b.func_proto(int, &[("ctx", ctx)]);
    let main = b.func("probe", proto, Linkage::Static);
    let sub = b.func("each", proto, Linkage::Static);
    let (file, text) = (b.string("count.bt"), b.string("  @counts[pid]++;"));
    let insns = "
        r1 = map[fd:0]
        r2 = subprog[each]
        if r0 == 0 goto out
        r3 = *(u32 *)(r0 +16)
        call kfunc[0]
        out: exit
        each: r0 = 0
        exit";
    let reloc = |insn, kind| Reloc { insn, kind };
    let pid = CoreReloc {
        root: 1,
        root_name: "struct task_struct".to_owned(),
        path: vec![0, 7],
        kind: CoreKind::FieldByteOffset,
    };
    let program = Program {
        name: "tracepoint:sched:sched_switch".to_owned(),
        symbol: "probe".to_owned(),
        prog_type: ProgType::Tracing,
        attach_type: AttachType::TraceRawTp,
        attach_btf: None,
        attach: Vec::new(),
        sleepable: false,
        insns: asm::parse(insns).unwrap(),
        relocs: vec![
            reloc(0, RelocKind::Map(0)),
            reloc(5, RelocKind::Core(pid)),
            reloc(6, RelocKind::Kfunc("bpf_rcu_read_lock".to_owned())),
        ],
        funcs: vec![FuncInfo { insn: 0, type_id: main.0 }, FuncInfo { insn: 8, type_id: sub.0 }],
        lines: vec![LineInfo { insn: 4, file, text, line: 3, column: 5 }],
    };
    let map = MapSpec {
        name: "@counts".to_owned(),
        map_type: MapType::Hash,
        key_size: 4,
        value_size: 8,
        max_entries: 16,
        flags: 0,
        initial: Vec::new(),
        frozen: false,
        schema: None,
        details: MapDetails::default(),
    };
    let license = "GPL".to_owned();
    Object { license, programs: vec![program], maps: vec![map], btf: b.finish(), ..Object::default() }
}

#[test]
fn a_program_shows_its_functions_lines_and_names() {
    let object = sample();
    let expected = "\
; program probe (Tracing, 10 instructions, license GPL)
; probe tracepoint:sched:sched_switch
; int probe(void *ctx)
    0: r1 = map[@counts]
    2: r2 = subprog[L8]
; count.bt:3:5 @counts[pid]++;
    4: if r0 == 0x0 goto L7
; relocate FieldByteOffset of struct task_struct [0, 7]
    5: r3 = *(u32 *)(r0 +16)
    6: call kfunc[bpf_rcu_read_lock]
L7:
    7: exit
; int each(void *ctx)
L8:
    8: r0 = 0
    9: exit
";
    let text = program(&object.programs[0], &object);
    assert_eq!(text, expected);
    // Names resolve to the numbers that the object holds before load: its text assembles to itself.
    assert_eq!(asm::parse_with(&text, &|_| Some(0)).unwrap(), object.programs[0].insns);
}

#[test]
fn damaged_objects_print_all_the_same() {
    let mut object = sample();
    object.btf.truncate(30);
    object.maps.clear();
    object.programs[0].funcs.push(FuncInfo { insn: 900, type_id: 900 });
    object.programs[0].insns.push(Insn::ld_imm64(Reg::R1, 0, 5)[0]);
    let text = program(&object.programs[0], &object);
    assert!(text.contains("r1 = map[fd:0]") && text.contains(".raw 1801"), "{text}");
}
