//! What there is to attach to: by kind, the names behind `kind:`. A target enters, sorted names leave.

use super::{ProbeKind, perf};
use crate::types::Types;
use skep_bpf::btf::{Btf, NameKind};
use skep_bpf::target::{Target, TargetError, TargetExt};

/// All attach points of a kind without its name, sorted. Empty for kinds that cannot be listed.
pub(crate) fn of(
    kind: ProbeKind,
    target: &dyn Target,
    types: &Types<'_>,
) -> Result<Vec<String>, TargetError> {
    let mut names = match kind {
        ProbeKind::Tracepoint => target.tracepoints()?.to_vec(),
        ProbeKind::RawTracepoint => in_modules(target, types, raw_tracepoints)?,
        ProbeKind::Kprobe | ProbeKind::Kretprobe => target.kernel_functions()?.to_vec(),
        ProbeKind::Fentry | ProbeKind::Fexit => traceable_with_types(target, types)?,
        ProbeKind::Software | ProbeKind::Hardware => {
            perf::events(kind).iter().map(|e| format!("{}:", e.name)).collect()
        }
        ProbeKind::Interval | ProbeKind::Profile => {
            perf::UNITS.iter().map(|(unit, _)| format!("{unit}:")).collect()
        }
        ProbeKind::Iter => iterators(types),
        ProbeKind::Xdp | ProbeKind::Tc => super::packet::names(kind, target)?,
        _ => Vec::new(),
    };
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Names from vmlinux' types and every module's, as `module:name`.
fn in_modules(
    target: &dyn Target,
    types: &Types<'_>,
    of: fn(&Btf) -> Vec<String>,
) -> Result<Vec<String>, TargetError> {
    let vmlinux = types.vmlinux().map_err(Clone::clone)?;
    let mut names: Vec<String> = of(vmlinux).into_iter().map(|n| format!("vmlinux:{n}")).collect();
    for module in target.modules().map(|m| m.to_vec()).unwrap_or_default() {
        if let Ok(btf) = target.module_btf(&module) {
            names.extend(of(&btf).into_iter().map(|n| format!("{module}:{n}")));
        }
    }
    Ok(names)
}

/// Raw tracepoints: each has the typedef `btf_trace_NAME` (include/trace/bpf_probe.h).
fn raw_tracepoints(btf: &Btf) -> Vec<String> {
    btf.own_types(NameKind::Typedef)
        .filter_map(|(_, name)| name.strip_prefix("btf_trace_"))
        .map(str::to_owned)
        .collect()
}

fn functions(btf: &Btf) -> Vec<String> {
    btf.own_types(NameKind::Func).map(|(_, name)| name.to_owned()).collect()
}

/// Functions that have types, and can be traced where the target knows which can.
fn traceable_with_types(target: &dyn Target, types: &Types<'_>) -> Result<Vec<String>, TargetError> {
    let mut names = in_modules(target, types, functions)?;
    if let Ok(traceable) = target.kernel_functions() {
        names.retain(|name| {
            let bare = name.strip_prefix("vmlinux:").unwrap_or(name).to_owned();
            traceable.binary_search(&bare).is_ok()
        });
    }
    Ok(names)
}

/// Iterators: each has the function `bpf_iter_NAME` (include/linux/bpf.h, `DEFINE_BPF_ITER_FUNC`) and the context
/// `struct bpf_iter__NAME`.
fn iterators(types: &Types<'_>) -> Vec<String> {
    let Ok(btf) = types.vmlinux() else { return Vec::new() };
    btf.types(NameKind::Struct)
        .filter_map(|(_, name)| name.strip_prefix("bpf_iter__"))
        .map(str::to_owned)
        .collect()
}

/// Functions that are not safe to trace although the kernel lets them: (name, or how it begins) (the kernel's own
/// selftests leave these out: tools/testing/selftests/bpf/trace_helpers.c, Linux 6.18).
const UNSAFE: &[&str] = &["arch_cpu_idle", "default_idle", "bpf_dispatcher_xdp_func"];
const UNSAFE_PREFIXES: &[&str] = &["__ftrace_invalid_address__", "rcu_"];

/// Whether a kernel function may be traced: it is safe to do so, and it is no part of one that the compiler split off.
pub(crate) fn is_traceable(name: &str) -> bool {
    !UNSAFE.contains(&name)
        && !UNSAFE_PREFIXES.iter().any(|p| name.starts_with(p))
        && !name.contains(".part.")
}
