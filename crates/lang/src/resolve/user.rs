//! Functions of user space: uprobes. Parts of attach points enter; file offsets in binaries leave.

use super::tracing::cannot;
use super::{ArgsFrom, Fault, Instance, ProbeKind, Resolver, Spec, bad_form, perf};
use crate::ast::Span;
use crate::diag::Diagnostic;
use crate::suggest;
use skep_bpf::kinds::{AttachType, ProgType};
use skep_bpf::object::Attach;
use skep_bpf::target::{Feature, Symbol, TargetExt};
use skep_bpf::wildcard;
use std::borrow::Cow;
use std::sync::Arc;

/// What a uprobe is on.
struct Place<'s> {
    binary: Cow<'s, str>,
    function: &'s str,
    offset: u64,
}

impl Resolver<'_> {
    pub(super) fn uprobe(&self, spec: &Spec, span: Span) -> Result<Vec<Instance>, Fault> {
        self.need(Feature::Uprobe, "uprobes", span)?;
        match spec.parts.as_slice() {
            [binary, at, line @ ..] if at == "@" => return self.on_line(spec.kind, binary, line, span),
            [binary, language, name @ ..] if !name.is_empty() => {
                // Names of C++ and Rust have colons of their own.
                return self.by_language(spec, (binary, language, &name.join(":")), span);
            }
            _ => {}
        }
        let place = self.place(spec, span)?;
        let paths = self.binaries(spec.kind, &place.binary, span)?;
        if !wildcard::has_wildcard(&place.binary) {
            return match paths.first() {
                Some(path) => self.in_binary(spec, &place, path, span),
                None => Ok(Vec::new()),
            };
        }
        if place.offset > 0 || perf::number(place.function).is_some() {
            let message = "an address or an offset needs one binary, not a wildcard";
            return Err(Box::new(Diagnostic::error("bad-probe", span, message)));
        }
        let mut found = Vec::new();
        for path in &paths {
            // Among many binaries, those that cannot be read have no functions.
            let Ok(symbols) = self.target.binary_symbols(path) else { continue };
            found.extend(self.many(spec, place.function, path, &symbols, span));
        }
        Ok(found)
    }

    fn in_binary(
        &self,
        spec: &Spec,
        place: &Place<'_>,
        path: &str,
        span: Span,
    ) -> Result<Vec<Instance>, Fault> {
        let address = perf::number(place.function);
        let symbols = match self.target.binary_symbols(path) {
            Ok(symbols) => symbols,
            // A file of instructions alone, which is mapped and run.
            Err(_) if self.options.unsafe_mode && address.is_some() => Arc::default(),
            Err(error) => return Err(cannot(&format!("read the symbols of {path}"), &error, span)),
        };
        if let Some(address) = address {
            return self.at_address(spec, path, &symbols, address, span);
        }
        if wildcard::has_wildcard(place.function) {
            return Ok(self.many(spec, place.function, path, &symbols, span));
        }
        let Some(symbol) = symbols.iter().find(|s| s.name == place.function) else {
            return Err(no_match(spec.kind, path, place.function, &symbols, span));
        };
        self.check_bounds(symbol, place.offset, span)?;
        self.check_instruction(spec.kind, path, symbol, place.offset, span)?;
        let plus = if place.offset > 0 { format!("+{}", place.offset) } else { String::new() };
        let name = format!("{}:{path}:{}{plus}", spec.kind.name(), symbol.name);
        let offset = symbol.offset.saturating_add(place.offset);
        let at = self.perf_uprobe(path, offset, spec.kind == ProbeKind::Uretprobe);
        Ok(vec![self.on_function(instance(spec.kind, name, at, path, span), symbol)])
    }

    /// Refuses an offset that lies outside of the function, and a function whose end nobody knows.
    fn check_bounds(&self, symbol: &Symbol, offset: u64, span: Span) -> Result<(), Fault> {
        let message = match (symbol.size, offset) {
            (0, 0) if self.options.unsafe_mode => return Ok(()),
            (0, 0) => format!(
                "Could not determine boundary for {} (symbol has size 0).\nUse --unsafe to force attachment. \
                 WARNING: This option could lead to data corruption in the target process.",
                symbol.name
            ),
            (size, offset) if offset < size => return Ok(()),
            (size, _) => {
                format!("Offset outside the function bounds ('{}' size is {size})", symbol.name)
            }
        };
        Err(Box::new(Diagnostic::error("attach", span, message)))
    }

    /// Refuses a place within an instruction, and one of which nobody knows.
    fn check_instruction(
        &self,
        kind: ProbeKind,
        path: &str,
        symbol: &Symbol,
        offset: u64,
        span: Span,
    ) -> Result<(), Fault> {
        if offset == 0 || self.options.unsafe_mode {
            return Ok(());
        }
        let at = symbol.offset.saturating_add(offset);
        let (kind, place) = (kind.name(), format!("{path}:{}+{offset}", symbol.name));
        let message = match self.target.instruction_at(path, symbol.offset, at) {
            Ok(true) => return Ok(()),
            Ok(false) => format!("Could not add {kind} into middle of instruction: {place}"),
            Err(error) => format!("Failed to check if {kind} is in proper place: {place} ({error})"),
        };
        let warning = "Use --unsafe to force attachment. WARNING: This option could lead to data corruption in \
                       the target process.";
        Err(Box::new(Diagnostic::error("attach", span, format!("{message}\n{warning}"))))
    }

    fn place<'s>(&self, spec: &'s Spec, span: Span) -> Result<Place<'s>, Fault> {
        let fail = |message: String| Box::new(Diagnostic::error("bad-probe", span, message));
        let (binary, function): (Cow<'s, str>, _) = match spec.parts.as_slice() {
            [function] if self.options.pid.is_some() => {
                (self.own_binary(spec.kind, span)?.into(), function.as_str())
            }
            [binary, function] => (binary.into(), function.as_str()),
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
        if let Some(symbol) = within {
            self.check_instruction(spec.kind, path, symbol, address - symbol.address, span)?;
        }
        let offset = match within {
            Some(symbol) => symbol.offset.saturating_add(address - symbol.address),
            None if self.options.unsafe_mode => address,
            None => {
                let message = format!("Could not resolve address: {path}:{address:#x}");
                let d = Diagnostic::error("attach", span, message)
                    .at("lies in no function of the binary")
                    .hint("with `--unsafe` it is taken as an offset in the file");
                return Err(Box::new(d));
            }
        };
        let name = format!("{}:{path}:{address}", spec.kind.name());
        let at = self.perf_uprobe(path, offset, spec.kind == ProbeKind::Uretprobe);
        Ok(vec![instance(spec.kind, name, at, path, span)])
    }

    pub(super) fn perf_uprobe(&self, path: &str, offset: u64, ret: bool) -> Attach {
        Attach::Uprobe { path: path.to_owned(), offset, ref_ctr: 0, ret, pid: self.options.pid }
    }

    /// The functions of a binary that match: one instance for all, or one each where the script asks for the probe's
    /// name.
    fn many(&self, spec: &Spec, pattern: &str, path: &str, symbols: &[Symbol], span: Span) -> Vec<Instance> {
        let hits: Vec<&Symbol> = symbols.iter().filter(|s| wildcard::matches(pattern, &s.name)).collect();
        self.each(spec, pattern, path, &hits, span)
    }

    /// Probes on all these functions; `pattern` stands for them in their common name.
    pub(super) fn each(
        &self,
        spec: &Spec,
        pattern: &str,
        path: &str,
        hits: &[&Symbol],
        span: Span,
    ) -> Vec<Instance> {
        let ret = spec.kind == ProbeKind::Uretprobe;
        if !self.one_by_one.get() && self.has(Feature::UprobeMulti) && !hits.is_empty() {
            let at = Attach::UprobeMulti {
                path: path.to_owned(),
                offsets: hits.iter().map(|s| s.offset).collect(),
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
                let name = format!("{}:{path}:{}", spec.kind.name(), s.name);
                self.on_function(instance(spec.kind, name, at, path, span), s)
            })
            .collect()
    }
}

/// There is no such function; near names are told.
fn no_match(kind: ProbeKind, path: &str, function: &str, symbols: &[Symbol], span: Span) -> Fault {
    let message = format!("No matches for {} {path}:{function}.", kind.name());
    let d = Diagnostic::error("unknown-probe", span, message);
    let near = suggest::near(function, symbols.iter().map(|s| s.name.as_str()), 3);
    Box::new(match near.as_slice() {
        [] => d,
        near => d.hint(format!("did you mean `{}`?", near.join("`, `"))),
    })
}

pub(super) fn instance(kind: ProbeKind, name: String, at: Attach, path: &str, span: Span) -> Instance {
    let mut instance = Instance::new(kind, name, ProgType::Kprobe, at, span);
    instance.args = match kind {
        ProbeKind::Uretprobe => ArgsFrom::ReturnRegister,
        _ => ArgsFrom::EntryRegisters { user: true },
    };
    instance.binary = Some(path.to_owned());
    instance
}
