//! Settings: the config block, the environment and the target's facts enter; checked settings leave.

use std::collections::BTreeMap;

use super::quiet::{DEPRECATED, ENVIRONMENT, QUIET, RENAMED};
use crate::ast::{Expr, ExprKind, Script, Span};
use crate::diag::{Diagnostic, Diagnostics};
use crate::hir;
use crate::options::Options;
use crate::suggest;
use skep_bpf::object::{MissingProbes, XdpMode};
use skep_bpf::schema::StackMode;
use skep_bpf::target::{Target, TargetExt};

/// All settings of a compilation.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// What the builder needs.
    pub(crate) config: hir::Config,
    /// How stacks print where the call does not say.
    pub(crate) stack_mode: StackMode,
    /// Most probes.
    pub(crate) limits: crate::resolve::Limits,
    /// Put `syscalls:` tracepoints on the raw tracepoints.
    pub(crate) raw_syscalls: bool,
    /// Where XDP programs run.
    pub(crate) xdp_mode: XdpMode,
    /// XDP programs read a frame's first buffer alone.
    pub(crate) xdp_first: bool,
    /// `-p`, `-c` and the like; of the parameters only the positional ones.
    pub(crate) options: Options,
    /// Options of the program, from the parameters.
    pub(crate) named: Vec<super::named::Given>,
    /// Settings that differ from their defaults, by name, as they are shown.
    pub(crate) given: BTreeMap<String, String>,
}

/// A setting's value as written.
pub(super) enum Value<'v> {
    Int(u64),
    Text(&'v str),
}

impl Value<'_> {
    pub(super) fn show(&self) -> String {
        match self {
            Value::Int(v) => v.to_string(),
            Value::Text(t) => (*t).to_owned(),
        }
    }
}

/// Takes a value over, or says what is expected.
pub(super) type Apply = fn(&mut Settings, &Value<'_>) -> Result<(), &'static str>;

pub(super) fn int(
    value: &Value<'_>,
    low: u64,
    high: u64,
    expected: &'static str,
) -> Result<u64, &'static str> {
    let number = match value {
        Value::Int(v) => Some(*v),
        Value::Text(t) => t.trim().parse().ok(),
    };
    number.filter(|v| (low..=high).contains(v)).ok_or(expected)
}

pub(super) fn boolean(value: &Value<'_>) -> Result<bool, &'static str> {
    match value.show().as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err("true or false"),
    }
}

/// Largest buffer for the verifier's log (kernel/bpf/log.c, `bpf_verifier_log_attr_valid`, Linux 6.18).
const MAX_LOG: u64 = u32::MAX as u64 >> 2;
/// Smallest and largest ring buffer in pages of 4096 bytes.
const RING_PAGES: (u64, u64) = (1, 1 << 16);
const LICENSES: &[&str] =
    &["Dual MIT/GPL", "Dual BSD/GPL", "Dual MPL/GPL", "GPL and additional rights", "GPL v2", "GPL"];

static SETTINGS: &[(&str, Apply)] = &[
    ("max_strlen", |s, v| {
        int(v, 1, 65536, "a number of bytes from 1 to 65536").map(|n| s.config.max_strlen = n as u32)
    }),
    ("max_map_keys", |s, v| {
        int(v, 1, u64::from(u32::MAX), "a number from 1").map(|n| s.config.max_map_keys = n as u32)
    }),
    ("max_probes", |s, v| int(v, 1, 1 << 20, "a number from 1").map(|n| s.limits.probes = n as usize)),
    ("max_bpf_progs", |s, v| int(v, 1, 1 << 20, "a number from 1").map(|n| s.limits.programs = n as usize)),
    ("perf_rb_pages", |s, v| {
        int(v, RING_PAGES.0, RING_PAGES.1, "a number of pages from 1 to 65536")
            .map(|n| s.config.ring_bytes = (n as u32).next_power_of_two() * 4096)
    }),
    ("print_maps_on_exit", |s, v| boolean(v).map(|b| s.config.print_maps_on_exit = b)),
    ("max_cat_bytes", |s, v| {
        int(v, 1, 1 << 24, "a number of bytes from 1 to 16777216").map(|n| s.config.cat_bytes = n)
    }),
    ("log_size", |s, v| {
        int(v, 1, MAX_LOG, "a number of bytes from 1 to 1073741823").map(|n| s.config.log_bytes = n as u32)
    }),
    ("show_debug_info", |s, v| boolean(v).map(|b| s.config.symbols.debug_info = b)),
    ("cpp_demangle", |s, v| boolean(v).map(|b| s.config.symbols.demangle = b)),
    ("str_trunc_trailer", |s, v| {
        s.config.truncation_trailer = v.show();
        Ok(())
    }),
    ("missing_probes", |s, v| {
        s.config.missing_probes = match v.show().as_str() {
            "error" => MissingProbes::Error,
            "warn" => MissingProbes::Warn,
            "ignore" => MissingProbes::Ignore,
            _ => return Err("error, warn or ignore"),
        };
        Ok(())
    }),
    ("syscall_hook", |s, v| {
        s.raw_syscalls = match v.show().as_str() {
            "perf" => false,
            "raw" => true,
            _ => return Err("perf or raw"),
        };
        Ok(())
    }),
    ("xdp_mode", |s, v| {
        s.xdp_mode = match v.show().as_str() {
            "any" => XdpMode::Any,
            "native" => XdpMode::Native,
            "generic" => XdpMode::Generic,
            _ => return Err("any, native or generic"),
        };
        Ok(())
    }),
    ("xdp_buffers", |s, v| {
        s.xdp_first = match v.show().as_str() {
            "all" => false,
            "first" => true,
            _ => return Err("all or first"),
        };
        Ok(())
    }),
    ("stack_mode", |s, v| {
        s.stack_mode = stack_mode(&v.show()).ok_or("bpftrace, perf, raw or build_id")?;
        Ok(())
    }),
    ("dummy_ts_map", |s, v| {
        s.config.clock_map = Some(v.show());
        Ok(())
    }),
    ("license", |s, v| {
        let text = v.show();
        if !LICENSES.contains(&text.as_str()) {
            return Err("Dual MIT/GPL, Dual BSD/GPL, Dual MPL/GPL, GPL and additional rights, GPL v2, GPL");
        }
        s.config.license = text;
        Ok(())
    }),
];

