//! uprobes and uretprobes through the uprobe PMU (4.17; reference counters 4.20).

use rustix::io::Errno;
use skep_bpf::target::Feature;

use crate::error::Error;
use crate::features::{pmu_bit, pmu_type};
use crate::link::{Link, c_string, lacks, on_event};
use crate::live::LiveTarget;
use crate::machine;
use crate::prog::Prog;
use crate::sys::perf;

/// Where a uprobe goes.
pub(super) struct Place<'a> {
    /// The binary.
    pub(super) path: &'a str,
    /// File offset of the instruction.
    pub(super) offset: u64,
    /// File offset of the reference counter, 0: none.
    pub(super) ref_ctr: u64,
    /// At return.
    pub(super) ret: bool,
    /// Only this process.
    pub(super) pid: Option<u32>,
}

/// Attaches to an instruction of a binary.
pub(super) fn attach(
    prog: &Prog,
    place: &Place<'_>,
    cookie: u64,
    target: &LiveTarget,
) -> Result<Link, Error> {
    let name =
        format!("{} {}+{:#x}", if place.ret { "uretprobe" } else { "uprobe" }, place.path, place.offset);
    let Some(pmu) = pmu_type("uprobe") else {
        return Err(lacks(&name, Feature::Uprobe, "CONFIG_UPROBE_EVENTS"));
    };
    let ret = if place.ret { 1u64 << pmu_bit("uprobe", "retprobe").unwrap_or(0) } else { 0 };
    let counter = match place.ref_ctr {
        0 => 0,
        at => at << pmu_bit("uprobe", "ref_ctr_offset").unwrap_or(32),
    };
    let pid = place.pid.map_or(-1, |p| i32::try_from(p).unwrap_or(-1));
    let cpu = if pid < 0 { machine::first_cpu() } else { -1 };
    let path = c_string(crate::archive::container(place.path))?;
    let event =
        perf::probe(pmu, ret | counter, Some(&path), place.offset, (pid, cpu)).map_err(
            |errno| match errno {
                Errno::NOENT => Error::Missing(place.path.to_owned()),
                Errno::SRCH => Error::Missing(format!("process {pid}")),
                errno => Error::os(format!("open {name}"), errno),
            },
        )?;
    on_event(prog, event, cookie, &name, target)
}
