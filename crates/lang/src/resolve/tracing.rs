//! Tracepoints, raw tracepoints and iterators: parts of attach points enter, instances leave.

use super::missing::unmatched;
use super::{ArgsFrom, Fault, Instance, ProbeKind, Resolver, Spec, bad_form, names};
use crate::ast::Span;
use crate::diag::Diagnostic;
use skep_bpf::btf::NameKind;
use skep_bpf::kinds::{AttachType, ProgType};
use skep_bpf::object::{Attach, BtfTarget};
use skep_bpf::target::{Feature, TargetError, TargetExt};
use skep_bpf::wildcard;

/// The message for a target that cannot be asked.
pub(super) fn cannot(what: &str, error: &TargetError, span: Span) -> Fault {
    let d = Diagnostic::error("target", span, format!("cannot {what}: {error}"));
    let denied = matches!(error, TargetError::Os { errno: 1 | 13, .. });
    Box::new(if denied { d.hint("tracing needs root, or CAP_BPF and CAP_PERFMON") } else { d })
}

/// Iterators that want a map to go over when they are attached (the users of `bpf_iter_link_info.map`, include/uapi/linux/bpf.h).
const ELEMENTS: [&str; 3] = ["bpf_map_elem", "bpf_sk_storage_map", "sockmap"];
/// Where iterators are pinned whose file has no path.
const PINS: &str = "/sys/fs/bpf";

impl Resolver<'_> {
    pub(super) fn tracepoint(&self, spec: &Spec, span: Span) -> Result<Vec<Instance>, Fault> {
        let (category, name) = match spec.parts.as_slice() {
            [category, name] if !category.is_empty() && !name.is_empty() => {
                (category.as_str(), name.as_str())
            }
            [name] if wildcard::has_wildcard(name) => ("*", name.as_str()),
            _ => return Err(bad_form(spec, span)),
        };
        if !wildcard::has_wildcard(category) && !wildcard::has_wildcard(name) {
            return match self.target.tracepoint_format(category, name) {
                Ok(_) => Ok(vec![tracepoint(category, name, span)]),
                Err(TargetError::NotFound(_)) => {
                    let known = names::of(ProbeKind::Tracepoint, self.target, self.types);
                    Err(unmatched(spec.kind, &format!("{category}:{name}"), span, known))
                }
                Err(error) => Err(cannot("read the tracepoint's format", &error, span)),
            };
        }
        let all = names::of(ProbeKind::Tracepoint, self.target, self.types)
            .map_err(|error| cannot("list tracepoints", &error, span))?;
        Ok(all
            .iter()
            .filter_map(|full| full.split_once(':'))
            .filter(|(c, n)| wildcard::matches(category, c) && wildcard::matches(name, n))
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
        if anywhere && !wildcard::has_wildcard(name) && self.has_trace_type(name) {
            return Ok(vec![self.raw(name, "", span)]);
        }
        let all = names::of(spec.kind, self.target, self.types)
            .map_err(|error| cannot("list raw tracepoints", &error, span))?;
        let hits: Vec<Instance> = all
            .iter()
            .filter_map(|full| full.split_once(':'))
            .filter(|(m, n)| {
                (module.is_empty() || wildcard::matches(module, m)) && wildcard::matches(name, n)
            })
            .map(|(m, n)| self.raw(n, if m == "vmlinux" { "" } else { m }, span))
            .collect();
        if hits.is_empty()
            && spec.parts.len() == 2
            && !wildcard::has_wildcard(name)
            && !wildcard::has_wildcard(module)
        {
            return Err(unmatched(spec.kind, &format!("{module}:{name}"), span, Ok(all)));
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
        let (name, pin) = match spec.parts.as_slice() {
            [name] if !name.is_empty() => (name, None),
            [name, pin] if !name.is_empty() && !pin.is_empty() => (name, Some(pin)),
            _ => return Err(bad_form(spec, span)),
        };
        if wildcard::has_wildcard(name) {
            let d = Diagnostic::error("bad-probe", span, "an iterator's name has no wildcards")
                .hint("`-l 'iter:*'` lists iterators");
            return Err(Box::new(d));
        }
        if ELEMENTS.contains(&name.as_str()) {
            let text = format!("iter:{name} goes over the elements of one map, which a script cannot name");
            let d = Diagnostic::error("bad-probe", span, text)
                .hint("`for ($kv : @map) { … }` goes over a map of the script");
            return Err(Box::new(d));
        }
        let known = names::of(ProbeKind::Iter, self.target, self.types);
        if !known.as_ref().is_ok_and(|k| k.contains(name)) {
            return Err(unmatched(spec.kind, name, span, known));
        }
        let shown = format!("iter:{name}");
        let at = match pin {
            None => Attach::Iter,
            Some(pin) if pin.starts_with('/') => Attach::PinnedIter { path: pin.clone() },
            Some(pin) => Attach::PinnedIter { path: format!("{PINS}/{pin}") },
        };
        let mut instance = Instance::new(spec.kind, shown, ProgType::Tracing, at, span);
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
