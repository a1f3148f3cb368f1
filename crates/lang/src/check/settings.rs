//! The settings as a value, `config`: checked settings enter, a record of all of them leaves.

use super::{Settings, Typed};
use crate::ast::Span;
use crate::hir::ExprKind;
use crate::ty::Ty;

/// A setting's default, which says what kind of value it is.
#[derive(Clone, Copy)]
enum Default {
    Bool(bool),
    Number(u64),
    Text(&'static str),
}

/// All settings in the order of the record.
const ALL: &[(&str, Default)] = &[
    ("cpp_demangle", Default::Bool(true)),
    ("lazy_symbolication", Default::Bool(true)),
    ("print_maps_on_exit", Default::Bool(true)),
    ("use_blazesym", Default::Bool(true)),
    ("show_debug_info", Default::Bool(true)),
    ("log_size", Default::Number(1_000_000)),
    ("max_bpf_progs", Default::Number(1024)),
    ("max_cat_bytes", Default::Number(10240)),
    ("max_map_keys", Default::Number(4096)),
    ("max_probes", Default::Number(1024)),
    ("max_strlen", Default::Number(1024)),
    ("on_stack_limit", Default::Number(32)),
    ("perf_rb_pages", Default::Number(0)),
    ("str_trunc_trailer", Default::Text("..")),
    ("unstable_import_statement", Default::Text("enable")),
    ("unstable_tseries", Default::Text("warn")),
    ("unstable_typeinfo", Default::Text("enable")),
    ("unstable_dw_ustack", Default::Text("warn")),
    ("missing_probes", Default::Text("error")),
    ("stack_mode", Default::Text("bpftrace")),
    ("license", Default::Text("GPL")),
];

/// The settings as a record.
pub(crate) fn record(settings: &Settings, span: Span) -> Typed {
    let mut types = Vec::new();
    let mut values = Vec::new();
    for (name, default) in ALL {
        let value = value(*default, settings.given.get(*name).map(String::as_str), span);
        types.push(((*name).to_owned(), value.ty().clone()));
        values.push(value.expr);
    }
    Typed { literal: true, ..Typed::new(ExprKind::Record(values), Ty::Record(types), span) }
}

fn value(default: Default, given: Option<&str>, span: Span) -> Typed {
    match default {
        Default::Bool(truth) => Typed::boolean(given.map_or(truth, |g| matches!(g, "1" | "true")), span),
        Default::Number(number) => {
            let number = given.and_then(|g| g.trim().parse().ok()).unwrap_or(number);
            Typed::constant(number as i64, Ty::U64, span)
        }
        Default::Text(text) => Typed::string(given.unwrap_or(text).as_bytes().to_vec(), span),
    }
}
