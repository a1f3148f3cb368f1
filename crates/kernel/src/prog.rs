//! Programs: an [`object::Program`](Program) with its maps enters, a loaded program leaves. Relocations are applied to
//! a copy; the verifier writes a log only after it has refused.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use skep_bpf::btf::{Btf, NameKind};
use skep_bpf::core::link::{Missed, POISON};
use skep_bpf::helpers;
use skep_bpf::kinds::{AttachType, ProgType};
use skep_bpf::object::{Attach, BtfTarget, Object, Program};

use crate::error::Error;
use crate::live::LiveTarget;
use crate::load::LoadOptions;
use crate::machine;
use crate::map::{Map, object_name};
use crate::sys::attr;
use crate::sys::bpf::{self, LoadRequest};

mod link;

/// `BPF_F_SLEEPABLE`.
const SLEEPABLE: u32 = 1 << 4;
/// `BPF_F_XDP_HAS_FRAGS` (5.18).
const XDP_HAS_FRAGS: u32 = 1 << 5;

fn load_flags(program: &Program) -> u32 {
    let takes =
        |at: &Attach| matches!(at, Attach::Xdp { frags: true, .. } | Attach::CpuMap { frags: true, .. });
    let frags = program.attach.iter().any(|point| takes(&point.at));
    (if program.sleepable { SLEEPABLE } else { 0 }) | (if frags { XDP_HAS_FRAGS } else { 0 })
}
/// Sizes of the buffer for the verifier's log, tried in this order where nothing else is said.
const LOG_SIZES: &[usize] = &[1 << 20, 16 << 20];

/// A loaded program.
#[derive(Debug)]
pub struct Prog {
    fd: OwnedFd,
    name: String,
    kind: ProgType,
    attach_type: AttachType,
}

/// What the kernel counted of a program. Times and runs only while statistics are on (see [`enable_stats`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RunStats {
    /// Nanoseconds in the program, all CPUs.
    pub time_ns: u64,
    /// Runs.
    pub count: u64,
    /// Runs that did not happen because the program was already running on that CPU (5.12).
    pub recursion_misses: u64,
    /// Instructions that the verifier looked at (5.16).
    pub verified_insns: u32,
}

/// Turns run-time statistics on for all programs of the machine while the result lives (5.8).
pub fn enable_stats() -> Result<OwnedFd, Error> {
    bpf::enable_stats().map_err(|e| Error::os("turn on BPF statistics", e))
}

impl Prog {
    /// The probe that it was made for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Type.
    pub fn kind(&self) -> ProgType {
        self.kind
    }

    /// Expected attach type.
    pub fn attach_type(&self) -> AttachType {
        self.attach_type
    }

    /// Runs the program once in this thread with the context `arguments` (raw tracepoint programs, 5.10) and gives
    /// what it returns.
    pub fn test_run(&self, arguments: &[u64]) -> Result<u32, Error> {
        bpf::test_run(self.fd.as_fd(), arguments).map_err(|e| Error::os(format!("run {}", self.name), e))
    }

    /// Runs the program once in this thread on a packet (XDP and TC programs, at least 14 bytes), and gives what it returned
    /// and the packet as it left it.
    pub fn test_run_packet(&self, packet: &[u8]) -> Result<(u32, Vec<u8>), Error> {
        // What a program can add in front and behind is less than a page.
        let mut out = vec![0; packet.len() + 4096];
        let (returned, length) = bpf::test_run_packet(self.fd.as_fd(), packet, &mut out)
            .map_err(|e| Error::os(format!("run {}", self.name), e))?;
        out.truncate(length);
        Ok((returned, out))
    }

    /// Runs the program `repeat` times in this thread on a frame of 14 zero bytes (XDP programs, 5.10), and gives what
    /// it returned last and the average time of a run in nanoseconds.
    pub fn test_run_repeated(&self, repeat: u32) -> Result<(u32, u32), Error> {
        bpf::test_run_frame(self.fd.as_fd(), repeat).map_err(|e| Error::os(format!("run {}", self.name), e))
    }

    /// Runs the program (of XDP, 5.18) `repeat` times on a frame as if it came in on the interface with this index of this
    /// thread's network namespace; each goes where the program says.
    pub fn test_run_live(&self, frame: &[u8], interface: u32, repeat: u32) -> Result<(), Error> {
        bpf::test_run_live(self.fd.as_fd(), frame, interface, repeat)
            .map_err(|e| Error::os(format!("send frames through {}", self.name), e))
    }

