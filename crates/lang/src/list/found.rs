//! What there is of a kind: a search enters, the sorted names behind `KIND:` leave.

use super::pattern::Search;
use crate::resolve::{ProbeKind, names, perf};
use crate::types::Types;
use skep_bpf::btf::{Btf, NameKind, Type};
use skep_bpf::target::{Target, TargetError, TargetExt};
use skep_bpf::wildcard;
use std::collections::HashSet;
use std::sync::Arc;

/// Arguments that a traced function may have: those in registers.
const MOST_ARGUMENTS: usize = 6;

/// Finds names; what it has read it keeps for the next search.
pub(super) struct Finder<'a> {
    /// What is asked.
    pub(super) target: &'a dyn Target,
    /// The target's types.
    pub(super) types: Types<'a>,
    /// The process of `-p`.
    pub(super) pid: Option<u32>,
}

impl<'a> Finder<'a> {
    pub(super) fn new(target: &'a dyn Target, pid: Option<u32>) -> Finder<'a> {
        Finder { target, types: Types::new(target, 64), pid }
    }

    /// Whether a text names a file, by its path.
    pub(super) fn is_file(&self, path: &str) -> bool {
        path.contains('/') && self.target.binary_path(path).is_ok()
    }

    /// The names that match, sorted bytewise, each once; empty for kinds that cannot be listed.
    pub(super) fn find(&self, search: &Search) -> Result<Vec<String>, TargetError> {
        let mut found: Vec<String> = match search.kind {
            ProbeKind::Begin | ProbeKind::End => return Ok(vec![String::new()]),
            ProbeKind::SelfSignal => vec!["signal:SIGUSR1".to_owned()],
            ProbeKind::Kprobe | ProbeKind::Kretprobe => self.functions(search)?,
            ProbeKind::Fentry | ProbeKind::Fexit => self.typed_functions(search)?,
            ProbeKind::RawTracepoint if !self.has_module(search) => Vec::new(),
            ProbeKind::RawTracepoint => self.raw_tracepoints()?,
            ProbeKind::Iter => self.iterators()?,
            ProbeKind::Software | ProbeKind::Hardware => events(search.kind),
            ProbeKind::Uprobe | ProbeKind::Uretprobe | ProbeKind::Usdt => self.in_binaries(search)?,
            ProbeKind::Watchpoint | ProbeKind::Test | ProbeKind::Bench => Vec::new(),
            ProbeKind::Tracepoint
            | ProbeKind::Interval
            | ProbeKind::Profile
            | ProbeKind::Xdp
            | ProbeKind::Tc => names::of(search.kind, self.target, &self.types)?,
        };
        // A binary's functions are matched already: it may be shown by another name than the one it is searched by.
        let matched = matches!(search.kind, ProbeKind::Uprobe | ProbeKind::Uretprobe | ProbeKind::Usdt);
        found.retain(|name| (matched || wildcard::matches(&search.names, name)) && !name.contains(".part."));
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Types of the kernel (first, as `vmlinux`) and of its modules.
    pub(super) fn all_types(&self) -> Result<Vec<(String, Arc<Btf>)>, TargetError> {
        let vmlinux = self.types.vmlinux().map_err(Clone::clone)?.clone();
        let mut all = vec![("vmlinux".to_owned(), vmlinux)];
        for module in self.target.modules().map(|m| m.to_vec()).unwrap_or_default() {
            if let Ok(btf) = self.target.module_btf(&module) {
                all.push((module, btf));
            }
        }
        Ok(all)
    }

    /// Types of one module, `vmlinux` for the kernel itself.
    pub(super) fn module_types(&self, module: &str) -> Option<Arc<Btf>> {
        match module {
            "vmlinux" => self.types.vmlinux().ok().cloned(),
            module => self.target.module_btf(module).ok(),
        }
    }

    /// Whether the search's place can be that of a kernel module at all; if not, nothing need be read.
    fn has_module(&self, search: &Search) -> bool {
        match search.place.as_deref() {
            None | Some("vmlinux") => true,
            Some(place) if wildcard::has_wildcard(place) => true,
            Some(place) => self.target.modules().is_ok_and(|modules| modules.iter().any(|m| m == place)),
        }
    }

    /// Traceable functions, as `module:name` where the search names a module.
    fn functions(&self, search: &Search) -> Result<Vec<String>, TargetError> {
        if !self.has_module(search) {
            return Ok(Vec::new());
        }
        let all = self.target.kernel_functions()?;
        let split = all.iter().map(|full| full.split_once(':').unwrap_or(("vmlinux", full)));
        let safe = split.filter(|(_, name)| names::is_traceable(name));
        Ok(match search.place {
            None => safe
                .filter(|(_, name)| wildcard::matches(&search.names, name))
                .map(|(_, n)| n.to_owned())
                .collect(),
            Some(_) => safe.map(|(module, name)| format!("{module}:{name}")).collect(),
        })
    }

    /// Traceable functions with types, as `module:name`.
    fn typed_functions(&self, search: &Search) -> Result<Vec<String>, TargetError> {
        if !self.has_module(search) {
            return Ok(Vec::new());
        }
        let mut matching = Vec::new();
        for (module, btf) in self.all_types()? {
            for (id, name) in btf.own_types(NameKind::Func) {
                let full = format!("{module}:{name}");
                if wildcard::matches(&search.names, &full) && names::is_traceable(name) && fits(&btf, id) {
                    matching.push(full);
                }
            }
        }
        if matching.is_empty() {
            return Ok(matching);
        }
        if let Ok(traceable) = self.target.kernel_functions() {
            let traceable: HashSet<&str> = traceable.iter().map(String::as_str).collect();
            matching.retain(|name| traceable.contains(name.strip_prefix("vmlinux:").unwrap_or(name)));
        }
        Ok(matching)
    }

    fn raw_tracepoints(&self) -> Result<Vec<String>, TargetError> {
        names::of(ProbeKind::RawTracepoint, self.target, &self.types)
    }

    fn iterators(&self) -> Result<Vec<String>, TargetError> {
        let mut names = Vec::new();
        for (_, btf) in self.all_types()? {
            let structs = btf.own_types(NameKind::Struct).filter_map(|(_, n)| n.strip_prefix("bpf_iter__"));
            // Types with this end only tell the verifier which fields are trusted.
            names.extend(structs.filter(|n| !n.ends_with("__safe_trusted")).map(str::to_owned));
        }
        Ok(names)
    }
}

/// Names and short names of software or hardware events.
fn events(kind: ProbeKind) -> Vec<String> {
    let names = perf::events(kind).iter().flat_map(|e| [e.name, e.alias]);
    names.filter(|n| !n.is_empty()).map(|n| format!("{n}:")).collect()
}

/// Whether all arguments of a function lie in registers.
fn fits(btf: &Btf, id: skep_bpf::btf::TypeId) -> bool {
    let Some(Type::Func { proto, .. }) = btf.get(id) else { return false };
    matches!(btf.get(proto), Some(Type::FuncProto { params, .. }) if params.len() <= MOST_ARGUMENTS)
}
