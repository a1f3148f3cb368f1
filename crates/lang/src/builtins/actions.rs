//! Builtins that are done for their effect: printing, clearing, ending, and what acts on the system.

use super::{Builtin, Call, Checked, MANY, action as row, unsafe_action as unsafe_row};
use crate::ast;
use crate::check::{Checker, Typed};
use crate::hir::{Expr, ExprKind, StmtKind};
use crate::resolve::ProbeKind;
use crate::ty::{Space, Ty};
use crate::types::infer::castable;
use skep_bpf::event::{Action, Stream};
use skep_bpf::format::{Conv, ConvKind, Format, Piece};
use skep_bpf::object::Attach;

pub(super) static ROWS: &[Builtin] = &[
    row(
        "printf",
        &["printf(\"FORMAT\", …)"],
        "Prints as printf(3) does; `%s` takes every type.",
        "tracepoint:syscalls:sys_enter_openat { printf(\"%s %s\\n\", comm, str(args.filename)); }",
        (1, MANY),
        |c, call| printf(c, call, Stream::Out),
    ),
    row(
        "errorf",
        &["errorf(\"FORMAT\", …)"],
        "As printf, to standard error and marked as an error.",
        "BEGIN { errorf(\"bad: %d\", 1); }",
        (1, MANY),
        |c, call| printf(c, call, Stream::Error),
    ),
    row(
        "warnf",
        &["warnf(\"FORMAT\", …)"],
        "As printf, to standard error and marked as a warning.",
        "BEGIN { warnf(\"odd: %d\", 1); }",
        (1, MANY),
        |c, call| printf(c, call, Stream::Warning),
    ),
    row(
        "debugf",
        &["debugf(\"FORMAT\", …)"],
        "Writes to the kernel's trace_pipe, for debugging: at most three arguments, integers, pointers and strings.",
        "BEGIN { debugf(\"pid %d\", pid); }",
        (1, 4),
        debugf,
    ),
    row(
        "print",
        &["print(VALUE)", "print(@map)", "print(@map, TOP)", "print(@map, TOP, DIV)"],
        "Prints a value, or a map: its TOP greatest entries, each divided by DIV.",
        "tracepoint:raw_syscalls:sys_enter { @[comm] = count(); } interval:s:1 { print(@, 5); clear(@); }",
        (1, 3),
        print,
    ),
    row(
        "clear",
        &["clear(@map)"],
        "Removes all entries of a map.",
        "tracepoint:raw_syscalls:sys_enter { @[comm] = count(); } interval:s:1 { print(@); clear(@); }",
        (1, 1),
        |c, call| on_map(c, call, |map| Action::Clear { map }),
    ),
    row(
        "zero",
        &["zero(@map)"],
        "Sets all entries of a map to zero.",
        "tracepoint:raw_syscalls:sys_enter { @[comm] = count(); } interval:s:1 { print(@); zero(@); }",
        (1, 1),
        |c, call| on_map(c, call, |map| Action::Zero { map }),
    ),
    row(
        "time",
        &["time()", "time(\"FORMAT\")"],
        "Prints the time of day, as strftime(3); `%H:%M:%S` and a newline without a format.",
        "interval:s:1 { time(\"%H:%M:%S\\n\"); }",
        (0, 1),
        time,
    ),
    row(
        "join",
        &["join(ARGV)", "join(ARGV, \"SEPARATOR\")"],
        "Prints an array of strings with a blank or SEPARATOR between them, and a newline.",
        "tracepoint:syscalls:sys_enter_execve { join(args.argv); }",
        (1, 2),
        join,
    ),
    row(
        "cat",
        &["cat(\"FORMAT\", …)"],
        "Prints the file of that name.",
        "BEGIN { cat(\"/proc/loadavg\"); }",
        (1, MANY),
        |c, call| formatted(c, call, |format| Action::Cat { format }),
    ),
    row(
        "exit",
        &["exit()", "exit(CODE)"],
        "Ends tracing: END probes run, maps are printed.",
        "interval:s:5 { exit(); }",
        (0, 1),
        exit,
    ),
    row(
        "unwatch",
        &["unwatch(ADDRESS)"],
        "Takes the watchpoints on ADDRESS off, as soon as the event is read.",
        "watchpoint:0x10000000:8:w { printf(\"written\\n\"); unwatch(0x10000000); }",
        (1, 1),
        unwatch,
    ),
    unsafe_row(
        "system",
        &["system(\"FORMAT\", …)"],
        "Runs a command of the shell.",
        "interval:s:1 { system(\"date\"); }",
        (1, MANY),
        |c, call| formatted(c, call, |format| Action::System { format }),
    ),
    unsafe_row(
        "signal",
        &["signal(NUMBER)", "signal(\"NAME\")"],
        "Sends a signal to the current process.",
        "tracepoint:syscalls:sys_enter_execve { signal(\"SIGKILL\"); }",
        (1, 1),
        |c, call| signal(c, call, "signal"),
    ),
    unsafe_row(
        "signal_thread",
        &["signal_thread(NUMBER)", "signal_thread(\"NAME\")"],
        "Sends a signal to the current thread.",
        "tracepoint:syscalls:sys_enter_execve { signal_thread(9); }",
        (1, 1),
        |c, call| signal(c, call, "signal_thread"),
    ),
    unsafe_row(
        "override",
        &["override(VALUE)"],
        "Makes the probed function return VALUE at once.",
        "kprobe:__x64_sys_getuid { override(0); }",
        (1, 1),
        override_,
    ),
];

