//! Every construct gives IR that the compiler's checker accepts, and says what it should where that can be seen. The
//! trees are built by hand, so that nothing but the builder is tested.

use super::{BuildError, build};
use crate::ast::{BinOp, Span};
use crate::hir::*;
use crate::ty::{Composite, CompositeDef, Space, Ty};
use skep_bpf::btf::{Btf, BtfBuilder, MemberDef};
use skep_bpf::event::{Action, Stream};
use skep_bpf::kinds::{AttachType, MapType, ProgType};
use skep_bpf::object::{BtfTarget, Counter, Storage};
use skep_bpf::schema::{Agg, Clock, StackFormat, StackMode};
use skep_bpf::target::{Answer, Arch, Feature, Question, Target, TargetError};
use skep_bpf::version::KernelVersion;
use skep_compiler::ir::{Module, Op, check};
use std::sync::Arc;

/// A target with the features of a kernel version.
struct Fake(KernelVersion, Arc<Btf>);

impl Target for Fake {
    fn ask(&self, question: &Question) -> Result<Answer, TargetError> {
        Ok(match question {
            Question::KernelVersion => Answer::Version(self.0),
            Question::Arch => Answer::Arch(Arch::X86_64),
            Question::PossibleCpus => Answer::Number(4),
            Question::Has(feature) => Answer::Yes(feature.since() <= self.0),
            Question::Btf(_) => Answer::Btf(Arc::clone(&self.1)),
            other => return Err(TargetError::Unknown(format!("{other:?}"))),
        })
    }
}

fn target(major: u16, minor: u16) -> Fake {
    let mut b = BtfBuilder::new();
    let (u32_id, u64_id) = (b.int("unsigned int", 4, false), b.int("unsigned long", 8, false));
    let member = |name, ty, bytes: u32| MemberDef { name, ty, bit_offset: bytes * 8, bit_size: 0 };
    let info = b.struct_("thread_info", 16, &[member("flags", u64_id, 0), member("status", u32_id, 8)]);
    b.struct_("task_struct", 64, &[member("thread_info", info, 0), member("pid", u32_id, 24)]);
    b.struct_("pt_regs", 168, &[member("di", u64_id, 112), member("orig_ax", u64_id, 120)]);
    Fake(KernelVersion::new(major, minor), Arc::new(Btf::parse(b.finish(), None).unwrap()))
}

fn e(kind: ExprKind, ty: Ty) -> Expr {
    Expr { kind, ty, span: Span::new(3, 4) }
}

fn int(value: i64) -> Expr {
    e(ExprKind::Int(value), Ty::I64)
}

fn call(name: &'static str, ty: Ty) -> Expr {
    e(ExprKind::Call { name, args: Vec::new() }, ty)
}

fn comm() -> Expr {
    call("comm", Ty::Str { size: 16 })
}

fn text(s: &str) -> Expr {
    e(ExprKind::Str(s.as_bytes().to_vec()), Ty::Str { size: s.len() as u32 + 1 })
}

fn user_str(size: u32) -> Expr {
    let pointer = Ty::Ptr { to: Box::new(Ty::Int { bits: 8, signed: true }), space: Space::User };
    let arg = e(ExprKind::Arg(Arg::Ctx { offset: 24 }), pointer);
    e(ExprKind::Call { name: "str", args: vec![arg] }, Ty::Str { size })
}

fn var(n: u32, ty: Ty) -> Expr {
    e(ExprKind::Var(VarId(n)), ty)
}

fn get(map: u32, key: Vec<Expr>, ty: Ty) -> Expr {
    e(ExprKind::MapGet { map: MapNo(map), key }, ty)
}

fn s(kind: StmtKind) -> Stmt {
    Stmt { kind, span: Span::new(3, 4) }
}

fn print(args: Vec<Expr>) -> Stmt {
    s(StmtKind::Emit { action: Action::Printf { format: Vec::new(), stream: Stream::Out }, args })
}

