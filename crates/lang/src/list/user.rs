//! Probes of user space: a search enters; the functions or USDT probes of the binaries that it names leave.

use super::found::Finder;
use super::pattern::Search;
use crate::resolve::{ProbeKind, binaries, demangled, operand};
use skep_bpf::target::{Note, Symbol, TargetError, TargetExt};
use skep_bpf::wildcard;

/// Most lines of one search.
const LINE_LIMIT: usize = 10_000_000;

impl Finder<'_> {
    /// Names as `binary:function` or `binary:provider:name`, the binary as it is written if that is a path. Sorted.
    pub(super) fn in_binaries(&self, search: &Search) -> Result<Vec<String>, TargetError> {
        let binary = search.place.as_deref().filter(|b| !b.is_empty()).unwrap_or("*");
        let wanted = search.names.strip_prefix(binary).and_then(|rest| rest.strip_prefix(':')).unwrap_or("*");
        let paths = binaries::find(self.target, binary, self.pid, false)?;
        if paths.is_empty() {
            return Err(TargetError::NotFound(format!("binary or library `{binary}`")));
        }
        let mut found = Vec::new();
        for path in &paths {
            match self.names_in(search.kind, path, wanted) {
                Ok(names) => found.extend(names.into_iter().map(|name| format!("{path}:{name}"))),
                Err(error) if !wildcard::has_wildcard(binary) => return Err(error),
                // Among many binaries, those that cannot be read have no probes.
                Err(_) => {}
            }
            if found.len() > LINE_LIMIT {
                break;
            }
        }
        Ok(found)
    }

    fn names_in(&self, kind: ProbeKind, path: &str, wanted: &str) -> Result<Vec<String>, TargetError> {
        if kind == ProbeKind::Usdt {
            let notes = self.target.binary_notes(path)?;
            let names = notes.iter().map(|note| format!("{}:{}", note.provider, note.name));
            // `BINARY:NAME` leaves the provider out.
            let bare = !wanted.contains(':');
            let is_wanted = |name: &String| {
                wildcard::matches(wanted, name)
                    || bare && name.split_once(':').is_some_and(|(_, name)| wildcard::matches(wanted, name))
            };
            return Ok(names.filter(is_wanted).collect());
        }
        if let Some((language, pattern)) = demangled::quoted(wanted) {
            let found = demangled::find(self.target, path, language, pattern)?;
            let shown = |(symbol, name): (Symbol, Option<String>)| match name {
                Some(name) => format!("{language}:\"{name}\""),
                None => symbol.name,
            };
            return Ok(found.into_iter().map(shown).collect());
        }
        let symbols = self.target.binary_symbols(path)?;
        let matching = symbols.iter().filter(|s| wildcard::matches(wanted, &s.name));
        Ok(matching.map(|s| s.name.clone()).collect())
    }

    /// The arguments of a USDT probe, from its first place, as declarations.
    pub(super) fn usdt_arguments(&self, name: &str) -> Option<Vec<String>> {
        let (rest, probe) = name.rsplit_once(':')?;
        let (path, provider) = rest.rsplit_once(':')?;
        let notes = self.target.binary_notes(path).ok()?;
        let is_it = |note: &&Note| note.provider == provider && note.name == probe;
        let arch = self.target.arch().ok()?;
        let arguments = operand::parse(&notes.iter().find(is_it)?.args, arch);
        let declare = |(n, argument): (usize, &Result<_, _>)| match argument {
            Ok(crate::hir::Operand { size, signed, .. }) => {
                format!("{}int{} arg{n}", if *signed { "" } else { "u" }, u32::from(*size) * 8)
            }
            Err(_) => format!("? arg{n}"),
        };
        Some(arguments.iter().enumerate().map(declare).collect())
    }
}
