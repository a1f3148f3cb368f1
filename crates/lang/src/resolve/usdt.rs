//! USDT probes: `usdt:BINARY[:PROVIDER]:NAME` enters, the places of the matching notes leave. Places of one probe whose
//! arguments lie alike share a program; where they lie differently, each kind of place has its own.

use super::tracing::cannot;
use super::{ArgsFrom, Fault, Instance, ProbeKind, Resolver, Spec, bad_form};
use crate::ast::Span;
use crate::diag::Diagnostic;
use skep_bpf::kinds::{AttachType, ProgType};
use skep_bpf::object::{Attach, AttachPoint};
use skep_bpf::target::{Feature, Note, TargetExt};
use skep_bpf::wildcard;
use std::collections::BTreeMap;

/// What a USDT probe is on; empty parts are left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Wanted<'s> {
    /// A path, a library, a pattern, or `*`.
    pub(crate) binary: &'s str,
    /// Pattern of the provider.
    pub(crate) provider: &'s str,
    /// Pattern of the name.
    pub(crate) name: &'s str,
}

/// Places by (provider, name), and within these by how the arguments are written.
type Probes<'n> = BTreeMap<(&'n str, &'n str), Vec<(&'n str, Vec<&'n Note>)>>;

impl<'s> Wanted<'s> {
    /// From the parts behind the kind. `None`: that is no USDT probe.
    pub(crate) fn from_parts(parts: &'s [String]) -> Option<Wanted<'s>> {
        let (binary, provider, name) = match parts {
            [name] => ("", "", name),
            [binary, name] => (binary.as_str(), "", name),
            [binary, provider, name] => (binary.as_str(), provider.as_str(), name),
            _ => return None,
        };
        let or_any = |pattern: &'s str| if pattern.is_empty() { "*" } else { pattern };
        (!name.is_empty()).then_some(Wanted { binary, provider: or_any(provider), name })
    }

    /// Whether a note is of a probe that is wanted.
    pub(crate) fn matches(&self, note: &Note) -> bool {
        wildcard::matches(self.provider, &note.provider) && wildcard::matches(self.name, &note.name)
    }
}

impl Resolver<'_> {
    pub(super) fn usdt(&self, spec: &Spec, span: Span) -> Result<Vec<Instance>, Fault> {
        self.need(Feature::Uprobe, "uprobes", span)?;
        let wanted = Wanted::from_parts(&spec.parts).ok_or_else(|| bad_form(spec, span))?;
        let binary = match (wanted.binary, self.options.pid) {
            ("", Some(_)) => "*",
            ("", None) => {
                let message = "a usdt probe without a process needs a binary";
                let d = Diagnostic::error("bad-probe", span, message)
                    .hint("write `usdt:BINARY:NAME`, with `*` for all binaries, or give a process with `-p`");
                return Err(Box::new(d));
            }
            (binary, _) => binary,
        };
        let paths = self.binaries(ProbeKind::Usdt, binary, span)?;
        let alone = !wildcard::has_wildcard(binary);
        let mut found = Vec::new();
        for path in paths {
            let notes = match self.target.binary_notes(&path) {
                Ok(notes) => notes,
                Err(error) if alone => {
                    return Err(cannot(&format!("read the USDT probes of {path}"), &error, span));
                }
                // Among many binaries, those that cannot be read have no probes.
                Err(_) => continue,
            };
            for ((provider, name), kinds) in grouped(&wanted, &notes) {
                let name = format!("usdt:{path}:{provider}:{name}");
                let instances = kinds.iter().enumerate();
                found.extend(instances.map(|(i, (args, places))| {
                    let attach = self.places(&path, &name, places, i == 0);
                    self.instance_of(&name, &path, args, attach, span)
                }));
            }
        }
        Ok(found)
    }

