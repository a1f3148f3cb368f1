//! Builtins that are values of the task, the CPU, the clock and pointers.

use super::{Builtin, Call, Check, Checked, value};
use crate::ast;
use crate::check::{Checker, Typed};
use crate::hir::ExprKind;
use crate::resolve::ProbeKind;
use crate::ty::{Space, Ty};
use skep_bpf::target::{Feature, TargetExt};

/// A value without arguments.
pub(super) const fn plain(
    name: &'static str,
    signatures: &'static [&'static str],
    doc: &'static str,
    example: &'static str,
    check: Check,
) -> Builtin {
    value(name, signatures, doc, example, (0, 0), check)
}

const U8: Ty = Ty::Int { bits: 8, signed: false };

pub(super) static ROWS: &[Builtin] = &[
    value(
        "pid",
        &["pid: uint32", "pid(curr_ns | init): uint32"],
        "Process id of the current task, in skep's PID namespace or the initial one.",
        "interval:s:1 { print(pid); }",
        (0, 1),
        |c, call| namespaced(c, call, "pid", "pid_init"),
    ),
    value(
        "tid",
        &["tid: uint32", "tid(curr_ns | init): uint32"],
        "Thread id of the current task, in skep's PID namespace or the initial one.",
        "interval:s:1 { print(tid); }",
        (0, 1),
        |c, call| namespaced(c, call, "tid", "tid_init"),
    ),
    plain(
        "uid",
        &["uid: uint64"],
        "User id of the current task, as the initial namespace counts.",
        "BEGIN { print(uid); }",
        |_, call| call.value("uid", Vec::new(), Ty::U64),
    ),
    plain(
        "gid",
        &["gid: uint64"],
        "Group id of the current task, as the initial namespace counts.",
        "BEGIN { print(gid); }",
        |_, call| call.value("gid", Vec::new(), Ty::U64),
    ),
    value(
        "comm",
        &["comm: string", "comm(PID): string"],
        "Name of the current task, or of the one with that id (`N/A` if there is none), at most 15 bytes.",
        "tracepoint:raw_syscalls:sys_enter { @[comm] = count(); }",
        (0, 1),
        |c, call| match call.args {
            [] => call.value("comm", Vec::new(), Ty::Str { size: 16 }),
            _ => super::kernel::comm_of(c, call),
        },
    ),
    plain(
        "cpu",
        &["cpu: uint64"],
        "Number of the CPU that runs the program.",
        "profile:hz:99 { @[cpu] = count(); }",
        |_, call| call.value("cpu", Vec::new(), Ty::U64),
    ),
    plain(
        "ncpus",
        &["ncpus: uint64"],
        "How many CPUs there can be.",
        "BEGIN { for ($i : 0..ncpus) { print($i); } }",
        ncpus,
    ),
    plain(
        "numaid",
        &["numaid: uint64"],
        "Number of the NUMA node that runs the program.",
        "profile:hz:99 { @[numaid] = count(); }",
        |_, call| call.value("numaid", Vec::new(), Ty::U64),
    ),
    plain("rand", &["rand: uint32"], "A pseudo-random number.", "BEGIN { print(rand % 6); }", |_, call| {
        call.value("rand", Vec::new(), Ty::U32)
    }),
    plain(
        "cgroup",
        &["cgroup: uint64"],
        "Id of the current task's cgroup (version 2).",
        "tracepoint:sched:sched_process_exec { print(cgroup); }",
        |_, call| call.value("cgroup", Vec::new(), Ty::U64),
    ),
    plain(
        "jiffies",
        &["jiffies: uint64"],
        "The kernel's tick counter.",
        "BEGIN { print(jiffies); }",
        |_, call| call.value("jiffies", Vec::new(), Ty::U64),
    ),
    plain(
        "usermode",
        &["usermode: uint8"],
        "1 if the task was in user mode, else 0.",
        "profile:hz:99 { @[usermode] = count(); }",
        usermode,
    ),
    value(
        "nsecs",
        &["nsecs: uint64", "nsecs(boot | monotonic | tai | sw_tai): uint64"],
        "Nanoseconds of a clock; of the one that counts since boot, sleep included, if none is named. `sw_tai` is TAI without help of the kernel.",
        "tracepoint:syscalls:sys_enter_read { @start[tid] = nsecs; }",
        (0, 1),
        nsecs,
    ),
    plain(
        "elapsed",
        &["elapsed: uint64"],
        "Nanoseconds since tracing started.",
        "interval:s:1 { print(elapsed); }",
        |_, call| call.value("elapsed", Vec::new(), Ty::U64),
    ),
    plain(
        "curtask",
        &["curtask: struct task_struct *"],
        "The current task's kernel structure.",
        "tracepoint:raw_syscalls:sys_enter { @[curtask->tgid] = count(); }",
        curtask,
    ),
    plain(
        "username",
        &["username"],
        "Name of the current task's user.",
        "tracepoint:sched:sched_process_exec { print(username); }",
        |_, call| {
            let uid = Typed::new(ExprKind::Call { name: "uid", args: Vec::new() }, Ty::U64, call.span);
            let kind = ExprKind::Convert(Box::new(uid.expr));
            Some(Checked::Value(Typed::new(kind, Ty::Username, call.span)))
        },
    ),
    value(
        "ppid",
        &["ppid: int32", "ppid(TASK): int32"],
        "Process id of the parent.",
        "tracepoint:sched:sched_process_exec { print(ppid); }",
        (0, 1),
        |c, call| of_task(c, call, &["real_parent", "pid"]),
    ),
    value(
        "pcomm",
        &["pcomm: string", "pcomm(TASK): string"],
        "Name of the parent.",
        "tracepoint:sched:sched_process_exec { print(pcomm); }",
        (0, 1),
        |c, call| of_task(c, call, &["real_parent", "comm"]),
    ),
    value(
        "leader_tid",
        &["leader_tid: int32", "leader_tid(TASK): int32"],
        "Thread id of the thread group's leader.",
        "tracepoint:sched:sched_process_exit { print(leader_tid); }",
        (0, 1),
        |c, call| of_task(c, call, &["group_leader", "pid"]),
    ),
    value(
        "leader_comm",
        &["leader_comm: string", "leader_comm(TASK): string"],
        "Name of the thread group's leader.",
        "tracepoint:sched:sched_process_exit { print(leader_comm); }",
        (0, 1),
        |c, call| of_task(c, call, &["group_leader", "comm"]),
    ),
    value(
        "kptr",
        &["kptr(POINTER)"],
        "The pointer, taken as one into the kernel.",
        "BEGIN { print(*kptr(kaddr(\"jiffies\"))); }",
        (1, 1),
        |c, call| in_space(c, call, Space::Kernel),
    ),
    value(
        "uptr",
        &["uptr(POINTER)"],
        "The pointer, taken as one into the process.",
        "kprobe:do_sys_openat2 { print(str(uptr(arg1))); }",
        (1, 1),
        |c, call| in_space(c, call, Space::User),
    ),
    Builtin {
        needs_unsafe: true,
        ..value(
            "write_user",
            &["write_user(ADDRESS, VALUE, LENGTH): bool"],
            "Writes the first LENGTH bytes of VALUE (a string, an array, or what a pointer leads to) into the memory of \
             the current process; whether it could.",
            "tracepoint:syscalls:sys_enter_openat /comm == \"app\"/ { write_user(args.filename, \"/dev/null\", 10); }",
            (3, 3),
            write_user,
        )
    },
    value(
        "is_err",
        &["is_err(POINTER): bool"],
        "Whether the pointer is an error number in disguise (-4095 to -1).",
        "fexit:fget { print(is_err(retval)); }",
        (1, 1),
        is_err,
    ),
];

