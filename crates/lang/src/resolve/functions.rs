//! Functions of the kernel: kprobes and fentry. Parts of attach points enter, instances leave.

use super::tracing::{cannot, unknown};
use super::{ArgsFrom, Fault, Instance, ProbeKind, Resolver, Spec, bad_form, names, perf, wild};
use crate::ast::Span;
use crate::diag::Diagnostic;
use skep_bpf::btf::NameKind;
use skep_bpf::kinds::{AttachType, ProgType};
use skep_bpf::object::{Attach, BtfTarget};
use skep_bpf::target::{Feature, TargetExt};

/// `[module:]function[+offset]`, taken apart.
struct Function<'s> {
    module: &'s str,
    name: &'s str,
    offset: u64,
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
        self.need(Feature::Kprobe, "kprobes", span)?;
        if perf::number(f.name).is_some() {
            let message = "kprobes on bare addresses are not supported yet";
            return Err(Box::new(Diagnostic::error("unsupported-probe", span, message)));
        }
        let known = self
            .target
            .kernel_functions()
            .map_err(|error| cannot("list the kernel's functions", &error, span));
        if !wild::has_wildcard(f.name) && !wild::has_wildcard(f.module) {
            return self.single_kprobe(spec, &f, span, known);
        }
        let known = known?;
        let hits: Vec<&str> = known
            .iter()
            .filter_map(|full| {
                let (module, name) = full.split_once(':').unwrap_or(("", full));
                let module_hit = f.module.is_empty()
                    || wild::matches(f.module, module)
                    || (module.is_empty() && wild::matches(f.module, "vmlinux"));
                (module_hit && wild::matches(f.name, name)).then_some(full.as_str())
            })
            .collect();
        Ok(self.many_kprobes(spec, &f, &hits, span))
    }

    fn single_kprobe(
        &self,
        spec: &Spec,
        f: &Function<'_>,
        span: Span,
        known: Result<std::sync::Arc<Vec<String>>, Fault>,
    ) -> Result<Vec<Instance>, Fault> {
        let module = if f.module == "vmlinux" { "" } else { f.module };
        let full = if module.is_empty() { f.name.to_owned() } else { format!("{module}:{}", f.name) };
        // Where the functions cannot be listed, attaching tells.
        if let Ok(known) = known {
            let in_module = |k: &String| k.split_once(':').is_some_and(|(_, n)| n == f.name);
            let there =
                known.binary_search(&full).is_ok() || (module.is_empty() && known.iter().any(in_module));
            if !there && !self.options.unsafe_mode {
                return Err(unknown(spec.kind, &full, span, Ok(known.to_vec())));
            }
        }
        let offset = if f.offset > 0 { format!("+{}", f.offset) } else { String::new() };
        let name = format!("{}:{full}{offset}", spec.kind.name());
        let ret = spec.kind == ProbeKind::Kretprobe;
        let at = Attach::Kprobe { symbol: full, offset: f.offset, ret };
        Ok(vec![kprobe_instance(spec.kind, name, at, span)])
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
                kprobe_instance(spec.kind, format!("{}:{full}", spec.kind.name()), at, span)
            })
            .collect()
    }

    pub(super) fn fentry(&self, spec: &Spec, span: Span) -> Result<Vec<Instance>, Fault> {
        if spec.parts.first().is_some_and(|p| p == "bpf") && spec.parts.len() > 1 {
            let message = "probes on BPF programs are not supported yet";
            return Err(Box::new(Diagnostic::error("unsupported-probe", span, message)));
        }
        let f = function(spec, span)?;
        self.need(Feature::Fentry, "fentry and fexit probes", span)?;
        let types = self.types.vmlinux().map_err(|error| cannot("read the kernel's types", error, span))?;
        if matches!(f.module, "" | "vmlinux")
            && !wild::has_wildcard(f.name)
            && types.find(NameKind::Func, f.name).is_some()
        {
            return Ok(vec![fentry_instance(spec.kind, "", f.name, span)]);
        }
        let known = names::of(spec.kind, self.target, self.types)
            .map_err(|error| cannot("list functions with types", &error, span))?;
        let hits: Vec<Instance> = known
            .iter()
            .filter_map(|full| full.split_once(':'))
            .filter(|(m, n)| (f.module.is_empty() || wild::matches(f.module, m)) && wild::matches(f.name, n))
            .map(|(m, n)| fentry_instance(spec.kind, if m == "vmlinux" { "" } else { m }, n, span))
            .collect();
        if hits.is_empty() && !wild::has_wildcard(f.name) {
            let bare = known.iter().filter_map(|n| n.split_once(':')).map(|(_, n)| n.to_owned()).collect();
            return Err(unknown(spec.kind, f.name, span, Ok(bare)));
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
    let mut instance = Instance::new(kind, shown, ProgType::Tracing, Attach::Fentry, span);
    instance.attach_type =
        if kind == ProbeKind::Fexit { AttachType::TraceFexit } else { AttachType::TraceFentry };
    instance.attach_btf = Some(BtfTarget::Function {
        name: name.to_owned(),
        module: Some(module.to_owned()).filter(|m| !m.is_empty()),
    });
    instance.args = ArgsFrom::Function { module: module.to_owned(), name: name.to_owned() };
    instance
}
