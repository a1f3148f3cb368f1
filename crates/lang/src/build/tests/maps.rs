//! Maps and aggregations.

use super::*;

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
        // Four are counters: of updates that found the map full or were refused, and of events that say so and found no room.
        ops.filter(in_maps).count() - 4 * module.funcs.len()
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
        body.push(s(StmtKind::Emit { action, args, uses: Vec::new() }));
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
        std::slice::from_ref(&pair),
        vec![
            s(StmtKind::AssignVar(VarId(0), value.clone())),
            s(StmtKind::AssignMap { map: MapNo(0), key: vec![value], value: var(0, pair.clone()) }),
            print(vec![
                var(0, pair.clone()),
                e(ExprKind::TupleField { base: Box::new(var(0, pair.clone())), index: 1 }, Ty::I64),
                e(
                    ExprKind::TupleField {
                        base: Box::new(get(0, vec![var(0, pair.clone())], pair.clone())),
                        index: 0,
                    },
                    Ty::Bool,
                ),
            ]),
        ],
    ));
    assert_eq!((module.object.maps[0].key_size, module.object.maps[0].value_size), (32, 32));
}