    /// Its instructions as the kernel runs them, and the bytes that they became in the machine's code.
    pub fn sizes(&self) -> Result<(u32, u32), Error> {
        let info = bpf::prog_info(self.fd.as_fd())
            .map_err(|e| Error::os(format!("read the size of {}", self.name), e))?;
        Ok((info.xlated_prog_len / 8, info.jited_prog_len))
    }

    /// What the kernel has counted.
    pub fn stats(&self) -> Result<RunStats, Error> {
        let info = bpf::prog_info(self.fd.as_fd())
            .map_err(|e| Error::os(format!("read statistics of {}", self.name), e))?;
        Ok(RunStats {
            time_ns: info.run_time_ns,
            count: info.run_cnt,
            recursion_misses: info.recursion_misses,
            verified_insns: info.verified_insns,
        })
    }
}

impl AsFd for Prog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Loads the programs of one object.
pub(crate) struct Loader<'a> {
    target: &'a LiveTarget,
    maps: &'a [Map],
    license: CString,
    btf: Option<OwnedFd>,
    /// The kernel types that the object carries, when it was compiled for another kernel.
    types: Option<Btf>,
    /// What its relocations are resolved against instead of the running kernel's types.
    running_on: Option<Arc<Btf>>,
    log_level: u32,
    /// Bytes of the verifier's log, where that is said.
    log_bytes: Option<usize>,
}

/// What the kernel's BTF adds to a load.
#[derive(Default)]
struct BtfPlace {
    id: u32,
    /// BTF of the module that has the type, or the program that does (one field of `bpf_attr` takes either).
    owner: Option<OwnedFd>,
}