    /// Attach points of the places of a probe whose arguments lie alike. Only those of the `first` such places count
    /// as a probe.
    fn places(&self, path: &str, name: &str, places: &[&Note], first: bool) -> Vec<AttachPoint> {
        let pid = self.options.pid;
        let point = |at, probes| AttachPoint { at, cookie: 0, name: name.to_owned(), probes: Some(probes) };
        if self.has(Feature::UprobeMulti) {
            let counters = places.iter().any(|note| note.semaphore != 0);
            let at = Attach::UprobeMulti {
                path: path.to_owned(),
                offsets: places.iter().map(|note| note.offset).collect(),
                cookies: Vec::new(),
                ref_ctrs: places.iter().filter(|_| counters).map(|note| note.semaphore).collect(),
                ret: false,
                pid,
            };
            return vec![point(at, u32::from(first))];
        }
        let each = places.iter().enumerate();
        each.map(|(i, note)| {
            let (offset, ref_ctr) = (note.offset, note.semaphore);
            let at = Attach::Uprobe { path: path.to_owned(), offset, ref_ctr, ret: false, pid };
            point(at, u32::from(first && i == 0))
        })
        .collect()
    }

    fn instance_of(
        &self,
        name: &str,
        path: &str,
        args: &str,
        attach: Vec<AttachPoint>,
        span: Span,
    ) -> Instance {
        // The place is one of `attach`, which takes the room of what is made here.
        let mut instance =
            Instance::new(ProbeKind::Usdt, name.to_owned(), ProgType::Kprobe, Attach::Begin, span);
        instance.attach = attach;
        instance.attach_type =
            if self.has(Feature::UprobeMulti) { AttachType::TraceUprobeMulti } else { AttachType::None };
        instance.args = ArgsFrom::Operands { text: args.to_owned() };
        instance.binary = Some(path.to_owned());
        instance
    }
}

/// The notes that are wanted, by probe and by how their arguments lie; each place once.
fn grouped<'n>(wanted: &Wanted<'_>, notes: &'n [Note]) -> Probes<'n> {
    let mut probes = Probes::new();
    for note in notes.iter().filter(|note| wanted.matches(note)) {
        let kinds = probes.entry((note.provider.as_str(), note.name.as_str())).or_default();
        let index = kinds.iter().position(|(args, _)| *args == note.args).unwrap_or_else(|| {
            kinds.push((note.args.as_str(), Vec::new()));
            kinds.len() - 1
        });
        let places = &mut kinds[index].1;
        if !places.iter().any(|known| known.offset == note.offset) {
            places.push(note);
        }
    }
    probes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(provider: &str, name: &str, offset: u64, args: &str) -> Note {
        Note { provider: provider.into(), name: name.into(), offset, semaphore: 0, args: args.into() }
    }

    #[test]
    fn places_with_the_same_arguments_go_together() {
        let notes = [
            note("a", "x", 1, "8@%rax"),
            note("a", "x", 2, "8@%rbx"),
            note("a", "x", 3, "8@%rax"),
            note("a", "x", 3, "8@%rax"),
            note("b", "x", 4, ""),
            note("b", "y", 5, ""),
        ];
        let parts = ["bin".to_owned(), "x".to_owned()];
        let wanted = Wanted::from_parts(&parts).unwrap();
        let found = grouped(&wanted, &notes);
        assert_eq!(found.keys().collect::<Vec<_>>(), [&("a", "x"), &("b", "x")]);
        let offsets: Vec<Vec<u64>> =
            found[&("a", "x")].iter().map(|(_, n)| n.iter().map(|n| n.offset).collect()).collect();
        assert_eq!(offsets, [vec![1, 3], vec![2]]);
    }

    #[test]
    fn forms() {
        let of = |text: &str| {
            let parts: Vec<String> = text.split(':').map(str::to_owned).collect();
            Wanted::from_parts(&parts).map(|w| format!("{} {} {}", w.binary, w.provider, w.name))
        };
        assert_eq!(of("n").as_deref(), Some(" * n"));
        assert_eq!(of("b:n").as_deref(), Some("b * n"));
        assert_eq!(of("b::n").as_deref(), Some("b * n"));
        assert_eq!(of("b:p:n").as_deref(), Some("b p n"));
        assert_eq!(of("b:"), None);
        assert_eq!(of("a:b:c:d"), None);
    }
}
