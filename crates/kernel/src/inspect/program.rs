//! Loaded programs: what they are, and their instructions as they run.

use std::os::fd::{AsFd, OwnedFd};

use skep_bpf::btf::Btf;
use skep_bpf::disasm;
use skep_bpf::helpers;
use skep_bpf::insn::{Insn, class, jmp, pseudo};
use skep_bpf::kinds::ProgType;

use super::{Which, ids, is_called, open, prog_type, types};
use crate::error::Error;
use crate::live::LiveTarget;
use crate::map::kernel_name;
use crate::sys::attr::ProgInfo;
use crate::sys::bpf;
use crate::sys::objects::{self, Kind};

/// A program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProgRow {
    /// Id.
    pub id: u32,
    /// Name of its main function by its types; else the name that the kernel keeps, 15 bytes of it.
    pub name: String,
    /// Type's number, and the type where it is known.
    pub number: u32,
    /// Type.
    pub kind: Option<ProgType>,
    /// Hash of the instructions.
    pub tag: [u8; 8],
    /// When it was loaded, in nanoseconds of the boot clock.
    pub loaded_at: u64,
    /// Who loaded it.
    pub uid: u32,
    /// Its license lets it call GPL-only helpers.
    pub gpl: bool,
    /// Bytes of instructions.
    pub xlated: u32,
    /// Bytes of machine code.
    pub jited: u32,
    /// Ids of its maps.
    pub maps: Vec<u32>,
    /// Id of its types; 0: none.
    pub btf: u32,
    /// Runs, and nanoseconds in them, while statistics were on.
    pub runs: u64,
    /// Nanoseconds.
    pub run_time: u64,
}

fn row(fd: &OwnedFd, info: &ProgInfo) -> ProgRow {
    let parts = objects::prog_parts(fd.as_fd()).unwrap_or_default();
    let kept = kernel_name(&info.name);
    let full = (info.btf_id != 0 && kept.len() == 15)
        .then(|| types(info.btf_id).ok())
        .flatten()
        .zip(parts.funcs.first())
        .map(|(btf, func)| btf.name_of(skep_bpf::btf::TypeId(func.type_id)).to_owned())
        .filter(|name| name.starts_with(&kept));
    ProgRow {
        id: info.id,
        name: full.unwrap_or(kept),
        number: info.prog_type,
        kind: prog_type(info.prog_type),
        tag: info.tag,
        loaded_at: info.load_time,
        uid: info.created_by_uid,
        gpl: info.gpl_compatible & 1 != 0,
        xlated: info.xlated_prog_len,
        jited: info.jited_prog_len,
        maps: parts.maps,
        btf: info.btf_id,
        runs: info.run_cnt,
        run_time: info.run_time_ns,
    }
}

/// All programs, by id.
pub fn programs() -> Result<Vec<ProgRow>, Error> {
    let opened = ids(Kind::Prog, "programs")?.into_iter().filter_map(|id| objects::prog_by_id(id).ok());
    Ok(opened.filter_map(|fd| Some(row(&fd, &bpf::prog_info(fd.as_fd()).ok()?))).collect())
}

/// A program's code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Code {
    /// What it is.
    pub row: ProgRow,
    /// Instructions as text, with source lines and names of maps and helpers. Empty where the kernel does not show them.
    pub text: String,
    /// The same as bytes.
    pub xlated: Vec<u8>,
    /// Machine code.
    pub jited: Vec<u8>,
}

/// The code of a program.
pub fn code(which: &Which, target: &LiveTarget) -> Result<Code, Error> {
    let fd = open_program(which)?;
    let failed = |errno| Error::os(format!("describe program {which}"), errno);
    let info = bpf::prog_info(fd.as_fd()).map_err(failed)?;
    let parts = objects::prog_parts(fd.as_fd()).map_err(failed)?;
    let row = row(&fd, &info);
    let chunks = parts.xlated.chunks_exact(8).filter_map(|c| c.first_chunk().copied());
    let mut insns: Vec<Insn> = chunks.map(Insn::from_bytes).collect();
    let calls = Calls::of(&insns, target);
    insns.iter_mut().for_each(|insn| calls.restore(insn));
    let btf = if info.btf_id == 0 { None } else { types(info.btf_id).ok() };
    let names = |at: usize| {
        let insn = insns.get(at)?;
        if insn.code == class::JMP | jmp::CALL {
            return Some(calls.name(insn.imm));
        }
        let id = u32::try_from(insn.imm).ok()?;
        let map = objects::by_id(Kind::Map, id).ok()?;
        Some(kernel_name(&objects::map_info(map.as_fd()).ok()?.name)).filter(|name| !name.is_empty())
    };
    let note = |at: usize, out: &mut String| {
        let Some(btf) = &btf else { return };
        notes(btf, &parts, at as u32, out);
    };
    let text = disasm::annotated(&insns, &names, &note);
    Ok(Code { row, text, xlated: parts.xlated, jited: parts.jited })
}

fn notes(btf: &Btf, parts: &objects::ProgParts, at: u32, out: &mut String) {
    for func in parts.funcs.iter().filter(|f| f.insn_off == at) {
        let signature = btf.c_function(skep_bpf::btf::TypeId(func.type_id));
        out.push_str(&format!("; {}\n", signature.as_deref().unwrap_or("function")));
    }
    for line in parts.lines.iter().filter(|l| l.insn_off == at) {
        let (file, text) = (btf.string(line.file_name_off), btf.string(line.line_off));
        out.push_str(&format!("; {file}:{}:{} {}\n", line.line_col >> 10, line.line_col & 1023, text.trim()));
    }
}

