//! Builtins that are answered while the program is compiled: about types, literals and options, and the error that a
//! program makes of itself.

use super::{Builtin, Call, Checked, Kind, MANY, value};
use crate::ast::ExprKind as Ast;
use crate::check::{Checker, Typed};
use crate::diag::Diagnostic;
use crate::hir::{Expr, ExprKind};
use crate::ty::Ty;
use crate::types::name;
use skep_bpf::format::{Conv, ConvKind, Piece};

pub(super) static ROWS: &[Builtin] = &[
    value(
        "typeinfo",
        &["typeinfo(EXPRESSION or TYPE): record"],
        "What a type is: `base_type` is its kind (`int`, `string`, `pointer`, `array`, `tuple`, `record`, `c_type` …), `full_type` its name.",
        "BEGIN { print(typeinfo(nsecs).full_type); }",
        (1, 1),
        typeinfo,
    ),
    value(
        "is_literal",
        &["is_literal(EXPRESSION): bool"],
        "Whether the value is known when the program is compiled.",
        "BEGIN { print(is_literal($1)); }",
        (1, 1),
        |c, call| {
            let value = c.unevaluated(|c| c.value(&call.args[0]))?;
            Some(Checked::Value(Typed::boolean(value.literal, call.span)))
        },
    ),
    value(
        "getopt",
        &["getopt(\"NAME\"): bool", "getopt(\"NAME\", DEFAULT, \"DESCRIPTION\")"],
        "The program's option `--NAME=VALUE`, given behind `--`; DEFAULT where it is not given, whose type it has.",
        "BEGIN { print(getopt(\"limit\", 10, \"how many\")); }",
        (1, 3),
        getopt,
    ),
    value(
        "config",
        &["config: record"],
        "The settings of this run.",
        "BEGIN { print(config.max_strlen); }",
        (0, 0),
        |c, call| Some(Checked::Value(crate::check::settings_record(c.settings, call.span))),
    ),
    Builtin {
        name: "fail",
        kind: Kind::Action,
        signatures: &["fail(\"FORMAT\", …)"],
        doc: "Refuses the program with this message; for branches that `if comptime` takes when something is wrong.",
        example: "BEGIN { if comptime (!is_str(comm)) { fail(\"comm is %s\", typeinfo(comm).full_type); } }",
        min: 1,
        max: MANY,
        needs_unsafe: false,
        check: fail,
    },
];

/// The type of the argument, which is an expression or a type.
fn type_of_argument(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Ty> {
    match &*call.args[0].kind {
        Ast::Type(ty) => c.type_expr(ty),
        Ast::Map { name, key: None } => c.type_of_map(name, call.span),
        _ => c.type_of(&call.args[0]),
    }
}

fn typeinfo(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let ty = type_of_argument(c, call)?;
    let text = |text: &str| Typed::string(text.as_bytes().to_vec(), call.span).expr;
    let full = match &ty {
        Ty::None => "none".to_owned(),
        ty => name::display(ty),
    };
    let (base, full) = (text(base_type(&ty)), text(&full));
    let id = Expr { kind: ExprKind::Int(0), ty: Ty::Int { bits: 8, signed: true }, span: call.span };
    let fields = [("btf_id", id), ("base_type", base), ("full_type", full)];
    let types = fields.iter().map(|(name, e)| ((*name).to_owned(), e.ty.clone())).collect();
    let parts = fields.into_iter().map(|(_, e)| e).collect();
    let record = Typed::new(ExprKind::Record(parts), Ty::Record(types), call.span);
    Some(Checked::Value(Typed { literal: true, ..record }))
}

/// The kind of a type, in one word.
fn base_type(ty: &Ty) -> &'static str {
    match ty {
        Ty::None => "none",
        Ty::Bool => "bool",
        Ty::Int { .. } | Ty::Enum { .. } => "int",
        Ty::Ptr { .. } => "pointer",
        Ty::Str { .. } => "string",
        Ty::Buf { .. } => "buffer",
        Ty::Array { .. } => "array",
        Ty::Composite(_) => "c_type",
        Ty::Tuple(_) => "tuple",
        Ty::Record(_) => "record",
        Ty::KStack(_) => "kstack",
        Ty::UStack(_) => "ustack",
        Ty::KSym => "ksym_t",
        Ty::USym => "usym_t",
        Ty::Inet => "inet",
        Ty::Mac => "mac_address",
        Ty::Timestamp { .. } => "timestamp",
        Ty::Username => "username",
        Ty::CgroupPath { .. } => "cgroup_path_t",
        Ty::StrError => "strerror",
        Ty::Signal => "signal",
        Ty::Agg(agg) => name::aggregation(agg),
    }
}

fn fail(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let text = call.literal_text(c, 0)?;
    let mut values = Vec::new();
    for e in &call.args[1..] {
        let value = c.value(e)?;
        if !value.literal {
            return call.wrong(c, e.span, "takes values that are known when the program is compiled");
        }
        values.push(value);
    }
    let types: Vec<(Ty, crate::ast::Span)> = values.iter().map(|v| (v.ty().clone(), v.span())).collect();
    let format = c.format(&text, call.args[0].span, &types)?;
    let mut values = values.iter();
    let mut message = String::new();
    for piece in &format {
        match piece {
            Piece::Text(text) => message.push_str(text),
            Piece::Conv(conv) => message.push_str(&values.next().map_or(String::new(), |v| shown(conv, v))),
        }
    }
    c.diags.push(Diagnostic::error("fail", call.span, message));
    None
}

/// A literal as a conversion shows it.
fn shown(conv: &Conv, value: &Typed) -> String {
    if let Some(text) = value.literal_str() {
        return String::from_utf8_lossy(text).into_owned();
    }
    if let Some(truth) = value.literal_bool() {
        return if conv.kind == ConvKind::String { truth.to_string() } else { u8::from(truth).to_string() };
    }
    let number = value.literal_int().unwrap_or(0);
    match conv.kind {
        ConvKind::HexLower => format!("{:x}", number as u64),
        ConvKind::HexUpper => format!("{:X}", number as u64),
        ConvKind::Octal => format!("{:o}", number as u64),
        ConvKind::Pointer => format!("{:#x}", number as u64),
        ConvKind::Char => char::from(number as u8).to_string(),
        _ => number.to_string(),
    }
}

fn getopt(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let name = String::from_utf8_lossy(&call.literal_text(c, 0)?).into_owned();
    let default = match call.args.get(1) {
        None => Typed::boolean(false, call.span),
        Some(e) => c.value(e)?,
    };
    if !default.literal || matches!(default.ty(), Ty::Tuple(_) | Ty::Record(_)) {
        return call.wrong(c, default.span(), "takes a literal number, string or boolean as the default");
    }
    let description = match call.args.len() {
        3 => String::from_utf8_lossy(&call.literal_text(c, 2)?).into_owned(),
        _ => String::new(),
    };
    c.option(&name, default, description, call.span).map(Checked::Value)
}
