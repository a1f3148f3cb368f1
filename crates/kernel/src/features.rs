//! What this kernel can do, in three outcomes: yes, no, or cannot tell with the errno. A feature that comes with a
//! version is taken from it; what distributions build in or leave out is tried with a program that does nothing.
//! Nothing is tried before it is asked, and each thing once in a process.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::io::Errno;
use skep_bpf::btf::NameKind;
use skep_bpf::insn::{Insn, Reg, alu};
use skep_bpf::kinds::{AttachType, MapType, ProgType};
use skep_bpf::target::Feature;

use crate::live::LiveTarget;
use crate::machine;
use crate::sys::attr::MapCreate;
use crate::sys::bpf::{self, LoadRequest};
use crate::sys::map::RawMap;

pub mod doctor;

/// Whether something is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Probe {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// The kernel did not let us find out: the errno.
    Unknown(i32),
}

impl Probe {
    /// Yes, and `otherwise` when unknown.
    pub fn or(self, otherwise: bool) -> bool {
        match self {
            Probe::Yes => true,
            Probe::No => false,
            Probe::Unknown(_) => otherwise,
        }
    }

    fn from_bool(yes: bool) -> Probe {
        if yes { Probe::Yes } else { Probe::No }
    }
}

/// How a feature is found out on a kernel that is old enough to lack it, or that may be built without.
type Trial = fn(&LiveTarget) -> Probe;

/// Features that a kernel of the right version may still lack, with the trial.
const BUILT: &[(Feature, Trial)] = &[
    (Feature::Kprobe, |_| pmu("kprobe")),
    (Feature::Uprobe, |_| pmu("uprobe")),
    (Feature::TpBtf, |_| Probe::from_bool(Path::new("/sys/kernel/btf/vmlinux").exists())),
    (Feature::Fentry, fentry),
    (Feature::KprobeMulti, kprobe_multi),
    (Feature::KprobeSession, kprobe_session),
    (Feature::UprobeMulti, uprobe_multi),
];

/// Features that a kernel older than the mainline version may have been given, with the trial.
const BACKPORTED: &[(Feature, Trial)] = &[
    (Feature::Ringbuf, |_| map(MapType::Ringbuf)),
    (Feature::ForEachMapElem, |_| helper("for_each_map_elem")),
    (Feature::AttachCookie, |_| helper("get_attach_cookie")),
    (Feature::Loop, |_| helper("loop")),
    (Feature::LookupPercpu, |_| helper("map_lookup_percpu_elem")),
    (Feature::KtimeTai, |_| helper("ktime_get_tai_ns")),
    (Feature::NsPidTgid, |_| helper("get_ns_current_pid_tgid")),
    (Feature::CurrentTaskBtf, |_| helper("get_current_task_btf")),
    (Feature::KtimeCoarse, |_| helper("ktime_get_coarse_ns")),
    (Feature::Strncmp, |_| helper("strncmp")),
    (Feature::FetchAtomics, |_| instructions(&fetch_atomic())),
    (Feature::CpuV4, |_| instructions(&sign_extending_move())),
];

/// Answers, each found once.
#[derive(Debug, Default)]
pub(crate) struct Features {
    known: Mutex<HashMap<Feature, Probe>>,
}

impl Features {
    /// Whether the kernel has `feature`.
    pub(crate) fn probe(&self, feature: Feature, target: &LiveTarget) -> Probe {
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&feature) {
            return *known;
        }
        let found = find_out(feature, target);
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(feature, found);
        found
    }
}

fn find_out(feature: Feature, target: &LiveTarget) -> Probe {
    let trial = |table: &[(Feature, Trial)]| table.iter().find(|(f, _)| *f == feature).map(|(_, t)| *t);
    if let Some(try_it) = trial(BUILT) {
        return try_it(target);
    }
    if machine::version() >= feature.since() {
        return Probe::Yes;
    }
    match trial(BACKPORTED) {
        Some(try_it) => match try_it(target) {
            Probe::Unknown(_) => Probe::No,
            known => known,
        },
        None => Probe::No,
    }
}

/// Number of a dynamic PMU, read once.
pub(crate) fn pmu_type(name: &str) -> Option<u32> {
    static TYPES: OnceLock<Mutex<HashMap<String, Option<u32>>>> = OnceLock::new();
    let mut types = TYPES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    *types.entry(name.to_owned()).or_insert_with(|| {
        machine::read_line(format!("/sys/bus/event_source/devices/{name}/type"))?.parse().ok()
    })
}