fn agg(map: u32, key: Vec<Expr>, arg: Option<Expr>) -> Stmt {
    s(StmtKind::Aggregate { map: MapNo(map), key, arg, weight: None })
}

fn map(name: &str, key: Vec<Ty>, value: Ty) -> Map {
    Map { name: name.to_owned(), key, value, kind: MapType::Hash, max_entries: 4096 }
}

fn probe(body: Vec<Stmt>) -> Probe {
    Probe {
        name: "tracepoint:a:b".to_owned(),
        symbol: "tracepoint_a_b".to_owned(),
        prog_type: ProgType::Tracepoint,
        attach_type: AttachType::None,
        attach_btf: None,
        attach: Vec::new(),
        sleepable: false,
        check_pid: true,
        guard: Guard::None,
        predicate: None,
        body,
        vars: Vec::new(),
        span: Span::new(0, 10),
    }
}

fn script(maps: Vec<Map>, vars: &[Ty], body: Vec<Stmt>) -> Program {
    let vars = vars.iter().enumerate().map(|(i, ty)| Var { name: format!("$v{i}"), ty: ty.clone() });
    let probe = Probe { vars: vars.collect(), ..probe(body) };
    Program { probes: vec![probe], maps, ..Program::default() }
}

/// Builds for a kernel and checks the IR.
fn built_for(program: &Program, kernel: (u16, u16)) -> Module {
    let target = target(kernel.0, kernel.1);
    let module = build(program, &target, ("t.bt", "one line\nand another\n")).unwrap();
    if let Err(errors) = check(&module) {
        let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
        panic!("{}", all.join("\n"));
    }
    module
}

