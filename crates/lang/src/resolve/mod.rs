//! Probes: attach points as written enter; places in the kernel and in binaries, program types and the ways to the
//! arguments leave. Wildcards are expanded here, the cheapest hook is chosen here, and what the target lacks is said here.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::ast;
use crate::diag::{Diagnostic, Diagnostics, Severity};
use crate::hir::{Guard, PacketSource};
use crate::options::Options;
use crate::types::Types;
use skep_bpf::kinds::{AttachType, ProgType};
use skep_bpf::object::{Attach, AttachPoint, BtfTarget, MissingProbes, XdpMode};
use skep_bpf::target::{Arch, Feature, Target, TargetExt};

mod abi;
mod args;
pub(crate) mod binaries;
mod choose;
mod debug;
pub(crate) mod demangled;
mod functions;
mod kinds;
mod limits;
mod lines;
mod many;
mod missing;
pub(crate) mod names;
pub(crate) mod operand;
pub(crate) mod packet;
pub(crate) mod perf;
pub(crate) mod regs;
mod spec;
mod syscalls;
mod tracing;
pub(crate) mod usdt;
mod user;
mod watchpoint;

pub use args::{ArgField, Source};
pub use kinds::{KINDS, KindInfo, ProbeKind};
pub(crate) use limits::Limits;
pub use operand::parse as operands;
pub(crate) use spec::Spec;

/// What a probe's predicate and body use, which decides what its attach points may share.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Uses {
    /// `args`
    pub(crate) args: bool,
    /// `args.args`, the array of `raw_syscalls:sys_enter`, which only its record has in memory.
    pub(crate) args_array: bool,
    /// `retval`
    pub(crate) retval: bool,
    /// `argN`
    pub(crate) numbered: bool,
    /// `probe`
    pub(crate) probe: bool,
    /// `kstack`
    pub(crate) kstack: bool,
    /// `ctx`
    pub(crate) ctx: bool,
}

/// Where the arguments of a probe come from.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum ArgsFrom {
    /// There are none.
    None,
    /// A tracepoint's record.
    Record {
        /// Category.
        category: String,
        /// Name.
        name: String,
    },
    /// The registers of a system call, named by the format of `syscalls:sys_enter_*`.
    SyscallEnter {
        /// Tracepoint.
        name: String,
        /// Number.
        nr: u32,
    },
    /// Its result, named by the format of `syscalls:sys_exit_*`.
    SyscallExit {
        /// Tracepoint.
        name: String,
        /// Number.
        nr: u32,
    },
    /// `raw_syscalls:sys_enter` on the raw tracepoint.
    RawSyscallsEnter,
    /// `raw_syscalls:sys_exit` on the raw tracepoint.
    RawSyscallsExit,
    /// A raw tracepoint's arguments.
    RawTracepoint {
        /// Module (empty: vmlinux).
        module: String,
        /// Name.
        name: String,
        /// Whether the verifier knows their types.
        typed: bool,
    },
    /// A kernel function's.
    Function {
        /// Module (empty: vmlinux).
        module: String,
        /// Name.
        name: String,
    },
    /// Registers at a function's entry.
    EntryRegisters {
        /// In user space.
        user: bool,
    },
    /// A function of a binary, at its entry; its arguments have names where debug information describes them.
    BinaryFunction {
        /// Path.
        binary: String,
        /// Symbol.
        function: String,
    },
    /// The result register.
    ReturnRegister,
    /// Operands of a USDT probe.
    Operands {
        /// As the note has them.
        text: String,
    },
}

impl ArgsFrom {
    /// Whether they are registers at the entry of a function.
    pub(crate) fn at_entry(&self) -> bool {
        matches!(self, ArgsFrom::EntryRegisters { .. } | ArgsFrom::BinaryFunction { .. })
    }

    /// Whether they are of user space.
    pub(crate) fn in_user_space(&self) -> bool {
        matches!(self, ArgsFrom::EntryRegisters { user: true } | ArgsFrom::BinaryFunction { .. })
    }
}

