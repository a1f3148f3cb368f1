//! An object leaves one machine and is held against another, both made by hand.

use std::sync::Arc;

use super::check::adapt;
use super::gather::{GatherError, gather};
use super::*;
use crate::btf::{Btf, BtfBuilder, Linkage, MemberDef};
use crate::elf::tests::empty_program;
use crate::event::{Action, lay_out};
use crate::insn::{Insn, Reg, size};
use crate::kinds::ProgType;
use crate::object::{Attach, AttachPoint, Object, Program};
use crate::schema::{Field, ValueType};
use crate::target::{Answer, Feature, Note, Question, Recorded, Symbol, TargetError};

/// A machine: where the field of its tracepoint, its struct's member and its binary's functions lie, and what a typed
/// argument is called.
struct Machine {
    field: u32,
    member: u32,
    functions: &'static [(&'static str, u64)],
    note: u64,
    argument: &'static str,
    version: (u16, u16),
}

const HERE: Machine = Machine {
    field: 16,
    member: 32,
    functions: &[("fly", 0x100), ("land", 0x200)],
    note: 0x240,
    argument: "bee",
    version: (6, 18),
};

fn target(machine: &Machine) -> Recorded {
    let mut b = BtfBuilder::new();
    let int = b.int("int", 4, true);
    let at = MemberDef { name: "age", ty: int, bit_offset: machine.member, bit_size: 0 };
    let bee = b.struct_(machine.argument, 8, &[at]);
    let (bee_ptr, void_ptr) = (b.ptr(bee), b.ptr(crate::btf::TypeId(0)));
    let proto = b.func_proto(crate::btf::TypeId(0), &[("", void_ptr), ("bee", bee_ptr)]);
    let proto = b.ptr(proto);
    b.typedef("btf_trace_buzz", proto);
    b.func("unused", proto, Linkage::Static);
    let btf = Btf::parse(b.finish(), None).unwrap();
    let format = format!(
        "name: buzz\nID: 7\nformat:\n\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n\
         \tfield:long wings;\toffset:{};\tsize:8;\tsigned:0;\n\tfield:long legs;\toffset:64;\tsize:8;\tsigned:0;\n\n\
         print fmt: \"\"\n",
        machine.field
    );
    let symbol =
        |&(name, offset): &(&str, u64)| Symbol { name: name.into(), address: offset, offset, size: 64 };
    let note = Note {
        provider: "hive".into(),
        name: "swarm".into(),
        offset: machine.note,
        semaphore: machine.note + 0x1000,
        args: "8@%rdi".into(),
    };
    let mut target = Recorded::new();
    let mut set = |question, answer| target.set(question, Ok(answer));
    let (major, minor) = machine.version;
    set(Question::KernelVersion, Answer::Version(KernelVersion::new(major, minor)));
    set(Question::Arch, Answer::Arch(Arch::X86_64));
    set(Question::PossibleCpus, Answer::Number(4));
    set(Question::Btf(String::new()), Answer::Btf(Arc::new(btf)));
    let place = Question::TracepointFormat { category: "bees".into(), name: "buzz".into() };
    set(place, Answer::Text(format.into()));
    let functions = machine.functions.iter().map(symbol).collect();
    set(Question::BinarySymbols("/bin/bee".into()), Answer::Symbols(Arc::new(functions)));
    set(Question::BinaryNotes("/bin/bee".into()), Answer::Notes(Arc::new(vec![note])));
    set(Question::UserId("drone".into()), Answer::Number(u64::from(machine.field)));
    target
}

fn point(at: Attach) -> AttachPoint {
    AttachPoint { at, cookie: 0, name: "probe".into(), probes: None }
}

fn uprobe(offset: u64, ref_ctr: u64) -> Attach {
    Attach::Uprobe { path: "/bin/bee".into(), offset, ref_ctr, ret: false, pid: None }
}

/// A program on a tracepoint, reading the byte at `offset` of its record.
fn on_tracepoint(offset: i16) -> Program {
    Program {
        prog_type: ProgType::Tracepoint,
        attach: vec![point(Attach::Tracepoint { category: "bees".into(), name: "buzz".into() })],
        insns: vec![Insn::load(size::B, Reg::R2, Reg::R1, offset), Insn::exit()],
        ..empty_program()
    }
}

fn leave(programs: Vec<Program>) -> Object {
    let mut object = Object { programs, ..Object::default() };
    let here = target(&HERE);
    let assumptions = gather(&object, &here, &here).unwrap();
    object.origin = Some(Origin { arch: Arch::X86_64, kernel: KernelVersion::new(6, 18), assumptions });
    object
}

fn refusals(object: &Object, machine: &Machine) -> String {
    adapt(object, &target(machine)).map(|_| ()).unwrap_err().join("\n")
}