fn emit(action: Action, args: Vec<Expr>) -> Option<Checked> {
    Some(Checked::Stmt(StmtKind::Emit { action, args, uses: Vec::new() }))
}

/// The format in the first argument, checked against the others.
fn format_and_args(c: &mut Checker<'_>, call: &Call<'_>) -> Option<(Format, Vec<Expr>)> {
    let text = call.literal_text(c, 0);
    let args = c.elements(&call.args[1..]);
    let (text, args) = (text?, args?);
    args.iter().for_each(|a| c.note_layout(a.ty()));
    let types: Vec<_> = args.iter().map(|a| (a.ty().clone(), a.span())).collect();
    let format = c.format(&text, call.args[0].span, &types)?;
    Some((format, args.into_iter().map(|a| a.expr).collect()))
}

/// Most arguments of a format that the kernel renders (MAX_BPRINTF_VARARGS, include/linux/bpf.h, Linux 6.18).
const KERNEL_ARGS: usize = 12;

/// A format that the kernel is to render, as its first argument, and those that it renders; `wide` says which are printed
/// as 64 bits, whatever the format says.
fn for_the_kernel(
    c: &mut Checker<'_>,
    call: &Call<'_>,
    format: &Format,
    args: Vec<Expr>,
    wide: fn(&Ty) -> bool,
) -> Option<Vec<Expr>> {
    let mut text = String::new();
    let mut rendered = args.iter();
    for piece in format {
        match piece {
            Piece::Text(plain) => text.push_str(&plain.replace('%', "%%")),
            Piece::Conv(conv) => {
                match kernel_conversion(conv, rendered.next().is_some_and(|e| wide(&e.ty))) {
                    Some(kernel) => text.push_str(&kernel),
                    None => {
                        let what = "takes %d, %u, %x, %p, %c and %s with widths and lengths here, as the kernel does";
                        return call.wrong(c, call.args[0].span, what);
                    }
                }
            }
        }
    }
    if args.len() > KERNEL_ARGS {
        return call.wrong(c, call.span, &format!("takes at most {KERNEL_ARGS} values here"));
    }
    for arg in &args {
        if !matches!(&arg.ty, Ty::Str { .. } | Ty::Int { .. } | Ty::Ptr { .. } | Ty::Bool) {
            return call.wrong(c, arg.span, "takes integers, pointers and strings here");
        }
    }
    let text = Typed::string(text.into_bytes(), call.args[0].span).expr;
    Some(std::iter::once(text).chain(args).collect())
}

/// Whether the probe is an iterator that is read through a file: what it prints goes there.
fn writes_a_file(c: &Checker<'_>) -> bool {
    let mut places = c.instance.iter().flat_map(|instance| &instance.attach);
    places.any(|point| matches!(point.at, Attach::PinnedIter { .. }))
}

