//! Large bodies: parts, the variables that they share, and the functions for what statements do alike.

use super::*;
use skep_compiler::ir::{FuncKind, Function};

fn globals(module: &Module) -> Vec<u32> {
    let kinds = module.funcs.iter().map(|f| f.kind);
    kinds.filter_map(|kind| if let FuncKind::Global { bytes } = kind { Some(bytes) } else { None }).collect()
}

/// `$v0 = $v0 + i; @[i] = count(); @n[i] = i; if ($v0 < 5) { return }`, `count` times.
fn large(count: i64) -> Program {
    let sum = |i| {
        e(ExprKind::Binary { op: BinOp::Add, a: Box::new(var(0, Ty::I64)), b: Box::new(int(i)) }, Ty::I64)
    };
    let below = || {
        e(ExprKind::Compare { op: BinOp::Lt, a: Box::new(var(0, Ty::I64)), b: Box::new(int(5)) }, Ty::Bool)
    };
    let body = (0..count).flat_map(|i| {
        [
            s(StmtKind::AssignVar(VarId(0), sum(i))),
            agg(0, vec![int(i)], None),
            s(StmtKind::AssignMap {
                map: MapNo(1),
                key: vec![int(i)],
                value: get(1, vec![int(i + 1)], Ty::I64),
            }),
            s(StmtKind::If { cond: below(), then: vec![s(StmtKind::Return(None))], other: Vec::new() }),
        ]
    });
    let maps = vec![map("@", vec![Ty::I64], Ty::Agg(Agg::Count)), map("@n", vec![Ty::I64], Ty::I64)];
    script(maps, &[Ty::I64], body.collect())
}

#[test]
fn a_large_body_is_built_in_parts() {
    let small = built(&large(50));
    assert_eq!(globals(&small), []);
    let module = built_for(&large(2_000), (6, 18));
    let globals = globals(&module);
    assert!(globals.len() > 10 && globals.len() < 200, "{}", globals.len());
    // One function for each of the three operations on maps; all others are parts, and share one variable.
    assert_eq!(module.funcs.iter().map(|f| f.insts.len()).max().filter(|most| *most > 4_000), None);
    // Each update and each lookup is in one place.
    let updates = helpers(&module).into_iter().filter(|id| *id == skep_bpf::helpers::id::MAP_UPDATE_ELEM);
    assert_eq!(updates.count(), 2);
}

#[test]
fn keys_lie_on_the_stack_where_helpers_take_no_memory_of_a_function() {
    // Copied by each of the three functions for operations on maps.
    let copies = |kernel| {
        let module = built_for(&large(2_000), kernel);
        let global = |f: &&Function| matches!(f.kind, FuncKind::Global { bytes: 1.. });
        let insts = module.funcs.iter().filter(global).flat_map(|f| &f.insts);
        insts.filter(|inst| matches!(inst.op, Op::Copy { .. })).count()
    };
    assert_eq!(copies((6, 1)), copies((6, 2)) + 3);
}

#[test]
fn kernels_without_memory_for_global_functions_get_one_body() {
    assert_eq!(globals(&built_for(&large(2_000), (5, 10))), []);
}

#[test]
fn what_needs_the_context_stays_in_the_main_function() {
    let mut program = large(2_000);
    let pointer = Ty::Ptr { to: Box::new(Ty::I64), space: Space::User };
    let body = &mut program.probes[0].body;
    for at in (0..body.len()).step_by(100) {
        let arg = e(ExprKind::Arg(Arg::Ctx { offset: 24 }), pointer.clone());
        body.insert(at, print(vec![arg]));
    }
    let module = built_for(&program, (6, 18));
    assert!(globals(&module).len() > 10);
}