/// The kernel shows calls of helpers, and of what it has put in their place, as distances from one of its symbols.
struct Calls<'a> {
    base: Option<u64>,
    target: &'a LiveTarget,
}

impl<'a> Calls<'a> {
    fn of(insns: &[Insn], target: &'a LiveTarget) -> Calls<'a> {
        let far = |i: &Insn| match i.src {
            0 => helpers::by_id(i.imm as u32).is_none(),
            src => src == pseudo::KFUNC_CALL,
        };
        let wanted = insns.iter().any(|i| i.code == class::JMP | jmp::CALL && far(i));
        let base = wanted.then(|| target.kallsyms().ok()?.address("__bpf_call_base").ok()?).flatten();
        // The kernel shows addresses it hides as 0.
        Calls { base: base.filter(|address| *address != 0), target }
    }

    /// The kernel's function at a distance.
    fn symbol(&self, distance: i32) -> Option<String> {
        let address = self.base?.wrapping_add(i64::from(distance) as u64);
        let symbols = self.target.kallsyms().ok()?;
        let (name, ..) = symbols.lookup(address).filter(|(_, offset, _)| *offset == 0)?;
        Some(name.to_owned())
    }

    /// What a call that is no helper's calls; where the kernel hides it, why.
    fn name(&self, distance: i32) -> String {
        match (self.symbol(distance), self.base) {
            (Some(name), _) => name,
            (None, Some(_)) => format!("__bpf_call_base{distance:+}"),
            (None, None) => "? (the kernel hides addresses: see kernel.kptr_restrict)".to_owned(),
        }
    }

    /// Puts the helper's number into a call, and a function's distance where it belongs.
    fn restore(&self, insn: &mut Insn) {
        if insn.code != class::JMP | jmp::CALL {
            return;
        }
        match insn.src {
            0 => {
                let name = self.symbol(insn.imm);
                let helper = name.as_deref().and_then(|name| name.strip_prefix("bpf_"));
                if let Some(helper) = helper.and_then(helpers::by_name) {
                    insn.imm = helper.id as i32;
                }
            }
            pseudo::CALL if insn.off != 0 => (insn.imm, insn.off) = (insn.off.into(), 0),
            _ => {}
        }
    }
}

/// The program of this id.
pub fn program_by_id(id: u32) -> Result<OwnedFd, Error> {
    objects::prog_by_id(id).map_err(|errno| Error::os(format!("open program {id}"), errno))
}

/// The maps of a program.
pub fn maps_of(id: u32) -> Result<Vec<crate::map::Map>, Error> {
    let failed = |errno| Error::os(format!("describe program {id}"), errno);
    let fd = objects::prog_by_id(id).map_err(failed)?;
    let maps = objects::prog_parts(fd.as_fd()).map_err(failed)?.maps;
    maps.into_iter().map(super::map_by_id).collect()
}

/// Runs the XDP program of this id, `repeat` times, on a frame as if it came in on an interface, and sends nothing: what it returned last, and
/// the average time of a run in nanoseconds. Each run finds the frame as the run before left it.
pub fn time_program(id: u32, frame: &[u8], interface: u32, repeat: u32) -> Result<(u32, u32), Error> {
    let failed = |errno| Error::os(format!("run program {id}"), errno);
    let fd = objects::prog_by_id(id).map_err(failed)?;
    bpf::test_run_time(fd.as_fd(), frame, interface, repeat).map_err(failed)
}

/// Runs the XDP program of this id once, as [`time_program`] does: what it returned, and the frame as it is then, if it did not grow.
pub fn try_program(id: u32, frame: &[u8], interface: u32) -> Result<(u32, Vec<u8>), Error> {
    let failed = |errno| Error::os(format!("run program {id}"), errno);
    let (fd, mut out) = (objects::prog_by_id(id).map_err(failed)?, vec![0; frame.len()]);
    let verdict = bpf::test_run_changed(fd.as_fd(), frame, interface, &mut out).map_err(failed)?;
    Ok((verdict, out))
}

/// Lets the XDP program of this id receive a frame so many times as if it came in on an interface, and does with each what it says (Linux 5.18).
/// Buffers are used again, with what was changed in them.
pub fn receive_frames(id: u32, frame: &[u8], interface: u32, count: u32) -> Result<(), Error> {
    let failed = |errno| Error::os(format!("run program {id} on frames"), errno);
    let fd = objects::prog_by_id(id).map_err(failed)?;
    bpf::test_run_live(fd.as_fd(), frame, interface, count).map_err(failed)
}

/// Pins a program.
pub fn pin_program(which: &Which, path: &std::path::Path) -> Result<(), Error> {
    let fd = open_program(which)?;
    let mut pins = crate::pin::Pins::default();
    pins.pin(&fd, path)?;
    pins.keep();
    Ok(())
}

fn open_program(which: &Which) -> Result<OwnedFd, Error> {
    open(Kind::Prog, "program", which, &|fd, name| {
        bpf::prog_info(fd.as_fd()).is_ok_and(|i| is_called(&kernel_name(&i.name), name))
    })
}
