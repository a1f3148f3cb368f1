//! Builtins that are values of the probe at hand, and addresses that are known before the start.

use super::values::plain;
use super::{Builtin, Call, Checked, value};
use crate::check::{Checker, Typed, retype};
use crate::diag::Diagnostic;
use crate::hir::{Arg, ExprKind, Guard};
use crate::resolve::{Instance, ProbeKind, regs};
use crate::ty::{Space, Ty};
use skep_bpf::btf::NameKind;
use skep_bpf::kinds::ProgType;
use skep_bpf::object::Attach;
use skep_bpf::target::{TargetError, TargetExt};

pub(super) static ROWS: &[Builtin] = &[
    plain(
        "ctx",
        &["ctx"],
        "The probe's context: registers, or an iterator's record.",
        "iter:task { printf(\"%d\\n\", ctx.task.pid); }",
        ctx,
    ),
    plain(
        "retval",
        &["retval"],
        "The value that the function returned.",
        "uretprobe:/bin/bash:readline { print(str(retval)); }",
        |c, call| c.retval(call.span).map(Checked::Value),
    ),
    plain(
        "args",
        &["args", "args.NAME"],
        "The arguments of the tracepoint or function: one by name, or all as a record.",
        "tracepoint:syscalls:sys_enter_openat { print(str(args.filename)); }",
        args,
    ),
    plain(
        "func",
        &["func: ksym_t | usym_t"],
        "The function that the probe is in.",
        "kprobe:vfs_* { @[func] = count(); }",
        func,
    ),
    plain(
        "probe",
        &["probe: string"],
        "Name of the probe, wildcards expanded.",
        "tracepoint:sched:* { @[probe] = count(); }",
        probe,
    ),
    plain(
        "probetype",
        &["probetype: string"],
        "Kind of the probe.",
        "BEGIN { print(probetype); }",
        probetype,
    ),
    value(
        "reg",
        &["reg(\"NAME\"): uint64"],
        "A register at the probe.",
        "kprobe:vfs_read { print(reg(\"ip\")); }",
        (1, 1),
        reg,
    ),
    value(
        "kaddr",
        &["kaddr(\"SYMBOL\"): uint64"],
        "Address of a kernel symbol, looked up before the start.",
        "BEGIN { print(kaddr(\"jiffies\")); }",
        (1, 1),
        kaddr,
    ),
    value(
        "percpu_kaddr",
        &["percpu_kaddr(\"SYMBOL\"): uint64", "percpu_kaddr(\"SYMBOL\", CPU): uint64"],
        "Address of a CPU's own copy of a kernel variable, of this CPU's without CPU; 0 if there is no such CPU.",
        "BEGIN { print(*percpu_kaddr(\"process_counts\")); }",
        (1, 2),
        percpu_kaddr,
    ),
    value(
        "uaddr",
        &["uaddr(\"SYMBOL\"): uint64 *"],
        "Address of a variable or function of the probe's binary, as the process sees it; what it points to has the \
         size of the variable.",
        "uprobe:/bin/bash:readline { print(*uaddr(\"history_length\")); }",
        (1, 1),
        uaddr,
    ),
    value(
        "cgroupid",
        &["cgroupid(\"PATH\"): uint64"],
        "Id of a cgroup, looked up before the start.",
        "tracepoint:raw_syscalls:sys_enter /cgroup == cgroupid(\"/sys/fs/cgroup/x\")/ { @ = count(); }",
        (1, 1),
        cgroupid,
    ),
    plain(
        "cpid",
        &["cpid: uint64"],
        "Process id of the command that `-c` started; 0 without.",
        "BEGIN { print(cpid); }",
        |c, call| {
            let child = c.settings.options.child.unwrap_or(0);
            Some(Checked::Value(Typed::constant(i64::from(child), Ty::U64, call.span)))
        },
    ),
    plain(
        "has_cpid",
        &["has_cpid: bool"],
        "Whether `-c` started a command.",
        "BEGIN { print(has_cpid); }",
        |c, call| Some(Checked::Value(Typed::boolean(c.settings.options.child.is_some(), call.span))),
    ),
];

