//! Functions of user space: uprobes. Parts of attach points enter; file offsets in binaries leave.

use super::tracing::{cannot, unknown};
use super::{ArgsFrom, Fault, Instance, ProbeKind, Resolver, Spec, bad_form, perf, wild};
use crate::ast::Span;
use crate::diag::Diagnostic;
use skep_bpf::kinds::{AttachType, ProgType};
use skep_bpf::object::Attach;
use skep_bpf::target::{Feature, Symbol, TargetError, TargetExt};

/// What a uprobe is on.
struct Place<'s> {
    binary: &'s str,
    function: &'s str,
    offset: u64,
}

impl Resolver<'_> {
    pub(super) fn uprobe(&self, spec: &Spec, span: Span) -> Result<Vec<Instance>, Fault> {
        self.need(Feature::Uprobe, "uprobes", span)?;
        let place = self.place(spec, span)?;
        let path = self.binary(place.binary, span)?;
        let symbols = self
            .target
            .binary_symbols(&path)
            .map_err(|error| cannot(&format!("read the symbols of {path}"), &error, span))?;
        if let Some(address) = perf::number(place.function) {
            return self.at_address(spec, &path, &symbols, address, span);
        }
        let ret = spec.kind == ProbeKind::Uretprobe;
        if !wild::has_wildcard(place.function) {
            let Some(symbol) = symbols.iter().find(|s| s.name == place.function) else {
                let names = symbols.iter().map(|s| s.name.clone()).collect();
                let d = unknown(spec.kind, place.function, span, Ok(names));
                return Err(Box::new(d.at(format!("not a function of {path}"))));
            };
            if symbol.size > 0 && place.offset >= symbol.size {
                let message = format!(
                    "offset {} lies outside of `{}`, which has {} bytes",
                    place.offset, symbol.name, symbol.size
                );
                return Err(Box::new(Diagnostic::error("bad-probe", span, message)));
            }
            let plus = if place.offset > 0 { format!("+{}", place.offset) } else { String::new() };
            let name = format!("{}:{path}:{}{plus}", spec.kind.name(), symbol.name);
            let at = self.perf_uprobe(&path, symbol.offset.saturating_add(place.offset), ret);
            return Ok(vec![instance(spec.kind, name, at, &path, span)]);
        }
        let hits: Vec<&Symbol> = symbols.iter().filter(|s| wild::matches(place.function, &s.name)).collect();
        Ok(self.many(spec, place.function, &path, &hits, span))
    }

    fn place<'s>(&self, spec: &'s Spec, span: Span) -> Result<Place<'s>, Fault> {
        let fail = |message: String| Box::new(Diagnostic::error("bad-probe", span, message));
        let (binary, function) = match spec.parts.as_slice() {
            [binary, function] => (binary.as_str(), function.as_str()),
            [_, at, ..] if at == "@" => {
                let message = "probes on source lines are not supported yet";
                return Err(Box::new(Diagnostic::error("unsupported-probe", span, message)));
            }
            [_, language, _] => {
                return Err(fail(format!(
                    "`{language}` names are not supported yet: use the symbol's own name"
                )));
            }
            _ => return Err(bad_form(spec, span)),
        };
        if binary.is_empty() || function.is_empty() {
            return Err(bad_form(spec, span));
        }
        let (function, offset) = match function.split_once('+') {
            None => (function, 0),
            Some(_) if spec.kind == ProbeKind::Uretprobe => {
                return Err(fail("a uretprobe takes no offset".to_owned()));
            }
            Some((function, offset)) => {
                let offset =
                    perf::number(offset).ok_or_else(|| fail(format!("`{offset}` is not an offset")))?;
                (function, offset)
            }
        };
        Ok(Place { binary, function, offset })
    }

    fn binary(&self, name: &str, span: Span) -> Result<String, Fault> {
        if wild::has_wildcard(name) {
            let message = "wildcards in a binary's name are not supported yet";
            return Err(Box::new(Diagnostic::error("unsupported-probe", span, message)));
        }
        match self.target.binary_path(name) {
            Ok(path) => Ok(path.to_string()),
            Err(TargetError::NotFound(_)) => {
                let d = Diagnostic::error(
                    "unknown-probe",
                    span,
                    format!("there is no binary or library `{name}`"),
                )
                .hint("give a path, a command's name as in PATH, or a library's name such as `libc`");
                Err(Box::new(d))
            }
            Err(error) => Err(cannot(&format!("find `{name}`"), &error, span)),
        }
    }

    /// A virtual address of the file: within a symbol its file offset is known from the symbol's.
    fn at_address(
        &self,
        spec: &Spec,
        path: &str,
        symbols: &[Symbol],
        address: u64,
        span: Span,
    ) -> Result<Vec<Instance>, Fault> {
        let within =
            symbols.iter().find(|s| address.checked_sub(s.address).is_some_and(|d| d < s.size.max(1)));
        let offset = match within {
            Some(symbol) => symbol.offset.saturating_add(address - symbol.address),
            None if self.options.unsafe_mode => address,
            None => {
                let message = format!("address {address:#x} lies in no function of {path}");
                let d = Diagnostic::error("unknown-probe", span, message)
                    .hint("with `--unsafe` it is taken as an offset in the file");
                return Err(Box::new(d));
            }
        };
        let name = format!("{}:{path}:{address:#x}", spec.kind.name());
        let at = self.perf_uprobe(path, offset, spec.kind == ProbeKind::Uretprobe);
        Ok(vec![instance(spec.kind, name, at, path, span)])
    }

    fn perf_uprobe(&self, path: &str, offset: u64, ret: bool) -> Attach {
        Attach::Uprobe { path: path.to_owned(), offset, ref_ctr: 0, ret, pid: self.options.pid }
    }

    fn many(&self, spec: &Spec, pattern: &str, path: &str, hits: &[&Symbol], span: Span) -> Vec<Instance> {
        let ret = spec.kind == ProbeKind::Uretprobe;
        if !self.one_by_one.get() && self.has(Feature::UprobeMulti) && !hits.is_empty() {
            let mut offsets: Vec<u64> = hits.iter().map(|s| s.offset).collect();
            offsets.sort_unstable();
            offsets.dedup();
            let at = Attach::UprobeMulti {
                path: path.to_owned(),
                offsets,
                cookies: Vec::new(),
                ref_ctrs: Vec::new(),
                ret,
                pid: self.options.pid,
            };
            let name = format!("{}:{path}:{pattern}", spec.kind.name());
            let mut instance = instance(spec.kind, name, at, path, span);
            instance.attach_type = AttachType::TraceUprobeMulti;
            return vec![instance];
        }
        hits.iter()
            .map(|s| {
                let at = self.perf_uprobe(path, s.offset, ret);
                instance(spec.kind, format!("{}:{path}:{}", spec.kind.name(), s.name), at, path, span)
            })
            .collect()
    }
}

fn instance(kind: ProbeKind, name: String, at: Attach, path: &str, span: Span) -> Instance {
    let mut instance = Instance::new(kind, name, ProgType::Kprobe, at, span);
    instance.args = match kind {
        ProbeKind::Uretprobe => ArgsFrom::ReturnRegister,
        _ => ArgsFrom::EntryRegisters { user: true },
    };
    instance.binary = Some(path.to_owned());
    instance
}
