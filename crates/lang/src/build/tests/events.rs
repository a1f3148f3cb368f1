//! Events and the strings in them.

use super::*;

#[test]
fn printf_reads_the_string_where_it_is_sent_from() {
    let module = built(&script(
        Vec::new(),
        &[],
        vec![print(vec![call("pid", Ty::U32), comm(), user_str(1024), text("x"), user_str(1024)])],
    ));
    let event = &module.object.events[0];
    let tails: Vec<bool> = event.args.iter().map(|a| a.tail).collect();
    assert_eq!(tails, [false, false, true, false, true]);
    assert_eq!(event.line, 1);
    let used = helpers(&module);
    assert_eq!(used.iter().filter(|h| **h == id::PROBE_READ_USER_STR).count(), 2);
    assert!(!used.contains(&id::PROBE_READ_KERNEL_STR), "a second copy");
    assert_eq!(used.iter().filter(|h| **h == id::RINGBUF_OUTPUT).count(), 1);
    assert_eq!(module.object.session.counters, [Counter::LostEvent]);
    let counters = module.object.session.counter_map.unwrap();
    assert_eq!(module.object.maps[counters].max_entries, 1);
}

#[test]
fn stacks_and_buffers_are_tails_and_ids_are_not() {
    let format = StackFormat { limit: 20, mode: StackMode::Bpftrace };
    let bytes = e(
        ExprKind::Call {
            name: "buf",
            args: vec![
                e(
                    ExprKind::Arg(Arg::Ctx { offset: 16 }),
                    Ty::Ptr { to: Box::new(Ty::None), space: Space::User },
                ),
                e(ExprKind::Arg(Arg::Ctx { offset: 32 }), Ty::U64),
            ],
        },
        Ty::Buf { size: 64 },
    );
    let module = built(&script(
        vec![
            map("@s", Vec::new(), Ty::KStack(format)),
            map("@u", vec![Ty::UStack(format)], Ty::Agg(Agg::Count)),
        ],
        &[],
        vec![
            s(StmtKind::AssignMap {
                map: MapNo(0),
                key: Vec::new(),
                value: call("kstack", Ty::KStack(format)),
            }),
            agg(1, vec![call("ustack", Ty::UStack(format))], None),
            print(vec![
                get(0, Vec::new(), Ty::KStack(format)),
                call("kstack", Ty::KStack(format)),
                bytes,
                call("ustack", Ty::UStack(format)),
            ]),
        ],
    ));
    let printed = module.object.events.iter().find(|e| e.args.len() == 4).unwrap();
    let tails: Vec<bool> = printed.args.iter().map(|a| a.tail).collect();
    assert_eq!(tails, [false, true, true, true]);
    let stacks = module.object.maps.iter().filter(|m| m.map_type == MapType::StackTrace);
    assert_eq!(stacks.map(|m| m.value_size).collect::<Vec<_>>(), [160]);
}

#[test]
fn strings_of_all_kinds() {
    let str64 = Ty::Str { size: 64 };
    let eq = |a: Expr, b: Expr, limit| {
        e(ExprKind::BytesEq { a: Box::new(a), b: Box::new(b), negate: true, limit }, Ty::Bool)
    };
    let cond = |cond: Expr| s(StmtKind::If { cond, then: vec![print(vec![])], other: Vec::new() });
    let either = e(
        ExprKind::Ternary { cond: Box::new(int(1)), a: Box::new(user_str(64)), b: Box::new(text("none")) },
        str64.clone(),
    );
    built(&script(
        vec![map("@n", vec![str64.clone(), Ty::U64], Ty::Str { size: 1024 })],
        &[str64.clone(), Ty::Str { size: 1024 }],
        vec![
            s(StmtKind::AssignVar(VarId(0), user_str(64))),
            s(StmtKind::AssignVar(VarId(1), user_str(1024))),
            s(StmtKind::AssignVar(VarId(0), either)),
            cond(eq(var(0, str64.clone()), text("/etc/passwd"), None)),
            cond(eq(var(0, str64.clone()), var(1, Ty::Str { size: 1024 }), Some(7))),
            cond(eq(user_str(1024), text("x"), None)),
            cond(eq(var(0, str64.clone()), comm(), None)),
            cond(var(0, str64.clone())),
            s(StmtKind::AssignMap {
                map: MapNo(0),
                key: vec![var(0, str64.clone()), int(1)],
                value: var(1, Ty::Str { size: 1024 }),
            }),
            print(vec![get(0, vec![comm(), int(1)], Ty::Str { size: 1024 }), var(0, str64.clone())]),
            s(StmtKind::Emit {
                action: Action::Join { delimiter: " ".to_owned() },
                args: vec![e(ExprKind::Arg(Arg::Ctx { offset: 24 }), argv())],
                uses: Vec::new(),
            }),
        ],
    ));
}

fn argv() -> Ty {
    let chars = Ty::Ptr { to: Box::new(Ty::Int { bits: 8, signed: true }), space: Space::User };
    Ty::Ptr { to: Box::new(chars), space: Space::User }
}

#[test]
fn records_that_are_too_long_are_refused_with_their_place() {
    let error = |strings, kernel: (u16, u16)| {
        let args = (0..strings).map(|_| user_str(1024)).collect();
        build(&script(Vec::new(), &[], vec![print(args)]), &target(kernel.0, kernel.1), ("t", "x")).err()
    };
    for (strings, kernel) in [(64, (6, 18)), (40, (5, 10))] {
        let error = error(strings, kernel);
        assert!(matches!(&error, Some(BuildError::Limit { span, .. }) if span.start == 3), "{error:?}");
    }
    assert_eq!(error(40, (6, 18)), None);
}