fn ctx(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let instance = c.instance?;
    let composite = match (instance.prog_type, instance.kind) {
        (ProgType::Kprobe, _) => Some("struct pt_regs".to_owned()),
        (ProgType::PerfEvent, _) => Some("struct bpf_perf_event_data".to_owned()),
        (_, ProbeKind::Iter) => {
            instance.name.split(':').nth(1).map(|name| format!("struct bpf_iter__{name}"))
        }
        _ => None,
    };
    let Some(name) = composite else {
        let message = format!("`ctx` is not available in {} probes", instance.kind.name());
        let d = Diagnostic::error("no-ctx", call.span, message);
        c.diags.push(match instance.kind {
            ProbeKind::Tracepoint | ProbeKind::RawTracepoint => d.hint("use `args`"),
            _ => d,
        });
        return None;
    };
    let to = c.types.by_name(&name, Space::Kernel).unwrap_or(Ty::None);
    call.value("ctx", Vec::new(), Ty::Ptr { to: Box::new(to), space: Space::Ctx })
}

/// All arguments as a record, but those that cannot be read.
fn args(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let fields = c.probe_args(call.span)?;
    let fields: Vec<_> = fields.iter().filter(|f| !f.common && f.ty != Ty::None).cloned().collect();
    let parts: Vec<_> = fields.iter().map(|f| crate::check::argument(f, call.span).expr).collect();
    let types = fields.into_iter().zip(&parts).map(|(f, part)| (f.name, part.ty.clone())).collect();
    Some(Checked::Value(Typed::new(ExprKind::Record(parts), Ty::Record(types), call.span)))
}

fn func(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    use ProbeKind::{Fentry, Fexit, Kprobe, Kretprobe, Uprobe, Uretprobe};
    let kind = c.instance?.kind;
    let ty = match kind {
        Kprobe | Kretprobe | Fentry | Fexit => Ty::KSym,
        Uprobe | Uretprobe => Ty::USym,
        _ => {
            c.error("no-func", call.span, format!("`func` is not available in {} probes", kind.name()));
            return None;
        }
    };
    call.value("func", Vec::new(), ty)
}

fn probe(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let instance = c.instance?;
    if let (Some(names), Guard::Syscalls { exit, .. }) = (&instance.syscalls, &instance.guard) {
        let size = names.iter().map(|(_, name)| name.len()).max().unwrap_or(0) as u32 + 1;
        let arg = Arg::SyscallName { exit: *exit, names: names.clone() };
        return Some(Checked::Value(Typed::new(ExprKind::Arg(arg), Ty::Str { size }, call.span)));
    }
    let name = instance.name.clone();
    Some(Checked::Value(Typed::string(name.into_bytes(), call.span)))
}

fn probetype(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let name = match c.instance?.kind {
        ProbeKind::Begin | ProbeKind::End | ProbeKind::SelfSignal => "special",
        kind => kind.name(),
    };
    Some(Checked::Value(Typed::string(name.as_bytes().to_vec(), call.span)))
}

fn reg(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let name = String::from_utf8_lossy(&call.literal_text(c, 0)?).into_owned();
    let instance = c.instance?;
    // A perf event's context begins with the registers (struct bpf_perf_event_data).
    if !matches!(instance.prog_type, ProgType::Kprobe | ProgType::PerfEvent) {
        c.error("no-reg", call.span, format!("`reg` is not available in {} probes", instance.kind.name()));
        return None;
    }
    let arch = c.resolver.arch();
    let table = regs::conventions(arch);
    let Some((_, offset)) = table.names.iter().find(|(n, _)| *n == name) else {
        let message = format!("`{name}` is not a register of {}", regs::arch_name(arch));
        let names: Vec<&str> = table.names.iter().map(|(n, _)| *n).collect();
        c.diags.push(
            Diagnostic::error("bad-argument", call.args[0].span, message)
                .hint(format!("registers are: {}", names.join(", "))),
        );
        return None;
    };
    let value = Typed::new(ExprKind::Arg(Arg::Reg { offset: *offset }), Ty::U64, call.span);
    Some(Checked::Value(Typed { space: Some(c.default_space()), ..value }))
}

