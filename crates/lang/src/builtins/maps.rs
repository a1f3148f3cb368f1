//! Builtins on maps: entries, sizes.

use super::{Builtin, Call, Checked, value as row};
use crate::ast::{self, Span};
use crate::check::{Checker, Typed};
use crate::diag::Diagnostic;
use crate::hir::{Expr, ExprKind, MapNo};
use crate::ty::Ty;

pub(super) static ROWS: &[Builtin] = &[
    row(
        "delete",
        &["delete(@map, KEY): bool", "delete(@map[KEY]): bool", "delete(@map): bool"],
        "Removes an entry; whether there was one.",
        "tracepoint:syscalls:sys_enter_read { @start[tid] = nsecs; } tracepoint:syscalls:sys_exit_read { delete(@start, tid); }",
        (1, 2),
        delete,
    ),
    row(
        "has_key",
        &["has_key(@map, KEY): bool"],
        "Whether the map has an entry.",
        "tracepoint:syscalls:sys_enter_read { @start[tid] = nsecs; } tracepoint:syscalls:sys_exit_read /has_key(@start, tid)/ { @ = count(); }",
        (2, 2),
        has_key,
    ),
    row(
        "len",
        &["len(@map): int64", "len(STACK): int64"],
        "Entries of a map, or frames of a stack.",
        "tracepoint:syscalls:sys_enter_read { @start[tid] = nsecs; } interval:s:1 { print(len(@start)); }",
        (1, 1),
        len,
    ),
    row(
        "is_scalar",
        &["is_scalar(@map): bool"],
        "Whether a map has no keys.",
        "BEGIN { @ = 1; print(is_scalar(@)); }",
        (1, 1),
        is_scalar,
    ),
];

/// A map with the key in the second argument.
fn entry(c: &mut Checker<'_>, call: &Call<'_>) -> Option<(MapNo, Vec<Expr>)> {
    let (name, span) = call.map_name(c, 0)?;
    let key = std::slice::from_ref(&call.args[1]);
    let place = c.map_place(name, span, Some(key))?;
    Some((place.map, place.key))
}

fn delete(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let (map, key) = match (call.args, &*call.args[0].kind) {
        ([_, _], _) => entry(c, call)?,
        ([e], ast::ExprKind::Map { name, key }) => {
            let place = c.map_place(name, e.span, key.as_deref())?;
            (place.map, place.key)
        }
        _ => return call.wrong(c, call.args[0].span, "takes a map's entry"),
    };
    c.may_be_deleted(map, call.span)?;
    c.map_value(map, call.span)?;
    Some(Checked::Value(Typed::new(ExprKind::Delete { map, key }, Ty::Bool, call.span)))
}

/// Refuses a map that is known to have no keys.
fn needs_keys(c: &mut Checker<'_>, call: &Call<'_>, map: MapNo, span: Span) -> Option<()> {
    if c.map_is_keyed(map) != Some(false) {
        return Some(());
    }
    let message = format!("call to {}() expects a map with explicit keys (non-scalar map)", call.name());
    c.diags.push(Diagnostic::error("bad-argument", call.span, message).label(span, "this map has none"));
    None
}

fn has_key(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let (name, span) = call.map_name(c, 0)?;
    let map = c.whole_map(name, span);
    needs_keys(c, call, map, span)?;
    c.may_be_read(map, span)?;
    let (map, key) = entry(c, call)?;
    c.map_value(map, call.span)?;
    Some(Checked::Value(Typed::new(ExprKind::HasKey { map, key }, Ty::Bool, call.span)))
}

fn len(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let e = &call.args[0];
    if let ast::ExprKind::Map { name, key: None } = &*e.kind {
        let map = c.whole_map(name, e.span);
        let value = c.map_value(map, e.span);
        let stack = value.as_ref().is_some_and(|v| matches!(v.ty, Ty::KStack(_) | Ty::UStack(_)));
        if !(stack && c.map_is_keyed(map) == Some(false)) {
            value?;
            c.may_be_walked(map, e.span)?;
            needs_keys(c, call, map, e.span)?;
            return Some(Checked::Value(Typed::new(ExprKind::MapLen(map), Ty::I64, call.span)));
        }
    }
    let value = c.value(e)?;
    match value.ty() {
        Ty::KStack(_) | Ty::UStack(_) => call.value("stack_len", vec![value.expr], Ty::I64),
        _ => call.wrong(c, e.span, "takes a map or a stack"),
    }
}

fn is_scalar(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let (name, span) = call.map_name(c, 0)?;
    let map = c.whole_map(name, span);
    c.map_value(map, span)?;
    let scalar = match c.map_is_keyed(map) {
        Some(keyed) => !keyed,
        None if c.settled => false,
        None => return None,
    };
    Some(Checked::Value(Typed::boolean(scalar, call.span)))
}
