//! Functions whose jumps are longer than 16 bits reach.

use skep_bpf::insn::{class, jmp};
use skep_bpf::kinds::MapType;
use skep_bpf::object::{MapDetails, MapSpec};

use super::oracle::Oracle;
use super::vm::Vm;
use super::{CTX, context, features, main_program};
use crate::compile::{CompileOptions, Cpu, compile};
use crate::ir::*;

/// One statement: adds to a variable, counts in a map with a rare miss, leaves when a limit is passed.
fn statement(b: &mut FuncBuilder, n: u32, vars: &[Slot], exit: Block) {
    b.set_loc(Loc { line: n + 1, column: 1 });
    let ctx = b.param(0);
    let (key, map) = (b.slot(8, 8, "key"), MapId(0));
    let k = b.slot_addr(key);
    let a = b.load(Type::U64, ctx, 8 * (n % 2) as i32);
    let var = b.slot_addr(vars[n as usize % vars.len()]);
    let x = b.load(Type::U64, var, 0);
    let y = b.bin(BinOp::Add, Type::U64, x, a);
    b.store(8, var, 0, y);
    let bounded = b.bound(y, 5);
    b.store(8, k, 0, bounded);
    let map_ref = b.map_ref(map);
    let value = b.helper(1, &[map_ref, k], Type::Ptr(PtrKind::MapValue { map, nullable: true }));
    let (miss, next) = (b.cold_block(), b.block(&[]));
    let value = b.check_null(value, miss);
    let one = b.u64(1);
    b.atomic_add(8, value, 0, one);
    b.jump(next, &[]);
    b.switch_to(miss);
    let var = b.slot_addr(vars[0]);
    let one = b.u64(u64::from(n));
    b.atomic_add(8, var, 0, one);
    b.jump(next, &[]);
    b.switch_to(next);
    if n.is_multiple_of(50) {
        let (limit, rest) = (b.u64(u64::MAX / 3), b.block(&[]));
        b.branch(Cc::Eq, y, limit, exit, rest);
        b.switch_to(rest);
    }
}

/// `count` statements in a loop that runs three times.
fn module(count: u32) -> Module {
    let mut m = Module::default();
    m.object.maps.push(MapSpec {
        name: "@".into(),
        map_type: MapType::Hash,
        key_size: 8,
        value_size: 8,
        max_entries: 100,
        flags: 0,
        initial: Vec::new(),
        frozen: false,
        schema: None,
        details: MapDetails::default(),
    });
    let mut b = FuncBuilder::new("main", FuncKind::Main, &[Type::Ptr(PtrKind::Ctx)], Type::I32);
    let vars: Vec<Slot> = (0..8).map(|_| b.slot(8, 8, "$x")).collect();
    for slot in &vars {
        let at = b.slot_addr(*slot);
        b.zero(at, 0, 8, 8);
    }
    let (head, body, exit) = (b.block(&[Type::U64]), b.block(&[]), b.block(&[]));
    let zero = b.u64(0);
    b.jump(head, &[zero]);
    b.switch_to(head);
    let (i, three) = (b.block_param(head, 0), b.u64(3));
    b.branch(Cc::Ult, i, three, body, exit);
    b.switch_to(body);
    for n in 0..count {
        statement(&mut b, n, &vars, exit);
    }
    let next = b.add_imm(i, 1);
    b.jump(head, &[next]);
    b.switch_to(exit);
    let mut sum = b.u64(0);
    for slot in &vars {
        let at = b.slot_addr(*slot);
        let v = b.load(Type::U64, at, 0);
        sum = b.bin(BinOp::Xor, Type::U64, sum, v);
    }
    let sum = b.extend(sum, IntTy::I32);
    b.ret(sum);
    m.funcs.push(b.finish());
    main_program(&mut m);
    m
}

#[test]
fn far_jumps() {
    let module = module(3000);
    let mut oracle = Oracle::new(&module);
    context(&mut oracle.memory);
    let want = oracle.run(FuncId(0), &[CTX as i64]).map(|v| v as u64);
    for (cpu, passes) in [(Cpu::V3, false), (Cpu::V3, true), (Cpu::V4, false), (Cpu::V4, true)] {
        let mut options = CompileOptions { features: features(cpu), passes, ..CompileOptions::default() };
        let object = compile(module.clone(), &mut options).unwrap();
        let program = &object.programs[0];
        assert!(program.insns.len() > 40_000, "too small to be a test");
        let long = program.insns.iter().filter(|i| i.code == class::JMP32 | jmp::JA).count();
        assert_eq!(long > 0, cpu == Cpu::V4, "long jumps are v4's");
        let mut vm = Vm::new(&object, program);
        context(&mut vm.memory);
        assert_eq!(vm.run(CTX), want, "{cpu:?} passes {passes}");
        let lines: Vec<u32> = program.lines.iter().map(|l| l.insn).collect();
        assert!(lines.is_sorted() && lines.first() == Some(&0));
    }
}

/// The kernel puts more instructions in the place of some, and refuses a program whose jumps then do not reach.
#[test]
fn jumps_reach_when_the_kernel_has_made_more_of_the_code() {
    let module = module(1500);
    let mut options = CompileOptions { features: features(Cpu::V4), ..CompileOptions::default() };
    let object = compile(module, &mut options).unwrap();
    let insns = &object.programs[0].insns;
    assert!((16_000..32_000).contains(&insns.len()), "{}", insns.len());
    assert!(insns.iter().any(|i| i.code == class::JMP32 | jmp::JA), "no jump across all of it has 32 bits");
}

#[test]
fn jumps_across_many_stones() {
    let module = module(5000);
    let mut options =
        CompileOptions { features: features(Cpu::V3), passes: false, ..CompileOptions::default() };
    let object = compile(module, &mut options).unwrap();
    assert!(object.programs[0].insns.len() > 64_000, "{}", object.programs[0].insns.len());
}