#[test]
fn records_that_moved_are_refused_where_they_are_read() {
    let moved = Machine { field: 24, ..HERE };
    let mut object = leave(vec![on_tracepoint(20)]);
    object.origin.as_mut().unwrap().assumptions.retain(|a| !matches!(a, Assumption::User { .. }));
    assert!(adapt(&object, &target(&HERE)).is_ok());
    let said = refusals(&object, &moved);
    assert!(said.contains("field `wings` of tracepoint:bees:buzz lies elsewhere"), "{said}");
    let mut other = leave(vec![on_tracepoint(64)]);
    other.origin.as_mut().unwrap().assumptions.retain(|a| !matches!(a, Assumption::User { .. }));
    assert!(adapt(&other, &target(&moved)).is_ok());
}

#[test]
fn numbers_of_names_are_compared() {
    let object = leave(vec![empty_program()]);
    let said = refusals(&object, &Machine { field: 99, ..HERE });
    assert!(said.contains("the id of user drone is 99 here and was 16"), "{said}");
}

#[test]
fn arguments_are_compared() {
    let program = Program {
        attach_btf: Some(BtfTarget::RawTracepoint("buzz".into())),
        attach: vec![point(Attach::RawTracepoint { name: "buzz".into() })],
        ..empty_program()
    };
    let object = leave(vec![program]);
    assert!(adapt(&object, &target(&HERE)).is_ok());
    let said = refusals(&object, &Machine { argument: "wasp", ..HERE });
    assert!(said.contains("argument 0 of rawtracepoint:buzz is `struct wasp *` here"), "{said}");
}

#[test]
fn places_in_binaries_move() {
    let programs = [uprobe(0x108, 0), uprobe(0x200, 0), uprobe(0x240, 0x1240)]
        .map(|at| Program { attach: vec![point(at)], ..empty_program() });
    let object = leave(programs.to_vec());
    // The functions have changed places.
    let there = Machine { functions: &[("land", 0x108), ("fly", 0x1f8)], note: 0x300, ..HERE };
    let adapted = adapt(&object, &target(&there)).unwrap();
    let places: Vec<_> = adapted.programs.iter().map(|p| p.attach[0].at.clone()).collect();
    assert_eq!(places, [uprobe(0x200, 0), uprobe(0x108, 0), uprobe(0x300, 0x1300)]);
    let said = refusals(&object, &Machine { functions: &[("fly", 0x80)], ..HERE });
    assert!(said.contains("/bin/bee has no function `land` here"), "{said}");
    let said = refusals(&object, &Machine { functions: &[("fly", 1), ("fly", 2), ("land", 3)], ..HERE });
    assert!(said.contains("several functions `fly`"), "{said}");
}

#[test]
fn a_place_without_a_name_stays_at_home() {
    let program = Program { attach: vec![point(uprobe(0x400, 0))], ..empty_program() };
    let object = Object { programs: vec![program], ..Object::default() };
    let here = target(&HERE);
    assert!(matches!(gather(&object, &here, &here), Err(GatherError::Nameless { .. })));
}

#[test]
fn structs_kept_as_a_whole_are_compared() {
    let age =
        Field { name: "age".into(), offset: 4, ty: ValueType::Int { size: 4, signed: true }, bits: None };
    let record = ValueType::Record { size: 8, fields: vec![age] };
    let mut object = Object { events: vec![lay_out(Action::Print, vec![record], 1)], ..Object::default() };
    let here = target(&HERE);
    let assumptions = gather(&object, &here, &here).unwrap();
    object.origin = Some(Origin { arch: Arch::X86_64, kernel: KernelVersion::new(6, 18), assumptions });
    assert!(adapt(&object, &here).is_ok());
    let said = refusals(&object, &Machine { member: 0, ..HERE });
    assert!(said.contains("struct bee, which is kept as a whole"), "{said}");
}

#[test]
fn what_the_kernel_lacks_is_named() {
    let insns = vec![Insn::call_helper(crate::helpers::id::LOOP), Insn::exit()];
    let object = leave(vec![Program { insns, ..empty_program() }]);
    let mut old = target(&Machine { version: (5, 10), ..HERE });
    old.set(Question::Has(Feature::Loop), Ok(Answer::Yes(false)));
    let said = adapt(&object, &old).unwrap_err().join("\n");
    assert_eq!(said, "bpf_loop() needs Linux 5.17 or later; this is 5.10 (used by begin)");
    let mut arm = target(&HERE);
    arm.set(Question::Arch, Ok(Answer::Arch(Arch::Aarch64)));
    arm.set(Question::Has(Feature::Loop), Err(TargetError::Unknown("features".into())));
    assert!(adapt(&object, &arm).unwrap_err()[0].contains("compiled for X86_64; this is Aarch64"));
}
