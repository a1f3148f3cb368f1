//! Names of program sections, as libbpf reads them (tools/lib/bpf/libbpf.c, `section_defs`, Linux 6.18): a program enters and
//! its section's name leaves, or the other way round.

use crate::kinds::{AttachType, ProgType};
use crate::object::{Attach, BtfTarget, Program};

/// How what follows the first `/` of a name is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rest {
    /// Not at all: the place is given elsewhere.
    Nothing,
    /// CATEGORY/NAME.
    Tracepoint,
    /// NAME of a raw tracepoint.
    RawTracepoint,
    /// FUNCTION, with +OFFSET unless at return.
    Kprobe { ret: bool },
    /// A kernel function or `MODULE:FUNCTION` by its BTF.
    Function,
    /// An iterator's NAME.
    Iter,
}

struct Row {
    head: &'static str,
    prog_type: ProgType,
    attach_type: AttachType,
    sleepable: bool,
    rest: Rest,
}

const fn row(head: &'static str, prog_type: ProgType, attach_type: AttachType, rest: Rest) -> Row {
    Row { head, prog_type, attach_type, sleepable: false, rest }
}

const fn sleepable(head: &'static str, prog_type: ProgType, attach_type: AttachType, rest: Rest) -> Row {
    Row { head, prog_type, attach_type, sleepable: true, rest }
}

/// The first row of a kind is the one that is written; short names before long ones.
const ROWS: &[Row] = &[
    row("tp", ProgType::Tracepoint, AttachType::None, Rest::Tracepoint),
    row("tracepoint", ProgType::Tracepoint, AttachType::None, Rest::Tracepoint),
    row("raw_tp", ProgType::RawTracepoint, AttachType::None, Rest::RawTracepoint),
    row("raw_tracepoint", ProgType::RawTracepoint, AttachType::None, Rest::RawTracepoint),
    row("tp_btf", ProgType::Tracing, AttachType::TraceRawTp, Rest::RawTracepoint),
    row("fentry", ProgType::Tracing, AttachType::TraceFentry, Rest::Function),
    row("fexit", ProgType::Tracing, AttachType::TraceFexit, Rest::Function),
    sleepable("fentry.s", ProgType::Tracing, AttachType::TraceFentry, Rest::Function),
    sleepable("fexit.s", ProgType::Tracing, AttachType::TraceFexit, Rest::Function),
    row("lsm", ProgType::Lsm, AttachType::LsmMac, Rest::Function),
    sleepable("lsm.s", ProgType::Lsm, AttachType::LsmMac, Rest::Function),
    row("iter", ProgType::Tracing, AttachType::TraceIter, Rest::Iter),
    sleepable("iter.s", ProgType::Tracing, AttachType::TraceIter, Rest::Iter),
    row("kprobe", ProgType::Kprobe, AttachType::None, Rest::Kprobe { ret: false }),
    row("kretprobe", ProgType::Kprobe, AttachType::None, Rest::Kprobe { ret: true }),
    row("kprobe.multi", ProgType::Kprobe, AttachType::TraceKprobeMulti, Rest::Nothing),
    row("kretprobe.multi", ProgType::Kprobe, AttachType::TraceKprobeMulti, Rest::Nothing),
    row("kprobe.session", ProgType::Kprobe, AttachType::TraceKprobeSession, Rest::Nothing),
    row("uprobe.multi", ProgType::Kprobe, AttachType::TraceUprobeMulti, Rest::Nothing),
    row("uretprobe.multi", ProgType::Kprobe, AttachType::TraceUprobeMulti, Rest::Nothing),
    row("uprobe", ProgType::Kprobe, AttachType::None, Rest::Nothing),
    row("uretprobe", ProgType::Kprobe, AttachType::None, Rest::Nothing),
    sleepable("uprobe.s", ProgType::Kprobe, AttachType::None, Rest::Nothing),
    sleepable("uretprobe.s", ProgType::Kprobe, AttachType::None, Rest::Nothing),
    row("perf_event", ProgType::PerfEvent, AttachType::None, Rest::Nothing),
    row("xdp", ProgType::Xdp, AttachType::None, Rest::Nothing),
    row("tc", ProgType::SchedCls, AttachType::None, Rest::Nothing),
    row("classifier", ProgType::SchedCls, AttachType::None, Rest::Nothing),
    row("socket", ProgType::SocketFilter, AttachType::None, Rest::Nothing),
    row("cgroup/skb", ProgType::CgroupSkb, AttachType::None, Rest::Nothing),
    row("syscall", ProgType::Syscall, AttachType::None, Rest::Nothing),
];