/// A stack mode by name.
pub(crate) fn stack_mode(name: &str) -> Option<StackMode> {
    Some(match name {
        "bpftrace" => StackMode::Bpftrace,
        "perf" => StackMode::Perf,
        "raw" => StackMode::Raw,
        "build_id" => StackMode::BuildId,
        _ => return None,
    })
}

/// All settings of a script. The environment wins over the config block.
pub(crate) fn settings(
    script: &Script,
    options: &Options,
    target: &dyn Target,
    diags: &mut Diagnostics,
) -> Settings {
    let (params, named) = super::named::divide(&options.params);
    let mut settings = Settings {
        config: hir::Config::default(),
        stack_mode: StackMode::Bpftrace,
        limits: crate::resolve::Limits::default(),
        raw_syscalls: false,
        xdp_mode: XdpMode::Any,
        xdp_first: false,
        options: Options { params, ..options.clone() },
        named,
        given: BTreeMap::new(),
    };
    for item in &script.config {
        if let Some(value) = value(&item.value, diags) {
            let span = item.name.span.to(item.value.span);
            apply(&mut settings, &item.name.text, &value, span, diags);
        }
    }
    // The environment also holds variables of the same prefix that are no settings.
    for (name, value) in options.config.iter().filter(|(name, _)| is_setting(name)) {
        apply(&mut settings, name, &Value::Text(value), Span::default(), diags);
    }
    settings.config.print_maps_on_exit &= options.mode == crate::options::Mode::Trace;
    settings.config.helper_errors = options.helper_errors;
    settings.config.pid = options.pid.map(|pid| hir::PidFilter { pid });
    settings.config.pid_ns = pid_namespace(target);
    settings
}

fn value<'v>(e: &'v Expr, diags: &mut Diagnostics) -> Option<Value<'v>> {
    match &*e.kind {
        ExprKind::Int { value, .. } => Some(Value::Int(*value)),
        ExprKind::Bool(b) => Some(Value::Int(u64::from(*b))),
        ExprKind::Ident(name) => Some(Value::Text(name)),
        ExprKind::Str(bytes) => std::str::from_utf8(bytes).ok().map(Value::Text),
        _ => {
            diags.push(Diagnostic::error(
                "bad-config",
                e.span,
                "a setting's value is a number, a string, true, false or a word",
            ));
            None
        }
    }
}

fn is_setting(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    find(&name).is_some()
}

fn find(name: &str) -> Option<&'static (&'static str, Apply)> {
    SETTINGS.iter().chain(QUIET).find(|(known, _)| *known == name)
}

fn apply(settings: &mut Settings, name: &str, value: &Value<'_>, span: Span, diags: &mut Diagnostics) {
    let plain = name.to_ascii_lowercase();
    let plain = plain.strip_prefix("bpftrace_").unwrap_or(&plain);
    if DEPRECATED.contains(&plain) {
        let message = format!("{name} is deprecated and has no effect");
        return diags.push(Diagnostic::warning("deprecated", span, message));
    }
    let Some((_, apply)) = find(plain) else {
        let d = Diagnostic::error("bad-config", span, format!("{name}: not a known configuration option"));
        let names = SETTINGS.iter().chain(QUIET).map(|(n, _)| *n);
        let renamed = RENAMED.iter().find(|(old, _)| *old == plain).map(|(_, new)| *new);
        diags.push(match renamed.or_else(|| suggest::nearest(plain, names.clone())) {
            _ if ENVIRONMENT.contains(&plain) => d.hint("it can only be set as an environment variable"),
            Some(near) => d.hint(format!("did you mean `{near}`?")),
            None => d.hint(format!("settings are: {}", names.collect::<Vec<_>>().join(", "))),
        });
        return;
    };
    match apply(settings, value) {
        Ok(()) => {
            settings.given.insert(plain.to_owned(), value.show());
        }
        Err(expected) => {
            let message =
                format!("Invalid value for {plain}. Found: {}. Valid values: {expected}", value.show());
            diags.push(Diagnostic::error("bad-config", span, message));
        }
    }
}

/// skep's own PID namespace when it is not the initial one.
fn pid_namespace(target: &dyn Target) -> Option<(u64, u64)> {
    let names = target.pid_namespace().ok()?;
    let mut numbers = names.iter().map(|n| n.parse::<u64>());
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}
