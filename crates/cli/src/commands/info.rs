//! `--info`: what this kernel supports, in the form that bpftrace's users and scripts know. The target's answers enter;
//! text leaves. `skep doctor` says the same with the reasons.

use anyhow::Result;
use skep::{Feature, LiveTarget};
use std::io::Write;
use std::process::ExitCode;

/// A line of the report: what it is called, and whether it is there.
type Line = (&'static str, fn(&LiveTarget) -> bool);

const BUILD: &[Line] = &[
    ("libdw (DWARF support)", |_| true),
    ("blazesym (advanced symbolization)", |_| true),
    ("dwunwind (DWARF stack unwinding)", |target| target.supports(Feature::Loop)),
];

const HELPERS: &[Line] = &[
    ("probe_read", |_| true),
    ("probe_read_str", |_| true),
    ("probe_read_user", |_| true),
    ("probe_read_user_str", |_| true),
    ("probe_read_kernel", |_| true),
    ("probe_read_kernel_str", |_| true),
    ("get_current_cgroup_id", |_| true),
    ("send_signal", |_| true),
    ("override_return", |target| target.supports(Feature::Kprobe)),
    ("get_boot_ns", |_| true),
    ("get_ktime_ns", |target| target.supports(Feature::KtimeTai)),
    ("get_tai_ns", |target| target.supports(Feature::KtimeTai)),
    ("dpath", |target| target.supports(Feature::Fentry)),
    ("skboutput", |target| target.supports(Feature::TpBtf)),
    ("get_func_ip", |target| target.supports(Feature::AttachCookie)),
    ("jiffies64", |_| true),
    ("lookup_percpu_elem", |target| target.supports(Feature::LookupPercpu)),
    ("loop", |target| target.supports(Feature::Loop)),
];

const KERNEL: &[Line] = &[
    ("btf", |target| target.vmlinux_types().is_ok()),
    ("module btf", |target| target.vmlinux_types().is_ok()),
    ("Loop support", |_| true),
];

const PROBES: &[Line] = &[
    ("kprobe", |target| target.supports(Feature::Kprobe)),
    ("kprobe_multi", |target| target.supports(Feature::KprobeMulti)),
    ("kprobe_session", |target| target.supports(Feature::KprobeSession)),
    ("uprobe_multi", |target| target.supports(Feature::UprobeMulti)),
    ("fentry", |target| target.supports(Feature::Fentry)),
    ("rawtracepoint", |_| true),
    ("tracepoint", |target| target.tracefs().is_ok()),
    ("perf_event", |_| true),
    ("iter", |target| target.vmlinux_types().is_ok()),
];

/// Prints the report.
pub(crate) fn run(target: &LiveTarget) -> Result<ExitCode> {
    let mut text = format!(
        "System\n  OS: {}\n  Arch: {}\n\nBuild\n  version: {}\n  LLVM: none (skep compiles by itself)\n",
        skep::machine::system(),
        std::env::consts::ARCH,
        env!("CARGO_PKG_VERSION"),
    );
    section(&mut text, BUILD, target);
    for (title, lines) in [("Kernel helpers", HELPERS), ("Kernel features", KERNEL), ("Probe types", PROBES)]
    {
        text.push_str(&format!("\n{title}\n"));
        section(&mut text, lines, target);
    }
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn section(text: &mut String, lines: &[Line], target: &LiveTarget) {
    for (name, has) in lines {
        text.push_str(&format!("  {name}: {}\n", if has(target) { "yes" } else { "no" }));
    }
}