/// What a section's name says of its programs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SectionKind {
    /// Program type.
    pub prog_type: ProgType,
    /// Expected attach type.
    pub attach_type: AttachType,
    /// The kernel's BTF type that load needs.
    pub attach_btf: Option<BtfTarget>,
    /// Loaded as sleepable.
    pub sleepable: bool,
    /// The place, where the name has it.
    pub attach: Option<Attach>,
}

/// Reads a section's name. `None` when it names no kind of program that is known here.
pub fn parse(name: &str) -> Option<SectionKind> {
    let by_head = |head: &str| ROWS.iter().find(|row| row.head == head);
    let (row, rest) = match by_head(name) {
        Some(row) => (row, ""),
        None => name.split_once('/').and_then(|(head, rest)| Some((by_head(head)?, rest)))?,
    };
    let (attach, attach_btf) = place(row, rest);
    Some(SectionKind {
        prog_type: row.prog_type,
        attach_type: row.attach_type,
        attach_btf,
        sleepable: row.sleepable,
        attach,
    })
}

fn place(row: &Row, rest: &str) -> (Option<Attach>, Option<BtfTarget>) {
    if rest.is_empty() {
        return (None, None);
    }
    let name = rest.to_owned();
    match row.rest {
        Rest::Nothing => (None, None),
        Rest::Tracepoint => {
            let at = rest
                .split_once('/')
                .map(|(category, name)| Attach::Tracepoint { category: category.into(), name: name.into() });
            (at, None)
        }
        Rest::RawTracepoint => {
            let typed = row.prog_type == ProgType::Tracing;
            (
                Some(Attach::RawTracepoint { name: name.clone() }),
                typed.then_some(BtfTarget::RawTracepoint(name)),
            )
        }
        Rest::Kprobe { ret } => {
            let (symbol, offset) = match rest.split_once('+') {
                Some((symbol, offset)) => (symbol, offset.parse().ok()),
                None => (rest, Some(0)),
            };
            (offset.map(|offset| Attach::Kprobe { symbol: symbol.into(), offset, ret }), None)
        }
        Rest::Function => {
            let (module, name) = match rest.split_once(':') {
                Some((module, name)) => (Some(module.to_owned()), name.to_owned()),
                None => (None, name),
            };
            (Some(Attach::Fentry), Some(BtfTarget::Function { name, module }))
        }
        Rest::Iter => (Some(Attach::Iter), Some(BtfTarget::Iter(name))),
    }
}

/// The name of the section that `program` belongs into.
pub fn name(program: &Program) -> String {
    let head = head(program);
    match rest(program) {
        Some(rest) => format!("{head}/{rest}"),
        None => head.to_owned(),
    }
}