fn kaddr(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let name = String::from_utf8_lossy(&call.literal_text(c, 0)?).into_owned();
    match c.resolver.target.kernel_symbol(&name) {
        Ok(address) => {
            let value = Typed::constant(address as i64, Ty::U64, call.span);
            Some(Checked::Value(Typed { space: Some(Space::Kernel), ..value }))
        }
        Err(TargetError::NotFound(_)) => {
            c.error("unknown-symbol", call.span, format!("Failed to resolve kernel symbol: {name}"));
            None
        }
        Err(error) => {
            c.error("unknown-symbol", call.span, format!("kernel symbol `{name}`: {error}"));
            None
        }
    }
}

fn percpu_kaddr(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let name = call.literal_text(c, 0)?;
    let text = String::from_utf8_lossy(&name).into_owned();
    let known = c.types.vmlinux().is_ok_and(|btf| btf.find(NameKind::Var, &text).is_some());
    if !known {
        let message = format!("the kernel's types know no variable `{text}`");
        c.error("unknown-symbol", call.args[0].span, message);
        return None;
    }
    if let Err(TargetError::NotFound(_)) = c.resolver.target.kernel_symbol(&text) {
        let message = format!("the kernel does not say where `{text}` lies (/proc/kallsyms)");
        c.error("unknown-symbol", call.args[0].span, message);
        return None;
    }
    let mut args = vec![Typed::string(name, call.args[0].span).expr];
    if call.args.len() == 2 {
        let cpu = call.integer(c, 1, false)?;
        args.push(retype(cpu, &Ty::U32));
    }
    let kind = ExprKind::Call { name: "percpu_kaddr", args };
    let value = Typed::new(kind, Ty::U64, call.span);
    Some(Checked::Value(Typed { space: Some(Space::Kernel), ..value }))
}

/// Address in the binary of the place that the probe is on.
fn probed_address(c: &Checker<'_>, instance: &Instance, binary: &str) -> Option<u64> {
    let place = match &instance.attach.first()?.at {
        Attach::Uprobe { offset, .. } => *offset,
        Attach::UprobeMulti { offsets, .. } => *offsets.first()?,
        _ => return None,
    };
    let symbols = c.resolver.target.binary_symbols(binary).ok()?;
    let before = symbols.iter().filter(|s| s.offset <= place).max_by_key(|s| s.offset)?;
    Some(before.address.wrapping_add(place - before.offset))
}

/// What a symbol's address is in the process: as far from the symbol of the probe as it is in the binary.
fn uaddr(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let name = String::from_utf8_lossy(&call.literal_text(c, 0)?).into_owned();
    let instance = c.instance?;
    let Some(binary) = instance.binary.clone() else {
        let message = format!("`uaddr` is not available in {} probes", instance.kind.name());
        c.error("no-uaddr", call.span, message);
        return None;
    };
    let found = c.resolver.target.binary_variable(&binary, &name);
    let symbol = match found.map(|symbols| symbols.first().cloned()) {
        Ok(Some(symbol)) => symbol,
        Ok(None) | Err(TargetError::NotFound(_)) => {
            let message = format!("there is no symbol `{name}` in {binary}");
            c.error("unknown-symbol", call.args[0].span, message);
            return None;
        }
        Err(error) => {
            c.error("unknown-symbol", call.args[0].span, format!("symbol `{name}`: {error}"));
            return None;
        }
    };
    let bits = match symbol.size {
        1 => 8,
        2 => 16,
        4 => 32,
        _ => 64,
    };
    let to = Box::new(Ty::Int { bits, signed: false });
    let ty = Ty::Ptr { to, space: Space::User };
    let address = Typed::constant(symbol.address as i64, Ty::U64, call.span).expr;
    let Some(probed) = probed_address(c, instance, &binary) else {
        return Some(Checked::Value(Typed::constant(symbol.address as i64, ty, call.span)));
    };
    let probed = Typed::constant(probed as i64, Ty::U64, call.span).expr;
    call.value("uaddr", vec![address, probed], ty)
}

fn cgroupid(c: &mut Checker<'_>, call: &Call<'_>) -> Option<Checked> {
    let path = String::from_utf8_lossy(&call.literal_text(c, 0)?).into_owned();
    match c.resolver.target.cgroup_id(&path) {
        Ok(id) => Some(Checked::Value(Typed::constant(id as i64, Ty::U64, call.span))),
        Err(error) => {
            c.error("unknown-cgroup", call.args[0].span, format!("cgroup `{path}`: {error}"));
            None
        }
    }
}