fn printf(c: &mut Checker<'_>, call: &Call<'_>, stream: Stream) -> Option<Checked> {
    let (format, args) = format_and_args(c, call)?;
    if stream == Stream::Out && writes_a_file(c) {
        let args = for_the_kernel(c, call, &format, args, |ty| matches!(ty, Ty::Int { bits: 64, .. }))?;
        let kind = ExprKind::Call { name: "seq_printf", args };
        return Some(Checked::Stmt(StmtKind::Expr(Expr { kind, ty: Ty::I64, span: call.span })));
    }
    emit(Action::Printf { format, stream }, args)
}

fn formatted(c: &mut Checker<'_>, call: &Call<'_>, action: fn(Format) -> Action) -> Option<Checked> {
    let (format, args) = format_and_args(c, call)?;
    emit(action(format), args)
}

fn print(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let e = &call.args[0];
    if let ast::ExprKind::Map { name, key: None } = &*e.kind {
        let map = c.whole_map(name, e.span);
        c.may_be_walked(map, e.span)?;
        let number = |c: &mut Checker<'_>, index: usize| match call.args.get(index) {
            None => Some(0),
            Some(_) => call.literal_number(c, index),
        };
        let (top, div) = (number(c, 1), number(c, 2));
        c.map_value(map, e.span)?;
        let constant = |n: i128| Typed::constant(n as i64, Ty::U64, call.span).expr;
        let args = vec![constant(top?), constant(div?)];
        return emit(Action::PrintMap { map: map.0 as usize }, args);
    }
    if call.args.len() > 1 {
        return call.wrong(c, call.args[1].span, "takes a limit for whole maps only");
    }
    let value = c.value(e)?;
    if matches!(value.ty(), Ty::Agg(_)) && castable(value.ty()).is_none() {
        return call.wrong(c, e.span, "cannot print a single entry of such a map, only the whole");
    }
    let value = c.readable(value)?;
    c.note_layout(value.ty());
    emit(Action::Print, vec![value.expr])
}

fn on_map(c: &mut Checker<'_>, call: &Call<'_>, action: fn(usize) -> Action) -> Option<Checked> {
    let (name, span) = call.map_name(c, 0)?;
    let map = c.whole_map(name, span);
    c.may_be_walked(map, span)?;
    c.map_value(map, span)?;
    emit(action(map.0 as usize), Vec::new())
}

fn time(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let format = match call.args.len() {
        0 => "%H:%M:%S\n".to_owned(),
        _ => String::from_utf8_lossy(&call.literal_text(c, 0)?).into_owned(),
    };
    emit(Action::Time { format }, Vec::new())
}

fn join(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let delimiter = match call.args.len() {
        1 => " ".to_owned(),
        _ => String::from_utf8_lossy(&call.literal_text(c, 1)?).into_owned(),
    };
    let value = c.value(&call.args[0])?;
    let (span, space) = (value.span(), value.space);
    let space = match value.ty() {
        Ty::Ptr { space: Space::Btf, .. } => Space::Kernel,
        Ty::Ptr { space, .. } => *space,
        Ty::Int { .. } => space.unwrap_or_else(|| c.default_space()),
        _ => return call.wrong(c, span, "takes the address of an array of strings"),
    };
    let string = Ty::Ptr { to: Box::new(Ty::Int { bits: 8, signed: true }), space };
    let ty = Ty::Ptr { to: Box::new(string), space };
    let argv = if *value.ty() == ty {
        value.expr
    } else {
        Expr { kind: ExprKind::Convert(Box::new(value.expr)), ty, span }
    };
    emit(Action::Join { delimiter }, vec![argv])
}

fn exit(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let code = match call.args.len() {
        0 => Typed::constant(0, Ty::U64, call.span).expr,
        _ => call.integer(c, 0, false)?,
    };
    let mut args = vec![code];
    // The kernel goes on with the next object all the same, and what is printed of it counts.
    if c.instance.is_some_and(|i| i.kind == ProbeKind::Iter) {
        args.push(Typed::constant(1, Ty::U64, call.span).expr);
    }
    emit(Action::Exit, args)
}

