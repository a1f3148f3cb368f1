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
    /// An LSM hook.
    Lsm,
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
    row("socket", ProgType::SocketFilter, AttachType::None, Rest::Nothing),
    row("sk_reuseport/migrate", ProgType::SkReuseport, AttachType::SkReuseportSelectOrMigrate, Rest::Nothing),
    row("sk_reuseport", ProgType::SkReuseport, AttachType::SkReuseportSelect, Rest::Nothing),
    row("tp", ProgType::Tracepoint, AttachType::None, Rest::Tracepoint),
    row("tracepoint", ProgType::Tracepoint, AttachType::None, Rest::Tracepoint),
    row("raw_tp", ProgType::RawTracepoint, AttachType::None, Rest::RawTracepoint),
    row("raw_tracepoint", ProgType::RawTracepoint, AttachType::None, Rest::RawTracepoint),
    row("raw_tp.w", ProgType::RawTracepointWritable, AttachType::None, Rest::RawTracepoint),
    row("raw_tracepoint.w", ProgType::RawTracepointWritable, AttachType::None, Rest::RawTracepoint),
    row("tp_btf", ProgType::Tracing, AttachType::TraceRawTp, Rest::RawTracepoint),
    row("fentry", ProgType::Tracing, AttachType::TraceFentry, Rest::Function),
    row("fmod_ret", ProgType::Tracing, AttachType::ModifyReturn, Rest::Function),
    row("fexit", ProgType::Tracing, AttachType::TraceFexit, Rest::Function),
    sleepable("fentry.s", ProgType::Tracing, AttachType::TraceFentry, Rest::Function),
    sleepable("fmod_ret.s", ProgType::Tracing, AttachType::ModifyReturn, Rest::Function),
    sleepable("fexit.s", ProgType::Tracing, AttachType::TraceFexit, Rest::Function),
    row("freplace", ProgType::Ext, AttachType::None, Rest::Nothing),
    row("lsm", ProgType::Lsm, AttachType::LsmMac, Rest::Lsm),
    sleepable("lsm.s", ProgType::Lsm, AttachType::LsmMac, Rest::Lsm),
    row("lsm_cgroup", ProgType::Lsm, AttachType::LsmCgroup, Rest::Lsm),
    row("iter", ProgType::Tracing, AttachType::TraceIter, Rest::Iter),
    sleepable("iter.s", ProgType::Tracing, AttachType::TraceIter, Rest::Iter),
    row("kprobe", ProgType::Kprobe, AttachType::None, Rest::Kprobe { ret: false }),
    row("kretprobe", ProgType::Kprobe, AttachType::None, Rest::Kprobe { ret: true }),
    row("kprobe.multi", ProgType::Kprobe, AttachType::TraceKprobeMulti, Rest::Nothing),
    row("kretprobe.multi", ProgType::Kprobe, AttachType::TraceKprobeMulti, Rest::Nothing),
    row("kprobe.session", ProgType::Kprobe, AttachType::TraceKprobeSession, Rest::Nothing),
    row("ksyscall", ProgType::Kprobe, AttachType::None, Rest::Nothing),
    row("kretsyscall", ProgType::Kprobe, AttachType::None, Rest::Nothing),
    row("uprobe.multi", ProgType::Kprobe, AttachType::TraceUprobeMulti, Rest::Nothing),
    row("uretprobe.multi", ProgType::Kprobe, AttachType::TraceUprobeMulti, Rest::Nothing),
    row("uprobe.session", ProgType::Kprobe, AttachType::TraceUprobeSession, Rest::Nothing),
    sleepable("uprobe.multi.s", ProgType::Kprobe, AttachType::TraceUprobeMulti, Rest::Nothing),
    sleepable("uretprobe.multi.s", ProgType::Kprobe, AttachType::TraceUprobeMulti, Rest::Nothing),
    sleepable("uprobe.session.s", ProgType::Kprobe, AttachType::TraceUprobeSession, Rest::Nothing),
    row("uprobe", ProgType::Kprobe, AttachType::None, Rest::Nothing),
    row("uretprobe", ProgType::Kprobe, AttachType::None, Rest::Nothing),
    sleepable("uprobe.s", ProgType::Kprobe, AttachType::None, Rest::Nothing),
    sleepable("uretprobe.s", ProgType::Kprobe, AttachType::None, Rest::Nothing),
    row("usdt", ProgType::Kprobe, AttachType::None, Rest::Nothing),
    sleepable("usdt.s", ProgType::Kprobe, AttachType::None, Rest::Nothing),
    row("perf_event", ProgType::PerfEvent, AttachType::None, Rest::Nothing),
    row("xdp", ProgType::Xdp, AttachType::None, Rest::Nothing),
    row("xdp.frags", ProgType::Xdp, AttachType::None, Rest::Nothing),
    row("xdp/devmap", ProgType::Xdp, AttachType::XdpDevmap, Rest::Nothing),
    row("xdp.frags/devmap", ProgType::Xdp, AttachType::XdpDevmap, Rest::Nothing),
    row("xdp/cpumap", ProgType::Xdp, AttachType::XdpCpumap, Rest::Nothing),
    row("xdp.frags/cpumap", ProgType::Xdp, AttachType::XdpCpumap, Rest::Nothing),
    row("tc", ProgType::SchedCls, AttachType::None, Rest::Nothing),
    row("classifier", ProgType::SchedCls, AttachType::None, Rest::Nothing),
    row("tcx/ingress", ProgType::SchedCls, AttachType::TcxIngress, Rest::Nothing),
    row("tcx/egress", ProgType::SchedCls, AttachType::TcxEgress, Rest::Nothing),
    row("tc/ingress", ProgType::SchedCls, AttachType::TcxIngress, Rest::Nothing),
    row("tc/egress", ProgType::SchedCls, AttachType::TcxEgress, Rest::Nothing),
    row("action", ProgType::SchedAct, AttachType::None, Rest::Nothing),
    row("netkit/primary", ProgType::SchedCls, AttachType::NetkitPrimary, Rest::Nothing),
    row("netkit/peer", ProgType::SchedCls, AttachType::NetkitPeer, Rest::Nothing),
    row("lwt_in", ProgType::LwtIn, AttachType::None, Rest::Nothing),
    row("lwt_out", ProgType::LwtOut, AttachType::None, Rest::Nothing),
    row("lwt_xmit", ProgType::LwtXmit, AttachType::None, Rest::Nothing),
    row("lwt_seg6local", ProgType::LwtSeg6local, AttachType::None, Rest::Nothing),
    row("cgroup/skb", ProgType::CgroupSkb, AttachType::None, Rest::Nothing),
    row("cgroup_skb/ingress", ProgType::CgroupSkb, AttachType::None, Rest::Nothing),
    row("cgroup_skb/egress", ProgType::CgroupSkb, AttachType::CgroupInetEgress, Rest::Nothing),
    row("cgroup/sock_create", ProgType::CgroupSock, AttachType::CgroupInetSockCreate, Rest::Nothing),
    row("cgroup/sock", ProgType::CgroupSock, AttachType::CgroupInetSockCreate, Rest::Nothing),
    row("cgroup/sock_release", ProgType::CgroupSock, AttachType::CgroupInetSockRelease, Rest::Nothing),
    row("cgroup/post_bind4", ProgType::CgroupSock, AttachType::CgroupInet4PostBind, Rest::Nothing),
    row("cgroup/post_bind6", ProgType::CgroupSock, AttachType::CgroupInet6PostBind, Rest::Nothing),
    row("cgroup/bind4", ProgType::CgroupSockAddr, AttachType::CgroupInet4Bind, Rest::Nothing),
    row("cgroup/bind6", ProgType::CgroupSockAddr, AttachType::CgroupInet6Bind, Rest::Nothing),
    row("cgroup/connect4", ProgType::CgroupSockAddr, AttachType::CgroupInet4Connect, Rest::Nothing),
    row("cgroup/connect6", ProgType::CgroupSockAddr, AttachType::CgroupInet6Connect, Rest::Nothing),
    row("cgroup/connect_unix", ProgType::CgroupSockAddr, AttachType::CgroupUnixConnect, Rest::Nothing),
    row("cgroup/sendmsg4", ProgType::CgroupSockAddr, AttachType::CgroupUdp4Sendmsg, Rest::Nothing),
    row("cgroup/sendmsg6", ProgType::CgroupSockAddr, AttachType::CgroupUdp6Sendmsg, Rest::Nothing),
    row("cgroup/sendmsg_unix", ProgType::CgroupSockAddr, AttachType::CgroupUnixSendmsg, Rest::Nothing),
    row("cgroup/recvmsg4", ProgType::CgroupSockAddr, AttachType::CgroupUdp4Recvmsg, Rest::Nothing),
    row("cgroup/recvmsg6", ProgType::CgroupSockAddr, AttachType::CgroupUdp6Recvmsg, Rest::Nothing),
    row("cgroup/recvmsg_unix", ProgType::CgroupSockAddr, AttachType::CgroupUnixRecvmsg, Rest::Nothing),
    row("cgroup/getpeername4", ProgType::CgroupSockAddr, AttachType::CgroupInet4Getpeername, Rest::Nothing),
    row("cgroup/getpeername6", ProgType::CgroupSockAddr, AttachType::CgroupInet6Getpeername, Rest::Nothing),
    row(
        "cgroup/getpeername_unix",
        ProgType::CgroupSockAddr,
        AttachType::CgroupUnixGetpeername,
        Rest::Nothing,
    ),
    row("cgroup/getsockname4", ProgType::CgroupSockAddr, AttachType::CgroupInet4Getsockname, Rest::Nothing),
    row("cgroup/getsockname6", ProgType::CgroupSockAddr, AttachType::CgroupInet6Getsockname, Rest::Nothing),
    row(
        "cgroup/getsockname_unix",
        ProgType::CgroupSockAddr,
        AttachType::CgroupUnixGetsockname,
        Rest::Nothing,
    ),
    row("cgroup/sysctl", ProgType::CgroupSysctl, AttachType::CgroupSysctl, Rest::Nothing),
    row("cgroup/getsockopt", ProgType::CgroupSockopt, AttachType::CgroupGetsockopt, Rest::Nothing),
    row("cgroup/setsockopt", ProgType::CgroupSockopt, AttachType::CgroupSetsockopt, Rest::Nothing),
    row("cgroup/dev", ProgType::CgroupDevice, AttachType::CgroupDevice, Rest::Nothing),
    row("sockops", ProgType::SockOps, AttachType::CgroupSockOps, Rest::Nothing),
    row("sk_skb/stream_parser", ProgType::SkSkb, AttachType::SkSkbStreamParser, Rest::Nothing),
    row("sk_skb/stream_verdict", ProgType::SkSkb, AttachType::SkSkbStreamVerdict, Rest::Nothing),
    row("sk_skb/verdict", ProgType::SkSkb, AttachType::SkSkbVerdict, Rest::Nothing),
    row("sk_skb", ProgType::SkSkb, AttachType::None, Rest::Nothing),
    row("sk_msg", ProgType::SkMsg, AttachType::SkMsgVerdict, Rest::Nothing),
    row("sk_lookup", ProgType::SkLookup, AttachType::SkLookup, Rest::Nothing),
    row("lirc_mode2", ProgType::LircMode2, AttachType::LircMode2, Rest::Nothing),
    row("flow_dissector", ProgType::FlowDissector, AttachType::FlowDissector, Rest::Nothing),
    row("netfilter", ProgType::Netfilter, AttachType::Netfilter, Rest::Nothing),
    sleepable("syscall", ProgType::Syscall, AttachType::None, Rest::Nothing),
    row("struct_ops", ProgType::StructOps, AttachType::None, Rest::Nothing),
    sleepable("struct_ops.s", ProgType::StructOps, AttachType::None, Rest::Nothing),
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
    /// What begins the name, such as `kprobe.multi`.
    pub head: &'static str,
    /// What follows it and a `/`.
    pub rest: String,
    /// Loaded only when it is asked for (`?` in front).
    pub optional: bool,
}