/// One attach point, resolved; or several that share a program.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Instance {
    /// Kind.
    pub(crate) kind: ProbeKind,
    /// As the user sees it.
    pub(crate) name: String,
    /// Program type.
    pub(crate) prog_type: ProgType,
    /// Expected attach type.
    pub(crate) attach_type: AttachType,
    /// BTF type that load needs.
    pub(crate) attach_btf: Option<BtfTarget>,
    /// Places.
    pub(crate) attach: Vec<AttachPoint>,
    /// What makes a cheaper hook give the same events.
    pub(crate) guard: Guard,
    /// Arguments.
    pub(crate) args: ArgsFrom,
    /// System calls that share the program: number and probe.
    pub(crate) syscalls: Option<Rc<Vec<(u32, String)>>>,
    /// Binary of a user space probe.
    pub(crate) binary: Option<String>,
    /// Where its packets come from, if it sees packets.
    pub(crate) packet: Option<PacketSource>,
    /// Where it is written.
    pub(crate) span: ast::Span,
}

impl Instance {
    fn new(kind: ProbeKind, name: String, prog_type: ProgType, at: Attach, span: ast::Span) -> Instance {
        Instance {
            kind,
            prog_type,
            attach_type: AttachType::None,
            attach_btf: None,
            attach: vec![AttachPoint { at, cookie: 0, name: name.clone(), probes: None }],
            name,
            guard: Guard::None,
            args: ArgsFrom::None,
            syscalls: None,
            binary: None,
            packet: None,
            span,
        }
    }

    /// Whether `-p` is checked in the program.
    pub(crate) fn check_pid(&self) -> bool {
        use ProbeKind::{Fentry, Fexit, Iter, Kprobe, Kretprobe, RawTracepoint, Tracepoint};
        // The others are attached to the process alone, or have nothing to do with it.
        matches!(self.kind, Fentry | Fexit | Iter | Kprobe | Kretprobe | RawTracepoint | Tracepoint)
    }

    /// Whether two can share one program, given what the body uses.
    fn shares(&self, other: &Instance, uses: Uses) -> bool {
        let same_args = match (&self.args, &other.args) {
            (ArgsFrom::EntryRegisters { user: a }, ArgsFrom::EntryRegisters { user: b }) => a == b,
            (ArgsFrom::BinaryFunction { .. }, ArgsFrom::BinaryFunction { .. }) => {
                !uses.args || self.args == other.args
            }
            (ArgsFrom::ReturnRegister, ArgsFrom::ReturnRegister) => true,
            (ArgsFrom::Operands { text: a }, ArgsFrom::Operands { text: b }) if a == b => true,
            _ => !uses.args && !uses.numbered && !uses.retval,
        };
        same_args
            && (!uses.probe || self.name == other.name)
            && self.kind == other.kind
            && self.prog_type == other.prog_type
            && self.attach_type == other.attach_type
            && self.attach_btf == other.attach_btf
            && self.attach_btf.is_none()
            && self.guard == other.guard
            && self.binary == other.binary
            && self.packet == other.packet
    }
}

/// A failed attach point: the message and hints.
pub(crate) type Fault = Box<Diagnostic>;