fn built(program: &Program) -> Module {
    for kernel in [(5, 10), (6, 1)] {
        let target = target(kernel.0, kernel.1);
        match build(program, &target, ("t.bt", "one line\nand another\n")) {
            Ok(module) => assert_eq!(check(&module), Ok(()), "{kernel:?}"),
            Err(BuildError::Unsupported { since: Some(_), .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    built_for(program, (6, 18))
}

fn helpers(module: &Module) -> Vec<u32> {
    let ops = module.funcs.iter().flat_map(|f| f.insts.iter().map(|i| &i.op));
    ops.filter_map(|op| if let Op::Helper { id, .. } = op { Some(*id) } else { None }).collect()
}

use skep_bpf::helpers::id;

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
    let tails: Vec<bool> = module.object.events[0].args.iter().map(|a| a.tail).collect();
    assert_eq!(tails, [false, true, true, true]);
    let stacks = module.object.maps.iter().filter(|m| m.map_type == MapType::StackTrace);
    assert_eq!(stacks.map(|m| m.value_size).collect::<Vec<_>>(), [160]);
}

#[test]
fn maps_are_stored_as_their_schema_says() {
    let module = built(&script(
        vec![
            map("@", Vec::new(), Ty::Agg(Agg::Count)),
            map("@k", vec![Ty::Str { size: 16 }, Ty::U32], Ty::Agg(Agg::Sum { signed: true })),
            map("@x", Vec::new(), Ty::I64),
            map("@h", Vec::new(), Ty::Agg(Agg::Hist { bits: 0 })),
            map("@l", vec![Ty::Str { size: 16 }], Ty::Agg(Agg::LHist { min: 0, max: 400, step: 20 })),
            map("@t", vec![Ty::U32], Ty::Str { size: 64 }),
        ],
        &[],
        vec![
            agg(0, Vec::new(), None),
            agg(1, vec![comm(), call("pid", Ty::U32)], Some(int(-3))),
            s(StmtKind::AssignMap { map: MapNo(2), key: Vec::new(), value: int(5) }),
            agg(3, Vec::new(), Some(call("nsecs", Ty::U64))),
            agg(4, vec![comm()], Some(int(7))),
            s(StmtKind::AssignMap { map: MapNo(5), key: vec![call("tid", Ty::U32)], value: comm() }),
        ],
    ));
    let shape = |i: usize| {
        let m = &module.object.maps[i];
        (m.map_type, m.key_size, m.value_size, m.max_entries, m.schema.as_ref().unwrap().storage)
    };
    assert_eq!(shape(0), (MapType::PercpuArray, 4, 16, 1, Storage::PercpuScalar));
    assert_eq!(shape(1), (MapType::PercpuHash, 20, 8, 4096, Storage::Hash));
    assert_eq!(shape(2), (MapType::Array, 4, 16, 1, Storage::Scalar));
    assert_eq!(shape(3), (MapType::PercpuArray, 4, 8, 66, Storage::PercpuScalar));
    assert_eq!(shape(4), (MapType::PercpuHash, 24, 8, 4096, Storage::Hash));
    assert_eq!(shape(5), (MapType::Hash, 4, 64, 4096, Storage::Hash));
    assert!(module.object.session.counters.contains(&Counter::MapFull(1)));
}

#[test]
fn additions_are_atomic_only_where_programs_can_interrupt_each_other() {
    let maps = || vec![map("@", vec![Ty::U32], Ty::Agg(Agg::Count))];
    let count = || vec![agg(0, vec![call("pid", Ty::U32)], None)];
    let atomics = |program: &Program| {
        let module = built(program);
        let ops = module.funcs.iter().flat_map(|f| f.insts.iter().map(|i| &i.op));
        let in_maps = |op: &&Op| matches!(op, Op::Atomic { off: 0, .. });
        // One is the counter of updates that found the map full.
        ops.filter(in_maps).count() - module.funcs.len()
    };
    let one = script(maps(), &[], count());
    assert_eq!(atomics(&one), 0);
    let mut two = script(maps(), &[], count());
    two.probes.push(probe(count()));
    assert_eq!(atomics(&two), 2);
    let mut perf = script(maps(), &[], count());
    perf.probes[0].prog_type = ProgType::PerfEvent;
    assert_eq!(atomics(&perf), 1);
}

#[test]
fn comparison_with_a_constant_reads_words_and_calls_nothing_for_the_rest() {
    let mut program =
        script(vec![map("@", Vec::new(), Ty::Agg(Agg::Count))], &[], vec![agg(0, Vec::new(), None)]);
    program.probes[0].predicate = Some(e(
        ExprKind::BytesEq { a: Box::new(comm()), b: Box::new(text("ls")), negate: false, limit: None },
        Ty::Bool,
    ));
    let module = built(&program);
    assert_eq!(helpers(&module), [id::GET_CURRENT_COMM, id::MAP_LOOKUP_ELEM]);
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
            }),
        ],
    ));
}

fn argv() -> Ty {
    let chars = Ty::Ptr { to: Box::new(Ty::Int { bits: 8, signed: true }), space: Space::User };
    Ty::Ptr { to: Box::new(chars), space: Space::User }
}

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
            ExprKind::IncVar { var: VarId(n), by: -1, pre: n % 2 == 0 },
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
            s(StmtKind::Emit { action: Action::Exit, args: vec![e(ExprKind::Int(0), Ty::U64)] }),
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
        &[array.clone()],
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
fn aggregations_are_read_over_all_cpus() {
    let aggs = [
        Agg::Count,
        Agg::Sum { signed: true },
        Agg::Min { signed: false },
        Agg::Max { signed: true },
        Agg::Avg { signed: true },
        Agg::Stats { signed: false },
    ];
    let maps: Vec<Map> = aggs.iter().map(|a| map("@a", vec![Ty::U32], Ty::Agg(a.clone()))).collect();
    let mut body = Vec::new();
    for (n, agg) in aggs.iter().enumerate() {
        let (map, key) = (MapNo(n as u32), vec![call("pid", Ty::U32)]);
        body.push(s(StmtKind::Aggregate {
            map,
            key: key.clone(),
            arg: (*agg != Agg::Count).then(|| call("nsecs", Ty::U64)),
            weight: None,
        }));
        body.push(print(vec![e(ExprKind::MapAgg { map, key: key.clone(), agg: agg.clone() }, Ty::I64)]));
        let action = Action::PrintMapEntry { map: n, key: true };
        let args = vec![int(1), e(ExprKind::MapGet { map, key: key.clone() }, Ty::Agg(agg.clone()))];
        body.push(s(StmtKind::Emit { action, args }));
        body.push(s(StmtKind::Delete { map, key }));
    }
    let program = script(maps, &[], body);
    built_for(&program, (6, 18));
    let old = build(&program, &target(5, 10), ("t", "x"));
    assert!(matches!(old, Err(BuildError::Unsupported { .. })), "{old:?}");
}