/// Reads a section's name. `None` when it names no kind of program that is known here.
pub fn parse(name: &str) -> Option<SectionKind> {
    let (optional, name) = match name.strip_prefix('?') {
        Some(name) => (true, name),
        None => (false, name),
    };
    // The longest head that the name begins with.
    let begins =
        |row: &&Row| name.strip_prefix(row.head).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let row = ROWS.iter().filter(begins).max_by_key(|row| row.head.len())?;
    let rest = name.get(row.head.len()..).and_then(|rest| rest.strip_prefix('/')).unwrap_or("");
    let (attach, attach_btf) = place(row, rest);
    Some(SectionKind {
        prog_type: row.prog_type,
        attach_type: row.attach_type,
        attach_btf,
        sleepable: row.sleepable,
        attach,
        head: row.head,
        rest: rest.to_owned(),
        optional,
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
        Rest::Lsm => {
            // The kernel's functions for hooks are called so.
            let name = format!("bpf_lsm_{name}");
            (Some(Attach::Fentry), Some(BtfTarget::Function { name, module: None }))
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
        Some(Attach::Xdp { frags: true, .. }) => Some("xdp.frags"),
        Some(Attach::CpuMap { frags: true, .. }) => Some("xdp.frags/cpumap"),
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
        Some(BtfTarget::Function { name, module: None }) => {
            let hook = name.strip_prefix("bpf_lsm_").filter(|_| program.prog_type == ProgType::Lsm);
            return Some(hook.unwrap_or(name).to_owned());
        }
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

    /// Every name in libbpf's table (`section_defs`, libbpf 1.6) is known here, also with what may follow it.
    #[test]
    fn libbpfs_sections_are_known() {
        let alone = "socket sk_reuseport/migrate sk_reuseport tc/ingress tc/egress tcx/ingress tcx/egress tc classifier action \
            netkit/primary netkit/peer syscall xdp.frags/devmap xdp/devmap xdp.frags/cpumap xdp/cpumap xdp.frags xdp \
            perf_event lwt_in lwt_out lwt_xmit lwt_seg6local sockops sk_skb/stream_parser sk_skb/stream_verdict \
            sk_skb/verdict sk_skb sk_msg lirc_mode2 flow_dissector cgroup_skb/ingress cgroup_skb/egress cgroup/skb \
            cgroup/sock_create cgroup/sock_release cgroup/sock cgroup/post_bind4 cgroup/post_bind6 cgroup/bind4 \
            cgroup/bind6 cgroup/connect4 cgroup/connect6 cgroup/connect_unix cgroup/sendmsg4 cgroup/sendmsg6 \
            cgroup/sendmsg_unix cgroup/recvmsg4 cgroup/recvmsg6 cgroup/recvmsg_unix cgroup/getpeername4 \
            cgroup/getpeername6 cgroup/getpeername_unix cgroup/getsockname4 cgroup/getsockname6 \
            cgroup/getsockname_unix cgroup/sysctl cgroup/getsockopt cgroup/setsockopt cgroup/dev sk_lookup netfilter";
        let with_a_place = "kprobe uprobe uprobe.s kretprobe uretprobe uretprobe.s kprobe.multi kretprobe.multi \
            kprobe.session uprobe.multi uretprobe.multi uprobe.session uprobe.multi.s uretprobe.multi.s \
            uprobe.session.s ksyscall kretsyscall usdt usdt.s tracepoint tp raw_tracepoint raw_tp raw_tracepoint.w \
            raw_tp.w tp_btf fentry fmod_ret fexit fentry.s fmod_ret.s fexit.s freplace lsm lsm.s lsm_cgroup iter \
            iter.s struct_ops struct_ops.s";
        for head in alone.split_whitespace().chain(with_a_place.split_whitespace()) {
            assert_eq!(parse(head).map(|kind| kind.head), Some(head));
            assert!(parse(&format!("?{head}")).is_some_and(|kind| kind.optional), "{head}");
        }
        for head in with_a_place.split_whitespace() {
            let kind = parse(&format!("{head}/bee")).unwrap();
            assert_eq!((kind.head, kind.rest.as_str(), kind.sleepable), (head, "bee", head.ends_with(".s")));
        }
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
