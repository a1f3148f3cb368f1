//! Functions of the kernel: kprobes, fentry and fexit. Parts of attach points enter, instances leave.

use super::missing::unmatched;
use super::tracing::cannot;
use super::{ArgsFrom, Fault, Instance, ProbeKind, Resolver, Spec, bad_form, names, perf};
use crate::ast::Span;
use crate::diag::Diagnostic;
use skep_bpf::btf::NameKind;
use skep_bpf::kinds::{AttachType, ProgType};
use skep_bpf::object::{Attach, BtfTarget, MissingProbes};
use skep_bpf::target::{Feature, TargetExt};
use skep_bpf::wildcard;
use std::sync::Arc;

/// `[module:]function[+offset]`, taken apart.
struct Function<'s> {
    module: &'s str,
    name: &'s str,
    offset: u64,
}

impl Function<'_> {
    /// As the target names it: `name`, or `module:name`.
    fn full(&self) -> String {
        match self.module {
            "" | "vmlinux" => self.name.to_owned(),
            module => format!("{module}:{}", self.name),
        }
    }

    /// As it was written.
    fn written(&self) -> String {
        match self.module {
            "" => self.name.to_owned(),
            module => format!("{module}:{}", self.name),
        }
    }
}

fn function<'s>(spec: &'s Spec, span: Span) -> Result<Function<'s>, Fault> {
    let (module, name) = match spec.parts.as_slice() {
        [name] => ("", name.as_str()),
        [module, name] => (module.as_str(), name.as_str()),
        _ => return Err(bad_form(spec, span)),
    };
    let fail = |message: String| Box::new(Diagnostic::error("bad-probe", span, message));
    let (name, offset) = match name.split_once('+') {
        None => (name, 0),
        Some(_) if spec.kind != ProbeKind::Kprobe => {
            return Err(fail(format!("a {} probe takes no offset", spec.kind.name())));
        }
        Some((name, offset)) => match perf::number(offset) {
            Some(offset) => (name, offset),
            None => return Err(fail(format!("`{offset}` is not an offset"))),
        },
    };
    if name.is_empty() {
        return Err(bad_form(spec, span));
    }
    Ok(Function { module, name, offset })
}