impl<'a> Loader<'a> {
    /// A loader for `object`, whose maps are `maps` in the object's order, and whose types are `btf` where the kernel
    /// has taken them.
    pub(crate) fn new(
        object: &Object,
        maps: &'a [Map],
        btf: Option<OwnedFd>,
        target: &'a LiveTarget,
        options: &LoadOptions,
    ) -> Result<Loader<'a>, Error> {
        let license = CString::new(object.license.as_str())
            .map_err(|_| Error::Damaged { what: "license".into(), why: "a NUL in it".into() })?;
        let types = match &object.origin {
            Some(_) if !object.btf.is_empty() => Some(own_types(&object.btf)?),
            _ => None,
        };
        let (log_level, running_on) = (options.log_level, options.btf.clone());
        let log_bytes = options.log_bytes.or(Some(object.session.log_bytes).filter(|bytes| *bytes != 0));
        let log_bytes = log_bytes.map(|bytes| bytes as usize);
        Ok(Loader { target, maps, license, btf, types, running_on, log_level, log_bytes })
    }

    /// Loads one program; with `log_level` above 0 the verifier's log comes along.
    pub(crate) fn load(&self, program: &Program) -> Result<(Prog, String), Error> {
        let place = self.place(program)?;
        let linked = self.link(program)?;
        let mut fd_array: Vec<u32> = linked.fds.iter().map(|fd| fd.as_raw_fd() as u32).collect();
        if !fd_array.is_empty() {
            fd_array.insert(0, 0);
        }
        let funcs: Vec<attr::FuncInfo> =
            program.funcs.iter().map(|f| attr::FuncInfo { insn_off: f.insn, type_id: f.type_id }).collect();
        let lines: Vec<attr::LineInfo> = program
            .lines
            .iter()
            .map(|l| attr::LineInfo {
                insn_off: l.insn,
                file_name_off: l.file,
                line_off: l.text,
                line_col: (l.line << 10) | l.column.min(0x3ff),
            })
            .collect();
        let request = LoadRequest {
            prog_type: program.prog_type as u32,
            attach_type: program.attach_type as u32,
            insns: &linked.insns,
            license: &self.license,
            name: object_name(&program.symbol),
            flags: load_flags(program),
            kern_version: version_code(),
            btf: self.btf.as_ref().map(AsFd::as_fd),
            funcs: &funcs,
            lines: &lines,
            attach_btf_id: place.id,
            attach_btf: place.owner.as_ref().map(AsFd::as_fd),
            fd_array: &fd_array,
        };
        let submitted = self.submit(program, &request);
        let (fd, log) = submitted.map_err(|e| lacks_field(program, &linked.missed, e))?;
        let prog = Prog {
            fd,
            name: program.name.clone(),
            kind: program.prog_type,
            attach_type: program.attach_type,
        };
        Ok((prog, log))
    }

    fn submit(&self, program: &Program, request: &LoadRequest<'_>) -> Result<(OwnedFd, String), Error> {
        let mut without_log = None;
        if self.log_level == 0 {
            match bpf::prog_load(request, &mut [], 0) {
                Ok(fd) => return Ok((fd, String::new())),
                Err(Errno::PERM) if machine::raise_memlock() => {
                    if let Ok(fd) = bpf::prog_load(request, &mut [], 0) {
                        return Ok((fd, String::new()));
                    }
                }
                Err(errno) => without_log = Some(errno),
            }
        }
        let level = self.log_level.max(1);
        let mut last = (Errno::INVAL, String::new());
        let sizes = self.log_bytes.as_ref().map_or(LOG_SIZES, std::slice::from_ref);
        for &size in sizes {
            let mut log = vec![0; size];
            let result = bpf::prog_load(request, &mut log, level);
            let text = log_text(&log);
            match result {
                Ok(fd) => return Ok((fd, text)),
                Err(Errno::NOSPC) => last = (Errno::NOSPC, text),
                Err(errno) => {
                    last = (errno, text);
                    break;
                }
            }
        }
        // That the log was too small says nothing about the program.
        let errno = if last.0 == Errno::NOSPC { without_log.unwrap_or(last.0) } else { last.0 };
        Err(self.refusal(program, errno, last.1))
    }

    /// Says a refused load in the terms of what is missing, where that is clear.
    fn refusal(&self, program: &Program, errno: Errno, log: String) -> Error {
        if let Some(helper) = unknown_helper(&log)
            && helper.since > machine::version()
        {
            return Error::TooOld {
                what: format!("bpf_{} ({})", helper.name.trim_start_matches("bpf_"), program.name),
                since: helper.since,
                here: machine::release().to_owned(),
            };
        }
        let typed = matches!(
            program.attach_type,
            AttachType::TraceFentry | AttachType::TraceFexit | AttachType::LsmMac
        );
        if typed && log.is_empty() && errno == Errno::PERM && machine::missing_capabilities().is_empty() {
            return Error::Unavailable {
                what: program.name.clone(),
                why: "this kernel refuses fentry, fexit and LSM programs (EPERM without a word from the verifier)"
                    .into(),
            };
        }
        let (probe, symbol) = (program.name.clone(), program.symbol.clone());
        Error::Load { probe, symbol, errno: errno.raw_os_error(), log }
    }

    /// Finds the kernel's BTF type that the program is bound to.
    fn place(&self, program: &Program) -> Result<BtfPlace, Error> {
        let Some(attach) = &program.attach_btf else { return Ok(BtfPlace::default()) };
        if let BtfTarget::Program { id, function } = attach {
            let (prog, id) = crate::programs::function(*id, function)?;
            return Ok(BtfPlace { id, owner: Some(prog) });
        }
        let (kind, name, module) = match attach {
            BtfTarget::RawTracepoint(name) => (NameKind::Typedef, format!("btf_trace_{name}"), None),
            BtfTarget::Function { name, module } => (NameKind::Func, name.clone(), module.as_deref()),
            BtfTarget::Iter(name) => (NameKind::Func, format!("bpf_iter_{name}"), None),
            BtfTarget::Program { .. } => return Ok(BtfPlace::default()),
        };
        if let Some(module) = module {
            let types = self.target.module_types(module)?;
            let id = types.find(kind, &name).ok_or_else(|| not_in_btf(program, &name))?;
            return Ok(BtfPlace { id: id.0, owner: Some(crate::btf::module_fd(module)?) });
        }
        let types = self.target.vmlinux_types()?;
        if let Some(id) = types.find(kind, &name) {
            return Ok(BtfPlace { id: id.0, owner: None });
        }
        for module in crate::btf::modules() {
            let found = self.target.module_types(&module).ok().and_then(|t| t.find(kind, &name));
            if let Some(id) = found {
                return Ok(BtfPlace { id: id.0, owner: Some(crate::btf::module_fd(&module)?) });
            }
        }
        Err(not_in_btf(program, &name))
    }
}

