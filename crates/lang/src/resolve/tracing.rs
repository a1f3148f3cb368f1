//! Tracepoints, raw tracepoints and iterators: parts of attach points enter, instances leave.

use super::{ArgsFrom, Fault, Instance, ProbeKind, Resolver, Spec, bad_form, names, wild};
use crate::ast::Span;
use crate::diag::Diagnostic;
use crate::suggest;
use skep_bpf::btf::NameKind;
use skep_bpf::kinds::{AttachType, ProgType};
use skep_bpf::object::{Attach, BtfTarget};
use skep_bpf::target::{Feature, TargetError, TargetExt};

/// The message for an attach point that is not there.
pub(super) fn unknown(
    kind: ProbeKind,
    name: &str,
    span: Span,
    known: Result<Vec<String>, TargetError>,
) -> Fault {
    let d = Diagnostic::error("unknown-probe", span, format!("there is no {} `{name}`", kind.name()));
    let d = match known {
        Ok(known) if !known.is_empty() => {
            match suggest::near(name, known.iter().map(String::as_str), 3).as_slice() {
                [] => d.hint(format!("`-l '{}:*'` lists what there is", kind.name())),
                near => d.hint(format!("did you mean `{}`?", near.join("`, `"))),
            }
        }
        Ok(_) => d,
        Err(error) => d.hint(format!("and the target cannot list them: {error}")),
    };
    Box::new(d)
}

/// The message for a target that cannot be asked.
pub(super) fn cannot(what: &str, error: &TargetError, span: Span) -> Fault {
    let d = Diagnostic::error("target", span, format!("cannot {what}: {error}"));
    let denied = matches!(error, TargetError::Os { errno: 1 | 13, .. });
    Box::new(if denied { d.hint("tracing needs root, or CAP_BPF and CAP_PERFMON") } else { d })
}

impl Resolver<'_> {
    pub(super) fn tracepoint(&self, spec: &Spec, span: Span) -> Result<Vec<Instance>, Fault> {
        let (category, name) = match spec.parts.as_slice() {
            [category, name] if !category.is_empty() && !name.is_empty() => {
                (category.as_str(), name.as_str())
            }
            [name] if wild::has_wildcard(name) => ("*", name.as_str()),
            _ => return Err(bad_form(spec, span)),
        };
        if !wild::has_wildcard(category) && !wild::has_wildcard(name) {
            return match self.target.tracepoint_format(category, name) {
                Ok(_) => Ok(vec![tracepoint(category, name, span)]),
                Err(TargetError::NotFound(_)) => {
                    let known = names::of(ProbeKind::Tracepoint, self.target, self.types);
                    Err(unknown(spec.kind, &format!("{category}:{name}"), span, known))
                }
                Err(error) => Err(cannot("read the tracepoint's format", &error, span)),
            };
        }
        let all = names::of(ProbeKind::Tracepoint, self.target, self.types)
            .map_err(|error| cannot("list tracepoints", &error, span))?;
        Ok(all
            .iter()
            .filter_map(|full| full.split_once(':'))
            .filter(|(c, n)| wild::matches(category, c) && wild::matches(name, n))
            .map(|(c, n)| tracepoint(c, n, span))
            .collect())
    }

    pub(super) fn raw_tracepoint(&self, spec: &Spec, span: Span) -> Result<Vec<Instance>, Fault> {
        let (module, name) = match spec.parts.as_slice() {
            [name] if !name.is_empty() => ("*", name.as_str()),
            [module, name] if !name.is_empty() => (module.as_str(), name.as_str()),
            _ => return Err(bad_form(spec, span)),
        };
        let anywhere = matches!(module, "*" | "vmlinux" | "");
        if anywhere && !wild::has_wildcard(name) && self.has_trace_type(name) {
            return Ok(vec![self.raw(name, "", span)]);
        }
        let all = names::of(spec.kind, self.target, self.types)
            .map_err(|error| cannot("list raw tracepoints", &error, span))?;
        let hits: Vec<Instance> = all
            .iter()
            .filter_map(|full| full.split_once(':'))
            .filter(|(m, n)| (module.is_empty() || wild::matches(module, m)) && wild::matches(name, n))
            .map(|(m, n)| self.raw(n, if m == "vmlinux" { "" } else { m }, span))
            .collect();
        if hits.is_empty() && !wild::has_wildcard(name) {
            let bare = all.iter().filter_map(|n| n.split_once(':')).map(|(_, n)| n.to_owned()).collect();
            return Err(unknown(spec.kind, name, span, Ok(bare)));
        }
        Ok(hits)
    }

    /// Whether vmlinux' types know the raw tracepoint.
    pub(super) fn has_trace_type(&self, name: &str) -> bool {
        let typedef = format!("btf_trace_{name}");
        self.types.vmlinux().is_ok_and(|btf| btf.find(NameKind::Typedef, &typedef).is_some())
    }

    /// A raw tracepoint: with types where the kernel can, since then arguments are plain loads.
    fn raw(&self, name: &str, module: &str, span: Span) -> Instance {
        let shown = format!("rawtracepoint:{}:{name}", if module.is_empty() { "vmlinux" } else { module });
        let typed = module.is_empty() && self.has(Feature::TpBtf);
        let at = Attach::RawTracepoint { name: name.to_owned() };
        let mut instance = Instance::new(ProbeKind::RawTracepoint, shown, ProgType::RawTracepoint, at, span);
        if typed {
            make_typed(&mut instance, name);
        }
        let (module, name) = (module.to_owned(), name.to_owned());
        instance.args = ArgsFrom::RawTracepoint { module, name, typed };
        instance
    }

    pub(super) fn iter(&self, spec: &Spec, span: Span) -> Result<Vec<Instance>, Fault> {
        let name = match spec.parts.as_slice() {
            [name] if !name.is_empty() && !wild::has_wildcard(name) => name,
            [_, _] => {
                let d =
                    Diagnostic::error("unsupported-probe", span, "pinned iterators are not supported yet");
                return Err(Box::new(d));
            }
            _ => return Err(bad_form(spec, span)),
        };
        let known = names::of(ProbeKind::Iter, self.target, self.types);
        if !known.as_ref().is_ok_and(|k| k.contains(name)) {
            return Err(unknown(spec.kind, name, span, known));
        }
        let shown = format!("iter:{name}");
        let mut instance = Instance::new(spec.kind, shown, ProgType::Tracing, Attach::Iter, span);
        instance.attach_type = AttachType::TraceIter;
        instance.attach_btf = Some(BtfTarget::Iter(name.clone()));
        Ok(vec![instance])
    }
}

/// Makes a raw tracepoint's program a `tp_btf` one.
pub(super) fn make_typed(instance: &mut Instance, name: &str) {
    instance.prog_type = ProgType::Tracing;
    instance.attach_type = AttachType::TraceRawTp;
    instance.attach_btf = Some(BtfTarget::RawTracepoint(name.to_owned()));
}

fn tracepoint(category: &str, name: &str, span: Span) -> Instance {
    let shown = format!("tracepoint:{category}:{name}");
    let (category, name) = (category.to_owned(), name.to_owned());
    let at = Attach::Tracepoint { category: category.clone(), name: name.clone() };
    let mut instance = Instance::new(ProbeKind::Tracepoint, shown, ProgType::Tracepoint, at, span);
    instance.args = ArgsFrom::Record { category, name };
    instance
}