/// The first bit of a field in a PMU's config word, from a line such as `config:32-63`.
pub(crate) fn pmu_bit(pmu: &str, field: &str) -> Option<u32> {
    let line = machine::read_line(format!("/sys/bus/event_source/devices/{pmu}/format/{field}"))?;
    let bits = line.strip_prefix("config:")?;
    bits.split('-').next()?.parse().ok().filter(|bit| *bit < 64)
}

fn pmu(name: &str) -> Probe {
    Probe::from_bool(pmu_type(name).is_some())
}

/// Loads a program that does nothing else than `insns` say.
fn load(request: &LoadRequest<'_>) -> Result<OwnedFd, Errno> {
    match bpf::prog_load(request, &mut [], 0) {
        Err(Errno::PERM) if machine::raise_memlock() => bpf::prog_load(request, &mut [], 0),
        other => other,
    }
}

fn outcome<T>(result: Result<T, Errno>) -> Probe {
    match result {
        Ok(_) => Probe::Yes,
        Err(Errno::PERM | Errno::ACCESS) => Probe::Unknown(libc::EPERM),
        Err(_) => Probe::No,
    }
}

fn nothing() -> Vec<[u8; 8]> {
    [Insn::mov_imm(Reg::R0, 0), Insn::exit()].map(Insn::to_bytes).to_vec()
}

fn instructions(insns: &[Insn]) -> Probe {
    let insns: Vec<[u8; 8]> = insns.iter().map(|i| i.to_bytes()).collect();
    outcome(load(&LoadRequest {
        prog_type: ProgType::SocketFilter as u32,
        insns: &insns,
        ..LoadRequest::default()
    }))
}

fn fetch_atomic() -> Vec<Insn> {
    use skep_bpf::insn::{atomic, size};
    vec![
        Insn::store_imm(size::DW, Reg::FP, -8, 1),
        Insn::mov_imm(Reg::R1, 1),
        Insn::atomic(size::DW, atomic::ADD | atomic::FETCH, Reg::FP, -8, Reg::R1),
        Insn::mov_imm(Reg::R0, 0),
        Insn::exit(),
    ]
}

fn sign_extending_move() -> Vec<Insn> {
    let mut extend = Insn::alu64_reg(alu::MOV, Reg::R0, Reg::R0);
    extend.off = 8;
    vec![Insn::mov_imm(Reg::R0, 0), extend, Insn::exit()]
}

/// Calls a helper with arguments that the verifier refuses only after it has found the helper: then its log does not
/// say "unknown func" or "invalid func".
fn helper(name: &str) -> Probe {
    let Some(helper) = skep_bpf::helpers::by_name(name) else { return Probe::No };
    let insns = [Insn::call_helper(helper.id), Insn::mov_imm(Reg::R0, 0), Insn::exit()].map(Insn::to_bytes);
    let request = LoadRequest {
        prog_type: ProgType::Kprobe as u32,
        insns: &insns,
        license: c"GPL",
        kern_version: 0,
        ..LoadRequest::default()
    };
    let mut log = vec![0; 4096];
    match bpf::prog_load(&request, &mut log, 1) {
        Ok(_) => Probe::Yes,
        Err(Errno::PERM) => Probe::Unknown(libc::EPERM),
        Err(_) => {
            let end = log.iter().position(|b| *b == 0).unwrap_or(log.len());
            let text = String::from_utf8_lossy(&log[..end]);
            let known =
                ["unknown func", "invalid func", "cannot use helper"].iter().all(|w| !text.contains(w));
            Probe::from_bool(known && !text.is_empty())
        }
    }
}

/// Whether maps of that kind can be created.
pub(crate) fn map(kind: MapType) -> Probe {
    let page = u32::try_from(machine::page_size()).unwrap_or(4096);
    let attr = match kind {
        MapType::Ringbuf => MapCreate { map_type: kind as u32, max_entries: page, ..MapCreate::default() },
        _ => MapCreate {
            map_type: kind as u32,
            key_size: 4,
            value_size: 8,
            max_entries: 1,
            ..MapCreate::default()
        },
    };
    outcome(RawMap::create(&attr, 8))
}