fn not_in_btf(program: &Program, name: &str) -> Error {
    Error::Missing(format!("{} ({name} in the kernel's types)", program.name))
}

/// The types that an object carries.
fn own_types(bytes: &[u8]) -> Result<Btf, Error> {
    let damaged = |why: String| Error::Damaged { what: "the object's types".into(), why };
    Btf::parse(bytes.to_vec(), None).map_err(|e| damaged(e.to_string()))
}

/// Says which field is missing when the kernel refused a program at a poisoned instruction, as in
/// `12: (85) call unknown#195896080` and the line behind it.
fn lacks_field(program: &Program, missed: &[Missed], error: Error) -> Error {
    let Error::Load { log, .. } = &error else { return error };
    let mark = format!("unknown#{POISON}");
    let refused = log.lines().any(|l| l.starts_with("invalid func ") && l.contains(&mark));
    let at = log.lines().rev().find(|l| l.contains("(85) call") && l.contains(&mark));
    let at = at.and_then(|l| l.split(':').next()?.trim().parse::<u32>().ok());
    let found = missed.iter().find(|m| Some(m.insn) == at).or(missed.first());
    match found {
        Some(missed) if refused => {
            Error::Unavailable { what: program.name.clone(), why: missed.error.to_string() }
        }
        _ => error,
    }
}

/// Loads the object's own types; `None` when it has none or the kernel does not take them.
pub(crate) fn load_types(object: &Object) -> Option<OwnedFd> {
    if object.btf.is_empty() {
        return None;
    }
    load_btf(&object.btf).or_else(|| {
        // Without what an older kernel does not know.
        let btf = Btf::parse(object.btf.clone(), None).ok()?;
        load_btf(&btf.accepted(&[], &[], true))
    })
}

fn load_btf(bytes: &[u8]) -> Option<OwnedFd> {
    match bpf::btf_load(bytes, &mut []) {
        Ok(fd) => Some(fd),
        Err(Errno::PERM) if machine::raise_memlock() => bpf::btf_load(bytes, &mut []).ok(),
        Err(_) => None,
    }
}

/// The log up to its NUL, whatever bytes it has.
fn log_text(log: &[u8]) -> String {
    let end = log.iter().position(|b| *b == 0).unwrap_or(log.len());
    String::from_utf8_lossy(&log[..end]).into_owned()
}

/// LINUX_VERSION_CODE of the running kernel.
fn version_code() -> u32 {
    let v = machine::version();
    (u32::from(v.major) << 16) | (u32::from(v.minor.min(255)) << 8) | u32::from(v.patch.min(255))
}

/// The helper that a log's "unknown func bpf_loop#181", "invalid func unknown#181" or "program of this type cannot
/// use helper" speaks of, when the kernel does not know it.
fn unknown_helper(log: &str) -> Option<&'static helpers::Helper> {
    let line = log.lines().rev().find(|l| l.contains("unknown func ") || l.contains("invalid func "))?;
    let number = line.rsplit_once('#')?.1;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    helpers::by_id(digits.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_names_a_helper_that_the_kernel_lacks() {
        let new = "0: (85) call bpf_loop#181\nunknown func bpf_loop#181\nprocessed 0 insns\n";
        let old = "0: (85) call unknown#181\ninvalid func unknown#181\nprocessed 0 insns\n";
        for log in [new, old] {
            assert_eq!(unknown_helper(log).map(|h| h.name), Some("loop"));
        }
        assert!(unknown_helper("R2 !read_ok").is_none());
        assert!(unknown_helper("unknown func x#99999999999999").is_none());
    }

    #[test]
    fn a_log_ends_at_its_nul() {
        assert_eq!(log_text(b"words\0rest"), "words");
        assert_eq!(log_text(b"words\xff"), "words\u{fffd}");
    }

    #[test]
    fn btf_that_the_kernel_does_not_take_is_left_out() {
        use crate::sys::{attr::cmd, fake};
        let _fake = fake::install(|c| (c == cmd::BTF_LOAD).then_some(Err(Errno::INVAL)));
        assert!(load_btf(&[1, 2, 3]).is_none());
    }
}
