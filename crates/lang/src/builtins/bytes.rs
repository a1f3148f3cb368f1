//! Builtins that compare and join bytes.

use super::{Builtin, Call, Checked, value};
use crate::check::{Checker, Typed};
use crate::hir::{Expr, ExprKind};
use crate::ty::Ty;

pub(super) static ROWS: &[Builtin] = &[
    value(
        "memcmp",
        &["memcmp(LEFT, RIGHT, COUNT): int64"],
        "How the first COUNT bytes of two values compare: 0 if they are the same, else less or more than 0 as the first byte that differs.",
        "BEGIN { print(memcmp(\"abc\", \"abd\", 3)); }",
        (3, 3),
        memcmp,
    ),
    value(
        "str_concat",
        &["str_concat(STRING, STRING): string"],
        "Both strings as one, cut at `max_strlen`.",
        "BEGIN { print(str_concat(comm, \"!\")); }",
        (2, 2),
        str_concat,
    ),
];

fn memcmp(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let (left, right) = (c.value(&call.args[0]), c.value(&call.args[1]));
    let count = call.integer(c, 2, false);
    let (left, right) = (c.readable(left?)?, c.readable(right?)?);
    // Values whose fields may be in another order are compared in that of the left one.
    let right = match left.ty() {
        Ty::Record(_) => {
            let (span, found) = (right.span(), right.ty().clone());
            let wanted = left.ty().clone();
            match c.coerce(right, &wanted) {
                Some(right) => right,
                None => {
                    c.mismatch(span, &found, "a record with the same fields");
                    return None;
                }
            }
        }
        _ => right.expr,
    };
    call.value("memcmp", vec![left.expr, right, count?], Ty::I64)
}

fn str_concat(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let (a, b) = (c.value(&call.args[0]), c.value(&call.args[1]));
    let (a, b) = (a?, b?);
    if let (Some(x), Some(y)) = (a.literal_str(), b.literal_str()) {
        let mut text = [x, y].concat();
        text.truncate(c.settings.config.max_strlen.saturating_sub(1) as usize);
        return Some(Checked::Value(Typed::string(text, call.span)));
    }
    let (a, b) = (string(c, call, a)?, string(c, call, b)?);
    call.value("str_concat", vec![a, b], Ty::Str { size: c.settings.config.max_strlen })
}

/// A string, or one behind a pointer to bytes or in an array of them.
fn string(c: &mut Checker<'_>, call: &Call<'_>, value: Typed) -> Option<Expr> {
    let is_byte = |ty: &Ty| matches!(ty, Ty::Int { bits: 8, .. });
    let span = value.span();
    match value.ty() {
        Ty::Str { .. } => Some(value.expr),
        Ty::Ptr { to, .. } if is_byte(to) => {
            let ty = Ty::Str { size: c.settings.config.max_strlen };
            Some(Expr { kind: ExprKind::Call { name: "str", args: vec![value.expr] }, ty, span })
        }
        Ty::Array { elem, count } if is_byte(elem) => {
            let ty = Ty::Str { size: *count };
            Some(Expr { kind: ExprKind::Reinterpret(Box::new(value.expr)), ty, span })
        }
        other => {
            let other = other.clone();
            c.mismatch(span, &other, &format!("a string for `{}`", call.name()));
            None
        }
    }
}