impl Resolver<'_> {
    pub(super) fn kprobe(&self, spec: &Spec, span: Span) -> Result<Vec<Instance>, Fault> {
        let f = function(spec, span)?;
        if let Some(address) = perf::number(f.name) {
            return self.kprobe_at(spec, address, span);
        }
        let known = self
            .target
            .kernel_functions()
            .map_err(|error| cannot("list the kernel's functions", &error, span));
        if !wildcard::has_wildcard(f.name) && !wildcard::has_wildcard(f.module) {
            return self.single_kprobe(spec, &f, span, known);
        }
        let known = known?;
        let hits: Vec<&str> = known
            .iter()
            .filter_map(|full| {
                let (module, name) = full.split_once(':').unwrap_or(("vmlinux", full));
                let module_hit = f.module.is_empty() || wildcard::matches(f.module, module);
                (module_hit && wildcard::matches(f.name, name) && names::is_traceable(name))
                    .then_some(full.as_str())
            })
            .collect();
        Ok(self.many_kprobes(spec, &f, &hits, span))
    }

    /// A probe on an address, which is the kernel's to judge.
    fn kprobe_at(&self, spec: &Spec, address: u64, span: Span) -> Result<Vec<Instance>, Fault> {
        if !self.options.unsafe_mode {
            let message = "a probe on an address needs `--unsafe`";
            let d = Diagnostic::error("bad-probe", span, message)
                .at("nothing says whether an instruction begins here");
            return Err(Box::new(d));
        }
        let ret = spec.kind == ProbeKind::Kretprobe;
        let at = Attach::Kprobe { symbol: String::new(), offset: address, ret };
        let name = format!("{}:{address}", spec.kind.name());
        Ok(vec![kprobe_instance(spec.kind, name, at, span)])
    }

    fn single_kprobe(
        &self,
        spec: &Spec,
        f: &Function<'_>,
        span: Span,
        known: Result<Arc<Vec<String>>, Fault>,
    ) -> Result<Vec<Instance>, Fault> {
        let full = f.full();
        // Where the functions cannot be listed, attaching tells.
        if let Ok(known) = known {
            self.loaded_module(spec, f, &known, span)?;
            let in_module = |k: &String| k.split_once(':').is_some_and(|(_, n)| n == f.name);
            let there =
                known.binary_search(&full).is_ok() || (f.module.is_empty() && known.iter().any(in_module));
            if !there || !names::is_traceable(f.name) {
                self.not_traceable(f.name, span);
                if !self.options.unsafe_mode {
                    return Err(unmatched(spec.kind, &f.written(), span, Ok(known.to_vec())));
                }
            }
        }
        let offset = if f.offset > 0 { format!("+{}", f.offset) } else { String::new() };
        let name = format!("{}:{}{offset}", spec.kind.name(), f.written());
        let ret = spec.kind == ProbeKind::Kretprobe;
        let at = Attach::Kprobe { symbol: full, offset: f.offset, ret };
        Ok(vec![kprobe_instance(spec.kind, name, at, span)])
    }

    /// Refuses a module that is not there.
    fn loaded_module(
        &self,
        spec: &Spec,
        f: &Function<'_>,
        known: &[String],
        span: Span,
    ) -> Result<(), Fault> {
        if matches!(f.module, "" | "vmlinux") {
            return Ok(());
        }
        let listed = || known.iter().any(|k| k.split_once(':').is_some_and(|(m, _)| m == f.module));
        let loaded = || self.target.modules().is_ok_and(|m| m.iter().any(|m| m == f.module));
        if listed() || loaded() {
            return Ok(());
        }
        let (kind, module, name) = (spec.kind.name(), f.module, f.name);
        let message = format!("specified module {module} in probe {kind}:{module}:{name} is not loaded.");
        Err(Box::new(Diagnostic::error("unknown-module", span, message)))
    }

    fn not_traceable(&self, name: &str, span: Span) {
        if self.missing == MissingProbes::Ignore {
            return;
        }
        let message = format!(
            "{name} is not traceable (either non-existing, inlined, or marked as \"notrace\"); attaching to it will \
             likely fail"
        );
        self.warn(Diagnostic::warning("not-traceable", span, message));
    }

    fn many_kprobes(&self, spec: &Spec, f: &Function<'_>, hits: &[&str], span: Span) -> Vec<Instance> {
        let ret = spec.kind == ProbeKind::Kretprobe;
        if !self.one_by_one.get() && self.has(Feature::KprobeMulti) && f.module.is_empty() && !hits.is_empty()
        {
            let mut symbols: Vec<String> =
                hits.iter().map(|full| full.rsplit(':').next().unwrap_or(full).to_owned()).collect();
            symbols.sort_unstable();
            symbols.dedup();
            let at = Attach::KprobeMulti { symbols, cookies: Vec::new(), ret };
            let name = format!("{}:{}", spec.kind.name(), f.name);
            let mut instance = kprobe_instance(spec.kind, name, at, span);
            instance.attach_type = AttachType::TraceKprobeMulti;
            return vec![instance];
        }
        hits.iter()
            .map(|full| {
                let at = Attach::Kprobe { symbol: (*full).to_owned(), offset: 0, ret };
                let shown = match full.split_once(':') {
                    None if !f.module.is_empty() => format!("vmlinux:{full}"),
                    Some((_, name)) if f.module.is_empty() => name.to_owned(),
                    _ => (*full).to_owned(),
                };
                kprobe_instance(spec.kind, format!("{}:{shown}", spec.kind.name()), at, span)
            })
            .collect()
    }

    pub(super) fn fentry(&self, spec: &Spec, span: Span) -> Result<Vec<Instance>, Fault> {
        if spec.parts.first().is_some_and(|p| p == "bpf") && spec.parts.len() > 1 {
            return self.on_program(spec, span);
        }
        let f = function(spec, span)?;
        let types = self.types.vmlinux().map_err(|error| cannot("read the kernel's types", error, span))?;
        if matches!(f.module, "" | "vmlinux")
            && !wildcard::has_wildcard(f.name)
            && types.find(NameKind::Func, f.name).is_some()
        {
            return Ok(vec![fentry_instance(spec.kind, "", f.name, span)]);
        }
        let known = names::of(spec.kind, self.target, self.types)
            .map_err(|error| cannot("list functions with types", &error, span))?;
        let hits: Vec<Instance> = known
            .iter()
            .filter_map(|full| full.split_once(':'))
            .filter(|(m, n)| {
                (f.module.is_empty() || wildcard::matches(f.module, m)) && wildcard::matches(f.name, n)
            })
            .map(|(m, n)| fentry_instance(spec.kind, if m == "vmlinux" { "" } else { m }, n, span))
            .collect();
        let plain = !wildcard::has_wildcard(f.name) && !wildcard::has_wildcard(f.module);
        match hits.len() {
            0 if plain => Err(unmatched(spec.kind, &f.written(), span, Ok(known))),
            0 | 1 => Ok(hits),
            _ if plain => {
                let names: Vec<&str> = hits.iter().map(|i| i.name.as_str()).collect();
                let message = format!("several modules have a function `{}`", f.name);
                let d = Diagnostic::error("ambiguous-probe", span, message)
                    .hint(format!("name the module: `{}`", names.join("`, `")));
                Err(Box::new(d))
            }
            _ => Ok(hits),
        }
    }

    /// `bpf:[ID:]NAME`: a function of a loaded BPF program.
    fn on_program(&self, spec: &Spec, span: Span) -> Result<Vec<Instance>, Fault> {
        let (id, name) = match spec.parts.as_slice() {
            [_, name] => ("*", name.as_str()),
            [_, id, name] => (id.as_str(), name.as_str()),
            _ => return Err(bad_form(spec, span)),
        };
        if name.is_empty() || (id != "*" && id.parse::<u32>().is_err()) {
            let message = format!("`{id}` is not the number of a BPF program");
            let d = Diagnostic::error("bad-probe", span, message)
                .hint(format!("`-l '{}:bpf:*'` lists programs", spec.kind.name()));
            return Err(Box::new(d));
        }
        let known = self.target.bpf_programs().map_err(|error| cannot("list BPF programs", &error, span))?;
        let hits: Vec<Instance> = known
            .iter()
            .filter_map(|full| full.split_once(':'))
            .filter(|(i, n)| wildcard::matches(id, i) && wildcard::matches(name, n))
            .filter_map(|(i, n)| Some(program_instance(spec.kind, i.parse().ok()?, n, span)))
            .collect();
        if hits.is_empty() && id != "*" && !wildcard::has_wildcard(name) {
            let written = spec.parts.join(":");
            return Err(unmatched(spec.kind, &written, span, Ok(known.to_vec())));
        }
        Ok(hits)
    }
}

