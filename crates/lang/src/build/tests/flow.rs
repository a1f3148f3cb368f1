//! Programs, guards, loops, functions, conditions.

use super::*;

#[test]
fn comparison_with_a_constant_reads_words_and_calls_nothing_for_the_rest() {
    let mut program =
        script(vec![map("@", Vec::new(), Ty::Agg(Agg::Count))], &[], vec![agg(0, Vec::new(), None)]);
    program.probes[0].predicate = Some(e(
        ExprKind::BytesEq { a: Box::new(comm()), b: Box::new(text("ls")), negate: false, limit: None },
        Ty::Bool,
    ));
    let module = built(&program);
    assert_eq!(helpers(&module), [id::GET_CURRENT_TASK_BTF, id::MAP_LOOKUP_ELEM]);
}

#[test]
fn loops_stay_or_become_callbacks_by_kernel() {
    let pair = Ty::Tuple(vec![Ty::U32, Ty::I64]);
    let member = |n| e(ExprKind::TupleField { base: Box::new(var(1, pair.clone())), index: n }, Ty::I64);
    let below =
        e(ExprKind::Compare { op: BinOp::Lt, a: Box::new(var(0, Ty::I64)), b: Box::new(int(5)) }, Ty::Bool);
    let inc = || s(StmtKind::Expr(e(ExprKind::IncVar { var: VarId(0), by: 1, pre: false }, Ty::I64)));
    let stop = s(StmtKind::If {
        cond: below.clone(),
        then: vec![s(StmtKind::Break)],
        other: vec![s(StmtKind::Continue)],
    });
    let leave =
        s(StmtKind::If { cond: below.clone(), then: vec![s(StmtKind::Return(None))], other: Vec::new() });
    let while_ = |body| s(StmtKind::While { cond: below.clone(), body });
    let range = |end: Expr, body| s(StmtKind::ForRange { var: VarId(2), start: int(0), end, body });
    let nested =
        range(call("nsecs", Ty::I64), vec![inc(), leave.clone(), print(vec![var(3, Ty::Str { size: 64 })])]);
    let program = script(
        vec![map("@m", vec![Ty::U32], Ty::I64)],
        &[Ty::I64, pair.clone(), Ty::I64, Ty::Str { size: 64 }],
        vec![
            while_(vec![inc(), stop.clone()]),
            range(int(3), vec![inc(), stop.clone()]),
            s(StmtKind::Unroll { count: 2, body: vec![inc(), stop, nested.clone()] }),
            s(StmtKind::ForMap {
                var: VarId(1),
                map: MapNo(0),
                body: vec![print(vec![member(1)]), nested, inc()],
            }),
            s(StmtKind::Emit {
                action: Action::Exit,
                args: vec![e(ExprKind::Int(0), Ty::U64)],
                uses: Vec::new(),
            }),
            print(vec![e(ExprKind::MapLen(MapNo(0)), Ty::I64)]),
        ],
    );
    let new = built_for(&program, (6, 18));
    assert!(helpers(&new).contains(&id::LOOP) && helpers(&new).contains(&id::FOR_EACH_MAP_ELEM));
    assert_eq!(check(&built_for(&program, (5, 17))), Ok(()));
    let older = build(&program, &target(5, 10), ("t", "x"));
    let since = Feature::ForEachMapElem.since();
    assert!(matches!(older, Err(BuildError::Unsupported { since: Some(s), .. }) if s == since), "{older:?}");
}

#[test]
fn guards_refuse_other_numbers_and_compat_calls() {
    for (guard, prog_type, attach_type) in [
        (Guard::SysEnter { nr: 257 }, ProgType::Tracing, AttachType::TraceRawTp),
        (Guard::SysExit { nr: 0 }, ProgType::Tracing, AttachType::TraceRawTp),
        (Guard::SysEnter { nr: 257 }, ProgType::RawTracepoint, AttachType::None),
        (Guard::SysExit { nr: 0 }, ProgType::RawTracepoint, AttachType::None),
    ] {
        let mut program = script(
            Vec::new(),
            &[],
            vec![print(vec![e(ExprKind::Arg(Arg::RegsOf { arg: 0, offset: 112 }), Ty::I32)])],
        );
        program.config.pid = Some(PidFilter { pid: 4 });
        program.probes[0] = Probe { guard, prog_type, attach_type, ..program.probes[0].clone() };
        let module = built(&program);
        let typed = prog_type == ProgType::Tracing;
        assert_eq!(helpers(&module).contains(&id::PROBE_READ_KERNEL), !typed);
        program.config.pid_ns = Some((4, 4026531836));
        assert!(helpers(&built(&program)).contains(&id::GET_NS_CURRENT_PID_TGID));
    }
}

#[test]
fn script_functions_are_built_once_and_do_not_recurse() {
    let function = Function {
        name: "add".to_owned(),
        params: 2,
        out: false,
        ret: Ty::I64,
        vars: vec![Var { name: "$a".to_owned(), ty: Ty::I64 }, Var { name: "$b".to_owned(), ty: Ty::I64 }],
        body: vec![s(StmtKind::Return(Some(e(
            ExprKind::Binary { op: BinOp::Add, a: Box::new(var(0, Ty::I64)), b: Box::new(var(1, Ty::I64)) },
            Ty::I64,
        ))))],
    };
    let call_it = || e(ExprKind::CallFn { func: 0, args: vec![int(1), int(2)] }, Ty::I64);
    let mut program = script(Vec::new(), &[], vec![print(vec![call_it(), call_it()])]);
    program.functions.push(function);
    assert_eq!(built(&program).funcs.len(), 2);
    program.functions[0].body = vec![s(StmtKind::Return(Some(call_it())))];
    let error = build(&program, &target(6, 18), ("t", "x"));
    assert!(matches!(error, Err(BuildError::Limit { .. })), "{error:?}");
}