/// Loads an fentry program on a function that every kernel has. Kernels without ftrace, and some that forbid code
/// patching, refuse it.
fn fentry(target: &LiveTarget) -> Probe {
    let Ok(types) = target.vmlinux_types() else { return Probe::No };
    let Some(id) = types.find(NameKind::Func, "bpf_prog_put") else { return Probe::Unknown(libc::ENOENT) };
    let insns = nothing();
    let result = load(&LoadRequest {
        prog_type: ProgType::Tracing as u32,
        attach_type: AttachType::TraceFentry as u32,
        insns: &insns,
        license: c"GPL",
        attach_btf_id: id.0,
        ..LoadRequest::default()
    });
    own_no(outcome(result))
}

/// Loads a program that does nothing, to be attached to many functions at once.
fn probe_program(attach_type: u32) -> Result<OwnedFd, Errno> {
    let insns = nothing();
    let prog_type = ProgType::Kprobe as u32;
    load(&LoadRequest { prog_type, attach_type, insns: &insns, license: c"GPL", ..LoadRequest::default() })
}

/// Loads a program for kprobe.multi and attaches it to a function that does not exist: the kernel that has fprobe
/// says that it is not found (ESRCH or EINVAL later), the one without says that it does not support it (EOPNOTSUPP).
fn kprobe_multi(_: &LiveTarget) -> Probe {
    if pmu_type("kprobe").is_none() {
        return Probe::No;
    }
    let kind = AttachType::TraceKprobeMulti as u32;
    let prog = match probe_program(kind) {
        Ok(fd) => fd,
        Err(errno) => return outcome::<()>(Err(errno)),
    };
    let none = [c"skep no such function"];
    match crate::sys::link::kprobe_multi(prog.as_fd(), kind, &none, &[], false) {
        Ok(_) | Err(Errno::SRCH | Errno::NOENT) => Probe::Yes,
        Err(Errno::PERM | Errno::ACCESS) => Probe::Unknown(libc::EPERM),
        Err(_) => Probe::No,
    }
}

/// Sessions are an attach type of kprobe.multi; the version says the rest.
fn kprobe_session(target: &LiveTarget) -> Probe {
    Probe::from_bool(
        machine::version() >= Feature::KprobeSession.since() && target.supports(Feature::KprobeMulti),
    )
}

/// Loads a program for uprobe.multi and attaches it to a path that is no regular file: the kernel that has it says
/// EBADF, one without EINVAL or EOPNOTSUPP.
fn uprobe_multi(_: &LiveTarget) -> Probe {
    if pmu_type("uprobe").is_none() || machine::version() < Feature::UprobeMulti.since() {
        return Probe::No;
    }
    let kind = AttachType::TraceUprobeMulti as u32;
    let prog = match probe_program(kind) {
        Ok(fd) => fd,
        Err(errno) => return outcome::<()>(Err(errno)),
    };
    let request = crate::sys::link::UprobeMulti { path: c"/", offsets: &[0], ..Default::default() };
    match crate::sys::link::uprobe_multi(prog.as_fd(), kind, &request) {
        Ok(_) | Err(Errno::BADF) => Probe::Yes,
        Err(Errno::PERM | Errno::ACCESS) => Probe::Unknown(libc::EPERM),
        Err(_) => Probe::No,
    }
}

/// Whether a do-nothing program of that type loads.
pub(crate) fn program(prog_type: u32) -> Probe {
    let insns = nothing();
    outcome(load(&LoadRequest { prog_type, insns: &insns, license: c"GPL", ..LoadRequest::default() }))
}

/// Whether a do-nothing LSM program loads, on a hook that every kernel with LSM programs has.
pub(crate) fn lsm() -> Probe {
    let Ok(types) = crate::btf::vmlinux() else { return Probe::No };
    let Some(id) = types.find(NameKind::Func, "bpf_lsm_file_open") else { return Probe::No };
    let insns = nothing();
    let result = load(&LoadRequest {
        prog_type: ProgType::Lsm as u32,
        attach_type: AttachType::LsmMac as u32,
        insns: &insns,
        license: c"GPL",
        attach_btf_id: id.0,
        ..LoadRequest::default()
    });
    own_no(outcome(result))
}

/// With every capability there, EPERM is the kernel's own no.
fn own_no(probe: Probe) -> Probe {
    match probe {
        Probe::Unknown(libc::EPERM) if machine::missing_capabilities().is_empty() => Probe::No,
        other => other,
    }
}