fn kprobe_instance(kind: ProbeKind, name: String, at: Attach, span: Span) -> Instance {
    let mut instance = Instance::new(kind, name, ProgType::Kprobe, at, span);
    instance.args = match kind {
        ProbeKind::Kretprobe => ArgsFrom::ReturnRegister,
        _ => ArgsFrom::EntryRegisters { user: false },
    };
    instance
}

fn fentry_instance(kind: ProbeKind, module: &str, name: &str, span: Span) -> Instance {
    let shown = format!("{}:{}:{name}", kind.name(), if module.is_empty() { "vmlinux" } else { module });
    let mut instance = tracing_instance(kind, shown, span);
    instance.attach_btf = Some(BtfTarget::Function {
        name: name.to_owned(),
        module: Some(module.to_owned()).filter(|m| !m.is_empty()),
    });
    instance.args = ArgsFrom::Function { module: module.to_owned(), name: name.to_owned() };
    instance
}

/// Its arguments are not looked at: they are those of the program's kind.
fn program_instance(kind: ProbeKind, id: u32, name: &str, span: Span) -> Instance {
    let mut instance = tracing_instance(kind, format!("{}:bpf:{id}:{name}", kind.name()), span);
    instance.attach_btf = Some(BtfTarget::Program { id, function: name.to_owned() });
    instance
}

fn tracing_instance(kind: ProbeKind, name: String, span: Span) -> Instance {
    let mut instance = Instance::new(kind, name, ProgType::Tracing, Attach::Fentry, span);
    instance.attach_type =
        if kind == ProbeKind::Fexit { AttachType::TraceFexit } else { AttachType::TraceFentry };
    instance
}