/// Resolves the attach points of one script.
pub(crate) struct Resolver<'a> {
    pub(crate) target: &'a dyn Target,
    pub(crate) options: &'a Options,
    pub(crate) types: &'a Types<'a>,
    pub(crate) missing: MissingProbes,
    pub(crate) limits: Limits,
    /// Put `syscalls:` tracepoints on the raw tracepoints.
    pub(crate) raw_syscalls: bool,
    /// Where XDP programs run.
    pub(crate) xdp_mode: XdpMode,
    /// XDP programs read a frame's first buffer alone.
    pub(crate) xdp_first: bool,
    /// Whether each place of a wildcard needs a program of its own: the script asks for the probe's name.
    pub(crate) one_by_one: std::cell::Cell<bool>,
    /// Of the probe at hand.
    warnings: std::cell::RefCell<Vec<Diagnostic>>,
    arch: OnceCell<Arch>,
    features: std::cell::RefCell<HashMap<Feature, bool>>,
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(target: &'a dyn Target, options: &'a Options, types: &'a Types<'a>) -> Resolver<'a> {
        Resolver {
            target,
            options,
            types,
            missing: MissingProbes::Error,
            limits: Limits::default(),
            warnings: std::cell::RefCell::default(),
            raw_syscalls: false,
            xdp_mode: XdpMode::Any,
            xdp_first: false,
            one_by_one: std::cell::Cell::new(false),
            arch: OnceCell::new(),
            features: std::cell::RefCell::default(),
        }
    }

    /// The target's architecture; x86-64 if it cannot tell.
    pub(crate) fn arch(&self) -> Arch {
        *self.arch.get_or_init(|| self.target.arch().unwrap_or(Arch::X86_64))
    }

    /// Whether the target has a feature; no if it cannot tell.
    pub(crate) fn has(&self, feature: Feature) -> bool {
        *self
            .features
            .borrow_mut()
            .entry(feature)
            .or_insert_with(|| self.target.has(feature).unwrap_or(false))
    }

    /// Refuses where the target lacks `feature`, which `what` needs.
    pub(crate) fn need(&self, feature: Feature, what: &str, span: ast::Span) -> Result<(), Fault> {
        if self.has(feature) {
            return Ok(());
        }
        let since = feature.since();
        let too_old =
            || Diagnostic::error("kernel-lacks", span, format!("{what} need Linux {since} or later"));
        Err(Box::new(match self.target.kernel_version() {
            Ok(version) if version < since => too_old().at(format!("this kernel is {version}")),
            Ok(version) => Diagnostic::error("kernel-lacks", span, format!("this kernel has no {what}"))
                .hint(format!(
                    "Linux has them since {since}; this one, {version}, was built or started without \
                     (`skep doctor` tells more)"
                )),
            Err(_) => too_old(),
        }))
    }

    /// All instances of a probe. Attach points that share a program are one instance.
    pub(crate) fn probe(&self, probe: &ast::Probe, uses: Uses, diags: &mut Diagnostics) -> Vec<Instance> {
        self.one_by_one.set(uses.probe || uses.args);
        let mut out: Vec<Instance> = Vec::new();
        let told = |diags: &Diagnostics| diags.list.iter().filter(|d| d.severity == Severity::Error).count();
        let before = told(diags);
        for point in probe.attach.iter().filter(|p| !p.text.is_empty()) {
            match self.point(&point.text, point.span) {
                Ok(list) => out.extend(list),
                Err(fault) => self.report(*fault, diags),
            }
        }
        diags.list.extend(self.warnings.take());
        if out.is_empty() && probe.attach.iter().any(|p| !p.text.is_empty()) {
            self.nothing_left(probe, told(diags) > before, diags);
        }
        match self.limits.exceeded(&out, uses, missing::span_of(probe)) {
            Some(d) => {
                diags.push(d);
                Vec::new()
            }
            None => out,
        }
    }

    /// One attach point as written.
    fn point(&self, text: &str, span: ast::Span) -> Result<Vec<Instance>, Fault> {
        let spec = spec::parse(text, &self.options.params).map_err(|(message, hint)| {
            let d = Diagnostic::error("bad-probe", span, message);
            Box::new(match hint {
                Some(hint) => d.hint(hint),
                None => d,
            })
        })?;
        match spec.kind {
            ProbeKind::Begin | ProbeKind::End => special(&spec, span),
            ProbeKind::SelfSignal => own_signal(&spec, span),
            ProbeKind::Tracepoint => self.tracepoint(&spec, span),
            ProbeKind::RawTracepoint => self.raw_tracepoint(&spec, span),
            ProbeKind::Kprobe | ProbeKind::Kretprobe => self.kprobe(&spec, span),
            ProbeKind::Fentry | ProbeKind::Fexit => self.fentry(&spec, span),
            ProbeKind::Uprobe | ProbeKind::Uretprobe => self.uprobe(&spec, span),
            ProbeKind::Profile | ProbeKind::Interval => {
                self.perf_event(spec.kind, perf::timer(spec.kind, &spec.parts), span)
            }
            ProbeKind::Software | ProbeKind::Hardware => {
                self.perf_event(spec.kind, perf::counter(spec.kind, &spec.parts), span)
            }
            ProbeKind::Iter => self.iter(&spec, span),
            ProbeKind::Usdt => self.usdt(&spec, span),
            ProbeKind::Watchpoint => self.watchpoint(&spec, span),
            ProbeKind::Xdp => self.xdp(&spec, span),
            ProbeKind::Tc => self.tc(&spec, span),
            ProbeKind::Test => trial(&spec, ProgType::RawTracepoint, Attach::Test, span),
            ProbeKind::Bench => trial(&spec, ProgType::Xdp, Attach::Bench, span),
        }
    }
}