fn namespaced(
    c: &mut Checker<'_>,
    call: &Call<'_>,
    own: &'static str,
    initial: &'static str,
) -> Option<Checked> {
    let name = match call.args.first().map(|e| &*e.kind) {
        None => own,
        Some(ast::ExprKind::Ident(which)) if which == "curr_ns" => own,
        Some(ast::ExprKind::Ident(which)) if which == "init" => initial,
        Some(_) => return call.wrong(c, call.args[0].span, "takes `curr_ns` or `init`"),
    };
    call.value(name, Vec::new(), Ty::U32)
}

fn ncpus(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    match c.resolver.target.possible_cpus() {
        Ok(n) => Some(Checked::Value(Typed::constant(n as i64, Ty::U64, call.span))),
        Err(error) => {
            c.error("target", call.span, format!("the number of CPUs is not known: {error}"));
            None
        }
    }
}

/// Only events that interrupt a task say which mode it was in; begin and end run in skep itself.
fn usermode(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    use ProbeKind::{Begin, End, Hardware, Interval, Profile, SelfSignal, Software};
    let instance = c.instance?;
    let known = match instance.kind {
        Profile | Interval | Software | Hardware => return call.value("usermode", Vec::new(), U8),
        Begin | End | SelfSignal => 1,
        _ if instance.binary.is_some() => 1,
        _ => 0,
    };
    Some(Checked::Value(Typed::constant(known, U8, call.span)))
}