#[test]
fn deletes_and_increments() {
    let hist = Ty::Agg(Agg::Hist { bits: 2 });
    let inc = |n, key: Vec<Expr>, pre| e(ExprKind::IncMap { map: MapNo(n), key, by: 1, pre }, Ty::I64);
    built(&script(
        vec![
            map("@x", Vec::new(), Ty::I64),
            map("@k", vec![Ty::U32], Ty::I64),
            map("@s", vec![Ty::U32], Ty::Int { bits: 16, signed: true }),
            map("@h", vec![Ty::U32], hist.clone()),
        ],
        &[],
        vec![
            s(StmtKind::Expr(inc(0, Vec::new(), false))),
            s(StmtKind::Expr(inc(1, vec![int(1)], false))),
            s(StmtKind::Expr(inc(2, vec![int(1)], false))),
            print(vec![inc(0, Vec::new(), true), inc(1, vec![int(1)], false)]),
            s(StmtKind::Delete { map: MapNo(0), key: Vec::new() }),
            s(StmtKind::Delete { map: MapNo(3), key: vec![int(1)] }),
            print(vec![
                e(ExprKind::Delete { map: MapNo(1), key: vec![int(1)] }, Ty::Bool),
                e(ExprKind::HasKey { map: MapNo(1), key: vec![int(1)] }, Ty::Bool),
                e(ExprKind::HasKey { map: MapNo(0), key: Vec::new() }, Ty::Bool),
            ]),
        ],
    ));
}

#[test]
fn tuples_are_written_with_their_padding() {
    let pair = Ty::Tuple(vec![Ty::Bool, Ty::I64, Ty::Str { size: 16 }]);
    let value = e(ExprKind::Tuple(vec![e(ExprKind::Int(1), Ty::Bool), int(7), comm()]), pair.clone());
    let module = built(&script(
        vec![map("@t", vec![pair.clone()], pair.clone())],
        &[pair.clone()],
        vec![
            s(StmtKind::AssignVar(VarId(0), value.clone())),
            s(StmtKind::AssignMap { map: MapNo(0), key: vec![value], value: var(0, pair.clone()) }),
            print(vec![
                var(0, pair.clone()),
                e(ExprKind::TupleField { base: Box::new(var(0, pair.clone())), index: 1 }, Ty::I64),
                e(
                    ExprKind::TupleField {
                        base: Box::new(get(0, vec![var(0, pair.clone())], pair)),
                        index: 0,
                    },
                    Ty::Bool,
                ),
            ]),
        ],
    ));
    assert_eq!((module.object.maps[0].key_size, module.object.maps[0].value_size), (32, 32));
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

#[test]
fn script_functions_are_built_once_and_do_not_recurse() {
    let function = Function {
        name: "add".to_owned(),
        params: 2,
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

#[test]
fn records_that_are_too_long_are_refused_with_their_place() {
    let args = (0..40).map(|_| user_str(1024)).collect();
    let error = build(&script(Vec::new(), &[], vec![print(args)]), &target(6, 18), ("t", "x"));
    assert!(matches!(&error, Err(BuildError::Limit { span, .. }) if span.start == 3), "{error:?}");
}
