//! Expressions and builtins.

use super::*;

#[test]
fn arithmetic_keeps_its_sign_and_width() {
    let types =
        [8u8, 16, 32, 64].iter().flat_map(|bits| [true, false].map(|signed| Ty::Int { bits: *bits, signed }));
    let vars: Vec<Ty> = types.collect();
    let mut body = Vec::new();
    for (n, ty) in vars.iter().enumerate() {
        let n = n as u32;
        for op in [
            BinOp::Add,
            BinOp::Sub,
            BinOp::Mul,
            BinOp::Div,
            BinOp::Mod,
            BinOp::And,
            BinOp::Or,
            BinOp::Xor,
            BinOp::Shl,
            BinOp::Shr,
        ] {
            let rhs = e(ExprKind::Convert(Box::new(call("nsecs", Ty::U64))), ty.clone());
            let sum = ExprKind::Binary { op, a: Box::new(var(n, ty.clone())), b: Box::new(rhs) };
            body.push(s(StmtKind::AssignVar(VarId(n), e(sum, ty.clone()))));
        }
        let wide = e(ExprKind::Convert(Box::new(var(n, ty.clone()))), Ty::U64);
        let cond =
            ExprKind::Compare { op: BinOp::Lt, a: Box::new(wide), b: Box::new(call("nsecs", Ty::U64)) };
        body.push(s(StmtKind::Expr(e(
            ExprKind::IncVar { var: VarId(n), by: -1, pre: n.is_multiple_of(2) },
            ty.clone(),
        ))));
        let minus =
            e(ExprKind::Unary { op: crate::ast::UnaryOp::Neg, a: Box::new(var(n, ty.clone())) }, ty.clone());
        let pick = ExprKind::Ternary {
            cond: Box::new(e(cond, Ty::Bool)),
            a: Box::new(minus),
            b: Box::new(var(n, ty.clone())),
        };
        body.push(print(vec![e(pick, ty.clone())]));
    }
    built(&script(Vec::new(), &vars, body));
}

#[test]
fn fields_through_typed_pointers_are_plain_loads() {
    let def = CompositeDef::Btf { module: 0, id: 4 };
    let task = Ty::Composite(Composite { name: "struct task_struct".to_owned(), size: 64, def });
    let pointer = |space| Ty::Ptr { to: Box::new(task.clone()), space };
    let access = |offset, bits| Access { offset, bits, core: None };
    let field = |base: Expr, offset, bits, space, ty| {
        e(ExprKind::Field { base: Box::new(base), access: access(offset, bits), space }, ty)
    };
    let cur = || call("curtask", pointer(Space::Btf));
    let parent = field(cur(), 32, None, Space::Btf, pointer(Space::Btf));
    let nested = field(parent.clone(), 0, None, Space::Btf, task.clone());
    let mut program = script(
        vec![map("@p", Vec::new(), pointer(Space::Btf))],
        &[pointer(Space::Btf)],
        vec![
            print(vec![
                field(cur(), 24, None, Space::Btf, Ty::U32),
                field(parent.clone(), 24, None, Space::Btf, Ty::I32),
                field(nested.clone(), 8, Some((3, 5, 4)), Space::Btf, Ty::I32),
                nested,
            ]),
            s(StmtKind::AssignVar(VarId(0), parent.clone())),
            s(StmtKind::AssignMap { map: MapNo(0), key: Vec::new(), value: parent }),
            print(vec![field(var(0, pointer(Space::Btf)), 24, None, Space::Btf, Ty::U32)]),
            print(vec![
                field(get(0, Vec::new(), pointer(Space::Btf)), 24, None, Space::Btf, Ty::U32),
                field(e(ExprKind::Arg(Arg::Raw(0)), pointer(Space::Btf)), 24, None, Space::Btf, Ty::U32),
                e(ExprKind::Convert(Box::new(cur())), Ty::U64),
            ]),
        ],
    );
    let probe = &mut program.probes[0];
    probe.prog_type = ProgType::Tracing;
    probe.attach_type = AttachType::TraceRawTp;
    probe.attach_btf = Some(BtfTarget::RawTracepoint("x".to_owned()));
    let module = built(&program);
    let reads = helpers(&module).iter().filter(|h| **h == id::PROBE_READ_KERNEL).count();
    assert_eq!(reads, 3, "the copied struct, and what went through a variable or a map");
}

#[test]
fn arrays_are_indexed_within_their_bounds() {
    let array = Ty::Array { elem: Box::new(Ty::U32), count: 4 };
    let at = |index: Expr, space| {
        let base = match space {
            Space::Ctx => e(ExprKind::Arg(Arg::Ctx { offset: 8 }), array.clone()),
            _ => var(0, array.clone()),
        };
        e(ExprKind::Index { base: Box::new(base), index: Box::new(index), size: 4, space }, Ty::U32)
    };
    built(&script(
        Vec::new(),
        std::slice::from_ref(&array),
        vec![
            s(StmtKind::AssignVar(VarId(0), e(ExprKind::Arg(Arg::Ctx { offset: 8 }), array.clone()))),
            print(vec![
                at(int(3), Space::Ctx),
                at(call("nsecs", Ty::I64), Space::Ctx),
                at(int(9), Space::Bpf),
                at(int(-1), Space::Bpf),
                at(call("nsecs", Ty::I64), Space::Bpf),
            ]),
        ],
    ));
}

#[test]
fn other_builtins() {
    let array = |n| Ty::Array { elem: Box::new(Ty::Int { bits: 8, signed: false }), count: n };
    let ntop = |data: Expr| {
        e(ExprKind::Call { name: "ntop", args: vec![e(ExprKind::Int(0), Ty::U64), data] }, Ty::Inet)
    };
    let ctx = |offset, ty| e(ExprKind::Arg(Arg::Ctx { offset }), ty);
    let one = |name, arg: Expr, ty| e(ExprKind::Call { name, args: vec![arg] }, ty);
    let stamp = Ty::Timestamp { format: "%H".to_owned(), clock: Clock::Boot };
    let mut args = vec![
        ntop(ctx(8, Ty::U32)),
        ntop(ctx(16, array(16))),
        one("macaddr", ctx(16, array(6)), Ty::Mac),
        one("ksym", ctx(16, Ty::U64), Ty::KSym),
        one("usym", ctx(16, Ty::U64), Ty::USym),
        one("bswap", ctx(8, Ty::U32), Ty::U32),
        one("strlen", user_str(1024), Ty::U64),
        e(ExprKind::Convert(Box::new(call("nsecs", Ty::U64))), stamp),
        e(ExprKind::Arg(Arg::DataLoc { offset: 8, relative: false }), Ty::Str { size: 64 }),
        e(ExprKind::Arg(Arg::DataLoc { offset: 8, relative: true }), Ty::Str { size: 1024 }),
        e(ExprKind::Reinterpret(Box::new(ctx(8, array(4)))), Ty::U32),
    ];
    for name in ["uid", "gid", "cpu", "numaid", "cgroup", "jiffies", "nsecs", "nsecs_monotonic", "elapsed"] {
        args.push(call(name, Ty::U64));
    }
    for name in ["pid_init", "tid_init", "rand", "tid"] {
        args.push(call(name, Ty::U32));
    }
    let module = built(&script(Vec::new(), &[], vec![print(args)]));
    assert!(module.object.session.start_map.is_some());
    let unknown = script(Vec::new(), &[], vec![print(vec![call("no_such", Ty::U64)])]);
    let error = build(&unknown, &target(6, 18), ("t", "x"));
    assert!(matches!(error, Err(BuildError::Unsupported { .. })), "{error:?}");
}