fn nsecs(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let name = match call.args.first().map(|e| &*e.kind) {
        None => "nsecs",
        Some(ast::ExprKind::Ident(clock)) => match clock.as_str() {
            "boot" => "nsecs",
            "monotonic" => "nsecs_monotonic",
            "sw_tai" => "nsecs_sw_tai",
            "tai" => {
                if let Err(fault) = c.resolver.need(Feature::KtimeTai, "reads of the TAI clock", call.span) {
                    c.diags.push(*fault);
                    return None;
                }
                "nsecs_tai"
            }
            _ => {
                return call.wrong(c, call.args[0].span, "takes one of `boot`, `monotonic`, `tai`, `sw_tai`");
            }
        },
        Some(_) => {
            return call.wrong(c, call.args[0].span, "takes one of `boot`, `monotonic`, `tai`, `sw_tai`");
        }
    };
    call.value(name, Vec::new(), Ty::U64)
}

/// `curtask` as a typed expression.
fn current_task(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Typed> {
    let space = if c.resolver.has(Feature::CurrentTaskBtf) { Space::Btf } else { Space::Kernel };
    let to = c.types.by_name("struct task_struct", Space::Kernel).unwrap_or(Ty::None);
    let ty = Ty::Ptr { to: Box::new(to), space };
    Some(Typed::new(ExprKind::Call { name: "curtask", args: Vec::new() }, ty, call.span))
}

fn curtask(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    current_task(c, call).map(Checked::Value)
}

/// Fields of the given task or the current one, one after another.
fn of_task(c: &mut Checker<'_>, call: &Call<'_>, path: &[&str]) -> Option<Checked> {
    let mut value = match call.args.first() {
        Some(task) => c.value(task)?,
        None => current_task(c, call)?,
    };
    for name in path {
        let name = ast::Name { text: (*name).to_owned(), span: call.span };
        value = c.field_of(value, &name, call.span)?;
    }
    Some(Checked::Value(value))
}

fn in_space(c: &mut Checker<'_>, call: &Call<'_>, space: Space) -> Option<Checked> {
    let value = c.value(&call.args[0])?;
    let value = c.readable(value)?;
    match value.ty().clone() {
        Ty::Ptr { to, .. } => {
            let ty = Ty::Ptr { to, space };
            let kind = ExprKind::Convert(Box::new(value.expr));
            Some(Checked::Value(Typed::new(kind, ty, call.span)))
        }
        Ty::Int { .. } => Some(Checked::Value(Typed { space: Some(space), ..value })),
        _ => call.wrong(c, call.args[0].span, "takes a pointer or an integer"),
    }
}

fn is_err(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let value = c.value(&call.args[0])?;
    let value = c.integer(value, false, true, "or a pointer")?;
    let limit = Typed::constant(-4095, Ty::U64, call.span).expr;
    let kind = ExprKind::Compare { op: ast::BinOp::Ge, a: Box::new(value), b: Box::new(limit) };
    Some(Checked::Value(Typed::new(kind, Ty::Bool, call.span)))
}

/// Longest write into a process.
const MAX_WRITE: u32 = 4096;

fn write_user(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let to = c.value(&call.args[0])?;
    let to = c.integer(to, false, true, "or a pointer as the address")?;
    let from = c.value(&call.args[1])?;
    let from = c.readable(from)?;
    let length = c.value(&call.args[2])?;
    let literal = length.literal_int().and_then(|n| u32::try_from(n).ok());
    let has = match from.ty() {
        Ty::Ptr { .. } => literal.unwrap_or(MAX_WRITE).min(MAX_WRITE),
        Ty::Str { .. } | Ty::Array { .. } | Ty::Tuple(_) | Ty::Record(_) | Ty::Composite(_) => {
            c.types.size_of(from.ty())?.min(MAX_WRITE)
        }
        _ => return call.wrong(c, call.args[1].span, "takes a string, an array or a pointer to write"),
    };
    if literal == Some(0) {
        return call.wrong(c, call.args[2].span, "takes at least one byte");
    }
    let length = c.integer(length, false, false, "as a length")?;
    let room = Typed::constant(i64::from(has), Ty::U64, call.span).expr;
    call.value("write_user", vec![to, from.expr, length, room], Ty::Bool)
}
