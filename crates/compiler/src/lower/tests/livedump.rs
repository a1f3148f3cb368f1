use super::*;
#[test]
#[ignore]
fn livedump() {
    for seed in 1..400u64 {
        let (slots, slot_size) = [(3, 3), (6, 20), (3, 100), (40, 2)][seed as usize % 4];
        let subs = if seed % 3 == 0 { 2 } else { 0 };
        let shape = Shape { statements: 5 + seed % 60, slots, slot_size, subs, atomics: true, real: true };
        for passes in [false, true] {
            for cpu in [Cpu::V3, Cpu::V4] {
                let m = module(seed, shape);
                let fetch_atomics = true;
                let mut options = CompileOptions {
                    features: Features { fetch_atomics, ..features(cpu) },
                    passes,
                    ..CompileOptions::default()
                };
                let object = compile(m, &mut options).unwrap();
                let p = &object.programs[0];
                let hex: String =
                    p.insns.iter().flat_map(|i| i.to_bytes()).map(|b| format!("{b:02x}")).collect();
                let btf: String = object.btf.iter().map(|b| format!("{b:02x}")).collect();
                println!("PROG {seed} {passes} {cpu:?} {hex} {btf}");
                for f in &p.funcs {
                    println!("FUNC {} {}", f.insn, f.type_id);
                }
                for l in &p.lines {
                    println!("LINE {} {} {} {} {}", l.insn, l.file, l.text, l.line, l.column);
                }
                for m in &object.maps {
                    println!("MAP {} {} {} {}", m.map_type as u32, m.key_size, m.value_size, m.max_entries);
                }
                for r in &p.relocs {
                    if let skep_bpf::object::RelocKind::Map(m) = r.kind {
                        println!("RELOC {} {m}", r.insn);
                    }
                }
                println!("END");
            }
        }
    }
}
use crate::ir::*;
fn big(n: u32) -> Module {
    let mut m = Module::default();
    m.object.maps.push(skep_bpf::object::MapSpec {
        name: "@".into(),
        map_type: skep_bpf::kinds::MapType::Hash,
        key_size: 8,
        value_size: 8,
        max_entries: 100,
        flags: 0,
        initial: vec![],
        frozen: false,
        schema: None,
    });
    let mut b = FuncBuilder::new("main", FuncKind::Main, &[Type::Ptr(PtrKind::Ctx)], Type::I32);
    let ctx = b.param(0);
    let vars: Vec<Slot> = (0..16).map(|_| b.slot(8, 8, "$x")).collect();
    for s in &vars {
        let a = b.slot_addr(*s);
        b.zero(a, 0, 8, 8);
    }
    let map = MapId(0);
    for i in 0..n {
        b.set_loc(Loc { line: i + 1, column: 1 });
        let key = b.slot(8, 8, "key");
        let val = b.slot(8, 8, "val");
        let k = b.slot_addr(key);
        let a = b.load(Type::U64, ctx, 8 * (i % 4) as i32);
        let var = b.slot_addr(vars[(i % 16) as usize]);
        let x = b.load(Type::U64, var, 0);
        let y = b.bin(BinOp::Add, Type::U64, x, a);
        b.store(8, var, 0, y);
        b.store(8, k, 0, y);
        let mr = b.map_ref(map);
        let p = b.helper(1, &[mr, k], Type::Ptr(PtrKind::MapValue { map, nullable: true }));
        let miss = b.cold_block();
        let next = b.block(&[]);
        let q = b.check_null(p, miss);
        let one = b.u64(1);
        b.atomic_add(8, q, 0, one);
        b.jump(next, &[]);
        b.switch_to(miss);
        let v = b.slot_addr(val);
        let one = b.u64(1);
        b.store(8, v, 0, one);
        let k = b.slot_addr(key);
        let mr = b.map_ref(map);
        let fl = b.u64(0);
        b.helper(2, &[mr, k, v, fl], Type::I64);
        b.jump(next, &[]);
        b.switch_to(next);
        if i % 10 == 0 {
            let lim = b.u64(1000);
            let out = b.block(&[]);
            let ret = b.block(&[]);
            b.branch(Cc::Ugt, y, lim, ret, out);
            b.switch_to(ret);
            let z = b.iconst(Type::I32, 0);
            b.ret(z);
            b.switch_to(out);
        }
    }
    let z = b.iconst(Type::I32, 0);
    b.ret(z);
    m.funcs.push(b.finish());
    main_program(&mut m);
    m.source = (0..n).map(|i| format!("line {i}")).collect();
    m
}
#[test]
#[ignore]
fn timing() {
    for n in [20, 5000, 20000] {
        for passes in [false, true] {
            for cpu in [Cpu::V3, Cpu::V4] {
                let m = big(n);
                let mut last = std::time::Instant::now();
                let mut f = |s: Stage<'_>| {
                    let name = match s {
                        Stage::Ir(n, _) => n.to_string(),
                        Stage::Lowered(_) => "lowered".into(),
                        Stage::Insns(_) => "emitted".into(),
                    };
                    eprintln!("   {name} {:?}", last.elapsed());
                    last = std::time::Instant::now();
                };
                let t = std::time::Instant::now();
                let mut options = CompileOptions { features: features(cpu), passes, dump: Some(&mut f) };
                let object = compile(m, &mut options).unwrap();
                eprintln!(
                    "{n} passes {passes} {cpu:?}: {:?} insns {}",
                    t.elapsed(),
                    object.programs[0].insns.len()
                );
                if n == 20 && passes {
                    println!("{}", text(&object));
                }
            }
        }
    }
}
