//! Builtins that ask the kernel's functions for programs (kfuncs) or its tables of names.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Builtin, Call, Checked, value};
use crate::c::constants;
use crate::check::{Checker, Typed, retype};
use crate::diag::Diagnostic;
use crate::ty::Ty;
use skep_bpf::btf::NameKind;
use skep_bpf::kinds::ProgType;
use skep_bpf::target::TargetExt;
use skep_bpf::version::KernelVersion;

/// Finds a task by its id (kernel/bpf/helpers.c, Linux 6.2).
const TASK_FROM_PID: &str = "bpf_task_from_pid";
/// First kernel that lets programs on tracepoints and perf events call what tracing programs may call
/// (bpf_prog_type_to_kfunc_hook, kernel/bpf/btf.c).
const WIDER: KernelVersion = KernelVersion::new(6, 12);

pub(super) static ROWS: &[Builtin] = &[
    value(
        "kfunc_exist",
        &["kfunc_exist(\"FUNCTION\"): bool"],
        "Whether the kernel has a function of that name for programs to call.",
        "BEGIN { print(kfunc_exist(\"bpf_map_sum_elem_count\")); }",
        (1, 1),
        |c, call| kernel_function(c, call, exists),
    ),
    value(
        "kfunc_allowed",
        &["kfunc_allowed(\"FUNCTION\"): bool"],
        "Whether the kernel has a function of that name that programs of this kind may call.",
        "iter:task { if comptime kfunc_allowed(\"bpf_task_from_pid\") { print(comm(pid)); } }",
        (1, 1),
        |c, call| kernel_function(c, call, |c, name| exists(c, name) && may_call(c)),
    ),
    value(
        "syscall_name",
        &["syscall_name(NUMBER)"],
        "The name of a system call by its number, looked up when it is printed; the number where it has none.",
        "tracepoint:raw_syscalls:sys_enter { @[syscall_name(args.id)] = count(); }",
        (1, 1),
        syscall_name,
    ),
];

fn kernel_function(
    c: &mut Checker<'_>,
    call: &Call<'_>,
    holds: fn(&Checker<'_>, &str) -> bool,
) -> Option<Checked> {
    let name = call.literal_text(c, 0)?;
    let truth = holds(c, &String::from_utf8_lossy(&name));
    Some(Checked::Value(Typed::boolean(truth, call.span)))
}

fn exists(c: &Checker<'_>, name: &str) -> bool {
    c.resolver.target.vmlinux().is_ok_and(|btf| btf.find(NameKind::Func, name).is_some())
}

/// Whether the program at hand may call the kernel's functions for tracing programs.
fn may_call(c: &Checker<'_>) -> bool {
    let version = c.resolver.target.kernel_version();
    match c.instance.map(|i| i.prog_type) {
        Some(ProgType::Tracing | ProgType::Lsm) => true,
        Some(ProgType::Tracepoint | ProgType::PerfEvent) => version.is_ok_and(|v| v >= WIDER),
        _ => false,
    }
}

/// `comm(PID)`
pub(super) fn comm_of(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let kind = c.instance?.kind;
    if !exists(c, TASK_FROM_PID) || !may_call(c) {
        let message = format!("comm(PID) is not available in {} probes on this kernel", kind.name());
        let d = Diagnostic::error("no-kfunc", call.span, message);
        c.diags.push(d.hint(format!(
            "it needs `{TASK_FROM_PID}` (Linux 6.2), which tracing programs may call: fentry, fexit, iter; from {WIDER} on \
             tracepoint, profile, interval, software and hardware too"
        )));
        return None;
    }
    let pid = call.integer(c, 0, true)?;
    call.value("comm_of", vec![retype(pid, &Ty::I32)], Ty::Str { size: 16 })
}

fn syscall_name(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let number = call.integer(c, 0, true)?;
    let names: BTreeMap<i64, String> = constants::with_prefix("__NR_", Some(c.resolver.arch()))
        .filter(|(name, _)| *name != "syscalls" && !name.starts_with("arch_specific"))
        .map(|(name, value)| (value, name.to_owned()))
        .collect();
    let names = Arc::new(names.into_iter().collect());
    let ty = Ty::Enum { name: "syscall".to_owned(), bits: 64, signed: true, names };
    Some(Checked::Value(Typed { expr: retype(number, &ty), ..Typed::constant(0, Ty::I64, call.span) }))
}
