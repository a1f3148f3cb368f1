//! Aggregating functions: `@m = count()` and its siblings.

use super::{Builtin, Call, Checked, aggregation as row};
use crate::check::Checker;
use crate::hir::Expr;
use crate::types::infer::as_int;
use skep_bpf::schema::{Agg, SeriesFold};

/// Most buckets of a linear histogram.
const MAX_BUCKETS: i128 = 1000;

pub(super) static ROWS: &[Builtin] = &[
    row(
        "count",
        &["count()"],
        "Counts calls, per CPU and without a lost one.",
        "tracepoint:raw_syscalls:sys_enter { @[comm] = count(); }",
        (0, 0),
        |_, _| Some(Checked::Aggregation { agg: Agg::Count, arg: None, weight: None }),
    ),
    row(
        "sum",
        &["sum(INTEGER)"],
        "Adds up.",
        "tracepoint:syscalls:sys_exit_read /args.ret > 0/ { @ = sum(args.ret); }",
        (1, 1),
        |c, call| signed(c, call, |signed| Agg::Sum { signed }),
    ),
    row(
        "min",
        &["min(INTEGER)"],
        "Keeps the least.",
        "tracepoint:syscalls:sys_exit_read { @ = min(args.ret); }",
        (1, 1),
        |c, call| signed(c, call, |signed| Agg::Min { signed }),
    ),
    row(
        "max",
        &["max(INTEGER)"],
        "Keeps the greatest.",
        "tracepoint:syscalls:sys_exit_read { @ = max(args.ret); }",
        (1, 1),
        |c, call| signed(c, call, |signed| Agg::Max { signed }),
    ),
    row(
        "avg",
        &["avg(INTEGER)"],
        "Averages.",
        "tracepoint:syscalls:sys_exit_read { @ = avg(args.ret); }",
        (1, 1),
        |c, call| signed(c, call, |signed| Agg::Avg { signed }),
    ),
    row(
        "stats",
        &["stats(INTEGER)"],
        "Counts, averages and adds up.",
        "tracepoint:syscalls:sys_exit_read { @ = stats(args.ret); }",
        (1, 1),
        |c, call| signed(c, call, |signed| Agg::Stats { signed }),
    ),
    row(
        "hist",
        &["hist(INTEGER)", "hist(INTEGER, BITS)"],
        "A histogram with 2^BITS buckets for each power of two, BITS from 0 to 5.",
        "tracepoint:syscalls:sys_exit_read { @ = hist(args.ret); }",
        (1, 2),
        hist,
    ),
    row(
        "lhist",
        &["lhist(INTEGER, MIN, MAX, STEP)"],
        "A histogram with buckets of one width.",
        "tracepoint:syscalls:sys_exit_read { @ = lhist(args.ret, 0, 1000, 100); }",
        (4, 4),
        lhist,
    ),
    row(
        "tseries",
        &["tseries(INTEGER, INTERVAL, COUNT)", "tseries(INTEGER, INTERVAL, COUNT, \"FOLD\")"],
        "One value for each of the last COUNT intervals of INTERVAL nanoseconds: the last of each interval, or as FOLD \
         says: sum, min, max or avg.",
        "tracepoint:syscalls:sys_exit_read { @ = tseries(args.ret, 100ms, 20, \"max\"); }",
        (3, 4),
        tseries,
    ),
];

/// Most intervals of a time series.
const MAX_INTERVALS: i128 = 1_000_000;

/// The argument, with its sign.
fn argument(c: &mut Checker<'_>, call: &Call<'_>) -> Option<(Expr, bool)> {
    let value = c.value(&call.args[0])?;
    let value = c.readable(value)?;
    let Some((_, signed)) = as_int(value.ty()) else {
        return call.wrong(c, call.args[0].span, "takes an integer");
    };
    c.integer(value, signed, false, "to aggregate").map(|e| (e, signed))
}

fn signed(c: &mut Checker<'_>, call: &Call<'_>, agg: fn(bool) -> Agg) -> Option<Checked> {
    let (arg, signed) = argument(c, call)?;
    Some(Checked::Aggregation { agg: agg(signed), arg: Some(arg), weight: None })
}

fn hist(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let (arg, _) = argument(c, call)?;
    let bits = match call.args.len() {
        1 => 0,
        _ => call.literal_number(c, 1)?,
    };
    if !(0..=5).contains(&bits) {
        return call.wrong(c, call.args[1].span, &format!("takes 0 to 5 bits, not {bits}"));
    }
    Some(Checked::Aggregation { agg: Agg::Hist { bits: bits as u8 }, arg: Some(arg), weight: None })
}

fn lhist(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let (arg, _) = argument(c, call)?;
    let numbers = [1, 2, 3].map(|i| call.literal_number(c, i));
    let [Some(min), Some(max), Some(step)] = numbers else { return None };
    let range = max - min;
    let problem = if step < 1 {
        Some((3, format!("needs a step of at least 1, not {step}")))
    } else if min >= max {
        Some((1, format!("needs a least value below the greatest, {min} is not below {max}")))
    } else if range < step {
        Some((3, format!("cannot take a step of {step} in a range of {range}")))
    } else if range / step > MAX_BUCKETS {
        Some((3, format!("would make {} buckets, the most is {MAX_BUCKETS}", range / step)))
    } else {
        None
    };
    if let Some((index, what)) = problem {
        return call.wrong(c, call.args[index].span, &what);
    }
    let numbers = [min, max, step].map(|n| i64::try_from(n).ok());
    let [Some(min), Some(max), Some(step)] = numbers else {
        return call.wrong(c, call.span, "takes numbers of 64 bits with a sign");
    };
    Some(Checked::Aggregation { agg: Agg::LHist { min, max, step }, arg: Some(arg), weight: None })
}

/// How values of one interval become one, by name.
const FOLDS: &[(&str, SeriesFold)] =
    &[("avg", SeriesFold::Avg), ("max", SeriesFold::Max), ("min", SeriesFold::Min), ("sum", SeriesFold::Sum)];

fn tseries(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let (arg, signed) = argument(c, call)?;
    let (interval, count) = (call.literal_number(c, 1), call.literal_number(c, 2));
    let (interval, count) = (interval?, count?);
    let Some(interval) = u64::try_from(interval).ok().filter(|n| *n > 0) else {
        return call.wrong(c, call.args[1].span, &format!("needs an interval above 0, not {interval}"));
    };
    if !(1..=MAX_INTERVALS).contains(&count) {
        let what = format!("takes 1 to {MAX_INTERVALS} intervals, not {count}");
        return call.wrong(c, call.args[2].span, &what);
    }
    let fold = match call.args.get(3) {
        None => SeriesFold::Last,
        Some(e) => {
            let name = String::from_utf8_lossy(&call.literal_text(c, 3)?).into_owned();
            match FOLDS.iter().find(|(known, _)| *known == name) {
                Some((_, fold)) => *fold,
                None => {
                    let what = format!("takes \"avg\", \"max\", \"min\" or \"sum\", not \"{name}\"");
                    return call.wrong(c, e.span, &what);
                }
            }
        }
    };
    let agg = Agg::TSeries { signed, interval, count: count as u32, fold };
    Some(Checked::Aggregation { agg, arg: Some(arg), weight: None })
}
