//! Buckets of histograms: the IR is run by a small interpreter and its buckets are compared with what the reader takes
//! them for.

use super::*;
use skep_bpf::schema::{hist_bounds, hist_buckets};
use skep_compiler::ir::{Function, Terminator, UnOp, eval};
use std::collections::HashMap;

/// Runs `func` with `input` in place of every load from the context, up to the first map lookup; what was stored last is
/// the key, so the bucket.
fn bucket(func: &Function, input: i64) -> i64 {
    let mut values: HashMap<u32, i64> = HashMap::new();
    let (mut block, mut stored) = (Function::ENTRY, 0);
    loop {
        let data = func.block(block);
        for inst in &data.insts {
            let inst = func.inst(*inst);
            let get = |v: &skep_compiler::ir::Value| values[&v.0];
            let result = match &inst.op {
                Op::Const(v) => *v,
                Op::Bin { op, width, a, b } => eval::bin(*op, *width, get(a), get(b)),
                Op::Un { op: UnOp::Extend(ty), a } => eval::extend(*ty, get(a)),
                Op::Cast(v) => values.get(&v.0).copied().unwrap_or(0),
                Op::Select { cond, a, b } => {
                    if eval::cond(cond.cc, cond.width, get(&cond.a), get(&cond.b)) {
                        get(a)
                    } else {
                        get(b)
                    }
                }
                Op::Load { .. } => input,
                Op::Store { val, .. } => {
                    stored = get(val);
                    0
                }
                Op::Helper { id: id::MAP_LOOKUP_ELEM, .. } => return stored,
                _ => 0,
            };
            if let Some(value) = inst.result {
                values.insert(value.0, result);
            }
        }
        let edge = match data.term.as_ref().unwrap() {
            Terminator::Jump(edge) => edge,
            Terminator::Branch { cond, then, other } => {
                let holds = eval::cond(cond.cc, cond.width, values[&cond.a.0], values[&cond.b.0]);
                if holds { then } else { other }
            }
            other => panic!("{other:?}"),
        };
        let args: Vec<i64> = edge.args.iter().map(|v| values.get(&v.0).copied().unwrap_or(0)).collect();
        for (param, value) in func.block(edge.block).params.iter().zip(args) {
            values.insert(param.0, value);
        }
        block = edge.block;
    }
}

fn histogram(agg_of: Agg) -> Function {
    let arg = e(ExprKind::Arg(Arg::Ctx { offset: 8 }), Ty::I64);
    let program =
        script(vec![map("@", Vec::new(), Ty::Agg(agg_of))], &[], vec![agg(0, Vec::new(), Some(arg))]);
    built_for(&program, (6, 18)).funcs.remove(0)
}

/// Values around every power of two, and some between.
fn interesting() -> Vec<i64> {
    let around = (0..63).flat_map(|p| {
        let power = 1i64 << p;
        [power - 1, power, power + 1, power + power / 3, power + power / 2, -power]
    });
    around.chain([i64::MAX, i64::MIN, 0]).collect()
}

#[test]
fn log_buckets_are_those_that_the_reader_names() {
    for bits in 0..=5 {
        let func = histogram(Agg::Hist { bits });
        for value in interesting() {
            let index = bucket(&func, value);
            assert!((0..i64::from(hist_buckets(bits))).contains(&index), "{value}: bucket {index}");
            let (low, high) = hist_bounds(index as u32, bits);
            assert!((low..=high).contains(&value), "bits {bits}: {value} in bucket {index}, {low} to {high}");
        }
    }
}

#[test]
fn linear_buckets_are_steps_between_the_two_ends() {
    for (min, max, step) in [(0, 400, 20), (-10, 10, 5), (0, 10, 3), (i64::MIN / 2, i64::MAX / 2, 1 << 61)] {
        let func = histogram(Agg::LHist { min, max, step });
        for value in interesting().into_iter().chain(-20..420) {
            let expected = match value {
                v if v < min => 0,
                v if v >= max => (max - min) / step + 1,
                v => (v - min) / step + 1,
            };
            assert_eq!(bucket(&func, value), expected, "{value} in {min}..{max} by {step}");
        }
    }
}
