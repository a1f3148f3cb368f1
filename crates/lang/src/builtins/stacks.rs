//! Builtins for stacks.

use super::{Builtin, Call, Checked, value as row};
use crate::ast;
use crate::check::{Checker, Typed};
use crate::diag::Diagnostic;
use crate::hir::ExprKind;
use crate::ty::Ty;
use skep_bpf::schema::{StackFormat, StackMode};

/// Frames without a limit in the call.
const DEFAULT_LIMIT: u32 = 127;
/// Most frames.
const MAX_LIMIT: i128 = 1024;

pub(super) static ROWS: &[Builtin] = &[
    row(
        "kstack",
        &["kstack", "kstack([MODE,] [LIMIT])"],
        "The kernel's stack; MODE is bpftrace, perf or raw.",
        "profile:hz:99 { @[kstack(5)] = count(); }",
        (0, 2),
        |c, call| stack(c, call, "kstack"),
    ),
    row(
        "ustack",
        &["ustack", "ustack([MODE,] [LIMIT])"],
        "The stack in user space, by frame pointers; MODE is bpftrace, perf, raw or build_id.",
        "uprobe:/bin/bash:readline { print(ustack); }",
        (0, 2),
        |c, call| stack(c, call, "ustack"),
    ),
    row(
        "dw_ustack",
        &["dw_ustack", "dw_ustack([MODE,] [LIMIT])"],
        "The stack in user space, by the call frame information of the processes that `-p`, `-c` and `--dwarf-pid` name: for programs without frame pointers.",
        "uprobe:/bin/bash:readline { print(dw_ustack(perf)); }",
        (0, 2),
        |c, call| stack(c, call, "dw_ustack"),
    ),
];

fn stack(c: &mut Checker<'_>, call: &Call<'_>, name: &'static str) -> Option<Checked> {
    let kernel = name == "kstack";
    let mut mode = c.settings.stack_mode;
    let mut rest = call.args;
    let mut named = false;
    if let Some(first) = rest.first()
        && let ast::ExprKind::Ident(name) = &*first.kind
        && let Some(known) = crate::check::stack_mode(name)
    {
        (mode, rest, named) = (known, &rest[1..], true);
    }
    let limit = match rest {
        [] => DEFAULT_LIMIT,
        [one] => match c.value(one)?.literal_int() {
            Some(n @ 0..=MAX_LIMIT) => n as u32,
            Some(n) => {
                let message = format!("a stack has at most {MAX_LIMIT} frames, not {n}");
                c.error("bad-argument", one.span, message);
                return None;
            }
            None => return call.wrong(c, one.span, "needs a literal number of frames"),
        },
        [first, ..] => {
            return call.wrong(c, first.span, "takes a mode first: bpftrace, perf, raw or build_id");
        }
    };
    if mode == StackMode::BuildId && kernel {
        if named {
            return call.wrong(c, call.span, "has no build ids, only `ustack` has");
        }
        mode = StackMode::Raw;
    }
    if c.instance
        .is_some_and(|i| matches!(i.kind, crate::resolve::ProbeKind::Begin | crate::resolve::ProbeKind::End))
    {
        c.diags.push(Diagnostic::warning(
            "own-stack",
            call.span,
            "begin and end probes run in skep itself: this is skep's own stack",
        ));
    }
    let format = StackFormat { limit, mode };
    let ty = if kernel { Ty::KStack(format) } else { Ty::UStack(format) };
    Some(Checked::Value(Typed::new(ExprKind::Call { name, args: Vec::new() }, ty, call.span)))
}
