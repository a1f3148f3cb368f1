//! Patterns: `kprobe:vfs_*` enters, searches leave: a kind, and what the names behind `KIND:` must match.

use crate::resolve::{KINDS, ProbeKind};
use skep_bpf::wildcard;

/// What to look for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Search {
    /// Kind of probe.
    pub(super) kind: ProbeKind,
    /// The part between kind and name, where there is one: a module, a category, a binary.
    pub(super) place: Option<String>,
    /// What the whole of a name, place included, must match.
    pub(super) names: String,
}

/// Kinds of the kernel that a wildcard stands for: neither return probes nor what is not listed, sorted by name.
const KERNEL: &[ProbeKind] = &[
    ProbeKind::Fentry,
    ProbeKind::Hardware,
    ProbeKind::Iter,
    ProbeKind::Kprobe,
    ProbeKind::RawTracepoint,
    ProbeKind::Software,
    ProbeKind::Tracepoint,
];
/// Kinds of user space that it stands for where a binary or a process is named.
const USER: &[ProbeKind] = &[ProbeKind::Uprobe, ProbeKind::Usdt];

/// The searches that one pattern stands for, in the order of their kinds' names. `is_file` says whether a text names an
/// existing file, `in_process` whether a process is given. `Err`: the kind that there is none of.
pub(super) fn searches(
    pattern: &str,
    is_file: &dyn Fn(&str) -> bool,
    in_process: bool,
) -> Result<Vec<Search>, String> {
    let (kind, rest) = match pattern.split_once(':') {
        Some((kind, rest)) => (kind, rest),
        None => match named_alone(pattern) {
            Some(kind) => return Ok(vec![search(kind, "")]),
            None => ("*", pattern),
        },
    };
    if !kind.is_empty() && !wildcard::has_wildcard(kind) {
        let kind = ProbeKind::from_name(kind).ok_or_else(|| kind.to_owned())?;
        return Ok(vec![search(kind, rest)]);
    }
    let kind = if kind.is_empty() { "*" } else { kind };
    let in_file =
        rest.split_once(':').is_some_and(|(file, _)| !wildcard::has_wildcard(file) && is_file(file));
    let user = if in_file || in_process { USER } else { &[] };
    let mut kinds: Vec<ProbeKind> =
        KERNEL.iter().chain(user).copied().filter(|k| wildcard::matches(kind, k.name())).collect();
    kinds.sort_by_key(|k| k.name());
    if kinds.is_empty() {
        return Err(kind.to_owned());
    }
    let anywhere = format!("*:{}", if rest.is_empty() { "*" } else { rest });
    let among = |kind| match USER.contains(&kind) && !rest.contains(':') {
        true => search(kind, &anywhere),
        false => search(kind, rest),
    };
    Ok(kinds.into_iter().map(among).collect())
}

/// The kind that a text without `:` names in full; short names are left to be looked for.
fn named_alone(text: &str) -> Option<ProbeKind> {
    let lower = text.to_ascii_lowercase();
    KINDS.iter().find(|k| k.name == lower).map(|k| k.kind)
}

/// The search for `rest`, what stands behind `KIND:`.
fn search(kind: ProbeKind, rest: &str) -> Search {
    let rest = if rest.is_empty() { "*" } else { rest };
    let place = rest.split_once(':').map(|(place, _)| place.to_owned());
    let names = match (kind, &place) {
        (ProbeKind::Tracepoint | ProbeKind::RawTracepoint | ProbeKind::Fentry | ProbeKind::Fexit, None) => {
            format!("*:{rest}")
        }
        (ProbeKind::Uprobe | ProbeKind::Uretprobe | ProbeKind::Usdt, None) if rest != "*" => {
            return Search { kind, place: Some(rest.to_owned()), names: format!("{rest}:*") };
        }
        _ => rest.to_owned(),
    };
    Search { kind, place, names }
}

/// The search for an attach point of a script, whose numbers (rates, counts, offsets) are no part of a name.
pub(super) fn attach_point(text: &str) -> Result<Search, String> {
    let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
    let kind = ProbeKind::from_name(kind).ok_or_else(|| kind.to_owned())?;
    Ok(match kind {
        ProbeKind::Interval | ProbeKind::Profile | ProbeKind::Software | ProbeKind::Hardware => {
            search(kind, &format!("{}:", rest.split(':').next().unwrap_or("")))
        }
        ProbeKind::Kprobe | ProbeKind::Uprobe => search(kind, rest.split('+').next().unwrap_or("")),
        _ => search(kind, rest),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pattern: &str) -> Vec<(&'static str, String)> {
        let searches = searches(pattern, &|path| path == "/bin/sh", false).unwrap();
        searches.into_iter().map(|s| (s.kind.name(), s.names)).collect()
    }

    #[test]
    fn kinds_and_names() {
        for (pattern, kind, names) in [
            ("kprobe:vfs_*", "kprobe", "vfs_*"),
            ("k:nf:x", "kprobe", "nf:x"),
            ("t:sched_*", "tracepoint", "*:sched_*"),
            ("tracepoint:sched:x", "tracepoint", "sched:x"),
            ("rt:x", "rawtracepoint", "*:x"),
            ("f:x", "fentry", "*:x"),
            ("software:", "software", "*"),
            ("Software", "software", "*"),
            ("BEGIN", "begin", "*"),
            ("uprobe:/bin/sh", "uprobe", "/bin/sh:*"),
            ("u:/bin/sh:main", "uprobe", "/bin/sh:main"),
        ] {
            assert_eq!(found(pattern), [(kind, names.to_owned())], "{pattern}");
        }
    }

    #[test]
    fn wildcards_stand_for_the_kinds_of_the_kernel() {
        let all: Vec<&str> = found("").iter().map(|f| f.0).collect();
        assert_eq!(all, ["fentry", "hardware", "iter", "kprobe", "rawtracepoint", "software", "tracepoint"]);
        assert_eq!(found("*sleep*").len(), 7);
        assert_eq!(found("*probe:x"), [("kprobe", "x".to_owned())]);
        let with_file: Vec<&str> = found("*:/bin/sh:main").iter().map(|f| f.0).collect();
        assert!(with_file.ends_with(&["tracepoint", "uprobe", "usdt"]));
        assert_eq!(found("*:/bin/no:main").len(), 7);
    }

    #[test]
    fn unknown_kinds_are_named() {
        assert_eq!(searches("tracepont:x", &|_| false, false), Err("tracepont".to_owned()));
        assert_eq!(searches("q*:x", &|_| false, false), Err("q*".to_owned()));
        let of_process = searches("*", &|_| false, true).unwrap();
        assert!(of_process.iter().any(|s| s.kind == ProbeKind::Usdt));
    }

    #[test]
    fn attach_points_without_their_numbers() {
        for (text, names) in [
            ("interval:s:1", "s:"),
            ("software:faults:10", "faults:"),
            ("kprobe:do_x+4", "do_x"),
            ("t:a:b", "a:b"),
        ] {
            assert_eq!(attach_point(text).unwrap().names, names);
        }
        assert_eq!(attach_point("x:y"), Err("x".to_owned()));
    }
}