fn head(program: &Program) -> &'static str {
    let at = program.attach.first().map(|point| &point.at);
    let wanted = match at {
        Some(Attach::Kprobe { ret: true, .. }) => Some("kretprobe"),
        Some(Attach::KprobeMulti { ret: true, .. }) => Some("kretprobe.multi"),
        Some(Attach::Uprobe { ret, .. }) => Some(if *ret { "uretprobe" } else { "uprobe" }),
        Some(Attach::UprobeMulti { ret: true, .. }) => Some("uretprobe.multi"),
        _ => None,
    };
    let fits = |row: &&Row| {
        (row.prog_type, row.attach_type, row.sleepable)
            == (program.prog_type, program.attach_type, program.sleepable)
    };
    let named = |row: &&Row| wanted.is_none_or(|head| row.head.trim_end_matches(".s") == head);
    let mut rows = ROWS.iter().filter(fits);
    let found = rows.clone().find(named).or_else(|| rows.next());
    let any = || ROWS.iter().find(|row| row.prog_type == program.prog_type);
    found.or_else(any).map_or("unknown", |row| row.head)
}

fn rest(program: &Program) -> Option<String> {
    match &program.attach_btf {
        Some(BtfTarget::RawTracepoint(name) | BtfTarget::Iter(name)) => return Some(name.clone()),
        Some(BtfTarget::Function { name, module: Some(module) }) => return Some(format!("{module}:{name}")),
        Some(BtfTarget::Function { name, module: None }) => return Some(name.clone()),
        Some(BtfTarget::Program { id, function }) => return Some(format!("bpf:{id}:{function}")),
        None => {}
    }
    let [point] = &program.attach[..] else { return None };
    match &point.at {
        Attach::Tracepoint { category, name } => Some(format!("{category}/{name}")),
        Attach::RawTracepoint { name } => Some(name.clone()),
        Attach::Kprobe { symbol, offset: 0, .. } => Some(symbol.clone()),
        Attach::Kprobe { symbol, offset, .. } => Some(format!("{symbol}+{offset}")),
        Attach::Uprobe { path, offset, ref_ctr: 0, .. } => {
            // The probe's own name is `uprobe:PATH:FUNCTION`.
            let function = point.name.split_once(':').and_then(|(_, at)| at.strip_prefix(path.as_str()));
            match function {
                Some(function) => Some(format!("{path}{function}")),
                None => Some(format!("{path}:{offset}")),
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::tests::empty_program;
    use crate::object::AttachPoint;

    #[test]
    fn names_read_back() {
        for row in ROWS {
            let kind = parse(row.head).unwrap();
            assert_eq!((kind.prog_type, kind.sleepable, kind.attach), (row.prog_type, row.sleepable, None));
        }
        let names = [
            "tp/sched/sched_switch",
            "raw_tp/sched_switch",
            "tp_btf/sched_switch",
            "kprobe/vfs_read",
            "kprobe/vfs_read+4",
            "kretprobe/vfs_read",
            "fentry/vfs_read",
            "fexit.s/ext4:ext4_sync_file",
            "iter/task",
        ];
        for text in names {
            let kind = parse(text).unwrap();
            let at = kind.attach.unwrap();
            let program = Program {
                prog_type: kind.prog_type,
                attach_type: kind.attach_type,
                attach_btf: kind.attach_btf,
                sleepable: kind.sleepable,
                attach: vec![AttachPoint { at, cookie: 0, name: String::new(), probes: Some(1) }],
                ..empty_program()
            };
            assert_eq!(name(&program), text);
        }
        assert_eq!(parse("something/else"), None);
        assert_eq!(parse("kprobe/f+x").unwrap().attach, None);
    }

    #[test]
    fn places_in_binaries() {
        let at = |name: &str, ret| AttachPoint {
            at: Attach::Uprobe { path: "/bin/bee".into(), offset: 64, ref_ctr: 0, ret, pid: None },
            cookie: 0,
            name: name.into(),
            probes: Some(1),
        };
        let program = |point| Program { prog_type: ProgType::Kprobe, attach: vec![point], ..empty_program() };
        assert_eq!(name(&program(at("uprobe:/bin/bee:fly", false))), "uprobe//bin/bee:fly");
        assert_eq!(name(&program(at("u:fly", true))), "uretprobe//bin/bee:64");
        assert_eq!(name(&empty_program()), "raw_tp");
    }
}