fn unwatch(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let value = c.value(&call.args[0])?;
    let span = value.span();
    let address = match value.ty() {
        Ty::Ptr { .. } => Expr { kind: ExprKind::Convert(Box::new(value.expr)), ty: Ty::U64, span },
        _ => call.integer(c, 0, false)?,
    };
    emit(Action::Unwatch, vec![address])
}

/// Signals by name, as on x86-64 and aarch64 (include/uapi/asm-generic/signal.h).
const SIGNALS: &[(&str, i64)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

fn signal(c: &mut Checker<'_>, call: &Call<'_>, name: &'static str) -> Option<Checked> {
    use crate::resolve::ProbeKind::{Begin, End, Interval, Iter, SelfSignal};
    let kind = c.instance?.kind;
    if matches!(kind, Begin | End | Interval | Iter | SelfSignal) {
        c.error("no-signal", call.span, format!("`{name}` is not available in {} probes", kind.name()));
        return None;
    }
    let value = c.value(&call.args[0])?;
    let number = match value.literal_str() {
        Some(text) => {
            let text = String::from_utf8_lossy(text).into_owned();
            let bare = text.strip_prefix("SIG").unwrap_or(&text);
            match SIGNALS.iter().find(|(known, _)| *known == bare) {
                Some((_, number)) => Typed::constant(*number, Ty::U32, call.span).expr,
                None => {
                    return call.wrong(c, call.args[0].span, &format!("does not know the signal `{text}`"));
                }
            }
        }
        None => {
            if value.literal_int().is_some_and(|n| !(1..=64).contains(&n)) {
                return call.wrong(c, call.args[0].span, "takes a number from 1 to 64");
            }
            let wide = c.integer(value, false, false, "or a signal's name")?;
            Expr { kind: ExprKind::Convert(Box::new(wide)), ty: Ty::U32, span: call.span }
        }
    };
    let kind = ExprKind::Call { name, args: vec![number] };
    Some(Checked::Stmt(StmtKind::Expr(Expr { kind, ty: Ty::I64, span: call.span })))
}

fn override_(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let kind = c.instance?.kind;
    if kind != crate::resolve::ProbeKind::Kprobe {
        c.error("no-override", call.span, format!("`override` is not available in {} probes", kind.name()));
        return None;
    }
    let value = call.integer(c, 0, false)?;
    let kind = ExprKind::Call { name: "override", args: vec![value] };
    Some(Checked::Stmt(StmtKind::Expr(Expr { kind, ty: Ty::I64, span: call.span })))
}

/// Conversions of the kernel's own printf that programs may use (bpf_bprintf_prepare, kernel/bpf/helpers.c).
fn debugf(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let (format, args) = format_and_args(c, call)?;
    let args = for_the_kernel(c, call, &format, args, |_| false)?;
    let note =
        "debugf() is for debugging: every program on this machine that reads trace_pipe sees what it writes";
    c.warn("debug", call.span, note.to_owned());
    let kind = ExprKind::Call { name: "debugf", args };
    Some(Checked::Stmt(StmtKind::Expr(Expr { kind, ty: Ty::I64, span: call.span })))
}

/// A conversion as the kernel's printf writes it, where it has one.
fn kernel_conversion(conv: &Conv, wide: bool) -> Option<String> {
    let letter = match conv.kind {
        ConvKind::Signed => "d",
        ConvKind::Unsigned => "u",
        ConvKind::HexLower => "x",
        ConvKind::HexUpper => "X",
        ConvKind::Char => return Some("%c".to_owned()),
        ConvKind::Pointer => "px",
        ConvKind::String => "s",
        _ => return None,
    };
    let flags = [(conv.left, "-"), (conv.zero, "0")].into_iter().filter(|(set, _)| *set);
    let flags: String = flags.map(|(_, flag)| flag).collect();
    let width = conv.width.map_or(String::new(), |width| width.min(64).to_string());
    let length = match conv.length.as_str() {
        _ if matches!(letter, "s" | "px") => "",
        "l" | "ll" | "j" | "z" | "t" => "ll",
        _ if wide => "ll",
        _ => "",
    };
    Some(format!("%{flags}{width}{length}{letter}"))
}
