//! Arguments of probes: the name of a probe enters, a declaration for each argument leaves, as `TYPE NAME`.

use super::found::Finder;
use crate::resolve::ProbeKind;
use skep_bpf::btf::{Btf, NameKind, Type, TypeId};
use skep_bpf::target::TargetExt;
use std::sync::Arc;

/// How the functions begin that have a raw tracepoint's arguments behind a context pointer (include/linux/tracepoint.h:
/// the first since 6.7, the other since 5.10).
const TRACEPOINT_FUNCTIONS: [&str; 2] = ["__probestub_", "__traceiter_"];

/// Finds the arguments of the probes of one kind.
pub(super) struct Arguments<'f> {
    finder: &'f Finder<'f>,
    kind: ProbeKind,
    /// Types of the module that was asked for last.
    module: Option<(String, Arc<Btf>)>,
}

impl<'f> Arguments<'f> {
    pub(super) fn new(finder: &'f Finder<'f>, kind: ProbeKind) -> Arguments<'f> {
        Arguments { finder, kind, module: None }
    }

    /// The arguments of the probe `name` (without its kind) in order; none where nothing is known of them.
    pub(super) fn of(&mut self, name: &str) -> Vec<String> {
        let (module, function) = name.split_once(':').unwrap_or(("", name));
        let known = match self.kind {
            ProbeKind::Tracepoint => self.record(module, function),
            ProbeKind::Fentry | ProbeKind::Fexit => self.function(module, function),
            ProbeKind::Kprobe | ProbeKind::Kretprobe => self.registers(module, function),
            ProbeKind::RawTracepoint => self.raw_tracepoint(module, function),
            ProbeKind::Iter => self.iterator(name),
            ProbeKind::Usdt => self.finder.usdt_arguments(name),
            _ => None,
        };
        known.unwrap_or_default()
    }

    /// Fields of a tracepoint's record as the kernel writes them, those common to all left out.
    fn record(&self, category: &str, name: &str) -> Option<Vec<String>> {
        let text = self.finder.target.tracepoint_format(category, name).ok()?;
        // The common fields stand before the first empty line.
        let own = text.lines().skip_while(|line| !line.trim().is_empty());
        let fields = own.filter_map(|line| line.trim().strip_prefix("field:"));
        Some(fields.filter_map(|field| field.split(';').next()).map(str::to_owned).collect())
    }

    /// The module's types; empty name: the kernel's.
    fn types(&mut self, module: &str) -> Option<Arc<Btf>> {
        let module = if module.is_empty() { "vmlinux" } else { module };
        if self.module.as_ref().is_none_or(|(name, _)| name != module) {
            self.module = Some((module.to_owned(), self.finder.module_types(module)?));
        }
        self.module.as_ref().map(|(_, btf)| btf.clone())
    }

    /// A function's parameters by name, and at its exit the result.
    fn function(&mut self, module: &str, name: &str) -> Option<Vec<String>> {
        let btf = self.types(module)?;
        let (ret, params) = signature(&btf, name)?;
        let mut known: Vec<String> = params.iter().map(|(name, ty)| declare(&btf, *ty, name)).collect();
        if self.kind == ProbeKind::Fexit && ret.0 != 0 {
            known.push(declare(&btf, ret, "retval"));
        }
        Some(known)
    }

    /// A function's parameters by number, or its result. A function without a module may be any module's.
    fn registers(&mut self, module: &str, name: &str) -> Option<Vec<String>> {
        let mut btf = self.types(module)?;
        if module.is_empty() && btf.find(NameKind::Func, name).is_none() {
            let all = self.finder.all_types().ok()?;
            btf = all.into_iter().find(|(_, btf)| btf.find(NameKind::Func, name).is_some())?.1;
        }
        let (ret, params) = signature(&btf, name)?;
        Some(match self.kind {
            ProbeKind::Kretprobe if ret.0 == 0 => vec!["void".to_owned()],
            ProbeKind::Kretprobe => vec![declare(&btf, ret, "retval")],
            // Floating point arguments have registers of their own.
            _ => params
                .iter()
                .filter(|(_, ty)| !matches!(btf.get_resolved(*ty), Some(Type::Float { .. })))
                .enumerate()
                .map(|(i, (_, ty))| declare(&btf, *ty, &format!("arg{i}")))
                .collect(),
        })
    }

    fn raw_tracepoint(&mut self, module: &str, name: &str) -> Option<Vec<String>> {
        let btf = self.types(module)?;
        let named = TRACEPOINT_FUNCTIONS.iter().find_map(|p| signature(&btf, &format!("{p}{name}")));
        let (_, params) = match named {
            Some(signature) => signature,
            None => {
                let typedef = btf.find(NameKind::Typedef, &format!("btf_trace_{name}"))?;
                btf.signature(typedef)?
            }
        };
        let own = params.iter().skip(1).enumerate();
        Some(
            own.map(|(i, (name, ty))| match *name {
                "" => declare(&btf, *ty, &format!("arg{i}")),
                name => declare(&btf, *ty, name),
            })
            .collect(),
        )
    }

    /// What an iterator's context holds behind `meta`, by the parameters of its function.
    fn iterator(&mut self, name: &str) -> Option<Vec<String>> {
        let btf = self.types("")?;
        let (_, params) = signature(&btf, &format!("bpf_iter_{name}"))?;
        Some(params.iter().skip(1).map(|(name, ty)| declare(&btf, *ty, name)).collect())
    }
}

fn signature<'b>(btf: &'b Btf, function: &str) -> Option<(TypeId, Vec<(&'b str, TypeId)>)> {
    btf.signature(btf.find(NameKind::Func, function)?)
}

/// `TYPE NAME`; a last parameter of void type stands for more arguments.
fn declare(btf: &Btf, ty: TypeId, name: &str) -> String {
    format!("{} {name}", btf.c_name(ty))
}
