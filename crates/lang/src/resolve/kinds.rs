//! The kinds of probe: names, short names and the forms that each takes.

use crate::ty::Space;

/// Kinds of probe.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum ProbeKind {
    /// `begin`
    Begin,
    /// `end`
    End,
    /// `self:signal:NAME`
    SelfSignal,
    /// `tracepoint`
    Tracepoint,
    /// `rawtracepoint`
    RawTracepoint,
    /// `kprobe`
    Kprobe,
    /// `kretprobe`
    Kretprobe,
    /// `fentry`
    Fentry,
    /// `fexit`
    Fexit,
    /// `uprobe`
    Uprobe,
    /// `uretprobe`
    Uretprobe,
    /// `usdt`
    Usdt,
    /// `profile`
    Profile,
    /// `interval`
    Interval,
    /// `software`
    Software,
    /// `hardware`
    Hardware,
    /// `watchpoint`
    Watchpoint,
    /// `iter`
    Iter,
    /// `xdp`
    Xdp,
    /// `tc`
    Tc,
    /// `test`
    Test,
    /// `bench`
    Bench,
}

/// What is known of a kind.
#[derive(Clone, Copy, Debug)]
pub struct KindInfo {
    /// The kind.
    pub kind: ProbeKind,
    /// Name.
    pub name: &'static str,
    /// Other names.
    pub aliases: &'static [&'static str],
    /// How an attach point is written.
    pub form: &'static str,
    /// Where integers point that a program of this kind reads strings from; `None`: not known, kernel is taken.
    pub space: Option<Space>,
}

const fn row(
    kind: ProbeKind,
    name: &'static str,
    aliases: &'static [&'static str],
    form: &'static str,
    space: Option<Space>,
) -> KindInfo {
    KindInfo { kind, name, aliases, form, space }
}

const KERNEL: Option<Space> = Some(Space::Kernel);
const USER: Option<Space> = Some(Space::User);

/// All kinds.
pub static KINDS: &[KindInfo] = &[
    row(ProbeKind::Begin, "begin", &["BEGIN"], "begin", None),
    row(ProbeKind::End, "end", &["END"], "end", None),
    row(ProbeKind::SelfSignal, "self", &[], "self:signal:SIGUSR1", None),
    row(ProbeKind::Tracepoint, "tracepoint", &["t"], "tracepoint:CATEGORY:EVENT", KERNEL),
    row(ProbeKind::RawTracepoint, "rawtracepoint", &["rt"], "rawtracepoint[:MODULE]:EVENT", KERNEL),
    row(ProbeKind::Kprobe, "kprobe", &["k"], "kprobe[:MODULE]:FUNCTION[+OFFSET]", KERNEL),
    row(ProbeKind::Kretprobe, "kretprobe", &["kr"], "kretprobe[:MODULE]:FUNCTION", KERNEL),
    row(ProbeKind::Fentry, "fentry", &["f", "kfunc"], "fentry[:MODULE]:FUNCTION", KERNEL),
    row(ProbeKind::Fexit, "fexit", &["fr", "kretfunc"], "fexit[:MODULE]:FUNCTION", KERNEL),
    row(ProbeKind::Uprobe, "uprobe", &["u"], "uprobe:BINARY:FUNCTION[+OFFSET]", USER),
    row(ProbeKind::Uretprobe, "uretprobe", &["ur"], "uretprobe:BINARY:FUNCTION", USER),
    row(ProbeKind::Usdt, "usdt", &["U"], "usdt:BINARY[:PROVIDER]:NAME", USER),
    row(ProbeKind::Profile, "profile", &["p"], "profile:hz:RATE", None),
    row(ProbeKind::Interval, "interval", &["i"], "interval:s:COUNT", None),
    row(ProbeKind::Software, "software", &["s"], "software:EVENT[:COUNT]", None),
    row(ProbeKind::Hardware, "hardware", &["h"], "hardware:EVENT[:COUNT]", None),
    row(ProbeKind::Watchpoint, "watchpoint", &["w"], "watchpoint:ADDRESS:LENGTH:MODE", None),
    row(ProbeKind::Iter, "iter", &["it"], "iter:NAME[:PIN]", KERNEL),
    row(ProbeKind::Xdp, "xdp", &[], "xdp:INTERFACE", KERNEL),
    row(ProbeKind::Tc, "tc", &[], "tc:INTERFACE:ingress|egress", KERNEL),
    row(ProbeKind::Test, "test", &[], "test:NAME", None),
    row(ProbeKind::Bench, "bench", &[], "bench:NAME", None),
];

impl ProbeKind {
    /// The kind of that name or short name; capitals do not matter but for `U` and `u`.
    pub fn from_name(name: &str) -> Option<ProbeKind> {
        let exact = KINDS.iter().find(|k| k.name == name || k.aliases.contains(&name));
        let lower = name.to_ascii_lowercase();
        exact.or_else(|| KINDS.iter().find(|k| k.name == lower)).map(|k| k.kind)
    }

    /// Its row.
    pub fn info(self) -> &'static KindInfo {
        // The rows stand in the order of the variants, which a test holds.
        &KINDS[self as usize]
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.info().name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_order_and_names_unique() {
        let mut names: Vec<&str> = Vec::new();
        for (i, row) in KINDS.iter().enumerate() {
            assert_eq!(row.kind as usize, i);
            names.push(row.name);
            names.extend(row.aliases);
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert_eq!(ProbeKind::from_name("BEGIN"), Some(ProbeKind::Begin));
        assert_eq!(ProbeKind::from_name("U"), Some(ProbeKind::Usdt));
        assert_eq!(ProbeKind::from_name("u"), Some(ProbeKind::Uprobe));
        assert_eq!(ProbeKind::from_name("Tracepoint"), Some(ProbeKind::Tracepoint));
        assert_eq!(ProbeKind::from_name("trace"), None);
    }
}