/// Merges instances that can share a program.
pub(crate) fn merge(instances: Vec<Instance>, uses: Uses) -> Vec<Instance> {
    let mut out: Vec<Instance> = Vec::new();
    for instance in instances {
        match out.iter_mut().rev().take(8).find(|o| o.shares(&instance, uses)) {
            Some(shared) => shared.attach.extend(instance.attach),
            None => out.push(instance),
        }
    }
    out
}

/// An attach point that is not written as its kind asks.
fn bad_form(spec: &Spec, span: ast::Span) -> Fault {
    let message = format!("a {} probe is written `{}`", spec.kind.name(), spec.kind.info().form);
    Box::new(Diagnostic::error("bad-probe", span, message))
}

fn special(spec: &Spec, span: ast::Span) -> Result<Vec<Instance>, Fault> {
    if !matches!(spec.parts.as_slice(), [] | [_] if spec.parts.iter().all(|p| p == "*")) {
        return Err(bad_form(spec, span));
    }
    let at = if spec.kind == ProbeKind::Begin { Attach::Begin } else { Attach::End };
    Ok(vec![Instance::new(spec.kind, spec.kind.name().to_owned(), ProgType::RawTracepoint, at, span)])
}

/// `test:NAME`, `bench:NAME`
fn trial(spec: &Spec, prog_type: ProgType, at: Attach, span: ast::Span) -> Result<Vec<Instance>, Fault> {
    match spec.parts.as_slice() {
        [name] if !name.is_empty() => {
            let whole = format!("{}:{name}", spec.kind.name());
            let mut instance = Instance::new(spec.kind, whole, prog_type, at, span);
            instance.attach.iter_mut().for_each(|point| point.name.clone_from(name));
            Ok(vec![instance])
        }
        _ => Err(bad_form(spec, span)),
    }
}

/// Signals that `self:signal:` takes.
const SIGNALS: &[&str] = &["SIGUSR1"];

fn own_signal(spec: &Spec, span: ast::Span) -> Result<Vec<Instance>, Fault> {
    match spec.parts.as_slice() {
        [what, signal] if what == "signal" && SIGNALS.contains(&signal.as_str()) => {
            let (name, at) = (format!("self:signal:{signal}"), Attach::SelfSignal(signal.clone()));
            Ok(vec![Instance::new(spec.kind, name, ProgType::RawTracepoint, at, span)])
        }
        [what, signal] if what == "signal" => {
            let message = format!("`{signal}` is not a signal that a probe can wait for");
            let d = Diagnostic::error("bad-probe", span, message)
                .hint(format!("use one of: {}", SIGNALS.join(", ")));
            Err(Box::new(d))
        }
        _ => Err(bad_form(spec, span)),
    }
}

impl Resolver<'_> {
    /// A perf event; one that counts for a process does so for that of `-p`.
    fn perf_event(
        &self,
        kind: ProbeKind,
        event: Result<(String, Attach), String>,
        span: ast::Span,
    ) -> Result<Vec<Instance>, Fault> {
        let mut instances = perf_event(kind, event, span)?;
        for point in instances.iter_mut().flat_map(|instance| &mut instance.attach) {
            if let Attach::PerfEvent { one_cpu: false, pid, .. } = &mut point.at {
                *pid = self.options.pid;
            }
        }
        Ok(instances)
    }
}

fn perf_event(
    kind: ProbeKind,
    event: Result<(String, Attach), String>,
    span: ast::Span,
) -> Result<Vec<Instance>, Fault> {
    let (name, at) = event.map_err(|message| {
        let names: Vec<&str> = match kind {
            ProbeKind::Software | ProbeKind::Hardware => perf::events(kind).iter().map(|e| e.name).collect(),
            _ => Vec::new(),
        };
        let d = Diagnostic::error("bad-probe", span, message);
        Box::new(match names.as_slice() {
            [] => d.hint(format!("expected `{}`", kind.info().form)),
            names => d.hint(format!("{} events are: {}", kind.name(), names.join(", "))),
        })
    })?;
    Ok(vec![Instance::new(kind, name, ProgType::PerfEvent, at, span)])
}
